//! Situation 20: Every transport carries the same truth: mutations, the cloud's chunks and git chunks, into fresh stores.

use crate::harness::{Person, lay_chunk, read_by_others};
use engram_proto::time::RowTime;
use engram_tests::go::GoClient;
use engram_tests::processes::{Cloud, Device, TOKEN, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a store of many years has that nobody journalled: a session without a directory, empty ones, and memories, prompts
/// and relations of long ago, of which some were deleted.
const OLD: &str = "
    INSERT INTO sessions (id, project, directory, started_at, ended_at, summary) VALUES
        ('s-blank', 'app', '', '2019-01-01 10:00:00', '2019-01-01 11:00:00', 'nobody knows where'),
        ('s-nameless', 'app', '', '2019-01-02 10:00:00', NULL, NULL),
        ('s-empty', 'app', '/old', '2019-01-03 10:00:00', NULL, NULL),
        ('s-old', 'app', '/old', '2019-01-04 10:00:00', '2019-01-04 12:00:00', 'long ago');
    INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, revision_count, duplicate_count,
            created_at, updated_at, deleted_at) VALUES
        ('o-blank', 's-blank', 'note', 'of nowhere', 'old text 1', 'app', 'project', 1, 1,
            '2019-01-01 10:00:00', '2019-01-01 10:00:00', NULL),
        ('o-nameless', 's-nameless', 'note', 'of no name', 'old text 2', 'app', 'personal', 1, 1,
            '2019-01-02 10:00:00', '2019-01-02 10:00:00', NULL),
        ('o-edited', 's-old', 'decision', 'edited long ago', 'old text 3', 'app', 'project', 7, 3,
            '2019-01-04 10:00:00', '2019-02-04 10:00:00', NULL),
        ('o-gone', 's-old', 'note', 'gone', 'old text 4', 'app', 'project', 2, 1,
            '2019-01-04 10:00:00', '2019-01-05 10:00:00', '2019-01-06 10:00:00'),
        ('o-other', 's-old', 'note', 'other', 'old text 5', 'app', 'global', 1, 1,
            '2019-01-04 10:00:00', '2019-01-05 10:00:00', NULL);
    INSERT INTO user_prompts (sync_id, session_id, content, project, created_at) VALUES
        ('p-old', 's-old', 'why so?', 'app', '2019-01-04 10:30:00');
    INSERT INTO memory_relations (sync_id, source_id, target_id, relation, confidence, judgment_status, marked_by_actor,
            marked_by_kind, created_at, updated_at) VALUES
        ('r-old', 'o-edited', 'o-other', 'supersedes', 0.75, 'judged', 'ana', 'human',
            '2019-01-05 10:00:00', '2019-01-05 10:00:00');";

/// Sessions of long ago: all of them where the situation is played at its full size, a part otherwise.
fn sessions() -> u32 {
    if std::env::var_os("ENGRAM_SCENARIO_FULL").is_some() { 2_500 } else { 250 }
}

/// As many sessions as years of work leave: every tenth without a directory, every fourth empty, most of them ended, with
/// memories that were edited or deleted long ago, prompts, and relations.
fn bulk() -> String {
    format!(
        "BEGIN IMMEDIATE;
    CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT i FROM n;
    INSERT INTO sessions (id, project, directory, started_at, ended_at, summary)
        SELECT 'b-' || i, 'app', iif(i % 10 = 0, '', '/src/' || i % 7), datetime('2019-03-01', '+' || i || ' hours'),
            iif(i % 3 > 0, datetime('2019-03-01', '+' || (i + 1) || ' hours'), NULL), iif(i % 3 = 1, 'did ' || i, NULL)
        FROM n;
    INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, revision_count, duplicate_count,
            created_at, updated_at, deleted_at)
        SELECT 'ob-' || i, 'b-' || i, 'note', 'title ' || i, 'text ' || i, 'app', 'project', 1 + i % 5, 1,
            datetime('2019-03-01', '+' || i || ' hours'), datetime('2019-03-01', '+' || (i + i % 5) || ' hours'),
            iif(i % 11 = 0, datetime('2019-03-02', '+' || (i + 9) || ' hours'), NULL)
        FROM n WHERE i % 4 > 0;
    INSERT INTO user_prompts (sync_id, session_id, content, project, created_at)
        SELECT 'pb-' || i, 'b-' || i, 'why ' || i || '?', 'app', datetime('2019-03-01', '+' || i || ' hours')
        FROM n WHERE i % 4 > 0 AND i % 5 < 2;
    INSERT INTO memory_relations (sync_id, source_id, target_id, relation, confidence, judgment_status, marked_by_actor,
            marked_by_kind, created_at, updated_at)
        SELECT 'rb-' || i, 'ob-' || i, 'ob-' || (i - 1), 'refines', 0.5, 'judged', 'ana', 'human',
            datetime('2019-03-01', '+' || i || ' hours'), datetime('2019-03-01', '+' || i || ' hours')
        FROM n WHERE i % 4 > 1 AND i % 6 = 3;
    COMMIT;",
        sessions()
    )
}

fn ctl(device: &Device, args: &[&str]) {
    let answer = device.ctl(args);
    assert_eq!(answer.code, 0, "{args:?}: {answer:?}");
}

fn store(person: &Person) -> rusqlite::Connection {
    let conn = rusqlite::Connection::open(person.device.dir.join("engram.db")).expect("the store");
    conn.busy_timeout(std::time::Duration::from_secs(10)).expect("a timeout");
    conn
}

/// Writes what is new, over what is old: edits, ends, deletes, relations.
fn work(person: &Person) -> Vec<String> {
    let device = &person.device;
    ctl(device, &["session", "start", "--id", "s-1", "--project", "app", "--directory", "/src"]);
    ctl(device, &["session", "start", "--id", "s-2", "--project", "app", "--directory", "/src"]);
    let ids: Vec<String> =
        (0..5).map(|n| device.save("app", &format!("title {n}"), &format!("new text {n}"))).collect();
    ctl(device, &["save", "--project", "app", "--title", "topical", "--topic", "a/topic", "one"]);
    ctl(device, &["save", "--project", "app", "--title", "topical", "--topic", "a/topic", "two"]);
    ctl(device, &["prompt", "--project", "app", "please look"]);
    ctl(device, &["relate", &ids[0], "refines", &ids[1], "--reason", "newer"]);
    ctl(device, &["relate", "o-blank", "related", &ids[4]]);
    ctl(device, &["update", "o-blank", "--title", "edited now"]);
    ctl(device, &["delete", &ids[3]]);
    ctl(device, &["session", "end", "s-1", "--summary", "all done"]);
    ids
}

/// What comes later: a memory of long ago that a Go process journals only now, deletes of what travelled, an end.
fn more_work(person: &Person, ids: &[String]) {
    let payload = json!({"sync_id": "o-late", "session_id": "s-old", "type": "note", "title": "late", "content": "from 2018",
        "project": "app", "scope": "project", "revision_count": 1, "duplicate_count": 1,
        "created_at": "2018-05-05 10:00:00", "updated_at": "2018-05-05 10:00:00"});
    let mut conn = store(person);
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).expect("the lock");
    tx.execute(
        "INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, created_at, updated_at)
         VALUES ('o-late', 's-old', 'note', 'late', 'from 2018', 'app', 'project', '2018-05-05 10:00:00',
             '2018-05-05 10:00:00')",
        [],
    )
    .expect("a row");
    tx.execute(
        "INSERT INTO sync_mutations (target_key, entity, entity_key, op, payload, source, occurred_at, project)
         VALUES ('cloud', 'observation', 'o-late', 'upsert', ?1, 'local', '2018-05-05 10:00:00', 'app')",
        [payload.to_string()],
    )
    .expect("a row");
    tx.commit().expect("committed");
    let device = &person.device;
    ctl(device, &["delete", &ids[2], "--hard"]);
    ctl(device, &["delete", "o-other"]);
    ctl(device, &["update", "o-edited", "--title", "edited again"]);
    ctl(device, &["session", "end", "s-2", "--summary", "closed"]);
}

/// Fetches every chunk that the cloud lists of a project, and lays them out as git would; returns how many.
fn fetch_chunks(url: &str, place: &Path) -> usize {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let get = |path: &str| {
        let request = client.get(format!("{url}{path}")).bearer_auth(TOKEN);
        runtime.block_on(async { request.send().await.expect("an answer").bytes().await.expect("a body") })
    };
    let manifest: Value = serde_json::from_slice(&get("/sync/pull?project=app")).expect("a manifest");
    let listed = manifest["chunks"].as_array().expect("a list");
    for one in listed {
        let id = one["id"].as_str().expect("an id");
        assert_eq!(lay_chunk(place, &get(&format!("/sync/pull/{id}?project=app"))), id, "the bytes hash to the id");
    }
    std::fs::write(place.join("manifest.json"), serde_json::to_vec_pretty(&manifest).expect("JSON")).expect("written");
    listed.len()
}

/// What is in no chunk, be it the cloud's or git's, for a Go client takes one whole or not at all: a relation whose one end
/// was deleted before any chunk told it (docs/sync-protocol.md, docs/chunks.md).
fn untold() -> BTreeSet<String> {
    let relations = (1..=sessions()).filter(|n| n % 12 == 3 && (n % 11 == 0 || n % 11 == 1));
    relations.map(|n| format!("rb-{n}")).collect()
}

/// The truth as chunks tell it.
fn told(truth: &str) -> String {
    let untold = untold();
    let is_told = |line: &&str| {
        let line: Value = serde_json::from_str(line).expect("an object");
        !untold.contains(line["key"].as_str().expect("a key"))
    };
    truth.lines().filter(is_told).map(|line| format!("{line}\n")).collect()
}

/// Compares the dump of one who read the cloud's chunks with the truth. To Go clients the sessions that have no known
/// directory are sessions of another id (peers.md), so that nothing tells when they began; all else that is told is the
/// same.
fn is_the_truth_as_go_clients_are_told_it(dump: &str, truth: &str) {
    let lines = |dump: &str| -> BTreeMap<String, Value> {
        let line = |line: &str| {
            let mut line: Value = serde_json::from_str(line).expect("an object");
            if line["entity"] == "session" && line["directory"] == "(recovered-missing-session)" {
                line["started_at"] = Value::Null;
            }
            (line["key"].as_str().expect("a key").to_owned(), line)
        };
        dump.lines().map(line).collect()
    };
    let (dump, mut truth) = (lines(dump), lines(truth));
    let missing: BTreeSet<String> = truth.keys().filter(|key| !dump.contains_key(*key)).cloned().collect();
    assert_eq!(missing, untold(), "those, and no others");
    truth.retain(|key, _| !missing.contains(key));
    for (key, line) in &truth {
        assert_eq!(Some(line), dump.get(key), "{key}");
    }
    assert_eq!(dump.len(), truth.len());
}

/// What a person has in the tables that an import or a page could touch: every row, and the journal but for its marks.
fn everything(person: &Person) -> Vec<String> {
    let conn = store(person);
    let mut all = Vec::new();
    for sql in [
        "SELECT json_array(id, project, directory, started_at, ended_at, summary) FROM sessions ORDER BY id",
        "SELECT json_array(sync_id, session_id, title, content, project, scope, revision_count, duplicate_count,
             last_seen_at, created_at, updated_at, deleted_at) FROM observations ORDER BY sync_id",
        "SELECT json_array(sync_id, session_id, content, created_at) FROM user_prompts ORDER BY sync_id",
        "SELECT json_array(sync_id, source_id, target_id, relation, judgment_status, updated_at) FROM memory_relations
             ORDER BY sync_id",
        "SELECT json_array(seq, entity, entity_key, op, payload, acked_at IS NULL) FROM sync_mutations ORDER BY seq",
        "SELECT json_array(entity, entity_key, head) FROM engramd_version ORDER BY entity, entity_key",
    ] {
        let mut statement = conn.prepare(sql).expect("a statement");
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).expect("rows");
        all.extend(rows.map(|row| row.expect("a row")));
    }
    all
}

#[test]
fn scenario_20_every_transport_ends_in_the_same_dump_and_repeats_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let source = Person::new(temp.path(), "source");
    store(&source).execute_batch(OLD).expect("years of work");
    store(&source).execute_batch(&bulk()).expect("years of work");
    let ids = work(&source);
    let export = source.json(&["export", "--project", "app"]);
    assert_eq!(export["outcome"], "exported", "{export}");
    let login = source.device.ctl_with(&["cloud", "login", "--server", &cloud.url, "--token-stdin"], TOKEN);
    assert_eq!(login.code, 0, "{login:?}");
    assert_eq!(source.device.ctl(&["enroll", "app"]).code, 0);
    until("all of it is at the cloud", || source.device.ctl(&["sync"]).code == 0);
    // An early reader, who then hears of the rest.
    let early = Device::enrolled(&temp.path().join("early"), &cloud, "app");
    until("it has the beginning", || early.ctl(&["sync"]).code == 0);

    more_work(&source, &ids);
    assert_eq!(source.json(&["export", "--project", "app"])["outcome"], "exported");
    until("the rest is at the cloud", || source.device.ctl(&["sync"]).code == 0);
    let truth = source.dump("app");
    let lines = truth.lines().count();
    assert!(lines > usize::try_from(sessions()).expect("a number") * 2, "{lines} lines");

    let git = source.place();
    let read = read_by_others(&git);
    let relations = read["relations"].as_object().expect("rows");
    assert!(!relations.is_empty() && !untold().iter().any(|key| relations.contains_key(key)), "{relations:?}");
    let now = RowTime::parse("2026-11-22 15:00:00").expect("a time");
    let mut go = GoClient::open(&temp.path().join("go.db"), now);
    assert_eq!(go.import_files(&git), Ok(2), "a Go client takes every chunk");
    let chunks = temp.path().join("of-the-cloud");
    assert!(fetch_chunks(&cloud.url, &chunks) > 0);
    let mut early = Person { device: early, work: source.work.clone() };
    let mut mutations = Person::new(temp.path(), "mutations");
    let login = mutations.device.ctl_with(&["cloud", "login", "--server", &cloud.url, "--token-stdin"], TOKEN);
    assert_eq!(login.code, 0, "{login:?}");
    assert_eq!(mutations.device.ctl(&["enroll", "app"]).code, 0);
    for (name, person) in [("an early reader", &mut early), ("mutations", &mut mutations)] {
        until("it is read", || person.device.ctl(&["sync"]).code == 0);
        assert!(person.dump("app") == truth, "{name}: {}", person.dump("app"));
        let before = everything(person);
        // The same pages once more, from the beginning.
        assert_eq!(person.device.daemon.terminate(), Some(0));
        store(person).execute("UPDATE engramd_cursor SET seq = 0", []).expect("taken back");
        person.device.boot();
        until("it is read again", || person.device.ctl(&["sync"]).code == 0);
        assert_eq!(everything(person), before, "{name}: the same pages again change nothing");
    }
    for (name, place) in [("git chunks", &git), ("the cloud's chunks", &chunks)] {
        let person = Person::new(temp.path(), &name.replace(' ', "-"));
        let dir = place.to_str().expect("a path");
        assert_eq!(person.json(&["import", "--dir", dir])["outcome"], "imported", "{name}");
        if *place == chunks {
            is_the_truth_as_go_clients_are_told_it(&person.dump("app"), &truth);
        } else {
            assert!(person.dump("app") == told(&truth), "{name}");
        }
        let before = everything(&person);
        assert_eq!(person.json(&["import", "--dir", dir])["outcome"], "nothing", "{name}");
        // As if they had never been read: the rows themselves change nothing.
        store(&person)
            .execute_batch("DELETE FROM engramd_place_chunk; UPDATE engramd_place SET stamp = NULL; UPDATE engramd_chunk SET state = 0")
            .expect("forgotten");
        let again = person.chunks(&["import", "--dir", dir]);
        assert_eq!(again.code, 0, "{name}: {again:?}");
        assert_eq!(everything(&person), before, "{name}: the same chunks again change nothing");
        assert_eq!(person.json(&["export", "--project", "app", "--dir", dir])["outcome"], "nothing", "{name}");
    }
}
