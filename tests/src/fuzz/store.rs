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
/// A text of so many bytes is kept whole.
const CONTENT_BYTES: usize = 10_000;

/// A device's store with some memories in it.
pub(super) struct Desk {
    pub(super) store: Store,
    fence: Fence,
    inputs: u32,
}

thread_local! {
    static DESK: RefCell<Option<Desk>> = const { RefCell::new(None) };
}

pub(super) fn at() -> RowTime {
    RowTime::parse("2026-11-22 14:00:00").expect("a time")
}

pub(super) fn project() -> ProjectName {
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

pub(super) fn with_desk(run: impl FnOnce(&mut Desk)) {
    DESK.with_borrow_mut(|kept| {
        let desk = kept.get_or_insert_with(desk);
        run(desk);
        desk.inputs += 1;
        if desk.inputs >= INPUTS_MAX {
            *kept = None;
        }
    });
}

impl Desk {
    /// Applies a page from the beginning, twice: the rows that cannot apply are set aside (ISO-3), twice is as once.
    pub(super) fn apply(&mut self, request: &PullRequest, page: &PullReply) {
        let mut applied = || {
            let seen = self.store.apply_page(&self.fence, "cloud-1", &request.cursors, page, at()).map(drop);
            // What SQLite cannot keep as a number is refused as a whole; anything else is a row's own fault.
            assert!(seen.is_ok() || page.cursors.values().any(|&seq| i64::try_from(seq).is_err()), "{seen:?}");
            self.store.canonical_dump(&project()).expect("a dump")
        };
        let once = applied();
        assert_eq!(applied(), once, "IDEM-1");
        self.books();
    }

    /// Looks whether every row is in one set.
    pub(super) fn books(&self) {
        let books = self.store.ack2(&project()).expect("books");
        assert_eq!(books.written, books.pending + books.acked + books.held + books.void, "ACK-2: {books:?}");
    }
}

/// Asks for everything of the one project.
pub(super) fn from_the_beginning() -> PullRequest {
    PullRequest { cursors: [(project(), 0)].into(), limit: 1_000, ..PullRequest::default() }
}

/// A page as a device pulls it: refused, or applied with its rows set aside or in place.
pub(super) fn pull_page(input: &[u8]) {
    let Ok(page) = serde_json::from_slice::<PullReply>(input) else { return };
    let request = from_the_beginning();
    if check(&request, &page).is_ok() {
        with_desk(|desk| desk.apply(&request, &page));
    }
}

/// A question in any words: it finds something or nothing, and is no error; whoever asks in a memory's own words finds it.
pub(super) fn search(input: &[u8]) {
    let Ok(query) = std::str::from_utf8(input) else { return };
    with_desk(|desk| {
        ask(desk, query);
        // What is private, or no text, or too long is not kept as it is.
        let is_kept = !query.contains(['<', '\0']) && query.len() < CONTENT_BYTES;
        if is_kept && query.chars().any(|c| c.is_ascii_alphanumeric()) {
            let request = SaveRequest {
                title: "asked for".to_owned(),
                content: query.to_owned(),
                project: "alpha".to_owned(),
                directory: "/src".to_owned(),
                ..SaveRequest::default()
            };
            memory::save(&mut desk.store, &request, &Now { at: at(), random: [7; 8] }).expect("saved");
            assert!(ask(desk, query) > 0, "{query:?} is not found");
        }
    });
}

fn ask(desk: &Desk, query: &str) -> usize {
    let request = SearchRequest { query: query.to_owned(), limit: 10, ..SearchRequest::default() };
    let found = desk.store.read(|conn| Ok(memory::search(conn, &request))).expect("a read");
    let found = found.unwrap_or_else(|error| panic!("{query:?}: {error}"));
    assert!(found.len() <= 10, "{query:?}");
    found.len()
}
