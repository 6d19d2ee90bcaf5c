//! What people wrote, and where it has to be in the end: no text that was answered as saved may be nowhere.
//!
//! A text is somewhere while it is shown, or somebody who saw it wrote over it, or it is in a list of what lost to one
//! that had not seen it, or is set aside with its evidence.

use super::device::Device;
use super::laws::Law;
use crate::model::Disk;
use engramd::store::Store;
use rusqlite::Connection;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Project, and sync id.
type Key = (String, String);

/// What is shown of memories and prompts.
pub(super) type Shown = BTreeMap<Key, String>;

const SHOWN: &str =
    "SELECT project, sync_id, title || char(10) || content FROM observations WHERE deleted_at IS NULL AND sync_id <> ''
    UNION ALL SELECT project, sync_id, content FROM user_prompts WHERE sync_id <> ''";

/// Everything that is kept beside what is shown.
const KEPT: &str = "SELECT project, entity_key, payload FROM engramd_conflict
    UNION ALL SELECT project, entity_key, payload FROM engramd_held";

/// A text that was answered as saved.
#[derive(Debug)]
struct Text {
    key: Key,
    words: String,
    by: String,
    write: u64,
}

/// What was written so far, by whom, and over what.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    writes: u64,
    texts: Vec<Text>,
    /// The last write of somebody who saw a text, and put something else in its place.
    seen: BTreeMap<(Key, String), u64>,
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

fn shown(conn: &Connection) -> rusqlite::Result<Shown> {
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
    pub(super) fn note(&mut self, by: &str, before: &Shown, after: &Shown) {
        self.writes += 1;
        for (key, words) in before.iter().filter(|&(key, words)| after.get(key) != Some(words)) {
            self.seen.insert((key.clone(), words.clone()), self.writes);
        }
        for (key, words) in after.iter().filter(|&(key, words)| before.get(key) != Some(words)) {
            let text = Text { key: key.clone(), words: words.clone(), by: by.to_owned(), write: self.writes };
            self.texts.push(text);
        }
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
        match its.find(|text| !there.contains(&text.key)) {
            Some(text) => Err(Law::new("DUR-1", format!("{} died, and {text:?} is not in its journal", device.name))),
            None => Ok(()),
        }
    }

    /// Nothing is lost: in the calm, every text is somewhere.
    pub(super) fn nothing_is_lost(&self, devices: &[Device], disk: &Disk, other: Option<&Disk>) -> Result<(), Law> {
        let (mut current, mut kept) = (Shown::new(), BTreeSet::new());
        for device in devices {
            let read = device.store.read(|conn| {
                current.extend(shown(conn)?);
                let mut statement = conn.prepare_cached(KEPT)?;
                let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
                for row in rows {
                    let (key, payload): (Key, String) = row?;
                    kept.insert((key, words(&payload)));
                }
                Ok(())
            });
            read.expect("rows");
        }
        for (name, payload) in other.into_iter().chain([disk]).flat_map(|disk| &disk.conflicts) {
            kept.insert(((name.project.to_string(), name.key.clone()), words(payload)));
        }
        let is_somewhere = |text: &Text| {
            let named = (text.key.clone(), text.words.clone());
            current.get(&text.key) == Some(&text.words)
                || self.seen.get(&named).is_some_and(|&write| write > text.write)
                || kept.contains(&named)
        };
        match self.texts.iter().find(|text| !is_somewhere(text)) {
            Some(text) => {
                let now = current.get(&text.key);
                Err(Law::new("nothing is lost", format!("{text:?} is nowhere; {now:?} is shown, and nobody saw it")))
            }
            None => Ok(()),
        }
    }
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
fn words(payload: &str) -> String {
    let payload: Value = serde_json::from_str(payload).unwrap_or_default();
    let text = |field: &str| payload[field].as_str().unwrap_or_default();
    match payload["title"].as_str() {
        Some(title) => format!("{title}\n{}", text("content")),
        None => text("content").to_owned(),
    }
}
