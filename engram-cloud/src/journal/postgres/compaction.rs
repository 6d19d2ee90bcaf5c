//! Compaction in Postgres, in the transaction of the writer: servers of one database do each step once.

use super::writer::{Done, admission, load_known};
use crate::journal::admit::{Changes, Facts, Name};
use crate::journal::compaction::{
    Again, Compacted, Passed, Retention, STEP_BYTES, STEP_CONTENTS, STEP_ROWS, Walk, due, kept_of_row, shows_again,
    signed,
};
use crate::journal::last_number_by;
use engram_proto::id::ProjectName;
use engram_proto::mutation::Entity;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};

/// The rows that a walk passes next: none that a peer wrote and that was not taken over, whose entity has another current
/// version than its head says.
const PASSED: &str = "
    SELECT seq, project, entity, entity_key,
           op = 'delete' AND (entity = 'prompt' OR coalesce(payload ->> 'hard_delete', 'false') IN ('true', '1')),
           (extract(epoch FROM occurred_at) * 1000000)::bigint
    FROM cloud_mutations
    WHERE seq > coalesce((SELECT value::bigint FROM engram_meta WHERE name = $1), 0) AND seq <= $2
          AND seq < coalesce((SELECT seq FROM cloud_mutations WHERE version_hash IS NULL
                              AND seq > coalesce((SELECT value::bigint FROM engram_meta WHERE name = 'taken_over_to'), 0)
                              ORDER BY seq LIMIT 1), 9223372036854775807)
    ORDER BY seq LIMIT $3";

const KEEP_PLACE: &str = "
    INSERT INTO engram_meta (name, value) VALUES ($1, $2::bigint::text)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";

/// The older upserts of entities, with their sizes; never the current version, nor a session that a peer wrote: between
/// its dense rows there is no room to put one in (peers.md).
const OLDER: &str = "
    SELECT asked.place, m.seq, m.bytes
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY
         AS asked (project, entity, key, before, place)
    JOIN engram_heads h ON h.project = asked.project AND h.entity = asked.entity AND h.entity_key = asked.key
    CROSS JOIN LATERAL (
        SELECT seq, coalesce(payload_bytes, octet_length(payload::text)) AS bytes FROM cloud_mutations
        WHERE project = asked.project AND entity = asked.entity AND entity_key = asked.key
              AND octet_length(entity_key) <= 1024 AND octet_length(entity) <= 128
              AND seq < least(asked.before, h.seq) AND op = 'upsert'
              AND (version_hash IS NOT NULL OR entity <> 'session')
        ORDER BY seq LIMIT $5
    ) m
    ORDER BY asked.place, m.seq LIMIT $5";

const CONTENTS: &str = "SELECT seq, op, payload::text FROM cloud_mutations WHERE seq = ANY ($1::bigint[])";

const MOVE: &str = "
    WITH gone AS (
        DELETE FROM cloud_mutations m USING unnest($1::bigint[], $2::text[]) AS k (seq, version) WHERE m.seq = k.seq
        RETURNING m.seq, m.project, m.entity, m.entity_key, m.occurred_at, m.version_hash, m.pushed_by, k.version
    )
    INSERT INTO engram_compacted
           (seq, project, entity, entity_key, occurred_at, version_hash, pushed_by, version)
    SELECT * FROM gone";

/// The versions of entities that lost on arrival, and whose text is there.
const LOSERS: &str = "
    SELECT s.project, s.entity, s.entity_key, s.digest, s.op, s.payload::text
    FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (project, entity, key)
    JOIN engram_superseded s ON s.project = asked.project AND s.entity = asked.entity AND s.entity_key = asked.key
    WHERE s.payload IS NOT NULL LIMIT $4";

/// All of those that lost until then.
const LOSERS_UNTIL: &str = "
    SELECT project, entity, entity_key, digest, op, payload::text FROM engram_superseded
    WHERE payload IS NOT NULL AND occurred_at <= timestamptz 'epoch' + $1 * interval '1 microsecond'
    ORDER BY occurred_at LIMIT $2";

const KEEP_LOSERS: &str = "
    UPDATE engram_superseded s SET payload = NULL, version = k.version
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
         AS k (project, entity, key, digest, version)
    WHERE s.project = k.project AND s.entity = k.entity AND s.entity_key = k.key AND s.digest = k.digest";

/// The current rows of relations that name a memory, with the memory's first upsert that is left.
const RELATIONS: &str = "
    SELECT asked.key, h.project, h.entity_key, h.seq,
           (SELECT min(f.seq) FROM cloud_mutations f
            WHERE f.project = asked.project AND f.entity = 'observation' AND f.entity_key = asked.key
                  AND octet_length(f.entity_key) <= 1024 AND octet_length(f.entity) <= 128 AND f.op = 'upsert')
    FROM unnest($1::text[], $2::text[]) AS asked (project, key)
    CROSS JOIN LATERAL (
        SELECT seq, project, entity_key FROM cloud_mutations
        WHERE entity = 'relation' AND payload ->> 'source_id' = asked.key
              AND octet_length(payload ->> 'source_id') <= 1024
        UNION
        SELECT seq, project, entity_key FROM cloud_mutations
        WHERE entity = 'relation' AND payload ->> 'target_id' = asked.key
              AND octet_length(payload ->> 'target_id') <= 1024
    ) m
    JOIN engram_heads h ON h.project = m.project AND h.entity = 'relation' AND h.entity_key = m.entity_key
         AND h.seq = m.seq";

/// Does one step.
pub(super) async fn step(
    connection: &mut PgConnection,
    retention: &Retention,
    now_us: i64,
) -> Result<(Done, Changes), sqlx::Error> {
    let mut step = Step { connection, contents: 0, bytes: 0, memories: BTreeSet::new() };
    let mut has_more = false;
    for walk in Walk::ALL {
        has_more |= step.walk(walk, walk.until_us(retention, now_us)).await?;
    }
    has_more |= step.losers_until(Walk::Superseded.until_us(retention, now_us)).await?;
    let changes = step.show_relations(now_us).await?;
    Ok((Done::Compacted(Compacted { contents: step.contents, has_more }), changes))
}

struct Step<'a> {
    connection: &'a mut PgConnection,
    contents: usize,
    bytes: usize,
    /// The memories that lost contents.
    memories: BTreeSet<Name>,
}

impl Step<'_> {
    /// Tells whether the next step has to go on here.
    fn is_full(&self) -> bool {
        self.contents >= STEP_CONTENTS || self.bytes >= STEP_BYTES
    }

    /// Goes on with a walk, and tells whether there is more on its way.
    async fn walk(&mut self, walk: Walk, until_us: i64) -> Result<bool, sqlx::Error> {
        let rows = sqlx::query(PASSED).bind(walk.place_name()).bind(last_number_by(until_us)).bind(signed(STEP_ROWS));
        let rows = rows.fetch_all(&mut *self.connection).await?;
        let mut passed = Vec::new();
        for row in &rows {
            // The numbers that a peer gave say nothing about the time.
            if row.try_get::<i64, _>(5)? > until_us {
                break;
            }
            let (seq, project, entity) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            passed.push(Passed { seq, project, entity, key: row.try_get(3)?, is_hard_delete: row.try_get(4)? });
        }
        let Some(last) = passed.last().map(|row| row.seq) else { return Ok(false) };
        let due = due(walk, &passed);
        if !due.is_empty() {
            self.older(&due).await?;
            if walk == Walk::Deleted && !self.is_full() {
                self.losers_of(&due).await?;
            }
            if self.is_full() {
                // What went is no longer there when these rows are passed again.
                return Ok(true);
            }
        }
        sqlx::query(KEEP_PLACE).bind(walk.place_name()).bind(last).execute(&mut *self.connection).await?;
        Ok(passed.len() == STEP_ROWS)
    }

    /// Takes the contents of older versions away.
    async fn older(&mut self, due: &BTreeMap<Name, i64>) -> Result<(), sqlx::Error> {
        if self.is_full() {
            return Ok(());
        }
        let names: Vec<&Name> = due.keys().collect();
        let rows = sqlx::query(OLDER)
            .bind(names.iter().map(|name| name.project.as_str()).collect::<Vec<_>>())
            .bind(names.iter().map(|name| name.entity.as_str()).collect::<Vec<_>>())
            .bind(names.iter().map(|name| name.key.as_str()).collect::<Vec<_>>())
            .bind(due.values().copied().collect::<Vec<_>>())
            .bind(signed(STEP_CONTENTS - self.contents))
            .fetch_all(&mut *self.connection)
            .await?;
        let mut going = BTreeMap::new();
        for row in &rows {
            if self.is_full() {
                break;
            }
            let place: i64 = row.try_get(0)?;
            let name = names[usize::try_from(place.saturating_sub(1)).unwrap_or(0)];
            self.takes(usize::try_from(row.try_get::<i32, _>(2)?).unwrap_or(0));
            going.insert(row.try_get::<i64, _>(1)?, name);
            if name.entity == Entity::Observation.as_str() {
                self.memories.insert(name.clone());
            }
        }
        if going.is_empty() {
            return Ok(());
        }
        let seqs: Vec<i64> = going.keys().copied().collect();
        let (mut moved, mut kept) = (Vec::new(), Vec::new());
        for row in sqlx::query(CONTENTS).bind(&seqs).fetch_all(&mut *self.connection).await? {
            let seq = row.try_get(0)?;
            kept.push(kept_of_row(going[&seq], row.try_get(1)?, row.try_get(2)?));
            moved.push(seq);
        }
        sqlx::query(MOVE).bind(moved).bind(kept).execute(&mut *self.connection).await.map(drop)
    }

    async fn losers_of(&mut self, due: &BTreeMap<Name, i64>) -> Result<(), sqlx::Error> {
        let rows = sqlx::query(LOSERS)
            .bind(due.keys().map(|name| name.project.as_str()).collect::<Vec<_>>())
            .bind(due.keys().map(|name| name.entity.as_str()).collect::<Vec<_>>())
            .bind(due.keys().map(|name| name.key.as_str()).collect::<Vec<_>>())
            .bind(signed(STEP_CONTENTS - self.contents))
            .fetch_all(&mut *self.connection)
            .await?;
        self.losers(&rows).await
    }

    /// Takes the texts away of what lost until then, and tells whether there are more.
    async fn losers_until(&mut self, until_us: i64) -> Result<bool, sqlx::Error> {
        if self.is_full() {
            return Ok(true);
        }
        let room = STEP_CONTENTS - self.contents;
        let rows = sqlx::query(LOSERS_UNTIL).bind(until_us).bind(signed(room)).fetch_all(&mut *self.connection).await?;
        self.losers(&rows).await?;
        Ok(rows.len() == room)
    }

    async fn losers(&mut self, rows: &[PgRow]) -> Result<(), sqlx::Error> {
        let mut kept: [Vec<Option<String>>; 5] = Default::default();
        for row in rows {
            let [project, entity, key, digest, op, payload] = [0, 1, 2, 3, 4, 5].map(|at| row.try_get::<String, _>(at));
            let (project, entity, key, payload) = (project?, entity?, key?, payload?);
            self.takes(payload.len());
            let name = ProjectName::parse(&project).ok();
            let name = name.map(|project| Name { project, entity: entity.clone(), key: key.clone() });
            let version = name.and_then(|name| kept_of_row(&name, &op.ok()?, payload));
            for (column, value) in kept.iter_mut().zip([Some(project), Some(entity), Some(key), Some(digest?), version])
            {
                column.push(value);
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let statement = kept.iter().fold(sqlx::query(KEEP_LOSERS), sqlx::query::Query::bind);
        statement.execute(&mut *self.connection).await.map(drop)
    }

    /// Counts a content that goes.
    fn takes(&mut self, bytes: usize) {
        self.contents += 1;
        self.bytes += bytes;
    }

    /// Shows relations once more that now come before their memory, or has them wait.
    async fn show_relations(&mut self, now_us: i64) -> Result<Changes, sqlx::Error> {
        let (mut facts, mut waiting) = (Facts::default(), BTreeSet::new());
        if !self.memories.is_empty() {
            let rows = sqlx::query(RELATIONS)
                .bind(self.memories.iter().map(|name| name.project.as_str()).collect::<Vec<_>>())
                .bind(self.memories.iter().map(|name| name.key.as_str()).collect::<Vec<_>>())
                .fetch_all(&mut *self.connection)
                .await?;
            for row in &rows {
                let Ok(project) = ProjectName::parse(row.try_get(1)?) else { continue };
                let relation = Name::known(&project, Entity::Relation, row.try_get(2)?);
                match shows_again(row.try_get(3)?, row.try_get(4)?) {
                    Some(Again::Now) => drop(facts.heads.insert(relation, None)),
                    Some(Again::WhenItComes) => drop(waiting.insert((row.try_get::<String, _>(0)?, relation))),
                    None => {}
                }
            }
        }
        let again: Vec<Name> = facts.heads.keys().cloned().collect();
        if again.is_empty() && waiting.is_empty() {
            return Ok(Changes::default());
        }
        let peers = load_known(&mut *self.connection, &mut facts, &[]).await?;
        let mut admission = admission(facts, &peers, now_us);
        again.iter().for_each(|name| admission.show_again(name));
        let mut changes = admission.changes();
        changes.waiting.extend(waiting.into_iter().map(|waits| (waits, true)));
        Ok(changes)
    }
}
