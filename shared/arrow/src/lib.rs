//! Records as Arrow columns, and how Parquet encodes them.
//!
//! In:  a [`RecordSchema`] and the [`Column`]s that were read by it. Out: Arrow fields with units and descriptions,
//!      arrays that take the columns' memory as it is, and the encodings of a file.
//!
//! Absent: files, and the columns that a lake or an export adds to those of a topic.
//!
//! Invariant: nothing is null that was not null in the datum, and no value is altered.
//!
//! | in the schema | column |
//! |---|---|
//! | boolean, long, double, string, bytes | Boolean, Int64, Float64, Utf8, Binary |
//! | long of nanoseconds since 1970 | Timestamp(ns, UTC) |
//! | enum | Utf8: the text of its literal. Parquet has each once, and every reader takes it for text |
//! | array; record; map; fixed | List of `element`; Struct; Map of Utf8; FixedSizeBinary(16) |
//! | a record within itself, a record without fields | Utf8: JSON |
//! | a value with more than [`LEAVES_MAX`] leaves | Utf8: JSON |
//!
//! Entries of a map that have one key are all there, in the datum's order.

mod nested;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, StringArray,
    TimestampNanosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use efd_shared_avro::{Column, FieldType, RecordSchema, Scalar, Values};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Encoding, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterPropertiesBuilder};

pub use crate::nested::LEAVES_MAX;

/// Nanoseconds, UTC.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// A column that is not null, with what it is.
pub fn described(
    name: impl Into<String>,
    data_type: DataType,
    units: Option<&str>,
    description: Option<&str>,
) -> Field {
    let pairs = [("units", units), ("description", description)];
    let metadata: HashMap<_, _> = pairs
        .into_iter()
        .filter_map(|(key, text)| Some((key.to_owned(), text?.to_owned())))
        .collect();
    Field::new(name, data_type, false).with_metadata(metadata)
}

/// The columns of a topic, one for each field of its schema.
///
/// A field keeps its name unless it is, whatever the case, one of `taken` or an earlier field's (DuckDB knows no case):
/// then it gets as many `_` at its end as it takes.
pub fn fields<'a>(schema: &RecordSchema, taken: impl IntoIterator<Item = &'a str>) -> Vec<Field> {
    let mut taken: BTreeSet<String> = taken.into_iter().map(str::to_ascii_lowercase).collect();
    let column = |field: &efd_shared_avro::Field| {
        let name = free_name(&field.name, &mut taken);
        let (data_type, is_nullable) = data_type(field);
        let (units, description) = (field.units.as_deref(), field.description.as_deref());
        described(name, data_type, units, description).with_nullable(is_nullable)
    };
    schema.fields.iter().map(column).collect()
}

/// By the rule of [`fields`].
fn free_name(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut name = name.to_owned();
    while !taken.insert(name.to_ascii_lowercase()) {
        name.push('_');
    }
    name
}

/// And whether it may be null.
fn data_type(field: &efd_shared_avro::Field) -> (DataType, bool) {
    let data_type = match &field.field_type {
        FieldType::Scalar(Scalar::Long) if field.is_timestamp => time_type(),
        FieldType::Scalar(scalar) => scalar_type(*scalar),
        FieldType::Array(scalar) => DataType::List(item_field(scalar_type(*scalar), false)),
        FieldType::Enum(_) => DataType::Utf8,
        FieldType::Nested(of) => return nested::data_type(of),
    };
    (data_type, field.is_nullable)
}

fn scalar_type(scalar: Scalar) -> DataType {
    match scalar {
        Scalar::Boolean => DataType::Boolean,
        Scalar::Long => DataType::Int64,
        Scalar::Double => DataType::Float64,
        Scalar::String => DataType::Utf8,
        Scalar::Bytes => DataType::Binary,
    }
}

/// Not fixed-size lists: Avro states no length, and a datum with another one must have a place too.
fn item_field(item: DataType, is_nullable: bool) -> Arc<Field> {
    Arc::new(Field::new("element", item, is_nullable))
}

/// Of the column that has most; 1 where none is made of others. So many times a byte of a datum may be in memory as a
/// value: a null is a row in each of them.
pub fn leaves_max(columns: &Schema) -> usize {
    let columns = columns.fields().iter();
    let leaves = columns.map(|column| leaves(column.data_type()));
    leaves.max().unwrap_or(1).max(1)
}

fn leaves(data_type: &DataType) -> usize {
    if let DataType::Struct(fields) = data_type {
        return fields.iter().map(|field| leaves(field.data_type())).sum();
    }
    if let DataType::List(inner) | DataType::Map(inner, _) = data_type {
        return leaves(inner.data_type());
    }
    1
}

/// Takes the column's memory as it is; its offsets and texts are checked once more. Of a nested field the values are
/// taken apart. `field` is the column's.
pub fn array(field: &efd_shared_avro::Field, column: Column) -> Result<ArrayRef, ArrowError> {
    let offsets = |offsets: Vec<i32>| OffsetBuffer::new(ScalarBuffer::from(offsets));
    let Column {
        values,
        offsets: list,
        is_present,
    } = column;
    let nulls = is_present.map(NullBuffer::from);
    let values: ArrayRef = match values {
        Values::Boolean(values) => Arc::new(BooleanArray::new(values.into(), nulls)),
        Values::Long(values) if field.is_timestamp => {
            let times = TimestampNanosecondArray::try_new(values.into(), nulls)?;
            Arc::new(times.with_timezone("UTC"))
        }
        Values::Long(values) => Arc::new(Int64Array::try_new(values.into(), nulls)?),
        Values::Double(values) => Arc::new(Float64Array::try_new(values.into(), nulls)?),
        Values::String {
            offsets: ends,
            bytes,
        } => Arc::new(StringArray::try_new(
            offsets(ends),
            Buffer::from_vec(bytes),
            nulls,
        )?),
        Values::Bytes {
            offsets: ends,
            bytes,
        } => Arc::new(BinaryArray::try_new(
            offsets(ends),
            Buffer::from_vec(bytes),
            nulls,
        )?),
        Values::Nested {
            offsets: ends,
            bytes,
        } => match &field.field_type {
            FieldType::Nested(of) => nested::array(of, &ends, &bytes)?,
            FieldType::Scalar(_) | FieldType::Array(_) | FieldType::Enum(_) => {
                let reason = format!("the column is not of `{}`", field.name);
                return Err(ArrowError::InvalidArgumentError(reason));
            }
        },
    };
    Ok(match list {
        None => values,
        Some(list) => Arc::new(ListArray::try_new(
            item_field(values.data_type().clone(), false),
            offsets(list),
            values,
            None,
        )?),
    })
}

/// How Parquet encodes such columns, chosen by measurement (`examples/measure encodings` of the lake): no dictionaries
/// except for text, doubles split by byte, integers as differences; no page index, and no statistics of array items.
pub fn encodings(
    builder: WriterPropertiesBuilder,
    columns: &Schema,
) -> Result<WriterPropertiesBuilder, ParquetError> {
    let mut builder = builder
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    for column in ArrowSchemaConverter::new().convert(columns)?.columns() {
        let path = column.path().clone();
        builder = match column.physical_type() {
            Physical::DOUBLE => {
                builder.set_column_encoding(path.clone(), Encoding::BYTE_STREAM_SPLIT)
            }
            Physical::INT32 | Physical::INT64 => {
                builder.set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED)
            }
            Physical::BOOLEAN => builder.set_column_encoding(path.clone(), Encoding::RLE),
            Physical::BYTE_ARRAY => builder.set_column_dictionary_enabled(path.clone(), true),
            Physical::INT96 | Physical::FLOAT | Physical::FIXED_LEN_BYTE_ARRAY => builder,
        };
        if column.max_rep_level() > 0 {
            builder = builder.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_collide_are_kept_apart() {
        let text = r#"{"type":"record","name":"r","fields":[{"name":"Time","type":"long"},{"name":"time","type":"long"},
            {"name":"efd_block","type":"long"},{"name":"a","type":"long"},{"name":"A","type":"long"},{"name":"A_","type":"long"}]}"#;
        let fields = fields(&RecordSchema::parse(text).unwrap(), ["time", "efd_block"]);
        let names: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["Time_", "time__", "efd_block_", "a", "A_", "A__"]);
    }
}
