//! Records as Arrow columns, and how Parquet encodes them.
//!
//! In:  a [`RecordSchema`] and the [`Column`]s that were read by it. Out: Arrow fields with units and descriptions,
//!      arrays that take the columns' memory as it is, and the encodings of a file.
//!
//! Absent: files, and the columns that a lake or an export adds to those of a topic.
//!
//! Invariant: nothing is null, and no value is altered.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, StringArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use efd_shared_avro::{Column, FieldType, RecordSchema, Scalar, Values};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Encoding, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterPropertiesBuilder};

/// Nanoseconds, UTC.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// A column that is never null, with what it is.
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
        let mut name = field.name.clone();
        while !taken.insert(name.to_ascii_lowercase()) {
            name.push('_');
        }
        let data_type = data_type(field.field_type);
        let (units, description) = (field.units.as_deref(), field.description.as_deref());
        described(name, data_type, units, description)
    };
    schema.fields.iter().map(column).collect()
}

fn data_type(field_type: FieldType) -> DataType {
    let of = |scalar| match scalar {
        Scalar::Boolean => DataType::Boolean,
        Scalar::Long => DataType::Int64,
        Scalar::Double => DataType::Float64,
        Scalar::String => DataType::Utf8,
        Scalar::Bytes => DataType::Binary,
    };
    match field_type {
        FieldType::Scalar(scalar) => of(scalar),
        FieldType::Array(scalar) => DataType::List(item_field(of(scalar))),
    }
}

/// Not fixed-size lists: Avro states no length, and a datum with another one must have a place too.
fn item_field(item: DataType) -> Arc<Field> {
    Arc::new(Field::new("element", item, false))
}

/// Takes the column's memory as it is; its offsets and texts are checked once more.
pub fn array(column: Column) -> Result<ArrayRef, ArrowError> {
    let offsets = |offsets: Vec<i32>| OffsetBuffer::new(ScalarBuffer::from(offsets));
    let Column {
        values,
        offsets: list,
    } = column;
    let (item, values): (_, ArrayRef) = match values {
        Values::Boolean(values) => (DataType::Boolean, Arc::new(BooleanArray::from(values))),
        Values::Long(values) => (
            DataType::Int64,
            Arc::new(Int64Array::new(values.into(), None)),
        ),
        Values::Double(values) => (
            DataType::Float64,
            Arc::new(Float64Array::new(values.into(), None)),
        ),
        Values::String {
            offsets: ends,
            bytes,
        } => (
            DataType::Utf8,
            Arc::new(StringArray::try_new(
                offsets(ends),
                Buffer::from_vec(bytes),
                None,
            )?),
        ),
        Values::Bytes {
            offsets: ends,
            bytes,
        } => (
            DataType::Binary,
            Arc::new(BinaryArray::try_new(
                offsets(ends),
                Buffer::from_vec(bytes),
                None,
            )?),
        ),
    };
    Ok(match list {
        None => values,
        Some(list) => Arc::new(ListArray::try_new(
            item_field(item),
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
