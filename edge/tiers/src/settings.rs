//! What tiers there are to be.

use std::time::Duration;

use efd_shared_model::UtcNanos;
use efd_shared_stats::Resolution;
use efd_shared_tiers::Span;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierSettings {
    pub resolution: Resolution,
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

/// Finest first.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(seconds: u32, age: u64) -> TierSettings {
        TierSettings {
            resolution: Resolution::from_seconds(seconds).unwrap(),
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
