//! Open windows against a plain grouping of everything that was taken.

use std::collections::BTreeMap;

use efd_shared_model::UtcNanos;
use efd_shared_model::time::NANOS_PER_SECOND;
use efd_shared_stats::{Kernel, Pushed, Resolution, Summary, Windows};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// Tenths of a second, a value.
    Push(i64, f64),
    /// A clock, in tenths of a second.
    Close(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (-50i64..400, -9i32..9).prop_map(|(time, value)| Step::Push(time, value.into())),
        1 => (-50i64..400).prop_map(Step::Close),
    ]
}

fn time(tenths: i64) -> UtcNanos {
    UtcNanos(tenths * NANOS_PER_SECOND / 10)
}

const ROWS_MAX: usize = 40;

proptest! {
    #[test]
    fn what_is_taken_is_in_one_closed_window(steps in prop::collection::vec(step(), 0..300)) {
        let resolution = Resolution::SECOND;
        let mut windows = Windows::new(resolution, 2, ROWS_MAX);
        let mut kernel = Kernel::new();
        let mut taken: BTreeMap<UtcNanos, Vec<(UtcNanos, f64)>> = BTreeMap::new();
        let mut closed: Vec<(UtcNanos, usize, Vec<Summary>)> = Vec::new();
        let mut through = UtcNanos(i64::MIN);
        for step in steps {
            match step {
                Step::Push(tenths, value) => {
                    let (at, start) = (time(tenths), resolution.start(time(tenths)));
                    let mut pushed = windows.push(at, &[value, -value]);
                    if pushed == Pushed::Full {
                        prop_assert_eq!(windows.rows(), ROWS_MAX);
                        through = through.max(resolution.end(windows.oldest().unwrap()));
                        windows.close_oldest(&mut kernel, |window| {
                            closed.push((window.start, window.rows, window.summaries.to_vec()));
                        });
                        pushed = windows.push(at, &[value, -value]);
                    }
                    if start < through {
                        prop_assert_eq!(pushed, Pushed::Late(start));
                    } else {
                        prop_assert_eq!(pushed, Pushed::Taken);
                        taken.entry(start).or_default().push((at, value));
                    }
                }
                Step::Close(tenths) => {
                    through = through.max(resolution.start(time(tenths)));
                    windows.close(time(tenths), &mut kernel, |window| {
                        closed.push((window.start, window.rows, window.summaries.to_vec()));
                    });
                }
            }
        }
        windows.close(UtcNanos(i64::MAX), &mut kernel, |window| {
            closed.push((window.start, window.rows, window.summaries.to_vec()));
        });
        prop_assert_eq!(windows.rows(), 0);
        prop_assert!(closed.is_sorted_by(|a, b| a.0 < b.0), "each window once, oldest first");
        prop_assert_eq!(closed.len(), taken.len());
        for ((start, rows, summaries), (expected, mut values)) in closed.into_iter().zip(taken) {
            values.sort_by_key(|(at, _)| *at);
            let first = values[0].1;
            let sum: f64 = values.iter().map(|(_, value)| value).sum();
            prop_assert_eq!((start, rows), (expected, values.len()));
            prop_assert_eq!((summaries[0].first, summaries[1].first), (first, -first));
            prop_assert_eq!(summaries[0].last, values[rows - 1].1);
            prop_assert!((summaries[0].mean - sum / rows as f64).abs() < 1e-12);
            prop_assert_eq!(summaries[0].min, -summaries[1].max);
        }
    }
}
