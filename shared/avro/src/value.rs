//! A datum as a list of values, for inspection and for tests.

use crate::decode::{DatumError, Decoder, Sink};
use crate::schema::{FieldType, RecordSchema};

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Boolean(bool),
    Long(i64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    Array(Vec<Self>),
}

/// One value per field, in the schema's order.
pub fn read_values(decoder: &Decoder, datum: &[u8]) -> Result<Vec<Value>, DatumError> {
    let fields = &decoder.schema().fields;
    let mut tree = Tree {
        is_array: fields
            .iter()
            .map(|field| matches!(field.field_type, FieldType::Array(_)))
            .collect(),
        values: Vec::with_capacity(fields.len()),
        items: Vec::new(),
    };
    decoder.decode(datum, &mut tree)?;
    Ok(tree.values)
}

struct Tree {
    is_array: Vec<bool>,
    values: Vec<Value>,
    /// Of the array that is being read.
    items: Vec<Value>,
}

impl Tree {
    fn push(&mut self, field: usize, value: Value) {
        if self.is_array[field] {
            self.items.push(value);
        } else {
            self.values.push(value);
        }
    }
}

impl Sink for Tree {
    fn boolean(&mut self, field: usize, value: bool) {
        self.push(field, Value::Boolean(value));
    }
    fn long(&mut self, field: usize, value: i64) {
        self.push(field, Value::Long(value));
    }
    fn double(&mut self, field: usize, value: f64) {
        self.push(field, Value::Double(value));
    }
    fn string(&mut self, field: usize, value: &str) {
        self.push(field, Value::String(value.to_owned()));
    }
    fn bytes(&mut self, field: usize, value: &[u8]) {
        self.push(field, Value::Bytes(value.to_owned()));
    }
    fn end_array(&mut self, _: usize) {
        let items = std::mem::take(&mut self.items);
        self.values.push(Value::Array(items));
    }
}

/// Appends the datum of `values`, an array as one block. The inverse of [`read_values`] where the values are the
/// schema's: this looks at the values only, as the datum itself does.
pub fn encode_values(values: &[Value], out: &mut Vec<u8>) {
    for value in values {
        match value {
            Value::Boolean(value) => out.push(u8::from(*value)),
            Value::Long(value) => push_long(out, *value),
            Value::Double(value) => out.extend_from_slice(&value.to_le_bytes()),
            Value::String(text) => push_blob(out, text.as_bytes()),
            Value::Bytes(bytes) => push_blob(out, bytes),
            Value::Array(items) => {
                if !items.is_empty() {
                    push_long(out, items.len() as i64);
                    encode_values(items, out);
                }
                out.push(0);
            }
        }
    }
}

impl RecordSchema {
    /// Whether each value is of its field's type.
    pub fn admits(&self, values: &[Value]) -> bool {
        let fits = |field_type, value: &Value| match (field_type, value) {
            (FieldType::Scalar(scalar), value) => value.is(scalar),
            (FieldType::Array(scalar), Value::Array(items)) => {
                items.iter().all(|item| item.is(scalar))
            }
            (FieldType::Array(_), _) => false,
        };
        let mut pairs = self.fields.iter().zip(values);
        self.fields.len() == values.len()
            && pairs.all(|(field, value)| fits(field.field_type, value))
    }
}

impl Value {
    fn is(&self, scalar: crate::Scalar) -> bool {
        use crate::Scalar;
        match self {
            Self::Boolean(_) => scalar == Scalar::Boolean,
            Self::Long(_) => scalar == Scalar::Long,
            Self::Double(_) => scalar == Scalar::Double,
            Self::String(_) => scalar == Scalar::String,
            Self::Bytes(_) => scalar == Scalar::Bytes,
            Self::Array(_) => false,
        }
    }
}

fn push_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    push_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

fn push_long(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}
