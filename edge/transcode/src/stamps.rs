//! The times that are not in the sample.

/// What the transcoder writes beside what the publisher sent. All in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Stamps<'a> {
    /// TAI; becomes `private_rcvStamp`.
    pub received_tai: f64,
    /// TAI; becomes `private_kafkaStamp`.
    pub encoded_tai: f64,
    /// Gives `private_efdStamp` from `private_sndStamp`.
    pub leaps: &'a LeapSeconds,
}

/// TAI − UTC over time.
#[derive(Clone, Debug, PartialEq)]
pub struct LeapSeconds {
    /// From this TAI second on, this offset; the newest first, never empty.
    newest_first: Vec<(f64, i32)>,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LeapSecondsError {
    #[error("a table of leap seconds needs an entry")]
    Empty,
    #[error("leap seconds must ascend: {after} comes after {before}")]
    Unordered { before: f64, after: f64 },
}

impl LeapSeconds {
    /// `entries`: from this TAI time (seconds since 1970) on, TAI − UTC is this; ascending. Before
    /// the first entry the first offset holds.
    pub fn new(entries: &[(f64, i32)]) -> Result<Self, LeapSecondsError> {
        if entries.is_empty() {
            return Err(LeapSecondsError::Empty);
        }
        for pair in entries.windows(2) {
            let (before, after) = (pair[0].0, pair[1].0);
            if before.partial_cmp(&after) != Some(std::cmp::Ordering::Less) {
                return Err(LeapSecondsError::Unordered { before, after });
            }
        }
        Ok(Self {
            newest_first: entries.iter().rev().copied().collect(),
        })
    }

    /// TAI − UTC in seconds at `tai`. For a time of today the first comparison decides.
    pub fn offset_at(&self, tai: f64) -> i32 {
        let found = self.newest_first.iter().find(|(from, _)| *from <= tai);
        found
            .or_else(|| self.newest_first.last())
            .map_or(0, |(_, offset)| *offset)
    }
}
