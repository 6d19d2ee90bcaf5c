//! The forms in which sessions travel over a Go server, whose clients halt on what they do not know (peers.md).
//!
//! A deletion travels as a field of an upsert; a session that its project was never told of is stood in for under an id
//! of its own. Every pull of ours takes both back.

use engram_proto::canonical::Object;
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::merge::RECOVERED_DIRECTORY;
use engram_proto::mutation::{Entity, payload_object, text_of};
pub use engram_proto::stand_in::stand_in_id;
use engram_proto::stand_in::{self, DELETED_AT, session_id_of};
use engram_proto::time::row_text;
use serde_json::Value;

/// Makes the payload of a stand-in: whatever a Go client has under this id already, it is not this.
#[must_use]
pub fn stand_in(project: &ProjectName, session_id: &str) -> Object {
    let mut payload = Object::new();
    let fields = [
        ("id", stand_in_id(project, session_id)),
        ("project", project.to_string()),
        ("directory", RECOVERED_DIRECTORY.to_owned()),
        ("started_at", row_text(None)),
    ];
    payload.extend(fields.map(|(field, text)| (field.to_owned(), text.into())));
    payload
}

/// Makes a session's payload one that every Go client can apply.
pub fn hide_deletion(payload: &mut Object) {
    for field in ["deleted", "hard_delete"] {
        payload.remove(field);
    }
    if let Some(deleted_at) = payload.remove("deleted_at") {
        payload.insert(DELETED_AT.to_owned(), deleted_at);
    }
}

/// Tells whether a payload says, in its disguise, when its session was deleted.
#[must_use]
pub fn hides_deletion(payload: &Object) -> bool {
    payload.contains_key(DELETED_AT)
}

/// Takes a row out of its disguise; tells whether it says anything then.
pub fn take_back(row: &mut PulledMutation) -> bool {
    let (Some(entity), Ok(project)) = (Entity::parse(&row.entity), ProjectName::parse(&row.project)) else {
        return true;
    };
    // Most rows are in none: an object is looked at where it is.
    let mut decoded = None;
    let payload = match &mut row.payload {
        Value::Object(object) => object,
        other => match payload_object(other.clone()) {
            Ok(object) => decoded.insert(object),
            Err(_) => return true,
        },
    };
    let mut changes = stand_in::take_back(&project, entity, payload);
    let own = session_id_of(&project, &row.entity_key).to_owned();
    if entity == Entity::Session && own != row.entity_key {
        let blank = |field| text_of(payload, field).is_none_or(|text| text.trim().is_empty());
        if blank("summary") && blank("ended_at") {
            return false;
        }
        payload.insert("id".to_owned(), own.clone().into());
        row.entity_key = own;
        changes = true;
    }
    if let Some(decoded) = decoded.filter(|_| changes) {
        row.payload = decoded.into();
    }
    true
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(entity: &str, key: &str, payload: Value) -> PulledMutation {
        PulledMutation {
            seq: 1,
            project: "p".to_owned(),
            entity: entity.to_owned(),
            entity_key: key.to_owned(),
            op: "upsert".to_owned(),
            payload,
            occurred_at: String::new(),
        }
    }

    #[test]
    fn conv_5_a_session_s_deletion_comes_back_as_one() {
        let mut payload = json!({"id": "s", "directory": "/d", "deleted_at": "2026-11-23 10:00:00", "deleted": true});
        let object = payload.as_object_mut().unwrap();
        hide_deletion(object);
        assert_eq!(payload, json!({"id": "s", "directory": "/d", "engramd_deleted_at": "2026-11-23 10:00:00"}));
        let mut pulled = row("session", "s", payload);
        assert!(take_back(&mut pulled));
        assert_eq!(pulled.payload, json!({"id": "s", "directory": "/d", "deleted_at": "2026-11-23 10:00:00"}));
    }

    #[test]
    fn iso_3_stand_ins_come_back_as_the_session_they_stand_for() {
        let p = ProjectName::parse("p").unwrap();
        let id = stand_in_id(&p, "a/b");
        assert!(!take_back(&mut row("session", &id, stand_in(&p, "a/b").into())), "it says nothing");
        let mut child = row("observation", "o", json!({"session_id": id}));
        assert!(take_back(&mut child));
        assert_eq!(child.payload["session_id"], "a/b");
        let mut text = row("prompt", "p", json!({"session_id": id}).to_string().into());
        assert!(take_back(&mut text));
        assert_eq!(text.payload, json!({"session_id": "a/b"}), "whatever form it came in");
        let mut end = row("session", &id, json!({"id": id, "summary": "done"}));
        assert!(take_back(&mut end));
        assert_eq!((end.entity_key.as_str(), &end.payload["id"]), ("a/b", &json!("a/b")));
        let mut others = row("observation", "o", json!({"session_id": "recovered-missing-session/q/s"}));
        assert!(take_back(&mut others));
        assert_eq!(others.payload["session_id"], "recovered-missing-session/q/s", "of another project");
    }
}
