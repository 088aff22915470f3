//! A stream's table: from its Avro schema to the columns of its files and how they are encoded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, Schema as ArrowSchema, TimeUnit};
use efd_shared_avro::{Decoder, FieldType, RecordSchema, Scalar, SchemaError};
use efd_shared_model::{Fingerprint, Schema, Site};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, Encoding, Type as Physical, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::commit::FileEntry;

/// An index into [`Tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TableNumber(pub(crate) u32);

/// A topic of a site with one schema. Another schema of the topic is another table, in the same folders.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) site: Site,
    pub(crate) topic: String,
    pub(crate) schema: Fingerprint,
    /// Why none of its records can be decoded, if so.
    pub(crate) decoder: Result<Decoder, SchemaError>,
}

/// Every table that has had a record since the lake was opened.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    tables: Vec<Table>,
    numbers: BTreeMap<(Site, String, Fingerprint), TableNumber>,
}

impl Tables {
    pub(crate) fn get(&self, number: TableNumber) -> &Table {
        &self.tables[number.0 as usize]
    }

    pub(crate) fn number(&mut self, site: &Site, topic: &str, schema: &Schema) -> TableNumber {
        let key = (site.clone(), topic.to_owned(), schema.fingerprint());
        if let Some(&number) = self.numbers.get(&key) {
            return number;
        }
        let decoder = RecordSchema::parse(schema.text()).map(|schema| Decoder::new(schema.into()));
        let number = TableNumber(self.tables.len() as u32);
        self.tables.push(Table {
            site: site.clone(),
            topic: topic.to_owned(),
            schema: schema.fingerprint(),
            decoder,
        });
        self.numbers.insert(key, number);
        number
    }
}

/// Our columns, with what they are. `time` comes first, then the topic's fields, then the rest of these.
pub(crate) const TIME: &str = "time";
pub(crate) const OUR_COLUMNS: [(&str, DataType, &str); 9] = [
    ("efd_edge", DataType::Utf8, "Edge that recorded it, a UUID"),
    (
        "efd_epoch",
        DataType::Utf8,
        "Start of that edge's writer, a UUID",
    ),
    ("efd_lane", DataType::Utf8, "The edge's ordered log"),
    (
        "efd_block",
        DataType::Int64,
        "Block within epoch and lane, from 1",
    ),
    (
        "efd_index",
        DataType::Int32,
        "Record within the block, from 0",
    ),
    (
        "efd_class",
        DataType::Utf8,
        "How it came: live, or fill after an outage",
    ),
    (
        "efd_time_origin",
        DataType::Utf8,
        "Which clock `time` is from: snd_stamp, source, reception",
    ),
    (
        "efd_implausible",
        DataType::Boolean,
        "The publisher's stamp is not plausible: `time` is reception",
    ),
    (
        "efd_latin1",
        DataType::Boolean,
        "Some text was not UTF-8 and was taken as ISO-8859-1",
    ),
];

pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// The columns of a table's files. Nothing is null.
///
/// A field keeps its name unless it is, whatever the case, one of ours or an earlier field's (DuckDB knows no case):
/// then it gets as many `_` at its end as it takes.
pub(crate) fn columns_of(schema: &RecordSchema) -> ArrowSchema {
    let described = |field: ArrowField, units: Option<&str>, description: Option<&str>| {
        let pairs = [("units", units), ("description", description)];
        let metadata = pairs
            .into_iter()
            .filter_map(|(key, text)| Some((key.to_owned(), text?.to_owned())));
        field.with_metadata(metadata.collect::<HashMap<_, _>>())
    };
    let time = ArrowField::new(TIME, time_type(), false);
    let mut fields = vec![described(time, None, Some("Event time, UTC"))];
    let mut taken: BTreeSet<String> = OUR_COLUMNS
        .iter()
        .map(|(name, ..)| (*name).to_owned())
        .chain([TIME.to_owned()])
        .collect();
    for field in &schema.fields {
        let mut name = field.name.clone();
        while !taken.insert(name.to_ascii_lowercase()) {
            name.push('_');
        }
        let column = ArrowField::new(name, data_type(field.field_type), false);
        fields.push(described(
            column,
            field.units.as_deref(),
            field.description.as_deref(),
        ));
    }
    for (name, data_type, description) in OUR_COLUMNS {
        fields.push(described(
            ArrowField::new(name, data_type, false),
            None,
            Some(description),
        ));
    }
    let metadata: HashMap<_, _> = schema
        .description
        .iter()
        .map(|text| ("description".to_owned(), text.clone()))
        .collect();
    ArrowSchema::new_with_metadata(fields, metadata)
}

/// Whether these are the columns of a file of ours: `time` first, the rest of ours last.
pub(crate) fn is_ours(columns: &ArrowSchema) -> bool {
    let fields = columns.fields();
    let Some(begin) = fields.len().checked_sub(OUR_COLUMNS.len()) else {
        return false;
    };
    let is = |field: &ArrowField, name: &str, data_type: &DataType| {
        field.name() == name && field.data_type() == data_type
    };
    let mut last = fields[begin..].iter().zip(&OUR_COLUMNS);
    begin > 0
        && is(&fields[0], TIME, &time_type())
        && last.all(|(field, (name, data_type, _))| is(field, name, data_type))
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
pub(crate) fn item_field(item: DataType) -> Arc<ArrowField> {
    Arc::new(ArrowField::new("element", item, false))
}

/// How the files are encoded, chosen by measurement (`examples/measure encodings`): no dictionaries except for text, doubles
/// split by byte, integers as differences; no page index, and no statistics of array items.
pub(crate) fn properties(
    columns: &ArrowSchema,
    file: &FileEntry,
    level: i32,
) -> Result<WriterProperties, ParquetError> {
    let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("efd-central ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(level)?))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_sorting_columns(Some(vec![SortingColumn {
            column_idx: 0,
            descending: false,
            nulls_first: false,
        }]))
        .set_key_value_metadata(Some(vec![
            pair("efd.format", "1".into()),
            pair("efd.site", file.site.clone()),
            pair("efd.topic", file.topic.clone()),
            pair("efd.schema", file.schema.clone()),
        ]));
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
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_collide_are_kept_apart() {
        let text = r#"{"type":"record","name":"r","fields":[{"name":"Time","type":"long"},{"name":"time","type":"long"},
            {"name":"efd_block","type":"long"},{"name":"a","type":"long"},{"name":"A","type":"long"},{"name":"A_","type":"long"}]}"#;
        let columns = columns_of(&RecordSchema::parse(text).unwrap());
        let names: Vec<_> = columns
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(
            names[..7],
            ["time", "Time_", "time__", "efd_block_", "a", "A_", "A__"]
        );
        assert_eq!(names.len(), 7 + OUR_COLUMNS.len());
    }
}
