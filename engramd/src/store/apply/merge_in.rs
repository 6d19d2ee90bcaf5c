//! Merging one remote version into what this device has (merging.md, "Pull").

use super::super::error::StoreError;
use super::super::journal::{self, LocalWrite};
use super::super::rows::{self, Found};
use super::super::settle::refresh_state;
use super::super::{chunks, conflict, foreign, mark, moved, naming, recheck, reread, restamp, served, versions};
use super::Applying;
use engram_proto::canonical::Hash;
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::merge::{Version, merge};
use engram_proto::mutation::{Entity, payload_text};
use engram_proto::time::row_text;
use rusqlite::params;

/// A journal row of the entity that no reply named yet.
struct Open {
    seq: i64,
    version: Version,
    payload: String,
    /// Whether it takes the time of a version that comes in with its winner's fields.
    takes_time: bool,
    /// The hash of what it was written over.
    base: Option<String>,
    /// The held row that keeps it from being sent.
    quarantine: Option<i64>,
}

/// Lifts what was written over the remote version above it, where that came with a later time than it had here: a Go process
/// whose clock is behind folds what autosync brought, and edits it (CONV-3).
fn lifted(open: &[Open], remote: &Version) -> Option<Version> {
    let mut over = remote.clone();
    for own in open.iter().filter(|own| own.version != *remote && own.quarantine.is_none()) {
        if own.base.as_deref() == Some(over.hash().to_string().as_str()) && !own.version.leads(&over) {
            over = foreign::lifted(&own.version, &over);
        }
    }
    (over != *remote).then_some(over)
}

impl Applying<'_> {
    /// Takes one version in; `row` is the pulled row it came with, if it came now.
    pub(super) fn take(
        &mut self,
        project: &ProjectName,
        entity: Entity,
        key: &str,
        remote: Version,
        row: Option<&PulledMutation>,
    ) -> Result<(), StoreError> {
        let known = versions::known(self.conn, project, entity, key)?;
        let found = self.find((project, entity, key), known.as_ref())?;
        let mut open = if self.has_open(project)? { self.open_rows(project, entity, key)? } else { Vec::new() };
        if open.iter().any(|own| restamp::is_ahead(&own.version, self.cloud_now)) {
            self.stamp_again(project, entity, key, Some(&remote))?;
            open = self.open_rows(project, entity, key)?;
        }
        for own in open.iter_mut().filter(|own| own.takes_time) {
            self.take_time(own, &remote)?;
        }
        let mut local = known.clone();
        for own in &open {
            local = versions::join(local, own.version.clone());
        }
        let lifted = lifted(&open, &remote);
        if let Some(lifted) = &lifted {
            local = versions::join(local, lifted.clone());
        }
        if self.any_held {
            for held in versions::held(self.conn, project, entity, key)? {
                local = versions::join(local, held);
            }
        }
        // Nothing known and nothing ever written here: what the row says is a version of its own.
        let unknown = local.is_none() && found.is_some() && !journal::tells_of(self.conn, project, entity, key)?;
        if unknown && let Some(found) = &found {
            // A Go process may have given it another time without a journal row: it says nothing else then.
            let same = |row: &Version| row.hash() == remote.hash() && !row.is_delete() && !remote.is_delete();
            local = found.version(self.conn, project, key)?;
            local = local.map(|row| if same(&row) { foreign::with_time(&row, remote.time()) } else { row });
            // A user's delete is in the journal; autosync lays one in another project over this row, for it goes by sync id.
            if local.as_ref().is_some_and(Version::is_delete) && reread::is_due(self.conn, project)? {
                local = None;
            }
        }
        let mut merged = match local.clone() {
            Some(local) => merge(local, remote.clone()),
            None => remote.clone(),
        };
        if !versions::has_text(&merged)
            && let Some(row) = found.as_ref().map(|found| found.version(self.conn, project, key)).transpose()?.flatten()
        {
            versions::lend(&mut merged, row);
        }
        let after = versions::join(known.clone(), remote.clone());
        // What was accepted of ours before this came is known, so a row that adds nothing to it may be a rival all the same.
        if let (Some(row), true) = (row, self.is_first_time || after != known) {
            conflict::note(self.conn, (project, key), row, &remote, self.now)?;
        }
        if row.is_some() && !open.is_empty() {
            conflict::note_edits_of(self.conn, (project, key), (&remote, &merged), self.now)?;
        }
        if let (Some(row), Some(cloud_id)) = (row, self.judged_of.as_deref())
            && served::is_unjudged(self.conn, cloud_id, project, row, &remote)?
            && let Some(known) = known.clone()
        {
            self.judge(cloud_id, (project, key), row, (&remote, known), found.as_ref())?;
        }
        let (superseded, left_open) = self.settle_open(project, &open, &remote, row)?;
        let news_of_a_row = unknown && local.is_some();
        // What was lifted may be beside a rival that stays open.
        let waits = left_open && lifted.as_ref() != Some(&merged);
        if merged != remote && !waits && (superseded || news_of_a_row) {
            // A row that has no revision more was not made over what came: it only says what it is.
            let revisions = versions::revision(&merged).zip(versions::revision(&remote));
            let is_rival = news_of_a_row && revisions.is_some_and(|(own, came)| own <= came);
            let base = if is_rival { merged.hash() } else { remote.hash() };
            let seq = self.queue(project, key, &merged, Some(base))?;
            if let Some(seq) = seq.filter(|_| news_of_a_row) {
                journal::takes_time(self.conn, seq)?;
            }
        }
        if let Some(after) = &after {
            if known.as_ref() != Some(after) {
                chunks::due::note(self.conn, project, entity, key)?;
            }
            let moved = versions::learn(self.conn, (project, key), known.as_ref(), after)?;
            let digest = self.digests.entry(project.clone()).or_default();
            *digest = digest.plus(moved);
            self.mark((project, key), known.as_ref(), after)?;
        }
        self.place((project, key), &merged, found.as_ref(), row)
    }

    /// Records what a row made lose, or lost to, on a server that keeps no conflicts.
    fn judge(
        &self,
        cloud_id: &str,
        name @ (project, key): (&ProjectName, &str),
        row: &PulledMutation,
        (remote, mut current): (&Version, Version),
        found: Option<&Found>,
    ) -> Result<(), StoreError> {
        if let Some(shown) = found.map(|found| found.version(self.conn, project, key)).transpose()?.flatten() {
            versions::lend(&mut current, shown);
        }
        conflict::judge(self.conn, cloud_id, name, row, remote, &current, self.now)
    }

    /// Gives a row that was written over nothing known the time of a version with its winner's fields: they are one.
    fn take_time(&self, own: &mut Open, remote: &Version) -> Result<(), StoreError> {
        let same = own.version.hash() == remote.hash() && !own.version.is_delete() && !remote.is_delete();
        let (true, Some(field)) = (same && own.version.time() != remote.time(), foreign::time_field(remote)) else {
            return Ok(());
        };
        let Ok(mut payload) = payload_text(&own.payload) else { return Ok(()) };
        payload.insert(field.to_owned(), row_text(remote.time()).into());
        own.payload = serde_json::Value::Object(payload).to_string();
        own.version = foreign::with_time(&own.version, remote.time());
        journal::rewrite(self.conn, own.seq, &own.payload)
    }

    /// Leaves the mark of what is known now and was not before, and of what a row of ours only says that it was written.
    fn mark(&self, name: (&ProjectName, &str), before: Option<&Version>, after: &Version) -> Result<(), StoreError> {
        let entity = after.entity();
        match before {
            // A stand-in left one already, and one id may occur in several projects.
            None if entity == Entity::Session => mark::ensure(self.conn, name, entity, self.now),
            None => mark::leave(self.conn, name, entity, self.now),
            Some(before) if after.is_delete() && !before.is_delete() => mark::ensure(self.conn, name, entity, self.now),
            Some(_) => Ok(()),
        }
    }

    /// Settles the entity's open rows against a version that the cloud holds: equal ones are acknowledged, those that
    /// still lead stay, the others are void. Tells whether one was, and whether one stays.
    fn settle_open(
        &mut self,
        project: &ProjectName,
        open: &[Open],
        remote: &Version,
        row: Option<&PulledMutation>,
    ) -> Result<(bool, bool), StoreError> {
        let (mut superseded, mut left_open, mut last) = (false, false, None);
        for own in open {
            let equal = own.version == *remote;
            if !equal && (own.quarantine.is_some() || own.version.leads(remote)) {
                left_open |= own.quarantine.is_none();
                continue;
            }
            if equal {
                let receipt = row.map(|row| (row.seq, Some(row.occurred_at.as_str())));
                journal::acknowledge(self.conn, own.seq, receipt, self.now)?;
                if let Some(id) = own.quarantine {
                    super::held::release(self.conn, id)?;
                }
            } else {
                journal::void(self.conn, own.seq, journal::SUPERSEDED, Some(self.now))?;
                superseded = true;
            }
            self.outcome.left.push((project.clone(), own.seq));
            last = last.max(Some(own.seq));
        }
        if let Some(last) = last {
            self.tell_enqueued()?;
            refresh_state(self.conn, project, last, self.now)?;
        }
        Ok((superseded, left_open))
    }

    /// Looks an entity's row up; where there is none, a Go process may have left it without a project, or moved it.
    pub(super) fn find(
        &mut self,
        (project, entity, key): (&ProjectName, Entity, &str),
        known: Option<&Version>,
    ) -> Result<Option<Found>, StoreError> {
        let found = self.find_unheard((project, entity, key))?;
        if found.is_some() {
            return Ok(found);
        }
        // Another program may have pushed it, so that it comes back before it is known.
        let was_here = match known {
            Some(known) => !known.is_delete(),
            None => journal::tells_of(self.conn, project, entity, key)?,
        };
        if !was_here {
            return Ok(None);
        }
        if moved::settle_gone(self.conn, project, entity, key, self.now)? {
            self.any_open.insert(project.clone(), true);
        } else if moved::is_in_doubt(self.conn, project, entity, key)? {
            recheck::keep_in_mind(self.conn, project, entity, key)?;
        }
        Ok(None)
    }

    /// Looks the row of an entity up that is neither known nor in the journal; a Go process may have left one all the same.
    pub(super) fn find_unheard(
        &self,
        (project, entity, key): (&ProjectName, Entity, &str),
    ) -> Result<Option<Found>, StoreError> {
        let found = rows::find(self.conn, project, entity, key)?;
        if found.is_none() && naming::adopt(self.conn, project, entity, key)? {
            return rows::find(self.conn, project, entity, key);
        }
        Ok(found)
    }

    /// Journals a merge that is news to the cloud, made over what has the hash `base`; returns its place there.
    pub(super) fn queue(
        &mut self,
        project: &ProjectName,
        key: &str,
        merged: &Version,
        base: Option<Hash>,
    ) -> Result<Option<i64>, StoreError> {
        // Only judged relations travel.
        if matches!(merged, Version::Relation(relation) if !relation.key.judged) {
            return Ok(None);
        }
        // Without its text nothing of an entity is sent.
        let Some((op, payload)) = merged.write(project, key) else { return Ok(None) };
        let (entity, at) = (merged.entity(), self.now);
        let write = LocalWrite { project, entity, key, op, payload: &payload, base, at };
        let seq = journal::append_untold(self.conn, &write)?;
        self.enqueued.insert(project.clone(), seq);
        self.any_open.insert(project.clone(), true);
        self.count(project).queued += 1;
        Ok(Some(seq))
    }

    fn has_open(&mut self, project: &ProjectName) -> Result<bool, StoreError> {
        if let Some(&any) = self.any_open.get(project) {
            return Ok(any);
        }
        let any = self
            .conn
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM sync_mutations INDEXED BY engramd_mutations_pending
                 WHERE project = ?1 AND acked_at IS NULL)",
            )?
            .query_row([project.as_str()], |row| row.get(0))?;
        self.any_open.insert(project.clone(), any);
        Ok(any)
    }

    fn open_rows(&self, project: &ProjectName, entity: Entity, key: &str) -> Result<Vec<Open>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT m.seq, m.op, m.payload, h.id, coalesce(j.takes_time, 0), j.base
             FROM sync_mutations AS m INDEXED BY engramd_mutations_entity
                 LEFT JOIN engramd_journal AS j ON j.seq = m.seq LEFT JOIN engramd_held AS h ON h.journal_seq = m.seq
             WHERE m.project = ?1 AND m.entity = ?2 AND m.entity_key = ?3 AND m.acked_at IS NULL ORDER BY m.seq",
        )?;
        let mut rows = statement.query(params![project.as_str(), entity.as_str(), key])?;
        let mut open = Vec::new();
        while let Some(row) = rows.next()? {
            let (op, payload): (String, String) = (row.get(1)?, row.get(2)?);
            // What cannot be read is no version; pushing it sets it aside.
            let Some(version) = versions::read(entity, key, &op, &payload) else { continue };
            let (seq, quarantine, takes_time, base) = (row.get(0)?, row.get(3)?, row.get(4)?, row.get(5)?);
            open.push(Open { seq, version, payload, takes_time, base, quarantine });
        }
        Ok(open)
    }

    /// Looks an entity up again and makes the tables show what this device has of it.
    pub(in super::super) fn place_again(
        &mut self,
        project: &ProjectName,
        entity: Entity,
        key: &str,
    ) -> Result<(), StoreError> {
        let Some(version) = self.local(project, entity, key)? else { return Ok(()) };
        let found: Option<Found> = rows::find(self.conn, project, entity, key)?;
        self.place((project, key), &version, found.as_ref(), None)
    }
}
