//! Rows of chunks that name no project: each belongs to its session's, and is kept until something tells which that is.

use super::super::error::StoreError;
use super::super::held::{self, SetAside};
use super::super::{chunks, naming};
use super::{Applying, Source, waits_for_observation, waits_for_session};
use engram_proto::canonical::Object;
use engram_proto::http::pull::PulledMutation;
use engram_proto::ipc::reply::HeldKind;
use engram_proto::mutation::{Entity, payload_object, text_of};
use engram_proto::reason::ReasonCode;
use rusqlite::OptionalExtension as _;

impl Applying<'_> {
    /// Takes a row of a chunk (by the id of its file) that names no project, or keeps it with its evidence (ISO-3).
    pub(super) fn row_without_project(
        &mut self,
        chunk: &str,
        row: &PulledMutation,
        careful: bool,
    ) -> Result<(), StoreError> {
        let payload = payload_object(row.payload.clone());
        let known = payload
            .as_ref()
            .ok()
            .map(|payload| naming::project_of(self.conn, entity_of(row), &row.entity_key, payload));
        if let Some(project) = known.transpose()?.flatten() {
            let row = PulledMutation { project: project.to_string(), ..row.clone() };
            return self.row_of_chunk(&project, &row, None, careful);
        }
        let (waits_for, why) = match &payload {
            Ok(payload) => {
                (tells_project(entity_of(row), payload), "it names no project, and nothing here tells it".to_owned())
            }
            Err(error) => (None, error.to_string()),
        };
        let text = row.payload.to_string();
        if !(self.any_held && held::has_nameless(self.conn, &row.entity, &row.entity_key, &text)?) {
            held::set_aside(
                self.conn,
                &SetAside {
                    kind: if waits_for.is_some() { HeldKind::Deferred } else { HeldKind::Dead },
                    // Whose it is may never be told, so that somebody has to look at it.
                    reason: ReasonCode::RowUndeliverable,
                    project: "",
                    entity: &row.entity,
                    key: &row.entity_key,
                    op: &row.op,
                    journal_seq: None,
                    cloud_seq: None,
                    payload: &text,
                    evidence: &format!("chunk {chunk}: {why}"),
                    waits_for: waits_for.as_deref(),
                    now: self.now,
                },
            )?;
            self.any_held = true;
        }
        chunks::note_held(self.conn, self.source, "", row)
    }

    /// Takes a row that is kept so, where something tells its project now; tells whether it left the list.
    pub(in super::super) fn name_held(&mut self, id: i64) -> Result<bool, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT entity, entity_key, op, payload FROM engramd_held
             WHERE id = ?1 AND project = '' AND journal_seq IS NULL",
        )?;
        let text = |row: &rusqlite::Row<'_>, at| row.get::<_, String>(at);
        let found = statement.query_row([id], |row| Ok((text(row, 0)?, text(row, 1)?, text(row, 2)?, text(row, 3)?)));
        let Some((entity, entity_key, op, payload)) = found.optional()? else { return Ok(false) };
        let payload = serde_json::from_str(&payload).unwrap_or_default();
        let (seq, project, occurred_at) = (0, String::new(), String::new());
        let mut row = PulledMutation { seq, project, entity, entity_key, op, payload, occurred_at };
        let Ok(payload) = payload_object(row.payload.clone()) else { return Ok(false) };
        let known = naming::project_of(self.conn, entity_of(&row), &row.entity_key, &payload)?;
        let Some(project) = known else { return Ok(false) };
        row.project = project.to_string();
        // It may come in among rows from elsewhere, whose parent it waited for.
        let (source, refused) = (std::mem::replace(&mut self.source, Source::Aside(id)), self.refused);
        let taken = self.row_of_chunk(&project, &row, None, true);
        (self.source, self.refused) = (source, refused);
        taken?;
        held::release(self.conn, id)
    }
}

fn entity_of(row: &PulledMutation) -> Option<Entity> {
    Entity::parse(&row.entity)
}

/// Names what will tell the project of a row once it is here.
fn tells_project(entity: Option<Entity>, payload: &Object) -> Option<String> {
    let id = |field| text_of(payload, field).map(str::trim).filter(|id| !id.is_empty());
    match entity? {
        Entity::Session => None,
        Entity::Observation | Entity::Prompt => id("session_id").map(waits_for_session),
        Entity::Relation => id("source_id").map(waits_for_observation),
    }
}
