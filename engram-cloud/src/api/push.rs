//! `POST /sync/mutations/push`: mutations in.
//!
//! The order of refusals is the contract's: size, form, empty batch, empty project, grant, witness, pause, single entries.

use super::pull::meant;
use super::{ApiError, body, peers};
use crate::app::App;
use crate::auth::Principal;
use crate::clock::rfc3339_us;
use crate::journal::{Batch, Entry, Fate, Fault, Journal, Pushed, Told};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use engram_proto::http::error::{InvalidEntry, class, code};
use engram_proto::http::push::{PushEntry, PushReply, Receipt, ReceiptStatus};
use engram_proto::http::witness::Witness;
use engram_proto::id::ProjectName;
use serde::Deserialize;
use std::sync::Arc;

/// A push as it is read: no entries and no list of entries are the same.
#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    entries: Option<Vec<PushEntry>>,
    #[serde(default)]
    witness: Option<Witness>,
    #[serde(default)]
    cloud_id: Option<String>,
}

/// Takes a batch.
///
/// # Errors
/// [`ApiError`]; nothing of the batch was stored then.
pub(crate) async fn push<J: Journal>(
    State(app): State<App<J>>,
    Extension(principal): Extension<Arc<Principal>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PushReply>, ApiError> {
    let request: Request = body::read_json(&headers, body, app.limits.push_bytes, app.timeouts).await?;
    let entries = request.entries.unwrap_or_default();
    let batch = read(entries, &principal, usize::try_from(app.limits.push_entries).unwrap_or(usize::MAX))?;
    meant(&app, request.cloud_id.as_deref())?;
    let batch = batch.with_witness(request.witness);
    let named: Vec<Named> = batch.entries.iter().map(Named::of).collect();
    let project = named.first().map(|named| named.project.to_string()).unwrap_or_default();
    match app.journal.push(batch).await? {
        Pushed::Done(fates) => {
            log_rejected(&named, &fates, &principal);
            Ok(Json(reply(project, named, fates)))
        }
        Pushed::Paused(control) => Err(ApiError::paused(&control)),
        Pushed::Replaced => Err(ApiError::replaced(app.journal.cloud_id())),
        Pushed::Invalid(faults) => {
            for (at, fault) in &faults {
                named[*at].log(fault, &principal);
            }
            Err(invalid(&named, &faults))
        }
    }
}

/// What names an entry in an answer and in the log, kept while the store has the entry itself.
struct Named {
    project: ProjectName,
    entity: String,
    key: String,
    mutation_id: Option<String>,
}

impl Named {
    fn of(entry: &Entry) -> Self {
        Self {
            project: entry.project.clone(),
            entity: entry.entity.clone(),
            key: entry.key.clone(),
            mutation_id: entry.mutation_id.clone(),
        }
    }

    fn log(&self, fault: &Fault, principal: &Principal) {
        let key: String = self.key.chars().take(128).collect();
        let entity: String = self.entity.chars().take(32).collect();
        let (project, field) = (self.project.as_str(), fault.field.as_str());
        tracing::warn!(project, ?entity, ?key, field, principal = principal.name, "entry rejected");
    }
}

fn read(entries: Vec<PushEntry>, principal: &Principal, entries_max: usize) -> Result<Batch, ApiError> {
    if entries.is_empty() {
        let error = "a push holds at least one entry";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, class::REPAIRABLE, code::EMPTY_BATCH, error));
    }
    if entries.len() > entries_max {
        let error = format!("{} entries are more than the {entries_max} this server takes at once", entries.len());
        return Err(ApiError::unreadable(error));
    }
    let mut read = Vec::with_capacity(entries.len());
    for (at, entry) in entries.into_iter().enumerate() {
        let Ok(project) = ProjectName::parse(&entry.project) else {
            let error = format!("entry {at} names no project");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, class::INVALID_REQUEST, code::EMPTY_PROJECT, error));
        };
        if !principal.grant.allows(&project) {
            return Err(ApiError::forbidden(project.as_str()));
        }
        let is_bare = entry.mutation_id.is_none();
        read.push(if is_bare { peers::door::read(project, entry) } else { Entry::read(project, entry) });
    }
    Ok(Batch::new(&principal.name, read))
}

fn reply(project: String, named: Vec<Named>, fates: Vec<Fate>) -> PushReply {
    let accepted_seqs = fates.iter().map(|fate| told(fate).map_or(0, |told| told.seq)).collect();
    let receipts = named.into_iter().zip(fates).filter_map(|(named, fate)| Some(receipt(named.mutation_id?, fate)));
    let receipts = receipts.collect();
    PushReply { accepted_seqs, project, project_source: "request_body".into(), project_path: String::new(), receipts }
}

fn told(fate: &Fate) -> Option<Told> {
    match fate {
        Fate::Accepted(told) | Fate::Duplicate(told) | Fate::Superseded(told) => Some(*told),
        Fate::Rejected(_) => None,
    }
}

fn receipt(mutation_id: String, fate: Fate) -> Receipt {
    let status = match &fate {
        Fate::Accepted(_) => ReceiptStatus::Accepted,
        Fate::Duplicate(_) => ReceiptStatus::Duplicate,
        Fate::Superseded(_) => ReceiptStatus::Superseded,
        Fate::Rejected(_) => ReceiptStatus::Rejected,
    };
    let told = told(&fate);
    let (reason_code, field, message) = match fate {
        Fate::Rejected(fault) => (Some(code::VALIDATION_ERROR.to_owned()), Some(fault.field), Some(fault.message)),
        _ => (None, None, None),
    };
    let occurred_at = told.map(|told| rfc3339_us(told.occurred_at_us));
    Receipt { mutation_id, status, seq: told.map(|told| told.seq), occurred_at, reason_code, field, message }
}

fn invalid(named: &[Named], faults: &[(usize, Fault)]) -> ApiError {
    let entry = |(at, fault): &(usize, Fault)| InvalidEntry {
        index: *at,
        field: fault.field.clone(),
        entity: named[*at].entity.clone(),
    };
    let first = faults.first().map(|(at, fault)| format!(": entry {at}: {}", fault.message)).unwrap_or_default();
    let count = faults.len();
    ApiError::invalid(
        format!("{count} of {} entries are not valid{first}", named.len()),
        faults.iter().map(entry).collect(),
    )
}

/// Writes one line per rejected entry, and never its content.
fn log_rejected(named: &[Named], fates: &[Fate], principal: &Principal) {
    for (named, fate) in named.iter().zip(fates) {
        if let Fate::Rejected(fault) = fate {
            named.log(fault, principal);
        }
    }
}
