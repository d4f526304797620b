//! How values enter a YAML document: quoted, always.
//!
//! JSON is almost a subset of YAML, but only almost: readers of YAML 1.1 take some characters that
//! JSON leaves alone for line breaks, and refuse others. Those are escaped here too.

use std::fmt::Write;

use serde_json::Value;

/// Writes a value so that every YAML reader reads back exactly it.
pub fn quoted(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value);
    text
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::String(inner) => write_text(text, inner),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                write_value(text, item);
            }
            text.push(']');
        }
        Value::Object(entries) => {
            text.push('{');
            for (index, (key, item)) in entries.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                write_text(text, key);
                text.push_str(": ");
                write_value(text, item);
            }
            text.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
    }
}

fn write_text(text: &mut String, inner: &str) {
    text.push('"');
    for letter in inner.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            plain if is_printable(plain) => text.push(plain),
            other => {
                // Writing to a String cannot fail.
                crate::failure::tolerate(
                    write!(text, "\\u{:04x}", u32::from(other)),
                    "a String takes everything",
                );
            }
        }
    }
    text.push('"');
}

/// Whether every version of YAML keeps this character as it is. All others are in the first plane,
/// so four digits are enough to escape them.
fn is_printable(letter: char) -> bool {
    !matches!(letter,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}'
        | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// A text of several lines as a literal block, which people can read and compare; quoted where a
/// block could not hold it exactly. `indent` is the column of the text.
pub fn block(inner: &str, indent: usize) -> String {
    let fits = !inner.is_empty()
        && inner.ends_with('\n')
        && !inner.ends_with("\n\n")
        && !inner.starts_with([' ', '\n'])
        && inner.chars().all(|letter| letter == '\n' || is_printable(letter));
    if !fits {
        return quoted(&Value::String(inner.to_string()));
    }
    let mut text = String::from("|");
    for line in inner.lines() {
        text.push('\n');
        if !line.is_empty() {
            text.push_str(&" ".repeat(indent));
            text.push_str(line);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_would_leave_alone_is_escaped() {
        let value = Value::String("a\u{85}b\u{2028}c\u{7f}'<yes>😀".into());
        assert_eq!(quoted(&value), "\"a\\u0085b\\u2028c\\u007f'<yes>😀\"");
    }

    #[test]
    fn a_block_keeps_its_text() {
        for inner in ["a: b\n  c\n\nd\n", "#x\n", "- y\n\t\n", "x \n"] {
            let document = format!("key: {}\n", block(inner, 2));
            let read: Value = serde_yaml::from_str(&document).unwrap();
            assert_eq!(read["key"], inner, "{document}");
        }
        assert!(block(" leading\n", 2).starts_with('"'));
        assert!(block("no end", 2).starts_with('"'));
    }
}
