//! Parquet with the lake's columns and encodings.

use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray, StringBuilder,
    TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use efd_shared_arrow::{described, encodings, leaves_max, time_type};
use efd_shared_avro::Columns;
use efd_shared_model::{EpochLane, EventTimeOrigin, RecordId, RecordStamps};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::files::Output;
use super::spill::SpilledRows;
use crate::outcome::InspectError;
use crate::walk::Stream;

const TIME: &str = "time";
/// After the topic's fields; as in the lake, which says what they are.
const OURS: [(&str, DataType); 8] = [
    ("efd_edge", DataType::Utf8),
    ("efd_epoch", DataType::Utf8),
    ("efd_lane", DataType::Utf8),
    ("efd_block", DataType::Int64),
    ("efd_index", DataType::Int32),
    ("efd_time_origin", DataType::Utf8),
    ("efd_implausible", DataType::Boolean),
    ("efd_latin1", DataType::Boolean),
];

/// Rows are written so many bytes at a time: one row group.
const GROUP_BYTES: usize = 4 << 20;
/// However many leaves a column has.
const GROUP_BYTES_MIN: usize = 64 << 10;

pub(super) fn write(
    stream: &Stream,
    mut rows: SpilledRows<'_>,
    file: &mut Output,
) -> Result<(), InspectError> {
    let mut groups = Groups::new(stream, file)?;
    while let Some((id, stamps, datum)) = rows.next_row()? {
        groups.add(id, stamps, datum)?;
    }
    groups.finish()
}

/// A file under way.
struct Groups<'a> {
    stream: &'a Stream,
    columns: Arc<Schema>,
    writer: ArrowWriter<&'a mut Output>,
    fields: Columns,
    rows: Vec<(RecordId, RecordStamps)>,
    group_bytes: usize,
    /// Of datums, since the columns were looked at.
    unseen_bytes: usize,
}

impl<'a> Groups<'a> {
    fn new(stream: &'a Stream, file: &'a mut Output) -> Result<Self, InspectError> {
        let schema = stream.decoder.schema();
        let taken = OURS.iter().map(|(name, _)| *name).chain([TIME]);
        let mut fields = vec![described(TIME, time_type(), None, Some("Event time, UTC"))];
        fields.extend(efd_shared_arrow::fields(schema, taken));
        fields.extend(OURS.map(|(name, data_type)| described(name, data_type, None, None)));
        let columns = Arc::new(Schema::new(fields));
        let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
        let topic = stream.topic.clone();
        let failed = |error: ParquetError| InspectError::Parquet {
            topic: stream.topic.clone(),
            reason: error.to_string(),
        };
        let level = ZstdLevel::try_new(1).map_err(failed)?;
        let builder = WriterProperties::builder()
            .set_created_by(concat!("efd-inspect ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(level))
            .set_key_value_metadata(Some(vec![
                pair("efd.topic", topic),
                pair("efd.schema", stream.schema.fingerprint().to_string()),
            ]));
        let properties = encodings(builder, &columns).map_err(failed)?.build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&columns), Some(properties));
        Ok(Self {
            stream,
            group_bytes: (GROUP_BYTES / leaves_max(&columns)).max(GROUP_BYTES_MIN),
            columns,
            writer: writer.map_err(failed)?,
            fields: Columns::new(stream.decoder.clone()),
            rows: Vec::new(),
            unseen_bytes: 0,
        })
    }

    fn add(
        &mut self,
        id: RecordId,
        stamps: RecordStamps,
        datum: &[u8],
    ) -> Result<(), InspectError> {
        const LOOK_EVERY_BYTES: usize = 64 << 10;
        let added = self.fields.push(datum);
        added.map_err(|error| InspectError::Parquet {
            topic: self.stream.topic.clone(),
            reason: error.to_string(),
        })?;
        self.rows.push((id, stamps));
        self.unseen_bytes += datum.len() + size_of::<(RecordId, RecordStamps)>();
        if LOOK_EVERY_BYTES <= self.unseen_bytes {
            self.unseen_bytes = 0;
            let of_rows = self.rows.len() * size_of::<(RecordId, RecordStamps)>();
            if self.group_bytes <= self.fields.bytes() + of_rows {
                self.write()?;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), InspectError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let empty = Columns::new(self.stream.decoder.clone());
        let fields = std::mem::replace(&mut self.fields, empty);
        let rows = std::mem::take(&mut self.rows);
        let written = batch(&self.columns, fields, &rows)
            .and_then(|batch| self.writer.write(&batch))
            .and_then(|()| self.writer.flush());
        written.map_err(|error| failed(self.writer.inner().path(), &error))
    }

    fn finish(mut self) -> Result<(), InspectError> {
        self.write()?;
        // Writes the footer, which is all that is left.
        let ended = self.writer.finish();
        ended
            .map(drop)
            .map_err(|error| failed(self.writer.inner().path(), &error))
    }
}

fn failed(path: &Path, error: &ParquetError) -> InspectError {
    // The disk's own word, where it is one: "no space left" must not read like a fault of the format.
    let of_disk = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .map(|error| io::Error::new(error.kind(), error.to_string()));
    InspectError::Export {
        path: path.to_owned(),
        source: of_disk.unwrap_or_else(|| io::Error::other(error.to_string())),
    }
}

fn batch(
    columns: &Arc<Schema>,
    fields: Columns,
    rows: &[(RecordId, RecordStamps)],
) -> Result<RecordBatch, ParquetError> {
    let times = rows.iter().map(|(_, stamps)| stamps.event_time.0);
    let times = TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC");
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(times)];
    let schema = Arc::clone(fields.schema());
    for (field, column) in schema.fields.iter().zip(fields.into_columns()) {
        arrays.push(efd_shared_arrow::array(field, column)?);
    }
    // Neighbours are of the same log nearly always: its name is made once.
    let text = |of: &dyn Fn(&EpochLane) -> String| -> ArrayRef {
        let mut texts = StringBuilder::new();
        let mut last: Option<(EpochLane, String)> = None;
        for (id, _) in rows {
            let log = id.block.lane;
            match &last {
                Some((same, name)) if *same == log => texts.append_value(name),
                Some(_) | None => {
                    let name = of(&log);
                    texts.append_value(&name);
                    last = Some((log, name));
                }
            }
        }
        Arc::new(texts.finish())
    };
    let flag = |of: &dyn Fn(&RecordStamps) -> bool| -> ArrayRef {
        let flags = rows.iter().map(|(_, stamps)| Some(of(stamps)));
        Arc::new(BooleanArray::from_iter(flags))
    };
    // In the order of `OURS`.
    arrays.push(text(&|log| log.edge.to_string()));
    arrays.push(text(&|log| log.epoch.to_string()));
    arrays.push(text(&|log| log.lane.to_string()));
    let blocks = rows.iter().map(|(id, _)| id.block.number.0 as i64);
    arrays.push(Arc::new(Int64Array::from_iter_values(blocks)));
    let indices = rows.iter().map(|(id, _)| id.index as i32);
    arrays.push(Arc::new(Int32Array::from_iter_values(indices)));
    let origins = rows.iter().map(|(_, stamps)| match stamps.origin {
        EventTimeOrigin::SndStamp => "snd_stamp",
        EventTimeOrigin::Source => "source",
        EventTimeOrigin::Reception => "reception",
    });
    arrays.push(Arc::new(StringArray::from_iter_values(origins)));
    arrays.push(flag(&|stamps| stamps.implausible));
    arrays.push(flag(&|stamps| stamps.latin1));
    Ok(RecordBatch::try_new(Arc::clone(columns), arrays)?)
}
