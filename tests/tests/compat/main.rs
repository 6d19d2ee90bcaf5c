//! Beside Go programs: what their clients see of our server, and what becomes of what they send.

mod chunks;
mod dense;
mod door;
mod exchanges;
mod fleet;
mod get_form;
mod server;
