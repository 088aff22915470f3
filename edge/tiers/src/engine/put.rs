//! Closed windows into the files of their tier.

use std::collections::{BTreeMap, BTreeSet};

use efd_shared_model::{Schema, UtcNanos};
use efd_shared_stats::Summary;
use efd_shared_store::StoreError;
use efd_shared_tiers::{Note, Run, SeriesKey, Statistics};

use super::{Engine, PENDING_SUMMARIES_MAX, TierError, commit_every};
use crate::blocks::{Blocks, Made};
use crate::coarse::Window;
use crate::folder::TierFolder;
use crate::open::{Arrival, SeriesNumber};
use crate::pass::{Pass, Pending};
use crate::state::Name;

impl Engine {
    /// Of the tiers whose windows have waited for others to share a commit, or of all.
    pub(super) fn put_pending(&mut self, now: Arrival, all: bool) -> Result<(), TierError> {
        let all = all || PENDING_SUMMARIES_MAX < self.live.pending_summaries;
        let tiers = self.tiers.iter().zip(&mut self.put);
        let due: Vec<bool> = tiers
            .map(|(tier, put)| {
                let last = *put.get_or_insert(now);
                let every = commit_every(tier.resolution());
                let is_due = all || now.since(last).is_none_or(|since| every <= since);
                if is_due {
                    *put = Some(now);
                }
                is_due
            })
            .collect();
        let pending = std::mem::take(&mut self.live.pending).into_iter();
        let is_due = |number: SeriesNumber| due[self.series.get(number).first()];
        let (due, rest): (Pending, Pending) = pending.partition(|(number, _)| is_due(*number));
        self.live.pending = rest;
        if let Err(error) = self.put(&due, Whose::Live, now) {
            self.live.pending.extend(due);
            return Err(error);
        }
        let windows = self.live.pending.values().flat_map(BTreeMap::values);
        self.live.pending_summaries = windows.map(|closed| closed.window.1.len()).sum();
        Ok(())
    }

    /// Commits windows to the first tier of their series, and notes what is to be merged of them.
    pub(super) fn put(
        &mut self,
        pending: &Pending,
        whose: Whose<'_>,
        now: Arrival,
    ) -> Result<(), TierError> {
        let mut by_tier: BTreeMap<usize, BTreeSet<SeriesNumber>> = BTreeMap::new();
        for &number in pending.keys() {
            let first = self.series.get(number).first();
            by_tier.entry(first).or_default().insert(number);
        }
        for (tier, numbers) in by_tier {
            let mut blocks = Blocks::default();
            let mut owned = Vec::new();
            for number in &numbers {
                let series = self.series.get(*number);
                let windows = &pending[number];
                let pass = match whose {
                    Whose::Live => &self.live,
                    Whose::Build(pass) => pass,
                };
                for closed in windows.values() {
                    blocks.union(&pass.blocks(closed));
                }
                let windows = windows.iter().map(|(start, it)| (*start, &it.window));
                owned.push(Owned::new(&series.key, &series.schema, windows));
            }
            let made = Made {
                blocks,
                corrected: BTreeMap::new(),
            };
            commit(&mut self.tiers[tier], &owned, &made.note(), Statistics::ALL)?;
            let mut changed = Vec::new();
            for number in numbers {
                let starts = pending[&number].keys();
                changed.extend(starts.map(|start| (number, *start)));
            }
            self.counters.windows += changed.len() as u64;
            self.note_changed(tier, &changed, now);
        }
        Ok(())
    }

    /// The windows of the next coarser tier that these are in are to be merged.
    pub(super) fn note_changed(
        &mut self,
        tier: usize,
        windows: &[(SeriesNumber, UtcNanos)],
        now: Arrival,
    ) {
        for &(number, start) in windows {
            let series = self.series.get(number);
            if let Some(next) = series.next(tier) {
                let resolution = self.tiers[next].resolution();
                let name = Name {
                    resolution,
                    start: resolution.start(start),
                    series: series.digest,
                };
                self.coarse.entry(name).or_insert(now);
            }
        }
    }
}

/// Whose windows are committed: their lanes are counted there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose<'a> {
    Live,
    Build(&'a Pass),
}

/// A run with what it is made of.
pub(super) struct Owned<'a> {
    key: &'a SeriesKey,
    schema: &'a Schema,
    starts: Vec<UtcNanos>,
    rows: Vec<u64>,
    summaries: Vec<Summary>,
}

impl<'a> Owned<'a> {
    pub(super) fn new<'w>(
        key: &'a SeriesKey,
        schema: &'a Schema,
        windows: impl Iterator<Item = (UtcNanos, &'w Window)>,
    ) -> Self {
        let windows: Vec<_> = windows.collect();
        let channels = key.shape.channels();
        let of_channel = |channel: usize| {
            windows
                .iter()
                .map(move |(_, (_, summaries))| summaries[channel])
        };
        Self {
            key,
            schema,
            summaries: (0..channels).flat_map(of_channel).collect(),
            starts: windows.iter().map(|(start, _)| *start).collect(),
            rows: windows.iter().map(|(_, (rows, _))| *rows).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
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

pub(super) fn commit(
    folder: &mut TierFolder,
    owned: &[Owned<'_>],
    note: &Note,
    kept: Statistics,
) -> Result<(), StoreError> {
    let runs: Vec<_> = owned.iter().map(|one| one.run(kept)).collect();
    folder.commit(&runs, note)
}
