//! What is kept of raw telemetry that has to leave before it was shipped: statistics of just its records.
//!
//! A series whose windows have few samples gets longer ones, so that statistics are fewer than the values they stand for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use efd_shared_model::{
    EpochId, EpochLane, Fingerprint, RangeSet, SealedBlock, StreamNumber, UtcNanos,
};
use efd_shared_stats::{Kernel, Resolution, Summary};
use efd_shared_store::{Item, Reader, SegmentInfo, StoreError};
use efd_shared_tiers::{CHANNELS_MAX, Channel, Row, Samples, Shape};

use crate::coarse::{self, Window};
use crate::plan::Plan;
use crate::settings::{TierSettings, Topics};
use crate::streams::Streams;

/// Of blocks, at one time.
const READ_BYTES: usize = 1 << 20;
/// Samples of windows that are not summarised yet.
const SAMPLE_BYTES_MAX: usize = 64 << 20;
/// A window of fewer samples is merged with its neighbours.
const SAMPLES_MIN: u64 = 20;
/// Until the window is so long, ns.
const MERGED_UP_TO: i64 = 300_000_000_000;

/// One window of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct ReducedWindow {
    pub topic: String,
    pub instance: Option<i32>,
    pub schema: Fingerprint,
    pub start: UtcNanos,
    /// ns.
    pub resolution: i64,
    pub samples: u64,
    pub channels: Vec<String>,
    pub summaries: Vec<Summary>,
}

/// The windows that the records of some blocks of a segment make, and what could not be taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReducedSegment {
    pub windows: Vec<ReducedWindow>,
    /// Records of topics that have nothing to measure, or that do not fit their schema; and blocks that are damaged.
    pub unmeasured: u64,
    pub unreadable_blocks: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    epoch: EpochId,
    stream: StreamNumber,
    instance: Option<i32>,
    shape: Shape,
}

#[derive(Debug)]
struct Series {
    topic: String,
    instance: Option<i32>,
    schema: Fingerprint,
    shape: Shape,
    channels: Vec<String>,
    open: BTreeMap<UtcNanos, Samples>,
    closed: BTreeMap<UtcNanos, Window>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReduceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("given up, or the edge stops")]
    GivenUp,
}

/// `lost`: the blocks that nobody else has. Windows of `resolution`, or longer ones.
pub fn reduce(
    reader: &mut Reader,
    info: &SegmentInfo,
    lost: &BTreeMap<EpochLane, RangeSet>,
    resolution: Resolution,
    is_over: &dyn Fn() -> bool,
) -> Result<ReducedSegment, ReduceError> {
    let every = TierSettings {
        resolution,
        topics: Topics::All,
        age_max: Duration::MAX,
        bytes_max: u64::MAX,
    };
    let mut reducing = Reducing {
        resolution,
        streams: Streams::new(Arc::new(Plan::new(&[every], Vec::new()))),
        numbers: HashMap::new(),
        series: Vec::new(),
        kernel: Kernel::new(),
        row: Row::default(),
        bytes: 0,
        found: ReducedSegment::default(),
    };
    let mut next = info.first;
    while next <= info.last {
        if is_over() {
            return Err(ReduceError::GivenUp);
        }
        let items = reader.read_of(info, next, READ_BYTES)?;
        let Some(end) = items.last().map(Item::next) else {
            break;
        };
        next = end;
        for item in items {
            match item {
                Item::Block(_, block) => {
                    let id = block.id();
                    let is_lost = lost
                        .get(&id.lane)
                        .is_some_and(|it| it.contains(id.number.0));
                    if is_lost {
                        reducing.take(reader, &block)?;
                    }
                }
                Item::Damaged(_) => reducing.found.unreadable_blocks += 1,
                Item::Absent { .. } => {}
            }
        }
    }
    Ok(reducing.finish())
}

struct Reducing {
    resolution: Resolution,
    streams: Streams,
    numbers: HashMap<Name, usize>,
    series: Vec<Series>,
    kernel: Kernel,
    row: Row,
    /// Of the samples, about.
    bytes: usize,
    found: ReducedSegment,
}

impl Reducing {
    fn take(&mut self, reader: &mut Reader, sealed: &SealedBlock) -> Result<(), StoreError> {
        let Ok(block) = sealed.open() else {
            self.found.unreadable_blocks += 1;
            return Ok(());
        };
        let epoch = sealed.id().lane.epoch;
        for section in block.sections() {
            let Some(stream) = self.streams.get(reader, epoch, section.stream())? else {
                self.found.unmeasured += section.len() as u64;
                continue;
            };
            for record in section.records() {
                let is_read = stream.measured.read(record.datum, &mut self.row).is_ok();
                if !is_read || CHANNELS_MAX < self.row.shape.channels() {
                    self.found.unmeasured += 1;
                    continue;
                }
                let name = Name {
                    epoch,
                    stream: section.stream(),
                    instance: record.stamps.instance,
                    shape: self.row.shape.clone(),
                };
                let number = match self.numbers.get(&name) {
                    Some(number) => *number,
                    None => {
                        let channels = stream.measured.channels(&name.shape);
                        self.series.push(Series {
                            topic: stream.topic.clone(),
                            instance: name.instance,
                            schema: stream.schema.fingerprint(),
                            shape: name.shape.clone(),
                            channels: channels.iter().flat_map(names).collect(),
                            open: BTreeMap::new(),
                            closed: BTreeMap::new(),
                        });
                        let number = self.series.len() - 1;
                        self.numbers.insert(name, number);
                        number
                    }
                };
                let series = &mut self.series[number];
                let time = record.stamps.event_time;
                let samples = series.open.entry(self.resolution.start(time)).or_default();
                samples.push(time, &self.row.values, &series.shape.0);
                self.bytes += self.row.values.len() * size_of::<f64>();
            }
        }
        if SAMPLE_BYTES_MAX < self.bytes {
            self.close();
        }
        Ok(())
    }

    /// What comes for a window after it was closed makes another of the same start.
    fn close(&mut self) {
        self.bytes = 0;
        for series in &mut self.series {
            for (start, samples) in std::mem::take(&mut series.open) {
                let mut summaries = Vec::new();
                let shape = &series.shape.0;
                samples.summarise(shape, &mut self.kernel, &mut Vec::new(), &mut summaries);
                let window = (samples.len() as u64, summaries);
                let window = match series.closed.remove(&start) {
                    None => window,
                    Some(before) => merged([before, window]),
                };
                series.closed.insert(start, window);
            }
        }
    }

    fn finish(mut self) -> ReducedSegment {
        self.close();
        for series in std::mem::take(&mut self.series) {
            let (length, windows) = lengthened(series.closed, self.resolution.nanos());
            for (start, (samples, summaries)) in windows {
                self.found.windows.push(ReducedWindow {
                    topic: series.topic.clone(),
                    instance: series.instance,
                    schema: series.schema,
                    start,
                    resolution: length,
                    samples,
                    channels: series.channels.clone(),
                    summaries,
                });
            }
        }
        self.found
    }
}

fn merged(windows: [Window; 2]) -> Window {
    let in_order = (0..).map(UtcNanos).zip(windows);
    coarse::merge(&in_order.collect()).unwrap_or_default()
}

/// Windows with enough samples in the mean stay as they are.
fn lengthened(
    windows: BTreeMap<UtcNanos, Window>,
    nanos: i64,
) -> (i64, BTreeMap<UtcNanos, Window>) {
    let samples: u64 = windows.values().map(|(samples, _)| samples).sum();
    let is_enough = SAMPLES_MIN * windows.len() as u64 <= samples;
    if is_enough || MERGED_UP_TO <= nanos || MERGED_UP_TO % nanos != 0 {
        return (nanos, windows);
    }
    let mut long: BTreeMap<UtcNanos, Window> = BTreeMap::new();
    for (start, window) in windows {
        let start = UtcNanos(start.0.saturating_sub(start.0.rem_euclid(MERGED_UP_TO)));
        let window = match long.remove(&start) {
            None => window,
            Some(before) => merged([before, window]),
        };
        long.insert(start, window);
    }
    (MERGED_UP_TO, long)
}

fn names(channel: &Channel) -> Vec<String> {
    match channel.is_array {
        false => vec![channel.field.clone()],
        true => (0..channel.elements)
            .map(|element| format!("{}[{element}]", channel.field))
            .collect(),
    }
}
