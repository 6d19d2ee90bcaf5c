//! What admission has to know, asked for before it begins.
//!
//! [`Facts::asked_by`] names every question that a group of batches will raise; the store writes the answers in. From
//! then on it is the working set of one transaction: later entries see what earlier ones changed.

use crate::clock::rfc3339_us;
use crate::journal::{Batch, Content, Control, Entry, Told};
use engram_proto::canonical::Hash;
use engram_proto::http::witness::Witness;
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op, payload_text};
use std::collections::{BTreeMap, BTreeSet};

/// Names an entity, known or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Its project.
    pub project: ProjectName,
    /// Its kind, in its own word.
    pub entity: String,
    /// Session id or sync id.
    pub key: String,
}

impl Name {
    /// Names an entity of a known kind.
    #[must_use]
    pub fn known(project: &ProjectName, entity: Entity, key: &str) -> Self {
        Self { project: project.clone(), entity: entity.as_str().to_owned(), key: key.to_owned() }
    }

    fn of(entry: &Entry) -> Self {
        Self { project: entry.project.clone(), entity: entry.entity.clone(), key: entry.key.clone() }
    }
}

/// The current version of an entity, with the row it stands in.
#[derive(Clone, Debug)]
pub struct Head {
    /// The row as its sender was told of it.
    pub told: Told,
    /// The version.
    pub version: Version,
    /// What the row does.
    pub op: Op,
    /// The row's payload as JSON text.
    pub payload: String,
}

impl Head {
    /// Reads the head of a known entity out of its row; `None` for a row that makes no version, and so merges with
    /// nothing.
    #[must_use]
    pub fn read(name: &Name, told: Told, op: &str, payload: String) -> Option<Self> {
        let (entity, op) = (Entity::parse(&name.entity)?, Op::parse(op)?);
        let version = Version::read(entity, &name.key, op, &payload_text(&payload).ok()?).ok()?;
        Some(Self { told, version, op, payload })
    }
}

/// A mutation id that was taken before.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// The row its sender was told of.
    pub told: Told,
    /// Whether its version had lost.
    pub is_superseded: bool,
}

/// The answers, by question. An answer of `None` says that there is none.
#[derive(Debug, Default)]
pub struct Facts {
    /// The highest number there is; 0 in an empty journal.
    pub last_seq: i64,
    /// When the rows of these numbers were taken, in microseconds since the epoch: what senders were told (CUR-3).
    pub witnesses: BTreeMap<u64, Option<i64>>,
    /// Which of the projects are paused.
    pub paused: BTreeMap<ProjectName, Option<Control>>,
    /// What became of mutation ids.
    pub ids: BTreeMap<(ProjectName, String), Option<Taken>>,
    /// Current versions of known entities.
    pub heads: BTreeMap<Name, Option<Head>>,
    /// Every version of an entity that was ever held: served, or recorded as superseded (peers.md, "The door"). Asked
    /// for entries without a mutation id alone; of what was compacted, without its text.
    pub held: BTreeMap<Name, Vec<Version>>,
    /// The last row of an unknown entity, with the hash of its content.
    pub last_foreign: BTreeMap<Name, Option<(Told, Hash)>>,
    /// A row of an unknown entity with just this content.
    pub seen_foreign: BTreeMap<(Name, Hash), Option<Told>>,
    /// The live prompts of sessions that are deleted; every one of them has its head in `heads`.
    pub live_prompts: BTreeMap<(ProjectName, String), BTreeSet<String>>,
    /// The relations, of whatever project, that came before the observation of this sync id. Answered for every
    /// observation whose head is asked for; every one of them has its head in `heads`.
    pub waiting: BTreeMap<String, BTreeSet<Name>>,
    /// Where the first row that the peer wrote of a session stands, if that row says the session's directory. Asked
    /// for rows that are taken over alone.
    pub opened: BTreeMap<Name, u64>,
}

impl Facts {
    /// Asks what these batches need to know, save for the live prompts of sessions.
    #[must_use]
    pub fn asked_by(batches: &[Batch]) -> Self {
        let mut facts = Self::default();
        for witness in batches.iter().filter_map(|batch| batch.witness.as_ref()) {
            facts.witnesses.insert(witness.seq, None);
        }
        for entry in batches.iter().flat_map(|batch| &batch.entries) {
            if !facts.paused.contains_key(&entry.project) {
                facts.paused.insert(entry.project.clone(), None);
            }
            let Ok(content) = &entry.content else { continue };
            if let Some(id) = &entry.mutation_id {
                facts.ids.insert((entry.project.clone(), id.clone()), None);
            }
            facts.ask_of_content(Name::of(entry), content, entry.mutation_id.is_some());
        }
        facts
    }

    fn ask_of_content(&mut self, name: Name, content: &Content, has_id: bool) {
        match content {
            Content::Known(known) => {
                for other in related(&name, &known.version) {
                    self.heads.insert(other, None);
                }
                if !has_id {
                    self.held.insert(name.clone(), Vec::new());
                }
                self.heads.insert(name, None);
            }
            Content::Nothing => {
                self.heads.insert(name, None);
            }
            Content::Foreign(_) if has_id => {
                self.last_foreign.insert(name, None);
            }
            Content::Foreign(foreign) => {
                self.seen_foreign.insert((name, foreign.hash), None);
            }
        }
    }

    /// Asks for the live prompts of every session that one of these batches, or its current version, says is deleted.
    /// Asked once the heads are known; the keys are left to the store to fill in, with the prompts' heads.
    pub fn ask_live_prompts(&mut self, batches: &[Batch]) {
        for entry in batches.iter().flat_map(|batch| &batch.entries) {
            let Ok(Content::Known(known)) = &entry.content else { continue };
            if known.version.entity() != Entity::Session {
                continue;
            }
            let current = self.heads.get(&Name::of(entry)).and_then(Option::as_ref).map(|head| &head.version);
            if has_deletion(&known.version) || current.is_some_and(has_deletion) {
                self.live_prompts.entry((entry.project.clone(), entry.key.clone())).or_default();
            }
        }
    }

    /// Adds a live prompt of a session that was asked for.
    pub fn add_live_prompt(&mut self, session_id: &str, name: Name, head: Head) {
        let session = (name.project.clone(), session_id.to_owned());
        self.live_prompts.entry(session).or_default().insert(name.key.clone());
        self.heads.insert(name, Some(head));
    }

    /// Adds a relation that came before this observation.
    pub fn add_waiting(&mut self, observation: &str, name: Name, head: Head) {
        self.waiting.entry(observation.to_owned()).or_default().insert(name.clone());
        self.heads.insert(name, Some(head));
    }

    /// Takes the answers of further questions in; what was answered before stays.
    pub fn extend(&mut self, more: Self) {
        for (name, head) in more.heads {
            self.heads.entry(name).or_insert(head);
        }
        for (observation, relations) in more.waiting {
            self.waiting.entry(observation).or_default().extend(relations);
        }
    }

    /// Tells whether an observation was asked for and is not there, or deleted.
    pub(super) fn lacks(&self, name: &Name) -> bool {
        self.heads.get(name).is_some_and(|head| head.as_ref().is_none_or(|head| head.version.is_delete()))
    }

    /// Tells whether the row that a sender was told of is here, and no other under its number.
    pub(super) fn holds(&self, witness: &Witness) -> bool {
        let taken = self.witnesses.get(&witness.seq).copied().flatten();
        taken.is_some_and(|at_us| rfc3339_us(at_us) == witness.occurred_at)
    }

    /// Returns the current version of an entity.
    pub(super) fn head(&self, name: &Name) -> Option<&Head> {
        let head = self.heads.get(name);
        debug_assert!(head.is_some(), "the head of {name:?} was not asked for");
        head.and_then(Option::as_ref)
    }

    /// Returns every version of an entity that was held before.
    pub(super) fn held(&self, name: &Name) -> &[Version] {
        let held = self.held.get(name);
        debug_assert!(held.is_some(), "the versions of {name:?} were not asked for");
        held.map_or(&[], Vec::as_slice)
    }

    /// Remembers a version that is held from now on.
    pub(super) fn hold(&mut self, name: &Name, version: &Version) {
        if let Some(held) = self.held.get_mut(name) {
            held.push(version.clone());
        }
    }

    /// Replaces the current version of an entity.
    pub(super) fn set_head(&mut self, name: Name, head: Head) {
        self.hold(&name, &head.version);
        if let Version::Prompt(prompt) = &head.version {
            let before = self.head(&name).and_then(|head| head.version.session_id()).map(str::to_owned);
            self.prompt_moves(&name, before, (!prompt.key.deleted).then_some(prompt.session_id.as_str()));
        }
        self.heads.insert(name, Some(head));
    }

    fn prompt_moves(&mut self, name: &Name, from: Option<String>, to: Option<&str>) {
        if let Some(prompts) = from.and_then(|from| self.live_prompts.get_mut(&(name.project.clone(), from))) {
            prompts.remove(&name.key);
        }
        if let Some(prompts) = to.and_then(|to| self.live_prompts.get_mut(&(name.project.clone(), to.to_owned()))) {
            prompts.insert(name.key.clone());
        }
    }
}

/// Names the entities whose current versions decide what follows from a version of this one: a prompt's session, which
/// may be deleted, and the ends of a relation, which may be missing.
pub fn related(name: &Name, version: &Version) -> Vec<Name> {
    let known = |entity, key: &str| Name::known(&name.project, entity, key);
    match version {
        Version::Prompt(prompt) => vec![known(Entity::Session, &prompt.session_id)],
        Version::Relation(relation) => {
            [&relation.source_id, &relation.target_id].map(|end| known(Entity::Observation, end)).into()
        }
        Version::Session(_) | Version::Observation(_) => Vec::new(),
    }
}

fn has_deletion(version: &Version) -> bool {
    matches!(version, Version::Session(session) if session.deleted_at.is_some())
}
