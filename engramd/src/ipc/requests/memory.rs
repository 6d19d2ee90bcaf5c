//! The memory itself: writes on the store's thread, each counted at once so that it is on its way at once; reads beside
//! it, so that they never wait for a writer.

use super::{ClientGone, Context, Responder, failed};
use crate::clock;
use crate::driver;
use crate::driver::handle::Command;
use crate::memory::{self, MemoryError, Now};
use crate::store::{self, Store, StoreError};
use engram_proto::ipc::conflict::ConflictRow;
use engram_proto::ipc::reply::{Failure, Found, Observation, Reply};
use engram_proto::ipc::request::RequestBody;
use rusqlite::Connection;

/// An answer of several frames puts about so many bytes into one.
const FRAME_BYTES: usize = 1024 * 1024;

pub(super) async fn answer(cx: &Context, body: RequestBody, to: &Responder) -> Result<(), ClientGone> {
    let result = match body {
        RequestBody::Save(request) => write(cx, move |s, now| memory::save(s, &request, now).map(Reply::Saved)).await,
        RequestBody::Prompt(request) => {
            write(cx, move |s, now| memory::prompt(s, &request, now).map(Reply::PromptSaved)).await
        }
        RequestBody::Update(request) => {
            write(cx, move |s, now| memory::update(s, &request, now).map(Reply::Changed)).await
        }
        RequestBody::Delete { id, hard } => {
            write(cx, move |s, now| memory::delete(s, &id, hard, now).map(Reply::Changed)).await
        }
        RequestBody::Relate(request) => {
            write(cx, move |s, now| memory::relate(s, &request, now).map(Reply::Related)).await
        }
        RequestBody::ConflictRestore { id } => {
            write(cx, move |s, now| memory::restore(s, id, now).map(Reply::Restored)).await
        }
        RequestBody::ConflictShow { id } => read(cx, move |conn| conflict(conn, id)).await,
        RequestBody::ConflictList => match read(cx, |conn| Ok(store::conflicts(conn)?)).await {
            Ok(lost) => return in_frames(to, lost, conflict_bytes, Reply::Conflicts).await,
            Err(failure) => Err(failure),
        },
        RequestBody::SessionStart(request) => {
            write(cx, move |s, now| memory::session_start(s, &request, now).map(Reply::Session)).await
        }
        RequestBody::SessionEnd { id, summary } => {
            write(cx, move |s, now| memory::session_end(s, &id, summary.as_deref(), now).map(Reply::Session)).await
        }
        RequestBody::SessionList { project, limit } => {
            read(cx, move |conn| memory::session_list(conn, project.as_deref(), limit).map(Reply::Sessions)).await
        }
        RequestBody::Get { id } => {
            read(cx, move |conn| memory::get(conn, &id).map(|one| Reply::Observations(vec![one]))).await
        }
        RequestBody::List(request) => match read(cx, move |conn| memory::list(conn, &request)).await {
            Ok(observations) => return in_frames(to, observations, observation_bytes, Reply::Observations).await,
            Err(failure) => Err(failure),
        },
        RequestBody::Search(request) => match read(cx, move |conn| memory::search(conn, &request)).await {
            Ok(found) => return in_frames(to, found, found_bytes, Reply::Found).await,
            Err(failure) => Err(failure),
        },
        _ => Err(failed("internal_error", "the request has no handler", None)),
    };
    to.result(result).await
}

async fn write(
    cx: &Context,
    f: impl FnOnce(&mut Store, &Now) -> Result<Reply, MemoryError> + Send + 'static,
) -> Result<Reply, Failure> {
    let now = Now { at: clock::row_time(), random: clock::entropy() };
    let done = cx.store.call(move |store| {
        let reply = store.at_once(|store| f(store, &now))?;
        Ok::<_, MemoryError>((reply, driver::count(store)))
    });
    let (reply, counted) = done.await.map_err(MemoryError::from).flatten().map_err(|error| error.failure())?;
    if let Ok(counted) = counted {
        cx.driver.tell(Command::Counted(counted)).await;
    }
    Ok(reply)
}

async fn read<R: Send + 'static>(
    cx: &Context,
    f: impl FnOnce(&Connection) -> Result<R, MemoryError> + Send + 'static,
) -> Result<R, Failure> {
    let result = cx.store.read(|conn| Ok(f(conn))).await;
    result.map_err(|error: StoreError| MemoryError::Store(error)).flatten().map_err(|error| error.failure())
}

fn conflict(conn: &Connection, id: i64) -> Result<Reply, MemoryError> {
    let detail = store::conflict(conn, id)?.ok_or_else(|| memory::missing_conflict(id))?;
    Ok(Reply::Conflict(Box::new(detail)))
}

/// Sends a list in as many frames as it needs (ctl.md).
async fn in_frames<T>(
    to: &Responder,
    items: Vec<T>,
    bytes: fn(&T) -> usize,
    reply: fn(Vec<T>) -> Reply,
) -> Result<(), ClientGone> {
    let (mut frame, mut filled) = (Vec::new(), 0);
    for item in items {
        if filled > FRAME_BYTES {
            to.more(reply(std::mem::take(&mut frame))).await?;
            filled = 0;
        }
        filled += bytes(&item);
        frame.push(item);
    }
    to.last(reply(frame)).await
}

fn observation_bytes(one: &Observation) -> usize {
    one.content.len() + one.title.len() + 512
}

fn conflict_bytes(one: &ConflictRow) -> usize {
    one.title.len() + 512
}

fn found_bytes(one: &Found) -> usize {
    observation_bytes(&one.observation) + one.snippet.len()
}
