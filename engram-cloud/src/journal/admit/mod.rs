//! Merging on arrival (merging.md, "Server"), for every store alike and without one.
//!
//! What arrives is merged with the current version of its entity. Equal: nothing is stored again. Wins or mixes: the
//! merged version is appended, so that the last row of an entity is always the join. Loses: recorded and not served.
//!
//! A store asks for [`Facts`], hands them to an [`Admission`], lets batches in, and writes the [`Changes`], all within
//! one transaction and under the lock that its commit gives back.

mod changes;
mod facts;
mod prompts;
mod take_over;

use super::{Batch, Content, Entry, Fate, ForeignContent, KnownContent, Pushed, Told, number_after};
pub use changes::{Changes, Loser, NewHead, NewRow};
use engram_proto::canonical::Hash;
use engram_proto::merge::{Standing, Version, merge};
use engram_proto::mutation::Op;
pub use facts::{Facts, Head, Name, Taken};
use serde_json::Value;
pub use take_over::PeerRow;

/// One transaction's work. Numbers are drawn here, while the lock is held that the commit gives back (CUR-2).
#[derive(Debug)]
pub struct Admission {
    facts: Facts,
    changes: Changes,
    now_us: i64,
}

impl Admission {
    /// Begins with what is known before the first batch.
    #[must_use]
    pub fn new(facts: Facts, now_us: i64) -> Self {
        Self { facts, changes: Changes::default(), now_us }
    }

    /// Returns what is to be written.
    #[must_use]
    pub fn changes(self) -> Changes {
        self.changes
    }

    /// Admits a batch. What refuses the whole of it is asked before its first row is appended.
    pub fn batch(&mut self, batch: &Batch) -> Pushed {
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
            Content::Known(known) => self.known(name, known, entry.base.as_deref(), pushed_by),
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
        let Some(head) = self.facts.head(&name).cloned() else {
            return Fate::Accepted(self.append_known(name, &known.version, known.op, known.payload.clone(), pushed_by));
        };
        let current = &head.version;
        let is_conflict = is_conflict(base, current, &known.version);
        let lost = |op: Op, payload: &str, to: Told| loser(&name, op, payload, base, to, self.now_us, pushed_by);
        match known.version.standing(current) {
            Standing::Equal => Fate::Duplicate(head.told),
            Standing::Loses => {
                let loser = lost(known.op, &known.payload, head.told);
                if is_conflict {
                    self.changes.conflicts.push(loser.clone());
                }
                let payload = loser.payload.filter(|_| !is_conflict);
                self.changes.superseded.push(Loser { payload, ..loser });
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
                if is_conflict && known.version.leads(current) {
                    self.changes.conflicts.push(lost(head.op, &head.payload));
                }
                if is_conflict && current.leads(&known.version) {
                    self.changes.conflicts.push(lost(known.op, &known.payload));
                }
                Fate::Accepted(told)
            }
        }
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
        self.changes.heads.insert(name.clone(), NewHead::of(told.seq.cast_signed(), version));
        self.facts.set_head(name.clone(), Head { told, version: version.clone(), op, payload });
        prompts::settle(self, &name, version, pushed_by);
        told
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

/// Tells whether two versions that met had not seen each other: the arriving edit was made on another than the current
/// one, and says something else.
fn is_conflict(base: Option<&str>, current: &Version, arriving: &Version) -> bool {
    let current = current.hash();
    base.is_some_and(|base| Hash::from_hex(base) != Some(current)) && arriving.hash() != current
}

fn loser(name: &Name, op: Op, payload: &str, base: Option<&str>, to: Told, now_us: i64, pushed_by: &str) -> Loser {
    Loser {
        name: name.clone(),
        digest: Hash::of_bytes(format!("{op}\n{payload}").as_bytes()).to_string(),
        op: op.as_str().to_owned(),
        payload: Some(payload.to_owned()),
        base: base.map(str::to_owned),
        winner_seq: to.seq.cast_signed(),
        occurred_at_us: now_us,
        pushed_by: pushed_by.to_owned(),
    }
}
