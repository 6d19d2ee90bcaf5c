//! The invariants, by the names of laws.md, that need no memory of what was found before.

use super::device::Device;
use super::excuses;
use crate::model::Disk;
use engram_cloud::journal::admit::Name;
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::HeldKind;
use engram_proto::merge::{Kind, Version};
use engram_proto::mutation::Entity;
use engram_proto::reason::ReasonCode;
use engram_proto::stand_in::session_id_of;
use engram_proto::time::RowTime;
use engramd::store::{Store, versions};
use engramd_core::health::Who;
use std::collections::BTreeSet;
use std::fmt;

/// A law that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Law {
    /// Its name.
    pub name: &'static str,
    /// Where and how it is broken.
    pub what: String,
}

impl Law {
    /// Says that a law is broken.
    #[must_use]
    pub fn new(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, what: what.into() }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.what)
    }
}

/// Memories with an edit that was not pushed yet, as their rows show them.
const EDITED: &str = "SELECT DISTINCT m.project, m.entity_key, o.title, o.deleted_at IS NULL
    FROM sync_mutations m LEFT JOIN observations o ON o.sync_id = m.entity_key AND o.project = m.project
    WHERE m.acked_at IS NULL AND m.entity = 'observation'";

/// CONV-4: what is shown of an entity with a pending edit is that edit, or a version that beats it.
/// In a store that Go processes write to, of which `moved` are the memories that they moved about, some rows have no say.
pub(super) fn conv_4(name: &str, store: &Store, moved: Option<&BTreeSet<String>>) -> Result<(), Law> {
    let edited = store.read(|conn| {
        let mut statement = conn.prepare_cached(EDITED)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        Ok(rows.collect::<Result<Vec<(String, String, Option<String>, Option<bool>)>, _>>()?)
    });
    for (project, key, title, is_live) in edited.expect("rows") {
        let project = ProjectName::parse(&project).expect("a name");
        let local = store.read(|conn| versions::local(conn, &project, Entity::Observation, &key)).expect("a version");
        let Some(Version::Observation(local)) = local else {
            return Err(Law::new("CONV-4", format!("{name}: nothing is known of {key}, which was edited")));
        };
        if let Some(moved) = moved
            && (excuses::a_text_that_the_cloud_alone_has(&local)
                || excuses::a_move_that_nobody_told(moved, &key)
                || excuses::a_project_that_is_read_again_after_autosync(is_read_again(store, &project)))
        {
            continue;
        }
        let wanted = local.body.0.as_ref().filter(|_| local.key.kind == Kind::Upsert).map(|body| body.title.as_str());
        let shown = title.as_deref().filter(|_| is_live == Some(true));
        if shown != wanted && !is_parked(store, &project, &key) {
            return Err(Law::new("CONV-4", format!("{name}: {key} shows {shown:?} instead of {wanted:?}")));
        }
    }
    Ok(())
}

fn is_read_again(store: &Store, project: &ProjectName) -> bool {
    let sql = "SELECT EXISTS (SELECT 1 FROM engramd_reread WHERE project = ?1)";
    store
        .read(|conn| Ok(conn.prepare_cached(sql)?.query_row([project.as_str()], |row| row.get(0))?))
        .expect("an answer")
}

/// Tells whether something of an entity waits or is dead, with its evidence.
pub(super) fn is_parked(store: &Store, project: &ProjectName, key: &str) -> bool {
    let held = store.held().expect("held rows");
    held.iter().any(|row| row.entity_key == key && row.project == project.as_str() && row.kind != HeldKind::Quarantined)
}

/// SCOPE-1: only what is enrolled is named to a server.
pub(super) fn scope_1(device: &Device, named: &[&ProjectName]) -> Result<(), Law> {
    let enrolled = device.store.enrolled().expect("enrolled");
    match named.iter().find(|project| !enrolled.contains(project)) {
        Some(project) => Err(Law::new("SCOPE-1", format!("{} names {project}, which is not enrolled", device.name))),
        None => Ok(()),
    }
}

/// Nothing is pending, and every cursor is at the head.
#[must_use]
pub(super) fn is_drained(device: &Device, (disk, cloud_id): (&Disk, &str), projects: &[ProjectName]) -> bool {
    let read = |project: &ProjectName| {
        let cursors = device.store.cursors(cloud_id, std::slice::from_ref(project)).expect("cursors");
        cursors.get(project).copied().unwrap_or(0)
    };
    let at_head = |project: &ProjectName| {
        let known = device.books.cursor(&device.store, cloud_id, project);
        known.unwrap_or_else(|| read(project)) >= disk.end_of(project)
    };
    device.books.is_idle() && projects.iter().all(at_head)
}

/// CONV-1: all hold the same canonical dump, and know of every entity what the cloud holds.
pub(super) fn conv_1(devices: &[Device], disk: &Disk, projects: &[ProjectName]) -> Result<(), Law> {
    for project in projects {
        let dumps: Vec<_> =
            devices.iter().map(|device| device.store.canonical_dump(project).expect("a dump")).collect();
        if let Some((device, dump)) = devices.iter().zip(&dumps).find(|(_, dump)| **dump != dumps[0]) {
            return Err(Law::new("CONV-1", difference((&devices[0], &dumps[0]), (device, dump), project)));
        }
    }
    for row in disk.heads() {
        let Some(version) = &row.version else { continue };
        for device in devices {
            let (project, key) = (&row.name.project, row.name.key.as_str());
            let known = device.store.read(|conn| versions::known(conn, project, version.entity(), key)).expect("known");
            if known.as_ref() != Some(version) && !is_parked(&device.store, project, key) {
                let what =
                    format!("{} knows {known:?} of {}, and the cloud has {version:?}", device.name, row.name.key);
                return Err(Law::new("CONV-1", what));
            }
        }
    }
    Ok(())
}

/// CONV-1: what each device knows adds up to what the cloud's current versions do.
pub(super) fn digests_agree(devices: &[Device], disk: &Disk, projects: &[ProjectName]) -> Result<(), Law> {
    for (device, project) in devices.iter().flat_map(|device| projects.iter().map(move |project| (device, project))) {
        if device.store.digest(project).expect("a digest") != disk.digest(project) {
            return Err(Law::new("CONV-1", format!("{} adds up to another digest of {project}", device.name)));
        }
    }
    Ok(())
}

/// LOUD-1: no device takes itself for different while all is as it should be.
pub(super) fn nobody_diverges(devices: &[Device]) -> Result<(), Law> {
    for device in devices {
        let report = device.machine.report(&Who::default());
        if let Some(found) = report.findings.iter().find(|finding| finding.code == ReasonCode::Diverged) {
            return Err(Law::new("LOUD-1", format!("{} diverged: {}", device.name, found.message)));
        }
    }
    Ok(())
}

fn difference(a: (&Device, &String), b: (&Device, &String), project: &ProjectName) -> String {
    let only = |a: &str, b: &str| {
        a.lines()
            .filter(|line| !b.lines().any(|other| other == *line))
            .fold(String::new(), |all, line| all + "\n  " + line)
    };
    let (first, second) = (only(a.1, b.1), only(b.1, a.1));
    let about = if first.is_empty() { &second } else { &first };
    format!(
        "{} and {} differ in {project}\nonly {0}:{first}\nonly {1}:{second}\n{}{}",
        a.0.name,
        b.0.name,
        books(a.0, about),
        books(b.0, about)
    )
}

/// Lists a device's journal of whatever a difference is about.
fn books(device: &Device, difference: &str) -> String {
    let Some(key) = difference.split("\"key\":\"").nth(1).and_then(|rest| rest.split('"').next()) else {
        return String::new();
    };
    books_of(device, key)
}

/// Lists a device's journal of a key.
pub(super) fn books_of(device: &Device, key: &str) -> String {
    let rows = device.store.read(|conn| {
        let mut statement = conn.prepare(
            "SELECT m.seq || ' ' || m.project || ' ' || m.op || ' acked ' || coalesce(m.acked_at, '-') || ' void ' || coalesce(j.void, '-')
                 || ' cloud ' || coalesce(j.cloud_seq, '-') || ' over ' || coalesce(substr(j.base, 1, 8), '-') || ' ' || m.payload
             FROM sync_mutations m LEFT JOIN engramd_journal j ON j.seq = m.seq WHERE m.entity_key = ?1
             UNION ALL SELECT 'known in ' || project || ' ' || head FROM engramd_version WHERE entity_key = ?1
             UNION ALL SELECT 'held ' || kind || ' ' || payload FROM engramd_held WHERE entity_key = ?1
             UNION ALL SELECT 'row in ' || project || ' ' || title FROM observations WHERE sync_id = ?1
             UNION ALL SELECT 'read again: ' || project FROM engramd_reread",
        )?;
        let rows = statement.query_map([key], |row| row.get::<_, String>(0))?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?)
    });
    let lines = rows.unwrap_or_default().iter().fold(String::new(), |all, row| all + "\n  " + row);
    format!("the books of {} on {key}:{lines}\n", device.name)
}

/// Nothing that was written is lost: the cloud holds every entity that a journal row names and that was not taken back.
pub(super) fn nothing_is_lost(device: &Device, disk: &Disk) -> Result<(), Law> {
    let sql = "SELECT m.project, m.entity, m.entity_key FROM sync_mutations m
               LEFT JOIN engramd_journal j ON j.seq = m.seq
               WHERE j.void IS NOT 'mark' GROUP BY 1, 2, 3 HAVING sum(j.void IS NULL) > 0";
    let written = device.store.read(|conn| {
        let mut statement = conn.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<Result<Vec<(String, String, String)>, _>>()?)
    });
    for (project, entity, key) in written.expect("rows") {
        let project = ProjectName::parse(&project).expect("a name");
        // At the door a stand-in becomes the session that it stands for, where it says anything.
        if session_id_of(&project, &key) != key {
            continue;
        }
        let name = Name::known(&project, Entity::parse(&entity).expect("known"), &key);
        let is_excused = || {
            let has_moved = || has_moved(device, disk, &name);
            excuses::what_a_go_process_moved_or_deleted(device.beside.is_some(), has_moved)
        };
        if disk.head(&name).is_none() && !is_excused() {
            return Err(Law::new("ACK-2", format!("{entity} {key} of {} is lost", device.name)));
        }
    }
    Ok(())
}

/// Tells whether a Go process moved an entity, or deleted it: it is in another project now, it is a relation whose source is,
/// or its last row is a delete.
fn has_moved(device: &Device, disk: &Disk, name: &Name) -> bool {
    let unplaced =
        "SELECT NOT EXISTS (SELECT 1 FROM memory_relations AS r JOIN observations AS o ON o.sync_id = r.source_id
                        WHERE r.sync_id = ?1 AND o.project = ?2)";
    let deleted = "SELECT op = 'delete' FROM sync_mutations AS m LEFT JOIN engramd_journal AS j ON j.seq = m.seq
                   WHERE m.entity_key = ?1 AND m.project = ?2 AND j.void IS NULL ORDER BY m.seq DESC LIMIT 1";
    let says = |sql: &str| {
        let names = [name.key.as_str(), name.project.as_str()];
        device.store.read(|conn| Ok(conn.query_row(sql, names, |row| row.get::<_, bool>(0))?)).expect("a row")
    };
    match name.entity.as_str() {
        "relation" => says(unplaced),
        _ => disk.heads().any(|row| row.name.entity == name.entity && row.name.key == name.key) || says(deleted),
    }
}

/// However far ahead a device's clock was, no version wins for longer than a day (merging.md, "Writing") after the `latest`
/// time that anybody may believe a server's clock to show.
pub(super) fn nothing_is_from_the_future(disk: &Disk, latest: Option<RowTime>) -> Result<(), Law> {
    let limit = latest.map(|latest| latest.plus_s(86_400 + 60));
    match disk.heads().find(|row| row.time() > limit) {
        Some(row) => Err(Law::new("CONV-3", format!("row {} of {:?} is stamped {:?}", row.seq, row.name, row.time()))),
        None => Ok(()),
    }
}

/// Tells whether the cloud told a device of a memory, or took it from it.
#[must_use]
pub(super) fn knows(device: &Device, project: &ProjectName, sync_id: &str) -> bool {
    let known = |conn: &rusqlite::Connection| versions::known(conn, project, Entity::Observation, sync_id);
    device.store.read(known).expect("known").is_some()
}
