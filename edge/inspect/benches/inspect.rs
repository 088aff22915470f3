//! The release binary against a buffer of the size of a real one: stored bytes checked a second, time to the first line
//! of one topic, records exported a second, and the most memory that any of it held.
//!
//! `cargo xtask bench inspect -- --gib 5`: the size of the buffer in stored bytes (default 1). It is made in
//! `EFD_BENCH_DIR`, by default the folder for temporary files, which should be on a real disk; the exports beside it
//! take as much again. A buffer of that size that is there already is taken as it is, where `--keep` has left it.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use efd_shared_model::block::Codec;
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EpochLane,
    EventTimeOrigin, Lane, LaneKind, RecordStamps, Schema, SealedBlock, StreamDeclaration,
    StreamNumber, TopicKind, UtcNanos,
};
use efd_shared_store::{Options, ReadOnlyStore, Store};
use serde_json::{Value, json};

/// 2026-11-24T00:00:00Z
const BEGIN: i64 = 1_795_478_400_000_000_000;
const TOPICS: u32 = 2_011;
/// Of a commit: 50 ms of the observatory's 29,284 messages a second.
const RECORDS: u32 = 1_464;
const COMMIT_NANOS: i64 = 50_000_000;
/// The first topic is heard in one block of so many; every block may have it, so that all before have to be opened.
const RARE_EVERY: u64 = 1_000;

struct Settings {
    gib: f64,
    keep: bool,
    folder: PathBuf,
}

fn main() {
    let settings = settings();
    let root = settings
        .folder
        .join(format!("efd-bench-inspect-{}", settings.gib));
    if !root.join("meta.db").exists() {
        let begin = Instant::now();
        write(&root, (settings.gib * f64::from(1 << 30)) as u64);
        println!(
            "a buffer of {} GiB made in {:.0} s",
            settings.gib,
            begin.elapsed().as_secs_f64()
        );
    }
    let (stored, records, span) = contents(&root);
    println!("{} MB stored, {records} records", stored / 1_000_000);
    let mut figures = vec![
        json!({"what": "buffer", "stored_bytes": stored, "records": records, "topics": TOPICS}),
    ];
    let mut add = |figure: Value| {
        println!("{figure}");
        figures.push(figure);
    };

    for (what, arguments) in [
        ("verify", &["verify", text(&root)][..]),
        ("verify --deep", &["verify", "--deep", text(&root)]),
    ] {
        let verified = run(arguments);
        add(figure(
            what,
            &verified,
            json!({
                "stored_mb_per_second": rate(stored, verified.wall) / 1e6,
                "stored_mb_per_core_second": rate(stored, verified.cpu) / 1e6,
            }),
        ));
    }

    for (what, topic) in [
        ("first line, any topic", "Bench.t0001"),
        ("first line, rare topic", "Bench.t0000"),
    ] {
        let (first, peak) = first_line(&["cat", text(&root), "--topic", topic]);
        add(json!({"what": what, "seconds": first.as_secs_f64(), "peak_mib": peak >> 20}));
    }

    // A tenth of the span keeps the exports on the disk.
    let until = UtcNanos(span.0 + (span.1 - span.0) / 10).to_string();
    let tenth = ["--until", until.as_str()];
    // Until the end: a file system (ext4 without a journal for a minute) avoids inodes that have just become free, and
    // looks past thousands of them for each new file.
    let mut exports = Vec::new();
    for format in ["parquet", "csv", "avro"] {
        let to = settings.folder.join(format!("efd-bench-export-{format}"));
        let arguments = [
            &[
                "export",
                text(&root),
                "--json",
                "--to",
                text(&to),
                "--format",
                format,
            ],
            &tenth[..],
        ];
        let exported = run(&arguments.concat());
        exports.push(to);
        let told: Value = serde_json::from_str(&exported.out).unwrap();
        let records = told["records"].as_u64().unwrap();
        add(figure(
            &format!("export {format}"),
            &exported,
            json!({
                "records": records, "bytes": told["bytes"], "records_per_second": rate(records, exported.wall),
            }),
        ));
    }
    for (what, arguments) in [
        ("cat", &["cat", text(&root)][..]),
        ("account", &["account", text(&root)]),
    ] {
        let ran = run(&[arguments, &tenth[..]].concat());
        add(figure(what, &ran, json!({})));
    }
    let listed = run(&["ls", text(&root)]);
    add(figure("ls", &listed, json!({})));

    if let Some(path) = std::env::var_os("EFD_BENCH_SUMMARY") {
        let lines: Vec<_> = figures.iter().map(Value::to_string).collect();
        fs::write(path, lines.join("\n")).unwrap();
    }
    for folder in exports {
        fs::remove_dir_all(folder).unwrap();
    }
    if !settings.keep {
        fs::remove_dir_all(&root).unwrap();
    }
}

fn settings() -> Settings {
    let folder = std::env::var_os("EFD_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let mut settings = Settings {
        gib: 1.0,
        keep: false,
        folder,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--gib" => settings.gib = arguments.next().unwrap().parse().unwrap(),
            "--keep" => settings.keep = true,
            // Of cargo.
            "--bench" => {}
            other => panic!("unknown argument {other}: --gib N, --keep"),
        }
    }
    settings
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn rate(amount: u64, time: Duration) -> f64 {
    amount as f64 / time.as_secs_f64()
}

fn figure(what: &str, ran: &Ran, more: Value) -> Value {
    let mut figure = json!({
        "what": what, "seconds": ran.wall.as_secs_f64(), "cpu_seconds": ran.cpu.as_secs_f64(), "peak_mib": ran.peak >> 20,
    });
    figure
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    figure
}

struct Ran {
    out: String,
    wall: Duration,
    cpu: Duration,
    /// Bytes.
    peak: u64,
}

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_efd-inspect"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn run(arguments: &[&str]) -> Ran {
    let begin = Instant::now();
    let mut child = start(arguments);
    let mut out = child.stdout.take().unwrap();
    // What is short is kept; lines of records are only counted as they go by.
    let reading = std::thread::spawn(move || {
        let (mut kept, mut chunk) = (Vec::new(), vec![0; 1 << 20]);
        loop {
            let length = out.read(&mut chunk).unwrap();
            if length == 0 {
                return kept;
            }
            if kept.len() < 1 << 20 {
                kept.extend_from_slice(&chunk[..length]);
            }
        }
    });
    let (mut cpu, mut peak) = (Duration::ZERO, 0);
    let status = loop {
        if let Some((used, held)) = usage(child.id()) {
            (cpu, peak) = (used, held);
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let wall = begin.elapsed();
    assert!(status.success(), "{arguments:?}: {status}");
    let out = String::from_utf8_lossy(&reading.join().unwrap()).into_owned();
    Ran {
        out,
        wall,
        cpu,
        peak,
    }
}

/// Processor time and the most memory so far, of a process that is still there.
fn usage(process: u32) -> Option<(Duration, u64)> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let peak: u64 = peak.trim().strip_suffix(" kB")?.parse().ok()?;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // USER_HZ is 100 on every Linux that we run on.
    Some((Duration::from_millis(ticks * 10), peak << 10))
}

fn first_line(arguments: &[&str]) -> (Duration, u64) {
    let begin = Instant::now();
    let mut child = start(arguments);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let first = begin.elapsed();
    assert!(line.starts_with("{\"topic\""), "{line}");
    let peak = usage(child.id()).map_or(0, |(_, peak)| peak);
    child.kill().unwrap();
    child.wait().unwrap();
    (first, peak)
}

/// Stored bytes, records, span of event time.
fn contents(root: &Path) -> (u64, u64, (i64, i64)) {
    let store = ReadOnlyStore::open(root).unwrap();
    let segments = store.segments();
    let stored = segments
        .iter()
        .map(|info| info.contents.stored_bytes())
        .sum();
    let records = segments.iter().map(|info| info.contents.records()).sum();
    let spans: Vec<_> = segments
        .iter()
        .filter_map(|info| info.contents.event_span())
        .collect();
    let first = spans.iter().map(|span| span.0.0).min().unwrap();
    let last = spans.iter().map(|span| span.1.0).max().unwrap();
    (stored, records, (first, last))
}

fn write(root: &Path, bytes: u64) {
    // Not there until it is whole.
    let making = root.with_extension("making");
    fs::remove_dir_all(&making).ok();
    let options = Options {
        reserve_bytes: 0,
        ..Options::default()
    };
    let (mut store, _) = Store::open(&making, options).unwrap();
    declare(&mut store);
    let lane = LaneKind::Telemetry.as_str().parse().unwrap();
    let mut walk = Walk(1);
    let (mut stored, mut number) = (0, 0);
    while stored < bytes {
        let blocks: Vec<_> = (0..8)
            .map(|index| block(number + 1 + index, &mut walk))
            .collect();
        number += blocks.len() as u64;
        stored += blocks
            .iter()
            .map(|block| block.bytes().len() as u64)
            .sum::<u64>();
        let now = UtcNanos(BEGIN + number as i64 * COMMIT_NANOS);
        store.append(&lane, &blocks, None, now).unwrap();
        store.maintain(now);
    }
    store.close().unwrap();
    fs::rename(making, root).unwrap();
}

/// From 4 to 48 doubles: 228 bytes in the mean, as the messages of the observatory.
fn width(topic: u32) -> u32 {
    4 + (topic * 37) % 45
}

fn declare(store: &mut Store) {
    let epoch = EpochDeclaration {
        edge: EdgeId([1; 16]),
        site: "summit".parse().unwrap(),
        epoch: EpochId([2; 16]),
        parent: None,
        began: ClockState::default(),
        software: "bench".into(),
    };
    let (mut streams, mut schemas) = (Vec::new(), Vec::new());
    for topic in 0..TOPICS {
        let doubles =
            (0..width(topic)).map(|field| format!(r#",{{"name":"field{field}","type":"double"}}"#));
        let doubles: String = doubles.collect();
        let schema = Schema::new(format!(
            r#"{{"name":"lsst.sal.Bench.t{topic:04}","type":"record","fields":[{{"name":"private_sndStamp","type":"double"}},{{"name":"private_seqNum","type":"long"}},{{"name":"private_identity","type":"string"}},{{"name":"private_origin","type":"long"}}{doubles}]}}"#
        ));
        streams.push(StreamDeclaration {
            number: StreamNumber(topic + 1),
            topic: format!("lsst.sal.Bench.t{topic:04}"),
            dds_topic: format!("Bench_t{topic:04}"),
            dds_type: format!("Bench::t{topic:04}"),
            kind: TopicKind::Telemetry,
            schema: schema.fingerprint(),
        });
        schemas.push(schema);
    }
    store.declare(&epoch, &streams, &schemas).unwrap();
}

/// Noise that is the same in each run.
struct Walk(u64);

impl Walk {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.0 >> 33
    }
}

fn block(number: u64, walk: &mut Walk) -> SealedBlock {
    let mut builder = BlockBuilder::new();
    let begin = BEGIN + number as i64 * COMMIT_NANOS;
    for record in 0..RECORDS {
        let topic = match record {
            0 if number.is_multiple_of(RARE_EVERY) => 0,
            _ => 1 + (record + number as u32 * 7) % (TOPICS - 1),
        };
        let time = begin + i64::from(record) * COMMIT_NANOS / i64::from(RECORDS);
        let datum = builder.datum(StreamNumber(topic + 1));
        datum.extend_from_slice(&(time as f64 / 1e9).to_le_bytes());
        // Varints: the sequence number, the identity "Bench", the origin 7.
        let mut sequence = (number * 4) << 1;
        while sequence >= 0x80 {
            datum.push(sequence as u8 | 0x80);
            sequence >>= 7;
        }
        datum.push(sequence as u8);
        datum.extend_from_slice(b"\x0aBench\x0e");
        for field in 0..width(topic) {
            // A sensor of 12 bits about a level of its own.
            let level = f64::from(topic * 64 + field);
            let value = level + (walk.next() % 4096) as f64 / 1024.0;
            datum.extend_from_slice(&value.to_le_bytes());
        }
        let stamps = RecordStamps {
            event_time: UtcNanos(time),
            origin: EventTimeOrigin::SndStamp,
            implausible: false,
            latin1: false,
            instance: None,
        };
        builder.finish(StreamNumber(topic + 1), stamps);
    }
    let log = EpochLane {
        edge: EdgeId([1; 16]),
        epoch: EpochId([2; 16]),
        lane: Lane::new(LaneKind::Telemetry),
    };
    let id = log.block(BlockNumber(number));
    builder
        .seal(id, ClockState::default(), Codec::Zstd, 1)
        .unwrap()
}
