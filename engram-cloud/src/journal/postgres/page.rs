//! Pages: of several projects, each from its own cursor, and of a whole grant in one order.
//!
//! Heads are read first and rows up to them: what a head covers gets no new row (CUR-2), so the questions of one page
//! need no common snapshot. What fits is decided by sizes alone; only then are payloads read.

use super::load::storable;
use super::opened;
use crate::auth::Grant;
use crate::clock::rfc3339_us;
use crate::journal::room::Room;
use crate::journal::{GrantAsk, GrantRows, Page, PageAsk};
use engram_proto::http::pull::{PulledMutation, REMAINING_MAX};
use engram_proto::id::ProjectName;
use engram_proto::merge::Digest;
use engram_proto::mutation::payload_text;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::{PgPool, PgRow};
use std::collections::{BTreeMap, BTreeSet};

/// Under place 0 when the row of the witness was taken, then the head of each project with its digest; that is not known
/// before all that a peer wrote was taken over.
const HEADS: &str = "
    SELECT 0::bigint AS place, (extract(epoch FROM occurred_at) * 1000000)::bigint, NULL AS digest
    FROM (SELECT seq, occurred_at FROM cloud_mutations UNION ALL SELECT seq, occurred_at FROM engram_compacted) taken
    WHERE seq = $2
    UNION ALL
    SELECT asked.place, (SELECT seq FROM cloud_mutations m WHERE m.project = asked.project ORDER BY seq DESC LIMIT 1),
           CASE WHEN NOT EXISTS (
               SELECT 1 FROM cloud_mutations p WHERE p.version_hash IS NULL AND p.project = asked.project
               AND p.seq > coalesce((SELECT value::bigint FROM engram_meta WHERE name = 'taken_over_to'), 0)
           ) THEN coalesce((SELECT digest::text FROM engram_digests d WHERE d.project = asked.project), '0') END
    FROM unnest($1::text[]) WITH ORDINALITY AS asked (project, place)
    ORDER BY place";

const SIZES: &str = "
    SELECT asked.place, m.seq, m.bytes
    FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS asked (project, cursor, head, place)
    CROSS JOIN LATERAL (
        SELECT seq, coalesce(payload_bytes, octet_length(payload::text)) AS bytes FROM cloud_mutations
        WHERE project = asked.project AND seq > asked.cursor AND seq <= asked.head
        ORDER BY seq LIMIT $4
    ) m
    ORDER BY asked.place, m.seq";

const REMAINING: &str = "
    SELECT (SELECT count(*) FROM (SELECT 1 FROM cloud_mutations
                                  WHERE project = asked.project AND seq > asked.cursor AND seq <= asked.head
                                  LIMIT $4) AS next)
    FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS asked (project, cursor, head, place)
    ORDER BY asked.place";

const ROWS: &str = "
    SELECT seq, project, entity, entity_key, op, payload::text, (extract(epoch FROM occurred_at) * 1000000)::bigint,
           version_hash IS NULL
    FROM cloud_mutations WHERE seq = ANY ($1) ORDER BY seq";

const GRANT_EVERY: &str = "
    SELECT seq, coalesce(payload_bytes, octet_length(payload::text)) FROM cloud_mutations
    WHERE seq > $1 AND entity IN ('session', 'observation', 'prompt', 'relation') ORDER BY seq LIMIT $2";

const GRANT_ONLY: &str = "
    SELECT m.seq, m.bytes
    FROM unnest($3::text[]) AS asked (project)
    CROSS JOIN LATERAL (
        SELECT seq, coalesce(payload_bytes, octet_length(payload::text)) AS bytes FROM cloud_mutations
        WHERE project = asked.project AND seq > $1 AND entity IN ('session', 'observation', 'prompt', 'relation')
        ORDER BY seq LIMIT $2
    ) m
    ORDER BY m.seq LIMIT $2";

/// A project on its way through a page.
struct Track<'a> {
    project: &'a ProjectName,
    cursor: i64,
    head: i64,
}

pub(super) fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// Reads a page of several projects, unless the row of the witness is not here.
pub(super) async fn page(pool: &PgPool, ask: &PageAsk, turn: usize) -> Result<Option<Page>, sqlx::Error> {
    let Some(heads) = heads(pool, ask).await? else { return Ok(None) };
    let mut page = Page::default();
    let mut tracks = Vec::new();
    let mut digests = BTreeMap::new();
    for (project, head, digest) in heads {
        page.heads.insert(project.clone(), head.unsigned_abs());
        digests.insert(project, digest);
        let cursor = signed(ask.cursors[project]);
        if cursor < head {
            tracks.push(Track { project, cursor, head });
        }
    }
    if ask.rows_max > 0 {
        let Some(rows) = fill(pool, &mut tracks, ask, turn).await? else {
            return Box::pin(self::page(pool, ask, turn)).await;
        };
        page.rows = rows;
    }
    for row in &page.rows {
        // Rows are in order: the last one of a project stays.
        if let Some(track) = tracks.iter().find(|track| track.project.as_str() == row.project) {
            page.cursors.insert(track.project.clone(), row.seq);
        }
    }
    for (project, digest) in digests {
        let end = page.cursors.get(project).copied().unwrap_or(ask.cursors[project]);
        if let Some(digest) = digest.filter(|_| page.heads[project] == end) {
            page.digests.insert(project.clone(), digest);
        }
    }
    let open: Vec<&Track<'_>> = tracks.iter().filter(|track| track.cursor < track.head).collect();
    page.has_more = !open.is_empty();
    page.remaining = remaining(pool, &open).await?;
    Ok(Some(page))
}

/// Takes rows of all projects in rounds of equal shares, so that a long backlog of one does not hold up the others.
///
/// `None` where a row was compacted since its size was read, or all that was to come since the heads were: what the page says
/// of what is left is not so any more.
async fn fill(
    pool: &PgPool,
    tracks: &mut [Track<'_>],
    ask: &PageAsk,
    turn: usize,
) -> Result<Option<Vec<PulledMutation>>, sqlx::Error> {
    let mut room = Room { rows: ask.rows_max, bytes: ask.bytes_max };
    let mut seqs = Vec::new();
    // Where not even one row of each fits, another one begins on the next page.
    if !tracks.is_empty() {
        tracks.rotate_left(turn % tracks.len());
    }
    loop {
        let mut open: Vec<&mut Track<'_>> = tracks.iter_mut().filter(|track| track.cursor < track.head).collect();
        let (share, before) = (room.share(open.len()), seqs.len());
        if room.rows == 0 || open.is_empty() {
            break;
        }
        let sizes = sizes(pool, &open, share.rows).await?;
        for (track, sizes) in open.iter_mut().zip(sizes) {
            let mut taken = 0;
            for (seq, bytes) in sizes {
                if room.rows == 0 || !room.take(&share, taken, bytes, seqs.is_empty()) {
                    break;
                }
                taken += bytes;
                track.cursor = seq;
                seqs.push(seq);
            }
        }
        // The first row fits, whatever its size, so there is none any more up to a head that was read before.
        if seqs.is_empty() {
            return Ok(None);
        }
        if seqs.len() == before {
            break;
        }
    }
    let found = rows(pool, &seqs).await?;
    if found.len() < seqs.len() { Ok(None) } else { found.iter().map(read).collect::<Result<_, _>>().map(Some) }
}

/// Where a project ends, and what its current versions add up to.
type Heads<'a> = Vec<(&'a ProjectName, i64, Option<Digest>)>;

/// Reads where each project ends; `None` where the row of the witness is not here.
async fn heads<'a>(pool: &PgPool, ask: &'a PageAsk) -> Result<Option<Heads<'a>>, sqlx::Error> {
    if ask.cursors.is_empty() && ask.witness.is_none() {
        return Ok(Some(Vec::new()));
    }
    let names = ask.cursors.keys().map(storable).collect::<Vec<_>>();
    let seq = ask.witness.as_ref().map(|witness| signed(witness.seq));
    let found = sqlx::query(HEADS).bind(names).bind(seq).fetch_all(pool).await?;
    let number = |row: &PgRow| row.try_get::<Option<i64>, _>(1).map(Option::unwrap_or_default);
    let (taken, heads) = found.split_at(found.len() - ask.cursors.len());
    if let Some(witness) = &ask.witness {
        let taken = taken.first().map(number).transpose()?;
        if taken.map(rfc3339_us).as_ref() != Some(&witness.occurred_at) {
            return Ok(None);
        }
    }
    let digest = |row: &PgRow| {
        let text = row.try_get::<Option<&str>, _>(2)?;
        Ok::<_, sqlx::Error>(text.and_then(|text| text.parse().ok()).map(Digest::from_number))
    };
    let heads = ask.cursors.keys().zip(heads).map(|(project, row)| Ok((project, number(row)?, digest(row)?)));
    heads.collect::<Result<_, _>>().map(Some)
}

/// Lists numbers and sizes of what each track has next.
async fn sizes(
    pool: &PgPool,
    tracks: &[&mut Track<'_>],
    rows_max: usize,
) -> Result<Vec<Vec<(i64, usize)>>, sqlx::Error> {
    let found = sqlx::query(SIZES)
        .bind(tracks.iter().map(|track| track.project.as_str()).collect::<Vec<_>>())
        .bind(tracks.iter().map(|track| track.cursor).collect::<Vec<_>>())
        .bind(tracks.iter().map(|track| track.head).collect::<Vec<_>>())
        .bind(i64::try_from(rows_max).unwrap_or(i64::MAX))
        .fetch_all(pool)
        .await?;
    let mut sizes: BTreeMap<usize, Vec<(i64, usize)>> = BTreeMap::new();
    for row in &found {
        let place: i64 = row.try_get(0)?;
        sizes.entry(usize::try_from(place - 1).unwrap_or(0)).or_default().push((row.try_get(1)?, bytes(row, 2)?));
    }
    Ok((0..tracks.len()).map(|place| sizes.remove(&place).unwrap_or_default()).collect())
}

fn bytes(row: &PgRow, column: usize) -> Result<usize, sqlx::Error> {
    Ok(usize::try_from(row.try_get::<i32, _>(column)?).unwrap_or(0))
}

async fn remaining(pool: &PgPool, open: &[&Track<'_>]) -> Result<BTreeMap<ProjectName, u64>, sqlx::Error> {
    if open.is_empty() {
        return Ok(BTreeMap::new());
    }
    let found = sqlx::query(REMAINING)
        .bind(open.iter().map(|track| track.project.as_str()).collect::<Vec<_>>())
        .bind(open.iter().map(|track| track.cursor).collect::<Vec<_>>())
        .bind(open.iter().map(|track| track.head).collect::<Vec<_>>())
        .bind(signed(REMAINING_MAX))
        .fetch_all(pool)
        .await?;
    let count = |row: &PgRow| row.try_get::<i64, _>(0).map(i64::unsigned_abs);
    open.iter().zip(&found).map(|(track, row)| Ok((track.project.clone(), count(row)?))).collect()
}

async fn rows(pool: &PgPool, seqs: &[i64]) -> Result<Vec<PgRow>, sqlx::Error> {
    if seqs.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query(ROWS).bind(seqs).fetch_all(pool).await
}

/// Reads a row whose first seven columns stand in the order of a mutation's fields.
pub(super) fn read(row: &PgRow) -> Result<PulledMutation, sqlx::Error> {
    let text: &str = row.try_get(5)?;
    // A stringified payload is served as the object it holds.
    let payload = payload_text(text).map(Value::Object);
    Ok(PulledMutation {
        seq: row.try_get::<i64, _>(0)?.unsigned_abs(),
        project: row.try_get(1)?,
        entity: row.try_get(2)?,
        entity_key: row.try_get(3)?,
        op: row.try_get(4)?,
        payload: payload.unwrap_or_else(|_| serde_json::from_str(text).unwrap_or(Value::Null)),
        occurred_at: rfc3339_us(row.try_get(6)?),
    })
}

/// Reads a page of a whole grant in one order, without what the form leaves out. Unknown entities are left out: a Go client halts at one for ever.
pub(super) async fn grant_page(pool: &PgPool, ask: &GrantAsk) -> Result<GrantRows, sqlx::Error> {
    let limit = i64::try_from(ask.rows_max.saturating_add(1)).unwrap_or(i64::MAX);
    let found = match &ask.grant {
        Grant::Every => sqlx::query(GRANT_EVERY).bind(signed(ask.since_seq)).bind(limit).fetch_all(pool).await?,
        Grant::Only(projects) => {
            let names = projects.iter().map(storable).collect::<Vec<_>>();
            let question = sqlx::query(GRANT_ONLY).bind(signed(ask.since_seq)).bind(limit).bind(names);
            question.fetch_all(pool).await?
        }
    };
    let mut has_more = found.len() > ask.rows_max;
    let (mut seqs, mut taken) = (Vec::new(), 0);
    for row in found.iter().take(ask.rows_max) {
        taken += bytes(row, 1)?;
        if !seqs.is_empty() && taken > ask.bytes_max {
            has_more = true;
            break;
        }
        seqs.push(row.try_get(0)?);
    }
    let found = rows(pool, &seqs).await?;
    let (mut all, mut of_peer) = (Vec::new(), BTreeSet::new());
    for row in &found {
        let pulled = read(row)?;
        if row.try_get(7)? {
            of_peer.insert(pulled.seq);
        }
        all.push(pulled);
    }
    let read_to = all.last().map_or(ask.since_seq, |row| row.seq);
    Ok(GrantRows { rows: opened::leave_out(pool, all, &of_peer).await?, read_to, has_more })
}
