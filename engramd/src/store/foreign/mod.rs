//! What other processes wrote into the journal: taken up once, before anything is merged over it or pushed (peers.md,
//! "Go processes on our store").
//!
//! Every transaction of ours begins with [`take_up`] and ends with [`ours_to_here`]: it holds the write lock from its
//! start, so what is in the journal above the mark at the beginning is theirs, and what is added later is ours. All that
//! both look at is read by one statement, for there is no transaction without them; one that changed nothing reads it once.
//!
//! Rows from before there was that mark (schema 1.2) count as taken up: they were merged over as they stood, and a stamp
//! now would lift them above versions that they never saw.

mod autosync;
mod stamp;
mod stand_in;

use super::error::StoreError;
use super::held::{SetAside, set_aside};
use super::naming::{self, Unnamed};
use super::room::Room;
use super::{Store, conflict, journal, meta, moved, reread, versions};
pub(super) use autosync::SHOWN;
use autosync::Standing;
use engram_proto::canonical::{Hash, Object};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::HeldKind;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op, payload_text};
use engram_proto::reason::ReasonCode;
use engram_proto::time::RowTime;
use rusqlite::{Connection, params};
use stamp::Written;
pub(super) use stamp::{lifted, time_field, with_time};
use std::collections::BTreeSet;

/// Up to which seq the journal was taken up.
pub(super) const TAKEN_UP: &str = "taken_up_seq";

/// More rows than this are taken up in transactions of their own.
const MUCH: i64 = 5;

/// So many at most in one of them.
pub(super) const SOME: u32 = 200;

/// A journal row of another process.
struct Row {
    seq: i64,
    project: String,
    entity: String,
    key: String,
    op: String,
    payload: String,
    occurred_at: String,
    /// No Go process pushed it before it was taken up.
    is_pending: bool,
}

/// What such a row says.
struct Said<'a> {
    seq: i64,
    project: &'a ProjectName,
    entity: Entity,
    key: &'a str,
    op: Op,
    payload: Object,
    version: Version,
    occurred_at: Option<RowTime>,
}

impl Store {
    /// Takes up at most `rows_max` journal rows that other processes wrote, and then shows again what pending rows say
    /// where one of them synced; tells whether more is left. For the start, and for when another process was seen to
    /// write: no transaction then has many to take up itself (OWN-3).
    ///
    /// # Errors
    /// What SQLite says.
    pub fn take_up(&mut self, rows_max: u32, now: RowTime) -> Result<bool, StoreError> {
        let marks = self.read(Marks::read)?;
        if !marks.is_more() && !marks.has_moved() {
            return self.show_pending_again(rows_max, now);
        }
        let room = self.turns.room();
        self.turns.transaction(&self.conn, |tx| take_up_some(tx, rows_max, &room))?;
        Ok(true)
    }
}

/// What tells of other processes: how far the journal goes and was taken up, and how far syncing is and was seen.
struct Marks {
    last_seq: i64,
    taken_up: i64,
    now: Standing,
    /// As it was kept.
    seen: Option<String>,
}

impl Marks {
    fn read(conn: &Connection) -> Result<Self, StoreError> {
        let mut statement = conn.prepare_cached(
            "SELECT (SELECT coalesce(max(seq), 0) FROM sync_mutations),
                 (SELECT value FROM engramd_meta WHERE key = ?1), (SELECT value FROM engramd_meta WHERE key = ?2),
                 coalesce(max(last_pulled_seq), 0), coalesce(max(last_acked_seq), 0),
                 (SELECT seq || '@' || acked_at FROM sync_mutations INDEXED BY idx_sync_mutations_pending
                  WHERE target_key = 'cloud' AND acked_at IS NOT NULL ORDER BY acked_at DESC, seq DESC LIMIT 1)
             FROM sync_state WHERE target_key = 'cloud'",
        )?;
        let marks = statement.query_row([TAKEN_UP, autosync::SEEN], |row| {
            let now = Standing::new(row.get(3)?, row.get(4)?, row.get_ref(5)?.as_str_or_null()?);
            Ok(Self {
                last_seq: row.get(0)?,
                taken_up: number(row.get_ref(1)?.as_str_or_null()?),
                now,
                seen: row.get(2)?,
            })
        });
        Ok(marks?)
    }

    /// Tells whether there are rows that were not taken up.
    fn is_more(&self) -> bool {
        self.last_seq > self.taken_up
    }

    /// Tells whether another program synced since our last look.
    fn has_moved(&self) -> bool {
        self.now != self.now.seen(self.seen.as_deref())
    }
}

fn number(text: Option<&str>) -> i64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// What a transaction of ours began with.
pub(super) struct Began {
    changes: u64,
    is_seen: bool,
}

/// Tells whether so much is to be taken up that a transaction of ours should not do it besides its own work (OWN-3).
pub(super) fn is_much(conn: &Connection) -> Result<bool, StoreError> {
    let marks = Marks::read(conn)?;
    Ok(marks.last_seq - marks.taken_up > MUCH || marks.has_moved())
}

/// Takes up everything that other processes wrote; a transaction of ours begins with it.
pub(super) fn take_up(conn: &Connection) -> Result<Began, StoreError> {
    let changes = conn.total_changes();
    let marks = Marks::read(conn)?;
    autosync::look(conn, &marks, || true)?;
    if marks.is_more() {
        take_up_rows(conn, theirs(conn, i64::MAX)?, || true)?;
    }
    Ok(Began { changes, is_seen: marks.seen.is_some() })
}

/// Takes up as much as there is room for, and at most so many rows.
pub(super) fn take_up_some(conn: &Connection, rows_max: u32, room: &Room) -> Result<(), StoreError> {
    let marks = Marks::read(conn)?;
    if !autosync::look(conn, &marks, || room.take(conn))? {
        return Ok(());
    }
    take_up_rows(conn, theirs(conn, i64::from(rows_max))?, || room.take(conn))?;
    autosync::remember(conn, &Marks::read(conn)?)
}

/// Says that every row is ours or was taken up; a transaction of ours ends with it.
pub(super) fn ours_to_here(conn: &Connection, began: &Began) -> Result<(), StoreError> {
    // Where not one row changed since then, all is as it was seen.
    if began.is_seen && conn.total_changes() == began.changes {
        return Ok(());
    }
    let marks = Marks::read(conn)?;
    if marks.is_more() {
        meta::set(conn, TAKEN_UP, Some(&marks.last_seq.to_string()))?;
    }
    autosync::remember(conn, &marks)
}

fn take_up_rows(conn: &Connection, rows: Vec<Row>, has_room: impl Fn() -> bool) -> Result<(), StoreError> {
    let mut through = None;
    for row in &rows {
        if !has_room() {
            break;
        }
        take_up_row(conn, row)?;
        through = Some(row.seq);
    }
    if let Some(through) = through {
        meta::set(conn, TAKEN_UP, Some(&through.to_string()))?;
    }
    Ok(())
}

/// Reads the next rows that other processes wrote.
fn theirs(conn: &Connection, rows_max: i64) -> Result<Vec<Row>, StoreError> {
    let after = meta::get_number(conn, TAKEN_UP)?;
    let mut statement = conn.prepare_cached(
        "SELECT seq, project, entity, entity_key, op, payload, occurred_at, acked_at IS NULL FROM sync_mutations
         WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let rows = statement.query_map([after, rows_max], |row| {
        Ok(Row {
            seq: row.get(0)?,
            project: row.get(1)?,
            entity: row.get(2)?,
            key: row.get(3)?,
            op: row.get(4)?,
            payload: row.get(5)?,
            occurred_at: row.get(6)?,
            is_pending: row.get(7)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn take_up_row(conn: &Connection, row: &Row) -> Result<(), StoreError> {
    let Row { seq, project, entity, key, payload, .. } = row;
    let Some(project) = naming::name(conn, &Unnamed { seq: *seq, project, entity, key, payload })? else {
        return if row.is_pending { hold(conn, row) } else { Ok(()) };
    };
    let (Some(entity), Some(op), Ok(mut payload)) = (Entity::parse(entity), Op::parse(&row.op), payload_text(payload))
    else {
        // What cannot be read is no version; pushing it sets it aside.
        return Ok(());
    };
    if row.is_pending && !stand_in::name_session((conn, row.seq), &project, (entity, key, op), &mut payload)? {
        return Ok(());
    }
    let Ok(version) = Version::read(entity, key, op, &payload) else { return Ok(()) };
    let occurred_at = RowTime::parse(&row.occurred_at);
    let at = occurred_at.or_else(|| version.time());
    let left = match at {
        Some(at) => moved::settle(conn, &project, entity, key, at)?,
        None => None,
    };
    let came = left.is_some();
    if row.is_pending {
        stamp_row(conn, left, Said { seq: *seq, project: &project, entity, key, op, payload, version, occurred_at })?;
    }
    // It may have gone on to another project meanwhile, with what this row says.
    if let (Some(at), false) = (at, came) {
        moved::settle_gone(conn, &project, entity, key, at)?;
    }
    Ok(())
}

/// Sets a row aside whose project nothing tells; it is never pushed (the peer's own push stops at it for ever).
fn hold(conn: &Connection, row: &Row) -> Result<(), StoreError> {
    let Some(now) = RowTime::parse(&row.occurred_at).or_else(|| RowTime::from_unix_s(1)) else { return Ok(()) };
    let aside = SetAside {
        kind: HeldKind::Quarantined,
        reason: ReasonCode::RowRejected,
        project: "",
        entity: &row.entity,
        key: &row.key,
        op: &row.op,
        journal_seq: Some(row.seq),
        cloud_seq: None,
        payload: &row.payload,
        evidence: "it names no project, and neither does its session; once the session has one, try it again",
        waits_for: None,
        now,
    };
    set_aside(conn, &aside).map(drop)
}

/// Stamps a row; `left` is what was known of its entity in another project, which it left.
fn stamp_row(conn: &Connection, left: Option<Version>, row: Said<'_>) -> Result<(), StoreError> {
    let known = versions::known(conn, row.project, row.entity, row.key)?;
    let mut before = known.clone().or(left);
    for earlier in versions::pending_until(conn, row.project, row.entity, row.key, row.seq)? {
        before = versions::join(before, earlier);
    }
    let written = Written { op: row.op, version: &row.version, occurred_at: row.occurred_at };
    let stamp = stamp::stamp(&written, before.as_ref(), known.is_some());
    let base = base(conn, &row, known.as_ref())?;
    if !stamp.fields.is_empty() {
        let mut payload = row.payload;
        payload.extend(stamp.fields);
        let text = serde_json::Value::Object(payload).to_string();
        journal::rewrite(conn, row.seq, &text)?;
    }
    if base.is_some() || stamp.takes_time {
        conn.prepare_cached(
            "INSERT INTO engramd_journal (seq, base, takes_time) VALUES (?1, ?2, ?3)
             ON CONFLICT (seq) DO UPDATE SET base = ?2, takes_time = ?3",
        )?
        .execute(params![row.seq, base.map(|hash| hash.to_string()), stamp.takes_time])?;
    }
    Ok(())
}

/// Finds the version that a row was written over: the journal row before it or else the known one, if that has one
/// revision less and no autosync may have put another one in its place. Where one may have, nobody can tell; but a journal
/// row that has no revision less is a rival, and so is one of two that both have one less, which only a base tells. Such two
/// are kept as conflicts.
fn base(conn: &Connection, row: &Said<'_>, known: Option<&Version>) -> Result<Option<Hash>, StoreError> {
    let Some(own) = versions::revision(&row.version) else { return Ok(None) };
    let may_be_pulled = reread::is_due(conn, row.project)?;
    let rows_max = if may_be_pulled { i64::MAX } else { 1 };
    let earlier = earlier(conn, (row.project, row.entity, row.key), row.seq, rows_max)?;
    let is_rival = |version: &Version| {
        versions::revision(version).is_some_and(|revision| revision >= own) && version.hash() != row.version.hash()
    };
    let parents = earlier.iter().filter(|(version, ..)| has_one_less(version, own));
    let of_two = parents.clone().map(|(version, ..)| version.hash()).collect::<BTreeSet<_>>().len() > 1;
    if may_be_pulled && !of_two && !earlier.iter().any(|(version, ..)| is_rival(version)) {
        return Ok(None);
    }
    // Which of two it was made over is a guess, and whoever takes the other one for its past loses it: both are listed.
    let at = row.occurred_at.or_else(|| row.version.time()).or_else(|| RowTime::from_unix_s(1));
    if let (true, Some(at)) = (may_be_pulled && of_two, at) {
        for (version, op, payload) in parents {
            conflict::keep(conn, (row.project, row.key), version, (op, payload), at)?;
        }
    }
    Ok(first_with_one_less(&earlier, known, own))
}

/// Finds the same of a pending row of which nobody could tell it, now that all was read again that may have come between.
///
/// # Errors
/// What SQLite says.
pub(super) fn base_by_now(
    conn: &Connection,
    name @ (project, entity, key): (&ProjectName, Entity, &str),
    (seq, version): (i64, &Version),
) -> Result<Option<Hash>, StoreError> {
    let Some(own) = versions::revision(version).filter(|&own| own > 1) else { return Ok(None) };
    let known = versions::known(conn, project, entity, key)?;
    Ok(first_with_one_less(&earlier(conn, name, seq, i64::MAX)?, known.as_ref(), own))
}

fn has_one_less(version: &Version, own: i64) -> bool {
    versions::revision(version).is_some_and(|revision| revision + 1 == own)
}

fn first_with_one_less(earlier: &[Earlier], known: Option<&Version>, own: i64) -> Option<Hash> {
    let all = earlier.iter().map(|(version, ..)| version).chain(known);
    all.into_iter().find(|version| has_one_less(version, own)).map(Version::hash)
}

/// A journal row: its version, operation and payload.
type Earlier = (Version, String, String);

/// Reads the rows of an entity before one that are not void, the newest first.
fn earlier(
    conn: &Connection,
    (project, entity, key): (&ProjectName, Entity, &str),
    seq: i64,
    rows_max: i64,
) -> Result<Vec<Earlier>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT m.op, m.payload FROM sync_mutations AS m INDEXED BY engramd_mutations_entity
             LEFT JOIN engramd_journal AS j ON j.seq = m.seq
         WHERE m.project = ?1 AND m.entity = ?2 AND m.entity_key = ?3 AND m.seq < ?4 AND j.void IS NULL
         ORDER BY m.seq DESC LIMIT ?5",
    )?;
    let mut rows = statement.query(params![project.as_str(), entity.as_str(), key, seq, rows_max])?;
    let mut earlier = Vec::new();
    while let Some(found) = rows.next()? {
        let (op, payload): (String, String) = (found.get(0)?, found.get(1)?);
        let version = versions::read(entity, key, &op, &payload);
        earlier.extend(version.map(|version| (version, op, payload)));
    }
    Ok(earlier)
}
