use std::collections::BTreeMap;
use std::ops::Range;

use efd_shared_stats::{Kernel, Quartiles};
use proptest::prelude::*;

use super::*;
use crate::settle::settle;
use crate::statistic::Statistic;

const WINDOWS: u32 = 40;
const SECOND: i64 = 1_000_000_000;

fn span() -> Span {
    let resolution = Resolution::from_seconds(10).unwrap();
    let begin = UtcNanos(1_795_478_400 * SECOND);
    let end = UtcNanos(begin.0 + i64::from(WINDOWS) * resolution.nanos());
    Span {
        resolution,
        begin,
        end,
    }
}

fn schema(number: u8) -> Schema {
    Schema::new(format!(
        r#"{{"type":"record","name":"t{number}","fields":[{{"name":"a","type":"double"}},{{"name":"b","type":{{"type":"array","items":"double"}}}}]}}"#
    ))
}

/// One of a few: of one piece, of exactly one, of several.
fn key(number: u8) -> SeriesKey {
    let elements = [2, 127, 300][usize::from(number % 3)];
    SeriesKey {
        topic: format!("lsst.sal.Test.t{number}"),
        instance: number.is_multiple_of(2).then_some(i32::from(number)),
        schema: schema(number).fingerprint(),
        shape: Shape(vec![1, elements]),
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Of series, which windows; and what the values are made of.
    Commit(Vec<(u8, Vec<u32>)>, u64, bool),
    Reopen,
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let windows = prop::collection::btree_set(0..WINDOWS, 1..7)
        .prop_map(|windows| windows.into_iter().collect::<Vec<_>>());
    let runs = prop::collection::btree_map(0..5u8, windows, 0..4)
        .prop_map(|runs| runs.into_iter().collect::<Vec<_>>());
    prop_oneof![
        6 => (runs, any::<u64>(), any::<bool>()).prop_map(|(runs, seed, merged)| Step::Commit(runs, seed, merged)),
        1 => Just(Step::Reopen),
        1 => Just(Step::Settle),
    ]
}

/// Something for each channel and window, that differs from seed to seed.
fn summary(seed: u64, channel: usize, window: u32, is_merged: bool) -> Summary {
    if (seed + u64::from(window)).is_multiple_of(7) {
        // Of infinities of both signs there is no mean.
        return Summary {
            min: f64::NEG_INFINITY,
            max: f64::INFINITY,
            count: 10 - seed % 10,
            ..Summary::empty(seed % 10)
        };
    }
    let base = ((seed >> (channel % 40)) & 0xffff) as f64 + f64::from(window) * 0.1;
    let value = |step: u64| base + step as f64;
    Summary {
        count: 10 - seed % 3,
        nan_count: seed % 3,
        min: value(0),
        max: value(9),
        mean: value(4) / 3.0,
        spread: value(1).sqrt(),
        first: value(5),
        last: value(6),
        quartiles: (!is_merged).then(|| Quartiles {
            q1: value(2),
            median: value(3),
            q3: value(7),
        }),
    }
}

/// To 42 binary digits, by arithmetic.
fn to_42_bits(value: f64) -> f64 {
    if value == 0.0 {
        return value;
    }
    let unit = (value.abs().log2().floor() - 41.0).exp2();
    (value / unit).round() * unit
}

/// By series and window: samples, a summary of each channel.
type Model = BTreeMap<(u8, UtcNanos), (u64, Vec<Summary>)>;
/// The note of the commit that was the last to have it.
type Notes = BTreeMap<(u8, UtcNanos), Note>;

fn text(of: &impl std::fmt::Debug) -> String {
    format!("{of:?}")
}

fn check(reader: &TierReader, model: &Model, last: &Notes, seed: u64) {
    let all = reader.series().unwrap();
    let known: std::collections::BTreeSet<u8> = model.keys().map(|(number, _)| *number).collect();
    assert_eq!(all.len(), known.len());
    for number in known {
        let series = all.iter().find(|series| series.key == key(number)).unwrap();
        assert_eq!(
            reader.schema(&series.key.schema).unwrap(),
            Some(schema(number))
        );
        for window in 0..WINDOWS {
            let start = span().start(window);
            let notes = reader.notes_of(series, start).unwrap();
            assert_eq!(notes.last(), last.get(&(number, start)));
        }
        let starts: Vec<_> = (0..WINDOWS).map(|window| span().start(window)).collect();
        let known = reader.known(series, &starts).unwrap();
        for start in starts {
            let rows = known.get(&start).map(|known| known.rows);
            assert_eq!(rows, model.get(&(number, start)).map(|window| window.0));
        }
        let of_series = |times: &Range<UtcNanos>| {
            let all = model
                .iter()
                .filter(|((of, start), _)| *of == number && times.contains(start));
            let all: BTreeMap<UtcNanos, &(u64, Vec<Summary>)> =
                all.map(|((_, start), value)| (*start, value)).collect();
            all
        };
        let span = reader.span();
        let from = span.start((seed % u64::from(WINDOWS)) as u32);
        for times in [span.begin..span.end, from..span.start(30)] {
            let windows = reader.windows(series, times.clone()).unwrap();
            assert_eq!(text(&windows), text(&of_series(&times)));
            let channels = series.key.shape.channels();
            let first = seed as usize % channels;
            let wanted = Statistics::from_bits(seed % 1024).unwrap();
            let found = reader
                .read(series, first..first + 3, wanted, times.clone())
                .unwrap();
            assert_eq!(found.len(), 3.min(channels - first));
            for (index, found) in found.iter().enumerate() {
                let expected = of_series(&times);
                assert_eq!(found.starts, expected.keys().copied().collect::<Vec<_>>());
                assert_eq!(
                    found.rows,
                    expected.values().map(|it| it.0).collect::<Vec<_>>()
                );
                let wanted = Statistic::ALL.into_iter().filter(|&one| wanted.has(one));
                for (column, statistic) in found.columns.iter().zip(wanted) {
                    let values = expected
                        .values()
                        .map(|it| statistic.of(&it.1[first + index]));
                    assert_eq!(
                        text(column),
                        text(&values.collect::<Vec<_>>()),
                        "{statistic}"
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Against a map of what was committed last for each window.
    #[test]
    fn what_was_committed_last_is_read(steps in prop::collection::vec(step(), 1..14), seed in any::<u64>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tier.db");
        let disk = Disk::default();
        let mut file = TierFile::open(&path, span(), &disk).unwrap();
        let (mut model, mut last, mut notes) = (Model::new(), Notes::new(), Vec::new());
        for step in steps {
            match step {
                Step::Commit(runs, seed, merged) => {
                    let kept = if merged { Statistics::WITHOUT_QUARTILES } else { Statistics::ALL };
                    let owned: Vec<_> = runs.iter().map(|(number, windows)| {
                        let key = key(*number);
                        let starts: Vec<_> = windows.iter().map(|&window| span().start(window)).collect();
                        let channels = key.shape.channels();
                        let summaries: Vec<_> = (0..channels)
                            .flat_map(|channel| windows.iter().map(move |&window| summary(seed, channel, window, merged)))
                            .collect();
                        for (index, &start) in starts.iter().enumerate() {
                            let of_window = (0..channels).map(|channel| summaries[channel * starts.len() + index]);
                            model.insert((*number, start), (10, of_window.collect()));
                            last.insert((*number, start), seed.to_le_bytes().to_vec());
                        }
                        (key, schema(*number), starts, vec![10; windows.len()], summaries)
                    }).collect();
                    let runs: Vec<_> = owned.iter().map(|(series, schema, starts, rows, summaries)| Run {
                        series, schema, starts, rows, summaries, kept,
                    }).collect();
                    notes.push(seed.to_le_bytes().to_vec());
                    file.commit(&runs, &seed.to_le_bytes().to_vec()).unwrap();
                }
                Step::Reopen => file = TierFile::open(&path, span(), &disk).unwrap(),
                Step::Settle => {
                    file.close().unwrap();
                    prop_assert!(settle(&path, &disk).unwrap());
                    let all = model.values_mut().flat_map(|(_, summaries)| summaries);
                    for summary in all.filter(|it| it.quartiles.is_none() && it.mean.is_finite()) {
                        summary.mean = to_42_bits(summary.mean).clamp(summary.min, summary.max);
                        summary.spread = to_42_bits(summary.spread);
                    }
                    file = TierFile::open(&path, span(), &disk).unwrap();
                }
            }
            let reader = TierReader::open(&path, &disk).unwrap();
            check(&reader, &model, &last, seed);
            prop_assert_eq!(&reader.notes().unwrap(), &notes);
        }
        file.close().unwrap();
        check(&TierReader::open(&path, &disk).unwrap(), &model, &last, seed);
        prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_window_outside_of_the_span_is_refused_and_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tier.db");
    let mut file = TierFile::open(&path, span(), &Disk::default()).unwrap();
    let (series, schema) = (key(0), schema(0));
    let mut summaries = Vec::new();
    Kernel::new().rows(&[1.0, 2.0, 3.0], 3, &mut summaries);
    for start in [UtcNanos(span().begin.0 - 1), span().end] {
        let run = Run {
            series: &series,
            schema: &schema,
            starts: &[start],
            rows: &[1],
            summaries: &summaries,
            kept: Statistics::ALL,
        };
        assert!(file.commit(&[run], &Note::new()).is_err());
    }
    let reader = TierReader::open(&path, &Disk::default()).unwrap();
    assert_eq!(reader.series().unwrap(), []);
    assert_eq!(reader.notes().unwrap(), Vec::<Note>::new());
}

/// A flipped bit is found, or changes nothing that is read.
#[test]
fn flipped_bits_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tier.db");
    let disk = Disk::default();
    let mut file = TierFile::open(&path, span(), &disk).unwrap();
    let (series, schema) = (key(1), schema(1));
    let starts: Vec<_> = (0..6).map(|window| span().start(window)).collect();
    let channels = series.shape.channels();
    let summaries: Vec<_> = (0..channels)
        .flat_map(|channel| (0..6).map(move |window| summary(99, channel, window, false)))
        .collect();
    let run = Run {
        series: &series,
        schema: &schema,
        starts: &starts,
        rows: &[10; 6],
        summaries: &summaries,
        kept: Statistics::ALL,
    };
    file.commit(&[run], &vec![1, 2, 3]).unwrap();
    file.close().unwrap();
    let good = std::fs::read(&path).unwrap();
    let findings = || {
        let mut findings = Vec::new();
        match crate::verify(&path, &disk, |what| findings.push(what)) {
            Ok(_) => {}
            Err(error) => findings.push(error.to_string()),
        }
        findings
    };
    let all = || {
        let reader = TierReader::open(&path, &disk).ok()?;
        let series = reader.series().ok()?;
        let windows = reader
            .windows(series.first()?, span().begin..span().end)
            .ok()?;
        Some(text(&(reader.notes().ok()?, series, windows)))
    };
    assert_eq!(findings(), Vec::<String>::new());
    let whole = all().unwrap();
    let mut found = 0;
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).unwrap();
        let findings = findings();
        found += usize::from(!findings.is_empty());
        if findings.is_empty() {
            assert_eq!(all().as_ref(), Some(&whole), "byte {at}");
        }
    }
    assert!(found > 100, "{found}");
}
