//! Sessions: opening, ending, and finding the one a memory belongs to.

use super::error::MemoryError;
use super::read::{SESSION_COLUMNS, session};
use super::text;
use super::write::{Now, journal};
use crate::store::{Store, Transaction, sessions, versions};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::SessionRow;
use engram_proto::ipc::request::SessionStart;
use engram_proto::merge::{EndRegister, RECOVERED_DIRECTORY, SessionVersion, StartRegister, Version};
use engram_proto::mutation::Entity;
use rusqlite::{Connection, OptionalExtension as _, params};

/// What stands for the directory of a session that had to be made for a client that named none.
const NO_DIRECTORY: &str = "/";

/// Opens a session; one of that id that is open already is returned as it is.
///
/// # Errors
/// [`MemoryError::Invalid`] where the id is another project's, or the session has ended.
pub fn session_start(store: &mut Store, request: &SessionStart, now: &Now) -> Result<SessionRow, MemoryError> {
    let project = text::project(&request.project)?;
    let directory = text::clean_required("directory", &request.directory, "give one with --directory DIR")?;
    let id = match &request.id {
        Some(id) => text::identifier("session", id, "leave --id out to get a new one")?,
        None => now.new_id("session-"),
    };
    MemoryError::write(store, |tx| match find(tx, &id)? {
        Some(found) if !is_stand_in(&found) => reopened(found, &project),
        _ => {
            start(tx, (&project, &id), &directory, now)?;
            find(tx, &id)?.ok_or_else(|| missing(&id))
        }
    })
}

fn reopened(found: SessionRow, project: &ProjectName) -> Result<SessionRow, MemoryError> {
    let hint = "engramctl session start (without --id) opens a new one";
    if found.project != project.as_str() {
        let reason = format!("{:?} is a session of project {}", found.id, found.project);
        return Err(MemoryError::invalid("session", &reason, hint));
    }
    match &found.ended_at {
        Some(ended_at) => Err(MemoryError::invalid("session", &format!("{:?} ended at {ended_at}", found.id), hint)),
        None => Ok(found),
    }
}

/// Ends a session. What is known of its end and not given again stays; where nothing is new, nothing is written.
///
/// # Errors
/// [`MemoryError::NotFound`] where there is no such session, or only memories of it are here.
pub fn session_end(store: &mut Store, id: &str, summary: Option<&str>, now: &Now) -> Result<SessionRow, MemoryError> {
    let summary = text::clean_optional("summary", summary)?;
    MemoryError::write(store, |tx| {
        let found = find(tx, id.trim())?.filter(|found| !is_stand_in(found)).ok_or_else(|| missing(id))?;
        let project = text::project(&found.project)?;
        let before = held(tx, &project, &found.id)?.ok_or_else(|| missing(id))?;
        let known = before.end.summary.as_deref();
        if before.end.ended_at.is_some() && (summary.is_none() || summary.as_deref() == known) {
            return Ok(found);
        }
        let summary = summary.as_deref().or(known);
        let end = now.growing(before.end.ended_at, |at| EndRegister::new(summary, Some(at)), |end| *end > before.end);
        let after = SessionVersion { end, ..before.clone() };
        write(tx, (&project, &found.id), Some(before), after, now)?;
        find(tx, &found.id)?.ok_or_else(|| missing(id))
    })
}

/// Finds the session that was named; it must be there.
pub(super) fn named(
    tx: &Transaction<'_>,
    project: &ProjectName,
    named: Option<&str>,
) -> Result<Option<String>, MemoryError> {
    let Some(named) = named else { return Ok(None) };
    let id = text::identifier("session", named, "leave --session out to use the open one")?;
    match find(tx, &id)? {
        Some(found) => Ok(Some(found.id)),
        None => Err(MemoryError::not_found(
            format!("the session {id:?}"),
            &format!("engramctl session start --id {id} --project {project}"),
        )),
    }
}

/// Finds the session of a memory for which none was named: the project's open one, else one of this device's own.
pub(super) fn open_or_own(
    tx: &Transaction<'_>,
    project: &ProjectName,
    (device_id, directory): (&str, &str),
    now: &Now,
) -> Result<String, MemoryError> {
    if let Some(open) = open(tx, project)? {
        return Ok(open);
    }
    // Never one that two machines share: they would overwrite each other's directory (D23).
    let own: String = device_id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    let id = format!("manual-{project}-{own}");
    if find(tx, &id)?.is_none_or(|found| is_stand_in(&found)) {
        let directory = text::clean_optional("directory", Some(directory))?;
        start(tx, (project, &id), directory.as_deref().unwrap_or(NO_DIRECTORY), now)?;
    }
    Ok(id)
}

// Those made for memories without a session are no one's open session: neither the peer's shared ones nor any device's.
const OPEN_SQL: &str = "SELECT id FROM sessions
    WHERE project = ?1 AND ended_at IS NULL AND directory <> ?2 AND id NOT LIKE 'manual-save%'
    AND id NOT GLOB 'manual-*-[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
    ORDER BY started_at DESC, rowid DESC";

fn open(tx: &Transaction<'_>, project: &ProjectName) -> Result<Option<String>, MemoryError> {
    let mut statement = tx.prepare_cached(OPEN_SQL)?;
    let mut rows = statement.query([project.as_str(), RECOVERED_DIRECTORY])?;
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let deleted = held(tx, project, &id)?.is_some_and(|version| Version::Session(version).is_delete());
        if !deleted {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Writes the beginning of a session; of one that was deleted, later than that (merging.md, "Writing on a device").
fn start(
    tx: &Transaction<'_>,
    names @ (project, id): (&ProjectName, &str),
    directory: &str,
    now: &Now,
) -> Result<(), MemoryError> {
    if directory == RECOVERED_DIRECTORY {
        return Err(MemoryError::invalid("directory", "it stands for an unknown one", "give one with --directory DIR"));
    }
    let before = held(tx, project, id)?;
    let known = before.as_ref().map(|before| &before.start);
    let after_delete = before.as_ref().and_then(|before| before.deleted_at).map(|at| at.plus_s(1));
    let start = now.growing(
        after_delete.max(known.and_then(|known| known.started_at)),
        |at| StartRegister::new(Some(directory), Some(at), known.map(|known| known.extra.clone()).unwrap_or_default()),
        |start| known.is_none_or(|known| start > known),
    );
    let after = match before.clone() {
        Some(before) => SessionVersion { start, ..before },
        None => SessionVersion::new(start, EndRegister::new(None, None)),
    };
    write(tx, names, before, after, now)
}

/// Journals a version and makes the row show it, in one transaction (DUR-1).
fn write(
    tx: &Transaction<'_>,
    (project, id): (&ProjectName, &str),
    before: Option<SessionVersion>,
    after: SessionVersion,
    now: &Now,
) -> Result<(), MemoryError> {
    let base = before.map(|before| Version::Session(before).hash());
    journal(tx, (project, id), &Version::Session(after), base, now.at)?;
    sessions::show(tx, project, id)?;
    Ok(())
}

/// Reads the version of a session that this device holds in a project.
pub(super) fn held(tx: &Connection, project: &ProjectName, id: &str) -> Result<Option<SessionVersion>, MemoryError> {
    match versions::local(tx, project, Entity::Session, id)? {
        Some(Version::Session(version)) => Ok(Some(version)),
        _ => Ok(None),
    }
}

/// Tells whether nothing but its memories told us of a session.
fn is_stand_in(found: &SessionRow) -> bool {
    found.directory == RECOVERED_DIRECTORY && found.summary.is_none()
}

fn find(conn: &Connection, id: &str) -> Result<Option<SessionRow>, MemoryError> {
    let sql = format!("SELECT {SESSION_COLUMNS} FROM sessions WHERE id = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row(params![id], session).optional()?)
}

fn missing(id: &str) -> MemoryError {
    MemoryError::not_found(format!("the session {id:?}"), "engramctl session list")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use engram_proto::time::RowTime;

    #[test]
    fn the_open_session_is_found_by_an_index() {
        let store = Store::open_in_memory(RowTime::parse("2026-11-22 14:00:00").unwrap()).unwrap();
        let plan = super::super::plan(&store, OPEN_SQL);
        assert!(plan.contains("USING INDEX engramd_sessions_") && !plan.contains("SCAN"), "{plan}");
    }
}
