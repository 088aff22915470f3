//! Times as people write them.

use efd_shared_model::UtcNanos;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::units::{Span, UnitError};

/// A half-open span of event time, `from <= time < until`; without a bound where `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Window {
    pub from: Option<UtcNanos>,
    pub until: Option<UtcNanos>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    #[error("{option} `{text}`: {source}")]
    Span {
        option: &'static str,
        text: String,
        source: UnitError,
    },
    #[error(
        "{option} `{text}` is not a time: write 2026-11-24T06:30:00Z, or -2h for two hours ago"
    )]
    Time { option: &'static str, text: String },
    #[error("{option} `{text}` has no Z: times are UTC, write {suggestion}")]
    NoZ {
        option: &'static str,
        text: String,
        suggestion: String,
    },
    #[error("{option} `{text}` is not between the years 1677 and 2262")]
    OutOfRange { option: &'static str, text: String },
    #[error(
        "nothing is between {} {from} and {} {until}: the first must be earlier",
        named.from, named.until
    )]
    Empty {
        named: Named,
        from: UtcNanos,
        until: UtcNanos,
    },
}

/// What whoever asks calls the two times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    pub from: &'static str,
    pub until: &'static str,
}

impl Named {
    /// Options of a command.
    pub const OPTIONS: Self = Self {
        from: "--from",
        until: "--until",
    };
    /// Parameters of a request.
    pub const PARAMETERS: Self = Self {
        from: "from",
        until: "until",
    };
}

impl Window {
    /// RFC 3339 with a Z, or `-2h`: before `now`.
    pub fn parse(
        named: Named,
        from: Option<&str>,
        until: Option<&str>,
        now: UtcNanos,
    ) -> Result<Self, WindowError> {
        let read =
            |option, text: Option<&str>| text.map(|text| parse(option, text, now)).transpose();
        let window = Self {
            from: read(named.from, from)?,
            until: read(named.until, until)?,
        };
        match (window.from, window.until) {
            (Some(from), Some(until)) if until <= from => {
                Err(WindowError::Empty { named, from, until })
            }
            _ => Ok(window),
        }
    }

    pub fn contains(&self, time: UtcNanos) -> bool {
        self.from.is_none_or(|from| from <= time) && self.until.is_none_or(|until| time < until)
    }

    /// Whether anything from `min` through `max` can be in it.
    pub fn touches(&self, min: UtcNanos, max: UtcNanos) -> bool {
        self.from.is_none_or(|from| from <= max) && self.until.is_none_or(|until| min < until)
    }
}

fn parse(option: &'static str, text: &str, now: UtcNanos) -> Result<UtcNanos, WindowError> {
    if let Some(ago) = text.strip_prefix('-') {
        let span: Span = ago.parse().map_err(|source| WindowError::Span {
            option,
            text: text.to_owned(),
            source,
        })?;
        return Ok(now.saturating_sub(span.nanos()));
    }
    let read = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    let owned = || text.to_owned();
    let Some(time) = read(text).filter(|_| text.ends_with('Z')) else {
        let candidates = [
            format!("{text}Z"),
            format!("{text}T00:00:00Z"),
            format!("{text}:00Z"),
        ];
        return Err(
            match candidates
                .into_iter()
                .find(|candidate| read(candidate).is_some())
            {
                Some(suggestion) => WindowError::NoZ {
                    option,
                    text: owned(),
                    suggestion,
                },
                None => WindowError::Time {
                    option,
                    text: owned(),
                },
            },
        );
    };
    let nanos = i64::try_from(time.unix_timestamp_nanos());
    nanos.map(UtcNanos).map_err(|_| WindowError::OutOfRange {
        option,
        text: owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UtcNanos = UtcNanos(1_795_399_261_000_000_000);

    #[test]
    fn times() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let window = Window::parse(Named::OPTIONS, Some(text), None, NOW)
                .map(|window| window.from.unwrap());
            match expected {
                Ok(time) => assert_eq!(window.unwrap().to_string(), time),
                Err(error) => assert_eq!(window.unwrap_err().to_string(), error),
            }
        };
        check("2026-11-23T02:01:01Z", Ok("2026-11-23T02:01:01.000000000Z"));
        check(
            "2026-11-23T02:01:01.000000007Z",
            Ok("2026-11-23T02:01:01.000000007Z"),
        );
        check("-2h", Ok("2026-11-23T00:01:01.000000000Z"));
        let no_z =
            "--from `2026-11-23T02:01:01` has no Z: times are UTC, write 2026-11-23T02:01:01Z";
        check("2026-11-23T02:01:01", Err(no_z));
        let day = "--from `2026-11-23` has no Z: times are UTC, write 2026-11-23T00:00:00Z";
        check("2026-11-23", Err(day));
        let no_time = "is not a time: write 2026-11-24T06:30:00Z, or -2h for two hours ago";
        check(
            "2026-11-23T02:01:01+01:00",
            Err(&format!("--from `2026-11-23T02:01:01+01:00` {no_time}")),
        );
        check("yesterday", Err(&format!("--from `yesterday` {no_time}")));
        check(
            "3000-01-01T00:00:00Z",
            Err("--from `3000-01-01T00:00:00Z` is not between the years 1677 and 2262"),
        );
        assert!(
            Window::parse(Named::OPTIONS, Some("-2"), None, NOW)
                .unwrap_err()
                .to_string()
                .contains("has no unit")
        );
    }

    #[test]
    fn spans_are_half_open() {
        let window = Window::parse(Named::OPTIONS, Some("-2h"), Some("-1h"), NOW).unwrap();
        let (from, until) = (window.from.unwrap(), window.until.unwrap());
        assert!(window.contains(from) && !window.contains(until));
        assert!(
            window.contains(until.saturating_sub(1)) && !window.contains(from.saturating_sub(1))
        );
        assert!(window.touches(UtcNanos(0), from) && !window.touches(until, UtcNanos(i64::MAX)));
        assert!(matches!(
            Window::parse(Named::OPTIONS, Some("-1h"), Some("-1h"), NOW),
            Err(WindowError::Empty { .. })
        ));
    }
}
