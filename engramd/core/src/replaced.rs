//! Which cloud each project belongs to (CUR-3).
//!
//! A cloud that lost rows it had told of is the same cloud: this device tells it again what it has, by itself. Another
//! cloud is not: each project that belonged elsewhere stands still until its user says that it is to be mirrored there.
//! What is due is written down in the store, so a crash in the middle goes on where it was.

use crate::backoff::Trouble;
use crate::event::{Cloud, Effect, Now, StoreTrouble};
use crate::machine::Machine;
use crate::rows::{Belonging, Elsewhere, Fence};
use engram_proto::id::ProjectName;
use engram_proto::reason::ReasonCode;

/// How the projects stand to the cloud that answers; at most one effect of it is in flight.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    state: State,
    /// The cloud for which the store was asked last.
    asked_for: Option<String>,
    /// Why nothing is said to the cloud until all is queued again: it lost rows.
    pub(crate) restored: Option<Trouble>,
    /// Whether the store has yet to write that down.
    is_news: bool,
    /// Whether the store may say something else by now than what it is being asked for.
    is_old: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    /// The store; whether it is told that the cloud lost rows.
    Asking {
        news: bool,
    },
    Known,
}

impl Replaced {
    /// Reads again what the store says, for it may say something else now.
    pub(crate) fn look_again(&mut self) {
        match self.state {
            State::Known => self.state = State::Unknown,
            State::Asking { .. } => self.is_old = true,
            State::Unknown => {}
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        !matches!(self.state, State::Asking { .. })
    }

    pub(crate) fn abort(&mut self) {
        self.state = State::Unknown;
    }
}

impl Machine {
    /// Finds out where the projects belong, and queues anew what is due; tells whether the lanes may talk.
    pub(crate) fn advance_replaced(&mut self, fence: &Fence) -> bool {
        let Some(cloud_id) = self.server.info.as_ref().map(|info| info.cloud_id.clone()) else { return false };
        if self.replaced.restored.is_some() {
            self.cancel_pull();
        }
        if let Some(effect) = self.next_of_replaced(fence, &cloud_id) {
            self.replaced.state = State::Asking { news: matches!(effect, Effect::NoteRestored { .. }) };
            self.out.push(effect);
        }
        self.replaced.asked_for.as_ref() == Some(&cloud_id) && self.replaced.restored.is_none()
    }

    fn next_of_replaced(&self, fence: &Fence, cloud_id: &str) -> Option<Effect> {
        let (fence, cloud_id) = (fence.clone(), cloud_id.to_owned());
        let is_read = self.replaced.asked_for.as_ref() == Some(&cloud_id);
        let lanes_idle = self.push.is_idle() && self.pull.is_idle();
        match self.replaced.state {
            State::Asking { .. } => None,
            _ if !self.pull.retry.is_due(self.now) => None,
            _ if self.replaced.is_news => lanes_idle.then_some(Effect::NoteRestored { fence, cloud_id }),
            State::Known if is_read => {
                let due = |(name, project): &(&ProjectName, &crate::project::Project)| {
                    // A page or a receipt that is under way would move what is about to be forgotten.
                    project.mirroring && !self.push.is_about(name) && !self.pull.is_about(name)
                };
                let of_enrolled = self.projects.iter().find(due).map(|(name, _)| name.clone());
                let project = match &self.replaced.restored {
                    Some(_) => return lanes_idle.then_some(Effect::Remirror { fence, cloud_id, project: None }),
                    None => of_enrolled?,
                };
                Some(Effect::Remirror { fence, cloud_id, project: Some(project) })
            }
            State::Known | State::Unknown => Some(Effect::LoadBelonging { fence, cloud_id }),
        }
    }

    /// Forgets how far all projects were read and where they belong: another cloud answers, or another past of it.
    pub(crate) fn forget_places(&mut self) {
        for project in self.projects.values_mut() {
            project.forget_place();
            (project.placed, project.elsewhere) = (false, None);
        }
        self.replaced.look_again();
    }

    /// Hears what the store says of the projects.
    pub(crate) fn belonging(&mut self, answer: Result<Belonging, StoreTrouble>) {
        let State::Asking { news } = std::mem::take(&mut self.replaced.state) else { return };
        let is_old = std::mem::take(&mut self.replaced.is_old);
        let belonging = match answer {
            Ok(belonging) => belonging,
            Err(trouble) => return self.store_failed(trouble, false),
        };
        self.replaced.is_news &= !news;
        let (Some(info), Cloud::Configured { host }) = (&self.server.info, &self.cloud) else { return };
        let is_so = info.cloud_id == belonging.cloud_id && !is_old;
        self.replaced.state = if is_so { State::Known } else { State::Unknown };
        self.replaced.asked_for = Some(belonging.cloud_id.clone());
        for (name, project) in &mut self.projects {
            project.placed = true;
            let elsewhere = belonging.elsewhere.get(name);
            project.elsewhere = elsewhere.map(|elsewhere| not_here(name, elsewhere, host, &belonging.cloud_id));
            let mirroring = belonging.due.contains(name);
            if project.mirroring && !mirroring {
                project.forget_place();
            }
            project.mirroring = mirroring;
        }
        self.hear_of_restoration(&belonging);
    }

    fn hear_of_restoration(&mut self, belonging: &Belonging) {
        if belonging.restored {
            let message = self.replaced.restored.as_ref().map_or_else(
                || "the cloud was restored; this device tells it again what it has".to_owned(),
                |trouble| trouble.message.clone(),
            );
            let before = self.replaced.restored.as_ref();
            self.replaced.restored = Some(Trouble::renewed(before, ReasonCode::CloudReplaced, message, self.now));
        } else if !self.replaced.is_news && self.replaced.restored.take().is_some() {
            self.forget_places();
            let message = "all that this device has of what was synced is queued for the restored cloud".to_owned();
            self.note("remirrored", None, message);
        }
    }

    /// Hears that the cloud does not hold the last row that it told of.
    ///
    /// Where the identity is the one that greeted, it was restored; else whoever answers is asked again who it is.
    pub(crate) fn cloud_replaced(&mut self, cloud_id: Option<&str>, message: String) {
        let (now, code) = (self.now, ReasonCode::CloudReplaced);
        let is_who_greeted =
            cloud_id.is_some_and(|id| self.server.info.as_ref().is_some_and(|info| info.cloud_id == id));
        // Both lanes may hear of it, and another one answers by now: that alone is to be said (LOUD-1). The former one is
        // found out again when it answers again, for its witness is kept.
        let is_another = self.server.retry.trouble.as_ref().is_some_and(|trouble| trouble.code == code);
        if is_who_greeted && !is_another {
            self.note("restored", None, message.clone());
            let before = self.replaced.restored.as_ref();
            self.replaced.restored = Some(Trouble::renewed(before, code, message, now));
            self.replaced.is_news = true;
            self.forget_places();
        } else {
            (self.replaced.restored, self.replaced.is_news) = (None, false);
            let wait_ms = self.backoff_ms(self.server.retry.failures);
            self.server.forget();
            self.server.retry.fail(code, message, wait_ms, now);
        }
    }
}

fn not_here(name: &ProjectName, elsewhere: &Elsewhere, host: &str, cloud_id: &str) -> Trouble {
    let message = format!(
        "{host} is cloud {cloud_id}, and project {name} was synced with cloud {}: nothing of it is sent or received \
         until it is mirrored here, or the former cloud answers again",
        elsewhere.cloud_id
    );
    // Long enough ago to show at once: it was found by an earlier look.
    let since = Now { mono_ms: 0, wall_ms: elsewhere.since_ms };
    Trouble { code: ReasonCode::CloudReplaced, message, since }
}
