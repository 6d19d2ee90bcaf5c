//! Does the product work? Real processes, real sockets, real files.

mod bad_input;
mod conflicts;
mod crash;
mod journey;
mod readme;
mod socket;
mod sync;
mod writers;
