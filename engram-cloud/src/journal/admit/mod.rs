//! Merging on arrival (merging.md, "Server"), for every store alike and without one.
//!
//! What arrives is merged with the current version of its entity. Equal: nothing is stored again. Wins or mixes: the
//! merged version is appended, so that the last row of an entity is always the join. Loses: recorded and not served.
//!
//! A store asks for [`Facts`], hands them to an [`Admission`], lets batches in, and writes the [`Changes`], all within
//! one transaction and under the lock that its commit gives back.

mod changes;
mod door;
mod facts;
mod prompts;
mod relations;
mod take_over;
mod telling;

use super::compaction::kept;
use super::{Batch, Content, Entry, Fate, ForeignContent, KnownContent, Pushed, Told, number_after};
pub use changes::{Changes, Loser, NewHead, NewRow};
use engram_proto::canonical::Hash;
use engram_proto::merge::{Digest, Standing, Version, merge, rival};
use engram_proto::mutation::{Entity, Op};
pub use facts::{Facts, Head, Name, Taken, related};
use serde_json::Value;
pub use take_over::{PeerRow, is_brought, session_of_child, stood_in_for};

/// One transaction's work. Numbers are drawn here, while the lock is held that the commit gives back (CUR-2).
#[derive(Debug)]
pub struct Admission {
    facts: Facts,
    changes: Changes,
    now_us: i64,
    batch_after_seq: i64,
}

/// Which of two versions that meet, if it loses, lost to one that had not seen it.
#[derive(Clone, Copy, Debug, Default)]
struct Rivals {
    arriving: bool,
    current: bool,
}

impl Admission {
    /// Begins with what is known before the first batch.
    #[must_use]
    pub fn new(facts: Facts, now_us: i64) -> Self {
        Self { facts, changes: Changes::default(), now_us, batch_after_seq: 0 }
    }

    /// Returns what is to be written.
    #[must_use]
    pub fn changes(self) -> Changes {
        self.changes
    }

    /// Admits a batch. What refuses the whole of it is asked before its first row is appended.
    pub fn batch(&mut self, batch: &Batch) -> Pushed {
        if batch.witness.as_ref().is_some_and(|witness| !self.facts.holds(witness)) {
            return Pushed::Replaced;
        }
        let mut paused = batch.projects().into_iter().filter_map(|project| self.facts.paused.get(project)?.as_ref());
        if let Some(control) = paused.next() {
            return Pushed::Paused(control.clone());
        }
        if batch.is_atomic {
            let faults = batch.entries.iter().enumerate();
            let faults = faults.filter_map(|(at, entry)| Some((at, entry.content.as_ref().err()?.clone())));
            let faults: Vec<_> = faults.collect();
            if !faults.is_empty() {
                return Pushed::Invalid(faults);
            }
        }
        self.batch_after_seq = self.facts.last_seq;
        Pushed::Done(batch.entries.iter().map(|entry| self.entry(entry, &batch.principal)).collect())
    }

    fn entry(&mut self, entry: &Entry, pushed_by: &str) -> Fate {
        let content = match &entry.content {
            Ok(content) => content,
            Err(fault) => return Fate::Rejected(fault.clone()),
        };
        let id = entry.mutation_id.as_ref().map(|id| (entry.project.clone(), id.clone()));
        if let Some(taken) = id.as_ref().and_then(|id| self.facts.ids.get(id)?.as_ref()) {
            return if taken.is_superseded { Fate::Superseded(taken.told) } else { Fate::Duplicate(taken.told) };
        }
        let name = Name { project: entry.project.clone(), entity: entry.entity.clone(), key: entry.key.clone() };
        let fate = match content {
            Content::Known(known) if entry.mutation_id.is_none() => self.bare(name, known, pushed_by),
            Content::Known(known) => self.known(name, known, entry.base.as_deref(), pushed_by),
            Content::Nothing => Fate::Duplicate(self.told_of(&name)),
            Content::Foreign(foreign) => self.foreign(name, foreign, entry.mutation_id.is_some(), pushed_by),
        };
        if let (Some(id), Fate::Accepted(told) | Fate::Duplicate(told) | Fate::Superseded(told)) = (id, &fate) {
            let taken = Taken { told: *told, is_superseded: matches!(fate, Fate::Superseded(_)) };
            self.facts.ids.insert(id.clone(), Some(taken));
            self.changes.ids.insert(id, taken);
        }
        fate
    }

    fn known(&mut self, name: Name, known: &KnownContent, base: Option<&str>, pushed_by: &str) -> Fate {
        let current = self.facts.head(&name).map(|head| &head.version);
        let rivals = current.map_or_else(Rivals::default, |current| {
            let is_conflict = is_conflict(base, current, &known.version);
            Rivals { arriving: is_conflict || loses_to_its_base(base, current, &known.version), current: is_conflict }
        });
        self.merged(name, known, base, rivals, pushed_by)
    }

    fn merged(
        &mut self,
        name: Name,
        known: &KnownContent,
        base: Option<&str>,
        rivals: Rivals,
        pushed_by: &str,
    ) -> Fate {
        let Some(head) = self.facts.head(&name).cloned() else {
            return Fate::Accepted(self.append_known(name, &known.version, known.op, known.payload.clone(), pushed_by));
        };
        let current = &head.version;
        let lost = |op: Op, payload: &str, to: Told| loser(&name, op, payload, base, to, self.now_us, pushed_by);
        match known.version.standing(current) {
            Standing::Equal => Fate::Duplicate(head.told),
            Standing::Loses => {
                let loser = lost(known.op, &known.payload, head.told);
                if rivals.arriving {
                    self.changes.conflicts.push(loser.clone());
                }
                let payload = loser.payload.filter(|_| !rivals.arriving && !current.is_for_good());
                let kept = (payload.is_none() && !rivals.arriving).then(|| kept(&known.version));
                self.changes.superseded.push(Loser { payload, kept, ..loser });
                Fate::Superseded(head.told)
            }
            standing => {
                let told = if standing == Standing::Wins {
                    let payload = known.payload.clone();
                    self.append_known(name.clone(), &known.version, known.op, payload, pushed_by)
                } else {
                    self.append_version(name.clone(), &merge(known.version.clone(), current.clone()), pushed_by)
                };
                let lost = |op: Op, payload: &str| loser(&name, op, payload, base, told, self.now_us, pushed_by);
                if rivals.current && known.version.leads(current) {
                    self.changes.conflicts.push(lost(head.op, &head.payload));
                }
                if rivals.arriving && current.leads(&known.version) {
                    self.changes.conflicts.push(lost(known.op, &known.payload));
                }
                Fate::Accepted(told)
            }
        }
    }

    /// Admits a version of a Go program by the rules of the door.
    fn bare(&mut self, name: Name, sent: &KnownContent, pushed_by: &str) -> Fate {
        let head = self.facts.head(&name).cloned();
        let held = self.facts.held(&name);
        let version = door::meant(&sent.version, head.as_ref().map(|head| &head.version), held, self.now_us);
        let was_held = rival::was_held(&version, held);
        let rivals = head.as_ref().map_or_else(Rivals::default, |head| {
            let came_at = door::came_before(head, self.batch_after_seq);
            Rivals { arriving: !was_held, current: rival::overwrites_unseen(&version, &head.version, came_at, held) }
        });
        let known = if version == sent.version { sent.clone() } else { rewritten(&name, version) };
        let is_mixed = head.as_ref().is_some_and(|head| known.version.standing(&head.version) == Standing::Mixes);
        let mut fate = self.merged(name.clone(), &known, None, rivals, pushed_by);
        if let (Fate::Accepted(told), true) = (&fate, is_mixed && !was_held) {
            // What it added is in the join; as it came it is held, so that it adds nothing when it comes again.
            // Its text is in the join, or kept as a conflict.
            let lost = loser(&name, known.op, &known.payload, None, *told, self.now_us, pushed_by);
            let kept = Some(kept(&known.version));
            self.changes.superseded.push(Loser { payload: None, kept, ..lost });
            self.facts.hold(&name, &known.version);
        }
        if let (Fate::Superseded(to), Some(head)) = (&mut fate, &head) {
            self.facts.hold(&name, &known.version);
            if door::shows_again(&known.version, &head.version, was_held) {
                *to = self.append_again(&name, pushed_by);
            }
        }
        self.show_spared_prompts(&name, &known.version, pushed_by);
        fate
    }

    /// Appends session and prompts once more where its delete spared prompts, which its sender deleted with it.
    fn show_spared_prompts(&mut self, session: &Name, version: &Version, pushed_by: &str) {
        let deleted_at = if let Version::Session(version) = version { version.deleted_at } else { None };
        let spared = self.facts.live_prompts.get(&(session.project.clone(), session.key.clone()));
        let Some(spared) = spared.filter(|spared| deleted_at.is_some() && !spared.is_empty()).cloned() else { return };
        self.append_again(session, pushed_by);
        for key in spared {
            self.append_again(&Name::known(&session.project, Entity::Prompt, &key), pushed_by);
        }
    }

    /// Appends the current version of an entity once more, for a client that passed it or could not use it.
    pub fn show_again(&mut self, name: &Name) {
        self.append_again(name, take_over::JOINED_BY);
    }

    /// Appends the current version of an entity once more, for who passed it.
    fn append_again(&mut self, name: &Name, pushed_by: &str) -> Told {
        let Some(head) = self.facts.head(name).cloned() else { return self.told_of(name) };
        self.append_known(name.clone(), &head.version, head.op, head.payload, pushed_by)
    }

    /// Returns the number of an entity's current row, or the last there is.
    fn told_of(&self, name: &Name) -> Told {
        let last = Told { seq: self.facts.last_seq.unsigned_abs(), occurred_at_us: self.now_us };
        self.facts.head(name).map_or(last, |head| head.told)
    }

    /// Appends the row of a version that makes itself the entity's current one.
    fn append_version(&mut self, name: Name, version: &Version, pushed_by: &str) -> Told {
        // Every version that comes here was read from a payload or made as a delete, so its text is at hand.
        let written = version.write(&name.project, &name.key);
        let (op, payload) = written.unwrap_or_else(|| unreachable!("a version without its text"));
        self.append_known(name, version, op, Value::Object(payload).to_string(), pushed_by)
    }

    fn append_known(&mut self, name: Name, version: &Version, op: Op, payload: String, pushed_by: &str) -> Told {
        let hash = version.hash().to_string();
        let told = self.append(name.clone(), op.as_str(), payload.clone(), hash, pushed_by);
        self.stands(name, Head { told, version: version.clone(), op, payload }, pushed_by);
        told
    }

    /// Makes a row an entity's current one, and appends what follows from that.
    fn stands(&mut self, name: Name, head: Head, pushed_by: &str) {
        let version = head.version.clone();
        let arrives = !version.is_delete() && self.facts.lacks(&name);
        let before = self.facts.head(&name).map(|before| Digest::of(&name.key, &before.version)).unwrap_or_default();
        let digest = self.changes.digests.entry(name.project.clone()).or_default();
        *digest = digest.plus(Digest::of(&name.key, &version)).minus(before);
        self.changes.heads.insert(name.clone(), NewHead::of(head.told.seq.cast_signed(), &version));
        self.facts.set_head(name.clone(), head);
        match &version {
            Version::Observation(_) if arrives => self.show_waiting_relations(&name, pushed_by),
            Version::Relation(relation) => self.note_missing_ends(&name, relation),
            _ => prompts::settle(self, &name, &version, pushed_by),
        }
    }

    fn foreign(&mut self, name: Name, foreign: &ForeignContent, has_id: bool, pushed_by: &str) -> Fate {
        // An id tells a repetition from a return to an earlier content; without one, what was seen is seen (IDEM-1).
        let seen = (name.clone(), foreign.hash);
        let found = if has_id {
            let last = self.facts.last_foreign.get(&name).copied().flatten();
            last.and_then(|(told, last)| (last == foreign.hash).then_some(told))
        } else {
            self.facts.seen_foreign.get(&seen).copied().flatten()
        };
        if let Some(told) = found {
            return Fate::Duplicate(told);
        }
        let hash = foreign.hash.to_string();
        let told = self.append(name.clone(), &foreign.op, foreign.payload.clone(), hash, pushed_by);
        self.facts.last_foreign.insert(name, Some((told, foreign.hash)));
        self.facts.seen_foreign.insert(seen, Some(told));
        Fate::Accepted(told)
    }

    fn append(&mut self, name: Name, op: &str, payload: String, hash: String, pushed_by: &str) -> Told {
        let (seq, occurred_at_us) = (number_after(self.facts.last_seq, self.now_us), self.now_us);
        let (op, pushed_by) = (op.to_owned(), pushed_by.to_owned());
        self.changes.rows.push(NewRow { seq, name, op, payload, occurred_at_us, hash, pushed_by });
        self.facts.last_seq = seq;
        Told { seq: seq.unsigned_abs(), occurred_at_us }
    }
}

/// Writes the content of a version that is another than the one that was sent.
fn rewritten(name: &Name, version: Version) -> KnownContent {
    // It was read from a payload, so its text is at hand.
    let written = version.write(&name.project, &name.key);
    let (op, payload) = written.unwrap_or_else(|| unreachable!("a version without its text"));
    KnownContent { version, op, payload: Value::Object(payload).to_string() }
}

/// Tells whether two versions that met had not seen each other: the arriving edit was made on another than the current
/// one, and says something else.
fn is_conflict(base: Option<&str>, current: &Version, arriving: &Version) -> bool {
    let current = current.hash();
    base.is_some_and(|base| Hash::from_hex(base) != Some(current)) && arriving.hash() != current
}

/// Tells whether an edit of the current version loses to that: a Go client offered it once more with a later time than the
/// edit's author had seen, after this server was restored.
fn loses_to_its_base(base: Option<&str>, current: &Version, arriving: &Version) -> bool {
    let hash = current.hash();
    let is_edit = base.and_then(Hash::from_hex) == Some(hash) && arriving.hash() != hash;
    is_edit && arriving.standing(current) == Standing::Loses
}

fn loser(name: &Name, op: Op, payload: &str, base: Option<&str>, to: Told, now_us: i64, pushed_by: &str) -> Loser {
    Loser {
        name: name.clone(),
        digest: Hash::of_bytes(format!("{op}\n{payload}").as_bytes()).to_string(),
        op: op.as_str().to_owned(),
        payload: Some(payload.to_owned()),
        kept: None,
        base: base.map(str::to_owned),
        winner_seq: to.seq.cast_signed(),
        occurred_at_us: now_us,
        pushed_by: pushed_by.to_owned(),
    }
}
