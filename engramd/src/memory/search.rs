//! Finding memories by words (ctl.md, `search`).
//!
//! What was typed is words, never syntax: each is handed to FTS5 as a quoted string, so that no input is an error. The
//! index is asked first and the rows after it, by CROSS JOIN; recent SQLite would otherwise ask the index once per row
//! (performance.md, "Search"). Ranks are compared before rows are read: the best few in a heap, not all hits in order.

use super::error::MemoryError;
use super::read::{COLUMNS, limit, observation};
use super::snippet::snippet;
use super::text;
use engram_proto::ipc::reply::Found;
use engram_proto::ipc::request::SearchRequest;
use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension as _, named_params};
use std::collections::HashSet;

/// How many different words of a question count; each costs a look into the index.
const WORDS_MAX: usize = 64;
/// What a title, content, tool, type, project and topic key weigh.
const SCORE: &str = "bm25(observations_fts, 10.0, 1.0, 1.0, 2.0, 0.5, 5.0)";

/// Finds memories by words, best first; deleted ones are never found.
///
/// A memory whose sync id or topic key was typed comes first. Then those that hold all the words; if there are none,
/// the last word may be the beginning of one; if there are still none, any of the words will do.
///
/// # Errors
/// [`MemoryError::Invalid`] for a project that is none, [`MemoryError::Store`] where the store cannot be read.
pub fn search(conn: &Connection, request: &SearchRequest) -> Result<Vec<Found>, MemoryError> {
    let filter = Filter::of(request)?;
    let mut found = exact(conn, &request.query, &filter)?;
    let words = words(&request.query);
    for question in questions(&words) {
        let more = by_words(conn, &question, &words, &filter)?;
        if !more.is_empty() {
            let named: HashSet<i64> = found.iter().map(|found| found.observation.id).collect();
            found.extend(more.into_iter().filter(|found| !named.contains(&found.observation.id)));
            break;
        }
    }
    found.truncate(usize::try_from(filter.limit).unwrap_or(usize::MAX));
    Ok(found)
}

/// What a memory must be besides holding the words.
struct Filter {
    project: Option<String>,
    kind: Option<String>,
    scope: Option<&'static str>,
    limit: i64,
}

impl Filter {
    fn of(request: &SearchRequest) -> Result<Self, MemoryError> {
        Ok(Self {
            project: text::project_filter(request.project.as_deref())?.map(|name| name.to_string()),
            kind: request.kind.as_deref().map(|kind| kind.trim().to_owned()),
            scope: request.scope.as_deref().map(text::scope),
            limit: limit(request.limit),
        })
    }
}

/// The conditions of a [`Filter`], written so that none of them tempts the planner away from the way it should go.
const FILTERS: &str = "+o.deleted_at IS NULL
    AND (:project IS NULL OR +o.project = :project)
    AND (:kind IS NULL OR +o.type = :kind)
    AND (:scope IS NULL OR +o.scope = :scope)";

/// Ranks by the index alone. Far more candidates than are asked for are kept: most pass the filters.
fn candidates_sql() -> String {
    format!(
        "SELECT rowid, {SCORE} AS score FROM observations_fts WHERE observations_fts MATCH :question
         ORDER BY score, rowid DESC LIMIT :limit"
    )
}

/// Ranks what passes the filters; this looks at the row of every hit, which costs twice as much.
fn filtered_sql() -> String {
    format!(
        "SELECT o.id, {SCORE} AS score FROM observations_fts CROSS JOIN observations AS o
         ON o.id = observations_fts.rowid WHERE observations_fts MATCH :question AND {FILTERS}
         ORDER BY score, o.id DESC LIMIT :limit"
    )
}

fn hit_sql() -> String {
    format!("SELECT {COLUMNS} FROM observations AS o WHERE o.id = :id AND {FILTERS}")
}

fn by_words(conn: &Connection, question: &str, words: &[String], filter: &Filter) -> Result<Vec<Found>, MemoryError> {
    let candidates_max = filter.limit.saturating_mul(4).saturating_add(64);
    let candidates = named_params! { ":question": question, ":limit": candidates_max };
    let ids = ids(conn, &candidates_sql(), candidates)?;
    let found = hits(conn, &ids, words, filter)?;
    let all_seen = i64::try_from(ids.len()).is_ok_and(|seen| seen < candidates_max);
    if all_seen || i64::try_from(found.len()).is_ok_and(|found| found >= filter.limit) {
        return Ok(found);
    }
    let params = named_params! {
        ":question": question,
        ":project": filter.project,
        ":kind": filter.kind,
        ":scope": filter.scope,
        ":limit": filter.limit,
    };
    let ids = self::ids(conn, &filtered_sql(), params)?;
    hits(conn, &ids, words, filter)
}

fn ids(conn: &Connection, sql: &str, params: &[(&str, &dyn ToSql)]) -> Result<Vec<i64>, MemoryError> {
    let mut statement = conn.prepare_cached(sql)?;
    let ids = statement.query_map(params, |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(ids)
}

/// Reads hits in their order, as many as are asked for, without those that do not pass the filters.
fn hits(conn: &Connection, ids: &[i64], words: &[String], filter: &Filter) -> Result<Vec<Found>, MemoryError> {
    let mut statement = conn.prepare_cached(&hit_sql())?;
    let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    for id in ids {
        if found.len() == limit {
            break;
        }
        let params = named_params! {
            ":id": id,
            ":project": filter.project,
            ":kind": filter.kind,
            ":scope": filter.scope,
        };
        found.extend(statement.query_row(params, observation).optional()?.map(|observation| {
            let snippet = snippet(&observation.content, words);
            Found { observation, snippet }
        }));
    }
    Ok(found)
}

fn exact_sql(column: &str) -> String {
    format!(
        "SELECT {COLUMNS} FROM observations AS o WHERE o.{column} = :typed AND {FILTERS}
         ORDER BY o.updated_at DESC, o.id DESC LIMIT :limit"
    )
}

/// Finds the memories whose sync id or topic key is what was typed.
fn exact(conn: &Connection, query: &str, filter: &Filter) -> Result<Vec<Found>, MemoryError> {
    let mut found = Vec::new();
    for (column, typed) in [("sync_id", query.trim().to_owned()), ("topic_key", text::topic_form(query))] {
        if typed.is_empty() {
            continue;
        }
        let mut statement = conn.prepare_cached(&exact_sql(column))?;
        let params = named_params! {
            ":typed": typed,
            ":project": filter.project,
            ":kind": filter.kind,
            ":scope": filter.scope,
            ":limit": filter.limit,
        };
        for observation in statement.query_map(params, observation)? {
            let observation = observation?;
            let snippet = snippet(&observation.content, &[]);
            found.push(Found { observation, snippet });
        }
    }
    Ok(found)
}

/// Splits a question into its different words, each as a string of FTS5.
///
/// A NUL would end the question inside a string, so it separates words like any control character.
fn words(query: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in query.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let quoted = format!("\"{}\"", word.replace('"', "\"\""));
        if words.len() < WORDS_MAX && !words.contains(&quoted) {
            words.push(quoted);
        }
    }
    words
}

/// Returns the questions to ask until one is answered, the strictest first.
///
/// Strings without a token in them match nothing and are passed over by FTS5 beside others.
fn questions(words: &[String]) -> Vec<String> {
    if words.is_empty() {
        return Vec::new();
    }
    let mut questions = vec![words.join(" "), format!("{} *", words.join(" "))];
    if words.len() > 1 {
        questions.push(format!("{} *", words.join(" OR ")));
    }
    questions
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::store::Store;
    use engram_proto::time::RowTime;

    #[test]
    fn l9_the_index_of_words_is_asked_first() {
        let store = Store::open_in_memory(RowTime::parse("2026-11-22 14:00:00").unwrap()).unwrap();
        for sql in [candidates_sql(), filtered_sql()] {
            let plan = super::super::plan(&store, &sql);
            assert!(plan.starts_with("SCAN observations_fts VIRTUAL TABLE"), "{plan}");
            assert_eq!(plan.matches("SCAN").count(), 1, "and nothing else from end to end: {plan}");
            assert_eq!(sql.contains("JOIN"), plan.contains("SEARCH o USING INTEGER PRIMARY KEY"), "{plan}");
        }
        assert_eq!(super::super::plan(&store, &hit_sql()), "SEARCH o USING INTEGER PRIMARY KEY (rowid=?)");
        for (column, index) in [("sync_id", "idx_obs_sync_id"), ("topic_key", "idx_obs_topic")] {
            let plan = super::super::plan(&store, &exact_sql(column));
            assert!(plan.contains(index), "{plan}");
        }
    }

    #[test]
    fn words_are_strings() {
        assert_eq!(words(" a \"b\" a\0NEAR( "), ["\"a\"", "\"\"\"b\"\"\"", "\"NEAR(\""]);
        assert_eq!(words(&(0..1_000).map(|n| format!("w{n} ")).collect::<String>()).len(), WORDS_MAX);
        assert_eq!(questions(&words("a")), ["\"a\"", "\"a\" *"]);
        assert_eq!(questions(&words("a b")), ["\"a\" \"b\"", "\"a\" \"b\" *", "\"a\" OR \"b\" *"]);
        assert!(questions(&words(" \t")).is_empty());
    }
}
