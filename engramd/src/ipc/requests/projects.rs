//! `projects`: all that are known here, enrolled or not.

use super::{Context, on_store};
use engram_proto::health::ProjectStatus;
use engram_proto::ipc::reply::{Failure, Reply};

pub(super) async fn answer(cx: &Context) -> Result<Reply, Failure> {
    let mut projects = cx.driver.report().projects.clone();
    for name in on_store(cx, |store| store.projects()).await? {
        if !projects.iter().any(|known| known.project == name.as_str()) {
            projects.push(ProjectStatus::local_only(name.to_string()));
        }
    }
    projects.sort_by(|a, b| (!a.enrolled, &a.project).cmp(&(!b.enrolled, &b.project)));
    Ok(Reply::Projects(projects))
}
