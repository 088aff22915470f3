//! From tracing's values to JSON values.

use std::error::Error;
use std::fmt::{self, Write};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};

use crate::exit;

/// A field is cut here; a line holds a few of them.
pub(super) const FIELD_CHARS_MAX: usize = 4096;

/// The field of `tracing` macros that holds the text of the event.
const MESSAGE: &str = "message";

/// Collects fields in the order in which they were given.
#[derive(Debug, Default, Clone)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.others.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN and no infinity.
        let value = serde_json::Number::from_f64(value)
            .map_or_else(|| Value::from(value.to_string()), Value::Number);
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let text = shortened(format_args!("{value}"));
        if field.name() == MESSAGE {
            self.message = text;
        } else {
            self.put(field, text.into());
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(
            field,
            shortened(format_args!("{}", exit::one_line(value))).into(),
        );
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &shortened(format_args!("{value:?}")));
    }
}

fn shortened(arguments: fmt::Arguments<'_>) -> String {
    struct Bounded {
        text: String,
        room: usize,
    }

    impl Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for c in text.chars() {
                self.room = self.room.checked_sub(1).ok_or(fmt::Error)?;
                self.text.push(c);
            }
            Ok(())
        }
    }

    let mut bounded = Bounded {
        text: String::new(),
        room: FIELD_CHARS_MAX,
    };
    if bounded.write_fmt(arguments).is_err() {
        bounded.text.push('…');
    }
    bounded.text
}
