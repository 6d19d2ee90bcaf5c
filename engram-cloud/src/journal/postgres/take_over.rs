//! Taking over what the peer wrote, in slices, off the path of requests.
//!
//! How far it came is kept beside the rows in the same transaction, so it goes on where it stopped. An entity that a
//! push names is taken over at once, by the push itself.

use super::chunks_of_peer;
use super::load::{self, PeerRows};
use super::opened;
use super::writer::{Done, Job, ask};
use crate::journal::JournalError;
use crate::journal::admit::{Admission, Changes, Facts, Name, PeerRow, related, session_of_child, stood_in_for};
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::Entity;
use sqlx::{PgConnection, Row};
use std::time::Duration;
use tokio::sync::mpsc;

/// Rows of the peer that one transaction looks at.
const SLICE_ROWS: i64 = 200;

/// How long to wait before another attempt where the database failed.
const PAUSE: Duration = Duration::from_secs(5);

const SLICE: &str = "
    SELECT seq, project, entity, entity_key FROM cloud_mutations
    WHERE version_hash IS NULL
          AND seq > coalesce((SELECT value::bigint FROM engram_meta WHERE name = 'taken_over_to'), 0)
    ORDER BY seq LIMIT $1";

const KEEP: &str = "
    INSERT INTO engram_meta (name, value) VALUES ('taken_over_to', $1::bigint::text)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";

/// Asks for slice after slice until there is nothing left, whatever goes wrong in between.
pub(super) async fn run(jobs: mpsc::Sender<Job>) {
    loop {
        match ask(&jobs, Job::TakeOver).await {
            Ok(true) => {}
            Ok(false) | Err(JournalError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "taking over an older server's rows goes on later");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Takes over the entities of the next rows.
pub(super) async fn slice(connection: &mut PgConnection, now_us: i64) -> Result<(Done, Changes), sqlx::Error> {
    let rows = sqlx::query(SLICE).bind(SLICE_ROWS).fetch_all(&mut *connection).await?;
    let Some(last) = rows.last() else { return chunks_of_peer::next(connection, now_us).await };
    let mut facts = Facts::default();
    for row in &rows {
        if let Some(name) = known(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?) {
            facts.heads.insert(name, None);
        }
    }
    let peers = self::facts(&mut *connection, &mut facts).await?;
    load::live_prompts(&mut *connection, &mut facts).await?;
    let mut admission = Admission::new(facts, now_us);
    for (name, rows) in &peers {
        admission.take_over(name, rows);
    }
    sqlx::query(KEEP).bind(last.try_get::<i64, _>(0)?).execute(connection).await?;
    Ok((Done::TakenOver(true), admission.changes()))
}

/// Names an entity that merges; its project is one only in its normal form.
fn known(project: &str, entity: &str, key: &str) -> Option<Name> {
    let name = ProjectName::parse(project).ok().filter(|name| name.as_str() == project)?;
    let entity = Entity::parse(entity).filter(|known| known.as_str() == entity)?;
    Some(Name::known(&name, entity, key))
}

/// Loads facts and, where rows of the peer are about to be taken over, what follows from those.
pub(super) async fn facts(connection: &mut PgConnection, facts: &mut Facts) -> Result<PeerRows, sqlx::Error> {
    let mut peers = load::facts(&mut *connection, facts).await?;
    let mut more = Facts::default();
    let heads = peers.iter().flat_map(|(name, rows)| versions(name, rows).map(move |version| (name, version)));
    let stood_in = peers.keys().filter_map(stood_in_for);
    for other in heads.flat_map(|(name, version)| related(name, &version)).chain(stood_in) {
        if !facts.heads.contains_key(&other) {
            more.heads.insert(other, None);
        }
    }
    if !more.heads.is_empty() {
        peers.extend(load::facts(&mut *connection, &mut more).await?);
        facts.extend(more);
    }
    let children = peers.iter().flat_map(|(name, rows)| versions(name, rows).map(move |version| (name, version)));
    let sessions = children.filter_map(|(name, version)| session_of_child(name, &version)).collect();
    facts.opened = opened::load(&mut *connection, sessions).await?;
    for Name { project, entity, key } in peers.keys() {
        if entity == Entity::Session.as_str() {
            facts.live_prompts.entry((project.clone(), key.clone())).or_default();
        }
    }
    Ok(peers)
}

fn versions<'a>(name: &'a Name, rows: &'a [PeerRow]) -> impl Iterator<Item = Version> + 'a {
    rows.iter().filter_map(|row| Some(row.read(name)?.0.version))
}
