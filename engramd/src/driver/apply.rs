//! Applying a page, one transaction after the other, with room between them for the Go processes that write beside us.

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
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long the lock stays free after a transaction with many rows, while others write.
///
/// A Go process whose write meets a lock is refused at once, and gives up after three more attempts, 10, 35 and 85 ms
/// later (D66). Of four such moments one always lies between transactions of at most 35 ms with so much between them.
const REST: Duration = Duration::from_millis(25);

/// Others write as long as one of them did within this time.
const LATELY_MS: u64 = 60_000;

/// A transaction with so many rows may have kept somebody waiting.
const MANY_ROWS: usize = 100;

/// A page, and what its rows are applied with.
pub(super) struct Work {
    pub(super) fence: Fence,
    pub(super) cloud_id: String,
    pub(super) since: BTreeMap<ProjectName, u64>,
    pub(super) page: PullReply,
    /// As in the effect.
    pub(super) cloud_now: Option<RowTime>,
    /// When another process was last seen to write, on the monotonic clock; 0 before.
    pub(super) others_wrote_ms: Arc<AtomicU64>,
}

impl Work {
    fn others_write(&self) -> bool {
        let at_ms = self.others_wrote_ms.load(Ordering::Relaxed);
        at_ms > 0 && clock::mono_ms().saturating_sub(at_ms) < LATELY_MS
    }
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
        if slice.done - done >= MANY_ROWS && work.others_write() {
            tokio::time::sleep(REST).await;
        }
        if slice.is_last {
            return Ok(all);
        }
        done = slice.done;
    }
}
