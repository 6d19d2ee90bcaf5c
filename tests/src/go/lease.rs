//! The lease that its autosync takes on the store, and does not renew within a cycle.

use super::GoClient;
use super::cached::Cached as _;
use rusqlite::params;

/// How long it lasts, in seconds.
const LEASE_S: i64 = 60;

const OWNER: &str = "autosync-1795356000000000000";

impl GoClient {
    /// Takes the lease where nobody has it any more; tells whether it has it now.
    ///
    /// # Panics
    /// Where SQLite refuses.
    #[must_use]
    pub fn take_lease(&self) -> bool {
        let sql = "UPDATE sync_state SET lease_owner = ?1, lease_until = ?2 WHERE target_key = 'cloud'
                   AND (coalesce(lease_owner, '') IN ('', ?1) OR coalesce(lease_until, '') < ?3)";
        let until = self.now.plus_s(LEASE_S).rfc3339();
        self.db.execute_cached(sql, params![OWNER, until, self.now.rfc3339()]).expect("the lease") > 0
    }

    /// Tells whether it has the lease still.
    ///
    /// # Panics
    /// Where SQLite refuses.
    #[must_use]
    pub fn holds_lease(&self) -> bool {
        let sql = "SELECT count(*) FROM sync_state
                   WHERE target_key = 'cloud' AND lease_owner = ?1 AND coalesce(lease_until, '') >= ?2";
        self.db.row_cached(sql, params![OWNER, self.now.rfc3339()], |row| row.get::<_, i64>(0)).expect("the lease") > 0
    }

    /// Gives the lease back, if it is its own.
    ///
    /// # Panics
    /// Where SQLite refuses.
    pub fn give_lease_back(&self) {
        let sql = "UPDATE sync_state SET lease_owner = NULL, lease_until = NULL WHERE lease_owner = ?1";
        self.db.execute_cached(sql, [OWNER]).expect("given back");
    }
}
