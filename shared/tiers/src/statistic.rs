//! What is kept of a window, by name.

use std::fmt;

use efd_shared_stats::{Quartiles, Summary};

/// Of one channel in one window; the unit is that of the values, but for the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Statistic {
    /// Samples whose value was not a number.
    NanCount = 0,
    Min = 1,
    Max = 2,
    Mean = 3,
    /// The population's standard deviation, from which [`Summary::stdev`] is made.
    Spread = 4,
    First = 5,
    Last = 6,
    Q1 = 7,
    Median = 8,
    Q3 = 9,
}

impl Statistic {
    pub const ALL: [Self; 10] = [
        Self::NanCount,
        Self::Min,
        Self::Max,
        Self::Mean,
        Self::Spread,
        Self::First,
        Self::Last,
        Self::Q1,
        Self::Median,
        Self::Q3,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::NanCount => "nan_count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::Spread => "spread",
            Self::First => "first",
            Self::Last => "last",
            Self::Q1 => "q1",
            Self::Median => "median",
            Self::Q3 => "q3",
        }
    }

    pub(crate) fn of(self, summary: &Summary) -> f64 {
        let quartile = |of: fn(&Quartiles) -> f64| summary.quartiles.as_ref().map_or(f64::NAN, of);
        match self {
            Self::NanCount => summary.nan_count as f64,
            Self::Min => summary.min,
            Self::Max => summary.max,
            Self::Mean => summary.mean,
            Self::Spread => summary.spread,
            Self::First => summary.first,
            Self::Last => summary.last,
            Self::Q1 => quartile(|it| it.q1),
            Self::Median => quartile(|it| it.median),
            Self::Q3 => quartile(|it| it.q3),
        }
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics(u16);

impl Statistics {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self((1 << Statistic::ALL.len()) - 1);
    /// What merged windows have.
    pub const WITHOUT_QUARTILES: Self = Self(Self::ALL.0 & !(0b111 << Statistic::Q1 as u8));

    #[must_use]
    pub fn and(self, one: Statistic) -> Self {
        Self(self.0 | 1 << one as u8)
    }

    pub fn has(self, one: Statistic) -> bool {
        self.0 >> one as u8 & 1 == 1
    }

    pub(crate) fn bits(self) -> u16 {
        self.0
    }

    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        let bits = u16::try_from(bits).ok()?;
        (bits & !Self::ALL.0 == 0).then_some(Self(bits))
    }
}

impl FromIterator<Statistic> for Statistics {
    fn from_iter<I: IntoIterator<Item = Statistic>>(all: I) -> Self {
        all.into_iter().fold(Self::NONE, Self::and)
    }
}
