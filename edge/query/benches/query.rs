//! Questions to a buffer as a summit has it: one field of an hour out of raw records and out of windows of 10 s, and of a
//! year out of windows of 5 min; and what a year of those costs on the disk. All of M1M3: 3,888 elements with noise.
//!
//! `EFD_BENCH_DIR` says where the buffer is made; a year is some gigabytes.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use efd_edge_query::answer::Answer;
use efd_edge_query::ask::{FieldAsk, Stat, TierAsk};
use efd_edge_query::series::SeriesAsk;
use efd_edge_query::{Activity, Budget, Holdings, Library, Limits, QueryError};
use efd_edge_tiers::folder::TierFolder;
use efd_edge_tiers::settings::span;
use efd_edge_tiers::{TierSettings, Topics};
use efd_shared_avro::{Value, encode_values};
use efd_shared_model::block::Codec;
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EpochLane,
    EventTimeOrigin, Lane, LaneKind, RecordStamps, Schema, StreamDeclaration, StreamNumber,
    TopicKind, UtcNanos,
};
use efd_shared_stats::{Resolution, Summary};
use efd_shared_store::database::Disk;
use efd_shared_store::{Options, Store};
use efd_shared_tiers::{Run, SeriesKey, Shape, Statistics};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
/// 2026-11-23T00:00:00Z, a Monday.
const NOW: i64 = 1_795_392_000 * SECOND;
/// Elements of M1M3's telemetry, by topic: `forceActuatorData`, the applied forces, the rest.
const WIDTHS: [usize; 14] = [
    812, 276, 276, 276, 276, 276, 276, 276, 276, 276, 276, 156, 112, 48,
];
/// Of the topic of raw records: `169 fields at 50 Hz`, as the observatory's own measurements have it.
const RAW_FIELDS: usize = 169;
const RAW_RATE: i64 = 50;

struct Free;

impl Budget for Free {
    fn check(&self) -> Result<(), QueryError> {
        Ok(())
    }
}

fn schema(name: &str, width: usize, is_array: bool) -> Schema {
    let field =
        |name: String, kind: &str| format!(r#"{{"name":"{name}","type":{kind},"units":"N"}}"#);
    let fields: Vec<String> = match is_array {
        true => {
            let zeros = vec!["0.0"; width].join(",");
            vec![format!(
                r#"{{"name":"force","type":{{"type":"array","items":"double"}},"default":[{zeros}],"units":"N"}}"#
            )]
        }
        false => (0..width)
            .map(|it| field(format!("f{it}"), r#""double""#))
            .collect(),
    };
    Schema::new(format!(
        r#"{{"type":"record","name":"lsst.sal.MTM1M3.{name}","fields":[{{"name":"private_seqNum","type":"long"}},{}]}}"#,
        fields.join(",")
    ))
}

/// Standard normal, by Box and Muller.
fn normal(rng: &mut StdRng) -> f64 {
    let (u, v): (f64, f64) = (rng.random_range(f64::MIN_POSITIVE..1.0), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Of `count` floats around `centre` with a deviation of 5 N: what a window of so many samples has, without making them.
fn window(rng: &mut StdRng, centre: f64, count: u64) -> Summary {
    let spread = 5.0;
    let float = |value: f64| f64::from(value as f32);
    let reach = spread * (2.0 * (count as f64).ln()).sqrt();
    Summary {
        count,
        nan_count: 0,
        min: float(centre - reach + normal(rng)),
        max: float(centre + reach + normal(rng)),
        mean: centre + normal(rng) * spread / (count as f64).sqrt(),
        spread: spread * (1.0 + normal(rng) / (2.0 * count as f64).sqrt()),
        first: float(centre + normal(rng) * spread),
        last: float(centre + normal(rng) * spread),
        quartiles: None,
    }
}

/// All of M1M3 in one tier, from `begin` on.
fn make_tier(root: &Path, settings: &TierSettings, begin: i64, windows: i64, samples: u64) {
    let mut rng = StdRng::seed_from_u64(7);
    let mut folder =
        TierFolder::open(&root.join("tiers"), settings.clone(), &Disk::default()).unwrap();
    let series: Vec<(SeriesKey, Schema, usize)> = WIDTHS
        .iter()
        .enumerate()
        .map(|(number, &width)| {
            let schema = schema(&format!("topic{number}"), width, true);
            let key = SeriesKey {
                topic: format!("lsst.sal.MTM1M3.topic{number}"),
                instance: None,
                schema: schema.fingerprint(),
                shape: Shape(vec![width as u32]),
            };
            (key, schema, width)
        })
        .collect();
    // As the engine commits: a few windows at a time; a file is settled when its span is over.
    const TOGETHER: i64 = 12;
    let nanos = settings.resolution.nanos();
    let mut settled = span(settings.resolution, UtcNanos(begin)).begin;
    for first in (0..windows).step_by(TOGETHER as usize) {
        let count = TOGETHER.min(windows - first);
        let starts: Vec<UtcNanos> = (0..count)
            .map(|it| UtcNanos(begin + (first + it) * nanos))
            .collect();
        let rows = vec![samples; count as usize];
        let summaries: Vec<Vec<Summary>> = series
            .iter()
            .map(|(_, _, width)| {
                let mut all = Vec::with_capacity(width * count as usize);
                for channel in 0..*width {
                    for window_number in 0..count {
                        let phase = (first + window_number) as f64 * 0.01 + channel as f64;
                        all.push(window(&mut rng, 1000.0 * phase.sin(), samples));
                    }
                }
                all
            })
            .collect();
        let runs: Vec<Run<'_>> = series
            .iter()
            .zip(&summaries)
            .map(|((key, schema, _), summaries)| Run {
                series: key,
                schema,
                starts: &starts,
                rows: &rows,
                summaries,
                kept: Statistics::WITHOUT_QUARTILES,
            })
            .collect();
        folder.commit(&runs, &Vec::new()).unwrap();
        let present = span(settings.resolution, starts[starts.len() - 1]).begin;
        if settled < present {
            settled = present;
            while folder.settle_one(present).unwrap() {}
        }
    }
    while folder.settle_one(UtcNanos(NOW + DAY)).unwrap() {}
    folder.close().unwrap();
}

/// An hour of one topic of 169 fields at 50 Hz.
fn make_raw(root: &Path) -> Store {
    let (mut store, _) = Store::open(root, Options::default()).unwrap();
    let epoch = EpochDeclaration {
        edge: EdgeId([7; 16]),
        site: "summit".parse().unwrap(),
        epoch: EpochId([1; 16]),
        parent: None,
        began: ClockState::default(),
        software: "bench".into(),
    };
    let schema = schema("raw", RAW_FIELDS, false);
    let stream = StreamDeclaration {
        number: StreamNumber(1),
        topic: "lsst.sal.MTM1M3.raw".into(),
        dds_topic: "MTM1M3_raw".into(),
        dds_type: "MTM1M3::raw".into(),
        kind: TopicKind::Telemetry,
        schema: schema.fingerprint(),
    };
    store.declare(&epoch, &[stream], &[schema]).unwrap();
    let log = EpochLane {
        edge: epoch.edge,
        epoch: epoch.epoch,
        lane: Lane::new(LaneKind::Telemetry),
    };
    let lane = "telemetry".parse().unwrap();
    let mut rng = StdRng::seed_from_u64(8);
    let mut builder = BlockBuilder::new();
    let begin = NOW - 3600 * SECOND;
    // As a commit of 512 KiB.
    const TOGETHER: i64 = 350;
    let mut number = 0;
    for record in 0..3600 * RAW_RATE {
        let mut values = vec![Value::Long(record)];
        let noisy =
            (0..RAW_FIELDS).map(|it| f64::from((1000.0 + it as f64 + normal(&mut rng)) as f32));
        values.extend(noisy.map(Value::Double));
        encode_values(&values, builder.datum(StreamNumber(1)));
        let time = UtcNanos(begin + record * (SECOND / RAW_RATE));
        let stamps = RecordStamps {
            event_time: time,
            origin: EventTimeOrigin::SndStamp,
            implausible: false,
            latin1: false,
            instance: None,
        };
        builder.finish(StreamNumber(1), stamps);
        if record % TOGETHER == TOGETHER - 1 {
            number += 1;
            let id = log.block(BlockNumber(number));
            let sealed = builder
                .seal(id, ClockState::default(), Codec::Zstd, 1)
                .unwrap();
            store.append(&lane, &[sealed], None, time).unwrap();
            store.maintain(time);
        }
    }
    store
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

/// The median of some, in ms, and what came.
fn time(library: &mut Library, ask: &SeriesAsk) -> (f64, f64, Answer) {
    const TIMES: usize = 7;
    let mut took = Vec::new();
    let mut answer = None;
    for _ in 0..TIMES {
        let begun = Instant::now();
        answer = Some(library.series(ask, &Free).unwrap());
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let first = took[0];
    took.sort_by(f64::total_cmp);
    (first, took[TIMES / 2], answer.unwrap())
}

fn main() {
    let root = std::env::var_os("EFD_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let root = root.join("efd-bench-query");
    std::fs::create_dir_all(&root).unwrap();
    let tier = |seconds: u32, days: u64| TierSettings {
        resolution: Resolution::from_seconds(seconds).unwrap(),
        topics: Topics::All,
        age_max: Duration::from_secs(days * 86_400),
        bytes_max: u64::MAX,
    };
    let (fine, coarse) = (tier(10, 31), tier(300, 366));
    println!(
        "making an hour of raw records, a day of 10 s, a year of 5 min in {}",
        root.display()
    );
    let store = make_raw(&root);
    make_tier(&root, &fine, NOW - DAY, DAY / (10 * SECOND), 500);
    let year = 366 * DAY;
    make_tier(&root, &coarse, NOW - year, year / (300 * SECOND), 15_000);

    let holdings = Holdings {
        folder: root.clone(),
        tiers: vec![fine, coarse],
        activity: Arc::new(Activity::default()),
        limits: Limits::default(),
    };
    let mut library = Library::new(holdings, store.reader());
    let ask = |topic: &str, field: &str, tier: &str, span: i64| SeriesAsk {
        topic: format!("lsst.sal.MTM1M3.{topic}"),
        fields: vec![FieldAsk::parse(field).unwrap()],
        instance: None,
        times: (NOW - span, NOW),
        points: None,
        tier: TierAsk::parse(tier),
        statistics: vec![Stat::Mean, Stat::Min, Stat::Max],
    };
    let mut results = Vec::new();
    for (name, ask, limit) in [
        (
            "one field of an hour from raw",
            ask("raw", "f7", "raw", 3600 * SECOND),
            2000.0,
        ),
        (
            "one field of an hour from 10 s",
            ask("topic0", "force[7]", "10s", 3600 * SECOND),
            50.0,
        ),
        (
            "one field of a year from 5 min",
            ask("topic0", "force[7]", "5min", year),
            300.0,
        ),
        (
            "a plot of a year, 1,000 points",
            SeriesAsk {
                points: Some(1000),
                ..ask("topic0", "force[7]", "auto", year)
            },
            300.0,
        ),
    ] {
        let (first, median, answer) = time(&mut library, &ask);
        println!(
            "{name}: {median:.1} ms ({first:.1} the first time), {} rows from {}, wanted {limit} ms",
            answer.rows(),
            answer.tier
        );
        results.push(json!({ "what": name, "ms": median, "first_ms": first, "rows": answer.rows(), "tier": answer.tier, "wanted_ms": limit }));
    }
    let bytes = bytes_in(&root.join("tiers/5min"));
    let elements: usize = WIDTHS.iter().sum();
    println!(
        "a year of 5 min of {elements} elements: {:.2} GB, wanted 8",
        bytes as f64 / 1e9
    );
    let results: Json =
        json!({ "questions": results, "elements": elements, "bytes_of_a_year": bytes });
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(out.join("query.json"), results.to_string()).unwrap();
    drop(library);
    drop(store);
    std::fs::remove_dir_all(&root).unwrap();
}
