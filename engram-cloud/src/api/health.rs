//! `GET /health`: who answers, what it can do, what its clock says. Asks the store nothing.

use crate::app::App;
use crate::clock::rfc3339_us;
use crate::journal::Journal;
use axum::Json;
use axum::extract::State;
use engram_proto::VERSION;
use engram_proto::http::health::{HealthReply, capability};

/// What this release can do beyond part 1 of the contract.
const CAPABILITIES: [&str; 7] = [
    capability::MUTATION_IDS,
    capability::PROJECT_PULL,
    capability::WITNESS,
    capability::DIGEST,
    capability::LONG_POLL,
    capability::GZIP,
    capability::LARGE_BATCH,
];

/// Answers who this is.
pub(crate) async fn health<J: Journal>(State(app): State<App<J>>) -> Json<HealthReply> {
    Json(HealthReply {
        status: "ok".to_owned(),
        service: "engram-cloud".to_owned(),
        version: Some(VERSION.to_owned()),
        cloud_id: Some(app.journal.cloud_id().to_owned()),
        capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
        limits: Some(app.limits),
        time: Some(rfc3339_us(app.clock.now_us())),
    })
}
