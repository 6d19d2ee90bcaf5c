//! Merging on arrival (merging.md, "Server").
//!
//! What arrives is merged with the current version of its entity. Equal: nothing is stored again. Wins or mixes: the
//! merged version is appended, so that the last row of an entity is always the join. Loses: recorded and not served.

use super::rows::{self, Loser, NewRow};
use super::{controls, prompts};
use crate::journal::{Batch, Content, Entry, Fate, ForeignContent, KnownContent, Pushed, Told, number_after};
use engram_proto::canonical::Hash;
use engram_proto::id::ProjectName;
use engram_proto::merge::{Standing, Version, merge};
use engram_proto::mutation::Op;
use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeSet;

/// One transaction's work. Numbers are drawn here, while the lock is held that the commit gives back (CUR-2).
pub(super) struct Admission<'a> {
    pub(super) connection: &'a Connection,
    pub(super) now_us: i64,
    last_seq: i64,
    touched: BTreeSet<ProjectName>,
}

/// Whose version it is, and by whom.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) project: &'a ProjectName,
    pub(super) key: &'a str,
    pub(super) pushed_by: &'a str,
}

impl<'a> Admission<'a> {
    pub(super) fn begin(connection: &'a Connection, now_us: i64) -> rusqlite::Result<Self> {
        let last_seq = rows::last_seq(connection)?;
        Ok(Self { connection, now_us, last_seq, touched: BTreeSet::new() })
    }

    /// Returns the projects that have new rows.
    pub(super) fn touched(self) -> BTreeSet<ProjectName> {
        self.touched
    }

    /// Admits a batch. What refuses the whole of it is asked before its first row is written.
    pub(super) fn batch(&mut self, batch: &Batch) -> rusqlite::Result<Pushed> {
        for project in batch.projects() {
            if let Some(control) = controls::paused(self.connection, project)? {
                return Ok(Pushed::Paused(control));
            }
        }
        if batch.is_atomic {
            let faults = batch.entries.iter().enumerate();
            let faults = faults.filter_map(|(at, entry)| Some((at, entry.content.as_ref().err()?.clone())));
            let faults: Vec<_> = faults.collect();
            if !faults.is_empty() {
                return Ok(Pushed::Invalid(faults));
            }
        }
        let fates = batch.entries.iter().map(|entry| self.entry(entry, &batch.principal));
        Ok(Pushed::Done(fates.collect::<rusqlite::Result<_>>()?))
    }

    fn entry(&mut self, entry: &Entry, pushed_by: &str) -> rusqlite::Result<Fate> {
        let content = match &entry.content {
            Ok(content) => content,
            Err(fault) => return Ok(Fate::Rejected(fault.clone())),
        };
        if let Some(id) = &entry.mutation_id
            && let Some((told, is_superseded)) = rows::by_id(self.connection, &entry.project, id)?
        {
            return Ok(if is_superseded { Fate::Superseded(told) } else { Fate::Duplicate(told) });
        }
        let subject = Subject { project: &entry.project, key: &entry.key, pushed_by };
        let fate = match content {
            Content::Known(known) => self.known(subject, known, entry.base.as_deref())?,
            Content::Foreign(foreign) => self.foreign(subject, entry, foreign)?,
        };
        if let (Some(id), Fate::Accepted(told) | Fate::Duplicate(told) | Fate::Superseded(told)) =
            (&entry.mutation_id, &fate)
        {
            let is_superseded = matches!(fate, Fate::Superseded(_));
            rows::keep_id(self.connection, &entry.project, id, *told, is_superseded)?;
        }
        Ok(fate)
    }

    fn known(&mut self, subject: Subject<'_>, known: &KnownContent, base: Option<&str>) -> rusqlite::Result<Fate> {
        let entity = known.version.entity();
        let head = rows::head(self.connection, subject.project, entity.as_str(), subject.key)?;
        let current = head.and_then(|head| Some((head.version(entity, subject.key)?, head)));
        let Some((current, head)) = current else {
            return self.append_known(subject, &known.version, known.op, &known.payload).map(Fate::Accepted);
        };
        match known.version.standing(&current) {
            Standing::Equal => Ok(Fate::Duplicate(head.told)),
            Standing::Loses => {
                let is_conflict = is_conflict(base, &current, &known.version);
                self.keep_arriving(subject, known, base, head.told, is_conflict)?;
                Ok(Fate::Superseded(head.told))
            }
            standing => {
                let told = if standing == Standing::Wins {
                    self.append_known(subject, &known.version, known.op, &known.payload)?
                } else {
                    self.append_version(subject, &merge(known.version.clone(), current.clone()))?
                };
                if is_conflict(base, &current, &known.version) {
                    if known.version.leads(&current) {
                        let loser = loser(subject, entity.as_str(), &head.op, &head.payload, base, told);
                        self.keep_conflict(&loser)?;
                    }
                    if current.leads(&known.version) {
                        let op = known.op.as_str();
                        self.keep_conflict(&loser(subject, entity.as_str(), op, &known.payload, base, told))?;
                    }
                }
                Ok(Fate::Accepted(told))
            }
        }
    }

    /// Appends the row of a version that makes itself the entity's current one.
    pub(super) fn append_version(&mut self, subject: Subject<'_>, version: &Version) -> rusqlite::Result<Told> {
        // Every version that comes here was read from a payload or made as a delete, so its text is at hand.
        let written = version.write(subject.project, subject.key);
        let (op, payload) = written.unwrap_or_else(|| unreachable!("a version without its text"));
        self.append_known(subject, version, op, &Value::Object(payload).to_string())
    }

    fn append_known(
        &mut self,
        subject: Subject<'_>,
        version: &Version,
        op: Op,
        payload: &str,
    ) -> rusqlite::Result<Told> {
        let hash = version.hash().to_string();
        let told = self.append(subject, version.entity().as_str(), op.as_str(), payload, &hash)?;
        rows::set_head(self.connection, subject.project, subject.key, version, told.seq.cast_signed())?;
        prompts::settle(self, subject, version)?;
        Ok(told)
    }

    fn foreign(&mut self, subject: Subject<'_>, entry: &Entry, foreign: &ForeignContent) -> rusqlite::Result<Fate> {
        let hash = foreign.hash.to_string();
        // An id tells a repetition from a return to an earlier content; without one, what was seen is seen (IDEM-1).
        let found = if entry.mutation_id.is_some() {
            let last = rows::last_foreign(self.connection, subject.project, &entry.entity, subject.key)?;
            last.and_then(|(told, last)| (last == hash).then_some(told))
        } else {
            rows::seen_foreign(self.connection, subject.project, &entry.entity, subject.key, &hash)?
        };
        if let Some(told) = found {
            return Ok(Fate::Duplicate(told));
        }
        self.append(subject, &entry.entity, &foreign.op, &foreign.payload, &hash).map(Fate::Accepted)
    }

    fn append(
        &mut self,
        subject: Subject<'_>,
        entity: &str,
        op: &str,
        payload: &str,
        hash: &str,
    ) -> rusqlite::Result<Told> {
        let Subject { project, key, pushed_by } = subject;
        let (seq, occurred_at_us) = (number_after(self.last_seq, self.now_us), self.now_us);
        let row = NewRow { seq, project, entity, key, op, payload, occurred_at_us, hash, pushed_by };
        rows::append(self.connection, &row)?;
        self.last_seq = seq;
        if !self.touched.contains(project) {
            self.touched.insert(project.clone());
        }
        Ok(rows::told(seq, occurred_at_us))
    }

    fn keep_arriving(
        &self,
        subject: Subject<'_>,
        known: &KnownContent,
        base: Option<&str>,
        lost_to: Told,
        is_conflict: bool,
    ) -> rusqlite::Result<()> {
        let entity = known.version.entity().as_str();
        let digest = digest(known.op.as_str(), &known.payload);
        let loser = loser(subject, entity, known.op.as_str(), &known.payload, base, lost_to);
        let loser = Loser { digest: &digest, occurred_at_us: self.now_us, ..loser };
        if is_conflict {
            rows::keep_conflict(self.connection, &loser)?;
        }
        rows::keep_superseded(self.connection, &loser, !is_conflict)
    }

    fn keep_conflict(&self, loser: &Loser<'_>) -> rusqlite::Result<()> {
        let digest = digest(loser.op, loser.payload);
        rows::keep_conflict(self.connection, &Loser { digest: &digest, occurred_at_us: self.now_us, ..*loser })
    }
}

/// Tells whether two versions that met had not seen each other: the arriving edit was made on another than the current
/// one, and says something else.
fn is_conflict(base: Option<&str>, current: &Version, arriving: &Version) -> bool {
    let current = current.hash();
    base.is_some_and(|base| Hash::from_hex(base) != Some(current)) && arriving.hash() != current
}

fn digest(op: &str, payload: &str) -> String {
    Hash::of_bytes(format!("{op}\n{payload}").as_bytes()).to_string()
}

fn loser<'a>(
    subject: Subject<'a>,
    entity: &'a str,
    op: &'a str,
    payload: &'a str,
    base: Option<&'a str>,
    winner: Told,
) -> Loser<'a> {
    let Subject { project, key, pushed_by } = subject;
    let winner_seq = winner.seq.cast_signed();
    Loser { project, entity, key, digest: "", op, payload, base, winner_seq, occurred_at_us: 0, pushed_by }
}
