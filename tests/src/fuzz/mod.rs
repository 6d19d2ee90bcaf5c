//! What hostile input meets: one function for each thing that is read from outside. `fuzz/` feeds them with libFuzzer,
//! `tests/tests/fuzz.rs` with the kept corpora and mutations of them.
//!
//! A function returns whatever the input is; it panics where an invariant of what was read does not hold.

mod chunks;
mod files;
mod server;
mod store;
mod wire;

/// A function that reads input.
pub type Body = fn(&[u8]);

/// All of them, by the name of their target and corpus.
pub const TARGETS: &[(&str, Body)] = &[
    ("ipc_frames", wire::ipc_frames),
    ("push_request", server::push_request),
    ("push_reply", wire::push_reply),
    ("chunk_push", server::chunk_push),
    ("pull_page", store::pull_page),
    ("status", wire::status),
    ("merge", wire::merge),
    ("search", store::search),
    ("project_name", wire::project_name),
    ("settings", files::settings),
    ("cloud_json", files::cloud_json),
    ("manifest", chunks::manifest),
    ("chunk", chunks::chunk),
];

/// Runs the target of this name.
///
/// # Panics
/// Where there is none, and where an invariant does not hold.
pub fn run(name: &str, input: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target of this name");
    body(input);
}
