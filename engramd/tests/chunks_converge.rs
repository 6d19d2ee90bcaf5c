//! CONV-1 over chunks alone: people who save, edit, delete, export, merge, lose and import in any order end with one
//! dump, that of someone who imports everything from the start; and nothing is exported twice.
#![expect(clippy::unwrap_used, reason = "tests")]

mod chunk_support;
mod memory_support;
mod store_support;

use chunk_support::Shelf;
use memory_support::{Desk, a_save};
use serde_json::Value;
use std::collections::BTreeSet;
use store_support::{gone, row, session};

const HISTORIES: u64 = 40;
const STEPS: usize = 60;

/// Numbers that look random and are the same at every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// A person: a device, and the clone of the repository on it.
struct Person {
    desk: Desk,
    shelf: Shelf,
    ids: Vec<String>,
    sessions: u64,
    pulled: u64,
}

impl Person {
    fn new(n: u64) -> Self {
        let mut desk = Desk::new();
        desk.drawn_from(n << 32);
        desk.clock = i64::try_from(n).unwrap() * 3;
        Self { desk, shelf: Shelf::at("/clone/.engram"), ids: Vec::new(), sessions: n * 1_000, pulled: 0 }
    }

    fn some_id(&mut self, dice: &mut Dice) -> Option<String> {
        let known = self.desk.list(&engram_proto::ipc::request::ListRequest { limit: 100, ..Default::default() });
        let ids: Vec<String> = known.into_iter().map(|one| one.sync_id).collect();
        let at = usize::try_from(dice.roll(ids.len().max(1) as u64)).unwrap();
        ids.get(at).cloned()
    }

    fn step(&mut self, dice: &mut Dice) {
        self.desk.clock += i64::try_from(dice.roll(4)).unwrap() - 1;
        match dice.roll(12) {
            0..=2 => {
                let n = dice.roll(1_000);
                let mut save = a_save(&format!("title {n}"), &format!("content {n}"));
                save.topic = n.is_multiple_of(3).then(|| format!("topic {}", n % 2));
                self.ids.push(self.desk.save(&save).sync_id);
            }
            3 | 4 => {
                if let Some(id) = self.some_id(dice) {
                    self.desk.retitle(&id, &format!("edited {}", dice.roll(1_000)));
                }
            }
            5 => {
                if let Some(id) = self.some_id(dice) {
                    self.desk.delete(&id, dice.roll(2) == 0).unwrap();
                }
            }
            6 => {
                let (a, b) = (self.some_id(dice), self.some_id(dice));
                if let (Some(a), Some(b)) = (a, b)
                    && a != b
                {
                    self.desk.relate(&a, ["supersedes", "refines"][dice.roll(2) as usize], &b).ok();
                }
            }
            7 => drop(self.desk.prompt(&format!("please {}", dice.roll(1_000)), None)),
            8 => {
                self.sessions += 1;
                self.desk.start(&format!("s-{}", self.sessions), "alpha").unwrap();
            }
            9 => drop(self.desk.end(&format!("s-{}", self.sessions), Some("done"))),
            10 => self.pull_delete(dice),
            _ => drop(self.shelf.export(&mut self.desk.lab.store, "alpha")),
        }
    }

    /// What only the cloud brings: sessions and memories that somebody else wrote or deleted.
    fn pull_delete(&mut self, dice: &mut Dice) {
        let n = dice.roll(6);
        self.pulled += 1;
        let seconds = i64::try_from(dice.roll(40)).unwrap();
        let page = match dice.roll(3) {
            0 => row(self.pulled, "alpha", "session", "upsert", session(&format!("cloud-{n}"), "/elsewhere", seconds)),
            1 => {
                let payload = serde_json::json!({"id": format!("cloud-{n}"), "deleted": true,
                    "deleted_at": store_support::at(seconds).to_string()});
                row(self.pulled, "alpha", "session", "delete", payload)
            }
            _ => match self.some_id(dice) {
                Some(id) => {
                    let session = self.desk.get(&id).unwrap().session_id;
                    row(self.pulled, "alpha", "observation", "delete", gone(&id, &session, seconds, n > 3))
                }
                None => return,
            },
        };
        self.desk.lab.apply(vec![page]);
    }

    fn dump(&self) -> BTreeSet<String> {
        shared(&self.desk.lab.dump())
    }
}

/// A dump without the relations that may not have travelled: those with an end that was deleted, for good or before it was
/// told.
fn shared(dump: &str) -> BTreeSet<String> {
    let lines: Vec<Value> = dump.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kept: BTreeSet<&str> = lines
        .iter()
        .filter(|line| line["entity"] == "observation" && line["deleted"].is_null())
        .filter_map(|line| line["key"].as_str())
        .collect();
    let travels = |line: &&Value| {
        let end = |field: &str| line[field].as_str().is_some_and(|end| kept.contains(end));
        line["entity"] != "relation" || (end("source_id") && end("target_id"))
    };
    lines.iter().filter(travels).map(ToString::to_string).collect()
}

fn history(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut people: Vec<Person> = (1..=3).map(Person::new).collect();
    for _ in 0..STEPS {
        let who = usize::try_from(dice.roll(3)).unwrap();
        let other = usize::try_from(dice.roll(3)).unwrap();
        match dice.roll(8) {
            // A merge brings the chunks of another clone, not yet into the store.
            0 => {
                let theirs = people[other].shelf.chunks.clone();
                people[who].shelf.chunks.extend(theirs);
            }
            1 => drop({
                let person = &mut people[who];
                person.shelf.import(&mut person.desk.lab.store)
            }),
            // A rebase loses a chunk that nobody else has.
            2 if dice.roll(4) == 0 => drop(people[who].shelf.chunks.pop_first()),
            _ => people[who].step(&mut dice),
        }
    }
    let mut repository = Shelf::at("/clone/.engram");
    for round in 0..3 {
        for person in &mut people {
            person.shelf.chunks.extend(repository.chunks.clone());
            person.shelf.import(&mut person.desk.lab.store);
            let rows = person.shelf.export(&mut person.desk.lab.store, "alpha");
            assert!(round < 2 || rows.is_empty(), "seed {seed}: round {round} still exports {rows:?}");
            repository.chunks.extend(person.shelf.chunks.clone());
        }
    }
    let mut fresh = Person::new(9);
    fresh.shelf = repository;
    fresh.shelf.import(&mut fresh.desk.lab.store);
    for person in &mut people {
        let (theirs, fresh) = (person.dump(), fresh.dump());
        let differ: Vec<&String> = theirs.symmetric_difference(&fresh).collect();
        assert!(differ.is_empty(), "seed {seed}: {differ:#?}");
        person.desk.lab.check_books();
        person.desk.lab.check_index();
    }
    // Export and import change nothing any more (IDEM-1).
    let before = fresh.desk.everything();
    assert_eq!(fresh.shelf.export(&mut fresh.desk.lab.store, "alpha"), [], "seed {seed}");
    fresh.shelf.import(&mut fresh.desk.lab.store);
    assert_eq!(fresh.desk.everything(), before, "seed {seed}");
}

#[test]
fn conv_1_random_histories_over_chunks_end_in_one_dump() {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let first = number("ENGRAM_CHUNK_SEED").unwrap_or(1);
    (first..first + number("ENGRAM_CHUNK_HISTORIES").unwrap_or(HISTORIES)).for_each(history);
}

/// What a chunk brings is shown over nothing that is newer here; a dump of what is known does not tell.
#[test]
fn conv_1_an_older_version_in_a_chunk_is_shown_over_no_newer_one() {
    let (mut ana, mut bob, mut shelf) = (Desk::new(), Desk::new(), Shelf::at("/clone/.engram"));
    bob.drawn_from(1 << 32);
    let id = ana.save(&a_save("first", "content")).sync_id;
    shelf.export(&mut ana.lab.store, "alpha");
    shelf.import(&mut bob.lab.store);
    (ana.clock, bob.clock) = (20, 10);
    ana.retitle(&id, "newer");
    bob.retitle(&id, "older");
    shelf.export(&mut bob.lab.store, "alpha");
    shelf.import(&mut ana.lab.store);
    assert_eq!(ana.get(&id).unwrap().title, "newer");
    shelf.export(&mut ana.lab.store, "alpha");
    shelf.import(&mut bob.lab.store);
    assert_eq!(bob.get(&id).unwrap().title, "newer");
    ana.lab.check_index();
    bob.lab.check_index();
}
