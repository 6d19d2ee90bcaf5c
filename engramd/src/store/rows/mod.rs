//! The shared tables as rows of versions: one file per entity, each reads and writes its own table.

pub(super) mod observation;
pub(super) mod prompt;
pub(super) mod relation;
pub(super) mod session;

use super::error::StoreError;
use engram_proto::time::RowTime;
use rusqlite::Row;
use rusqlite::types::ValueRef;

/// Reads a time column; whatever is not a time is an unknown one.
fn time_at(row: &Row<'_>, column: usize) -> Result<Option<RowTime>, StoreError> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(text) => std::str::from_utf8(text).ok().and_then(RowTime::parse),
        _ => None,
    })
}

/// Reads a text column where null and empty mean that there is none.
fn filled(row: &Row<'_>, column: usize) -> Result<Option<String>, StoreError> {
    Ok(row.get::<_, Option<String>>(column)?.filter(|text| !text.is_empty()))
}
