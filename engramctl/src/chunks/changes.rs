//! Hearing of changes in directories of chunks, whoever makes them.

use super::place::CHUNKS;
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Notify;

/// Directories in which changes are heard of.
pub(crate) struct Changes {
    /// None where the system gives no more of them.
    watcher: Option<RecommendedWatcher>,
    heard: Arc<Notify>,
}

impl Changes {
    /// Prepares to listen.
    pub(crate) fn new() -> Self {
        let heard = Arc::new(Notify::new());
        let tells = Arc::clone(&heard);
        // Reading is no change, and whoever watches reads.
        let hears = move |event: notify::Result<Event>| {
            if !event.is_ok_and(|event| event.kind.is_access()) {
                tells.notify_one();
            }
        };
        Self { watcher: notify::recommended_watcher(hears).ok(), heard }
    }

    /// Listens from now on to a place and to the chunks in it, also where it is another one of that name by now; tells
    /// whether all that changes there is heard of.
    pub(crate) fn listen(&mut self, place: &Path) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let mut listens = |dir: &Path| watcher.watch(dir, RecursiveMode::NonRecursive).is_ok();
        let chunks = place.join(CHUNKS);
        // A directory that is made later is a change of the place.
        listens(place) && (listens(&chunks) || chunks.symlink_metadata().is_err())
    }

    /// Waits for a change since this was last waited for.
    pub(crate) async fn next(&self) {
        self.heard.notified().await;
    }
}
