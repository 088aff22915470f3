//! A datum as a list of values, for inspection and for tests.

use crate::cursor::Cursor;
use crate::decode::{DatumError, Decoder, Sink};
use crate::nested::{FIXED_BYTES, Group, Nested, NestedType, Node, NodeId, Visit};
use crate::schema::{FieldType, RecordSchema, Scalar};

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Boolean(bool),
    Long(i64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    Fixed(Vec<u8>),
    Enum {
        /// Among the symbols of the type.
        position: usize,
        symbol: String,
    },
    /// Of what may be null.
    Optional(Option<Box<Self>>),
    Array(Vec<Self>),
    Record(Vec<(String, Self)>),
    /// In the datum's order, those of one name too.
    Map(Vec<(String, Self)>),
}

/// One value per field, in the schema's order.
pub fn read_values(decoder: &Decoder, datum: &[u8]) -> Result<Vec<Value>, DatumError> {
    let schema = decoder.schema();
    let mut values = Values {
        schema,
        values: Vec::with_capacity(schema.fields.len()),
        items: Vec::new(),
        is_present: false,
    };
    decoder.decode(datum, &mut values)?;
    Ok(values.values)
}

struct Values<'a> {
    schema: &'a RecordSchema,
    values: Vec<Value>,
    /// Of the array that is being read.
    items: Vec<Value>,
    is_present: bool,
}

impl Values<'_> {
    fn push(&mut self, field: usize, value: Value) {
        if self.schema.fields[field].field_type.is_array() {
            self.items.push(value);
        } else {
            let value = optional(&mut self.is_present, value);
            self.values.push(value);
        }
    }
}

fn optional(is_present: &mut bool, value: Value) -> Value {
    match std::mem::take(is_present) {
        true => Value::Optional(Some(Box::new(value))),
        false => value,
    }
}

impl Sink for Values<'_> {
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
        let symbol = value.to_owned();
        let value = match &self.schema.fields[field].field_type {
            FieldType::Enum(it) => {
                let position = it.symbols.iter().position(|known| *known == symbol);
                let position = position.unwrap_or_default();
                Value::Enum { position, symbol }
            }
            FieldType::Scalar(_) | FieldType::Array(_) | FieldType::Nested(_) => {
                Value::String(symbol)
            }
        };
        self.push(field, value);
    }
    fn bytes(&mut self, field: usize, value: &[u8]) {
        self.push(field, Value::Bytes(value.to_owned()));
    }
    fn end_array(&mut self, _: usize) {
        let items = std::mem::take(&mut self.items);
        self.values.push(Value::Array(items));
    }
    fn null(&mut self, _: usize) {
        self.values.push(Value::Optional(None));
    }
    fn present(&mut self, _: usize) {
        self.is_present = true;
    }
    fn nested(&mut self, _: usize, value: Nested<'_>) {
        let value = value.value();
        debug_assert!(value.is_some(), "the decoder has checked it");
        self.values.extend(value);
    }
}

impl Nested<'_> {
    /// As a tree; `None` where the bytes are not of the type.
    pub fn value(&self) -> Option<Value> {
        let mut tree = Tree::default();
        let mut cursor = Cursor::new(self.bytes());
        self.nested_type().walk(&mut cursor, &mut tree).ok()?;
        tree.done
    }
}

/// A group whose values come.
struct Open {
    values: Vec<Value>,
    names: Vec<String>,
    is_optional: bool,
}

#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    is_present: bool,
    done: Option<Value>,
}

impl Tree {
    fn push(&mut self, value: Value) {
        let value = optional(&mut self.is_present, value);
        match self.open.last_mut() {
            Some(open) => open.values.push(value),
            None => self.done = Some(value),
        }
    }
}

impl Visit for Tree {
    fn null(&mut self) {
        self.push(Value::Optional(None));
    }
    fn present(&mut self) {
        self.is_present = true;
    }
    fn boolean(&mut self, value: bool) {
        self.push(Value::Boolean(value));
    }
    fn long(&mut self, value: i64) {
        self.push(Value::Long(value));
    }
    fn double(&mut self, value: f64) {
        self.push(Value::Double(value));
    }
    fn string(&mut self, value: &str) {
        self.push(Value::String(value.to_owned()));
    }
    fn bytes(&mut self, value: &[u8]) {
        self.push(Value::Bytes(value.to_owned()));
    }
    fn fixed(&mut self, value: &[u8]) {
        self.push(Value::Fixed(value.to_owned()));
    }
    fn symbol(&mut self, position: usize, text: &str) {
        let symbol = text.to_owned();
        self.push(Value::Enum { position, symbol });
    }
    fn begin(&mut self, _: Group) {
        self.open.push(Open {
            values: Vec::new(),
            names: Vec::new(),
            is_optional: std::mem::take(&mut self.is_present),
        });
    }
    fn name(&mut self, name: &str) {
        if let Some(open) = self.open.last_mut() {
            open.names.push(name.to_owned());
        }
    }
    fn end(&mut self, group: Group) {
        let Some(open) = self.open.pop() else {
            return;
        };
        self.is_present = open.is_optional;
        let named = open.names.into_iter();
        self.push(match group {
            Group::Array => Value::Array(open.values),
            Group::Record => Value::Record(named.zip(open.values).collect()),
            Group::Map => Value::Map(named.zip(open.values).collect()),
        });
    }
}

/// Appends the datum of `values`, an array or a map as one block. The inverse of [`read_values`] where the values are
/// the schema's: this looks at the values only, as the datum itself does.
pub fn encode_values(values: &[Value], out: &mut Vec<u8>) {
    values.iter().for_each(|value| encode(value, out));
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Boolean(value) => out.push(u8::from(*value)),
        Value::Long(value) => push_long(out, *value),
        Value::Double(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::String(text) => push_blob(out, text.as_bytes()),
        Value::Bytes(bytes) => push_blob(out, bytes),
        Value::Fixed(bytes) => out.extend_from_slice(bytes),
        Value::Enum { position, .. } => push_long(out, *position as i64),
        Value::Optional(None) => out.push(0),
        Value::Optional(Some(value)) => {
            out.push(2);
            encode(value, out);
        }
        Value::Array(items) => {
            if !items.is_empty() {
                push_long(out, items.len() as i64);
                encode_values(items, out);
            }
            out.push(0);
        }
        Value::Record(fields) => fields.iter().for_each(|(_, value)| encode(value, out)),
        Value::Map(entries) => {
            if !entries.is_empty() {
                push_long(out, entries.len() as i64);
                for (key, value) in entries {
                    push_blob(out, key.as_bytes());
                    encode(value, out);
                }
            }
            out.push(0);
        }
    }
}

impl RecordSchema {
    /// Whether each value is of its field's type.
    pub fn admits(&self, values: &[Value]) -> bool {
        let fits = |field_type: &FieldType, value: &Value| match (field_type, value) {
            (FieldType::Scalar(scalar), value) => value.is(*scalar),
            (FieldType::Array(scalar), Value::Array(items)) => {
                items.iter().all(|item| item.is(*scalar))
            }
            (FieldType::Array(_), _) => false,
            (FieldType::Enum(of), value) => value.is_of(&of.symbols),
            (FieldType::Nested(of), value) => of.admits(of.root(), value),
        };
        let mut pairs = self.fields.iter().zip(values);
        self.fields.len() == values.len()
            && pairs.all(|(field, value)| match (field.is_nullable, value) {
                (true, Value::Optional(None)) => true,
                (true, Value::Optional(Some(value))) => fits(&field.field_type, value),
                (true, _) => false,
                (false, value) => fits(&field.field_type, value),
            })
    }
}

impl NestedType {
    fn admits(&self, id: NodeId, value: &Value) -> bool {
        match (self.node(id), value) {
            (Node::Scalar(scalar), value) => value.is(*scalar),
            (Node::Timestamp, value) => value.is(Scalar::Long),
            (Node::Enum(of), value) => value.is_of(&of.symbols),
            (Node::Fixed, Value::Fixed(bytes)) => bytes.len() == FIXED_BYTES,
            (Node::Nullable(inner), Value::Optional(value)) => value
                .as_ref()
                .is_none_or(|value| self.admits(*inner, value)),
            (Node::Array(item), Value::Array(items)) => {
                items.iter().all(|value| self.admits(*item, value))
            }
            (Node::Map(of), Value::Map(entries)) => {
                entries.iter().all(|(_, value)| self.admits(*of, value))
            }
            (Node::Record(_), Value::Record(fields)) if self.is_empty(id) => fields.is_empty(),
            (Node::Record(record), Value::Record(fields)) => {
                let mut pairs = record.fields.iter().zip(fields);
                record.fields.len() == fields.len()
                    && pairs.all(|(field, (name, value))| {
                        field.name == *name && self.admits(field.node, value)
                    })
            }
            (Node::Fixed | Node::Nullable(_) | Node::Array(_), _) => false,
            (Node::Map(_) | Node::Record(_), _) => false,
        }
    }
}

impl Value {
    fn is(&self, scalar: Scalar) -> bool {
        match self {
            Self::Boolean(_) => scalar == Scalar::Boolean,
            Self::Long(_) => scalar == Scalar::Long,
            Self::Double(_) => scalar == Scalar::Double,
            Self::String(_) => scalar == Scalar::String,
            Self::Bytes(_) => scalar == Scalar::Bytes,
            Self::Fixed(_) | Self::Enum { .. } | Self::Optional(_) => false,
            Self::Array(_) | Self::Record(_) | Self::Map(_) => false,
        }
    }

    fn is_of(&self, symbols: &[String]) -> bool {
        matches!(self, Self::Enum { position, symbol } if symbols.get(*position) == Some(symbol))
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
