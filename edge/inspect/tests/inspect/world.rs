//! A buffer with everything in it, the same each time; and the binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use efd_shared_avro::{Value, encode_values};
use efd_shared_model::block::Codec;
use efd_shared_model::epoch::Parent;
use efd_shared_model::loss::{LOSS_SCHEMA, LOSS_TOPIC};
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EpochLane,
    EventTimeOrigin, Lane, LaneKind, Loss, LossReason, RangeSet, RecordStamps, Schema, SealedBlock,
    StreamDeclaration, StreamNumber, TopicKind, UtcNanos,
};
use efd_shared_store::{Options, Store};

pub const SECOND: i64 = 1_000_000_000;
/// 2026-11-24T00:00:00Z
pub const BEGIN: i64 = 1_795_478_400 * SECOND;

const ELEVATION: u32 = 1;
const SUMMARY: u32 = 2;
const LOSSES: u32 = 3;
const PARKED: u32 = 4;

const ELEVATION_SCHEMA: &str = r#"{"name":"lsst.sal.MTMount.elevation","type":"record","fields":[{"name":"private_sndStamp","type":"double"},{"name":"angle","type":"double"},{"name":"torque","type":{"type":"array","items":"double"}}]}"#;
const SUMMARY_SCHEMA: &str = r#"{"name":"lsst.sal.Test.logevent_summaryState","type":"record","fields":[{"name":"salIndex","type":"long"},{"name":"state","type":"string"}]}"#;
const PARKED_SCHEMA: &str = r#"{"name":"efd.parked","type":"record","fields":[{"name":"reason","type":"string"},{"name":"dds_topic","type":"string"},{"name":"dds_type","type":"string"},{"name":"payload","type":"bytes"}]}"#;

pub fn epoch(n: u8) -> EpochDeclaration {
    EpochDeclaration {
        edge: EdgeId([0xed; 16]),
        site: "summit".parse().unwrap(),
        epoch: EpochId([n; 16]),
        parent: (n > 1).then(|| Parent {
            epoch: EpochId([n - 1; 16]),
            heads: vec![(Lane::new(LaneKind::Telemetry), BlockNumber(6))],
        }),
        began: ClockState {
            utc: UtcNanos(BEGIN + i64::from(n - 1) * 3600 * SECOND),
            ..ClockState::default()
        },
        software: "0.1.0".into(),
    }
}

fn streams() -> Vec<(StreamDeclaration, Schema)> {
    let stream = |number, topic: &str, dds: &str, kind, schema: &str| {
        let schema = Schema::new(schema);
        let declaration = StreamDeclaration {
            number: StreamNumber(number),
            topic: topic.into(),
            dds_topic: dds.into(),
            dds_type: dds.replacen('_', "::", 1),
            kind,
            schema: schema.fingerprint(),
        };
        (declaration, schema)
    };
    let elevation = "MTMount_elevation_1a2b3c4d";
    let summary = "Test_logevent_summaryState_1a2b3c4d";
    vec![
        stream(
            ELEVATION,
            "lsst.sal.MTMount.elevation",
            elevation,
            TopicKind::Telemetry,
            ELEVATION_SCHEMA,
        ),
        stream(
            SUMMARY,
            "lsst.sal.Test.logevent_summaryState",
            summary,
            TopicKind::Event,
            SUMMARY_SCHEMA,
        ),
        stream(LOSSES, LOSS_TOPIC, "", TopicKind::Loss, LOSS_SCHEMA),
        stream(PARKED, "efd.parked", "", TopicKind::Parked, PARKED_SCHEMA),
    ]
}

pub fn declare(store: &mut Store, n: u8) {
    let (streams, schemas): (Vec<_>, Vec<_>) = streams().into_iter().unzip();
    store.declare(&epoch(n), &streams, &schemas).unwrap();
}

pub fn log(n: u8, kind: LaneKind) -> EpochLane {
    EpochLane {
        edge: EdgeId([0xed; 16]),
        epoch: EpochId([n; 16]),
        lane: Lane::new(kind),
    }
}

pub fn block(
    log: EpochLane,
    number: u64,
    records: Vec<(u32, i64, Option<i32>, Vec<u8>)>,
) -> SealedBlock {
    let mut builder = BlockBuilder::new();
    for (stream, time, instance, datum) in records {
        builder
            .datum(StreamNumber(stream))
            .extend_from_slice(&datum);
        let stamps = RecordStamps {
            event_time: UtcNanos(time),
            origin: EventTimeOrigin::SndStamp,
            implausible: false,
            latin1: false,
            instance,
        };
        builder.finish(StreamNumber(stream), stamps);
    }
    builder
        .seal(
            log.block(BlockNumber(number)),
            ClockState::default(),
            Codec::Zstd,
            1,
        )
        .unwrap()
}

pub fn datum(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_values(values, &mut out);
    out
}

/// Ten records, one a second; block `number` of an epoch begins at `number` × 10 s into the epoch's hour.
pub fn telemetry(n: u8, number: u64) -> SealedBlock {
    let first = BEGIN + i64::from(n - 1) * 3600 * SECOND + number as i64 * 10 * SECOND;
    let record = |index: i64| {
        let time = first + index * SECOND;
        let angle = if index == 3 {
            f64::NAN
        } else {
            number as f64 + index as f64 / 4.0
        };
        let torque = (0..40)
            .map(|n| Value::Double(f64::from(n) * (time % 1009) as f64))
            .collect();
        let values = [
            Value::Double(time as f64 / 1e9),
            Value::Double(angle),
            Value::Array(torque),
        ];
        (ELEVATION, time, None, datum(&values))
    };
    block(
        log(n, LaneKind::Telemetry),
        number,
        (0..10).map(record).collect(),
    )
}

pub fn event(n: u8, number: u64) -> SealedBlock {
    let time = BEGIN + i64::from(n - 1) * 3600 * SECOND + number as i64;
    let record = |index: i32| {
        let values = [
            Value::Long(index.into()),
            Value::String(format!("ENABLED \"{number}\"")),
        ];
        (
            SUMMARY,
            time + i64::from(index),
            Some(index),
            datum(&values),
        )
    };
    block(log(n, LaneKind::Events), number, vec![record(1), record(2)])
}

pub fn loss(n: u8) -> SealedBlock {
    let (from, until) = (UtcNanos(BEGIN), UtcNanos(BEGIN + 5));
    let loss = Loss {
        topic: "lsst.sal.MTMount.elevation".into(),
        identity: "MTMount".into(),
        first_seq: 7,
        last_seq: 9,
        count: 3,
        ..Loss::new(LossReason::DdsGap, from, until)
    };
    let mut datum = Vec::new();
    loss.encode(&mut datum);
    block(
        log(n, LaneKind::Losses),
        1,
        vec![(LOSSES, BEGIN, None, datum)],
    )
}

pub fn parked(n: u8) -> SealedBlock {
    let text = |text: &str| Value::String(text.into());
    let values = [
        text("untyped"),
        text("New_thing_00000000"),
        text("New::thing_00000000"),
        Value::Bytes(vec![7; 120]),
    ];
    block(
        log(n, LaneKind::Parked),
        1,
        vec![(PARKED, BEGIN + 1, None, datum(&values))],
    )
}

/// Two epochs; telemetry in several closed segments and an open one, of which the centre has the first four blocks;
/// events, a loss, a parked sample. 60 + 60 records of telemetry, 8 events.
pub fn write(root: &Path) -> Store {
    let options = Options {
        segment_bytes_max: 3_000,
        segment_age_max: Duration::from_secs(86_400),
        reserve_bytes: 0,
        ..Options::default()
    };
    let (mut store, _) = Store::open(root, options).unwrap();
    let now = |n: u8| UtcNanos(BEGIN + i64::from(n - 1) * 3600 * SECOND + 60 * SECOND);
    let lane = |kind: LaneKind| kind.as_str().parse().unwrap();
    for n in 1..=2 {
        declare(&mut store, n);
        for number in 1..=6 {
            store
                .append(
                    &lane(LaneKind::Telemetry),
                    &[telemetry(n, number)],
                    None,
                    now(n),
                )
                .unwrap();
        }
        for number in 1..=2 {
            store
                .append(&lane(LaneKind::Events), &[event(n, number)], None, now(n))
                .unwrap();
        }
    }
    store
        .append(&lane(LaneKind::Losses), &[loss(1)], None, now(1))
        .unwrap();
    store
        .append(&lane(LaneKind::Parked), &[parked(1)], None, now(1))
        .unwrap();
    let acked: RangeSet = [1..=4].into_iter().collect();
    store.add_acked("centre", &log(1, LaneKind::Telemetry), &acked);
    store.save_acked().unwrap();
    store.maintain(now(2));
    store
}

/// As the edge leaves it when it goes down in order.
pub fn closed() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("buffer");
    write(&root).close().unwrap();
    (folder, root)
}

/// As a power cut leaves it: rows in the WAL files. A copy beside the living store, which stays as it is.
pub fn crashed() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let living = folder.path().join("living");
    let store = write(&living);
    let root = folder.path().join("buffer");
    copy(&living, &root);
    drop(store);
    (folder, root)
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every file below, with its bytes.
pub fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

/// A segment file of a lane, by its place.
pub fn segment(root: &Path, lane: &str, index: usize) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(root.join("segments").join(lane))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "db"));
    files.sort();
    files[index].clone()
}

/// A stream of numbers that is the same in each run (SplitMix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn lines(&self) -> usize {
        self.out.lines().count()
    }
}

pub fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_efd-inspect"))
}

pub fn run(verb: &str, path: &Path, arguments: &[&str]) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = command()
        .arg(verb)
        .arg(path)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let ran = Ran {
        code: status.code().expect("it ends by itself"),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    };
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    assert!((0..=3).contains(&ran.code), "{}: {}", ran.code, ran.err);
    ran
}
