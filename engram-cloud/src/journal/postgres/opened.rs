//! How the sessions of rows that the peer wrote begin.
//!
//! Its rows are dense: between them there is no room for what the `GET` form puts in before a child. A child whose
//! session an earlier row of its project does not bring is left out of that form, and appended once more when it is
//! taken over (peers.md, "Go clients on our server").

use crate::journal::Told;
use crate::journal::admit::{Head, Name, is_brought, session_of_child};
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op, payload_object};
use sqlx::{PgExecutor, Row};
use std::collections::{BTreeMap, BTreeSet};

/// The first row that the peer wrote of each session: it never changes, and is never compacted.
const FIRST: &str = "
    SELECT asked.place, m.seq, m.op, m.payload::text
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (project, id, place)
    CROSS JOIN LATERAL (
        SELECT seq, op, payload FROM cloud_mutations
        WHERE project = asked.project AND entity = 'session' AND entity_key = asked.id AND version_hash IS NULL
              AND octet_length(entity_key) <= 1024 AND octet_length(entity) <= 128
        ORDER BY entity, entity_key, seq LIMIT 1
    ) m";

/// Tells where each session's first row stands, if that row says its directory.
pub(super) async fn load(
    database: impl PgExecutor<'_>,
    sessions: BTreeSet<Name>,
) -> Result<BTreeMap<Name, u64>, sqlx::Error> {
    if sessions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sessions: Vec<Name> = sessions.into_iter().collect();
    let rows = sqlx::query(FIRST)
        .bind(sessions.iter().map(|session| session.project.as_str()).collect::<Vec<_>>())
        .bind(sessions.iter().map(|session| session.key.as_str()).collect::<Vec<_>>())
        .fetch_all(database)
        .await?;
    let mut opened = BTreeMap::new();
    for row in &rows {
        let place: i64 = row.try_get(0)?;
        let session = &sessions[usize::try_from(place.saturating_sub(1)).unwrap_or(0)];
        let told = Told { seq: row.try_get::<i64, _>(1)?.unsigned_abs(), occurred_at_us: 0 };
        let head = Head::read(session, told, row.try_get(2)?, row.try_get(3)?);
        if let Some(Version::Session(version)) = head.map(|head| head.version)
            && version.start.known
        {
            opened.insert(session.clone(), told.seq);
        }
    }
    Ok(opened)
}

/// Leaves out children of the peer's whose session was not brought before them.
pub(super) async fn leave_out(
    database: impl PgExecutor<'_>,
    rows: Vec<PulledMutation>,
    of_peer: &BTreeSet<u64>,
) -> Result<Vec<PulledMutation>, sqlx::Error> {
    let sessions = rows.iter().filter(|row| of_peer.contains(&row.seq));
    let sessions: BTreeMap<u64, Name> = sessions.filter_map(|row| Some((row.seq, session_of(row)?))).collect();
    let opened = load(database, sessions.values().cloned().collect()).await?;
    let is_served = |row: &PulledMutation| {
        sessions.get(&row.seq).is_none_or(|session| is_brought(opened.get(session).copied(), row.seq))
    };
    Ok(rows.into_iter().filter(is_served).collect())
}

fn session_of(row: &PulledMutation) -> Option<Name> {
    let (entity, op) = (Entity::parse(&row.entity)?, Op::parse(&row.op)?);
    let name = Name::known(&ProjectName::parse(&row.project).ok()?, entity, &row.entity_key);
    let version = Version::read(entity, &row.entity_key, op, &payload_object(row.payload.clone()).ok()?).ok()?;
    session_of_child(&name, &version)
}
