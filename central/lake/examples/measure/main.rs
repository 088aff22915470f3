//! Figures of the lake: `cargo run --release -p efd-central-lake --example measure -- wide | small | full | encodings`.
//!
//! `wide`: one topic like M1M3's, five arrays of 156, at 50 Hz. `small`: one event of nine fields. `full`: 2,011 topics,
//! 29,284 records a second, M1M3's telemetry at 50 Hz and the rest spread evenly, by the corpus's schemas where it is
//! there. `encodings`: bytes of the same rows by the lake and by the Parquet writer's defaults. Values are plausible, not
//! real: drifts, quantised sensors, noise, set points that repeat.
//!
//! Time is CPU time of the one thread, in [`Lake::take`] and [`Lake::commit`] only; blocks are made between.

#![allow(clippy::print_stdout, reason = "it is a program that prints figures")]

mod encodings;
mod traffic;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use efd_central_lake::{Lake, Now, Options};
use efd_shared_model::UtcNanos;
use rustix::time::{ClockId, clock_gettime};

use traffic::Traffic;

fn main() {
    let scenario = std::env::args().nth(1).unwrap_or_default();
    match scenario.as_str() {
        // 60 s of data a commit, as by the defaults.
        "wide" => measure(Traffic::wide(), 5),
        "small" => measure(Traffic::small(5_000), 5),
        "full" => measure(Traffic::full(corpus().as_deref()), 3),
        "encodings" => encodings::compare(corpus().as_deref()),
        other => println!("`{other}` is not one of wide, small, full, encodings"),
    }
}

fn corpus() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let path = std::env::var_os("EFD_CORPUS").map_or_else(beside, PathBuf::from);
    path.is_dir().then_some(path)
}

fn measure(mut traffic: Traffic, commits: u64) {
    let root = tempfile::tempdir().expect("a folder for the lake");
    let (mut lake, _) =
        Lake::open(root.path().to_owned(), Options::default()).expect("a lake in a new folder");
    let (mut taking, mut committing) = (Duration::ZERO, Duration::ZERO);
    let (mut datum_bytes, mut block_bytes, mut buffered) = (0, 0, 0);
    let mut wall = Duration::ZERO;
    let mut second = 0;
    for _ in 0..commits {
        for _ in 0..60 {
            second += 1;
            let now = Now {
                monotonic: Duration::from_secs(second),
                utc: UtcNanos(traffic::BEGIN + second as i64 * 1_000_000_000),
            };
            let log = Arc::clone(&traffic.log);
            for delivery in traffic.second(second) {
                datum_bytes += delivery.block.payload_bytes();
                block_bytes += delivery.block.bytes().len();
                let begin = cpu();
                lake.take(&*log, &delivery, now)
                    .expect("the log is in memory");
                taking += cpu() - begin;
                if lake.is_full() {
                    println!("memory is full after {second} s");
                    let begin = cpu();
                    lake.commit(now).expect("the disk is sound");
                    committing += cpu() - begin;
                }
            }
        }
        buffered = buffered.max(lake.counters().buffered_bytes);
        let now = Now {
            monotonic: Duration::from_secs(second),
            utc: UtcNanos(traffic::BEGIN + second as i64 * 1_000_000_000),
        };
        let (begin, begin_wall) = (cpu(), monotonic());
        lake.commit(now).expect("the disk is sound");
        committing += cpu() - begin;
        wall += monotonic() - begin_wall;
    }
    let counters = lake.counters();
    let seconds = (taking + committing).as_secs_f64();
    let records = counters.records as f64;
    let mega = |bytes: f64| bytes / 1e6;
    println!(
        "{} topics, {} records in {second} s of data, rejected {}",
        traffic.topics(),
        counters.records,
        counters.rejected_records
    );
    println!(
        "datums {:.1} MB ({:.0} B a record), blocks {:.1} MB",
        mega(datum_bytes as f64),
        datum_bytes as f64 / records,
        mega(block_bytes as f64)
    );
    println!(
        "{:.0} records/s, {:.1} MB/s of datums a core; load {:.3} core (take {:.3}, commit {:.3})",
        records / seconds,
        mega(datum_bytes as f64) / seconds,
        seconds / second as f64,
        taking.as_secs_f64() / second as f64,
        committing.as_secs_f64() / second as f64,
    );
    println!(
        "{} files, {:.1} MB ({:.1} B a record); a commit takes {:.2} s of wall",
        counters.files_added,
        mega(counters.bytes_written as f64),
        counters.bytes_written as f64 / records,
        wall.as_secs_f64() / commits as f64,
    );
    println!(
        "buffered at most {:.1} MB, peak RSS {}",
        mega(buffered as f64),
        peak_rss()
    );
}

fn cpu() -> Duration {
    clock(ClockId::ThreadCPUTime)
}

fn monotonic() -> Duration {
    clock(ClockId::Monotonic)
}

fn clock(id: ClockId) -> Duration {
    let time = clock_gettime(id);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn peak_rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap_or("not known").trim().to_owned()
}
