//! JSON text as Go's encoder writes it: numbers by way of 64-bit floats, `<`, `>` and `&` escaped.
//!
//! Two programs hash these bytes, so the form is a contract and not a matter of taste.

use serde_json::{Number, Value};
use std::fmt::Write;

/// Writes a value, the members of its objects in the order of their names.
pub(super) fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        // Sorted here and not left to the map's own order: another crate may switch that order for the whole build.
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().map(|(name, value)| (name.as_str(), value)).collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            write_members(members.into_iter(), out);
        }
    }
}

/// Writes an object, its members in the order given.
pub(super) fn write_members<'a>(members: impl Iterator<Item = (&'a str, &'a Value)>, out: &mut String) {
    out.push('{');
    for (i, (name, value)) in members.enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_text(name, out);
        out.push(':');
        write_value(value, out);
    }
    out.push('}');
}

/// Writes the shortest digits that give the same float; with an exponent below 1e-6 and from 1e21 on.
fn write_number(number: &Number, out: &mut String) {
    // Every number of JSON is one of serde_json's three kinds, and each of them has a float.
    let float = number.as_f64().unwrap_or_default();
    let plain = float == 0.0 || (1e-6..1e21).contains(&float.abs());
    // Writing to a String does not fail.
    let _ = match (plain, float.abs() >= 1.0) {
        (true, _) => write!(out, "{float}"),
        (false, true) => write!(out, "{}", format!("{float:e}").replacen('e', "e+", 1)),
        (false, false) => write!(out, "{float:e}"),
    };
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_text_take_the_form_go_gives_them() {
        for (json, written) in [
            ("1.0", "1"),
            ("-0.0", "-0"),
            ("0.000001", "0.000001"),
            ("0.00000099", "9.9e-7"),
            ("-1.5e-10", "-1.5e-10"),
            ("999999999999999999999", "1e+21"),
            ("12345678901234567890", "12345678901234567000"),
            ("9007199254740993", "9007199254740992"),
            ("-2.5e300", "-2.5e+300"),
            (
                r#""\u0001\b\f\n\r\t\"\\\/<>&\u2028\u007f""#,
                "\"\\u0001\\b\\f\\n\\r\\t\\\"\\\\/\\u003c\\u003e\\u0026\\u2028\u{7f}\"",
            ),
        ] {
            let mut out = String::new();
            write_value(&serde_json::from_str(json).unwrap(), &mut out);
            assert_eq!(out, written);
        }
    }
}
