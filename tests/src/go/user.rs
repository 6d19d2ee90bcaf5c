//! What the user of a Go client does, drawn by chance.

use super::GoClient;
use rand::RngExt as _;
use rand::rngs::StdRng;
use std::collections::BTreeMap;

/// The projects that everybody works in.
pub const PROJECTS: [&str; 2] = ["alpha", "beta"];

/// Sessions of one id are begun by several clients, in several projects.
pub const SESSIONS: [&str; 4] = ["s", "t", "manual-save", "shared"];

/// Titles by project and sync id.
pub type Memories = BTreeMap<(String, String), String>;

/// Lists the memories that are not deleted.
///
/// # Panics
/// Where SQLite refuses.
#[must_use]
pub fn memories_of(client: &GoClient) -> Memories {
    let sql = "SELECT project, sync_id, title FROM observations WHERE deleted_at IS NULL";
    let mut statement = client.db.prepare_cached(sql).expect("a statement");
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

fn pick<'a, T>(rng: &mut StdRng, all: &'a [T]) -> Option<&'a T> {
    (!all.is_empty()).then(|| &all[rng.random_range(0..all.len())])
}

/// Does something a user does, in any project.
///
/// # Panics
/// Where SQLite refuses.
pub fn act(client: &mut GoClient, rng: &mut StdRng, step: usize) {
    act_in(PROJECTS[rng.random_range(0..2)], client, rng, step);
}

/// Does something a user does, in one project.
///
/// # Panics
/// Where SQLite refuses.
pub fn act_in(project: &str, client: &mut GoClient, rng: &mut StdRng, step: usize) {
    let known: Vec<(String, String)> = memories_of(client).into_keys().map(|(project, id)| (id, project)).collect();
    let sessions: Vec<String> = {
        let mut statement = client.db.prepare_cached("SELECT id FROM sessions ORDER BY id").expect("a statement");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("rows")
    };
    match rng.random_range(0..10) {
        0 => client.start_session(SESSIONS[rng.random_range(0..SESSIONS.len())], project, "/src"),
        1 => sessions.first().into_iter().for_each(|id| client.end_session(id, &format!("summary {step}"))),
        2..=5 => {
            if let Some(session) = pick(rng, &sessions) {
                let _ = client.save(project, session, &format!("title {step}"), &format!("content {step}"), None);
            }
        }
        6 | 7 => {
            pick(rng, &known).into_iter().for_each(|(id, _)| client.edit(id, &format!("edited {step}"), "content"));
        }
        8 => pick(rng, &known).into_iter().for_each(|(id, _)| client.delete(id, step.is_multiple_of(2))),
        _ => pick(rng, &known).into_iter().for_each(|(id, _)| client.mark_reviewed(id)),
    }
}
