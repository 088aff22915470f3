//! Rows of arrays as values, and what a row must be by the rules of columns.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, TimestampNanosecondType};
use efd_shared_avro::{FieldType, NestedType, Node, NodeId, Value};

/// An enum is its text; what is JSON is that text.
pub fn expected(field: &efd_shared_avro::Field, value: &Value) -> Value {
    match &field.field_type {
        FieldType::Nested(of) if leaves(of, of.root(), &mut Vec::new()) > 256 => {
            match (of.node(of.root()), value) {
                (Node::Nullable(_), Value::Optional(None)) => Value::Optional(None),
                (Node::Nullable(_), value) => Value::Optional(Some(Box::new(json(value)))),
                (_, value) => json(value),
            }
        }
        FieldType::Nested(of) => column_value(of, of.root(), value, &mut Vec::new()),
        FieldType::Scalar(_) | FieldType::Array(_) | FieldType::Enum(_) => text_of_enum(value),
    }
}

fn text_of_enum(value: &Value) -> Value {
    match value {
        Value::Enum { symbol, .. } => Value::String(symbol.clone()),
        Value::Optional(Some(value)) => Value::Optional(Some(Box::new(text_of_enum(value)))),
        other => other.clone(),
    }
}

fn json(value: &Value) -> Value {
    Value::String(serde_json::Value::from(value.clone()).to_string())
}

fn leaves(of: &NestedType, id: NodeId, open: &mut Vec<NodeId>) -> usize {
    match of.node(id) {
        Node::Nullable(inner) | Node::Array(inner) => leaves(of, *inner, open),
        Node::Map(inner) => 1 + leaves(of, *inner, open),
        Node::Record(record) if !of.is_empty(id) && !open.contains(&id) => {
            open.push(id);
            let fields = record.fields.iter();
            let sum = fields.map(|field| leaves(of, field.node, open)).sum();
            open.pop();
            sum
        }
        _ => 1,
    }
}

fn column_value(of: &NestedType, id: NodeId, value: &Value, open: &mut Vec<NodeId>) -> Value {
    match (of.node(id), value) {
        (Node::Nullable(_), Value::Optional(None)) => Value::Optional(None),
        (Node::Nullable(inner), Value::Optional(Some(value))) => {
            Value::Optional(Some(Box::new(column_value(of, *inner, value, open))))
        }
        (Node::Enum(_), value) => text_of_enum(value),
        (Node::Array(item), Value::Array(items)) => {
            let items = items.iter();
            Value::Array(items.map(|it| column_value(of, *item, it, open)).collect())
        }
        (Node::Map(inner), Value::Map(entries)) => {
            let entries = entries.iter();
            let entries =
                entries.map(|(key, it)| (key.clone(), column_value(of, *inner, it, open)));
            Value::Map(entries.collect())
        }
        (Node::Record(_), value) if of.is_empty(id) || open.contains(&id) => json(value),
        (Node::Record(record), Value::Record(fields)) => {
            open.push(id);
            let mut taken = Vec::new();
            let fields = record.fields.iter().zip(fields);
            let fields = fields.map(|(field, (name, value))| {
                let mut name = name.clone();
                while taken.contains(&name.to_lowercase()) {
                    name.push('_');
                }
                taken.push(name.to_lowercase());
                (name, column_value(of, field.node, value, open))
            });
            let value = Value::Record(fields.collect());
            open.pop();
            value
        }
        (_, value) => value.clone(),
    }
}

/// Panics at a null where none may be.
pub fn cell(field: &Field, array: &dyn Array, row: usize) -> Value {
    assert_eq!(field.data_type(), array.data_type());
    match (field.is_nullable(), array.is_null(row)) {
        (true, true) => Value::Optional(None),
        (true, false) => Value::Optional(Some(Box::new(value(array, row)))),
        (false, true) => panic!("{field:?} is null"),
        (false, false) => value(array, row),
    }
}

fn value(array: &dyn Array, row: usize) -> Value {
    match array.data_type() {
        DataType::Boolean => Value::Boolean(array.as_boolean().value(row)),
        DataType::Int64 => Value::Long(array.as_primitive::<Int64Type>().value(row)),
        DataType::Timestamp(..) => {
            Value::Long(array.as_primitive::<TimestampNanosecondType>().value(row))
        }
        DataType::Float64 => Value::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Value::String(array.as_string::<i32>().value(row).into()),
        DataType::Binary => Value::Bytes(array.as_binary::<i32>().value(row).into()),
        DataType::FixedSizeBinary(_) => {
            Value::Fixed(array.as_fixed_size_binary().value(row).into())
        }
        DataType::List(item) => {
            let items = array.as_list::<i32>().value(row);
            Value::Array((0..items.len()).map(|at| cell(item, &items, at)).collect())
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let columns = columns.map(|(it, column)| (it.name().clone(), cell(it, column, row)));
            Value::Record(columns.collect())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let fields = entries.fields();
            let entry = |at| {
                let key = entries.column(0).as_string::<i32>().value(at).to_owned();
                (key, cell(&fields[1], entries.column(1), at))
            };
            Value::Map((0..entries.len()).map(entry).collect())
        }
        other => panic!("{other}"),
    }
}
