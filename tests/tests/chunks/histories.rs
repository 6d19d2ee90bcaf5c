//! Two people, one repository: real clones, random exports, merges, rebases and conflicts, with and without the merge
//! driver, end in identical dumps and no file to repair by hand (chunks.md 4).

use crate::harness::{Person, read_by_others, shared};
use std::path::Path;

/// So many repositories; `ENGRAM_GIT_HISTORIES` asks for more.
const HISTORIES: u64 = 6;
const STEPS: usize = 14;

/// Numbers that look random and are the same at every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % u64::try_from(sides).expect("sides")).expect("a side")
    }
}

/// One history: a project and a repository of its own.
struct History<'p> {
    people: [&'p mut Person; 2],
    project: String,
    ids: Vec<String>,
    driver: [bool; 2],
}

impl History<'_> {
    fn write(&mut self, who: usize, dice: &mut Dice) {
        let device = &self.people[who].device;
        let own = |id: &String| device.ctl(&["get", id]).code == 0;
        let known: Vec<String> = self.ids.iter().filter(|id| own(id)).cloned().collect();
        let some = known.get(dice.roll(known.len().max(1))).cloned();
        match (dice.roll(6), some) {
            (0, Some(id)) => drop(device.ctl(&["update", &id, "--title", &format!("edited {}", dice.roll(99))])),
            (1, Some(id)) => drop(device.ctl(&["delete", &id])),
            (2, Some(id)) => drop(device.ctl(&["delete", &id, "--hard"])),
            (3, Some(id)) if id != known[0] => drop(device.ctl(&["relate", &known[0], "refines", &id])),
            (4, _) => drop(device.ctl(&["prompt", "--project", &self.project, &format!("please {}", dice.roll(99))])),
            _ => self.ids.push(device.save(&self.project, &format!("title {}", dice.roll(999)), "text")),
        }
    }

    /// Exports and commits; in the middle of a conflict this is what ends it.
    fn export(&self, who: usize) {
        let export = self.people[who].chunks(&["export", "--project", &self.project]);
        assert!([0, 5].contains(&export.code), "{export:?}");
        self.commit(who);
    }

    fn commit(&self, who: usize) {
        self.people[who].must(&["add", "-A"]);
        self.people[who].git(&["commit", "-q", "-m", "chunks"]);
    }

    /// Brings the other side in, by a merge or a rebase; what conflicts is ended by an export, never by hand.
    fn integrate(&self, who: usize, rebase: bool) {
        let person = &self.people[who];
        self.commit(who);
        person.must(&["fetch", "-q", "origin"]);
        if !person.git(&["rev-parse", "-q", "--verify", "origin/main"]).0 {
            return;
        }
        let (mut clean, mut said) = person.git(if rebase {
            &["rebase", "-q", "origin/main"]
        } else {
            &["merge", "-q", "--no-edit", "--allow-unrelated-histories", "origin/main"]
        });
        assert!(clean || !self.driver[who], "the driver leaves no conflict: {said}");
        for _ in 0..40 {
            if clean {
                break;
            }
            assert!(said.to_lowercase().contains("conflict"), "{said}");
            let export = person.chunks(&["export", "--project", &self.project]);
            assert!([0, 5].contains(&export.code), "{export:?}");
            person.must(&["add", "-A"]);
            (clean, said) = person.git(if rebase { &["rebase", "--continue"] } else { &["commit", "-q", "--no-edit"] });
        }
        assert!(clean, "{said}");
    }

    fn share(&self, who: usize) {
        for _ in 0..3 {
            if self.people[who].git(&["push", "-q", "origin", "HEAD:main"]).0 {
                return;
            }
            self.integrate(who, false);
        }
    }

    fn import(&self, who: usize) {
        if self.people[who].place().is_dir() {
            let import = self.people[who].chunks(&["import"]);
            assert!([0, 5].contains(&import.code), "{import:?}");
        }
    }
}

fn history(seed: u64, temp: &Path, ana: &mut Person, bob: &mut Person) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let hub = temp.join(format!("hub-{seed}.git"));
    ana.must(&["init", "-q", "--bare", "-b", "main", hub.to_str().expect("a path")]);
    let mut history = History { people: [ana, bob], project: format!("p{seed}"), ids: Vec::new(), driver: [false; 2] };
    for who in 0..2 {
        history.people[who].work = temp.join(format!("clone-{seed}-{who}"));
        std::fs::create_dir_all(&history.people[who].work).expect("a directory");
        history.people[who].must(&["init", "-q", "-b", "main"]);
        history.people[who].must(&["remote", "add", "origin", hub.to_str().expect("a path")]);
        history.driver[who] = dice.roll(2) == 0;
        if history.driver[who] {
            assert_eq!(history.people[who].chunks(&["init"]).code, 0);
        }
        std::fs::write(history.people[who].work.join(format!("of-{who}")), "a first file").expect("written");
        history.commit(who);
    }
    for _ in 0..STEPS {
        let who = dice.roll(2);
        match dice.roll(7) {
            0 => history.export(who),
            1 => history.integrate(who, dice.roll(3) == 0),
            2 => history.share(who),
            3 => history.import(who),
            _ => history.write(who, &mut dice),
        }
    }
    for _ in 0..3 {
        for who in 0..2 {
            history.integrate(who, false);
            history.import(who);
            history.export(who);
            history.share(who);
        }
    }
    history.integrate(0, false);
    history.import(0);
    for who in 0..2 {
        let (person, project) = (&history.people[who], &history.project);
        assert_eq!(person.chunks(&["verify"]).code, 0, "seed {seed}");
        assert_eq!(person.json(&["export", "--project", project])["outcome"], "nothing", "seed {seed}");
        read_by_others(&person.place());
    }
    let [ana, bob] = &history.people;
    let (ours, theirs) = (shared(&ana.dump(&history.project)), shared(&bob.dump(&history.project)));
    let differ: Vec<_> = ours.symmetric_difference(&theirs).collect();
    assert!(differ.is_empty(), "seed {seed}: {differ:#?}");
}

#[test]
fn conv_1_two_clones_of_one_repository_agree_whatever_git_did() {
    let temp = tempfile::tempdir().expect("a directory");
    let (mut ana, mut bob) = (Person::new(temp.path(), "ana"), Person::new(temp.path(), "bob"));
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("ENGRAM_GIT_SEED").unwrap_or(1);
    for seed in first..first + number("ENGRAM_GIT_HISTORIES").unwrap_or(HISTORIES) {
        history(seed, temp.path(), &mut ana, &mut bob);
    }
}
