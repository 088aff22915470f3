//! The grid of windows: the same on every day, whatever came first.

use std::fmt;

use efd_shared_model::UtcNanos;
use efd_shared_model::time::NANOS_PER_SECOND;

const DAY: i64 = 86_400 * NANOS_PER_SECOND;

/// How long a window is, ns. A day is a whole number of them, so that midnight UTC is always a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resolution(i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a resolution of {nanos} ns: a day has to be a whole number of windows")]
pub struct ResolutionError {
    pub nanos: i64,
}

impl Resolution {
    /// The observatory's 1 Hz.
    pub const SECOND: Self = Self(NANOS_PER_SECOND);

    pub fn from_nanos(nanos: i64) -> Result<Self, ResolutionError> {
        if nanos > 0 && DAY % nanos == 0 {
            Ok(Self(nanos))
        } else {
            Err(ResolutionError { nanos })
        }
    }

    pub fn from_seconds(seconds: u32) -> Result<Self, ResolutionError> {
        Self::from_nanos(i64::from(seconds) * NANOS_PER_SECOND)
    }

    pub fn nanos(self) -> i64 {
        self.0
    }

    /// The start of the window that `time` is in: its name. A time is in the window that begins with it.
    pub fn start(self, time: UtcNanos) -> UtcNanos {
        // The very first window of all time may begin before it.
        UtcNanos(time.0.saturating_sub(time.0.rem_euclid(self.0)))
    }

    /// The first time that is no longer in the window.
    pub fn end(self, start: UtcNanos) -> UtcNanos {
        UtcNanos(start.0.saturating_add(self.0))
    }

    /// Whether each window of `finer` lies in one window of this.
    pub fn is_made_of(self, finer: Self) -> bool {
        self.0 % finer.0 == 0
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("h", 3600), ("min", 60), ("s", 1)];
        for (unit, seconds) in units {
            if self.0 % (seconds * NANOS_PER_SECOND) == 0 {
                return write!(f, "{} {unit}", self.0 / (seconds * NANOS_PER_SECOND));
            }
        }
        write!(f, "{} ms", self.0 as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_parts_of_a_day() {
        for nanos in [-1, 0, DAY + 1, DAY * 2, 7 * NANOS_PER_SECOND, i64::MIN] {
            assert_eq!(
                Resolution::from_nanos(nanos),
                Err(ResolutionError { nanos })
            );
        }
        for (seconds, text) in [(1, "1 s"), (10, "10 s"), (300, "5 min"), (86_400, "24 h")] {
            let resolution = Resolution::from_seconds(seconds).unwrap();
            assert_eq!(resolution.to_string(), text);
        }
        assert_eq!(
            Resolution::from_nanos(20_000_000).unwrap().to_string(),
            "20 ms"
        );
        let (ten, five) = (Resolution::from_seconds(10), Resolution::from_seconds(300));
        assert!(five.unwrap().is_made_of(ten.unwrap()));
        assert!(!ten.unwrap().is_made_of(five.unwrap()));
    }

    #[test]
    fn before_1970_and_at_the_ends_of_time() {
        let ten = Resolution::from_seconds(10).unwrap();
        assert_eq!(ten.start(UtcNanos(-1)), UtcNanos(-10 * NANOS_PER_SECOND));
        assert_eq!(ten.start(UtcNanos(0)), UtcNanos(0));
        assert_eq!(ten.start(UtcNanos(i64::MIN)), UtcNanos(i64::MIN));
        assert_eq!(ten.end(ten.start(UtcNanos(i64::MAX))), UtcNanos(i64::MAX));
    }

    proptest! {
        #[test]
        fn a_time_is_in_its_window(time in -DAY * 20_000..DAY * 20_000, seconds in prop::sample::select(vec![1u32, 10, 60, 300, 3600])) {
            let resolution = Resolution::from_seconds(seconds).unwrap();
            let (start, time) = (resolution.start(UtcNanos(time)), UtcNanos(time));
            prop_assert!(start <= time && time < resolution.end(start));
            prop_assert_eq!(start.0.rem_euclid(DAY) % resolution.nanos(), 0);
            prop_assert_eq!(resolution.start(start), start);
        }
    }
}
