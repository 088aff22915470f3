//! A datum as one line of JSON.

use serde_json::{Map, Number, Value as Json};

use crate::decode::{DatumError, Decoder};
use crate::nested::{Group, Visit};
use crate::value::{Value, read_values};

/// `{"field": value, …}` in the schema's order.
///
/// Doubles have the fewest digits that read back to the same bits. JSON has no NaN and no infinities: they are the
/// strings `"NaN"`, `"Infinity"` and `"-Infinity"`. Bytes are lower-case hexadecimal, enums text, records and maps
/// objects; of the entries of a map that have one name the last stays.
pub fn json(decoder: &Decoder, datum: &[u8]) -> Result<Json, DatumError> {
    let values = read_values(decoder, datum)?;
    let names = decoder
        .schema()
        .fields
        .iter()
        .map(|field| field.name.clone());
    let object: Map<_, _> = names.zip(values.into_iter().map(Json::from)).collect();
    Ok(object.into())
}

/// By the rule of [`json`].
pub fn json_number(value: f64) -> Json {
    match Number::from_f64(value) {
        Some(number) => number.into(),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(value) => value.into(),
            Value::Long(value) => value.into(),
            Value::Double(value) => json_number(value),
            Value::String(text) => text.into(),
            Value::Enum { symbol, .. } => symbol.into(),
            Value::Bytes(bytes) | Value::Fixed(bytes) => hex(&bytes).into(),
            Value::Optional(value) => value.map_or(Self::Null, |value| Self::from(*value)),
            Value::Array(items) => items.into_iter().map(Self::from).collect::<Vec<_>>().into(),
            Value::Record(fields) | Value::Map(fields) => {
                let fields = fields.into_iter();
                let fields: Map<_, _> = fields.map(|(name, it)| (name, Self::from(it))).collect();
                fields.into()
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a value as it is visited.
pub(crate) struct JsonText<'a> {
    out: &'a mut Vec<u8>,
    /// Something stands before.
    needs_comma: bool,
}

impl<'a> JsonText<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            needs_comma: false,
        }
    }

    fn comma(&mut self) {
        if std::mem::replace(&mut self.needs_comma, true) {
            self.out.push(b',');
        }
    }

    fn put(&mut self, value: &(impl serde::Serialize + ?Sized)) {
        self.comma();
        let written = serde_json::to_writer(&mut *self.out, value);
        debug_assert!(written.is_ok(), "memory takes all");
    }
}

impl Visit for JsonText<'_> {
    fn null(&mut self) {
        self.put(&());
    }
    fn boolean(&mut self, value: bool) {
        self.put(&value);
    }
    fn long(&mut self, value: i64) {
        self.put(&value);
    }
    fn double(&mut self, value: f64) {
        if value.is_finite() {
            self.put(&value);
        } else {
            self.put(&json_number(value));
        }
    }
    fn string(&mut self, value: &str) {
        self.put(value);
    }
    fn bytes(&mut self, value: &[u8]) {
        self.put(&hex(value));
    }
    fn fixed(&mut self, value: &[u8]) {
        self.put(&hex(value));
    }
    fn symbol(&mut self, _position: usize, text: &str) {
        self.put(text);
    }
    fn begin(&mut self, group: Group) {
        self.comma();
        self.needs_comma = false;
        self.out.push(match group {
            Group::Array => b'[',
            Group::Record | Group::Map => b'{',
        });
    }
    fn name(&mut self, name: &str) {
        self.put(name);
        self.out.push(b':');
        self.needs_comma = false;
    }
    fn end(&mut self, group: Group) {
        self.needs_comma = true;
        self.out.push(match group {
            Group::Array => b']',
            Group::Record | Group::Map => b'}',
        });
    }
}
