//! Compaction in `SQLite`.

use super::facts;
use crate::journal::admit::{Admission, Facts, Name};
use crate::journal::compaction::{
    Again, Compacted, Passed, Retention, STEP_BYTES, STEP_CONTENTS, STEP_ROWS, Walk, due, kept_of_row, shows_again,
    signed,
};
use crate::journal::last_number_by;
use engram_proto::id::ProjectName;
use engram_proto::mutation::Entity;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeMap, BTreeSet};

/// The rows that a walk passes next.
pub(super) const PASSED: &str = "SELECT seq, project, entity, entity_key,
           op = 'delete' AND payload ->> 'hard_delete' IS 1
    FROM cloud_mutations WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3";

/// The older upserts of an entity, never its current version.
pub(super) const OLDER: &str = "SELECT m.seq, m.op, m.payload FROM cloud_heads h
    JOIN cloud_mutations m INDEXED BY cloud_mutations_by_entity
         ON m.project = h.project AND m.entity = h.entity AND m.entity_key = h.entity_key
    WHERE h.project = ?1 AND h.entity = ?2 AND h.entity_key = ?3 AND m.seq < min(?4, h.seq) AND m.op = 'upsert'
    ORDER BY m.seq";

/// The versions of an entity that lost on arrival, and whose text is there.
pub(super) const LOSERS: &str = "SELECT digest, op, payload FROM cloud_superseded
    WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND payload IS NOT NULL";

/// All of those that lost until then.
pub(super) const LOSERS_UNTIL: &str = "SELECT project, entity, entity_key, digest, op, payload
    FROM cloud_superseded INDEXED BY cloud_superseded_with_text
    WHERE payload IS NOT NULL AND occurred_at <= ?1 ORDER BY occurred_at LIMIT ?2";

/// The current rows of relations that name a memory.
pub(super) const RELATIONS: &str = "SELECT h.project, h.entity_key, h.seq FROM (
        SELECT seq, project, entity_key FROM cloud_mutations INDEXED BY cloud_relations_by_source
        WHERE entity = 'relation' AND payload ->> 'source_id' = ?1
        UNION ALL
        SELECT seq, project, entity_key FROM cloud_mutations INDEXED BY cloud_relations_by_target
        WHERE entity = 'relation' AND payload ->> 'target_id' = ?1
    ) m
    JOIN cloud_heads h ON h.project = m.project AND h.entity = 'relation' AND h.entity_key = m.entity_key
         AND h.seq = m.seq";

/// Does one step; tells, too, which projects have new rows.
pub(super) fn step(
    connection: &Connection,
    retention: &Retention,
    now_us: i64,
) -> rusqlite::Result<(Compacted, BTreeSet<ProjectName>)> {
    let mut step = Step { connection, contents: 0, bytes: 0, memories: BTreeSet::new() };
    let mut has_more = false;
    for walk in Walk::ALL {
        has_more |= step.walk(walk, walk.until_us(retention, now_us))?;
    }
    has_more |= step.losers_until(Walk::Superseded.until_us(retention, now_us))?;
    let touched = step.show_relations(now_us)?;
    Ok((Compacted { contents: step.contents, has_more }, touched))
}

struct Step<'a> {
    connection: &'a Connection,
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

    /// Counts a content that goes.
    fn takes(&mut self, payload: &str) {
        self.contents += 1;
        self.bytes += payload.len();
    }

    /// Goes on with a walk, and tells whether there is more on its way.
    fn walk(&mut self, walk: Walk, until_us: i64) -> rusqlite::Result<bool> {
        let passed = passed(self.connection, place(self.connection, walk)?, last_number_by(until_us))?;
        let Some(last) = passed.last().map(|row| row.seq) else { return Ok(false) };
        for (name, before) in due(walk, &passed) {
            self.older(&name, before)?;
            if walk == Walk::Deleted {
                self.losers_of(&name)?;
            }
            if self.is_full() {
                // What went is no longer there when these rows are passed again.
                return Ok(true);
            }
        }
        keep_place(self.connection, walk, last)?;
        Ok(passed.len() == STEP_ROWS)
    }

    /// Takes the contents of an entity's older versions away.
    fn older(&mut self, name: &Name, before: i64) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(OLDER)?;
        let mut rows = statement.query(params![name.project.as_str(), name.entity, name.key, before])?;
        let mut older = Vec::new();
        while !self.is_full()
            && let Some(row) = rows.next()?
        {
            let (seq, op, payload): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            self.takes(&payload);
            older.push((seq, kept_of_row(name, &op, payload)));
        }
        let keep = "INSERT INTO cloud_compacted
                    (seq, project, entity, entity_key, occurred_at, version_hash, pushed_by, version)
                    SELECT seq, project, entity, entity_key, occurred_at, version_hash, pushed_by, ?2
                    FROM cloud_mutations WHERE seq = ?1";
        for (seq, kept) in &older {
            self.connection.prepare_cached(keep)?.execute(params![seq, kept])?;
            self.connection.prepare_cached("DELETE FROM cloud_mutations WHERE seq = ?1")?.execute([seq])?;
        }
        if !older.is_empty() && name.entity == Entity::Observation.as_str() {
            self.memories.insert(name.clone());
        }
        Ok(())
    }

    fn losers_of(&mut self, name: &Name) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(LOSERS)?;
        let mut rows = statement.query(params![name.project.as_str(), name.entity, name.key])?;
        let mut losers = Vec::new();
        while !self.is_full()
            && let Some(row) = rows.next()?
        {
            losers.push(self.loser(name.clone(), row.get(0)?, &row.get::<_, String>(1)?, row.get(2)?));
        }
        losers.iter().try_for_each(|loser| loser.keep(self.connection))
    }

    /// Takes the texts away of what lost until then, and tells whether there are more.
    fn losers_until(&mut self, until_us: i64) -> rusqlite::Result<bool> {
        let mut statement = self.connection.prepare_cached(LOSERS_UNTIL)?;
        let mut rows = statement.query(params![until_us, signed(STEP_CONTENTS)])?;
        let mut losers = Vec::new();
        while let Some(row) = rows.next()? {
            if self.is_full() {
                return losers.iter().try_for_each(|loser: &Lost| loser.keep(self.connection)).map(|()| true);
            }
            // Nobody pushes a project that is none.
            let Ok(project) = ProjectName::parse(&row.get::<_, String>(0)?) else { continue };
            let name = Name { project, entity: row.get(1)?, key: row.get(2)? };
            losers.push(self.loser(name, row.get(3)?, &row.get::<_, String>(4)?, row.get(5)?));
        }
        losers.iter().try_for_each(|loser| loser.keep(self.connection))?;
        Ok(losers.len() == STEP_CONTENTS)
    }

    fn loser(&mut self, name: Name, digest: String, op: &str, payload: String) -> Lost {
        self.takes(&payload);
        Lost { kept: kept_of_row(&name, op, payload), name, digest }
    }

    /// Shows relations once more that now come before their memory, or has them wait.
    fn show_relations(&self, now_us: i64) -> rusqlite::Result<BTreeSet<ProjectName>> {
        let mut again = BTreeMap::new();
        for memory in &self.memories {
            let first = first(self.connection, memory)?;
            let mut statement = self.connection.prepare_cached(RELATIONS)?;
            let mut rows = statement.query([&memory.key])?;
            while let Some(row) = rows.next()? {
                let Ok(project) = ProjectName::parse(&row.get::<_, String>(0)?) else { continue };
                let relation = Name::known(&project, Entity::Relation, &row.get::<_, String>(1)?);
                match shows_again(row.get(2)?, first) {
                    Some(Again::Now) => drop(again.insert(relation, None)),
                    Some(Again::WhenItComes) => super::waiting::set(self.connection, &memory.key, &relation, true)?,
                    None => {}
                }
            }
        }
        if again.is_empty() {
            return Ok(BTreeSet::new());
        }
        let names: Vec<Name> = again.keys().cloned().collect();
        let facts = facts::load(self.connection, Facts { heads: again, ..Facts::default() }, &[])?;
        let mut admission = Admission::new(facts, now_us);
        names.iter().for_each(|name| admission.show_again(name));
        let changes = admission.changes();
        facts::write(self.connection, &changes)?;
        Ok(changes.touched())
    }
}

/// A version that lost on arrival, without its text.
struct Lost {
    name: Name,
    digest: String,
    kept: Option<String>,
}

impl Lost {
    fn keep(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "UPDATE cloud_superseded SET payload = NULL, version = ?5
                   WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND digest = ?4";
        let Name { project, entity, key } = &self.name;
        let params = params![project.as_str(), entity, key, self.digest, self.kept];
        connection.prepare_cached(sql)?.execute(params).map(drop)
    }
}

fn passed(connection: &Connection, after: i64, upto: i64) -> rusqlite::Result<Vec<Passed>> {
    let mut statement = connection.prepare_cached(PASSED)?;
    let rows = statement.query_map(params![after, upto, signed(STEP_ROWS)], |row| {
        let (seq, project, entity) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Passed { seq, project, entity, key: row.get(3)?, is_hard_delete: row.get(4)? })
    })?;
    rows.collect()
}

/// Returns the number of a memory's first upsert that is left.
fn first(connection: &Connection, memory: &Name) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT seq FROM cloud_mutations INDEXED BY cloud_mutations_by_entity
               WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND op = 'upsert' ORDER BY seq LIMIT 1";
    let params = params![memory.project.as_str(), memory.entity, memory.key];
    connection.prepare_cached(sql)?.query_row(params, |row| row.get(0)).optional()
}

/// Returns how far a walk came.
fn place(connection: &Connection, walk: Walk) -> rusqlite::Result<i64> {
    let sql = "SELECT CAST(value AS INTEGER) FROM cloud_meta WHERE name = ?1";
    let place = connection.prepare_cached(sql)?.query_row([walk.place_name()], |row| row.get(0)).optional()?;
    Ok(place.unwrap_or(0))
}

fn keep_place(connection: &Connection, walk: Walk, place: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO cloud_meta (name, value) VALUES (?1, CAST(?2 AS TEXT))
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    connection.prepare_cached(sql)?.execute(params![walk.place_name(), place]).map(drop)
}
