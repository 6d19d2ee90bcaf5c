//! Every version of an entity that was served or recorded as superseded, asked for entries without a mutation id.

use crate::journal::Told;
use crate::journal::admit::{Facts, Head, Name};
use sqlx::{PgConnection, Row};

const HELD: &str = "
    SELECT asked.place, m.op, m.payload::text AS body
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS asked (project, entity, key, place)
    JOIN cloud_mutations m ON m.project = asked.project AND m.entity = asked.entity AND m.entity_key = asked.key
         AND octet_length(m.entity_key) <= 1024 AND octet_length(m.entity) <= 128
    UNION ALL
    SELECT asked.place, s.op, coalesce(s.payload, c.payload)::text
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS asked (project, entity, key, place)
    JOIN engram_superseded s ON s.project = asked.project AND s.entity = asked.entity AND s.entity_key = asked.key
    LEFT JOIN engram_conflicts c ON c.project = s.project AND c.entity = s.entity AND c.entity_key = s.entity_key
         AND c.digest = s.digest";

/// Answers which versions were ever held of the entities that are asked about.
pub(super) async fn load(connection: &mut PgConnection, facts: &mut Facts) -> Result<(), sqlx::Error> {
    let names: Vec<Name> = facts.held.keys().cloned().collect();
    if names.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(HELD)
        .bind(names.iter().map(|name| name.project.as_str()).collect::<Vec<_>>())
        .bind(names.iter().map(|name| name.entity.as_str()).collect::<Vec<_>>())
        .bind(names.iter().map(|name| name.key.as_str()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    for row in &rows {
        let place: i64 = row.try_get("place")?;
        let name = &names[usize::try_from(place.saturating_sub(1)).unwrap_or(0)];
        // Of a row whose content was compacted nothing is known any more.
        let Some(payload) = row.try_get::<Option<String>, _>("body")? else { continue };
        let unasked = Told { seq: 0, occurred_at_us: 0 };
        let head = Head::read(name, unasked, row.try_get("op")?, payload);
        facts.held.entry(name.clone()).or_default().extend(head.map(|head| head.version));
    }
    Ok(())
}
