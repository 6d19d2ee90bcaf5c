//! Does the product work? Real processes, real sockets, real files.

mod bad_input;
mod bad_server;
mod bad_store;
mod chunk_fleet;
mod conflicts;
mod crash;
mod diverged;
mod docs;
mod forgotten;
mod go_autosync;
mod go_chunks;
mod go_fleet;
mod go_migrated;
mod go_repair;
mod go_server;
mod journey;
mod mixed;
mod readme;
mod replaced;
mod socket;
mod sync;
mod terminal;
mod writers;
