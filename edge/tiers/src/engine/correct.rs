//! Windows that late samples came for, computed anew: some of one file together, as neighbours are made of the same blocks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use efd_shared_model::UtcNanos;
use efd_shared_store::{Item, LaneName, Position, Reader};
use efd_shared_tiers::{Note, Samples, Statistics};

use super::put::{Owned, commit};
use super::take::Passes;
use super::{Engine, READ_BYTES, TierError};
use crate::blocks::{Blocks, Correction, Made};
use crate::coarse::{Window, merge};
use crate::open::{Arrival, SeriesNumber};
use crate::series::OneSeries;
use crate::settings::span;
use crate::state::Name;

/// Windows that are computed anew with each commit: what a publisher that is a little late costs.
pub(super) const FEW: usize = 256;
/// More of them wait for their hours; then so many at one time.
pub(super) const MANY: usize = 2048;
/// Of the samples that are held meanwhile, about.
const BYTES_MAX: u64 = 64 << 20;

/// A window that is computed anew.
struct Job {
    name: Name,
    series: SeriesNumber,
    /// Samples of what is there; `None` where it is not.
    rows: Option<u64>,
    /// The late blocks that it does not have.
    late: Blocks,
    /// Those that it has; of both.
    taken: Blocks,
    /// All that it is made of.
    blocks: Blocks,
    /// Or not all.
    has_others: bool,
    all: Samples,
    /// Of the late blocks alone.
    added: Samples,
}

impl Engine {
    /// Computes some of the late windows anew, at most `max`. Gives how many have left the list.
    pub(super) fn correct(
        &mut self,
        reader: &mut Reader,
        now: Arrival,
        max: usize,
    ) -> Result<usize, TierError> {
        let names = self.next_late(max);
        let Some(first) = names.first().copied() else {
            return Ok(0);
        };
        let tier = self
            .tiers
            .iter()
            .position(|tier| tier.resolution() == first.resolution);
        let mut jobs = match tier {
            Some(tier) => self.jobs(tier, &names)?,
            None => Jobs::default(),
        };
        // What was not begun, for want of memory, stays.
        let looked_at = tier.map_or(names.len(), |_| jobs.looked_at);
        let done: Vec<Name> = names.into_iter().take(looked_at).collect();
        if let Some(tier) = tier {
            self.note_changed(tier, &jobs.there, now);
            if !jobs.all.is_empty() {
                let missing = self.collect(reader, &mut jobs.all)?;
                self.put_corrected(tier, jobs.all, &missing, now)?;
            }
        }
        for name in &done {
            self.late.remove(name);
        }
        Ok(done.len())
    }

    /// Of one file, in the order of time. Not those that somebody is about to commit.
    fn next_late(&self, max: usize) -> Vec<Name> {
        let mut names: Vec<Name> = Vec::new();
        let build = self.build.as_ref().and_then(|build| build.pass.as_ref());
        for name in self.late.keys() {
            let series = self.series.find(name.series);
            let mut passes = std::iter::once(&self.live).chain(build);
            let is_held = passes.any(|pass| {
                let holds = series.is_some_and(|series| pass.holds(series, name.start));
                holds || pass.awaits(name)
            });
            if is_held {
                continue;
            }
            if let Some(first) = names.first() {
                let file = |name: &Name| span(name.resolution, name.start).begin;
                if first.resolution != name.resolution || file(first) != file(name) {
                    break;
                }
            }
            names.push(*name);
            if max <= names.len() {
                break;
            }
        }
        names
    }

    fn jobs(&mut self, tier: usize, names: &[Name]) -> Result<Jobs, TierError> {
        let mut jobs = Jobs::default();
        let mut starts: BTreeMap<u64, Vec<UtcNanos>> = BTreeMap::new();
        for name in names {
            starts.entry(name.series).or_default().push(name.start);
        }
        let mut known = HashMap::new();
        if let Some(file) = self.tiers[tier].file_of(names[0].start)? {
            for series in file.series()? {
                let digest = series.key.digest();
                let Some(starts) = starts.get(&digest) else {
                    continue;
                };
                for (start, window) in file.known(&series, starts)? {
                    known.insert((digest, start), window);
                }
                // Perhaps not seen since the start.
                if self.series.find(digest).is_none()
                    && let Some(schema) = file.schema(&series.key.schema)?
                {
                    let chain: Arc<[usize]> = self.plan.chain(&series.key.topic).into();
                    if let Some(&first) = chain.first() {
                        let resolution = self.tiers[first].resolution();
                        self.passes().add(OneSeries {
                            key: series.key,
                            schema,
                            digest,
                            chain,
                            resolution,
                        });
                    }
                }
            }
        }
        let mut bytes = 0;
        for name in names {
            let series = self.series.find(name.series);
            let series = series.filter(|it| self.series.get(*it).resolution == name.resolution);
            let Some(series) = series.filter(|_| self.tiers[tier].takes(name.start)) else {
                // Of a topic that has another finest tier now, or of a window that has left.
                self.counters.given_up += 1;
                jobs.looked_at += 1;
                continue;
            };
            let window = known.get(&(name.series, name.start));
            let channels = self.series.get(series).key.shape.channels() as u64;
            bytes += window.map_or(64, |window| window.rows) * channels * 8;
            if BYTES_MAX < bytes && !jobs.all.is_empty() {
                break;
            }
            jobs.looked_at += 1;
            let notes = window.map_or(&[][..], |window| &window.notes);
            let made = Made::of_window(notes, name.series, name.start);
            let mut late = self.late.get(name).cloned().unwrap_or_default();
            late.subtract(&made.late);
            if late.is_empty() {
                // Perhaps it was stopped before the coarser windows were noted.
                jobs.there.push((series, name.start));
                continue;
            }
            let (mut blocks, mut taken) = (made.blocks, made.late);
            blocks.union(&late);
            taken.union(&late);
            jobs.all.push(Job {
                name: *name,
                series,
                rows: window.map(|window| window.rows),
                late,
                taken,
                blocks,
                has_others: made.has_others,
                all: Samples::default(),
                added: Samples::default(),
            });
        }
        Ok(jobs)
    }

    pub(super) fn passes(&mut self) -> Passes<'_> {
        Passes {
            tiers: &self.tiers,
            newest: &self.newest,
            series: &mut self.series,
            live: &mut self.live,
            build: self.build.as_mut().and_then(|build| build.pass.as_mut()),
        }
    }

    /// The samples of all jobs, each block read once. Gives the blocks that are not there any more.
    fn collect(&mut self, reader: &mut Reader, jobs: &mut [Job]) -> Result<Blocks, TierError> {
        let mut wanted = Wanted::default();
        let mut blocks = Blocks::default();
        for (place, job) in jobs.iter().enumerate() {
            blocks.union(&job.blocks);
            wanted.windows.insert((job.series, job.name.start), place);
            let topic = &self.series.get(job.series).key.topic;
            if !wanted.topics.contains(topic) {
                wanted.topics.insert(topic.clone());
            }
            let end = job.name.resolution.end(job.name.start);
            let times = wanted.times.get_or_insert((job.name.start, end));
            *times = (times.0.min(job.name.start), times.1.max(end));
        }
        let mut missing = Blocks::default();
        for (lane, ranges) in blocks.lanes() {
            let of_lane = self.live.lanes.iter().find(|it| it.name == *lane);
            // The last of a range may not be written yet.
            let read = of_lane.map_or(Position::NONE, |lane| lane.read.max(lane.known).next());
            for range in ranges.iter() {
                self.collect_range(reader, lane, range, read, &wanted, jobs, &mut missing)?;
            }
        }
        Ok(missing)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one loop's state, not a thing of its own"
    )]
    fn collect_range(
        &mut self,
        reader: &mut Reader,
        lane: &LaneName,
        range: std::ops::RangeInclusive<u64>,
        read: Position,
        wanted: &Wanted,
        jobs: &mut [Job],
        missing: &mut Blocks,
    ) -> Result<(), TierError> {
        let mut next = Position(*range.start());
        let last = Position(*range.end()).min(read);
        while next <= last {
            let items = reader.read(lane, next, READ_BYTES)?;
            if items.is_empty() {
                break;
            }
            for item in items {
                if last < next {
                    break;
                }
                let first = next;
                next = item.next();
                let Item::Block(position, sealed) = item else {
                    missing.insert(lane, first.0, next.0.saturating_sub(1).max(first.0));
                    continue;
                };
                let Ok(block) = sealed.open() else {
                    missing.insert(lane, position.0, position.0);
                    continue;
                };
                let epoch = sealed.id().lane.epoch;
                for section in block.sections() {
                    let is_outside = wanted.times.is_none_or(|(begin, end)| {
                        section.event_time_max() < begin || end <= section.event_time_min()
                    });
                    if is_outside {
                        continue;
                    }
                    let Some(stream) = self.streams.get(reader, epoch, section.stream())? else {
                        continue;
                    };
                    if !wanted.topics.contains(&stream.topic) {
                        continue;
                    }
                    let resolution = self.tiers[stream.chain[0]].resolution();
                    for record in section.records() {
                        if stream.measured.read(record.datum, &mut self.row).is_err() {
                            continue;
                        }
                        let mut passes = Passes {
                            tiers: &self.tiers,
                            newest: &self.newest,
                            series: &mut self.series,
                            live: &mut self.live,
                            build: self.build.as_mut().and_then(|build| build.pass.as_mut()),
                        };
                        let (instance, shape) = (record.stamps.instance, &self.row.shape);
                        let Some(series) = passes.series_of(stream, instance, shape) else {
                            continue;
                        };
                        let time = record.stamps.event_time;
                        let name = (series, resolution.start(time));
                        let Some(&place) = wanted.windows.get(&name) else {
                            continue;
                        };
                        let job = &mut jobs[place];
                        if job.blocks.has(lane, position.0) {
                            job.all.push(time, &self.row.values, &shape.0);
                        }
                        if job.late.has(lane, position.0) {
                            job.added.push(time, &self.row.values, &shape.0);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn put_corrected(
        &mut self,
        tier: usize,
        jobs: Vec<Job>,
        missing: &Blocks,
        now: Arrival,
    ) -> Result<(), TierError> {
        let mut windows: BTreeMap<SeriesNumber, BTreeMap<UtcNanos, Window>> = BTreeMap::new();
        let mut made = Made::default();
        for job in jobs {
            // Fewer samples: the notes are of another buffer's blocks.
            let is_whole = !job.has_others
                && !job.blocks.meets(missing)
                && job.rows.is_none_or(|rows| rows <= job.all.len() as u64);
            let window = if is_whole {
                self.summary_of(job.series, &job.all)
            } else if job.added.is_empty() {
                self.counters.given_up += 1;
                continue;
            } else {
                self.counters.merged += 1;
                let key = &self.series.get(job.series).key;
                let only = job.name.start..UtcNanos(job.name.start.0.saturating_add(1));
                let before = self.tiers[tier].windows(key, only)?.remove(&job.name.start);
                let added = self.summary_of(job.series, &job.added);
                merged(before, added)
            };
            self.counters.corrected += 1;
            let correction = Correction {
                blocks: job.blocks,
                late: job.taken,
                has_others: job.has_others,
            };
            let name = (job.name.series, job.name.start);
            made.corrected.insert(name, correction);
            let of_series = windows.entry(job.series).or_default();
            of_series.insert(job.name.start, window);
        }
        if windows.is_empty() {
            return Ok(());
        }
        let owned: Vec<_> = windows
            .iter()
            .map(|(number, windows)| {
                let series = self.series.get(*number);
                let windows = windows.iter().map(|(start, window)| (*start, window));
                Owned::new(&series.key, &series.schema, windows)
            })
            .collect();
        let note: Note = made.note();
        commit(&mut self.tiers[tier], &owned, &note, Statistics::ALL)?;
        let mut changed = Vec::new();
        for (number, windows) in &windows {
            changed.extend(windows.keys().map(|start| (*number, *start)));
        }
        self.counters.windows += changed.len() as u64;
        self.note_changed(tier, &changed, now);
        Ok(())
    }

    fn summary_of(&mut self, series: SeriesNumber, samples: &Samples) -> Window {
        let mut summaries = Vec::new();
        let shape = &self.series.get(series).key.shape.0;
        samples.summarise(shape, &mut self.kernel, &mut Vec::new(), &mut summaries);
        (samples.len() as u64, summaries)
    }
}

#[derive(Default)]
struct Jobs {
    all: Vec<Job>,
    /// Windows that have all that came late.
    there: Vec<(SeriesNumber, UtcNanos)>,
    /// Of the names that were asked for, from the first.
    looked_at: usize,
}

#[derive(Default)]
struct Wanted {
    /// The place of the job.
    windows: HashMap<(SeriesNumber, UtcNanos), usize>,
    topics: BTreeSet<String>,
    /// Half-open.
    times: Option<(UtcNanos, UtcNanos)>,
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
