//! What kind of world a seed makes, and how bad it is there.

use rand::RngExt as _;
use rand::rngs::StdRng;

/// What there is beside devices, one server and, in some, Go clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// Go processes write to the stores of some devices, and sync them.
    Shared,
    /// There is another server, and both may lose what they hold.
    Clouds,
    /// The server is a Go program's.
    Go,
}

impl Kind {
    /// Returns the kind of a seed's world; the plans of `sim-found.txt` count on it.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        match seed % 10 {
            0 | 6 | 8 => Self::Shared,
            2 | 7 => Self::Go,
            5 | 9 => Self::Clouds,
            _ => Self::Plain,
        }
    }
}

/// Tells whether the devices of a seed's world begin with nothing; else all have the same few memories, and so edits
/// meet. A quarter of each kind does.
pub(super) fn begins_empty(seed: u64) -> bool {
    matches!(seed % 8, 0 | 3)
}

/// How bad it is in this world.
#[derive(Clone, Copy, Debug)]
pub(super) struct Climate {
    /// Requests that something happens to, in percent.
    pub(super) trouble: u32,
    /// Steps in which somebody writes, in per mille.
    pub(super) writes: u32,
    /// Steps in which something else is done to the world, in per mille.
    pub(super) incidents: u32,
    /// Work on a store in which its process dies, in per mille.
    pub(super) deaths: u32,
    /// The longest delay of a message, in milliseconds.
    pub(super) delay_ms: u64,
    /// Steps in which a Go client does something, in per mille, where there are any.
    pub(super) peers: u32,
    /// Steps in which a Go process on a device's store does something, in per mille.
    pub(super) beside: u32,
    /// Steps in which somebody moves something between clouds, in per mille.
    pub(super) clouds: u32,
}

impl Climate {
    /// Draws that of a world of this kind.
    pub(super) fn draw(rng: &mut StdRng, kind: Kind) -> Self {
        let mut climate = Self {
            trouble: [0, 10, 30, 60][rng.random_range(0..4)],
            writes: [100, 250, 400][rng.random_range(0..3)],
            incidents: [0, 30, 100][rng.random_range(0..3)],
            deaths: [0, 10, 60][rng.random_range(0..3)],
            delay_ms: [20, 3_000, 40_000][rng.random_range(0..3)],
            peers: [0, 0, 0, 300][rng.random_range(0..4)],
            beside: 0,
            clouds: 0,
        };
        match kind {
            Kind::Plain | Kind::Go => {}
            Kind::Shared => (climate.writes, climate.beside) = (climate.writes / 2, 250),
            Kind::Clouds => (climate.writes, climate.clouds) = (climate.writes / 2, 100),
        }
        climate
    }
}
