//! What it holds, and how it answers, without a wire: the simulator asks it here.

use engram_proto::mutation::{Entity, text_of};
use engram_proto::time::RowTime;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Entries of a push and rows of a page, at most.
pub(super) const ROWS_MAX: usize = 100;

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status line's number.
    pub status: u16,
    /// Whether the body is JSON; else it is plain text.
    pub is_json: bool,
    /// The body.
    pub body: String,
}

impl Reply {
    pub(super) fn plain(status: u16, text: &str) -> Self {
        Self { status, is_json: false, body: format!("{text}\n") }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self { status, is_json: true, body: body.to_string() }
    }

    pub(super) fn forbidden() -> Self {
        let text = "forbidden: project is not allowed";
        Self::json(403, &json!({"error": text, "error_class": "policy", "error_code": "policy_forbidden"}))
    }
}

/// One row of the journal.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number.
    pub seq: u64,
    /// The entry as it came.
    pub entry: Value,
    /// RFC 3339.
    pub occurred_at: String,
    /// Numbered, and not committed yet (D3).
    pub hidden: bool,
}

/// What it holds, and how it behaves.
#[derive(Clone, Debug, Default)]
pub struct Inside {
    /// In arrival order, as they were pushed.
    pub rows: Vec<Row>,
    /// The projects that the token may touch; without any it may touch all.
    pub allowed: Option<BTreeSet<String>>,
    /// Chunks by project, in the order of their list: who made them, and what is in them.
    pub chunks: BTreeMap<String, Vec<(String, Value)>>,
    /// Chunks that are listed, and answered with this status and text.
    pub chunk_faults: BTreeMap<String, (u16, String)>,
    /// A chunk that is listed, and whose request is not answered as long as it stands here.
    pub chunk_stalled: Option<String>,
    /// Projects whose pushes are paused.
    pub paused: BTreeSet<String>,
    /// For the next pushes, in order.
    pub faults: Vec<super::Fault>,
    /// For pushes that are late.
    pub late: super::Late,
    /// Everything answers 503.
    pub down: bool,
    /// What every push is answered with.
    pub pushes_refused: Option<u16>,
    /// What every page is answered with; a single row is read all the same.
    pub pages_refused: Option<u16>,
    /// The project that is taken from the token while the next page is read.
    pub revoked_meanwhile: Option<String>,
    /// How far its clock is ahead, in seconds.
    pub ahead_s: i64,
    /// What its clock says, where it is not that of the machine.
    pub clock: Option<RowTime>,
    /// Requests by method and path.
    pub requests: BTreeMap<String, u64>,
}

impl Inside {
    pub(super) fn commit(&mut self, entries: &[Value]) -> Vec<u64> {
        let first = self.rows.last().map_or(1, |row| row.seq + 1);
        // The rows of one transaction have one time.
        let occurred_at = self.now().rfc3339();
        let row = |(seq, entry): (u64, &Value)| Row {
            seq,
            entry: entry.clone(),
            occurred_at: occurred_at.clone(),
            hidden: false,
        };
        self.rows.extend((first..).zip(entries).map(row));
        (first..).take(entries.len()).collect()
    }

    /// Returns what its clock says.
    #[expect(clippy::disallowed_methods, reason = "a server has a clock of its own")]
    pub(super) fn now(&self) -> RowTime {
        let of_machine = || {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            RowTime::from_unix_ms(i64::try_from(since.as_millis()).unwrap_or(0)).expect("a time")
        };
        self.clock.unwrap_or_else(of_machine).plus_s(self.ahead_s)
    }

    /// Writes what its clock says as the header `Date` has it, without the weekday.
    #[must_use]
    pub fn http_date(&self) -> String {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let text = self.now().to_string();
        let month = text[5..7].parse::<usize>().expect("a month");
        format!("{} {} {} {} GMT", &text[8..10], MONTHS[month - 1], &text[..4], &text[11..])
    }

    /// Serves rows behind a number, in the one order of everything that is allowed.
    pub fn pull(&mut self, since: u64, limit: usize) -> Reply {
        let limit = limit.clamp(1, ROWS_MAX);
        if let Some(status) = self.pages_refused.filter(|_| limit > 1) {
            return Reply::plain(status, "upstream connect error");
        }
        if let Some(project) = self.revoked_meanwhile.take_if(|_| limit > 1) {
            self.allowed.get_or_insert_default().remove(&project);
        }
        let visible = |row: &&Row| {
            row.seq > since && !row.hidden && self.allows(row.entry["project"].as_str().unwrap_or_default())
        };
        let rows: Vec<_> = self.rows.iter().filter(visible).take(limit + 1).collect();
        let page = &rows[..rows.len().min(limit)];
        let served = |row: &&Row| {
            let mut entry = row.entry.clone();
            entry["seq"] = row.seq.into();
            entry["occurred_at"] = row.occurred_at.clone().into();
            entry
        };
        let body = json!({
            "mutations": page.iter().map(served).collect::<Vec<_>>(),
            "has_more": rows.len() > page.len(),
            "latest_seq": page.last().map_or(0, |row| row.seq),
            "project": self.allowed.as_ref().and_then(|allowed| allowed.first()).cloned().unwrap_or_default(),
            "project_source": "request_body",
            "project_path": "",
        });
        Reply::json(200, &body)
    }

    /// Takes a batch whole, and returns the numbers of its rows, or refuses it.
    ///
    /// # Errors
    /// The refusal.
    pub fn push(&mut self, entries: &[Value]) -> Result<Vec<u64>, Reply> {
        if let Some(status) = self.pushes_refused {
            return Err(Reply::plain(status, "insert mutations: cloudstore: pq: the database is starting up"));
        }
        match refusal(self, entries) {
            Some(refusal) => Err(refusal),
            None => Ok(self.commit(entries)),
        }
    }

    /// Reads the body of a push.
    ///
    /// # Errors
    /// 400 for what is none; a compressed body is none to it either.
    pub fn entries(body: &[u8]) -> Result<Vec<Value>, Reply> {
        let body: Value =
            serde_json::from_slice(body).map_err(|_| Reply::plain(400, "invalid request body: unexpected EOF"))?;
        Ok(body["entries"].as_array().cloned().unwrap_or_default())
    }

    /// Answers that a batch was taken.
    #[must_use]
    pub fn accepted(entries: &[Value], seqs: &[u64]) -> Reply {
        let project = entries.first().map(|entry| entry["project"].clone()).unwrap_or_default();
        let body =
            json!({"accepted_seqs": seqs, "project": project, "project_source": "request_body", "project_path": ""});
        Reply::json(200, &body)
    }

    pub(super) fn allows(&self, project: &str) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.contains(project))
    }
}

fn refusal(inside: &Inside, entries: &[Value]) -> Option<Reply> {
    if entries.len() > ROWS_MAX {
        return Some(Reply::plain(400, "batch too large: max 100 entries per request"));
    }
    if entries.is_empty() {
        let text = "mutation batch must contain at least one entry";
        return Some(Reply::json(
            400,
            &json!({"error": text, "error_class": "repairable", "error_code": "empty_batch"}),
        ));
    }
    let projects: Vec<_> = entries.iter().map(|entry| entry["project"].as_str().unwrap_or_default().trim()).collect();
    if projects.iter().any(|project| project.is_empty()) {
        let text = "mutation entries must specify a project";
        return Some(Reply::json(
            400,
            &json!({"error": text, "error_class": "invalid_request", "error_code": "empty_project"}),
        ));
    }
    if projects.iter().any(|project| !inside.allows(project)) {
        return Some(Reply::forbidden());
    }
    if let Some(project) = projects.iter().find(|&&project| inside.paused.contains(project)) {
        let text = format!("sync is paused for project {project:?}");
        return Some(Reply::json(
            409,
            &json!({"error": text, "error_class": "policy", "error_code": "sync-paused", "project": project,
                "project_path": "", "project_source": "request_body"}),
        ));
    }
    invalid_relation(entries).or_else(|| unacceptable(entries))
}

/// Relations alone are looked at before anything is written.
fn invalid_relation(entries: &[Value]) -> Option<Reply> {
    let wrong = |(index, entry): (usize, &Value)| {
        let entity = Entity::parse(entry["entity"].as_str()?).filter(|entity| *entity == Entity::Relation)?;
        let field = entity.missing_field(entry["payload"].as_object()?)?;
        Some(json!({"entity": entity, "field": field, "index": index}))
    };
    let invalid: Vec<_> = entries.iter().enumerate().filter_map(wrong).collect();
    let body = json!({"error": "invalid relation payload", "reason_code": "validation_error", "invalid": invalid});
    (!invalid.is_empty()).then(|| Reply::json(400, &body))
}

/// The first entry that its canonicaliser, or its database, does not take: 500 in plain text for a client's fault.
fn unacceptable(entries: &[Value]) -> Option<Reply> {
    let why = |(at, entry): (usize, &Value)| {
        let entity = Entity::parse(entry["entity"].as_str()?)?;
        let Some(payload) = entry["payload"].as_object() else {
            let key = &entry["entity_key"];
            return Some(format!(
                "materialize mutation batch {entity} {key}: json: cannot unmarshal string into Go value of type store.Session"
            ));
        };
        if payload.values().any(|value| value.as_str().is_some_and(|text| text.contains('\0'))) {
            return Some("pq: unsupported Unicode escape sequence (22P05)".to_owned());
        }
        let missing = entity.missing_field(payload).filter(|_| entry["op"] == "upsert")?;
        debug_assert!(text_of(payload, missing).is_none_or(|text| text.trim().is_empty()), "blank");
        Some(format!(
            "canonicalize materialized mutation batch chunk: mutations[{at}]: {entity} payload {missing} is required for upsert"
        ))
    };
    let why = entries.iter().enumerate().find_map(why)?;
    Some(Reply::plain(500, &format!("insert mutations: cloudstore: {why}")))
}
