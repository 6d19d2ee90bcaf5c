//! Which rows of a batch go into which request, and whose fault a refusal is (ISO-1; reasons.md, "Row or server?").

use crate::classify::RowFault;
use crate::rows::{PendingRow, Settlement};
use engram_proto::reason::ReasonCode;
use std::sync::Arc;

/// How a plan ended that has nothing left to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is a part to send.
    GoOn,
    /// Every row was taken, or blamed by a server that takes other rows.
    Done,
    /// Nothing got through: an outage, and nobody's fault.
    Outage {
        /// The server's words to the last refusal.
        evidence: String,
    },
}

/// The sending of one batch, split where it is refused, depth first and in order.
#[derive(Clone, Debug)]
pub struct Plan {
    rows: Vec<Arc<PendingRow>>,
    /// Parts still to send; the next one is the last.
    parts: Vec<Vec<usize>>,
    /// Refused alone while nothing had got through yet.
    suspects: Vec<(usize, RowFault)>,
    /// Whether some part was accepted.
    proved: bool,
    refusals: u32,
    refusals_max: u32,
    evidence: String,
}

impl Plan {
    /// Plans to send the whole batch in one request.
    #[must_use]
    pub fn whole(rows: Vec<Arc<PendingRow>>) -> Self {
        let all = (0..rows.len()).collect();
        let halvings = rows.len().next_power_of_two().trailing_zeros();
        Self::new(rows, vec![all], 2 * halvings + 1)
    }

    /// Plans the round after an outage: the first row alone, then the last.
    #[must_use]
    pub fn ends(rows: Vec<Arc<PendingRow>>) -> Self {
        let parts = if rows.len() > 1 { vec![vec![rows.len() - 1], vec![0]] } else { vec![vec![0]] };
        Self::new(rows, parts, 2)
    }

    fn new(rows: Vec<Arc<PendingRow>>, parts: Vec<Vec<usize>>, refusals_max: u32) -> Self {
        let parts = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Self { rows, parts, suspects: Vec::new(), proved: false, refusals: 0, refusals_max, evidence: String::new() }
    }

    /// Returns the rows of the next request; empty where nothing is left to send.
    #[must_use]
    pub fn next(&self) -> Vec<Arc<PendingRow>> {
        self.parts.last().map(|part| part.iter().map(|&at| Arc::clone(&self.rows[at])).collect()).unwrap_or_default()
    }

    /// Returns the row a new round is about.
    #[must_use]
    pub fn first(&self) -> Option<&PendingRow> {
        self.rows.first().map(AsRef::as_ref)
    }

    /// Records that the part that was sent was taken; returns the rows that this proves guilty.
    pub fn accepted(&mut self) -> Vec<Settlement> {
        self.parts.pop();
        self.proved = true;
        let suspects = std::mem::take(&mut self.suspects);
        suspects.iter().map(|(at, fault)| self.hold(*at, fault)).collect()
    }

    /// Records that the part that was sent was refused; returns the rows that are guilty for certain.
    pub fn refused(&mut self, fault: &RowFault) -> Vec<Settlement> {
        let part = self.parts.pop().unwrap_or_default();
        self.refusals += 1;
        self.evidence.clone_from(&fault.evidence);
        // A server that names entries has read them: that is proof enough, and one more request suffices.
        let (named, rest): (Vec<_>, Vec<_>) =
            part.iter().enumerate().partition(|(place, _)| fault.named.contains(place));
        if !named.is_empty() {
            self.push_part(rest.into_iter().map(|(_, &at)| at).collect());
            return named.into_iter().map(|(_, &at)| self.hold(at, fault)).collect();
        }
        match part[..] {
            [] => Vec::new(),
            [one] if self.proved => vec![self.hold(one, fault)],
            [one] => {
                self.suspects.push((one, fault.clone()));
                Vec::new()
            }
            _ => {
                let middle = if fault.too_large { self.middle_by_bytes(&part) } else { part.len() / 2 };
                let (left, right) = part.split_at(middle);
                self.push_part(right.to_vec());
                self.push_part(left.to_vec());
                Vec::new()
            }
        }
    }

    /// Tells whether to go on.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let nothing_through = !self.proved && self.refusals > 0;
        if nothing_through && (self.parts.is_empty() || self.refusals >= self.refusals_max) && !self.settled_by_name() {
            return Verdict::Outage { evidence: self.evidence.clone() };
        }
        if self.parts.is_empty() { Verdict::Done } else { Verdict::GoOn }
    }

    /// Blames the first row after rounds in which the same server answered pulls.
    #[must_use]
    pub fn blame_first(&self) -> Vec<Settlement> {
        let fault = self.suspects.iter().find(|(at, _)| *at == 0);
        fault.iter().map(|(at, fault)| self.hold(*at, fault)).collect()
    }

    fn settled_by_name(&self) -> bool {
        self.parts.is_empty() && self.suspects.is_empty()
    }

    fn push_part(&mut self, part: Vec<usize>) {
        if !part.is_empty() {
            self.parts.push(part);
        }
    }

    fn middle_by_bytes(&self, part: &[usize]) -> usize {
        let total: u64 = part.iter().map(|&at| self.rows[at].body_bytes).sum();
        let mut left = 0;
        let middle = part.iter().take_while(|&&at| {
            left += self.rows[at].body_bytes;
            left * 2 <= total
        });
        middle.count().clamp(1, part.len() - 1)
    }

    fn hold(&self, at: usize, fault: &RowFault) -> Settlement {
        let reason = if fault.too_large { ReasonCode::PayloadTooLarge } else { ReasonCode::RowRejected };
        Settlement::Held { seq: self.rows[at].seq, reason, evidence: fault.evidence.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push_settle::tests::row;
    use proptest::prelude::*;

    fn fault() -> RowFault {
        RowFault { too_large: false, named: vec![], evidence: "no".to_owned() }
    }

    /// Sends a plan to a server that refuses any request with a bad row; returns held seqs, requests and the verdict.
    fn run(mut plan: Plan, bad: &[i64], names: bool) -> (Vec<i64>, u32, Verdict) {
        let (mut held, mut requests) = (Vec::new(), 0);
        loop {
            let part = plan.next();
            if part.is_empty() || plan.verdict() != Verdict::GoOn {
                held.sort_unstable();
                return (held, requests, plan.verdict());
            }
            requests += 1;
            let guilty: Vec<usize> = (0..part.len()).filter(|&at| bad.contains(&part[at].seq)).collect();
            let settled = if guilty.is_empty() {
                plan.accepted()
            } else {
                plan.refused(&RowFault { named: if names { guilty } else { vec![] }, ..fault() })
            };
            held.extend(settled.iter().map(|settlement| match settlement {
                Settlement::Held { seq, .. } | Settlement::Acked { seq, .. } => *seq,
            }));
        }
    }

    proptest! {
        /// ISO-1: one bad row is found in at most 2·log2(n)+1 requests, and no other is blamed.
        #[test]
        fn iso_1_bisection_finds_the_row(n in 2_usize..200, at in any::<prop::sample::Index>()) {
            let rows: Vec<_> = (1..).take(n).map(row).collect();
            let bad = rows[at.index(n)].seq;
            let (held, requests, verdict) = run(Plan::whole(rows), &[bad], false);
            prop_assert_eq!(held, vec![bad]);
            prop_assert_eq!(verdict, Verdict::Done);
            prop_assert!(requests <= 2 * n.next_power_of_two().trailing_zeros() + 1);
        }

        /// ISO-1: several bad rows are found too, as long as some row gets through in time.
        #[test]
        fn iso_1_nobody_innocent_is_blamed(bad in prop::collection::btree_set(1_i64..64, 0..6)) {
            let bad: Vec<_> = bad.into_iter().collect();
            let (held, _, verdict) = run(Plan::whole((1..=64).map(row).collect()), &bad, false);
            match verdict {
                Verdict::Done => prop_assert_eq!(held, bad),
                _ => prop_assert!(held.is_empty(), "an outage blames nobody"),
            }
        }
    }

    /// ISO-1: where the server names them, one more request suffices.
    #[test]
    fn iso_1_named_rows_cost_one_request() {
        let (held, requests, verdict) = run(Plan::whole((1..=100).map(row).collect()), &[3, 50, 100], true);
        assert_eq!((held, requests, verdict), (vec![3, 50, 100], 2, Verdict::Done));
    }

    /// ISO-1: where nothing gets through it is an outage, and no row is set aside.
    #[test]
    fn iso_1_an_outage_blames_nobody() {
        let all: Vec<i64> = (1..=64).collect();
        let (held, requests, verdict) = run(Plan::whole(all.iter().map(|&seq| row(seq)).collect()), &all, false);
        assert_eq!((held, requests), (vec![], 13));
        assert!(matches!(verdict, Verdict::Outage { .. }));
        let (held, requests, verdict) = run(Plan::ends(all.iter().map(|&seq| row(seq)).collect()), &[1], false);
        assert_eq!((held, requests, verdict), (vec![1], 2, Verdict::Done), "the last one went through");
    }
}
