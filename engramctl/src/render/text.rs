//! Text that somebody else wrote, made safe and made to fit.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Stands where text was cut.
const CUT: char = '…';

/// Makes stored text one harmless line: white space becomes single spaces, control characters become visible.
///
/// A memory can come from another machine; what it says must not move the cursor, set a title or paste (terminal escape
/// injection), nor turn the line around.
pub(crate) fn clean_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() {
            if !line.ends_with(' ') && !line.is_empty() {
                line.push(' ');
            }
        } else {
            line.push(harmless(c));
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// Makes stored text harmless and keeps its lines.
pub(crate) fn clean_block(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\t', "    ");
    text.chars().map(|c| if c == '\n' { c } else { harmless(c) }).collect()
}

fn harmless(c: char) -> char {
    const REPLACEMENT: char = '\u{fffd}';
    match c {
        '\u{7f}' => '\u{2421}',
        c if (c as u32) < 0x20 => char::from_u32(0x2400 + c as u32).unwrap_or(REPLACEMENT),
        '\u{80}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            REPLACEMENT
        }
        c => c,
    }
}

/// Returns how many columns a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// Cuts a text that takes more columns than there are.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let (end, _) = prefix(text, columns.saturating_sub(1));
    format!("{}{CUT}", text[..end].trim_end())
}

/// Finds how many bytes, and then columns, of a text fit.
fn prefix(text: &str, columns: usize) -> (usize, usize) {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        let next = taken + c.width().unwrap_or(0);
        if next > columns {
            return (at, taken);
        }
        taken = next;
    }
    (text.len(), taken)
}

/// Breaks a line between words, and words that are longer than a line anywhere.
pub(crate) fn wrap(line: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = Vec::new();
    let mut rest = line.trim_end();
    while width(rest) > columns {
        let (fits, _) = prefix(rest, columns);
        let indent = rest.len() - rest.trim_start().len();
        // A break at a space that is just past the line's end is a break as well.
        let reach = if rest[fits..].starts_with(' ') { fits + 1 } else { fits };
        let space = rest[..reach].rfind(' ').filter(|&at| at > indent);
        let (end, next) = space.map_or((fits, fits), |at| (at, at + 1));
        lines.push(rest[..end].trim_end().to_owned());
        rest = rest[next..].trim_start();
    }
    lines.push(rest.to_owned());
    lines
}

/// Puts words on as few lines as they need, the second and all others indented. A part is never broken where it fits a
/// line of its own: commands stay whole.
pub(crate) fn flow(parts: &[String], columns: usize, indent: usize) -> String {
    let margin = " ".repeat(indent);
    let mut lines: Vec<String> = Vec::new();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        if let Some(last) = lines.last_mut()
            && width(last) + 1 + width(part) <= columns
        {
            last.push(' ');
            last.push_str(part);
            continue;
        }
        let first = if lines.is_empty() { 0 } else { indent };
        let mut pieces = wrap(part, columns - first.min(columns));
        if first == 0 && pieces.len() > 1 && indent > 0 {
            let head = pieces.remove(0);
            let tail = pieces.join(" ");
            lines.push(head);
            pieces = wrap(&tail, columns.saturating_sub(indent));
            lines.extend(pieces.into_iter().map(|piece| format!("{margin}{piece}")));
        } else {
            lines.extend(pieces.into_iter().map(|piece| format!("{}{piece}", &margin[..first])));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stored_reaches_the_terminal_as_a_command() {
        assert_eq!(clean_line("a\x1b]0;title\x07b\nc\u{9b}2J\u{202e}d"), "a␛]0;title␇b c\u{fffd}2J\u{fffd}d");
        assert_eq!(clean_block("a\r\nb\x1b[2J\tc\x7f\r"), "a\nb␛[2J    c␡␍");
        assert_eq!(clean_line("  two\n\n  words \n"), "two words");
    }

    #[test]
    fn cut_text_fits_its_columns() {
        assert_eq!(fit("short", 5), "short");
        assert_eq!(fit("longer text", 8), "longer…");
        assert_eq!(fit("日本語のテキスト", 7), "日本語…");
        assert!(width(&fit("日本語のテキスト", 6)) <= 6);
        assert_eq!(fit("ab", 1), "…");
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("    indented code goes on", 14), ["    indented", "code goes on"]);
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
    }

    #[test]
    fn commands_stay_whole() {
        let parts = ["It does not work at all.".to_owned(), "Run: engramctl sync".to_owned()];
        assert_eq!(flow(&parts, 80, 2), "It does not work at all. Run: engramctl sync");
        assert_eq!(flow(&parts, 30, 2), "It does not work at all.\n  Run: engramctl sync");
        assert_eq!(flow(&parts, 20, 2), "It does not work at\n  all.\n  Run: engramctl\n  sync");
    }
}
