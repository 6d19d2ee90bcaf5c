//! What kind of world a seed makes.

/// What there is beside devices, one server and, in some, its Go clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// Go processes write to the stores of some devices, and sync them.
    Shared,
    /// There is another server, and both may lose what they hold.
    Clouds,
}

impl Kind {
    /// Returns the kind of a seed's world.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        match seed % 8 {
            0 | 6 => Self::Shared,
            2 => Self::Clouds,
            _ => Self::Plain,
        }
    }
}
