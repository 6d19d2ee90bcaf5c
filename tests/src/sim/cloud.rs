//! A model of the cloud, as small as the rules allow: one journal, one current version per entity.

use engram_proto::canonical::{Object, canonical_object};
use engram_proto::http::pull::{PullReply, PullRequest, PulledMutation};
use engram_proto::http::push::{PushEntry, PushReply, Receipt, ReceiptStatus};
use engram_proto::http::witness::Witness;
use engram_proto::id::ProjectName;
use engram_proto::merge::{Digest, Standing, Version, merge};
use engram_proto::mutation::{Entity, Op, payload_object};
use std::collections::BTreeMap;

/// What names an entity: project, kind, key.
pub type EntityId = (ProjectName, Entity, String);

/// One row that is served.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number.
    pub seq: u64,
    /// Whose it is.
    pub id: EntityId,
    /// What it says.
    pub version: Version,
    payload: Object,
    op: Op,
}

/// The model.
#[derive(Clone, Debug, Default)]
pub struct ModelCloud {
    /// Rows in the order of their numbers; nothing is ever taken out.
    pub journal: Vec<Row>,
    heads: BTreeMap<EntityId, (u64, Version)>,
    ids: BTreeMap<String, u64>,
    /// The highest number ever handed out, in whatever past.
    ever: u64,
}

impl ModelCloud {
    /// Takes a push as `POST /sync/mutations/push` does.
    pub fn push(&mut self, project: &ProjectName, entries: &[PushEntry]) -> PushReply {
        let receipts: Vec<_> = entries.iter().map(|entry| self.take(project, entry)).collect();
        let accepted_seqs = receipts.iter().map(|receipt| receipt.seq.unwrap_or(0)).collect();
        PushReply { accepted_seqs, receipts, ..PushReply::default() }
    }

    fn take(&mut self, project: &ProjectName, entry: &PushEntry) -> Receipt {
        let mutation_id = entry.mutation_id.clone().unwrap_or_default();
        let receipt = |status, seq: Option<u64>| Receipt {
            mutation_id: mutation_id.clone(),
            status,
            seq,
            occurred_at: seq.map(|seq| seq.to_string()),
            reason_code: None,
            field: None,
            message: None,
        };
        if let Some(&seq) = self.ids.get(&mutation_id) {
            return receipt(ReceiptStatus::Duplicate, Some(seq));
        }
        let Some((id, arriving)) = read(project, entry) else { return receipt(ReceiptStatus::Rejected, None) };
        let (status, seq) = match self.heads.get(&id) {
            Some((seq, current)) => match arriving.standing(current) {
                Standing::Equal => (ReceiptStatus::Duplicate, *seq),
                Standing::Loses => (ReceiptStatus::Superseded, *seq),
                Standing::Wins | Standing::Mixes => {
                    let joined = merge(arriving, current.clone());
                    (ReceiptStatus::Accepted, self.append(id, joined))
                }
            },
            None => (ReceiptStatus::Accepted, self.append(id, arriving)),
        };
        self.ids.insert(mutation_id.clone(), seq);
        receipt(status, Some(seq))
    }

    fn append(&mut self, id: EntityId, version: Version) -> u64 {
        // As with a clock: never a number again, after a restoration neither.
        self.ever += 8;
        let seq = self.ever;
        if let Some((op, payload)) = version.write(&id.0, &id.2) {
            self.heads.insert(id.clone(), (seq, version.clone()));
            self.journal.push(Row { seq, id, version, payload, op });
        }
        seq
    }

    /// Serves a page as `POST /sync/mutations/pull` does.
    #[must_use]
    pub fn pull(&self, request: &PullRequest) -> PullReply {
        let mut page = PullReply { cursors: request.cursors.clone(), ..PullReply::default() };
        for (project, &since) in &request.cursors {
            let rows: Vec<_> = self.journal.iter().filter(|row| row.id.0 == *project).collect();
            page.heads.insert(project.clone(), rows.last().map_or(0, |row| row.seq));
            let news: Vec<_> = rows.into_iter().filter(|row| row.seq > since).collect();
            let room = (request.limit as usize).saturating_sub(page.mutations.len());
            page.mutations.extend(news.iter().take(room).map(|row| served(row)));
            if let Some(last) = news.iter().take(room).next_back() {
                page.cursors.insert(project.clone(), last.seq);
            }
            page.remaining.insert(project.clone(), news.len().saturating_sub(room) as u64);
            page.has_more |= news.len() > room;
            if page.cursors[project] == page.heads[project] {
                page.digests.insert(project.clone(), self.sum(project));
            }
        }
        page.mutations.sort_by_key(|row| row.seq);
        page
    }

    /// Adds up the current versions of a project.
    #[must_use]
    pub fn sum(&self, project: &ProjectName) -> Digest {
        let heads = self.heads.iter().filter(|(id, _)| id.0 == *project);
        heads.fold(Digest::default(), |sum, (id, (_, version))| sum.plus(Digest::of(&id.2, version)))
    }

    /// Takes the place of another past of itself.
    pub fn restore(&mut self, backup: Self) {
        *self = Self { ever: self.ever, ..backup };
    }

    /// Tells whether it holds the row that a device was told.
    #[must_use]
    pub fn holds(&self, witness: Option<&Witness>) -> bool {
        witness.is_none_or(|witness| {
            let row = self.journal.iter().find(|row| row.seq == witness.seq);
            row.is_some_and(|row| row.seq.to_string() == witness.occurred_at)
        })
    }

    /// Tells whether a pull from these cursors would bring a row.
    #[must_use]
    pub fn has_news(&self, cursors: &BTreeMap<ProjectName, u64>) -> bool {
        self.journal.iter().rev().any(|row| cursors.get(&row.id.0).is_some_and(|&since| row.seq > since))
    }

    /// Returns the current version of an entity.
    #[must_use]
    pub fn head(&self, id: &EntityId) -> Option<&Version> {
        self.heads.get(id).map(|(_, version)| version)
    }

    /// Describes everything that is current, for comparison.
    #[must_use]
    pub fn digest(&self) -> String {
        let line = |(id, (_, version)): (&EntityId, &(u64, Version))| {
            let payload = version.write(&id.0, &id.2).map(|(_, payload)| canonical_object(&payload));
            format!("{} {} {} {}\n", id.0, id.1, id.2, payload.unwrap_or_default())
        };
        self.heads.iter().map(line).collect()
    }
}

fn served(row: &Row) -> PulledMutation {
    PulledMutation {
        seq: row.seq,
        project: row.id.0.to_string(),
        entity: row.id.1.to_string(),
        entity_key: row.id.2.clone(),
        op: row.op.to_string(),
        payload: row.payload.clone().into(),
        occurred_at: row.seq.to_string(),
    }
}

fn read(project: &ProjectName, entry: &PushEntry) -> Option<(EntityId, Version)> {
    let entity = Entity::parse(&entry.entity)?;
    let op = Op::parse(&entry.op)?;
    let payload = payload_object(entry.payload.clone()).ok()?;
    if op == Op::Upsert && entity.missing_field(&payload).is_some() {
        return None;
    }
    let version = Version::read(entity, &entry.entity_key, op, &payload).ok()?;
    Some(((project.clone(), entity, entry.entity_key.clone()), version))
}
