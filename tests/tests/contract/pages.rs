//! Pages: fair, bounded, and honest about what is left.

use crate::bench::*;
use engram_cloud::auth::Grant;
use engram_cloud::clock::Clock;
use engram_cloud::journal::{GrantAsk, Journal, PageAsk};
use engram_proto::http::pull::PulledMutation;
use engram_proto::http::push::PushEntry;
use engram_proto::merge::{Digest, Version};
use engram_proto::mutation::{Entity, Op, payload_object};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

fn many(project: &str, count: usize) -> Vec<PushEntry> {
    (0..count).map(|i| memory(project, &format!("m{i}"), "title", 1)).collect()
}

/// The backlog of one project does not hold up the others; without enough room for all, they take turns.
pub(crate) async fn a_page_is_fair_between_projects<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    fates(&journal, many("huge", 300)).await;
    fates(&journal, many("small", 3)).await;
    fates(&journal, many("tiny", 1)).await;
    let cursors = [("huge", 0), ("small", 0), ("tiny", 0)];
    let shared = page(&journal, &cursors, 100).await;
    let count = |project: &str| shared.rows.iter().filter(|row| row.project == project).count();
    assert_eq!((count("huge"), count("small"), count("tiny")), (96, 3, 1));
    assert!(shared.rows.is_sorted_by_key(|row| row.seq));
    let mut served = BTreeSet::new();
    for _ in 0..3 {
        served.extend(page(&journal, &cursors, 1).await.rows.into_iter().map(|row| row.project));
    }
    assert_eq!(served.len(), 3, "{served:?}");
}

/// A page holds what there is room for, and one row where even that is too large.
pub(crate) async fn a_page_is_bounded_in_bytes_and_never_empty<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let mut entries = many("alpha", 10);
    for entry in &mut entries {
        entry.payload["content"] = "x".repeat(10_000).into();
    }
    fates(&journal, entries).await;
    let mut ask = ask(&[("alpha", 0)], 1_000);
    for (bytes_max, rows) in [(35_000, 3), (1, 1)] {
        ask.bytes_max = bytes_max;
        let page = journal.page(ask.clone()).await.expect("an answer").expect("a page");
        assert_eq!((page.rows.len(), page.has_more), (rows, true));
        let grant = GrantAsk { grant: Grant::Every, since_seq: 0, rows_max: 100, bytes_max };
        let page = journal.grant_page(grant).await.expect("a page");
        assert_eq!((page.rows.len(), page.has_more), (rows, true));
    }
}

/// `heads`, `cursors`, `remaining` and `has_more` agree with each other.
pub(crate) async fn heads_and_remaining_tell_what_is_left<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    fates(&journal, many("alpha", 10)).await;
    let all = read_all(&journal, &["alpha"]).await;
    let head = all[9].seq;
    let heads = page(&journal, &[("alpha", 0), ("nothing", 0)], 0).await;
    assert!(heads.rows.is_empty() && heads.cursors.is_empty() && heads.has_more);
    assert_eq!((heads.heads[&name("alpha")], heads.heads[&name("nothing")]), (head, 0));
    assert_eq!(heads.remaining[&name("alpha")], 10);
    let first = page(&journal, &[("alpha", 0), ("nothing", 0)], 4).await;
    assert_eq!(first.rows, all[..4]);
    assert_eq!(first.cursors.into_iter().collect::<Vec<_>>(), [(name("alpha"), all[3].seq)]);
    assert_eq!(first.remaining.into_iter().collect::<Vec<_>>(), [(name("alpha"), 6)]);
    let rest = page(&journal, &[("alpha", all[3].seq)], 100).await;
    assert_eq!((rest.rows.len(), rest.has_more, rest.remaining.len()), (6, false, 0));
    for beyond in [head, head + 1, u64::MAX] {
        let page = page(&journal, &[("alpha", beyond)], 100).await;
        assert!(page.rows.is_empty() && !page.has_more && page.cursors.is_empty());
        assert_eq!(page.heads[&name("alpha")], head);
    }
    let ask = PageAsk { cursors: [].into(), rows_max: 10, bytes_max: 10, witness: None };
    assert_eq!(journal.page(ask).await.expect("an answer").expect("a page"), engram_cloud::journal::Page::default());
}

/// The whole grant, in one order, page by page.
pub(crate) async fn the_grant_form_shows_the_grant_in_one_order<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    for i in 0..5 {
        for project in ["alpha", "beta", "gamma"] {
            accepted(&journal, memory(project, &format!("m{i}"), "title", 1)).await;
        }
    }
    let all = read_grant(&journal, Grant::Every).await;
    assert_eq!(all.len(), 15);
    assert!(all.is_sorted_by(|a, b| a.seq < b.seq));
    let two = read_grant(&journal, grant(&["alpha", "gamma"])).await;
    let expected: Vec<_> = all.into_iter().filter(|row| row.project != "beta").collect();
    assert_eq!(two, expected);
    let none = GrantAsk { grant: grant(&[]), since_seq: 0, rows_max: 100, bytes_max: 100 };
    assert!(journal.grant_page(none).await.expect("a page").rows.is_empty());
}

/// At its head a project's digest is the sum over the join of each entity, whatever came in which order.
pub(crate) async fn the_digest_is_what_the_current_versions_add_up_to<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let gone = json!({"sync_id": "m1", "session_id": "s", "deleted_at": "2026-11-22 16:00:00", "deleted": true});
    for entry in [
        session("alpha", "s"),
        memory("alpha", "m1", "first", 1),
        memory("alpha", "m2", "second", 5),
        memory("alpha", "m2", "stale", 2),
        memory("alpha", "m2", "third", 9),
        entry("alpha", "observation", "m1", "delete", gone),
        prompt("alpha", "p", "2026-11-22 14:00:00"),
        entry("alpha", "mood", "x", "upsert", json!({"a": 1})),
        memory("beta", "m1", "first", 1),
    ] {
        let id = format!("d:{}:{}", entry.entity_key, entry.payload);
        fates(&journal, vec![with_id(id, entry)]).await;
        for project in ["alpha", "beta"] {
            let rows = read_all(&journal, &[project]).await;
            let head = rows.last().map_or(0, |row| row.seq);
            let page = page(&journal, &[(project, head)], 10).await;
            assert_eq!(page.digests[&name(project)], sum(&rows), "{project}");
        }
    }
    let behind = page(&journal, &[("alpha", 0), ("beta", 0)], 1).await;
    assert!(behind.digests.len() < 2, "only a project that ends here has one");
    journal.close().await;
    let journal = bench.open(Clock::system()).await;
    let rows = read_all(&journal, &["alpha"]).await;
    let head = rows.last().map_or(0, |row| row.seq);
    assert_eq!(page(&journal, &[("alpha", head)], 10).await.digests[&name("alpha")], sum(&rows));
}

pub(crate) fn sum(rows: &[PulledMutation]) -> Digest {
    let mut versions = BTreeMap::new();
    for row in rows {
        let Some(entity) = Entity::parse(&row.entity) else { continue };
        let payload = payload_object(row.payload.clone()).expect("an object");
        let op = Op::parse(&row.op).expect("an operation");
        let version = Version::read(entity, &row.entity_key, op, &payload).expect("a version");
        versions.insert((entity, row.entity_key.clone()), version);
    }
    versions.iter().fold(Digest::default(), |sum, ((_, key), version)| sum.plus(Digest::of(key, version)))
}
