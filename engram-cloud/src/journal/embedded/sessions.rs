//! How sessions stand now: the current row, and whether something of the session keeps it alive.

use super::page::{COLUMNS, read};
use crate::journal::{SessionKey, SessionNow};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeMap, BTreeSet};

// Named, because the planner takes the primary key where it knows no statistics.
pub(super) const HAS_CHILDREN: &str = "SELECT 1 FROM cloud_heads h INDEXED BY cloud_heads_children
    JOIN cloud_mutations m ON m.seq = h.seq
    WHERE h.project = ?1 AND h.session_id = ?2
      AND (h.is_deleted = 0 OR (h.entity = 'observation' AND m.payload ->> 'hard_delete' IS NOT 1))";

/// Tells how each of these sessions stands.
pub(super) fn now(
    connection: &Connection,
    asked: &BTreeSet<SessionKey>,
) -> rusqlite::Result<BTreeMap<SessionKey, SessionNow>> {
    let sql = format!(
        "{COLUMNS} WHERE seq =
         (SELECT seq FROM cloud_heads WHERE project = ?1 AND entity = 'session' AND entity_key = ?2)"
    );
    let (mut current, mut children) = (connection.prepare_cached(&sql)?, connection.prepare_cached(HAS_CHILDREN)?);
    let mut found = BTreeMap::new();
    for key in asked {
        let Some((row, _)) = current.query_row(params![key.0, key.1], read).optional()? else { continue };
        let has_children = children.exists(params![key.0, key.1])?;
        found.insert(key.clone(), SessionNow { row, has_children });
    }
    Ok(found)
}
