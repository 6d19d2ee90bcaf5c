//! What the model holds, and the two ends of a transaction: answering what admission asks, writing what it decided.

use super::rail::Chunks;
use engram_cloud::clock::rfc3339_us;
use engram_cloud::journal::admit::{Changes, Facts, Head, Loser, Name, Taken};
use engram_cloud::journal::compaction::{Passed, read_kept};
use engram_cloud::journal::{Batch, Control, SessionKey, SessionNow, Told};
use engram_proto::canonical::Hash;
use engram_proto::http::pull::PulledMutation;
use engram_proto::http::witness::Witness;
use engram_proto::id::ProjectName;
use engram_proto::merge::{Digest, Kind, Version, merge};
use engram_proto::mutation::{Entity, Op, payload_object};
use engram_proto::time::RowTime;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Stands for the row of a version that is only read.
const NOBODY: Told = Told { seq: 0, occurred_at_us: 0 };

/// One row that is served.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number.
    pub seq: u64,
    /// What it is about.
    pub name: Name,
    /// What it says; `None` of an entity that is not known.
    pub version: Option<Version>,
    op: String,
    payload: String,
    occurred_at_us: i64,
    hash: String,
    /// Whether its content is gone: it is served to nobody.
    pub(super) is_compacted: bool,
}

/// A data set. A copy of it is a backup.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Its uuid (CUR-3).
    pub cloud_id: String,
    /// Rows in the order of their numbers; nothing is ever taken out.
    pub rows: Vec<Arc<Row>>,
    /// Who was paused or resumed.
    pub controls: BTreeMap<ProjectName, Control>,
    heads: BTreeMap<Name, usize>,
    ids: BTreeMap<(ProjectName, String), Taken>,
    superseded: BTreeMap<Name, Vec<Version>>,
    /// What lost to one that had not seen it: of which entity, and its payload.
    pub conflicts: Vec<(Name, String)>,
    /// Relations that came before an end of theirs, by its sync id.
    waiting: BTreeMap<String, BTreeSet<Name>>,
    pub(super) chunks: BTreeMap<ProjectName, Chunks>,
    digests: BTreeMap<ProjectName, Digest>,
    /// Where it is the shadow of another server's rows: of each entity the join of them.
    joins: BTreeMap<Name, Row>,
}

impl Disk {
    /// Makes an empty data set of this name.
    #[must_use]
    pub fn new(cloud_id: &str) -> Self {
        Self {
            cloud_id: cloud_id.to_owned(),
            rows: Vec::new(),
            controls: BTreeMap::new(),
            heads: BTreeMap::new(),
            ids: BTreeMap::new(),
            superseded: BTreeMap::new(),
            conflicts: Vec::new(),
            waiting: BTreeMap::new(),
            chunks: BTreeMap::new(),
            digests: BTreeMap::new(),
            joins: BTreeMap::new(),
        }
    }

    /// Returns the current version of an entity.
    #[must_use]
    pub fn head(&self, name: &Name) -> Option<&Version> {
        self.head_row(name)?.version.as_ref()
    }

    /// Lists the current rows of all known entities.
    pub fn heads(&self) -> impl Iterator<Item = &Row> {
        self.heads.values().map(|&at| self.rows[at].as_ref()).chain(self.joins.values())
    }

    /// Takes a row that a server which merges nothing shows, at its place; what it says is joined with what was there.
    pub fn shadow(&mut self, row: &PulledMutation) {
        let Ok(project) = ProjectName::parse(&row.project) else { return };
        let name = Name { project, entity: row.entity.clone(), key: row.entity_key.clone() };
        let read = || {
            let payload = payload_object(row.payload.clone()).ok()?;
            Version::read(Entity::parse(&row.entity)?, &row.entity_key, Op::parse(&row.op)?, &payload).ok()
        };
        let version = read();
        let made = Row {
            seq: row.seq,
            name: name.clone(),
            version: version.clone(),
            op: row.op.clone(),
            payload: row.payload.to_string(),
            occurred_at_us: 0,
            hash: String::new(),
            is_compacted: false,
        };
        let at = self.rows.partition_point(|other| other.seq < row.seq);
        self.rows.insert(at, Arc::new(made.clone()));
        let join = self.joins.entry(name).or_insert(made);
        join.seq = join.seq.max(row.seq);
        join.version = match (join.version.take(), version) {
            (Some(known), Some(version)) => Some(merge(known, version)),
            (known, version) => known.or(version),
        };
    }

    /// Returns the number of a project's last row; 0 where it has none.
    #[must_use]
    pub fn end_of(&self, project: &ProjectName) -> u64 {
        self.rows.iter().rev().find(|row| row.name.project == *project).map_or(0, |row| row.seq)
    }

    /// Returns what the current versions of a project add up to.
    #[must_use]
    pub fn digest(&self, project: &ProjectName) -> Digest {
        self.digests.get(project).copied().unwrap_or_default()
    }

    /// Tells whether the row that a device was told of is here (CUR-3).
    #[must_use]
    pub fn holds(&self, witness: Option<&Witness>) -> bool {
        let is_here = |witness: &Witness| {
            self.row(witness.seq).is_some_and(|row| rfc3339_us(row.occurred_at_us) == witness.occurred_at)
        };
        witness.is_none_or(is_here)
    }

    fn row(&self, seq: u64) -> Option<&Row> {
        let at = self.rows.binary_search_by_key(&seq, |row| row.seq).ok()?;
        Some(&self.rows[at])
    }

    fn head_row(&self, name: &Name) -> Option<&Row> {
        self.joins.get(name).or_else(|| self.heads.get(name).map(|&at| self.rows[at].as_ref()))
    }

    /// Answers what is asked, and what these batches need to know beside it.
    pub(super) fn answer(&self, mut facts: Facts, batches: &[Batch]) -> Facts {
        facts.last_seq = self.rows.last().map_or(0, |row| row.seq.cast_signed());
        for (project, control) in &mut facts.paused {
            *control = self.controls.get(project).filter(|control| !control.is_sync_enabled).cloned();
        }
        for (id, taken) in &mut facts.ids {
            *taken = self.ids.get(id).copied();
        }
        for (&seq, taken) in &mut facts.witnesses {
            *taken = self.row(seq).map(|row| row.occurred_at_us);
        }
        for (name, head) in &mut facts.heads {
            *head = self.head_row(name).and_then(Row::head);
        }
        let is_observation = |name: &&Name| name.entity == Entity::Observation.as_str();
        for observation in facts.heads.keys().filter(is_observation).map(|name| name.key.clone()).collect::<Vec<_>>() {
            for name in self.waiting.get(&observation).into_iter().flatten() {
                if let Some(head) = self.head_row(name).and_then(Row::head) {
                    facts.add_waiting(&observation, name.clone(), head);
                }
            }
        }
        for (name, held) in &mut facts.held {
            let served = self.rows_of(name).filter_map(|row| row.version.clone());
            *held = served.chain(self.superseded.get(name).into_iter().flatten().cloned()).collect();
        }
        for (name, last) in &mut facts.last_foreign {
            *last = self.rows_of(name).last().and_then(|row| Some((row.told(), Hash::from_hex(&row.hash)?)));
        }
        for ((name, hash), told) in &mut facts.seen_foreign {
            let hash = hash.to_string();
            *told = self.rows_of(name).filter(|row| row.hash == hash).last().map(Row::told);
        }
        facts.ask_live_prompts(batches);
        for (project, session_id) in facts.live_prompts.keys().cloned().collect::<Vec<_>>() {
            for row in self.children(&project, &session_id) {
                if let Some(head) =
                    row.head().filter(|head| head.version.entity() == Entity::Prompt && !head.version.is_delete())
                {
                    facts.add_live_prompt(&session_id, row.name.clone(), head);
                }
            }
        }
        facts
    }

    /// Writes what was decided.
    pub(super) fn write(&mut self, changes: Changes) {
        for row in changes.rows {
            let head = Head::read(&row.name, NOBODY, &row.op, row.payload.clone());
            self.rows.push(Arc::new(Row {
                seq: row.seq.unsigned_abs(),
                name: row.name,
                version: head.map(|head| head.version),
                op: row.op,
                payload: row.payload,
                occurred_at_us: row.occurred_at_us,
                hash: row.hash,
                is_compacted: false,
            }));
        }
        for (name, head) in changes.heads {
            let at = self.rows.iter().rposition(|row| row.seq == head.seq.unsigned_abs()).expect("it was appended");
            self.heads.insert(name, at);
        }
        self.ids.extend(changes.ids);
        for (project, moved) in changes.digests {
            let digest = self.digests.entry(project).or_default();
            *digest = digest.plus(moved);
        }
        for ((observation, relation), waits) in changes.waiting {
            let waiting = self.waiting.entry(observation).or_default();
            if waits {
                waiting.insert(relation)
            } else {
                waiting.remove(&relation)
            };
        }
        for lost in &changes.conflicts {
            self.conflicts.extend(lost.payload.clone().map(|payload| (lost.name.clone(), payload)));
        }
        for lost in changes.superseded {
            // The text of a loser of a conflict is kept there.
            let same = |conflict: &&Loser| conflict.name == lost.name && conflict.digest == lost.digest;
            let payload = lost.payload.clone().or_else(|| changes.conflicts.iter().find(same)?.payload.clone());
            let head = payload.and_then(|payload| Head::read(&lost.name, NOBODY, &lost.op, payload));
            let kept = lost.kept.as_deref().and_then(read_kept);
            self.superseded.entry(lost.name).or_default().extend(head.map(|head| head.version).or(kept));
        }
    }

    /// Tells how sessions stand now.
    pub(super) fn sessions(&self, asked: &BTreeSet<SessionKey>) -> BTreeMap<SessionKey, SessionNow> {
        let mut found = BTreeMap::new();
        for key in asked {
            let Ok(project) = ProjectName::parse(&key.0) else { continue };
            let Some(row) = self.head_row(&Name::known(&project, Entity::Session, &key.1)) else { continue };
            let keeps = |row: &Row| match &row.version {
                Some(Version::Observation(version)) => version.key.kind != Kind::Hard,
                Some(Version::Prompt(version)) => !version.key.deleted,
                _ => false,
            };
            let has_children = self.children(&project, &key.1).any(keeps);
            found.insert(key.clone(), SessionNow { row: row.served(), has_children });
        }
        found
    }

    /// Leaves of a row what stays for ever.
    pub(super) fn compact(&mut self, at: usize) {
        let row = self.rows[at].as_ref();
        let version = row.version.as_ref().map(Version::without_text);
        let row = Row { version, payload: String::new(), is_compacted: true, ..row.clone() };
        self.rows[at] = Arc::new(row);
    }

    /// Tells which row is the current one of an entity.
    pub(super) fn head_at(&self, name: &Name) -> Option<usize> {
        self.heads.get(name).copied()
    }

    /// Notes that a relation waits for a memory.
    pub(super) fn wait_for(&mut self, memory: &str, relation: Name) {
        self.waiting.entry(memory.to_owned()).or_default().insert(relation);
    }

    pub(super) fn rows_of(&self, name: &Name) -> impl Iterator<Item = &Row> {
        self.rows.iter().map(AsRef::as_ref).filter(move |row| row.name == *name)
    }

    fn children(&self, project: &ProjectName, session_id: &str) -> impl Iterator<Item = &Row> {
        let of = move |row: &&Row| {
            row.name.project == *project && row.version.as_ref().and_then(Version::session_id) == Some(session_id)
        };
        self.heads().filter(of)
    }
}

impl Row {
    /// Tells whether anybody is served it.
    #[must_use]
    pub fn is_served(&self) -> bool {
        !self.is_compacted
    }

    /// Returns the row as a page shows it.
    #[must_use]
    pub fn served(&self) -> PulledMutation {
        PulledMutation {
            seq: self.seq,
            project: self.name.project.to_string(),
            entity: self.name.entity.clone(),
            entity_key: self.name.key.clone(),
            op: self.op.clone(),
            payload: serde_json::from_str(&self.payload).expect("it was written here"),
            occurred_at: rfc3339_us(self.occurred_at_us),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// Returns the row as a walk of compaction passes it.
    pub(super) fn passed(&self) -> Passed {
        Passed {
            seq: self.seq.cast_signed(),
            project: self.name.project.to_string(),
            entity: self.name.entity.clone(),
            key: self.name.key.clone(),
            is_hard_delete: self.version.as_ref().is_some_and(Version::is_for_good),
        }
    }

    pub(super) fn is_upsert(&self) -> bool {
        self.op == Op::Upsert.as_str()
    }

    pub(super) fn occurred_at_us(&self) -> i64 {
        self.occurred_at_us
    }

    pub(super) fn is_known(&self) -> bool {
        Entity::parse(&self.name.entity).is_some()
    }

    /// Returns the latest time in it.
    #[must_use]
    pub fn time(&self) -> Option<RowTime> {
        self.version.as_ref().and_then(Version::time)
    }

    fn told(&self) -> Told {
        Told { seq: self.seq, occurred_at_us: self.occurred_at_us }
    }

    fn head(&self) -> Option<Head> {
        let op = Op::parse(&self.op)?;
        Some(Head { told: self.told(), version: self.version.clone()?, op, payload: self.payload.clone() })
    }
}
