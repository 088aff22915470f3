//! The law of every end-to-end run: *published = stored ∪ named losses*, disjoint, nothing twice.
//!
//! In:  the oracle's `publishers.json` and a lake, read as files of Parquet: no code of the daemons takes part.
//! Out: the account, topic by topic.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use efd_shared_model::RangeSet;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value as Json, json};

use crate::oracle::{Publisher, read_publishers};

const LOSSES: &str = "efd.losses";
/// Records that the lake could not read: there should be none.
const REJECTED: &str = "efd.rejected";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) published: u64,
    pub(crate) stored: u64,
    /// Named as lost and not stored.
    pub(crate) lost: u64,
    /// Neither stored nor named.
    pub(crate) missing: u64,
    /// Rows beyond the first of a sample.
    pub(crate) duplicate: u64,
    /// Rows that nobody published.
    pub(crate) unexpected: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) topics: BTreeMap<String, Line>,
    /// Named losses by reason, samples; −1 counts as one.
    pub(crate) reasons: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Tally {
    rows: u64,
    stored: RangeSet,
    lost: RangeSet,
}

impl Account {
    pub(crate) fn total(&self) -> Line {
        self.topics
            .values()
            .fold(Line::default(), |sum, line| Line {
                published: sum.published + line.published,
                stored: sum.stored + line.stored,
                lost: sum.lost + line.lost,
                missing: sum.missing + line.missing,
                duplicate: sum.duplicate + line.duplicate,
                unexpected: sum.unexpected + line.unexpected,
            })
    }

    /// `published`, `stored`, `missing`, `lost`, `duplicate`, `unexpected`, `reasons`.
    pub(crate) fn to_json(&self) -> Json {
        let Line {
            published,
            stored,
            lost,
            missing,
            duplicate,
            unexpected,
        } = self.total();
        json!({
            "published": published, "stored": stored, "missing": missing, "lost": lost,
            "duplicate": duplicate, "unexpected": unexpected, "topics": self.topics.len(), "reasons": self.reasons,
        })
    }
}

/// Counts `lake` against the oracle in `folder`.
pub(crate) fn account(folder: &Path, lake: &Path) -> Result<Account> {
    let published = read_publishers(folder)?;
    let mut tallies: BTreeMap<Publisher, Tally> = BTreeMap::new();
    let mut reasons = BTreeMap::new();
    let mut rejected = 0;
    for (topic, path) in parquet_files(lake)? {
        if topic == REJECTED {
            let rows: usize = batches(&path, &["reason"])?
                .map(|batch| Ok(batch?.num_rows()))
                .sum::<Result<_>>()?;
            rejected += rows as u64;
            continue;
        }
        let read = if topic == LOSSES {
            read_losses(&path, &mut tallies, &mut reasons)
        } else {
            read_topic(&topic, &path, &mut tallies)
        };
        read.with_context(|| format!("read {}", path.display()))?;
    }
    let mut account = Account {
        reasons,
        ..Account::default()
    };
    for (publisher, &last) in &published {
        let line = account.topics.entry(publisher.topic.clone()).or_default();
        let tally = tallies.remove(publisher).unwrap_or_default();
        let last = last as u64;
        let within = |set: &RangeSet| {
            last - set
                .missing(1..=last)
                .iter()
                .map(|r| r.end() - r.start() + 1)
                .sum::<u64>()
        };
        let stored = within(&tally.stored);
        let mut known = tally.stored.clone();
        known.union(&tally.lost);
        line.published += last;
        line.stored += stored;
        line.lost += within(&known) - stored;
        line.missing += last - within(&known);
        line.duplicate += tally.rows - tally.stored.member_count();
        line.unexpected += tally.stored.member_count() - stored;
    }
    if rejected > 0 {
        account
            .topics
            .entry(REJECTED.to_owned())
            .or_default()
            .unexpected += rejected;
    }
    for (publisher, tally) in tallies {
        account
            .topics
            .entry(publisher.topic)
            .or_default()
            .unexpected += tally.rows;
    }
    Ok(account)
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

fn read_topic(topic: &str, path: &Path, tallies: &mut BTreeMap<Publisher, Tally>) -> Result<()> {
    let index_column = older_index_column(topic);
    let wanted = [
        "salIndex",
        &index_column,
        "private_identity",
        "private_origin",
        "private_seqNum",
    ];
    let mut key = Publisher {
        topic: topic.to_owned(),
        sal_index: None,
        identity: String::new(),
        origin: 0,
    };
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
        let sequence = batch
            .column_by_name("private_seqNum")
            .context("no private_seqNum")?
            .as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            key.sal_index = index.map(|column| column.value(row) as i32);
            key.origin = origin.map_or(0, |column| column.value(row));
            let text = identity.as_ref().map_or("", |column| column.value(row));
            if key.identity != text {
                text.clone_into(&mut key.identity);
            }
            let tally = match tallies.get_mut(&key) {
                Some(tally) => tally,
                None => tallies.entry(key.clone()).or_default(),
            };
            tally.rows += 1;
            tally.stored.insert(sequence.value(row).max(0) as u64);
        }
    }
    Ok(())
}

fn read_losses(
    path: &Path,
    tallies: &mut BTreeMap<Publisher, Tally>,
    reasons: &mut BTreeMap<String, u64>,
) -> Result<()> {
    let wanted = [
        "reason",
        "topic",
        "sal_index",
        "identity",
        "origin",
        "first_seq",
        "last_seq",
        "count",
    ];
    for batch in batches(path, &wanted)? {
        let batch = batch?;
        let (reason, topic) = (texts(&batch, "reason")?, texts(&batch, "topic")?);
        let identity = texts(&batch, "identity")?;
        let long = |name: &str| {
            batch
                .column_by_name(name)
                .map(|column| column.as_primitive::<Int64Type>().clone())
        };
        let column = |name: &'static str| long(name).with_context(|| format!("no column {name}"));
        let (index, origin) = (column("sal_index")?, column("origin")?);
        let (first, last, count) = (column("first_seq")?, column("last_seq")?, column("count")?);
        for row in 0..batch.num_rows() {
            let text = |column: &Option<Texts>| {
                column
                    .as_ref()
                    .map_or_else(String::new, |c| c.value(row).to_owned())
            };
            *reasons.entry(text(&reason)).or_default() += count.value(row).max(1) as u64;
            let publisher = Publisher {
                topic: text(&topic),
                sal_index: Some(index.value(row) as i32).filter(|&index| index >= 0),
                identity: text(&identity),
                origin: origin.value(row),
            };
            let (first, last) = (first.value(row), last.value(row));
            if first <= last && first > 0 {
                tallies
                    .entry(publisher)
                    .or_default()
                    .lost
                    .insert_range(first as u64..=last as u64);
            }
        }
    }
    Ok(())
}

type Texts = arrow::array::StringArray;

/// A column of texts, whatever layout it was stored in.
fn texts(batch: &RecordBatch, name: &str) -> Result<Option<Texts>> {
    let Some(column) = batch.column_by_name(name) else {
        return Ok(None);
    };
    let plain = arrow::compute::cast(column, &DataType::Utf8)?;
    Ok(Some(plain.as_string::<i32>().clone()))
}

/// `lsst.sal.Test.scalars` → `TestID`, the index of the older generation.
fn older_index_column(topic: &str) -> String {
    format!("{}ID", topic.split('.').nth(2).unwrap_or_default())
}
