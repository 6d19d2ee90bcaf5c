//! Content: the last argument, a file, or standard input.

use crate::exit::CtlError;
use clap::Args;
use engram_proto::ipc::FRAME_BYTES_MAX;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

/// Means standard input.
const STDIN: &str = "-";

// Where the content comes from. (Words of the documentation would stand as the purpose of each command that takes these.)
#[derive(Debug, Args)]
pub(crate) struct ContentArgs {
    /// The content; `-` reads standard input, and so does leaving it out in a pipe
    #[arg(value_name = "CONTENT", conflicts_with = "file")]
    content: Option<String>,

    /// Read the content from a file
    #[arg(long, value_name = "F")]
    file: Option<PathBuf>,
}

impl ContentArgs {
    /// Returns the content; where none is given, what is piped in.
    pub(crate) fn required(self, usage: &str) -> Result<String, CtlError> {
        if let Some(content) = self.optional()? {
            return Ok(content);
        }
        if io::stdin().is_terminal() {
            let message = "no content: give it as the last argument, with --file F, or on standard input with -";
            return Err(CtlError::usage(message, usage));
        }
        standard_input()
    }

    /// Returns the content if one is given; standard input only where `-` asks for it.
    pub(crate) fn optional(self) -> Result<Option<String>, CtlError> {
        match (self.content, self.file) {
            (Some(content), _) if content != STDIN => Ok(Some(content)),
            (Some(_), _) => standard_input().map(Some),
            (None, Some(file)) if file == Path::new(STDIN) => standard_input().map(Some),
            (None, Some(file)) => {
                let name = file.display().to_string();
                let opened = std::fs::File::open(&file).map_err(|error| {
                    let other = "name another file, give the text as the last argument, or - for standard input";
                    CtlError::Input(format!("cannot read {name}: {error}; {other}"))
                })?;
                read(opened, &name).map(Some)
            }
            (None, None) => Ok(None),
        }
    }
}

fn standard_input() -> Result<String, CtlError> {
    read(io::stdin().lock(), "standard input")
}

/// Reads no more than the daemon could take, and leaves out the line end that editors and `echo` add.
fn read(from: impl Read, name: &str) -> Result<String, CtlError> {
    let mut bytes = Vec::new();
    let limit = FRAME_BYTES_MAX as u64;
    from.take(limit + 1).read_to_end(&mut bytes).map_err(|error| unreadable(name, &error))?;
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(CtlError::Input(format!("{name} is larger than {limit} bytes")));
    }
    let mut text =
        String::from_utf8(bytes).map_err(|_| CtlError::Input(format!("{name} is not text: it is not UTF-8")))?;
    if text.ends_with('\n') {
        text.truncate(text.len() - if text.ends_with("\r\n") { 2 } else { 1 });
    }
    Ok(text)
}

fn unreadable(name: &str, error: &io::Error) -> CtlError {
    CtlError::Input(format!("cannot read {name}: {error}"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_left_out() {
        for (given, kept) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", "")] {
            assert_eq!(read(given.as_bytes(), "it").unwrap(), kept);
        }
    }

    #[test]
    fn what_is_no_text_or_too_large_is_said() {
        assert!(read(&b"\xff"[..], "it").unwrap_err().to_string().contains("it is not text"));
        assert!(read(io::repeat(b'a'), "it").unwrap_err().to_string().contains("larger"));
    }

    #[test]
    fn arguments_and_files() {
        let args =
            |content: Option<&str>, file: Option<PathBuf>| ContentArgs { content: content.map(str::to_owned), file };
        assert_eq!(args(Some("x"), None).optional().unwrap().as_deref(), Some("x"));
        assert_eq!(args(None, None).optional().unwrap(), None);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.md");
        assert!(args(None, Some(path.clone())).optional().unwrap_err().to_string().contains("name another file"));
        std::fs::write(&path, "text\n").unwrap();
        assert_eq!(args(None, Some(path)).optional().unwrap().as_deref(), Some("text"));
    }
}
