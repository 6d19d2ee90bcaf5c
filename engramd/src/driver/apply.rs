//! Applying a page, one transaction after the other, each as a job of its own: what else is to be done comes in between.

use super::Outcome;
use super::effects::{count, trouble};
use crate::clock;
use crate::store::{StoreError, StoreHandle};
use engram_proto::http::pull::PullReply;
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use engramd_core::Event;
use engramd_core::rows::{Applied, Clocks, Fence};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A page, and what its rows are applied with.
pub(super) struct Work {
    pub(super) fence: Fence,
    pub(super) cloud_id: String,
    pub(super) since: BTreeMap<ProjectName, u64>,
    pub(super) page: PullReply,
    /// As in the effect.
    pub(super) cloud_now: Option<RowTime>,
}

/// Applies all of a page; what was committed before an error stays applied.
pub(super) async fn page(store: StoreHandle, work: Work) -> Outcome {
    let applied = slices(&store, Arc::new(work)).await;
    let event = Event::Applied(applied.map_err(trouble));
    match store.call(count).await {
        Ok(Ok(counted)) => Outcome::Counted(counted, vec![event]),
        _ => Outcome::Events(vec![event]),
    }
}

async fn slices(store: &StoreHandle, work: Arc<Work>) -> Result<BTreeMap<ProjectName, Applied>, StoreError> {
    let (mut all, mut done) = (BTreeMap::<ProjectName, Applied>::new(), 0);
    loop {
        let of_slice = Arc::clone(&work);
        let slice = store.call(move |store| {
            let Work { fence, cloud_id, since, page, cloud_now, .. } = &*of_slice;
            let clocks = Clocks { own: clock::row_time(), cloud: *cloud_now };
            store.apply_slice(fence, cloud_id, since, page, done, clocks)
        });
        let Some(slice) = slice.await.map_err(StoreError::from).flatten()? else { return Ok(all) };
        for (project, applied) in slice.applied {
            all.entry(project).or_default().add(applied);
        }
        if slice.is_last {
            return Ok(all);
        }
        done = slice.done;
    }
}
