//! Times as InfluxQL writes them: RFC 3339 and its shorter forms, ns since 1970.

use std::fmt;

use crate::lexer::SECOND;

/// The first and the last time that a statement can name.
pub(crate) const MIN: i64 = i64::MIN + 2;
pub(crate) const MAX: i64 = i64::MAX - 1;

const DAY: i64 = 86_400;

/// RFC 3339 with the fraction's zeros cut off.
pub(crate) struct Rfc3339(pub(crate) i128);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = i128::from(SECOND);
        let (seconds, nanos) = (self.0.div_euclid(second) as i64, self.0.rem_euclid(second));
        let (year, month, day) = date(seconds.div_euclid(DAY));
        let of_day = seconds.rem_euclid(DAY);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        if nanos > 0 {
            write!(f, ".{}", format!("{nanos:09}").trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// Whether it was meant to be a time.
pub(crate) fn is_like(text: &str) -> bool {
    let is_as = |(byte, like): (u8, &u8)| {
        if *like == b'0' {
            byte.is_ascii_digit()
        } else {
            byte == *like
        }
    };
    let pattern = b"0000-00-00";
    text.len() >= pattern.len() && text.bytes().zip(pattern).all(is_as)
}

/// `2006-01-02`, `2006-01-02 15:04:05[.9]`, `2006-01-02T15:04:05[.9](Z|±07:00)`.
pub(crate) fn parse(text: &str) -> Option<i128> {
    if !is_like(text) {
        return None;
    }
    let (year, month, day) = (
        digits(&text[0..4])?,
        digits(&text[5..7])?,
        digits(&text[8..10])?,
    );
    let days = days(year, month, day);
    if date(days) != (year, month, day) {
        return None;
    }
    let midnight = i128::from(days * DAY) * i128::from(SECOND);
    let mut rest = text[10..].chars();
    match rest.next() {
        None => Some(midnight),
        Some(' ') => {
            let (nanos, zone) = of_day(rest.as_str())?;
            zone.is_empty().then_some(midnight + nanos)
        }
        Some('T') => {
            let (nanos, zone) = of_day(rest.as_str())?;
            Some(midnight + nanos - offset(zone)?)
        }
        Some(_) => None,
    }
}

/// ns since midnight, and what follows.
fn of_day(text: &str) -> Option<(i128, &str)> {
    let (hour, minute, second) = (
        digits(text.get(0..2)?)?,
        digits(text.get(3..5)?)?,
        digits(text.get(6..8)?)?,
    );
    let is_valid =
        hour < 24 && minute < 60 && second < 60 && text.get(2..3)? == ":" && text.get(5..6)? == ":";
    let seconds = i128::from(hour * 3600 + minute * 60 + second);
    let rest = text.get(8..)?;
    let (nanos, rest) = match rest.strip_prefix('.') {
        Some(fraction) => {
            let length = fraction
                .find(|it: char| !it.is_ascii_digit())
                .unwrap_or(fraction.len());
            if length == 0 {
                return None;
            }
            // What is finer than a nanosecond is nothing.
            let nanos = format!("{:0<9.9}", &fraction[..length]);
            (digits(&nanos)?, &fraction[length..])
        }
        None => (0, rest),
    };
    is_valid.then_some((seconds * i128::from(SECOND) + i128::from(nanos), rest))
}

fn offset(zone: &str) -> Option<i128> {
    let sign = match zone.get(0..1)? {
        "Z" => return (zone.len() == 1).then_some(0),
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = (digits(zone.get(1..3)?)?, digits(zone.get(4..)?)?);
    let is_valid = zone.len() == 6 && zone.get(3..4)? == ":" && hours < 24 && minutes < 60;
    is_valid.then(|| i128::from(sign * (hours * 3600 + minutes * 60)) * i128::from(SECOND))
}

fn digits(text: &str) -> Option<i64> {
    if text.bytes().all(|it| it.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// Since 1970. The year begins in March: its last day, the one that may lack, is at the end (Hinnant, chrono-compatible
/// low-level date algorithms).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms() {
        let check =
            |text: &str, expected: Option<i128>| assert_eq!(parse(text), expected, "{text}");
        check("1970-01-01", Some(0));
        check("2000-02-29", Some(951_782_400_000_000_000));
        check("1900-02-29", None);
        check("2023-11-14 22:13:20.5", Some(1_700_000_000_500_000_000));
        check("2023-11-14 22:13:20Z", None);
        check("2023-11-14T22:13:20", None);
        check("2023-11-14T22:13:20Z", Some(1_700_000_000_000_000_000));
        check(
            "2023-11-14T23:13:20.0000000019+01:00",
            Some(1_700_000_000_000_000_001),
        );
        check("2023-11-14T22:60:20Z", None);
        check("2023-11-14T22:13:20.Z", None);
        check("2023-11-14é", None);
        check("now", None);
    }

    proptest! {
        #[test]
        fn written_times_are_read_again(nanos in any::<i64>()) {
            let nanos = i128::from(nanos);
            prop_assert_eq!(parse(&Rfc3339(nanos).to_string()), Some(nanos));
        }

        #[test]
        fn nothing_panics(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}.{0,30}") {
            parse(&text);
        }
    }
}
