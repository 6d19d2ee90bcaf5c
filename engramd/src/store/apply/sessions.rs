//! Which project's version the one row of a session shows, and when it goes (merging.md, "room for one row").

use super::super::error::StoreError;
use super::super::rows::{prompt, session};
use super::super::{chunks, versions};
use super::{Applying, waits_for_session};
use engram_proto::id::ProjectName;
use engram_proto::merge::{Kind, SessionVersion, Version};
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use rusqlite::{Connection, params};

impl Applying<'_> {
    /// Takes one project's version of a session to the row, and its deletion to the prompts of that project.
    pub(super) fn place_session(
        &mut self,
        (project, id): (&ProjectName, &str),
        version: &SessionVersion,
    ) -> Result<(), StoreError> {
        arrive(self.conn, project, id)?;
        if version.deleted_at.is_some() {
            self.take_prompts_along((project, id), version.deleted_at, 0)?;
        }
        let shown = show(self.conn, id, None)?;
        if shown.changed {
            self.seen_session = None;
            self.count(project).changed += 1;
        }
        // A child brings a deleted one back, whether it came before it or comes behind it (CONV-1).
        if shown.came || version.deleted_at.is_some() {
            self.replay(&waits_for_session(id))?;
        }
        Ok(())
    }

    /// Goes on with a deleted session that has more prompts than one transaction looked at.
    pub(super) fn take_more_prompts_along(
        &mut self,
        name @ (project, id): (&ProjectName, &str),
        through: i64,
    ) -> Result<(), StoreError> {
        let deleted_at = deleted_at(self.conn, project, id)?;
        self.take_prompts_along(name, deleted_at, through)?;
        reconsider(self, project, id)
    }

    /// Removes the prompts behind a row that were created until their session was deleted, as far as there is room: they
    /// count as deleted, whether their rows are still there or not.
    fn take_prompts_along(
        &mut self,
        name @ (project, id): (&ProjectName, &str),
        until: Option<RowTime>,
        mut through: i64,
    ) -> Result<(), StoreError> {
        // One more than there is room for tells whether any are left.
        let children = prompt::of_session(self.conn, project, id, (through, self.children_left + 1))?;
        let mut looked = 0;
        for child in &children {
            if !self.takes_child() {
                break;
            }
            (looked, through) = (looked + 1, child.id);
            if child.created_at <= until {
                // No row of its own tells of it.
                chunks::due::note(self.conn, project, Entity::Prompt, &child.key)?;
                prompt::remove(self.conn, &mut self.index, &[child.id])?;
            }
        }
        if looked < children.len() {
            self.leave(&prompts_of(name), through)?;
        }
        Ok(())
    }
}

/// What the name of a deleted session begins with whose prompts were not all looked at.
const PROMPTS_OF: &str = "prompts:";

/// Names the prompts of a session in one project, both of which may have any letters.
fn prompts_of(name: (&ProjectName, &str)) -> String {
    format!("{PROMPTS_OF}{}", serde_json::json!([name.0.as_str(), name.1]))
}

/// Reads such a name.
pub(super) fn session_of_prompts(name: &str) -> Option<(ProjectName, String)> {
    let (project, id) = serde_json::from_str::<(String, String)>(name.strip_prefix(PROMPTS_OF)?).ok()?;
    Some((ProjectName::parse(&project).ok()?, id))
}

/// Looks at a session again after a child of it went: if it was deleted, nothing may keep it any longer.
pub(super) fn reconsider(applying: &mut Applying<'_>, project: &ProjectName, id: &str) -> Result<(), StoreError> {
    if deleted_at(applying.conn, project, id)?.is_some() {
        show(applying.conn, id, None)?;
        chunks::due::note(applying.conn, project, Entity::Session, id)?;
        applying.seen_session = None;
    }
    Ok(())
}

/// Returns when a session was deleted in this project, whatever it holds now.
pub(in super::super) fn deleted_at(
    conn: &Connection,
    project: &ProjectName,
    id: &str,
) -> Result<Option<RowTime>, StoreError> {
    // A row knows no deletion, so what is known and queued is enough; most sessions have neither here.
    match versions::local(conn, project, Entity::Session, id)? {
        Some(Version::Session(version)) => Ok(version.deleted_at),
        _ => Ok(None),
    }
}

/// What [`show`] did.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Shown {
    changed: bool,
    came: bool,
}

/// Makes the row show the first project that came in which the session is neither a stand-in nor deleted; without one,
/// the row goes unless a child of any project needs it. `needed_by` names a project in which a child is about to come.
pub(in super::super) fn show(
    conn: &Connection,
    id: &str,
    needed_by: Option<&ProjectName>,
) -> Result<Shown, StoreError> {
    let found = session::find(conn, id)?;
    let mut fallback = None;
    let mut chosen = None;
    for project in arrivals(conn, id)? {
        let Some(Version::Session(version)) = versions::local(conn, &project, Entity::Session, id)? else { continue };
        let alive = needed_by == Some(&project) || !is_deleted(conn, &project, id, &version)?;
        if alive && !version.is_stand_in() {
            chosen = Some((project, version));
            break;
        }
        if alive && fallback.is_none() {
            fallback = Some((project, version));
        }
    }
    let came = found.as_ref().is_none_or(|found| found.stand_in);
    if let Some((project, version)) = chosen.or(fallback) {
        forget_stand_in(conn, id)?;
        let changed = session::write(conn, &project, id, found.as_ref(), &version)?;
        return Ok(Shown { changed, came });
    }
    let goes = found.is_some() && needed_by.is_none() && !session::is_needed(conn, id)?;
    if goes {
        forget_stand_in(conn, id)?;
        session::remove(conn, id)?;
    }
    Ok(Shown { changed: goes, came: false })
}

fn forget_stand_in(conn: &Connection, id: &str) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM engramd_standin WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Takes a session that this device started, ended or deleted to its row.
pub(in super::super) fn show_own(conn: &Connection, project: &ProjectName, id: &str) -> Result<(), StoreError> {
    arrive(conn, project, id)?;
    show(conn, id, None).map(drop)
}

/// Gives a session that was deleted its row back, because a child of it comes in this project.
pub(super) fn show_for_child(conn: &Connection, project: &ProjectName, id: &str) -> Result<(), StoreError> {
    arrive(conn, project, id)?;
    show(conn, id, Some(project)).map(drop)
}

/// Writes down that a project holds this session id, behind the one that its row showed before.
fn arrive(conn: &Connection, project: &ProjectName, id: &str) -> Result<(), StoreError> {
    let shown = session::find(conn, id)?.filter(|found| !found.stand_in).map(|found| found.project);
    for name in shown.iter().map(String::as_str).chain([project.as_str()]) {
        conn.prepare_cached(
            "INSERT OR IGNORE INTO engramd_session (id, project, arrival)
             VALUES (?1, ?2, (SELECT coalesce(max(arrival), 0) + 1 FROM engramd_session WHERE id = ?1))",
        )?
        .execute([id, name])?;
    }
    Ok(())
}

/// Lists the projects that hold this session id in the order in which they came.
fn arrivals(conn: &Connection, id: &str) -> Result<Vec<ProjectName>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT project FROM engramd_session WHERE id = ?1 ORDER BY arrival")?;
    let names = statement.query_map([id], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(names.iter().filter_map(|name| ProjectName::parse(name).ok()).collect())
}

/// Tells whether a session is deleted in a project: its version says so, and no child that is known there keeps it.
pub(in super::super) fn is_deleted(
    conn: &Connection,
    project: &ProjectName,
    id: &str,
    version: &SessionVersion,
) -> Result<bool, StoreError> {
    Ok(Version::Session(version.clone()).is_delete() && !has_children(conn, project, id, version.deleted_at)?)
}

fn has_children(
    conn: &Connection,
    project: &ProjectName,
    id: &str,
    deleted_at: Option<RowTime>,
) -> Result<bool, StoreError> {
    let names = params![id, project.as_str()];
    let mut memories =
        conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM observations WHERE session_id = ?1 AND project = ?2)")?;
    if memories.query_row(names, |row| row.get(0))? {
        return Ok(true);
    }
    if prompt::is_any_after(conn, project, id, deleted_at)? {
        return Ok(true);
    }
    // Memories that were deleted softly elsewhere have no row here, and keep their session all the same.
    let mut soft = conn.prepare_cached(
        "SELECT entity_key FROM engramd_version INDEXED BY engramd_version_soft
         WHERE project = ?2 AND session_id = ?1 AND state = 1
         UNION SELECT entity_key FROM engramd_softly WHERE project = ?2 AND session_id = ?1",
    )?;
    let keys = soft.query_map(names, |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    for key in keys {
        let local = versions::local(conn, project, Entity::Observation, &key)?;
        if matches!(local, Some(Version::Observation(version)) if version.key.kind != Kind::Hard) {
            return Ok(true);
        }
    }
    Ok(false)
}
