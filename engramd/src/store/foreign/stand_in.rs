//! Rows that name a session by the id of its stand-in: the peer's autosync stored it under that (peers.md, "The `GET`
//! form"), and with its user's next write the id is in the journal. As at our server's door it becomes the session's again.

use super::super::error::StoreError;
use super::super::journal::{self, LocalWrite};
use super::super::meta;
use engram_proto::canonical::Object;
use engram_proto::id::ProjectName;
use engram_proto::mutation::{Entity, Op, text_of};
use engram_proto::stand_in::{session_id_of, take_back};
use engram_proto::time::RowTime;
use rusqlite::Connection;

/// Gives a pending row the session's own id. One of a stand-in itself leaves the queue, for the peer queues it again where
/// no row has its key, and what it says of the session is queued as ours; tells whether the row stays.
pub(super) fn name_session(
    (conn, seq): (&Connection, i64),
    project: &ProjectName,
    (entity, key, op): (Entity, &str, Op),
    payload: &mut Object,
) -> Result<bool, StoreError> {
    let own = session_id_of(project, key);
    if entity != Entity::Session || own == key {
        if take_back(project, entity, payload) {
            journal::rewrite(conn, seq, &serde_json::Value::Object(payload.clone()).to_string())?;
        }
        return Ok(true);
    }
    journal::void(conn, seq, journal::SUPERSEDED, None)?;
    meta::recount(conn)?;
    let says = |field| text_of(payload, field).is_some_and(|text| !text.trim().is_empty());
    let at = text_of(payload, "ended_at").and_then(RowTime::parse).filter(|_| says("summary") && op == Op::Upsert);
    if let Some(at) = at {
        payload.insert("id".to_owned(), own.into());
        journal::append_on(conn, &LocalWrite { project, entity, key: own, op, payload, base: None, at })?;
    }
    Ok(false)
}
