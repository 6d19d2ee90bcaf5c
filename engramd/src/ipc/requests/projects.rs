//! `projects`: all that are known here, enrolled or not.

use super::{Context, on_store};
use engram_proto::health::ProjectStatus;
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::{Failure, Reply};
use engram_proto::reason::ProjectState;

pub(super) async fn answer(cx: &Context) -> Result<Reply, Failure> {
    let mut projects = cx.driver.report().projects.clone();
    for name in on_store(cx, |store| store.projects()).await? {
        if !projects.iter().any(|known| known.project == name.as_str()) {
            projects.push(local_only(&name));
        }
    }
    projects.sort_by(|a, b| (!a.enrolled, &a.project).cmp(&(!b.enrolled, &b.project)));
    Ok(Reply::Projects(projects))
}

fn local_only(name: &ProjectName) -> ProjectStatus {
    ProjectStatus {
        project: name.to_string(),
        enrolled: false,
        state: ProjectState::NotEnrolled,
        reason_code: None,
        pending: 0,
        oldest_pending_at: None,
        deferred: 0,
        quarantined: 0,
        dead: 0,
        cursor: 0,
        head: 0,
        behind: 0,
        last_push_at: None,
        last_pull_at: None,
    }
}
