//! Who waits for rows of which project.
//!
//! A waiting pull costs an entry per project here and nothing in the database; it is woken from memory after a commit.
//! It begins to listen before it looks, so that no row falls between the two.

use engram_proto::id::ProjectName;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Everybody who waits.
#[derive(Clone, Debug, Default)]
pub struct Listeners(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    last_id: u64,
    by_project: HashMap<ProjectName, BTreeMap<u64, Arc<Notify>>>,
}

/// One who waits; stops doing so when dropped.
#[derive(Debug)]
pub struct Listener {
    all: Listeners,
    id: u64,
    projects: Vec<ProjectName>,
    bell: Arc<Notify>,
}

impl Listeners {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens for rows of these projects from now on.
    #[must_use]
    pub fn listen(&self, projects: Vec<ProjectName>) -> Listener {
        let bell = Arc::new(Notify::new());
        let mut waiting = self.waiting();
        waiting.last_id += 1;
        let id = waiting.last_id;
        for project in &projects {
            waiting.by_project.entry(project.clone()).or_default().insert(id, Arc::clone(&bell));
        }
        Listener { all: self.clone(), id, projects, bell }
    }

    /// Wakes who waits for one of these projects; called after the commit, never before.
    pub fn wake(&self, projects: &BTreeSet<ProjectName>) {
        let waiting = self.waiting();
        for project in projects {
            for bell in waiting.by_project.get(project).into_iter().flat_map(BTreeMap::values) {
                bell.notify_one();
            }
        }
    }

    /// Wakes everybody, for the case that it is not known what was missed.
    pub fn wake_all(&self) {
        for bell in self.waiting().by_project.values().flat_map(BTreeMap::values) {
            bell.notify_one();
        }
    }

    /// Counts who waits.
    #[must_use]
    pub fn count(&self) -> usize {
        let waiting = self.waiting();
        let ids: BTreeSet<_> = waiting.by_project.values().flat_map(BTreeMap::keys).collect();
        ids.len()
    }
}

impl Listener {
    /// Waits until a row was committed since this listener began, or since the last call ended.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut waiting = self.all.waiting();
        for project in &self.projects {
            if let Some(bells) = waiting.by_project.get_mut(project) {
                bells.remove(&self.id);
                if bells.is_empty() {
                    waiting.by_project.remove(project);
                }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bell_rung_before_the_wait_is_heard_and_nobody_stays_behind() {
        let name = |text: &str| ProjectName::parse(text).unwrap();
        let all = Listeners::default();
        let listener = all.listen(vec![name("a"), name("b")]);
        let other = all.listen(vec![name("c")]);
        all.wake(&BTreeSet::from([name("b"), name("nobody")]));
        listener.rung().await;
        assert_eq!(all.count(), 2);
        drop((listener, other));
        assert_eq!(all.count(), 0);
        assert!(all.waiting().by_project.is_empty());
    }
}
