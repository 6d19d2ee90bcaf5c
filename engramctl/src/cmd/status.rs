//! `engramctl status`: is everything safe and moving?

use crate::cli::Globals;
use crate::connect::Client;
use crate::exit::CtlError;
use crate::out::Out;
use crate::render::status as render;
use clap::Args;
use engram_proto::health::{ProjectStatus, StatusReport, Totals};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::Reply;
use engram_proto::ipc::request::RequestBody;
use engram_proto::reason::Exit;
use std::time::Duration;

pub(crate) const EXAMPLES: &str = "\
Examples:
  engramctl status                   the verdict, what is wrong, the projects
  engramctl status --project app     one project only
  engramctl status --watch           redraw at every change
  engramctl status --json | jq .findings

Exits 3 while a warning or an error is shown, 4 where no daemon answers.";

/// Ages on a screen that is watched grow at this pace; where they show nothing else, nothing is drawn.
const REDRAW_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Show this project only
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// Go on, and show the report again whenever it changes
    #[arg(long)]
    watch: bool,
}

/// Shows the report.
pub(crate) async fn run(globals: &Globals, args: StatusArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let mut client = Client::connect(globals).await?;
    if args.watch {
        return watch(&mut client, args.project.as_deref(), out).await;
    }
    let report = match client.ask_one(RequestBody::Status { watch: false }).await? {
        Reply::Status(report) => *report,
        _ => return Err(CtlError::Unexpected("no report")),
    };
    let report = match &args.project {
        Some(project) => one_project(&mut client, report, project).await?,
        None => report,
    };
    let only = args.project.is_some();
    out.answer(&report, |view| render::report(&report, only, view))?;
    Ok(exit_of(&report))
}

fn exit_of(report: &StatusReport) -> Exit {
    if report.needs_attention() { Exit::Degraded } else { Exit::Done }
}

/// Narrows the report to one project; one that has nothing to say is looked up among all.
async fn one_project(client: &mut Client, report: StatusReport, project: &str) -> Result<StatusReport, CtlError> {
    let mut report = only(report, project);
    if report.projects.is_empty() {
        let all = super::projects::ask(client).await?;
        report.projects = all.into_iter().filter(|status| is_named(status, project)).collect();
        report.totals = totals(&report.projects);
    }
    if report.projects.is_empty() {
        return Err(CtlError::no_project(project));
    }
    Ok(report)
}

fn is_named(status: &ProjectStatus, project: &str) -> bool {
    ProjectName::parse(project).is_ok_and(|name| name.as_str() == status.project)
}

/// Leaves out what is about other projects.
fn only(mut report: StatusReport, project: &str) -> StatusReport {
    let name = ProjectName::parse(project).ok();
    let name = name.as_ref().map(ProjectName::as_str);
    report.projects.retain(|status| Some(status.project.as_str()) == name);
    report.findings.retain(|finding| finding.project.is_none() || finding.project.as_deref() == name);
    report.totals = totals(&report.projects);
    report
}

fn totals(projects: &[ProjectStatus]) -> Totals {
    let mut totals = Totals::default();
    for status in projects {
        *if status.enrolled { &mut totals.pending } else { &mut totals.not_enrolled_pending } += status.pending;
        totals.deferred += status.deferred;
        totals.quarantined += status.quarantined;
        totals.dead += status.dead;
    }
    totals
}

/// Shows the report at every change, on a terminal also as its ages grow, until the reader or the daemon goes away.
async fn watch(client: &mut Client, project: Option<&str>, out: &mut Out) -> Result<Exit, CtlError> {
    let id = client.start(RequestBody::Status { watch: true }).await?;
    let mut shown = String::new();
    let mut report: Option<StatusReport> = None;
    loop {
        let (reply, last) = {
            let mut next = std::pin::pin!(client.next(id));
            loop {
                tokio::select! {
                    reply = &mut next => break reply?,
                    () = tokio::time::sleep(REDRAW_EVERY), if out.terminal && !out.json => {
                        show(report.as_ref(), project.is_some(), &mut shown, out)?;
                    }
                }
            }
        };
        if let Reply::Status(next) = reply {
            let next = project.map_or_else(|| (*next).clone(), |project| only(*next.clone(), project));
            let changed = report.as_ref().map(without_heartbeat) != Some(without_heartbeat(&next));
            report = Some(next);
            if changed {
                show(report.as_ref(), project.is_some(), &mut shown, out)?;
            }
        }
        if last {
            return Err(client.ended());
        }
        if out.closed() {
            return Ok(report.as_ref().map_or(Exit::Done, exit_of));
        }
    }
}

/// Leaves out what moves all the time and says nothing new.
fn without_heartbeat(report: &StatusReport) -> StatusReport {
    let mut report = report.clone();
    report.daemon.loop_ticked_at.clear();
    report.sync.lease.until = None;
    report
}

fn show(report: Option<&StatusReport>, only: bool, shown: &mut String, out: &mut Out) -> Result<(), CtlError> {
    let Some(report) = report else { return Ok(()) };
    if out.json {
        return out.value(report);
    }
    let text = render::report(report, only, &out.view());
    if text == *shown {
        return Ok(());
    }
    if out.terminal {
        out.text(&render::redraw(&text, shown.is_empty()))?;
    } else {
        let apart = if shown.is_empty() { "" } else { "\n" };
        out.text(&format!("{apart}{text}"))?;
    }
    *shown = text;
    Ok(())
}
