//! The series that were seen since the start.

use std::collections::HashMap;
use std::sync::Arc;

use efd_shared_model::{Schema, UtcNanos};
use efd_shared_stats::Resolution;
use efd_shared_tiers::SeriesKey;

use crate::open::SeriesNumber;
use crate::state::Name;

#[derive(Debug)]
pub(crate) struct OneSeries {
    pub(crate) key: SeriesKey,
    pub(crate) schema: Schema,
    pub(crate) digest: u64,
    /// Its tiers, at least one.
    pub(crate) chain: Arc<[usize]>,
    /// Of the first.
    pub(crate) resolution: Resolution,
}

impl OneSeries {
    /// Of a window of its first tier.
    pub(crate) fn name(&self, start: UtcNanos) -> Name {
        Name {
            resolution: self.resolution,
            start,
            series: self.digest,
        }
    }

    pub(crate) fn first(&self) -> usize {
        self.chain[0]
    }

    /// The tier that is merged from this one.
    pub(crate) fn next(&self, tier: usize) -> Option<usize> {
        self.chain.iter().copied().find(|&it| tier < it)
    }
}

/// By number: as the windows that are open have them.
#[derive(Debug, Default)]
pub(crate) struct SeriesList {
    all: Vec<OneSeries>,
    by_digest: HashMap<u64, SeriesNumber>,
}

impl SeriesList {
    pub(crate) fn get(&self, number: SeriesNumber) -> &OneSeries {
        &self.all[number.place()]
    }

    pub(crate) fn find(&self, digest: u64) -> Option<SeriesNumber> {
        self.by_digest.get(&digest).copied()
    }

    pub(crate) fn add(&mut self, number: SeriesNumber, series: OneSeries) {
        debug_assert_eq!(number.place(), self.all.len());
        self.by_digest.insert(series.digest, number);
        self.all.push(series);
    }
}
