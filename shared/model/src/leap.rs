//! The leap-second table: built in, replaceable by a newer `leap-seconds.list` (the IERS / NIST format).

use crate::time::{NANOS_PER_SECOND, TaiNanos, UtcNanos};

/// TAI − UTC in whole seconds, by the UTC instant at which each value began.
///
/// During an inserted second 23:59:60 the old offset holds, so POSIX time repeats the first
/// second of the next day, as the POSIX formula has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeapTable {
    /// (seconds since 1970 UTC at which the offset began, TAI − UTC), ascending.
    steps: Vec<(i64, i32)>,
    expires: UtcNanos,
}

/// Seconds from the NTP epoch (1900-01-01) to 1970-01-01.
const NTP_TO_UNIX: i64 = 2_208_988_800;

/// From the IERS leap-seconds.list of 2026 (Bulletin C 72): no second is announced.
const BUILT_IN: [(i64, i32); 28] = [
    (63_072_000, 10),
    (78_796_800, 11),
    (94_694_400, 12),
    (126_230_400, 13),
    (157_766_400, 14),
    (189_302_400, 15),
    (220_924_800, 16),
    (252_460_800, 17),
    (283_996_800, 18),
    (315_532_800, 19),
    (362_793_600, 20),
    (394_329_600, 21),
    (425_865_600, 22),
    (489_024_000, 23),
    (567_993_600, 24),
    (631_152_000, 25),
    (662_688_000, 26),
    (709_948_800, 27),
    (741_484_800, 28),
    (773_020_800, 29),
    (820_454_400, 30),
    (867_715_200, 31),
    (915_148_800, 32),
    (1_136_073_600, 33),
    (1_230_768_000, 34),
    (1_341_100_800, 35),
    (1_435_708_800, 36),
    (1_483_228_800, 37),
];
/// 2027-06-28, six months after the last date that Bulletin C 72 speaks of.
const BUILT_IN_EXPIRES: i64 = 1_814_140_800;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeapFileError {
    #[error("line {line}: `{text}` is not `<seconds since 1900> <TAI-UTC>`")]
    Line { line: usize, text: String },
    #[error("line {line}: time {seconds} is not after the one before")]
    Order { line: usize, seconds: i64 },
    #[error("no leap second in the file")]
    Empty,
    #[error("no expiry (`#@` line) in the file")]
    NoExpiry,
}

impl LeapTable {
    pub fn built_in() -> Self {
        Self {
            steps: BUILT_IN.to_vec(),
            expires: UtcNanos(BUILT_IN_EXPIRES * NANOS_PER_SECOND),
        }
    }

    /// Reads a `leap-seconds.list`: `#@ <expiry>` and lines of `<seconds since 1900> <TAI − UTC>`.
    pub fn parse(text: &str) -> Result<Self, LeapFileError> {
        let mut steps: Vec<(i64, i32)> = Vec::new();
        let mut expires = None;
        for (index, line) in text.lines().enumerate() {
            let bad = || LeapFileError::Line {
                line: index + 1,
                text: line.chars().take(80).collect(),
            };
            if let Some(stamp) = line.strip_prefix("#@") {
                let seconds: i64 = stamp.trim().parse().map_err(|_| bad())?;
                expires = Some(UtcNanos(
                    (seconds - NTP_TO_UNIX).saturating_mul(NANOS_PER_SECOND),
                ));
                continue;
            }
            let body = line.split('#').next().unwrap_or_default();
            let mut words = body.split_whitespace();
            let Some(first) = words.next() else { continue };
            let seconds = first.parse::<i64>().map_err(|_| bad())? - NTP_TO_UNIX;
            let offset = words
                .next()
                .and_then(|word| word.parse::<i32>().ok())
                .ok_or_else(bad)?;
            if steps.last().is_some_and(|&(last, _)| seconds <= last) {
                return Err(LeapFileError::Order {
                    line: index + 1,
                    seconds,
                });
            }
            steps.push((seconds, offset));
        }
        if steps.is_empty() {
            return Err(LeapFileError::Empty);
        }
        Ok(Self {
            steps,
            expires: expires.ok_or(LeapFileError::NoExpiry)?,
        })
    }

    /// (TAI seconds since 1970 from which it holds, TAI − UTC), ascending.
    pub fn steps_tai(&self) -> impl Iterator<Item = (i64, i32)> + '_ {
        self.steps
            .iter()
            .map(|&(begin, offset)| (begin + i64::from(offset), offset))
    }

    pub fn expires(&self) -> UtcNanos {
        self.expires
    }

    /// TAI − UTC in seconds at a TAI instant; before 1972 the first value of the table.
    pub fn offset_at_tai(&self, tai: TaiNanos) -> i32 {
        let seconds = tai.0.div_euclid(NANOS_PER_SECOND);
        let after = self
            .steps
            .partition_point(|&(begin, offset)| begin + i64::from(offset) <= seconds);
        self.steps[after.saturating_sub(1)].1
    }

    /// TAI − UTC in seconds at a UTC instant.
    pub fn offset_at_utc(&self, utc: UtcNanos) -> i32 {
        let seconds = utc.0.div_euclid(NANOS_PER_SECOND);
        let after = self.steps.partition_point(|&(begin, _)| begin <= seconds);
        self.steps[after.saturating_sub(1)].1
    }

    pub fn to_utc(&self, tai: TaiNanos) -> UtcNanos {
        UtcNanos(
            tai.0
                .saturating_sub(i64::from(self.offset_at_tai(tai)) * NANOS_PER_SECOND),
        )
    }

    pub fn to_tai(&self, utc: UtcNanos) -> TaiNanos {
        TaiNanos(
            utc.0
                .saturating_add(i64::from(self.offset_at_utc(utc)) * NANOS_PER_SECOND),
        )
    }

    /// The offset at `tai` and the TAI second at which it next changes (`i64::MAX` if none is known),
    /// so that a hot loop asks again only then.
    pub fn offset_until(&self, tai: TaiNanos) -> (i32, i64) {
        let seconds = tai.0.div_euclid(NANOS_PER_SECOND);
        let after = self
            .steps
            .partition_point(|&(begin, offset)| begin + i64::from(offset) <= seconds);
        let until = self
            .steps
            .get(after.max(1))
            .map_or(i64::MAX, |&(begin, offset)| begin + i64::from(offset));
        (self.steps[after.saturating_sub(1)].1, until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW_YEAR_2017: i64 = 1_483_228_800;

    #[test]
    fn both_sides_of_the_leap_second_of_2016() {
        let table = LeapTable::built_in();
        let utc = |tai_seconds: i64| {
            table.to_utc(TaiNanos(tai_seconds * NANOS_PER_SECOND)).0 / NANOS_PER_SECOND
        };
        assert_eq!(utc(NEW_YEAR_2017 + 35), NEW_YEAR_2017 - 1); // 23:59:59
        assert_eq!(utc(NEW_YEAR_2017 + 36), NEW_YEAR_2017); //     23:59:60
        assert_eq!(utc(NEW_YEAR_2017 + 37), NEW_YEAR_2017); //     00:00:00
        assert_eq!(utc(NEW_YEAR_2017 + 38), NEW_YEAR_2017 + 1);
        assert_eq!(
            table.offset_until(TaiNanos((NEW_YEAR_2017 + 36) * NANOS_PER_SECOND)),
            (36, NEW_YEAR_2017 + 37)
        );
        assert_eq!(
            table.offset_until(TaiNanos((NEW_YEAR_2017 + 37) * NANOS_PER_SECOND)),
            (37, i64::MAX)
        );
        assert_eq!(
            table.to_tai(UtcNanos(NEW_YEAR_2017 * NANOS_PER_SECOND)).0,
            (NEW_YEAR_2017 + 37) * NANOS_PER_SECOND
        );
    }

    #[test]
    fn reads_the_iers_format() {
        let text = "#$ 3960835200\n#@ 3991593600\n2272060800 10 # 1 Jan 1972\n\n2287785600\t11\n";
        let table = LeapTable::parse(text).unwrap();
        assert_eq!(
            table.offset_at_utc(UtcNanos(70_000_000 * NANOS_PER_SECOND)),
            10
        );
        assert_eq!(
            table.offset_at_utc(UtcNanos(80_000_000 * NANOS_PER_SECOND)),
            11
        );
        assert_eq!(table.expires().date(), "2026-06-28");
        assert!(matches!(
            LeapTable::parse("#@ 1\nx 3"),
            Err(LeapFileError::Line { line: 2, .. })
        ));
        assert!(matches!(
            LeapTable::parse("#@ 1\n5 3\n5 4"),
            Err(LeapFileError::Order { line: 3, .. })
        ));
        assert_eq!(LeapTable::parse("#@ 4"), Err(LeapFileError::Empty));
        assert_eq!(
            LeapTable::parse("2272060800 10"),
            Err(LeapFileError::NoExpiry)
        );
    }

    #[test]
    fn built_in_values_begin_at_midnights_and_grow_by_one() {
        for pair in BUILT_IN.windows(2) {
            assert_eq!(pair[1].0 % 86_400, 0);
            assert_eq!(pair[1].1, pair[0].1 + 1);
        }
        assert_eq!(BUILT_IN_EXPIRES, 1_814_140_800);
        assert_eq!(
            UtcNanos(BUILT_IN_EXPIRES * NANOS_PER_SECOND).date(),
            "2027-06-28"
        );
    }
}
