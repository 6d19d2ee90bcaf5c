//! The words on the socket between `engramctl` and `engramd` (ctl.md, "The socket").
//!
//! A connection opens with one [`Hello`](hello::Hello) each way, then carries [`Request`](request::Request)s and
//! [`Response`](reply::Response)s as frames. The types here skip, flatten and tag nothing and hold no JSON values:
//! `bincode` could not read them back.

pub mod chunks;
pub mod codec;
pub mod conflict;
pub mod hello;
pub mod reply;
pub mod request;

/// The version of everything after Hello; any change to a request or reply raises it.
pub const PROTOCOL: u32 = 6;

/// No frame is larger, in bytes without its length.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The socket's name inside the data directory.
pub const SOCKET_NAME: &str = "engramd.sock";
