//! Notices between the servers that share a database: which projects have new rows.
//!
//! They go out with the commit. A server that lost its ear wakes everybody who waits once it hears again, because it
//! cannot know what it missed.

use super::connect;
use crate::journal::Listeners;
use engram_proto::id::ProjectName;
use engram_retry::ladder;
use sqlx::postgres::{PgConnectOptions, PgListener};
use std::collections::BTreeSet;
use std::time::Duration;

/// The channel.
pub(super) const CHANNEL: &str = "engram_cloud_rows";

/// Bytes of a notice; Postgres takes 8,000.
const NOTICE_BYTES_MAX: usize = 7_500;

/// After this much silence the connection is asked whether it is alive.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long it may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// The longest time between two attempts to hear again.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Says who committed rows of which projects; of none named, of any.
#[derive(Debug, PartialEq)]
pub(super) struct Notice {
    pub(super) origin: String,
    pub(super) projects: BTreeSet<ProjectName>,
}

impl Notice {
    pub(super) fn write(&self) -> String {
        let projects = self.projects.iter().map(ProjectName::as_str);
        let all: Vec<&str> = std::iter::once(self.origin.as_str()).chain(projects).collect();
        let text = serde_json::json!(all).to_string();
        if text.len() > NOTICE_BYTES_MAX { serde_json::json!([self.origin]).to_string() } else { text }
    }

    fn read(text: &str) -> Option<Self> {
        let mut all: Vec<String> = serde_json::from_str(text).ok()?;
        let projects = all.split_off(1.min(all.len()));
        let projects = projects.iter().filter_map(|name| ProjectName::parse(name).ok()).collect();
        Some(Self { origin: all.pop()?, projects })
    }
}

/// Begins to listen; whoever waits here from now on is woken for what others commit.
pub(super) async fn listen(options: &PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    let mut ear = PgListener::connect_with(&connect::listener(options)).await?;
    ear.listen(CHANNEL).await?;
    Ok(ear)
}

/// Wakes who waits, for as long as the task lives.
pub(super) async fn hear(mut ear: PgListener, options: PgConnectOptions, own: String, listeners: Listeners) {
    loop {
        let error = attend(&mut ear, &own, &listeners).await;
        tracing::warn!(error, "no longer hears of other servers' rows; connects again");
        drop(ear);
        let mut delays = ladder(Duration::from_millis(100), PAUSE_MAX).into_iter();
        ear = loop {
            tokio::time::sleep(delays.next().unwrap_or(PAUSE_MAX)).await;
            match tokio::time::timeout(ANSWER_PATIENCE, listen(&options)).await {
                Ok(Ok(ear)) => break ear,
                Ok(Err(error)) => tracing::debug!(%error, "still does not hear of other servers' rows"),
                Err(_) => tracing::debug!("still does not hear of other servers' rows"),
            }
        };
        tracing::info!("hears of other servers' rows again");
        listeners.wake_all();
    }
}

/// Listens until the connection is lost, and says how that was noticed.
async fn attend(ear: &mut PgListener, own: &str, listeners: &Listeners) -> String {
    ear.eager_reconnect(false);
    loop {
        let heard = match tokio::time::timeout(SILENCE_MAX, ear.try_recv()).await {
            Ok(Ok(Some(heard))) => heard,
            Ok(Ok(None)) => return "the connection was closed".to_owned(),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => match tokio::time::timeout(ANSWER_PATIENCE, sqlx::query("SELECT 1").execute(&mut *ear)).await {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return "the connection is silent".to_owned(),
            },
        };
        match Notice::read(heard.payload()) {
            Some(notice) if notice.origin == own => {}
            Some(notice) if !notice.projects.is_empty() => listeners.wake(&notice.projects),
            _ => listeners.wake_all(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_read_as_it_was_written_and_names_nobody_where_it_would_be_too_long() {
        let projects =
            |count: u32| (0..count).map(|at| ProjectName::parse(&format!("project-{at}")).unwrap()).collect();
        let notice = Notice { origin: "me".into(), projects: projects(3) };
        assert_eq!(Notice::read(&notice.write()), Some(notice));
        let long = Notice { origin: "me".into(), projects: projects(2_000) }.write();
        assert_eq!(Notice::read(&long), Some(Notice { origin: "me".into(), projects: BTreeSet::new() }));
        assert_eq!(Notice::read("[]"), None);
    }
}
