//! Every statistic of many kinds of windows, as Python's `statistics` and `fractions` give it: to the bit what is a value
//! or between two, to 1e-12 what is computed.

use std::path::Path;
use std::time::Duration;

use efd_shared_stats::{Kernel, Summary};
use efd_tests_testkit::install::Installer;
use efd_tests_testkit::tmp::WorkDir;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

/// What an observatory's telemetry looks like, and what makes arithmetic fail.
fn value(kind: usize, rng: &mut StdRng) -> f64 {
    let noise: f64 = rng.random_range(-1.0..1.0);
    match kind {
        0 => noise,
        // A tenth of a millimetre on a thousand kilometres: a sum of squares is useless here.
        1 => 1e9 + noise * 1e-3,
        2 => -1e9 + noise * 1e-3,
        3 => noise * 1e-300,
        4 => noise * 1e300,
        5 => noise * 1e-310,
        // Few levels, many equal.
        6 => f64::from(rng.random_range(-3..4)),
        7 => 0.1,
        8 => 10f64.powf(noise * 12.0),
        9 if rng.random_ratio(1, 5) => f64::NAN,
        9 => 280.0 + noise,
        10 if rng.random_ratio(1, 9) => f64::INFINITY,
        10 => noise,
        11 => f64::NAN,
        // Cancels: what is left is small beside what was added.
        12 => [1e16, -1e16, 1.0][rng.random_range(0..3)],
        13 if rng.random_ratio(1, 2) => 0.0,
        13 => -0.0,
        // An encoder.
        14 => f64::from(rng.random_range(0..4096)) / 4096.0 * 360.0,
        _ => {
            f64::from_bits(rng.random::<u64>() & !(0x7ff << 52) | rng.random_range(900..1100) << 52)
        }
    }
}

const KINDS: usize = 16;

/// Windows of these many rows: none, one, a few, what one second of 50 Hz has, as many as a network sorts and more.
const ROWS: [usize; 13] = [0, 1, 2, 3, 4, 5, 7, 50, 64, 100, 257, 512, 1000];

#[test]
fn every_statistic_is_that_of_exact_fractions() {
    let mut rng = StdRng::seed_from_u64(8);
    let mut kernel = Kernel::new();
    let (mut windows, mut found) = (Vec::new(), Vec::new());
    for rows in ROWS {
        for _ in 0..3 {
            let columns: Vec<Vec<f64>> = (0..KINDS)
                .map(|kind| (0..rows).map(|_| value(kind, &mut rng)).collect())
                .collect();
            let borrowed: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
            let by_rows: Vec<f64> = (0..rows)
                .flat_map(|row| columns.iter().map(move |column| column[row]))
                .collect();
            let (mut apart, mut together) = (Vec::new(), Vec::new());
            kernel.columns(&borrowed, &mut apart);
            kernel.rows(&by_rows, KINDS, &mut together);
            assert!(apart.iter().zip(&together).all(|(a, b)| same(a, b)));
            windows.extend(columns);
            found.extend(apart);
        }
    }
    let expected = exact(&windows);
    assert_eq!(expected.len(), found.len());
    let mut compared = 0;
    for ((window, found), expected) in windows.iter().zip(&found).zip(&expected) {
        compared += compare(window, found, expected);
    }
    assert!(compared > 3000, "{compared}");
}

fn same(a: &Summary, b: &Summary) -> bool {
    // NaN is not equal to itself.
    format!("{a:?}") == format!("{b:?}")
}

fn exact(windows: &[Vec<f64>]) -> Vec<Value> {
    let installer = Installer::new().unwrap();
    let python = installer.python().unwrap();
    let work = WorkDir::new("stats").unwrap();
    let file = work.join("windows.json");
    let bits: Vec<Vec<u64>> = windows
        .iter()
        .map(|window| window.iter().map(|value| value.to_bits()).collect())
        .collect();
    std::fs::write(&file, serde_json::to_string(&bits).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stats/exact.py");
    let answer = python
        .run(&script, [&file], Duration::from_secs(120))
        .unwrap();
    work.finish().unwrap();
    answer.as_array().unwrap().clone()
}

/// Gives how many numbers were compared.
fn compare(window: &[f64], found: &Summary, expected: &Value) -> usize {
    let what = || format!("{window:?}\n{found:?}\n{expected}");
    assert_eq!(
        found.count,
        expected["count"].as_u64().unwrap(),
        "{}",
        what()
    );
    assert_eq!(found.nan_count, expected["nan_count"].as_u64().unwrap());
    let number = |name: &str| expected[name].as_u64().map(f64::from_bits);
    let quartiles = found.quartiles;
    let values = [
        ("min", found.min),
        ("max", found.max),
        ("first", found.first),
        ("last", found.last),
        ("median", quartiles.map_or(f64::NAN, |it| it.median)),
    ];
    let mut compared = 0;
    for (name, value) in values {
        match number(name) {
            // Equal as numbers: zero has no sign.
            Some(expected) => assert!(value == expected, "{name} {}", what()),
            None => assert!(value.is_nan(), "{name} {}", what()),
        }
        compared += 1;
    }
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * a.abs().max(b.abs()) || a == b;
    for (name, value) in [
        ("q1", quartiles.map(|it| it.q1)),
        ("q3", quartiles.map(|it| it.q3)),
    ] {
        match (number(name), value) {
            (Some(expected), Some(value)) => {
                // Python's way between infinity and a number is by a product with zero.
                let is_near = near(value, expected) || expected.is_nan();
                assert!(is_near, "{name} {}", what());
            }
            (expected, value) => assert!(expected.is_none() && value.is_none(), "{}", what()),
        }
        compared += 1;
    }
    if let Some(mean) = number("mean") {
        // A mean of subnormal numbers has fewer digits than 1e-12 asks for.
        let is_near = near(found.mean, mean) || (found.mean - mean).abs() <= f64::from_bits(1);
        assert!(is_near, "mean {}", what());
        assert!(found.min <= found.mean && found.mean <= found.max);
        compared += 1;
    }
    match (found.stdev(), number("stdev")) {
        (Some(stdev), Some(expected)) => {
            let is_near = near(stdev, expected) || (stdev - expected).abs() <= f64::from_bits(2);
            assert!(is_near, "stdev {stdev:e}, not {expected:e}: {}", what());
            compared += 1;
        }
        (stdev, expected) => assert!(stdev.is_none() && expected.is_none(), "{}", what()),
    }
    compared
}

/// A coarse window from finer ones is that of all values, but for the quartiles, which it does not have.
#[test]
fn merged_windows_are_those_of_all_values() {
    let mut rng = StdRng::seed_from_u64(9);
    let mut kernel = Kernel::new();
    for kind in 0..KINDS {
        for parts in [1, 2, 3, 30] {
            let parts: Vec<Vec<f64>> = (0..parts)
                .map(|_| {
                    let rows = rng.random_range(0..60);
                    (0..rows).map(|_| value(kind, &mut rng)).collect()
                })
                .collect();
            let mut of = |values: &[f64]| {
                let mut out = Vec::new();
                kernel.columns(&[values], &mut out);
                out.remove(0)
            };
            let all = of(&parts.concat());
            let merged = parts
                .iter()
                .map(|part| of(part))
                .fold(Summary::empty(0), |sum, part| sum.merge(&part));
            let what = || format!("{kind}: {merged:?}, not {all:?}");
            assert_eq!((merged.count, merged.nan_count), (all.count, all.nan_count));
            let is_same = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan();
            assert!(
                is_same(merged.min, all.min) && is_same(merged.max, all.max),
                "{}",
                what()
            );
            assert!(is_same(merged.first, all.first) && is_same(merged.last, all.last));
            assert_eq!(
                merged.quartiles.is_some(),
                all.count > 0 && merged.quartiles == all.quartiles
            );
            // Where values cancel, the mean is as exact as they are.
            let scale = all.min.abs().max(all.max.abs());
            let near = |a: f64, b: f64| {
                is_same(a, b) || (a - b).abs() <= 1e-12 * scale.max(f64::MIN_POSITIVE)
            };
            assert!(near(merged.mean, all.mean), "{}", what());
            match (merged.stdev(), all.stdev()) {
                (Some(a), Some(b)) => {
                    // Near 1e9 the means have been rounded to 1e-7.
                    let is_near = (a - b).abs() <= 1e-12 * b + scale * 1e-15 + f64::from_bits(9);
                    assert!(is_near, "stdev {a:e}, not {b:e}: {}", what());
                }
                (a, b) => assert_eq!(a, b, "{}", what()),
            }
        }
    }
}
