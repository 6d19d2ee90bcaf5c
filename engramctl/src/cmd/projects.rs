//! `engramctl enroll`, `unenroll` and `projects`: who takes part in sync.

use crate::cli::Globals;
use crate::connect::Client;
use crate::exit::CtlError;
use crate::out::{Out, Under};
use crate::render::{cloud as render_cloud, projects as render};
use clap::Args;
use engram_proto::health::ProjectStatus;
use engram_proto::ipc::reply::{EnrollOutcome, Reply};
use engram_proto::ipc::request::RequestBody;
use engram_proto::reason::Exit;

pub(crate) const ENROLL_EXAMPLES: &str = "\
Examples:
  engramctl enroll app
  engramctl enroll app web docs

Exits 3 when the cloud refuses a project (it is not enrolled then), 5 when the
cloud could not be asked (enrolled, to be checked later).";

pub(crate) const UNENROLL_EXAMPLES: &str = "\
Examples:
  engramctl unenroll app";

pub(crate) const PROJECTS_EXAMPLES: &str = "\
Examples:
  engramctl projects
  engramctl projects --json | jq -r '.projects[] | select(.enrolled) | .project'";

#[derive(Debug, Args)]
pub(crate) struct EnrollArgs {
    /// The projects' names
    #[arg(required = true, value_name = "P")]
    projects: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UnenrollArgs {
    /// The project's name
    #[arg(value_name = "P")]
    project: String,
}

/// Enrolls.
pub(crate) async fn enroll(globals: &Globals, args: EnrollArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let mut client = Client::connect_patient(globals, super::cloud::CLOUD_PATIENCE).await?;
    let Reply::Enrolled(outcomes) = client.ask_one(RequestBody::Enroll { projects: args.projects }).await? else {
        return Err(CtlError::Unexpected("not about enrolling"));
    };
    out.answer(&Under("projects", &outcomes), |view| render_cloud::enrolled(&outcomes, view))?;
    Ok(exit_of(&outcomes))
}

fn exit_of(outcomes: &[EnrollOutcome]) -> Exit {
    if outcomes.iter().any(|outcome| !outcome.enrolled) {
        Exit::Degraded
    } else if outcomes.iter().any(|outcome| !outcome.checked) {
        Exit::Partial
    } else {
        Exit::Done
    }
}

/// Unenrolls.
pub(crate) async fn unenroll(globals: &Globals, args: UnenrollArgs, out: &mut Out) -> Result<Exit, CtlError> {
    super::ask_done(globals, RequestBody::Unenroll { project: args.project }, out).await
}

/// Lists all projects.
pub(crate) async fn list(globals: &Globals, out: &mut Out) -> Result<Exit, CtlError> {
    let projects = ask(&mut Client::connect(globals).await?).await?;
    out.answer(&Under("projects", &projects), |view| render::all(&projects, view))?;
    Ok(Exit::Done)
}

/// Asks for all projects.
pub(super) async fn ask(client: &mut Client) -> Result<Vec<ProjectStatus>, CtlError> {
    let mut all = Vec::new();
    for reply in client.ask(RequestBody::Projects).await? {
        match reply {
            Reply::Projects(projects) => all.extend(projects),
            _ => return Err(CtlError::Unexpected("no projects")),
        }
    }
    Ok(all)
}
