//! Writing down what it served and what it numbered: it merges nothing and remembers no conflict, so we do.

use super::GoServer;
use crate::peers::disguise;
use crate::store::AcceptedRow;
use engram_proto::http::pull::PullReply;
use engram_proto::http::push::PushEntry;
use engram_proto::id::ProjectName;
use engram_proto::mutation::Entity;
use engramd_core::classify::Failure;
use std::collections::BTreeMap;

impl GoServer<'_> {
    /// Keeps what a page shows, out of its disguise, and how far the projects were that it reads to the head for the
    /// first time. Nothing of it is applied yet, and the same page again changes nothing.
    pub(in super::super) async fn record(&self, reply: &PullReply) -> Result<(), Failure> {
        let last = |project: &ProjectName| {
            let rows = reply.mutations.iter().filter(|row| row.project == project.as_str());
            rows.map(|row| row.seq).max().unwrap_or(0)
        };
        let drained = reply.heads.iter().filter(|(project, _)| reply.remaining.get(*project) == Some(&0));
        let heads: BTreeMap<_, _> =
            drained.map(|(project, &head)| (project.clone(), head.max(last(project)))).collect();
        let (rows, identity) = (reply.mutations.clone(), self.identity().await?);
        self.on_store(move |store| {
            store.served(&identity, &rows)?;
            store.drained_first(&identity, &heads)
        })
        .await
    }

    /// Keeps what it numbered of ours: it is expected in a page.
    pub(super) async fn expect(
        &self,
        project: &ProjectName,
        rows: impl Iterator<Item = (u64, &PushEntry)>,
    ) -> Result<(), Failure> {
        let row = |(seq, entry): (u64, &PushEntry)| {
            let ends_session = entry.payload.as_object().is_some_and(disguise::hides_deletion);
            Some(AcceptedRow {
                seq,
                entity: Entity::parse(&entry.entity)?,
                key: entry.entity_key.clone(),
                ends_session,
            })
        };
        let (project, rows) = (project.clone(), rows.filter_map(row).collect::<Vec<_>>());
        let identity = self.identity().await?;
        self.on_store(move |store| store.accepted(&identity, &project, &rows)).await
    }
}
