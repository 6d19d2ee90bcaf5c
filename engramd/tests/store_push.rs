//! What leaves the store and how it is booked (ACK-1, ACK-2, OWN-2, ISO-1), and the commands on held rows.
#![expect(clippy::unwrap_used, reason = "tests")]

mod store_support;

use engram_proto::ipc::reply::HeldKind;
use engram_proto::mutation::{Entity, Op};
use engram_proto::reason::ReasonCode;
use engramd::store::{StoreError, journal};
use engramd_core::rows::{BatchLimits, LeaseOutcome, Settlement};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use store_support::{
    CLOUD, Lab, OWNER, at, gone, lease, observation, page, project, prompt, row, session, up, with_triggers,
};

fn hold(lab: &mut Lab, seq: i64) -> u64 {
    let held = Settlement::Held { seq, reason: ReasonCode::RowRejected, evidence: "the server says no".to_owned() };
    lab.store.settle(&lab.fence, &lab.alpha, &[held], at(7)).unwrap().held
}

#[test]
fn a_batch_is_read_in_order_within_its_limits_and_of_enrolled_projects_only() {
    let mut lab = Lab::new();
    lab.write(Entity::Session, Op::Upsert, session("s1", "/a", 0));
    for n in 0..4 {
        lab.write(Entity::Observation, Op::Upsert, observation(&format!("o{n}"), "s1", "t", n));
    }
    let first = lab.batch(2);
    assert_eq!((first.rows.len(), first.more), (2, true));
    assert!(first.rows[0].seq < first.rows[1].seq);
    assert!(first.rows[0].mutation_id.starts_with(&format!("{}:{}:", lab.store.device_id(), first.rows[0].seq)));
    assert_eq!(lab.batch(2), first, "the same rows have the same names");
    let tiny = BatchLimits { rows_max: 100, body_bytes_max: 1 };
    let one = lab.store.pending_batch(&lab.fence, &lab.alpha, tiny, at(1_000)).unwrap();
    let why = "a row may be larger than the limit; the next one proves the server well where it is refused";
    assert_eq!((one.rows.len(), one.more), (2, true), "{why}");
    let all = lab.batch(5);
    assert_eq!((all.rows.len(), all.more), (5, false));
    assert!(lab.store.unenroll(&project("alpha")).unwrap());
    assert!(lab.batch(5).rows.is_empty());
    assert_eq!(lab.store.counts().unwrap()[&lab.alpha].pending, 5);
}

#[test]
fn own_2_a_fence_that_was_lost_writes_nothing() {
    let mut lab = Lab::new();
    let seq = lab.write(Entity::Session, Op::Upsert, session("s1", "/a", 0));
    let old = lab.fence.clone();
    let new = lease(&mut lab.store, OWNER, 1_000);
    assert!(new.number > old.number);
    let changes = |lab: &Lab| lab.store.read(|conn| Ok(conn.total_changes())).unwrap();
    let before = changes(&lab);
    let limits = BatchLimits { rows_max: 9, body_bytes_max: 99_999 };
    let lost =
        |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::LeaseLost { .. })), "{result:?}");
    lost(lab.store.pending_batch(&old, &lab.alpha, limits, at(1)).map(drop));
    let acked = Settlement::Acked { seq, cloud_seq: 1, occurred_at: None };
    lost(lab.store.settle(&old, &lab.alpha, &[acked], at(1)).map(drop));
    lost(
        lab.store
            .apply_page(&old, CLOUD, &BTreeMap::new(), &page(vec![up(1, "session", session("s2", "/a", 0))]), at(1))
            .map(drop),
    );
    lost(lab.store.stand_ins(&old, &lab.alpha, at(1)).map(drop));
    lost(lab.store.write_state(&old, "degraded", None, 3, None, at(1)).map(drop));
    lost(lab.store.renew_lease(&old, 2_000, 60_000).map(drop));
    lab.store.release_lease(&old).unwrap();
    assert_eq!(changes(&lab), before);
    assert_eq!(lab.store.renew_lease(&new, 2_000, 60_000).unwrap(), 62_000);
}

#[test]
fn own_2_the_peers_live_lease_is_respected_and_ours_of_a_dead_process_is_not() {
    let mut lab = Lab::new();
    let take = |lab: &mut Lab, owner: &str, until: &str| {
        let until = until.to_owned();
        lab.store
            .write(|tx| {
                let sql = "UPDATE sync_state SET lease_owner = ?1, lease_until = ?2 WHERE target_key = 'cloud'";
                Ok(tx.execute(sql, [owner, &until])?)
            })
            .unwrap();
    };
    let now_ms = at(0).unix_s() * 1_000;
    take(&mut lab, "autosync-77", &at(30).rfc3339());
    let answer = lab.store.acquire_lease(OWNER, now_ms, 60_000).unwrap();
    let until_ms = now_ms + 30_000;
    assert_eq!(answer, LeaseOutcome::HeldElsewhere { owner: "autosync-77".to_owned(), until_ms });
    let fence = lab.fence.clone();
    let renewed = lab.store.renew_lease(&fence, now_ms, 60_000);
    assert!(
        matches!(renewed, Err(StoreError::LeaseLost { .. })),
        "the peer knows no fence, its name tells: {renewed:?}"
    );
    let granted = lab.store.acquire_lease(OWNER, now_ms + 31_000, 60_000).unwrap();
    assert!(matches!(granted, LeaseOutcome::Granted { .. }), "its time is over");
    let dead = format!("engramd-{}-4711", lab.store.device_id());
    take(&mut lab, &dead, &at(3_000).rfc3339());
    let granted = lab.store.acquire_lease(OWNER, now_ms, 60_000).unwrap();
    let LeaseOutcome::Granted { fence, .. } = granted else { panic!("{granted:?}") };
    lab.store.release_lease(&fence).unwrap();
    assert_eq!(lab.one::<Option<String>>("SELECT lease_owner FROM sync_state WHERE target_key = 'cloud'"), None);
}

#[test]
fn ack_1_only_what_a_reply_names_leaves_and_once() {
    let mut lab = Lab::new();
    let first = lab.write(Entity::Session, Op::Upsert, session("s1", "/a", 0));
    let second = lab.write(Entity::Observation, Op::Upsert, observation("o1", "s1", "one", 1));
    assert_eq!(lab.store.counts().unwrap()[&lab.alpha].pending, 2);
    assert_eq!(lab.ack(first, 8).acked, 1);
    assert_eq!(lab.ack(first, 8).acked, 0);
    assert_eq!(lab.ack(999, 8).acked, 0);
    assert_eq!(lab.batch(9).rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [second]);
    assert_eq!(lab.one::<i64>("SELECT cloud_seq FROM engramd_journal WHERE seq = 1"), 8);
    let state = "SELECT last_acked_seq || lifecycle FROM sync_state WHERE target_key = 'cloud:alpha'";
    assert_eq!(lab.one::<String>(state), format!("{first}pending"));
    lab.ack(second, 16);
    assert_eq!(lab.one::<String>(state), format!("{second}healthy"));
    lab.check_books();
}

#[test]
fn iso_1_a_refused_row_is_set_aside_retried_and_dropped() {
    let mut lab = Lab::new();
    let seq = lab.write(Entity::Session, Op::Upsert, session("s1", "/a", 0));
    let bad = lab.write(Entity::Observation, Op::Upsert, observation("o1", "s1", "one", 1));
    assert_eq!((hold(&mut lab, bad), hold(&mut lab, bad)), (1, 0));
    assert_eq!(lab.ack(bad, 9).acked, 0, "a late reply names a row that has left");
    assert_eq!(lab.batch(9).rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [seq]);
    let held = lab.store.held().unwrap();
    assert_eq!((held[0].kind, held[0].evidence.as_str()), (HeldKind::Quarantined, "the server says no"));
    assert_eq!(lab.store.held_detail(held[0].id).unwrap().unwrap().seq, bad);
    lab.check_books();
    assert_eq!(lab.store.held_retry(Some(held[0].id), at(8)).unwrap(), 1);
    assert_eq!(lab.batch(9).rows.len(), 2);
    lab.check_books();
    hold(&mut lab, bad);
    let id = lab.store.held().unwrap()[0].id;
    assert!(lab.store.held_drop(id, at(9)).unwrap());
    assert!(!lab.store.held_drop(id, at(9)).unwrap());
    assert!(matches!(lab.store.held_retry(Some(id), at(9)), Err(StoreError::NotFound(_))));
    assert_eq!(lab.store.ack2(&lab.alpha).unwrap().void, 1);
    assert_eq!(lab.batch(9).rows.len(), 1);
    lab.check_books();
}

#[test]
fn ack_2_a_held_row_that_a_pull_shows_is_acknowledged() {
    let mut lab = Lab::new();
    lab.apply(vec![up(1, "session", session("s1", "/a", 0))]);
    let payload = observation("o1", "s1", "one", 1);
    let seq = lab.write(Entity::Observation, Op::Upsert, payload.clone());
    hold(&mut lab, seq);
    lab.apply(vec![up(2, "observation", observation("o1", "s1", "other", 9))]);
    assert_eq!(lab.store.ack2(&lab.alpha).unwrap().held, 1, "another version decides nothing");
    lab.apply(vec![up(3, "observation", payload)]);
    let books = lab.store.ack2(&lab.alpha).unwrap();
    assert_eq!((books.held, books.acked), (0, 1));
    assert!(lab.store.held().unwrap().is_empty());
    lab.check_books();
}

#[test]
fn ack_2_a_hard_delete_takes_back_what_was_never_carried() {
    let mut lab = Lab::new();
    lab.write(Entity::Session, Op::Upsert, session("s1", "/a", 0));
    lab.write(Entity::Observation, Op::Upsert, observation("o1", "s1", "secret", 1));
    assert_eq!(lab.store.counts().unwrap()[&lab.alpha].pending, 2);
    let alpha = lab.alpha.clone();
    let take_back = |lab: &mut Lab, key: &str| {
        lab.store.write(|tx| journal::void_if_never_carried(tx, &alpha, Entity::Observation, key))
    };
    assert!(take_back(&mut lab, "o1").unwrap());
    assert!(!take_back(&mut lab, "o1").unwrap());
    assert_eq!(lab.store.ack2(&alpha).unwrap().void, 1);
    lab.check_books();
    lab.write(Entity::Observation, Op::Upsert, observation("o2", "s1", "sent", 1));
    lab.batch(9);
    assert!(!take_back(&mut lab, "o2").unwrap(), "a request may have carried it");
    lab.write(Entity::Observation, Op::Delete, gone("o2", "s1", 3, true));
    lab.check_books();
}

#[test]
fn rows_that_lack_fields_are_filled_once_and_hopeless_ones_are_held() {
    let mut lab = Lab::new();
    lab.write(Entity::Session, Op::Upsert, session("s1", "/a", 0));
    lab.write(Entity::Observation, Op::Upsert, observation("o1", "s1", "one", 1));
    let spoil = |lab: &mut Lab, seq: i64, payload: Value| {
        let sql = "UPDATE sync_mutations SET payload = ?2 WHERE seq = ?1";
        lab.store.write(|tx| Ok(tx.execute(sql, rusqlite::params![seq, payload.to_string()])?)).unwrap();
    };
    spoil(&mut lab, 1, json!({"project": "alpha"}));
    spoil(&mut lab, 2, json!(json!({"title": "  ", "updated_at": at(1).to_string()}).to_string()));
    let missing = lab.write(Entity::Prompt, Op::Upsert, prompt("p1", "s1", "x", 1));
    spoil(&mut lab, missing, json!({"sync_id": "p9"}));
    lab.write(Entity::Relation, Op::Delete, json!({"sync_id": "r1"}));
    let batch = lab.batch(9);
    let filled: Vec<_> = batch.rows.iter().map(|row| row.payload.clone()).collect();
    assert_eq!((filled[0]["id"].as_str(), filled[0]["directory"].as_str()), (Some("s1"), Some("/a")));
    assert_eq!((filled[1]["title"].as_str(), filled[1]["content"].as_str()), (Some("one"), Some("about one")));
    assert_eq!(filled.len(), 2);
    assert_eq!(lab.batch(9), batch, "filled once, named once");
    let evidence: Vec<_> = lab.store.held().unwrap().into_iter().map(|row| row.evidence).collect();
    assert!(evidence[0].contains("p9") && evidence[1].contains("relation"), "{evidence:?}");
    lab.check_books();
}

#[test]
fn ack_2_holds_through_everything_that_can_happen_to_a_row() {
    let mut lab = Lab::new();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut dice = move |sides: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % sides
    };
    lab.write(Entity::Session, Op::Upsert, session("s1", "/a", 0));
    let (mut cloud_seq, mut written) = (0, 1);
    for step in 0..1_500 {
        let key = format!("o{}", dice(12));
        let time = i64::try_from(dice(60)).unwrap();
        let version = observation(&key, "s1", &format!("t{}", dice(4)), time);
        match dice(8) {
            0 | 1 => {
                lab.write(Entity::Observation, Op::Upsert, version);
                written += 1;
            }
            2 => {
                lab.write(Entity::Observation, Op::Delete, gone(&key, "s1", time, dice(2) == 0));
                written += 1;
            }
            3 | 4 => {
                cloud_seq += 1;
                let pulled = if dice(4) == 0 {
                    row(cloud_seq, "alpha", "observation", "delete", gone(&key, "s1", time, dice(2) == 0))
                } else {
                    up(cloud_seq, "observation", version)
                };
                written += lab.apply(vec![pulled]).queued;
            }
            5 | 6 => {
                let rows = lab.batch(4).rows;
                for row in rows {
                    match dice(3) {
                        0 => drop(lab.ack(row.seq, 1)),
                        1 => drop(hold(&mut lab, row.seq)),
                        _ => {}
                    }
                }
            }
            _ => {
                let held = lab.store.held().unwrap();
                if let Some(one) = held.get(usize::try_from(dice(held.len() as u64 + 1)).unwrap()) {
                    if dice(2) == 0 {
                        lab.store.held_drop(one.id, at(9)).unwrap();
                    } else {
                        lab.store.held_retry(Some(one.id), at(9)).unwrap();
                    }
                }
                let alpha = lab.alpha.clone();
                lab.store.write(|tx| journal::void_if_never_carried(tx, &alpha, Entity::Observation, &key)).unwrap();
            }
        }
        lab.check_books();
        assert_eq!(lab.store.ack2(&lab.alpha).unwrap().written, written, "at step {step}");
    }
    lab.check_index();
}

#[test]
fn the_first_enrollment_queues_the_history_once_in_slices() {
    let mut lab = Lab::new();
    let beta = project("beta");
    lab.store
        .write(|tx| {
            let rows = "INSERT INTO sessions (id, project, directory, started_at) VALUES
                     ('b1', 'beta', '/b', '2026-01-01 00:00:00'), ('g1', 'gamma', '/g', '2026-01-01 00:00:00');
                 INSERT INTO observations (sync_id, session_id, type, title, content, project) VALUES
                     ('o1', 'b1', 'x', 'one', 'c', 'beta'), ('o2', 'b1', 'x', 'two', 'c', 'beta'),
                     ('o3', 'b1', 'x', 'three', 'c', 'beta'), ('o4', 'g1', 'x', 'four', 'c', 'gamma');
                 UPDATE observations SET deleted_at = '2026-02-02 00:00:00' WHERE sync_id = 'o3';
                 INSERT INTO user_prompts (sync_id, session_id, content, project) VALUES ('p1', 'b1', 'why', 'beta');
                 INSERT INTO prompt_tombstones (sync_id, session_id, project) VALUES ('p2', 'b1', 'beta');
                 INSERT INTO memory_relations (sync_id, source_id, target_id, relation, judgment_status,
                     marked_by_actor, marked_by_kind) VALUES
                     ('r1', 'o1', 'o2', 'related', 'judged', 'ana', 'human'), ('r2', 'o1', 'o2', 'x', 'pending', '', ''),
                     ('r3', 'o4', 'o2', 'related', 'judged', 'ana', 'human');";
            Ok(with_triggers(tx, || tx.execute_batch(rows))?)
        })
        .unwrap();
    assert!(!lab.store.backfill_slice(&beta, at(1), 2).unwrap(), "not enrolled");
    assert!(lab.store.enroll(&beta, at(1)).unwrap());
    assert!(!lab.store.enroll(&beta, at(1)).unwrap());
    lab.apply(vec![]);
    let mut slices = 0;
    while lab.store.backfill_slice(&beta, at(1), 2).unwrap() {
        slices += 1;
    }
    assert!(slices >= 5);
    let limits = BatchLimits { rows_max: 99, body_bytes_max: 1 << 20 };
    let rows = lab.store.pending_batch(&lab.fence, &beta, limits, at(1_000)).unwrap().rows;
    let told: Vec<_> = rows.iter().map(|row| format!("{} {} {}", row.entity, row.entity_key, row.op)).collect();
    let wanted = [
        "session b1 upsert",
        "observation o1 upsert",
        "observation o2 upsert",
        "observation o3 delete",
        "prompt p1 upsert",
        "prompt p2 delete",
        "relation r1 upsert",
    ];
    assert_eq!(told, wanted);
    lab.store.unenroll(&beta).unwrap();
    lab.store.enroll(&beta, at(2)).unwrap();
    assert!(!lab.store.backfill_slice(&beta, at(2), 99).unwrap(), "once");
    assert_eq!(lab.store.ack2(&beta).unwrap().written, 7);
    let names: Vec<_> = lab.store.projects().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["alpha", "beta", "gamma"]);
}

#[test]
fn pauses_and_state_are_kept_and_written_only_when_they_change() {
    let mut lab = Lab::new();
    let alpha = lab.alpha.clone();
    lab.store.pause(None, Some("on a train"), at(1)).unwrap();
    lab.store.pause(Some(&alpha), None, at(2)).unwrap();
    let paused = lab.store.paused().unwrap();
    assert_eq!(paused[&None].reason.as_deref(), Some("on a train"));
    assert_eq!(paused[&Some(alpha)].since, Some(at(2)));
    assert!(lab.store.resume(None).unwrap());
    assert!(!lab.store.resume(None).unwrap());
    assert_eq!(lab.store.paused().unwrap().len(), 1);
    let fence = lab.fence.clone();
    let mut write = |at_s| {
        let reason = Some(("transport_failed", "host x does not answer"));
        lab.store.write_state(&fence, "degraded", reason, 2, Some(at(99).rfc3339()), at(at_s)).unwrap()
    };
    assert!(write(1));
    assert!(!write(2));
    let state = "SELECT lifecycle || reason_code || updated_at FROM sync_state WHERE target_key = 'cloud'";
    assert_eq!(lab.one::<String>(state), format!("degradedtransport_failed{}", at(1)));
}
