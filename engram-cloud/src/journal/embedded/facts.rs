//! The two ends of a transaction: what admission has to know, and what it decided.

use super::{controls, digests, rows, waiting};
use crate::journal::Batch;
use crate::journal::admit::{Changes, Facts, Name};
use engram_proto::mutation::Entity;
use rusqlite::Connection;

/// Answers what is asked, and what these batches need to know beside it.
pub(super) fn load(connection: &Connection, mut facts: Facts, batches: &[Batch]) -> rusqlite::Result<Facts> {
    facts.last_seq = rows::last_seq(connection)?;
    for (&seq, taken) in &mut facts.witnesses {
        *taken = rows::taken_at(connection, seq)?;
    }
    for (project, control) in &mut facts.paused {
        *control = controls::paused(connection, project)?;
    }
    for (id, taken) in &mut facts.ids {
        *taken = rows::by_id(connection, id)?;
    }
    for (name, head) in &mut facts.heads {
        *head = rows::head(connection, name)?;
    }
    for (name, held) in &mut facts.held {
        *held = rows::held(connection, name)?;
    }
    for (name, last) in &mut facts.last_foreign {
        *last = rows::last_foreign(connection, name)?;
    }
    for (question, told) in &mut facts.seen_foreign {
        *told = rows::seen_foreign(connection, question)?;
    }
    let is_observation = |name: &&Name| name.entity == Entity::Observation.as_str();
    let observations: Vec<_> = facts.heads.keys().filter(is_observation).map(|name| name.key.clone()).collect();
    for observation in observations {
        for relation in waiting::of(connection, &observation)? {
            if let Some(head) = rows::head(connection, &relation)? {
                facts.add_waiting(&observation, relation, head);
            }
        }
    }
    facts.ask_live_prompts(batches);
    let sessions: Vec<_> = facts.live_prompts.keys().cloned().collect();
    for session in sessions {
        for key in rows::live_prompts(connection, &session)? {
            let name = Name::known(&session.0, Entity::Prompt, &key);
            if let Some(head) = rows::head(connection, &name)? {
                facts.add_live_prompt(&session.1, name, head);
            }
        }
    }
    Ok(facts)
}

/// Writes what was decided.
pub(super) fn write(connection: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    for row in &changes.rows {
        rows::append(connection, row)?;
    }
    for (name, head) in &changes.heads {
        rows::set_head(connection, name, head)?;
    }
    for (project, &moved) in &changes.digests {
        digests::add(connection, project, moved)?;
    }
    for (id, taken) in &changes.ids {
        rows::keep_id(connection, id, taken)?;
    }
    for loser in &changes.superseded {
        rows::keep_superseded(connection, loser)?;
    }
    for loser in &changes.conflicts {
        rows::keep_conflict(connection, loser)?;
    }
    for ((observation, relation), &waits) in &changes.waiting {
        waiting::set(connection, observation, relation, waits)?;
    }
    Ok(())
}
