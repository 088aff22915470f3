//! Names and places in the store.

use std::fmt;
use std::str::FromStr;

use efd_shared_model::LaneKind;

/// A place in a store lane, counted from 1 across epochs, restarts and segments. 0 stands before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// Before every block.
    pub const NONE: Self = Self(0);
    pub const FIRST: Self = Self(1);

    /// The place after this one. 2^63 blocks outlive the device.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    pub(crate) fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An ordered log of the store, and the name of its folder: `events`, `telemetry.3`, `summit-0-live`.
/// 1 to 64 of a–z, 0–9, `-`, `_`, `.`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneName(String);

pub const LANE_NAME_CHARS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "lane name `{0}` is not 1 to {LANE_NAME_CHARS_MAX} of a-z, 0-9, `-`, `_`, `.`, beginning with a letter or digit"
)]
pub struct LaneNameError(String);

impl LaneName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a lane of that kind, or one of its shards.
    pub fn is_of(&self, kind: LaneKind) -> bool {
        let rest = self.0.strip_prefix(kind.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl FromStr for LaneName {
    type Err = LaneNameError;
    fn from_str(text: &str) -> Result<Self, LaneNameError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let legal = |c: char| plain(c) || matches!(c, '-' | '_' | '.');
        if text.starts_with(plain) && text.len() <= LANE_NAME_CHARS_MAX && text.chars().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(LaneNameError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for LaneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The file of a segment: `segments/<lane>/<id>.db`. Ascending within a lane in the order of positions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey {
    pub lane: LaneName,
    pub id: u64,
}

impl SegmentKey {
    pub(crate) fn file_name(&self) -> String {
        format!("{:010}.db", self.id)
    }
}

impl fmt::Display for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:010}", self.lane, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lane_names_are_safe_as_folders() {
        for good in ["events", "telemetry.3", "summit-0-live", "0", "a_b"] {
            assert_eq!(good.parse::<LaneName>().unwrap().as_str(), good);
        }
        let long = "x".repeat(65);
        for bad in [
            "", ".", "..", "../x", "a/b", "A", "-x", "ü", "a b", "a\0", &long,
        ] {
            assert!(bad.parse::<LaneName>().is_err(), "{bad}");
        }
    }
}
