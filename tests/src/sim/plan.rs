//! What decides a run: a seed, and which of its steps happen.
//!
//! Every step draws from a generator of its own, so taking one out leaves what the others draw as it is; that is what
//! makes a failing run small. As text a plan is one line: the seed and its edition, then numbers and ranges of steps;
//! those with `c` are calm: nothing goes wrong in them.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::fmt;
use std::str::FromStr;

/// Makes neighbouring steps draw from distant places.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// What a plan draws from. When something new can go wrong, other numbers are drawn; a plan keeps the edition in which it
/// was found, and so finds that again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edition {
    /// A process dies before or after the first commit of what it does, never while it starts; the clock of a server is
    /// right, and a Go program's is restored only.
    First,
    /// A process may die behind any commit, in a command and while it starts too; clocks of servers jump, and a Go
    /// program's server is emptied.
    #[default]
    Second,
}

/// One step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place in the whole plan.
    pub number: u32,
    /// Whether it only lets the next event happen, and nothing goes wrong.
    pub calm: bool,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// From what; written as `@2` behind the seed, and not at all in the first.
    pub edition: Edition,
    /// In order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Plans so many steps of the newest edition.
    #[must_use]
    pub fn whole(seed: u64, steps: u32) -> Self {
        Self {
            seed,
            edition: Edition::default(),
            steps: (0..steps).map(|number| Step { number, calm: false }).collect(),
        }
    }

    /// Returns the generator of one step; that of the world before the first and after the last is `u32::MAX`.
    #[must_use]
    pub fn draws(&self, number: u32) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_add(SPREAD.wrapping_mul(u64::from(number) + 1)))
    }

    /// Looks for a smaller plan that still fails, in at most `runs` runs: first without runs of steps, then with calm
    /// ones.
    #[must_use]
    pub fn shrunk(mut self, mut runs: usize, mut fails: impl FnMut(&Self) -> bool) -> Self {
        let mut chunk = self.steps.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            while at < self.steps.len() && runs > 0 {
                runs -= 1;
                let mut smaller = self.clone();
                smaller.steps.drain(at..(at + chunk).min(self.steps.len()));
                if fails(&smaller) {
                    self = smaller;
                } else {
                    at += chunk;
                }
            }
            if chunk == 1 || runs == 0 {
                break;
            }
            chunk = chunk.div_ceil(2);
        }
        for at in 0..self.steps.len() {
            if runs == 0 || self.steps[at].calm {
                continue;
            }
            runs -= 1;
            let mut calmer = self.clone();
            calmer.steps[at].calm = true;
            if fails(&calmer) {
                self = calmer;
            }
        }
        self
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.seed, if self.edition == Edition::First { "" } else { "@2" })?;
        let follows = |a: &Step, b: &Step| a.number + 1 == b.number && a.calm == b.calm;
        for part in self.steps.chunk_by(follows) {
            let (first, last) = (part[0], part[part.len() - 1]);
            write!(f, " {}", first.number)?;
            if first != last {
                write!(f, "-{}", last.number)?;
            }
            f.write_str(if first.calm { "c" } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let first = words.next().unwrap_or_default();
        let (edition, seed) = first.strip_suffix("@2").map_or((Edition::First, first), |seed| (Edition::Second, seed));
        let seed = seed.parse().map_err(|_| format!("{text:?} has no seed"))?;
        let mut steps = Vec::new();
        for word in words {
            let numbers = word.strip_suffix('c');
            let (first, last) = numbers.unwrap_or(word).split_once('-').unwrap_or((numbers.unwrap_or(word), ""));
            let number = |text: &str| text.parse::<u32>().map_err(|_| format!("{word:?} is no step of a plan"));
            let first = number(first)?;
            let last = if last.is_empty() { first } else { number(last)? };
            steps.extend((first..=last).map(|number| Step { number, calm: numbers.is_some() }));
        }
        Ok(Self { seed, edition, steps })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_line() {
        let text = "4711 0-3 7 8-9c 12c";
        let plan: Plan = text.parse().unwrap();
        assert_eq!((plan.steps.len(), plan.edition), (8, Edition::First));
        assert_eq!(plan.to_string(), text);
        let text = "4711@2 0-3";
        assert_eq!(text.parse::<Plan>().unwrap(), Plan::whole(4711, 4));
        assert_eq!(Plan::whole(4711, 4).to_string(), text);
        assert!("x 1".parse::<Plan>().is_err() && "1 a".parse::<Plan>().is_err());
    }

    #[test]
    fn what_does_not_matter_is_left_out() {
        let needs = |plan: &Plan| {
            let step = |number| plan.steps.iter().find(|step| step.number == number);
            step(5).is_some_and(|step| !step.calm) && step(90).is_some()
        };
        assert_eq!(Plan::whole(1, 100).shrunk(1_000, needs).to_string(), "1@2 5 90c");
    }
}
