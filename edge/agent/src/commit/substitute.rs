//! What goes to the centre in the place of telemetry that must leave unshipped: a thread of its own makes statistics of the
//! segment's records, while the buffer goes on; they are committed before the loss that names them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
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
    lost: BTreeMap<EpochLane, RangeSet>,
    outcome: Result<ReducedSegment, String>,
}

/// The committer's side of the thread.
#[derive(Debug)]
pub struct Reducer {
    asks: SyncSender<Ask>,
    made: Arc<Mutex<Option<Made>>>,
    /// What is being made, and since when by a clock that nobody sets, ns.
    asked: Option<(SegmentKey, i64)>,
    /// Nobody waits any more for what is being made.
    given_up: Arc<AtomicBool>,
}

/// The thread's.
#[derive(Debug)]
pub struct ReducerThread {
    asks: Receiver<Ask>,
    made: Arc<Mutex<Option<Made>>>,
    given_up: Arc<AtomicBool>,
    reader: Reader,
    resolution: Resolution,
}

/// Whether anything can be written before something was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    /// Samples wait in memory until there is room: nothing is waited for.
    None,
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
        let given_up = Arc::new(AtomicBool::new(false));
        let reducer = Self {
            asks,
            made: Arc::clone(&made),
            asked: None,
            given_up: Arc::clone(&given_up),
        };
        let thread = ReducerThread {
            asks: asked,
            made,
            given_up,
            reader,
            resolution,
        };
        (reducer, thread)
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    /// The segment whose substitute is being made.
    pub(super) fn asked(&self) -> Option<&SegmentKey> {
        self.asked.as_ref().map(|(segment, _)| segment)
    }

    /// Nobody needs what is being made.
    pub(super) fn give_up(&mut self) {
        self.asked = None;
        self.given_up.store(true, Ordering::Relaxed);
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// `now`: monotonic, ns.
    fn ask(
        &mut self,
        info: SegmentInfo,
        lost: BTreeMap<EpochLane, RangeSet>,
        now: i64,
    ) -> Substitute {
        let segment = info.key.clone();
        if let Some((asked, since)) = &self.asked
            && *asked == segment
        {
            let is_late = PATIENCE_NS < now.saturating_sub(*since);
            let made = {
                let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                made.take_if(|made| made.segment == segment)
            };
            return match made {
                // What was lost then may have been acknowledged since: made anew.
                Some(made) if made.lost != lost => {
                    self.asked = None;
                    self.ask(info, lost, now)
                }
                Some(made) => {
                    self.asked = None;
                    match made.outcome {
                        Ok(reduced) => Substitute::Made(reduced),
                        Err(reason) => Substitute::Missing(reason),
                    }
                }
                None if is_late => {
                    self.give_up();
                    let seconds = PATIENCE_NS / 1_000_000_000;
                    Substitute::Missing(format!("not made within {seconds} s"))
                }
                None => Substitute::Wait,
            };
        }
        self.given_up.store(false, Ordering::Relaxed);
        match self.asks.try_send(Ask { info, lost }) {
            Ok(()) => {
                self.asked = Some((segment, now));
                Substitute::Wait
            }
            Err(TrySendError::Full(_)) => {
                Substitute::Missing("one before it is still being made".into())
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
            let given_up = Arc::clone(&self.given_up);
            let is_over = || stop.is_asked() || given_up.load(Ordering::Relaxed);
            let work = || reduce(&mut self.reader, &info, &lost, self.resolution, &is_over);
            // A panic is a defect that costs a substitute, and must not end an edge whose disk is full.
            let outcome = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
                Ok(outcome) => outcome.map_err(|error| error.to_string()),
                Err(_) => Err("making it panicked".into()),
            };
            let made = Made {
                segment: info.key,
                lost,
                outcome,
            };
            *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        }
    }
}

impl Committer {
    pub(super) fn substitute(&mut self, step: &Step, room: Room) -> Substitute {
        let lost: BTreeMap<EpochLane, RangeSet> = step
            .lost
            .iter()
            .filter(|lost| lost.log.lane.kind == LaneKind::Telemetry)
            .map(|lost| (lost.log, lost.numbers.clone()))
            .collect();
        match step.why {
            Why::Quota | Why::Bytes if !lost.is_empty() => {}
            Why::Age | Why::Quota | Why::Bytes | Why::UnshippedBytes => {
                return Substitute::NotNeeded;
            }
        }
        match room {
            Room::Enough => {}
            Room::None => return Substitute::Missing("the disk is full".into()),
        }
        let reader = self.store.reader();
        let done = reader.state(&lane_name(LaneKind::Reduced), REDUCED_STATE);
        if done.is_some_and(|(_, segment)| segment == step.segment.to_string().as_bytes()) {
            return Substitute::Committed;
        }
        let segments = self.store.segments();
        match segments.into_iter().find(|info| info.key == step.segment) {
            Some(info) => {
                let now = self.clock.state().monotonic;
                self.reducer.ask(info, lost, now)
            }
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
        let lane = Lane::new(LaneKind::Reduced);
        let first = self.next_number(lane);
        let blocks = self.reduced_blocks(step, reduced, first);
        let name = lane_name(LaneKind::Reduced);
        let segment = step.segment.to_string();
        let state = Some((REDUCED_STATE, segment.as_bytes()));
        self.store.append(&name, &blocks, state, now)?;
        let last = first.0 + blocks.len() as u64 - 1;
        self.next.insert(lane, BlockNumber(last).next());
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
        let lane = self.epoch_lane(Lane::new(LaneKind::Reduced));
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
