//! A store that topics are written to, and windows that are made of all samples at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use efd_edge_tiers::coarse::{Window, merge};
use efd_edge_tiers::settings::{chain, check, name};
use efd_edge_tiers::{Counters, Engine, TierSettings, Topics};
use efd_shared_avro::{Value, encode_values};
use efd_shared_model::block::Codec;
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EpochLane,
    EventTimeOrigin, Lane, LaneKind, RecordStamps, Schema, SealedBlock, StreamDeclaration,
    StreamNumber, TopicKind, UtcNanos,
};
use efd_shared_stats::{Kernel, Resolution, Summary};
use efd_shared_store::database::Disk;
use efd_shared_store::{LaneName, Options, Reader, Store};
use efd_shared_tiers::{Series, TierReader};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub(crate) const SECOND: i64 = 1_000_000_000;
/// 2026-11-24T23:55:00Z: midnight is passed.
pub(crate) const BEGIN: i64 = 1_795_564_500 * SECOND;
/// Between two blocks.
pub(crate) const STEP: i64 = SECOND / 2;

pub(crate) fn resolution(seconds: u32) -> Resolution {
    Resolution::from_seconds(seconds).unwrap()
}

pub(crate) fn tier(seconds: u32, patterns: &[&str]) -> TierSettings {
    let patterns: Vec<String> = patterns.iter().map(|it| it.to_string()).collect();
    TierSettings {
        resolution: resolution(seconds),
        topics: Topics::of(&patterns),
        age_max: Duration::from_secs(31 * 86_400),
        bytes_max: 1 << 40,
    }
}

/// Of all topics.
pub(crate) fn settings(seconds: &[u32]) -> Vec<TierSettings> {
    let tiers: Vec<_> = seconds.iter().map(|&seconds| tier(seconds, &[])).collect();
    check(&tiers).unwrap();
    tiers
}

/// Of a few hundred blocks.
fn options() -> Options {
    Options {
        segment_bytes_max: 256 << 10,
        ..Options::default()
    }
}

pub(crate) fn topic(stream: u32) -> String {
    format!("lsst.sal.Test.t{stream}")
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
pub(crate) type Samples = BTreeMap<(u32, i32), Vec<(UtcNanos, Vec<f64>)>>;
/// By topic and instance.
pub(crate) type Tier = BTreeMap<(u32, i32), BTreeMap<UtcNanos, Window>>;

pub(crate) struct World {
    pub(crate) store: Store,
    /// Streams are dealt to them in turn.
    lanes: Vec<(LaneName, EpochLane)>,
    number: u64,
    rng: StdRng,
    pub(crate) samples: Samples,
    /// One sample of so many comes later.
    pub(crate) late: Option<u32>,
    /// Of samples that are still under way: when they will come.
    delayed: BTreeMap<i64, Vec<(u32, i32, UtcNanos)>>,
    pub(crate) now: i64,
    /// Written, not committed.
    waiting: Vec<Vec<SealedBlock>>,
}

pub(crate) const STREAMS: u32 = 4;

impl World {
    pub(crate) fn new(root: &Path, seed: u64) -> Self {
        Self::of_lanes(root, seed, 1)
    }

    pub(crate) fn of_lanes(root: &Path, seed: u64, lanes: u16) -> Self {
        let (mut store, _) = Store::open(root, options()).unwrap();
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
            topic: topic(number),
            dds_topic: format!("Test_t{number}"),
            dds_type: format!("Test::t{number}"),
            kind: TopicKind::Telemetry,
            schema: schema(number).fingerprint(),
        };
        let streams: Vec<_> = (1..=STREAMS).map(stream).collect();
        let schemas: Vec<_> = (1..=STREAMS).map(schema).collect();
        store.declare(&epoch, &streams, &schemas).unwrap();
        let lane = |shard| {
            let lane = Lane {
                kind: LaneKind::Telemetry,
                shard,
            };
            let log = EpochLane {
                edge: epoch.edge,
                epoch: epoch.epoch,
                lane,
            };
            (lane.to_string().parse().unwrap(), log)
        };
        Self {
            store,
            lanes: (0..lanes).map(lane).collect(),
            number: 0,
            rng: StdRng::seed_from_u64(seed),
            samples: BTreeMap::new(),
            late: Some(50),
            delayed: BTreeMap::new(),
            now: BEGIN,
            waiting: vec![Vec::new(); lanes.into()],
        }
    }

    pub(crate) fn clock(&self) -> ClockState {
        ClockState {
            utc: UtcNanos(self.now),
            monotonic: self.now - BEGIN + 5_000 * SECOND,
            boot_id: [3; 16],
            ..ClockState::default()
        }
    }

    pub(crate) fn block(&mut self) {
        self.write();
        self.commit();
    }

    pub(crate) fn commit(&mut self) {
        let now = UtcNanos(self.now);
        for ((name, _), blocks) in self.lanes.iter().zip(&mut self.waiting) {
            self.store.append(name, blocks, None, now).unwrap();
            blocks.clear();
        }
    }

    /// One block of each lane: each topic has its own rate, one its own idea of the time.
    pub(crate) fn write(&mut self) {
        self.now += STEP;
        let mut coming = Vec::new();
        for stream in 1..=STREAMS {
            let count = [4, 2, 1, 1][stream as usize - 1];
            let is_silent = stream == 4 && self.now / SECOND % 40 < 25;
            for index in 0..if is_silent { 0 } else { count } {
                for instance in 1..=2 {
                    let offset = if stream == 2 { -37 * SECOND } else { 0 };
                    let time = UtcNanos(self.now - STEP + index * STEP / count + offset);
                    if self.late.is_some_and(|of| self.rng.random_ratio(1, of)) {
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
        self.put(&coming);
    }

    /// A block of each lane with samples of these topics, instances and times.
    pub(crate) fn put(&mut self, coming: &[(u32, i32, UtcNanos)]) {
        self.number += 1;
        for lane in 0..self.lanes.len() {
            self.put_lane(lane, coming);
        }
    }

    fn put_lane(&mut self, lane: usize, coming: &[(u32, i32, UtcNanos)]) {
        let mut builder = BlockBuilder::new();
        let lanes = self.lanes.len();
        let of_lane = coming
            .iter()
            .filter(|(stream, _, _)| *stream as usize % lanes == lane);
        for &(stream, instance, time) in of_lane {
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
        let id = self.lanes[lane].1.block(BlockNumber(self.number));
        let sealed = builder.seal(id, self.clock(), Codec::Zstd, 1).unwrap();
        self.waiting[lane].push(sealed);
    }

    /// Every segment but the last of each lane.
    pub(crate) fn remove_segments(&mut self) {
        let all = self.store.segments();
        for (info, next) in all.iter().zip(&all[1..]) {
            if info.key.lane == next.key.lane {
                self.store.remove(&info.key).unwrap();
            }
        }
    }

    /// All at once.
    pub(crate) fn expected(&self, seconds: u32) -> Tier {
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
pub(crate) fn found(root: &Path, tier: &str) -> Tier {
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

pub(crate) fn assert_same(found: &Tier, expected: &Tier) {
    let names = |of: &Tier| -> Vec<_> { of.keys().copied().collect() };
    assert_eq!(names(found), names(expected));
    for (name, windows) in expected {
        let found = &found[name];
        assert_starts(found, windows, name);
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

fn assert_starts(
    found: &BTreeMap<UtcNanos, Window>,
    expected: &BTreeMap<UtcNanos, Window>,
    name: &(u32, i32),
) {
    let only = |a: &BTreeMap<UtcNanos, Window>, b: &BTreeMap<UtcNanos, Window>| {
        let starts = a.keys().filter(|start| !b.contains_key(start));
        starts.map(|start| start.to_string()).collect::<Vec<_>>()
    };
    let (more, missing) = (only(found, expected), only(expected, found));
    assert!(
        more.is_empty() && missing.is_empty(),
        "{name:?} more {more:?} missing {missing:?}"
    );
}

/// The coarser windows that the finer ones make.
pub(crate) fn merged(fine: &Tier, seconds: u32) -> Tier {
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

/// What the tiers of these settings are, by the settings: the first of a topic out of its samples, the others merged.
pub(crate) fn expected(world: &World, tiers: &[TierSettings]) -> Vec<Tier> {
    let seconds = |tier: &TierSettings| (tier.resolution.nanos() / SECOND) as u32;
    let mut all: Vec<Tier> = Vec::new();
    for (place, tier) in tiers.iter().enumerate() {
        let raw = world.expected(seconds(tier));
        let mut of_tier = Tier::new();
        for stream in 1..=STREAMS {
            let chain = chain(tiers, &topic(stream));
            let Some(at) = chain.iter().position(|it| *it == place) else {
                continue;
            };
            let finer = match at.checked_sub(1) {
                None => raw.clone(),
                Some(before) => merged(&all[chain[before]], seconds(tier)),
            };
            let of_stream = finer.into_iter().filter(|((it, _), _)| *it == stream);
            of_tier.extend(of_stream);
        }
        all.push(of_tier);
    }
    all
}

pub(crate) fn assert_tiers(root: &Path, world: &World, tiers: &[TierSettings]) {
    for (tier, expected) in tiers.iter().zip(expected(world, tiers)) {
        assert_same(&found(root, &name(tier.resolution)), &expected);
    }
}

/// As [`assert_tiers`], but windows may be made of finer ones where they would be made of samples, and the other way
/// round: then the quartiles tell, and what is computed of sums may differ in its last bits. Gives the windows whose first
/// and last values are not those.
pub(crate) fn assert_alike(
    root: &Path,
    world: &World,
    tiers: &[TierSettings],
) -> BTreeSet<UtcNanos> {
    let mut other_ends = BTreeSet::new();
    let near =
        |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(1.0) || a.is_nan() && b.is_nan();
    for (tier, expected) in tiers.iter().zip(expected(world, tiers)) {
        let found = found(root, &name(tier.resolution));
        let names = |of: &Tier| -> Vec<_> { of.keys().copied().collect() };
        assert_eq!(names(&found), names(&expected), "{tier:?}");
        for (name, windows) in &expected {
            assert_starts(&found[name], windows, name);
            for (start, (rows, summaries)) in windows {
                let (found_rows, found) = &found[name][start];
                assert_eq!(found_rows, rows, "{tier:?} {name:?} {start}");
                for (found, expected) in found.iter().zip(summaries) {
                    let exact = |it: &Summary| {
                        let extremes = [it.min.to_bits(), it.max.to_bits()];
                        (it.count, it.nan_count, extremes)
                    };
                    assert_eq!(exact(found), exact(expected), "{tier:?} {name:?} {start}");
                    assert!(near(found.mean, expected.mean), "{found:?} {expected:?}");
                    assert!(
                        (found.spread - expected.spread).abs() < 1e-5 || expected.spread.is_nan()
                    );
                    let ends = |it: &Summary| [it.first.to_bits(), it.last.to_bits()];
                    if ends(found) != ends(expected) {
                        other_ends.insert(*start);
                    }
                }
            }
        }
    }
    other_ends
}

pub(crate) fn open(root: &Path, tiers: &[TierSettings]) -> Engine {
    Engine::open(root, tiers, &Disk::default()).unwrap()
}

pub(crate) fn settle(engine: &mut Engine, reader: &mut Reader, world: &World) {
    while engine.step(reader, &world.clock()).unwrap() {}
}

pub(crate) fn add(all: &mut Counters, more: Counters) {
    all.late += more.late;
    all.corrected += more.corrected;
    all.merged += more.merged;
    all.kept += more.kept;
}
