//! `engramctl cloud`: which server, and with which token.

use crate::cli::Globals;
use crate::connect::Client;
use crate::exit::CtlError;
use crate::out::Out;
use crate::render::cloud as render;
use crate::token;
use clap::{Args, Subcommand};
use engram_proto::ipc::reply::Reply;
use engram_proto::ipc::request::{LoginRequest, RequestBody};
use engram_proto::reason::Exit;
use std::time::Duration;

const LOGIN_EXAMPLES: &str = "\
Examples:
  engramctl cloud login --server https://engram.example.org
  pass show engram | engramctl cloud login --server URL --token-stdin
  engramctl cloud login                    a new token for the same server

The token comes from a prompt that shows nothing, from standard input with
--token-stdin, or from $ENGRAM_CLOUD_TOKEN. It is never an argument, where
every user of the machine could read it.

Exits 0 when server and token were checked, 3 when they were refused (nothing
is stored), 5 when the server could not be reached (stored, to be checked
later) or when it is another cloud than the one that projects were synced with
(stored; they wait for engramctl cloud remirror PROJECT, or for the former
server).";

const LOGOUT_EXAMPLES: &str = "\
Examples:
  engramctl cloud logout

Memories stay where they are, here and there.";

const REMIRROR_EXAMPLES: &str = "\
Examples:
  engramctl cloud remirror my-project

For a project whose status says cloud_replaced or diverged. All that this device
has of the project, deletions too, is sent to the cloud that answers now; what
that holds already is stored once, and what it has beyond is read. Nothing here
is deleted. It goes on in the background; follow it with
engramctl sync --project my-project.";

/// Checking a server takes as long as the server does.
pub(super) const CLOUD_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum CloudCommand {
    /// Check a server and a token, and keep them
    #[command(after_help = LOGIN_EXAMPLES)]
    Login(LoginArgs),
    /// Forget server and token; deletes no memory
    #[command(after_help = LOGOUT_EXAMPLES)]
    Logout,
    /// Send all of a project to the cloud again, and read it from the start
    #[command(after_help = REMIRROR_EXAMPLES)]
    Remirror {
        /// The project
        #[arg(value_name = "PROJECT")]
        project: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The server's URL; may be left out where one is known
    #[arg(long, value_name = "URL")]
    server: Option<String>,

    /// Read the token from standard input
    #[arg(long)]
    token_stdin: bool,

    /// Allow plain http to another machine: the token can then be read on the way
    #[arg(long)]
    allow_http: bool,
}

/// Logs in or out.
pub(crate) async fn run(globals: &Globals, command: CloudCommand, out: &mut Out) -> Result<Exit, CtlError> {
    match command {
        CloudCommand::Login(args) => login(globals, args, out).await,
        CloudCommand::Logout => super::ask_done(globals, RequestBody::Logout, out).await,
        CloudCommand::Remirror { project } => super::ask_done(globals, RequestBody::Remirror { project }, out).await,
    }
}

async fn login(globals: &Globals, args: LoginArgs, out: &mut Out) -> Result<Exit, CtlError> {
    // Nobody should type a token to hear then that there is no daemon; it may have to wait for the typing, so it is
    // greeted once more afterwards.
    Client::connect_patient(globals, CLOUD_PATIENCE).await?;
    let token = token::obtain(args.token_stdin)?;
    let request = LoginRequest { server_url: args.server, token, allow_http: args.allow_http };
    let mut client = Client::connect_patient(globals, CLOUD_PATIENCE).await?;
    let Reply::LoggedIn(outcome) = client.ask_one(RequestBody::Login(request)).await? else {
        return Err(CtlError::Unexpected("not about a login"));
    };
    out.answer(&outcome, |view| render::login(&outcome, view))?;
    Ok(if outcome.checked && outcome.elsewhere.is_empty() { Exit::Done } else { Exit::Partial })
}
