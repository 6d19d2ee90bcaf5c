//! `merge-driver`, as git runs it: what it says, and to whom.

use crate::harness::Person;
use serde_json::json;
use std::path::Path;

fn manifest(ids: &[&str]) -> String {
    let entry = |id: &&str| json!({"id": id, "created_by": "ana", "created_at": "2026-11-22T14:00:01Z", "sessions": 0, "memories": 1, "prompts": 0});
    json!({"version": 1, "chunks": ids.iter().map(entry).collect::<Vec<_>>()}).to_string()
}

#[test]
fn what_is_left_out_is_named_and_git_hears_of_no_conflict() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let lay = |name: &str, text: &str| std::fs::write(ana.work.join(name), text).expect("written");
    let merge = |more: &[&str]| {
        lay("base", "");
        lay("ours", &manifest(&["aaaaaaaa", "../../etc/passwd"]));
        lay("theirs", &manifest(&["bbbbbbbb", "../../etc/passwd"]));
        let args = ["merge-driver", "base", "ours", "theirs", ".engram/manifest.json"];
        ana.chunks(&[&args, more].concat())
    };
    let merged = merge(&[]);
    assert_eq!((merged.code, merged.out.as_str()), (0, ""), "git takes any other exit as a conflict: {merged:?}");
    assert_eq!(merged.err, "skipped ../../etc/passwd: it is no id of a chunk; it was left out\n");
    let merged = merge(&["--json"]);
    let skipped = json!([{"chunk": "../../etc/passwd", "reason": "it is no id of a chunk; it was left out"}]);
    let said = json!({"outcome": "united", "path": ".engram/manifest.json", "chunks": 2, "skipped": skipped});
    assert_eq!((merged.code, merged.json()), (0, said));
    let made = std::fs::read_to_string(ana.work.join("ours")).expect("a manifest");
    assert!(["aaaaaaaa", "bbbbbbbb"].iter().all(|id| made.contains(id)) && !made.contains("passwd"), "{made}");

    // Two files of one chunk: the one that is as it should be.
    let id = crate::harness::lay_chunk(&ana.place(), br#"{"sessions":[]}"#);
    let good = ana.place().join(format!("chunks/{id}.jsonl.gz"));
    let path = format!(".engram/chunks/{id}.jsonl.gz");
    let of_chunk = |ours: &str, theirs: &str| ana.chunks(&["merge-driver", "base", ours, theirs, &path, "--json"]);
    lay("damaged", "no chunk");
    let good = Path::new(&good).to_str().expect("a path");
    assert_eq!(of_chunk(good, "damaged").json()["outcome"], "ours");
    assert_eq!(of_chunk("damaged", good).json()["outcome"], "theirs");
    assert_eq!(std::fs::read(ana.work.join("damaged")).expect("a chunk"), std::fs::read(good).expect("a chunk"));
}
