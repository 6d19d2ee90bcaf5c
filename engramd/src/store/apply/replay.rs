//! Applying what waited for a parent, in the transaction in which the parent arrives.

use super::super::error::StoreError;
use super::super::held;
use super::Applying;
use engram_proto::mutation::Entity;

impl Applying<'_> {
    /// Places everything that waits for this parent; what misses another one waits on for that.
    pub(super) fn replay(&mut self, waits_for: &str) -> Result<(), StoreError> {
        if !self.any_held {
            return Ok(());
        }
        for (project, entity, key) in held::waiting_for(self.conn, waits_for)? {
            let Some(entity) = Entity::parse(&entity) else { continue };
            self.place_again(&project, entity, &key)?;
        }
        Ok(())
    }
}
