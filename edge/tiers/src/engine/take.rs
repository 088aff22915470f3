//! A block's samples into the windows that are open.

use efd_shared_model::SealedBlock;
use efd_shared_store::{LaneName, Position, Reader};
use efd_shared_tiers::Shape;

use super::{Counters, Engine, LATE_MAX, TierError};
use crate::blocks::{Blocks, Made};
use crate::folder::{Newest, TierFolder};
use crate::open::{Arrival, At, Pushed, SeriesNumber};
use crate::pass::{Pass, Resumed};
use crate::series::{OneSeries, SeriesList};
use crate::state::Name;
use crate::streams::{Known, Stream};

/// Whose block it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Live,
    /// Of the pass over what was there before a tier.
    Build,
}

impl Engine {
    pub(super) fn take_block(
        &mut self,
        reader: &mut Reader,
        which: Which,
        lane: usize,
        position: Position,
        sealed: &SealedBlock,
    ) -> Result<(), TierError> {
        let block = match sealed.open() {
            Ok(block) => block,
            Err(error) => {
                self.counters.blocks_unreadable += 1;
                tracing::error!(%error, %position, "A block has no part in the tiers");
                return Ok(());
            }
        };
        let at = At {
            lane,
            position,
            arrived: Arrival::from(&sealed.header().clock),
        };
        let epoch = sealed.id().lane.epoch;
        for section in block.sections() {
            let Some(stream) = self.streams.get(reader, epoch, section.stream())? else {
                continue;
            };
            if which == Which::Build && !stream.is_first_new {
                continue;
            }
            for record in section.records() {
                if stream.measured.read(record.datum, &mut self.row).is_err() {
                    self.counters.unfit += 1;
                    continue;
                }
                let mut passes = Passes {
                    tiers: &self.tiers,
                    newest: &self.newest,
                    series: &mut self.series,
                    live: &mut self.live,
                    build: self.build.as_mut().and_then(|build| build.pass.as_mut()),
                };
                let shape = &self.row.shape;
                let Some(number) = passes.series_of(stream, record.stamps.instance, shape) else {
                    self.counters.unfit += 1;
                    continue;
                };
                let Passes {
                    series,
                    live,
                    build,
                    ..
                } = passes;
                let pass = match (which, build) {
                    (Which::Build, Some(build)) => build,
                    (Which::Live, _) | (Which::Build, None) => live,
                };
                let series = series.get(number);
                let time = record.stamps.event_time;
                let start = series.resolution.start(time);
                let folder = &self.tiers[series.first()];
                if !folder.takes(start) {
                    self.counters.too_old += 1;
                    continue;
                }
                let name = series.name(start);
                let is_known = position <= pass.lanes[lane].known;
                let mut is_closed = false;
                if is_known && !pass.open.is_open(number, start) {
                    match pass.resumed.get_mut(&name) {
                        None => continue,
                        Some(resumed @ Resumed::Waiting) => {
                            *resumed = Resumed::Begun;
                            pass.open.begin(number, start, at);
                        }
                        Some(Resumed::Begun) => is_closed = true,
                    }
                }
                self.counters.samples += 1;
                let values = &self.row.values;
                if !is_closed {
                    if pass.open.push(number, time, values, at) == Pushed::Taken {
                        continue;
                    }
                    is_closed = self.late.contains_key(&name) || pass.holds(number, start);
                }
                if !is_closed && let Some(known) = folder.known(&series.key, start)? {
                    is_closed = true;
                    let made = Made::of_window(&known.notes, series.digest, start);
                    if which == Which::Build && made.has_others {
                        // It stayed as it was, and perhaps has this.
                        continue;
                    }
                }
                if !is_closed {
                    pass.open.begin(number, start, at);
                    pass.open.push(number, time, values, at);
                    continue;
                }
                self.counters.late += 1;
                let late = Late {
                    windows: &mut self.late,
                    counters: &mut self.counters,
                };
                late.note(name, &pass.lanes[lane].name, position);
            }
        }
        Ok(())
    }
}

struct Late<'a> {
    windows: &'a mut std::collections::BTreeMap<Name, Blocks>,
    counters: &'a mut Counters,
}

impl Late<'_> {
    fn note(self, name: Name, lane: &LaneName, position: Position) {
        if self.windows.len() < LATE_MAX || self.windows.contains_key(&name) {
            let blocks = self.windows.entry(name).or_default();
            blocks.insert(lane, position.0, position.0);
        } else {
            self.counters.given_up += 1;
        }
    }
}

/// Where a series is entered that was not seen before.
pub(super) struct Passes<'a> {
    pub(super) tiers: &'a [TierFolder],
    pub(super) newest: &'a [Newest],
    pub(super) series: &'a mut SeriesList,
    pub(super) live: &'a mut Pass,
    pub(super) build: Option<&'a mut Pass>,
}

impl Passes<'_> {
    /// `None` of a record of too many shapes.
    pub(super) fn series_of(
        &mut self,
        stream: &mut Stream,
        instance: Option<i32>,
        shape: &Shape,
    ) -> Option<SeriesNumber> {
        let key = match stream.series_of(instance, shape) {
            Known::Series(series) => return Some(series),
            Known::Unfit => return None,
            Known::New(key) => *key,
        };
        let digest = key.digest();
        let number = match self.series.find(digest) {
            Some(number) => number,
            None => self.add(OneSeries {
                schema: stream.schema.clone(),
                digest,
                resolution: self.tiers[stream.chain[0]].resolution(),
                chain: std::sync::Arc::clone(&stream.chain),
                key,
            }),
        };
        stream.add(instance, shape.clone(), number);
        Some(number)
    }

    pub(super) fn add(&mut self, series: OneSeries) -> SeriesNumber {
        let newest = &self.newest[series.first()];
        let closed_last = newest.of(series.digest);
        let (resolution, shape) = (series.resolution, &series.key.shape);
        let number = self
            .live
            .open
            .add_series(resolution, shape.clone(), closed_last);
        if let Some(build) = &mut self.build {
            build.add_series(&series);
        }
        self.series.add(number, series);
        number
    }
}

impl Pass {
    /// Of the pass over what was there before: what others closed is found out when its windows are committed.
    pub(super) fn add_series(&mut self, series: &OneSeries) {
        let never = Some(efd_shared_model::UtcNanos(i64::MIN));
        self.open
            .add_series(series.resolution, series.key.shape.clone(), never);
    }
}
