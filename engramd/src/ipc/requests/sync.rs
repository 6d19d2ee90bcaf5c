//! `sync`: wakes the loop and follows it to its verdict.

use super::{ClientGone, Context, Responder, blocked, enrolled_project};
use crate::driver::handle::{Command, SyncUpdate};
use engram_proto::ipc::reply::Reply;
use engram_proto::ipc::request::SyncRequest;
use engram_proto::reason::ReasonCode;

pub(super) async fn answer(cx: &Context, request: SyncRequest, to: &Responder) -> Result<(), ClientGone> {
    let project = match enrolled_project(cx, request.project.as_deref()).await {
        Ok(project) => project,
        Err(failure) => return to.last(Reply::Failed(failure)).await,
    };
    if !request.wait {
        // Reading configuration again ends every waiting as well (REC-1).
        cx.driver.tell(Command::Reload).await;
        return to.last(Reply::Done("the sync loop was woken".to_owned())).await;
    }
    let mut updates = cx.driver.sync(project, request.direction).await;
    while let Some(update) = updates.recv().await {
        match update {
            SyncUpdate::Progress(progress) => to.more(Reply::Progress(progress)).await?,
            SyncUpdate::Done(outcome) => return to.last(Reply::Synced(outcome)).await,
        }
    }
    // A loop that goes on after a fault of its own can be asked again; one that has ended cannot.
    let code = if cx.driver.has_ended() { ReasonCode::LoopStalled } else { ReasonCode::InternalError };
    let failure = blocked(code, "the sync loop ended before the sync did".to_owned(), None);
    to.last(Reply::Failed(failure)).await
}
