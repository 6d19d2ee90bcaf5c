//! Its other way to a cloud: everything that waits goes out as one chunk, and what is new comes in chunk by chunk.
//!
//! Of a chunk's rows those speak that no mutation names. It applies session upserts, other upserts, other deletes,
//! session deletes, all or none of a chunk; a chunk that does not apply is tried again after the others, until none of
//! those that are left does: then the import ends in an error. So it imports files, too, and makes up the sessions that
//! are missing there.

use super::apply::{Payload, decode, one, relation, text};
use super::{GoClient, Remote};
use engram_proto::chunk::{Chunk, ChunkId, Manifest, canonical_bytes};
use engram_proto::http::pull::PulledMutation;
use rusqlite::params;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

/// Under which the chunks of a directory are tracked.
const FILES: &str = "local";

const OBSERVATION: &str = "SELECT id, sync_id, session_id, type, title, content, project, scope, topic_key,
    revision_count, duplicate_count, last_seen_at, created_at, updated_at, deleted_at FROM observations
    WHERE sync_id = ?1";

const OBSERVATION_NAMES: [&str; 15] = [
    "id",
    "sync_id",
    "session_id",
    "type",
    "title",
    "content",
    "project",
    "scope",
    "topic_key",
    "revision_count",
    "duplicate_count",
    "last_seen_at",
    "created_at",
    "updated_at",
    "deleted_at",
];

/// One mutation of a chunk, on its way in.
struct Step {
    entity: String,
    key: String,
    op: String,
    payload: Value,
}

impl GoClient {
    /// Sends what waits of a project as one chunk. Returns the id it counted and the one the server answered with.
    ///
    /// # Errors
    /// What the server says, where it does not take it.
    ///
    /// # Panics
    /// Where the server cannot be reached.
    pub async fn push_chunk(
        &mut self,
        remote: &Remote,
        project: &str,
    ) -> Result<Option<(String, String)>, (u16, String)> {
        let pending = self.waiting(project);
        if pending.is_empty() {
            return Ok(None);
        }
        let chunk = self.export(&pending);
        let bytes = canonical_bytes(chunk, project).map_err(|error| (0, error.to_string()))?;
        let id = ChunkId::of_bytes(&bytes).to_string();
        let data: Value = serde_json::from_slice(&bytes).expect("JSON");
        let body = json!({"chunk_id": id, "created_by": self.name, "project": project, "data": data});
        let request = remote.http.post(format!("{}/sync/push", remote.url)).bearer_auth(&remote.token);
        let answer = request.body(body.to_string()).send().await.expect("an answer");
        let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
        if status != 200 {
            return Err((status, text));
        }
        let answered: Value = serde_json::from_str(&text).expect("JSON");
        self.record(&cloud(project), &id);
        for (seq, _) in &pending {
            let sql = "UPDATE sync_mutations SET acked_at = ?2 WHERE seq = ?1";
            self.db.execute(sql, params![seq, self.now.to_string()]).expect("acknowledged");
        }
        Ok(Some((id, answered["chunk_id"].as_str().unwrap_or_default().to_owned())))
    }

    /// Reads a project's list of chunks.
    ///
    /// # Panics
    /// Where the server does not answer with one.
    pub async fn manifest(&self, remote: &Remote, project: &str) -> Manifest {
        let url = format!("{}/sync/pull?project={project}", remote.url);
        let answer = remote.http.get(url).bearer_auth(&remote.token).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("a manifest")
    }

    /// Imports what is listed and not yet known. Returns how many chunks that were.
    ///
    /// # Errors
    /// The first chunk that stalls, and what the store says of it.
    ///
    /// # Panics
    /// Where the server cannot be reached, or a listed chunk's bytes do not hash to its id.
    pub async fn import_chunks(&mut self, remote: &Remote, project: &str) -> Result<usize, String> {
        let mut waiting: Vec<String> =
            self.manifest(remote, project).await.chunks.into_iter().map(|one| one.id).collect();
        let target = cloud(project);
        waiting.retain(|id| !self.has_imported(&target, id));
        let mut imported = 0;
        while !waiting.is_empty() {
            let mut chunks = Vec::new();
            for id in waiting {
                let text = self.chunk(remote, project, &id).await;
                chunks.push((id, text));
            }
            waiting = self.pass(&target, &chunks)?;
            imported += chunks.len() - waiting.len();
        }
        Ok(imported)
    }

    /// Imports what a directory lists and is not yet known. Returns how many chunks that were.
    ///
    /// # Errors
    /// The first chunk that stalls, and what the store says of it.
    ///
    /// # Panics
    /// Where a listed chunk is not there, or its bytes do not hash to its id.
    pub fn import_files(&mut self, place: &Path) -> Result<usize, String> {
        let manifest = std::fs::read(place.join("manifest.json")).expect("a manifest");
        let manifest: Manifest = serde_json::from_slice(&manifest).expect("a manifest");
        let read = |id: &str| {
            let file = std::fs::File::open(place.join(format!("chunks/{id}.jsonl.gz"))).expect("a file");
            let mut text = String::new();
            flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("a text");
            text
        };
        let mut waiting: Vec<(String, String)> =
            manifest.chunks.iter().map(|one| (one.id.clone(), read(&one.id))).collect();
        waiting.retain(|(id, _)| !self.has_imported(FILES, id));
        let all = waiting.len();
        while !waiting.is_empty() {
            let stalled = self.pass(FILES, &waiting)?;
            waiting.retain(|(id, _)| stalled.contains(id));
        }
        Ok(all)
    }

    /// Imports what can be of these chunks, by id and text, one after the other; returns the ids of those that stall.
    ///
    /// # Errors
    /// What the store says of the last one, where all of them do.
    fn pass(&mut self, target: &str, chunks: &[(String, String)]) -> Result<Vec<String>, String> {
        let (mut stalled, mut error) = (Vec::new(), String::new());
        for (id, text) in chunks {
            let known = ChunkId::parse(id).expect("an id");
            assert!(known.names(&engram_proto::canonical::Hash::of_bytes(text.as_bytes())), "{id} is not its hash");
            let chunk: Chunk = serde_json::from_str(text).expect("a chunk");
            match self.import(&chunk, target == FILES) {
                Ok(()) => self.record(target, id),
                Err(why) => {
                    error = format!("{id}: {why}");
                    stalled.push(id.clone());
                }
            }
        }
        if stalled.len() == chunks.len() { Err(error) } else { Ok(stalled) }
    }

    async fn chunk(&self, remote: &Remote, project: &str, id: &str) -> String {
        let url = format!("{}/sync/pull/{id}?project={project}", remote.url);
        let answer = remote.http.get(url).bearer_auth(&remote.token).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{id}");
        answer.text().await.expect("a body")
    }

    fn import(&mut self, chunk: &Chunk, makes_sessions_up: bool) -> Result<(), String> {
        let mut steps = steps(chunk);
        steps.sort_by_key(|step| match (step.entity.as_str(), step.op.as_str()) {
            ("session", "upsert") => 0,
            (_, "upsert") => 1,
            ("session", _) => 3,
            _ => 2,
        });
        let now = self.now.to_string();
        let transaction = self.db.transaction().expect("a transaction");
        for step in steps {
            let payload = decode(&step.payload)?;
            if step.entity == "relation" {
                // Nothing waits here: a missing end fails the chunk (D63).
                if !relation(&transaction, &payload, &now).map_err(|error| error.to_string())? {
                    return Err(format!("relation {} joins what is not there", step.key));
                }
                continue;
            }
            if makes_sessions_up && step.op == "upsert" {
                let sql = "INSERT OR IGNORE INTO sessions (id, project, directory, started_at)
                    SELECT ?1, ?2, '(recovered-missing-session)', '1970-01-01 00:00:00' WHERE ?1 IS NOT NULL";
                let project = text(&payload, "project").unwrap_or_default();
                transaction.execute(sql, params![text(&payload, "session_id"), project]).expect("a session");
            }
            let row = PulledMutation {
                seq: 0,
                project: String::new(),
                entity: step.entity,
                entity_key: step.key,
                op: step.op,
                payload: step.payload,
                occurred_at: String::new(),
            };
            one(&transaction, &row, &payload, &now)?;
        }
        transaction.commit().map_err(|error| error.to_string())
    }

    fn record(&self, target: &str, id: &str) {
        let sql = "INSERT OR IGNORE INTO sync_chunks (target_key, chunk_id) VALUES (?1, ?2)";
        self.db.execute(sql, params![target, id]).expect("recorded");
    }

    fn has_imported(&self, target: &str, id: &str) -> bool {
        let sql = "SELECT count(*) FROM sync_chunks WHERE target_key = ?1 AND chunk_id = ?2";
        let count: i64 = self.db.query_row(sql, params![target, id], |row| row.get(0)).expect("a count");
        count > 0
    }

    fn waiting(&self, project: &str) -> Vec<(i64, Value)> {
        let sql = "SELECT seq, entity, entity_key, op, payload FROM sync_mutations
                   WHERE acked_at IS NULL AND project = ?1 ORDER BY seq";
        let mut statement = self.db.prepare(sql).expect("a statement");
        let rows = statement.query_map([project], |row| {
            let seq: i64 = row.get(0)?;
            let text = |at| row.get::<_, String>(at);
            let mutation = json!({
                "seq": seq, "target_key": "cloud", "entity": text(1)?, "entity_key": text(2)?, "op": text(3)?,
                "payload": text(4)?, "source": "local", "project": project, "occurred_at": self.now.to_string(),
            });
            Ok((seq, mutation))
        });
        rows.expect("rows").collect::<Result<_, _>>().expect("rows")
    }

    /// Gathers the mutations, the rows they name as they stand now, and the sessions of those.
    fn export(&self, pending: &[(i64, Value)]) -> Payload {
        let (mut sessions, mut memories, mut prompts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (_, mutation) in pending {
            let key = mutation["entity_key"].as_str().unwrap_or_default().to_owned();
            match mutation["entity"].as_str() {
                Some("session") => drop(sessions.insert(key)),
                Some("observation") => drop(memories.insert(key)),
                Some("prompt") => drop(prompts.insert(key)),
                _ => {}
            }
        }
        let prompt =
            "SELECT id, sync_id, session_id, content, project, created_at FROM user_prompts WHERE sync_id = ?1";
        let prompt_names = ["id", "sync_id", "session_id", "content", "project", "created_at"];
        let session = "SELECT id, project, directory, started_at, ended_at, summary FROM sessions WHERE id = ?1";
        let session_names = ["id", "project", "directory", "started_at", "ended_at", "summary"];
        let rows = |sql: &str, keys: &BTreeSet<String>, names: &[&str]| -> Vec<Value> {
            keys.iter().filter_map(|key| self.read_row(sql, key, names)).collect()
        };
        let observations = rows(OBSERVATION, &memories, &OBSERVATION_NAMES);
        let prompts = rows(prompt, &prompts, &prompt_names);
        for row in observations.iter().chain(&prompts) {
            sessions.extend(row["session_id"].as_str().map(str::to_owned));
        }
        let sessions = rows(session, &sessions, &session_names);
        let mutations: Vec<&Value> = pending.iter().map(|(_, mutation)| mutation).collect();
        let chunk = json!({
            "sessions": sessions, "observations": observations, "prompts": prompts, "mutations": mutations,
        });
        chunk.as_object().cloned().unwrap_or_default()
    }
}

/// Under which the chunks of a cloud are tracked.
fn cloud(project: &str) -> String {
    format!("cloud:{project}")
}

fn steps(chunk: &Chunk) -> Vec<Step> {
    let named: BTreeSet<(&str, &str)> =
        chunk.mutations.iter().map(|one| (one.entity.as_str(), one.entity_key.as_str())).collect();
    let mut steps = Vec::new();
    let lists = [("session", "id", &chunk.sessions), ("observation", "sync_id", &chunk.observations)];
    for (entity, id, rows) in lists.into_iter().chain([("prompt", "sync_id", &chunk.prompts)]) {
        for row in rows {
            let key = text(row, id).unwrap_or_default();
            let op = if text(row, "deleted_at").is_some() { "delete" } else { "upsert" };
            if !named.contains(&(entity, key)) {
                let payload = Value::Object(row.clone());
                steps.push(Step { entity: entity.to_owned(), key: key.to_owned(), op: op.to_owned(), payload });
            }
        }
    }
    steps.extend(chunk.mutations.iter().map(|one| Step {
        entity: one.entity.clone(),
        key: one.entity_key.clone(),
        op: one.op.clone(),
        payload: one.payload.clone().into(),
    }));
    steps
}
