//! The report, derived from what is and never patched (LOUD-2): findings, phase, health, and every project's state.

use crate::backoff::Trouble;
use crate::event::{Cloud, Now};
use crate::machine::Machine;
use crate::project::Project;
use crate::ticket::paused_words;
use engram_proto::health::{
    CloudStatus, DaemonStatus, LeaseStatus, ProjectStatus, REPORT_SCHEMA, StatusReport, SyncStatus, Totals,
};
use engram_proto::id::ProjectName;
use engram_proto::reason::{Desired, Finding, Health, Phase, ProjectState, ReasonCode, Scope, Severity};
use engram_proto::reason_catalog;
use engram_proto::time::{RowTime, rfc3339_from_ms};
use engram_proto::words::{count, quoted};

/// What the report says that the machine cannot know.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// This daemon.
    pub daemon: DaemonStatus,
    /// The server's URL and where it came from.
    pub server_url: Option<(String, String)>,
    /// Where the token came from.
    pub token_origin: Option<String>,
}

/// Something that is so, before it is decided whether it shows.
struct Condition {
    trouble: Trouble,
    project: Option<ProjectName>,
    hint: Option<String>,
}

impl Condition {
    fn of(trouble: &Trouble) -> Self {
        Self { trouble: trouble.clone(), project: None, hint: None }
    }

    /// Makes one that ends by itself; following a sync shows how.
    fn heals(trouble: &Trouble) -> Self {
        Self { hint: Some("engramctl sync".to_owned()), ..Self::of(trouble) }
    }

    fn new(code: ReasonCode, message: String, since: Now) -> Self {
        Self { trouble: Trouble { code, message, since }, project: None, hint: None }
    }

    fn about(mut self, project: &ProjectName) -> Self {
        self.project = Some(project.clone());
        self
    }
}

impl Machine {
    /// Makes the report.
    #[must_use]
    pub fn report(&self, who: &Who) -> StatusReport {
        let findings = self.findings();
        let projects = self.project_statuses(&findings);
        let totals = totals(&projects);
        let health = if findings.iter().any(|finding| finding.severity > Severity::Info) {
            Health::Degraded
        } else if projects.iter().any(|project| project.state == ProjectState::Pending) {
            Health::Pending
        } else {
            Health::Healthy
        };
        let mut daemon = who.daemon.clone();
        daemon.healthy = true;
        daemon.loop_ticked_at = rfc3339_from_ms(self.now.wall_ms);
        StatusReport {
            schema: REPORT_SCHEMA,
            daemon,
            cloud: self.cloud_status(who),
            sync: self.sync_status(health),
            findings,
            projects,
            totals,
        }
    }

    /// Returns the machine's clock as of its last event.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now
    }

    fn cloud_status(&self, who: &Who) -> CloudStatus {
        let info = self.server.info.as_ref();
        CloudStatus {
            configured: !matches!(self.cloud, Cloud::NotConfigured),
            server_url: who.server_url.as_ref().map(|(url, _)| url.clone()),
            server_url_origin: who.server_url.as_ref().map(|(_, origin)| origin.clone()),
            token_origin: who.token_origin.clone(),
            reachable: self.server.reachable,
            cloud_id: info.map(|info| info.cloud_id.clone()),
            version: info.and_then(|info| info.version.clone()),
            capabilities: info.map(|info| info.capabilities.clone()).unwrap_or_default(),
        }
    }

    fn sync_status(&self, health: Health) -> SyncStatus {
        let retries = [&self.server.retry, &self.push.retry, &self.pull.retry, &self.panicked];
        let waiting = retries.iter().filter(|retry| retry.trouble.is_some()).map(|retry| retry.until_ms).max();
        let time = |ms: Option<i64>| ms.map(rfc3339_from_ms);
        SyncStatus {
            phase: self.phase(),
            health,
            desired: if self.paused_all.is_some() { Desired::Paused } else { Desired::Running },
            attempt: retries.iter().map(|retry| retry.failures).max().unwrap_or_default(),
            next_attempt_at: time(waiting.map(|at| self.wall_of(at))),
            last_success_at: time(self.last_success_ms),
            last_push_at: time(self.push.last_push_ms),
            last_pull_at: time(self.pull.last_pull_ms),
            lease: LeaseStatus {
                held: self.lease.fence().is_some(),
                owner: self.lease.shown.as_ref().map(|(owner, _)| owner.clone()),
                until: time(self.lease.shown.as_ref().map(|(_, until_ms)| *until_ms)),
            },
        }
    }

    fn wall_of(&self, mono_ms: u64) -> i64 {
        self.now.wall_ms + i64::try_from(mono_ms.saturating_sub(self.now.mono_ms)).unwrap_or_default()
    }

    fn phase(&self) -> Phase {
        let waiting = |retry: &crate::backoff::Retry| retry.trouble.is_some() && !retry.is_due(self.now);
        let blocked = self.server.retry.trouble.as_ref().is_some_and(|trouble| {
            reason_catalog::entry(trouble.code).disposition == reason_catalog::Disposition::Block
        });
        match &self.cloud {
            Cloud::NotConfigured => Phase::Disabled,
            Cloud::Invalid { .. } => Phase::Blocked,
            Cloud::Configured { .. } if self.paused_all.is_some() => Phase::Paused,
            Cloud::Configured { .. } if self.lease.is_asking() => Phase::Leasing,
            Cloud::Configured { .. } if self.lease.trouble.is_some() || blocked => Phase::Blocked,
            Cloud::Configured { .. } if self.push.is_busy() => Phase::Pushing,
            Cloud::Configured { .. } if self.pull.is_replaying() => Phase::Replaying,
            Cloud::Configured { .. }
                if [&self.server.retry, &self.push.retry, &self.pull.retry, &self.panicked]
                    .into_iter()
                    .any(waiting) =>
            {
                Phase::Backoff
            }
            Cloud::Configured { .. } if self.pull.is_waiting() => Phase::Waiting,
            Cloud::Configured { .. } if !self.pull.is_idle() => Phase::Pulling,
            Cloud::Configured { .. } => Phase::Idle,
        }
    }

    /// Returns what shows: old enough, and not explained by another finding; errors first.
    fn findings(&self) -> Vec<Finding> {
        let conditions = self.conditions();
        let shows = |condition: &&Condition| {
            let entry = reason_catalog::entry(condition.trouble.code);
            let explained = conditions.iter().any(|other| entry.depends_on.contains(&other.trouble.code));
            !explained && self.age_ms(condition.trouble.since) >= entry.delay_ms
        };
        let mut findings: Vec<_> = conditions.iter().filter(shows).map(finding).collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }

    /// Returns when hidden findings will show, on the monotonic clock.
    pub(crate) fn finding_deadlines_ms(&self) -> Vec<u64> {
        let at = |condition: &Condition| {
            let delay_ms = reason_catalog::entry(condition.trouble.code).delay_ms;
            condition.trouble.since.mono_ms + u64::try_from(delay_ms).unwrap_or_default()
        };
        self.conditions().iter().map(at).collect()
    }

    fn age_ms(&self, since: Now) -> i64 {
        i64::try_from(self.now.mono_ms.saturating_sub(since.mono_ms)).unwrap_or(i64::MAX)
    }

    fn conditions(&self) -> Vec<Condition> {
        let mut conditions: Vec<_> = self.store.trouble().map(Condition::of).into_iter().collect();
        // What is so of all of them is not told of each again (LOUD-1).
        let of_store = self.store.trouble().map(|trouble| trouble.code);
        let of_cloud = self.cloud_conditions().into_iter();
        conditions.extend(of_cloud.filter(|condition| Some(condition.trouble.code) != of_store));
        let of_all: Vec<_> = conditions.iter().map(|condition| condition.trouble.code).collect();
        for (name, project) in &self.projects {
            let own = project_conditions(name, project).into_iter();
            let own = own.filter(|condition| !of_all.contains(&condition.trouble.code));
            conditions.extend(own.map(|condition| condition.about(name)));
        }
        conditions.extend(self.not_enrolled());
        conditions.extend(self.nameless.iter().map(|(&code, &(rows, since))| {
            let message = match rows {
                1 => "1 row names no project and is held".to_owned(),
                rows => format!("{rows} rows name no project and are held"),
            };
            Condition::new(code, message, since)
        }));
        conditions
    }

    fn cloud_conditions(&self) -> Vec<Condition> {
        match &self.cloud {
            Cloud::NotConfigured => {
                let message = "no cloud server is configured; memories stay on this machine".to_owned();
                return vec![Condition::new(ReasonCode::CloudNotConfigured, message, self.cloud_since)];
            }
            Cloud::Invalid { code, message } => return vec![Condition::new(*code, message.clone(), self.cloud_since)],
            Cloud::Configured { .. } => {}
        }
        if let Some((reason, since_ms)) = &self.paused_all {
            let since = Now { mono_ms: 0, wall_ms: *since_ms };
            return vec![Condition::new(ReasonCode::Paused, paused_words("sync", reason.as_deref()), since)];
        }
        let mut conditions = Vec::new();
        conditions.extend(self.lease.trouble.as_ref().map(Condition::of));
        conditions.extend(self.panicked.trouble.as_ref().map(Condition::of));
        conditions.extend(self.replaced.restored.as_ref().map(Condition::heals));
        let conversation = [&self.server.retry, &self.push.retry, &self.pull.retry];
        let mut codes = Vec::new();
        for trouble in conversation.into_iter().filter_map(|retry| retry.trouble.as_ref()) {
            // Both lanes meet the same outage: it is one root cause (LOUD-1).
            if !codes.contains(&trouble.code) {
                codes.push(trouble.code);
                conditions.push(Condition::of(trouble));
            }
        }
        conditions.extend(self.server.skew.as_ref().map(Condition::of));
        conditions
    }

    fn not_enrolled(&self) -> Option<Condition> {
        let others =
            self.counts.iter().filter(|(name, counts)| counts.pending > 0 && !self.projects.contains_key(*name));
        let others: Vec<_> = others.collect();
        let (most, _) = others.iter().max_by_key(|(_, counts)| counts.pending)?;
        let rows: u64 = others.iter().map(|(_, counts)| counts.pending).sum();
        let named = if others.len() == 1 { format!("project {most}") } else { count(others.len() as u64, "project") };
        let stay = if rows == 1 { "stays" } else { "stay" };
        let message = format!("{} in {named} {stay} on this machine: not enrolled", count(rows, "change"));
        let hint = format!("engramctl enroll {}", quoted(most.as_str()));
        let mut condition = Condition::new(ReasonCode::NonEnrolledPendingMutations, message, self.others_since?);
        condition.hint = Some(hint);
        Some(condition)
    }

    fn project_statuses(&self, findings: &[Finding]) -> Vec<ProjectStatus> {
        let enrolled = self.projects.iter().map(|(name, project)| self.project_status(name, project, findings));
        let others = self.counts.iter().filter(|(name, counts)| {
            !self.projects.contains_key(*name)
                && counts.pending + counts.deferred + counts.quarantined + counts.dead > 0
        });
        let others = others.map(|(name, counts)| ProjectStatus {
            pending: counts.pending,
            oldest_pending_at: oldest(counts.oldest_pending_at.as_deref()),
            deferred: counts.deferred,
            quarantined: counts.quarantined,
            dead: counts.dead,
            ..ProjectStatus::local_only(name.to_string())
        });
        enrolled.chain(others).collect()
    }

    fn project_status(&self, name: &ProjectName, project: &Project, findings: &[Finding]) -> ProjectStatus {
        let cursor = project.cursor.unwrap_or(0);
        let worst = |finding: &&Finding| {
            let mine = finding.project.as_deref() == Some(name.as_str());
            let of_all = finding.project.is_none() && finding.code != ReasonCode::ClockSkew;
            finding.severity > Severity::Info && (mine || of_all)
        };
        let paused = self.paused_all.is_some() || project.paused.is_some();
        // What nobody wants to happen now is not degraded.
        let reason = findings.iter().find(worst).map(|finding| finding.code).filter(|_| !paused);
        let counts = &project.counts;
        let moving =
            counts.pending > 0 || project.queueing || project.mirroring || project.behind > 0 || cursor < project.head;
        let state = if paused {
            ProjectState::Paused
        } else if reason.is_some() {
            ProjectState::Degraded
        } else if moving || project.drained_generation == 0 {
            ProjectState::Pending
        } else {
            ProjectState::Healthy
        };
        ProjectStatus {
            project: name.to_string(),
            enrolled: true,
            state,
            reason_code: reason,
            pending: counts.pending,
            oldest_pending_at: oldest(counts.oldest_pending_at.as_deref()),
            deferred: counts.deferred,
            quarantined: counts.quarantined,
            dead: counts.dead,
            cursor,
            head: project.head.max(cursor),
            behind: project.behind,
            repaired: project.repair.rows,
            last_push_at: project.last_push_ms.map(rfc3339_from_ms),
            last_pull_at: project.last_pull_ms.map(rfc3339_from_ms),
        }
    }
}

fn project_conditions(name: &ProjectName, project: &Project) -> Vec<Condition> {
    let mut conditions = Vec::new();
    if let Some((reason, since_ms)) = &project.paused {
        let words = paused_words(&format!("project {name}"), reason.as_deref());
        let mut condition = Condition::new(ReasonCode::Paused, words, Now { mono_ms: 0, wall_ms: *since_ms });
        condition.hint = Some(format!("engramctl resume --project {}", quoted(name.as_str())));
        conditions.push(condition);
    }
    conditions.extend(project.trouble().map(Condition::of));
    conditions.extend(project.diverged.as_ref().map(Condition::of));
    let counts = &project.counts;
    let since = project.held_since.unwrap_or_default();
    if let (Some(code), true) = (project.held_reason(), counts.quarantined > 0) {
        let message = match counts.quarantined {
            1 => format!("1 row of project {name} was refused and is held"),
            rows => format!("{rows} rows of project {name} were refused and are held"),
        };
        conditions.push(Condition::new(code, message, since));
    }
    if counts.dead > 0 {
        let message = format!("{} received for project {name} cannot be applied", count(counts.dead, "row"));
        conditions.push(Condition::new(ReasonCode::RowUndeliverable, message, since));
    }
    if counts.deferred > 0 {
        let message = match counts.deferred {
            1 => format!("1 row of project {name} waits for what it belongs to"),
            rows => format!("{rows} rows of project {name} wait for what they belong to"),
        };
        let since = project.deferred_since.unwrap_or_default();
        conditions.push(Condition::new(ReasonCode::DeferredWaiting, message, since));
    }
    conditions
}

fn finding(condition: &Condition) -> Finding {
    let Condition { trouble, project, hint } = condition;
    let entry = reason_catalog::entry(trouble.code);
    let named = |hint: &str| match project {
        Some(project) => hint.replace("{project}", &quoted(project.as_str())),
        // What refuses them all is about none of them.
        None => hint.replace(" --project {project}", "").replace("{project}", "P"),
    };
    let hint = hint.clone().or_else(|| entry.hint.map(named));
    Finding {
        code: trouble.code,
        severity: entry.severity,
        scope: if project.is_some() { Scope::Project } else { entry.scope },
        project: project.as_ref().map(ToString::to_string),
        title: entry.title.to_owned(),
        message: trouble.message.clone(),
        since: rfc3339_from_ms(trouble.since.wall_ms),
        hint,
    }
}

fn oldest(row_text: Option<&str>) -> Option<String> {
    row_text.and_then(RowTime::parse).map(RowTime::rfc3339)
}

fn totals(projects: &[ProjectStatus]) -> Totals {
    projects.iter().fold(Totals::default(), |sum, project| Totals {
        pending: sum.pending + if project.enrolled { project.pending } else { 0 },
        deferred: sum.deferred + project.deferred,
        quarantined: sum.quarantined + project.quarantined,
        dead: sum.dead + project.dead,
        not_enrolled_pending: sum.not_enrolled_pending + if project.enrolled { 0 } else { project.pending },
    })
}
