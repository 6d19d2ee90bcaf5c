//! What reaches the store: pulled pages and questions.

use engram_proto::http::pull::{PullReply, PullRequest};
use engram_proto::id::ProjectName;
use engram_proto::ipc::request::{SaveRequest, SearchRequest};
use engram_proto::time::RowTime;
use engramd::memory::{self, Now};
use engramd::store::Store;
use engramd_core::pull_page::check;
use engramd_core::rows::{Fence, LeaseOutcome};
use std::cell::RefCell;

/// A store is made anew after so many inputs, so that none grows without end.
const INPUTS_MAX: u32 = 500;

struct Desk {
    store: Store,
    fence: Fence,
    inputs: u32,
}

thread_local! {
    static DESK: RefCell<Option<Desk>> = const { RefCell::new(None) };
}

fn at() -> RowTime {
    RowTime::parse("2026-11-22 14:00:00").expect("a time")
}

fn project() -> ProjectName {
    ProjectName::parse("alpha").expect("a name")
}

fn desk() -> Desk {
    let mut store = Store::open_in_memory(at()).expect("a store");
    store.enroll(&project(), at()).expect("enrolled");
    let LeaseOutcome::Granted { fence, .. } = store.acquire_lease("fuzz", 0, 60_000).expect("a lease") else {
        unreachable!("nobody else is there")
    };
    for n in 0_u64..20 {
        let request = SaveRequest {
            title: format!("title {n} \"quoted\""),
            content: format!("words that are found, NEAR each other; number {n}"),
            project: "alpha".to_owned(),
            directory: "/src".to_owned(),
            ..SaveRequest::default()
        };
        memory::save(&mut store, &request, &Now { at: at(), random: n.to_be_bytes() }).expect("saved");
    }
    Desk { store, fence, inputs: 0 }
}

fn with_desk(run: impl FnOnce(&mut Desk)) {
    DESK.with_borrow_mut(|kept| {
        let desk = kept.get_or_insert_with(desk);
        run(desk);
        desk.inputs += 1;
        if desk.inputs >= INPUTS_MAX {
            *kept = None;
        }
    });
}

/// A page as a device pulls it: refused, or applied with its rows set aside or in place (ISO-3); twice is as once.
pub(super) fn pull_page(input: &[u8]) {
    let Ok(page) = serde_json::from_slice::<PullReply>(input) else { return };
    let request = PullRequest { cursors: [(project(), 0)].into(), limit: 1_000, ..PullRequest::default() };
    if check(&request, &page).is_err() {
        return;
    }
    with_desk(|desk| {
        let mut applied = || {
            let seen = desk.store.apply_page(&desk.fence, "cloud-1", &request.cursors, &page, at()).map(drop);
            // What SQLite cannot keep as a number is refused as a whole; anything else is a row's own fault.
            assert!(seen.is_ok() || page.cursors.values().any(|&seq| i64::try_from(seq).is_err()), "{seen:?}");
            desk.store.canonical_dump(&project()).expect("a dump")
        };
        let once = applied();
        assert_eq!(applied(), once, "IDEM-1");
        let books = desk.store.ack2(&project()).expect("books");
        assert_eq!(books.written, books.pending + books.acked + books.held + books.void, "ACK-2: {books:?}");
    });
}

/// A question in any words: it finds something or nothing, and is no error.
pub(super) fn search(input: &[u8]) {
    let Ok(query) = std::str::from_utf8(input) else { return };
    with_desk(|desk| {
        let request = SearchRequest { query: query.to_owned(), limit: 10, ..SearchRequest::default() };
        let found = desk.store.read(|conn| Ok(memory::search(conn, &request))).expect("a read");
        assert!(found.is_ok_and(|found| found.len() <= 10), "{query:?}");
    });
}
