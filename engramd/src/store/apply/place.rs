//! Making the tables show a merged version, or parking it until its parent comes (ISO-3).

use super::super::conflict;
use super::super::error::StoreError;
use super::super::held::{self, SetAside};
use super::super::rows::{Found, observation, prompt, relation, session};
use super::{Applying, sessions, waits_for_observation, waits_for_session};
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::HeldKind;
use engram_proto::merge::{Kind, ObservationVersion, PromptVersion, RelationVersion, Version};
use engram_proto::mutation::Entity;
use engram_proto::reason::ReasonCode;
use rusqlite::Connection;

/// Project and key of an entity.
type Name<'a> = (&'a ProjectName, &'a str);

impl Applying<'_> {
    /// Writes what differs; an upsert without its parent is parked.
    pub(super) fn place(
        &mut self,
        name: Name<'_>,
        version: &Version,
        found: Option<&Found>,
        row: Option<&PulledMutation>,
    ) -> Result<(), StoreError> {
        match (version, found) {
            (Version::Session(version), _) => self.place_session(name, version),
            (Version::Observation(version), Some(Found::Observation(found))) => {
                self.place_observation(name, version, Some(found))
            }
            (Version::Observation(version), _) => self.place_observation(name, version, None),
            (Version::Prompt(version), Some(Found::Prompt(found))) => self.place_prompt(name, version, Some(found)),
            (Version::Prompt(version), _) => self.place_prompt(name, version, None),
            (Version::Relation(version), Some(Found::Relation(found))) => {
                self.place_relation(name, version, Some(found), row)
            }
            (Version::Relation(version), _) => self.place_relation(name, version, None, row),
        }
    }

    fn place_observation(
        &mut self,
        name @ (project, key): Name<'_>,
        version: &ObservationVersion,
        found: Option<&observation::Found>,
    ) -> Result<(), StoreError> {
        let live = version.key.kind == Kind::Upsert;
        if live && !self.has_parent(project, &version.session_id)? {
            let waits_for = waits_for_session(&version.session_id);
            return self.park(name, &Version::Observation(version.clone()), &waits_for);
        }
        self.unpark(name, Entity::Observation)?;
        if live && let Some(found) = found {
            self.keep_texts_beside(name, found, version)?;
        }
        let changed = observation::write(self.conn, &mut self.index, name, found, version)?;
        if changed {
            self.count(project).changed += 1;
        }
        let (came, went) = (changed && found.is_none(), changed && version.key.kind == Kind::Hard);
        let known_as_gone = found.is_none() && !live;
        if came || went {
            for relation in relation::of_end(self.conn, key)? {
                self.place_relation_again(&relation)?;
            }
        }
        if came || known_as_gone {
            self.replay(&waits_for_observation(key))?;
        }
        match found {
            Some(found) if changed && (went || found.version.session_id != version.session_id) => {
                sessions::reconsider(self, project, &found.version.session_id)
            }
            _ => Ok(()),
        }
    }

    /// Lists the texts of copies as conflicts before they are written over: nobody told of them, a move or an import
    /// of the Go program put them there (D12, D21).
    fn keep_texts_beside(
        &self,
        name @ (project, key): Name<'_>,
        found: &observation::Found,
        version: &ObservationVersion,
    ) -> Result<(), StoreError> {
        for other in found.texts_beside(version) {
            let other = Version::Observation(other.clone());
            if let Some((op, payload)) = other.write(project, key) {
                let payload = serde_json::Value::Object(payload).to_string();
                conflict::keep(self.conn, name, &other, (op.as_str(), &payload), self.now)?;
            }
        }
        Ok(())
    }

    fn place_prompt(
        &mut self,
        name @ (project, _): Name<'_>,
        version: &PromptVersion,
        found: Option<&prompt::Found>,
    ) -> Result<(), StoreError> {
        let gone_with_session = !version.key.deleted && self.went_with_session(project, version)?;
        if !version.key.deleted && !gone_with_session && !self.has_parent(project, &version.session_id)? {
            let waits_for = waits_for_session(&version.session_id);
            return self.park(name, &Version::Prompt(version.clone()), &waits_for);
        }
        self.unpark(name, Entity::Prompt)?;
        let changed = if gone_with_session {
            let ids = found.map_or(&[][..], |found| &found.ids);
            prompt::remove(self.conn, &mut self.index, ids)?;
            !ids.is_empty()
        } else {
            prompt::write(self.conn, &mut self.index, name, found, version)?
        };
        if changed {
            self.count(project).changed += 1;
        }
        match found {
            Some(found) if changed && (version.key.deleted || found.version.session_id != version.session_id) => {
                sessions::reconsider(self, project, &found.version.session_id)
            }
            _ => Ok(()),
        }
    }

    /// Tells whether a prompt was created before its session was deleted in this project: it counts as deleted then.
    fn went_with_session(&self, project: &ProjectName, version: &PromptVersion) -> Result<bool, StoreError> {
        let deleted_at = sessions::deleted_at(self.conn, project, &version.session_id)?;
        Ok(deleted_at.is_some() && version.key.time <= deleted_at)
    }

    fn place_relation(
        &mut self,
        name @ (project, key): Name<'_>,
        version: &RelationVersion,
        found: Option<&relation::Found>,
        row: Option<&PulledMutation>,
    ) -> Result<(), StoreError> {
        if found.is_some()
            && let Some(other) = relation::elsewhere(self.conn, project, key)?
        {
            return match row {
                Some(row) => self.dead(project, row, &relation::no_room(&other)),
                None => Ok(()),
            };
        }
        let mut orphaned = false;
        for end in [&version.source_id, &version.target_id] {
            match self.end(end)? {
                End::Row | End::DeletedElsewhere => {}
                End::Gone => orphaned = true,
                End::Missing => {
                    let waits_for = waits_for_observation(end);
                    return self.park(name, &Version::Relation(version.clone()), &waits_for);
                }
            }
        }
        self.unpark(name, Entity::Relation)?;
        if relation::write(self.conn, name, found, version, orphaned)? {
            self.count(project).changed += 1;
        }
        Ok(())
    }

    /// Looks at a relation's ends again after one of them came or went.
    fn place_relation_again(&mut self, key: &str) -> Result<(), StoreError> {
        let Some(found) = relation::find(self.conn, key)? else { return Ok(()) };
        let Some(project) = relation::project_of(self.conn, key)? else { return Ok(()) };
        let version = found.version.clone();
        self.place_relation((&project, key), &version, Some(&found), None)
    }

    /// Tells what is known of an end of a relation, in whatever project it is.
    fn end(&self, sync_id: &str) -> Result<End, StoreError> {
        let mut row = self.conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM observations WHERE sync_id = ?1)")?;
        if row.query_row([sync_id], |row| row.get(0))? {
            return Ok(End::Row);
        }
        let mut known = self.conn.prepare_cached(
            "SELECT max(state) FROM engramd_version INDEXED BY engramd_version_deleted
             WHERE entity = 'observation' AND entity_key = ?1 AND state > 0",
        )?;
        match known.query_row([sync_id], |row| row.get::<_, Option<i64>>(0))? {
            Some(1) => return Ok(End::DeletedElsewhere),
            Some(_) => return Ok(End::Gone),
            None => {}
        }
        for project in softly(self.conn, sync_id)? {
            let local = self.local(&project, Entity::Observation, sync_id)?;
            if matches!(local, Some(Version::Observation(version)) if version.key.kind == Kind::Soft) {
                return Ok(End::DeletedElsewhere);
            }
        }
        let mut journal = self.conn.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM sync_mutations AS m LEFT JOIN engramd_journal AS j ON j.seq = m.seq
             WHERE m.target_key = 'cloud' AND m.entity = 'observation' AND m.entity_key = ?1 AND m.op = 'delete'
                 AND j.void IS NOT 'mark')",
        )?;
        let gone = journal.query_row([sync_id], |row| row.get(0))?;
        Ok(if gone { End::Gone } else { End::Missing })
    }

    /// Tells whether a session has a row; one that is known in this project, and was deleted until now, gets it back.
    fn has_parent(&mut self, project: &ProjectName, session_id: &str) -> Result<bool, StoreError> {
        if self.seen_session.as_deref() == Some(session_id) {
            return Ok(true);
        }
        if !session::exists(self.conn, session_id)? {
            if self.local(project, Entity::Session, session_id)?.is_none() {
                return Ok(false);
            }
            sessions::show_for_child(self.conn, project, session_id)?;
            if !session::exists(self.conn, session_id)? {
                return Ok(false);
            }
        }
        self.seen_session = Some(session_id.to_owned());
        Ok(true)
    }

    /// Parks a version; a newer one of the same entity takes the place of the one that waits already.
    fn park(&mut self, (project, key): Name<'_>, version: &Version, waits_for: &str) -> Result<(), StoreError> {
        let entity = version.entity().as_str();
        // A version without its text adds nothing to what waits already.
        let Some((op, payload)) = version.write(project, key) else { return Ok(()) };
        let payload = serde_json::Value::Object(payload).to_string();
        let waiting = if self.any_held { held::deferred(self.conn, project, entity, key)? } else { None };
        if let Some((id, before, waited_for)) = waiting {
            if (before.as_str(), waited_for.as_str()) != (&payload, waits_for) {
                held::wait_anew(self.conn, id, &payload, waits_for)?;
            }
            return Ok(());
        }
        let aside = SetAside {
            kind: HeldKind::Deferred,
            reason: ReasonCode::DeferredWaiting,
            project: project.as_str(),
            entity,
            key,
            op: op.as_str(),
            journal_seq: None,
            cloud_seq: None,
            payload: &payload,
            evidence: &held::waiting(waits_for),
            waits_for: Some(waits_for),
            now: self.now,
        };
        held::set_aside(self.conn, &aside)?;
        self.any_held = true;
        self.count(project).deferred += 1;
        Ok(())
    }

    fn unpark(&mut self, (project, key): Name<'_>, entity: Entity) -> Result<(), StoreError> {
        if self.any_held
            && let Some((id, ..)) = held::deferred(self.conn, project, entity.as_str(), key)?
        {
            held::release(self.conn, id)?;
            self.unparked = true;
        }
        Ok(())
    }
}

/// Names the projects in which a chunk brought a memory as deleted softly.
fn softly(conn: &Connection, sync_id: &str) -> Result<Vec<ProjectName>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT project FROM engramd_softly WHERE entity_key = ?1")?;
    let names = statement.query_map([sync_id], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(names.iter().filter_map(|name| ProjectName::parse(name).ok()).collect())
}

/// What is known of an end of a relation.
enum End {
    /// A row, deleted softly or not.
    Row,
    /// Deleted softly on another device, which keeps the text for itself.
    DeletedElsewhere,
    /// Deleted for good.
    Gone,
    /// Not heard of.
    Missing,
}
