//! A stream's table: from its Avro schema to the columns of its files and how they are encoded.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::{DataType, Field as ArrowField, Schema as ArrowSchema};
use efd_shared_arrow::{described, encodings, time_type};
use efd_shared_avro::{Decoder, RecordSchema, SchemaError};
use efd_shared_model::{Fingerprint, Schema, Site};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::WriterProperties;

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
        "The publisher's stamp is not plausible: `time` is of another clock, see efd_time_origin",
    ),
    (
        "efd_latin1",
        DataType::Boolean,
        "Some text was not UTF-8 and was taken as ISO-8859-1",
    ),
];

/// The columns of a table's files. Nothing of ours is null, and of the topic's only what was null in the datum.
pub(crate) fn columns_of(schema: &RecordSchema) -> ArrowSchema {
    let ours = OUR_COLUMNS.iter().map(|(name, data_type, description)| {
        described(*name, data_type.clone(), None, Some(description))
    });
    let taken = OUR_COLUMNS.iter().map(|(name, ..)| *name).chain([TIME]);
    let mut fields = vec![described(TIME, time_type(), None, Some("Event time, UTC"))];
    fields.extend(efd_shared_arrow::fields(schema, taken));
    fields.extend(ours);
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

/// How the files are encoded and what they say of themselves.
pub(crate) fn properties(
    columns: &ArrowSchema,
    file: &FileEntry,
    level: i32,
) -> Result<WriterProperties, ParquetError> {
    let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let builder = WriterProperties::builder()
        .set_created_by(concat!("efd-central ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(level)?))
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
    Ok(encodings(builder, columns)?.build())
}
