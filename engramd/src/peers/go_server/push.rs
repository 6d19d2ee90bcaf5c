//! Pushing: batches without ids, acknowledged by position; sessions go in a form that Go clients can apply.

use super::witness::{Witness, Witnesses};
use super::{BATCH_ROWS_MAX, GoServer};
use crate::peers::disguise;
use crate::store::{Store, StoreError, versions};
use engram_proto::canonical::Object;
use engram_proto::http::push::{PushEntry, PushReply, PushRequest, Receipt, ReceiptStatus};
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op, text_of};
use engramd_core::classify::Failure;
use engramd_core::rows::PendingRow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One entry, and the place of the row it was made of; a stand-in was made of none.
type Made = (Option<usize>, PushEntry);

impl GoServer<'_> {
    /// Sends rows of one project; its receipts name those that the server numbered, by their position (ACK-1).
    ///
    /// Where several requests are needed, what the first ones brought counts, and a refusal of a later one is met again
    /// when its rows are sent next.
    pub(in super::super) async fn push(
        &self,
        project: &ProjectName,
        rows: &[Arc<PendingRow>],
    ) -> Result<PushReply, Failure> {
        self.check_witness().await?;
        let (identity, name, of_rows) = (self.identity().await?, project.clone(), rows.to_vec());
        let made = self.on_store(move |store| entries(store, &identity, &name, &of_rows)).await?;
        let mut reply = PushReply::default();
        for part in made.chunks(BATCH_ROWS_MAX) {
            match self.push_part(project, rows, part).await {
                Ok(receipts) => reply.receipts.extend(receipts),
                Err(Failure::Rows(_)) if !reply.receipts.is_empty() => break,
                Err(failure) => return Err(failure),
            }
        }
        Ok(reply)
    }

    async fn push_part(
        &self,
        project: &ProjectName,
        rows: &[Arc<PendingRow>],
        part: &[Made],
    ) -> Result<Vec<Receipt>, Failure> {
        let request =
            PushRequest { entries: part.iter().map(|(_, entry)| entry.clone()).collect(), ..PushRequest::default() };
        let reply = self.transport.push_part1(&request).await.map_err(|failure| renumbered(failure, part))?;
        let seqs = &reply.accepted_seqs;
        if seqs.len() != part.len() || seqs.contains(&0) {
            let what =
                format!("it gave {} numbers for {} rows", seqs.iter().filter(|&&seq| seq > 0).count(), part.len());
            return Err(self.transport.impossible(&what));
        }
        if let Some((seq, (_, entry))) = seqs.iter().zip(part).max_by_key(|&(seq, _)| *seq) {
            let last = Witness::of_pushed(*seq, &entry.entity, &entry.entity_key);
            self.remember(Witnesses::from([(project.clone(), last)])).await?;
        }
        let ours = seqs.iter().zip(part).filter(|(_, (at, _))| at.is_some());
        self.expect(project, ours.map(|(&seq, (_, entry))| (seq, entry))).await?;
        let receipts = seqs.iter().zip(part).filter_map(|(&seq, &(at, _))| Some(receipt(&rows[at?].mutation_id, seq)));
        Ok(receipts.collect())
    }
}

fn receipt(mutation_id: &str, seq: u64) -> Receipt {
    Receipt {
        mutation_id: mutation_id.to_owned(),
        status: ReceiptStatus::Accepted,
        seq: Some(seq),
        occurred_at: None,
        reason_code: None,
        field: None,
        message: None,
    }
}

/// Makes places in a request, which a server named, places among the rows.
fn renumbered(failure: Failure, part: &[Made]) -> Failure {
    match failure {
        Failure::Rows(mut fault) => {
            fault.named = fault.named.iter().filter_map(|&place| part.get(place)?.0).collect();
            Failure::Rows(fault)
        }
        failure => failure,
    }
}

/// Makes the entries of a push; before a child whose session its project was not told of there is a stand-in, and before
/// one whose session was taken by a `delete` the session.
fn entries(
    store: &mut Store,
    identity: &str,
    project: &ProjectName,
    rows: &[Arc<PendingRow>],
) -> Result<Vec<Made>, StoreError> {
    let mut told = BTreeSet::new();
    let mut made = Vec::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        let (mut payload, mut op) = (row.payload.clone(), row.op);
        match Entity::parse(&row.entity) {
            Some(Entity::Session) => {
                // A delete alone has no directory, and none may reach a Go client: the session goes as we know it.
                if op == Op::Delete
                    && let Some((_, known)) = session(store, project, &row.entity_key)?
                        .and_then(|version| version.write(project, &row.entity_key))
                {
                    payload = known;
                }
                op = Op::Upsert;
                disguise::hide_deletion(&mut payload);
                told.insert(row.entity_key.clone());
            }
            Some(Entity::Observation | Entity::Prompt) if op == Op::Upsert => {
                let id = text_of(&payload, "session_id").unwrap_or_default().to_owned();
                let parent = if told.contains(&id) { Parent::There } else { parent(store, identity, project, &id)? };
                match parent {
                    Parent::There => {}
                    Parent::Gone(mut session) => {
                        disguise::hide_deletion(&mut session);
                        made.push((None, entry(project, Entity::Session.as_str(), &id, op, session.into())));
                        told.insert(id);
                    }
                    Parent::Unheard => {
                        let stand_in = disguise::stand_in_id(project, &id);
                        if told.insert(stand_in.clone()) {
                            let session = disguise::stand_in(project, &id);
                            made.push((None, entry(project, Entity::Session.as_str(), &stand_in, op, session.into())));
                        }
                        payload.insert("session_id".to_owned(), stand_in.into());
                    }
                }
            }
            _ => {}
        }
        made.push((Some(at), entry(project, &row.entity, &row.entity_key, op, payload.into())));
    }
    Ok(made)
}

fn entry(project: &ProjectName, entity: &str, key: &str, op: Op, payload: serde_json::Value) -> PushEntry {
    PushEntry {
        project: project.to_string(),
        entity: entity.to_owned(),
        entity_key: key.to_owned(),
        op: op.to_string(),
        payload,
        mutation_id: None,
        base: None,
    }
}

/// Returns the session as this device has it, pending rows included.
fn session(store: &Store, project: &ProjectName, id: &str) -> Result<Option<Version>, StoreError> {
    store.read(|conn| versions::local(conn, project, Entity::Session, id))
}

/// What a Go client has of the session that a child belongs to.
enum Parent {
    /// The session.
    There,
    /// A `delete` took it: it goes once more, as we know it.
    Gone(Object),
    /// Its project was not told of it.
    Unheard,
}

fn parent(store: &Store, identity: &str, project: &ProjectName, id: &str) -> Result<Parent, StoreError> {
    let known = store.read(|conn| versions::known(conn, project, Entity::Session, id))?;
    let was_told = matches!(known, Some(Version::Session(version)) if !version.is_stand_in());
    if !was_told {
        return Ok(Parent::Unheard);
    }
    let written = session(store, project, id)?.and_then(|version| version.write(project, id));
    Ok(match written {
        Some((_, payload)) if store.was_session_taken(identity, project, id)? => Parent::Gone(payload),
        _ => Parent::There,
    })
}
