//! Whether a Go process synced this store since our last look (peers.md, "Autosync ran while we did not").
//!
//! What it pulled lies over our rows in the order of arrival, and what it pushed is at the cloud in a form that nobody
//! told us: both come back when every project is read again from where it stood at our last look.

use super::super::error::StoreError;
use super::super::{cursor, held, meta, reread};
use rusqlite::{Connection, OptionalExtension as _};

/// How far it was at our last look.
const SEEN: &str = "autosync_seen";
/// How often it was found to have moved.
const MOVES: &str = "autosync_moves";
/// Up to which journal row the held ones were looked at since it moved, and where it stood then; absent once all were.
const RELEASED: &str = "autosync_released";
/// So many held rows are read at once.
const HELD_ROWS: u32 = 200;
/// Up to which journal row the pending ones were shown again since then; absent once all were.
pub(in super::super) const SHOWN: &str = "shown_again_seq";

/// What syncing by another program moves.
#[derive(PartialEq)]
struct Standing {
    /// `last_pulled_seq` of the target `cloud`, which is never ours.
    pulled: i64,
    /// `last_acked_seq` of that target and the newest acknowledged row: the first stays where an older row is pushed.
    pushed: String,
}

impl Standing {
    fn read(conn: &Connection) -> Result<Self, StoreError> {
        let mut state = conn.prepare_cached(
            "SELECT coalesce(max(last_pulled_seq), 0), coalesce(max(last_acked_seq), 0)
             FROM sync_state WHERE target_key = 'cloud'",
        )?;
        let (pulled, acked): (i64, i64) = state.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut newest = conn.prepare_cached(
            "SELECT seq || '@' || acked_at FROM sync_mutations INDEXED BY idx_sync_mutations_pending
             WHERE target_key = 'cloud' AND acked_at IS NOT NULL ORDER BY acked_at DESC, seq DESC LIMIT 1",
        )?;
        let newest: Option<String> = newest.query_row([], |row| row.get(0)).optional()?;
        Ok(Self { pulled, pushed: format!("{acked} {}", newest.unwrap_or_default()) })
    }

    /// Reads what was seen last. A store that nobody looked at yet was pulled into from its beginning.
    fn seen(conn: &Connection, now: &Self) -> Result<Self, StoreError> {
        let text = meta::get(conn, SEEN)?;
        let seen = text.as_deref().and_then(|text| text.split_once(' '));
        let seen = seen.and_then(|(pulled, pushed)| Some((pulled.parse().ok()?, pushed.to_owned())));
        let (pulled, pushed) = seen.unwrap_or_else(|| (0, now.pushed.clone()));
        Ok(Self { pulled, pushed })
    }

    fn text(&self) -> String {
        format!("{} {}", self.pulled, self.pushed)
    }
}

/// Tells whether it moved since our last look.
pub(super) fn has_moved(conn: &Connection) -> Result<bool, StoreError> {
    let now = Standing::read(conn)?;
    Ok(Standing::seen(conn, &now)? != now)
}

/// Looks; where it moved, takes every cursor back and lets nothing be pushed before it was read again. Before that the held
/// rows are looked at: tells whether there was room for all of them. Without, it still counts as moved.
pub(super) fn look(conn: &Connection, has_room: impl Fn() -> bool) -> Result<bool, StoreError> {
    let now = Standing::read(conn)?;
    let seen = Standing::seen(conn, &now)?;
    if seen == now {
        return Ok(true);
    }
    if !release(conn, &now, has_room)? {
        return Ok(false);
    }
    cursor::take_back(conn, seen.pulled)?;
    reread::begin(conn, meta::raise(conn, MOVES)?)?;
    meta::recount(conn)?;
    meta::set(conn, SHOWN, Some("0"))?;
    keep(conn, &now)?;
    Ok(true)
}

/// Releases what was held here and pushed there, for it is acknowledged: a row is in one set only (ACK-2). Goes on behind
/// the row it looked at last, unless more was pushed since.
fn release(conn: &Connection, now: &Standing, has_room: impl Fn() -> bool) -> Result<bool, StoreError> {
    let begun = meta::get(conn, RELEASED)?;
    let begun = begun.as_deref().and_then(|text| text.split_once(' ')).filter(|(_, standing)| *standing == now.text());
    let mut through = begun.and_then(|(through, _)| through.parse().ok()).unwrap_or(0);
    loop {
        let rows = held::own(conn, through, HELD_ROWS)?;
        if rows.is_empty() {
            meta::set(conn, RELEASED, None)?;
            return Ok(true);
        }
        for row in rows {
            if !has_room() {
                meta::set(conn, RELEASED, Some(&format!("{through} {}", now.text())))?;
                return Ok(false);
            }
            if row.is_acknowledged {
                held::release(conn, row.id)?;
            }
            through = row.journal_seq;
        }
    }
}

/// Takes what a transaction of ours acknowledged for seen; it ends with this.
pub(super) fn remember(conn: &Connection) -> Result<(), StoreError> {
    let now = Standing::read(conn)?;
    if meta::get(conn, SEEN)?.is_some() && Standing::seen(conn, &now)? == now {
        return Ok(());
    }
    keep(conn, &now)
}

fn keep(conn: &Connection, now: &Standing) -> Result<(), StoreError> {
    meta::set(conn, SEEN, Some(&now.text()))
}
