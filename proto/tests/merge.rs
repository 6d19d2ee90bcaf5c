//! CONV-2 and CONV-3 as properties of the one merge function.

#![expect(clippy::unwrap_used, reason = "tests")]

use engram_proto::canonical::Object;
use engram_proto::id::ProjectName;
use engram_proto::merge::{Standing, Version, merge, rival};
use engram_proto::mutation::{Entity, Op};
use proptest::prelude::*;
use serde::Deserialize as _;
use serde_json::{Value, json};

/// Few values per field, so that ties in every part of a key are common.
fn time() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!("1970-01-01 00:00:00")),
        Just(json!("2026-11-22 10:00:00")),
        Just(json!("2026-11-22T10:00:00Z")),
        Just(json!("2026-11-22 10:00:01")),
        Just(json!("nonsense")),
    ]
}

fn word() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), Just(json!("")), Just(json!("a")), Just(json!("b"))]
}

fn count() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), Just(json!(0)), Just(json!(1)), Just(json!(2)), Just(json!(2.0))]
}

fn payload() -> impl Strategy<Value = Object> {
    let words = prop::collection::vec(word(), 8);
    let times = prop::collection::vec(time(), 6);
    let counts = prop::collection::vec(count(), 3);
    (words, times, counts, any::<bool>(), any::<bool>()).prop_map(|(words, times, counts, hard, newer)| {
        let mut payload = Object::new();
        for (field, value) in
            ["title", "content", "tool_name", "topic_key", "session_id", "directory", "summary", "reason"]
                .iter()
                .zip(words)
        {
            payload.insert((*field).to_owned(), value);
        }
        for (field, value) in ["created_at", "updated_at", "last_seen_at", "started_at", "ended_at"].iter().zip(times) {
            payload.insert((*field).to_owned(), value);
        }
        for (field, value) in ["revision_count", "duplicate_count", "confidence"].iter().zip(counts) {
            payload.insert((*field).to_owned(), value);
        }
        payload.insert("hard_delete".to_owned(), hard.into());
        for (field, value) in [("source_id", "o1"), ("target_id", "o2"), ("relation", "relates")] {
            payload.insert(field.to_owned(), value.into());
        }
        payload.insert("judgment_status".to_owned(), if hard { "judged" } else { "pending" }.into());
        if newer {
            payload.insert("of_a_newer_peer".to_owned(), json!({"x": 1}));
        }
        payload
    })
}

fn version(entity: Entity) -> impl Strategy<Value = Version> {
    (payload(), any::<bool>(), time()).prop_map(move |(mut payload, delete, deleted_at)| {
        let delete = delete && entity != Entity::Relation;
        if delete || entity == Entity::Session {
            payload.insert("deleted_at".to_owned(), deleted_at);
        }
        Version::read(entity, "k", if delete { Op::Delete } else { Op::Upsert }, &payload).unwrap()
    })
}

fn any_entity() -> impl Strategy<Value = Entity> {
    prop::sample::select(Entity::ALL.to_vec())
}

fn three() -> impl Strategy<Value = (Version, Version, Version)> {
    any_entity().prop_flat_map(|entity| (version(entity), version(entity), version(entity)))
}

fn text(version: &Version) -> String {
    let written = version.write(&ProjectName::parse("p").unwrap(), "k").unwrap();
    format!("{} {}", written.0, engram_proto::canonical::canonical_object(&written.1))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// CONV-2: the join is commutative, associative and idempotent, down to the bytes it is sent as.
    #[test]
    fn conv_2_merge_is_a_join((a, b, c) in three()) {
        let (ab, ba) = (merge(a.clone(), b.clone()), merge(b.clone(), a.clone()));
        prop_assert_eq!(&ab, &ba);
        prop_assert_eq!(text(&ab), text(&ba));
        let left = merge(ab, c.clone());
        let right = merge(a.clone(), merge(b, c));
        prop_assert_eq!(&left, &right);
        prop_assert_eq!(text(&left), text(&right));
        prop_assert_eq!(text(&merge(a.clone(), a.clone())), text(&a));
        prop_assert_eq!(merge(a.clone(), left.clone()), left);
    }

    /// What is written is read back as the same version, and never carries a missing time.
    #[test]
    fn a_version_survives_the_wire((a, _, _) in three()) {
        let (op, payload) = a.write(&ProjectName::parse("p").unwrap(), "k").unwrap();
        prop_assert_eq!(&Version::read(a.entity(), "k", op, &payload).unwrap(), &a);
        let stored: Version = serde_json::from_str(&serde_json::to_string(&a).unwrap()).unwrap();
        prop_assert_eq!(stored, a);
    }

    /// A version whose content was compacted is known again, as any other is told from it, and shows no text.
    #[test]
    fn what_was_compacted_is_known_again((a, b, _) in three()) {
        let kept: Version = serde_json::from_str(&serde_json::to_string(&a.without_text()).unwrap()).unwrap();
        prop_assert_eq!(&kept, &a.without_text());
        prop_assert_eq!(&kept.without_text(), &kept);
        prop_assert_eq!(kept.hash(), a.hash());
        prop_assert!(rival::was_held(&a, std::slice::from_ref(&kept)));
        let same = rival::was_held(&b, std::slice::from_ref(&a));
        prop_assert_eq!(rival::was_held(&b, std::slice::from_ref(&kept)), same);
        prop_assert_eq!(same, !a.leads(&b) && !b.leads(&a));
        let bare = Version::deserialize(serde_json::to_value(&kept).unwrap()).unwrap();
        prop_assert!(bare.entity() == Entity::Session || bare.is_delete() || bare.write(&ProjectName::parse("p").unwrap(), "k").is_none());
    }

    /// Standing is the join seen from one side.
    #[test]
    fn standing_agrees_with_merge((a, b, _) in three()) {
        let joined = merge(a.clone(), b.clone());
        match a.standing(&b) {
            Standing::Equal => prop_assert!(a == b),
            Standing::Loses => prop_assert!(joined == b && !a.leads(&b)),
            Standing::Wins => prop_assert!(joined == a && !b.leads(&a)),
            Standing::Mixes => prop_assert!(joined != a && joined != b),
        }
    }
}

fn observation(op: Op, fields: &Value) -> Version {
    Version::read(Entity::Observation, "k", op, fields.as_object().unwrap()).unwrap()
}

/// CONV-5: within one second a delete beats an upsert and a hard one a soft one; a later upsert re-creates.
#[test]
fn conv_5_order_of_kinds() {
    let at = "2026-11-22 10:00:00";
    let upsert = observation(Op::Upsert, &json!({"title":"t","updated_at":at,"revision_count":9}));
    let soft = observation(Op::Delete, &json!({"deleted_at":at}));
    let hard = observation(Op::Delete, &json!({"deleted_at":at,"hard_delete":true}));
    let later = observation(Op::Upsert, &json!({"title":"t","updated_at":"2026-11-22 10:00:01"}));
    assert!(soft.leads(&upsert) && hard.leads(&soft) && later.leads(&hard));
    assert!(merge(upsert, hard.clone()).is_delete());
    assert!(!merge(hard, later).is_delete());
}

/// A session's two registers come from two versions; a recovered directory never beats a known one.
#[test]
fn registers_are_taken_whole() {
    let session = |fields: Value| Version::read(Entity::Session, "s", Op::Upsert, fields.as_object().unwrap()).unwrap();
    let a = session(json!({"directory":"/a","started_at":"2026-11-22 10:00:00"}));
    let b = session(json!({"directory":"(recovered-missing-session)","started_at":"2026-11-22 11:00:00",
                           "summary":"done","ended_at":"2026-11-22 12:00:00"}));
    let Version::Session(joined) = merge(a, b) else { panic!("a session") };
    assert_eq!(joined.directory(), "/a");
    assert_eq!(joined.start.started_at.unwrap().to_string(), "2026-11-22 10:00:00");
    assert_eq!(joined.end.summary.as_deref(), Some("done"));
}

/// "Orphaned" is derived where it is shown, and has no place in a version (merging.md).
#[test]
fn a_payload_that_says_orphaned_says_judged() {
    let read = |status: &str| {
        let payload = json!({"source_id": "o1", "target_id": "o2", "relation": "relates", "judgment_status": status});
        Version::read(Entity::Relation, "r1", Op::Upsert, payload.as_object().unwrap()).unwrap()
    };
    assert_eq!(read("orphaned"), read("judged"));
    assert_ne!(read("orphaned"), read("pending"));
}
