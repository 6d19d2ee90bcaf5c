//! What the current versions of each project add up to (cloud-http.md, "digest"): filled once, moved by every write.

use crate::journal::Told;
use crate::journal::admit::{Head, Name};
use engram_proto::id::ProjectName;
use engram_proto::merge::Digest;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use std::collections::BTreeMap;

/// Heads that are added up at one time.
const SLICE_ROWS: i64 = 1_000;

const HEADS: &str = "
    SELECT h.project, h.entity, h.entity_key, m.op, m.payload::text
    FROM engram_heads h JOIN cloud_mutations m ON m.seq = h.seq
    WHERE (h.project, h.entity, h.entity_key) > ($1, $2, $3)
    ORDER BY h.project, h.entity, h.entity_key LIMIT $4";

const KEEP: &str = "
    INSERT INTO engram_digests (project, digest)
    SELECT project, digest::numeric FROM unnest($1::text[], $2::text[]) AS s (project, digest)";

/// Adds up what a database of an earlier release holds; does nothing once there is a digest.
pub(super) async fn fill(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM engram_digests)";
    if sqlx::query(sql).fetch_one(&mut *connection).await?.try_get(0)? {
        return Ok(());
    }
    let mut sums = BTreeMap::<ProjectName, Digest>::new();
    let mut after = (String::new(), String::new(), String::new());
    loop {
        let slice = sqlx::query(HEADS).bind(&after.0).bind(&after.1).bind(&after.2).bind(SLICE_ROWS);
        let rows = slice.fetch_all(&mut *connection).await?;
        let Some(last) = rows.last() else { break };
        after = (last.try_get(0)?, last.try_get(1)?, last.try_get(2)?);
        for row in &rows {
            if let Some((project, added)) = one(row)? {
                let sum = sums.entry(project).or_default();
                *sum = sum.plus(added);
            }
        }
    }
    let names = sums.keys().map(ProjectName::as_str).collect::<Vec<_>>();
    let numbers = sums.values().map(|sum| sum.number().to_string()).collect::<Vec<_>>();
    sqlx::query(KEEP).bind(names).bind(numbers).execute(connection).await?;
    Ok(())
}

fn one(row: &PgRow) -> Result<Option<(ProjectName, Digest)>, sqlx::Error> {
    let Ok(project) = ProjectName::parse(row.try_get(0)?) else { return Ok(None) };
    let name = Name { project, entity: row.try_get(1)?, key: row.try_get(2)? };
    let told = Told { seq: 0, occurred_at_us: 0 };
    let head = Head::read(&name, told, row.try_get(3)?, row.try_get(4)?);
    Ok(head.map(|head| (name.project, Digest::of(&name.key, &head.version))))
}
