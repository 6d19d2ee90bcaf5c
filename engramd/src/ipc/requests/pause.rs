//! `pause` and `resume`: what the user wants, kept in the store.

use super::{Context, enrolled_project, on_store};
use crate::clock;
use crate::driver::handle::Command;
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::{Failure, Reply};

pub(super) async fn pause(cx: &Context, project: Option<String>, reason: Option<String>) -> Result<Reply, Failure> {
    let project = enrolled_project(cx, project.as_deref()).await?;
    let named = what(project.as_ref());
    on_store(cx, move |store| store.pause(project.as_ref(), reason.as_deref(), clock::row_time())).await?;
    cx.driver.tell(Command::Reload).await;
    Ok(Reply::Done(format!("{named} is paused until `engramctl resume`; local work goes on")))
}

pub(super) async fn resume(cx: &Context, project: Option<String>) -> Result<Reply, Failure> {
    let project = enrolled_project(cx, project.as_deref()).await?;
    let named = what(project.as_ref());
    on_store(cx, move |store| store.resume(project.as_ref())).await?;
    cx.driver.tell(Command::Reload).await;
    Ok(Reply::Done(format!("{named} goes on")))
}

fn what(project: Option<&ProjectName>) -> String {
    project.map_or_else(|| "Sync".to_owned(), |name| format!("Project {name}"))
}
