//! Rows near a time: those of the oracle, each where it stands.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::TimestampNanosecondType;
use efd_central_lake::{newest, seek, time_of};
use efd_shared_model::UtcNanos;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::Rng;
use tempfile::TempDir;

use crate::audit::filled;
use crate::read::live_files;
use crate::sabotage::id_of;

fn times_in(file: &Path) -> Vec<i64> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap();
    let batches = builder.build().unwrap().map(|batch| batch.unwrap());
    let times = batches.map(|batch| {
        let column = batch.column_by_name("time").unwrap();
        column
            .as_primitive::<TimestampNanosecondType>()
            .values()
            .to_vec()
    });
    times.flatten().collect()
}

#[test]
fn rows_near_a_time_are_those_of_the_oracle() {
    for seed in 0..10 {
        println!("SEED={seed}");
        let root = TempDir::new().unwrap();
        let (mut world, lake) = filled(seed, root.path());
        let live = live_files(root.path());
        let all: Vec<_> = world.oracle.values().cloned().collect();
        for _ in 0..20 {
            let one = &all[world.rng.random_range(0..all.len())];
            let within = 10i64.pow(world.rng.random_range(0..14));
            let (from, until) = (one.time - within, one.time + within);
            let of_topic = world
                .oracle
                .iter()
                .filter(|(_, row)| (&row.site, &row.topic) == (&one.site, &one.topic));
            let inside = of_topic.filter(|(_, row)| (from..=until).contains(&row.time));
            let expected: BTreeSet<_> = inside.map(|(name, row)| (id_of(name), row.time)).collect();
            let site = one.site.parse().unwrap();
            let span = (UtcNanos(from), UtcNanos(until));
            let (rows, unread) = seek(root.path(), &site, &one.topic, span).unwrap();
            assert_eq!(unread, Vec::<String>::new());
            let found: BTreeSet<_> = rows.iter().map(|row| (row.id, row.time.0)).collect();
            assert_eq!((rows.len(), &found), (expected.len(), &expected));
            let row = &rows[0];
            let file = root.path().join(&row.file);
            assert!(live.contains(&file), "{}", row.file);
            assert_eq!(times_in(&file)[row.row as usize], row.time.0);
            assert!(row.commit <= newest(root.path()).unwrap());
            assert!(time_of(root.path(), row.commit).unwrap() <= world.clock.utc);
            assert!(row.told.time_origin.is_some() && row.told.class.is_some());
        }
        drop(lake);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let root = TempDir::new().unwrap();
    let (world, _lake) = filled(3, root.path());
    let one = world.oracle.values().next().unwrap();
    let live = live_files(root.path());
    let of_topic = format!("efd_topic={}", one.topic);
    let damaged = live
        .iter()
        .find(|file| file.to_str().unwrap().contains(&of_topic))
        .unwrap();
    std::fs::write(damaged, b"PAR1 and nothing more").unwrap();
    let day = 86_400_000_000_000;
    let span = (UtcNanos(one.time - 5 * day), UtcNanos(one.time + 5 * day));
    let (_, unread) = seek(root.path(), &one.site.parse().unwrap(), &one.topic, span).unwrap();
    assert_eq!(unread.len(), 1, "{unread:?}");
}
