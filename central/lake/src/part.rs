//! A topic's day: what is audited, and made whole, as one.

use std::fmt;

use efd_shared_model::time::NANOS_PER_SECOND;
use efd_shared_model::{Site, UtcNanos};

use crate::commit::FileEntry;
use crate::layout::folder_of;

/// The files of one folder: a topic of a site, on one UTC day of the event time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    pub site: Site,
    pub topic: String,
    /// Days since 1970-01-01, as [`UtcNanos::day`] counts.
    pub day: i64,
}

impl Part {
    /// That of a file: all of its rows are of one day.
    pub(crate) fn of(file: &FileEntry) -> Option<Self> {
        Some(Self {
            site: file.site.parse().ok()?,
            topic: file.topic.clone(),
            day: UtcNanos(file.time_min).day(),
        })
    }

    pub(crate) fn has(&self, time: i64) -> bool {
        UtcNanos(time).day() == self.day
    }

    fn begin(&self) -> UtcNanos {
        UtcNanos(self.day.saturating_mul(86_400 * NANOS_PER_SECOND))
    }

    /// `2026-11-24`
    pub fn date(&self) -> String {
        self.begin().date()
    }

    /// From the lake's root.
    pub fn folder(&self) -> String {
        folder_of(&self.site, &self.topic, self.begin())
    }
}

impl fmt::Display for Part {
    /// `summit lsst.sal.MTMount.elevation 2026-11-24`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.site, self.topic, self.date())
    }
}
