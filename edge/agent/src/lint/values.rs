//! Values that are no numbers: NaN is what SAL's publishers send for a sensor that is off, and then for good.

use super::finding::Found;
use super::{Limits, SinceTick};

/// Samples that are judged together, at least.
const SAMPLES_MIN: u32 = 20;
/// Of its limit: what is usual before a finding begins, and where it ends.
const WELL: f64 = 0.5;
const FOLLOWS: f64 = 50.0;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Values {
    samples: u32,
    floats: u64,
    not_finite: u64,
    /// The share that is usual.
    usual: f64,
    windows: f64,
}

impl Values {
    /// `None`: not enough came to tell, and what was said stays.
    pub(super) fn judge(
        &mut self,
        since: SinceTick,
        is_raised: bool,
        limits: Limits,
    ) -> Option<Option<Found>> {
        self.samples += since.samples;
        self.floats += since.floats;
        self.not_finite += since.not_finite;
        if self.samples < SAMPLES_MIN || self.floats == 0 {
            return None;
        }
        let share = self.not_finite as f64 / self.floats as f64;
        (self.samples, self.floats, self.not_finite) = (0, 0, 0);
        let limit = limits.not_finite_share;
        let is_storm = match is_raised {
            true => limit * WELL < share,
            false => limit < share && 0.0 < self.windows && self.usual <= limit * WELL,
        };
        let usual = self.usual;
        if !is_storm {
            self.windows = FOLLOWS.min(self.windows + 1.0);
            self.usual += (share - usual) / self.windows;
        }
        Some(is_storm.then(|| Found {
            value: share,
            limit,
            text: format!(
                "{:.0} % of its floating-point values are NaN or infinite, usually {:.0} %",
                share * 100.0,
                usual * 100.0
            ),
        }))
    }
}
