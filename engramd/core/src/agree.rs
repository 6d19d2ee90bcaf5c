//! Whether this device and the cloud agree (cloud-http.md, "digest"), and when rows are hashed again.
//!
//! A page that ends at a head says what the cloud's versions add up to; the store compares. Once a day it also looks at
//! the rows themselves, slice by slice, for a row that was changed behind the journal is in no digest.

use crate::backoff::Trouble;
use crate::event::{Effect, StoreTrouble};
use crate::machine::Machine;
use crate::rows::{Agreement, Fence, Rechecked, ToCompare};
use engram_proto::id::ProjectName;
use engram_proto::merge::Digest;
use engram_proto::reason::ReasonCode;
use std::collections::BTreeMap;

/// What is still to be compared, and when rows are looked at next; at most one effect of each kind is in flight.
#[derive(Debug, Default)]
pub(crate) struct Agree {
    wanted: BTreeMap<ProjectName, ToCompare>,
    is_comparing: bool,
    is_rechecking: bool,
    /// On the monotonic clock.
    recheck_at_ms: u64,
}

impl Agree {
    /// Hears what the cloud says of projects at their heads.
    pub(crate) fn hear(&mut self, heads: &BTreeMap<ProjectName, u64>, digests: BTreeMap<ProjectName, Digest>) {
        for (name, digest) in digests {
            if let Some(&head) = heads.get(&name) {
                self.wanted.insert(name, ToCompare { head, digest });
            }
        }
    }

    /// Forgets what a server said that does not answer any more.
    pub(crate) fn forget(&mut self) {
        self.wanted.clear();
    }

    /// Looks at once whether a pass is due: time may have passed that the monotonic clock does not know of.
    pub(crate) fn wake(&mut self) {
        self.recheck_at_ms = 0;
    }

    pub(crate) fn is_idle(&self) -> bool {
        !self.is_rechecking
    }

    pub(crate) fn abort(&mut self) {
        (self.is_comparing, self.is_rechecking) = (false, false);
    }
}

impl Machine {
    /// Compares what was told, and looks at the next rows when that is due.
    pub(crate) fn advance_agree(&mut self, fence: &Fence) {
        let Some(cloud_id) = self.server.info.as_ref().map(|info| info.cloud_id.clone()) else { return };
        if !self.agree.is_comparing && !self.agree.wanted.is_empty() {
            self.agree.is_comparing = true;
            let asked = std::mem::take(&mut self.agree.wanted);
            self.out.push(Effect::Compare { cloud_id: cloud_id.clone(), asked });
        }
        if !self.agree.is_rechecking && self.now.mono_ms >= self.agree.recheck_at_ms {
            self.agree.is_rechecking = true;
            let every_ms = self.settings.recheck_ms;
            self.out.push(Effect::Recheck { fence: fence.clone(), cloud_id, every_ms });
        }
    }

    pub(crate) fn compared(&mut self, answer: Result<BTreeMap<ProjectName, Agreement>, StoreTrouble>) {
        self.agree.is_comparing = false;
        // What the store could not tell now it is asked again with the next page.
        for (name, agreement) in answer.unwrap_or_default() {
            let message = match agreement {
                Agreement::Same => None,
                Agreement::Differs { ours, theirs } => Some(format!(
                    "project {name} is drained, and yet its versions add up to {ours} here and to {theirs} at the cloud"
                )),
                Agreement::RowDiffers { entity, key } => Some(row_differs(&name, &format!("{entity} {key}"))),
            };
            self.diverges(&name, message);
        }
    }

    pub(crate) fn rechecked(&mut self, answer: Result<Rechecked, StoreTrouble>) {
        self.agree.is_rechecking = false;
        let rechecked = match answer {
            Ok(rechecked) => rechecked,
            // With the next lease it goes on at once, for a day lies between two passes (REC-1).
            Err(trouble) => {
                let is_lost = matches!(trouble, StoreTrouble::LeaseLost { .. });
                self.agree.recheck_at_ms = self.now.mono_ms + if is_lost { 0 } else { self.settings.tick_ms };
                return self.store_failed(trouble, false);
            }
        };
        self.agree.recheck_at_ms = self.now.mono_ms + rechecked.again_in_ms;
        if rechecked.is_end {
            // What the cloud does not know of is looked for next, and who listens is not waited for.
            self.projects.values_mut().for_each(|project| project.stand_in_due = true);
            self.generation += 1;
        }
        for (name, row) in rechecked.different {
            self.diverges(&name, Some(row_differs(&name, &row)));
            // The store forgot its cursor: the project is read again from the start, which brings the text back.
            self.generation += 1;
            if let Some(project) = self.projects.get_mut(&name) {
                project.forget_place();
            }
            self.pull.cursor_was_forgotten();
        }
    }

    fn diverges(&mut self, name: &ProjectName, message: Option<String>) {
        let now = self.now;
        let Some(project) = self.projects.get_mut(name) else { return };
        let before = project.diverged.take();
        project.diverged = message.map(|message| Trouble::renewed(before.as_ref(), ReasonCode::Diverged, message, now));
    }
}

fn row_differs(name: &ProjectName, row: &str) -> String {
    format!(
        "the row of {row} of project {name} was changed behind the journal; the project is read again from the start"
    )
}
