//! One file per command or family: its flags, its question, its answer.

#![expect(clippy::doc_markdown, reason = "help is read in a terminal, where back ticks are noise")]

pub(crate) mod change;
pub(crate) mod chunks;
pub(crate) mod cloud;
pub(crate) mod conflicts;
pub(crate) mod events;
pub(crate) mod find;
pub(crate) mod held;
pub(crate) mod pages;
pub(crate) mod pause;
pub(crate) mod projects;
pub(crate) mod save;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod version;

use crate::cli::{Cli, Command, Globals};
use crate::connect::Client;
use crate::exit::CtlError;
use crate::out::Out;
use engram_proto::ipc::reply::Reply;
use engram_proto::ipc::request::RequestBody;
use engram_proto::reason::Exit;

/// Does what was asked for.
pub(crate) async fn run(cli: Cli, out: &mut Out) -> Result<Exit, CtlError> {
    let globals = &cli.globals;
    match cli.command {
        Command::Status(args) => status::run(globals, args, out).await,
        Command::Sync(args) => sync::run(globals, args, out).await,
        Command::Events(args) => events::run(globals, args, out).await,
        Command::Pause(args) => pause::pause(globals, args, out).await,
        Command::Resume(args) => pause::resume(globals, args, out).await,
        Command::Cloud(command) => cloud::run(globals, command, out).await,
        Command::Enroll(args) => projects::enroll(globals, args, out).await,
        Command::Unenroll(args) => projects::unenroll(globals, args, out).await,
        Command::Projects => projects::list(globals, out).await,
        Command::Held(command) => held::run(globals, command, out).await,
        Command::Conflicts(command) => conflicts::run(globals, command, out).await,
        Command::Session(command) => session::run(globals, command, out).await,
        Command::Save(args) => save::save(globals, args, out).await,
        Command::Prompt(args) => save::prompt(globals, args, out).await,
        Command::Update(args) => change::update(globals, args, out).await,
        Command::Delete(args) => change::delete(globals, args, out).await,
        Command::Get(args) => find::get(globals, args, out).await,
        Command::List(args) => find::list(globals, args, out).await,
        Command::Search(args) => find::search(globals, args, out).await,
        Command::Relate(args) => change::relate(globals, args, out).await,
        Command::Chunks(command) => chunks::run(globals, command, out).await,
        Command::Completions(args) => pages::completions(&args, out),
        Command::Man(args) => pages::man(args, out),
        Command::Version => version::run(globals, out).await,
    }
}

/// Asks what is answered with a sentence, and prints it.
async fn ask_done(globals: &Globals, body: RequestBody, out: &mut Out) -> Result<Exit, CtlError> {
    match Client::connect(globals).await?.ask_one(body).await? {
        Reply::Done(message) => {
            done(&message, out)?;
            Ok(Exit::Done)
        }
        _ => Err(CtlError::Unexpected("not a sentence")),
    }
}

/// Prints the daemon's sentence.
fn done(message: &str, out: &mut Out) -> Result<(), CtlError> {
    out.answer(&serde_json::json!({ "message": message }), |view| crate::render::sentence(message, view))
}

/// Reads a row's number, and names the list that shows it where there is none.
fn number_in_list(text: &str, list: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("it is no number; run {list} and take the number in its first column"))
}
