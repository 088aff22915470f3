//! Closed windows into the files of their tier, and coarser windows out of those.

use std::collections::{BTreeMap, BTreeSet};

use efd_shared_model::{RangeSet, Schema, UtcNanos};
use efd_shared_stats::Summary;
use efd_shared_store::StoreError;
use efd_shared_tiers::{Note, Run, SeriesKey, Statistics};

use super::{Engine, GRACE, TierError};
use crate::coarse::{Window, merge};
use crate::folder::TierFolder;
use crate::open::{Arrival, SeriesNumber};
use crate::state::Name;

impl Engine {
    /// Commits windows to the finest tier, and notes what is to be merged of them.
    pub(super) fn put(
        &mut self,
        windows: &BTreeMap<SeriesNumber, BTreeMap<UtcNanos, Window>>,
        ranges: &BTreeMap<usize, RangeSet>,
        now: Arrival,
    ) -> Result<(), TierError> {
        let owned: Vec<Owned<'_>> = windows
            .iter()
            .map(|(&series, windows)| {
                Owned::new(self.open.key(series), self.open.schema(series), windows)
            })
            .collect();
        let note = self.note(ranges);
        commit_owned(&mut self.folders[0], &owned, &note, Statistics::ALL)?;
        self.counters.windows += windows.values().map(|it| it.len() as u64).sum::<u64>();
        let name = |(&series, windows): (&SeriesNumber, &BTreeMap<UtcNanos, Window>)| {
            let digest = self.open.key(series).digest();
            windows
                .keys()
                .map(move |&start| (digest, start))
                .collect::<Vec<_>>()
        };
        let changed: Vec<Name> = windows.iter().flat_map(name).collect();
        self.note_changed(0, changed, now);
        Ok(())
    }

    /// The windows of the next coarser tier that these are in are to be merged.
    fn note_changed(&mut self, tier: usize, windows: impl IntoIterator<Item = Name>, now: Arrival) {
        if let Some(next) = self.folders.get(tier + 1) {
            let resolution = next.settings().resolution;
            for (digest, start) in windows {
                let name = (digest, resolution.start(start));
                self.coarse[tier].entry(name).or_insert(now);
            }
        }
    }

    /// Merges the windows of a coarser tier that have had their time.
    pub(super) fn coarsen(
        &mut self,
        tier: usize,
        now: Arrival,
        all: bool,
    ) -> Result<(), TierError> {
        let resolution = self.folders[tier].settings().resolution;
        let finer = self.folders[tier - 1].settings().resolution;
        let wait = resolution.nanos() + finer.nanos() + 2 * GRACE;
        let waiting = &self.coarse[tier - 1];
        let is_due = |since: &Arrival| all || now.since(*since).is_none_or(|since| wait <= since);
        let due: Vec<Name> = waiting
            .iter()
            .filter(|(_, since)| is_due(since))
            .map(|(name, _)| *name)
            .collect();
        let mut by_start: BTreeMap<UtcNanos, BTreeSet<u64>> = BTreeMap::new();
        for &(series, start) in &due {
            by_start.entry(start).or_default().insert(series);
        }
        for (start, wanted) in by_start {
            let times = start..resolution.end(start);
            let (finer, coarser) = self.folders.split_at_mut(tier);
            let (Some(finer), Some(coarser)) = (finer.last(), coarser.first_mut()) else {
                continue;
            };
            let mut made: Vec<(SeriesKey, Schema, BTreeMap<UtcNanos, Window>)> = Vec::new();
            let is_wanted = |series: &SeriesKey| wanted.contains(&series.digest());
            finer.each_series(times, is_wanted, |series, schema, windows| {
                if let Some(window) = merge(&windows) {
                    made.push((series.clone(), schema.clone(), [(start, window)].into()));
                }
            })?;
            let owned: Vec<_> = made
                .iter()
                .map(|(key, schema, windows)| Owned::new(key, schema, windows))
                .collect();
            if !owned.is_empty() {
                commit_owned(coarser, &owned, &Note::new(), Statistics::WITHOUT_QUARTILES)?;
                self.counters.windows += owned.len() as u64;
            }
            let changed = made.iter().map(|(key, _, _)| (key.digest(), start));
            self.note_changed(tier, changed, now);
        }
        for name in due {
            self.coarse[tier - 1].remove(&name);
        }
        Ok(())
    }
}

/// A run with what it is made of.
struct Owned<'a> {
    key: &'a SeriesKey,
    schema: &'a Schema,
    starts: Vec<UtcNanos>,
    rows: Vec<u64>,
    summaries: Vec<Summary>,
}

impl<'a> Owned<'a> {
    fn new(key: &'a SeriesKey, schema: &'a Schema, windows: &BTreeMap<UtcNanos, Window>) -> Self {
        let channels = key.shape.channels();
        let of_channel = |channel: usize| {
            windows
                .values()
                .map(move |(_, summaries)| summaries[channel])
        };
        Self {
            key,
            schema,
            starts: windows.keys().copied().collect(),
            rows: windows.values().map(|(rows, _)| *rows).collect(),
            summaries: (0..channels).flat_map(of_channel).collect(),
        }
    }

    fn run(&self, kept: Statistics) -> Run<'_> {
        Run {
            series: self.key,
            schema: self.schema,
            starts: &self.starts,
            rows: &self.rows,
            summaries: &self.summaries,
            kept,
        }
    }
}

fn commit_owned(
    folder: &mut TierFolder,
    owned: &[Owned<'_>],
    note: &Note,
    kept: Statistics,
) -> Result<(), StoreError> {
    let runs: Vec<_> = owned.iter().map(|one| one.run(kept)).collect();
    folder.commit(&runs, note)
}
