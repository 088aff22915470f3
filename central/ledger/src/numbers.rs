//! Publishers' sequence numbers by hour. Pure.
//!
//! A publisher that starts anew begins at 1 again, often under its old name; blocks come in any order, as back-fill does. So
//! its numbers are told apart by *runs*: within one, later samples have larger numbers. Back-fill that brings the oldest
//! first, across a start of the publisher within the outage, may join two runs: then fewer numbers are seen to be absent.

use std::collections::BTreeMap;

use efd_shared_model::UtcNanos;

use crate::Hour;

/// Clocks are set, and stamps of neighbours may change places by so much.
const SLACK: i64 = 2_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) number: i64,
    pub(crate) time: UtcNanos,
}

/// From the smallest number to the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: Mark,
    pub(crate) last: Mark,
}

impl Run {
    fn of(mark: Mark) -> Self {
        Self {
            first: mark,
            last: mark,
        }
    }

    /// Whether numbers and times are in the same order.
    fn takes(&self, mark: Mark) -> bool {
        let Self { first, last } = self;
        let is_late = last.time.saturating_add(SLACK) < mark.time;
        let is_early = mark.time < first.time.saturating_sub(SLACK);
        if mark.number > last.number {
            last.time.saturating_sub(SLACK) <= mark.time
        } else if mark.number < first.number {
            mark.time <= first.time.saturating_add(SLACK)
        } else {
            !is_late && !is_early
        }
    }

    fn extend(&mut self, mark: Mark) {
        if mark.number > self.last.number {
            self.last = mark;
        }
        if mark.number < self.first.number {
            self.first = mark;
        }
    }
}

/// Of one publisher. Those of a year are few: more than [`RUNS_MAX`] are not told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs(Vec<Run>);

pub(crate) const RUNS_MAX: usize = 256;

impl Runs {
    pub(crate) fn from_iter(runs: impl IntoIterator<Item = Run>) -> Self {
        Self(runs.into_iter().collect())
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Run> {
        self.0.get(index)
    }

    /// The index of the run that a sample is of; the newest that takes it.
    pub(crate) fn place(&mut self, mark: Mark) -> usize {
        let fits = self.0.iter().rposition(|run| run.takes(mark));
        let index = fits.unwrap_or_else(|| {
            if self.0.len() < RUNS_MAX {
                self.0.push(Run::of(mark));
            }
            self.0.len() - 1
        });
        self.0[index].extend(mark);
        index
    }
}

/// What of a run was recorded in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) records: u64,
}

impl Span {
    pub(crate) fn of(number: i64) -> Self {
        Self {
            first: number,
            last: number,
            records: 1,
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.records += other.records;
    }
}

/// The hours of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans(pub(crate) BTreeMap<Hour, Span>);

impl Spans {
    /// Numbers that are absent, by hour. Those between two hours are of the later one.
    pub(crate) fn absent(&self) -> BTreeMap<Hour, u64> {
        let mut absent = BTreeMap::new();
        let mut reached: Option<i64> = None;
        for (hour, span) in &self.0 {
            let from = reached.map_or(span.first, |last| last.saturating_add(1));
            let numbers = span.last.saturating_sub(from).saturating_add(1).max(0);
            let count = numbers.cast_unsigned().saturating_sub(span.records);
            if count > 0 {
                absent.insert(*hour, count);
            }
            reached = Some(reached.map_or(span.last, |last| last.max(span.last)));
        }
        absent
    }

    /// The hour that [`Self::absent`] has a number in; `None` outside of the run.
    pub(crate) fn hour_of(&self, number: i64) -> Option<Hour> {
        let first = self.0.values().map(|span| span.first).min()?;
        if number < first {
            return None;
        }
        let mut hours = self.0.iter();
        hours
            .find(|(_, span)| number <= span.last)
            .map(|(hour, _)| *hour)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mark(number: i64, seconds: i64) -> Mark {
        Mark {
            number,
            time: UtcNanos(seconds * 1_000_000_000),
        }
    }

    #[test]
    fn a_publisher_that_begins_anew_is_another_run() {
        let mut runs = Runs::default();
        let places = [
            (5, 100),
            (6, 101),
            (1, 200),
            (2, 201),
            // Late, of the first run; and of the second.
            (4, 99),
            (3, 202),
            // Back-fill of a third, the oldest.
            (900, 50),
            (899, 49),
        ];
        let found: Vec<_> = places.map(|(n, s)| runs.place(mark(n, s))).into();
        assert_eq!(found, [0, 0, 1, 1, 0, 1, 2, 2]);
    }

    /// Stamps of one second for all, and some that go back a little.
    #[test]
    fn stamps_that_stand_still_are_one_run() {
        let mut runs = Runs::default();
        for (number, second) in [(1, 10), (3, 10), (2, 10), (4, 9), (5, 11)] {
            assert_eq!(runs.place(mark(number, second)), 0);
        }
    }

    fn spans_of(numbers: &[(i64, i64)]) -> Spans {
        let mut spans = Spans::default();
        for &(number, hour) in numbers {
            let span = Span::of(number);
            spans
                .0
                .entry(Hour(hour))
                .and_modify(|known| known.merge(span))
                .or_insert(span);
        }
        spans
    }

    #[test]
    fn what_is_between_two_hours_is_of_the_later() {
        let spans = spans_of(&[(3, 0), (5, 0), (9, 2)]);
        let absent = BTreeMap::from([(Hour(0), 1), (Hour(2), 3)]);
        assert_eq!(spans.absent(), absent);
        let hours = [2, 4, 6, 8, 9, 10].map(|number| spans.hour_of(number));
        assert_eq!(
            hours,
            [
                None,
                Some(Hour(0)),
                Some(Hour(2)),
                Some(Hour(2)),
                Some(Hour(2)),
                None
            ]
        );
    }

    proptest! {
        /// Whatever is dropped of a publisher's samples is absent, in the hour of the next that came, in any order.
        #[test]
        fn absent_is_what_was_dropped(
            dropped in proptest::collection::btree_set(1i64..299, 0..80),
            order in any::<u64>(),
        ) {
            let hour = |number: i64| number / 100;
            let mut kept: Vec<i64> = (0..300).filter(|number| !dropped.contains(number)).collect();
            kept.sort_by_key(|number| (*number as u64).wrapping_mul(order | 1));
            let spans = spans_of(&kept.iter().map(|&number| (number, hour(number))).collect::<Vec<_>>());
            let mut expected: BTreeMap<Hour, u64> = BTreeMap::new();
            for number in &dropped {
                let next = (*number..).find(|number| !dropped.contains(number)).unwrap();
                *expected.entry(Hour(hour(next))).or_default() += 1;
                prop_assert_eq!(spans.hour_of(*number), Some(Hour(hour(next))));
            }
            prop_assert_eq!(spans.absent(), expected);
        }

        #[test]
        fn two_runs_in_any_order_are_two(order in any::<u64>()) {
            let mut samples: Vec<(i64, i64)> = (1..100).map(|n| (n, 10 * n)).chain((1..50).map(|n| (n, 2000 + 10 * n))).collect();
            // Newest first, or by blocks of ten.
            if order % 2 == 0 { samples.reverse(); }
            let mut runs = Runs::default();
            for (number, second) in &samples {
                runs.place(mark(*number, *second));
            }
            prop_assert_eq!(runs.0.len(), 2);
        }
    }
}
