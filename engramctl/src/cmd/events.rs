//! `engramctl events`: what the daemon did, one line each.

use crate::cli::Globals;
use crate::connect::Client;
use crate::exit::CtlError;
use crate::out::Out;
use crate::render::events as render;
use clap::Args;
use engram_proto::ipc::reply::Reply;
use engram_proto::ipc::request::RequestBody;
use engram_proto::reason::Exit;

pub(crate) const EXAMPLES: &str = "\
Examples:
  engramctl events                   what happened lately
  engramctl events --follow          and what happens from now on
  engramctl events --follow --json | jq -r .message";

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Go on with events as they come, until interrupted
    #[arg(long, short)]
    follow: bool,
}

/// Prints events.
pub(crate) async fn run(globals: &Globals, args: EventsArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let mut client = Client::connect(globals).await?;
    let id = client.start(RequestBody::Events { follow: args.follow }).await?;
    loop {
        let (reply, last) = client.next(id).await?;
        if let Reply::Event(event) = reply {
            out.answer(&event, |view| render::line(&event, view))?;
        }
        if last && args.follow {
            return Err(client.ended());
        }
        if last || out.closed() {
            return Ok(Exit::Done);
        }
    }
}
