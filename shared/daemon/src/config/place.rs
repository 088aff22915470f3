//! Where in a file something is.

use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Both counted from 1; the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The position of a byte offset, and the text of its line.
pub(super) fn position(text: &str, offset: usize) -> (Position, &str) {
    let offset = (0..=offset.min(text.len()))
        .rev()
        .find(|offset| text.is_char_boundary(*offset))
        .unwrap_or(0);
    let (before, _) = text.split_at(offset);
    let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[begin..].lines().next().unwrap_or_default();
    let position = Position {
        line: before.matches('\n').count() + 1,
        column: text[begin..offset].chars().count() + 1,
    };
    (position, line)
}

/// The dotted name of the deepest key or value that covers all of `range`; none for what is about the whole file.
pub(super) fn key_at(table: &DeTable<'_>, range: &Range<usize>) -> Option<String> {
    let covers = |span: Range<usize>| span.start <= range.start && range.end <= span.end;
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref();
        let inner = match value.get_ref() {
            DeValue::Table(table) => key_at(table, range),
            DeValue::Array(items) => items.iter().find_map(|item| match item.get_ref() {
                DeValue::Table(table) => key_at(table, range),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => None,
            }),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => None,
        };
        match inner {
            Some(inner) => Some(format!("{name}.{inner}")),
            None => (covers(key.span()) || covers(value.span())).then(|| name.to_string()),
        }
    })
}

/// Whether a key or a line may carry what must not be shown.
pub(super) fn is_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let words = ["token", "secret", "password"];
    // A login may stand in an address: `http://user:password@host`.
    words.iter().any(|word| text.contains(word)) || (text.contains("://") && text.contains('@'))
}
