//! Time scales. TAI and UTC are different types; crossing needs the [leap-second table](crate::LeapTable).

use std::fmt;

/// Nanoseconds since 1970-01-01T00:00:00 TAI (SAL's `private_sndStamp` counts these, in seconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TaiNanos(pub i64);

/// Nanoseconds since 1970-01-01T00:00:00 UTC without leap seconds, as POSIX counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UtcNanos(pub i64);

pub const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const SECONDS_PER_HOUR: i64 = 3600;

impl TaiNanos {
    /// Seconds as the double that SAL's stamps are.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / NANOS_PER_SECOND as f64
    }

    /// `None` for what no `i64` of nanoseconds can hold: NaN, infinities, years beyond 2262.
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        nanos_from_seconds(seconds).map(Self)
    }
}

impl UtcNanos {
    /// Whole days since 1970-01-01, floored.
    pub fn day(self) -> i64 {
        self.0.div_euclid(SECONDS_PER_DAY * NANOS_PER_SECOND)
    }

    /// Whole hours since 1970-01-01, floored.
    pub fn hour(self) -> i64 {
        self.0.div_euclid(SECONDS_PER_HOUR * NANOS_PER_SECOND)
    }

    pub fn saturating_add(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    pub fn saturating_sub(self, nanos: i64) -> Self {
        Self(self.0.saturating_sub(nanos))
    }

    /// `self - earlier`, in nanoseconds.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole days from here to `later`, rounded down: negative from the first nanosecond after it.
    pub fn days_until(self, later: Self) -> i64 {
        later
            .since(self)
            .div_euclid(SECONDS_PER_DAY * NANOS_PER_SECOND)
    }

    /// The day as `2026-11-24`, for folder names.
    pub fn date(self) -> String {
        let (year, month, day) = civil_from_days(self.day());
        format!("{year:04}-{month:02}-{day:02}")
    }
}

/// The whole seconds are taken apart first: a product with 1e9 would round to 256 ns at today's dates.
fn nanos_from_seconds(seconds: f64) -> Option<i64> {
    if !seconds.is_finite() {
        return None;
    }
    let whole = seconds.floor();
    if !(-9.2e9..=9.2e9).contains(&whole) {
        return None;
    }
    let fraction = ((seconds - whole) * NANOS_PER_SECOND as f64).round() as i64;
    (whole as i64)
        .checked_mul(NANOS_PER_SECOND)?
        .checked_add(fraction)
}

impl fmt::Display for UtcNanos {
    /// RFC 3339 with nine digits and a Z.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.day());
        let in_day = self.0.rem_euclid(SECONDS_PER_DAY * NANOS_PER_SECOND);
        let (seconds, nanos) = (in_day / NANOS_PER_SECOND, in_day % NANOS_PER_SECOND);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        // In each line of each record that is shown: several times as fast as by `write!`.
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let fields = [
            (0, 4, year),
            (5, 2, month.into()),
            (8, 2, day.into()),
            (11, 2, hour),
            (14, 2, minute),
            (17, 2, second),
            (20, 9, nanos),
        ];
        for (begin, digits, mut value) in fields {
            for digit in text[begin..begin + digits].iter_mut().rev() {
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Proleptic Gregorian date of a day number (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let check = |nanos: i64, expected: &str| assert_eq!(UtcNanos(nanos).to_string(), expected);
        check(0, "1970-01-01T00:00:00.000000000Z");
        check(-1, "1969-12-31T23:59:59.999999999Z");
        check(1_483_228_800_000_000_000, "2017-01-01T00:00:00.000000000Z");
        check(951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z");
        check(i64::MAX, "2262-04-11T23:47:16.854775807Z");
        check(i64::MIN, "1677-09-21T00:12:43.145224192Z");
        assert_eq!(UtcNanos(1_795_399_261_112_196_079).date(), "2026-11-23");
    }

    #[test]
    fn days_are_whole_and_negative_after_the_end() {
        let end = UtcNanos(1_795_399_261_112_196_079);
        let day = SECONDS_PER_DAY * NANOS_PER_SECOND;
        for (before, days) in [
            (60 * day, 60),
            (day - 1, 0),
            (0, 0),
            (-1, -1),
            (-day, -1),
            (-day - 1, -2),
        ] {
            assert_eq!(end.saturating_sub(before).days_until(end), days, "{before}");
        }
    }

    #[test]
    fn seconds_to_nanos_keep_what_a_double_holds() {
        let stamp = 1_795_399_261.112_196_2_f64;
        let nanos = TaiNanos::from_seconds(stamp).unwrap();
        assert_eq!(nanos.as_seconds().to_bits(), stamp.to_bits());
        assert_eq!(TaiNanos::from_seconds(1.5), Some(TaiNanos(1_500_000_000)));
        assert_eq!(TaiNanos::from_seconds(-0.25), Some(TaiNanos(-250_000_000)));
        for hopeless in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e12] {
            assert_eq!(TaiNanos::from_seconds(hopeless), None, "{hopeless}");
        }
    }
}
