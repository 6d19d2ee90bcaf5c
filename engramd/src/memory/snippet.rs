//! The piece of a memory in which the words stand that were looked for.
//!
//! Not FTS5's own: asked for one row, that walks the index again, a hundred times slower than reading the text is.

/// How many words a snippet has.
const WORDS: usize = 24;
/// How many of them stand before the first one that was looked for.
const WORDS_BEFORE: usize = 6;
/// How long a snippet may get, whatever its words are.
const CHARS_MAX: usize = 300;
/// What stands where text was left out.
const GAP: &str = "...";

/// Cuts the words around the first of those looked for out of a text; its beginning, where none of them is in it.
pub(super) fn snippet(text: &str, sought: &[String]) -> String {
    let sought: Vec<String> =
        sought.iter().flat_map(|word| tokens(word).map(|(_, token)| token.to_lowercase())).collect();
    let is_sought = |token: &str| {
        let token = token.to_lowercase();
        sought.iter().any(|sought| token.starts_with(sought.as_str()))
    };
    let found = tokens(text).position(|(_, token)| is_sought(token)).unwrap_or(0);
    let first = found.saturating_sub(WORDS_BEFORE);
    let place = |n: usize| tokens(text).nth(n).map_or(text.len(), |(at, _)| at);
    let start = if first == 0 { 0 } else { place(first) };
    let end = place(first + WORDS);
    let shown = text[start..end].trim_end();
    let (before, after) = (if start > 0 { GAP } else { "" }, if end < text.len() { GAP } else { "" });
    match shown.char_indices().nth(CHARS_MAX) {
        Some((cut, _)) => format!("{before}{}{GAP}", &shown[..cut]),
        None => format!("{before}{shown}{after}"),
    }
}

/// Splits a text about as the index does: runs of letters and digits, each with the place where it begins.
fn tokens(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|token| !token.is_empty())
        .map(|token| (token.as_ptr().addr() - text.as_ptr().addr(), token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, words: &[&str]) -> String {
        snippet(text, &words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_short_text_is_shown_whole() {
        for text in ["", "one", "They expire. (soon)", "🚀 — ", "é\nü"] {
            assert_eq!(of(text, &["expire"]), text.trim_end());
        }
    }

    #[test]
    fn a_long_one_is_cut_around_the_first_word_that_was_sought() {
        let text: String = (0..100).map(|n| format!("w{n}, ")).collect();
        let words = |from: usize, to: usize| (from..to).map(|n| format!("w{n},")).collect::<Vec<_>>().join(" ");
        assert_eq!(of(&text, &["absent"]), format!("{}...", words(0, 24)));
        assert_eq!(of(&text, &["\"W50\""]), format!("...{}...", words(44, 68)));
        assert_eq!(of(&text, &["x", "w3"]), format!("{}...", words(0, 24)));
        assert_eq!(of(&text, &["w98"]), format!("...{}", words(92, 100)));
        assert_eq!(of(&text, &["w97-w98"]), format!("...{}", words(91, 100)), "either part will do");
    }

    #[test]
    fn no_word_makes_it_long() {
        let text = "é".repeat(50_000);
        assert_eq!(of(&text, &["é"]), format!("{}...", "é".repeat(CHARS_MAX)));
        assert_eq!(of(&text, &[]), format!("{}...", "é".repeat(CHARS_MAX)));
    }
}
