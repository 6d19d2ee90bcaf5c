//! Applying what waited for a parent, and removing the prompts of a session that was deleted: in the transaction in which
//! the parent or the deletion arrives, and where they are too many, the others in transactions of their own.

use super::super::error::StoreError;
use super::super::held;
use super::{Applying, sessions};
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
    pub(in super::super) fn replay_left(&mut self) -> Result<bool, StoreError> {
        while self.children_left > 0 {
            let Some((waits_for, through)) = held::take_arrived(self.conn)? else { return Ok(false) };
            match sessions::session_of_prompts(&waits_for) {
                Some((project, id)) => self.take_more_prompts_along((&project, &id), through)?,
                None => self.replay_behind(&waits_for, through)?,
            }
        }
        Ok(true)
    }

    /// Takes room for one child; without any left, none has room in this transaction any more.
    pub(super) fn takes_child(&mut self) -> bool {
        let takes = self.children_left > 0 && self.takes();
        self.children_left = if takes { self.children_left - 1 } else { 0 };
        takes
    }

    /// Leaves the children behind a row for another transaction.
    pub(super) fn leave(&mut self, parent: &str, through: i64) -> Result<(), StoreError> {
        self.outcome.unfinished = true;
        held::arrived(self.conn, parent, through)
    }

    fn replay_behind(&mut self, waits_for: &str, mut through: i64) -> Result<(), StoreError> {
        // One more than there is room for tells whether any are left; without any nothing is written.
        let children = held::children(self.conn, waits_for, through, self.children_left + 1)?;
        let mut looked = 0;
        for child in &children {
            if !self.takes_child() {
                break;
            }
            (looked, through) = (looked + 1, child.id);
            match (&child.project, Entity::parse(&child.entity)) {
                (Some(project), Some(entity)) => self.place_again(project, entity, &child.key)?,
                (None, _) => drop(self.name_held(child.id)?),
                (Some(_), None) => {}
            }
        }
        if looked < children.len() {
            self.leave(waits_for, through)?;
        }
        Ok(())
    }
}
