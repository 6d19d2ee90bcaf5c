//! Sessions: opening, ending, and finding the one a memory belongs to.

use super::error::MemoryError;
use super::read::{SESSION_COLUMNS, session};
use super::text;
use super::write::{Now, journal};
use crate::store::{Store, versions};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::SessionRow;
use engram_proto::ipc::request::SessionStart;
use engram_proto::merge::{EndRegister, RECOVERED_DIRECTORY, SessionVersion, StartRegister, Version};
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

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
    MemoryError::write(store, |tx| {
        if let Some(found) = find(tx, &id)? {
            return reopened(found, &project);
        }
        insert(tx, (&project, &id), &directory, now.at)?;
        find(tx, &id)?.ok_or_else(|| missing(&id))
    })
}

fn reopened(found: SessionRow, project: &ProjectName) -> Result<SessionRow, MemoryError> {
    let hint = "engramctl session start (without --id) opens a new one";
    if found.project != project.as_str() {
        let reason = format!("{:?} is a session of project {}", found.id, found.project);
        return Err(MemoryError::invalid("session", &reason, hint));
    }
    match &found.ended_at {
        Some(ended_at) => {
            Err(MemoryError::invalid("session", &format!("{:?} ended at {ended_at}", found.id), hint))
        }
        None => Ok(found),
    }
}

/// Ends a session; what was known of its end and is not given again stays.
///
/// # Errors
/// [`MemoryError::NotFound`] where there is no such session.
pub fn session_end(
    store: &mut Store,
    id: &str,
    summary: Option<&str>,
    now: &Now,
) -> Result<SessionRow, MemoryError> {
    let summary = text::clean_optional("summary", summary)?;
    MemoryError::write(store, |tx| {
        let found = find(tx, id.trim())?.ok_or_else(|| missing(id))?;
        let project = text::project(&found.project)?;
        let before = session_version(tx, &project, &found)?;
        let summary = summary.clone().or_else(|| before.end.summary.clone());
        let ended_at = now.strictly_after(before.end.ended_at);
        let end = EndRegister::new(summary.as_deref(), Some(ended_at));
        let after = SessionVersion { end, ..before.clone() };
        tx.prepare_cached("UPDATE sessions SET ended_at = ?2, summary = ?3 WHERE id = ?1")?
            .execute(params![found.id, ended_at.to_string(), summary])?;
        let base = Version::Session(before).hash();
        journal(tx, (&project, &found.id), &Version::Session(after), Some(base), now.at)?;
        find(tx, &found.id)?.ok_or_else(|| missing(id))
    })
}

fn session_version(
    tx: &Transaction<'_>,
    project: &ProjectName,
    found: &SessionRow,
) -> Result<SessionVersion, MemoryError> {
    if let Some(Version::Session(version)) = versions::local(tx, project, Entity::Session, &found.id)? {
        return Ok(version);
    }
    let start = StartRegister::new(Some(&found.directory), RowTime::parse(&found.started_at), String::new());
    let end =
        EndRegister::new(found.summary.as_deref(), found.ended_at.as_deref().and_then(RowTime::parse));
    Ok(SessionVersion::new(start, end))
}

/// Finds the session a new memory belongs to: the one named, else the project's open one, else one of this device's own.
pub(super) fn resolve(
    tx: &Transaction<'_>,
    project: &ProjectName,
    named: Option<&str>,
    (device_id, directory): (&str, &str),
    now: &Now,
) -> Result<String, MemoryError> {
    if let Some(named) = named {
        let id = text::identifier("session", named, "leave --session out to use the open one")?;
        return match find(tx, &id)? {
            Some(_) => Ok(id),
            None => Err(MemoryError::not_found(
                format!("the session {id:?}"),
                &format!("engramctl session start --id {id} --project {project}"),
            )),
        };
    }
    if let Some(open) = open_session(tx, project)? {
        return Ok(open);
    }
    // Never one that two machines share: they would overwrite each other's directory.
    let own: String = device_id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    let id = format!("manual-{project}-{own}");
    if find(tx, &id)?.is_none() {
        let directory = text::clean("directory", directory)?;
        insert(tx, (project, &id), if directory.is_empty() { "/" } else { &directory }, now.at)?;
    }
    Ok(id)
}

fn open_session(tx: &Transaction<'_>, project: &ProjectName) -> Result<Option<String>, MemoryError> {
    let mut statement = tx.prepare_cached(
        "SELECT id FROM sessions WHERE project = ?1 AND ended_at IS NULL AND directory <> ?2
         AND id NOT LIKE 'manual-%' ORDER BY started_at DESC, id DESC LIMIT 1",
    )?;
    Ok(statement.query_row([project.as_str(), RECOVERED_DIRECTORY], |row| row.get(0)).optional()?)
}

fn insert(
    tx: &Transaction<'_>,
    (project, id): (&ProjectName, &str),
    directory: &str,
    at: RowTime,
) -> Result<(), MemoryError> {
    let start = StartRegister::new(Some(directory), Some(at), String::new());
    let version = Version::Session(SessionVersion::new(start, EndRegister::new(None, None)));
    tx.prepare_cached("INSERT INTO sessions (id, project, directory, started_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id, project.as_str(), directory, at.to_string()])?;
    journal(tx, (project, id), &version, None, at)
}

fn find(conn: &Connection, id: &str) -> Result<Option<SessionRow>, MemoryError> {
    let sql = format!("SELECT {SESSION_COLUMNS} FROM sessions WHERE id = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([id], session).optional()?)
}

fn missing(id: &str) -> MemoryError {
    MemoryError::not_found(format!("the session {id:?}"), "engramctl session list")
}
