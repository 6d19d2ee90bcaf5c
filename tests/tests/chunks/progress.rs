//! How far a long command is: shown on a terminal while it goes on, within a large chunk too, and nowhere else.

use crate::harness::{Person, client, lay_chunk};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::Read as _;
use std::process::Stdio;

/// Rows of one chunk, which fill more than a few frames.
const ROWS: usize = 9_000;

/// Runs a command with a terminal for its errors, and returns what was drawn there.
fn drawn(person: &Person, args: &[&str]) -> Vec<String> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal");
    let name = ptsname(&master, Vec::new()).expect("a name").into_string().expect("a name");
    let slave = File::options().read(true).write(true).open(name).expect("a terminal");
    let mut child = client(person, args).stdout(Stdio::null()).stderr(slave).spawn().expect("it starts");
    let mut drawn = Vec::new();
    // Where nobody holds the other end any more, some systems say so with an error.
    let _ = File::from(master).read_to_end(&mut drawn);
    let code = child.wait().expect("it ends").code();
    assert!(matches!(code, Some(0 | 5)), "{args:?}: {}", String::from_utf8_lossy(&drawn));
    let drawn = String::from_utf8(drawn).expect("a text");
    drawn.split("\r\u{1b}[K").map(str::to_owned).collect()
}

/// Reads the rows that were counted, each time.
fn counted(drawn: &[String]) -> Vec<usize> {
    let rows = |line: &String| line.strip_prefix("chunk 1 of 1, ")?.strip_suffix(" rows")?.parse().ok();
    drawn.iter().filter_map(rows).collect()
}

#[test]
fn a_terminal_shows_how_far_a_large_chunk_is() {
    let temp = tempfile::tempdir().expect("a directory");
    let (ana, bob) = (Person::new(temp.path(), "ana"), Person::new(temp.path(), "bob"));
    let row =
        |n: usize| format!(r#"{{"id":"s-{n}","project":"app","directory":"/d","started_at":"2026-11-22 10:00:00"}}"#);
    let rows: Vec<String> = (0..ROWS).map(row).collect();
    let _ = lay_chunk(&ana.place(), format!(r#"{{"sessions":[{}]}}"#, rows.join(",")).as_bytes());
    let dir = ana.place();
    let dir = dir.to_str().expect("a path");
    for (person, args) in [
        (&ana, &["verify"][..]),
        (&ana, &["import"]),
        // It learns what is in it.
        (&bob, &["export", "--all", "--dir", dir]),
    ] {
        let drawn = drawn(person, args);
        let rows = counted(&drawn);
        let grows = rows.is_sorted() && rows.iter().filter(|&&rows| 0 < rows && rows < ROWS).count() >= 3;
        assert!(grows, "{args:?}: {drawn:?}");
        assert_eq!(drawn.last().map(String::as_str), Some(""), "it is taken away again: {args:?}");
    }
    // A pipe gets nothing of it, and neither does who asked for JSON.
    assert_eq!(ana.chunks(&["verify"]).err, "");
    assert_eq!(drawn(&ana, &["verify", "--json"]), [""]);
}
