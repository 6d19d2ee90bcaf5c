//! A cloud that is a Go program's server: what it holds, and how it answers the requests that a device's transport made.
//!
//! Beside its rows a shadow is kept, as a journal of ours: every row that is visible, out of its disguise, and of each
//! entity the join of all that was served. The laws look at that one.

use super::device::row_time;
use super::server::{Mood, Server, lost, unreachable};
use super::wire::Luck;
use crate::go::Wire;
use crate::go::server::{Inside, Reply as Said, Row};
use crate::model::Disk;
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engramd::peers::disguise;
use engramd::transport::{Carried, Reply};
use engramd_core::classify::{Failure, Fault};
use reqwest::Request;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// What a captive portal shows.
const PORTAL: &str = "<html><body>Sign in to the network</body></html>";

/// A push of this much bad luck is numbered at once and committed later, in percent of the unlucky ones (D3).
const LATE_PERCENT: usize = 15;

/// A batch is never committed later than this after it was numbered, in milliseconds.
const LATE_MS: u64 = 45_000;

/// Rows that are appended while one is late, at most.
const ROWS_LATE: usize = 300;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Who answers, or what somebody may read.
    Probe,
    /// Take these.
    Push,
    /// What is new.
    Pull,
}

/// One request, as it reaches the server.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) asked: Asked,
    path: String,
    query: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    /// Reads a request.
    pub(super) fn of(request: &Request) -> Self {
        let path = request.url().path().to_owned();
        let asked = match path.as_str() {
            "/sync/mutations/push" => Asked::Push,
            "/sync/mutations/pull" => Asked::Pull,
            _ => Asked::Probe,
        };
        let query = request.url().query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned()));
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default().to_vec();
        Self { asked, path, query: query.collect(), body }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> u64 {
        self.value(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// What becomes of the answer to a request.
pub(super) struct Answer {
    /// What the device's transport hears.
    pub(super) told: Result<Reply, Failure>,
    /// So long it takes the server, in milliseconds.
    pub(super) takes_ms: u64,
}

/// The server.
pub(super) struct GoCloud {
    inside: RefCell<Inside>,
    backup: Option<Vec<Row>>,
    /// Rows that are numbered, and when they are committed.
    late: Vec<(u64, Vec<u64>)>,
    /// Rows that the shadow has.
    shadowed: BTreeSet<u64>,
    /// How many rows there were when the shadow followed last.
    rows_then: usize,
    projects: Vec<ProjectName>,
    /// Whether batches may be committed after later ones: a Go client passes them for ever.
    may_be_late: bool,
}

impl GoCloud {
    /// Makes one that holds nothing.
    pub(super) fn new(projects: &[ProjectName], may_be_late: bool) -> Self {
        Self {
            inside: RefCell::default(),
            backup: None,
            late: Vec::new(),
            shadowed: BTreeSet::new(),
            rows_then: 0,
            projects: projects.to_vec(),
            may_be_late,
        }
    }

    /// Moves its clock, commits what was late, and lets the shadow follow.
    pub(super) fn pass(&mut self, now_ms: u64, server: &Server) {
        let inside = self.inside.get_mut();
        inside.clock = Some(row_time(now_ms, server.skew_ms()));
        let mut is_news = inside.rows.len() != std::mem::replace(&mut self.rows_then, inside.rows.len());
        self.late.retain(|(due_ms, seqs)| {
            let is_due = *due_ms <= now_ms;
            is_news |= is_due;
            if is_due {
                inside.rows.iter_mut().filter(|row| seqs.contains(&row.seq)).for_each(|row| row.hidden = false);
            }
            !is_due
        });
        if !is_news {
            return;
        }
        let mut disk = server.journal.disk();
        // Rows are appended, or shown late: the new ones are near the end.
        for row in inside.rows.iter().rev().take(ROWS_LATE) {
            if !row.hidden && self.shadowed.insert(row.seq) {
                shadow(&mut disk, row);
            }
        }
    }

    /// Commits what is late.
    pub(super) fn commit_late(&mut self) {
        self.late.iter_mut().for_each(|(due_ms, _)| *due_ms = 0);
    }

    /// Copies what it holds, or puts the copy in its place.
    pub(super) fn back_up_or_restore(&mut self, server: &mut Server) -> &'static str {
        let Some(rows) = self.backup.take() else {
            self.backup = Some(self.inside.get_mut().rows.iter().filter(|row| !row.hidden).cloned().collect());
            return "backed up";
        };
        self.replace(server, rows);
        "restored"
    }

    /// Begins anew with nothing: its numbers do too.
    pub(super) fn empty(&mut self, server: &mut Server) {
        self.backup = None;
        self.replace(server, Vec::new());
    }

    fn replace(&mut self, server: &mut Server, rows: Vec<Row>) {
        let inside = self.inside.get_mut();
        self.rows_then = rows.len();
        inside.rows = rows;
        self.late.clear();
        self.shadowed = inside.rows.iter().map(|row| row.seq).collect();
        let mut disk = server.journal.disk();
        let controls = std::mem::take(&mut disk.controls);
        let mut fresh = Disk::new(&disk.cloud_id);
        fresh.controls = controls;
        *disk = fresh;
        inside.rows.iter().for_each(|row| shadow(&mut disk, row));
        drop(disk);
        server.is_restored = true;
    }

    /// Lets a request arrive.
    pub(super) fn answer(
        &mut self,
        (server, now_ms, device): (&Server, u64, usize),
        ask: &Ask,
        (luck, draw): (Luck, usize),
    ) -> Answer {
        self.pass(now_ms, server);
        let inside = self.inside.get_mut();
        let of_device = |project: &&ProjectName| !server.ungranted.contains(&(device, (*project).clone()));
        inside.allowed = Some(self.projects.iter().filter(of_device).map(ToString::to_string).collect());
        inside.paused = server.paused();
        let date = inside.http_date();
        let say =
            |said: Said| Ok(Reply { status: said.status, date: Some(date.clone()), bytes: said.body.into_bytes() });
        let plain = |status| say(Said { status, is_json: false, body: "upstream connect error\n".to_owned() });
        let at_once = |told| Answer { told, takes_ms: 0 };
        match (server.mood, luck) {
            (Mood::Down, _) | (_, Luck::RequestLost) => return at_once(Err(unreachable())),
            (Mood::Refuses(status), _) | (_, Luck::Status(status)) => return at_once(plain(status)),
            (_, Luck::Hollow) => return at_once(say(json_of(&json!({"accepted_seqs": []})))),
            (_, Luck::Blamed) => return at_once(plain(500)),
            _ => {}
        }
        let mut takes_ms = 0;
        let mut told = match ask.asked {
            Asked::Push => match Inside::entries(&ask.body).and_then(|entries| Ok((inside.push(&entries)?, entries))) {
                Ok((mut seqs, entries)) => {
                    if self.may_be_late && luck == Luck::Twice && draw < LATE_PERCENT {
                        takes_ms = LATE_MS * draw as u64 / LATE_PERCENT as u64 + 1;
                        let late = inside.rows.iter_mut().filter(|row| seqs.contains(&row.seq));
                        late.for_each(|row| row.hidden = true);
                        self.late.push((now_ms + takes_ms, seqs.clone()));
                    }
                    if luck == Luck::Cut {
                        seqs.truncate(draw % entries.len());
                    }
                    say(Inside::accepted(&entries, &seqs))
                }
                Err(refusal) => say(refusal),
            },
            Asked::Pull => {
                let since = match luck {
                    Luck::Backwards => ask.number("since_seq").saturating_sub(8),
                    _ => ask.number("since_seq"),
                };
                let said = inside.pull(since, usize::try_from(ask.number("limit")).unwrap_or(1));
                say(if luck == Luck::Endless { endless(said) } else { said })
            }
            Asked::Probe if ask.path == "/health" => say(json_of(&json!({"status": "ok", "service": "engram-cloud"}))),
            Asked::Probe => say(inside.manifest(ask.value("project"))),
        };
        if luck == Luck::AnswerLost {
            told = Err(lost(Fault::Answered));
        }
        if let Ok(reply) = &mut told {
            match luck {
                Luck::Garbled => reply.bytes = PORTAL.as_bytes().to_vec(),
                Luck::Cut if ask.asked != Asked::Push => reply.bytes.truncate(reply.bytes.len() / 2),
                _ => {}
            }
        }
        self.pass(now_ms, server);
        Answer { told, takes_ms }
    }

    /// Lets what Go clients do reach it.
    pub(super) fn way(&mut self, now_ms: u64, server: &Server) -> &RefCell<Inside> {
        self.pass(now_ms, server);
        let inside = self.inside.get_mut();
        (inside.allowed, inside.paused) = (None, server.paused());
        &self.inside
    }
}

fn json_of(body: &Value) -> Said {
    Said { status: 200, is_json: true, body: body.to_string() }
}

/// Says that there is more, and shows nothing.
fn endless(said: Said) -> Said {
    let mut body: Value = serde_json::from_str(&said.body).unwrap_or_default();
    (body["mutations"], body["has_more"]) = (json!([]), true.into());
    Said { body: body.to_string(), ..said }
}

fn shadow(disk: &mut Disk, row: &Row) {
    let text = |field: &str| row.entry[field].as_str().unwrap_or_default().to_owned();
    let mut row = PulledMutation {
        seq: row.seq,
        project: text("project"),
        entity: text("entity"),
        entity_key: text("entity_key"),
        op: text("op"),
        payload: row.entry["payload"].clone(),
        occurred_at: row.occurred_at.clone(),
    };
    if disguise::take_back(&mut row) {
        disk.shadow(&row);
    }
}

/// A Go client's way to it.
pub(super) struct Direct<'a>(pub(super) &'a RefCell<Inside>);

impl Wire for Direct<'_> {
    async fn push(&self, body: String) -> (u16, String) {
        let taken = Inside::entries(body.as_bytes())
            .and_then(|entries| Ok(Inside::accepted(&entries, &self.0.borrow_mut().push(&entries)?)));
        let said = taken.unwrap_or_else(|refusal| refusal);
        (said.status, said.body)
    }

    async fn page(&self, since_seq: u64, limit: usize) -> (u16, String) {
        let said = self.0.borrow_mut().pull(since_seq, limit);
        (said.status, said.body)
    }
}

/// A request on its way, with what becomes of it.
pub(super) struct Post {
    /// As it reaches the server.
    pub(super) ask: Ask,
    /// Where its answer is waited for; a repetition has none.
    pub(super) carried: Option<Carried>,
    /// What becomes of it.
    pub(super) luck: Luck,
    /// For what its luck has to draw.
    pub(super) draw: usize,
}
