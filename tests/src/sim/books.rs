//! What was found of one device so far, so that after an event only what is new has to be looked at.

use super::laws::{self, Law};
use crate::model::Disk;
use engram_cloud::journal::admit::Name;
use engram_proto::id::ProjectName;
use engram_proto::merge::{Version, merge};
use engram_proto::mutation::{Entity, Op, payload_text};
use engramd::store::{Store, versions};
use std::collections::{BTreeMap, BTreeSet};

/// Where a journal row stands (ACK-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Acked,
    Held,
    Void,
}

impl State {
    /// Tells whether a row may go there from here: it leaves pending once.
    fn may_become(self, next: Self) -> bool {
        self == next || matches!(self, Self::Pending | Self::Held)
    }
}

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Books {
    commits: Option<u64>,
    states: BTreeMap<i64, State>,
    read_to: BTreeMap<(String, ProjectName), u64>,
    by_peer: BTreeSet<i64>,
}

/// Every journal row but the marks for the peer, with what says where it stands.
const ROWS: &str = "SELECT m.seq, m.acked_at IS NOT NULL, j.void IS NOT NULL, h.id IS NOT NULL
    FROM sync_mutations m LEFT JOIN engramd_journal j ON j.seq = m.seq LEFT JOIN engramd_held h ON h.journal_seq = m.seq
    WHERE j.void IS NOT 'mark'";

impl Books {
    /// Looks at everything the next time: another process wrote.
    pub(super) fn look_again(&mut self) {
        self.commits = None;
    }

    /// Hears which rows a Go process acknowledged, by their number: what became of them at the door is in no receipt.
    pub(super) fn taken_by_peer(&mut self, seqs: impl Iterator<Item = i64>) {
        self.by_peer.extend(seqs);
    }

    /// Looks at what a device's store committed since the last time. While a restored cloud is told again what it lost,
    /// it need not hold what is acknowledged.
    ///
    /// # Errors
    /// The law that is broken, and where.
    pub(super) fn check(
        &mut self,
        name: &str,
        store: &Store,
        disks: &[&Disk],
        projects: &[ProjectName],
        is_told_again: bool,
        moved: Option<&BTreeSet<String>>,
    ) -> Result<(), Law> {
        if self.commits == Some(store.commits()) {
            return Ok(());
        }
        self.commits = Some(store.commits());
        let acked = self.states(name, store)?;
        if !is_told_again {
            acked.into_iter().try_for_each(|seq| ack_1(name, store, disks, seq))?;
        }
        for (disk, project) in disks.iter().flat_map(|disk| projects.iter().map(move |project| (disk, project))) {
            self.cur_1(name, store, disk, project)?;
        }
        laws::conv_4(name, store, moved)
    }

    /// ACK-1 of every row that is acknowledged.
    pub(super) fn all_acked(&self, name: &str, store: &Store, disk: &Disk) -> Result<(), Law> {
        let acked = self.states.iter().filter(|&(seq, &state)| state == State::Acked && !self.by_peer.contains(seq));
        acked.map(|(&seq, _)| seq).try_for_each(|seq| ack_1(name, store, &[disk], seq))
    }

    /// ACK-2: every row is in one set and leaves pending once; returns rows that are acknowledged since.
    fn states(&mut self, name: &str, store: &Store) -> Result<Vec<i64>, Law> {
        let now = store.read(|conn| {
            let mut statement = conn.prepare_cached(ROWS)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            Ok(rows.collect::<Result<Vec<(i64, bool, bool, bool)>, _>>()?)
        });
        let mut acked = Vec::new();
        for (seq, is_acked, is_void, is_held) in now.expect("rows") {
            let state = match (is_acked, is_void, is_held) {
                (false, false, false) => State::Pending,
                (false, false, true) => State::Held,
                (true, false, false) => State::Acked,
                (_, true, false) => State::Void,
                sets => return Err(Law::new("ACK-2", format!("{name}: row {seq} is in several sets: {sets:?}"))),
            };
            let before = self.states.insert(seq, state).unwrap_or(State::Pending);
            if !before.may_become(state) {
                return Err(Law::new("ACK-2", format!("{name}: row {seq} went from {before:?} to {state:?}")));
            }
            if state == State::Acked && before != State::Acked && !self.by_peer.contains(&seq) {
                acked.push(seq);
            }
        }
        Ok(acked)
    }

    /// CUR-1: everything up to the cursor is known here, or parked with its evidence.
    fn cur_1(&mut self, name: &str, store: &Store, disk: &Disk, project: &ProjectName) -> Result<(), Law> {
        let cursors = store.cursors(&disk.cloud_id, std::slice::from_ref(project)).expect("cursors");
        let cursor = cursors.get(project).copied().unwrap_or(0);
        let read_to = self.read_to.entry((disk.cloud_id.clone(), project.clone())).or_default();
        let first = disk.rows.partition_point(|row| row.seq <= *read_to);
        for row in disk.rows[first..].iter().take_while(|row| row.seq <= cursor) {
            let Some(version) = row.version.as_ref().filter(|_| row.name.project == *project) else { continue };
            let (entity, key) = (version.entity(), row.name.key.as_str());
            let known = store.read(|conn| versions::known(conn, project, entity, key)).expect("known");
            if !contains(known.as_ref(), version) && !laws::is_parked(store, project, key) {
                let what = format!("{name} passed row {} of {project} ({entity} {key}) without applying it", row.seq);
                return Err(Law::new("CUR-1", what));
            }
        }
        *read_to = cursor.max(*read_to);
        Ok(())
    }
}

/// Tells whether a version holds all that another one says.
pub(super) fn contains(known: Option<&Version>, version: &Version) -> bool {
    known.is_some_and(|known| merge(known.clone(), version.clone()) == *known)
}

/// ACK-1: what is acknowledged is in the cloud's current version of its entity.
fn ack_1(name: &str, store: &Store, disks: &[&Disk], seq: i64) -> Result<(), Law> {
    let sql = "SELECT project, entity, entity_key, op, payload FROM sync_mutations WHERE seq = ?1";
    let row = store.read(|conn| {
        let text = |row: &rusqlite::Row<'_>, at| row.get::<_, String>(at);
        Ok(conn
            .prepare_cached(sql)?
            .query_row([seq], |row| Ok((text(row, 0)?, text(row, 1)?, text(row, 2)?, text(row, 3)?, text(row, 4)?)))?)
    });
    let (project, entity, key, op, payload) = row.expect("the row");
    let read = || {
        let entity = Entity::parse(&entity)?;
        let version = Version::read(entity, &key, Op::parse(&op)?, &payload_text(&payload).ok()?).ok()?;
        Some((Name::known(&ProjectName::parse(&project).ok()?, entity, &key), version))
    };
    let (entity, version) = read().expect("a row of ours reads");
    if disks.iter().any(|disk| contains(disk.head(&entity), &version)) {
        return Ok(());
    }
    let what =
        format!("{name} acknowledged row {seq} of {project} ({} {key}), and the cloud does not hold it", entity.entity);
    Err(Law::new("ACK-1", what))
}
