//! The cloud over HTTP: a whole server in this process on a free port, and the real binary where it refuses to start.

mod access;
mod binary;
mod harness;
mod life;
mod limits;
mod postgres;
mod pull;
mod push;
mod witness;
