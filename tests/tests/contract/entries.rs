//! Single entries: receipts, refusals, projects, pauses.

use crate::bench::*;
use engram_cloud::auth::Grant;
use engram_cloud::clock::Clock;
use engram_cloud::journal::{Control, Fate, Journal, Pushed};
use engram_proto::http::push::PushEntry;
use serde_json::json;

fn bad() -> Vec<(PushEntry, &'static str)> {
    let mut blank = memory("alpha", "b", "title", 1);
    blank.payload["content"] = json!("  ");
    let mut other = memory("alpha", "c", "title", 1);
    other.entity_key = "d".into();
    vec![
        (blank, "content"),
        (other, "entity_key"),
        (entry("alpha", "session", "s", "patch", json!({"id": "s"})), "op"),
        (entry("alpha", "prompt", "p", "upsert", json!([1])), "payload"),
        (entry("alpha", "relation", "r", "delete", json!({"sync_id": "r"})), "op"),
        (entry("alpha", "relation", "r", "upsert", json!({"sync_id": "r", "source_id": "x"})), "target_id"),
    ]
}

/// A row that one store could not keep is refused by every one, and names its field: a NUL, and names without end.
pub(crate) async fn what_no_database_can_keep_is_the_fault_of_its_row<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let mut content = memory("alpha", "a", "title", 1);
    content.payload["content"] = json!("before\0after");
    let mut deep = memory("alpha", "a", "title", 1);
    deep.payload["later"] = json!({"list": ["a", {"b\0": 1}]});
    let stringified = entry("alpha", "prompt", "p", "upsert", json!("{\"sync_id\":\"p\",\"content\":\"\\u0000\"}"));
    let mut foreign = entry("alpha", "mood", "m", "upsert", json!({"how": "\0"}));
    foreign.base = None;
    let long = "k".repeat(1025);
    let mut child = memory("alpha", "a", "title", 1);
    child.payload["session_id"] = json!(long);
    let cases = [
        (content, "content"),
        (deep, "later"),
        (stringified, "content"),
        (foreign, "how"),
        (entry("alpha", "mood", "m\0", "upsert", json!({})), "entity_key"),
        (entry("alpha", "mo\0od", "m", "upsert", json!({})), "entity"),
        (entry("alpha", "mood", "m", "up\0sert", json!({})), "op"),
        (entry("alpha", "mood", &long, "upsert", json!({})), "entity_key"),
        (child, "session_id"),
    ];
    let (mut entries, fields): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    entries.push(memory("alpha", "m", "\\u0000 is six characters", 1));
    let named = entries.into_iter().enumerate().map(|(at, entry)| with_id(format!("d:{at}"), entry)).collect();
    let mut told = fates(&journal, named).await;
    assert!(matches!(told.pop(), Some(Fate::Accepted(_))), "a good neighbour");
    let refused = told.iter().map(|fate| match fate {
        Fate::Rejected(fault) => fault.field.as_str(),
        other => panic!("{other:?}"),
    });
    assert_eq!(refused.collect::<Vec<_>>(), fields);
    for odd in ["nul\0", &"p".repeat(600)] {
        let refused = fates(&journal, vec![with_id("d:x", memory(odd, "m", "title", 1))]).await;
        assert!(matches!(refused.as_slice(), [Fate::Rejected(fault)] if fault.field == "project"), "{refused:?}");
        assert_eq!(page(&journal, &[(odd, 0)], 10).await.heads[&name(odd)], 0);
    }
    let rows = read_all(&journal, &["alpha"]).await;
    assert_eq!((rows.len(), &rows[0].payload["title"]), (1, &json!("\\u0000 is six characters")));
}

/// ISO-1: with ids, a bad entry is answered for itself and its neighbours are stored.
pub(crate) async fn receipts_come_one_per_entry_and_a_bad_one_stands_alone<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let (entries, fields): (Vec<_>, Vec<_>) = bad().into_iter().unzip();
    let mut batch = vec![session("alpha", "s")];
    batch.extend(entries);
    batch.push(memory("alpha", "m", "title", 1));
    let batch = batch.into_iter().enumerate().map(|(at, entry)| with_id(format!("d:{at}:00"), entry)).collect();
    let fates = fates(&journal, batch).await;
    assert_eq!(fates.len(), fields.len() + 2);
    assert!(matches!((&fates[0], &fates[fates.len() - 1]), (Fate::Accepted(_), Fate::Accepted(_))));
    for (fate, field) in fates[1..].iter().zip(&fields) {
        assert!(matches!(fate, Fate::Rejected(fault) if fault.field == *field), "{field}: {fate:?}");
    }
    assert_eq!(read_all(&journal, &["alpha"]).await.len(), 2);
}

/// Part 1 of the contract: a client without ids reads a count, so one bad entry refuses all, and all bad ones are named.
pub(crate) async fn without_ids_a_batch_is_all_or_nothing<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let mut batch = vec![session("alpha", "s")];
    batch.extend(bad().into_iter().map(|(entry, _)| entry));
    let Pushed::Invalid(faults) = push(&journal, batch).await else { panic!("stored") };
    let named: Vec<_> = faults.iter().map(|(at, fault)| (*at, fault.field.as_str())).collect();
    let expected: Vec<_> = bad().iter().enumerate().map(|(at, (_, field))| (at + 1, *field)).collect();
    assert_eq!(named, expected);
    assert!(read_all(&journal, &["alpha"]).await.is_empty());
    let good = fates(&journal, vec![session("alpha", "s"), memory("alpha", "m", "title", 1)]).await;
    assert!(good.iter().all(|fate| matches!(fate, Fate::Accepted(_))));
}

/// SCOPE-2: the payload's own project is never believed.
pub(crate) async fn scope_2_the_authorised_project_is_what_is_stored<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let mut entries = vec![session("alpha", "s"), memory("alpha", "m", "title", 1)];
    entries.push(entry("alpha", "mood", "x", "upsert", json!({"value": 1})));
    for entry in &mut entries {
        entry.payload["project"] = json!("beta");
    }
    fates(&journal, entries).await;
    let rows = read_all(&journal, &["alpha", "beta"]).await;
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row.project == "alpha" && row.payload["project"] == "alpha"), "{rows:?}");
    assert!(read_grant(&journal, grant(&["beta"])).await.is_empty());
}

/// SCOPE-2: versions of one sync id in two projects never meet.
pub(crate) async fn scope_2_one_id_in_two_projects_is_two_entities<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    accepted(&journal, memory("alpha", "m", "ours", 9)).await;
    accepted(&journal, memory("beta", "m", "theirs", 2)).await;
    assert_eq!(last(&read_all(&journal, &["alpha"]).await, "m").payload["title"], "ours");
    assert_eq!(last(&read_all(&journal, &["beta"]).await, "m").payload["title"], "theirs");
}

/// cloud.md, "Access": a pause stops a project's pushes and nothing else, and is over at the next request.
pub(crate) async fn a_paused_project_refuses_pushes_and_serves_pulls<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    accepted(&journal, session("alpha", "s")).await;
    let pause = Control {
        project: name("alpha"),
        is_sync_enabled: false,
        reason: Some("moving house".into()),
        updated_by: "root".into(),
        updated_at_us: 7,
    };
    journal.set_control(pause.clone()).await.expect("set");
    assert_eq!(journal.controls().await.expect("listed"), std::slice::from_ref(&pause));
    // Asked before single entries are looked at, and for every project of the batch.
    for entries in [vec![session("beta", "s"), session("alpha", "t")], vec![bad().remove(0).0]] {
        assert_eq!(push(&journal, entries).await, Pushed::Paused(pause.clone()));
    }
    accepted(&journal, session("beta", "s")).await;
    assert_eq!(read_all(&journal, &["alpha"]).await.len(), 1);
    assert_eq!(read_grant(&journal, Grant::Every).await.len(), 2);
    journal.set_control(Control { is_sync_enabled: true, reason: None, ..pause }).await.expect("set");
    accepted(&journal, session("alpha", "t")).await;
}
