//! Chunk files: the client has them, the daemon says what they mean.

use super::{ClientGone, Context, Responder, on_store, optional_project, store_failed};
use crate::chunks;
use crate::clock;
use crate::driver;
use crate::driver::handle::Command;
use crate::store::chunks::Mark;
use crate::store::{Store, StoreError};
use engram_proto::id::ProjectName;
use engram_proto::ipc::chunks::{
    ChunkName, ChunkPart, ChunkRow, ChunkRows, ChunksMet, ChunksReply, ChunksRequest, ExportEnd, ExportMark,
};
use engram_proto::ipc::reply::{Failure, Reply};
use tokio::sync::mpsc;

/// A frame of rows holds about so many bytes.
const FRAME_BYTES: usize = 1024 * 1024;
/// To read so many rows takes longer than others may wait for this thread.
const MANY_ROWS: usize = 50;
/// Frames that may wait for the client, which writes a file meanwhile.
const FRAMES_MAX: usize = 2;

pub(super) async fn answer(cx: &Context, request: ChunksRequest, to: &Responder) -> Result<(), ClientGone> {
    let result = match request {
        ChunksRequest::Meet { place, ids } => meet(cx, place, ids).await,
        ChunksRequest::Settled { place, stamp } => {
            on_store(cx, move |store| store.place_is_settled(&place, &stamp).map(ChunksReply::Settled)).await
        }
        ChunksRequest::Settle { place, stamp } => {
            let kept = on_store(cx, move |store| store.place_settle(&place, &stamp, clock::row_time())).await;
            return to.result(kept.map(|()| Reply::Done("The place is settled.".to_owned()))).await;
        }
        ChunksRequest::Refuse { place, files } => {
            let kept = on_store(cx, move |store| store.refuse_at(&place, &files, clock::row_time())).await;
            return to.result(kept.map(|()| Reply::Done("The refused files are kept.".to_owned()))).await;
        }
        ChunksRequest::Found { place, chunks, apply } => found(cx, place, chunks, apply).await,
        ChunksRequest::Rows { place, parts, apply, unasked } => rows(cx, (place, apply), parts, unasked).await,
        ChunksRequest::Imported { place, projects, complete, stamp } => {
            imported(cx, place, (names(&projects), complete), stamp).await
        }
        ChunksRequest::Exported { place, marks } => {
            let marks: Vec<Mark> = marks.iter().filter_map(mark).collect();
            let kept = on_store(cx, move |store| store.exported(&place, &marks, clock::row_time())).await;
            return to.result(kept.map(|()| Reply::Done("The marks are kept.".to_owned()))).await;
        }
        ChunksRequest::Export { place, project, stamp, count_only } => match optional_project(project.as_deref()) {
            Ok(project) => return export(cx, Wanted { place, project, stamp, count_only }, to).await,
            Err(failure) => Err(failure),
        },
    };
    to.result(result.map(Reply::Chunks)).await
}

async fn meet(cx: &Context, place: String, ids: String) -> Result<ChunksReply, Failure> {
    on_store(cx, move |store| {
        let ids: Vec<&str> = ids.split(' ').filter(|id| !id.is_empty()).collect();
        let met = store.chunks_meet(&place, &ids)?;
        let refused = store.refused_at(&place)?;
        let is_any_held = store.held_at(&place, 0)?.0 > 0;
        Ok(ChunksReply::Met(ChunksMet { unknown: met.unknown, unread: met.unread, refused, is_any_held }))
    })
    .await
}

async fn found(cx: &Context, place: String, named: Vec<ChunkName>, apply: bool) -> Result<ChunksReply, Failure> {
    on_store(cx, move |store| {
        let named = named.into_iter().map(|name| Ok((name.id.clone(), chunks::hash(&name)?)));
        let named = named.collect::<Result<Vec<_>, StoreError>>()?;
        store.chunks_wanted(&place, &named, apply, clock::row_time()).map(ChunksReply::Wanted)
    })
    .await
}

/// Takes rows: what can be read of them without the store is read beside its thread, which has others to take meanwhile.
async fn rows(
    cx: &Context,
    (place, apply): (String, bool),
    parts: Vec<ChunkRows>,
    unasked: bool,
) -> Result<ChunksReply, Failure> {
    let read = if parts.iter().map(|part| part.rows.len()).sum::<usize>() < MANY_ROWS {
        chunks::read_rows(&place, &parts)
    } else {
        let place = place.clone();
        let reading = tokio::task::spawn_blocking(move || chunks::read_rows(&place, &parts));
        reading.await.unwrap_or(Err(StoreError::Gone))
    };
    let mut parts = read.map_err(|error| store_failed(&error))?;
    // They come back from there: to take their many small things apart takes its time, too.
    let (taken, _parts) = counted(cx, move |store| {
        let now = clock::row_time();
        if unasked {
            chunks::leave_unwanted(store, (&place, apply), &mut parts, now)?;
        }
        Ok((chunks::take(store, (&place, apply), &parts, now)?, parts))
    })
    .await?;
    Ok(ChunksReply::Taken(taken))
}

/// Ends an import: makes the stand-ins, each transaction as a job of its own, and tells what is still held.
async fn imported(
    cx: &Context,
    place: String,
    (projects, complete): (Vec<ProjectName>, bool),
    stamp: Option<String>,
) -> Result<ChunksReply, Failure> {
    for project in projects.iter().filter(|_| complete) {
        let mut unfinished = true;
        while unfinished {
            let name = project.clone();
            let made = on_store(cx, move |store| store.stand_ins_of_import(&name, clock::row_time()));
            unfinished = made.await?.unfinished;
        }
    }
    counted(cx, move |store| {
        store.brought_all()?;
        if let Some(stamp) = stamp {
            store.place_settle(&place, &stamp, clock::row_time())?;
        }
        Ok(ChunksReply::Imported(chunks::held(store, &place)?))
    })
    .await
}

/// Runs a write and tells the loop at once what is pending now.
async fn counted<R: Send + 'static>(
    cx: &Context,
    f: impl FnOnce(&mut Store) -> Result<R, StoreError> + Send + 'static,
) -> Result<R, Failure> {
    let (reply, counted) = on_store(cx, move |store| Ok((f(store)?, driver::count(store)))).await?;
    if let Ok(counted) = counted {
        cx.driver.tell(Command::Counted(counted)).await;
    }
    Ok(reply)
}

/// What is asked for of an export.
#[derive(Clone)]
struct Wanted {
    place: String,
    project: Option<ProjectName>,
    stamp: Option<String>,
    count_only: bool,
}

/// How an export begins.
enum Begun {
    /// There is more to be taken up of what other processes wrote.
    NotYet,
    /// The place is in another state than was said.
    NotSettled,
    /// Nothing here is of the project that was named.
    Unknown,
    /// There is nothing to be written of it.
    Nothing,
    /// These projects may be in a file from now on.
    Of(Vec<ProjectName>),
}

/// Begins an export, as one job wherever there is nothing to be taken up; where nothing is to be written, that is all.
fn begin(store: &mut Store, wanted: Wanted) -> Result<Begun, StoreError> {
    if let Some(stamp) = &wanted.stamp
        && !store.place_is_settled(&wanted.place, stamp)?
    {
        return Ok(Begun::NotSettled);
    }
    if store.take_up(driver::TAKE_UP_ROWS, clock::row_time())? {
        return Ok(Begun::NotYet);
    }
    let projects = match wanted.project {
        Some(project) if !store.read(|conn| chunks::is_known(conn, &project))? => return Ok(Begun::Unknown),
        Some(project)
            if store.read(|conn| chunks::finds_nothing(conn, &wanted.place, &project, clock::row_time()))? =>
        {
            return Ok(Begun::Nothing);
        }
        Some(project) => vec![project],
        None => store.read(chunks::projects_of)?,
    };
    if !wanted.count_only {
        store.export_begins(&projects)?;
    }
    Ok(Begun::Of(projects))
}

/// Streams the rows out of one state of the store, on a connection of their own: no save waits for an export.
async fn export(cx: &Context, wanted: Wanted, to: &Responder) -> Result<(), ClientGone> {
    let projects = loop {
        let job = wanted.clone();
        match on_store(cx, move |store| begin(store, job)).await {
            Ok(Begun::NotYet) => {}
            Ok(Begun::NotSettled) => return to.result(Ok(Reply::Chunks(ChunksReply::Settled(false)))).await,
            Ok(begun @ (Begun::Unknown | Begun::Nothing)) => {
                let end = ExportEnd { is_unknown: matches!(begun, Begun::Unknown), ..ExportEnd::default() };
                return to.result(Ok(Reply::Chunks(ChunksReply::End(end)))).await;
            }
            Ok(Begun::Of(projects)) => break projects,
            Err(failure) => return to.result(Err(failure)).await,
        }
    };
    let Wanted { place, count_only, .. } = wanted;
    let (frames, mut ready) = mpsc::channel(FRAMES_MAX);
    let store = cx.store.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let conn = store.snapshot()?;
        let (mut frame, mut filled, mut end) = (Vec::new(), 0, ExportEnd::default());
        let marks = chunks::export(&conn, &place, &projects, clock::row_time(), |row: ChunkRow| {
            let at = ChunkPart::ALL.iter().position(|&part| part == row.part).unwrap_or_default();
            end.rows[at] += 1;
            if count_only {
                return Ok(());
            }
            filled += row.json.len();
            frame.push(row);
            if filled > FRAME_BYTES {
                filled = 0;
                frames.blocking_send(std::mem::take(&mut frame)).map_err(|_| StoreError::Gone)?;
            }
            Ok(())
        })?;
        if !frame.is_empty() {
            frames.blocking_send(frame).map_err(|_| StoreError::Gone)?;
        }
        end.marks = marks.into_iter().map(spoken).collect();
        Ok::<_, StoreError>(end)
    });
    while let Some(rows) = ready.recv().await {
        to.more(Reply::Chunks(ChunksReply::Rows(rows))).await?;
    }
    let end = reading.await.unwrap_or(Err(StoreError::Gone)).map_err(|error| store_failed(&error));
    to.result(end.map(|end| Reply::Chunks(ChunksReply::End(end)))).await
}

fn names(projects: &[String]) -> Vec<ProjectName> {
    projects.iter().filter_map(|name| ProjectName::parse(name).ok()).collect()
}

fn mark(mark: &ExportMark) -> Option<Mark> {
    let project = ProjectName::parse(&mark.project).ok()?;
    Some(Mark { project, list: mark.list.clone(), through: mark.through })
}

fn spoken(mark: Mark) -> ExportMark {
    ExportMark { project: mark.project.to_string(), list: mark.list, through: mark.through }
}
