//! What tiers there are to be.

use std::time::Duration;

use efd_shared_model::{Pattern, UtcNanos};
use efd_shared_stats::Resolution;
use efd_shared_tiers::Span;

/// Which topics have windows in a tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Topics {
    #[default]
    All,
    /// Those that any of them matches; of none there is none.
    Matching(Vec<Pattern>),
}

impl Topics {
    /// As a configuration lists them: none means all.
    pub fn of(patterns: &[String]) -> Self {
        match patterns {
            [] => Self::All,
            patterns => Self::Matching(patterns.iter().map(|text| Pattern::new(text)).collect()),
        }
    }

    pub fn has(&self, topic: &str) -> bool {
        match self {
            Self::All => true,
            Self::Matching(patterns) => patterns.iter().any(|pattern| pattern.matches(topic)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierSettings {
    pub resolution: Resolution,
    pub topics: Topics,
    /// Windows leave when they are older.
    pub age_max: Duration,
    /// Of all files of the tier; the oldest leave first.
    pub bytes_max: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error(
        "a tier of {coarse} after one of {fine}: each has to be a whole multiple of the one before"
    )]
    NotMadeOf {
        coarse: Resolution,
        fine: Resolution,
    },
    #[error("a tier of {resolution} for {age:?}: shorter than one window")]
    Age {
        resolution: Resolution,
        age: Duration,
    },
}

/// The tiers of a topic, by their place in the list, finest first: its first is made of samples, each other of the one
/// before it.
pub fn chain<'a>(tiers: impl IntoIterator<Item = &'a TierSettings>, topic: &str) -> Vec<usize> {
    let tiers = tiers.into_iter().enumerate();
    let of_topic = tiers.filter(|(_, tier)| tier.topics.has(topic));
    of_topic.map(|(place, _)| place).collect()
}

/// Finest first. Of any two the coarser is made of the finer, so that whatever tiers a topic has are made of each other.
pub fn check(tiers: &[TierSettings]) -> Result<(), SettingsError> {
    for tier in tiers {
        if tier.age_max.as_nanos() < tier.resolution.nanos() as u128 {
            return Err(SettingsError::Age {
                resolution: tier.resolution,
                age: tier.age_max,
            });
        }
    }
    for pair in tiers.windows(2) {
        let (fine, coarse) = (pair[0].resolution, pair[1].resolution);
        if coarse <= fine || !coarse.is_made_of(fine) {
            return Err(SettingsError::NotMadeOf { coarse, fine });
        }
    }
    Ok(())
}

const HOUR: i64 = 3_600_000_000_000;
/// How long a file may be.
const SPANS: [i64; 5] = [HOUR, 6 * HOUR, 24 * HOUR, 7 * 24 * HOUR, 28 * 24 * HOUR];
/// As many that a year of the tier is some dozens of files, and an hour of a fine one is one.
const WINDOWS_WANTED: i64 = 360;

/// The file that the window belongs to: files are as long as each other, and whole days or parts of one.
pub fn span(resolution: Resolution, start: UtcNanos) -> Span {
    let long_enough = |span: &&i64| WINDOWS_WANTED <= **span / resolution.nanos();
    let last = SPANS[SPANS.len() - 1];
    let length = SPANS.iter().find(long_enough).copied().unwrap_or(last);
    let begin = start.0.saturating_sub(start.0.rem_euclid(length));
    Span {
        resolution,
        begin: UtcNanos(begin),
        end: UtcNanos(begin.saturating_add(length)),
    }
}

/// The tier's folder: `10s`, `5min`.
pub fn name(resolution: Resolution) -> String {
    resolution.to_string().replace(' ', "")
}

/// By the time its span begins, in UTC: `20261124T000000Z.db`.
pub fn file_name(begin: UtcNanos) -> String {
    let text = begin.to_string();
    let digits: String = text
        .chars()
        .take(19)
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    format!("{digits}Z.db")
}

/// What [`file_name`] was made of; `None` of another name.
pub fn begin_of(file_name: &str) -> Option<UtcNanos> {
    let digits = file_name.strip_suffix("Z.db")?;
    let (date, time) = digits.split_once('T')?;
    let is_plain =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_plain(date, 8) || !is_plain(time, 6) {
        return None;
    }
    let number = |text: &str| text.parse::<i64>().ok();
    let (year, month, day) = (
        number(&date[..4])?,
        number(&date[4..6])?,
        number(&date[6..])?,
    );
    let (hour, minute, second) = (
        number(&time[..2])?,
        number(&time[2..4])?,
        number(&time[4..])?,
    );
    // Days from the civil calendar (Hinnant 2013), with years that begin in March.
    let years = year - i64::from(month <= 2);
    let era = years.div_euclid(400);
    let of_era = years.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    let begin = UtcNanos(seconds.checked_mul(1_000_000_000)?);
    // No thirtieth of February.
    (self::file_name(begin) == file_name).then_some(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_their_begin() {
        for seconds in [0, 1_795_478_400, 951_782_400, 4_107_542_400, 946_684_799] {
            let begin = UtcNanos(seconds * 1_000_000_000);
            assert_eq!(begin_of(&file_name(begin)), Some(begin));
        }
        assert_eq!(
            file_name(UtcNanos(1_795_478_400_000_000_000)),
            "20261124T000000Z.db"
        );
        for other in [
            "20260230T000000Z.db",
            "20261124T000000Z.db.damaged",
            "x",
            "2026112éT000000Z.db",
        ] {
            assert_eq!(begin_of(other), None, "{other}");
        }
    }

    fn tier(seconds: u32, age: u64) -> TierSettings {
        TierSettings {
            resolution: Resolution::from_seconds(seconds).unwrap(),
            topics: Topics::All,
            age_max: Duration::from_secs(age),
            bytes_max: 1,
        }
    }

    #[test]
    fn tiers_are_made_of_each_other() {
        assert_eq!(
            check(&[tier(10, 10), tier(300, 900), tier(3600, 3600)]),
            Ok(())
        );
        for wrong in [[10, 15], [10, 10], [300, 10]] {
            let tiers = wrong.map(|seconds| tier(seconds, 1000));
            assert!(matches!(
                check(&tiers),
                Err(SettingsError::NotMadeOf { .. })
            ));
        }
        let text = check(&[tier(300, 10)]).unwrap_err().to_string();
        assert_eq!(text, "a tier of 5 min for 10s: shorter than one window");
    }

    #[test]
    fn a_topic_has_the_tiers_that_match_it() {
        let of = |seconds, patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|it| it.to_string()).collect();
            TierSettings {
                topics: Topics::of(&patterns),
                ..tier(seconds, 10_000)
            }
        };
        let tiers = [
            of(1, &["lsst.sal.MTM1M3.*", "MTMount.elevation"]),
            of(10, &["lsst.*.AT?CS.*", "*forces"]),
            of(300, &[]),
            of(3600, &["lsst.sal.ESS.*"]),
        ];
        assert_eq!(check(&tiers), Ok(()));
        for (topic, expected) in [
            ("lsst.sal.MTM1M3.forces", &[0, 1, 2][..]),
            ("lsst.sal.MTMount.elevation", &[0, 2]),
            ("lsst.sal.MTMount.azimuth", &[2]),
            ("lsst.sal.ATMCS.forces", &[1, 2]),
            ("lsst.sal.ESS.temperature", &[2, 3]),
        ] {
            assert_eq!(chain(&tiers, topic), expected, "{topic}");
        }
        assert!(chain(&tiers[..2], "lsst.sal.ESS.temperature").is_empty());
    }

    #[test]
    fn files_hold_some_hundred_windows() {
        for (seconds, hours) in [(1, 1), (10, 1), (60, 6), (300, 168), (3600, 672)] {
            let resolution = Resolution::from_seconds(seconds).unwrap();
            let start = UtcNanos(1_795_478_400_000_000_000);
            let span = span(resolution, start);
            assert_eq!(span.end.0 - span.begin.0, hours * HOUR, "{resolution}");
            assert!(span.window(start).is_some());
            assert_eq!(span.begin.0 % resolution.nanos(), 0);
        }
    }
}
