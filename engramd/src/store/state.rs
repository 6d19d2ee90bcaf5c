//! The row of `sync_state` that the Go program's `cloud status` shows: derived, never patched (LOUD-2).

use super::error::StoreError;
use super::{Store, lease};
use engram_proto::time::RowTime;
use engramd_core::rows::Fence;
use rusqlite::params;

impl Store {
    /// Writes how sync stands, where it stands otherwise than the row says; tells whether it did.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says.
    pub fn write_state(
        &mut self,
        fence: &Fence,
        lifecycle: &str,
        reason: Option<(&str, &str)>,
        failures: u32,
        backoff_until: Option<String>,
        now: RowTime,
    ) -> Result<bool, StoreError> {
        self.write(|tx| {
            lease::check(tx, fence)?;
            let (code, message) = reason.unzip();
            let changed = tx
                .prepare_cached(
                    "UPDATE sync_state SET lifecycle = ?1, reason_code = ?2, reason_message = ?3, last_error = ?3,
                         consecutive_failures = ?4, backoff_until = ?5, updated_at = ?6
                     WHERE target_key = 'cloud'
                         AND (lifecycle, reason_code, reason_message, consecutive_failures, backoff_until)
                             IS NOT (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![lifecycle, code, message, failures, backoff_until, now.to_string()])?;
            Ok(changed > 0)
        })
    }
}
