//! What the Go program wrote comes in whole; what goes out is read by others; deletions, ends and edits travel.

use crate::harness::{Person, files, lay_chunk, lay_fixture, merged_by_others, read_by_others, shared};
use engram_proto::time::RowTime;
use engram_tests::go::GoClient;
use engram_tests::processes::{Cloud, Device, until};
use serde_json::Value;

#[test]
fn the_go_programs_chunks_come_in_with_what_it_drops_itself() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    lay_fixture(&ana.work);
    let before = files(&ana.place());
    let imported = ana.json(&["import"]);
    assert_eq!((&imported["chunks"], &imported["rows"], &imported["held"]), (&3.into(), &56.into(), &0.into()));
    // A Go process on this store would pass over them.
    assert_eq!(ana.one::<i64>("SELECT count(*) FROM sync_chunks WHERE target_key = 'local'"), 3);
    let expected = include_str!("../../fixtures/chunks/two-people.expected.json");
    let expected: Value = serde_json::from_str(expected).expect("an object");
    for (list, sql) in [
        ("sessions", "SELECT id, project, directory, started_at, ended_at, summary FROM sessions WHERE id = ?1"),
        (
            "observations",
            "SELECT sync_id, session_id, project, type, title, content, tool_name, scope, topic_key,
            revision_count, duplicate_count, last_seen_at, created_at, updated_at, deleted_at
            FROM observations WHERE sync_id = ?1",
        ),
        ("prompts", "SELECT sync_id, session_id, project, content, created_at FROM user_prompts WHERE sync_id = ?1"),
        (
            "relations",
            "SELECT sync_id, source_id, target_id, relation, reason, evidence, confidence, judgment_status,
            marked_by_actor, marked_by_kind, marked_by_model, session_id FROM memory_relations WHERE sync_id = ?1",
        ),
    ] {
        for row in expected[list].as_array().expect("a list") {
            assert_eq!(&found(&ana, sql, row), row, "{list}");
        }
    }
    // What the Go program drops: empty sessions, and that two memories were deleted.
    let count = |sql: &str| ana.one::<i64>(sql);
    assert_eq!(count("SELECT count(*) FROM sessions"), 3 + 2);
    assert_eq!(count("SELECT count(*) FROM observations"), 36);
    assert_eq!(count("SELECT count(*) FROM user_prompts"), 10);
    assert_eq!(count("SELECT count(*) FROM memory_relations"), 3);
    let dump: Vec<Value> =
        ana.dump("gamma").lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let deleted: Vec<_> = dump.iter().filter(|line| line["deleted"] == "yes").map(|line| &line["key"]).collect();
    assert_eq!(deleted, ["obs-4daa249e7c116689", "obs-c794e81517b34bce"]);
    // A reader of the format alone finds as much in it.
    let state = read_by_others(&ana.place());
    let listed = |list: &str| state[list].as_object().map_or(0, serde_json::Map::len);
    assert_eq!((listed("sessions"), listed("observations"), listed("prompts")), (5, 36 + 2, 10));
    assert_eq!(merged_by_others(&state, "gamma"), shared(&ana.dump("gamma"), &state));
    // Round trip: nothing is left to do, and no file was touched.
    assert_eq!(ana.json(&["import"])["outcome"], "nothing");
    assert_eq!(ana.json(&["export", "--project", "gamma"])["outcome"], "nothing");
    assert_eq!(files(&ana.place()), before);
}

/// Reads the row of a fixture's key, with the names that the fixture has.
fn found(person: &Person, sql: &str, wanted: &Value) -> Value {
    let key = wanted["sync_id"].as_str().or(wanted["id"].as_str()).expect("a key");
    let store = rusqlite::Connection::open(person.device.dir.join("engram.db")).expect("the store");
    let mut statement = store.prepare(sql).expect("a statement");
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let row = statement.query_row([key], |row| {
        let value = |(at, name): (usize, &String)| {
            use rusqlite::types::Value as Sql;
            let value = match row.get(at)? {
                Sql::Null => Value::Null,
                Sql::Integer(number) => number.into(),
                Sql::Real(number) => number.into(),
                Sql::Text(text) => text.into(),
                Sql::Blob(_) => panic!("{name} is a blob"),
            };
            Ok((name.clone(), value))
        };
        names.iter().enumerate().map(value).collect::<Result<serde_json::Map<_, _>, _>>()
    });
    Value::Object(row.expect("a row"))
}

/// A day's work on one device: all that there is to travel.
fn work(person: &Person) -> Vec<String> {
    let ctl = |args: &[&str]| {
        let answer = person.device.ctl(args);
        assert_eq!(answer.code, 0, "{args:?}: {answer:?}");
    };
    ctl(&["session", "start", "--id", "s-1", "--project", "app", "--directory", "/src/app"]);
    ctl(&["session", "start", "--id", "s-empty", "--project", "app", "--directory", "/src/app"]);
    let mut ids: Vec<String> =
        (0..6).map(|n| person.device.save("app", &format!("title {n}"), "<private>x</private> ü")).collect();
    ctl(&["prompt", "--project", "app", "please look"]);
    ctl(&["relate", &ids[0], "supersedes", &ids[1], "--reason", "newer"]);
    ctl(&["relate", &ids[2], "refines", &ids[3]]);
    ctl(&["update", &ids[0], "--title", "edited before"]);
    ctl(&["delete", &ids[1]]);
    ctl(&["delete", &ids[2], "--hard"]);
    ctl(&["session", "end", "s-1", "--summary", "all done"]);
    ids.push(person.device.save("other", "elsewhere", "not of this project"));
    ids
}

#[test]
fn what_one_writes_another_has_and_a_reader_of_the_format_accepts() {
    let temp = tempfile::tempdir().expect("a directory");
    let (ana, bob) = (Person::new(temp.path(), "ana"), Person::new(temp.path(), "bob"));
    let ids = work(&ana);
    let exported = ana.json(&["export", "--project", "app"]);
    assert_eq!((&exported["outcome"], exported["chunks"].as_array().map(Vec::len)), (&"exported".into(), Some(1)));
    let before = files(&ana.place());
    assert_eq!(ana.json(&["export", "--project", "app"])["outcome"], "nothing");
    assert_eq!(files(&ana.place()), before, "a second export writes nothing");

    let state = read_by_others(&ana.place());
    assert_eq!(state["observations"].as_object().expect("rows").len(), 5, "a memory that never left is not sent");
    assert_eq!(state["observations"][&ids[1]]["deleted"], true);
    assert_eq!(state["relations"].as_object().expect("rows").len(), 0, "no relation without both ends");
    assert_eq!(state["sessions"]["s-1"]["summary"], "all done");
    assert_eq!(state["dangling"], serde_json::json!([]));
    assert_eq!(merged_by_others(&state, "app"), shared(&ana.dump("app"), &state));
    // The relation whose end was deleted before it was told waits; the other one went with its end.
    let relations = |dump: &str| dump.lines().filter(|line| line.contains(r#""entity":"relation""#)).count();

    let dir = ana.place();
    let dir = dir.to_str().expect("a path");
    assert_eq!(bob.json(&["import", "--dir", dir])["outcome"], "imported");
    assert_eq!((relations(&bob.dump("app")), relations(&ana.dump("app"))), (0, 1));
    let same = || {
        let read = read_by_others(&ana.place());
        let merged = merged_by_others(&read, "app");
        assert_eq!(merged, shared(&ana.dump("app"), &read));
        assert_eq!(merged, shared(&bob.dump("app"), &read));
        read
    };
    same();
    assert_eq!(bob.dump("other"), "", "an export takes the project it names");
    assert_eq!(bob.json(&["export", "--project", "app", "--dir", dir])["outcome"], "nothing");

    // Edits, deletions and ends after an export travel as well, and back.
    let ctl = |args: &[&str]| assert_eq!(bob.device.ctl(args).code, 0, "{args:?}");
    ctl(&["update", &ids[3], "--title", "edited after"]);
    ctl(&["relate", &ids[3], "refines", &ids[4]]);
    ctl(&["delete", &ids[4]]);
    ctl(&["delete", &ids[5], "--hard"]);
    ctl(&["session", "end", "s-empty", "--summary", "closed"]);
    let again = bob.json(&["export", "--project", "app", "--dir", dir]);
    assert_eq!(again["chunks"][0]["memories"], 1, "only what changed: {again}");
    assert_eq!(ana.json(&["import"])["outcome"], "imported");
    let read = same();
    assert_eq!(read["observations"][&ids[5]]["hard"], true);
    assert_eq!(read["relations"].as_object().expect("rows").len(), 1, "its end was told, and then deleted");
    // A Go process takes a chunk whole or not at all.
    let now = RowTime::parse("2026-11-22 15:00:00").expect("a time");
    let mut go = GoClient::open(&temp.path().join("go.db"), now);
    assert_eq!(go.import_files(&ana.place()), Ok(2));
    let count = |sql: &str| go.db.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a count");
    assert_eq!(count("SELECT count(*) FROM memory_relations"), 1);
    assert_eq!(count("SELECT count(*) FROM observations WHERE deleted_at IS NULL"), 2, "what is left of them");
}

#[test]
fn an_older_memory_is_exported_after_a_colleagues_newer_chunk() {
    let temp = tempfile::tempdir().expect("a directory");
    let (ana, bob) = (Person::new(temp.path(), "ana"), Person::new(temp.path(), "bob"));
    let dir = ana.place();
    let dir = dir.to_str().expect("a path");
    let _ = ana.device.save("app", "older", "written first");
    let _ = bob.device.save("app", "newer", "exported first");
    assert_eq!(bob.json(&["export", "--project", "app", "--dir", dir])["outcome"], "exported");
    assert_eq!(ana.json(&["import"])["outcome"], "imported");
    assert_eq!(ana.json(&["export", "--project", "app"])["chunks"][0]["memories"], 1);
    // A chunk that somebody else wrote is learned by an export, and its memories are not exported once more.
    let _ = bob.device.save("app", "third", "while ana's was not read");
    assert_eq!(bob.json(&["export", "--project", "app", "--dir", dir])["chunks"][0]["memories"], 1);
    assert_eq!(bob.json(&["status", "--project", "other", "--dir", dir])["to_import"], 1);
    // What was learned only is imported all the same.
    assert_eq!(bob.json(&["import", "--dir", dir])["outcome"], "imported");
    assert_eq!(ana.json(&["import"])["outcome"], "imported");
    assert_eq!(bob.dump("app"), ana.dump("app"));
}

#[test]
fn what_lies_there_in_somebody_elses_chunk_is_not_exported_again() {
    let temp = tempfile::tempdir().expect("a directory");
    let bob = Person::new(temp.path(), "bob");
    let at = "2026-11-22 10:00:00";
    let memory = |id: &str| {
        serde_json::json!({"sync_id": id, "session_id": "s", "type": "note", "title": id, "content": "c", "project": "app",
            "scope": "project", "created_at": at, "updated_at": at})
    };
    let chunk = |ids: &[&str]| {
        let session = serde_json::json!({"id": "s", "project": "app", "directory": "/d", "started_at": at});
        let memories: Vec<Value> = ids.iter().map(|id| memory(id)).collect();
        serde_json::json!({"sessions": [session], "observations": memories, "prompts": []}).to_string()
    };
    let (here, there) = (temp.path().join("here"), temp.path().join("there"));
    let _ = lay_chunk(&here, chunk(&["obs-1"]).as_bytes());
    let _ = lay_chunk(&there, chunk(&["obs-1", "obs-2"]).as_bytes());
    let [here, there] = [&here, &there].map(|dir| dir.to_str().expect("a path"));
    assert_eq!(bob.json(&["import", "--dir", here])["outcome"], "imported");
    assert_eq!(bob.json(&["export", "--project", "app", "--dir", there])["outcome"], "nothing");
}

/// Of a project that is enrolled it goes there at once; enrolling one queues what came before by itself.
#[test]
fn what_a_chunk_brings_is_queued_for_the_cloud() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let ana = Person::new(temp.path(), "ana");
    ana.device.enroll_at(&cloud.url, "gamma");
    let bob = Device::enrolled(&temp.path().join("bob"), &cloud, "gamma");
    lay_fixture(&ana.work);
    assert_eq!(ana.json(&["import"])["outcome"], "imported");
    until("the other device has it", || bob.titles("another machine").len() == 1);
    until("all of it", || {
        let listed = bob.json(&["list", "--project", "gamma", "--limit", "1000"]);
        listed["observations"].as_array().map(Vec::len) == Some(36)
    });
}

#[test]
fn a_project_that_is_not_there_is_named_and_nothing_is_written() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let _ = ana.device.save("app", "title", "text");
    let is_refused = |args: &[&str]| {
        let answer = ana.chunks(args);
        assert_eq!((answer.code, answer.out.as_str()), (1, ""), "{args:?}");
        assert!(answer.err.contains("there is no project nosuch here"), "{args:?}: {answer:?}");
        assert!(answer.err.contains("engramctl projects"), "{args:?}: {answer:?}");
        let args: Vec<&str> = args.iter().chain(&["--json"]).copied().collect();
        assert_eq!(ana.chunks(&args).json()["error"]["reason_code"], "not_found", "{args:?}");
    };
    is_refused(&["export", "--project", "nosuch"]);
    is_refused(&["status", "--project", "nosuch"]);
    assert!(!ana.place().exists(), "nothing is written");
    assert_eq!(ana.one::<i64>("SELECT count(*) FROM engramd_carried WHERE project = 'nosuch'"), 0);
    // Where chunks lie it is the same, and a manifest that has to be made again stays as it is.
    assert_eq!(ana.json(&["export", "--project", "app"])["outcome"], "exported");
    std::fs::write(ana.place().join("manifest.json"), "{{{").expect("written");
    let before = crate::harness::files(&ana.place());
    is_refused(&["export", "--project", "nosuch"]);
    assert_eq!(crate::harness::files(&ana.place()), before);
    // Nobody named the working directory's: that nothing is of it yet is an answer.
    let export = ana.chunks(&["export"]);
    assert!(export.code == 0 && export.out.contains("nothing here is of project ana-work"), "{export:?}");
}
