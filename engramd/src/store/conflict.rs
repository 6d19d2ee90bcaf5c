//! Versions that lost to one that had not seen them, kept once (CONV-6).

use super::error::StoreError;
use super::{chunks, journal, reread, served, versions};
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::merge::{Version, rival};
use engram_proto::time::RowTime;
use rusqlite::{Connection, params};

/// An edit of ours: its version, operation and payload.
type Own<'a> = (&'a Version, &'a str, &'a str);

/// Records the loser between a remote version that is news and our newest edit that it had not seen: one that is
/// pending, that was accepted under a later number, or that lost to it on arrival.
pub(super) fn note(
    conn: &Connection,
    (project, key): (&ProjectName, &str),
    row: &PulledMutation,
    remote: &Version,
    now: RowTime,
) -> Result<(), StoreError> {
    let own = entries(conn, project, remote, key)?;
    if seen(&own, remote) {
        return Ok(());
    }
    let ours = own
        .iter()
        .filter(|one| one.is_open || one.came_after(row, remote))
        .filter(|one| !one.only_repeats() || own.iter().any(|other| other.is_the_edit_of(one)))
        .reduce(|a, b| if b.version.leads(&a.version) { b } else { a });
    let Some(ours) = ours else { return Ok(()) };
    // What comes may be what autosync had put between the two.
    let is_over = |later: &Entry, one: &Entry| later.is_over(one) && !later.may_be_over(remote, one);
    let beside = own.iter().filter(|one| one.waits_beside(ours));
    for one in beside.filter(|one| !own.iter().any(|later| is_over(later, one))) {
        keep_loser(conn, (project, key), (&one.version, &one.op, &one.payload), (remote, row), now)?;
        // Whoever hears of the later one takes this one for its past.
        if own.iter().any(|later| later.is_over(one)) {
            keep(conn, (project, key), &one.version, (&one.op, &one.payload), now)?;
        }
    }
    keep_loser(conn, (project, key), (&ours.version, &ours.op, &ours.payload), (remote, row), now)
}

/// Records pending edits that lose to a remote version, whether that is news or not, although a row here had seen it: they
/// were made by a clock that is behind while autosync moved, or autosync put it in their place, or another edit of it beats
/// them. `merged` is what comes of all.
pub(super) fn note_edits_of(
    conn: &Connection,
    (project, key): (&ProjectName, &str),
    (remote, merged): (&Version, &Version),
    now: RowTime,
) -> Result<(), StoreError> {
    let own = entries(conn, project, remote, key)?;
    if !seen(&own, remote) {
        return Ok(());
    }
    // Autosync may have put it here, and the Go program, when it was opened, queued a delete of it as one of its own (D1).
    let may_repeat = reread::is_due(conn, project)?;
    let is_over = |later: &Entry, one: &Entry| later.is_over(one) && !(may_repeat && later.may_repeat(remote));
    let edits = own.iter().filter(|one| one.is_open && !one.only_repeats());
    let beaten = edits.filter(|one| ![remote.hash(), merged.hash()].contains(&one.version.hash()));
    for one in beaten.filter(|one| loses_to(&one.version, remote) && !own.iter().any(|later| is_over(later, one))) {
        keep(conn, (project, key), &one.version, (&one.op, &one.payload), now)?;
    }
    Ok(())
}

/// Records the loser between a version that a chunk brought and our newest edit that went neither to a chunk nor to the
/// cloud: nobody who wrote into a chunk can have seen it, and it has not seen what comes in now.
pub(super) fn note_brought(
    conn: &Connection,
    name: (&ProjectName, &str),
    row: &PulledMutation,
    brought: &Version,
    now: RowTime,
) -> Result<(), StoreError> {
    let own = entries(conn, name.0, brought, name.1)?;
    if seen(&own, brought) {
        return Ok(());
    }
    let mut ours: Option<&Entry> = None;
    for one in own.iter().filter(|one| one.cloud_seq.is_none()) {
        let leads = ours.is_none_or(|best| one.version.leads(&best.version));
        if leads && !chunks::is_in_any(conn, name, &one.version)? {
            ours = Some(one);
        }
    }
    let Some(ours) = ours else { return Ok(()) };
    keep_loser(conn, name, (&ours.version, &ours.op, &ours.payload), (brought, row), now)
}

/// Tells whether a version is one of our own, or one that an edit of ours had seen.
fn seen(own: &[Entry], version: &Version) -> bool {
    own.iter().any(|one| one.had_seen(version))
}

fn keep_loser(
    conn: &Connection,
    name: (&ProjectName, &str),
    (ours, op, payload): Own<'_>,
    (theirs, row): (&Version, &PulledMutation),
    now: RowTime,
) -> Result<(), StoreError> {
    // Two that say the same lose nothing, such as two deletes.
    if ours.hash() == theirs.hash() {
        return Ok(());
    }
    if loses_to(ours, theirs) {
        keep(conn, name, ours, (op, payload), now)?;
    }
    if loses_to(theirs, ours) {
        keep(conn, name, theirs, (&row.op, &row.payload.to_string()), now)?;
    }
    Ok(())
}

/// Records, by the door's rule, what was lost on a server that keeps no conflicts: a version that comes and that it never
/// held, or the current one that it overwrites, if it had not seen it (peers.md, "Our devices on a Go server").
pub(super) fn judge(
    conn: &Connection,
    cloud_id: &str,
    (project, key): (&ProjectName, &str),
    row: &PulledMutation,
    remote: &Version,
    current: &Version,
    now: RowTime,
) -> Result<(), StoreError> {
    let own: Vec<_> = entries(conn, project, remote, key)?.into_iter().map(|own| own.version).collect();
    if remote == current || rival::was_held(remote, &own) {
        return Ok(());
    }
    let served = served::before(conn, cloud_id, (project, key), remote.entity(), row.seq)?;
    let held: Vec<_> = served.iter().map(|served| served.version.clone()).collect();
    if current.leads(remote) && !rival::was_held(remote, &held) {
        keep(conn, (project, key), remote, (&row.op, &row.payload.to_string()), now)?;
    }
    // A request's rows have one time.
    let came_at = served.iter().find(|served| !served.version.leads(current) && !current.leads(&served.version));
    let came_at = came_at.filter(|served| served.first_at != row.occurred_at);
    let came_at = came_at.and_then(|served| RowTime::parse(&served.first_at));
    if remote.leads(current)
        && rival::overwrites_unseen(remote, current, came_at, &held)
        && let Some((op, payload)) = current.write(project, key)
    {
        let payload = serde_json::Value::Object(payload).to_string();
        keep(conn, (project, key), current, (op.as_str(), &payload), now)?;
    }
    Ok(())
}

/// Tells whether something that a version says is not in the join with another one. What a session's register does not
/// know cannot be lost, so two sessions may each keep what they know, or each lose some of it.
fn loses_to(version: &Version, other: &Version) -> bool {
    match (version, other) {
        (Version::Session(own), Version::Session(other)) => {
            own.start.known && own.start < other.start && own.start.directory != other.start.directory
                || own.end.known && own.end < other.end && own.end.summary != other.end.summary
        }
        _ => !version.leads(other),
    }
}

/// A journal row of the entity.
struct Entry {
    seq: i64,
    version: Version,
    op: String,
    payload: String,
    base: Option<String>,
    cloud_seq: Option<u64>,
    /// Whether no reply named it yet, nor anything else ended it.
    is_open: bool,
}

impl Entry {
    /// Tells whether the server took it after this row. One that lost to the row on arrival has its number for a receipt.
    fn came_after(&self, row: &PulledMutation, remote: &Version) -> bool {
        self.cloud_seq.is_some_and(|seq| seq > row.seq || seq == row.seq && loses_to(&self.version, remote))
    }

    /// Tells whether it is no edit, but what this device knew, sent once more: its base is itself, or nothing.
    fn only_repeats(&self) -> bool {
        let itself = self.version.hash().to_string();
        self.base.as_deref().is_some_and(|base| base == itself || base == journal::NO_EDIT)
    }

    /// Tells whether it is the edit that a row repeats.
    fn is_the_edit_of(&self, repeats: &Self) -> bool {
        !self.only_repeats() && self.version.hash() == repeats.version.hash()
    }

    /// Tells whether it waits beside the newest edit; it is a rival where that was not made over it: a Go process wrote over
    /// what autosync had put in its place.
    fn waits_beside(&self, newest: &Self) -> bool {
        self.is_open && !self.only_repeats() && self.version.hash() != newest.version.hash()
    }

    /// Tells whether it came later than another row here and, as far as anybody can tell, was made over that: an edit has a
    /// greater revision.
    fn is_over(&self, earlier: &Self) -> bool {
        let base = self.base.as_deref().filter(|&base| base != journal::NO_EDIT);
        let revisions = versions::revision(&self.version).zip(versions::revision(&earlier.version));
        let may_be = revisions.is_none_or(|(own, before)| own > before);
        self.seq > earlier.seq && base.map_or(may_be, |base| base == earlier.version.hash().to_string())
    }

    /// Tells whether it may have been made over a version that is as new as an earlier row here at least, and not over that:
    /// nobody knows what it was made over.
    fn may_be_over(&self, version: &Version, earlier: &Self) -> bool {
        let [own, between, before] = [&self.version, version, &earlier.version].map(versions::revision);
        self.base.is_none() && before <= between && between < own
    }

    /// Tells whether it says what a version says, and nobody knows what it was made over.
    fn may_repeat(&self, version: &Version) -> bool {
        let is_later = self.version.leads(version) || version.leads(&self.version);
        self.base.is_none() && self.version.hash() == version.hash() && !is_later
    }

    /// Tells whether it is this version, or an edit of it. All deletes of a memory have one hash, so that of another one
    /// tells nothing: what is older than a delete had not seen it.
    fn had_seen(&self, version: &Version) -> bool {
        let hash = version.hash();
        let has_its_hash = self.version.hash() == hash || self.base.as_deref() == Some(&hash.to_string());
        has_its_hash && !(version.is_delete() && version.leads(&self.version))
    }
}

fn entries(conn: &Connection, project: &ProjectName, remote: &Version, key: &str) -> Result<Vec<Entry>, StoreError> {
    let entity = remote.entity();
    let mut statement = conn.prepare_cached(
        "SELECT m.op, m.payload, j.base, j.cloud_seq, m.acked_at IS NULL, m.seq
         FROM sync_mutations AS m INDEXED BY engramd_mutations_entity LEFT JOIN engramd_journal AS j ON j.seq = m.seq
         WHERE m.project = ?1 AND m.entity = ?2 AND m.entity_key = ?3 AND j.void IS NOT 'mark'",
    )?;
    let mut rows = statement.query(params![project.as_str(), entity.as_str(), key])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (op, payload): (String, String) = (row.get(0)?, row.get(1)?);
        let Some(version) = versions::read(entity, key, &op, &payload) else { continue };
        let cloud_seq = row.get::<_, Option<i64>>(3)?.and_then(|seq| u64::try_from(seq).ok());
        found.push(Entry {
            seq: row.get(5)?,
            version,
            op,
            payload,
            base: row.get(2)?,
            cloud_seq,
            is_open: row.get(4)?,
        });
    }
    Ok(found)
}

/// Keeps a version that lost, once. One whose text is gone, for the memory was deleted for good, cannot be shown.
pub(super) fn keep(
    conn: &Connection,
    (project, key): (&ProjectName, &str),
    loser: &Version,
    (op, payload): (&str, &str),
    now: RowTime,
) -> Result<(), StoreError> {
    if !versions::has_text(loser) {
        return Ok(());
    }
    conn.prepare_cached(
        "INSERT OR IGNORE INTO engramd_conflict (project, entity, entity_key, hash, op, payload, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        project.as_str(),
        loser.entity().as_str(),
        key,
        loser.hash().to_string(),
        op,
        payload,
        now.to_string()
    ])?;
    Ok(())
}
