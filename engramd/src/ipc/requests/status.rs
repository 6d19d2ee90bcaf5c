//! `status`: the report that is in memory; no query per question (COST-1).

use super::{ClientGone, Context, Responder};
use engram_proto::ipc::reply::Reply;

pub(super) async fn answer(cx: &Context, watch: bool, to: &Responder) -> Result<(), ClientGone> {
    let report = || Reply::Status(Box::new((*cx.driver.report()).clone()));
    if !watch {
        return to.last(report()).await;
    }
    let mut changes = cx.driver.watch();
    loop {
        changes.mark_unchanged();
        let is_alive = cx.driver.is_alive();
        to.more(report()).await?;
        // Both may be dropped at any await without loss.
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return to.last(report()).await },
            () = cx.driver.stalls(), if is_alive => {}
        }
    }
}
