//! Windows that are not closed yet, of all series.

use std::collections::BTreeMap;

use efd_shared_model::{ClockState, UtcNanos};
use efd_shared_stats::Resolution;
use efd_shared_store::Position;
use efd_shared_tiers::{Samples, Shape};

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

impl SeriesNumber {
    pub(crate) fn place(self) -> usize {
        self.0
    }
}

/// Where a sample comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The place in the list of lanes of whoever reads them.
    pub lane: usize,
    pub position: Position,
    pub arrived: Arrival,
}

/// The first block of a lane that has something of a window.
pub type First = (usize, Position);

#[derive(Debug)]
pub struct OpenWindows {
    /// ns after its resolution that a window waits.
    grace: i64,
    series: Vec<Known>,
    /// By lane: before it nothing is due.
    soonest: Vec<Option<Arrival>>,
}

#[derive(Debug)]
struct Known {
    resolution: Resolution,
    shape: Shape,
    open: BTreeMap<UtcNanos, Open>,
    /// Everything after it was never closed.
    closed_last: Option<UtcNanos>,
}

#[derive(Debug)]
struct Open {
    samples: Samples,
    /// Of the first sample; its lane's clock closes the window.
    at: At,
    /// Most often of that lane alone.
    firsts: Vec<First>,
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
    pub firsts: Vec<First>,
    pub samples: Samples,
}

impl OpenWindows {
    pub fn new(grace: i64) -> Self {
        Self {
            grace,
            series: Vec::new(),
            soonest: Vec::new(),
        }
    }

    /// `closed_last`: no window after it was ever closed; `None` if that is not known.
    pub fn add_series(
        &mut self,
        resolution: Resolution,
        shape: Shape,
        closed_last: Option<UtcNanos>,
    ) -> SeriesNumber {
        self.series.push(Known {
            resolution,
            shape,
            open: BTreeMap::new(),
            closed_last,
        });
        SeriesNumber(self.series.len() - 1)
    }

    pub fn is_open(&self, series: SeriesNumber, start: UtcNanos) -> bool {
        self.series[series.0].open.contains_key(&start)
    }

    /// Somebody else closed it.
    pub fn closed(&mut self, series: SeriesNumber, start: UtcNanos) {
        let last = &mut self.series[series.0].closed_last;
        *last = last.map(|last| last.max(start));
    }

    pub fn push(&mut self, series: SeriesNumber, time: UtcNanos, values: &[f64], at: At) -> Pushed {
        let known = &mut self.series[series.0];
        let start = known.resolution.start(time);
        if let Some(open) = known.open.get_mut(&start) {
            open.samples.push(time, values, &known.shape.0);
            if open.at.lane != at.lane && open.firsts.iter().all(|(lane, _)| *lane != at.lane) {
                open.firsts.push((at.lane, at.position));
            }
            return Pushed::Taken;
        }
        if known.closed_last.is_none_or(|last| start <= last) {
            return Pushed::Unknown(start);
        }
        self.begin(series, start, at);
        self.push(series, time, values, at)
    }

    pub fn begin(&mut self, series: SeriesNumber, start: UtcNanos, at: At) {
        let open = || Open {
            samples: Samples::default(),
            at,
            firsts: vec![(at.lane, at.position)],
        };
        let known = &mut self.series[series.0];
        known.open.entry(start).or_insert_with(open);
        let mut due = at.arrived;
        let wait = known.resolution.nanos().saturating_add(self.grace);
        due.monotonic = due.monotonic.saturating_add(wait);
        if self.soonest.len() <= at.lane {
            self.soonest.resize(at.lane + 1, None);
        }
        let soonest = &mut self.soonest[at.lane];
        *soonest = Some(match *soonest {
            Some(known) => earlier(known, due),
            None => due,
        });
    }

    /// Closes what is due of a lane by its clock, oldest first within a series.
    pub fn close_due(&mut self, lane: usize, now: Arrival) -> Vec<Due> {
        let is_before = |soonest: &Arrival| now.since(*soonest).is_some_and(|since| since < 0);
        match self.soonest.get(lane).copied().flatten() {
            Some(soonest) if !is_before(&soonest) => {}
            Some(_) | None => return Vec::new(),
        }
        let grace = self.grace;
        let mut left: Option<Arrival> = None;
        let closed = self.close(|resolution, at| {
            if at.lane != lane {
                return false;
            }
            let wait = resolution.nanos().saturating_add(grace);
            let is_due = now.since(at.arrived).is_none_or(|since| wait <= since);
            if !is_due {
                let due = Arrival {
                    monotonic: at.arrived.monotonic.saturating_add(wait),
                    ..at.arrived
                };
                left = Some(left.map_or(due, |left| earlier(left, due)));
            }
            is_due
        });
        self.soonest[lane] = left;
        closed
    }

    /// Before their time.
    pub fn close_all(&mut self) -> Vec<Due> {
        self.soonest.clear();
        self.close(|_, _| true)
    }

    fn close(&mut self, mut is_due: impl FnMut(Resolution, &At) -> bool) -> Vec<Due> {
        let mut all = Vec::new();
        for (number, known) in self.series.iter_mut().enumerate() {
            let resolution = known.resolution;
            let due = known
                .open
                .extract_if(.., |_, open| is_due(resolution, &open.at));
            for (start, open) in due {
                known.closed_last = known.closed_last.max(Some(start));
                all.push(Due {
                    series: SeriesNumber(number),
                    start,
                    firsts: open.firsts,
                    samples: open.samples,
                });
            }
        }
        all
    }

    /// Windows that are open, and where each began.
    pub fn open(&self) -> impl Iterator<Item = (SeriesNumber, UtcNanos, &[First])> {
        let series = self.series.iter().enumerate();
        series.flat_map(|(number, known)| {
            let open = known.open.iter();
            open.map(move |(start, open)| (SeriesNumber(number), *start, &open.firsts[..]))
        })
    }

    /// Memory of the samples, about.
    pub fn bytes(&self) -> usize {
        let open = self.series.iter().flat_map(|known| known.open.values());
        open.map(|open| open.samples.bytes()).sum()
    }
}

/// Of two boots the other one's: what is compared with it is looked at.
fn earlier(a: Arrival, b: Arrival) -> Arrival {
    match b.since(a) {
        Some(since) if 0 <= since => a,
        Some(_) => b,
        None => Arrival {
            monotonic: i64::MIN,
            ..a
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(seconds: f64) -> Arrival {
        Arrival {
            boot: [1; 16],
            monotonic: (seconds * SECOND as f64) as i64,
        }
    }

    fn windows() -> (OpenWindows, SeriesNumber) {
        let mut windows = OpenWindows::new(2 * SECOND);
        let resolution = Resolution::from_seconds(10).unwrap();
        let series = windows.add_series(resolution, Shape(vec![1]), None);
        (windows, series)
    }

    fn from(lane: usize, position: u64, arrived: Arrival) -> At {
        At {
            lane,
            position: Position(position),
            arrived,
        }
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
                let at = from(0, tenth as u64 + 1, arrived);
                if let Pushed::Unknown(start) = windows.push(series, time, &[1.0], at) {
                    assert!(!closed.contains(&start), "late");
                    windows.begin(series, start, at);
                    assert_eq!(windows.push(series, time, &[1.0], at), Pushed::Taken);
                }
                for due in windows.close_due(0, arrived) {
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
        windows.begin(series, UtcNanos(0), from(0, 3, at(5.0)));
        assert!(windows.close_due(0, at(16.9)).is_empty());
        let other = Arrival {
            boot: [2; 16],
            monotonic: 0,
        };
        let due = windows.close_due(0, other);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].firsts, [(0, Position(3))]);
        // Known to have been closed: nobody is asked about a later one, somebody about this.
        let later = UtcNanos(10 * SECOND);
        let pushed = windows.push(series, later, &[1.0], from(0, 4, other));
        assert_eq!(pushed, Pushed::Taken);
        let pushed = windows.push(series, UtcNanos(5), &[1.0], from(0, 4, other));
        assert_eq!(pushed, Pushed::Unknown(UtcNanos(0)));
    }

    #[test]
    fn a_window_is_closed_by_the_clock_of_its_lane() {
        let (mut windows, series) = windows();
        let other = windows.add_series(
            Resolution::from_seconds(1).unwrap(),
            Shape(vec![1]),
            Some(UtcNanos(-1)),
        );
        windows.begin(series, UtcNanos(0), from(1, 3, at(5.0)));
        // The same window in another lane: it is still the first one's.
        let pushed = windows.push(series, UtcNanos(1), &[1.0], from(0, 9, at(1.0)));
        assert_eq!(pushed, Pushed::Taken);
        let pushed = windows.push(other, UtcNanos(1), &[1.0], from(0, 9, at(1.0)));
        assert_eq!(pushed, Pushed::Taken);
        let closed = windows.close_due(0, at(3.9));
        assert!(closed.is_empty(), "{closed:?}");
        let closed = windows.close_due(0, at(100.0));
        assert_eq!(closed.len(), 1);
        assert_eq!(closed[0].series, other);
        assert!(windows.close_due(1, at(16.9)).is_empty());
        let closed = windows.close_due(1, at(17.0));
        assert_eq!(closed[0].firsts, [(1, Position(3)), (0, Position(9))]);
        assert!(windows.close_due(1, at(1e6)).is_empty());
    }
}
