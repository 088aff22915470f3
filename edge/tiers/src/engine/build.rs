//! Work that may wait: late windows beyond a few, and tiers that came later than what they are made of.
//!
//! A tier that is merged is made of the finer tier's files. One that is the first of a topic is made of the blocks that were
//! there before it: by a second pass, from the oldest block to the one where the live engine began with it. No window is
//! lost or taken twice where the two meet: who commits second, or finds that the other has the window open, does not
//! commit but calls its blocks late, and the window is computed anew from the blocks of both.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use efd_shared_model::UtcNanos;
use efd_shared_stats::Resolution;
use efd_shared_store::Reader;

use super::correct::{FEW, MANY};
use super::merge::Wanted;
use super::put::Whose;
use super::take::Which;
use super::{Engine, GRACE, Got, TierError};
use crate::blocks::{Blocks, Correction, Made};
use crate::open::{Arrival, SeriesNumber};
use crate::pass::{LaneProgress, Pass, Pending};
use crate::plan::TierOf;
use crate::series::SeriesList;
use crate::settings::span;
use crate::state::{BlocksState, BuildLane, BuildState, MergeNext, MergeState, Name};

/// Samples of the windows that the second pass has open.
const SAMPLE_BYTES_MAX: usize = 64 << 20;
/// Values that are committed together, and that a slice of a merge makes.
const SUMMARIES: usize = 50_000;

#[derive(Debug)]
pub(super) struct Build {
    before: Vec<Vec<TierOf>>,
    /// `None` where no block is to be read again.
    pub(super) pass: Option<Pass>,
    merges: Vec<MergeState>,
}

/// What is being built, and how far it is, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Building {
    /// First tiers of topics, out of blocks.
    Blocks { done: f64 },
    Merge {
        tier: Resolution,
        from: Resolution,
        done: f64,
    },
}

/// A window that a file has: its samples, and what they were made of.
type There = (u64, Correction);

impl Build {
    pub(super) fn new(state: BuildState) -> Self {
        let BuildState {
            before,
            blocks,
            merges,
        } = state;
        let pass = |BlocksState { lanes, open }: BlocksState| {
            let lanes = lanes
                .into_iter()
                .map(|(name, lane)| LaneProgress::resumed(name, lane.progress, lane.until));
            Pass::new(GRACE, lanes.collect(), &open)
        };
        Self {
            before,
            pass: blocks.map(pass),
            merges,
        }
    }

    pub(super) fn state(&self, series: &SeriesList) -> BuildState {
        let blocks = |pass: &Pass| {
            let (progress, open) = pass.progress(series);
            let lane = |lane: &LaneProgress| {
                let of_lane = BuildLane {
                    progress: progress[&lane.name],
                    until: lane.until,
                };
                (lane.name.clone(), of_lane)
            };
            BlocksState {
                lanes: pass.lanes.iter().map(lane).collect(),
                open,
            }
        };
        BuildState {
            before: self.before.clone(),
            blocks: self.pass.as_ref().map(blocks),
            merges: self.merges.clone(),
        }
    }
}

impl Engine {
    /// What is being built.
    pub fn building(&self, reader: &Reader) -> Vec<Building> {
        let Some(build) = &self.build else {
            return Vec::new();
        };
        let part = |done: f64, all: f64| match all > 0.0 {
            true => (done / all).clamp(0.0, 1.0),
            false => 1.0,
        };
        let mut all = Vec::new();
        if let Some(pass) = &build.pass {
            let (mut read, mut wanted) = (0, 0);
            for lane in &pass.lanes {
                let floor = reader.floor(&lane.name).0.saturating_sub(1);
                read += lane.read.0.saturating_sub(floor);
                wanted += lane.until.0.saturating_sub(floor);
            }
            all.push(Building::Blocks {
                done: part(read as f64, wanted as f64),
            });
        }
        for merge in &build.merges {
            let mut begins = self.place(merge.fine).map(|it| self.tiers[it].begins());
            let ends = begins
                .as_mut()
                .and_then(|it| Some((it.next()?, it.next_back()?)));
            let done = match (merge.next, ends) {
                (Some(next), Some((first, last))) => part(
                    next.begin.0.saturating_sub(first.0) as f64,
                    last.0.saturating_sub(first.0) as f64,
                ),
                (None, _) | (_, None) => 0.0,
            };
            all.push(Building::Merge {
                tier: merge.coarse,
                from: merge.fine,
                done,
            });
        }
        all
    }

    /// Tiers that may lack windows of what was held before they were configured.
    pub fn unfinished(&self) -> BTreeSet<Resolution> {
        let tiers = self.tiers.iter().enumerate();
        let unfinished =
            tiers.filter(|(place, _)| self.build.is_some() && self.plan.can_be_new(*place));
        unfinished.map(|(_, tier)| tier.resolution()).collect()
    }

    fn place(&self, resolution: Resolution) -> Option<usize> {
        let mut tiers = self.tiers.iter();
        tiers.position(|tier| tier.resolution() == resolution)
    }

    /// A slice of what may wait. False when there is nothing.
    pub(super) fn work(&mut self, reader: &mut Reader, now: Arrival) -> Result<bool, TierError> {
        if FEW < self.late.len() && self.correct(reader, now, MANY)? > 0 {
            return Ok(true);
        }
        let Some(build) = &self.build else {
            return Ok(false);
        };
        if build.pass.is_some() {
            self.read_again(reader, now)?;
        } else if let Some(merge) = build.merges.first().copied() {
            let next = self.merge_slice(merge, now)?;
            if let Some(build) = &mut self.build {
                match next {
                    Some(next) => build.merges[0].next = Some(next),
                    None => {
                        build.merges.remove(0);
                    }
                }
            }
        } else {
            tracing::info!("The tiers that came later are built");
            self.build = None;
            self.save()?;
        }
        Ok(true)
    }

    /// A batch of the blocks that were there before.
    fn read_again(&mut self, reader: &mut Reader, now: Arrival) -> Result<(), TierError> {
        let pass = self.pass(Which::Build);
        let unread = pass.lanes.iter().position(|lane| lane.read < lane.until);
        if let Some(lane) = unread {
            if let Got::Nothing = self.read_lane(reader, Which::Build, lane)? {
                let lane = &mut self.pass(Which::Build).lanes[lane];
                lane.read = lane.until;
            }
            let pass = self.pass(Which::Build);
            if SAMPLE_BYTES_MAX < pass.open.bytes() {
                let due = pass.open.close_all();
                self.counters.early += due.len() as u64;
                self.close(Which::Build, due);
            }
            if SUMMARIES < self.pass(Which::Build).pending_summaries {
                self.put_built(now)?;
            }
            return Ok(());
        }
        let due = pass.open.close_all();
        self.close(Which::Build, due);
        self.put_built(now)?;
        if let Some(build) = &mut self.build {
            build.pass = None;
        }
        Ok(())
    }

    /// Commits the windows that the second pass has closed.
    pub(super) fn put_built(&mut self, now: Arrival) -> Result<(), TierError> {
        let Some(mut pass) = self.build.as_mut().and_then(|build| build.pass.take()) else {
            return Ok(());
        };
        let pending = std::mem::take(&mut pass.pending);
        let put = self.put_of_pass(&pass, &pending, now);
        match put {
            Ok(()) => pass.pending_summaries = 0,
            Err(_) => pass.pending = pending,
        }
        if let Some(build) = &mut self.build {
            build.pass = Some(pass);
        }
        put
    }

    fn put_of_pass(
        &mut self,
        pass: &Pass,
        pending: &Pending,
        now: Arrival,
    ) -> Result<(), TierError> {
        let known = self.known(pending)?;
        let mut late = Vec::new();
        let mut new = Pending::new();
        // What is there as it should be: of it, too, the coarser windows may not be made.
        let mut there: BTreeMap<usize, Vec<(SeriesNumber, UtcNanos)>> = BTreeMap::new();
        for (&number, windows) in pending {
            let series = self.series.get(number);
            for (&start, closed) in windows {
                if !self.tiers[series.first()].takes(start) {
                    self.counters.too_old += closed.window.0;
                    continue;
                }
                let blocks = pass.blocks(closed);
                let name = series.name(start);
                let before = known.get(&(number, start));
                let is_new = match before {
                    // Merged, when this was not the first tier: a part of the samples is no better.
                    Some((rows, made)) if made.has_others && closed.window.0 <= *rows => {
                        forget_late(&mut self.late, pass, name);
                        false
                    }
                    Some((_, made)) if made.has_others => true,
                    Some((_, made)) if made.blocks.covers(&blocks) => false,
                    Some(_) => {
                        late.push((name, blocks));
                        continue;
                    }
                    None => true,
                };
                if self.live.holds(number, start) || self.live.awaits(&name) {
                    late.push((name, blocks));
                } else if is_new {
                    let of_series = new.entry(number).or_default();
                    of_series.insert(start, closed.clone());
                } else {
                    let of_tier = there.entry(series.first()).or_default();
                    of_tier.push((number, start));
                }
            }
        }
        self.put(&new, Whose::Build(pass), now)?;
        for (name, blocks) in late {
            self.note_late(name, &blocks);
        }
        for (number, windows) in &new {
            for &start in windows.keys() {
                self.live.open.closed(*number, start);
            }
        }
        for (tier, windows) in there {
            self.note_changed(tier, &windows, now);
        }
        Ok(())
    }

    /// Of these windows, those that are in files: their samples, and the blocks that they are made of.
    fn known(
        &self,
        pending: &Pending,
    ) -> Result<HashMap<(SeriesNumber, UtcNanos), There>, TierError> {
        type OfFile = HashMap<u64, (SeriesNumber, Vec<UtcNanos>)>;
        let mut by_file: BTreeMap<(usize, UtcNanos), OfFile> = BTreeMap::new();
        for (&number, windows) in pending {
            let series = self.series.get(number);
            for &start in windows.keys() {
                let file = (series.first(), span(series.resolution, start).begin);
                let of_file = by_file.entry(file).or_default();
                let (_, starts) = of_file
                    .entry(series.digest)
                    .or_insert_with(|| (number, Vec::new()));
                starts.push(start);
            }
        }
        let mut all = HashMap::new();
        for ((tier, begin), wanted) in by_file {
            let Some(file) = self.tiers[tier].file_of(begin)? else {
                continue;
            };
            for series in file.series()? {
                let digest = series.key.digest();
                let Some((number, starts)) = wanted.get(&digest) else {
                    continue;
                };
                for (start, window) in file.known(&series, starts)? {
                    let made = Made::of_window(&window.notes, digest, start);
                    all.insert((*number, start), (window.rows, made));
                }
            }
        }
        Ok(all)
    }

    /// Some series of one file, or of one coarse window where that is longer. Gives where to go on; `None` at the end.
    fn merge_slice(
        &mut self,
        merge: MergeState,
        now: Arrival,
    ) -> Result<Option<MergeNext>, TierError> {
        let (Some(fine), Some(coarse)) = (self.place(merge.fine), self.place(merge.coarse)) else {
            return Ok(None);
        };
        let next = match merge.next {
            Some(next) => next,
            None => match self.first_unit(fine, merge.coarse) {
                Some(next) => next,
                None => return Ok(None),
            },
        };
        let MergeNext { begin, series } = next;
        let of_file = span(merge.fine, begin);
        let length = (of_file.end.0 - of_file.begin.0).max(merge.coarse.nanos());
        let end = UtcNanos(begin.0.saturating_add(length));
        // Every coarse window that begins in between.
        let mut first = merge.coarse.start(begin);
        if first < begin {
            first = merge.coarse.end(first);
        }
        let last = merge.coarse.start(end.saturating_sub(1));
        let times = first..merge.coarse.end(last).max(first);
        let mut keys = BTreeMap::new();
        for key in self.tiers[fine].keys(&times)? {
            let is_wanted = self.plan.finer(&key.topic, coarse) == Some(fine)
                && self.plan.is_new(&key.topic, coarse);
            let digest = key.digest();
            if is_wanted && series.is_none_or(|through| through < digest) {
                keys.insert(digest, key.shape.channels());
            }
        }
        let windows = ((length / merge.coarse.nanos()) as usize).max(1);
        let (mut summaries, mut wanted) = (0, BTreeSet::new());
        for (&digest, &channels) in &keys {
            summaries += channels * windows;
            if SUMMARIES < summaries && !wanted.is_empty() {
                break;
            }
            wanted.insert(digest);
        }
        if !wanted.is_empty() {
            self.merge(fine, coarse, times, Wanted::Series(&wanted), now)?;
        }
        if wanted.len() < keys.len() {
            let series = wanted.last().copied();
            return Ok(Some(MergeNext { begin, series }));
        }
        let mut begins = self.tiers[fine].begins();
        let next = begins.find(|&it| end < span(merge.fine, it).end);
        Ok(next.map(|file| MergeNext {
            begin: merge.coarse.start(file).max(end),
            series: None,
        }))
    }

    /// A window that has lost a part with the finer tier's oldest files is not made.
    fn first_unit(&self, fine: usize, coarse: Resolution) -> Option<MergeNext> {
        let folder = &self.tiers[fine];
        let mut begin = coarse.start(folder.begins().next()?);
        if !folder.takes(begin) {
            begin = coarse.end(begin);
        }
        Some(MergeNext {
            begin,
            series: None,
        })
    }
}

/// What came late in blocks that the second pass reads.
fn forget_late(late: &mut BTreeMap<Name, Blocks>, pass: &Pass, name: Name) {
    if let Some(blocks) = late.get_mut(&name) {
        for lane in &pass.lanes {
            let mut read = Blocks::default();
            read.insert(&lane.name, 0, lane.until.0);
            blocks.subtract(&read);
        }
        if blocks.is_empty() {
            late.remove(&name);
        }
    }
}
