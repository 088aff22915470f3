//! Answers against all that was ever committed, sorted and averaged in the plainest way: two epochs with different schemas,
//! late and early stamps, two instances, segments of a few blocks, tiers that lag behind.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use efd_edge_query::answer::Answer;
use efd_edge_query::ask::{FieldAsk, Stat, TierAsk};
use efd_edge_query::columns::Values;
use efd_edge_query::series::SeriesAsk;
use efd_edge_query::{Activity, Budget, Holdings, Library, Limits, QueryError};
use efd_edge_tiers::{Engine, TierSettings, Topics};
use efd_shared_avro::{Value, encode_values};
use efd_shared_model::block::Codec;
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EpochLane,
    EventTimeOrigin, Lane, LaneKind, RecordStamps, Schema, StreamDeclaration, StreamNumber,
    TopicKind, UtcNanos,
};
use efd_shared_stats::Resolution;
use efd_shared_store::database::Disk;
use efd_shared_store::{Options, Store};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SECOND: i64 = 1_000_000_000;
/// 2026-11-24T23:55:00Z: midnight is passed.
const BEGIN: i64 = 1_795_564_500 * SECOND;
const ELEVATION: &str = "lsst.sal.MTMount.elevation";
const STATE: &str = "lsst.sal.MTMount.logevent_summaryState";

/// `count` is a long in the first epoch and a double in the second, which has one field more before it.
fn schema(is_event: bool, epoch: u8) -> Schema {
    let name = if is_event { STATE } else { ELEVATION };
    let array = r#"{"type":"array","items":"double"}"#;
    let array = format!(r#"{{"name":"forces","type":{array},"default":[0.0,0.0,0.0]}}"#);
    let count = match epoch {
        1 => r#"{"name":"count","type":"long"}"#.to_owned(),
        _ => r#"{"name":"extra","type":"boolean"},{"name":"count","type":"double"}"#.to_owned(),
    };
    Schema::new(format!(
        r#"{{"type":"record","name":"{name}","fields":[{{"name":"private_seqNum","type":"long"}},
            {{"name":"salIndex","type":"long"}},{{"name":"position","type":"double","units":"deg"}},
            {array},{count},{{"name":"name","type":"string"}}]}}"#
    ))
}

#[derive(Clone, Debug)]
struct Sample {
    time: i64,
    instance: i32,
    position: f64,
    forces: [f64; 3],
    count: f64,
    name: String,
    number: i64,
}

struct World {
    store: Store,
    rng: StdRng,
    epoch: EpochDeclaration,
    blocks: [u64; 2],
    elevation: Vec<Sample>,
    states: Vec<Sample>,
    now: i64,
    activity: Arc<Activity>,
}

impl World {
    fn new(root: &Path, seed: u64) -> Self {
        let options = Options {
            segment_bytes_max: 64 << 10,
            ..Options::default()
        };
        let (store, _) = Store::open(root, options).unwrap();
        let mut world = Self {
            store,
            rng: StdRng::seed_from_u64(seed),
            epoch: EpochDeclaration {
                edge: EdgeId([7; 16]),
                site: "summit".parse().unwrap(),
                epoch: EpochId([0; 16]),
                parent: None,
                began: ClockState::default(),
                software: "test".into(),
            },
            blocks: [0; 2],
            elevation: Vec::new(),
            states: Vec::new(),
            now: BEGIN,
            activity: Arc::new(Activity::default()),
        };
        world.begin_epoch(1);
        world
    }

    fn begin_epoch(&mut self, number: u8) {
        self.epoch.epoch = EpochId([number; 16]);
        self.blocks = [0; 2];
        // The numbers of the streams differ from epoch to epoch.
        let kinds = [(TopicKind::Telemetry, ELEVATION), (TopicKind::Event, STATE)];
        let streams = kinds.map(|(kind, topic)| StreamDeclaration {
            number: self.stream(kind),
            topic: topic.into(),
            dds_topic: topic.replace('.', "_"),
            dds_type: topic.replace('.', "::"),
            kind,
            schema: schema(kind == TopicKind::Event, number).fingerprint(),
        });
        let mut streams = streams.to_vec();
        streams.sort_by_key(|stream| stream.number);
        let schemas = [schema(false, number), schema(true, number)];
        self.store.declare(&self.epoch, &streams, &schemas).unwrap();
    }

    fn stream(&self, kind: TopicKind) -> StreamNumber {
        let is_second = self.epoch.epoch == EpochId([2; 16]);
        match (kind == TopicKind::Event, is_second) {
            (true, false) | (false, true) => StreamNumber(1),
            _ => StreamNumber(2),
        }
    }

    fn sample(&mut self, time: i64) -> Sample {
        let name = ["a", "b,\"c\"", ""][self.rng.random_range(0..3)];
        Sample {
            time,
            instance: self.rng.random_range(1..3),
            position: if self.rng.random_ratio(1, 40) {
                f64::NAN
            } else {
                1e9 + self.rng.random_range(-1e-3..1e-3)
            },
            forces: [0; 3].map(|_| self.rng.random_range(-500.0..500.0)),
            count: f64::from(self.rng.random_range(-5..5)),
            name: name.into(),
            number: (self.elevation.len() + self.states.len()) as i64,
        }
    }

    /// Telemetry that is not late, altered.
    fn block_of(&mut self, alter: impl Fn(&mut Sample)) {
        self.alter_with(false, &[TopicKind::Telemetry], alter);
    }

    fn block(&mut self) {
        self.block_with(true);
    }

    fn block_with(&mut self, has_late: bool) {
        let kinds = [TopicKind::Telemetry, TopicKind::Event];
        self.alter_with(has_late, &kinds, |_| {});
    }

    fn alter_with(&mut self, has_late: bool, kinds: &[TopicKind], alter: impl Fn(&mut Sample)) {
        self.now += SECOND / 2;
        for &kind in kinds {
            let is_event = kind == TopicKind::Event;
            if is_event && self.rng.random_ratio(3, 4) {
                continue;
            }
            let mut builder = BlockBuilder::new();
            for _ in 0..self.rng.random_range(1..12) {
                // Most stamps are of now; some come late, and some publisher's clock is 37 s behind.
                let late = match self.rng.random_range(0..40) {
                    _ if !has_late => self.rng.random_range(0..SECOND / 2),
                    0 => self.rng.random_range(0..90 * SECOND),
                    1 => 37 * SECOND,
                    2 => -5 * SECOND,
                    _ => self.rng.random_range(0..SECOND / 2),
                };
                // Equal times are common.
                let time = (self.now - late) / 1_000_000 * 1_000_000;
                let mut sample = self.sample(time);
                alter(&mut sample);
                let time = sample.time;
                let forces = sample.forces.map(Value::Double).to_vec();
                let is_first = self.epoch.epoch == EpochId([1; 16]);
                let mut values = vec![
                    Value::Long(sample.number),
                    Value::Long(sample.instance.into()),
                    Value::Double(sample.position),
                    Value::Array(forces),
                ];
                match is_first {
                    true => values.push(Value::Long(sample.count as i64)),
                    false => values.extend([Value::Boolean(true), Value::Double(sample.count)]),
                }
                values.push(Value::String(sample.name.clone()));
                let stream = self.stream(kind);
                encode_values(&values, builder.datum(stream));
                let stamps = RecordStamps {
                    event_time: UtcNanos(time),
                    origin: EventTimeOrigin::SndStamp,
                    implausible: false,
                    latin1: false,
                    instance: Some(sample.instance),
                };
                builder.finish(stream, stamps);
                match is_event {
                    true => self.states.push(sample),
                    false => self.elevation.push(sample),
                }
            }
            let lane = match is_event {
                true => LaneKind::Events,
                false => LaneKind::Telemetry,
            };
            let number = &mut self.blocks[usize::from(is_event)];
            *number += 1;
            let log = EpochLane {
                edge: self.epoch.edge,
                epoch: self.epoch.epoch,
                lane: Lane::new(lane),
            };
            let id = log.block(BlockNumber(*number));
            let sealed = builder.seal(id, clock(self.now), Codec::Zstd, 1).unwrap();
            let name = lane.as_str().parse().unwrap();
            self.store
                .append(&name, &[sealed], None, UtcNanos(self.now))
                .unwrap();
        }
        self.store.maintain(UtcNanos(self.now));
    }

    fn library(&self, root: &Path, limits: Limits) -> Library {
        let holdings = Holdings {
            folder: root.to_owned(),
            tiers: tiers(),
            activity: Arc::clone(&self.activity),
            limits,
        };
        Library::new(holdings, self.store.reader())
    }
}

fn clock(now: i64) -> ClockState {
    ClockState {
        utc: UtcNanos(now),
        monotonic: now - BEGIN + 5_000 * SECOND,
        boot_id: [3; 16],
        ..ClockState::default()
    }
}

fn tiers() -> Vec<TierSettings> {
    let tier = |seconds: u32| TierSettings {
        resolution: Resolution::from_seconds(seconds).unwrap(),
        topics: Topics::All,
        age_max: Duration::from_secs(31 * 86_400),
        bytes_max: 1 << 40,
    };
    vec![tier(10), tier(60)]
}

struct Free;

impl Budget for Free {
    fn check(&self) -> Result<(), QueryError> {
        Ok(())
    }
}

fn ask(times: (i64, i64), fields: &[&str]) -> SeriesAsk {
    SeriesAsk {
        topic: ELEVATION.into(),
        fields: fields
            .iter()
            .map(|it| FieldAsk::parse(it).unwrap())
            .collect(),
        instance: None,
        times,
        points: None,
        tier: TierAsk::Raw,
        statistics: vec![Stat::Count, Stat::Min, Stat::Max, Stat::Mean, Stat::Last],
    }
}

/// A few epochs' worth, with segments closed on the way.
fn filled(root: &Path, seed: u64) -> World {
    let mut world = World::new(root, seed);
    for _ in 0..400 {
        world.block();
    }
    world.begin_epoch(2);
    for _ in 0..400 {
        world.block();
    }
    world
}

fn sorted(samples: &[Sample], times: (i64, i64), instance: i32) -> Vec<&Sample> {
    let (from, until) = times;
    let mut all: Vec<&Sample> = samples
        .iter()
        .filter(|it| from <= it.time && it.time < until && it.instance == instance)
        .collect();
    // Stable: equal times stay as they came.
    all.sort_by_key(|it| it.time);
    all
}

fn bits(values: &[Option<f64>]) -> Vec<u64> {
    values
        .iter()
        .map(|value| value.unwrap().to_bits())
        .collect()
}

#[test]
fn records_come_in_the_order_of_their_times() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let mut world = filled(folder.path(), seed);
        let mut library = world.library(folder.path(), Limits::default());
        for _ in 0..20 {
            let length = world.rng.random_range(1..500) * SECOND;
            let from = BEGIN + world.rng.random_range(-100..500) * SECOND;
            let times = (from, from + length);
            let ask = ask(times, &["position", "forces[1]", "count", "name", "forces"]);
            let answer = library.series(&ask, &Free).unwrap();
            assert_eq!((answer.tier.as_str(), answer.resolution), ("raw", None));
            for instance in 1..=2 {
                let expected = sorted(&world.elevation, times, instance);
                let part = answer.parts.iter().find(|it| it.instance == Some(instance));
                let Some(part) = part else {
                    assert!(expected.is_empty());
                    continue;
                };
                let times: Vec<i64> = expected.iter().map(|it| it.time).collect();
                assert_eq!(part.times, times, "seed {seed}");
                let column = |value: fn(&Sample) -> f64| -> Vec<u64> {
                    expected.iter().map(|it| value(it).to_bits()).collect()
                };
                let expected_columns = [
                    column(|it| it.position),
                    column(|it| it.forces[1]),
                    column(|it| it.count),
                    column(|it| it.forces[0]),
                    column(|it| it.forces[1]),
                    column(|it| it.forces[2]),
                ];
                let found = [0, 1, 2, 4, 5, 6].map(|it| {
                    let Values::Double(values) = &part.values[it] else {
                        panic!("{:?}", part.values[it]);
                    };
                    bits(values)
                });
                assert_eq!(found, expected_columns);
                let Values::Text(names) = &part.values[3] else {
                    panic!("{:?}", part.values[3]);
                };
                let expected_names: Vec<_> =
                    expected.iter().map(|it| Some(it.name.clone())).collect();
                assert_eq!(names, &expected_names);
            }
        }
    }
}

#[test]
fn the_newest_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let world = filled(folder.path(), 9);
    let mut library = world.library(folder.path(), Limits::default());
    let now = UtcNanos(world.now);
    for (topic, samples) in [(ELEVATION, &world.elevation), (STATE, &world.states)] {
        for instance in [None, Some(2)] {
            let mut expected: Vec<&Sample> = samples
                .iter()
                .filter(|it| instance.is_none_or(|wanted| it.instance == wanted))
                .collect();
            expected.sort_by_key(|it| it.time);
            expected.reverse();
            for count in [1, 7, 5000] {
                let newest = library.last(topic, instance, count, now, &Free).unwrap();
                let numbers: Vec<i64> = newest
                    .records
                    .iter()
                    .map(|it| number(it.fields.get()))
                    .collect();
                let expected: Vec<i64> = expected.iter().take(count).map(|it| it.number).collect();
                assert_eq!(numbers, expected, "{topic} {instance:?} {count}");
                assert_eq!(
                    newest.is_cut,
                    count < samples.len() && expected.len() == count
                );
            }
        }
    }
    let span = (BEGIN + 50 * SECOND, BEGIN + 200 * SECOND);
    let events = library
        .events(Some("MTMount"), span, 10_000, &Free)
        .unwrap();
    let in_span = world
        .states
        .iter()
        .filter(|it| span.0 <= it.time && it.time < span.1);
    assert_eq!(events.records.len(), in_span.count());
    let none = library.events(Some("MTMirror"), span, 10, &Free).unwrap();
    assert!(none.records.is_empty());
}

fn number(fields: &str) -> i64 {
    let fields: serde_json::Value = serde_json::from_str(fields).unwrap();
    fields["private_seqNum"].as_i64().unwrap()
}

/// What windows of `width` must be: count, min, max, mean and last of each.
fn windows(samples: &[&Sample], width: i64) -> Vec<(i64, [f64; 5])> {
    let start = |it: &&Sample| it.time - it.time.rem_euclid(width);
    let groups = samples.chunk_by(|a, b| start(a) == start(b));
    let of_group = |group: &[&Sample]| {
        let values: Vec<f64> = group
            .iter()
            .map(|it| it.position)
            .filter(|it| !it.is_nan())
            .collect();
        let count = values.len() as f64;
        let offset: f64 = values.iter().map(|value| value - 1e9).sum();
        let statistics = [
            count,
            values.iter().copied().fold(f64::INFINITY, f64::min),
            values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            1e9 + offset / count,
            values.last().copied().unwrap_or(f64::NAN),
        ];
        (start(&group[0]), statistics)
    };
    groups.map(of_group).collect()
}

fn check_windows(answer: &Answer, samples: &[Sample], times: (i64, i64), width: i64) -> usize {
    assert_eq!(answer.resolution, Some(width));
    let whole = (times.0 - times.0.rem_euclid(width), times.1);
    let mut count = 0;
    for instance in 1..=2 {
        let expected = windows(&sorted(samples, whole, instance), width);
        let part = answer
            .parts
            .iter()
            .find(|it| it.instance == Some(instance))
            .unwrap();
        let starts: Vec<i64> = expected.iter().map(|(start, _)| *start).collect();
        assert_eq!(part.times, starts);
        for (row, (start, expected)) in expected.iter().enumerate() {
            for (column, &expected) in expected.iter().enumerate() {
                let Values::Double(values) = &part.values[column] else {
                    panic!("{:?}", part.values[column]);
                };
                match values[row] {
                    Some(found) if column == 3 => {
                        assert!(
                            (found - expected).abs() <= 1e-12 * expected,
                            "{start} {found} {expected}"
                        );
                    }
                    Some(found) => assert_eq!(found, expected, "{start} column {column}"),
                    None => assert!(!expected.is_finite(), "{start} column {column}"),
                }
                count += 1;
            }
        }
    }
    count
}

#[test]
fn windows_are_those_of_the_records_wherever_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path(), 3);
    let mut engine = Engine::open(folder.path(), &tiers(), &Disk::default()).unwrap();
    let mut reader = world.store.reader();
    for number in 0..900 {
        // Until late samples have come to where they belong.
        world.block_with(number < 700);
        while engine.step(&mut reader, &clock(world.now)).unwrap() {}
    }
    // What follows the tiers do not have.
    for _ in 0..50 {
        world.block_with(false);
    }
    let mut library = world.library(folder.path(), Limits::default());
    let times = (BEGIN + 33 * SECOND, world.now + 10 * SECOND);
    let windows_of = |tier: &str, points: Option<usize>| SeriesAsk {
        tier: TierAsk::parse(tier),
        points,
        ..ask(times, &["position"])
    };
    let mut checked = 0;
    for (tier, points, width) in [
        ("10s", None, 10),
        ("60s", None, 60),
        ("10s", Some(20), 30),
        ("raw", Some(100), 5),
        ("raw", Some(500), 1),
        ("auto", Some(20), 30),
    ] {
        let tier = if tier == "60s" { "1min" } else { tier };
        let answer = library.series(&windows_of(tier, points), &Free).unwrap();
        assert_eq!(answer.tier, if tier == "auto" { "10s" } else { tier });
        checked += check_windows(&answer, &world.elevation, times, width * SECOND);
        if tier == "10s" {
            assert!(answer.raw_since.unwrap() > BEGIN + 300 * SECOND);
        }
    }
    assert!(checked > 3000, "{checked}");
}

/// A topic that is silent when the next file begins: what the coarse windows have is not taken from the records again.
#[test]
fn a_topic_that_fell_silent_is_not_counted_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path(), 4);
    let mut engine = Engine::open(folder.path(), &tiers(), &Disk::default()).unwrap();
    let mut reader = world.store.reader();
    for _ in 0..480 {
        world.block_with(false);
        while engine.step(&mut reader, &clock(world.now)).unwrap() {}
    }
    // Other topics go on.
    let fine = tiers()[0].resolution;
    let next = efd_edge_tiers::settings::span(fine, UtcNanos(BEGIN + 3600 * SECOND));
    let path = folder.path().join("tiers/10s/20261125T000000Z.db");
    assert!(!path.exists());
    efd_shared_tiers::TierFile::open(&path, next, &Disk::default()).unwrap();
    let mut library = world.library(folder.path(), Limits::default());
    let times = (BEGIN, BEGIN + 600 * SECOND);
    let asked = SeriesAsk {
        tier: TierAsk::parse("10s"),
        points: Some(10),
        ..ask(times, &["position"])
    };
    let answer = library.series(&asked, &Free).unwrap();
    assert!(check_windows(&answer, &world.elevation, times, 60 * SECOND) >= 40);
    assert_eq!(answer.complete_until, times.1);
}

/// An edge that is stopped within a window has a part of it in the tier; the answer has all of it. And the first window of
/// all is there, though the tier has it not yet.
#[test]
fn a_stop_within_a_window_takes_nothing_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path(), 10);
    let mut reader = world.store.reader();
    let open = || Engine::open(folder.path(), &tiers(), &Disk::default()).unwrap();
    let mut engine = open();
    let minute = |world: &World, points| {
        let times = (BEGIN, BEGIN + 400 * SECOND);
        let mut library = world.library(folder.path(), Limits::default());
        let asked = SeriesAsk {
            tier: TierAsk::parse("1min"),
            points,
            ..ask(times, &["position"])
        };
        let answer = library.series(&asked, &Free).unwrap();
        let width = if points.is_some() { 300 } else { 60 };
        check_windows(&answer, &world.elevation, times, width * SECOND)
    };
    let mut checked = 0;
    for number in 0..700 {
        world.block_with(false);
        while engine.step(&mut reader, &clock(world.now)).unwrap() {}
        if number % 90 == 40 {
            engine.stop(&mut reader, &clock(world.now)).unwrap();
            engine = open();
        }
        if number % 30 == 20 {
            checked += minute(&world, None) + minute(&world, Some(2));
        }
    }
    assert!(checked > 500, "{checked}");
}

/// One instance is busy, the other sends now and then, a third has a clock a day ahead: nobody's newest is left out.
#[test]
fn the_newest_of_every_instance_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path(), 8);
    let mut engine = Engine::open(folder.path(), &tiers(), &Disk::default()).unwrap();
    let mut reader = world.store.reader();
    let mut checked = 0;
    for number in 0..600 {
        let is_seldom = |it: &mut Sample| it.instance = if number % 97 == 0 { 2 } else { 1 };
        world.block_of(is_seldom);
        if number == 40 {
            world.block_of(|it| {
                it.instance = 3;
                it.time += 86_400 * SECOND;
            });
        }
        while engine.step(&mut reader, &clock(world.now)).unwrap() {}
        if number % 20 != 10 || number < 100 {
            continue;
        }
        let mut library = world.library(folder.path(), Limits::default());
        let times = (BEGIN, world.now + 10 * SECOND);
        let asked = SeriesAsk {
            tier: TierAsk::parse("10s"),
            ..ask(times, &["position"])
        };
        let answer = library.series(&asked, &Free).unwrap();
        checked += check_windows(&answer, &world.elevation, times, 10 * SECOND);
    }
    assert!(checked > 1000, "{checked}");
}

/// Where the rest would be too much to read, the answer says how far it goes.
#[test]
fn an_answer_says_how_far_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path(), 6);
    let mut engine = Engine::open(folder.path(), &tiers(), &Disk::default()).unwrap();
    let mut reader = world.store.reader();
    for _ in 0..400 {
        world.block_with(false);
        while engine.step(&mut reader, &clock(world.now)).unwrap() {}
    }
    let limits = Limits {
        raw_bytes: 100,
        ..Limits::default()
    };
    let mut library = world.library(folder.path(), limits);
    let times = (BEGIN, world.now);
    let of = |tier: &str| SeriesAsk {
        tier: TierAsk::parse(tier),
        ..ask(times, &["position"])
    };
    let answer = library.series(&of("10s"), &Free).unwrap();
    assert_eq!(answer.raw_since, None);
    let last = answer
        .parts
        .iter()
        .filter_map(|it| it.times.last().copied());
    let end = last.max().unwrap() + 10 * SECOND;
    // Windows of another instance may come two later.
    assert_eq!(answer.complete_until, end - 20 * SECOND);
    assert!(answer.complete_until < times.1);
    let whole = library.series(&of("raw"), &Free).unwrap();
    assert_eq!(whole.complete_until, times.1);

    // A file that cannot be read is counted; what is being built is said, and not chosen where anything else will do.
    let path = folder.path().join("tiers/10s/20261124T230000Z.db");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let answer = library.series(&of("10s"), &Free).unwrap();
    assert_eq!(answer.unread_files, 1);
    assert!(!answer.is_building);
    world.activity.set_building([tiers()[0].resolution].into());
    let answer = library.series(&of("10s"), &Free).unwrap();
    assert!(answer.is_building);
    let plot = SeriesAsk {
        points: Some(20),
        ..of("auto")
    };
    assert_eq!(library.series(&plot, &Free).unwrap().tier, "1min");
}

struct Few(Cell<u32>);

impl Budget for Few {
    fn check(&self) -> Result<(), QueryError> {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.ok_or(QueryError::TooLong {
            within: Duration::from_secs(1),
        })?);
        Ok(())
    }
}

#[test]
fn limits_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let world = filled(folder.path(), 5);
    let mut library = world.library(
        folder.path(),
        Limits {
            values_max: 500,
            bytes_max: 3000,
            ..Limits::default()
        },
    );
    let times = (BEGIN, world.now);
    let too_many = library
        .series(&ask(times, &["position"]), &Free)
        .unwrap_err();
    assert!(
        matches!(too_many, QueryError::TooManyValues { max: 500 }),
        "{too_many}"
    );
    assert_eq!(too_many.status(), 413);
    let too_long = library.series(&ask(times, &["position"]), &Few(Cell::new(3)));
    assert!(matches!(too_long.unwrap_err(), QueryError::TooLong { .. }));
    let now = UtcNanos(world.now);
    let too_large = library.last(ELEVATION, None, 400, now, &Free).unwrap_err();
    assert!(matches!(too_large, QueryError::TooManyBytes { max: 3000 }));
    let no_topic = library
        .last("lsst.sal.MTMount.elevatoin", None, 1, now, &Free)
        .unwrap_err();
    assert_eq!(
        no_topic.to_string(),
        "no topic `lsst.sal.MTMount.elevatoin` is held here; did you mean lsst.sal.MTMount.elevation?"
    );
    let fault = |field: &str| {
        let ask = ask(times, &[field]);
        library.series(&ask, &Free).unwrap_err().to_string()
    };
    let mut fault = fault;
    assert_eq!(
        fault("forces[3]"),
        "`forces` of lsst.sal.MTMount.elevation: it has elements 0 to 2"
    );
    assert_eq!(
        fault("position[0]"),
        "`position` of lsst.sal.MTMount.elevation: it is no array"
    );
}
