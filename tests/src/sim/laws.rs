//! The invariants, by the names of laws.md; each panics with what it found.

use super::cloud::ModelCloud;
use super::device::{CLOUD_ID, Device};
use engram_proto::id::ProjectName;
use engram_proto::merge::{Version, merge};
use engram_proto::mutation::{Entity, Op, payload_text};
use engramd::store::versions;

/// ACK-1: what is acknowledged is in the cloud's current version of its entity.
///
/// # Panics
/// Where the law is broken.
pub fn ack_1(device: &Device, cloud: &ModelCloud) {
    for (seq, id, version) in acknowledged(device) {
        let held = cloud.head(&id).is_some_and(|head| merge(head.clone(), version.clone()) == *head);
        assert!(held, "ACK-1: {} acknowledged row {seq} of {id:?}, and the cloud does not hold it", device.name);
    }
}

type AckedRow = (i64, (ProjectName, Entity, String), Version);

fn acknowledged(device: &Device) -> Vec<AckedRow> {
    let rows = device.store.read(|conn| {
        let mut statement = conn.prepare(
            "SELECT m.seq, m.project, m.entity, m.entity_key, m.op, m.payload FROM sync_mutations m
             LEFT JOIN engramd_journal j ON j.seq = m.seq
             WHERE m.acked_at IS NOT NULL AND j.void IS NULL",
        )?;
        let rows = statement.query_map([], |row| {
            let text = |at| row.get::<_, String>(at);
            Ok((row.get::<_, i64>(0)?, text(1)?, text(2)?, text(3)?, text(4)?, text(5)?))
        })?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?)
    });
    let rows = rows.expect("rows");
    let read = |(seq, project, entity, key, op, payload): (i64, String, String, String, String, String)| {
        let id = (ProjectName::parse(&project).ok()?, Entity::parse(&entity)?, key);
        let version = Version::read(id.1, &id.2, Op::parse(&op)?, &payload_text(&payload).ok()?).ok()?;
        Some((seq, id, version))
    };
    rows.into_iter().map(|row| read(row).expect("a row of ours reads")).collect()
}

/// No device takes itself for different while all is as it should be.
///
/// # Panics
/// Where one does.
pub fn nobody_diverges(device: &Device) {
    let report = device.machine.report(&engramd_core::health::Who::default());
    let diverged = report.findings.iter().find(|finding| finding.code == engram_proto::reason::ReasonCode::Diverged);
    assert!(diverged.is_none(), "{} diverged: {diverged:?}", device.name);
}

/// What each device knows adds up to what the cloud's current versions do.
///
/// # Panics
/// Where it does not.
pub fn digests_agree(devices: &[Device], cloud: &ModelCloud, projects: &[ProjectName]) {
    for (device, project) in devices.iter().flat_map(|device| projects.iter().map(move |project| (device, project))) {
        let digest = device.store.digest(project).expect("a digest");
        assert_eq!(digest, cloud.sum(project), "{} in {project}", device.name);
    }
}

/// ACK-2: written = pending + acknowledged + held + void.
///
/// # Panics
/// Where the law is broken.
pub fn ack_2(device: &Device, projects: &[ProjectName]) {
    for project in projects {
        let sets = device.store.ack2(project).expect("counts");
        assert_eq!(
            sets.written,
            sets.pending + sets.acked + sets.held + sets.void,
            "ACK-2: {} {project}: {sets:?}",
            device.name
        );
    }
}

/// CUR-1: everything up to the cursor is known here, or held with its evidence.
///
/// # Panics
/// Where the law is broken.
pub fn cur_1(device: &Device, cloud: &ModelCloud, projects: &[ProjectName]) {
    let cursors = device.store.cursors(CLOUD_ID, projects).expect("cursors");
    let held = device.store.held().expect("held rows");
    for row in &cloud.journal {
        if cursors.get(&row.id.0).is_none_or(|&cursor| row.seq > cursor) {
            continue;
        }
        let (project, entity, key) = &row.id;
        let known = device.store.read(|conn| versions::known(conn, project, *entity, key)).expect("known");
        let contains = known.is_some_and(|known| merge(known.clone(), row.version.clone()) == known);
        let parked = held.iter().any(|held| held.entity_key == *key && held.project == project.as_str());
        assert!(
            contains || parked,
            "CUR-1: {} passed row {} of {:?} without applying it",
            device.name,
            row.seq,
            row.id
        );
    }
}

/// CONV-1: all hold the same canonical dump.
///
/// # Panics
/// Where the law is broken.
pub fn conv_1(devices: &[Device], projects: &[ProjectName]) {
    for project in projects {
        let dumps: Vec<_> =
            devices.iter().map(|device| device.store.canonical_dump(project).expect("a dump")).collect();
        for (device, dump) in devices.iter().zip(&dumps) {
            let only = |a: &str, b: &str| {
                a.lines()
                    .filter(|line| !b.lines().any(|other| other == *line))
                    .fold(String::new(), |all, line| all + "\n  " + line)
            };
            assert!(
                dumps[0] == *dump,
                "CONV-1: {} and {} differ in {project}\nonly {0}:{}\nonly {1}:{}\n{}{}",
                devices[0].name,
                device.name,
                only(&dumps[0], dump),
                only(dump, &dumps[0]),
                books(&devices[0], &only(&dumps[0], dump)),
                books(device, &only(&dumps[0], dump)),
            );
        }
    }
}

/// Lists a device's journal of whatever a difference is about.
fn books(device: &Device, difference: &str) -> String {
    let Some(key) = difference.split("\"key\":\"").nth(1).and_then(|rest| rest.split('"').next()) else {
        return String::new();
    };
    let rows = device.store.read(|conn| {
        let mut statement = conn.prepare(
            "SELECT m.seq || ' ' || m.op || ' acked ' || coalesce(m.acked_at, '-') || ' void ' || coalesce(j.void, '-')
                 || ' cloud ' || coalesce(j.cloud_seq, '-') || ' ' || m.payload
             FROM sync_mutations m LEFT JOIN engramd_journal j ON j.seq = m.seq WHERE m.entity_key = ?1
             UNION ALL SELECT 'known ' || head FROM engramd_version WHERE entity_key = ?1
             UNION ALL SELECT 'held ' || kind || ' ' || payload FROM engramd_held WHERE entity_key = ?1",
        )?;
        let rows = statement.query_map([key], |row| row.get::<_, String>(0))?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?)
    });
    let lines = rows.unwrap_or_default().iter().fold(String::new(), |all, row| all + "\n  " + row);
    format!("the books of {} on {key}:{lines}\n", device.name)
}

/// Nothing is pending, and every cursor is at the head.
///
/// # Panics
/// Where the store fails.
#[must_use]
pub fn is_drained(device: &Device, cloud: &ModelCloud, projects: &[ProjectName]) -> bool {
    let cursors = device.store.cursors(CLOUD_ID, projects).expect("cursors");
    let pending: u64 = projects.iter().map(|project| device.store.ack2(project).expect("counts").pending).sum();
    pending == 0
        && !cloud.has_news(&projects.iter().map(|p| (p.clone(), cursors.get(p).copied().unwrap_or(0))).collect())
}
