//! The chunk rail: what is pushed as a chunk is in the journal, and the list of chunks tells the journal.

use crate::bench::*;
use crate::peer_rows::{load, opened};
use engram_cloud::clock::Clock;
use engram_cloud::journal::admit::Name;
use engram_cloud::journal::rail::{ChunkPush, ChunkPushed, NewChunk, Slice, Telling};
use engram_cloud::journal::{Batch, Content, Control, Entry, Journal, Rail};
use engram_proto::canonical::Hash;
use engram_proto::chunk::ChunkId;
use engram_proto::http::push::PushEntry;
use serde_json::json;
use std::collections::BTreeSet;

fn chunk(text: &str) -> NewChunk {
    NewChunk {
        project: name("alpha"),
        text: text.to_owned(),
        created_by: "somebody".to_owned(),
        client_created_at_us: None,
        counts: [1, 2, 3],
        sessions: BTreeSet::new(),
    }
}

/// A chunk of these bytes that says this, and nothing else.
fn saying(text: &str, entries: Vec<PushEntry>) -> ChunkPush {
    let entries: Vec<Entry> = entries.into_iter().map(|entry| Entry::read(name(&entry.project), entry)).collect();
    let mut telling = Telling::default();
    for entry in &entries {
        if let Ok(Content::Known(known)) = &entry.content {
            let name = Name { project: entry.project.clone(), entity: entry.entity.clone(), key: entry.key.clone() };
            telling.statements.insert(name, known.version.clone());
        }
    }
    let batch = Batch { is_atomic: true, ..Batch::new("somebody", entries) };
    ChunkPush { chunk: chunk(text), batch, telling: Some(telling), references: BTreeSet::new() }
}

async fn kept<J: Journal>(journal: &J, push: ChunkPush) -> ChunkId {
    match journal.push_chunk(push).await.expect("the store takes it") {
        ChunkPushed::Kept(id) => id,
        other => panic!("refused: {other:?}"),
    }
}

async fn listed<J: Journal>(journal: &J) -> Vec<String> {
    let chunks = journal.chunks(&name("alpha")).await.expect("the store answers");
    chunks.into_iter().map(|one| one.id).collect()
}

/// IDEM-1, D24, D68.
pub(crate) async fn a_chunk_is_served_to_the_byte_and_kept_once<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let text = r#"{"extra":{"a":1e+21,"b":12345678901234567000,"c":0.1,"d":0,"e":1e-7,"f":"\u003cb\u003e \\ \" ü"},"sessions":[]}"#;
    let id = kept(&journal, saying(text, vec![session("alpha", "s")])).await;
    assert!(id.names(&Hash::of_bytes(text.as_bytes())) && id.as_str().len() == 8);
    assert_eq!(journal.chunk(&name("alpha"), &id).await.expect("the store answers").as_deref(), Some(text));
    assert_eq!(journal.chunk(&name("beta"), &id).await.expect("the store answers"), None, "another project");
    let rows = read_all(&journal, &["alpha"]).await;
    let list = journal.chunks(&name("alpha")).await.expect("the store answers");
    assert_eq!((list[0].sessions, list[0].memories, list[0].prompts), (1, 2, 3));
    assert_eq!(kept(&journal, saying(text, vec![session("alpha", "s")])).await, id);
    assert_eq!(read_all(&journal, &["alpha"]).await, rows);
    assert_eq!(journal.chunks(&name("alpha")).await.expect("the store answers"), list);
}

/// A chunk that lost, or before which rows are not told, is kept and not listed.
pub(crate) async fn a_chunk_is_listed_where_it_tells_the_truth<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let first = kept(&journal, saying("{\"n\":1}", vec![session("alpha", "s"), memory("alpha", "m", "one", 5)])).await;
    let lost = kept(&journal, saying("{\"n\":2}", vec![memory("alpha", "m", "older", 4)])).await;
    assert_eq!(listed(&journal).await, [first.as_str()]);
    let state = journal.rail(&name("alpha")).await.expect("the store answers");
    assert!(state.told_to < state.head, "what it lost to was shown once more, and no chunk tells that: {state:?}");
    let behind = kept(&journal, saying("{\"n\":3}", vec![memory("alpha", "other", "new", 6)])).await;
    assert_eq!(listed(&journal).await, [first.as_str()]);
    for id in [lost, behind] {
        assert!(journal.chunk(&name("alpha"), &id).await.expect("the store answers").is_some());
    }
    assert_eq!(last(&read_all(&journal, &["alpha"]).await, "other").payload["title"], "new");
}

/// CONV-1: whoever pushed a chunk never applies it again over an older row that is told before it.
pub(crate) async fn conv_1_a_chunk_that_overwrites_is_left_to_slices<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let first = kept(&journal, saying("{\"n\":1}", vec![session("alpha", "s"), memory("alpha", "m", "one", 5)])).await;
    let state = journal.rail(&name("alpha")).await.expect("the store answers");
    assert_eq!(state.told_to, state.head);
    let over = kept(&journal, saying("{\"n\":2}", vec![memory("alpha", "m", "newer", 6)])).await;
    assert_eq!(listed(&journal).await, [first.as_str()]);
    assert!(journal.chunk(&name("alpha"), &over).await.expect("the store answers").is_some(), "it is kept");
    let state = journal.rail(&name("alpha")).await.expect("the store answers");
    assert!(state.told_to < state.head, "{state:?}");
    assert_eq!(last(&read_all(&journal, &["alpha"]).await, "m").payload["title"], "newer");
}

/// Of two that tell the same rows one is listed.
pub(crate) async fn a_slice_goes_on_where_the_list_ends<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let told = accepted(&journal, session("alpha", "s")).await;
    let slice = |text: &str| Slice { project: name("alpha"), after: 0, upto: told.seq, chunk: Some(chunk(text)) };
    assert!(journal.tell(slice("{\"n\":1}")).await.expect("the store takes it"));
    assert!(!journal.tell(slice("{\"n\":2}")).await.expect("the store takes it"));
    let state = journal.rail(&name("alpha")).await.expect("the store answers");
    assert_eq!((state.told_to, state.head), (told.seq, told.seq));
    assert_eq!(listed(&journal).await.len(), 1);
    accepted(&journal, memory("alpha", "m", "one", 5)).await;
    let head = journal.rail(&name("alpha")).await.expect("the store answers").head;
    let nothing = Slice { project: name("alpha"), after: told.seq, upto: head, chunk: None };
    assert!(journal.tell(nothing).await.expect("the store takes it"));
    assert_eq!(listed(&journal).await.len(), 1);
    let keys = ["m", "n"].map(str::to_owned).into();
    let standing = journal.standing(&name("alpha"), keys, head).await.expect("the store answers");
    assert_eq!(standing, BTreeSet::from(["m".to_owned()]));
}

/// Of a paused project, and with a session that nobody knows.
pub(crate) async fn a_chunk_that_is_refused_leaves_nothing<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let mut orphan = saying("{\"n\":1}", vec![memory("alpha", "m", "one", 5)]);
    orphan.references = ["s", "t"].map(str::to_owned).into();
    let missing = orphan.references.clone();
    let refused = journal.push_chunk(orphan.clone()).await.expect("the store answers");
    assert_eq!(refused, ChunkPushed::MissingSessions(missing));
    let control = Control {
        project: name("alpha"),
        is_sync_enabled: false,
        reason: Some("moving".to_owned()),
        updated_by: "an admin".to_owned(),
        updated_at_us: 1_000_000,
    };
    journal.set_control(control.clone()).await.expect("paused");
    let refused = journal.push_chunk(orphan.clone()).await.expect("the store answers");
    assert_eq!(refused, ChunkPushed::Paused(control.clone()));
    assert!(read_all(&journal, &["alpha"]).await.is_empty() && listed(&journal).await.is_empty());
    journal.set_control(Control { is_sync_enabled: true, ..control }).await.expect("resumed");
    accepted(&journal, session("alpha", "s")).await;
    accepted(&journal, session("alpha", "t")).await;
    let _ = kept(&journal, orphan).await;
}

/// D68: what the Go program kept as `jsonb` has the bytes again that its id is the hash of.
pub(crate) async fn a_peers_chunks_are_served_under_their_ids(bench: PostgresBench) {
    load(&bench.0);
    let journal = opened(&bench).await;
    let mut count = 0;
    for project in ["alpha", "beta", "my-project_x"] {
        for one in journal.chunks(&name(project)).await.expect("the store answers") {
            let id = ChunkId::parse(&one.id).expect("an id");
            let text = journal.chunk(&name(project), &id).await.expect("the store answers").expect("it is listed");
            assert!(id.names(&Hash::of_bytes(text.as_bytes())), "{id}");
            count += 1;
        }
    }
    assert_eq!(count, 4);
}

/// D4: deletes and relations that its server never made mutations of reach whoever syncs by mutations.
pub(crate) async fn conv_5_what_a_peer_was_told_in_chunks_alone_is_taken_over(bench: PostgresBench) {
    load(&bench.0);
    let journal = opened(&bench).await;
    let sql = "SELECT count(*) FROM engram_meta WHERE name = 'chunks_taken_over_to'";
    in_time(async {
        while bench.0.query(sql) != "1" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let rows = read_all(&journal, &["my-project_x"]).await;
    for deleted in ["obs-52412ca73d26982c", "obs-15d75d96a2ca88e8", "obs-10b2791fb8fe7bbb", "prompt-f562c442d9b6e773"] {
        // Of a soft delete the peer made an upsert that says so; it stays as it is.
        let row = last(&rows, deleted);
        assert!(row.op == "delete" || row.payload["deleted_at"].is_string(), "{row:?}");
    }
    assert_eq!(last(&rows, "obs-15d75d96a2ca88e8").payload["hard_delete"], json!(true));
    assert_eq!(last(&rows, "prompt-f562c442d9b6e773").op, "delete");
    assert_eq!(last(&rows, "rel-053bf28b366ec2ed").op, "upsert");
}
