//! Every command against a daemon that answers as it is told: what is asked, the JSON shapes, the exit codes.

use crate::fake::{Fake, Ran};
use engram_proto::ipc::conflict::{ConflictDetail, ConflictRow, CurrentVersion, Restored};
use engram_proto::ipc::reply::{
    Changed, EnrollOutcome, EventLine, Failure, Found, HeldDetail, HeldKind, HeldRow, LoginOutcome, Observation,
    PromptSaved, Related, Reply, SaveKind, Saved, SessionRow, SyncOutcome, SyncProgress, SyncVerdict, SyncedProject,
};
use engram_proto::ipc::request::{Direction, RequestBody};
use engram_proto::reason::{Exit, ReasonCode};
use serde_json::json;

fn observation() -> Observation {
    Observation { id: 12, sync_id: "obs-1".to_owned(), title: "A \x1b[2J title".to_owned(), ..Observation::default() }
}

fn held() -> HeldRow {
    HeldRow {
        id: 3,
        kind: HeldKind::Dead,
        reason_code: "row_undeliverable".to_owned(),
        project: "app".to_owned(),
        entity: "observation".to_owned(),
        entity_key: "obs-1".to_owned(),
        op: "upsert".to_owned(),
        evidence: "no title".to_owned(),
        waits_for: None,
        since: "2026-11-22T12:00:00Z".to_owned(),
    }
}

fn done(fake: &Fake, arguments: &[&str]) -> Ran {
    let ran = fake.run(arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}: {}", ran.stdout);
    ran
}

#[test]
fn what_is_done_is_said_in_the_daemons_words() {
    let fake = Fake::new(vec![Reply::Done("As you like it.".to_owned())]);
    for arguments in [
        &["pause", "--project", "app", "--reason", "train"][..],
        &["resume"],
        &["sync", "--no-wait"],
        &["cloud", "logout"],
        &["unenroll", "app"],
        &["held", "retry", "--all"],
        &["held", "retry", "3"],
        &["held", "drop", "3", "--yes"],
        &["session", "end", "s-1"],
    ] {
        assert_eq!(done(&fake, arguments).stdout, "As you like it.\n", "{arguments:?}");
    }
    let ran = done(&fake, &["resume", "--json"]);
    assert_eq!(ran.json(), json!({"message": "As you like it."}));
    assert!(matches!(fake.asked(), RequestBody::Resume { project: None }));
}

#[test]
fn a_save_takes_its_content_from_argument_stdin_and_file() {
    let saved = Saved {
        id: 12,
        sync_id: "obs-1".to_owned(),
        project: "work".to_owned(),
        session_id: "s".to_owned(),
        outcome: SaveKind::Created,
        revision_count: 1,
    };
    let fake = Fake::new(vec![Reply::Saved(saved)]);
    let content = |fake: &Fake| match fake.asked() {
        RequestBody::Save(request) => (request.content, request.project),
        other => panic!("{other:?}"),
    };
    let ran = done(&fake, &["save", "--title", "T", "--json", "text"]);
    assert_eq!(content(&fake), ("text".to_owned(), "work".to_owned()));
    assert_eq!(
        ran.json(),
        json!({"id": 12, "sync_id": "obs-1", "project": "work", "session_id": "s", "outcome": "created", "revision_count": 1})
    );
    for arguments in
        [&["save", "--title", "T"][..], &["save", "--title", "T", "-"], &["save", "--title", "T", "--file", "-"]]
    {
        assert_eq!(fake.run_with(arguments, "piped\n").code, 0, "{arguments:?}");
        assert_eq!(content(&fake).0, "piped");
    }
    assert_eq!(fake.run(&["save", "--title", "T", "--file", "/no/such/file"]).code, 1);
    assert_eq!(fake.run(&["save", "--title", "T", "--file", "f", "text"]).code, 2);
    assert_eq!(fake.run(&["save", "--title", "T", "--scope", "planet", "text"]).code, 2);
    assert_eq!(fake.run(&["save", "text"]).code, 2, "a title is needed");
}

#[test]
fn memories_have_the_peers_names() {
    let fake = Fake::new(vec![Reply::Observations(vec![observation()]), Reply::Observations(vec![observation()])]);
    let ran = done(&fake, &["list", "--json", "--limit", "1000000", "--type", "decision"]);
    let value = ran.json();
    assert_eq!(value["observations"].as_array().unwrap().len(), 2, "an answer in several frames");
    assert!(value["observations"][0]["deleted_at"].is_null());
    assert_eq!(value["observations"][0]["type"], "");
    assert!(matches!(fake.asked(), RequestBody::List(list) if list.limit == 1_000_000 && list.kind.is_some()));
    assert!(!done(&fake, &["get", "12"]).stdout.contains('\x1b'));
    assert_eq!(done(&fake, &["get", "12", "--json"]).json()["observations"][0]["id"], 12);

    let found = Found { observation: observation(), snippet: "…a snippet…".to_owned() };
    let fake = Fake::new(vec![Reply::Found(vec![found])]);
    let value = done(&fake, &["search", "--json", "two", "words"]).json();
    assert_eq!(
        (&value["observations"][0]["snippet"], &value["observations"][0]["id"]),
        (&json!("…a snippet…"), &json!(12))
    );
    assert!(matches!(fake.asked(), RequestBody::Search(search) if search.query == "two words" && search.limit == 20));

    let fake = Fake::new(vec![Reply::Found(vec![])]);
    assert_eq!(done(&fake, &["search", "x", "--json"]).json(), json!({"observations": []}));
    assert_eq!(done(&fake, &["search", "x"]).stdout, "Nothing found.\n");
}

#[test]
fn changes() {
    let changed = Changed {
        id: 12,
        sync_id: "obs-1".to_owned(),
        project: "app".to_owned(),
        outcome: "updated".to_owned(),
        revision_count: 2,
    };
    let fake = Fake::new(vec![Reply::Changed(changed)]);
    assert_eq!(done(&fake, &["update", "12", "--title", "N"]).stdout, "Updated 12 (obs-1) in app, revision 2\n");
    assert!(
        matches!(fake.asked(), RequestBody::Update(update) if update.content.is_none()),
        "stdin is not read unasked"
    );
    assert_eq!(done(&fake, &["delete", "12", "--hard", "--json"]).json()["outcome"], "updated");
    assert!(matches!(fake.asked(), RequestBody::Delete { hard: true, .. }));
    assert_eq!(fake.run(&["update", "12"]).code, 2, "nothing to change");

    let related = Related {
        sync_id: "rel-1".to_owned(),
        source_id: "obs-2".to_owned(),
        relation: "supersedes".to_owned(),
        target_id: "obs-1".to_owned(),
        project: "app".to_owned(),
    };
    let fake = Fake::new(vec![Reply::Related(related)]);
    assert_eq!(done(&fake, &["relate", "2", "supersedes", "1", "--json"]).json()["sync_id"], "rel-1");
    assert_eq!(fake.run(&["relate", "2", "supersedes", "1", "--confidence", "1.5"]).code, 2);

    let saved = PromptSaved { id: 1, sync_id: "p-1".to_owned(), project: "app".to_owned(), session_id: "s".to_owned() };
    let fake = Fake::new(vec![Reply::PromptSaved(saved)]);
    assert_eq!(done(&fake, &["prompt", "do it"]).stdout, "Saved prompt 1 (p-1) in app, session s\n");
}

#[test]
fn sessions() {
    let row = SessionRow { id: "s-1".to_owned(), project: "work".to_owned(), ..SessionRow::default() };
    let fake = Fake::new(vec![Reply::Session(row.clone())]);
    assert_eq!(done(&fake, &["session", "start", "--json"]).json()["session"]["id"], "s-1");
    assert!(
        matches!(fake.asked(), RequestBody::SessionStart(start) if start.project == "work" && start.directory.ends_with("/work"))
    );
    assert_eq!(done(&fake, &["session", "end", "s-1", "--summary", "x"]).stdout, "Ended session s-1 in work\n");
    let fake = Fake::new(vec![Reply::Sessions(vec![row])]);
    assert_eq!(done(&fake, &["session", "list", "--json"]).json()["sessions"][0]["project"], "work");
}

#[test]
fn held_rows() {
    let fake = Fake::new(vec![Reply::Held(vec![held()])]);
    assert_eq!(done(&fake, &["held", "list", "--json"]).json()["held"][0]["kind"], "dead");
    let ran = fake.run(&["held", "drop", "3", "--json"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
    assert_eq!(ran.json()["error"]["hint"], "engramctl held drop 3 --yes");
    assert_eq!(fake.run(&["held", "retry"]).code, 2);
    assert_eq!(fake.run(&["held", "retry", "3", "--all"]).code, 2);
    let detail = HeldDetail { row: held(), seq: 8, payload: r#"{"a":1}"#.to_owned() };
    let fake = Fake::new(vec![Reply::HeldRow(Box::new(detail))]);
    assert_eq!(done(&fake, &["held", "show", "3", "--json"]).json()["held"][0]["payload"]["a"], 1);
}

#[test]
fn conflicts_are_objects_with_both_versions() {
    let row = ConflictRow {
        id: 3,
        project: "app".to_owned(),
        entity: "observation".to_owned(),
        entity_key: "obs-1".to_owned(),
        op: "upsert".to_owned(),
        title: "mine".to_owned(),
        since: "2026-11-22T12:00:00Z".to_owned(),
    };
    let line = json!({"id": 3, "project": "app", "entity": "observation", "entity_key": "obs-1", "op": "upsert",
        "title": "mine", "since": "2026-11-22T12:00:00Z"});
    let fake = Fake::new(vec![Reply::Conflicts(vec![row.clone()]), Reply::Conflicts(vec![row.clone()])]);
    let ran = done(&fake, &["conflicts", "list", "--json"]);
    assert_eq!(ran.json(), json!({ "conflicts": [line, line] }));
    let empty = Fake::new(vec![Reply::Conflicts(vec![])]);
    assert_eq!(done(&empty, &["conflicts", "list"]).stdout, "No conflicts.\n");

    let current = Some(CurrentVersion { op: "delete".to_owned(), payload: r#"{"deleted":true}"#.to_owned() });
    let detail = ConflictDetail { row, payload: r#"{"title":"mine"}"#.to_owned(), current };
    let fake = Fake::new(vec![Reply::Conflict(Box::new(detail))]);
    let shown = &done(&fake, &["conflicts", "show", "3", "--json"]).json()["conflicts"][0];
    assert_eq!((&shown["id"], &shown["payload"]), (&json!(3), &json!({"title": "mine"})));
    assert_eq!(shown["current"], json!({"op": "delete", "payload": {"deleted": true}}));

    let restored = Restored {
        id: 3,
        project: "app".to_owned(),
        entity: "observation".to_owned(),
        entity_key: "obs-1".to_owned(),
        outcome: "restored".to_owned(),
    };
    let fake = Fake::new(vec![Reply::Restored(restored)]);
    let said =
        json!({"id": 3, "project": "app", "entity": "observation", "entity_key": "obs-1", "outcome": "restored"});
    assert_eq!(done(&fake, &["conflicts", "restore", "3", "--json"]).json(), said);
    assert!(matches!(fake.asked(), RequestBody::ConflictRestore { id: 3 }));
    assert_eq!(
        done(&fake, &["conflicts", "restore", "3"]).stdout,
        "Restored observation obs-1 in app from conflict 3\n"
    );
}

#[test]
fn a_sync_ends_with_the_code_of_its_outcome() {
    let of = |outcome, reason_code: Option<ReasonCode>| SyncOutcome {
        outcome,
        reason_code,
        message: reason_code.map(|_| "the token was refused".to_owned()),
        hint: None,
        duration_ms: 12,
        projects: vec![SyncedProject { project: "app".to_owned(), pushed: 2, ..SyncedProject::default() }],
    };
    let progress = Reply::Progress(SyncProgress { pushed: 1, pulled: 0, remaining: 1 });
    let fake = Fake::new(vec![progress, Reply::Synced(of(SyncVerdict::Drained, None))]);
    let ran = done(&fake, &["sync", "--json", "--pull-only"]);
    let project = json!({"project": "app", "pushed": 2, "pulled": 0, "held": 0, "deferred": 0, "remaining": 0});
    assert_eq!(ran.json(), json!({"outcome": "drained", "duration_ms": 12, "projects": [project]}));
    assert!(matches!(fake.asked(), RequestBody::Sync(sync) if sync.wait && sync.direction == Direction::Pull));
    assert_eq!(fake.run(&["sync", "--pull-only", "--push-only"]).code, 2);

    assert_eq!(Fake::new(vec![Reply::Synced(of(SyncVerdict::Partial, None))]).run(&["sync"]).code, 5);
    let blocked = Fake::new(vec![Reply::Synced(of(SyncVerdict::Blocked, Some(ReasonCode::AuthRequired)))]);
    let ran = blocked.run(&["sync", "--json"]);
    assert_eq!((ran.code, &ran.json()["reason_code"]), (3, &json!("auth_required")));
    assert_eq!(ran.stderr, "Blocked: auth_required – the token was refused. Run: engramctl status\n");
}

#[test]
fn a_sync_that_stands_still_is_given_up() {
    let standing = Reply::Progress(SyncProgress { pushed: 0, pulled: 0, remaining: 7 });
    let fake = Fake::new(vec![standing.clone(), standing]);
    let ran = fake.run(&["sync", "--timeout", "0.2", "--json"]);
    assert_eq!((ran.code, &ran.json()["error"]["reason_code"]), (1, &json!("no_progress")));
    assert!(ran.stderr.contains("7 rows left"), "{}", ran.stderr);
}

#[test]
fn logins_and_enrollments_tell_unchecked_from_refused() {
    let login = |checked| {
        let server_url = "https://c".to_owned();
        Fake::new(vec![Reply::LoggedIn(LoginOutcome {
            server_url,
            checked,
            message: "m".to_owned(),
            elsewhere: Vec::new(),
        })])
    };
    let arguments = ["cloud", "login", "--server", "https://c", "--token-stdin", "--json"];
    let fake = login(true);
    let ran = fake.run_with(&arguments, "secret-token\n");
    assert_eq!(
        (ran.code, ran.json()),
        (0, json!({"server_url": "https://c", "checked": true, "message": "m", "elsewhere": []}))
    );
    assert!(matches!(fake.asked(), RequestBody::Login(login) if login.token == "secret-token"));
    let ran = login(false).run_with(&arguments, "secret-token\n");
    assert_eq!(ran.code, 5);
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("secret"), "SECRET-1");
    assert_eq!(login(true).run(&["cloud", "login"]).code, 2, "no terminal to ask on");

    let outcome = |enrolled, checked| EnrollOutcome {
        project: "app".to_owned(),
        enrolled,
        checked,
        reason_code: None,
        message: String::new(),
    };
    let enroll = |outcomes| Fake::new(vec![Reply::Enrolled(outcomes)]).run(&["enroll", "app", "web"]).code;
    assert_eq!(enroll(vec![outcome(true, true)]), 0);
    assert_eq!(enroll(vec![outcome(true, true), outcome(true, false)]), 5);
    assert_eq!(enroll(vec![outcome(false, true), outcome(true, false)]), 3);
}

#[test]
fn a_refusal_is_a_line_and_an_object() {
    let failure = Failure {
        exit: Exit::Failed,
        reason_code: "not_found".to_owned(),
        message: "there is no memory 99".to_owned(),
        hint: Some("engramctl list".to_owned()),
    };
    let fake = Fake::new(vec![Reply::Failed(failure)]);
    let ran = fake.run(&["get", "99"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert_eq!(ran.stderr, "error: there is no memory 99. Run: engramctl list\n");
    let error = json!({"reason_code": "not_found", "message": "there is no memory 99", "hint": "engramctl list"});
    let ran = fake.run(&["get", "99", "--json"]);
    assert_eq!(ran.json(), json!({ "error": error }));
    assert_eq!(ran.stderr.lines().count(), 1);
}

#[test]
fn events_are_one_object_per_line() {
    let event = EventLine {
        at: "2026-11-22T12:00:00Z".to_owned(),
        kind: "pushed".to_owned(),
        project: None,
        message: "2 rows".to_owned(),
    };
    let fake = Fake::new(vec![Reply::Event(event.clone()), Reply::Event(event), Reply::Done(String::new())]);
    let ran = done(&fake, &["events", "--json"]);
    assert_eq!(ran.stdout.lines().count(), 2);
    assert!(ran.stdout.lines().all(|line| serde_json::from_str::<EventLine>(line).is_ok()));
}
