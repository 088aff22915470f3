//! Windows that late samples came for, computed anew.

use std::collections::BTreeMap;

use efd_shared_model::{RangeSet, UtcNanos};
use efd_shared_store::{Item, Position, Reader};
use efd_shared_tiers::Samples;

use super::{Engine, READ_BYTES, TierError, ranges_of};
use crate::coarse::{Window, merge};
use crate::open::{Arrival, SeriesNumber};
use crate::state::Name;

/// Late windows that are computed anew at one time.
const LATE_AT_ONCE: usize = 256;

impl Engine {
    /// Computes some of the late windows anew. Gives how many.
    pub(super) fn correct(
        &mut self,
        reader: &mut Reader,
        now: Arrival,
    ) -> Result<usize, TierError> {
        // Of a series that was not seen since the start: as soon as it is.
        let is_known = |(name, _): &(&Name, _)| self.series.contains_key(&name.0);
        let names = self.late.iter().filter(is_known).take(LATE_AT_ONCE);
        let late: Vec<(Name, RangeSet)> = names.map(|(name, late)| (*name, late.clone())).collect();
        let count = late.len();
        for ((digest, start), late) in late {
            let Some(&series) = self.series.get(&digest) else {
                continue;
            };
            let lane = self.open.lane(series);
            let key = self.open.key(series).clone();
            let mut wanted = late.clone();
            let lane_name = self.lanes[lane].name.clone();
            for note in self.folders[0].notes_of(&key, start)? {
                if let Some(ranges) = ranges_of(&note, &lane_name) {
                    wanted.union(&ranges);
                }
            }
            let (samples, is_whole) = self.collect(reader, lane, series, start, &wanted)?;
            let window = if is_whole {
                self.summary_of(series, &samples)
            } else {
                self.counters.merged += 1;
                let only = start..UtcNanos(start.0.saturating_add(1));
                let before = self.folders[0].windows(&key, only)?.remove(&start);
                let (samples, _) = self.collect(reader, lane, series, start, &late)?;
                let added = self.summary_of(series, &samples);
                merged(before, added)
            };
            self.counters.corrected += 1;
            let windows = [(series, [(start, window)].into())].into();
            self.put(&windows, &[(lane, wanted)].into(), now)?;
            self.late.remove(&(digest, start));
        }
        Ok(count)
    }

    fn summary_of(&mut self, series: SeriesNumber, samples: &Samples) -> Window {
        let mut summaries = Vec::new();
        let shape = &self.open.key(series).shape.0;
        samples.summarise(shape, &mut self.kernel, &mut Vec::new(), &mut summaries);
        (samples.len() as u64, summaries)
    }

    /// The samples of one window out of some blocks, and whether all of these were there.
    fn collect(
        &mut self,
        reader: &mut Reader,
        lane: usize,
        series: SeriesNumber,
        start: UtcNanos,
        blocks: &RangeSet,
    ) -> Result<(Samples, bool), TierError> {
        let name = self.lanes[lane].name.clone();
        let resolution = self.resolution();
        let (mut samples, mut is_whole) = (Samples::default(), true);
        for range in blocks.iter() {
            let mut next = Position(*range.start());
            // The last of a range may not be written yet.
            let last = Position(*range.end())
                .min(self.lanes[lane].read.max(self.lanes[lane].known).next());
            while next <= last {
                let items = reader.read(&name, next, READ_BYTES)?;
                if items.is_empty() {
                    break;
                }
                for item in items {
                    if last < next {
                        break;
                    }
                    next = item.next();
                    let Item::Block(_, sealed) = item else {
                        is_whole = false;
                        continue;
                    };
                    let Ok(block) = sealed.open() else {
                        is_whole = false;
                        continue;
                    };
                    let epoch = sealed.id().lane.epoch;
                    for section in block.sections() {
                        let end = resolution.end(start);
                        if section.event_time_max() < start || end <= section.event_time_min() {
                            continue;
                        }
                        let Some(stream) = self.streams.get(reader, epoch, section.stream())?
                        else {
                            continue;
                        };
                        let key = self.open.key(series);
                        if stream.topic != key.topic || stream.schema.fingerprint() != key.schema {
                            continue;
                        }
                        for record in section.records() {
                            let time = record.stamps.event_time;
                            let is_it = resolution.start(time) == start
                                && record.stamps.instance == key.instance;
                            if is_it
                                && stream.measured.read(record.datum, &mut self.row).is_ok()
                                && self.row.shape == key.shape
                            {
                                samples.push(time, &self.row.values, &key.shape.0);
                            }
                        }
                    }
                }
            }
        }
        Ok((samples, is_whole))
    }
}

fn merged(before: Option<Window>, added: Window) -> Window {
    match before {
        None => added,
        Some(before) => {
            let known = before.1.clone();
            let both: BTreeMap<_, _> = [(UtcNanos(0), before), (UtcNanos(1), added)].into();
            let mut window = merge(&both).unwrap_or_default();
            // Late is not later: where in the window they were is not told.
            for (summary, known) in window.1.iter_mut().zip(known) {
                if known.count > 0 {
                    (summary.first, summary.last) = (known.first, known.last);
                }
            }
            window
        }
    }
}
