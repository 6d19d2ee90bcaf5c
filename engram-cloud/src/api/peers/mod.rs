//! What Go clients need of this server, at the edge (peers.md, "Go clients on our server").
//!
//! Such a client overwrites in the order of arrival, keeps one cursor for everything it may read, and halts for ever
//! at a child whose session it does not have. [`get`] is the form in which it pulls, [`page`] what it sees there;
//! [`door`] takes back what it pushes.

pub(crate) mod door;
pub(crate) mod get;
pub(crate) mod page;
