//! Whether a Go process synced this store since our last look (peers.md, "Autosync ran while we did not").
//!
//! What it pulled lies over our rows in the order of arrival, and what it pushed is at the cloud in a form that nobody
//! told us: both come back when every project is read again from where it stood at our last look.

use super::super::error::StoreError;
use super::super::{cursor, held, meta, reread};
use super::Marks;
use rusqlite::Connection;

/// How far it was at our last look.
pub(super) const SEEN: &str = "autosync_seen";
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
pub(super) struct Standing {
    /// `last_pulled_seq` of the target `cloud`, which is never ours.
    pulled: i64,
    /// `last_acked_seq` of that target and the newest acknowledged row: the first stays where an older row is pushed.
    pushed: String,
}

impl Standing {
    pub(super) fn new(pulled: i64, acked: i64, newest: Option<&str>) -> Self {
        Self { pulled, pushed: format!("{acked} {}", newest.unwrap_or_default()) }
    }

    /// Returns what was seen last, as it was kept. A store that nobody looked at yet was pulled into from its beginning.
    pub(super) fn seen(&self, kept: Option<&str>) -> Self {
        let seen = kept.and_then(|text| text.split_once(' '));
        let seen = seen.and_then(|(pulled, pushed)| Some((pulled.parse().ok()?, pushed.to_owned())));
        let (pulled, pushed) = seen.unwrap_or_else(|| (0, self.pushed.clone()));
        Self { pulled, pushed }
    }

    fn text(&self) -> String {
        format!("{} {}", self.pulled, self.pushed)
    }
}

/// Looks; where it moved, takes every cursor back and lets nothing be pushed before it was read again. Before that the held
/// rows are looked at: tells whether there was room for all of them. Without, it still counts as moved.
pub(super) fn look(conn: &Connection, marks: &Marks, has_room: impl Fn() -> bool) -> Result<bool, StoreError> {
    let seen = marks.now.seen(marks.seen.as_deref());
    if seen == marks.now {
        return Ok(true);
    }
    if !release(conn, &marks.now, has_room)? {
        return Ok(false);
    }
    cursor::take_back(conn, seen.pulled)?;
    reread::begin(conn, meta::raise(conn, MOVES)?)?;
    meta::recount(conn)?;
    meta::set(conn, SHOWN, Some("0"))?;
    keep(conn, &marks.now)?;
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
pub(super) fn remember(conn: &Connection, marks: &Marks) -> Result<(), StoreError> {
    if marks.seen.is_some() && !marks.has_moved() { Ok(()) } else { keep(conn, &marks.now) }
}

fn keep(conn: &Connection, now: &Standing) -> Result<(), StoreError> {
    meta::set(conn, SEEN, Some(&now.text()))
}
