//! What a server that merges nothing served: read repair, rows that it never served, conflicts by the door's rule
//! (peers.md, "Our devices on a Go server").
#![expect(clippy::unwrap_used, reason = "tests")]

mod store_support;

use engram_proto::http::pull::PulledMutation;
use engram_proto::mutation::{Entity, Op};
use engramd::store::{AcceptedRow, conflicts};
use engramd_core::rows::Repaired;
use serde_json::{Value, json};
use store_support::{CLOUD, Lab, at, gone, observation, prompt, relation, row, session, up};

/// A device on a server that hands out one page after the other, each row with a time of its own.
struct Go {
    lab: Lab,
}

impl Go {
    fn new() -> Self {
        Self { lab: Lab::new() }
    }

    /// Takes a page in, as a pull does: written down, then applied.
    fn pull(&mut self, mut rows: Vec<PulledMutation>) {
        for row in &mut rows {
            row.occurred_at = at(i64::try_from(row.seq).unwrap()).rfc3339();
        }
        self.lab.store.served(CLOUD, &rows).unwrap();
        self.lab.apply(rows);
    }

    fn drained(&mut self, head: u64) {
        let alpha = self.lab.alpha.clone();
        self.lab.store.drained_first(CLOUD, &[(alpha, head)].into()).unwrap();
    }

    fn look(&mut self, confirmed: bool) -> Repaired {
        let alpha = self.lab.alpha.clone();
        self.lab.store.repair(&self.lab.fence, (CLOUD, &alpha), confirmed, at(2_000)).unwrap()
    }

    /// Pushes everything that is pending; the server numbers it from `seq` on.
    fn push(&mut self, seq: u64) -> Vec<(String, Op, Value)> {
        let rows = self.lab.batch(100).rows;
        let numbered = rows.iter().zip(seq..).map(|(row, seq)| AcceptedRow {
            seq,
            entity: Entity::parse(&row.entity).unwrap(),
            key: row.entity_key.clone(),
            ends_session: false,
        });
        let alpha = self.lab.alpha.clone();
        self.lab.store.accepted(CLOUD, &alpha, &numbered.collect::<Vec<_>>()).unwrap();
        for (row, seq) in rows.iter().zip(seq..) {
            self.lab.ack(row.seq, seq);
        }
        rows.into_iter().map(|row| (row.entity_key, row.op, row.payload.into())).collect()
    }

    /// Looks, looks again, and returns what goes once more; served back, it is at rest.
    fn repaired(&mut self, seq: u64) -> Vec<(String, Op, Value)> {
        let first = self.look(false);
        let second = self.look(true);
        assert_eq!((first.queued, first.suspects), (0, second.queued), "never at the first look");
        let pushed = self.push(seq);
        let echo = pushed.iter().zip(seq..).map(|((key, op, payload), seq)| {
            let entity = ["observation", "prompt", "session"].into_iter().find(|entity| match *entity {
                "session" => payload["id"] == **key,
                "prompt" => key.starts_with('p'),
                _ => key.starts_with('o'),
            });
            row(seq, "alpha", entity.unwrap(), op.as_str(), payload.clone())
        });
        let echo = echo.collect();
        self.pull(echo);
        assert_eq!(self.look(false), Repaired::default(), "it ends");
        self.lab.check_books();
        pushed
    }

    fn lost(&self) -> Vec<String> {
        let rows = self.lab.store.read(conflicts).unwrap();
        rows.into_iter().map(|row| row.title).collect()
    }
}

fn edit(key: &str, title: &str, revision: u64, updated: i64) -> Value {
    let mut payload = observation(key, "s", title, updated);
    payload["revision_count"] = revision.into();
    payload
}

#[test]
fn conv_1_a_stale_row_that_came_last_is_repaired_once() {
    let mut go = Go::new();
    go.pull(vec![up(1, "session", session("s", "/d", 0)), up(2, "observation", edit("o", "one", 1, 1))]);
    assert_eq!(go.look(false), Repaired::default(), "what came once shows what it is");
    go.pull(vec![up(3, "observation", edit("o", "two", 2, 2))]);
    assert_eq!(go.look(false), Repaired::default(), "an edit shows what it is");
    go.pull(vec![up(4, "observation", edit("o", "one", 1, 1))]);
    let pushed = go.repaired(5);
    let [(key, Op::Upsert, payload)] = &pushed[..] else { panic!("{pushed:?}") };
    assert_eq!((key.as_str(), &payload["title"]), ("o", &json!("two")));
}

/// CONV-5: a delete that an older upsert followed, and the row of a memory that was created anew.
#[test]
fn conv_5_what_a_client_would_bring_back_is_deleted_once_more() {
    let mut go = Go::new();
    go.pull(vec![up(1, "session", session("s", "/d", 0)), up(2, "observation", edit("o", "one", 1, 1))]);
    go.pull(vec![row(3, "alpha", "observation", "delete", gone("o", "s", 5, false))]);
    go.pull(vec![up(4, "observation", edit("o", "one", 1, 1))]);
    let pushed = go.repaired(5);
    assert!(matches!(&pushed[..], [(key, Op::Delete, _)] if key == "o"), "{pushed:?}");
    // Softly deleted where it is gone: nobody shows it, and nothing is to be said.
    go.pull(vec![row(9, "alpha", "observation", "delete", gone("o", "s", 7, true))]);
    go.pull(vec![row(10, "alpha", "observation", "delete", gone("o", "s", 8, false))]);
    assert_eq!(go.look(false), Repaired::default());
}

#[test]
fn a_session_whose_directory_was_left_out_is_repaired_and_its_end_is_kept() {
    let mut go = Go::new();
    let mut ended = session("s", "/d", 0);
    ended["summary"] = "done".into();
    go.pull(vec![up(1, "session", ended)]);
    go.pull(vec![up(2, "session", session("s", "(recovered-missing-session)", 3))]);
    let pushed = go.repaired(3);
    let [(_, Op::Upsert, payload)] = &pushed[..] else { panic!("{pushed:?}") };
    assert_eq!((&payload["directory"], &payload["summary"]), (&json!("/d"), &json!("done")));
    // A row without the end takes it from nobody.
    go.pull(vec![up(4, "session", session("s", "/d", 0))]);
    assert_eq!(go.look(false), Repaired::default());
}

/// A prompt that a session's `delete` took along and that is newer than it lives; one that is older is deleted where a
/// session's deletion came as a field.
#[test]
fn prompts_stand_and_fall_with_their_session_on_every_client() {
    let mut go = Go::new();
    let delete = json!({"id": "s", "project": "alpha", "deleted": true, "deleted_at": at(5).to_string()});
    go.pull(vec![
        up(1, "session", session("s", "/d", 0)),
        up(2, "prompt", prompt("p-old", "s", "older", 1)),
        up(3, "prompt", prompt("p-new", "s", "newer", 9)),
        row(4, "alpha", "session", "delete", delete),
    ]);
    let keys: Vec<_> = go.repaired(5).into_iter().map(|(key, op, _)| (key, op)).collect();
    assert_eq!(keys, [("p-new".to_owned(), Op::Upsert), ("s".to_owned(), Op::Upsert)]);

    let mut field = session("t", "/d", 0);
    field["deleted_at"] = at(5).to_string().into();
    go.pull(vec![
        up(11, "session", session("t", "/d", 0)),
        up(12, "prompt", prompt("p-of-t", "t", "older", 1)),
        up(13, "session", field),
    ]);
    let keys: Vec<_> = go.repaired(14).into_iter().map(|(key, op, _)| (key, op)).collect();
    assert_eq!(keys, [("p-of-t".to_owned(), Op::Delete)]);
}

/// What cannot be read here is a newer device's: it is nobody else's to repair.
#[test]
fn what_cannot_be_read_is_not_repaired() {
    let mut go = Go::new();
    go.pull(vec![
        up(1, "session", session("s", "/d", 0)),
        up(2, "observation", edit("o1", "one", 1, 1)),
        up(3, "observation", edit("o2", "two", 1, 1)),
        up(4, "relation", relation("r", "o1", "o2", 1)),
        row(5, "alpha", "relation", "delete", json!({"sync_id": "r"})),
        up(6, "observation", edit("o1", "three", 2, 2)),
        up(7, "observation", edit("o1", "one", 1, 1)),
    ]);
    assert_eq!(go.look(false).suspects, 1, "before it comes");
    go.pull(vec![row(8, "alpha", "observation", "archive", edit("o1", "archived", 1, 1))]);
    assert_eq!((go.look(true), go.look(false)), (Repaired::default(), Repaired::default()), "held as dead");
    go.lab.store.write(|tx| Ok(tx.execute("DELETE FROM engramd_held", [])?)).unwrap();
    assert_eq!((go.look(true), go.look(false)), (Repaired::default(), Repaired::default()), "dropped");
}

/// Nothing of an entity that is pending, held or numbered beyond the cursor is repaired; what is repaired stays one row.
#[test]
fn what_is_under_way_is_not_repaired() {
    let mut go = Go::new();
    go.pull(vec![up(1, "session", session("s", "/d", 0)), up(2, "observation", edit("o", "one", 1, 1))]);
    go.pull(vec![up(3, "observation", edit("o", "two", 2, 2)), up(4, "observation", edit("o", "one", 1, 1))]);
    go.lab.write(Entity::Observation, Op::Upsert, edit("o", "three", 3, 3));
    assert_eq!(go.look(false), Repaired::default(), "pending");
    go.push(9);
    assert_eq!(go.look(false), Repaired::default(), "numbered, and not served yet");
    go.pull(vec![up(9, "observation", edit("o", "three", 3, 3))]);
    assert_eq!(go.look(false), Repaired::default(), "served");
}

/// ACK-1: a number that the cursor passed without its row.
#[test]
fn ack_1_an_accepted_row_that_the_cursor_passed_unseen_is_pushed_again() {
    let mut go = Go::new();
    go.pull(vec![up(1, "session", session("s", "/d", 0))]);
    go.lab.write(Entity::Observation, Op::Upsert, edit("o-mine", "mine", 1, 1));
    go.push(5);
    assert_eq!(go.look(false), Repaired::default(), "the cursor stands before it");
    go.pull(vec![up(9, "observation", edit("o-other", "other", 1, 1))]);
    let pushed = go.repaired(10);
    assert!(matches!(&pushed[..], [(key, Op::Upsert, _)] if key == "o-mine"), "{pushed:?}");
    // Seen, and then passed: nothing is pushed again.
    go.lab.write(Entity::Observation, Op::Upsert, edit("o-seen", "seen", 1, 1));
    go.push(20);
    go.pull(vec![up(20, "observation", edit("o-seen", "seen", 1, 1)), up(21, "session", session("t", "/d", 0))]);
    assert_eq!((go.look(false), go.look(true)), (Repaired::default(), Repaired::default()));
}

/// CONV-6 by the door's rule, behind the head that was read first and not before it.
#[test]
fn conv_6_conflicts_are_recorded_by_the_doors_rule() {
    let mut go = Go::new();
    go.pull(vec![
        up(1, "session", session("s", "/d", 0)),
        up(2, "observation", edit("o", "one", 1, 1)),
        up(3, "observation", edit("o", "before a", 2, 2)),
        up(4, "observation", edit("o", "before b", 2, 3)),
    ]);
    go.drained(4);
    assert!(go.lost().is_empty(), "before the first head: {:?}", go.lost());
    go.pull(vec![up(5, "observation", edit("o", "three", 3, 4))]);
    assert_eq!(go.lost(), ["before b"], "two were held with the revision before it");
    go.pull(vec![up(6, "observation", edit("o", "four", 4, 5))]);
    assert_eq!(go.lost().len(), 1, "an edit of the only one with the revision before it");
    go.pull(vec![up(5, "observation", edit("o", "three", 3, 4)), up(6, "observation", edit("o", "four", 4, 5))]);
    assert_eq!(go.lost().len(), 1, "young rows are served again");
    go.pull(vec![up(7, "observation", edit("o", "one", 1, 1)), up(8, "observation", edit("o", "four", 4, 9))]);
    assert_eq!(go.lost().len(), 1, "what was held before, and a fold");
    go.pull(vec![up(9, "observation", edit("o", "late", 2, 3))]);
    assert_eq!(go.lost(), ["before b", "late"], "it loses, and was never held");
    go.pull(vec![up(10, "observation", edit("o", "rival", 4, 10))]);
    assert_eq!(go.lost(), ["before b", "late", "four"], "overwritten by one that had not seen it");
    go.pull(vec![row(11, "alpha", "observation", "delete", gone("o", "s", 8, false))]);
    assert_eq!(go.lost(), ["before b", "late", "four", ""], "a delete that loses, too");
    go.pull(vec![row(12, "alpha", "observation", "delete", gone("o", "s", 8, false))]);
    assert_eq!(go.lost().len(), 4, "the same again");
}

/// A delete loses what came before it was made, and not what it was made on.
#[test]
fn conv_6_a_delete_that_had_not_seen_an_edit_is_recorded() {
    for (deleted, lost) in [(3, 1), (9, 0)] {
        let mut go = Go::new();
        go.pull(vec![up(1, "session", session("s", "/d", 0)), up(2, "observation", edit("o", "one", 1, 1))]);
        go.drained(2);
        go.pull(vec![up(5, "observation", edit("o", "two", 2, 2))]);
        go.pull(vec![row(6, "alpha", "observation", "delete", gone("o", "s", deleted, false))]);
        assert_eq!(go.lost().len(), lost, "deleted at {deleted}: {:?}", go.lost());
    }
}
