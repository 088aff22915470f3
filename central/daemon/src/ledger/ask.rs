//! What may be asked of the account: the same in a command's options and a request's parameters.

use efd_central_ledger::{Filter, HOUR, Hour};
use efd_shared_daemon::when::{Named, Window, WindowError};
use efd_shared_model::{Site, UtcNanos};
use serde::Deserialize;

/// As a request has it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    pub(crate) site: Option<String>,
    /// `*` and `?` are wildcards.
    pub(crate) topic: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) until: Option<String>,
    /// `20261127`
    pub(crate) day_obs: Option<String>,
    /// A row for each hour, not for each topic.
    #[serde(default)]
    pub(crate) hours: bool,
    /// The stores are read, and held against the book.
    #[serde(default)]
    pub(crate) verify: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum QuestionError {
    #[error(transparent)]
    Window(#[from] WindowError),
    #[error(transparent)]
    Site(#[from] efd_shared_model::ids::SiteError),
    #[error("day_obs `{0}` is not a day of an observatory: write 20261127")]
    DayObs(String),
    #[error("day_obs is a span by itself: leave out from and until")]
    TwoSpans,
}

/// A question understood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) filter: Filter,
    pub(crate) with_hours: bool,
    pub(crate) verify: bool,
}

impl Question {
    /// Spans become whole hours around what was asked for.
    pub(crate) fn understand(&self, now: UtcNanos, named: Named) -> Result<Asked, QuestionError> {
        let Self {
            site,
            topic,
            from,
            until,
            day_obs,
            hours,
            verify,
        } = self;
        let window = match day_obs {
            Some(_) if from.is_some() || until.is_some() => return Err(QuestionError::TwoSpans),
            Some(day) => day_of(day).ok_or_else(|| QuestionError::DayObs(day.clone()))?,
            None => Window::parse(named, from.as_deref(), until.as_deref(), now)?,
        };
        let site = site.as_deref().map(str::parse::<Site>).transpose()?;
        let end = |until: UtcNanos| Hour::of(until.saturating_add(HOUR - 1));
        Ok(Asked {
            filter: Filter {
                site,
                topic: topic.clone(),
                from: window.from.map(Hour::of),
                until: window.until.map(end),
            },
            with_hours: *hours,
            verify: *verify,
        })
    }

    /// Of a request; values as they are, escaped.
    pub(crate) fn to_query(&self) -> String {
        let Self {
            site,
            topic,
            from,
            until,
            day_obs,
            hours,
            verify,
        } = self;
        let texts = [
            ("site", site),
            ("topic", topic),
            ("from", from),
            ("until", until),
            ("day_obs", day_obs),
        ];
        let texts = texts
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", escape(value.as_deref()?))));
        let flags = [("hours", hours), ("verify", verify)];
        let flags = flags
            .into_iter()
            .filter(|(_, value)| **value)
            .map(|(name, _)| format!("{name}=true"));
        texts.chain(flags).collect::<Vec<_>>().join("&")
    }
}

pub(super) fn escape(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// From noon to noon, UTC: the observatory's day begins twelve hours late, so that a night has one.
fn day_of(text: &str) -> Option<Window> {
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let noon = format!("{}-{}-{}T12:00:00Z", &text[..4], &text[4..6], &text[6..]);
    let window = Window::parse(Named::OPTIONS, Some(&noon), None, UtcNanos(0)).ok()?;
    Some(Window {
        until: window.from.map(|from| from.saturating_add(24 * HOUR)),
        ..window
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UtcNanos = UtcNanos(1_795_399_261_000_000_000);

    fn understand(question: &Question) -> Result<Asked, QuestionError> {
        question.understand(NOW, Named::OPTIONS)
    }

    #[test]
    fn spans_are_whole_hours() {
        let question = Question {
            from: Some("2026-11-23T00:59:00Z".into()),
            until: Some("2026-11-23T02:00:00.1Z".into()),
            ..Question::default()
        };
        let filter = understand(&question).unwrap().filter;
        let text = |hour: Option<Hour>| hour.unwrap().begin().to_string();
        assert_eq!(text(filter.from), "2026-11-23T00:00:00.000000000Z");
        assert_eq!(text(filter.until), "2026-11-23T03:00:00.000000000Z");
    }

    #[test]
    fn a_night_is_from_noon_to_noon() {
        let question = Question {
            day_obs: Some("20261127".into()),
            ..Question::default()
        };
        let filter = understand(&question).unwrap().filter;
        let text = |hour: Option<Hour>| hour.unwrap().begin().to_string();
        assert_eq!(text(filter.from), "2026-11-27T12:00:00.000000000Z");
        assert_eq!(text(filter.until), "2026-11-28T12:00:00.000000000Z");
        for bad in ["2026-11-27", "20261341", "today", "２０２６１１２７"] {
            let question = Question {
                day_obs: Some(bad.into()),
                ..Question::default()
            };
            let error = understand(&question).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("day_obs `{bad}` is not a day of an observatory: write 20261127")
            );
        }
    }

    #[test]
    fn what_is_asked_is_escaped() {
        let question = Question {
            topic: Some("a&b=*".into()),
            hours: true,
            ..Question::default()
        };
        assert_eq!(question.to_query(), "topic=a%26b%3D%2A&hours=true");
    }
}
