//! A client that behaves like the Go program: its tables, its writes, its pushes and pulls, its faults.
//!
//! Written from the description of its behaviour. It overwrites in the order of arrival, keeps one cursor for every
//! project, acknowledges by count, halts at a missing parent, and queues what it pulled again when its store is opened.

mod apply;
mod backfill;
pub mod beside;
mod cached;
mod chunk;
mod lease;
pub mod saver;
mod schema;
pub mod server;
pub mod user;
mod write;

use cached::Cached as _;
use engram_proto::http::pull::PulledMutation;
use engram_proto::time::RowTime;
use rusqlite::{Connection, params};
use serde::Deserialize;
use serde_json::{Value, json};
use std::future::Future;
use std::path::{Path, PathBuf};

/// Rows of one push and of one page.
const BATCH_ROWS: usize = 100;

/// How a client reaches its server: what it sends, and the status and body that come back.
pub trait Wire {
    /// Sends a push.
    fn push(&self, body: String) -> impl Future<Output = (u16, String)>;

    /// Asks for a page of the `GET` form.
    fn page(&self, since_seq: u64, limit: usize) -> impl Future<Output = (u16, String)>;
}

/// A server over HTTP.
#[derive(Clone)]
pub struct Remote {
    /// The server.
    pub url: String,
    /// The token.
    pub token: String,
    /// What sends the requests.
    pub http: reqwest::Client,
}

impl Remote {
    /// Makes one that reaches the server of this URL.
    ///
    /// # Panics
    /// Where no client can be made.
    #[must_use]
    pub fn new(url: &str, token: &str) -> Self {
        // Whoever made the first one installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { url: url.to_owned(), token: token.to_owned(), http }
    }
}

impl Wire for Remote {
    async fn push(&self, body: String) -> (u16, String) {
        let request = self.http.post(format!("{}/sync/mutations/push", self.url)).bearer_auth(&self.token);
        let answer = request.header("content-type", "application/json").body(body).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    async fn page(&self, since_seq: u64, limit: usize) -> (u16, String) {
        let url = format!("{}/sync/mutations/pull?since_seq={since_seq}&limit={limit}", self.url);
        let answer = self.http.get(url).bearer_auth(&self.token).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }
}

/// Why a cycle ended early.
#[derive(Debug)]
pub enum Halt {
    /// A pulled row does not apply: every later pull stops at it again.
    Apply {
        /// The row.
        row: Box<PulledMutation>,
        /// What the store says.
        error: String,
    },
    /// The server refused a push, or its answer acknowledges nothing.
    Push {
        /// The status line's number.
        status: u16,
        /// What it said.
        body: String,
    },
}

/// A page as this client reads it: the fields that it knows, all of them demanded.
#[derive(Deserialize)]
struct Page {
    mutations: Vec<PulledMutation>,
    has_more: bool,
}

/// What this client reads of the answer to a push.
#[derive(Deserialize)]
struct Pushed {
    #[serde(default)]
    accepted_seqs: Vec<i64>,
}

/// A journal row on its way out.
struct Pending {
    seq: i64,
    project: String,
    entry: Value,
}

/// One client with its store.
pub struct GoClient {
    path: PathBuf,
    /// Its store, for tests to look into.
    pub db: Connection,
    /// What its clock says.
    pub now: RowTime,
    written: u32,
    name: String,
}

impl GoClient {
    /// Opens a store: makes it where there is none, and queues what has no journal row.
    ///
    /// # Panics
    /// Where SQLite refuses.
    #[must_use]
    pub fn open(path: &Path, now: RowTime) -> Self {
        let name = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Self::over(path, &name, now)
    }

    /// Opens a store in memory, for a client of this name.
    ///
    /// # Panics
    /// Where SQLite refuses.
    #[must_use]
    pub fn in_memory(name: &str, now: RowTime) -> Self {
        Self::over(Path::new(":memory:"), name, now)
    }

    fn over(path: &Path, name: &str, now: RowTime) -> Self {
        Self::on(Connection::open(path).expect("a store"), path, name, now)
    }

    fn on(db: Connection, path: &Path, name: &str, now: RowTime) -> Self {
        db.execute_batch(schema::TABLES).expect("tables");
        db.execute(schema::TARGET, []).expect("the target");
        db.set_prepared_statement_cache_capacity(cached::STATEMENTS_MAX);
        let client = Self { path: path.to_owned(), db, now, written: 0, name: name.to_owned() };
        client.backfill();
        client
    }

    /// Begins anew on a store that somebody emptied.
    ///
    /// # Panics
    /// Where SQLite refuses.
    pub fn begin_again(&mut self, now: RowTime) {
        (self.now, self.written) = (now, 0);
        self.db.execute_cached(schema::TARGET, []).expect("the target");
        self.backfill();
    }

    /// Does to the store what opening it once more does, as every command of the program begins.
    pub fn open_again(&self) {
        self.backfill();
    }

    /// Closes the store and opens it again, as every command of the program does.
    #[must_use]
    pub fn reopened(self) -> Self {
        let Self { path, now, written, .. } = self;
        Self { written, ..Self::open(&path, now) }
    }

    /// Enrolls a project; what is there of it is queued.
    ///
    /// # Panics
    /// Where SQLite refuses.
    pub fn enroll(&self, project: &str) {
        let sql = "INSERT OR IGNORE INTO sync_enrolled_projects (project) VALUES (?1)";
        self.db.execute_cached(sql, [project]).expect("enrolled");
        self.backfill();
    }

    /// Runs a cycle as its autosync does: under the lease on the store, which it gives back at its end. Tells whether the
    /// lease was to be had.
    ///
    /// # Errors
    /// [`Halt`] where it stops.
    ///
    /// # Panics
    /// Where the server cannot be reached, does not speak the contract, or SQLite refuses.
    pub async fn autosync(&mut self, remote: &Remote) -> Result<bool, Halt> {
        if !self.take_lease() {
            return Ok(false);
        }
        let cycle = self.cycle(remote).await;
        self.give_lease_back();
        cycle.map(|()| true)
    }

    /// Pushes one batch, tries what waits again, and pulls to the end.
    ///
    /// # Errors
    /// [`Halt`] where it stops.
    ///
    /// # Panics
    /// Where the server cannot be reached or does not speak the contract.
    pub async fn cycle(&mut self, remote: &impl Wire) -> Result<(), Halt> {
        self.push(remote).await?;
        self.replay();
        self.pull(remote).await
    }

    /// Pushes at most a hundred rows, one request per project.
    ///
    /// # Errors
    /// [`Halt::Push`] where a request is refused; the projects after it wait.
    ///
    /// # Panics
    /// Where the server cannot be reached.
    pub async fn push(&mut self, remote: &impl Wire) -> Result<(), Halt> {
        let pending = self.pending();
        let mut projects: Vec<&str> = Vec::new();
        for row in &pending {
            if !projects.contains(&row.project.as_str()) {
                projects.push(&row.project);
            }
        }
        for project in projects {
            let group: Vec<&Pending> = pending.iter().filter(|row| row.project == project).collect();
            let entries: Vec<&Value> = group.iter().map(|row| &row.entry).collect();
            let body = json!({"entries": entries, "created_by": "go"}).to_string();
            let (status, body) = remote.push(body).await;
            let read: Option<Pushed> = serde_json::from_str(&body).ok().filter(|_| status == 200);
            if read.is_none_or(|read| read.accepted_seqs.len() != group.len()) {
                return Err(Halt::Push { status, body });
            }
            for row in group {
                let sql = "UPDATE sync_mutations SET acked_at = ?2 WHERE seq = ?1";
                self.db.execute_cached(sql, params![row.seq, self.now.to_string()]).expect("acknowledged");
                let sql = "UPDATE sync_state SET last_acked_seq = max(last_acked_seq, ?1) WHERE target_key = 'cloud'";
                self.db.execute_cached(sql, [row.seq]).expect("acknowledged");
            }
        }
        Ok(())
    }

    /// Pulls page after page and applies row after row.
    ///
    /// # Errors
    /// [`Halt::Apply`] where a row does not apply.
    ///
    /// # Panics
    /// Where the server cannot be reached or does not speak the contract.
    pub async fn pull(&mut self, remote: &impl Wire) -> Result<(), Halt> {
        loop {
            let page = self.page(remote, BATCH_ROWS).await;
            let has_more = page.has_more;
            assert!(!has_more || !page.mutations.is_empty(), "more without a row: asked for again without end");
            for row in page.mutations {
                self.apply(row)?;
            }
            if !has_more {
                return Ok(());
            }
        }
    }

    /// Pulls one page and applies only its first rows, as a client that is killed in the middle of it.
    ///
    /// # Errors
    /// [`Halt::Apply`] where a row does not apply.
    ///
    /// # Panics
    /// Where the server cannot be reached.
    pub async fn pull_some(&mut self, remote: &impl Wire, rows: usize) -> Result<(), Halt> {
        let page = self.page(remote, BATCH_ROWS).await;
        page.mutations.into_iter().take(rows).try_for_each(|row| self.apply(row))
    }

    async fn page(&self, remote: &impl Wire, limit: usize) -> Page {
        let (status, body) = remote.page(self.cursor(), limit).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("a page")
    }

    /// Returns its one cursor.
    ///
    /// # Panics
    /// Where SQLite refuses.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        let sql = "SELECT last_pulled_seq FROM sync_state WHERE target_key = 'cloud'";
        self.db.row_cached(sql, [], |row| row.get::<_, i64>(0)).expect("a cursor").unsigned_abs()
    }

    /// Counts what it has to push.
    ///
    /// # Panics
    /// Where SQLite refuses.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.pending().len()
    }

    fn pending(&self) -> Vec<Pending> {
        let sql = "SELECT seq, project, entity, entity_key, op, payload FROM sync_mutations WHERE acked_at IS NULL
                   AND (project = '' OR project IN (SELECT project FROM sync_enrolled_projects))
                   ORDER BY seq LIMIT ?1";
        let mut statement = self.db.prepare_cached(sql).expect("a statement");
        let rows = statement.query_map([i64::try_from(BATCH_ROWS).expect("small")], |row| {
            let text = |at: usize| row.get::<_, String>(at);
            let (project, payload) = (text(1)?, text(5)?);
            let payload: Value = serde_json::from_str(&payload).expect("a payload");
            let entry = json!({
                "project": project, "entity": text(2)?, "entity_key": text(3)?, "op": text(4)?, "payload": payload,
            });
            Ok(Pending { seq: row.get(0)?, project, entry })
        });
        rows.expect("rows").collect::<Result<_, _>>().expect("rows")
    }
}
