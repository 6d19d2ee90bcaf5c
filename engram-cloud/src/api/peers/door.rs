//! The door of the push route: what came out under the id of a stand-in goes in under the session's own.

use crate::journal::{Content, Entry};
use engram_proto::http::push::PushEntry;
use engram_proto::id::ProjectName;
use engram_proto::mutation::{Entity, payload_object, text_of};
use engram_proto::stand_in::session_id_of;
use serde_json::Value;

/// Reads an entry without a mutation id.
///
/// An upsert of a stand-in without a summary says nothing: its sender has it from us.
pub(crate) fn read(project: ProjectName, mut entry: PushEntry) -> Entry {
    let field = match Entity::parse(&entry.entity) {
        Some(Entity::Session) => "id",
        Some(Entity::Observation | Entity::Prompt) => "session_id",
        _ => return Entry::read(project, entry),
    };
    let Ok(mut payload) = payload_object(entry.payload.clone()) else { return Entry::read(project, entry) };
    let is_session = field == "id";
    let sent = text_of(&payload, field).map_or_else(String::new, |id| id.trim().to_owned());
    let sent = if is_session && sent.is_empty() { entry.entity_key.trim().to_owned() } else { sent };
    let own = session_id_of(&project, &sent).to_owned();
    if own == sent {
        return Entry::read(project, entry);
    }
    let says_nothing = is_session
        && entry.op.trim() == "upsert"
        && text_of(&payload, "summary").is_none_or(|summary| summary.trim().is_empty());
    payload.insert(field.to_owned(), own.as_str().into());
    if is_session && entry.entity_key.trim() == sent {
        entry.entity_key = own;
    }
    entry.payload = Value::Object(payload);
    let read = Entry::read(project, entry);
    if says_nothing && read.content.is_ok() { Entry { content: Ok(Content::Nothing), ..read } } else { read }
}
