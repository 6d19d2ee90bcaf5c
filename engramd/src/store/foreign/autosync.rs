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
}

/// Looks; where it moved, takes every cursor back and lets nothing be pushed before it was read again.
pub(super) fn look(conn: &Connection, marks: &Marks) -> Result<(), StoreError> {
    let seen = marks.now.seen(marks.seen.as_deref());
    if seen == marks.now {
        return Ok(());
    }
    cursor::take_back(conn, seen.pulled)?;
    reread::begin(conn, meta::raise(conn, MOVES)?)?;
    // What was held here and pushed there is acknowledged: a row is in one set only (ACK-2).
    held::release_acknowledged(conn)?;
    meta::recount(conn)?;
    meta::set(conn, SHOWN, Some("0"))?;
    keep(conn, &marks.now)
}

/// Takes what a transaction of ours acknowledged for seen; it ends with this.
pub(super) fn remember(conn: &Connection, marks: &Marks) -> Result<(), StoreError> {
    if marks.seen.is_some() && !marks.has_moved() { Ok(()) } else { keep(conn, &marks.now) }
}

fn keep(conn: &Connection, now: &Standing) -> Result<(), StoreError> {
    meta::set(conn, SEEN, Some(&format!("{} {}", now.pulled, now.pushed)))
}
