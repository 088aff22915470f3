//! How fast a count grows.
//!
//! Pure: time is an argument.

use std::collections::VecDeque;

use efd_shared_model::UtcNanos;

/// A count looked at now and then, over the last ten minutes.
#[derive(Debug, Default)]
pub struct Rate {
    looks: VecDeque<(UtcNanos, u64)>,
}

const RATE_SPAN_NS: i64 = 600_000_000_000;
const RATE_EVERY_NS: i64 = 10_000_000_000;

impl Rate {
    pub fn look(&mut self, count: u64, now: UtcNanos) {
        let newest = self.looks.back().copied();
        if newest.is_some_and(|(at, before)| now < at || count < before) {
            // The clock was set back.
            self.looks.clear();
        } else if newest.is_some_and(|(at, _)| now.since(at) < RATE_EVERY_NS) {
            return;
        }
        self.looks.push_back((now, count));
        while self.looks.len() > 2 && now.since(self.looks[1].0) >= RATE_SPAN_NS {
            self.looks.pop_front();
        }
    }

    /// Per second; `None` before two looks.
    pub fn per_second(&self) -> Option<f64> {
        let ((began, first), (ended, last)) = (self.looks.front()?, self.looks.back()?);
        let span = ended.since(*began);
        (span > 0).then(|| (last - first) as f64 * 1e9 / span as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_ten_minutes() {
        let mut rate = Rate::default();
        let at = |seconds: i64| UtcNanos(seconds * 1_000_000_000);
        assert_eq!(rate.per_second(), None);
        for second in 0..=600 {
            rate.look(second as u64 * 10, at(second));
        }
        assert_eq!(rate.per_second(), Some(10.0));
        for second in 601..=1300 {
            rate.look(6000, at(second));
        }
        assert_eq!(rate.per_second(), Some(0.0));
        rate.look(6000, at(5));
        assert_eq!(rate.per_second(), None, "a clock set back begins anew");
    }
}
