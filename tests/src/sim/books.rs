//! What was found of one device so far, so that after an event only what is new has to be looked at.

use super::excuses;
use super::laws::{self, Law};
use super::stock::Touched;
use crate::model::Disk;
use engram_cloud::journal::admit::Name;
use engram_proto::id::ProjectName;
use engram_proto::merge::{Version, merge};
use engram_proto::mutation::{Entity, Op, payload_text};
use engramd::store::{Store, StoreError, versions};
use engramd_core::rows::Counts;
use rusqlite::OptionalExtension as _;
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

/// One journal row.
#[derive(Clone, Debug)]
struct Row {
    project: String,
    state: State,
}

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Books {
    commits: Option<u64>,
    rows: BTreeMap<i64, Row>,
    /// How far each project was looked at, of which cloud, and where its cursor was then.
    read_to: BTreeMap<(String, ProjectName), ReadTo>,
    /// Rows that a Go process acknowledged.
    by_peer: BTreeSet<i64>,
}

/// How far a project was looked at.
#[derive(Debug, Default)]
struct ReadTo {
    end: u64,
    cursor: u64,
}

/// What is looked at: a device's store, and what the clouds hold.
pub(super) struct Looked<'a> {
    pub(super) name: &'a str,
    pub(super) store: &'a Store,
    /// What each cloud holds, and the name by which the device knows it.
    pub(super) held: &'a [Held<'a>],
    /// Memories that a Go process moved to another project without telling, where any reaches the store.
    pub(super) moved: Option<&'a BTreeSet<String>>,
}

/// What a cloud holds, and the name by which a device knows it.
pub(super) type Held<'a> = (&'a Disk, &'a str);

/// Every journal row but the marks for the peer, with what says where it stands.
const ROWS: &str = "SELECT m.seq, m.project, m.acked_at IS NOT NULL, j.void IS NOT NULL, h.id IS NOT NULL
    FROM sync_mutations m LEFT JOIN engramd_journal j ON j.seq = m.seq LEFT JOIN engramd_held h ON h.journal_seq = m.seq
    WHERE j.void IS NOT 'mark'";

/// One of them.
const ROW: &str = "SELECT m.seq, m.project, m.acked_at IS NOT NULL, j.void IS NOT NULL, h.id IS NOT NULL
    FROM sync_mutations m LEFT JOIN engramd_journal j ON j.seq = m.seq LEFT JOIN engramd_held h ON h.journal_seq = m.seq
    WHERE j.void IS NOT 'mark' AND m.seq = ?1";

/// A row as the tables have it: its number and project, and whether it is acknowledged, void, held.
type Found = (i64, String, bool, bool, bool);

impl Books {
    /// Tells whether a store committed something since the last look.
    #[must_use]
    pub(super) fn is_behind(&self, store: &Store) -> bool {
        self.commits != Some(store.commits())
    }

    /// Looks at everything the next time: another connection wrote, whose rows nobody names.
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
        looked: &Looked<'_>,
        projects: &[ProjectName],
        touched: &Touched,
        is_told_again: bool,
    ) -> Result<(), Law> {
        let is_all = self.commits.is_none();
        let acked = self.states(looked, touched)?;
        self.commits = Some(looked.store.commits());
        if !is_told_again {
            acked.into_iter().try_for_each(|seq| ack_1(looked, seq))?;
        }
        let (mut is_applied, cursors) = (false, cursors(looked.store));
        for (held, project) in looked.held.iter().flat_map(|held| projects.iter().map(move |project| (held, project))) {
            is_applied |= self.cur_1(looked, held, project, &cursors)?;
        }
        // Nothing else changes what is known or shown of a memory.
        if is_all || is_applied || touched.held || touched.memories || !touched.seqs.is_empty() {
            laws::conv_4(looked.name, looked.store, looked.moved)?;
        }
        Ok(())
    }

    /// ACK-1 of every row that is acknowledged.
    pub(super) fn all_acked(&self, looked: &Looked<'_>) -> Result<(), Law> {
        let is_asked = |seq| !excuses::a_row_that_a_go_process_acknowledged(&self.by_peer, seq);
        let acked = self.rows.iter().filter(|&(&seq, row)| row.state == State::Acked && is_asked(seq));
        acked.map(|(&seq, _)| seq).try_for_each(|seq| ack_1(looked, seq))
    }

    /// Returns how far a store read a project of a cloud; `None` where it committed something since the last look.
    #[must_use]
    pub(super) fn cursor(&self, store: &Store, cloud_id: &str, project: &ProjectName) -> Option<u64> {
        let its = |((cloud, of), _): &(&(String, ProjectName), &ReadTo)| cloud == cloud_id && of == project;
        self.read_to.iter().find(its).filter(|_| !self.is_behind(store)).map(|(_, read_to)| read_to.cursor)
    }

    /// Returns how far a store read of every project, for a state that is told.
    #[must_use]
    pub(super) fn cursors(&self, store: &Store) -> Vec<(String, String, u64)> {
        cursors(store)
    }

    /// Tells whether rows of a project wait to be sent.
    #[must_use]
    pub(super) fn waits(&self, project: &ProjectName) -> bool {
        self.rows.values().any(|row| row.state == State::Pending && row.project == project.as_str())
    }

    /// Tells whether nothing waits to be sent.
    #[must_use]
    pub(super) fn is_idle(&self) -> bool {
        self.rows.values().all(|row| row.state != State::Pending)
    }

    /// ACK-2: every row is in one set and leaves pending once, and none goes; returns rows that are acknowledged since.
    fn states(&mut self, looked: &Looked<'_>, touched: &Touched) -> Result<Vec<i64>, Law> {
        let (name, is_all) = (looked.name, self.commits.is_none() || touched.held);
        let found = if is_all { all_rows(looked.store) } else { some_rows(looked.store, touched) };
        let mut acked = Vec::new();
        for (seq, project, is_acked, is_void, is_held) in &found {
            let state = match (is_acked, is_void, is_held) {
                (false, false, false) => State::Pending,
                (false, false, true) => State::Held,
                (true, false, false) => State::Acked,
                (_, true, false) => State::Void,
                sets => return Err(Law::new("ACK-2", format!("{name}: row {seq} is in several sets: {sets:?}"))),
            };
            let row = Row { project: project.clone(), state };
            let before = self.rows.insert(*seq, row).map_or(State::Pending, |before| before.state);
            if !before.may_become(state) {
                return Err(Law::new("ACK-2", format!("{name}: row {seq} went from {before:?} to {state:?}")));
            }
            let is_asked = !excuses::a_row_that_a_go_process_acknowledged(&self.by_peer, *seq);
            if state == State::Acked && before != State::Acked && is_asked {
                acked.push(*seq);
            }
        }
        let there: BTreeSet<i64> = found.iter().map(|row| row.0).collect();
        let looked_at = |seq: &&i64| is_all || touched.seqs.contains(seq);
        match self.rows.keys().filter(looked_at).find(|seq| !there.contains(seq)) {
            Some(seq) => Err(Law::new("ACK-2", format!("{name}: row {seq} is in no set any more"))),
            None => Ok(acked),
        }
    }

    /// ACK-2: what the store counts without looking at every row is what there is.
    pub(super) fn counts_are(&self, name: &str, counts: &Counts) -> Result<(), Law> {
        let mut there = BTreeMap::<&str, (u64, u64)>::new();
        for row in self.rows.values() {
            match row.state {
                State::Pending => there.entry(&row.project).or_default().0 += 1,
                State::Held => there.entry(&row.project).or_default().1 += 1,
                State::Acked | State::Void => {}
            }
        }
        let counted = counts.iter().map(|(project, counts)| (project.as_str(), (counts.pending, counts.quarantined)));
        let counted: BTreeMap<_, _> = counted.filter(|(_, counts)| *counts != (0, 0)).collect();
        if counted == there {
            return Ok(());
        }
        Err(Law::new("ACK-2", format!("{name} counts {counted:?} as pending and held, and there are {there:?}")))
    }

    /// CUR-1: everything up to the cursor is known here, or parked with its evidence. Tells whether the cursor moved.
    fn cur_1(
        &mut self,
        &Looked { name, store, .. }: &Looked<'_>,
        (disk, cloud_id): &Held<'_>,
        project: &ProjectName,
        cursors: &[(String, String, u64)],
    ) -> Result<bool, Law> {
        let its = cursors.iter().find(|(of, cloud, _)| of == project.as_str() && cloud == cloud_id);
        let cursor = its.map_or(0, |&(.., cursor)| cursor);
        let read_to = self.read_to.entry(((*cloud_id).to_owned(), project.clone())).or_default();
        let first = disk.rows.partition_point(|row| row.seq <= read_to.end);
        for row in disk.rows[first..].iter().take_while(|row| row.seq <= cursor) {
            let Some(version) = row.version.as_ref().filter(|_| row.name.project == *project && row.is_served()) else {
                continue;
            };
            let (entity, key) = (version.entity(), row.name.key.as_str());
            let known = store.read(|conn| versions::known(conn, project, entity, key)).expect("known");
            if !contains(known.as_ref(), version) && !laws::is_parked(store, project, key) {
                let what = format!("{name} passed row {} of {project} ({entity} {key}) without applying it", row.seq);
                return Err(Law::new("CUR-1", what));
            }
        }
        let has_moved = cursor != read_to.cursor;
        *read_to = ReadTo { end: cursor.max(read_to.end), cursor };
        Ok(has_moved)
    }
}

fn found(row: &rusqlite::Row<'_>) -> rusqlite::Result<Found> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

/// Lists a store's cursors: project, cloud, and the number.
fn cursors(store: &Store) -> Vec<(String, String, u64)> {
    let read = store.read(|conn| {
        let mut statement = conn.prepare_cached("SELECT project, cloud_id, seq FROM engramd_cursor")?;
        let cursor = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.cast_unsigned()));
        Ok(statement.query_map([], cursor)?.collect::<Result<Vec<_>, _>>()?)
    });
    read.expect("cursors")
}

fn all_rows(store: &Store) -> Vec<Found> {
    let read = store.read(|conn| {
        let mut statement = conn.prepare_cached(ROWS)?;
        Ok(statement.query_map([], found)?.collect::<Result<Vec<_>, _>>()?)
    });
    read.expect("rows")
}

fn some_rows(store: &Store, touched: &Touched) -> Vec<Found> {
    let read = store.read(|conn| {
        let mut statement = conn.prepare_cached(ROW)?;
        let rows = touched.seqs.iter().map(|seq| Ok(statement.query_row([seq], found).optional()?));
        rows.filter_map(Result::transpose).collect::<Result<Vec<_>, StoreError>>()
    });
    read.expect("rows")
}

/// Tells whether a version holds all that another one says.
pub(super) fn contains(known: Option<&Version>, version: &Version) -> bool {
    known.is_some_and(|known| merge(known.clone(), version.clone()) == *known)
}

/// ACK-1: what is acknowledged is in the cloud's current version of its entity.
fn ack_1(&Looked { name, store, held, .. }: &Looked<'_>, seq: i64) -> Result<(), Law> {
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
    if held.iter().any(|(disk, _)| contains(disk.head(&entity), &version)) {
        return Ok(());
    }
    let what =
        format!("{name} acknowledged row {seq} of {project} ({} {key}), and the cloud does not hold it", entity.entity);
    Err(Law::new("ACK-1", what))
}
