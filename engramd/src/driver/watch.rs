//! Wakes the loop when another process writes to the store, or somebody edits `cloud.json` (local-store.md, "Living
//! beside the peer"; REC-1).

use super::handle::{Command, DriverHandle};
use crate::config::cloud;
use crate::daemon::STORE_NAME;
use notify::{RecursiveMode, Watcher as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The last file event can come before the commit is visible, so the store is asked again after these delays.
const ASK_AGAIN: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(190)];

/// So long an event is left unread behind another one. The system joins equal ones that wait, and every page that is
/// written makes two.
const JOINED_WITHIN: Duration = Duration::from_millis(2);

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
    let changed = Arc::new(Notify::new());
    let (told, reloading) = (Arc::clone(&changed), driver.clone());
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
        Ok(event) if event.kind.is_access() => {}
        // A watcher that lost track says so: anything may have been written.
        Ok(event) if event.need_rescan() => {
            told.notify_one();
            reloading.nudge(Command::Reload);
        }
        Ok(event) => {
            let named = |name: &str| {
                event
                    .paths
                    .iter()
                    .any(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)))
            };
            if named(STORE_NAME) {
                told.notify_one();
                std::thread::sleep(JOINED_WITHIN);
            }
            // A token that somebody mended in the file counts at once (REC-1).
            if named(cloud::FILE_NAME) {
                reloading.nudge(Command::Reload);
            }
        }
        Err(_) => told.notify_one(),
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
