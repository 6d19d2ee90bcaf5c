//! Slices: the journal's next rows as a chunk, in the form in which the `GET` form shows them to a Go client.
//!
//! An importing client applies a chunk in an order of its own (sessions, other upserts, deletes), lets the last one
//! win, and stops for ever at a row whose parent it lacks. So a slice holds of each entity what stands at its end, and a
//! relation only where both of its memories were told.

use crate::api::peers::page::{self, Page};
use crate::auth::Grant;
use crate::journal::rail::{NewChunk, RailState, Slice};
use crate::journal::{GrantAsk, GrantRows, Journal, JournalError};
use engram_proto::chunk::{Chunk, ChunkMutation, encode};
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::mutation::{Entity, Op, payload_object, text_of};
use engram_proto::time::RowTime;
use std::collections::{BTreeMap, BTreeSet};

/// Rows of the journal in one slice.
const ROWS_MAX: usize = 500;

/// Bytes of payload in one slice, save for a single row that is larger.
const BYTES_MAX: usize = 1024 * 1024;

/// Who is named for a chunk that nobody pushed.
const MADE_BY: &str = "engram-cloud";

/// The Go program's word for a row that is on its way to a cloud.
const TARGET: &str = "cloud";

/// Makes slices until the list of chunks tells every row that is there now.
///
/// Each one is kept as it is made: whoever is cut off goes on there the next time.
pub(super) async fn tell_all<J: Journal>(journal: &J, project: &ProjectName) -> Result<(), JournalError> {
    let mut rail = journal.rail(project).await?;
    let goal = rail.head;
    while rail.told_to < goal {
        let slice = next(journal, project, rail).await?;
        // Where another request was faster, this one goes on behind what that one told.
        journal.tell(slice).await?;
        rail = journal.rail(project).await?;
    }
    Ok(())
}

async fn next<J: Journal>(journal: &J, project: &ProjectName, rail: RailState) -> Result<Slice, JournalError> {
    let grant = Grant::Only(BTreeSet::from([project.clone()]));
    let ask = GrantAsk { grant, since_seq: rail.told_to, rows_max: ROWS_MAX, bytes_max: BYTES_MAX };
    let GrantRows { rows, has_more, read_to } = journal.grant_page(ask).await?;
    // Behind the last of these there may be rows of newer programs, which no Go client sees.
    let upto = if has_more { read_to } else { read_to.max(rail.head) };
    let ends = rows.iter().flat_map(ends_of).collect();
    let standing = journal.standing(project, ends, upto).await?;
    let rows = page::read(rows);
    let sessions = journal.sessions(page::named(&rows)).await?;
    let mut page = Page::new(rail.told_to, usize::MAX);
    for row in rows {
        page.take(row, &sessions);
    }
    let told = page.into_rows().into_iter().filter(|row| ends_of(row).iter().all(|end| standing.contains(end)));
    Ok(Slice { project: project.clone(), after: rail.told_to, upto, chunk: chunk_of(project, told.collect()) })
}

/// Returns the memories that a relation joins; none of any other row.
fn ends_of(row: &PulledMutation) -> Vec<String> {
    let payload = payload_object(row.payload.clone()).ok();
    let payload = payload.filter(|_| Entity::parse(&row.entity) == Some(Entity::Relation)).unwrap_or_default();
    let ends = ["source_id", "target_id"].into_iter().filter_map(|end| text_of(&payload, end));
    ends.map(str::to_owned).collect()
}

fn chunk_of(project: &ProjectName, rows: Vec<PulledMutation>) -> Option<NewChunk> {
    let rows = in_order_of_import(what_stands(rows));
    if rows.is_empty() {
        return None;
    }
    let count = |entity: Entity| {
        let upserts = rows.iter().filter(|row| row.entity == entity.as_str() && row.op == Op::Upsert.as_str());
        let keys: BTreeSet<&str> = upserts.map(|row| row.entity_key.as_str()).collect();
        u64::try_from(keys.len()).unwrap_or(u64::MAX)
    };
    let counts = [Entity::Session, Entity::Observation, Entity::Prompt].map(count);
    let of_sessions = rows.iter().filter(|row| row.entity == Entity::Session.as_str());
    let sessions = of_sessions.map(|row| row.entity_key.clone()).collect();
    let chunk = Chunk { mutations: rows.into_iter().map(mutation).collect(), ..Chunk::default() };
    // Both are JSON of our own making.
    let text = serde_json::to_value(&chunk).ok().and_then(|chunk| String::from_utf8(encode(&chunk)).ok())?;
    let created_by = MADE_BY.to_owned();
    Some(NewChunk { project: project.clone(), text, created_by, client_created_at_us: None, counts, sessions })
}

/// Keeps of each entity its last upsert and, where one came after that, its last delete.
fn what_stands(rows: Vec<PulledMutation>) -> Vec<PulledMutation> {
    let is_delete = |row: &PulledMutation| row.op == Op::Delete.as_str();
    let name = |row: &PulledMutation| (row.entity.clone(), row.entity_key.clone());
    let (mut last, mut last_upsert) = (BTreeMap::new(), BTreeMap::new());
    for (at, row) in rows.iter().enumerate() {
        last.insert(name(row), at);
        if !is_delete(row) {
            last_upsert.insert(name(row), at);
        }
    }
    let stands =
        |at: usize, row: &PulledMutation| last.get(&name(row)) == Some(&at) || last_upsert.get(&name(row)) == Some(&at);
    rows.into_iter().enumerate().filter(|(at, row)| stands(*at, row)).map(|(_, row)| row).collect()
}

/// Sorts as a client applies it, relations behind the memories that they join.
fn in_order_of_import(mut rows: Vec<PulledMutation>) -> Vec<PulledMutation> {
    rows.sort_by_key(|row| (row.op == Op::Delete.as_str(), Entity::parse(&row.entity)));
    rows
}

/// Writes a row; its number makes every slice another chunk, even where one says what an earlier one said.
fn mutation(row: PulledMutation) -> ChunkMutation {
    let occurred_at = RowTime::parse(&row.occurred_at).map(|at| at.to_string()).unwrap_or_default();
    ChunkMutation {
        seq: row.seq.cast_signed(),
        target_key: TARGET.to_owned(),
        entity: row.entity,
        entity_key: row.entity_key,
        op: row.op,
        payload: row.payload.to_string(),
        source: String::new(),
        project: row.project,
        occurred_at,
        acked_at: None,
    }
}
