//! `events`: the loop's recent and coming events.

use super::{ClientGone, Context, Responder};
use engram_proto::ipc::reply::{EventLine, Reply};
use engram_proto::time::rfc3339_from_ms;
use tokio::sync::broadcast::error::RecvError;

pub(super) async fn answer(cx: &Context, follow: bool, to: &Responder) -> Result<(), ClientGone> {
    let mut stream = cx.driver.events();
    for event in stream.recent {
        to.more(Reply::Event(event)).await?;
    }
    if !follow {
        return to.last(Reply::Done(String::new())).await;
    }
    loop {
        match stream.coming.recv().await {
            Ok(event) => to.more(Reply::Event(event)).await?,
            Err(RecvError::Lagged(missed)) => {
                let at = rfc3339_from_ms(crate::clock::now().wall_ms);
                let message = format!("{missed} events came faster than they were read and are left out");
                to.more(Reply::Event(EventLine { at, kind: "lagged".to_owned(), project: None, message })).await?;
            }
            Err(RecvError::Closed) => return to.last(Reply::Done(String::new())).await,
        }
    }
}
