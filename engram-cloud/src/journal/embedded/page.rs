//! Pages: of several projects, each from its own cursor, and of a whole grant in one order.
//!
//! Both walk an index from the cursor on, so a page costs what it holds (COST-1).

use super::digests;
use super::rows::taken_at;
use crate::auth::Grant;
use crate::clock::rfc3339_us;
use crate::journal::room::Room;
use crate::journal::{GrantAsk, GrantRows, Page, PageAsk};
use engram_proto::http::pull::{PulledMutation, REMAINING_MAX};
use engram_proto::id::ProjectName;
use rusqlite::{Connection, Row, params};
use serde_json::Value;

pub(super) const COLUMNS: &str =
    "SELECT seq, project, entity, entity_key, op, payload, occurred_at FROM cloud_mutations";

/// A project on its way through a page.
struct Track {
    project: ProjectName,
    cursor: i64,
    head: i64,
}

pub(super) fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// Reads a page of several projects, unless the row of the witness is not here.
pub(super) fn page(connection: &Connection, ask: &PageAsk, turn: usize) -> rusqlite::Result<Option<Page>> {
    if let Some(witness) = &ask.witness
        && taken_at(connection, witness.seq)?.map(rfc3339_us).as_ref() != Some(&witness.occurred_at)
    {
        return Ok(None);
    }
    let mut page = Page::default();
    let mut tracks = Vec::new();
    for (project, &cursor) in &ask.cursors {
        let head = head(connection, project)?;
        page.heads.insert(project.clone(), head.unsigned_abs());
        let cursor = signed(cursor);
        if cursor < head {
            tracks.push(Track { project: project.clone(), cursor, head });
        }
    }
    if ask.rows_max > 0 {
        fill(connection, &mut page.rows, &mut tracks, ask, turn)?;
    }
    for row in &page.rows {
        // Rows are in order: the last one of a project stays.
        if let Some(track) = tracks.iter().find(|track| track.project.as_str() == row.project) {
            page.cursors.insert(track.project.clone(), row.seq);
        }
    }
    for (project, &cursor) in &ask.cursors {
        let end = page.cursors.get(project).copied().unwrap_or(cursor);
        if page.heads.get(project) == Some(&end) {
            page.digests.insert(project.clone(), digests::of(connection, project)?);
        }
    }
    for track in tracks.iter().filter(|track| track.cursor < track.head) {
        page.remaining.insert(track.project.clone(), remaining(connection, track)?);
        page.has_more = true;
    }
    Ok(Some(page))
}

/// Takes rows of all projects in rounds of equal shares, so that a long backlog of one does not hold up the others.
fn fill(
    connection: &Connection,
    rows: &mut Vec<PulledMutation>,
    tracks: &mut [Track],
    ask: &PageAsk,
    turn: usize,
) -> rusqlite::Result<()> {
    let mut room = Room { rows: ask.rows_max, bytes: ask.bytes_max };
    // Where not even one row of each fits, another one begins on the next page.
    if !tracks.is_empty() {
        tracks.rotate_left(turn % tracks.len());
    }
    loop {
        let open = tracks.iter().filter(|track| track.cursor < track.head).count();
        let before = rows.len();
        let share = room.share(open);
        for track in tracks.iter_mut().filter(|track| track.cursor < track.head) {
            take(connection, rows, track, &share, &mut room)?;
        }
        if rows.len() == before {
            break;
        }
    }
    rows.sort_unstable_by_key(|row| row.seq);
    Ok(())
}

/// Takes one project's share.
fn take(
    connection: &Connection,
    rows: &mut Vec<PulledMutation>,
    track: &mut Track,
    share: &Room,
    room: &mut Room,
) -> rusqlite::Result<()> {
    let sql = format!("{COLUMNS} WHERE project = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3");
    let mut statement = connection.prepare_cached(&sql)?;
    let limit = i64::try_from(share.rows.min(room.rows)).unwrap_or(i64::MAX);
    let mut found = statement.query(params![track.project.as_str(), track.cursor, limit])?;
    let mut taken = 0;
    while let Some(row) = found.next()? {
        let (row, bytes) = read(row)?;
        if !room.take(share, taken, bytes, rows.is_empty()) {
            break;
        }
        taken += bytes;
        track.cursor = signed(row.seq);
        rows.push(row);
    }
    Ok(())
}

/// Reads a row of [`COLUMNS`], and the bytes of its payload.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<(PulledMutation, usize)> {
    let text: String = row.get(5)?;
    let payload = serde_json::from_str(&text).unwrap_or(Value::Null);
    let pulled = PulledMutation {
        seq: row.get::<_, i64>(0)?.unsigned_abs(),
        project: row.get(1)?,
        entity: row.get(2)?,
        entity_key: row.get(3)?,
        op: row.get(4)?,
        payload,
        occurred_at: rfc3339_us(row.get(6)?),
    };
    Ok((pulled, text.len()))
}

pub(super) fn head(connection: &Connection, project: &ProjectName) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(seq), 0) FROM cloud_mutations WHERE project = ?1";
    connection.prepare_cached(sql)?.query_row([project.as_str()], |row| row.get(0))
}

fn remaining(connection: &Connection, track: &Track) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM cloud_mutations WHERE project = ?1 AND seq > ?2 LIMIT ?3)";
    let params = params![track.project.as_str(), track.cursor, signed(REMAINING_MAX)];
    let count: i64 = connection.prepare_cached(sql)?.query_row(params, |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

const KNOWN: &str = "entity IN ('session', 'observation', 'prompt', 'relation')";

/// Reads a page of a whole grant in one order. Unknown entities are left out: a Go client halts at one for ever.
pub(super) fn grant_page(connection: &Connection, ask: &GrantAsk) -> rusqlite::Result<GrantRows> {
    let limit = ask.rows_max.saturating_add(1);
    let mut seqs = match &ask.grant {
        Grant::Every => seqs(connection, None, ask.since_seq, limit)?,
        Grant::Only(projects) => {
            let mut all = Vec::new();
            for project in projects {
                all.extend(seqs(connection, Some(project), ask.since_seq, limit)?);
            }
            all
        }
    };
    seqs.sort_unstable();
    let mut page = GrantRows { has_more: seqs.len() > ask.rows_max, rows: Vec::new(), read_to: ask.since_seq };
    seqs.truncate(ask.rows_max);
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE seq = ?1"))?;
    let mut bytes = 0;
    for seq in seqs {
        let (row, size) = statement.query_row([seq], read)?;
        if !page.rows.is_empty() && bytes + size > ask.bytes_max {
            page.has_more = true;
            break;
        }
        bytes += size;
        page.read_to = row.seq;
        page.rows.push(row);
    }
    Ok(page)
}

fn seqs(
    connection: &Connection,
    project: Option<&ProjectName>,
    since_seq: u64,
    limit: usize,
) -> rusqlite::Result<Vec<i64>> {
    let (since_seq, limit) = (signed(since_seq), i64::try_from(limit).unwrap_or(i64::MAX));
    let get = |row: &Row<'_>| row.get(0);
    match project {
        Some(project) => {
            let sql = format!(
                "SELECT seq FROM cloud_mutations WHERE project = ?1 AND seq > ?2 AND {KNOWN} ORDER BY seq LIMIT ?3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![project.as_str(), since_seq, limit], get)?;
            rows.collect()
        }
        None => {
            let sql = format!("SELECT seq FROM cloud_mutations WHERE seq > ?1 AND {KNOWN} ORDER BY seq LIMIT ?2");
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![since_seq, limit], get)?;
            rows.collect()
        }
    }
}
