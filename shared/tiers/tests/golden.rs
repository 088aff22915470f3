//! Tiers' files of version 1. Every later build reads them.
//!
//! `EFD_WRITE_FIXTURE=1 cargo test -p efd-shared-tiers --test golden` writes the newest, where there is none.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use efd_shared_model::{Schema, UtcNanos};
use efd_shared_stats::{Quartiles, Resolution, Summary};
use efd_shared_store::database::Disk;
use efd_shared_tiers::{
    Note, Run, SeriesKey, Shape, Span, Statistics, TierFile, TierReader, settle, verify,
};

const SECOND: i64 = 1_000_000_000;

/// What settled files consist of: planes in zstd; packed numbers.
const FIXTURES: [&str; 2] = ["tier-v1.db", "tier-v1-packed.db"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

fn span() -> Span {
    let begin = 1_795_478_400 * SECOND;
    Span {
        resolution: Resolution::from_seconds(10).unwrap(),
        begin: UtcNanos(begin),
        end: UtcNanos(begin + 3600 * SECOND),
    }
}

fn schema() -> Schema {
    let array = r#"{"type":"array","items":"double"}"#;
    Schema::new(format!(
        r#"{{"type":"record","name":"forces","namespace":"lsst.sal.Test","fields":[{{"name":"load","type":"double"}},{{"name":"forces","type":{array}}}]}}"#
    ))
}

fn key(instance: Option<i32>) -> SeriesKey {
    SeriesKey {
        topic: "lsst.sal.Test.forces".into(),
        instance,
        schema: schema().fingerprint(),
        shape: Shape(vec![1, 2]),
    }
}

/// Of values that fit 32 bits and of others, of none, and of an infinity.
fn summary(channel: usize, window: u32) -> Summary {
    let value = match (channel, window) {
        (0, _) => f64::from(window) * 0.5 - 1.0,
        (1, 2) => f64::INFINITY,
        (1, _) => 0.1 + f64::from(window),
        (_, 1) => f64::NAN,
        (_, _) => -0.0,
    };
    Summary {
        count: 9,
        nan_count: 1,
        min: value - 2.0,
        max: value + 2.0,
        mean: value,
        spread: 1.25,
        first: value - 1.0,
        last: value + 1.0,
        quartiles: Some(Quartiles {
            q1: value - 0.5,
            median: value,
            q3: value + 0.75,
        }),
    }
}

fn commit(file: &mut TierFile, instance: Option<i32>, windows: &[u32], rows: u64, note: &[u8]) {
    let (key, schema) = (key(instance), schema());
    let starts: Vec<_> = windows.iter().map(|it| span().start(*it)).collect();
    let of_channel = |channel| windows.iter().map(move |&it| summary(channel, it));
    let summaries: Vec<_> = (0..3).flat_map(of_channel).collect();
    let kept = match rows {
        10 => Statistics::ALL,
        _ => Statistics::WITHOUT_QUARTILES,
    };
    let run = Run {
        series: &key,
        schema: &schema,
        starts: &starts,
        rows: &vec![rows; windows.len()],
        summaries: &summaries,
        kept,
    };
    file.commit(&[run], &Note::from(note)).unwrap();
}

/// Settled, and a correction since.
fn write(path: &Path) {
    let disk = Disk::default();
    let mut file = TierFile::open(path, span(), &disk).unwrap();
    commit(&mut file, None, &[0, 1, 2], 10, b"one");
    commit(&mut file, Some(-2), &[1, 359], 10, b"two");
    file.close().unwrap();
    assert!(settle(path, &disk).unwrap());
    let mut file = TierFile::open(path, span(), &disk).unwrap();
    commit(&mut file, None, &[1, 4], 11, b"");
    file.close().unwrap();
}

fn text(path: &Path) -> String {
    let reader = TierReader::open(path, &Disk::default()).unwrap();
    let mut all = format!(
        "{} {} settled {}\n",
        reader.span().resolution,
        reader.span().begin,
        reader.is_settled().unwrap()
    );
    for series in reader.series().unwrap() {
        let schema = reader.schema(&series.key.schema).unwrap();
        assert_eq!(schema, Some(self::schema()));
        let key = &series.key;
        writeln!(all, "{} {:?} {:?}", key.topic, key.instance, key.shape.0).unwrap();
        let span = reader.span();
        for (start, (rows, summaries)) in reader.windows(&series, span.begin..span.end).unwrap() {
            let notes = reader.notes_of(&series, start).unwrap();
            let notes: Vec<_> = notes.iter().map(|it| String::from_utf8_lossy(it)).collect();
            let window = span.window(start).unwrap();
            writeln!(all, "  window {window}: {rows} rows, notes {notes:?}").unwrap();
            for Summary {
                count,
                nan_count,
                min,
                max,
                mean,
                spread,
                first,
                last,
                quartiles,
            } in summaries
            {
                let quartiles = quartiles.map(|it| [it.q1, it.median, it.q3]);
                writeln!(
                    all,
                    "    {count}+{nan_count} {min:?} {max:?} {mean:?} {spread:?} {first:?} {last:?} {quartiles:?}"
                )
                .unwrap();
            }
        }
    }
    all
}

#[test]
fn version_1_is_read() {
    let newest = fixture(FIXTURES[1]);
    if std::env::var_os("EFD_WRITE_FIXTURE").is_some() && !newest.exists() {
        write(&newest);
    }
    for path in FIXTURES.map(fixture) {
        let mut damaged = Vec::new();
        verify(&path, &Disk::default(), |what| damaged.push(what)).unwrap();
        assert_eq!(damaged, Vec::<String>::new());
        assert_eq!(text(&path), EXPECTED);
    }
}

#[test]
fn what_is_written_reads_equal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tier.db");
    write(&path);
    assert_eq!(text(&path), EXPECTED);
}

const EXPECTED: &str = r#"10 s 2026-11-24T00:00:00.000000000Z settled true
lsst.sal.Test.forces None [1, 2]
  window 0: 10 rows, notes ["one"]
    9+1 -3.0 1.0 -1.0 1.25 -2.0 0.0 Some([-1.5, -1.0, -0.25])
    9+1 -1.9 2.1 0.1 1.25 -0.9 1.1 Some([-0.4, 0.1, 0.85])
    9+1 -2.0 2.0 -0.0 1.25 -1.0 1.0 Some([-0.5, -0.0, 0.75])
  window 1: 11 rows, notes ["one", ""]
    10+1 -2.5 1.5 -0.5 1.25 -1.5 0.5 None
    10+1 -0.8999999999999999 3.1 1.1 1.25 0.10000000000000009 2.1 None
    10+1 NaN NaN NaN 1.25 NaN NaN None
  window 2: 10 rows, notes ["one"]
    9+1 -2.0 2.0 0.0 1.25 -1.0 1.0 Some([-0.5, 0.0, 0.75])
    9+1 inf inf inf 1.25 inf inf Some([inf, inf, inf])
    9+1 -2.0 2.0 -0.0 1.25 -1.0 1.0 Some([-0.5, -0.0, 0.75])
  window 4: 11 rows, notes [""]
    10+1 -1.0 3.0 1.0 1.25 0.0 2.0 None
    10+1 2.0999999999999996 6.1 4.1 1.25 3.0999999999999996 5.1 None
    10+1 -2.0 2.0 -0.0 1.25 -1.0 1.0 None
lsst.sal.Test.forces Some(-2) [1, 2]
  window 1: 10 rows, notes ["two"]
    9+1 -2.5 1.5 -0.5 1.25 -1.5 0.5 Some([-1.0, -0.5, 0.25])
    9+1 -0.8999999999999999 3.1 1.1 1.25 0.10000000000000009 2.1 Some([0.6000000000000001, 1.1, 1.85])
    9+1 NaN NaN NaN 1.25 NaN NaN None
  window 359: 10 rows, notes ["two"]
    9+1 176.5 180.5 178.5 1.25 177.5 179.5 Some([178.0, 178.5, 179.25])
    9+1 357.1 361.1 359.1 1.25 358.1 360.1 Some([358.6, 359.1, 359.85])
    9+1 -2.0 2.0 -0.0 1.25 -1.0 1.0 Some([-0.5, -0.0, 0.75])
"#;
