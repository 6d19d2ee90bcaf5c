//! `enroll` and `unenroll`: which projects take part (SCOPE-1).

use super::{Context, blocked, enrolled_project, on_store, project_name};
use crate::clock;
use crate::config::cloud::{self, Loaded};
use crate::driver;
use crate::driver::handle::Command;
use crate::peers::Remote;
use engram_proto::http::pull::{PullReply, PullRequest};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::{EnrollOutcome, Failure, Reply};
use engram_proto::reason::ReasonCode;
use engramd_core::classify;

pub(super) async fn enroll(cx: &Context, projects: Vec<String>) -> Result<Reply, Failure> {
    let projects: Vec<_> = projects.iter().map(String::as_str).map(project_name).collect::<Result<_, _>>()?;
    let asked = ask_cloud(cx, &projects).await;
    let mut outcomes = Vec::new();
    for project in projects {
        let (checked, refused, mut message) = verdict(&asked, &project);
        if refused.is_none() {
            let name = project.clone();
            on_store(cx, move |store| store.enroll(&name, clock::row_time())).await?;
            tokio::spawn(driver::backfill(cx.store.clone(), cx.driver.clone(), project.clone()));
        }
        let enrolled = refused.is_none();
        let like = on_store(cx, |store| store.projects()).await?;
        let like: Vec<_> = like.iter().filter(|other| project.is_like(other)).map(ProjectName::as_str).collect();
        if !like.is_empty() {
            message = format!("{message}; {} is another project, and stays one", like.join(", "));
        }
        outcomes.push(EnrollOutcome { project: project.to_string(), enrolled, checked, reason_code: refused, message });
    }
    cx.driver.tell(Command::Reload).await;
    Ok(Reply::Enrolled(outcomes))
}

pub(super) async fn unenroll(cx: &Context, project: &str) -> Result<Reply, Failure> {
    let Some(name) = enrolled_project(cx, Some(project)).await? else {
        return Err(blocked(ReasonCode::BlockedUnenrolled, "no project was named".to_owned(), None));
    };
    let gone = name.clone();
    on_store(cx, move |store| store.unenroll(&gone)).await?;
    cx.driver.tell(Command::Reload).await;
    Ok(Reply::Done(format!("Project {name} takes no more part in sync; nothing was deleted")))
}

/// Asks the cloud for heads and denials alone.
async fn ask_cloud(cx: &Context, projects: &[ProjectName]) -> Result<PullReply, classify::Failure> {
    let config = match cloud::load(&cx.data_dir, &cx.environment) {
        Loaded::Configured(config) => config,
        Loaded::Invalid { code, message } => return Err(classify::Failure::Blocked { code, message }),
        Loaded::NotConfigured => {
            let message = "no cloud server is configured yet".to_owned();
            return Err(classify::Failure::Blocked { code: ReasonCode::CloudNotConfigured, message });
        }
    };
    let cursors = projects.iter().map(|name| (name.clone(), 0)).collect();
    Remote::new(config, cx.store.clone())?.pull(&PullRequest { cursors, ..PullRequest::default() }).await
}

/// Returns whether it was checked, why it was refused, and what to say.
fn verdict(asked: &Result<PullReply, classify::Failure>, project: &ProjectName) -> (bool, Option<ReasonCode>, String) {
    let failure = match asked {
        Ok(reply) => match reply.denied.get(project) {
            Some(denial) => {
                return (true, Some(ReasonCode::PolicyForbidden), format!("{project}: {}", denial.message));
            }
            None => return (true, None, "enrolled; the cloud allows it".to_owned()),
        },
        Err(failure) => failure,
    };
    let why = match failure {
        classify::Failure::Blocked { code: ReasonCode::CloudNotConfigured, message }
        | classify::Failure::Transport { message, .. }
        // The loop tells it again what was synced; this project was only asked about.
        | classify::Failure::Replaced { message, .. } => message,
        classify::Failure::Blocked { code, message } | classify::Failure::Project { code, message } => {
            return (true, Some(*code), message.clone());
        }
        classify::Failure::Rows(fault) => &fault.evidence,
    };
    (false, None, format!("enrolled, but it could not be checked yet: {why}"))
}
