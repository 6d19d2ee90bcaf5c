//! Chunks that a cloud lists: which were read, which are to be read, and which could not be.
//!
//! One that could not be is held like a row that cannot be applied, until it could, is not listed any more, or is given up.

use super::super::Store;
use super::super::desired;
use super::super::error::StoreError;
use super::super::held::{self, SetAside};
use super::super::meta;
use engram_proto::http::pull::ChunksRead;
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::HeldKind;
use engram_proto::reason::ReasonCode;
use engram_proto::time::RowTime;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Value, json};

/// Stands for the entity of a held chunk.
pub(in super::super) const ENTITY: &str = "chunk";

/// What of a list is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Nothing is known of these.
    pub new: Vec<String>,
    /// These were passed over; some may not be listed any more.
    pub again: Vec<String>,
    /// Whether it was written down before that nothing of this list is new.
    pub is_told: bool,
}

impl Store {
    /// Compares a list of chunks, by their ids in order, with what was read of a project; `list` is what tells one from
    /// another. What a Go process on this store read is read as well: its deletes left no trace here (peers.md, "Rows
    /// changed without a journal row").
    ///
    /// # Errors
    /// What SQLite says.
    pub fn chunks_unread(
        &self,
        cloud_id: &str,
        project: &ProjectName,
        list: &str,
        ids: &[String],
    ) -> Result<Unread, StoreError> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT entity_key FROM engramd_held WHERE project = ?1 AND entity = ?2 ORDER BY entity_key",
            )?;
            let again = statement.query_map([project.as_str(), ENTITY], |row| row.get(0))?;
            let again = again.collect::<Result<Vec<String>, _>>()?;
            let is_told = meta::get(conn, &list_key(cloud_id, project))?.as_deref() == Some(list);
            let mut new = if is_told { Vec::new() } else { not_read(conn, cloud_id, project, ids)? };
            new.retain(|id| again.binary_search(id).is_err());
            Ok(Unread { new, again, is_told })
        })
    }
}

fn list_key(cloud_id: &str, project: &ProjectName) -> String {
    format!("chunk_list:{cloud_id}:{project}")
}

fn not_read(
    conn: &Connection,
    cloud_id: &str,
    project: &ProjectName,
    ids: &[String],
) -> Result<Vec<String>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT id FROM engramd_cloud_chunk WHERE cloud_id = ?1 AND project = ?2 ORDER BY id")?;
    let mut rows = statement.query([cloud_id, project.as_str()])?;
    let (mut new, mut ids) = (Vec::new(), ids.iter().peekable());
    while let Some(row) = rows.next()? {
        let read = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        while let Some(id) = ids.next_if(|id| id.as_str() < read) {
            new.push(id.clone());
        }
        let _ = ids.next_if(|id| id.as_str() == read);
    }
    new.extend(ids.cloned());
    Ok(new)
}

/// Writes down what became of chunks that a cloud lists, with the page that has their rows.
///
/// A Go process on this store passes over one that is listed as imported; one that is held it may read itself.
pub(in super::super) fn note_read(
    conn: &Connection,
    cloud_id: &str,
    project: &ProjectName,
    chunks: &ChunksRead,
    now: RowTime,
) -> Result<(), StoreError> {
    if !desired::is_enrolled(conn, project)? {
        return Ok(());
    }
    for id in &chunks.read {
        is_done(conn, cloud_id, project.as_str(), id)?;
        conn.prepare_cached(
            "INSERT OR IGNORE INTO sync_chunks (target_key, chunk_id, imported_at) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![format!("cloud:{project}"), id, now.to_string()])?;
    }
    for id in chunks.read.iter().chain(&chunks.unlisted) {
        if let Some(held) = held_row(conn, project, id)? {
            held::release(conn, held)?;
        }
    }
    for (id, why) in &chunks.passed_over {
        hold(conn, (cloud_id, project), (id, why), now)?;
    }
    match &chunks.list {
        Some(list) => meta::set(conn, &list_key(cloud_id, project), Some(list)),
        None => Ok(()),
    }
}

/// Writes down that nothing of a chunk is to be read any more.
fn is_done(conn: &Connection, cloud_id: &str, project: &str, id: &str) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT OR IGNORE INTO engramd_cloud_chunk (cloud_id, project, id) VALUES (?1, ?2, ?3)")?
        .execute([cloud_id, project, id])?;
    Ok(())
}

/// Writes down that somebody gave a held chunk up.
pub(in super::super) fn give_up(conn: &Connection, project: &str, id: &str, payload: &str) -> Result<(), StoreError> {
    let payload: Value = serde_json::from_str(payload).unwrap_or_default();
    is_done(conn, payload["cloud_id"].as_str().unwrap_or_default(), project, id)
}

fn held_row(conn: &Connection, project: &ProjectName, id: &str) -> Result<Option<i64>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT id FROM engramd_held WHERE project = ?1 AND entity = ?2 AND entity_key = ?3")?;
    Ok(statement.query_row([project.as_str(), ENTITY, id], |row| row.get(0)).optional()?)
}

fn hold(
    conn: &Connection,
    (cloud_id, project): (&str, &ProjectName),
    (id, why): (&str, &str),
    now: RowTime,
) -> Result<(), StoreError> {
    let evidence = format!("{why}; it is asked for again with every pull");
    if let Some(held) = held_row(conn, project, id)? {
        conn.prepare_cached("UPDATE engramd_held SET evidence = ?2 WHERE id = ?1 AND evidence <> ?2")?
            .execute(params![held, evidence])?;
        return Ok(());
    }
    let aside = SetAside {
        kind: HeldKind::Dead,
        reason: ReasonCode::RowUndeliverable,
        project: project.as_str(),
        entity: ENTITY,
        key: id,
        op: "read",
        journal_seq: None,
        cloud_seq: None,
        payload: &json!({"cloud_id": cloud_id, "id": id}).to_string(),
        evidence: &evidence,
        waits_for: None,
        now,
    };
    held::set_aside(conn, &aside).map(drop)
}
