//! Two people, one repository: real clones, random exports, branches, merges, rebases, cherry-picks, reverts and
//! conflicts, with and without the merge driver, end in identical dumps and no file to repair by hand (chunks.md 4).

use crate::harness::{Person, merged_by_others, read_where_git_took_back, shared};
use std::collections::BTreeMap;
use std::path::Path;

/// So many repositories; `ENGRAM_GIT_HISTORIES` asks for more.
const HISTORIES: u64 = 6;
const STEPS: usize = 24;

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
    /// Branches beside main that were begun, by person.
    topics: [Vec<String>; 2],
    tally: &'p mut Tally,
}

/// What was done, by name.
type Tally = BTreeMap<&'static str, u64>;

impl History<'_> {
    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    fn write(&mut self, who: usize, dice: &mut Dice) {
        let device = &self.people[who].device;
        let own = |id: &String| device.ctl(&["get", id]).code == 0;
        let known: Vec<String> = self.ids.iter().filter(|id| own(id)).cloned().collect();
        let some = known.get(dice.roll(known.len().max(1))).cloned();
        let session = format!("{}-s{}", self.project, dice.roll(2));
        match (dice.roll(8), some) {
            (0, Some(id)) => drop(device.ctl(&["update", &id, "--title", &format!("edited {}", dice.roll(99))])),
            (1, Some(id)) => drop(device.ctl(&["delete", &id])),
            (2, Some(id)) => drop(device.ctl(&["delete", &id, "--hard"])),
            (3, Some(id)) if id != known[0] => drop(device.ctl(&["relate", &known[0], "refines", &id])),
            // Both may begin, and end, the same one; to end what is not here is refused.
            (6, _) => drop(device.ctl(&["session", "start", "--id", &session, "--project", &self.project])),
            (7, _) => {
                let summary = format!("done {}", dice.roll(99));
                if device.ctl(&["session", "end", &session, "--summary", &summary]).code == 0 {
                    self.count("sessions ended");
                }
            }
            (4, _) => drop(device.ctl(&["prompt", "--project", &self.project, &format!("please {}", dice.roll(99))])),
            _ => self.ids.push(device.save(&self.project, &format!("title {}", dice.roll(999)), "text")),
        }
        self.count("writes");
    }

    /// Exports and commits.
    fn export(&mut self, who: usize) {
        self.export_only(who);
        self.commit(who);
        self.count("exports");
    }

    /// Exports every project that this device has, of which the repository then has all.
    fn export_all(&mut self, who: usize) {
        let export = self.people[who].chunks(&["export", "--all"]);
        assert!([0, 5].contains(&export.code), "{export:?}");
        self.commit(who);
        self.count("exports of all projects");
    }

    fn export_only(&self, who: usize) {
        let export = self.people[who].chunks(&["export", "--project", &self.project]);
        // Who saved nothing and imported nothing has no such project.
        let has_none = export.code == 1 && export.err.contains("there is no project");
        assert!(has_none || [0, 5].contains(&export.code), "{export:?}");
    }

    fn commit(&self, who: usize) {
        self.people[who].must(&["add", "-A"]);
        self.people[who].git(&["commit", "-q", "-m", "chunks"]);
    }

    /// Brings the other side in, by a merge or a rebase.
    fn integrate(&mut self, who: usize, rebase: bool, dice: &mut Dice) {
        self.commit(who);
        let person = &self.people[who];
        person.must(&["fetch", "-q", "origin"]);
        if !person.git(&["rev-parse", "-q", "--verify", "origin/main"]).0 {
            return;
        }
        if rebase {
            self.run(who, "rebases", (&["rebase", "-q", "origin/main"], &["rebase", "--continue"]), dice);
        } else {
            let merge = &["merge", "-q", "--no-edit", "--allow-unrelated-histories", "origin/main"];
            self.run(who, "merges", (merge, &["commit", "-q", "--no-edit"]), dice);
        }
    }

    /// Runs a command that may conflict; a conflict is ended by an export, or as people end them in a hurry: with one
    /// side of the manifest, or with the markers in it. Never by hand.
    fn run(&mut self, who: usize, what: &'static str, (begin, go_on): (&[&str], &[&str]), dice: &mut Dice) {
        self.count(what);
        let (mut clean, mut said) = self.people[who].git(begin);
        for _ in 0..40 {
            let person = &self.people[who];
            // What is there already makes an empty commit, which nobody wants.
            let is_empty =
                ["is now empty", "nothing to commit", "working tree clean"].iter().any(|words| said.contains(words));
            if is_empty && begin[0] != "merge" && !person.git(&[begin[0], "--skip"]).0 {
                person.must(&[begin[0], "--quit"]);
            }
            if clean || is_empty {
                return;
            }
            // Of a file that one side took away git asks no driver.
            let united = said.contains("conflict in .engram/manifest.json");
            assert!(!self.driver[who] || !united, "the driver leaves no conflict: {said}");
            assert!(said.to_lowercase().contains("conflict"), "{begin:?}: {said}");
            let how = match dice.roll(5) {
                0 if person.git(&["checkout", "--ours", "--", ".engram/manifest.json"]).0 => "conflicts: ours",
                1 if person.git(&["checkout", "--theirs", "--", ".engram/manifest.json"]).0 => "conflicts: theirs",
                2 => "conflicts: markers left",
                _ => {
                    self.export_only(who);
                    "conflicts: export"
                }
            };
            self.count(how);
            let person = &self.people[who];
            person.must(&["add", "-A"]);
            (clean, said) = person.git(go_on);
        }
        panic!("{begin:?} does not end: {said}");
    }

    fn share(&mut self, who: usize, dice: &mut Dice) {
        for _ in 0..3 {
            if self.people[who].git(&["push", "-q", "origin", "HEAD:main"]).0 {
                self.count("pushes");
                return;
            }
            self.integrate(who, false, dice);
        }
    }

    fn import(&mut self, who: usize) {
        if self.people[who].place().is_dir() {
            let import = self.people[who].chunks(&["import"]);
            assert!([0, 5].contains(&import.code), "{import:?}");
            self.count("imports");
        }
    }

    /// Begins a branch, or goes back to main and takes one in, or forgets it.
    fn branch(&mut self, who: usize, dice: &mut Dice) {
        self.commit(who);
        let name = format!("topic-{}", self.topics[who].len());
        let on_main = self.people[who].must(&["branch", "--show-current"]).trim() == "main";
        if on_main && dice.roll(2) == 0 {
            self.people[who].must(&["checkout", "-q", "-b", &name]);
            self.topics[who].push(name);
            return self.count("branches");
        }
        self.people[who].must(&["checkout", "-q", "main"]);
        let Some(topic) = self.topics[who].get(dice.roll(self.topics[who].len().max(1))).cloned() else { return };
        match dice.roll(3) {
            0 => {
                self.run(
                    who,
                    "squashes",
                    (
                        &["merge", "-q", "--squash", "--allow-unrelated-histories", &topic],
                        &["commit", "-q", "-m", "squashed"],
                    ),
                    dice,
                );
                self.commit(who);
            }
            1 => {
                let merge = &["merge", "-q", "--no-edit", "--allow-unrelated-histories", topic.as_str()];
                self.run(who, "branches merged", (merge, &["commit", "-q", "--no-edit"]), dice);
            }
            _ => {}
        }
    }

    /// Takes one commit from anywhere, or takes one back, or forgets the last one.
    fn pick(&mut self, who: usize, dice: &mut Dice) {
        self.commit(who);
        let all = self.people[who].must(&["rev-list", "--no-merges", "--all"]);
        let all: Vec<&str> = all.lines().collect();
        let commit = all[dice.roll(all.len())];
        match dice.roll(4) {
            0 | 1 => self.run(who, "cherry-picks", (&["cherry-pick", commit], &["cherry-pick", "--continue"]), dice),
            2 => {
                if self.people[who].git(&["merge-base", "--is-ancestor", commit, "HEAD"]).0 {
                    self.run(who, "reverts", (&["revert", "--no-edit", commit], &["revert", "--continue"]), dice);
                }
            }
            _ => {
                if self.people[who].git(&["reset", "-q", "--hard", "HEAD~1"]).0 {
                    self.count("resets");
                }
            }
        }
    }
}

/// Everybody of a run: two who work, and one who comes last.
struct Everybody {
    ana: Person,
    bob: Person,
    eve: Person,
    tally: Tally,
}

fn history(seed: u64, temp: &Path, all: &mut Everybody) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let hub = temp.join(format!("hub-{seed}.git"));
    let hub = hub.to_str().expect("a path");
    all.ana.work = temp.to_owned();
    all.ana.must(&["init", "-q", "--bare", "-b", "main", hub]);
    let Everybody { ana, bob, eve, tally } = all;
    let people = [ana, bob];
    let project = format!("p{seed}");
    let mut history =
        History { people, project, ids: Vec::new(), driver: [false; 2], topics: Default::default(), tally };
    for who in 0..2 {
        history.people[who].work = temp.join(format!("clone-{seed}-{who}"));
        std::fs::create_dir_all(&history.people[who].work).expect("a directory");
        history.people[who].must(&["init", "-q", "-b", "main"]);
        history.people[who].must(&["remote", "add", "origin", hub]);
        history.driver[who] = dice.roll(2) == 0;
        history.count(if history.driver[who] { "clones with the driver" } else { "clones without it" });
        if history.driver[who] {
            assert_eq!(history.people[who].chunks(&["init"]).code, 0);
        }
        std::fs::write(history.people[who].work.join(format!("of-{who}")), "a first file").expect("written");
        history.commit(who);
    }
    // One that each of them may end, and one that nobody deletes: there is something to share.
    for person in &history.people {
        let id = format!("{}-s0", history.project);
        assert_eq!(person.device.ctl(&["session", "start", "--id", &id, "--project", &history.project]).code, 0);
    }
    let _ = history.people[0].device.save(&history.project, "first", "text");
    for _ in 0..STEPS {
        let who = dice.roll(2);
        match dice.roll(12) {
            0 => history.export(who),
            1 => history.export_all(who),
            2 | 3 => {
                let rebase = dice.roll(3) == 0;
                history.integrate(who, rebase, &mut dice);
            }
            4 => history.share(who, &mut dice),
            5 => history.import(who),
            6 => history.branch(who, &mut dice),
            7 => history.pick(who, &mut dice),
            _ => history.write(who, &mut dice),
        }
    }
    for who in 0..2 {
        history.commit(who);
        history.people[who].must(&["checkout", "-q", "main"]);
    }
    for _ in 0..3 {
        for who in 0..2 {
            history.integrate(who, false, &mut dice);
            history.import(who);
            history.export(who);
            history.share(who, &mut dice);
        }
    }
    history.integrate(0, false, &mut dice);
    history.import(0);
    history.export(0);
    history.share(0, &mut dice);
    for who in 0..2 {
        history.integrate(who, false, &mut dice);
        let (person, project) = (&history.people[who], &history.project);
        let verify = person.chunks(&["verify"]);
        assert_eq!(verify.code, 0, "seed {seed}: {verify:?}");
        assert_eq!(person.json(&["export", "--project", project])["outcome"], "nothing", "seed {seed}");
    }
    // Who comes last, without the driver, has what the others have.
    eve.work = temp.join(format!("clone-{seed}-last"));
    let eve_work = eve.work.clone();
    history.people[0].must(&["clone", "-q", hub, eve_work.to_str().expect("a path")]);
    let import = eve.chunks(&["import"]);
    assert_eq!(import.code, 0, "seed {seed}: {import:?}");
    let [ana, bob] = &history.people;
    // A reader of the format alone, who merges as merging.md says, has it as well: in every clone.
    let read = [&**ana, &**bob, &*eve].map(|person| read_where_git_took_back(&person.place()));
    let truth = merged_by_others(&read[0], &history.project);
    assert!(truth.len() > 1, "seed {seed}: {truth:?}");
    for (person, read) in [&**ana, &**bob, &*eve].into_iter().zip(&read) {
        let theirs = merged_by_others(read, &history.project);
        for other in [shared(&person.dump(&history.project), read), theirs] {
            let differ: Vec<_> = truth.symmetric_difference(&other).collect();
            assert!(differ.is_empty(), "seed {seed}: {differ:#?}");
        }
    }
    for name in ["clone-SEED-0", "clone-SEED-1", "clone-SEED-last", "hub-SEED.git"] {
        std::fs::remove_dir_all(temp.join(name.replace("SEED", &seed.to_string()))).expect("removed");
    }
}

#[test]
fn conv_1_clones_of_one_repository_agree_whatever_git_did() {
    let temp = tempfile::tempdir().expect("a directory");
    let person = |name| Person::new(temp.path(), name);
    let mut all = Everybody { ana: person("ana"), bob: person("bob"), eve: person("eve"), tally: Tally::new() };
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("ENGRAM_GIT_SEED").unwrap_or(1);
    for seed in first..first + number("ENGRAM_GIT_HISTORIES").unwrap_or(HISTORIES) {
        history(seed, temp.path(), &mut all);
    }
    println!("{:?}", all.tally);
}
