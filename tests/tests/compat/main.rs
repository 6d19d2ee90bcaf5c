//! Beside Go programs: what their clients see of our server, and what becomes of what they send.

mod get_form;
mod server;
