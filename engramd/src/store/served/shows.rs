//! What a client shows that takes the rows of a Go server in their order: the last one wins, field by field or whole.

use engram_proto::merge::{Kind, Version};
use engram_proto::mutation::Op;
use engram_proto::time::RowTime;

/// What such a client has of one entity.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Shows {
    /// No row.
    Nothing,
    /// A session. Its start stays as it came first, so no row can change that.
    Session { directory: Option<String>, summary: Option<String>, ended_at: Option<RowTime> },
    /// A memory, prompt or relation, without what such a client passes over.
    Row(Box<Version>),
    /// A memory that was deleted softly.
    Hidden,
    /// A prompt's tombstone, which only a later prompt passes.
    Buried(Option<RowTime>),
}

impl Shows {
    /// Takes one more row.
    pub(super) fn after(self, op: Op, version: &Version) -> Self {
        match version {
            Version::Session(_) if op == Op::Delete => Self::Nothing,
            Version::Session(version) => {
                let (summary, ended_at) = match self {
                    Self::Session { summary, ended_at, .. } => (summary, ended_at),
                    _ => (None, None),
                };
                Self::Session {
                    directory: version.start.directory.clone(),
                    summary: version.end.summary.clone().or(summary),
                    ended_at: version.end.ended_at.or(ended_at),
                }
            }
            Version::Observation(version) => match (version.key.kind, self) {
                (Kind::Upsert, _) => Self::row(Version::Observation(version.clone())),
                (Kind::Soft, Self::Row(_) | Self::Hidden) => Self::Hidden,
                (Kind::Soft | Kind::Hard, _) => Self::Nothing,
            },
            Version::Prompt(version) => match self {
                _ if version.key.deleted => Self::Buried(version.key.time),
                Self::Buried(at) if version.key.time <= at => Self::Buried(at),
                _ => Self::row(Version::Prompt(version.clone())),
            },
            Version::Relation(version) => Self::row(Version::Relation(version.clone())),
        }
    }

    /// Takes the `delete` of the session that a prompt belongs to.
    pub(super) fn after_session(self) -> Self {
        match self {
            Self::Row(_) => Self::Nothing,
            shows => shows,
        }
    }

    fn row(mut version: Version) -> Self {
        match &mut version {
            Version::Observation(version) => version.key.extra.clear(),
            Version::Prompt(version) => version.key.extra.clear(),
            Version::Relation(version) => version.key.extra.clear(),
            Version::Session(_) => {}
        }
        Self::Row(Box::new(version))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use engram_proto::mutation::Entity;
    use serde_json::{Value, json};

    fn after(shows: Shows, entity: Entity, op: Op, payload: &Value) -> Shows {
        let version = Version::read(entity, "k", op, payload.as_object().unwrap()).unwrap();
        shows.after(op, &version)
    }

    #[test]
    fn a_session_keeps_the_end_that_a_row_leaves_out_and_loses_its_directory() {
        let full = json!({"id": "k", "directory": "/d", "summary": "done", "ended_at": "2026-11-22 10:00:00"});
        let bare = json!({"id": "k", "directory": "(recovered-missing-session)"});
        let shows = after(Shows::Nothing, Entity::Session, Op::Upsert, &full);
        let Shows::Session { directory, summary, ended_at } = after(shows, Entity::Session, Op::Upsert, &bare) else {
            panic!("a session")
        };
        assert!(directory.is_none() && summary.as_deref() == Some("done") && ended_at.is_some());
    }

    #[test]
    fn a_soft_delete_hides_only_what_is_there_and_an_upsert_brings_it_back() {
        let memory = json!({"sync_id": "k", "session_id": "s", "title": "t", "updated_at": "2026-11-22 10:00:00"});
        let delete = json!({"sync_id": "k", "session_id": "s", "deleted_at": "2026-11-22 11:00:00"});
        assert_eq!(after(Shows::Nothing, Entity::Observation, Op::Delete, &delete), Shows::Nothing);
        let shows = after(Shows::Nothing, Entity::Observation, Op::Upsert, &memory);
        let hidden = after(shows.clone(), Entity::Observation, Op::Delete, &delete);
        assert_eq!(hidden, Shows::Hidden);
        assert_eq!(after(hidden, Entity::Observation, Op::Upsert, &memory), shows);
    }

    #[test]
    fn a_prompt_goes_with_its_session_and_a_tombstone_stops_an_older_one() {
        let prompt = json!({"sync_id": "k", "session_id": "s", "content": "c", "created_at": "2026-11-22 10:00:00"});
        let delete = json!({"sync_id": "k", "session_id": "s", "deleted_at": "2026-11-22 11:00:00"});
        let shows = after(Shows::Nothing, Entity::Prompt, Op::Upsert, &prompt);
        assert_eq!(shows.clone().after_session(), Shows::Nothing);
        let buried = after(shows, Entity::Prompt, Op::Delete, &delete);
        assert_eq!(after(buried.clone(), Entity::Prompt, Op::Upsert, &prompt), buried);
    }
}
