//! Writing what admission decided, in one statement, with the notice that goes out when it is committed.

use super::notices::{CHANNEL, Notice};
use crate::journal::admit::{Changes, Loser, Name};
use engram_proto::id::ProjectName;
use sqlx::PgConnection;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

const CHANGES: &str = "
    WITH appended AS (
        INSERT INTO cloud_mutations
               (seq, project, entity, entity_key, op, payload, occurred_at, version_hash, pushed_by, payload_bytes)
        SELECT seq, project, entity, key, op, payload::jsonb, timestamptz 'epoch' + at_us * interval '1 microsecond',
               hash, pushed_by, octet_length(payload)
        FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[],
                    $8::text[], $9::text[]) AS r (project, entity, key, seq, op, payload, at_us, hash, pushed_by)
    ), moved AS (
        INSERT INTO engram_heads (project, entity, entity_key, seq, session_id, is_deleted)
        SELECT * FROM unnest($10::text[], $11::text[], $12::text[], $13::bigint[], $14::text[], $15::bool[])
        ON CONFLICT (project, entity, entity_key)
        DO UPDATE SET seq = excluded.seq, session_id = excluded.session_id, is_deleted = excluded.is_deleted
    ), named AS (
        INSERT INTO engram_mutation_ids (project, mutation_id, seq, is_superseded)
        SELECT * FROM unnest($16::text[], $17::text[], $18::bigint[], $19::bool[])
    ), superseded AS (
        INSERT INTO engram_superseded
               (project, entity, entity_key, digest, op, payload, base, lost_to_seq, occurred_at, pushed_by, version)
        SELECT project, entity, key, digest, op, payload::jsonb, base, seq,
               timestamptz 'epoch' + at_us * interval '1 microsecond', pushed_by, version
        FROM unnest($20::text[], $21::text[], $22::text[], $23::text[], $24::text[], $25::text[], $26::text[],
                    $27::bigint[], $28::bigint[], $29::text[], $49::text[])
             AS l (project, entity, key, digest, op, payload, base, seq, at_us, pushed_by, version)
        ON CONFLICT DO NOTHING
    ), conflicts AS (
        INSERT INTO engram_conflicts
               (project, entity, entity_key, digest, op, payload, base, winner_seq, occurred_at, pushed_by)
        SELECT project, entity, key, digest, op, payload::jsonb, coalesce(base, ''), seq,
               timestamptz 'epoch' + at_us * interval '1 microsecond', pushed_by
        FROM unnest($30::text[], $31::text[], $32::text[], $33::text[], $34::text[], $35::text[], $36::text[],
                    $37::bigint[], $38::bigint[], $39::text[])
             AS l (project, entity, key, digest, op, payload, base, seq, at_us, pushed_by)
        ON CONFLICT DO NOTHING
    ), waiting AS (
        INSERT INTO engram_waiting_relations (observation, project, entity_key)
        SELECT observation, project, key
        FROM unnest($40::text[], $41::text[], $42::text[], $43::bool[]) AS w (observation, project, key, waits)
        WHERE waits
        ON CONFLICT DO NOTHING
    ), arrived AS (
        DELETE FROM engram_waiting_relations w
        USING unnest($40::text[], $41::text[], $42::text[], $43::bool[]) AS a (observation, project, key, waits)
        WHERE NOT a.waits AND (w.observation, w.project, w.entity_key) = (a.observation, a.project, a.key)
    ), added AS (
        INSERT INTO engram_digests AS d (project, digest)
        SELECT project, digest::numeric FROM unnest($47::text[], $48::text[]) AS m (project, digest)
        ON CONFLICT (project) DO UPDATE SET digest =
            mod(d.digest + excluded.digest, 340282366920938463463374607431768211456)
    )
    SELECT CASE WHEN $44::bigint IS NOT NULL THEN
               setval(pg_get_serial_sequence('cloud_mutations', 'seq'), $44::bigint) END,
           CASE WHEN $45::text IS NOT NULL THEN pg_notify($46::text, $45::text) END";

type Statement<'q> = Query<'q, sqlx::Postgres, PgArguments>;

/// Writes the changes; the peer's own sequence is kept ahead of our numbers, so that one may switch back.
pub(super) async fn changes(
    connection: &mut PgConnection,
    changes: &Changes,
    notice: Option<&Notice>,
) -> Result<(), sqlx::Error> {
    let statement = bind_rows(sqlx::query(CHANGES), changes);
    let statement = bind_heads(statement, changes);
    let statement = bind_losers(bind_losers(statement, &changes.superseded), &changes.conflicts);
    bind_waiting(statement, changes)
        .bind(changes.rows.last().map(|row| row.seq))
        .bind(notice.map(Notice::write))
        .bind(CHANNEL)
        .bind(changes.digests.keys().map(ProjectName::as_str).collect::<Vec<_>>())
        .bind(changes.digests.values().map(|moved| moved.number().to_string()).collect::<Vec<_>>())
        .bind(changes.superseded.iter().map(|loser| loser.kept.as_deref()).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// Binds project, entity and key of some names.
fn bind_names<'q>(statement: Statement<'q>, names: impl Iterator<Item = &'q Name> + Clone) -> Statement<'q> {
    statement
        .bind(names.clone().map(|name| name.project.as_str()).collect::<Vec<_>>())
        .bind(names.clone().map(|name| name.entity.as_str()).collect::<Vec<_>>())
        .bind(names.map(|name| name.key.as_str()).collect::<Vec<_>>())
}

fn bind_rows<'q>(statement: Statement<'q>, changes: &'q Changes) -> Statement<'q> {
    let rows = || changes.rows.iter();
    bind_names(statement, rows().map(|row| &row.name))
        .bind(rows().map(|row| row.seq).collect::<Vec<_>>())
        .bind(rows().map(|row| row.op.as_str()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.payload.as_str()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.occurred_at_us).collect::<Vec<_>>())
        .bind(rows().map(|row| row.hash.as_str()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.pushed_by.as_str()).collect::<Vec<_>>())
}

fn bind_heads<'q>(statement: Statement<'q>, changes: &'q Changes) -> Statement<'q> {
    let (heads, ids) = (|| changes.heads.values(), || changes.ids.iter());
    bind_names(statement, changes.heads.keys())
        .bind(heads().map(|head| head.seq).collect::<Vec<_>>())
        .bind(heads().map(|head| head.session_id.as_deref()).collect::<Vec<_>>())
        .bind(heads().map(|head| head.is_deleted).collect::<Vec<_>>())
        .bind(ids().map(|((project, _), _)| project.as_str()).collect::<Vec<_>>())
        .bind(ids().map(|((_, id), _)| id.as_str()).collect::<Vec<_>>())
        .bind(ids().map(|(_, taken)| taken.told.seq.cast_signed()).collect::<Vec<_>>())
        .bind(ids().map(|(_, taken)| taken.is_superseded).collect::<Vec<_>>())
}

fn bind_losers<'q>(statement: Statement<'q>, losers: &'q [Loser]) -> Statement<'q> {
    let losers = || losers.iter();
    bind_names(statement, losers().map(|loser| &loser.name))
        .bind(losers().map(|loser| loser.digest.as_str()).collect::<Vec<_>>())
        .bind(losers().map(|loser| loser.op.as_str()).collect::<Vec<_>>())
        .bind(losers().map(|loser| loser.payload.as_deref()).collect::<Vec<_>>())
        .bind(losers().map(|loser| loser.base.as_deref()).collect::<Vec<_>>())
        .bind(losers().map(|loser| loser.winner_seq).collect::<Vec<_>>())
        .bind(losers().map(|loser| loser.occurred_at_us).collect::<Vec<_>>())
        .bind(losers().map(|loser| loser.pushed_by.as_str()).collect::<Vec<_>>())
}

fn bind_waiting<'q>(statement: Statement<'q>, changes: &'q Changes) -> Statement<'q> {
    let waiting = || changes.waiting.iter();
    statement
        .bind(waiting().map(|((observation, _), _)| observation.as_str()).collect::<Vec<_>>())
        .bind(waiting().map(|((_, relation), _)| relation.project.as_str()).collect::<Vec<_>>())
        .bind(waiting().map(|((_, relation), _)| relation.key.as_str()).collect::<Vec<_>>())
        .bind(waiting().map(|(_, waits)| *waits).collect::<Vec<_>>())
}
