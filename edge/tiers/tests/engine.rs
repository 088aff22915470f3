//! The engine over a real store, against windows that are made of all samples at once: late ones, a clock that is wrong,
//! two instances, arrays, crashes at any moment, and a tier that comes later.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use efd_edge_tiers::coarse::{Window, merge};
use efd_edge_tiers::settings::check;
use efd_edge_tiers::{Counters, Engine, TierSettings};
use efd_shared_avro::{Value, encode_values};
use efd_shared_model::block::Codec;
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EpochLane,
    EventTimeOrigin, Lane, LaneKind, RecordStamps, Schema, StreamDeclaration, StreamNumber,
    TopicKind, UtcNanos,
};
use efd_shared_stats::{Kernel, Resolution};
use efd_shared_store::database::Disk;
use efd_shared_store::{LaneName, Options, Store};
use efd_shared_tiers::{Series, TierReader};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SECOND: i64 = 1_000_000_000;
/// 2026-11-24T23:55:00Z: midnight is passed.
const BEGIN: i64 = 1_795_564_500 * SECOND;
/// Between two blocks.
const STEP: i64 = SECOND / 2;

fn resolution(seconds: u32) -> Resolution {
    Resolution::from_seconds(seconds).unwrap()
}

fn settings(seconds: &[u32]) -> Vec<TierSettings> {
    let tiers: Vec<_> = seconds
        .iter()
        .map(|&seconds| TierSettings {
            resolution: resolution(seconds),
            age_max: Duration::from_secs(31 * 86_400),
            bytes_max: 1 << 40,
        })
        .collect();
    check(&tiers).unwrap();
    tiers
}

fn schema(stream: u32) -> Schema {
    let array = r#"{"type":"array","items":"double"}"#;
    Schema::new(format!(
        r#"{{"type":"record","name":"t{stream}","namespace":"lsst.sal.Test","fields":[
            {{"name":"private_seqNum","type":"long"}},{{"name":"salIndex","type":"long"}},
            {{"name":"value","type":"double"}},{{"name":"count","type":"long"}},{{"name":"forces","type":{array}}},
            {{"name":"name","type":"string"}}]}}"#
    ))
}

/// By topic and instance: time and values, as they came.
type Samples = BTreeMap<(u32, i32), Vec<(UtcNanos, Vec<f64>)>>;
/// By topic and instance.
type Tier = BTreeMap<(u32, i32), BTreeMap<UtcNanos, Window>>;

struct World {
    store: Store,
    lane: LaneName,
    log: EpochLane,
    number: u64,
    rng: StdRng,
    samples: Samples,
    /// Of samples that are still under way: when they will come.
    delayed: BTreeMap<i64, Vec<(u32, i32, UtcNanos)>>,
    now: i64,
}

const STREAMS: u32 = 4;

impl World {
    fn new(root: &Path, seed: u64) -> Self {
        let (mut store, _) = Store::open(root, Options::default()).unwrap();
        let epoch = EpochDeclaration {
            edge: EdgeId([7; 16]),
            site: "summit".parse().unwrap(),
            epoch: EpochId([1; 16]),
            parent: None,
            began: ClockState::default(),
            software: "test".into(),
        };
        let stream = |number: u32| StreamDeclaration {
            number: StreamNumber(number),
            topic: format!("lsst.sal.Test.t{number}"),
            dds_topic: format!("Test_t{number}"),
            dds_type: format!("Test::t{number}"),
            kind: TopicKind::Telemetry,
            schema: schema(number).fingerprint(),
        };
        let streams: Vec<_> = (1..=STREAMS).map(stream).collect();
        let schemas: Vec<_> = (1..=STREAMS).map(schema).collect();
        store.declare(&epoch, &streams, &schemas).unwrap();
        Self {
            store,
            lane: "telemetry".parse().unwrap(),
            log: EpochLane {
                edge: epoch.edge,
                epoch: epoch.epoch,
                lane: Lane::new(LaneKind::Telemetry),
            },
            number: 0,
            rng: StdRng::seed_from_u64(seed),
            samples: BTreeMap::new(),
            delayed: BTreeMap::new(),
            now: BEGIN,
        }
    }

    fn clock(&self) -> ClockState {
        ClockState {
            utc: UtcNanos(self.now),
            monotonic: self.now - BEGIN + 5_000 * SECOND,
            boot_id: [3; 16],
            ..ClockState::default()
        }
    }

    /// One block: each topic has its own rate, one its own idea of the time.
    fn block(&mut self) {
        self.now += STEP;
        let mut coming = Vec::new();
        for stream in 1..=STREAMS {
            let count = [4, 2, 1, 1][stream as usize - 1];
            let is_silent = stream == 4 && self.now / SECOND % 40 < 25;
            for index in 0..if is_silent { 0 } else { count } {
                for instance in 1..=2 {
                    let offset = if stream == 2 { -37 * SECOND } else { 0 };
                    let time = UtcNanos(self.now - STEP + index * STEP / count + offset);
                    if self.rng.random_ratio(1, 50) {
                        let later = self.now + self.rng.random_range(1..60) * SECOND;
                        self.delayed
                            .entry(later)
                            .or_default()
                            .push((stream, instance, time));
                    } else {
                        coming.push((stream, instance, time));
                    }
                }
            }
        }
        while let Some(entry) = self.delayed.first_entry()
            && *entry.key() <= self.now
        {
            coming.extend(entry.remove());
        }
        let mut builder = BlockBuilder::new();
        for (stream, instance, time) in coming {
            let noise: f64 = self.rng.random_range(-1e-3..1e-3);
            let value = if self.rng.random_ratio(1, 30) {
                f64::NAN
            } else {
                1e9 + noise
            };
            let count = self.rng.random_range(-5..5);
            let forces: Vec<f64> = (0..3)
                .map(|_| f64::from(self.rng.random_range(-500.0..500.0f32)))
                .collect();
            let array = forces.iter().map(|&force| Value::Double(force)).collect();
            let values = [
                Value::Long(1),
                Value::Long(instance.into()),
                Value::Double(value),
                Value::Long(count),
                Value::Array(array),
                Value::String("x".into()),
            ];
            encode_values(&values, builder.datum(StreamNumber(stream)));
            let stamps = RecordStamps {
                event_time: time,
                origin: EventTimeOrigin::SndStamp,
                implausible: false,
                latin1: false,
                instance: Some(instance),
            };
            builder.finish(StreamNumber(stream), stamps);
            let measured = [vec![value, count as f64], forces].concat();
            let of_topic = self.samples.entry((stream, instance)).or_default();
            of_topic.push((time, measured));
        }
        self.number += 1;
        let id = self.log.block(BlockNumber(self.number));
        let sealed = builder.seal(id, self.clock(), Codec::Zstd, 1).unwrap();
        let now = UtcNanos(self.now);
        self.store.append(&self.lane, &[sealed], None, now).unwrap();
    }

    /// All at once.
    fn expected(&self, seconds: u32) -> Tier {
        let resolution = resolution(seconds);
        let mut kernel = Kernel::new();
        let mut all = BTreeMap::new();
        for (name, samples) in &self.samples {
            let mut sorted: Vec<_> = samples.iter().collect();
            sorted.sort_by_key(|(time, _)| *time);
            let mut windows: BTreeMap<UtcNanos, Vec<f64>> = BTreeMap::new();
            for (time, values) in sorted {
                let window = windows.entry(resolution.start(*time)).or_default();
                window.extend_from_slice(values);
            }
            let summarise = |(start, rows): (UtcNanos, Vec<f64>)| {
                let mut summaries = Vec::new();
                kernel.rows(&rows, 5, &mut summaries);
                (start, (rows.len() as u64 / 5, summaries))
            };
            all.insert(*name, windows.into_iter().map(summarise).collect());
        }
        all
    }
}

/// What is in the files of a tier.
fn found(root: &Path, tier: &str) -> Tier {
    let mut all: Tier = BTreeMap::new();
    for entry in std::fs::read_dir(root.join("tiers").join(tier)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "db") {
            let reader = TierReader::open(&path, &Disk::default()).unwrap();
            for series in reader.series().unwrap() {
                let Series { key, .. } = &series;
                let stream = key
                    .topic
                    .trim_start_matches("lsst.sal.Test.t")
                    .parse()
                    .unwrap();
                let name = (stream, key.instance.unwrap());
                let span = reader.span();
                let windows = reader.windows(&series, span.begin..span.end).unwrap();
                all.entry(name).or_default().extend(windows);
            }
        }
    }
    all
}

fn assert_same(found: &Tier, expected: &Tier) {
    let names = |of: &Tier| -> Vec<_> { of.keys().copied().collect() };
    assert_eq!(names(found), names(expected));
    for (name, windows) in expected {
        let found = &found[name];
        let starts = |of: &BTreeMap<UtcNanos, Window>| of.keys().copied().collect::<Vec<_>>();
        assert_eq!(starts(found), starts(windows), "{name:?}");
        for (start, window) in windows {
            // NaN is not equal to itself: by its text.
            assert_eq!(
                format!("{:?}", found[start]),
                format!("{window:?}"),
                "{name:?} {start}"
            );
        }
    }
}

/// The coarser windows that the finer ones make.
fn merged(fine: &Tier, seconds: u32) -> Tier {
    let resolution = resolution(seconds);
    let of_series = |windows: &BTreeMap<UtcNanos, Window>| {
        let mut groups: BTreeMap<UtcNanos, BTreeMap<UtcNanos, Window>> = BTreeMap::new();
        for (start, window) in windows {
            let group = groups.entry(resolution.start(*start)).or_default();
            group.insert(*start, window.clone());
        }
        let merged = |(start, group): (UtcNanos, BTreeMap<_, _>)| (start, merge(&group).unwrap());
        groups.into_iter().map(merged).collect()
    };
    fine.iter()
        .map(|(name, windows)| (*name, of_series(windows)))
        .collect()
}

fn run(seed: u64, blocks: u64, crash_every: Option<u32>) -> Counters {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut world = World::new(root, seed);
    let mut chance = StdRng::seed_from_u64(seed ^ 0xabcd);
    let tiers = settings(&[10, 300]);
    let mut engine = Engine::open(root, &tiers, &Disk::default()).unwrap();
    let mut reader = world.store.reader();
    let mut all = Counters::default();
    for _ in 0..blocks {
        world.block();
        // It reads now and then, and lags.
        if chance.random_ratio(1, 7) {
            while engine.step(&mut reader, &world.clock()).unwrap() {
                if chance.random_ratio(1, 3) {
                    break;
                }
            }
        }
        if crash_every.is_some_and(|every| chance.random_ratio(1, every)) {
            add(&mut all, engine.counters());
            if chance.random_ratio(1, 4) {
                engine.stop(&mut reader, &world.clock()).unwrap();
            } else {
                drop(engine);
            }
            if chance.random_ratio(1, 8) {
                std::fs::remove_file(root.join("tiers/state")).ok();
            }
            reader = world.store.reader();
            engine = Engine::open(root, &tiers, &Disk::default()).unwrap();
        }
    }
    while engine.step(&mut reader, &world.clock()).unwrap() {}
    engine.flush(&mut reader, &world.clock()).unwrap();
    add(&mut all, engine.counters());
    let fine = world.expected(10);
    assert_same(&found(root, "10s"), &fine);
    assert_same(&found(root, "5min"), &merged(&fine, 300));
    engine.stop(&mut reader, &world.clock()).unwrap();
    assert_same(&found(root, "10s"), &fine);
    all
}

fn add(all: &mut Counters, more: Counters) {
    all.late += more.late;
    all.corrected += more.corrected;
    all.merged += more.merged;
}

#[test]
fn tiers_are_the_windows_of_all_samples() {
    let counters = run(1, 2500, None);
    assert!(
        counters.late > 100 && counters.corrected > 100,
        "{counters:?}"
    );
    assert_eq!(counters.merged, 0);
    assert_eq!(counters.early + counters.unfit + counters.given_up, 0);
}

#[test]
fn and_so_they_are_after_crashes() {
    for seed in 2..6 {
        run(seed, 1200, Some(50));
    }
}

#[test]
fn tiers_that_come_later_are_made_of_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut world = World::new(root, 9);
    for _ in 0..1500 {
        world.block();
    }
    let mut reader = world.store.reader();
    let mut engine = Engine::open(root, &settings(&[10, 60]), &Disk::default()).unwrap();
    while engine.step(&mut reader, &world.clock()).unwrap() {}
    engine.flush(&mut reader, &world.clock()).unwrap();
    let fine = world.expected(10);
    assert_same(&found(root, "10s"), &fine);
    assert_same(&found(root, "1min"), &merged(&fine, 60));
}

/// A file that is cut or filled with rubbish is put aside; the tier comes on, and the other files are as they were.
#[test]
fn a_damaged_file_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut world = World::new(root, 11);
    let tiers = settings(&[10]);
    let mut engine = Engine::open(root, &tiers, &Disk::default()).unwrap();
    let mut reader = world.store.reader();
    for _ in 0..300 {
        world.block();
    }
    while engine.step(&mut reader, &world.clock()).unwrap() {}
    engine.stop(&mut reader, &world.clock()).unwrap();
    let file = || {
        let entries = std::fs::read_dir(root.join("tiers/10s")).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        paths.find(|path| path.extension().is_some_and(|it| it == "db"))
    };
    let bytes = std::fs::read(file().unwrap()).unwrap();
    std::fs::write(file().unwrap(), &bytes[..bytes.len() / 2]).unwrap();
    for _ in 0..200 {
        world.block();
    }
    let mut aside = 0;
    for _ in 0..5 {
        let worked = Engine::open(root, &tiers, &Disk::default()).and_then(|mut engine| {
            while engine.step(&mut reader, &world.clock())? {}
            engine.flush(&mut reader, &world.clock())
        });
        match worked {
            Ok(()) => break,
            Err(error) => {
                assert!(error.set_aside(root).unwrap(), "{error}");
                aside += 1;
            }
        }
    }
    assert_eq!(aside, 1);
    let left = std::fs::read_dir(root.join("tiers/10s")).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    let is_aside = |name: &&std::ffi::OsString| name.to_str().unwrap().ends_with(".damaged");
    assert_eq!(names.iter().filter(is_aside).count(), 1, "{names:?}");
    // What came after is there, as it should be.
    let (found, expected) = (found(root, "10s"), world.expected(10));
    for (name, windows) in &found {
        let (start, window) = windows.last_key_value().unwrap();
        assert_eq!(
            format!("{:?}", expected[name][start]),
            format!("{window:?}")
        );
    }
    assert!(!found.is_empty());
}
