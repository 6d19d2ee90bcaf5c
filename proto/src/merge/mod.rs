//! How two versions of one entity become one (merging.md; laws CONV-1..5).
//!
//! [`merge`] is a join: commutative, associative, idempotent, and decided from the two versions alone (CONV-2). Daemon,
//! server and simulator call this one function. Every field is the winner's (from the version with the greater key), a
//! max, a min, or part of a register that is taken whole.

mod digest;
mod fields;
mod observation;
mod prompt;
mod relation;
pub mod rival;
mod session;

use crate::canonical::{Hash, Object};
use crate::id::ProjectName;
use crate::mutation::{Entity, Op, PayloadError};
use crate::time::RowTime;
pub use digest::Digest;
pub use fields::Lent;
pub use observation::{Kind, ObservationBody, ObservationKey, ObservationVersion};
pub use prompt::{PromptKey, PromptVersion};
pub use relation::{JUDGED, ORPHANED, PENDING, RelationBody, RelationKey, RelationVersion};
use serde::{Deserialize, Serialize};
pub use session::{EndRegister, RECOVERED_DIRECTORY, SessionVersion, StartRegister};

/// One version of one entity: its merge key, its joined fields and, where it is at hand, its text.
///
/// Serialised it leaves the text out: that is the form `engramd_version` keeps of what is known. Two versions are equal
/// when their keys and joined fields are; the hash in the key stands for the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// A version of a session.
    Session(SessionVersion),
    /// A version of an observation.
    Observation(ObservationVersion),
    /// A version of a prompt.
    Prompt(PromptVersion),
    /// A version of a relation.
    Relation(RelationVersion),
}

/// How a version stands to another one of the same entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Both are the same version, field by field.
    Equal,
    /// The other holds everything this one would add.
    Loses,
    /// The other adds nothing to this one.
    Wins,
    /// Each adds something: the join is a third version.
    Mixes,
}

impl Version {
    /// Reads a version out of a mutation's payload.
    ///
    /// Lenient where a peer is: blank texts make a version. What a server must refuse is told by
    /// [`Entity::missing_field`].
    ///
    /// # Errors
    /// [`PayloadError`] where the payload is about another key, or about nothing.
    pub fn read(entity: Entity, key: &str, op: Op, payload: &Object) -> Result<Self, PayloadError> {
        fields::check_key(entity, key, payload)?;
        Ok(match entity {
            Entity::Session => Self::Session(SessionVersion::read(op, payload)),
            Entity::Observation => Self::Observation(ObservationVersion::read(op, payload)),
            Entity::Prompt => Self::Prompt(PromptVersion::read(op, payload)),
            Entity::Relation if op == Op::Delete => return Err(PayloadError::RelationDelete),
            Entity::Relation => Self::Relation(RelationVersion::read(payload)?),
        })
    }

    /// Writes the operation and payload that [`read`](Self::read) reads back as this version.
    ///
    /// `None` where the text is not at hand (merging.md, "Pull": nothing of such an entity is sent).
    #[must_use]
    pub fn write(&self, project: &ProjectName, key: &str) -> Option<(Op, Object)> {
        match self {
            Self::Session(version) => Some((Op::Upsert, version.write(project, key))),
            Self::Observation(version) => version.write(project, key),
            Self::Prompt(version) => version.write(project, key),
            Self::Relation(version) => version.write(project, key).map(|payload| (Op::Upsert, payload)),
        }
    }

    /// Returns what this is a version of.
    #[must_use]
    pub fn entity(&self) -> Entity {
        match self {
            Self::Session(_) => Entity::Session,
            Self::Observation(_) => Entity::Observation,
            Self::Prompt(_) => Entity::Prompt,
            Self::Relation(_) => Entity::Relation,
        }
    }

    /// Returns the hash that names this version as a `base` (of a session, that of both registers).
    #[must_use]
    pub fn hash(&self) -> Hash {
        match self {
            Self::Session(version) => version.hash(),
            Self::Observation(version) => version.key.hash,
            Self::Prompt(version) => version.key.hash,
            Self::Relation(version) => version.key.hash,
        }
    }

    /// Tells whether this version by itself says that the entity is deleted.
    ///
    /// Of a session this is its own half of the answer: children that are known keep it alive (merging.md).
    #[must_use]
    pub fn is_delete(&self) -> bool {
        match self {
            Self::Session(version) => version.is_delete(),
            Self::Observation(version) => version.key.kind != Kind::Upsert,
            Self::Prompt(version) => version.key.deleted,
            Self::Relation(_) => false,
        }
    }

    /// Tells whether this version deletes for good.
    #[must_use]
    pub fn is_for_good(&self) -> bool {
        match self {
            Self::Observation(version) => version.key.kind == Kind::Hard,
            Self::Prompt(version) => version.key.deleted,
            Self::Session(_) | Self::Relation(_) => false,
        }
    }

    /// Returns the time in the merge key; of a session the latest of its times.
    #[must_use]
    pub fn time(&self) -> Option<RowTime> {
        match self {
            Self::Session(version) => version.start.started_at.max(version.end.ended_at).max(version.deleted_at),
            Self::Observation(version) => version.key.time,
            Self::Prompt(version) => version.key.time,
            Self::Relation(version) => version.key.time,
        }
    }

    /// Returns the session that must exist before this version can be a row.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        match self {
            Self::Observation(version) => Some(&version.session_id),
            Self::Prompt(version) => Some(&version.session_id),
            Self::Session(_) | Self::Relation(_) => None,
        }
    }

    /// Returns what stays of a version whose content is compacted: all by which it is known again, and no text.
    ///
    /// Of a newer peer's fields, and of a session's directory and summary, the digest stays. Of what stays, all of it
    /// stays.
    #[must_use]
    pub fn without_text(&self) -> Self {
        match self {
            Self::Session(version) => Self::Session(version.without_text()),
            Self::Observation(version) => Self::Observation(version.without_text()),
            Self::Prompt(version) => Self::Prompt(version.without_text()),
            Self::Relation(version) => Self::Relation(version.without_text()),
        }
    }

    /// Tells whether some winner's field or register of this version beats the other's.
    #[must_use]
    pub fn leads(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Session(a), Self::Session(b)) => a.start > b.start || a.end > b.end || a.deleted_at > b.deleted_at,
            (Self::Observation(a), Self::Observation(b)) => a.key > b.key,
            (Self::Prompt(a), Self::Prompt(b)) => a.key > b.key,
            (Self::Relation(a), Self::Relation(b)) => a.key > b.key,
            _ => unreachable!("versions of two entities never meet"),
        }
    }

    /// Tells how this version stands to another one.
    #[must_use]
    pub fn standing(&self, other: &Self) -> Standing {
        if self == other {
            return Standing::Equal;
        }
        let joined = merge(self.clone(), other.clone());
        if joined == *other {
            Standing::Loses
        } else if joined == *self {
            Standing::Wins
        } else {
            Standing::Mixes
        }
    }
}

/// Joins two versions of one entity (CONV-2).
///
/// # Panics
/// Where the two are of different kinds: the caller looked up the wrong row.
#[must_use]
pub fn merge(a: Version, b: Version) -> Version {
    match (a, b) {
        (Version::Session(a), Version::Session(b)) => Version::Session(a.join(b)),
        (Version::Observation(a), Version::Observation(b)) => Version::Observation(a.join(b)),
        (Version::Prompt(a), Version::Prompt(b)) => Version::Prompt(a.join(b)),
        (Version::Relation(a), Version::Relation(b)) => Version::Relation(a.join(b)),
        (a, b) => unreachable!("a {} never meets a {}", a.entity(), b.entity()),
    }
}
