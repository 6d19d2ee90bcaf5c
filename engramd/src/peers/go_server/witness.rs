//! The last row that we know of each project: a server that does not hold it any more was restored or replaced (CUR-3).

use super::GoServer;
use super::page::Page;
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engramd_core::classify::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One row, by what cannot change of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Witness {
    pub(super) seq: u64,
    entity: String,
    key: String,
    /// Not known of a row that was pushed and not read yet.
    occurred_at: Option<String>,
}

/// One for each project that the server told us of.
pub(super) type Witnesses = BTreeMap<ProjectName, Witness>;

impl Witness {
    /// Takes a row as it was served.
    pub(super) fn of_pulled(row: &PulledMutation) -> Self {
        let occurred_at = Some(row.occurred_at.clone()).filter(|text| !text.is_empty());
        Self { seq: row.seq, entity: row.entity.clone(), key: row.entity_key.clone(), occurred_at }
    }

    /// Takes a row as it was sent.
    pub(super) fn of_pushed(seq: u64, entity: &str, key: &str) -> Self {
        Self { seq, entity: entity.to_owned(), key: key.to_owned(), occurred_at: None }
    }

    fn is(&self, row: &PulledMutation) -> bool {
        let same_time = self.occurred_at.as_ref().is_none_or(|time| *time == row.occurred_at);
        (row.seq, &row.entity, &row.entity_key) == (self.seq, &self.entity, &self.key) && same_time
    }
}

impl GoServer<'_> {
    /// Reads, of all projects that may still be read, the last row that we know, and compares it.
    ///
    /// A project without a grant hides its rows, and so proves nothing: the row counts as lost only where the project was
    /// granted before and after it was looked for.
    pub(super) async fn check_witness(&self) -> Result<(), Failure> {
        let identity = self.identity().await?;
        let mut known: Vec<_> = self.witnesses(&identity).await?.into_iter().collect();
        known.sort_by_key(|(_, witness)| std::cmp::Reverse(witness.seq));
        for (project, witness) in known {
            if self.holds(&project, &witness).await? {
                return Ok(());
            }
            if self.transport.may_read(&project).await?.is_some() {
                continue;
            }
            if self.holds(&project, &witness).await? {
                return Ok(());
            }
            if self.transport.may_read(&project).await?.is_none() {
                let (host, seq) = (self.transport.host(), witness.seq);
                let message =
                    format!("{host} no longer holds row {seq} of {project} as it told it: it was restored or replaced");
                self.is_replaced(identity).await?;
                return Err(Failure::Replaced { cloud_id: None, message });
            }
        }
        Ok(())
    }

    async fn holds(&self, project: &ProjectName, witness: &Witness) -> Result<bool, Failure> {
        let page = Page::ask(self.transport, witness.seq - 1, 1).await?;
        Ok(page.rows.first().is_some_and(|row| row.project == project.as_str() && witness.is(row)))
    }

    /// Keeps the last rows, where they are later than the known ones.
    pub(super) async fn remember(&self, news: Witnesses) -> Result<(), Failure> {
        let key = witness_key(&self.identity().await?);
        self.on_store(move |store| {
            let before = parse(store.meta(&key)?);
            let mut all = before.clone();
            for (project, witness) in news {
                let known = all.entry(project).or_insert_with(|| witness.clone());
                // The same row once more tells the time that a push did not.
                if known.seq <= witness.seq && (known.seq < witness.seq || witness.occurred_at.is_some()) {
                    *known = witness;
                }
            }
            if all == before {
                return Ok(());
            }
            store.set_meta(&key, serde_json::to_string(&all).ok().as_deref())
        })
        .await
    }

    async fn witnesses(&self, identity: &str) -> Result<Witnesses, Failure> {
        let key = witness_key(identity);
        self.on_store(move |store| Ok(parse(store.meta(&key)?))).await
    }
}

fn witness_key(identity: &str) -> String {
    format!("witness:{identity}")
}

fn parse(text: Option<String>) -> Witnesses {
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}
