//! The token: from standard input, the environment or a prompt that shows nothing. Never from an argument, and never
//! printed (SECRET-1).

use crate::exit::CtlError;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use std::io::{self, BufRead as _, IsTerminal as _, Read, Write as _};

/// The environment's token.
const VARIABLE: &str = "ENGRAM_CLOUD_TOKEN";

/// No token is longer.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

const HOW: &str = "engramctl cloud login --server URL --token-stdin < TOKEN-FILE";

/// Obtains the token in the way that is asked for.
pub(crate) fn obtain(from_stdin: bool) -> Result<String, CtlError> {
    let token = if from_stdin {
        let mut line = String::new();
        io::stdin()
            .lock()
            .take(TOKEN_BYTES_MAX)
            .read_line(&mut line)
            .map_err(|error| CtlError::Input(format!("cannot read the token from standard input: {error}")))?;
        line
    } else if let Some(token) = std::env::var(VARIABLE).ok().filter(|token| !token.trim().is_empty()) {
        token
    } else if io::stdin().is_terminal() {
        ask().map_err(|error| CtlError::Input(format!("no token was typed: {error}")))?
    } else {
        let message = "no token: there is no terminal to ask on; give --token-stdin or set ENGRAM_CLOUD_TOKEN";
        return Err(CtlError::usage(message, HOW));
    };
    checked(&token)
}

fn checked(token: &str) -> Result<String, CtlError> {
    let token = token.trim();
    if token.is_empty() {
        return Err(CtlError::usage("the token is empty", HOW));
    }
    if token.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(CtlError::usage("the token has white space in it; it must be one word", HOW));
    }
    Ok(token.to_owned())
}

/// The terminal without echo, until dropped.
struct Silent {
    before: Termios,
}

impl Silent {
    /// Takes single bytes, also those of Ctrl-C: a program that dies of it would leave the terminal mute.
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn ask() -> io::Result<String> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "Token (not shown): ")?;
    stderr.flush()?;
    let silent = Silent::begin()?;
    let typed = type_line(io::stdin().lock().bytes());
    drop(silent);
    writeln!(stderr)?;
    typed
}

/// Reads keys up to the end of the line: backspace, Ctrl-U, Ctrl-C and Ctrl-D do what they do elsewhere.
fn type_line(keys: impl Iterator<Item = io::Result<u8>>) -> io::Result<String> {
    let mut line = Vec::new();
    for key in keys {
        match key? {
            b'\n' | b'\r' | 4 => return String::from_utf8(line).map_err(|_| io::Error::other("it is not UTF-8")),
            3 => break,
            8 | 127 => {
                line.pop();
            }
            21 => line.clear(),
            byte => line.push(byte),
        }
    }
    Err(io::Error::other("interrupted"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn keys_make_a_line() {
        let typed = |keys: &[u8]| type_line(keys.iter().copied().map(Ok)).ok();
        assert_eq!(typed(b"abx\x7fc\r").as_deref(), Some("abc"));
        assert_eq!(typed(b"wrong\x15right\nmore").as_deref(), Some("right"));
        assert_eq!(typed(b"\x08\x04").as_deref(), Some(""));
        assert_eq!(typed(b"abc\x03"), None);
        assert_eq!(typed(b"abc"), None, "the terminal went away");
    }

    /// SECRET-1: not even a wrong one is repeated.
    #[test]
    fn secret_1_a_wrong_token_is_not_printed() {
        assert_eq!(checked(" token-1\n").unwrap(), "token-1");
        let error = checked("tok en").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("tok en"));
        assert!(checked(" \n").is_err());
    }
}
