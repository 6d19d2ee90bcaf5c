//! Taking the rows of a chunk: applied one by one, or only written down as being there.

use super::read;
use crate::peers::disguise;
use crate::store::chunks::Part;
use crate::store::{Store, StoreError};
use engram_proto::canonical::Hash;
use engram_proto::id::ProjectName;
use engram_proto::ipc::chunks::{ChunkName, ChunkRows, ChunkTaken, ChunksHeld};
use engram_proto::ipc::reply::{HeldKind, HeldRow};
use engram_proto::time::RowTime;
use std::collections::BTreeSet;

/// So many held rows are named at most; `held list` has them all.
const NAMED_MAX: usize = 20;

/// Takes some rows of chunks that were found at a place; a chunk counts as read with its last ones.
///
/// # Errors
/// [`StoreError::Invalid`] for a hash that is none, and what SQLite says.
pub fn take(
    store: &mut Store,
    (place, apply): (&str, bool),
    parts: &[ChunkRows],
    now: RowTime,
) -> Result<ChunkTaken, StoreError> {
    let (mut taken, mut read) = (ChunkTaken::default(), Vec::new());
    for ChunkRows { of, rows, last } in parts {
        let mut part = Part {
            place: place.to_owned(),
            id: of.id.clone(),
            hash: hash(of)?,
            rows: Vec::with_capacity(rows.len()),
            last: *last,
        };
        for row in rows {
            match read::entry(store, row)? {
                Ok((project, mut row)) => {
                    row.project = project.to_string();
                    if disguise::take_back(&mut row) {
                        part.rows.push((project, row));
                    }
                }
                Err(reason) => taken.skipped.push((of.id.clone(), reason)),
            }
        }
        taken.rows += rows.len() as u64;
        read.push(part);
    }
    if apply {
        for (project, applied) in store.bring(&read, now)? {
            taken.changed += applied.changed;
            taken.queued += applied.queued;
            taken.projects.push(project.to_string());
        }
    } else {
        store.chunks_learn(&read, now)?;
    }
    Ok(taken)
}

/// Leaves out whole chunks whose rows are not wanted, as [`Store::chunks_wanted`] tells; that these lie there is kept.
///
/// # Errors
/// Those of [`take`].
pub fn leave_unwanted(
    store: &mut Store,
    (place, apply): (&str, bool),
    parts: &mut Vec<ChunkRows>,
    now: RowTime,
) -> Result<(), StoreError> {
    let named = parts.iter().map(|part| Ok((part.of.id.clone(), hash(&part.of)?)));
    let named = named.collect::<Result<Vec<_>, StoreError>>()?;
    if store.knows_none(&named)? {
        return Ok(());
    }
    let mut wanted = store.chunks_wanted(place, &named, apply, now)?.into_iter();
    parts.retain(|_| wanted.next().unwrap_or(true));
    Ok(())
}

/// Reads the hash that a chunk is named with.
///
/// # Errors
/// [`StoreError::Invalid`] for one that is none.
pub fn hash(name: &ChunkName) -> Result<Hash, StoreError> {
    Hash::from_hex(&name.hash).ok_or_else(|| StoreError::Invalid(format!("{:?} is no hash of a chunk", name.hash)))
}

/// Names what is still held of what an import brought, after stand-ins were made where every chunk was read
/// ([`Store::stand_ins_of_import`]).
///
/// # Errors
/// What SQLite says.
pub fn held(store: &Store, projects: &[ProjectName], held_since: i64) -> Result<ChunksHeld, StoreError> {
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
