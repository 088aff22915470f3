//! Durable append: blocks of 128-byte records through the store, and through bare SQLite as rows and as blobs, in one
//! run on one disk. Prints records per second and bytes written to disk per byte of records (from `/proc/self/io`).
//!
//! `EFD_BENCH_DIR` says where; the default is the folder for temporary files, which should be on a real disk.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use efd_shared_model::block::Codec;
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EpochLane,
    EventTimeOrigin, Lane, LaneKind, RecordStamps, Schema, SealedBlock, StreamDeclaration,
    StreamNumber, TopicKind, UtcNanos,
};
use efd_shared_store::{LaneName, Options, Store};
use rusqlite::{Connection, params};

const RECORD_BYTES: usize = 128;

fn log() -> EpochLane {
    EpochLane {
        edge: EdgeId([1; 16]),
        epoch: EpochId([2; 16]),
        lane: Lane::new(LaneKind::Telemetry),
    }
}

fn block(number: u64, records: usize) -> SealedBlock {
    let mut builder = BlockBuilder::new();
    let mut noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for index in 0..records {
        let datum = builder.datum(StreamNumber(1));
        for _ in 0..RECORD_BYTES / 8 {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            datum.extend_from_slice(&noise.to_le_bytes());
        }
        let stamps = RecordStamps {
            event_time: UtcNanos(index as i64),
            origin: EventTimeOrigin::SndStamp,
            implausible: false,
            latin1: false,
            instance: None,
        };
        builder.finish(StreamNumber(1), stamps);
    }
    let id = log().block(BlockNumber(number));
    builder
        .seal(id, ClockState::default(), Codec::None, 0)
        .unwrap()
}

/// One commit of `records` records each time it is called.
type Commit = Box<dyn FnMut(u64)>;
type Way = fn(&Path, usize) -> Commit;

fn store(root: &Path, records: usize) -> Commit {
    let (mut store, _) = Store::open(root, Options::default()).unwrap();
    let schema = Schema::new(r#"{"type":"record","name":"bench","fields":[]}"#);
    let stream = StreamDeclaration {
        number: StreamNumber(1),
        topic: "bench".into(),
        dds_topic: String::new(),
        dds_type: String::new(),
        kind: TopicKind::Telemetry,
        schema: schema.fingerprint(),
    };
    let epoch = EpochDeclaration {
        edge: log().edge,
        site: "bench".parse().unwrap(),
        epoch: log().epoch,
        parent: None,
        began: ClockState::default(),
        software: String::new(),
    };
    store.declare(&epoch, &[stream], &[schema]).unwrap();
    let lane: LaneName = "telemetry".parse().unwrap();
    let blocks: Vec<_> = (1..=16).map(|number| block(number, records)).collect();
    Box::new(move |at| {
        let now = UtcNanos(at as i64);
        let block = &blocks[at as usize % blocks.len()];
        store
            .append(&lane, std::slice::from_ref(block), None, now)
            .unwrap();
        store.maintain(now);
    })
}

fn bare(root: &Path, table: &str) -> Connection {
    let connection = Connection::open(root.join("bare.db")).unwrap();
    connection.pragma_update(None, "page_size", 8192).unwrap();
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .unwrap();
    connection
        .pragma_update(None, "synchronous", "FULL")
        .unwrap();
    connection.execute_batch(table).unwrap();
    connection
}

fn rows(root: &Path, records: usize) -> Commit {
    let connection = bare(
        root,
        "CREATE TABLE rows (id INTEGER PRIMARY KEY, datum BLOB)",
    );
    let datum = [7u8; RECORD_BYTES];
    Box::new(move |_| {
        let transaction = connection.unchecked_transaction().unwrap();
        let mut insert = transaction
            .prepare_cached("INSERT INTO rows (datum) VALUES (?1)")
            .unwrap();
        for _ in 0..records {
            insert.execute([&datum[..]]).unwrap();
        }
        drop(insert);
        transaction.commit().unwrap();
    })
}

fn blobs(root: &Path, records: usize) -> Commit {
    let connection = bare(
        root,
        "CREATE TABLE blobs (id INTEGER PRIMARY KEY, records INTEGER, data BLOB)",
    );
    let data = vec![7u8; RECORD_BYTES * records];
    Box::new(move |_| {
        let values = params![records as i64, &data[..]];
        let mut insert =
            connection.prepare_cached("INSERT INTO blobs (records, data) VALUES (?1, ?2)");
        insert.as_mut().unwrap().execute(values).unwrap();
    })
}

fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok())
        .unwrap_or_default()
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    let base = std::env::var_os("EFD_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let ways: [(&str, Way); 3] = [("store", store), ("bare rows", rows), ("bare blobs", blobs)];
    let (mut summary, mut figures) = (Vec::new(), Vec::new());
    let mut group = criterion.benchmark_group("append");
    for records in [1_000, 10_000] {
        group.throughput(Throughput::Elements(records as u64));
        for (name, way) in ways {
            let folder = tempfile::tempdir_in(&base).unwrap();
            let mut commit = way(folder.path(), records);
            let mut slowest = Duration::ZERO;
            let (mut commits, mut time) = (0u64, Duration::ZERO);
            let before = written_bytes();
            group.bench_function(BenchmarkId::new(name, records), |bencher| {
                bencher.iter_custom(|count| {
                    let began = Instant::now();
                    for _ in 0..count {
                        let commit_began = Instant::now();
                        commit(commits);
                        commits += 1;
                        slowest = slowest.max(commit_began.elapsed());
                    }
                    let took = began.elapsed();
                    time += took;
                    took
                });
            });
            drop(commit);
            let bytes = (commits * records as u64) as f64 * RECORD_BYTES as f64;
            figures.push(format!(
                "{{\"way\":\"{name}\",\"records_a_commit\":{records},\"records_per_second\":{:.0},\"bytes_written_per_byte\":{:.3}}}",
                (commits * records as u64) as f64 / time.as_secs_f64(),
                (written_bytes() - before) as f64 / bytes,
            ));
            summary.push(format!(
                "{name:>10} {records:>6} records a commit: {:>8.0} records/s, {:>5.1} ms a commit, slowest {:>4} ms, \
                 {:.2} bytes written per byte, {commits} commits",
                (commits * records as u64) as f64 / time.as_secs_f64(),
                time.as_secs_f64() * 1e3 / commits.max(1) as f64,
                slowest.as_millis(),
                (written_bytes() - before) as f64 / bytes,
            ));
        }
    }
    group.finish();
    println!("\n{}", summary.join("\n"));
    if let Some(path) = std::env::var_os("EFD_BENCH_SUMMARY") {
        fs::write(path, figures.join("\n")).unwrap();
    }
}
