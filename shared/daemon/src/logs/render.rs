//! A line as text.

use std::fmt::Write;

use efd_shared_model::UtcNanos;
use serde_json::{Map, Value, json};
use tracing::Level;

use super::LogFormat;

/// An event with all that is written of it.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) time: UtcNanos,
    pub(super) level: Level,
    pub(super) target: String,
    pub(super) message: String,
    pub(super) fields: Map<String, Value>,
    /// From the outermost in.
    pub(super) spans: Vec<(&'static str, Map<String, Value>)>,
    /// How many lines of this kind it stands for; 0 for a line that stands for itself.
    pub(super) repeated: u64,
}

impl Line {
    /// With its newline, the only one in it.
    pub(super) fn render(&self, format: LogFormat, colour: bool) -> String {
        match format {
            LogFormat::Json => self.json(),
            LogFormat::Text => self.text(colour),
        }
    }

    /// `session{edge=…}: topic{name=…}`, for comparing and for people.
    pub(super) fn span_text(&self) -> String {
        let mut text = String::new();
        for (name, fields) in &self.spans {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(name);
            if !fields.is_empty() {
                text.push('{');
                for (index, (key, value)) in fields.iter().enumerate() {
                    text.push_str(if index == 0 { "" } else { " " });
                    pair(&mut text, key, value);
                }
                text.push('}');
            }
        }
        text
    }

    /// The event's fields stand beside ours; one that has the name of ours gets an underscore.
    fn json(&self) -> String {
        let mut object = Map::new();
        object.insert("time".to_owned(), self.time.to_string().into());
        object.insert("level".to_owned(), self.level.as_str().into());
        object.insert("target".to_owned(), self.target.as_str().into());
        object.insert("message".to_owned(), self.message.as_str().into());
        if self.repeated > 0 {
            object.insert("repeated".to_owned(), self.repeated.into());
        }
        if !self.spans.is_empty() {
            let spans: Vec<Value> = self
                .spans
                .iter()
                .map(|(name, fields)| {
                    let mut span = json!({ "name": name });
                    if let Value::Object(span) = &mut span {
                        add(span, fields);
                    }
                    span
                })
                .collect();
            object.insert("spans".to_owned(), spans.into());
        }
        add(&mut object, &self.fields);
        format!("{}\n", Value::Object(object))
    }

    fn text(&self, colour: bool) -> String {
        let time = self.time.to_string();
        // Milliseconds are enough for eyes: `…:41.112`.
        let time = time.get(11..23).unwrap_or(&time);
        let (begin, end) = match (colour, self.level) {
            (false, _) => ("", ""),
            (true, Level::ERROR) => ("\x1b[31m", "\x1b[0m"),
            (true, Level::WARN) => ("\x1b[33m", "\x1b[0m"),
            (true, Level::INFO) => ("\x1b[32m", "\x1b[0m"),
            (true, _) => ("\x1b[2m", "\x1b[0m"),
        };
        let mut text = format!(
            "{time}Z {begin}{:5}{end} {}",
            self.level.as_str(),
            Clean(&self.message)
        );
        if self.repeated > 0 {
            text.push_str(&format!(" (repeated {} times)", self.repeated));
        }
        for (key, value) in &self.fields {
            text.push(' ');
            pair(&mut text, key, value);
        }
        let spans = self.span_text();
        if !spans.is_empty() {
            text.push_str(&format!(" in {spans}"));
        }
        text.push('\n');
        text
    }
}

const OURS: [&str; 7] = [
    "time", "level", "target", "message", "repeated", "spans", "name",
];

fn add(object: &mut Map<String, Value>, fields: &Map<String, Value>) {
    for (key, value) in fields {
        let key = if OURS.contains(&key.as_str()) {
            format!("{key}_")
        } else {
            key.clone()
        };
        object.insert(key, value.clone());
    }
}

fn pair(text: &mut String, key: &str, value: &Value) {
    let plain = match value {
        Value::String(string) if !string.is_empty() && string.chars().all(is_plain) => {
            Some(string.as_str())
        }
        Value::String(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Array(_)
        | Value::Object(_) => None,
    };
    text.push_str(key);
    text.push('=');
    match plain {
        Some(plain) => text.push_str(plain),
        None => text.push_str(&value.to_string()),
    }
}

fn is_plain(c: char) -> bool {
    !c.is_control() && !c.is_whitespace() && c != '"' && c != '\\'
}

/// Text without control characters: what comes from outside cannot end a line or move a terminal's cursor.
struct Clean<'a>(&'a str);

impl std::fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            f.write_char(if c.is_control() { ' ' } else { c })?;
        }
        Ok(())
    }
}
