//! `account` against an oracle that keeps every number it ever wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use efd_shared_avro::Value;
use efd_shared_model::loss::{LOSS_SCHEMA, LOSS_TOPIC};
use efd_shared_model::{
    LaneKind, Loss, LossReason, Schema, StreamDeclaration, StreamNumber, TopicKind, UtcNanos,
};
use efd_shared_store::{Options, Store};

use crate::world::{
    BEGIN, Numbers, Ran, SECOND, block, closed, contents, datum, epoch, log, run, segment,
};

const HOUR: i64 = 3600;
const TOPICS: [&str; 3] = [
    "lsst.sal.Test.a",
    "lsst.sal.Test.b",
    "lsst.sal.Test.unnumbered",
];
const NUMBERED: &str = r#"{"name":"N","type":"record","fields":[{"name":"private_seqNum","type":"long"},{"name":"x","type":{"type":"array","items":"double"}},{"name":"private_identity","type":"string"},{"name":"private_origin","type":"long"}]}"#;
const UNNUMBERED: &str = r#"{"name":"U","type":"record","fields":[{"name":"x","type":"double"}]}"#;

/// Topic, instance (−1: none), identity, origin.
type Publisher = (usize, i64, String, i64);

#[derive(Clone)]
struct Written {
    publisher: Publisher,
    number: i64,
    time: i64,
}

#[derive(Default)]
struct Oracle {
    /// By the number of the block.
    blocks: Vec<Vec<Written>>,
    losses: Vec<Loss>,
}

/// What `account --json` should tell.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// Topic, hour.
    records: BTreeMap<(String, String), u64>,
    /// Topic, hour, reason: losses, count, those without count.
    lost: BTreeMap<(String, String, String), (u64, u64, u64)>,
    /// Topic.
    unnamed: BTreeMap<String, u64>,
    /// Reason, lane: losses, count, those without count.
    lost_blocks: BTreeMap<(String, String), (u64, u64, u64)>,
}

fn hour(nanos: i64) -> String {
    let hour = (nanos - BEGIN).div_euclid(HOUR * SECOND);
    format!("2026-11-24T{hour:02}:00:00Z")
}

fn add(to: &mut (u64, u64, u64), count: i64) {
    to.0 += 1;
    match count {
        -1 => to.2 += 1,
        count => to.1 += count as u64,
    }
}

impl Oracle {
    /// Without the records of block `damaged`; of topics and instances that `is_wanted`.
    fn told(&self, damaged: Option<usize>, is_wanted: impl Fn(usize, i64) -> bool) -> Told {
        let mut told = Told::default();
        let mut seen: BTreeMap<Publisher, BTreeSet<i64>> = BTreeMap::new();
        for (index, block) in self.blocks.iter().enumerate() {
            for record in block.iter().filter(|_| Some(index) != damaged) {
                let (topic, instance, ..) = record.publisher;
                if !is_wanted(topic, instance) {
                    continue;
                }
                let key = (TOPICS[topic].to_owned(), hour(record.time));
                *told.records.entry(key).or_default() += 1;
                if topic < 2 {
                    seen.entry(record.publisher.clone())
                        .or_default()
                        .insert(record.number);
                }
            }
        }
        let mut named: BTreeMap<Publisher, BTreeSet<i64>> = BTreeMap::new();
        for loss in &self.losses {
            let reason = loss.reason.to_string();
            let Some(topic) = TOPICS.iter().position(|topic| *topic == loss.topic) else {
                let key = (reason, loss.lane.clone());
                add(told.lost_blocks.entry(key).or_default(), loss.count);
                continue;
            };
            if !is_wanted(topic, loss.sal_index) {
                continue;
            }
            let key = (loss.topic.clone(), hour(loss.from.0), reason);
            add(told.lost.entry(key).or_default(), loss.count);
            let publisher = (topic, loss.sal_index, loss.identity.clone(), loss.origin);
            let numbers = named.entry(publisher).or_default();
            numbers.extend(loss.first_seq..=loss.last_seq);
        }
        for (publisher, seen) in &seen {
            let span = *seen.first().unwrap()..*seen.last().unwrap();
            let named = named.remove(publisher).unwrap_or_default();
            let gaps = span.filter(|number| !seen.contains(number) && !named.contains(number));
            let gaps = gaps.count() as u64;
            if gaps > 0 {
                *told.unnamed.entry(TOPICS[publisher.0].into()).or_default() += gaps;
            }
        }
        told
    }
}

fn read(json: &str) -> Told {
    let all: serde_json::Value = serde_json::from_str(json).unwrap();
    let triple = |lost: &serde_json::Value| {
        let number = |name: &str| lost[name].as_u64().unwrap();
        (number("losses"), number("count"), number("uncounted"))
    };
    let mut told = Told::default();
    for topic in all["topics"].as_array().unwrap() {
        let name = topic["topic"].as_str().unwrap().to_owned();
        let (mut records, mut lost) = (0, BTreeMap::new());
        for hour in topic["hours"].as_array().unwrap() {
            let at = hour["hour"].as_str().unwrap().to_owned();
            let count = hour["records"].as_u64().unwrap();
            records += count;
            if count > 0 {
                told.records.insert((name.clone(), at.clone()), count);
            }
            for (reason, numbers) in hour["lost"].as_object().unwrap() {
                let numbers = triple(numbers);
                let sum: &mut (u64, u64, u64) = lost.entry(reason.clone()).or_default();
                *sum = (sum.0 + numbers.0, sum.1 + numbers.1, sum.2 + numbers.2);
                told.lost
                    .insert((name.clone(), at.clone(), reason.clone()), numbers);
            }
        }
        // The sums of a topic are those of its hours.
        assert_eq!(topic["records"], records);
        let sums: BTreeMap<_, _> = topic["lost"].as_object().unwrap().iter().collect();
        let sums = sums
            .into_iter()
            .map(|(reason, it)| (reason.clone(), triple(it)));
        assert_eq!(sums.collect::<BTreeMap<_, _>>(), lost);
        if topic["unnamed"] != 0 {
            told.unnamed
                .insert(name, topic["unnamed"].as_u64().unwrap());
        }
    }
    for lost in all["lost_blocks"].as_array().unwrap() {
        let text = |name: &str| lost[name].as_str().unwrap().to_owned();
        told.lost_blocks
            .insert((text("reason"), text("lane")), triple(lost));
    }
    assert_eq!(all["records"], told.records.values().sum::<u64>());
    assert_eq!(all["unnamed"], told.unnamed.values().sum::<u64>());
    told
}

/// Publishers of two topics with numbers and one without, over five hours; gaps of which some are named.
fn write(root: &Path) -> Oracle {
    let options = Options {
        segment_bytes_max: 30_000,
        reserve_bytes: 0,
        ..Options::default()
    };
    let (mut store, _) = Store::open(root, options).unwrap();
    let schemas = [NUMBERED, UNNUMBERED, LOSS_SCHEMA].map(Schema::new);
    let stream = |number: usize, topic: &str, kind, schema: &Schema| StreamDeclaration {
        number: StreamNumber(number as u32),
        topic: topic.into(),
        dds_topic: String::new(),
        dds_type: String::new(),
        kind,
        schema: schema.fingerprint(),
    };
    let streams = [
        stream(1, TOPICS[0], TopicKind::Telemetry, &schemas[0]),
        stream(2, TOPICS[1], TopicKind::Telemetry, &schemas[0]),
        stream(3, TOPICS[2], TopicKind::Telemetry, &schemas[1]),
        stream(4, LOSS_TOPIC, TopicKind::Loss, &schemas[2]),
    ];
    store.declare(&epoch(1), &streams, &schemas).unwrap();

    let mut numbers = Numbers(42);
    let mut oracle = Oracle::default();
    let publishers: Vec<Publisher> = vec![
        (0, 1, "Test:1".into(), 70),
        (0, 2, "Test:2".into(), 70),
        (0, 2, "Test:2".into(), 71),
        (1, -1, "Other".into(), 5),
        (2, -1, String::new(), 0),
    ];
    let mut next: Vec<i64> = vec![1, 5, 0, 1000, 0];
    let mut time = BEGIN;
    let telemetry = LaneKind::Telemetry.as_str().parse().unwrap();
    for number in 1..=60 {
        let mut written = Vec::new();
        for _ in 0..40 {
            time += numbers.below(16) as i64 * SECOND / 2;
            let index = numbers.below(5) as usize;
            let publisher = publishers[index].clone();
            if numbers.below(25) == 0 {
                let (first, count) = (next[index], 1 + numbers.below(4) as i64);
                next[index] += count;
                if numbers.below(2) == 0 {
                    oracle
                        .losses
                        .push(gap(&publisher, first, count, time, &mut numbers));
                }
            }
            written.push(Written {
                publisher,
                number: next[index],
                time,
            });
            next[index] += 1;
        }
        let records = written.iter().map(record).collect();
        let block = block(log(1, LaneKind::Telemetry), number, records);
        store
            .append(&telemetry, &[block], None, UtcNanos(time))
            .unwrap();
        oracle.blocks.push(written);
    }
    for (lane, count) in [("telemetry", 80), ("telemetry", -1), ("events", 3)] {
        oracle.losses.push(Loss {
            lane: lane.into(),
            epoch: epoch(1).epoch.to_string(),
            first_block: 1,
            last_block: 2,
            count,
            ..Loss::new(LossReason::Evicted, UtcNanos(BEGIN), UtcNanos(BEGIN + 1))
        });
    }
    let losses = LaneKind::Losses.as_str().parse().unwrap();
    for (index, loss) in oracle.losses.iter().enumerate() {
        let mut datum = Vec::new();
        loss.encode(&mut datum);
        let records = vec![(4, loss.from.0, None, datum)];
        let block = block(log(1, LaneKind::Losses), 1 + index as u64, records);
        store
            .append(&losses, &[block], None, UtcNanos(time))
            .unwrap();
    }
    store.close().unwrap();
    oracle
}

fn gap(
    (topic, instance, identity, origin): &Publisher,
    first: i64,
    count: i64,
    time: i64,
    numbers: &mut Numbers,
) -> Loss {
    let reasons = [LossReason::DdsGap, LossReason::QueueFull, LossReason::Crash];
    let is_numbered = *topic < 2;
    Loss {
        topic: TOPICS[*topic].into(),
        sal_index: *instance,
        identity: identity.clone(),
        origin: *origin,
        first_seq: first,
        last_seq: if is_numbered { first + count - 1 } else { -1 },
        count: if is_numbered { count } else { -1 },
        ..Loss::new(
            reasons[numbers.below(3) as usize],
            UtcNanos(time),
            UtcNanos(time + 1),
        )
    }
}

fn record(written: &Written) -> (u32, i64, Option<i32>, Vec<u8>) {
    let (topic, instance, identity, origin) = &written.publisher;
    let values = match topic {
        2 => vec![Value::Double(0.5)],
        _ => vec![
            Value::Long(written.number),
            Value::Array(vec![Value::Double(1.0); 3]),
            Value::String(identity.clone()),
            Value::Long(*origin),
        ],
    };
    let instance = i32::try_from(*instance).ok().filter(|it| *it >= 0);
    (*topic as u32 + 1, written.time, instance, datum(&values))
}

fn world() -> (tempfile::TempDir, PathBuf, Oracle) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("buffer");
    let oracle = write(&root);
    (folder, root, oracle)
}

#[test]
fn it_tells_what_the_oracle_knows() {
    let (_folder, root, oracle) = world();
    let before = contents(&root);
    let check = |arguments: &[&str], expected: &Told| {
        let Ran { code, out, err } = run("account", &root, &[arguments, &["--json"]].concat());
        assert_eq!((code, err.as_str()), (0, ""));
        assert_eq!(read(&out), *expected, "{arguments:?}");
    };
    let all = oracle.told(None, |_, _| true);
    assert!(
        all.unnamed.len() == 2 && all.lost.len() > 8 && all.records.len() > 8,
        "{all:?}"
    );
    check(&[], &all);
    let of_a = oracle.told(None, |topic, _| topic == 0);
    check(&["--topic", "Test.a"], &of_a);
    check(&["--topic", "*.a"], &of_a);
    check(&["--topic", "*"], &all);
    let second = oracle.told(None, |_, instance| instance == 2 || instance == -1);
    let told = read(&run("account", &root, &["--instance", "2", "--json"]).out);
    assert_eq!(told.lost, second.lost);
    let of_second = oracle.told(None, |_, instance| instance == 2);
    assert_eq!(
        (told.records, told.unnamed),
        (of_second.records, of_second.unnamed)
    );
    assert_eq!(contents(&root), before);
}

#[test]
fn the_tables_say_the_same() {
    let (_folder, root, oracle) = world();
    let all = oracle.told(None, |_, _| true);
    let Ran { code, out, .. } = run("account", &root, &[]);
    assert_eq!(code, 0);
    for topic in TOPICS {
        let row = out.lines().find(|line| line.starts_with(topic)).unwrap();
        let cells: Vec<_> = row.split_whitespace().collect();
        let of = |(name, _): &(String, String)| name == topic;
        let records: u64 = all
            .records
            .iter()
            .filter(|(it, _)| of(it))
            .map(|(_, n)| n)
            .sum();
        assert_eq!(cells[1], records.to_string(), "{row}");
        let unnamed = all.unnamed.get(topic).copied().unwrap_or(0);
        assert_eq!(cells[2], unnamed.to_string(), "{row}");
    }
    let evicted = "evicted: blocks of the lane telemetry with 80 and 1 of unknown count records";
    assert!(out.contains(evicted), "{out}");
    let Ran { out, .. } = run("account", &root, &["--hours"]);
    let rows = out.lines().filter(|line| line.starts_with("lsst.")).count();
    let hours: BTreeSet<_> = all
        .records
        .keys()
        .cloned()
        .chain(
            all.lost
                .keys()
                .map(|(topic, hour, _)| (topic.clone(), hour.clone())),
        )
        .collect();
    assert_eq!(rows, hours.len(), "{out}");
}

#[test]
fn a_damaged_block_is_named_and_leaves_a_gap() {
    let (_folder, root, oracle) = world();
    let file = segment(&root, "telemetry", 0);
    let good = fs::read(&file).unwrap();
    // SQLite fills a page from its end: the first block is the last one there. Behind its header.
    let mut bad = good.clone();
    let at = good
        .windows(4)
        .rposition(|window| window == b"EFDB")
        .unwrap()
        + 200;
    bad[at] ^= 0x10;
    fs::write(&file, bad).unwrap();
    let Ran { code, out, err } = run("account", &root, &["--json"]);
    assert_eq!(code, 2);
    let number: usize = err
        .split("/telemetry/")
        .nth(1)
        .and_then(|rest| rest.split(':').next())
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(err.lines().count(), 1, "{err}");
    let told = read(&out);
    assert_eq!(told, oracle.told(Some(number - 1), |_, _| true));
    assert_ne!(told, oracle.told(None, |_, _| true));
}

#[test]
fn a_world_without_numbers_has_no_gaps() {
    let (_folder, root) = closed();
    let Ran { code, out, err } = run("account", &root, &[]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.contains("0 numbers of publishers that nobody has named"),
        "{out}"
    );
    assert!(out.contains("dds_gap 3"), "{out}");
}
