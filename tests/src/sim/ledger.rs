//! What people wrote, and where it has to be in the end: no text that was answered as saved may be nowhere.
//!
//! A text is somewhere while it is shown, or somebody who saw it wrote over it, or it is in a list of what lost to one
//! that had not seen it, or is set aside with its evidence.

use super::device::Device;
use super::excuses::{self, LostRows};
use super::laws::Law;
use crate::model::Disk;
use engramd::store::Store;
use rusqlite::Connection;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Prompts that were deleted with their session.
const WENT_WITH_SESSION: &str = "SELECT p.entity_key FROM engramd_version AS p JOIN engramd_version AS s
        ON s.project = p.project AND s.entity = 'session' AND s.entity_key = p.head ->> '$.prompt.session_id'
    WHERE p.entity = 'prompt' AND s.head ->> '$.session.deleted_at' IS NOT NULL";

/// Project, and sync id.
type Key = (String, String);

/// What is shown of memories and prompts.
pub(super) type Shown = BTreeMap<Key, String>;

const SHOWN: &str =
    "SELECT project, sync_id, title || char(10) || content FROM observations WHERE deleted_at IS NULL AND sync_id <> ''
    UNION ALL SELECT project, sync_id, content FROM user_prompts WHERE sync_id <> ''";

/// Everything that is kept beside what is shown.
const KEPT: &str = "SELECT entity_key, payload FROM engramd_conflict
    UNION ALL SELECT entity_key, payload FROM engramd_held";

/// Sync id and text. A memory that a Go process moves to another project keeps both.
type Words = (String, String);

/// A text that was answered as saved.
#[derive(Debug)]
struct Text {
    project: String,
    words: Words,
    by: String,
    write: u64,
}

/// What was written so far, by whom, and over what.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    writes: u64,
    texts: Vec<Text>,
    /// The last write of somebody who saw a text, and put something else in its place.
    seen: BTreeMap<Words, u64>,
    /// Sync ids of what users of Go programs deleted, or their autosync may have deleted at the server.
    gone: BTreeSet<String>,
}

/// A device's store before a command: what it shows, and its last journal row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Before {
    shown: Shown,
    last_seq: i64,
}

impl Before {
    /// Looks at a store.
    pub(super) fn of(store: &Store) -> Self {
        let read = store.read(|conn| {
            let last = conn.prepare_cached("SELECT coalesce(max(seq), 0) FROM sync_mutations")?;
            Ok(Self { shown: shown(conn)?, last_seq: { last }.query_row([], |row| row.get(0))? })
        });
        read.expect("rows")
    }
}

/// Looks at what a store shows.
pub(super) fn shown(conn: &Connection) -> rusqlite::Result<Shown> {
    let mut statement = conn.prepare_cached(SHOWN)?;
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    rows.collect()
}

impl Ledger {
    /// DUR-1: what a command answered as done is there with its journal row, and what it answered as failed left nothing.
    pub(super) fn command(
        &mut self,
        name: &str,
        store: &Store,
        before: Before,
        done: Result<&str, ()>,
    ) -> Result<(), Law> {
        let after = Before::of(store);
        let dur_1 = |what: String| Err(Law::new("DUR-1", format!("{name}: {what}")));
        let Ok(done) = done else {
            return if after == before { Ok(()) } else { dur_1(format!("a command failed and left {after:?}")) };
        };
        let saves = ["saves ", "prompts "].iter().any(|word| done.starts_with(word));
        if after.last_seq == before.last_seq
            && (saves || after.shown.iter().any(|one| !before.shown.contains_key(one.0)))
        {
            return dur_1(format!("it {done}, and no journal row says so"));
        }
        if done.starts_with("saves ") && !after.shown.keys().any(|(_, id)| done.ends_with(id.as_str())) {
            return dur_1(format!("it {done}, and does not show it"));
        }
        self.note(name, &before.shown, &after.shown);
        Ok(())
    }

    /// Notes what somebody's command changed of what he was shown.
    fn note(&mut self, by: &str, before: &Shown, after: &Shown) {
        self.writes += 1;
        let (was, is) = (all_words(before), all_words(after));
        for (key, text) in before.iter().filter(|(key, text)| after.get(*key) != Some(*text)) {
            // A memory that was moved may be in both projects, until its deletion in one is there.
            let is_new =
                |(other, there): (&Key, &String)| other.1 == key.1 && there == text && before.get(other) != Some(there);
            if !after.iter().any(is_new) {
                self.seen.insert((key.1.clone(), text.clone()), self.writes);
            }
        }
        for (words, &project) in is.iter().filter(|(words, _)| !was.contains_key(*words)) {
            let text =
                Text { project: project.to_owned(), words: words.clone(), by: by.to_owned(), write: self.writes };
            self.texts.push(text);
        }
    }

    /// Notes the same of a command of a Go program.
    pub(super) fn note_go(&mut self, by: &str, before: &Shown, after: &Shown) {
        let is_there = |id: &String| after.keys().any(|(_, there)| there == id);
        self.gone.extend(before.keys().map(|(_, id)| id).filter(|id| !is_there(id)).cloned());
        self.note(by, before, after);
    }

    /// Notes that a deletion may go to the server as a Go program's.
    pub(super) fn deleted_by_go(&mut self, id: &str) {
        self.gone.insert(id.to_owned());
    }

    /// DUR-1: a process that died left a store in which everything is that it had answered as saved.
    pub(super) fn survived(&self, device: &Device) -> Result<(), Law> {
        let sql = "SELECT DISTINCT project, entity_key FROM sync_mutations";
        let read = device.store.read(|conn| {
            let mut statement = conn.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<BTreeSet<Key>, _>>()?)
        });
        let there = read.expect("rows");
        let mut its = self.texts.iter().filter(|text| text.by == device.name);
        match its.find(|text| !there.contains(&text.entity())) {
            Some(text) => Err(Law::new("DUR-1", format!("{} died, and {text:?} is not in its journal", device.name))),
            None => Ok(()),
        }
    }

    /// Nothing is lost: in the calm, every text is somewhere.
    pub(super) fn nothing_is_lost(
        &self,
        devices: &[Device],
        (disk, other): (&Disk, Option<&Disk>),
        (lost, has_go_clients): (&LostRows, bool),
    ) -> Result<(), Law> {
        let (mut current, mut kept, mut with_session) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for device in devices {
            let read = device.store.read(|conn| {
                current.extend(all_words(&shown(conn)?).into_keys());
                let mut statement = conn.prepare_cached(KEPT)?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                for row in rows {
                    let (id, payload): (String, String) = row?;
                    kept.insert((id, text_of(&payload)));
                }
                let mut statement = conn.prepare_cached(WENT_WITH_SESSION)?;
                let ids = statement.query_map([], |row| row.get(0))?;
                with_session.extend(ids.collect::<Result<Vec<String>, _>>()?);
                Ok(())
            });
            read.expect("rows");
        }
        for (name, payload) in other.into_iter().chain([disk]).flat_map(|disk| &disk.conflicts) {
            kept.insert((name.key.clone(), text_of(payload)));
        }
        let is_somewhere = |text: &Text| {
            current.contains(&text.words)
                || self.seen.get(&text.words).is_some_and(|&write| write > text.write)
                || kept.contains(&text.words)
                || excuses::a_go_delete_of_an_edit_that_it_did_not_see(&self.gone, &text.words.0)
                || excuses::a_prompt_of_a_deleted_session_counts_as_deleted(&with_session, &text.words.0)
                || excuses::a_rival_after_a_restore(lost, &text.entity(), || was_told(devices, &text.words))
                || (has_go_clients
                    && excuses::nobody_offers_what_only_go_clients_held_of_the_lost_rows(lost, &text.entity()))
        };
        match self.texts.iter().find(|text| !is_somewhere(text)) {
            Some(text) => {
                let now: Vec<_> = current.iter().filter(|(id, _)| *id == text.words.0).collect();
                Err(Law::new("nothing is lost", format!("{text:?} is nowhere; {now:?} is shown, and nobody saw it")))
            }
            None => Ok(()),
        }
    }
}

impl Text {
    fn entity(&self) -> Key {
        (self.project.clone(), self.words.0.clone())
    }
}

/// Tells whether a server answered an author that it took a text.
fn was_told(devices: &[Device], words: &Words) -> bool {
    let sql = "SELECT m.payload FROM sync_mutations AS m JOIN engramd_journal AS j ON j.seq = m.seq
        WHERE m.entity_key = ?1 AND j.cloud_seq IS NOT NULL";
    devices.iter().any(|device| {
        let read = device.store.read(|conn| {
            let mut statement = conn.prepare_cached(sql)?;
            let payloads = statement.query_map([&words.0], |row| row.get::<_, String>(0))?;
            Ok(payloads.collect::<Result<Vec<_>, _>>()?)
        });
        read.expect("rows").iter().any(|payload| text_of(payload) == words.1)
    })
}

/// What is shown, each with its project.
fn all_words(shown: &Shown) -> BTreeMap<Words, &str> {
    shown.iter().map(|((project, id), text)| ((id.clone(), text.clone()), project.as_str())).collect()
}

/// CONV-1, as people see it: every device shows the same memories and prompts.
pub(super) fn all_show_the_same(devices: &[Device]) -> Result<(), Law> {
    let shown: Vec<_> = devices.iter().map(|device| (device, Before::of(&device.store).shown)).collect();
    let Some(((first, ours), others)) = shown.split_first() else { return Ok(()) };
    for (device, theirs) in others {
        let keys = ours.keys().chain(theirs.keys());
        if let Some(key) = keys.into_iter().find(|key| ours.get(*key) != theirs.get(*key)) {
            let (one, other) = (ours.get(key), theirs.get(key));
            let what = format!("of {key:?} {} shows {one:?}, {} shows {other:?}", first.name, device.name);
            return Err(Law::new("CONV-1", what));
        }
    }
    Ok(())
}

/// The text of a payload, as it is shown.
fn text_of(payload: &str) -> String {
    let payload: Value = serde_json::from_str(payload).unwrap_or_default();
    let text = |field: &str| payload[field].as_str().unwrap_or_default();
    match payload["title"].as_str() {
        Some(title) => format!("{title}\n{}", text("content")),
        None => text("content").to_owned(),
    }
}
