//! The routes, one file each. They know HTTP and the journal's trait, and no SQL.

pub(crate) mod body;
pub(crate) mod chunks;
mod error;
pub(crate) mod gzip;
pub(crate) mod health;
pub(crate) mod peers;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod ready;

pub(crate) use error::ApiError;
