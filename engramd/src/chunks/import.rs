//! Taking the rows of a chunk: applied one by one, or only written down as being there.

use super::read::{self, Entry};
use crate::peers::disguise;
use crate::store::{Store, StoreError};
use engram_proto::canonical::Hash;
use engram_proto::id::ProjectName;
use engram_proto::ipc::chunks::{ChunkRows, ChunkTaken, ChunksHeld};
use engram_proto::ipc::reply::{HeldKind, HeldRow};
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op, payload_object};
use engram_proto::time::RowTime;
use std::collections::BTreeSet;

/// So many held rows are named at most; `held list` has them all.
const NAMED_MAX: usize = 20;

/// Takes some rows; with the last ones the chunk counts as read.
///
/// # Errors
/// [`StoreError::Invalid`] for a hash that is none, and what SQLite says.
pub fn take(store: &mut Store, part: &ChunkRows, now: RowTime) -> Result<ChunkTaken, StoreError> {
    let hash = Hash::from_hex(&part.of.hash)
        .ok_or_else(|| StoreError::Invalid(format!("{:?} is no hash of a chunk", part.of.hash)))?;
    let (mut entries, mut skipped) = (Vec::new(), Vec::new());
    for row in &part.rows {
        match read::entry(store, row)? {
            Ok((project, mut row)) => {
                row.project = project.to_string();
                if disguise::take_back(&mut row) {
                    entries.push((project, row));
                }
            }
            Err(reason) => skipped.push(format!("chunk {}: {reason}", part.of.id)),
        }
    }
    let chunk = store.chunk_number(hash, now)?;
    let mut taken = ChunkTaken { rows: part.rows.len() as u64, skipped, ..ChunkTaken::default() };
    if part.of.apply {
        for (project, applied) in store.bring(chunk, &entries, now)? {
            taken.changed += applied.changed;
            taken.queued += applied.queued;
            taken.projects.push(project.to_string());
        }
    } else {
        let versions: Vec<_> = entries.into_iter().filter_map(version).collect();
        store.chunk_learn(chunk, &versions, now)?;
    }
    if part.last {
        store.chunk_read((&part.of.place, &part.of.id), chunk, part.of.apply, now)?;
    }
    Ok(taken)
}

fn version((project, row): Entry) -> Option<(ProjectName, String, Version)> {
    let (entity, op) = (Entity::parse(&row.entity)?, Op::parse(&row.op)?);
    let payload = payload_object(row.payload).ok()?;
    let version = Version::read(entity, &row.entity_key, op, &payload).ok()?;
    Some((project, row.entity_key, version))
}

/// Ends an import: makes stand-ins where every chunk was read, and names what is still held of what it brought.
///
/// # Errors
/// What SQLite says.
pub fn finish(
    store: &mut Store,
    projects: &[ProjectName],
    complete: bool,
    held_since: i64,
    now: RowTime,
) -> Result<ChunksHeld, StoreError> {
    if complete {
        for project in projects {
            store.stand_ins_of_import(project, now)?;
        }
    }
    let names: BTreeSet<&str> = projects.iter().map(ProjectName::as_str).collect();
    let mut held = ChunksHeld::default();
    for row in store.held_since(held_since)? {
        if names.contains(row.project.as_str()) && row.kind != HeldKind::Quarantined {
            held.held += 1;
            if held.named.len() < NAMED_MAX {
                held.named.push(words(&row));
            }
        }
    }
    Ok(held)
}

fn words(row: &HeldRow) -> String {
    format!("{} {} {} of project {}: {}", row.kind.as_str(), row.entity, row.entity_key, row.project, row.evidence)
}
