//! The server on Postgres: through the wire, beside another server, and while the database is away.

use crate::binary::{Running, output};
use crate::harness::*;
use engram_cloud::config::{DatabaseUrl, Store};
use engram_tests::postgres::Database;
use serde_json::json;

const KEY: &str = "thirty-two-bytes-are-long-enough";

async fn server(database: &Database) -> Server {
    let url = DatabaseUrl::parse(&database.url()).expect("an address");
    Server::with(|config| config.store = Store::Postgres(url)).await
}

/// cloud-http.md: a request waiting at one server is woken by a push at another.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_at_one_server_wakes_who_waits_at_another() {
    let Some(database) = Database::new() else { return };
    let (here, there) = (server(&database).await, server(&database).await);
    let body = json!({"cursors": {"alpha": 0}, "limit": 10, "wait_seconds": 25});
    let waiting = tokio::spawn(async move { here.post(PULL, &body).await });
    let pushed = there.push(json!([session("alpha", "s")])).await;
    let page = tokio::time::timeout(DEADLINE, waiting).await.expect("in time").expect("no panic");
    assert_eq!(page.body["mutations"][0]["seq"], pushed["accepted_seqs"][0]);
}

/// A database that is away is 503 with a time to come back, never a question of access; nothing that was acknowledged is
/// lost, and the server recovers by itself (DUR-1).
#[tokio::test(flavor = "multi_thread")]
async fn dur_1_a_database_that_went_away_is_503_until_it_is_back() {
    let Some(database) = Database::new() else { return };
    let other = Database::new().expect("a second database");
    let server = server(&database).await;
    let first = server.push(json!([session("alpha", "s")])).await;
    other.query(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", database.name()));
    let gone = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", database.name());
    other.query(&gone);
    for path in [PULL, "/ready"] {
        let refused = server.get(path).await;
        assert_eq!((refused.status.as_u16(), refused.headers["retry-after"].as_bytes()), (503, &b"5"[..]), "{path}");
    }
    let refused = server.post(PUSH, &json!({"entries": [session("alpha", "t")]})).await;
    assert_eq!((refused.status.as_u16(), &refused.body["error_code"]), (503, &json!("store_unavailable")));
    assert_eq!(server.get("/health").await.status, 200);
    other.query(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", database.name()));
    let second = server.push(json!([session("alpha", "t")])).await;
    let page = server.get(PULL).await.body;
    let seqs: Vec<_> = page["mutations"].as_array().expect("rows").iter().map(|row| row["seq"].clone()).collect();
    assert_eq!(seqs, [first["accepted_seqs"][0].clone(), second["accepted_seqs"][0].clone()]);
    // Also connections that end while nobody asks cost nobody an answer to a push.
    other.query(&gone);
    server.push(json!([session("alpha", "u")])).await;
}

/// cloud.md: `admin` works beside a running server, on either store; 409 for pushes of the project and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn admin_pauses_and_resumes_on_postgres() {
    let Some(database) = Database::new() else { return };
    let nowhere = tempfile::tempdir().expect("a temporary directory");
    let url = database.url();
    let env = [
        ("ENGRAM_DATABASE_URL", url.as_str()),
        ("ENGRAM_CLOUD_TOKEN", TOKEN),
        ("ENGRAM_CLOUD_ALLOWED_PROJECTS", "*"),
        ("ENGRAM_JWT_SECRET", KEY),
    ];
    let missing = output(&["admin", "paused"], nowhere.path(), &env);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("start engram-cloud serve once"), "{missing:?}");
    let server = Running::start(nowhere.path(), &env);
    let push = |project: &'static str| {
        let body = json!({"entries": [session(project, "s")]}).to_string();
        let request = client().post(format!("{}{PUSH}", server.url)).bearer_auth(TOKEN).body(body);
        async { answer(request).await.status.as_u16() }
    };
    assert_eq!(push("my-project").await, 200);
    assert!(
        output(&["admin", "pause", "My--Project", "--reason", "moving house"], nowhere.path(), &env).status.success()
    );
    assert_eq!((push("my-project").await, push("other").await), (409, 200));
    let pull = client().get(format!("{}{PULL}", server.url)).bearer_auth(TOKEN);
    assert_eq!(answer(pull).await.body["mutations"][0]["project"], "my-project");
    let listed = output(&["admin", "paused"], nowhere.path(), &env);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.starts_with("my-project\t") && listed.contains("moving house"), "{listed}");
    assert!(output(&["admin", "resume", "my-project"], nowhere.path(), &env).status.success());
    assert_eq!(push("my-project").await, 200);
    let audit = output(&["admin", "audit"], nowhere.path(), &env);
    let audit = String::from_utf8_lossy(&audit.stdout).into_owned();
    let lines: Vec<Vec<&str>> = audit.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 2, "{audit}");
    assert_eq!((lines[0][0], lines[0][1], lines[0].len()), ("project.resume", "my-project", 4), "{audit}");
    assert_eq!((lines[1][0], lines[1][3], lines[1][4]), ("project.pause", "by admin", "moving house"), "{audit}");
    server.terminate();
    assert_eq!(std::fs::read_dir(nowhere.path()).expect("a directory").count(), 0, "the data directory is not used");
}

/// SECRET-1: a database that does not answer is one line without its password.
#[test]
fn secret_1_a_database_that_is_not_there_is_one_line() {
    let nowhere = tempfile::tempdir().expect("a temporary directory");
    let url = "postgres://me:password-of-it@127.0.0.1:1/engram";
    let env = [("ENGRAM_DATABASE_URL", url), ("ENGRAM_CLOUD_INSECURE_NO_AUTH", "1"), ("ENGRAM_JWT_SECRET", KEY)];
    let out = output(&["serve", "--port", "0"], nowhere.path(), &env);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!((out.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("the database of ENGRAM_DATABASE_URL does not open") && !said.contains("password-of-it"));
}
