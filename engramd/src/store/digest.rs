//! What is known of each project adds up to its digest, moved with every version that is learned; and whether the cloud
//! has the same (cloud-http.md, "digest").

use super::error::StoreError;
use super::{Store, cursor, recheck};
use engram_proto::id::ProjectName;
use engram_proto::merge::{Digest, Version};
use engramd_core::rows::{Agreement, ToCompare};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;

impl Store {
    /// Compares what is known of projects with what their cloud says that it holds at its head.
    ///
    /// Nothing can be told of a project that was not read to that head, of which something is on its way or held, or of
    /// which a receipt names a row behind that head.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn compare_digests(
        &mut self,
        cloud: &str,
        asked: &BTreeMap<ProjectName, ToCompare>,
    ) -> Result<BTreeMap<ProjectName, Agreement>, StoreError> {
        let verdicts = self.read(|conn| {
            let one = |(project, told): (&ProjectName, &ToCompare)| {
                Ok(verdict(conn, cloud, project, *told)?.map(|verdict| (project.clone(), verdict)))
            };
            asked.iter().filter_map(|asked| one(asked).transpose()).collect::<Result<BTreeMap<_, _>, StoreError>>()
        })?;
        Ok(verdicts)
    }

    /// Returns the digest of what is known of a project.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn digest(&self, project: &ProjectName) -> Result<Digest, StoreError> {
        self.read(|conn| get(conn, project))
    }
}

fn verdict(
    conn: &Connection,
    cloud: &str,
    project: &ProjectName,
    told: ToCompare,
) -> Result<Option<Agreement>, StoreError> {
    let unsettled: bool = conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM sync_mutations INDEXED BY engramd_mutations_pending
                 WHERE project = ?1 AND acked_at IS NULL)
             OR EXISTS (SELECT 1 FROM engramd_digest WHERE project = ?1 AND told_seq > ?2)",
        )?
        .query_row(params![project.as_str(), i64::try_from(told.head).unwrap_or(i64::MAX)], |row| row.get(0))?;
    if unsettled || cursor::get(conn, project, cloud)? != told.head {
        return Ok(None);
    }
    let ours = get(conn, project)?;
    Ok(Some(match recheck::first_different(conn, project)? {
        Some((entity, key)) => Agreement::RowDiffers { entity, key },
        None if ours == told.digest => Agreement::Same,
        None => Agreement::Differs { ours, theirs: told.digest },
    }))
}

pub(super) fn get(conn: &Connection, project: &ProjectName) -> Result<Digest, StoreError> {
    let mut statement = conn.prepare_cached("SELECT digest FROM engramd_digest WHERE project = ?1")?;
    let text: Option<String> = statement.query_row([project.as_str()], |row| row.get(0)).optional()?;
    match text {
        None => Ok(Digest::default()),
        Some(text) => Digest::from_hex(&text).ok_or_else(|| StoreError::Corrupt(format!("the digest of {project}"))),
    }
}

/// Moves a project's digest.
pub(super) fn add(conn: &Connection, project: &ProjectName, moved: Digest) -> Result<(), StoreError> {
    if moved == Digest::default() {
        return Ok(());
    }
    set(conn, project, get(conn, project)?.plus(moved))
}

/// Keeps a project's digest as it was counted anew.
pub(super) fn set(conn: &Connection, project: &ProjectName, digest: Digest) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO engramd_digest (project, digest) VALUES (?1, ?2) ON CONFLICT (project) DO UPDATE SET digest = ?2",
    )?
    .execute([project.as_str(), &digest.to_string()])?;
    Ok(())
}

/// Keeps the highest row of a project that a receipt told of: before a pull has come so far nothing can be compared.
pub(super) fn told(conn: &Connection, project: &ProjectName, seq: u64) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO engramd_digest (project, digest, told_seq) VALUES (?1, ?2, ?3)
         ON CONFLICT (project) DO UPDATE SET told_seq = ?3 WHERE told_seq < ?3",
    )?
    .execute(params![project.as_str(), Digest::default().to_string(), i64::try_from(seq).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// Forgets what receipts told, of one project or of all: the cloud that told it lost it.
pub(super) fn forget_told(conn: &Connection, project: Option<&ProjectName>) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE engramd_digest SET told_seq = 0 WHERE project = coalesce(?1, project)")?
        .execute([project.map(ProjectName::as_str)])?;
    Ok(())
}

/// Adds up what a store of an earlier version knows, once.
pub(super) fn fill(conn: &Connection) -> Result<(), StoreError> {
    let mut sums = BTreeMap::<ProjectName, Digest>::new();
    let mut statement = conn.prepare("SELECT project, entity_key, head FROM engramd_version")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (project, key, head): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let version: Option<Version> = serde_json::from_str(&head).ok();
        if let (Ok(project), Some(version)) = (ProjectName::parse(&project), version) {
            let sum = sums.entry(project).or_default();
            *sum = sum.plus(Digest::of(&key, &version));
        }
    }
    sums.iter().try_for_each(|(project, sum)| add(conn, project, *sum))
}
