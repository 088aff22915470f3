//! The same rows by the lake, and by the Parquet writer's own choices.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use efd_central_lake::{Lake, Now, Options};
use efd_shared_model::UtcNanos;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::traffic::{self, Traffic};

/// A minute of each, as a commit has it, and half an hour of the wide one, as compaction has it.
pub(crate) fn compare(corpus: Option<&Path>) {
    compare_one("wide, 1 min", Traffic::wide(), 60);
    compare_one("wide, 10 min", Traffic::wide(), 600);
    compare_one("small at 1 Hz, 1 min", Traffic::small(1), 60);
    compare_one("small at 100 Hz, 1 min", Traffic::small(100), 60);
    compare_one("full, 1 min", Traffic::full(corpus), 60);
}

fn compare_one(name: &str, mut traffic: Traffic, seconds: u64) {
    let root = tempfile::tempdir().expect("a folder for the lake");
    let mut sizes = Vec::new();
    for level in [1, 3, 9] {
        sizes.push((format!("lake, zstd {level}"), level));
    }
    let mut deliveries = Vec::new();
    for second in 0..seconds {
        deliveries.extend(traffic.second(second));
    }
    let datums: usize = deliveries
        .iter()
        .map(|delivery| delivery.block.payload_bytes())
        .sum();
    println!("{name}: datums {:.2} MB", datums as f64 / 1e6);
    let mut files = Vec::new();
    for (label, level) in sizes {
        let folder = root.path().join(level.to_string());
        let options = Options {
            compression_level: level,
            memory_bytes: 1 << 30,
            ..Options::default()
        };
        let (mut lake, _) = Lake::open(folder.clone(), options).expect("a lake in a new folder");
        let now = Now {
            monotonic: Duration::ZERO,
            utc: UtcNanos(traffic::BEGIN),
        };
        for delivery in &deliveries {
            lake.take(&*traffic.log, delivery, now)
                .expect("the log is in memory");
        }
        let begin = crate::cpu();
        lake.commit(now).expect("the disk is sound");
        let took = crate::cpu() - begin;
        println!(
            "  {label}: {:.3} MB, {:.2} s",
            lake.totals().bytes as f64 / 1e6,
            took.as_secs_f64()
        );
        files = parquet_files(&folder);
    }
    for (label, properties) in [
        (
            "writer defaults (dictionary, no compression)",
            WriterProperties::builder().build(),
        ),
        (
            "writer defaults and zstd 3",
            WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("a level")))
                .build(),
        ),
    ] {
        let (mut bytes, begin) = (0, crate::cpu());
        for path in &files {
            bytes += rewrite(path, properties.clone());
        }
        let took = crate::cpu() - begin;
        println!(
            "  {label}: {:.3} MB, {:.2} s with reading",
            bytes as f64 / 1e6,
            took.as_secs_f64()
        );
    }
}

fn rewrite(path: &Path, properties: WriterProperties) -> usize {
    let file = File::open(path).expect("a file of the lake");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
    let mut writer =
        ArrowWriter::try_new(Vec::new(), Arc::clone(builder.schema()), Some(properties))
            .expect("a writer");
    for batch in builder.build().expect("a Parquet file") {
        writer.write(&batch.expect("a batch")).expect("memory");
    }
    writer.into_inner().expect("memory").len()
}

fn parquet_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the lake").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(parquet_files(&path));
        } else if path.extension().is_some_and(|end| end == "parquet") {
            found.push(path);
        }
    }
    found
}
