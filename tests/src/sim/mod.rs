//! The simulator: the real machine and the real store, a model of the cloud, one seed, virtual time.
//!
//! A run is decided by its [`Plan`] alone. Everything goes wrong while the world is young; then nothing does any more,
//! and all devices must agree within a budget of events (liveness), and a save must reach the others at once (no waking
//! is dropped).

mod beside;
mod books;
mod clouds;
mod device;
mod effects;
mod excuses;
mod go_cloud;
mod kind;
mod laws;
mod ledger;
mod loud;
mod peers;
mod plan;
mod server;
mod settle;
mod stock;
mod talk;
mod tape;
mod travel;
mod user;
mod wire;
mod world;

use device::Device;
pub use kind::Kind;
pub use laws::Law;
pub use plan::{Edition, Plan, Step};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// How a run ended.
pub struct Ended {
    /// What happened, line by line; the same plan writes the same.
    pub tape: Vec<String>,
    /// The law that did not hold, or what panicked.
    pub result: Result<(), String>,
}

/// Runs a plan to its end.
#[must_use]
pub fn run(plan: &Plan) -> Ended {
    run_about(plan, None)
}

/// Runs a plan to its end, and no server forgets anything on the way: who reads late reads all that there was.
#[must_use]
pub fn run_without_forgetting(plan: &Plan) -> Ended {
    ended(World { forgets: false, ..World::new(plan) }, plan, None)
}

/// Runs a plan to its end; the tape ends with what the devices' books say of a key.
#[must_use]
pub fn run_about(plan: &Plan, key: Option<&str>) -> Ended {
    ended(World::new(plan), plan, key)
}

fn ended(mut world: World, plan: &Plan, key: Option<&str>) -> Ended {
    let done = catch_unwind(AssertUnwindSafe(|| world.run(plan)));
    for (device, key) in world.devices.iter().flat_map(|device| key.map(|key| (device, key))) {
        world.tape.push(laws::books_of(device, key));
    }
    if matches!(done, Ok(Ok(()))) {
        world.devices.drain(..).for_each(Device::give_back);
    }
    let result = match done {
        Ok(done) => done.map_err(|law| law.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("panicked: {}", text.unwrap_or_default()))
        }
    };
    Ended { tape: world.tape, result }
}
