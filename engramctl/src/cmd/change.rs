//! `engramctl update`, `delete` and `relate`: what is remembered changes.

use crate::cli::Globals;
use crate::connect::Client;
use crate::content::ContentArgs;
use crate::exit::CtlError;
use crate::out::Out;
use crate::render::memory as render;
use clap::Args;
use engram_proto::ipc::reply::Reply;
use engram_proto::ipc::request::{RelateRequest, RequestBody, UpdateRequest};
use engram_proto::reason::Exit;

pub(crate) const UPDATE_EXAMPLES: &str = "\
Examples:
  engramctl update 12 --title 'Use WAL everywhere'
  engramctl update obs-4f1c2a 'A new text.'
  engramctl update 12 --file notes.md
  fmt notes.txt | engramctl update 12 -";

pub(crate) const DELETE_EXAMPLES: &str = "\
Examples:
  engramctl delete 12
  engramctl delete 12 --hard         its text is gone for good

It does not ask back. Without --hard, `engramctl list --deleted` still shows it.";

pub(crate) const RELATE_EXAMPLES: &str = "\
Examples:
  engramctl relate 14 supersedes 12
  engramctl relate 14 conflicts_with 9 --reason 'Two ports' --confidence 0.8";

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The memory's local number or sync id
    id: String,

    /// A new title
    #[arg(long, value_name = "T")]
    title: Option<String>,

    /// A new type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,

    /// A new topic key
    #[arg(long, value_name = "KEY")]
    topic: Option<String>,

    /// A new scope
    #[arg(long, value_name = "SCOPE", value_parser = super::save::SCOPES)]
    scope: Option<String>,

    #[command(flatten)]
    content: ContentArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The memory's local number or sync id
    id: String,

    /// Remove its text for good, and not only from sight
    #[arg(long)]
    hard: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RelateArgs {
    /// The memory that is spoken of: local number or sync id
    source: String,

    /// The verb, such as related, supersedes, conflicts_with, compatible or scoped
    verb: String,

    /// The other memory: local number or sync id
    target: String,

    /// Why
    #[arg(long, value_name = "R")]
    reason: Option<String>,

    /// How sure, from 0 to 1
    #[arg(long, value_name = "0..1", value_parser = confidence)]
    confidence: Option<f64>,
}

fn confidence(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or_else(|| "give a number from 0 to 1".to_owned())
}

/// Changes a memory.
pub(crate) async fn update(globals: &Globals, args: UpdateArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let UpdateArgs { id, title, kind, topic, scope, content } = args;
    let content = content.optional()?;
    if [&title, &kind, &topic, &scope, &content].into_iter().all(Option::is_none) {
        return Err(CtlError::usage(
            "nothing to change: give --title, --type, --topic, --scope or a new content",
            format!("engramctl update {id} --title T"),
        ));
    }
    change(globals, RequestBody::Update(UpdateRequest { id, title, kind, topic, scope, content }), out).await
}

/// Deletes a memory.
pub(crate) async fn delete(globals: &Globals, args: DeleteArgs, out: &mut Out) -> Result<Exit, CtlError> {
    change(globals, RequestBody::Delete { id: args.id, hard: args.hard }, out).await
}

async fn change(globals: &Globals, body: RequestBody, out: &mut Out) -> Result<Exit, CtlError> {
    let Reply::Changed(changed) = Client::connect(globals).await?.ask_one(body).await? else {
        return Err(CtlError::Unexpected("not about a change"));
    };
    out.answer(&changed, |_| render::changed(&changed))?;
    Ok(Exit::Done)
}

/// Judges a relation.
pub(crate) async fn relate(globals: &Globals, args: RelateArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let RelateArgs { source, verb, target, reason, confidence } = args;
    let body = RequestBody::Relate(RelateRequest { source, verb, target, reason, confidence });
    let Reply::Related(related) = Client::connect(globals).await?.ask_one(body).await? else {
        return Err(CtlError::Unexpected("not about a relation"));
    };
    out.answer(&related, |_| render::related(&related))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidence_is_from_0_to_1() {
        assert_eq!(confidence("0.5"), Ok(0.5));
        assert_eq!((confidence("0"), confidence("1")), (Ok(0.0), Ok(1.0)));
        for wrong in ["-0.1", "1.01", "NaN", "high", ""] {
            assert!(confidence(wrong).is_err(), "{wrong}");
        }
    }
}
