//! What a chunk of one project says, entity by entity.

use super::{Chunk, MutationError, canonical_payload};
use crate::canonical::Object;
use crate::mutation::{Entity, Op, text_of};
use serde_json::Value;
use std::collections::BTreeSet;

/// One thing that a chunk says: a mutation, or a row that no mutation speaks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The list it stands in.
    pub list: &'static str,
    /// Its place there, from 0.
    pub index: usize,
    /// A name of [`Entity`], or of one to come.
    pub entity: String,
    /// Session id or sync id.
    pub key: String,
    /// `upsert` or `delete`.
    pub op: String,
    /// A JSON object as text, or what is wrong with the row.
    pub payload: Result<String, MutationError>,
}

impl Chunk {
    /// Returns its lists of rows with their names and entities, parents first.
    #[must_use]
    pub fn lists(&self) -> [(&'static str, Entity, &[Object]); 3] {
        [
            ("sessions", Entity::Session, &self.sessions),
            ("observations", Entity::Observation, &self.observations),
            ("prompts", Entity::Prompt, &self.prompts),
        ]
    }

    /// Lists what a chunk in canonical form says of `project`: rows first, mutations in their order.
    ///
    /// A row speaks only where no mutation of its entity does, as the Go program has it: the mutations tell how the row
    /// came to be. A row with `deleted_at` is a soft delete; a session of another project says nothing.
    #[must_use]
    pub fn statements(&self, project: &str) -> Vec<Statement> {
        let spoken: BTreeSet<(&str, &str)> =
            self.mutations.iter().map(|one| (one.entity.as_str(), one.entity_key.as_str())).collect();
        let mut statements = Vec::new();
        for (list, entity, rows) in self.lists() {
            for (index, row) in rows.iter().enumerate() {
                let id = if entity == Entity::Session { "id" } else { "sync_id" };
                let key = text_of(row, id).unwrap_or_default().trim();
                if text_of(row, "project") != Some(project) || spoken.contains(&(entity.as_str(), key)) {
                    continue;
                }
                let is_deleted = text_of(row, "deleted_at").is_some_and(|at| !at.trim().is_empty());
                let op = if is_deleted && entity != Entity::Session { Op::Delete } else { Op::Upsert };
                let payload = canonical_payload(project, entity, key, op, Value::Object(row.clone()));
                let (entity, key, op) = (entity.to_string(), key.to_owned(), op.to_string());
                statements.push(Statement { list, index, entity, key, op, payload });
            }
        }
        statements.extend(self.mutations.iter().enumerate().map(|(index, one)| Statement {
            list: "mutations",
            index,
            entity: one.entity.clone(),
            key: one.entity_key.clone(),
            op: one.op.clone(),
            payload: Ok(one.payload.clone()),
        }));
        statements
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_speaks_where_no_mutation_does() {
        let row = |id: &str, deleted_at: Option<&str>| {
            json!({"id": 7, "sync_id": id, "session_id": "s", "type": "t", "title": "T", "content": "C",
                "scope": "project", "project": "p", "review_after": "x", "deleted_at": deleted_at})
        };
        let chunk: Chunk = serde_json::from_value(json!({
            "sessions": [{"id": "s", "project": "p", "directory": "/d"}, {"id": "t", "project": "q", "directory": "/d"}],
            "observations": [row("a", None), row("b", Some("2026-01-01 00:00:00")), row("c", None)],
            "prompts": null,
            "mutations": [{"entity": "observation", "entity_key": "c", "op": "delete", "payload": "{}"}],
        }))
        .unwrap();
        let said = chunk.statements("p");
        let said: Vec<_> = said.iter().map(|one| (one.list, one.index, one.key.as_str(), one.op.as_str())).collect();
        assert_eq!(
            said,
            [
                ("sessions", 0, "s", "upsert"),
                ("observations", 0, "a", "upsert"),
                ("observations", 1, "b", "delete"),
                ("mutations", 0, "c", "delete")
            ]
        );
        let payload = chunk.statements("p").swap_remove(1).payload.unwrap();
        assert!(!payload.contains("review_after") && !payload.contains("\"id\""), "{payload}");
    }
}
