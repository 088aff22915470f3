//! What goes to the centre in the place of telemetry that must leave unshipped: a thread of its own makes statistics of the
//! segment's records, while the buffer goes on; they are committed before the loss that names them.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use efd_edge_tiers::reduce::{ReducedSegment, ReducedWindow, reduce};
use efd_shared_daemon::idle::run_nice;
use efd_shared_daemon::shutdown::Stop;
use efd_shared_model::block::Codec;
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{
    BlockBuilder, BlockNumber, EventTimeOrigin, Lane, LaneKind, RangeSet, RecordStamps, Reduced,
    SealedBlock, UtcNanos,
};
use efd_shared_stats::{Resolution, Summary};
use efd_shared_store::retention::{Step, Why};
use efd_shared_store::{Reader, SegmentInfo, SegmentKey, StoreError};

use super::{Committer, lane_name};
use crate::intake::REDUCED_STREAM;

/// Value of the lane `reduced`: the segment whose statistics it has last, so that a crash does not make them twice.
const REDUCED_STATE: &str = "reduced";
/// Statistics that take longer are gone without: the buffer must not overflow for their sake.
const PATIENCE_NS: i64 = 30_000_000_000;
const NICE: i32 = 10;

#[derive(Debug)]
struct Ask {
    info: SegmentInfo,
    lost: BTreeMap<EpochLane, RangeSet>,
}

#[derive(Debug)]
struct Made {
    segment: SegmentKey,
    outcome: Result<ReducedSegment, String>,
}

/// The committer's side of the thread.
#[derive(Debug)]
pub struct Reducer {
    asks: SyncSender<Ask>,
    made: Arc<Mutex<Option<Made>>>,
    asked: Option<(SegmentKey, UtcNanos)>,
}

/// The thread's.
#[derive(Debug)]
pub struct ReducerThread {
    asks: Receiver<Ask>,
    made: Arc<Mutex<Option<Made>>>,
    reader: Reader,
    resolution: Resolution,
}

/// What there is in the place of a segment.
#[derive(Debug)]
pub(super) enum Substitute {
    /// It is being made.
    Wait,
    /// Nothing of it is averaged, or somebody else has it.
    NotNeeded,
    /// For a person.
    Missing(String),
    Made(ReducedSegment),
    /// Committed by an earlier run, which then died.
    Committed,
}

impl Reducer {
    pub fn new(reader: Reader, resolution: Resolution) -> (Self, ReducerThread) {
        let (asks, asked) = sync_channel(1);
        let made = Arc::new(Mutex::new(None));
        let reducer = Self {
            asks,
            made: Arc::clone(&made),
            asked: None,
        };
        let thread = ReducerThread {
            asks: asked,
            made,
            reader,
            resolution,
        };
        (reducer, thread)
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    fn ask(
        &mut self,
        info: SegmentInfo,
        lost: BTreeMap<EpochLane, RangeSet>,
        now: UtcNanos,
    ) -> Substitute {
        let segment = info.key.clone();
        if let Some((asked, since)) = &self.asked
            && *asked == segment
        {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            let is_late = PATIENCE_NS < now.since(*since) || now < *since;
            return match made.take_if(|made| made.segment == segment) {
                Some(made) => {
                    self.asked = None;
                    match made.outcome {
                        Ok(reduced) => Substitute::Made(reduced),
                        Err(reason) => Substitute::Missing(reason),
                    }
                }
                None if is_late => {
                    self.asked = None;
                    Substitute::Missing(format!(
                        "not made within {} s",
                        PATIENCE_NS / 1_000_000_000
                    ))
                }
                None => Substitute::Wait,
            };
        }
        match self.asks.try_send(Ask { info, lost }) {
            Ok(()) => {
                self.asked = Some((segment, now));
                Substitute::Wait
            }
            // Of a segment that was given up.
            Err(TrySendError::Full(_)) => {
                Substitute::Missing("the last one is still being made".into())
            }
            Err(TrySendError::Disconnected(_)) => Substitute::Missing("the edge stops".into()),
        }
    }
}

impl ReducerThread {
    /// Until the committer has ended.
    pub fn run(mut self, stop: &Stop) {
        let _running = stop.register("reduce");
        run_nice(NICE);
        while let Ok(Ask { info, lost }) = self.asks.recv() {
            let outcome = reduce(&mut self.reader, &info, &lost, self.resolution);
            let made = Made {
                segment: info.key,
                outcome: outcome.map_err(|error| error.to_string()),
            };
            *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        }
    }
}

impl Committer {
    pub(super) fn substitute(&mut self, step: &Step, now: UtcNanos) -> Substitute {
        let lost: BTreeMap<EpochLane, RangeSet> = step
            .lost
            .iter()
            .filter(|lost| lost.log.lane.kind == LaneKind::Telemetry)
            .map(|lost| (lost.log, lost.numbers.clone()))
            .collect();
        if step.why != Why::Bytes || lost.is_empty() {
            return Substitute::NotNeeded;
        }
        let reader = self.store.reader();
        let done = reader.state(&lane_name(LaneKind::Reduced), REDUCED_STATE);
        if done.is_some_and(|(_, segment)| segment == step.segment.to_string().as_bytes()) {
            return Substitute::Committed;
        }
        let segments = self.store.segments();
        match segments.into_iter().find(|info| info.key == step.segment) {
            Some(info) => self.reducer.ask(info, lost, now),
            None => Substitute::NotNeeded,
        }
    }

    /// Durable when this returns; says what was put where.
    pub(super) fn commit_reduced(
        &mut self,
        step: &Step,
        reduced: &ReducedSegment,
        now: UtcNanos,
    ) -> Result<String, StoreError> {
        let records: u64 = reduced.windows.iter().map(|window| window.samples).sum();
        if reduced.windows.is_empty() {
            return Ok("nothing of it can be averaged".into());
        }
        self.declare_epoch()?;
        let first = self.next.get(&LaneKind::Reduced).copied();
        let first = first.unwrap_or(BlockNumber::FIRST);
        let blocks = self.reduced_blocks(step, reduced, first);
        let name = lane_name(LaneKind::Reduced);
        let segment = step.segment.to_string();
        let state = Some((REDUCED_STATE, segment.as_bytes()));
        self.store.append(&name, &blocks, state, now)?;
        let last = first.0 + blocks.len() as u64 - 1;
        self.next
            .insert(LaneKind::Reduced, BlockNumber(last).next());
        self.meters.reduced(reduced.windows.len() as u64, records);
        self.announce(&blocks, now);
        Ok(format!(
            "{} windows of statistics of {records} records stand in its place, lane reduced, epoch {}, blocks {first} to {last}",
            reduced.windows.len(),
            self.epoch.epoch
        ))
    }

    fn reduced_blocks(
        &self,
        step: &Step,
        reduced: &ReducedSegment,
        first: BlockNumber,
    ) -> Vec<SealedBlock> {
        let lane = EpochLane {
            edge: self.epoch.edge,
            epoch: self.epoch.epoch,
            lane: Lane::new(LaneKind::Reduced),
        };
        let mut blocks = Vec::new();
        let mut number = first;
        let mut builder = BlockBuilder::new();
        let mut seal = |builder: &mut BlockBuilder| {
            let id = lane.block(number);
            let (codec, level) = (Codec::Zstd, self.options.compression);
            if let Some(sealed) = builder.seal(id, self.clock.state(), codec, level) {
                blocks.push(sealed);
                number = number.next();
            }
        };
        for window in &reduced.windows {
            record(window, step).encode(builder.datum(REDUCED_STREAM));
            let stamps = RecordStamps {
                event_time: window.start,
                origin: EventTimeOrigin::Reception,
                implausible: false,
                latin1: false,
                instance: window.instance,
            };
            builder.finish(REDUCED_STREAM, stamps);
            if REDUCED_BLOCK_BYTES < builder.datum_bytes() {
                seal(&mut builder);
            }
        }
        seal(&mut builder);
        blocks
    }
}

/// Uncompressed, of one block.
const REDUCED_BLOCK_BYTES: usize = 4 << 20;

fn record(window: &ReducedWindow, step: &Step) -> Reduced {
    let ReducedWindow {
        topic,
        instance,
        schema,
        start: _,
        resolution,
        samples,
        channels,
        summaries,
    } = window;
    // Of all logs in the segment, where an epoch ended in it.
    let lost = step.lost.iter();
    let mut telemetry = lost.filter(|lost| lost.log.lane.kind == LaneKind::Telemetry);
    let ends = telemetry.next().map(|lost| {
        let ranges = || lost.numbers.iter();
        let first = ranges().next().map_or(0, |range| *range.start());
        let last = ranges().next_back().map_or(0, |range| *range.end());
        (lost.log, first, last)
    });
    let column = |of: fn(&Summary) -> Option<f64>| -> Vec<f64> {
        let values = summaries.iter().map(|it| of(it).unwrap_or(f64::NAN));
        values.collect()
    };
    let count = |of: fn(&Summary) -> u64| -> Vec<i64> {
        summaries.iter().map(|it| of(it) as i64).collect()
    };
    Reduced {
        topic: topic.clone(),
        sal_index: instance.map_or(-1, i64::from),
        schema: schema.to_string(),
        resolution: *resolution,
        samples: *samples as i64,
        epoch: ends.map_or_else(String::new, |(log, _, _)| log.epoch.to_string()),
        lane: ends.map_or_else(String::new, |(log, _, _)| log.lane.to_string()),
        first_block: ends.map_or(0, |(_, first, _)| first as i64),
        last_block: ends.map_or(-1, |(_, _, last)| last as i64),
        channels: channels.clone(),
        counts: count(|it| it.count),
        nan_counts: count(|it| it.nan_count),
        statistics: [
            column(|it| Some(it.min)),
            column(|it| Some(it.max)),
            column(|it| Some(it.mean)),
            column(Summary::stdev),
            column(|it| Some(it.first)),
            column(|it| Some(it.last)),
            column(|it| it.quartiles.map(|it| it.q1)),
            column(|it| it.quartiles.map(|it| it.median)),
            column(|it| it.quartiles.map(|it| it.q3)),
        ],
    }
}
