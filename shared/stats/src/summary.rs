//! What is known of a window's values, and of two windows together.

/// Statistics of one column in one window. By the rules in the crate's documentation; the unit is that of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Values that are numbers.
    pub count: u64,
    pub nan_count: u64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    /// Root of the mean of squared deviations from the mean: the population's standard deviation, from which
    /// [`Self::stdev`] is made. NaN where there are infinities.
    pub spread: f64,
    /// Of the first and last event time.
    pub first: f64,
    pub last: f64,
    /// `None` of no values, and where summaries were merged.
    pub quartiles: Option<Quartiles>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles {
    pub q1: f64,
    pub median: f64,
    pub q3: f64,
}

impl Summary {
    /// Of no values, `nan_count` NaNs apart.
    pub fn empty(nan_count: u64) -> Self {
        Self {
            count: 0,
            nan_count,
            min: f64::NAN,
            max: f64::NAN,
            mean: f64::NAN,
            spread: f64::NAN,
            first: f64::NAN,
            last: f64::NAN,
            quartiles: None,
        }
    }

    /// The sample's standard deviation; `None` below two values, where one is infinite, and where it is larger than
    /// any number.
    pub fn stdev(&self) -> Option<f64> {
        if self.count < 2 {
            return None;
        }
        let count = self.count as f64;
        let stdev = self.spread * (count / (count - 1.0)).sqrt();
        stdev.is_finite().then_some(stdev)
    }

    /// Both windows as one; `later` comes after this. Pairwise update of mean and squared deviations (Chan, Golub and
    /// LeVeque 1983), on the roots of their means.
    #[must_use]
    pub fn merge(&self, later: &Self) -> Self {
        let nan_count = self.nan_count + later.nan_count;
        if self.count == 0 || later.count == 0 {
            let known = if self.count == 0 { later } else { self };
            return Self {
                nan_count,
                ..*known
            };
        }
        let count = self.count + later.count;
        let share = later.count as f64 / count as f64;
        let apart = later.mean - self.mean;
        let mean = if apart.is_finite() {
            self.mean + apart * share
        } else {
            self.mean * (1.0 - share) + later.mean * share
        };
        let between = apart.abs() * (share * (1.0 - share)).sqrt();
        // Of NaN and infinity `hypot` makes infinity.
        let is_known = !(self.spread.is_nan() || later.spread.is_nan() || between.is_nan());
        Self {
            count,
            nan_count,
            min: self.min.min(later.min),
            max: self.max.max(later.max),
            mean,
            spread: if is_known {
                let (before, after) = ((1.0 - share).sqrt(), share.sqrt());
                (self.spread * before)
                    .hypot(later.spread * after)
                    .hypot(between)
            } else {
                f64::NAN
            },
            first: self.first,
            last: later.last,
            quartiles: None,
        }
    }
}

impl Quartiles {
    /// Of `count` values, at least one, of which `sorted(i)` is the i-th smallest.
    pub(crate) fn of(count: usize, mut sorted: impl FnMut(usize) -> f64) -> Self {
        let mut quarter = |quarters: usize| {
            let (index, rest) = ((count - 1) * quarters / 4, (count - 1) * quarters % 4);
            let below = sorted(index);
            if rest == 0 {
                return below + 0.0;
            }
            let above = sorted(index + 1);
            let (left, right) = ((4 - rest) as f64, rest as f64);
            let between = (below * left + above * right) / 4.0;
            if between.is_finite() {
                // Rounding must not lead outside.
                return between.clamp(below, above) + 0.0;
            }
            // Too large for a product, or infinite itself.
            below / 4.0 * left + above / 4.0 * right
        };
        Self {
            q1: quarter(1),
            median: quarter(2),
            q3: quarter(3),
        }
    }
}
