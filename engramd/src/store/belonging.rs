//! Which cloud each project belongs to (CUR-3).
//!
//! The store knows one cloud: the one that answered last. A project without a home of its own belongs to that one. When
//! another cloud answers, every project that was there before gets the former one as its home, and so stands still; when
//! the former one answers again, all is as it was.

use super::error::StoreError;
use super::{Store, desired, lease, meta, remirror};
use engram_proto::id::ProjectName;
use engram_proto::time::{MS_PER_S, RowTime};
use engramd_core::rows::{Belonging, Elsewhere, Fence};
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, BTreeSet};

/// Where the identity of the cloud that answered last stands.
const CLOUD_ID: &str = "cloud_id";

/// Where host and port of the server stand that is asked.
const SERVER: &str = "server";

/// Where the identity of a cloud stands that lost rows it had told of, until all is queued anew.
const RESTORED: &str = "restored";

/// Every project that anything is known of from a cloud; each is found by one step through an index.
const SYNCED: [&str; 3] = ["engramd_version", "engramd_cursor", "engramd_held"];

impl Store {
    /// Returns the cloud that this store syncs with.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn cloud_id(&self) -> Result<Option<String>, StoreError> {
        self.read(cloud_id)
    }

    /// Hears which server is asked from now on, by host and port: what is said of clouds from now on is said for the one that
    /// answers there.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn asks(&mut self, server: &str) -> Result<(), StoreError> {
        if self.meta(SERVER)?.as_deref() == Some(server) {
            return Ok(());
        }
        self.set_meta(SERVER, Some(server))
    }

    /// Returns the enrolled projects that would stand still if this cloud answered, because they belong to another one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn would_stand_still(&self, cloud: &str) -> Result<Vec<ProjectName>, StoreError> {
        self.read(|conn| {
            let is_other = cloud_id(conn)?.is_some_and(|known| known != cloud);
            let mut enrolled = desired::enrolled(conn)?;
            let homes = homes(conn)?;
            enrolled.retain(|project| homes.get(project).map_or(is_other, |home| home.cloud_id != cloud));
            Ok(enrolled)
        })
    }

    /// Hears which cloud answers, and tells how the projects stand to it.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says.
    pub fn belonging(&mut self, fence: &Fence, cloud: &str, now: RowTime) -> Result<Belonging, StoreError> {
        let is_former = self.cloud_id()?.as_deref() == Some(cloud);
        if is_former && self.read(|conn| remirror::said_for_another(conn, cloud))?.is_empty() {
            return self.read(|conn| read(conn, cloud));
        }
        self.write(|tx| {
            lease::check(tx, fence)?;
            if is_former {
                for project in remirror::said_for_another(tx, cloud)? {
                    remirror::forget(tx, &project)?;
                }
            } else if let Some(former) = cloud_id(tx)? {
                remirror::leave(tx, &former)?;
                let mut leave = tx.prepare_cached(
                    "INSERT OR IGNORE INTO engramd_home (project, cloud_id, since) VALUES (?1, ?2, ?3)",
                )?;
                for project in ever_synced(tx)?.into_iter().chain(desired::enrolled(tx)?) {
                    leave.execute([project.as_str(), &former, &now.to_string()])?;
                }
            }
            meta::set(tx, CLOUD_ID, Some(cloud))?;
            read(tx, cloud)
        })
    }

    /// Writes down that a cloud lost rows that it had told of: all that was synced with it is due to be queued anew, and
    /// until that is done it is told nothing.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says.
    pub fn cloud_restored(&mut self, fence: &Fence, cloud: &str) -> Result<Belonging, StoreError> {
        self.write(|tx| {
            lease::check(tx, fence)?;
            meta::set(tx, RESTORED, Some(cloud))?;
            let elsewhere = elsewhere(tx, cloud)?;
            for project in ever_synced(tx)?.into_iter().filter(|project| !elsewhere.contains_key(project)) {
                remirror::begin(tx, &project)?;
            }
            remirror::end_restoration(tx, cloud)?;
            read(tx, cloud)
        })
    }
}

/// Returns the cloud that answered last.
pub(super) fn cloud_id(conn: &Connection) -> Result<Option<String>, StoreError> {
    meta::get(conn, CLOUD_ID)
}

/// Returns host and port of the server that is asked.
pub(super) fn server(conn: &Connection) -> Result<Option<String>, StoreError> {
    meta::get(conn, SERVER)
}

/// Tells whether a cloud lost rows and is not told all again yet.
pub(super) fn is_restored(conn: &Connection, cloud: &str) -> Result<bool, StoreError> {
    Ok(meta::get(conn, RESTORED)?.as_deref() == Some(cloud))
}

/// Forgets that a cloud lost rows.
pub(super) fn restoration_ended(conn: &Connection) -> Result<(), StoreError> {
    meta::set(conn, RESTORED, None)
}

/// Lets a project belong to the cloud that answers.
pub(super) fn come_home(conn: &Connection, project: &ProjectName) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM engramd_home WHERE project = ?1")?.execute([project.as_str()])?;
    Ok(())
}

pub(super) fn read(conn: &Connection, cloud: &str) -> Result<Belonging, StoreError> {
    Ok(Belonging {
        cloud_id: cloud.to_owned(),
        elsewhere: elsewhere(conn, cloud)?,
        due: remirror::due(conn)?,
        restored: is_restored(conn, cloud)?,
    })
}

fn elsewhere(conn: &Connection, cloud: &str) -> Result<BTreeMap<ProjectName, Elsewhere>, StoreError> {
    let mut elsewhere = homes(conn)?;
    elsewhere.retain(|_, home| home.cloud_id != cloud);
    Ok(elsewhere)
}

/// Lists the projects that belong to another cloud than the one that answered last, or did so before.
fn homes(conn: &Connection) -> Result<BTreeMap<ProjectName, Elsewhere>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT project, cloud_id, since FROM engramd_home")?;
    let mut rows = statement.query([])?;
    let mut homes = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (project, cloud_id, since): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let since_ms = RowTime::parse(&since).map_or(0, |since| since.unix_s() * MS_PER_S);
        if let Ok(project) = ProjectName::parse(&project) {
            homes.insert(project, Elsewhere { cloud_id, since_ms });
        }
    }
    Ok(homes)
}

fn ever_synced(conn: &Connection) -> Result<BTreeSet<ProjectName>, StoreError> {
    let mut projects = BTreeSet::new();
    for table in SYNCED {
        let sql = format!("SELECT min(project) FROM {table} WHERE project > ?1");
        let mut next = conn.prepare_cached(&sql)?;
        let mut last = String::new();
        while let Some(project) = next.query_row(params![last], |row| row.get::<_, Option<String>>(0))? {
            projects.extend(ProjectName::parse(&project));
            last = project;
        }
    }
    Ok(projects)
}
