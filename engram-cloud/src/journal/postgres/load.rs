//! What admission has to know, asked of the database in one question, in two where sessions were deleted.
//!
//! Every list of things goes out as arrays, and every answer comes back with the place of what it answers.

use crate::journal::admit::{Facts, Head, Name, PeerRow, Taken};
use crate::journal::compaction::read_kept;
use crate::journal::{Control, Told, foreign_hash};
use engram_proto::canonical::Hash;
use engram_proto::id::ProjectName;
use engram_proto::mutation::{Entity, payload_text};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use std::collections::BTreeMap;

/// The columns: what is answered, for which of the things asked, number, time, a word, a text, a yes or no.
const FACTS: &str = "
    SELECT 'last' AS answer, 0::bigint AS place, coalesce(max(seq), 0) AS seq, 0::bigint AS at_us,
           NULL::text AS word, NULL::text AS body, false AS flag, NULL::text AS project, NULL::text AS key
    FROM cloud_mutations
    UNION ALL
    SELECT 'witness', 0, m.seq, (extract(epoch FROM m.occurred_at) * 1000000)::bigint, NULL, NULL, false, NULL, NULL
    FROM (SELECT seq, occurred_at FROM cloud_mutations UNION ALL SELECT seq, occurred_at FROM engram_compacted) m
    WHERE m.seq = ANY ($14::bigint[])
    UNION ALL
    SELECT 'paused', asked.place, 0, (extract(epoch FROM c.updated_at) * 1000000)::bigint,
           c.paused_reason, coalesce(c.updated_by, ''), false, NULL, NULL
    FROM unnest($1::text[]) WITH ORDINALITY AS asked (project, place)
    JOIN cloud_project_controls c ON c.project = asked.project AND NOT c.sync_enabled
    UNION ALL
    SELECT 'id', asked.place, i.seq,
           (extract(epoch FROM coalesce(m.occurred_at, c.occurred_at)) * 1000000)::bigint, NULL, NULL, i.is_superseded, NULL, NULL
    FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS asked (project, id, place)
    JOIN engram_mutation_ids i ON i.project = asked.project AND i.mutation_id = asked.id
    LEFT JOIN cloud_mutations m ON m.seq = i.seq
    LEFT JOIN engram_compacted c ON c.seq = i.seq
    UNION ALL
    SELECT 'head', asked.place, m.seq, (extract(epoch FROM m.occurred_at) * 1000000)::bigint,
           m.op, m.payload::text, false, NULL, NULL
    FROM unnest($4::text[], $5::text[], $6::text[]) WITH ORDINALITY AS asked (project, entity, key, place)
    JOIN engram_heads h ON h.project = asked.project AND h.entity = asked.entity AND h.entity_key = asked.key
    JOIN cloud_mutations m ON m.seq = h.seq
    UNION ALL
    SELECT 'waiting', asked.place, m.seq, (extract(epoch FROM m.occurred_at) * 1000000)::bigint,
           m.op, m.payload::text, false, w.project, w.entity_key
    FROM unnest($5::text[], $6::text[]) WITH ORDINALITY AS asked (entity, key, place)
    JOIN engram_waiting_relations w ON w.observation = asked.key AND asked.entity = 'observation'
    JOIN engram_heads h ON h.project = w.project AND h.entity = 'relation' AND h.entity_key = w.entity_key
    JOIN cloud_mutations m ON m.seq = h.seq
    UNION ALL
    SELECT 'held', asked.place, m.seq, 0, m.op, m.payload::text, false, NULL, NULL
    FROM unnest($11::text[], $12::text[], $13::text[]) WITH ORDINALITY AS asked (project, entity, key, place)
    JOIN cloud_mutations m ON m.project = asked.project AND m.entity = asked.entity AND m.entity_key = asked.key
         AND octet_length(m.entity_key) <= 1024 AND octet_length(m.entity) <= 128
    UNION ALL
    SELECT 'kept', asked.place, m.seq, 0, NULL, m.version, false, NULL, NULL
    FROM unnest($11::text[], $12::text[], $13::text[]) WITH ORDINALITY AS asked (project, entity, key, place)
    JOIN engram_compacted m ON m.project = asked.project AND m.entity = asked.entity AND m.entity_key = asked.key
    UNION ALL
    SELECT 'kept', asked.place, s.lost_to_seq, 0, NULL, s.version, false, NULL, NULL
    FROM unnest($11::text[], $12::text[], $13::text[]) WITH ORDINALITY AS asked (project, entity, key, place)
    JOIN engram_superseded s ON s.project = asked.project AND s.entity = asked.entity AND s.entity_key = asked.key
         AND s.version IS NOT NULL
    UNION ALL
    SELECT 'held', asked.place, s.lost_to_seq, 0, s.op, coalesce(s.payload, c.payload)::text, false, NULL, NULL
    FROM unnest($11::text[], $12::text[], $13::text[]) WITH ORDINALITY AS asked (project, entity, key, place)
    JOIN engram_superseded s ON s.project = asked.project AND s.entity = asked.entity AND s.entity_key = asked.key
    LEFT JOIN engram_conflicts c ON c.project = s.project AND c.entity = s.entity AND c.entity_key = s.entity_key
         AND c.digest = s.digest
    UNION ALL
    SELECT 'foreign', asked.place, m.seq, (extract(epoch FROM m.occurred_at) * 1000000)::bigint,
           m.version_hash, NULL, false, NULL, NULL
    FROM unnest($7::text[], $8::text[], $9::text[], $10::text[]) WITH ORDINALITY
         AS asked (project, entity, key, hash, place)
    CROSS JOIN LATERAL (
        SELECT seq, occurred_at, version_hash FROM cloud_mutations
        WHERE project = asked.project AND entity = asked.entity AND entity_key = asked.key
              AND version_hash IS NOT NULL AND entity NOT IN ('session', 'observation', 'prompt', 'relation')
              AND (asked.hash IS NULL OR version_hash = asked.hash)
        ORDER BY seq DESC LIMIT 1
    ) m
    UNION ALL
    SELECT 'peer', asked.place, m.seq, (extract(epoch FROM m.occurred_at) * 1000000)::bigint,
           m.op, m.payload::text, false, NULL, NULL
    FROM unnest($4::text[] || $7, $5::text[] || $8, $6::text[] || $9) WITH ORDINALITY
         AS asked (project, entity, key, place)
    JOIN cloud_mutations m ON m.project = asked.project AND m.entity = asked.entity AND m.entity_key = asked.key
         AND m.version_hash IS NULL AND octet_length(m.entity_key) <= 1024 AND octet_length(m.entity) <= 128
    WHERE m.seq > coalesce((SELECT h.seq FROM engram_heads h WHERE h.project = asked.project
                            AND h.entity = asked.entity AND h.entity_key = asked.key), 0)
    ORDER BY seq";

const LIVE_PROMPTS: &str = "
    SELECT asked.place, h.entity_key, m.seq, (extract(epoch FROM m.occurred_at) * 1000000)::bigint AS at_us,
           m.op AS word, m.payload::text AS body
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (project, session_id, place)
    JOIN engram_heads h ON h.project = asked.project AND h.session_id = asked.session_id
         AND h.entity = 'prompt' AND NOT h.is_deleted
    JOIN cloud_mutations m ON m.seq = h.seq";

/// Rows that the peer wrote after the entity's head, in their order.
pub(super) type PeerRows = BTreeMap<Name, Vec<PeerRow>>;

/// The lists that are asked, in the order in which they go out.
struct Asked {
    projects: Vec<ProjectName>,
    ids: Vec<(ProjectName, String)>,
    known: Vec<Name>,
    /// Without a hash the last thing said is asked for, with one just that.
    foreign: Vec<(Name, Option<Hash>)>,
    held: Vec<Name>,
    witnesses: Vec<i64>,
}

impl Asked {
    fn of(facts: &Facts) -> Self {
        let last = facts.last_foreign.keys().map(|name| (name.clone(), None));
        let seen = facts.seen_foreign.keys().map(|(name, hash)| (name.clone(), Some(*hash)));
        Self {
            projects: facts.paused.keys().cloned().collect(),
            ids: facts.ids.keys().cloned().collect(),
            known: facts.heads.keys().cloned().collect(),
            foreign: last.chain(seen).collect(),
            held: facts.held.keys().cloned().collect(),
            witnesses: facts.witnesses.keys().map(|seq| seq.cast_signed()).collect(),
        }
    }

    async fn ask(&self, connection: &mut PgConnection) -> Result<Vec<PgRow>, sqlx::Error> {
        let foreign = || self.foreign.iter().map(|(name, _)| name);
        sqlx::query(FACTS)
            .bind(self.projects.iter().map(storable).collect::<Vec<_>>())
            .bind(self.ids.iter().map(|(project, _)| project.as_str()).collect::<Vec<_>>())
            .bind(self.ids.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>())
            .bind(self.known.iter().map(|name| name.project.as_str()).collect::<Vec<_>>())
            .bind(self.known.iter().map(|name| name.entity.as_str()).collect::<Vec<_>>())
            .bind(self.known.iter().map(|name| name.key.as_str()).collect::<Vec<_>>())
            .bind(foreign().map(|name| name.project.as_str()).collect::<Vec<_>>())
            .bind(foreign().map(|name| name.entity.as_str()).collect::<Vec<_>>())
            .bind(foreign().map(|name| name.key.as_str()).collect::<Vec<_>>())
            .bind(self.foreign.iter().map(|(_, hash)| hash.map(|hash| hash.to_string())).collect::<Vec<_>>())
            .bind(self.held.iter().map(|name| name.project.as_str()).collect::<Vec<_>>())
            .bind(self.held.iter().map(|name| name.entity.as_str()).collect::<Vec<_>>())
            .bind(self.held.iter().map(|name| name.key.as_str()).collect::<Vec<_>>())
            .bind(&self.witnesses)
            .fetch_all(connection)
            .await
    }
}

/// Returns a project as text of Postgres, which holds no NUL: such a name, of entries that are refused, is nobody's.
pub(super) fn storable(project: &ProjectName) -> Option<&str> {
    Some(project.as_str()).filter(|name| !name.contains('\0'))
}

/// Answers everything but live prompts; rows of the peer that stand above an entity's head come beside.
pub(super) async fn facts(connection: &mut PgConnection, facts: &mut Facts) -> Result<PeerRows, sqlx::Error> {
    let asked = Asked::of(facts);
    let mut peers = PeerRows::new();
    for row in &asked.ask(connection).await? {
        let place = place(row)?;
        match row.try_get("answer")? {
            "last" => facts.last_seq = row.try_get("seq")?,
            "witness" => {
                let told = told(row)?;
                facts.witnesses.insert(told.seq, Some(told.occurred_at_us));
            }
            "paused" => {
                let control = control(asked.projects[place].clone(), row)?;
                facts.paused.insert(control.project.clone(), Some(control));
            }
            "id" => {
                let taken = Taken { told: told(row)?, is_superseded: row.try_get("flag")? };
                facts.ids.insert(asked.ids[place].clone(), Some(taken));
            }
            "head" => {
                let name = asked.known[place].clone();
                let head = Head::read(&name, told(row)?, row.try_get("word")?, row.try_get("body")?);
                facts.heads.insert(name, head);
            }
            "waiting" => {
                // A project that is none in its normal form is nobody's.
                let Ok(project) = ProjectName::parse(row.try_get("project")?) else { continue };
                let name = Name::known(&project, Entity::Relation, row.try_get("key")?);
                if let Some(head) = Head::read(&name, told(row)?, row.try_get("word")?, row.try_get("body")?) {
                    facts.add_waiting(&asked.known[place].key, name, head);
                }
            }
            "held" => {
                let name = &asked.held[place];
                let Some(payload) = row.try_get::<Option<String>, _>("body")? else { continue };
                let head = Head::read(name, told(row)?, row.try_get("word")?, payload);
                facts.held.entry(name.clone()).or_default().extend(head.map(|head| head.version));
            }
            "kept" => {
                let kept = row.try_get::<Option<&str>, _>("body")?.and_then(read_kept);
                facts.held.entry(asked.held[place].clone()).or_default().extend(kept);
            }
            "foreign" => {
                let hash = row.try_get::<Option<&str>, _>("word")?.and_then(Hash::from_hex);
                said(facts, &asked.foreign[place].0, hash, told(row)?);
            }
            _ => {
                let peer = PeerRow { told: told(row)?, op: row.try_get("word")?, payload: row.try_get("body")? };
                match asked.known.get(place) {
                    Some(name) => peers.entry(name.clone()).or_default().push(peer),
                    None => {
                        let name = &asked.foreign[place - asked.known.len()].0;
                        said(facts, name, peer_hash(name, &peer), peer.told);
                    }
                }
            }
        }
    }
    Ok(peers)
}

/// Answers which prompts live of the sessions that are asked about.
pub(super) async fn live_prompts(connection: &mut PgConnection, facts: &mut Facts) -> Result<(), sqlx::Error> {
    let sessions: Vec<(ProjectName, String)> = facts.live_prompts.keys().cloned().collect();
    if sessions.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(LIVE_PROMPTS)
        .bind(sessions.iter().map(|(project, _)| project.as_str()).collect::<Vec<_>>())
        .bind(sessions.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    for row in &rows {
        let (project, session_id) = &sessions[place(row)?];
        let name = Name::known(project, Entity::Prompt, row.try_get("entity_key")?);
        if let Some(head) = Head::read(&name, told(row)?, row.try_get("word")?, row.try_get("body")?) {
            facts.add_live_prompt(session_id, name, head);
        }
    }
    Ok(())
}

/// Notes what was said of an entity of a newer program.
fn said(facts: &mut Facts, name: &Name, hash: Option<Hash>, told: Told) {
    let Some(hash) = hash else { return };
    let last = facts.last_foreign.entry(name.clone()).or_default();
    if last.is_none_or(|(last, _)| last.seq < told.seq) {
        *last = Some((told, hash));
    }
    facts.seen_foreign.insert((name.clone(), hash), Some(told));
}

fn peer_hash(name: &Name, row: &PeerRow) -> Option<Hash> {
    Some(foreign_hash(&name.project, row.op.trim(), payload_text(&row.payload).ok()?))
}

fn place(row: &PgRow) -> Result<usize, sqlx::Error> {
    let place: i64 = row.try_get("place")?;
    Ok(usize::try_from(place.saturating_sub(1)).unwrap_or(0))
}

fn told(row: &PgRow) -> Result<Told, sqlx::Error> {
    let seq: i64 = row.try_get("seq")?;
    Ok(Told { seq: seq.unsigned_abs(), occurred_at_us: row.try_get("at_us")? })
}

fn control(project: ProjectName, row: &PgRow) -> Result<Control, sqlx::Error> {
    Ok(Control {
        project,
        is_sync_enabled: false,
        reason: row.try_get("word")?,
        updated_by: row.try_get("body")?,
        updated_at_us: row.try_get("at_us")?,
    })
}
