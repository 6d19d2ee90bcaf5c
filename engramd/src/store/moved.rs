//! A memory that a Go process moved to another project without telling the journal (D12): deleted where it was, new where
//! it is (peers.md, "Rows changed without a journal row"; SCOPE-2).
//!
//! Nobody tells of a move, so it is looked for where such an entity is touched: edited, pulled, queued; and once a day among
//! the rows that nobody tells of (`missing.rs`).

use super::error::StoreError;
use super::journal::{self, LocalWrite};
use super::rows::{self, Found};
use super::{desired, foreign, reread, versions};
use engram_proto::id::ProjectName;
use engram_proto::merge::{ObservationVersion, PromptVersion, Version};
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use rusqlite::Connection;

/// Settles the move of an entity whose row stands in `project`, where other projects alone know of its sync id; returns what
/// was known of it where it left, if it did.
///
/// As long as what another program pulled was not read again, a row tells nothing: it may show another entity of the same
/// sync id, for the peer has room for one.
///
/// # Errors
/// What SQLite says.
pub fn settle(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
    at: RowTime,
) -> Result<Option<Version>, StoreError> {
    if !is_child(entity) || versions::known(conn, project, entity, key)?.is_some() {
        return Ok(None);
    }
    let mut left = None;
    for before in told_of_in_others(conn, project, entity, key)? {
        if let Some(version) = leave(conn, &before, entity, key, (project, at), false)? {
            left = versions::join(left, version);
        }
    }
    if left.is_some() {
        arrive(conn, project, entity, key, at)?;
    }
    Ok(left)
}

/// Settles the move of an entity that has no row in the project which knows it, and one in another; tells whether it did.
pub(super) fn settle_gone(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
    at: RowTime,
) -> Result<bool, StoreError> {
    let mut moved = false;
    for name in rows_in_others(conn, project, entity, key)? {
        moved |= settle(conn, &name, entity, key, at)?.is_some();
    }
    Ok(moved)
}

/// Tells whether an entity of which this project has no row may be the row of another one, and that cannot be told yet:
/// what another program pulled was not read again.
pub(super) fn is_in_doubt(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<bool, StoreError> {
    for name in nobodys_in_others(conn, project, entity, key)? {
        if reread::is_due(conn, project)? || reread::is_due(conn, &name)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Tells whether another project has a row of an entity that nobody told of there.
pub(super) fn may_have_moved(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<bool, StoreError> {
    Ok(!nobodys_in_others(conn, project, entity, key)?.is_empty())
}

/// Settles the move of an entity about which there was doubt, and whose row was therefore written in the project that it
/// left; tells whether it did move.
pub(super) fn settle_late(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
    at: RowTime,
) -> Result<bool, StoreError> {
    let mut moved = false;
    for name in nobodys_in_others(conn, project, entity, key)? {
        if leave(conn, project, entity, key, (&name, at), true)?.is_some() {
            arrive(conn, &name, entity, key, at)?;
            moved = true;
        }
    }
    Ok(moved)
}

fn is_child(entity: Entity) -> bool {
    matches!(entity, Entity::Observation | Entity::Prompt)
}

/// Lists the other projects that have a row of this sync id of which nothing is known there, and nothing was ever written.
fn nobodys_in_others(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<Vec<ProjectName>, StoreError> {
    let mut names = Vec::new();
    for name in rows_in_others(conn, project, entity, key)? {
        let is_known = versions::known(conn, &name, entity, key)?.is_some();
        if !is_known && !journal::tells_of(conn, &name, entity, key)? {
            names.push(name);
        }
    }
    Ok(names)
}

/// Lists the other projects that have a row of this sync id.
fn rows_in_others(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<Vec<ProjectName>, StoreError> {
    let sql = match entity {
        Entity::Observation => "SELECT project FROM observations WHERE sync_id = ?1 AND project <> ?2",
        Entity::Prompt => "SELECT project FROM user_prompts WHERE sync_id = ?1 AND project <> ?2",
        Entity::Session | Entity::Relation => return Ok(Vec::new()),
    };
    let mut statement = conn.prepare_cached(sql)?;
    let names = statement.query_map([key, project.as_str()], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(names.iter().filter_map(|name| ProjectName::parse(name).ok()).collect())
}

/// Lists the other projects in which any journal row, a mark too, tells of a key.
fn told_of_in_others(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<Vec<ProjectName>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT DISTINCT project FROM sync_mutations INDEXED BY idx_sync_mutations_lookup
         WHERE target_key = 'cloud' AND entity = ?1 AND entity_key = ?2 AND project NOT IN ('', ?3)",
    )?;
    let names = statement.query_map([entity.as_str(), key, project.as_str()], |row| row.get(0))?;
    let names = names.collect::<Result<Vec<String>, _>>()?;
    Ok(names.iter().filter_map(|name| ProjectName::parse(name).ok()).collect())
}

/// Deletes an entity in the project that it left; what never went out is taken back instead. Where there is a row of it
/// still it did not leave, unless that was only put back. Returns what was known of it there, if it left.
fn leave(
    conn: &Connection,
    before: &ProjectName,
    entity: Entity,
    key: &str,
    (project, at): (&ProjectName, RowTime),
    was_put_back: bool,
) -> Result<Option<Version>, StoreError> {
    let is_here = match rows::find(conn, before, entity, key)? {
        Some(Found::Observation(_)) => true,
        Some(Found::Prompt(found)) => !found.ids.is_empty(),
        _ => false,
    };
    // What left a project that is not enrolled is read again by nobody, and does not wait for that.
    let may_be_unread =
        reread::is_due(conn, project)? || (desired::is_enrolled(conn, before)? && reread::is_due(conn, before)?);
    if (is_here && !was_put_back) || may_be_unread || !versions::held(conn, before, entity, key)?.is_empty() {
        return Ok(None);
    }
    let Some(version) = versions::local(conn, before, entity, key)?.filter(|version| !version.is_delete()) else {
        return Ok(None);
    };
    if journal::void_if_never_carried(conn, before, entity, key)? {
        return Ok(Some(version));
    }
    // Who moved it saw what the row shows where it is now, and no edit that came in since.
    let shown = versions::row_version(conn, project, entity, key)?;
    let base = shown.as_ref().map_or_else(|| version.hash(), Version::hash);
    let time = Some(version.time().map_or(at, |time| time.max(at)));
    let delete = match version.clone() {
        Version::Observation(known) => Version::Observation(ObservationVersion {
            duplicate_count: known.duplicate_count,
            last_seen_at: known.last_seen_at,
            created_at: known.created_at,
            ..ObservationVersion::delete(known.session_id, false, time)
        }),
        Version::Prompt(known) => Version::Prompt(PromptVersion::delete(known.session_id, time)),
        Version::Session(_) | Version::Relation(_) => return Ok(None),
    };
    append(conn, before, key, &delete, Some(base), at)?;
    Ok(Some(version))
}

/// Queues an entity, and its session before it, in the project that it came to. Where a journal row tells of one already it
/// came back, perhaps with an edit that was made elsewhere.
fn arrive(conn: &Connection, project: &ProjectName, entity: Entity, key: &str, at: RowTime) -> Result<(), StoreError> {
    let Some(version) = versions::row_version(conn, project, entity, key)? else { return Ok(()) };
    let session = version.session_id().unwrap_or_default().to_owned();
    for (entity, key) in [(Entity::Session, session.as_str()), (entity, key)] {
        let Some(version) = versions::row_version(conn, project, entity, key)? else { continue };
        if !journal::tells_of(conn, project, entity, key)? {
            if versions::known(conn, project, entity, key)?.is_none() {
                append(conn, project, key, &version, None, at)?;
            }
        } else if is_child(entity)
            && let Some(told) = versions::local(conn, project, entity, key)?
            && told.hash() != version.hash()
            && !told.is_delete()
        {
            append(conn, project, key, &foreign::lifted(&version, &told), Some(told.hash()), at)?;
        }
    }
    Ok(())
}

fn append(
    conn: &Connection,
    project: &ProjectName,
    key: &str,
    version: &Version,
    base: Option<engram_proto::canonical::Hash>,
    at: RowTime,
) -> Result<(), StoreError> {
    if let Some((op, payload)) = version.write(project, key) {
        journal::append_on(
            conn,
            &LocalWrite { project, entity: version.entity(), key, op, payload: &payload, base, at },
        )?;
    }
    Ok(())
}
