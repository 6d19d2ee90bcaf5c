//! The one table behind every reason code (reasons.md): command line, log, database row and the generated page
//! `docs/reasons.md` take their words from here.

use crate::reason::{ReasonCode, Scope, Severity};

/// What the loop does about a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Nothing stops.
    GoOn,
    /// Tries again, later each time, without end (REC-1).
    BackOff,
    /// Probes slowly and wakes at once when the cause may be gone.
    Block,
    /// Only the named project waits.
    BlockProject,
}

/// What is the same for every finding of one code.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The code.
    pub code: ReasonCode,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub scope: Scope,
    /// In a few words.
    pub title: &'static str,
    /// What it means, for the page.
    pub meaning: &'static str,
    /// One command; `{project}` stands for the project, `{data_dir}` for the data directory, each as a word of a shell.
    pub hint: Option<&'static str>,
    /// What the loop does.
    pub disposition: Disposition,
    /// How long it must last before it shows, in milliseconds.
    pub delay_ms: i64,
    /// A finding of one of these explains this one and hides it.
    pub depends_on: &'static [ReasonCode],
}

/// What starts the daemon anew: for whoever it does not answer, and for what its loop cannot end itself.
pub const RESTART: &str = "systemctl --user restart engramd";

const SYNC: Option<&str> = Some("engramctl sync");
const LOGIN: Option<&str> = Some("engramctl cloud login --server URL");
const REMIRROR: Option<&str> = Some("engramctl cloud remirror {project}");
const HELD: Option<&str> = Some("engramctl held list");
const UNREACHABLE: &[ReasonCode] = &[
    ReasonCode::TransportFailed,
    ReasonCode::TlsFailed,
    ReasonCode::AuthRequired,
    ReasonCode::CloudConfigError,
    ReasonCode::LeaseHeldElsewhere,
];

/// Returns the entry of a code.
#[must_use]
pub fn entry(code: ReasonCode) -> Entry {
    use Disposition::{BackOff, Block, BlockProject, GoOn};
    use Scope::{Cloud, Daemon, Project};
    use Severity::{Error, Info, Warning};
    let (severity, scope, disposition, hint, title, meaning) = match code {
        ReasonCode::CloudNotConfigured => {
            (Info, Cloud, GoOn, LOGIN, "no cloud is configured", "No server URL is known; local work goes on.")
        }
        ReasonCode::CloudConfigError => (
            Error,
            Cloud,
            Block,
            Some("engramd check-config"),
            "the cloud's configuration cannot be used",
            "The URL or the file is unreadable, or http was given without permission.",
        ),
        ReasonCode::AuthRequired => (
            Error,
            Cloud,
            Block,
            Some("engramctl cloud login"),
            "the token was refused",
            "The server answered 401; a new token ends it at once.",
        ),
        ReasonCode::PolicyForbidden => (
            Error,
            Project,
            BlockProject,
            Some("engramctl sync --project {project}"),
            "access to the project was refused",
            "The server answered 403 for this project; the others go on.",
        ),
        ReasonCode::Paused => (
            Info,
            Project,
            BlockProject,
            Some("engramctl resume"),
            "paused by you",
            "`engramctl pause` asked for it; it survives restarts.",
        ),
        ReasonCode::SyncPaused => (
            Warning,
            Project,
            BlockProject,
            Some("engramctl sync --project {project}"),
            "paused by the server's administrator",
            "The server answered 409; pushes wait, pulls go on.",
        ),
        ReasonCode::ServerUnsupported => (
            Error,
            Cloud,
            Block,
            Some("engramctl cloud login --server URL"),
            "the server cannot do this",
            "A mutation route answered 404: the server is too old, or the URL is another program's.",
        ),
        ReasonCode::TransportFailed => (
            Error,
            Cloud,
            BackOff,
            SYNC,
            "the server cannot be reached",
            "DNS, TCP, time-out, 502-504, an answer that is not the protocol, or 500 where nothing gets through.",
        ),
        ReasonCode::TlsFailed => {
            (Error, Cloud, BackOff, SYNC, "the certificate was refused", "The connection could not be made secure.")
        }
        ReasonCode::ClockSkew => (
            Warning,
            Cloud,
            GoOn,
            SYNC,
            "clocks differ",
            "This machine's clock and the server's differ by more than five minutes.",
        ),
        ReasonCode::RateLimited => (
            Warning,
            Cloud,
            BackOff,
            SYNC,
            "the server asks to wait",
            "The server answered 429 or 503 with a time to wait.",
        ),
        ReasonCode::PayloadTooLarge => (
            Warning,
            Project,
            GoOn,
            HELD,
            "a row is too large",
            "One row alone is larger than the server takes; it is held and the rest goes on.",
        ),
        ReasonCode::RowRejected => (
            Warning,
            Project,
            GoOn,
            HELD,
            "rows were refused",
            "The server refused single rows; they are held and the rest goes on.",
        ),
        ReasonCode::RowUndeliverable => (
            Warning,
            Project,
            GoOn,
            HELD,
            "rows cannot be applied",
            "Rows were received that can never apply; they are kept with their evidence.",
        ),
        ReasonCode::DeferredWaiting => (
            Info,
            Project,
            GoOn,
            HELD,
            "rows wait for a parent",
            "Rows were received before what they belong to; they apply when it arrives.",
        ),
        ReasonCode::NonEnrolledPendingMutations => (
            Info,
            Project,
            GoOn,
            Some("engramctl enroll {project}"),
            "local memories of projects that are not enrolled",
            "They stay on this machine until their project is enrolled.",
        ),
        ReasonCode::BlockedUnenrolled => (
            Error,
            Project,
            BlockProject,
            Some("engramctl enroll {project}"),
            "the project is not enrolled",
            "A command named a project that takes no part in sync.",
        ),
        ReasonCode::CloudReplaced => (
            Error,
            Cloud,
            BlockProject,
            REMIRROR,
            "the server is not the one synced with",
            "Another data set answers, or this one lost rows it had told of. A restored one is told again what is here, by \
             itself; with another one a project stands still until it is mirrored there.",
        ),
        ReasonCode::Diverged => (
            Error,
            Project,
            GoOn,
            REMIRROR,
            "this device and the cloud differ",
            "Both are drained and yet their digests are not the same.",
        ),
        ReasonCode::LeaseHeldElsewhere => (
            Warning,
            Daemon,
            Block,
            SYNC,
            "another process syncs this store",
            "It holds the lease; this daemon waits until it ends.",
        ),
        ReasonCode::StoreBusy => {
            (Warning, Daemon, BackOff, SYNC, "the store is locked", "Another process holds the write lock for long.")
        }
        ReasonCode::StoreFull => (
            Error,
            Daemon,
            BackOff,
            Some("df -h {data_dir}"),
            "the disk is full",
            "SQLite could not write; free some space.",
        ),
        ReasonCode::StoreCorrupt => (
            Error,
            Daemon,
            Block,
            Some("ls -l {data_dir}"),
            "the store cannot be used",
            "SQLite says that the file is not as it left it: restore a backup (docs/operations.md); or that its disk \
             failed: mend the disk; or that this user may not read or write it: chown or chmod it.",
        ),
        ReasonCode::StoreNewer => (
            Error,
            Daemon,
            Block,
            Some("engramctl version"),
            "the store is of a newer program",
            "A newer engramd wrote this file; upgrade this one.",
        ),
        ReasonCode::LoopStalled => (
            Error,
            Daemon,
            Block,
            // Whatever asks the loop would wait for it.
            Some(RESTART),
            "the loop stands still",
            "No tick within its deadline; a watchdog restarts the daemon.",
        ),
        ReasonCode::InternalError => {
            (Error, Daemon, BackOff, SYNC, "a fault in engramd", "A panic in the loop was contained; please report it.")
        }
    };
    let delay_ms = match code {
        // A server that restarts within moments is no news; an error shows within 10 s all the same.
        ReasonCode::TransportFailed | ReasonCode::TlsFailed => 1_500,
        ReasonCode::StoreBusy | ReasonCode::RateLimited => 10_000,
        ReasonCode::LeaseHeldElsewhere => 5_000,
        _ => 0,
    };
    let depends_on = match code {
        ReasonCode::DeferredWaiting | ReasonCode::ClockSkew | ReasonCode::RateLimited => UNREACHABLE,
        _ => &[],
    };
    Entry { code, severity, scope, title, meaning, hint, disposition, delay_ms, depends_on }
}

/// Writes the page `docs/reasons.md`.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Reason codes\n\nMade from the catalogue in `proto/src/reason_catalog.rs`; `make docs` writes it again.\n\n\
         | Code | Severity | About | Means | Next step |\n|---|---|---|---|---|\n",
    );
    for &code in ReasonCode::ALL {
        let entry = entry(code);
        let hint = entry.hint.map_or_else(String::new, |hint| {
            format!("`{}`", hint.replace("{project}", "P").replace("{data_dir}", "DIR"))
        });
        page.push_str(&format!(
            "| `{code}` | {} | {} | {}: {} | {hint} |\n",
            entry.severity, entry.scope, entry.title, entry.meaning
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LOUD-1: every warning and every error names one command.
    #[test]
    fn loud_1_what_needs_somebody_names_a_command() {
        for &code in ReasonCode::ALL {
            let entry = entry(code);
            let limit_ms = if entry.severity == Severity::Error { 10_000 } else { 60_000 };
            assert!(entry.severity == Severity::Info || entry.hint.is_some(), "{code}");
            assert!(entry.delay_ms <= limit_ms, "{code} shows too late");
        }
    }
}
