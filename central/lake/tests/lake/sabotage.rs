//! Hands in the lake that are not its writer's.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};
use efd_central_lake::Part;
use efd_shared_model::{BlockNumber, EpochLane, RecordId, Tally, UtcNanos, identity_digest};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use rand::Rng;
use rand::rngs::StdRng;

use crate::world::{Expected, Name};

/// Name and event time of each row that is to be found, as often as it is.
pub type Rows = BTreeMap<Part, Vec<(Name, i64)>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    RowsDeleted,
    Replaced,
    Deleted,
    Flipped,
}

pub fn part_of(row: &Expected) -> Part {
    Part {
        site: row.site.parse().unwrap(),
        topic: row.topic.clone(),
        day: UtcNanos(row.time).day(),
    }
}

pub fn rows_of(oracle: &BTreeMap<Name, Expected>) -> Rows {
    let mut rows = Rows::new();
    for (name, row) in oracle {
        let of_part = rows.entry(part_of(row)).or_default();
        of_part.push((name.clone(), row.time));
    }
    rows
}

pub fn tallies(rows: &[(Name, i64)]) -> BTreeMap<i64, Tally> {
    let mut hours = BTreeMap::<i64, Tally>::new();
    for (name, time) in rows {
        let hour = hours.entry(time.div_euclid(3_600_000_000_000)).or_default();
        hour.add(identity_digest(&id_of(name)));
    }
    hours
}

pub fn id_of((edge, epoch, lane, block, index): &Name) -> RecordId {
    let lane = EpochLane {
        edge: edge.parse().unwrap(),
        epoch: epoch.parse().unwrap(),
        lane: lane.parse().unwrap(),
    };
    RecordId {
        block: lane.block(BlockNumber(*block as u64)),
        index: *index as u32,
    }
}

fn batches(path: &Path) -> (Vec<RecordBatch>, WriterProperties) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let pairs = builder.metadata().file_metadata().key_value_metadata();
    let properties = WriterProperties::builder()
        .set_key_value_metadata(pairs.cloned())
        .build();
    let batches = builder.build().unwrap().map(Result::unwrap).collect();
    (batches, properties)
}

fn names(batch: &RecordBatch) -> Vec<(Name, i64)> {
    let text = |name: &str, row| batch[name].as_string::<i32>().value(row).to_owned();
    let row = |row| {
        let name = (
            text("efd_edge", row),
            text("efd_epoch", row),
            text("efd_lane", row),
            batch["efd_block"].as_primitive::<Int64Type>().value(row),
            batch["efd_index"].as_primitive::<Int32Type>().value(row),
        );
        let times = batch["time"].as_primitive::<TimestampNanosecondType>();
        (name, times.value(row))
    };
    (0..batch.num_rows()).map(row).collect()
}

pub fn names_in(path: &Path) -> Vec<(Name, i64)> {
    batches(path).0.iter().flat_map(names).collect()
}

/// Does it to `file`, and to what is to be found.
pub fn sabotage(
    rng: &mut StdRng,
    deed: Deed,
    file: &Path,
    live: &[PathBuf],
    rows: &mut Vec<(Name, i64)>,
) -> bool {
    let had = names_in(file);
    let mut without = |gone: &[(Name, i64)]| rows.retain(|row| !gone.contains(row));
    match deed {
        Deed::Deleted => {
            without(&had);
            fs::remove_file(file).unwrap();
        }
        Deed::RowsDeleted => {
            let (batches, properties) = batches(file);
            let kept: Vec<bool> = had.iter().map(|_| rng.random_bool(0.5)).collect();
            if kept.iter().all(|kept| *kept) {
                return false;
            }
            let gone = had.iter().zip(&kept).filter(|(_, kept)| !**kept);
            without(&gone.map(|(row, _)| row.clone()).collect::<Vec<_>>());
            let schema = batches[0].schema();
            let created = File::create(file).unwrap();
            let mut writer = ArrowWriter::try_new(created, schema, Some(properties)).unwrap();
            let mut begin = 0;
            for batch in batches {
                let end = begin + batch.num_rows();
                let mask = BooleanArray::from(kept[begin..end].to_vec());
                writer
                    .write(&filter_record_batch(&batch, &mask).unwrap())
                    .unwrap();
                begin = end;
            }
            writer.close().unwrap();
        }
        Deed::Replaced => {
            let others = live.iter().filter(|other| {
                other.parent() == file.parent() && *other != file && other.exists()
            });
            let Some(other) = others.into_iter().next() else {
                return false;
            };
            without(&had);
            rows.extend(names_in(other));
            fs::copy(other, file).unwrap();
        }
        Deed::Flipped => {
            let mut bytes = fs::read(file).unwrap();
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
            fs::write(file, bytes).unwrap();
        }
    }
    true
}
