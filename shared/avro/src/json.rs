//! A datum as one line of JSON.

use serde_json::{Map, Number, Value as Json};

use crate::decode::{DatumError, Decoder};
use crate::value::{Value, read_values};

/// `{"field": value, …}` in the schema's order.
///
/// Doubles have the fewest digits that read back to the same bits. JSON has no NaN and no infinities: they are the
/// strings `"NaN"`, `"Infinity"` and `"-Infinity"`. Bytes are lower-case hexadecimal.
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
            Value::Bytes(bytes) => bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
                .into(),
            Value::Array(items) => items.into_iter().map(Self::from).collect::<Vec<_>>().into(),
        }
    }
}
