//! Processes of the program on a store that another one syncs: what their users do, some of it without a journal row.

use super::GoClient;
use super::cached::Cached as _;
use super::user::{PROJECTS, SESSIONS};
use engram_proto::time::RowTime;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rusqlite::{Connection, Row, params};
use std::path::Path;

/// Tables that name a project in their rows.
const NAMED: [&str; 3] = ["sessions", "observations", "user_prompts"];

impl GoClient {
    /// Opens a store that a connection of the caller's reaches.
    ///
    /// # Panics
    /// Where SQLite refuses.
    #[must_use]
    pub fn beside(db: Connection, name: &str, now: RowTime) -> Self {
        Self::on(db, Path::new(":memory:"), name, now)
    }

    /// Moves a memory to another project: its row alone says so (D12).
    ///
    /// # Panics
    /// Where SQLite refuses.
    pub fn move_memory(&self, sync_id: &str, project: &str) {
        let sql = "UPDATE observations SET project = ?2 WHERE sync_id = ?1";
        self.db.execute_cached(sql, [sync_id, project]).expect("moved");
    }

    /// Merges a project into another one: the rows alone say so (D12).
    ///
    /// # Panics
    /// Where SQLite refuses.
    pub fn merge_project(&self, from: &str, into: &str) {
        for table in NAMED {
            let sql = format!("UPDATE {table} SET project = ?2 WHERE project = ?1");
            self.db.execute_cached(&sql, [from, into]).expect("merged");
        }
    }

    /// Counts the journal.
    ///
    /// # Panics
    /// Where SQLite refuses.
    #[must_use]
    pub fn journal_rows(&self) -> i64 {
        self.db.row_cached("SELECT count(*) FROM sync_mutations", [], |row| row.get(0)).expect("a count")
    }

    /// Lists a column of a table, in the order of its rows.
    ///
    /// # Panics
    /// Where SQLite refuses.
    #[must_use]
    pub fn list(&self, sql: &str) -> Vec<String> {
        let mut statement = self.db.prepare_cached(sql).expect("a statement");
        let rows = statement.query_map(params![], |row: &Row<'_>| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("rows")
    }

    fn text_of(&self, sync_id: &str) -> (String, String, String, String) {
        let sql = "SELECT coalesce(project, ''), session_id, title, content FROM observations WHERE sync_id = ?1";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        self.db.row_cached(sql, [sync_id], read).expect("the row")
    }
}

fn pick(rng: &mut StdRng, all: &[String]) -> Option<String> {
    (!all.is_empty()).then(|| all[rng.random_range(0..all.len())].clone())
}

/// Does something a user does; returns it in words, `None` where there is nothing to do it to.
///
/// # Panics
/// Where SQLite refuses.
pub fn act(client: &mut GoClient, rng: &mut StdRng) -> Option<String> {
    let (choice, text) = (rng.random_range(0..40), rng.random_range(0..1_000));
    let project = PROJECTS[rng.random_range(0..2)];
    let memories =
        client.list("SELECT sync_id FROM observations WHERE deleted_at IS NULL AND sync_id IS NOT NULL ORDER BY id");
    let sessions = client.list("SELECT id FROM sessions ORDER BY id");
    let (memory, session) = (pick(rng, &memories), pick(rng, &sessions));
    Some(match choice {
        0..=3 => {
            let id = SESSIONS[rng.random_range(0..SESSIONS.len())];
            client.start_session(id, project, &format!("/g{}", text % 3));
            format!("starts {id} in {project}")
        }
        4 | 5 => {
            let id = session?;
            client.end_session(&id, &format!("s{text}"));
            format!("ends {id}")
        }
        6..=13 => {
            let topic = (choice > 10).then_some("shared topic");
            let id = client.save(project, &session?, &format!("g{text}"), &format!("c{}", text % 40), topic);
            format!("saves {id} in {project}")
        }
        14..=16 => {
            let (project, session, title, content) = client.text_of(&memory?);
            format!("saves once more {}", client.save(&project, &session, &title, &content, None))
        }
        17..=22 => {
            let id = memory?;
            client.edit(&id, &format!("e{text}"), &format!("c{}", text % 40));
            format!("edits {id}")
        }
        23..=25 => {
            let (id, is_hard) = (memory?, text % 2 == 0);
            client.delete(&id, is_hard);
            format!("deletes {id}, hard: {is_hard}")
        }
        26 | 27 => format!("prompts {}", client.prompt(project, &session?, &format!("p{text}"))),
        28 => {
            let prompts = client.list("SELECT sync_id FROM user_prompts WHERE sync_id IS NOT NULL ORDER BY id");
            let id = pick(rng, &prompts)?;
            client.delete_prompt(&id);
            format!("deletes prompt {id}")
        }
        29 | 30 => {
            let id = session?;
            format!("deletes session {id}: {}", client.delete_session(&id))
        }
        31 => {
            let (source, target) = (memory?, pick(rng, &memories)?);
            format!("relates {}", client.relate(&source, &target))
        }
        32..=35 => {
            let id = memory?;
            client.mark_reviewed(&id);
            format!("reviews {id}")
        }
        36..=38 => {
            let id = memory?;
            client.move_memory(&id, project);
            format!("moves {id} to {project}")
        }
        _ => {
            let from = PROJECTS[usize::from(project == PROJECTS[0])];
            client.merge_project(from, project);
            format!("merges {from} into {project}")
        }
    })
}
