//! How sessions stand now.

use super::page;
use crate::journal::{SessionKey, SessionNow};
use sqlx::Row;
use sqlx::postgres::PgPool;
use std::collections::{BTreeMap, BTreeSet};

/// The last row of a session is its current one; of the peer's, too, as long as it was not taken over.
const NOW: &str = "
    SELECT m.seq, asked.project, m.entity, asked.id, m.op, m.payload::text,
           (extract(epoch FROM m.occurred_at) * 1000000)::bigint,
           EXISTS (SELECT 1 FROM cloud_mutations c JOIN engram_heads h ON h.seq = c.seq
                   WHERE h.project = asked.project AND h.session_id = asked.id
                         AND (NOT h.is_deleted OR (h.entity = 'observation'
                              AND coalesce(c.payload ->> 'hard_delete', 'false') NOT IN ('true', '1'))))
    FROM unnest($1::text[], $2::text[]) AS asked (project, id)
    JOIN cloud_mutations m ON m.seq = greatest(
        (SELECT h.seq FROM engram_heads h
         WHERE h.project = asked.project AND h.entity = 'session' AND h.entity_key = asked.id),
        (SELECT p.seq FROM cloud_mutations p
         WHERE p.project = asked.project AND p.entity = 'session' AND p.entity_key = asked.id
               AND p.version_hash IS NULL AND octet_length(p.entity_key) <= 1024 AND octet_length(p.entity) <= 128
         ORDER BY p.seq DESC LIMIT 1))";

/// Reads the current rows of sessions.
pub(super) async fn now(
    pool: &PgPool,
    asked: BTreeSet<SessionKey>,
) -> Result<BTreeMap<SessionKey, SessionNow>, sqlx::Error> {
    // No text of Postgres holds a NUL, and so no row such a name.
    let asked: Vec<_> = asked.into_iter().filter(|(project, id)| !format!("{project}{id}").contains('\0')).collect();
    if asked.is_empty() {
        return Ok(BTreeMap::new());
    }
    let found = sqlx::query(NOW)
        .bind(asked.iter().map(|(project, _)| project.as_str()).collect::<Vec<_>>())
        .bind(asked.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>())
        .fetch_all(pool)
        .await?;
    let sessions = found.iter().map(|row| {
        let now = SessionNow { row: page::read(row)?, has_children: row.try_get(7)? };
        Ok(((now.row.project.clone(), now.row.entity_key.clone()), now))
    });
    sessions.collect()
}
