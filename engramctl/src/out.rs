//! Standard output and standard error, for people and for scripts. Nothing else prints.

use crate::cli::{ColorChoice, Globals};
use crate::clock;
use crate::exit::CtlError;
use crate::render::{View, text};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use std::io::{self, IsTerminal as _, Write as _};

/// What pipes, and terminals that do not tell, are taken for.
const WIDTH_DEFAULT: usize = 80;

/// Narrower than this no table is readable.
const WIDTH_MIN: usize = 40;

/// Where answers go.
pub(crate) struct Out {
    /// Whether answers are for scripts.
    pub(crate) json: bool,
    /// Whether standard output is a terminal.
    pub(crate) terminal: bool,
    color: ColorChoice,
    closed: bool,
}

impl Out {
    /// Looks at what standard output is.
    pub(crate) fn new(globals: &Globals) -> Self {
        Self { json: globals.json, terminal: io::stdout().is_terminal(), color: globals.color, closed: false }
    }

    /// Returns what renderers need to know about now and about the reader.
    pub(crate) fn view(&self) -> View {
        let width = if self.terminal { terminal_width() } else { None };
        View {
            color: self.colored(self.terminal),
            width: width.unwrap_or(WIDTH_DEFAULT).max(WIDTH_MIN),
            wrap: self.terminal,
            moment: clock::now(),
        }
    }

    /// Returns the same for standard error, where every failure has one line.
    pub(crate) fn view_of_errors(&self) -> View {
        View { color: self.colored(io::stderr().is_terminal()), width: usize::MAX, ..self.view() }
    }

    /// Tells whether the reader went away (`| head`): whoever streams then ends.
    pub(crate) fn closed(&self) -> bool {
        self.closed
    }

    /// Writes a text.
    ///
    /// A closed pipe is no error: the command still ends with its own exit code.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), CtlError> {
        if self.closed {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            result => result.map_err(CtlError::Output),
        }
    }

    /// Writes one JSON object on a line of its own.
    pub(crate) fn value(&mut self, value: &impl Serialize) -> Result<(), CtlError> {
        let mut line = serde_json::to_string(value).map_err(|error| CtlError::Output(error.into()))?;
        line.push('\n');
        self.text(&line)
    }

    /// Writes the object for scripts, or else the text for people.
    pub(crate) fn answer(
        &mut self,
        value: &impl Serialize,
        people: impl FnOnce(&View) -> String,
    ) -> Result<(), CtlError> {
        if self.json { self.value(value) } else { self.text(&people(&self.view())) }
    }

    /// Writes a line on standard error; whether anybody reads it matters to nobody.
    pub(crate) fn note(&self, line: &str) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// Shows how far a long command is, on a terminal only; an empty line takes it away again.
    pub(crate) fn progress(&self, line: &str) {
        if !self.json && io::stderr().is_terminal() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K{line}").and_then(|()| io::stderr().flush());
        }
    }

    /// Writes why a command did not work: a line on standard error, and an object for scripts.
    pub(crate) fn failure(&mut self, error: &CtlError) {
        self.failure_of_many(error);
        if self.json && !self.closed {
            print_failure_json(error);
        }
    }

    /// Writes why one of many attempts did not work, on standard error only: the next one may.
    pub(crate) fn failure_of_many(&self, error: &CtlError) {
        let view = self.view_of_errors();
        self.note(&failure_line(&view, "error", &error.to_string(), error.hint().as_deref()));
    }

    fn colored(&self, terminal: bool) -> bool {
        let unwanted = |name, what: fn(&str) -> bool| std::env::var(name).is_ok_and(|value| what(&value));
        match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                terminal
                    && !unwanted("NO_COLOR", |value| !value.is_empty())
                    && !unwanted("TERM", |value| value == "dumb")
            }
        }
    }
}

/// A list as scripts get it: an object with one name.
pub(crate) struct Under<'a, T>(pub(crate) &'static str, pub(crate) &'a T);

impl<T: Serialize> Serialize for Under<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, self.1)?;
        map.end()
    }
}

/// Writes a failure as scripts read it.
pub(crate) fn print_failure_json(error: &CtlError) {
    let value = serde_json::json!({
        "error": {"reason_code": error.reason_code(), "message": error.to_string(), "hint": error.hint()}
    });
    let _ = writeln!(io::stdout().lock(), "{value}");
}

/// Makes the one line that says why and what next.
fn failure_line(view: &View, word: &str, message: &str, hint: Option<&str>) -> String {
    let message = text::clean_line(message);
    // Most hints are a command; a wrong argument has a remedy in words.
    let is_command = |hint: &str| ["engram", "df ", "ls "].iter().any(|begin| hint.starts_with(begin));
    let step = |hint: &str| if is_command(hint) && !hint.contains(';') { "Run: " } else { "Hint: " };
    let hint = hint.map_or_else(String::new, |hint| format!(". {}{}", step(hint), text::clean_line(hint)));
    let message = if hint.is_empty() { message.as_str() } else { message.trim_end_matches('.') };
    format!("{} {message}{hint}", view.paint(&format!("{word}:"), crate::render::Paint::Error))
}

fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}
