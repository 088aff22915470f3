//! The hours of the day in which work is done that may wait.

use std::fmt;
use std::str::FromStr;

use efd_shared_model::UtcNanos;
use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// When work may be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum WorkHours {
    #[default]
    Always,
    /// By the clock on the wall there, summer time included.
    Within { hours: Hours, zone: Zone },
}

impl WorkHours {
    pub fn contains(&self, now: UtcNanos) -> bool {
        match self {
            Self::Always => true,
            Self::Within { hours, zone } => Timestamp::from_nanosecond(now.0.into())
                .is_ok_and(|now| hours.contains(zone.0.to_datetime(now).time())),
        }
    }
}

/// Spans of the day, as `20:00-06:00` or `12:00-13:30, 20:00-06:00`; one whose end is not after its begin ends on the next
/// day. The end is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours(Vec<Span>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    begin: Minute,
    end: Minute,
}

/// Of the day; 24:00 is an end only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Minute(u16);

const DAY: u16 = 24 * 60;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    #[error("`{text}` is not a span of hours: write 20:00-06:00, or several with a comma between")]
    NotASpan { text: String },
    #[error("`{text}` is not a time of the day: write 00:00 to 23:59, or 24:00 as an end")]
    NotATime { text: String },
    #[error("`{text}` begins and ends at once: leave the hours out where they are all")]
    Empty { text: String },
    #[error("`{text}` is not a time zone: write an IANA name as America/Santiago or UTC")]
    NoZone { text: String },
}

impl Hours {
    fn contains(&self, time: Time) -> bool {
        let minute = Minute(time.hour() as u16 * 60 + time.minute() as u16);
        self.0.iter().any(|&Span { begin, end }| {
            if begin < end {
                begin <= minute && minute < end
            } else {
                begin <= minute || minute < end
            }
        })
    }
}

impl FromStr for Hours {
    type Err = HoursError;
    fn from_str(text: &str) -> Result<Self, HoursError> {
        let spans = text.split(',').map(|span| span.trim().parse());
        Ok(Self(spans.collect::<Result<_, _>>()?))
    }
}

impl FromStr for Span {
    type Err = HoursError;
    fn from_str(text: &str) -> Result<Self, HoursError> {
        let Some((begin, end)) = text.split_once('-') else {
            return Err(HoursError::NotASpan {
                text: text.to_owned(),
            });
        };
        let (begin, end): (Minute, Minute) = (begin.trim().parse()?, end.trim().parse()?);
        if begin.0 == DAY {
            return Err(HoursError::NotATime {
                text: begin.to_string(),
            });
        }
        if begin == end {
            return Err(HoursError::Empty {
                text: text.to_owned(),
            });
        }
        Ok(Self { begin, end })
    }
}

impl FromStr for Minute {
    type Err = HoursError;
    fn from_str(text: &str) -> Result<Self, HoursError> {
        let wrong = || HoursError::NotATime {
            text: text.to_owned(),
        };
        let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
        let number = |digits: &str, max: u16| {
            let is_two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse::<u16>().ok().filter(|_| is_two);
            number.filter(|number| *number <= max).ok_or_else(wrong)
        };
        let all = number(hour, 24)? * 60 + number(minute, 59)?;
        if DAY < all {
            return Err(wrong());
        }
        Ok(Self(all))
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Span { begin, end }) in self.0.iter().enumerate() {
            let before = if index == 0 { "" } else { ", " };
            write!(f, "{before}{begin}-{end}")?;
        }
        Ok(())
    }
}

/// By its IANA name, out of the table that is built in: the machine's may be old, or not there.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl FromStr for Zone {
    type Err = HoursError;
    fn from_str(name: &str) -> Result<Self, HoursError> {
        let found = TimeZoneDatabase::bundled().get(name);
        found.map(Self).map_err(|_| HoursError::NoZone {
            text: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UtcNanos {
        let time: Timestamp = text.parse().unwrap();
        UtcNanos(time.as_nanosecond() as i64)
    }

    fn check(hours: &str, zone: &str, cases: &[(&str, bool)]) {
        let within = WorkHours::Within {
            hours: hours.parse().unwrap(),
            zone: zone.parse().unwrap(),
        };
        for (time, expected) in cases {
            assert_eq!(
                within.contains(at(time)),
                *expected,
                "{hours} {zone} {time}"
            );
        }
    }

    #[test]
    fn spans_of_the_day() {
        check(
            "20:00-06:00",
            "UTC",
            &[
                ("2026-11-24T19:59:59.999Z", false),
                ("2026-11-24T20:00:00Z", true),
                ("2026-11-25T00:00:00Z", true),
                ("2026-11-25T05:59:59Z", true),
                ("2026-11-25T06:00:00Z", false),
                ("1960-01-01T05:00:00Z", true),
            ],
        );
        check(
            "08:30-09:00, 23:00-24:00,00:00-00:10",
            "UTC",
            &[
                ("2026-11-24T08:29:00Z", false),
                ("2026-11-24T08:30:00Z", true),
                ("2026-11-24T09:00:00Z", false),
                ("2026-11-24T23:59:59Z", true),
                ("2026-11-25T00:09:59Z", true),
                ("2026-11-25T00:10:00Z", false),
            ],
        );
        assert!(WorkHours::Always.contains(UtcNanos(i64::MIN)));
    }

    /// Chile is 4 hours behind UTC in winter, 3 in summer: in 2026 summer ends at the 5th of April 03:00 UTC and begins at
    /// the 6th of September 04:00 UTC.
    #[test]
    fn by_the_clock_on_the_wall() {
        check(
            "20:00-06:00",
            "America/Santiago",
            &[
                ("2026-01-15T22:59:00Z", false),
                ("2026-01-15T23:00:00Z", true),
                ("2026-01-16T08:59:00Z", true),
                ("2026-01-16T09:00:00Z", false),
                ("2026-04-05T09:30:00Z", true),
                ("2026-04-05T10:00:00Z", false),
                ("2026-07-15T23:59:00Z", false),
                ("2026-07-16T00:00:00Z", true),
                ("2026-07-16T09:59:00Z", true),
                ("2026-09-06T08:59:00Z", true),
                ("2026-09-06T09:00:00Z", false),
            ],
        );
        // 23:00 to 24:00 comes twice.
        check(
            "23:00-24:00",
            "America/Santiago",
            &[
                ("2026-04-05T02:30:00Z", true),
                ("2026-04-05T03:30:00Z", true),
                ("2026-04-05T04:00:00Z", false),
            ],
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, expected) in [
            (
                "",
                "`` is not a span of hours: write 20:00-06:00, or several with a comma between",
            ),
            (
                "20:00",
                "`20:00` is not a span of hours: write 20:00-06:00, or several with a comma between",
            ),
            (
                "8:00-09:00",
                "`8:00` is not a time of the day: write 00:00 to 23:59, or 24:00 as an end",
            ),
            (
                "20:00-24:01",
                "`24:01` is not a time of the day: write 00:00 to 23:59, or 24:00 as an end",
            ),
            (
                "24:00-06:00",
                "`24:00` is not a time of the day: write 00:00 to 23:59, or 24:00 as an end",
            ),
            (
                "20:60-21:00",
                "`20:60` is not a time of the day: write 00:00 to 23:59, or 24:00 as an end",
            ),
            (
                "é:00-21:00",
                "`é:00` is not a time of the day: write 00:00 to 23:59, or 24:00 as an end",
            ),
            (
                "06:00-06:00",
                "`06:00-06:00` begins and ends at once: leave the hours out where they are all",
            ),
        ] {
            assert_eq!(text.parse::<Hours>().unwrap_err().to_string(), expected);
        }
        let error = "Chile/Paranal".parse::<Zone>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`Chile/Paranal` is not a time zone: write an IANA name as America/Santiago or UTC"
        );
        let hours: Hours = "08:30-09:00,22:00-24:00".parse().unwrap();
        assert_eq!(hours.to_string(), "08:30-09:00, 22:00-24:00");
    }
}
