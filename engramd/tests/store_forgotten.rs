//! What was deleted for good leaves no text in the journal once nobody is to be told of it any more (D16).
#![expect(clippy::unwrap_used, reason = "tests")]

mod store_support;

use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op};
use engramd::store::versions;
use engramd_core::rows::Fence;
use serde_json::{Value, json};
use store_support::{CLOUD, Lab, at, gone, observation, prompt, session, up};

const TEXTS: &str = "SELECT count(*) FROM sync_mutations WHERE payload LIKE '%secret%'";
const CONFLICTS: &str = "SELECT count(*) FROM engramd_conflict";

/// A memory of two versions and a prompt, acknowledged, under the numbers 1 to 4 of the cloud.
fn lab() -> Lab {
    let mut lab = Lab::new();
    let history = [
        (Entity::Session, session("s", "/d", 0)),
        (Entity::Observation, observation("m", "s", "secret one", 1)),
        (Entity::Observation, edited()),
        (Entity::Prompt, prompt("p", "s", "secret three", 3)),
    ];
    for (cloud_seq, (entity, payload)) in (1..).zip(history) {
        let seq = lab.write(entity, Op::Upsert, payload);
        lab.ack(seq, cloud_seq);
    }
    assert_eq!(lab.one::<i64>(TEXTS), 3);
    lab
}

fn edited() -> Value {
    let mut edited = observation("m", "s", "secret two", 2);
    edited["revision_count"] = json!(2);
    edited
}

fn payloads(lab: &Lab) -> Vec<Value> {
    let texts: String = lab.one("SELECT json_group_array(json(payload)) FROM sync_mutations WHERE op = 'upsert'");
    serde_json::from_str(&texts).unwrap()
}

/// The texts go with the acknowledgement of the delete, not before it, and what a Go process looks for stays.
#[test]
fn texts_go_when_the_delete_is_acknowledged() {
    let mut lab = lab();
    let own = lab.write(Entity::Observation, Op::Delete, gone("m", "s", 5, true));
    let later = lab.write(Entity::Observation, Op::Upsert, observation("m", "s", "secret again", 9));
    assert_eq!(lab.one::<i64>(TEXTS), 4, "the delete is not acknowledged");
    lab.ack(own, 5);
    assert_eq!(lab.one::<i64>(TEXTS), 2, "the prompt's, and that of what is pending");
    assert_eq!(lab.batch(9).rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [later]);
    let blank: Vec<Value> = payloads(&lab).into_iter().filter(|payload| payload["engramd_kept"].is_object()).collect();
    let names = |field: &str| blank.iter().map(|payload| payload[field].clone()).collect::<Vec<_>>();
    assert_eq!((names("sync_id"), names("project")), (vec![json!("m"); 2], vec![json!("alpha"); 2]));
    assert_eq!(names("session_id"), vec![json!("s"); 2]);
    lab.check_books();
}

/// A soft delete keeps the text.
#[test]
fn a_soft_delete_keeps_the_text() {
    let mut lab = lab();
    let own = lab.write(Entity::Observation, Op::Delete, gone("m", "s", 5, false));
    lab.ack(own, 5);
    assert_eq!(lab.one::<i64>(TEXTS), 3);
}

/// CONV-6: the echo of what was forgotten is known again, so it is nobody's rival; what is one is kept.
#[test]
fn conv_6_an_echo_is_known_again() {
    let mut lab = lab();
    let own = lab.write(Entity::Observation, Op::Delete, gone("m", "s", 5, true));
    lab.ack(own, 6);
    let deleted = lab.dump();
    lab.apply(vec![
        up(2, "observation", observation("m", "s", "secret one", 1)),
        up(3, "observation", edited()),
        up(5, "observation", observation("m", "s", "a rival", 4)),
        store_support::row(6, "alpha", "observation", "delete", gone("m", "s", 5, true)),
    ]);
    let conflicts = "SELECT group_concat(payload ->> 'title') FROM engramd_conflict";
    assert_eq!((lab.one::<String>(conflicts), lab.one::<i64>(TEXTS)), ("a rival".to_owned(), 1));
    assert_eq!(lab.dump(), deleted);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM observations WHERE sync_id = 'm'"), 0);
}

/// A delete that another device made takes the texts here along.
#[test]
fn texts_go_when_a_delete_comes_in() {
    let mut lab = lab();
    lab.apply(vec![
        store_support::row(5, "alpha", "observation", "delete", gone("m", "s", 5, true)),
        store_support::row(6, "alpha", "prompt", "delete", gone("p", "s", 6, true)),
    ]);
    assert_eq!(lab.one::<i64>(TEXTS), 0);
    assert_eq!(lab.one::<i64>(CONFLICTS), 0);
}

/// What an older release left is found by the daily slices.
#[test]
fn the_daily_slices_find_what_was_left() {
    let mut lab = lab();
    lab.apply(vec![store_support::row(5, "alpha", "observation", "delete", gone("m", "s", 5, true))]);
    let left = "UPDATE sync_mutations SET payload = json_object('sync_id', 'm', 'session_id', 's', 'title', 'secret') \
                WHERE entity_key = 'm' AND op = 'upsert'";
    lab.store.write(|tx| Ok(tx.execute(left, [])?)).unwrap();
    assert_eq!(lab.one::<i64>(TEXTS), 3);
    let fence: Fence = lab.fence.clone();
    let mut slice = |now: i64| lab.store.recheck_slice(&fence, CLOUD, at(now), 1_000, 100).unwrap();
    slice(2_000);
    slice(3_000);
    assert_eq!(lab.one::<i64>(TEXTS), 1);
}

/// A colleague's memory may have a field of that name: it is one of those that we do not know, and no version.
#[test]
fn a_field_of_that_name_among_others_is_somebody_elses() {
    let mut lab = lab();
    let known = lab.store.read(|conn| versions::known(conn, &lab.alpha, Entity::Observation, "m")).unwrap().unwrap();
    let mut theirs = edited();
    (theirs["revision_count"], theirs["title"]) = (json!(3), json!("their title"));
    theirs["engramd_kept"] = serde_json::to_value(&known).unwrap();
    lab.write(Entity::Observation, Op::Upsert, theirs);
    let local = lab.store.read(|conn| versions::local(conn, &lab.alpha, Entity::Observation, "m")).unwrap().unwrap();
    assert!(matches!(&local, Version::Observation(version) if version.key.revision == 3), "{local:?}");
}
