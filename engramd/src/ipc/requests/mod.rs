//! One file per request; the dispatch reads like an index.

mod chunks;
mod cloud;
mod enroll;
mod events;
mod held;
mod memory;
mod pause;
mod projects;
mod status;
mod sync;

use super::Context;
use super::respond::{ClientGone, Responder};
use crate::memory::MemoryError;
use crate::store::{StoreError, StoreGone};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::Failure;
use engram_proto::ipc::request::RequestBody;
use engram_proto::reason::{Exit, ReasonCode};
use engram_proto::reason_catalog;
use engram_proto::words::quoted;
use std::sync::Arc;

/// Answers one request.
pub(super) async fn handle(context: Arc<Context>, body: RequestBody, to: Responder) -> Result<(), ClientGone> {
    let cx = &*context;
    match body {
        RequestBody::Status { watch } => status::answer(cx, watch, &to).await,
        RequestBody::Sync(request) => sync::answer(cx, request, &to).await,
        RequestBody::Events { follow } => events::answer(cx, follow, &to).await,
        RequestBody::Pause { project, reason } => to.result(pause::pause(cx, project, reason).await).await,
        RequestBody::Resume { project } => to.result(pause::resume(cx, project).await).await,
        RequestBody::Login(request) => to.result(cloud::login(cx, request).await).await,
        RequestBody::Logout => to.result(cloud::logout(cx).await).await,
        RequestBody::Remirror { project } => to.result(cloud::remirror(cx, &project).await).await,
        RequestBody::Enroll { projects } => to.result(enroll::enroll(cx, projects).await).await,
        RequestBody::Unenroll { project } => to.result(enroll::unenroll(cx, &project).await).await,
        RequestBody::Projects => to.result(projects::answer(cx).await).await,
        RequestBody::HeldList => to.result(held::list(cx).await).await,
        RequestBody::HeldShow { id } => to.result(held::show(cx, id).await).await,
        RequestBody::HeldRetry { id } => to.result(held::retry(cx, id).await).await,
        RequestBody::HeldDrop { id } => to.result(held::drop(cx, id).await).await,
        RequestBody::Chunks(request) => chunks::answer(cx, request, &to).await,
        memory => memory::answer(cx, memory, &to).await,
    }
}

/// Tells whether a request writes memories: what works then shows that there is room.
pub(super) fn writes(body: &RequestBody) -> bool {
    matches!(
        body,
        RequestBody::Save(_)
            | RequestBody::Prompt(_)
            | RequestBody::Update(_)
            | RequestBody::SessionStart(_)
            | RequestBody::SessionEnd { .. }
            | RequestBody::ConflictRestore { .. }
            | RequestBody::Delete { .. }
    )
}

/// Makes a failure that exits 1.
fn failed(reason_code: &str, message: &str, hint: Option<&str>) -> Failure {
    Failure {
        exit: Exit::Failed,
        reason_code: reason_code.to_owned(),
        message: message.to_owned(),
        hint: hint.map(str::to_owned),
    }
}

/// Makes a failure for a reason code that stands in the way: it exits 3.
fn blocked(code: ReasonCode, message: String, project: Option<&ProjectName>) -> Failure {
    let named = quoted(project.map_or("P", |project| project.as_str()));
    let hint = reason_catalog::entry(code).hint.map(|hint| hint.replace("{project}", &named));
    Failure { exit: Exit::Degraded, reason_code: code.to_string(), message, hint }
}

fn store_failed(error: &StoreError) -> Failure {
    match error {
        StoreError::NotFound(what) => failed("not_found", &format!("{what} was not found"), None),
        StoreError::Invalid(what) => failed("invalid_argument", what, None),
        error => {
            let code = error.reason().unwrap_or(ReasonCode::InternalError);
            failed(code.as_str(), &format!("the store: {error}"), reason_catalog::entry(code).hint)
        }
    }
}

impl From<StoreGone> for MemoryError {
    fn from(gone: StoreGone) -> Self {
        Self::Store(gone.into())
    }
}

/// Brings a project's name into normal form.
fn project_name(text: &str) -> Result<ProjectName, Failure> {
    ProjectName::parse(text).map_err(|error| failed("invalid_argument", &error.to_string(), None))
}

fn optional_project(text: Option<&str>) -> Result<Option<ProjectName>, Failure> {
    text.map(project_name).transpose()
}

/// Runs a closure on the store and turns what goes wrong into words.
async fn on_store<R: Send + 'static>(
    cx: &Context,
    f: impl FnOnce(&mut crate::store::Store) -> Result<R, StoreError> + Send + 'static,
) -> Result<R, Failure> {
    cx.store.call(f).await.map_err(StoreError::from).flatten().map_err(|error| store_failed(&error))
}

/// Returns the project where it is enrolled; a command that names another one is refused with the way out.
async fn enrolled_project(cx: &Context, text: Option<&str>) -> Result<Option<ProjectName>, Failure> {
    let Some(name) = optional_project(text)? else { return Ok(None) };
    let enrolled = on_store(cx, |store| store.enrolled()).await?;
    if enrolled.contains(&name) {
        return Ok(Some(name));
    }
    let message = format!("project {name} is not enrolled");
    Err(blocked(ReasonCode::BlockedUnenrolled, message, Some(&name)))
}
