//! `engramctl sync`: wakes the loop and follows it until nothing is left.

use crate::cli::Globals;
use crate::connect::Client;
use crate::exit::CtlError;
use crate::out::Out;
use crate::render::sync as render;
use clap::Args;
use engram_proto::ipc::reply::{Reply, SyncOutcome, SyncProgress, SyncVerdict};
use engram_proto::ipc::request::{Direction, RequestBody, SyncRequest};
use engram_proto::reason::Exit;
use serde::Serialize;
use std::time::Duration;

pub(crate) const EXAMPLES: &str = "\
Examples:
  engramctl sync                     both ways, all enrolled projects
  engramctl sync --project app       one project only
  engramctl sync --push-only         send what is pending, receive nothing
  engramctl sync --no-wait           wake the daemon and return at once
  engramctl sync --json | jq -r .outcome

Exits 0 when nothing is left, 5 when rows are held or deferred, 3 when a reason
stands in the way, 1 after 30 s (or --timeout) without progress.";

/// A sync may take as long as it likes, but not stand still for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a daemon that stands still has to show that it lives.
const ALIVE_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// Sync this project only
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// Only send
    #[arg(long, conflicts_with = "pull_only")]
    push_only: bool,

    /// Only receive
    #[arg(long)]
    pull_only: bool,

    /// Wake the daemon and do not wait for the end
    #[arg(long)]
    no_wait: bool,
}

/// What scripts get: the reason is there only where there is one.
#[derive(Serialize)]
struct Answer<'a> {
    outcome: SyncVerdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    duration_ms: u64,
    projects: &'a [engram_proto::ipc::reply::SyncedProject],
}

/// Syncs.
pub(crate) async fn run(globals: &Globals, args: SyncArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let direction = match (args.push_only, args.pull_only) {
        (true, _) => Direction::Push,
        (_, true) => Direction::Pull,
        _ => Direction::Both,
    };
    let body = RequestBody::Sync(SyncRequest { project: args.project, direction, wait: !args.no_wait });
    if args.no_wait {
        return super::ask_done(globals, body, out).await;
    }
    let mut client = Client::connect_patient(globals, PATIENCE).await?;
    let followed = follow(&mut client, body, out).await;
    out.progress("");
    finish(&followed?, out)
}

/// Shows progress until the sync ends, or until it stands still for too long.
async fn follow(client: &mut Client, body: RequestBody, out: &mut Out) -> Result<SyncOutcome, CtlError> {
    let id = client.start(body).await?;
    let patience = client.patience();
    let mut progress = SyncProgress::default();
    let mut stall = Box::pin(tokio::time::sleep(patience));
    loop {
        let reply = tokio::select! {
            reply = client.response(id) => reply?.0,
            () = &mut stall => {
                client.prove_alive(ALIVE_WAIT.min(patience)).await?;
                return Err(CtlError::NoProgress { waited_s: patience.as_secs(), remaining: progress.remaining });
            }
        };
        match reply {
            Reply::Progress(next) if next == progress => {}
            Reply::Progress(next) => {
                progress = next;
                stall = Box::pin(tokio::time::sleep(patience));
                out.progress(&render::progress(&progress));
            }
            Reply::Synced(outcome) => return Ok(outcome),
            _ => return Err(CtlError::Unexpected("not about a sync")),
        }
    }
}

fn finish(outcome: &SyncOutcome, out: &mut Out) -> Result<Exit, CtlError> {
    let answer = Answer {
        outcome: outcome.outcome,
        reason_code: outcome.reason_code.map(engram_proto::reason::ReasonCode::as_str),
        message: outcome.message.as_deref(),
        hint: outcome.hint.as_deref(),
        duration_ms: outcome.duration_ms,
        projects: &outcome.projects,
    };
    if outcome.outcome == SyncVerdict::Blocked {
        out.note(render::verdict(outcome, &out.view_of_errors()).trim_end());
    }
    out.answer(&answer, |view| render::outcome(outcome, view))?;
    Ok(match outcome.outcome {
        SyncVerdict::Drained => Exit::Done,
        SyncVerdict::Partial => Exit::Partial,
        SyncVerdict::Blocked => Exit::Degraded,
    })
}
