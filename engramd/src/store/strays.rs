//! Rows of enrolled projects that nobody tells of, looked for once a day: a Go process moved them here from a project that
//! nobody looks at, or merged two projects, and the journal heard nothing (D12; peers.md, "Rows changed without a journal
//! row").

use super::apply::Applying;
use super::error::StoreError;
use super::{backfill, desired, reread};
use engram_proto::time::RowTime;
use serde::{Deserialize, Serialize};

/// Sessions, memories and prompts move. A tombstone of a prompt, and a relation, tells of what is known elsewhere.
const TABLES: usize = 3;

/// Where the walk is: in one table of one project, behind a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    project: String,
    table: usize,
    after: i64,
}

/// Queues what nobody tells of among the next rows, of which it looks at `rows_max` at most; returns where the walk goes
/// on, `None` at its end.
///
/// What another program may have pulled tells nothing until it was read again; it waits for the next day.
pub(super) fn look(
    applying: &Applying<'_>,
    place: &Place,
    rows_max: u32,
    now: RowTime,
) -> Result<Option<Place>, StoreError> {
    let conn = applying.conn();
    let enrolled = desired::enrolled(conn)?;
    let Some(project) = enrolled.iter().find(|name| name.as_str() >= place.project.as_str()) else { return Ok(None) };
    let (table, after) = if project.as_str() == place.project { (place.table, place.after) } else { (0, 0) };
    if table < TABLES && !reread::is_due(conn, project)? {
        let (table, after) = backfill::walk(conn, project, (table, after), rows_max, || applying.takes(), now)?;
        return Ok(Some(Place { project: project.to_string(), table, after }));
    }
    let next = enrolled.iter().find(|name| *name > project);
    Ok(next.map(|next| Place { project: next.to_string(), ..Place::default() }))
}
