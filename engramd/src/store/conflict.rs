//! Versions that lost to one that had not seen them, kept once (CONV-6).

use super::error::StoreError;
use super::{chunks, served, versions};
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
    pending: &[Own<'_>],
    now: RowTime,
) -> Result<(), StoreError> {
    let journal = journal(conn, project, remote, key)?;
    if seen(&journal, remote) {
        return Ok(());
    }
    // What read repair sent once more is no edit: its base is itself.
    let is_edit = |own: &&Entry| own.base.as_deref() != Some(own.version.hash().to_string().as_str());
    let later = journal
        .iter()
        .filter(is_edit)
        .filter(|own| own.came_after(row))
        .map(|own| (&own.version, own.op.as_str(), own.payload.as_str()));
    let ours = pending.iter().copied().chain(later).reduce(|a, b| if b.0.leads(a.0) { b } else { a });
    ours.map_or(Ok(()), |ours| keep_loser(conn, (project, key), ours, (remote, row), now))
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
    let journal = journal(conn, name.0, brought, name.1)?;
    if seen(&journal, brought) {
        return Ok(());
    }
    let mut ours: Option<&Entry> = None;
    for own in journal.iter().filter(|own| own.cloud_seq.is_none()) {
        let leads = ours.is_none_or(|best| own.version.leads(&best.version));
        if leads && !chunks::is_in_any(conn, name, &own.version)? {
            ours = Some(own);
        }
    }
    let Some(ours) = ours else { return Ok(()) };
    keep_loser(conn, name, (&ours.version, &ours.op, &ours.payload), (brought, row), now)
}

/// Tells whether a version is one of our own, or one that an edit of ours had seen.
fn seen(journal: &[Entry], version: &Version) -> bool {
    journal.iter().any(|own| own.had_seen(version))
}

fn keep_loser(
    conn: &Connection,
    name: (&ProjectName, &str),
    (ours, op, payload): Own<'_>,
    (theirs, row): (&Version, &PulledMutation),
    now: RowTime,
) -> Result<(), StoreError> {
    if !ours.leads(theirs) {
        keep(conn, name, ours, (op, payload), now)
    } else if !theirs.leads(ours) {
        keep(conn, name, theirs, (&row.op, &row.payload.to_string()), now)
    } else {
        // Each has a register that wins: nothing was lost.
        Ok(())
    }
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
    let own: Vec<_> = journal(conn, project, remote, key)?.into_iter().map(|own| own.version).collect();
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

/// A journal row of the entity.
struct Entry {
    version: Version,
    op: String,
    payload: String,
    base: Option<String>,
    cloud_seq: Option<u64>,
}

impl Entry {
    /// Tells whether the server took it after this row. One that lost to the row on arrival has its number for a receipt;
    /// so has a session that was mixed into it, of which nothing was lost.
    fn came_after(&self, row: &PulledMutation) -> bool {
        let is_session = matches!(self.version, Version::Session(_));
        self.cloud_seq.is_some_and(|seq| seq > row.seq || seq == row.seq && !is_session)
    }

    /// Tells whether it is this version, or an edit of it.
    fn had_seen(&self, version: &Version) -> bool {
        let hash = version.hash();
        self.version.hash() == hash || self.base.as_deref() == Some(&hash.to_string())
    }
}

fn journal(conn: &Connection, project: &ProjectName, remote: &Version, key: &str) -> Result<Vec<Entry>, StoreError> {
    let entity = remote.entity();
    let mut statement = conn.prepare_cached(
        "SELECT m.op, m.payload, j.base, j.cloud_seq
         FROM sync_mutations AS m INDEXED BY engramd_mutations_entity LEFT JOIN engramd_journal AS j ON j.seq = m.seq
         WHERE m.project = ?1 AND m.entity = ?2 AND m.entity_key = ?3 AND j.void IS NOT 'mark'",
    )?;
    let mut rows = statement.query(params![project.as_str(), entity.as_str(), key])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let (op, payload): (String, String) = (row.get(0)?, row.get(1)?);
        let Some(version) = versions::read(entity, key, &op, &payload) else { continue };
        let cloud_seq = row.get::<_, Option<i64>>(3)?.and_then(|seq| u64::try_from(seq).ok());
        entries.push(Entry { version, op, payload, base: row.get(2)?, cloud_seq });
    }
    Ok(entries)
}

fn keep(
    conn: &Connection,
    (project, key): (&ProjectName, &str),
    loser: &Version,
    (op, payload): (&str, &str),
    now: RowTime,
) -> Result<(), StoreError> {
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
