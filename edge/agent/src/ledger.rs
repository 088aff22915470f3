//! What `/status` says of time spans: named losses of the last day by reason, and how long the buffer would last.
//!
//! Pure: time is an argument. Begins with the process; the account over all times is in the lane `losses`.

use std::collections::{BTreeMap, VecDeque};

use efd_shared_model::{LossReason, UtcNanos};

const HOUR_NS: i64 = 3_600_000_000_000;
const HOURS: i64 = 24;

/// Samples named as lost, hour by hour.
#[derive(Debug, Default)]
pub struct LossesOfTheDay {
    hours: VecDeque<(i64, BTreeMap<LossReason, u64>)>,
}

impl LossesOfTheDay {
    pub fn add(&mut self, reason: LossReason, samples: u64, now: UtcNanos) {
        self.forget(now);
        let hour = now.0.div_euclid(HOUR_NS);
        if self.hours.back().is_none_or(|(last, _)| *last < hour) {
            self.hours.push_back((hour, BTreeMap::new()));
        }
        if let Some((_, counts)) = self.hours.back_mut() {
            *counts.entry(reason).or_default() += samples;
        }
    }

    /// Of this hour and the 23 before it.
    pub fn sum(&mut self, now: UtcNanos) -> BTreeMap<LossReason, u64> {
        self.forget(now);
        let mut sum = BTreeMap::new();
        for (reason, samples) in self.hours.iter().flat_map(|(_, counts)| counts) {
            *sum.entry(*reason).or_default() += samples;
        }
        sum
    }

    fn forget(&mut self, now: UtcNanos) {
        let hour = now.0.div_euclid(HOUR_NS);
        self.hours.retain(|(of, _)| hour - of < HOURS);
    }
}

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
    fn losses_leave_after_a_day() {
        let mut day = LossesOfTheDay::default();
        let at = |hours: i64| UtcNanos(hours * HOUR_NS + 1);
        day.add(LossReason::Crash, 3, at(0));
        day.add(LossReason::DdsGap, 1, at(1));
        day.add(LossReason::Crash, 4, at(23));
        let whole = BTreeMap::from([(LossReason::Crash, 7), (LossReason::DdsGap, 1)]);
        assert_eq!(day.sum(at(23)), whole);
        assert_eq!(day.sum(at(25)), BTreeMap::from([(LossReason::Crash, 4)]));
        assert!(day.sum(at(100)).is_empty());
    }

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
