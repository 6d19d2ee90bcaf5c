//! One course of everything that a device does to its store: each operation is one durable promise.

use engram_proto::http::pull::{PullReply, PulledMutation};
use engram_proto::id::ProjectName;
use engram_proto::ipc::request::{PromptRequest, RelateRequest, SaveRequest, SessionStart, UpdateRequest};
use engram_proto::reason::ReasonCode;
use engram_proto::time::RowTime;
use engramd::memory::{self, Now};
use engramd::store::{Store, StoreError};
use engramd_core::rows::{BatchLimits, Fence, LeaseOutcome, Settlement};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;

/// What an operation ended with, where it did not do its work.
pub(crate) type Failed = String;

fn failed(error: impl Display) -> Failed {
    error.to_string()
}

/// The data set that answers.
const CLOUD: &str = "cloud-1";

/// Versions that one slice queues anew: the whole takes three.
const MIRROR_ROWS: u32 = 5;

/// The operations, in order.
pub(crate) const OPS: &[&str] = &[
    "open",
    "enroll",
    "lease",
    "session",
    "save one",
    "save topic",
    "revise topic",
    "prompt",
    "relate",
    "batch",
    "settle",
    "apply",
    "stand_ins",
    "delete one",
    "delete topic hard",
    "apply late session",
    "update",
    "checkpoint",
    "reopen",
    "save two",
    "batch",
    "settle held",
    "held_retry",
    "apply echo",
    "batch",
    "settle",
    "belong",
    "restored",
    "mirror",
    "mirror",
    "mirror",
    "batch",
    "settle",
    "unenroll",
    "enroll",
    "checkpoint",
    "release",
    "reopen",
];

/// Those that write what the server has: committed without a sync, so a power cut may take them back, cursor and all.
pub(crate) const PULLED: &[&str] = &["apply", "stand_ins", "apply late session", "apply echo"];

/// A device without a daemon: its store, its lease, its clock.
pub(crate) struct Device {
    path: PathBuf,
    pub(crate) store: Option<Store>,
    fence: Option<Fence>,
    /// Seconds that each operation is later than the one before; negative for a clock that is set back each time.
    pub(crate) step_s: i64,
}

pub(crate) fn alpha() -> ProjectName {
    ProjectName::parse("alpha").expect("a name")
}

fn row(seq: u64, entity: &str, op: &str, payload: Value) -> PulledMutation {
    let key = payload["id"].as_str().or(payload["sync_id"].as_str()).unwrap_or("key").to_owned();
    let (project, entity, op) = ("alpha".to_owned(), entity.to_owned(), op.to_owned());
    PulledMutation {
        seq,
        project,
        entity,
        entity_key: key,
        op,
        payload,
        occurred_at: "2026-11-22T14:00:00Z".to_owned(),
    }
}

fn page(mutations: Vec<PulledMutation>) -> PullReply {
    let end = mutations.last().map_or(0, |row| row.seq);
    PullReply { mutations, cursors: BTreeMap::from([(alpha(), end)]), ..PullReply::default() }
}

fn session(id: &str) -> Value {
    json!({"id": id, "project": "alpha", "directory": "/src", "started_at": "2026-11-22 10:00:00"})
}

fn observation(id: &str, session: &str, title: &str) -> Value {
    json!({"sync_id": id, "session_id": session, "type": "note", "title": title, "content": format!("about {title}"),
        "scope": "project", "project": "alpha", "revision_count": 1, "duplicate_count": 1,
        "created_at": "2026-11-22 10:00:00", "updated_at": "2026-11-22 10:00:00"})
}

impl Device {
    pub(crate) fn new(dir: &std::path::Path) -> Self {
        Self { path: dir.join("engram.db"), store: None, fence: None, step_s: 1 }
    }

    fn at(&self, op: usize) -> RowTime {
        RowTime::parse("2026-11-22 14:00:00").expect("a time").plus_s(i64::try_from(op).expect("few") * self.step_s)
    }

    pub(crate) fn open(&mut self) -> Result<(), Failed> {
        self.store = None;
        let store = Store::open(&self.path, self.at(0)).map_err(failed)?;
        self.store = Some(store);
        Ok(())
    }

    pub(crate) fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("it is open")
    }

    pub(crate) fn lease(&mut self, now_ms: i64) -> Result<(), Failed> {
        match self.store().acquire_lease("engramd-test", now_ms, 60_000).map_err(failed)? {
            LeaseOutcome::Granted { fence, .. } => self.fence = Some(fence),
            held => return Err(format!("{held:?}")),
        }
        Ok(())
    }

    fn id_of(&mut self, title: &str) -> Result<String, Failed> {
        let sql = "SELECT sync_id FROM observations WHERE title = ?1";
        self.store().read(|conn| Ok(conn.query_row(sql, [title], |row| row.get(0))?)).map_err(failed)
    }

    /// The rows that wait, with what they say.
    fn waiting(&mut self) -> Result<Vec<(i64, String, String, String)>, Failed> {
        let sql = "SELECT seq, entity, op, payload FROM sync_mutations WHERE project = 'alpha' AND acked_at IS NULL
            AND seq NOT IN (SELECT journal_seq FROM engramd_held WHERE journal_seq IS NOT NULL) ORDER BY seq";
        let read = |conn: &rusqlite::Connection| -> Result<_, StoreError> {
            let mut statement = conn.prepare(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        };
        self.store().read(read).map_err(failed)
    }

    /// Does one operation; doing it again after it failed is doing it once.
    pub(crate) fn run(&mut self, op: usize) -> Result<(), Failed> {
        let at = self.at(op);
        let now = Now { at, random: u64::try_from(op).expect("few").to_be_bytes() };
        let fence = self.fence.clone();
        let fence = || fence.as_ref().ok_or_else(|| "no lease".to_owned());
        match OPS[op] {
            "open" | "reopen" => self.open()?,
            "enroll" => drop(self.store().enroll(&alpha(), at).map_err(failed)?),
            "unenroll" => drop(self.store().unenroll(&alpha()).map_err(failed)?),
            "lease" => self.lease(0)?,
            "release" => self.store().release_lease(fence()?).map_err(failed)?,
            "session" => {
                let start = SessionStart { id: Some("s1".into()), project: "alpha".into(), directory: "/src".into() };
                memory::session_start(self.store(), &start, &now).map_err(failed)?;
            }
            "save one" => self.save("one", None, "first words", &now)?,
            "save two" => self.save("two", None, "second words", &now)?,
            "save topic" => self.save("topic", Some("a/topic"), "draft", &now)?,
            "revise topic" => self.save("topic", Some("a/topic"), "a better draft", &now)?,
            "prompt" => {
                let (project, directory) = ("alpha".into(), "/src".into());
                let request = PromptRequest { project, session: Some("s1".into()), content: "why?".into(), directory };
                memory::prompt(self.store(), &request, &now).map_err(failed)?;
            }
            "relate" => {
                let (source, target) = (self.id_of("one")?, self.id_of("topic")?);
                let request = RelateRequest { source, verb: "related".into(), target, ..RelateRequest::default() };
                memory::relate(self.store(), &request, &now).map_err(failed)?;
            }
            "update" => {
                let (id, title) = (self.id_of("remote")?, Some("remote, better".to_owned()));
                memory::update(self.store(), &UpdateRequest { id, title, ..UpdateRequest::default() }, &now)
                    .map_err(failed)?;
            }
            "delete one" => self.delete("one", false, &now)?,
            "delete topic hard" => self.delete("topic", true, &now)?,
            "batch" => {
                let limits = BatchLimits { rows_max: 100, body_bytes_max: 1 << 20 };
                self.store().pending_batch(fence()?, &alpha(), limits, at).map_err(failed)?;
            }
            "settle" | "settle held" => {
                let hold_last = OPS[op] == "settle held";
                let rows = self.waiting()?;
                let last = rows.len().saturating_sub(1);
                let settled = rows.iter().enumerate().map(|(at, (seq, ..))| match hold_last && at == last {
                    true => Settlement::Held { seq: *seq, reason: ReasonCode::RowRejected, evidence: "no".to_owned() },
                    false => Settlement::Acked {
                        seq: *seq,
                        cloud_seq: u64::try_from(*seq).expect("positive") * 8,
                        occurred_at: None,
                    },
                });
                let settled: Vec<_> = settled.collect();
                self.store().settle(fence()?, &alpha(), &settled, at).map_err(failed)?;
            }
            "held_retry" => drop(self.store().held_retry(None, at).map_err(failed)?),
            "apply" => {
                let rows = vec![
                    row(800, "session", "upsert", session("s2")),
                    row(808, "observation", "upsert", observation("obs-r", "s2", "remote")),
                    row(816, "observation", "upsert", observation("obs-early", "s-late", "early")),
                    row(824, "mystery", "upsert", json!({"sync_id": "m1", "color": "red"})),
                ];
                self.apply(fence()?, page(rows), at)?;
            }
            "apply late session" => {
                self.apply(fence()?, page(vec![row(832, "session", "upsert", session("s-late"))]), at)?;
            }
            "apply echo" => {
                let rows = self.waiting()?.into_iter().enumerate().map(|(at, (_, entity, op, payload))| {
                    let payload = serde_json::from_str(&payload).expect("JSON");
                    row(900 + u64::try_from(at).expect("few"), &entity, &op, payload)
                });
                let rows = rows.collect();
                self.apply(fence()?, page(rows), at)?;
            }
            "belong" => drop(self.store().belonging(fence()?, CLOUD, at).map_err(failed)?),
            "restored" => drop(self.store().cloud_restored(fence()?, CLOUD).map_err(failed)?),
            // The last of them forgets cursor and witness.
            "mirror" => drop(self.store().remirror_slice(fence()?, CLOUD, None, at, MIRROR_ROWS).map_err(failed)?),
            "stand_ins" => drop(self.store().stand_ins(fence()?, &alpha(), at).map_err(failed)?),
            "checkpoint" => self.store().checkpoint().map_err(failed)?,
            other => unreachable!("{other}"),
        }
        // As the daemon does after each; no part of the operation.
        let _ = self.store().counts();
        Ok(())
    }

    fn apply(&mut self, fence: &Fence, page: PullReply, at: RowTime) -> Result<(), Failed> {
        let since = self.store().cursors(CLOUD, &[alpha()]).map_err(failed)?;
        self.store().apply_page(fence, CLOUD, &since, &page, at).map(drop).map_err(failed)
    }

    /// Saves a memory of this text.
    pub(crate) fn save_text(&mut self, title: &str, content: &str) -> Result<(), Failed> {
        self.save(title, None, content, &Now { at: self.at(OPS.len()), random: *b"no other" })
    }

    fn save(&mut self, title: &str, topic: Option<&str>, content: &str, now: &Now) -> Result<(), Failed> {
        let request = SaveRequest {
            title: title.to_owned(),
            content: content.to_owned(),
            project: "alpha".to_owned(),
            directory: "/src".to_owned(),
            session: Some("s1".to_owned()),
            topic: topic.map(str::to_owned),
            ..SaveRequest::default()
        };
        memory::save(self.store(), &request, now).map(drop).map_err(failed)
    }

    fn delete(&mut self, title: &str, hard: bool, now: &Now) -> Result<(), Failed> {
        let id = self.id_of(title)?;
        memory::delete(self.store(), &id, hard, now).map(drop).map_err(failed)
    }
}
