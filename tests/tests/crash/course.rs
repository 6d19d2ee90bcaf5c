//! What is asked of a device while it is killed: memories of two projects and relations between them, sessions, whether
//! the second project takes part, the server anew. Each is booked by a name, and shown by that name.

use crate::Dice;
use crate::ledger::{Ledger, Shown};
use engram_tests::processes::{Answer, Device, TOKEN, ctl};
use serde_json::Value;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The project that always takes part.
pub(crate) const PROJECT: &str = "demo";
/// The one that comes and goes.
pub(crate) const SIDE: &str = "side";
/// By which name it is booked whether the second project takes part.
pub(crate) const ENROLMENT: &str = "enrolment";

/// Asks for one thing after another, until the end.
pub(crate) fn write(dir: &Path, url: &str, ledger: &Mutex<Ledger>, end: &AtomicBool, seed: u64) {
    let mut course = Course { dir, url, ledger, dice: Dice::new(seed), seed, number: 0 };
    while !end.load(Ordering::Relaxed) {
        course.step();
    }
}

struct Course<'a> {
    dir: &'a Path,
    url: &'a str,
    ledger: &'a Mutex<Ledger>,
    dice: Dice,
    seed: u64,
    number: u64,
}

impl Course<'_> {
    fn step(&mut self) {
        self.number += 1;
        let mark = format!("{} {}", self.seed, self.number);
        let (kind, memory, other) = (self.dice.below(16), self.one("memory "), self.one("memory "));
        match (kind, memory, other) {
            (0..4, Some((name, id)), _) => {
                let content = format!("edit {mark}");
                self.ask(&name, Some(content.clone()), &["update", &id, &content], Some(&id));
            }
            (4 | 5, Some((name, id)), _) => self.ask(&name, None, &["delete", &id], Some(&id)),
            (6 | 7, Some((_, source)), Some((_, target))) if source != target => {
                let name = relation(&source, &target);
                self.ask(&name, Some(mark.clone()), &["relate", &source, "related", &target, "--reason", &mark], None);
            }
            (8, ..) => {
                let id = format!("session-{}-{}", self.seed, self.number);
                let args = ["session", "start", "--project", PROJECT, "--id", &id];
                self.ask(&id, Some("open".to_owned()), &args, Some(&id));
            }
            (9, ..) => {
                if let Some((_, id)) = self.one("session-") {
                    self.ask(&id, Some(mark.clone()), &["session", "end", &id, "--summary", &mark], Some(&id));
                }
            }
            (10, ..) => match self.dice.below(2) {
                0 => self.ask(ENROLMENT, None, &["unenroll", SIDE], Some(SIDE)),
                _ => self.ask(ENROLMENT, Some(SIDE.to_owned()), &["enroll", SIDE], Some(SIDE)),
            },
            (11, ..) => {
                // What it leaves is looked at after each kill: the server's address, whole.
                let _ = ctl(self.dir, &["cloud", "login", "--server", self.url, "--token-stdin"], TOKEN);
            }
            _ => {
                let (name, content) = (format!("memory {mark}"), format!("words {mark}"));
                let project = if self.dice.below(3) == 0 { SIDE } else { PROJECT };
                let args = ["save", "--project", project, "--title", &name, &content];
                self.ask(&name, Some(content.clone()), &args, None);
            }
        }
    }

    fn one(&mut self, kind: &str) -> Option<(String, String)> {
        let mut known = self.ledger.lock().expect("no panic").known(kind);
        let at = usize::try_from(self.dice.below(known.len().max(1) as u64)).expect("few");
        (at < known.len()).then(|| known.swap_remove(at))
    }

    /// Asks, and books the answer under the identity that is known, or that it tells.
    fn ask(&self, name: &str, content: Option<String>, args: &[&str], id: Option<&str>) {
        let answer = ctl(self.dir, &[args, &["--json"]].concat(), "");
        let told = |answer: &Answer| match id {
            Some(id) => id.to_owned(),
            None => answer.json()["sync_id"].as_str().expect("an id").to_owned(),
        };
        let told = (answer.code == 0).then(|| told(&answer));
        self.ledger.lock().expect("no panic").book(name, content, told.as_deref());
    }
}

/// The name of a relation, by its ends.
pub(crate) fn relation(source: &str, target: &str) -> String {
    format!("relation {source} {target}")
}

/// What a device shows: memories, relations, and the sessions that somebody named.
pub(crate) fn shown(device: &Device) -> Shown {
    let mut shown = Shown::new();
    let mut add = |name: String, content: String| shown.entry(name).or_default().push(content);
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let all = |args: &[&str], field: &str| {
        let list = device.json(&[args, &["--limit", "100000"]].concat());
        list[field].as_array().expect("a list").clone()
    };
    for project in [PROJECT, SIDE] {
        for one in all(&["list", "--project", project], "observations") {
            add(text(&one, "title"), text(&one, "content"));
        }
    }
    for one in all(&["session", "list"], "sessions") {
        let (id, is_open) = (text(&one, "id"), one["ended_at"].is_null());
        if id.starts_with("session-") {
            add(id, if is_open { "open".to_owned() } else { text(&one, "summary") });
        }
    }
    // No command lists them.
    let store = rusqlite::Connection::open(device.dir.join("engram.db")).expect("the store");
    store.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    let sql = "SELECT source_id, target_id, coalesce(reason, '') FROM memory_relations ORDER BY sync_id";
    let mut statement = store.prepare(sql).expect("a statement");
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?)));
    for row in rows.expect("rows") {
        let (source, target, reason) = row.expect("a row");
        add(relation(&source, &target), reason);
    }
    shown
}
