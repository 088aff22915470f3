//! Lanes are recorded side by side, and each commit stream by stream: here they become one series in the order of
//! event time. Batches in, samples out; no clock, no threads.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use efd_shared_model::UtcNanos;
use efd_shared_model::time::NANOS_PER_SECOND;

/// How much later than its event time a sample may have been committed and still be put in order. Clocks of publishers
/// are apart by less, commits follow within 50 ms.
const REORDER: i64 = 2 * NANOS_PER_SECOND;
/// Payloads held, at most: then the earliest goes, whatever may still come before it.
pub(super) const HELD_BYTES_MAX: usize = 48 << 20;
/// What a sample costs beside its payload, about.
const SAMPLE_BYTES: usize = 96;

/// One sample, as it is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) time: UtcNanos,
    /// Number of its [`Source`](super::cast::Source).
    pub(super) source: usize,
    pub(super) payload: Box<[u8]>,
    /// Where in it `private_sndStamp` is.
    pub(super) snd_stamp_at: usize,
}

/// What was taken out of one block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch(pub(super) Vec<Sample>);

impl Batch {
    /// The median of the event times: one publisher whose clock is wrong does not say how far the lane is.
    fn middle(&self) -> Option<UtcNanos> {
        let mut times: Vec<_> = self.0.iter().map(|sample| sample.time).collect();
        let middle = times.len() / 2;
        (!times.is_empty()).then(|| *times.select_nth_unstable(middle).1)
    }
}

pub(super) struct Merge {
    lanes: Vec<Progress>,
    held: BinaryHeap<Reverse<Held>>,
    held_bytes: usize,
    /// Samples that came in.
    taken: u64,
    last: Option<UtcNanos>,
    out_of_order: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Begin,
    At(UtcNanos),
    End,
}

struct Held {
    /// By event time; of one and the same, as they were recorded.
    order: (UtcNanos, u64),
    sample: Sample,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

impl Merge {
    pub(super) fn new(lanes: usize) -> Self {
        Self {
            lanes: vec![Progress::Begin; lanes],
            held: BinaryHeap::new(),
            held_bytes: 0,
            taken: 0,
            last: None,
            out_of_order: 0,
        }
    }

    /// The lane that has to be read before the next sample is certain.
    pub(super) fn wants(&self) -> Option<usize> {
        if HELD_BYTES_MAX <= self.held_bytes {
            return None;
        }
        let earliest = self.held.peek().map(|Reverse(held)| held.order.0);
        let behind = self
            .lanes
            .iter()
            .enumerate()
            .filter_map(|(lane, progress)| {
                let at = match *progress {
                    Progress::End => return None,
                    Progress::Begin => UtcNanos(i64::MIN),
                    Progress::At(at) => at,
                };
                let is_behind =
                    earliest.is_none_or(|earliest| at < earliest.saturating_add(REORDER));
                is_behind.then_some((at, lane))
            });
        behind.min().map(|(_, lane)| lane)
    }

    pub(super) fn offer(&mut self, lane: usize, batch: Batch) {
        if let (Some(middle), Some(progress)) = (batch.middle(), self.lanes.get_mut(lane)) {
            *progress = match *progress {
                Progress::At(at) => Progress::At(at.max(middle)),
                Progress::Begin | Progress::End => Progress::At(middle),
            };
        }
        for sample in batch.0 {
            self.held_bytes += sample.payload.len() + SAMPLE_BYTES;
            self.taken += 1;
            let order = (sample.time, self.taken);
            self.held.push(Reverse(Held { order, sample }));
        }
    }

    /// Nothing more comes of this lane.
    pub(super) fn end(&mut self, lane: usize) {
        if let Some(progress) = self.lanes.get_mut(lane) {
            *progress = Progress::End;
        }
    }

    /// The next sample, where [`Self::wants`] asks for nothing.
    pub(super) fn next(&mut self) -> Option<Sample> {
        let Reverse(Held { sample, .. }) = self.held.pop()?;
        self.held_bytes -= sample.payload.len() + SAMPLE_BYTES;
        if self.last.is_some_and(|last| sample.time < last) {
            self.out_of_order += 1;
        } else {
            self.last = Some(sample.time);
        }
        Some(sample)
    }

    /// Samples that came after one of a later event time.
    pub(super) fn out_of_order(&self) -> u64 {
        self.out_of_order
    }
}

#[cfg(test)]
mod tests;
