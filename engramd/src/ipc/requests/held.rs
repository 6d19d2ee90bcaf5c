//! `held`: rows that were set aside, with their evidence and their ways out.

use super::{Context, failed, on_store};
use crate::clock;
use crate::driver;
use crate::driver::handle::Command;
use engram_proto::ipc::reply::{Failure, Reply};
use engram_proto::words::count;

pub(super) async fn list(cx: &Context) -> Result<Reply, Failure> {
    Ok(Reply::Held(on_store(cx, |store| store.held()).await?))
}

pub(super) async fn show(cx: &Context, id: i64) -> Result<Reply, Failure> {
    let detail = on_store(cx, move |store| store.held_detail(id)).await?;
    detail.map(|detail| Reply::HeldRow(Box::new(detail))).ok_or_else(|| not_there(id))
}

pub(super) async fn retry(cx: &Context, id: Option<i64>) -> Result<Reply, Failure> {
    let (tried, counted) = on_store(cx, move |store| {
        let tried = store.held_retry(id, clock::row_time())?;
        Ok((tried, driver::count(store)?))
    })
    .await?;
    if let (0, Some(id)) = (tried, id) {
        return Err(not_there(id));
    }
    cx.driver.tell(Command::Counted(counted)).await;
    // A repaired row ends every waiting (REC-1), and may have had no project before.
    cx.driver.tell(Command::Reload).await;
    let are = if tried == 1 { "is" } else { "are" };
    Ok(Reply::Done(format!("{} {are} tried again", count(tried, "held row"))))
}

pub(super) async fn drop(cx: &Context, id: i64) -> Result<Reply, Failure> {
    let (dropped, counted) = on_store(cx, move |store| {
        let dropped = store.held_drop(id, clock::row_time())?;
        Ok((dropped, driver::count(store)?))
    })
    .await?;
    if !dropped {
        return Err(not_there(id));
    }
    cx.driver.tell(Command::Counted(counted)).await;
    cx.driver.tell(Command::Reload).await;
    Ok(Reply::Done(format!("Held row {id} was given up; the memory it came from stays as it is here")))
}

fn not_there(id: i64) -> Failure {
    failed("not_found", &format!("no held row has the number {id}"), Some("engramctl held list"))
}
