//! `engramctl save` and `engramctl prompt`: something new to remember.

use crate::cli::Globals;
use crate::connect::Client;
use crate::content::ContentArgs;
use crate::exit::CtlError;
use crate::out::Out;
use crate::project;
use crate::render::memory as render;
use clap::Args;
use engram_proto::ipc::reply::Reply;
use engram_proto::ipc::request::{PromptRequest, RequestBody, SaveRequest};
use engram_proto::reason::Exit;

pub(crate) const SAVE_EXAMPLES: &str = "\
Examples:
  engramctl save --title 'Use WAL' --type decision 'Readers never wait.'
  engramctl save --title 'Releasing' --topic howto/release --file RELEASING.md
  git log -1 --format=%B | engramctl save --title 'Why the parser changed'
  engramctl save --title 'Left over' -- '- content that begins with a dash'

With --topic, saving again revises the memory of that topic. The same text saved
again within 15 minutes is counted, not stored twice. What stands between
<private> and </private> is not kept. Where no session is open, one of this
device's own is used.";

pub(crate) const PROMPT_EXAMPLES: &str = "\
Examples:
  engramctl prompt 'Move the store to WAL, and show me the numbers.'
  engramctl prompt --project app --file prompt.txt";

/// What scopes there are.
pub(super) const SCOPES: [&str; 3] = ["project", "personal", "global"];

#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// Its title
    #[arg(long, value_name = "T")]
    title: String,

    /// Its type, such as decision, bugfix, pattern or discovery [default: derived]
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,

    /// Its project [default: the working directory's]
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// Its session [default: the project's open one]
    #[arg(long, value_name = "S")]
    session: Option<String>,

    /// Whom it concerns [default: project]
    #[arg(long, value_name = "SCOPE", value_parser = SCOPES)]
    scope: Option<String>,

    /// A key under which later saves revise this memory
    #[arg(long, value_name = "KEY")]
    topic: Option<String>,

    /// The tool that saves it
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,

    #[command(flatten)]
    content: ContentArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PromptArgs {
    /// Its project [default: the working directory's]
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// Its session [default: the project's open one]
    #[arg(long, value_name = "S")]
    session: Option<String>,

    #[command(flatten)]
    content: ContentArgs,
}

/// Saves a memory.
pub(crate) async fn save(globals: &Globals, args: SaveArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let directory = project::working_directory()?;
    let body = SaveRequest {
        title: args.title,
        kind: args.kind,
        project: project::given_or_detected(args.project, &directory)?,
        session: args.session,
        scope: args.scope,
        topic: args.topic,
        tool: args.tool,
        content: args.content.required("engramctl save --title T CONTENT")?,
        directory: directory.to_string_lossy().into_owned(),
    };
    let Reply::Saved(saved) = Client::connect(globals).await?.ask_one(RequestBody::Save(body)).await? else {
        return Err(CtlError::Unexpected("not about a save"));
    };
    out.answer(&saved, |_| render::saved(&saved))?;
    Ok(Exit::Done)
}

/// Saves a prompt.
pub(crate) async fn prompt(globals: &Globals, args: PromptArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let directory = project::working_directory()?;
    let body = PromptRequest {
        project: project::given_or_detected(args.project, &directory)?,
        session: args.session,
        content: args.content.required("engramctl prompt CONTENT")?,
        directory: directory.to_string_lossy().into_owned(),
    };
    let Reply::PromptSaved(saved) = Client::connect(globals).await?.ask_one(RequestBody::Prompt(body)).await? else {
        return Err(CtlError::Unexpected("not about a prompt"));
    };
    out.answer(&saved, |_| render::prompt_saved(&saved))?;
    Ok(Exit::Done)
}
