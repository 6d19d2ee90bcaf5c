//! The situations that users reported, as they must go (the numbers are those of the list in docs/testing.md): real
//! processes, with their counts. Their times are goals, and measured elsewhere.

mod acknowledgement;
mod beside;
mod big;
mod converge;
mod deletion;
mod ended;
mod errors;
mod identity;
mod leaving;
mod network;
mod poison;
mod queue;
mod recovery;
mod size;
mod states;
mod undeliverable;
