//! A lake's Parquet files, read as such.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use arrow::array::{Array as _, AsArray as _, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Evidence, Lane, NamedLoss};
use crate::oracle::Publisher;

const LOSSES: &str = "efd.losses";
/// Statistics in the place of lost records, and what edges say of their hours: nobody published them.
const UNPUBLISHED: [&str; 2] = ["efd.reduced", "efd.committed"];
/// Records that the lake could not read: there should be none.
pub(super) const REJECTED: &str = "efd.rejected";

pub(super) fn read(lake: &Path) -> Result<Evidence> {
    let mut evidence = Evidence::default();
    let (losses, rows): (Vec<_>, Vec<_>) = parquet_files(lake)?
        .into_iter()
        .partition(|(topic, _)| topic == LOSSES);
    for (_, path) in losses {
        read_losses(&path, &mut evidence).with_context(|| format!("read {}", path.display()))?;
    }
    let is_published = |topic: &str| !UNPUBLISHED.contains(&topic);
    for (topic, path) in rows.into_iter().filter(|(topic, _)| is_published(topic)) {
        let read = if topic == REJECTED {
            read_rejected(&path, &mut evidence)
        } else {
            read_topic(&topic, &path, &mut evidence)
        };
        read.with_context(|| format!("read {}", path.display()))?;
    }
    Ok(evidence)
}

/// (topic, file) of every Parquet file under `efd_site=…/efd_topic=…/`.
fn parquet_files(lake: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut folders = vec![lake.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default()
                .to_owned();
            if path.is_dir() {
                if !name.starts_with('_') && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".parquet") {
                let topic = path
                    .iter()
                    .filter_map(|part| part.to_str()?.strip_prefix("efd_topic="))
                    .next_back();
                found.push((topic.unwrap_or_default().to_owned(), path.clone()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Batches of the columns in `wanted` that the file has.
fn batches(path: &Path, wanted: &[&str]) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), wanted.iter().copied());
    Ok(builder
        .with_projection(mask)
        .with_batch_size(8192)
        .build()?
        .map(|batch| Ok(batch?)))
}

fn read_rejected(path: &Path, evidence: &mut Evidence) -> Result<()> {
    for batch in batches(path, &["reason"])? {
        evidence.rejected += batch?.num_rows() as u64;
    }
    Ok(())
}

fn read_topic(topic: &str, path: &Path, evidence: &mut Evidence) -> Result<()> {
    let index_column = older_index_column(topic);
    let mut wanted = vec![
        "salIndex",
        &index_column,
        "private_identity",
        "private_origin",
        "private_seqNum",
    ];
    let with_place = evidence.names_blocks();
    if with_place {
        wanted.extend(["efd_epoch", "efd_lane", "efd_block"]);
    }
    let mut key = Publisher {
        topic: topic.to_owned(),
        ..Publisher::default()
    };
    let mut lane = Lane::default();
    for batch in batches(path, &wanted)? {
        let batch = batch?;
        let index = batch
            .column_by_name("salIndex")
            .or_else(|| batch.column_by_name(&index_column));
        let index = index.map(|column| column.as_primitive::<Int64Type>());
        let identity = texts(&batch, "private_identity")?;
        let origin = batch
            .column_by_name("private_origin")
            .map(|column| column.as_primitive::<Int64Type>());
        let sequence = longs(&batch, "private_seqNum")?;
        let place = with_place.then(|| Place::of(&batch)).transpose()?;
        for row in 0..batch.num_rows() {
            key.sal_index = index.map(|column| column.value(row) as i32);
            key.origin = origin.map_or(0, |column| column.value(row));
            let text = identity.as_ref().map_or("", |column| column.value(row));
            set(&mut key.identity, text);
            let place = place.as_ref().map(|place| {
                set(&mut lane.epoch, place.epoch.value(row));
                set(&mut lane.lane, place.lane.value(row));
                (&lane, place.block.value(row))
            });
            evidence.take_row(&key, sequence.value(row), place);
        }
    }
    Ok(())
}

/// The columns that say in which block a record came.
struct Place<'a> {
    epoch: StringArray,
    lane: StringArray,
    block: &'a Longs,
}

impl<'a> Place<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self> {
        Ok(Self {
            epoch: texts(batch, "efd_epoch")?.context("no efd_epoch")?,
            lane: texts(batch, "efd_lane")?.context("no efd_lane")?,
            block: longs(batch, "efd_block")?,
        })
    }
}

fn read_losses(path: &Path, evidence: &mut Evidence) -> Result<()> {
    let wanted = [
        "reason",
        "topic",
        "sal_index",
        "identity",
        "origin",
        "first_seq",
        "last_seq",
        "epoch",
        "lane",
        "first_block",
        "last_block",
        "count",
    ];
    for batch in batches(path, &wanted)? {
        let batch = batch?;
        let text = |name| texts(&batch, name)?.with_context(|| format!("no {name}"));
        let (reason, topic, identity) = (text("reason")?, text("topic")?, text("identity")?);
        let (epoch, lane) = (text("epoch")?, text("lane")?);
        let long = |name| longs(&batch, name);
        let (index, origin, count) = (long("sal_index")?, long("origin")?, long("count")?);
        let (first_seq, last_seq) = (long("first_seq")?, long("last_seq")?);
        let (first_block, last_block) = (long("first_block")?, long("last_block")?);
        for row in 0..batch.num_rows() {
            let publisher = Publisher {
                topic: topic.value(row).to_owned(),
                sal_index: Some(index.value(row) as i32).filter(|&index| index >= 0),
                identity: identity.value(row).to_owned(),
                origin: origin.value(row),
            };
            evidence.take_loss(NamedLoss {
                reason: reason.value(row).to_owned(),
                publisher,
                first_seq: first_seq.value(row),
                last_seq: last_seq.value(row),
                lane: Lane {
                    epoch: epoch.value(row).to_owned(),
                    lane: lane.value(row).to_owned(),
                },
                first_block: first_block.value(row),
                last_block: last_block.value(row),
                count: count.value(row),
            });
        }
    }
    Ok(())
}

type Longs = arrow::array::PrimitiveArray<Int64Type>;

fn longs<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Longs> {
    let column = batch.column_by_name(name);
    let column = column.with_context(|| format!("no column {name}"))?;
    column
        .as_primitive_opt::<Int64Type>()
        .with_context(|| format!("column {name} is of {}", column.data_type()))
}

/// A column of texts, whatever layout it was stored in.
fn texts(batch: &RecordBatch, name: &str) -> Result<Option<StringArray>> {
    let Some(column) = batch.column_by_name(name) else {
        return Ok(None);
    };
    let plain = arrow::compute::cast(column, &DataType::Utf8)?;
    Ok(Some(plain.as_string::<i32>().clone()))
}

/// Rows of one publisher follow each other: most texts are what they were.
fn set(text: &mut String, to: &str) {
    if text != to {
        to.clone_into(text);
    }
}

/// `lsst.sal.Test.scalars` → `TestID`, the index of the older generation.
fn older_index_column(topic: &str) -> String {
    format!("{}ID", topic.split('.').nth(2).unwrap_or_default())
}
