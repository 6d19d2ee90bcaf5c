//! `engramctl version`: this program, and the daemon if it answers.

use crate::cli::Globals;
use crate::connect;
use crate::exit::CtlError;
use crate::out::Out;
use engram_proto::ipc::PROTOCOL;
use engram_proto::ipc::hello::Hello;
use engram_proto::reason::Exit;
use engram_proto::reason_catalog::RESTART;
use serde_json::json;
use std::time::Duration;

pub(crate) const EXAMPLES: &str = "\
Examples:
  engramctl version
  engramctl version --json | jq -r .daemon.version

Exits 0 without a daemon, too. `engramctl --version` asks no daemon.";

/// More than any daemon needs to say Hello.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shows both versions.
pub(crate) async fn run(globals: &Globals, out: &mut Out) -> Result<Exit, CtlError> {
    let daemon = match globals.target() {
        Ok(target) => connect::greet(&target, globals.timeout.unwrap_or(PATIENCE)).await,
        Err(error) => Err(error),
    };
    let daemon = daemon.as_ref().map(connect::Wire::daemon).map_err(ToString::to_string);
    let hello =
        daemon.as_ref().ok().map(|hello| json!({"version": hello.build, "protocol": hello.protocol, "pid": hello.pid}));
    let value = json!({"client": {"version": engram_proto::VERSION, "protocol": PROTOCOL}, "daemon": hello});
    out.answer(&value, |_| lines(daemon.as_ref().copied().map_err(String::as_str)))?;
    Ok(Exit::Done)
}

fn lines(daemon: Result<&Hello, &str>) -> String {
    use crate::render::text::clean_line;
    let ours = format!("engramctl {} (protocol {PROTOCOL})\n", engram_proto::VERSION);
    match daemon {
        Err(why) => format!("{ours}engramd   no answer: {}\n", clean_line(why)),
        Ok(hello) => {
            let build = clean_line(&hello.build);
            let theirs = format!("engramd   {build} (protocol {}, pid {})\n", hello.protocol, hello.pid);
            let apart = if hello.protocol == PROTOCOL {
                String::new()
            } else {
                format!("They do not speak the same protocol. Run: {RESTART}\n")
            };
            format!("{ours}{theirs}{apart}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_who_is_there_and_who_is_not() {
        assert!(lines(Err("no daemon answers at /s")).contains("engramd   no answer: no daemon answers at /s\n"));
        let hello = Hello { protocol: PROTOCOL, pid: 7, build: "0.1.0".to_owned() };
        assert!(lines(Ok(&hello)).ends_with(&format!("engramd   0.1.0 (protocol {PROTOCOL}, pid 7)\n")));
        assert!(lines(Ok(&Hello { protocol: 99, ..hello })).contains("restart engramd"));
    }
}
