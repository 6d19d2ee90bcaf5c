//! The row by which a device tells whether a server still holds what it once told (CUR-3).

use serde::{Deserialize, Serialize};

/// The row with the highest seq that a device was ever told, by page or receipt.
///
/// A server that does not hold exactly this row was restored from a backup or replaced: numbers alone would not show
/// it, because a row of the lost ones may have another's number by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Its number.
    pub seq: u64,
    /// When the server took it, in the server's own words.
    pub occurred_at: String,
}

impl Witness {
    /// Returns the later one of what was known and what is told now.
    #[must_use]
    pub fn later(known: Option<Self>, told: Self) -> Self {
        known.filter(|known| known.seq >= told.seq).unwrap_or(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cur_3_the_highest_number_is_the_witness_in_whatever_order_rows_are_told() {
        let told = |seq: u64| Witness { seq, occurred_at: format!("at {seq}") };
        assert_eq!(Witness::later(None, told(8)), told(8));
        assert_eq!(Witness::later(Some(told(8)), told(16)), told(16));
        assert_eq!(Witness::later(Some(told(16)), told(8)), told(16));
    }
}
