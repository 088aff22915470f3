//! What `/status` says of the last day: named losses by reason.
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
}
