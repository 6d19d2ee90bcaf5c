//! Taking the rows of a chunk: applied one by one, or only written down as being there.

use super::read;
use crate::peers::disguise;
use crate::store::chunks::{Part, Row};
use crate::store::{Store, StoreError};
use engram_proto::canonical::Hash;
use engram_proto::id::ProjectName;
use engram_proto::ipc::chunks::{ChunkName, ChunkRow, ChunkRows, ChunkTaken, ChunksHeld};
use engram_proto::ipc::reply::HeldRow;
use engram_proto::time::RowTime;

/// So many held rows are named at most; `held list` has them all.
const NAMED_MAX: u32 = 20;

/// Reads rows of chunks that were found at a place, as far as no store is needed for that: whoever has one does something
/// else meanwhile.
///
/// # Errors
/// [`StoreError::Invalid`] for a hash that is none.
pub fn read_rows(place: &str, parts: &[ChunkRows]) -> Result<Vec<Part>, StoreError> {
    let read = |part: &ChunkRows| {
        let rows = part.rows.iter().filter_map(read_row).collect();
        let (place, id, hash) = (place.to_owned(), part.of.id.clone(), hash(&part.of)?);
        Ok(Part { place, id, hash, count: part.rows.len() as u64, rows, last: part.last })
    };
    parts.iter().map(read).collect()
}

/// Reads a row; none where it says nothing.
fn read_row(row: &ChunkRow) -> Option<Row> {
    let mut row = read::read(row);
    let project = ProjectName::parse(&row.project).ok();
    if let Some(project) = &project {
        row.project = project.to_string();
    }
    disguise::take_back(&mut row).then(|| Row::read(project, row))
}

/// Takes some rows of chunks that were found at a place; a chunk counts as read with its last ones.
///
/// # Errors
/// What SQLite says.
pub fn take(
    store: &mut Store,
    (place, apply): (&str, bool),
    parts: &[Part],
    now: RowTime,
) -> Result<ChunkTaken, StoreError> {
    let mut taken = ChunkTaken { rows: parts.iter().map(|part| part.count).sum(), ..ChunkTaken::default() };
    if apply {
        for (project, applied) in store.bring(parts, now)? {
            taken.changed += applied.changed;
            taken.queued += applied.queued;
            taken.projects.push(project.to_string());
        }
        taken.is_any_held = store.is_any_held_at(place)?;
    } else {
        store.chunks_learn(parts, now)?;
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
    parts: &mut Vec<Part>,
    now: RowTime,
) -> Result<(), StoreError> {
    let named: Vec<_> = parts.iter().map(|part| (part.id.clone(), part.hash)).collect();
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

/// Names what is held of the chunks that lie at a place, after stand-ins were made where every chunk was read
/// ([`Store::stand_ins_of_import`]).
///
/// # Errors
/// What SQLite says.
pub fn held(store: &Store, place: &str) -> Result<ChunksHeld, StoreError> {
    let (held, named) = store.held_at(place, NAMED_MAX)?;
    Ok(ChunksHeld { held, named: named.iter().map(words).collect() })
}

fn words(row: &HeldRow) -> String {
    let of = if row.project.is_empty() { "no project".to_owned() } else { format!("project {}", row.project) };
    format!("{} {} {} of {of}: {}", row.kind.as_str(), row.entity, row.entity_key, row.evidence)
}
