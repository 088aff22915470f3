//! Windows that are not closed yet, of all series.

use std::collections::BTreeMap;

use efd_shared_model::{ClockState, Schema, UtcNanos};
use efd_shared_stats::Resolution;
use efd_shared_store::Position;
use efd_shared_tiers::{Samples, SeriesKey};

/// When a block was committed, as far as two of them can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    boot: [u8; 16],
    monotonic: i64,
}

impl From<&ClockState> for Arrival {
    fn from(clock: &ClockState) -> Self {
        Self {
            boot: clock.boot_id,
            monotonic: clock.monotonic,
        }
    }
}

impl Arrival {
    /// ns; `None` where the machine was started anew in between.
    pub fn since(self, earlier: Self) -> Option<i64> {
        (self.boot == earlier.boot).then(|| self.monotonic.saturating_sub(earlier.monotonic))
    }
}

/// A series, by its place here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesNumber(usize);

#[derive(Debug)]
pub struct OpenWindows {
    resolution: Resolution,
    /// ns after its resolution that a window waits.
    grace: i64,
    series: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    key: SeriesKey,
    schema: Schema,
    /// The place in the list of lanes of whoever reads them.
    lane: usize,
    open: BTreeMap<UtcNanos, Open>,
    /// Everything after it was never closed.
    closed_last: Option<UtcNanos>,
}

#[derive(Debug)]
struct Open {
    samples: Samples,
    arrived: Arrival,
    first: Position,
}

/// What is to become of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    Taken,
    /// Its window is not open, and was perhaps closed before: whoever knows [`OpenWindows::begin`]s it, or not.
    Unknown(UtcNanos),
}

/// A window that is complete.
#[derive(Debug)]
pub struct Due {
    pub series: SeriesNumber,
    pub start: UtcNanos,
    pub first: Position,
    pub samples: Samples,
}

impl OpenWindows {
    pub fn new(resolution: Resolution, grace: i64) -> Self {
        Self {
            resolution,
            grace,
            series: Vec::new(),
        }
    }

    /// `closed_last`: no window after it was ever closed; `None` if that is not known.
    pub fn add_series(
        &mut self,
        key: SeriesKey,
        schema: Schema,
        lane: usize,
        closed_last: Option<UtcNanos>,
    ) -> SeriesNumber {
        self.series.push(Known {
            key,
            schema,
            lane,
            open: BTreeMap::new(),
            closed_last,
        });
        SeriesNumber(self.series.len() - 1)
    }

    pub fn key(&self, series: SeriesNumber) -> &SeriesKey {
        &self.series[series.0].key
    }

    pub fn schema(&self, series: SeriesNumber) -> &Schema {
        &self.series[series.0].schema
    }

    pub fn lane(&self, series: SeriesNumber) -> usize {
        self.series[series.0].lane
    }

    pub fn is_open(&self, series: SeriesNumber, start: UtcNanos) -> bool {
        self.series[series.0].open.contains_key(&start)
    }

    pub fn push(
        &mut self,
        series: SeriesNumber,
        time: UtcNanos,
        values: &[f64],
        arrived: Arrival,
        position: Position,
    ) -> Pushed {
        let start = self.resolution.start(time);
        let known = &mut self.series[series.0];
        if let Some(open) = known.open.get_mut(&start) {
            open.samples.push(time, values, &known.key.shape.0);
            return Pushed::Taken;
        }
        if known.closed_last.is_none_or(|last| start <= last) {
            return Pushed::Unknown(start);
        }
        self.begin(series, start, arrived, position);
        self.push(series, time, values, arrived, position)
    }

    pub fn begin(
        &mut self,
        series: SeriesNumber,
        start: UtcNanos,
        arrived: Arrival,
        first: Position,
    ) {
        let open = || Open {
            samples: Samples::default(),
            arrived,
            first,
        };
        let known = &mut self.series[series.0];
        known.open.entry(start).or_insert_with(open);
    }

    /// Closes what is due, oldest first within a series.
    pub fn close_due(&mut self, now: Arrival) -> Vec<Due> {
        let wait = self.resolution.nanos().saturating_add(self.grace);
        self.close(|open| now.since(open.arrived).is_none_or(|since| wait <= since))
    }

    /// Before their time.
    pub fn close_all(&mut self) -> Vec<Due> {
        self.close(|_| true)
    }

    fn close(&mut self, is_due: impl Fn(&Open) -> bool) -> Vec<Due> {
        let mut all = Vec::new();
        for (number, known) in self.series.iter_mut().enumerate() {
            let due = known.open.extract_if(.., |_, open| is_due(open));
            for (start, open) in due {
                known.closed_last = known.closed_last.max(Some(start));
                all.push(Due {
                    series: SeriesNumber(number),
                    start,
                    first: open.first,
                    samples: open.samples,
                });
            }
        }
        all
    }

    /// Windows that are open, and the block of the first sample of each.
    pub fn open(&self) -> impl Iterator<Item = (&SeriesKey, usize, UtcNanos, Position)> {
        self.series.iter().flat_map(|known| {
            let open = known.open.iter();
            open.map(|(start, open)| (&known.key, known.lane, *start, open.first))
        })
    }

    /// Memory of the samples, about.
    pub fn bytes(&self) -> usize {
        let open = self.series.iter().flat_map(|known| known.open.values());
        open.map(|open| open.samples.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use efd_shared_tiers::Shape;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(seconds: f64) -> Arrival {
        Arrival {
            boot: [1; 16],
            monotonic: (seconds * SECOND as f64) as i64,
        }
    }

    fn windows() -> (OpenWindows, SeriesNumber) {
        let mut windows = OpenWindows::new(Resolution::from_seconds(10).unwrap(), 2 * SECOND);
        let schema = Schema::new("{}");
        let key = SeriesKey {
            topic: "t".into(),
            instance: None,
            schema: schema.fingerprint(),
            shape: Shape(vec![1]),
        };
        let series = windows.add_series(key, schema, 0, None);
        (windows, series)
    }

    #[test]
    fn a_window_is_open_for_its_time_whatever_the_samples_say() {
        // A publisher whose clock is 37 s behind, one that is right, one a day ahead.
        for offset in [-37 * SECOND, 0, 86_400 * SECOND] {
            let (mut windows, series) = windows();
            let mut closed = Vec::new();
            for tenth in 0..600i64 {
                let arrived = at(tenth as f64 / 10.0);
                let time = UtcNanos(1_000_000 * SECOND + tenth * SECOND / 10 + offset);
                let position = Position(tenth as u64 + 1);
                if let Pushed::Unknown(start) =
                    windows.push(series, time, &[1.0], arrived, position)
                {
                    assert!(!closed.contains(&start), "late");
                    windows.begin(series, start, arrived, position);
                    assert_eq!(
                        windows.push(series, time, &[1.0], arrived, position),
                        Pushed::Taken
                    );
                }
                for due in windows.close_due(arrived) {
                    let is_first = closed.is_empty();
                    assert!(
                        due.samples.len() == 100 || is_first,
                        "{}",
                        due.samples.len()
                    );
                    closed.push(due.start);
                }
            }
            assert!((4..=6).contains(&closed.len()), "{closed:?}");
            assert!(windows.open().count() <= 2);
        }
    }

    #[test]
    fn another_boot_closes_what_was_open() {
        let (mut windows, series) = windows();
        windows.begin(series, UtcNanos(0), at(5.0), Position(3));
        assert!(windows.close_due(at(16.9)).is_empty());
        let other = Arrival {
            boot: [2; 16],
            monotonic: 0,
        };
        let due = windows.close_due(other);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].first, Position(3));
        // Known to have been closed: nobody is asked about a later one, somebody about this.
        let pushed = windows.push(series, UtcNanos(10 * SECOND), &[1.0], other, Position(4));
        assert_eq!(pushed, Pushed::Taken);
        let pushed = windows.push(series, UtcNanos(5), &[1.0], other, Position(4));
        assert_eq!(pushed, Pushed::Unknown(UtcNanos(0)));
    }
}
