//! Rows that were changed behind the journal are found once a day (merging.md, "Pull").
#![expect(clippy::unwrap_used, reason = "tests")]

mod store_support;

use store_support::{CLOUD, Lab, at, gone, observation, prompt, row, session, up};

const DAY_S: i64 = 86_400;

impl Lab {
    /// Looks at every row; returns how many projects have one that differs.
    fn pass(&mut self, days: i64) -> usize {
        let every_ms = DAY_S.unsigned_abs() * 1_000;
        let mut different = 0;
        loop {
            let looked = self.store.recheck_slice(&self.fence, CLOUD, at(days * DAY_S), every_ms, 100).unwrap();
            different += looked.different.len();
            if looked.again_in_ms > 0 {
                return different;
            }
        }
    }
}

#[test]
fn loud_1_a_row_that_was_different_and_is_deleted_is_not_different_for_ever() {
    let mut lab = Lab::new();
    lab.apply(vec![up(8, "session", session("s1", "/a", 0)), up(16, "prompt", prompt("p1", "s1", "why", 100))]);
    assert_eq!(lab.pass(0), 0, "the first is due after a day");
    lab.store.read(|conn| Ok(conn.execute("DELETE FROM user_prompts", [])?)).unwrap();
    assert_eq!(lab.pass(1), 1);
    let gone =
        serde_json::json!({"sync_id": "p1", "session_id": "s1", "deleted": true, "deleted_at": at(200).to_string()});
    lab.apply(vec![row(24, "alpha", "prompt", "delete", gone)]);
    assert_eq!(lab.pass(2), 0);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_different"), 0, "a tombstone is all that is left of it");
}

#[test]
fn a_copy_that_came_from_another_project_is_deleted_where_its_memory_is() {
    let mut lab = Lab::new();
    lab.apply(vec![
        up(8, "session", session("s1", "/a", 0)),
        up(16, "observation", observation("o1", "s1", "one", 100)),
        row(24, "alpha", "observation", "delete", gone("o1", "s1", 200, false)),
    ]);
    assert_eq!(lab.pass(0), 0, "the first is due after a day");
    let moved =
        "INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, created_at, updated_at)
         SELECT sync_id, session_id, type, title, content, project, scope, created_at, updated_at FROM observations";
    lab.store.read(|conn| Ok(conn.execute(moved, [])?)).unwrap();
    let live = "SELECT count(*) FROM observations WHERE deleted_at IS NULL";
    assert_eq!((lab.one::<i64>(live), lab.pass(1), lab.one::<i64>(live)), (1, 0, 0));
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM observations"), 2, "its text is kept");
}
