//! What the current versions of each project add up to (cloud-http.md, "digest").

use crate::journal::Told;
use crate::journal::admit::{Head, Name};
use engram_proto::id::ProjectName;
use engram_proto::merge::Digest;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

/// Returns a project's digest; that of one without versions is zero.
pub(super) fn of(connection: &Connection, project: &ProjectName) -> rusqlite::Result<Digest> {
    let sql = "SELECT digest FROM cloud_digests WHERE project = ?1";
    let read = |row: &rusqlite::Row<'_>| row.get::<_, [u8; 16]>(0);
    let bytes = connection.prepare_cached(sql)?.query_row([project.as_str()], read).optional()?;
    Ok(Digest::from_number(bytes.map_or(0, u128::from_be_bytes)))
}

/// Moves a project's digest.
pub(super) fn add(connection: &Connection, project: &ProjectName, moved: Digest) -> rusqlite::Result<()> {
    let digest = of(connection, project)?.plus(moved);
    let sql = "INSERT INTO cloud_digests (project, digest) VALUES (?1, ?2)
               ON CONFLICT (project) DO UPDATE SET digest = ?2";
    connection.prepare_cached(sql)?.execute(params![project.as_str(), digest.number().to_be_bytes()])?;
    Ok(())
}

/// Adds up what a store of an earlier release holds; does nothing once there is a digest.
pub(super) fn fill(connection: &Connection) -> rusqlite::Result<()> {
    if connection.query_row("SELECT EXISTS (SELECT 1 FROM cloud_digests)", [], |row| row.get(0))? {
        return Ok(());
    }
    let mut sums = BTreeMap::<ProjectName, Digest>::new();
    let mut heads = connection.prepare(
        "SELECT h.project, h.entity, h.entity_key, m.op, m.payload
         FROM cloud_heads h JOIN cloud_mutations m ON m.seq = h.seq",
    )?;
    let mut rows = heads.query([])?;
    while let Some(row) = rows.next()? {
        let Ok(project) = ProjectName::parse(&row.get::<_, String>(0)?) else { continue };
        let name = Name { project, entity: row.get(1)?, key: row.get(2)? };
        let told = Told { seq: 0, occurred_at_us: 0 };
        if let Some(head) = Head::read(&name, told, &row.get::<_, String>(3)?, row.get(4)?) {
            let sum = sums.entry(name.project).or_default();
            *sum = sum.plus(Digest::of(&name.key, &head.version));
        }
    }
    sums.iter().try_for_each(|(project, sum)| add(connection, project, *sum))
}
