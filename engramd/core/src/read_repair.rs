//! Read repair on a server that merges nothing (peers.md): at the head it is looked whether a row shows other than what is
//! known here; then a random time passes, so that of several devices one comes first; a pull shows whether it is still
//! so; and only then what is known goes once more.

use crate::backoff::random_ms;
use crate::event::{Effect, Now, StoreTrouble};
use crate::machine::Machine;
use crate::project::Project;
use crate::rows::{Fence, Repaired};
use engram_proto::http::health::capability;
use engram_proto::id::ProjectName;
use engram_proto::words::count;

/// The rung of the ladder of delays from which the first random time is drawn: 4 s by default.
const FIRST_RUNG: usize = 2;

/// Each round within this time draws from one rung more (rate limit).
const ROUNDS_MS: u64 = 3_600_000;

/// How the read repair of one project stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadRepair {
    /// Whether the head was reached since it was looked last.
    due: bool,
    step: Step,
    /// Rounds that pushed something, since [`Self::rounds_since`].
    rounds: usize,
    rounds_since: Now,
    /// Rows pushed once more since the machine began.
    pub(crate) rows: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum Step {
    /// Nothing is suspect, as far as it was looked.
    #[default]
    Clear,
    /// Something is, and the random time is not over.
    Waiting { until_ms: u64 },
    /// A pull of this generation has to show that it is still so.
    Confirming { generation: u64 },
}

impl ReadRepair {
    /// Returns when the random time is over, on the monotonic clock.
    pub(crate) fn until_ms(&self) -> u64 {
        if let Step::Waiting { until_ms } = self.step { until_ms } else { 0 }
    }
}

impl Project {
    /// Hears that a pull ended at the head.
    pub(crate) fn reached_head(&mut self) {
        self.repair.due = true;
    }

    /// Tells whether it is to be looked at now, and whether what is still suspect goes once more.
    fn look(&self) -> Option<bool> {
        if !self.repair.due || self.cursor != Some(self.head) {
            return None;
        }
        match self.repair.step {
            Step::Clear => Some(false),
            Step::Waiting { .. } => None,
            Step::Confirming { generation } => (self.drained_generation >= generation).then_some(true),
        }
    }
}

impl Machine {
    /// Asks for a pull where a random time is over.
    pub(crate) fn end_random_waits(&mut self) {
        for project in self.projects.values_mut() {
            let over = matches!(project.repair.step, Step::Waiting { until_ms } if self.now.mono_ms >= until_ms);
            if over {
                self.generation += 1;
                project.repair.step = Step::Confirming { generation: self.generation };
            }
        }
    }

    /// Returns whose rows are to be looked at, and the effect that does; none for a server that merges by itself.
    pub(crate) fn next_repair(&self, cloud_id: &str, fence: &Fence) -> Option<(ProjectName, bool, Effect)> {
        if self.server.can(capability::MUTATION_IDS) {
            return None;
        }
        let look = |(name, project): (&ProjectName, &Project)| Some((name.clone(), project.look()?));
        let (project, confirmed) = self.projects.iter().find_map(look)?;
        let (fence, cloud_id) = (fence.clone(), cloud_id.to_owned());
        let effect = Effect::Repair { fence, cloud_id, project: project.clone(), confirmed };
        Some((project, confirmed, effect))
    }

    pub(crate) fn repair_looked(
        &mut self,
        name: &ProjectName,
        confirmed: bool,
        answer: Result<Repaired, StoreTrouble>,
    ) {
        let found = match answer {
            Ok(found) => found,
            Err(trouble) => return self.store_failed(trouble, false),
        };
        let (now, draw) = (self.now, self.draw);
        let Some(project) = self.projects.get_mut(name) else { return };
        let repair = &mut project.repair;
        repair.due = false;
        if now.mono_ms.saturating_sub(repair.rounds_since.mono_ms) > ROUNDS_MS {
            (repair.rounds, repair.rounds_since) = (0, now);
        }
        repair.rounds += usize::from(found.queued > 0);
        repair.rows += found.queued;
        repair.step = if found.suspects == 0 {
            Step::Clear
        } else {
            let wait_ms = random_ms(&self.settings.ladder_ms, FIRST_RUNG + repair.rounds, draw);
            Step::Waiting { until_ms: now.mono_ms + wait_ms }
        };
        if confirmed && found.queued > 0 {
            let words =
                format!("{} pushed once more: the server's last ones show other versions", count(found.queued, "row"));
            self.note("repaired", Some(name), words);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::machine::Settings;

    const LADDER_MS: [u64; 5] = [1_000, 2_000, 4_000, 8_000, 16_000];

    fn machine() -> (Machine, ProjectName) {
        let mut machine = Machine::new(Settings {
            ladder_ms: LADDER_MS.to_vec(),
            lease_ttl_ms: 120_000,
            tick_ms: 30_000,
            recheck_ms: 86_400_000,
            block_probe_ms: 300_000,
            wait_seconds: 0,
            request_bytes_max: 1 << 20,
        });
        let name = ProjectName::parse("p").unwrap();
        let project = Project { cursor: Some(8), head: 8, drained_generation: 1, ..Project::default() };
        machine.projects.insert(name.clone(), project);
        (machine, name)
    }

    fn confirmed(machine: &mut Machine, name: &ProjectName) -> Option<bool> {
        machine.projects.get_mut(name).unwrap().reached_head();
        let fence = Fence { number: 1, owner: "me".to_owned() };
        machine.next_repair("go:h", &fence).map(|(_, confirmed, _)| confirmed)
    }

    /// Looked at the head, once a random time is over a pull is asked for, and only what it still shows goes.
    #[test]
    fn a_suspect_waits_and_is_confirmed_by_a_pull() {
        let (mut machine, name) = machine();
        assert_eq!(confirmed(&mut machine, &name), Some(false));
        machine.draw = 0.5;
        machine.repair_looked(&name, false, Ok(Repaired { suspects: 1, queued: 0 }));
        assert_eq!((machine.next_deadline_ms(), confirmed(&mut machine, &name)), (2_000, None));
        machine.now.mono_ms = 1_999;
        machine.end_random_waits();
        assert_eq!(machine.generation, 1);
        machine.now.mono_ms = 2_000;
        machine.end_random_waits();
        assert_eq!((machine.generation, confirmed(&mut machine, &name)), (2, None), "not before a pull");
        machine.projects.get_mut(&name).unwrap().drained_generation = 2;
        assert_eq!(confirmed(&mut machine, &name), Some(true));
        machine.repair_looked(&name, true, Ok(Repaired { suspects: 0, queued: 3 }));
        assert_eq!((machine.projects[&name].repair.rows, confirmed(&mut machine, &name)), (3, Some(false)));
    }

    /// Each round within an hour draws from a longer time, up to the last rung; an hour later from the first again.
    #[test]
    fn rounds_are_limited() {
        let (mut machine, name) = machine();
        machine.draw = 0.5;
        let mut waits = Vec::new();
        for _ in 0..4 {
            machine.repair_looked(&name, true, Ok(Repaired { suspects: 1, queued: 1 }));
            waits.push(machine.projects[&name].repair.until_ms() - machine.now.mono_ms);
        }
        assert_eq!(waits, [4_000, 8_000, 8_000, 8_000]);
        machine.now.mono_ms = ROUNDS_MS + 1;
        machine.repair_looked(&name, false, Ok(Repaired { suspects: 1, queued: 0 }));
        assert_eq!(machine.projects[&name].repair.until_ms() - machine.now.mono_ms, 2_000);
    }
}
