//! Applying what waited for a parent: in the transaction in which the parent arrives, and where too many wait, the others
//! in transactions of their own.

use super::super::error::StoreError;
use super::super::held;
use super::Applying;
use engram_proto::mutation::Entity;

/// Children that one transaction looks at, whatever else it does (OWN-3).
pub(super) const CHILDREN_MAX: usize = 200;

impl Applying<'_> {
    /// Places what waits for this parent, as far as there is room; what misses another one waits on for that.
    pub(super) fn replay(&mut self, waits_for: &str) -> Result<(), StoreError> {
        if !self.any_held {
            return Ok(());
        }
        self.replay_behind(waits_for, 0)
    }

    /// Goes on with parents whose children had no room in their transaction; tells whether any are left.
    pub(super) fn replay_left(&mut self) -> Result<bool, StoreError> {
        while self.children_left > 0 {
            let Some((waits_for, through)) = held::take_arrived(self.conn)? else { return Ok(false) };
            self.replay_behind(&waits_for, through)?;
        }
        Ok(true)
    }

    fn replay_behind(&mut self, waits_for: &str, mut through: i64) -> Result<(), StoreError> {
        // One more than there is room for tells whether any are left; without any nothing is written.
        let children = held::children(self.conn, waits_for, through, self.children_left + 1)?;
        let mut looked = 0;
        for child in &children {
            if self.children_left == 0 || !self.takes() {
                self.children_left = 0;
                break;
            }
            (looked, through) = (looked + 1, child.id);
            self.children_left -= 1;
            if let Some(entity) = Entity::parse(&child.entity) {
                self.place_again(&child.project, entity, &child.key)?;
            }
        }
        let more = looked < children.len();
        if more {
            held::arrived(self.conn, waits_for, through)?;
            self.outcome.unfinished = true;
        }
        Ok(())
    }
}
