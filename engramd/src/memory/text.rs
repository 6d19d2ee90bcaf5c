//! The text rules of every write: redaction, the length cap, topic keys, titles (local-store.md, "Writing").
//!
//! Pure: what a rule makes of a text depends on the text alone, so that the same save means the same on every device.

use super::error::MemoryError;
use engram_proto::id::ProjectName;

/// What stands where something private stood.
pub const REDACTED: &str = "[REDACTED]";
/// What a text that was cut ends with.
pub const TRUNCATED: &str = "... [truncated]";
/// How many characters of a text are kept.
pub const TEXT_CHARS_MAX: usize = 50_000;
/// How many characters of a topic key are kept.
pub const TOPIC_CHARS_MAX: usize = 120;
/// How many characters of a first line become a title.
pub const TITLE_CHARS_MAX: usize = 80;
/// The type of a memory saved without one; the peer's default.
pub const DEFAULT_KIND: &str = "manual";
/// The scope of a memory saved without one.
pub const DEFAULT_SCOPE: &str = "project";

const OPENING: &str = "<private";
const CLOSING: &str = "</private";

/// Replaces everything between private tags, in any case and however they are nested.
///
/// A tag that is never closed hides the rest of the text; a closing one that closes nothing is left out. Tags are
/// recognised in what is kept, so that leaving one out never makes a new one of its surroundings.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut hidden = String::new();
    let mut depth = 0_usize;
    for c in text.chars() {
        let out = if depth == 0 { &mut kept } else { &mut hidden };
        out.push(c);
        if c != '>' {
            continue;
        }
        if cut_tag(out, CLOSING) {
            if depth == 1 {
                kept.push_str(REDACTED);
                hidden.clear();
            }
            depth = depth.saturating_sub(1);
        } else if cut_tag(out, OPENING) {
            depth += 1;
        }
    }
    if depth > 0 {
        kept.push_str(REDACTED);
    }
    kept
}

/// Cuts a tag off the end of `out`, which ends with `>`; tells whether there was one.
fn cut_tag(out: &mut String, tag: &str) -> bool {
    let body = out[..out.len() - 1].trim_end();
    let Some(start) = body.len().checked_sub(tag.len()) else { return false };
    let found = body.is_char_boundary(start) && body[start..].eq_ignore_ascii_case(tag);
    if found {
        out.truncate(start);
    }
    found
}

/// Applies the rules of every text field: no NUL, redacted, trimmed, at most 50,000 whole characters.
///
/// # Errors
/// [`MemoryError::Invalid`] where the text holds a NUL, which neither C programs nor Postgres could store.
pub fn clean(field: &'static str, text: &str) -> Result<String, MemoryError> {
    refuse_nul(field, text)?;
    Ok(cap(redact(text).trim(), TEXT_CHARS_MAX, TRUNCATED))
}

/// Applies [`clean`] to a text that may be left out; a blank one counts as left out.
///
/// # Errors
/// As [`clean`].
pub fn clean_optional(field: &'static str, text: Option<&str>) -> Result<Option<String>, MemoryError> {
    let text = text.map(|text| clean(field, text)).transpose()?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// Applies [`clean`] to a text that must not be blank.
///
/// # Errors
/// As [`clean`], and [`MemoryError::Invalid`] where nothing is left of it.
pub fn clean_required(field: &'static str, text: &str, hint: &str) -> Result<String, MemoryError> {
    let text = clean(field, text)?;
    if text.is_empty() { Err(MemoryError::invalid(field, "it is blank", hint)) } else { Ok(text) }
}

/// Brings a project's name into normal form.
///
/// # Errors
/// [`MemoryError::Invalid`] where it is blank, holds a NUL, or something private that no name could keep.
pub fn project(name: &str) -> Result<ProjectName, MemoryError> {
    const HINT: &str = "give one with --project NAME";
    ProjectName::parse(&identifier("project", name, HINT)?)
        .map_err(|_| MemoryError::invalid("project", "it is blank", HINT))
}

/// Checks a project to filter by, if there is one.
///
/// # Errors
/// As [`project`].
pub fn project_filter(name: Option<&str>) -> Result<Option<ProjectName>, MemoryError> {
    name.map(project).transpose()
}

/// Checks a name that others refer to: it is kept as it is but for the white space around it.
///
/// # Errors
/// [`MemoryError::Invalid`] where it is blank, or would have to be redacted.
pub fn identifier(field: &'static str, text: &str, hint: &str) -> Result<String, MemoryError> {
    refuse_nul(field, text)?;
    let text = text.trim();
    if text.is_empty() {
        return Err(MemoryError::invalid(field, "it is blank", hint));
    }
    if redact(text) != text {
        return Err(MemoryError::invalid(field, "it holds a <private> tag, and a name cannot be redacted", hint));
    }
    Ok(text.to_owned())
}

fn refuse_nul(field: &'static str, text: &str) -> Result<(), MemoryError> {
    match text.find('\0') {
        None => Ok(()),
        Some(at) => Err(MemoryError::invalid(
            field,
            &format!("it holds a NUL character at byte {at}, which no store of the fleet can keep"),
            "save text, not binary data",
        )),
    }
}

/// Cuts a text to so many whole characters and says so with `mark`.
#[must_use]
pub fn cap(text: &str, chars_max: usize, mark: &str) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}{mark}", &text[..end]),
    }
}

/// Brings a topic key into its form: lower case, white space as `-`, at most 120 characters; none if nothing is left.
///
/// # Errors
/// As [`clean`].
pub fn topic_key(topic: Option<&str>) -> Result<Option<String>, MemoryError> {
    let Some(topic) = clean_optional("topic", topic)? else { return Ok(None) };
    Ok(Some(topic_form(&topic)).filter(|key| !key.is_empty()))
}

/// Writes words the way a topic key has them.
#[must_use]
pub fn topic_form(words: &str) -> String {
    let key = words.to_lowercase().split_whitespace().collect::<Vec<_>>().join("-");
    cap(&key, TOPIC_CHARS_MAX, "")
}

/// Brings a scope into its form: `personal`, `global`, and `project` for anything else.
#[must_use]
pub fn scope(scope: &str) -> &'static str {
    match scope.trim().to_lowercase().as_str() {
        "personal" => "personal",
        "global" => "global",
        _ => DEFAULT_SCOPE,
    }
}

/// Derives a title from the first line that says something.
#[must_use]
pub fn derived_title(content: &str) -> String {
    let line = content.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or(content);
    cap(line, TITLE_CHARS_MAX, "...")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn private_text_is_replaced() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("a <private>x</private> b", "a [REDACTED] b"),
            ("a <PRIVATE>x</Private> b", "a [REDACTED] b"),
            ("<private></private>", "[REDACTED]"),
            ("<private>x\ny</private>z<private>w</private>", "[REDACTED]z[REDACTED]"),
            ("a <private>x <private>y</private> z</private> b", "a [REDACTED] b"),
            ("a <private>x <private>y</private> z", "a [REDACTED]"),
            ("a <private>x", "a [REDACTED]"),
            ("a <private>", "a [REDACTED]"),
            ("a</private> b", "a b"),
            ("<private>x</private></private> b", "[REDACTED] b"),
            ("</private><private>x</private>", "[REDACTED]"),
            ("<private >x</private\n> b", "[REDACTED] b"),
            ("<priv</private>ate>x</private> b", "[REDACTED] b"),
            ("</priv</private>ate>b", "b"),
            ("<private>х é 🚀</private>é", "[REDACTED]é"),
            ("é<private", "é<private"),
            ("1 > 0, a->b, <p>q</p>", "1 > 0, a->b, <p>q</p>"),
            ("é>", "é>"),
            (">", ">"),
        ] {
            assert_eq!(redact(text), expected, "{text:?}");
        }
    }

    #[test]
    fn redacting_twice_changes_nothing_and_takes_linear_time() {
        let pieces = ["<private>", "</private>", "<priv", "</priv", "ate>", "x", "[REDACTED]", ">", "<", "é"];
        for n in 0..pieces.len().pow(4) {
            let text: String = (0..4).map(|digit| pieces[n / pieces.len().pow(digit) % pieces.len()]).collect();
            let once = redact(&text);
            assert_eq!(redact(&once), once, "{text:?}");
        }
        let nested = format!("{}{}", "<priv".repeat(100_000), "</private>ate>".repeat(100_000));
        assert!(redact(&nested).len() <= nested.len());
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let long = "é🚀".repeat(TEXT_CHARS_MAX);
        let cut = clean("content", &long).unwrap();
        assert_eq!(cut.chars().count(), TEXT_CHARS_MAX + TRUNCATED.chars().count());
        assert!(cut.starts_with(&"é🚀".repeat(TEXT_CHARS_MAX / 2)) && cut.ends_with(TRUNCATED));
        let whole = "é".repeat(TEXT_CHARS_MAX);
        assert_eq!(clean("content", &whole).unwrap(), whole);
    }

    #[test]
    fn private_text_beyond_the_cut_does_not_count() {
        let text = format!("<private>{}</private> end", "x".repeat(2 * TEXT_CHARS_MAX));
        assert_eq!(clean("content", &text).unwrap(), "[REDACTED] end");
    }

    #[test]
    fn nul_is_refused_by_name() {
        let error = clean("title", "a\0b").unwrap_err();
        assert!(error.to_string().contains("title") && error.to_string().contains("NUL"), "{error}");
        assert!(project("a\0").is_err() && identifier("session", "\0", "").is_err());
    }

    #[test]
    fn topic_keys_have_one_form() {
        for (topic, expected) in [
            (None, None),
            (Some("  "), None),
            (Some(" Auth\t Model "), Some("auth-model")),
            (Some("architecture/auth-model"), Some("architecture/auth-model")),
            (Some("Ünï  cödé"), Some("ünï-cödé")),
            (Some("<private>x</private>"), Some("[redacted]")),
        ] {
            assert_eq!(topic_key(topic).unwrap().as_deref(), expected, "{topic:?}");
        }
        let long = topic_key(Some(&"é ".repeat(500))).unwrap().unwrap();
        assert_eq!(long.chars().count(), TOPIC_CHARS_MAX);
    }

    #[test]
    fn scopes_titles_and_projects() {
        for (typed, expected) in [("", "project"), ("Personal ", "personal"), ("GLOBAL", "global"), ("team", "project")]
        {
            assert_eq!(scope(typed), expected);
        }
        assert_eq!(derived_title("\n\n  First line \nsecond"), "First line");
        let title = derived_title(&"é".repeat(200));
        assert_eq!(title, format!("{}...", "é".repeat(TITLE_CHARS_MAX)));
        assert_eq!(project(" My--Project__X ").unwrap().as_str(), "my-project_x");
        assert!(project("  ").is_err() && project("a<private>b</private>").is_err());
    }
}
