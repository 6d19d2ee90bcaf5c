//! CUR-3: all that is known of a project is queued anew, in slices, once; and what a store of an earlier version knows
//! adds up to its digest.
#![expect(clippy::unwrap_used, reason = "tests")]

mod store_support;

use engram_proto::mutation::{Entity, Op};
use engramd::store::Store;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::Path;
use store_support::{CLOUD, Lab, at, gone, observation, project, prompt, relation, row, session, up};

const LOSERS: &str = "SELECT count(*) FROM engramd_conflict";
const ACKED: &str = "SELECT count(*) FROM sync_mutations WHERE acked_at IS NOT NULL";

fn mood(color: &str) -> Value {
    json!({"sync_id": "m1", "color": color})
}

/// A device that read everything there is, wrote, and has something to send.
fn fill(lab: &mut Lab) {
    let strange = |seq, payload| row(seq, "alpha", "mood", "upsert", payload);
    lab.apply(vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "observation", observation("o1", "s1", "one", 1)),
        up(3, "observation", observation("o2", "s1", "two", 1)),
        up(4, "observation", observation("o3", "s1", "three", 1)),
        row(5, "alpha", "observation", "delete", gone("o2", "s1", 9, true)),
        up(6, "prompt", prompt("p1", "s1", "why?", 1)),
        up(7, "relation", relation("r1", "o1", "o3", 1)),
        up(8, "observation", observation("o4", "s-late", "waits", 1)),
        strange(9, mood("red")),
        strange(10, mood("blue")),
        strange(11, json!({"sync_id": "m2", "color": "green"})),
    ]);
    let seq = lab.write(Entity::Observation, Op::Upsert, observation("o5", "s1", "accepted", 3));
    lab.batch(10);
    lab.ack(seq, 12);
    lab.write(Entity::Observation, Op::Upsert, observation("o6", "s1", "waits to be sent", 4));
}

/// What is to be sent then, in this order but for the one that waited before.
const ANEW: [&str; 10] = [
    "session s1 upsert",
    "observation o1 upsert",
    "observation o2 delete",
    "observation o3 upsert",
    "observation o4 upsert",
    "observation o5 upsert",
    "prompt p1 upsert",
    "relation r1 upsert",
    "mood m1 upsert",
    "mood m2 upsert",
];

fn sent(lab: &mut Lab) -> Vec<String> {
    let rows = lab.batch(100).rows;
    assert!(rows.iter().all(|row| row.base.is_none()), "the cloud is told no base");
    rows.iter().map(|row| format!("{} {} {}", row.entity, row.entity_key, row.op)).collect()
}

fn cursor(lab: &Lab) -> u64 {
    lab.store.cursors(CLOUD, &[project("alpha")]).unwrap()[&project("alpha")]
}

#[test]
fn cur_3_slices_of_any_size_queue_everything_once_and_the_last_forgets_the_cursor() {
    for rows_max in [1, 2, 3, 100] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engram.db");
        let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
        fill(&mut lab);
        let (acked, head) = (lab.one::<i64>(ACKED), cursor(&lab));
        let (dump, digest) = (lab.dump(), lab.store.digest(&lab.alpha).unwrap());
        assert_eq!(head, 11);
        lab.store.remirror(&lab.alpha).unwrap();
        let mut slices = 0;
        loop {
            let alpha = lab.alpha.clone();
            let belonging = lab.store.remirror_slice(&lab.fence, CLOUD, Some(&alpha), at(2_000), rows_max).unwrap();
            slices += 1;
            if !belonging.due.contains(&alpha) {
                break;
            }
            assert_eq!(cursor(&lab), head, "not before the last");
            // Asked for again it goes on where it is; so it does after a crash.
            lab.store.remirror(&alpha).unwrap();
            drop(lab);
            lab = Lab::on(Store::open(&path, at(0)).unwrap());
        }
        assert!(slices == 1 || rows_max < 100, "{slices} slices of {rows_max}");
        assert_eq!(cursor(&lab), 0);
        let mut expected = ANEW.map(str::to_owned).to_vec();
        expected.insert(0, "observation o6 upsert".to_owned());
        assert_eq!(sent(&mut lab), expected, "slices of {rows_max}");
        let strange = lab.batch(100).rows.into_iter().find(|row| row.entity_key == "m1").unwrap();
        assert_eq!(strange.payload["color"], "blue", "the last of its rows");
        assert_eq!(lab.one::<i64>(ACKED), acked, "what was acknowledged stays so");
        assert_eq!((lab.dump(), lab.store.digest(&lab.alpha).unwrap()), (dump, digest));
        lab.check_books();
        lab.check_index();
    }
}

#[test]
fn cur_3_a_restored_cloud_gets_every_project_and_is_told_nothing_before() {
    let mut lab = Lab::new();
    let beta = project("beta");
    lab.store.enroll(&beta, at(0)).unwrap();
    lab.store.belonging(&lab.fence, CLOUD, at(1)).unwrap();
    fill(&mut lab);
    lab.apply(vec![row(20, "beta", "session", "upsert", session("s-beta", "/b", 0))]);
    lab.store.unenroll(&beta).unwrap();
    let begun = lab.store.cloud_restored(&lab.fence, CLOUD).unwrap();
    assert!(begun.restored && begun.due.len() == 2, "what is not enrolled any more, too: {begun:?}");
    let mut belonging = begun;
    while belonging.restored {
        assert_eq!(cursor(&lab), 11, "no cursor is forgotten before the last project is queued");
        belonging = lab.store.remirror_slice(&lab.fence, CLOUD, None, at(2_000), 3).unwrap();
        if belonging.due.len() == 1 {
            break;
        }
    }
    while belonging.restored {
        belonging = lab.store.remirror_slice(&lab.fence, CLOUD, None, at(2_000), 3).unwrap();
    }
    assert!(belonging.due.is_empty() && cursor(&lab) == 0, "{belonging:?}");
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM sync_mutations WHERE project = 'beta' AND acked_at IS NULL"), 1);
    lab.check_books();
}

/// CONV-6: what a device only sends once more was nobody's edit; its own edit stays one.
#[test]
fn conv_6_what_is_mirrored_again_is_no_edit() {
    let mut lab = Lab::new();
    let memory = |title: &str, at_s: i64| observation("o1", "s1", title, at_s);
    lab.apply(vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "observation", memory("first", 1)),
        up(3, "observation", memory("second", 2)),
    ]);
    let mirror = |lab: &mut Lab| {
        let alpha = lab.alpha.clone();
        lab.store.remirror(&alpha).unwrap();
        lab.store.remirror_slice(&lab.fence, CLOUD, Some(&alpha), at(2_000), 100).unwrap();
    };
    let newest = "SELECT max(seq) FROM sync_mutations WHERE entity_key = 'o1' AND acked_at IS NULL";
    mirror(&mut lab);
    // A device that was behind sends what it has, before and after ours arrives.
    lab.apply(vec![up(30, "observation", memory("first", 1))]);
    let seq = lab.one::<i64>(newest);
    lab.ack(seq, 40);
    lab.apply(vec![up(35, "observation", memory("first", 1))]);
    assert_eq!(lab.one::<i64>(LOSERS), 0);

    let second = lab.version(Entity::Observation, "o1").unwrap().hash();
    let seq = lab.write_on(Entity::Observation, Op::Upsert, memory("mine", 20), Some(second));
    lab.ack(seq, 41);
    mirror(&mut lab);
    let seq = lab.one::<i64>(newest);
    lab.ack(seq, 60);
    lab.apply(vec![up(50, "observation", memory("theirs", 10))]);
    assert!(lab.one::<String>("SELECT payload FROM engramd_conflict").contains("theirs"), "mine was an edit");
}

/// Takes a store of ours back to what it was before it kept digests.
fn back_to_1_7(path: &Path) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(
        "DROP TABLE engramd_digest; DROP TABLE engramd_different; DROP TABLE engramd_read;
         DROP INDEX engramd_place_chunk_chunk; DROP INDEX engramd_chunk_unread; DROP TABLE engramd_refused;
         DROP TABLE engramd_held_chunk; DROP TABLE engramd_cloud_chunk;
         ALTER TABLE engramd_place DROP COLUMN stamp; ALTER TABLE engramd_remirror DROP COLUMN digest;
         ALTER TABLE engramd_exported DROP COLUMN deletes;
         UPDATE engramd_meta SET value = '1.7' WHERE key = 'schema'",
    )
    .unwrap();
}

#[test]
fn a_store_of_an_earlier_version_gets_its_digests_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let beta = project("beta");
    let more = vec![up(21, "observation", observation("o1", "s1", "edited", 50))];
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    lab.store.enroll(&beta, at(0)).unwrap();
    fill(&mut lab);
    lab.apply(vec![row(20, "beta", "session", "upsert", session("s-beta", "/b", 0))]);
    let digests = |lab: &Lab| [&lab.alpha, &beta].map(|name| lab.store.digest(name).unwrap());
    let before = digests(&lab);
    drop(lab);
    for _ in 0..2 {
        back_to_1_7(&path);
        let lab = Lab::on(Store::open(&path, at(0)).unwrap());
        assert_eq!(digests(&lab), before);
        drop(lab);
        let lab = Lab::on(Store::open(&path, at(0)).unwrap());
        assert_eq!(digests(&lab), before, "once");
    }
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    lab.apply(more.clone());
    let mut fresh = Lab::new();
    fresh.store.enroll(&beta, at(0)).unwrap();
    fill(&mut fresh);
    fresh.apply(vec![row(20, "beta", "session", "upsert", session("s-beta", "/b", 0))]);
    fresh.apply(more);
    assert_eq!(digests(&lab), digests(&fresh), "it goes on from there");
    assert_ne!(digests(&lab), before);
}
