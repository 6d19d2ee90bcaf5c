//! Wakes the loop when another process writes to the store (local-store.md, "Living beside the peer").

use super::handle::{Command, DriverHandle};
use notify::{RecursiveMode, Watcher as _};
use std::path::Path;
use std::time::Duration;
use tokio::sync::Notify;

/// The last file event can come before the commit is visible, so the store is asked again after these delays.
const ASK_AGAIN: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(190)];

/// Watches the data directory until it is dropped.
#[derive(Debug)]
pub struct StoreWatcher {
    _watcher: notify::RecommendedWatcher,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for StoreWatcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts to watch.
///
/// # Errors
/// What the system says; the loop then finds foreign writes every 30 s.
pub fn start(data_dir: &Path, driver: DriverHandle) -> notify::Result<StoreWatcher> {
    let changed = std::sync::Arc::new(Notify::new());
    let told = std::sync::Arc::clone(&changed);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let of_store = |event: &notify::Event| {
            !event.kind.is_access()
                && event
                    .paths
                    .iter()
                    .any(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("engram.db")))
        };
        // A watcher that lost track says so with an error: look then, too.
        if event.as_ref().map_or(true, of_store) {
            told.notify_one();
        }
    })?;
    watcher.watch(data_dir, RecursiveMode::NonRecursive)?;
    let task = tokio::spawn(async move {
        loop {
            changed.notified().await;
            driver.nudge(Command::ForeignWrite);
            for delay in ASK_AGAIN {
                tokio::time::sleep(delay).await;
                driver.nudge(Command::ForeignWrite);
            }
        }
    });
    Ok(StoreWatcher { _watcher: watcher, task })
}
