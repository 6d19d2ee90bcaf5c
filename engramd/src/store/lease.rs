//! The lease on the target `cloud`, and the fence that every write of sync state presents (OWN-2).

use super::error::StoreError;
use super::{Store, meta};
use engram_proto::time::{MS_PER_S, RowTime, rfc3339_from_ms};
use engramd_core::rows::{Fence, LeaseOutcome};
use rusqlite::{Connection, OptionalExtension as _, params};

/// Refuses a fence that is no longer the last one granted, or whose lease another program took: a Go process knows no
/// fence, so the row's owner is compared too.
pub(super) fn check(conn: &Connection, fence: &Fence) -> Result<(), StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT coalesce(max(lease_owner), '') = ?1 AND
             coalesce((SELECT CAST(value AS INTEGER) FROM engramd_meta WHERE key = ?2), 0) = ?3
         FROM sync_state WHERE target_key = 'cloud'",
    )?;
    let holds = statement.query_row(params![fence.owner, meta::FENCE, fence.number], |row| row.get(0))?;
    if holds { Ok(()) } else { Err(StoreError::LeaseLost { fence: fence.number }) }
}

/// Reads owner and end of the lease; a blank owner is none.
fn read(conn: &Connection) -> Result<(String, Option<i64>), StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT lease_owner, lease_until FROM sync_state WHERE target_key = 'cloud'")?;
    let row: Option<(Option<String>, Option<String>)> =
        statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (owner, until) = row.unwrap_or_default();
    let until_ms = until.as_deref().and_then(RowTime::parse).map(|until| until.unix_s() * MS_PER_S);
    Ok((owner.unwrap_or_default(), until_ms))
}

fn write(conn: &Connection, owner: Option<&str>, until_ms: Option<i64>, now_ms: i64) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO sync_state (target_key, lease_owner, lease_until, updated_at) VALUES ('cloud', ?1, ?2, ?3)
         ON CONFLICT (target_key) DO UPDATE SET lease_owner = ?1, lease_until = ?2",
    )?
    .execute(params![owner, until_ms.map(rfc3339_from_ms), row_time(now_ms)])?;
    Ok(())
}

fn row_time(ms: i64) -> String {
    engram_proto::time::row_text(RowTime::from_unix_ms(ms))
}

/// The end of a lease as the row can say it, in whole seconds.
fn end_of(now_ms: i64, ttl_ms: i64) -> i64 {
    (now_ms.saturating_add(ttl_ms)).div_euclid(MS_PER_S) * MS_PER_S
}

impl Store {
    /// Asks for the lease until `ttl_ms` from now, in whole seconds.
    ///
    /// What a dead daemon of this data directory left is taken over at once: its owner begins with
    /// `engramd-<device id>`, and the lock that proves there is one daemon only is ours (OWN-1).
    ///
    /// # Errors
    /// What SQLite says.
    pub fn acquire_lease(&mut self, owner: &str, now_ms: i64, ttl_ms: i64) -> Result<LeaseOutcome, StoreError> {
        let ours = format!("engramd-{}", self.device_id);
        self.write(|tx| {
            let (holder, until_ms) = read(tx)?;
            let live = until_ms.filter(|&until_ms| until_ms > now_ms && !holder.is_empty());
            if let Some(until_ms) = live
                && holder != owner
                && !holder.starts_with(&ours)
            {
                return Ok(LeaseOutcome::HeldElsewhere { owner: holder, until_ms });
            }
            let number = meta::get_number(tx, meta::FENCE)? + 1;
            meta::set(tx, meta::FENCE, Some(&number.to_string()))?;
            let until_ms = end_of(now_ms, ttl_ms);
            write(tx, Some(owner), Some(until_ms), now_ms)?;
            Ok(LeaseOutcome::Granted { fence: Fence { number, owner: owner.to_owned() }, until_ms })
        })
    }

    /// Keeps the lease for `ttl_ms` more; returns until when, in Unix milliseconds.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says.
    pub fn renew_lease(&mut self, fence: &Fence, now_ms: i64, ttl_ms: i64) -> Result<i64, StoreError> {
        self.write(|tx| {
            check(tx, fence)?;
            let until_ms = end_of(now_ms, ttl_ms);
            write(tx, Some(&fence.owner), Some(until_ms), now_ms)?;
            Ok(until_ms)
        })
    }

    /// Gives the lease back, unless it was lost already.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn release_lease(&mut self, fence: &Fence) -> Result<(), StoreError> {
        self.write(|tx| match check(tx, fence) {
            Ok(()) => {
                tx.prepare_cached(
                    "UPDATE sync_state SET lease_owner = NULL, lease_until = NULL WHERE target_key = 'cloud'",
                )?
                .execute([])?;
                Ok(())
            }
            Err(StoreError::LeaseLost { .. }) => Ok(()),
            Err(error) => Err(error),
        })
    }
}
