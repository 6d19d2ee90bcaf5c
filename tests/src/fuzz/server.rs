//! What our server is asked by anybody: both kinds of push, through its real routes. What it took, a device can pull.

use super::store::{self, from_the_beginning, project};
use crate::model::{Disk, ModelJournal, SharedDisk};
use crate::routes::Routes;
use axum::body::{Body, Bytes};
use axum::http::Request;
use engram_cloud::clock::Clock;
use engram_proto::chunk::{Chunk, ChunkId, Manifest, canonical_bytes};
use engram_proto::http::chunk::{ChunkPushReply, ChunkPushRequest};
use engram_proto::http::error::ErrorBody;
use engram_proto::http::path;
use engram_proto::http::pull::PullReply;
use engram_proto::http::push::{PushEntry, PushReply, ReceiptStatus};
use engram_proto::id::ProjectName;
use engramd_core::pull_page::check;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

/// 2026-11-22 14:00:00 UTC.
const NOW_US: i64 = 1_795_356_000_000_000;

struct Server {
    journal: ModelJournal,
    routes: Routes,
    runtime: Runtime,
}

thread_local! {
    static SERVER: Server = {
        let clock = Clock::new(|| NOW_US);
        let journal = ModelJournal::open(SharedDisk::new(Disk::new("cloud-1").into()), clock.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Server { routes: Routes::over(journal.clone(), clock), journal, runtime }
    };
}

/// Runs a closure with a server that holds nothing yet.
fn with_server(run: impl FnOnce(&Server)) {
    SERVER.with(|server| {
        *server.journal.disk() = Disk::new("cloud-1");
        run(server);
    });
}

impl Server {
    fn post(&self, path: &str, body: &[u8]) -> (u16, Bytes) {
        let request = Request::post(path).header("content-type", "application/json");
        self.ask(request.body(Body::from(body.to_vec())).expect("a request"))
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        read(&self.get_bytes(path))
    }

    fn get_bytes(&self, path: &str) -> Bytes {
        let (status, body) = self.ask(Request::get(path).body(Body::empty()).expect("a request"));
        assert_eq!(status, 200, "{path}");
        body
    }

    /// No request is the server's own fault.
    fn ask(&self, request: Request<Body>) -> (u16, Bytes) {
        let (status, body) = self.runtime.block_on(self.routes.ask(request));
        assert!(status < 500, "{status} {}", String::from_utf8_lossy(&body));
        (status, body)
    }

    fn rows(&self) -> usize {
        self.journal.disk().rows.len()
    }

    /// Answers a request that was refused: in words, with nothing stored.
    fn refused(&self, body: &[u8]) {
        let error: ErrorBody = read(body);
        assert!(!error.error.is_empty() && !error.error_code.is_empty(), "{error:?}");
        assert_eq!(self.rows(), 0, "nothing of it was stored");
    }

    /// Lets a device pull what there is.
    fn is_pulled(&self) {
        let request = from_the_beginning();
        let (status, page) = self.post(path::PULL, &serde_json::to_vec(&request).expect("JSON"));
        assert_eq!(status, 200);
        let page: PullReply = read(&page);
        check(&request, &page).expect("CUR-1: a page that can be true");
        store::with_desk(|desk| desk.apply(&request, &page));
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> T {
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
}

/// What of a push of mutations is taken; nobody looks at what else stands in it.
#[derive(Deserialize)]
struct Sent {
    entries: Vec<PushEntry>,
}

/// A push of mutations: refused, or taken entry by entry.
pub(super) fn push_request(input: &[u8]) {
    with_server(|server| {
        let (status, body) = server.post(path::PUSH, input);
        if status != 200 {
            return server.refused(&body);
        }
        let Sent { entries } = read(input);
        let (sent, reply): (_, PushReply) = (entries.len(), read(&body));
        assert_eq!((reply.accepted_seqs.len(), reply.receipts.len().max(sent)), (sent, sent), "ACK-1: {reply:?}");
        let named: Vec<_> = entries.iter().filter_map(|entry| ProjectName::parse(&entry.project).ok()).collect();
        let rows = server.rows();
        for row in &server.journal.disk().rows {
            assert!(named.contains(&row.name.project), "SCOPE-2: it is stored where it was authorised");
        }
        // To a Go client that passed over it, what is current is shown once more.
        let is_named = |entry: &PushEntry| entry.mutation_id.as_ref().is_some_and(|id| !id.trim().is_empty());
        if entries.iter().all(is_named) {
            let (status, body) = server.post(path::PUSH, input);
            let again: PushReply = read(&body);
            assert_eq!((status, server.rows()), (200, rows), "IDEM-1");
            let is_new = again.receipts.iter().any(|receipt| receipt.status == ReceiptStatus::Accepted);
            assert!(!is_new, "IDEM-1: {again:?}");
        }
        server.is_pulled();
    });
}

/// A push of a chunk: refused, or kept to the byte and told in rows.
pub(super) fn chunk_push(input: &[u8]) {
    with_server(|server| {
        let push = format!("{}?project=alpha", path::CHUNK_PUSH);
        let (status, body) = server.post(&push, input);
        if status != 200 {
            return server.refused(&body);
        }
        let (request, reply): (ChunkPushRequest, ChunkPushReply) = (read(input), read(&body));
        let named = request.project.and_then(|name| ProjectName::parse(&name).ok()).unwrap_or_else(project);
        // Names have spaces, and `%` too.
        let hex: String = named.as_str().bytes().map(|byte| format!("%{byte:02x}")).collect();
        let bytes = server.get_bytes(&format!("{}/{}?project={hex}", path::CHUNKS, reply.chunk_id));
        let of_bytes = ChunkId::of_bytes(&bytes);
        assert_eq!(reply.chunk_id, of_bytes.as_str(), "it is served to the byte");
        let form = canonical_bytes(read(&bytes), named.as_str()).expect("a chunk");
        assert_eq!(form, bytes, "the canonical form is its own");
        let rows = server.rows();
        let listed: Manifest = server.get(&format!("{}?project={hex}", path::CHUNKS));
        for entry in listed.chunks {
            let _: Chunk = server.get(&format!("{}/{}?project={hex}", path::CHUNKS, entry.id));
        }
        assert_eq!(server.post(&push, input), (200, body), "IDEM-1");
        assert_eq!(server.rows(), rows, "IDEM-1");
        server.is_pulled();
    });
}
