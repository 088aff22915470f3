//! The account as a table beside the data: `_completeness/efd_date=<day>.parquet`, one file for each UTC day, replaced whole.
//! It is derived, and so no part of the chain of commits.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::Schema;
use efd_shared_arrow::described;
use efd_shared_model::UtcNanos;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::LakeError;

const FOLDER: &str = "_completeness";

/// Of one topic in one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletenessRow {
    pub site: String,
    pub topic: String,
    /// Begin of the hour.
    pub hour: UtcNanos,
    pub published: u64,
    pub received: u64,
    pub edge: u64,
    pub centre: u64,
    /// `None` where it is not known.
    pub feed: Option<u64>,
    pub lake: Option<u64>,
    /// Samples by reason.
    pub lost: BTreeMap<String, u64>,
    pub before_contact: u64,
    pub unnamed: u64,
    pub is_complete: bool,
}

/// Replaces the table of a day.
pub fn put_completeness(
    root: &Path,
    day: UtcNanos,
    rows: &[CompletenessRow],
) -> Result<PathBuf, LakeError> {
    let folder = root.join(FOLDER);
    let file = folder.join(format!("efd_date={}.parquet", day.date()));
    let scratch = folder.join(format!(".{}.new", day.date()));
    let put = || -> io::Result<()> {
        fs::create_dir_all(&folder)?;
        let batch = batch(rows).map_err(io::Error::other)?;
        let level = ZstdLevel::try_new(3).map_err(io::Error::other)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .build();
        let written = File::create(&scratch)?;
        let mut writer = ArrowWriter::try_new(written, batch.schema(), Some(properties))
            .map_err(io::Error::other)?;
        writer.write(&batch).map_err(io::Error::other)?;
        let written = writer.into_inner().map_err(io::Error::other)?;
        written.sync_all()?;
        fs::rename(&scratch, &file)?;
        File::open(&folder)?.sync_all()
    };
    put().map_err(|error| LakeError::io("write", &file, error))?;
    Ok(file)
}

/// A column: its name, what it is, and the values.
type Column = (&'static str, &'static str, ArrayRef);

fn batch(rows: &[CompletenessRow]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let count = |of: fn(&CompletenessRow) -> u64| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|row| Some(of(row).cast_signed()))
                .collect::<Int64Array>(),
        )
    };
    let known = |of: fn(&CompletenessRow) -> Option<u64>| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|row| of(row).map(u64::cast_signed))
                .collect::<Int64Array>(),
        )
    };
    let text = |of: &dyn Fn(&CompletenessRow) -> String| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|row| Some(of(row)))
                .collect::<StringArray>(),
        )
    };
    let reasons = |row: &CompletenessRow| {
        serde_json::to_string(&row.lost).unwrap_or_else(|_| "{}".to_owned())
    };
    let hours: TimestampNanosecondArray = rows.iter().map(|row| Some(row.hour.0)).collect();
    let complete: BooleanArray = rows.iter().map(|row| Some(row.is_complete)).collect();
    let columns: [Column; 14] = [
        ("site", "Site", text(&|row| row.site.clone())),
        ("topic", "Topic", text(&|row| row.topic.clone())),
        (
            "hour",
            "Begin of the hour of event time, UTC",
            Arc::new(hours.with_timezone("UTC")),
        ),
        (
            "published",
            "Samples by the publishers' numbers",
            count(|row| row.published),
        ),
        (
            "received",
            "Of them, brought by DDS to the edge",
            count(|row| row.received),
        ),
        (
            "edge",
            "Records that were durable at the edge",
            count(|row| row.edge),
        ),
        (
            "centre",
            "Records that the centre has",
            count(|row| row.centre),
        ),
        (
            "feed",
            "Records in the public topics; null: not known",
            known(|row| row.feed),
        ),
        (
            "lake",
            "Records in the lake; null: not known",
            known(|row| row.lake),
        ),
        (
            "lost",
            "Samples that are named as lost",
            count(|row| row.lost.values().sum()),
        ),
        ("reasons", "The same by reason, JSON", text(&reasons)),
        (
            "before_contact",
            "Samples before the first one of a publisher",
            count(|row| row.before_contact),
        ),
        (
            "unnamed",
            "Samples that are absent and that no loss names",
            count(|row| row.unnamed),
        ),
        (
            "complete",
            "All that was published is at the centre and in every store",
            Arc::new(complete),
        ),
    ];
    let field = |(name, what, values): &Column| {
        let data_type = values.data_type().clone();
        described(*name, data_type, None, Some(what)).with_nullable(values.null_count() > 0)
    };
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let values = columns.into_iter().map(|(_, _, values)| values).collect();
    RecordBatch::try_new(Arc::new(schema), values)
}

#[cfg(test)]
mod tests {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    #[test]
    fn a_day_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let row = CompletenessRow {
            site: "summit".into(),
            topic: "lsst.sal.Test.scalars".into(),
            hour: UtcNanos(1_795_399_200_000_000_000),
            published: 9,
            received: 8,
            edge: 8,
            centre: 7,
            feed: None,
            lake: Some(7),
            lost: BTreeMap::from([("evicted".to_owned(), 1)]),
            before_contact: 0,
            unnamed: 1,
            is_complete: false,
        };
        let day = row.hour;
        for rows in [vec![row.clone()], vec![row.clone(), row]] {
            let file = put_completeness(folder.path(), day, &rows).unwrap();
            assert!(
                file.ends_with("_completeness/efd_date=2026-11-23.parquet"),
                "{file:?}"
            );
            let reader =
                ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap();
            let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
            assert_eq!(
                batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
                rows.len()
            );
            let reasons = batches[0].column_by_name("reasons").unwrap();
            let reasons = reasons.as_any().downcast_ref::<StringArray>().unwrap();
            assert_eq!(reasons.value(0), r#"{"evicted":1}"#);
            assert!(batches[0].column_by_name("feed").unwrap().is_null(0));
        }
        assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 1);
    }
}
