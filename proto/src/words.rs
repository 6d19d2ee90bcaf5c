//! Words that several programs put together: numbers of things, and commands that people copy into a shell.

/// Counts things in words: `1 row`, `3 rows`, `1 memory`, `2 memories`.
#[must_use]
pub fn count(number: u64, thing: &str) -> String {
    match (number, thing.strip_suffix('y')) {
        (1, _) => format!("1 {thing}"),
        // No vowel stands before it in what we count.
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {thing}s"),
    }
}

/// Quotes a word for a shell, where it needs that.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Makes one line of words for a shell.
#[must_use]
pub fn command_line<W: AsRef<str>>(words: &[W]) -> String {
    words.iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let all = [(1, "row"), (0, "row"), (2, "row"), (1, "memory"), (3, "memory")].map(|(n, thing)| count(n, thing));
        assert_eq!(all, ["1 row", "0 rows", "2 rows", "1 memory", "3 memories"]);
    }

    #[test]
    fn what_a_shell_takes_apart_is_quoted() {
        assert_eq!(command_line(&["ls", "/my data", "it's", "", "a=b"]), r"ls '/my data' 'it'\''s' '' a=b");
    }
}
