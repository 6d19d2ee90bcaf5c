//! Values in, text out. Nothing here reads a clock, a terminal or the environment: it is all in [`View`].

pub(crate) mod chunks;
pub(crate) mod cloud;
pub(crate) mod conflicts;
pub(crate) mod events;
pub(crate) mod held;
pub(crate) mod memory;
pub(crate) mod projects;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod sync;
mod table;
pub(crate) mod text;
pub(crate) mod verdict;
pub(crate) mod when;

/// What a renderer needs to know about now and about the reader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Whether to colour.
    pub(crate) color: bool,
    /// How wide a line may be.
    pub(crate) width: usize,
    /// Whether to wrap stored text: on a terminal, not into a file.
    pub(crate) wrap: bool,
    /// Now.
    pub(crate) moment: when::Moment,
}

/// What a word means, by its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Nothing special.
    #[default]
    Plain,
    /// A heading.
    Strong,
    /// Beside the point.
    Faint,
    /// As it should be.
    Good,
    /// On its way, or to be looked at.
    Warning,
    /// Not as it should be.
    Error,
}

impl View {
    /// Colours a text, where that is wanted.
    pub(crate) fn paint(&self, text: &str, paint: Paint) -> String {
        let code = match paint {
            Paint::Plain => return text.to_owned(),
            Paint::Strong => "1",
            Paint::Faint => "2",
            Paint::Good => "32",
            Paint::Warning => "33",
            Paint::Error => "1;31",
        };
        if self.color && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Renders a sentence of the daemon's.
pub(crate) fn sentence(message: &str, view: &View) -> String {
    let mut lines = text::wrap(&text::clean_line(message), view.width).join("\n");
    lines.push('\n');
    lines
}

pub(crate) use engram_proto::words::count;

#[cfg(test)]
pub(crate) mod fixture {
    //! The reader that tests render for: 80 columns, no colour, UTC.

    use super::View;
    use super::when::Moment;

    /// 2026-11-22 14:30:00 UTC.
    pub(crate) const VIEW: View =
        View { color: false, width: 80, wrap: true, moment: Moment { unix_s: 1_795_357_800, offset_s: Some(0) } };
}
