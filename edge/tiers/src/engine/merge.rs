//! Coarser windows out of the finer tier's files.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use efd_shared_model::{Schema, UtcNanos};
use efd_shared_tiers::{Note, SeriesKey, Statistics};

use super::put::{Owned, commit};
use super::{Engine, GRACE, TierError};
use crate::coarse::{Window, merge};
use crate::open::Arrival;
use crate::settings::span;
use crate::state::Name;

/// What is to be merged, by the digest of the series.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'a> {
    Windows(&'a BTreeMap<u64, BTreeSet<UtcNanos>>),
    /// Every window.
    Series(&'a BTreeSet<u64>),
}

impl Wanted<'_> {
    fn has_series(self, series: u64) -> bool {
        match self {
            Self::Windows(windows) => windows.contains_key(&series),
            Self::Series(all) => all.contains(&series),
        }
    }

    fn has(self, series: u64, start: UtcNanos) -> bool {
        match self {
            Self::Windows(windows) => windows.get(&series).is_some_and(|it| it.contains(&start)),
            Self::Series(_) => true,
        }
    }
}

impl Engine {
    /// Merges the windows of a coarser tier that have had their time.
    pub(super) fn coarsen(
        &mut self,
        tier: usize,
        now: Arrival,
        all: bool,
    ) -> Result<(), TierError> {
        let resolution = self.tiers[tier].resolution();
        let wait = resolution.nanos() + self.tiers[tier - 1].resolution().nanos() + 2 * GRACE;
        let name = |start, series| Name {
            resolution,
            start: UtcNanos(start),
            series,
        };
        let of_tier = name(i64::MIN, 0)..=name(i64::MAX, u64::MAX);
        let is_due = |since: &Arrival| all || now.since(*since).is_none_or(|since| wait <= since);
        let waiting = self.coarse.range(of_tier);
        let due: Vec<Name> = waiting
            .filter(|(_, since)| is_due(since))
            .map(|(name, _)| *name)
            .collect();
        for finer in 0..tier {
            if !self.plan.can_be_merged(finer, tier) {
                continue;
            }
            // By the file that they are merged from, which is read once.
            let fine = self.tiers[finer].resolution();
            let mut by_file: BTreeMap<UtcNanos, BTreeMap<u64, BTreeSet<UtcNanos>>> =
                BTreeMap::new();
            for name in &due {
                let of_file = by_file.entry(span(fine, name.start).begin).or_default();
                of_file.entry(name.series).or_default().insert(name.start);
            }
            for wanted in by_file.values() {
                let starts = || wanted.values().flatten().copied();
                let (Some(first), Some(last)) = (starts().min(), starts().max()) else {
                    continue;
                };
                let times = first..resolution.end(last);
                self.merge(finer, tier, times, Wanted::Windows(wanted), now)?;
            }
        }
        for name in due {
            self.coarse.remove(&name);
        }
        Ok(())
    }

    /// Of the series whose `coarse` tier is made of this finer one. `times` are whole coarse windows. A window that has as
    /// many samples already stays: what the finer tier has of it is the same, or a part that is left.
    pub(super) fn merge(
        &mut self,
        finer: usize,
        coarse: usize,
        times: Range<UtcNanos>,
        wanted: Wanted<'_>,
        now: Arrival,
    ) -> Result<(), TierError> {
        let resolution = self.tiers[coarse].resolution();
        let mut made: Vec<(SeriesKey, Schema, BTreeMap<UtcNanos, Window>)> = Vec::new();
        let is_wanted = |key: &SeriesKey| {
            wanted.has_series(key.digest()) && self.plan.finer(&key.topic, coarse) == Some(finer)
        };
        self.tiers[finer].each_series(times.clone(), is_wanted, |key, schema, windows| {
            let series = key.digest();
            let mut groups: BTreeMap<UtcNanos, BTreeMap<UtcNanos, Window>> = BTreeMap::new();
            for (start, window) in windows {
                let group = groups.entry(resolution.start(start)).or_default();
                group.insert(start, window);
            }
            let groups = groups.into_iter();
            let merged = groups.filter(|(start, _)| wanted.has(series, *start));
            let merged: BTreeMap<_, _> = merged
                .filter_map(|(start, group)| Some((start, merge(&group)?)))
                .collect();
            if !merged.is_empty() {
                made.push((key.clone(), schema.clone(), merged));
            }
        })?;
        if made.is_empty() {
            return Ok(());
        }
        let series: BTreeSet<u64> = made.iter().map(|(key, _, _)| key.digest()).collect();
        let folder = &mut self.tiers[coarse];
        let before = folder.rows(&times, |digest| series.contains(&digest))?;
        let mut kept = 0;
        for (key, _, windows) in &mut made {
            let before = before.get(&key.digest());
            windows.retain(|start, (rows, _)| {
                let known = before.and_then(|windows| windows.get(start));
                kept += u64::from(known.is_some_and(|known| *rows < *known));
                known.is_none_or(|known| *known < *rows) && folder.takes(*start)
            });
        }
        made.retain(|(_, _, windows)| !windows.is_empty());
        self.counters.kept += kept;
        if made.is_empty() {
            return Ok(());
        }
        let owned: Vec<_> = made
            .iter()
            .map(|(key, schema, windows)| {
                let windows = windows.iter().map(|(start, window)| (*start, window));
                Owned::new(key, schema, windows)
            })
            .collect();
        commit(folder, &owned, &Note::new(), Statistics::WITHOUT_QUARTILES)?;
        self.counters.windows += owned.iter().map(|one| one.len() as u64).sum::<u64>();
        for (key, _, windows) in &made {
            let Some(next) = self.plan.next(&key.topic, coarse) else {
                continue;
            };
            let (series, resolution) = (key.digest(), self.tiers[next].resolution());
            for &start in windows.keys() {
                let name = Name {
                    resolution,
                    start: resolution.start(start),
                    series,
                };
                self.coarse.entry(name).or_insert(now);
            }
        }
        Ok(())
    }
}
