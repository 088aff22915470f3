//! The thread between bus and store: takes samples from the ring, gives them to the [`Intake`], hands its batches to be
//! committed, and names what the ring had to drop.

mod reread;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use efd_edge_dds::{Consumer, Dropped, ReaderId, Sample};
use efd_shared_daemon::clock::{monotonic_now, utc_now};
use efd_shared_daemon::shutdown::Stop;
use efd_shared_model::{Lane, LaneKind, Loss, LossReason, UtcNanos};
use efd_shared_store::Reader;

use crate::binding::{Binding, Reading};
use crate::budget::Switch;
use crate::bus::BusNotice;
use crate::commit::{PUBLISHERS_STATE, Request};
use crate::intake::{Batch, Intake, Received};
use crate::meters::Meters;
use crate::parked::ParkedKind;

/// Batches in circulation: one is filled, one is being committed, one waits.
pub const BATCHES: usize = 3;
const SAMPLES_AT_ONCE: usize = 512;
const IDLE: Duration = Duration::from_millis(100);
const LOOK_AT_DROPS_NS: i64 = 200_000_000;
/// A snapshot of the publishers goes along after so many bytes or so long, and bounds what a start must read again.
const SNAPSHOT_BYTES: u64 = 32 << 20;
const SNAPSHOT_NS: i64 = 600 * 1_000_000_000;
/// Publishers silent for longer are forgotten: command-line programs of people come and go.
const SILENT_MAX_NS: i64 = 30 * 86_400 * 1_000_000_000;
/// Samples whose writer the bus thread has not told us of yet.
pub const ORPHANS_MAX: usize = 65_536;
/// After so long it will not, and the sample is taken as its reader's other samples are.
const ORPHAN_NS: i64 = 2_000_000_000;
/// Bindings of readers beyond those of writers, before they are looked through.
const READERS_SPARE: usize = 1024;
/// The ring is emptied in less.
const GONE_NS: i64 = 60_000_000_000;

#[derive(Debug, Clone, Copy)]
pub struct CommitPolicy {
    pub within: Duration,
    pub bytes: usize,
}

#[derive(Debug)]
pub struct Pipeline {
    pub consumer: Consumer,
    pub intake: Intake,
    pub bus: Receiver<BusNotice>,
    pub requests: SyncSender<Request>,
    pub spare: Receiver<Batch>,
    pub reader: Reader,
    pub policy: CommitPolicy,
    pub meters: Arc<Meters>,
    pub stop: Stop,
}

#[derive(Debug, Default)]
struct Snapshots {
    bytes: u64,
    at: Option<UtcNanos>,
}

struct State {
    by_writer: HashMap<u64, BoundWriter>,
    /// For a writer that no notice names, and for what a reader dropped.
    by_reader: BTreeMap<ReaderId, Binding>,
    orphans: Vec<Sample>,
    orphans_dropped: OrphansDropped,
    /// Of what something is parked for want of its type.
    parked: BTreeSet<ParkedKind>,
    batch_began: Option<UtcNanos>,
    spares: Vec<Batch>,
    snapshots: Snapshots,
    looked_at_drops: UtcNanos,
}

impl State {
    /// Writers some time after they went, and readers that no writer has any more.
    fn forget_the_gone(&mut self, now: UtcNanos) {
        let is_gone = |gone: UtcNanos| now.since(gone).abs() >= GONE_NS;
        self.by_writer
            .retain(|_, bound| !bound.gone.is_some_and(is_gone));
        if READERS_SPARE + 2 * self.by_writer.len() < self.by_reader.len() {
            let used: BTreeSet<ReaderId> =
                self.by_writer.values().map(|bound| bound.reader).collect();
            self.by_reader.retain(|reader, _| used.contains(reader));
        }
    }
}

/// The reader that was made for a writer is the one that its samples are taken from: others may get them too.
struct BoundWriter {
    reader: ReaderId,
    binding: Binding,
    /// Its last samples may still be in the ring.
    gone: Option<UtcNanos>,
}

/// What came before its binding and found [`ORPHANS_MAX`] others waiting.
#[derive(Debug, Default)]
struct OrphansDropped {
    by_reader: BTreeMap<ReaderId, Dropped>,
}

impl OrphansDropped {
    fn add(&mut self, sample: &Sample) {
        let (reader, at) = (sample.reader(), sample.received().realtime_ns);
        let dropped = self.by_reader.entry(reader).or_insert(Dropped {
            reader,
            count: 0,
            first_ns: at,
            last_ns: at,
        });
        dropped.count += 1;
        dropped.last_ns = dropped.last_ns.max(at);
    }

    fn take(&mut self) -> impl Iterator<Item = Dropped> {
        std::mem::take(&mut self.by_reader).into_values()
    }
}

impl Pipeline {
    /// Until a stop is asked for and the ring is empty.
    pub fn run(mut self) {
        let _running = self.stop.register("intake");
        let mut state = State {
            by_writer: HashMap::new(),
            by_reader: BTreeMap::new(),
            orphans: Vec::new(),
            orphans_dropped: OrphansDropped::default(),
            parked: self.find_parked(),
            batch_began: None,
            // One is inside the intake.
            spares: (1..BATCHES).map(|_| Batch::default()).collect(),
            snapshots: Snapshots::default(),
            looked_at_drops: utc_now(),
        };
        let mut samples = Vec::with_capacity(SAMPLES_AT_ONCE);
        loop {
            let stopping = self.stop.is_asked();
            self.take_notices(&mut state);
            let count = self
                .consumer
                .pop(&mut samples, SAMPLES_AT_ONCE, self.patience(&state));
            let now = utc_now();
            self.take_notices(&mut state);
            let waiting = std::mem::take(&mut state.orphans);
            for sample in waiting.into_iter().chain(samples.drain(..)) {
                self.take_sample(&mut state, sample, now);
            }
            if now.since(state.looked_at_drops).abs() >= LOOK_AT_DROPS_NS || stopping {
                state.looked_at_drops = now;
                state.forget_the_gone(now);
                let mut dropped = self.consumer.take_dropped();
                if stopping && count == 0 {
                    // Nobody will say any more what these are.
                    std::mem::take(&mut state.orphans)
                        .iter()
                        .for_each(|sample| state.orphans_dropped.add(sample));
                }
                dropped.extend(state.orphans_dropped.take());
                self.name_drops(&state, &dropped, now);
            }
            if stopping && count == 0 {
                break;
            }
            self.commit_if_due(&mut state, now);
            // What is still in the ring would pass for silence.
            if count < SAMPLES_AT_ONCE {
                self.look_at_publishers(&state, now);
            }
            self.observe(&state);
        }
        self.finish(&mut state);
    }

    /// How long the ring may let us sleep.
    fn patience(&self, state: &State) -> Duration {
        match state.batch_began {
            None => IDLE,
            Some(began) => {
                let waited = Duration::from_nanos(utc_now().since(began).max(0) as u64);
                self.policy
                    .within
                    .saturating_sub(waited)
                    .max(Duration::from_millis(1))
                    .min(IDLE)
            }
        }
    }

    fn take_notices(&mut self, state: &mut State) {
        while let Ok(notice) = self.bus.try_recv() {
            match notice {
                BusNotice::Bound {
                    writer,
                    reader,
                    binding,
                } => {
                    if let Some(plan) = &binding.plan
                        && matches!(plan.reading, Reading::Sal(_))
                    {
                        self.intake.lint.topic(&plan.topic, plan.kind);
                    }
                    state.by_reader.insert(reader, binding.clone());
                    let bound = BoundWriter {
                        reader,
                        binding,
                        gone: None,
                    };
                    state.by_writer.insert(writer, bound);
                }
                BusNotice::WriterGone { writer } => {
                    if let Some(bound) = state.by_writer.get_mut(&writer) {
                        bound.gone = Some(utc_now());
                    }
                }
                BusNotice::TypeKnown { dds_type, known } => {
                    self.read_parked(state, &dds_type, &known);
                }
            }
        }
    }

    fn take_sample(&mut self, state: &mut State, sample: Sample, now: UtcNanos) {
        if !sample.valid() {
            return;
        }
        let (writer, reader) = (sample.publication_handle(), sample.reader());
        let age = || now.since(UtcNanos(sample.received().realtime_ns)).abs();
        let binding = match state.by_writer.get(&writer) {
            Some(bound) if bound.reader == reader => Some(&bound.binding),
            Some(_) => return,
            // The notice is under way: it is sent right after the reader is made.
            None if age() < ORPHAN_NS => None,
            None => state.by_reader.get(&reader),
        };
        let Some(binding) = binding else {
            if state.orphans.len() < ORPHANS_MAX {
                state.orphans.push(sample);
            } else {
                state.orphans_dropped.add(&sample);
                let dropped = &self.meters.fills.orphans_dropped;
                dropped.fetch_add(1, Ordering::Relaxed);
            }
            return;
        };
        let binding = binding.clone();
        if !self.intake.batch().has_room() {
            self.commit(state);
        }
        if binding.plan.is_none() {
            state.parked.insert(ParkedKind {
                dds_type: Arc::clone(&binding.dds_type),
                dds_topic: Arc::clone(&binding.dds_topic),
                keeps_history: binding.keeps_history,
            });
        }
        self.give(&binding, &sample, now);
        if state.batch_began.is_none() && !self.intake.batch().is_empty() {
            state.batch_began = Some(now);
        }
    }

    fn give(&mut self, binding: &Binding, sample: &Sample, now: UtcNanos) {
        let received = Received {
            payload: sample.payload(),
            received: UtcNanos(sample.received().realtime_ns),
            source: sample.source_timestamp_ns().map(UtcNanos),
        };
        self.intake.sample(binding, received, now);
    }

    fn name_drops(&mut self, state: &State, dropped: &[Dropped], now: UtcNanos) {
        for drop in dropped {
            let binding = state.by_reader.get(&drop.reader);
            let topic = binding.map_or_else(String::new, |binding| match &binding.plan {
                Some(plan) => plan.topic.clone(),
                None => binding.dds_topic.to_string(),
            });
            let loss = Loss {
                topic,
                count: i64::try_from(drop.count).unwrap_or(i64::MAX),
                detail: "the queue between DDS and the buffer was full".into(),
                ..Loss::new(
                    LossReason::QueueFull,
                    UtcNanos(drop.first_ns),
                    UtcNanos(drop.last_ns).saturating_add(1),
                )
            };
            tracing::error!(
                topic = loss.topic,
                count = drop.count,
                "Samples dropped: the queue was full"
            );
            self.intake.name_loss(&loss, now);
        }
    }

    fn commit_if_due(&mut self, state: &mut State, now: UtcNanos) {
        if self.intake.batch().is_empty() {
            state.batch_began = None;
            return;
        }
        let began = *state.batch_began.get_or_insert(now);
        let waited = now.since(began);
        let due = self.policy.bytes <= self.intake.batch().datum_bytes()
            || waited < 0
            || self.policy.within.as_nanos() as i64 <= waited;
        if !due {
            return;
        }
        state.spares.extend(self.spare.try_iter());
        // Without a spare the store is busy: the batch grows, and one commit takes more.
        if !state.spares.is_empty() || !self.intake.batch().has_room() {
            self.commit(state);
        }
    }

    /// Hands over the batch; waits for a spare one where the store is behind.
    fn commit(&mut self, state: &mut State) {
        let switches = self.intake.judge_budgets(monotonic_now());
        if !switches.is_empty() {
            state.snapshots.at = None;
        }
        switches.iter().for_each(tell);
        self.add_snapshots(state);
        let spare = match state.spares.pop() {
            Some(spare) => spare,
            None => match self.spare.recv() {
                Ok(spare) => spare,
                Err(_ended) => return,
            },
        };
        let batch = self.intake.take_batch(spare);
        state.snapshots.bytes += batch.datum_bytes() as u64;
        state.batch_began = None;
        if self.requests.send(Request::Commit(batch)).is_err() {
            tracing::error!("The store's thread has ended");
        }
    }

    fn add_snapshots(&mut self, state: &mut State) {
        let now = utc_now();
        let due = state
            .snapshots
            .at
            .is_none_or(|at| now.since(at).abs() >= SNAPSHOT_NS)
            || state.snapshots.bytes >= SNAPSHOT_BYTES;
        if due {
            for lane in [LaneKind::Events, LaneKind::Telemetry] {
                self.intake
                    .snapshot(lane, PUBLISHERS_STATE, now.saturating_sub(SILENT_MAX_NS));
            }
            state.snapshots = Snapshots {
                bytes: 0,
                at: Some(now),
            };
        }
    }

    /// Commits what there is and waits until it is durable.
    fn settle(&mut self, state: &mut State) {
        if !self.intake.batch().is_empty() || !self.intake.batch().has_no_state() {
            self.commit(state);
        }
        while state.spares.len() < BATCHES - 1 {
            match self.spare.recv() {
                Ok(spare) => state.spares.push(spare),
                Err(_ended) => return,
            }
        }
    }

    fn look_at_publishers(&mut self, state: &State, now: UtcNanos) {
        let topics = OnceCell::new();
        let of_writers = || {
            let bound = state.by_writer.values();
            let here = bound.filter(|bound| bound.gone.is_none());
            let plans = here.filter_map(|bound| bound.binding.plan.as_ref());
            plans
                .map(|plan| plan.topic.as_str())
                .collect::<BTreeSet<_>>()
        };
        let is_written = |topic: &str| topics.get_or_init(of_writers).contains(topic);
        if let Some(changes) = self.intake.look_at_publishers(now, &is_written) {
            self.meters.publishers.observe(&self.intake.lint, &changes);
        }
    }

    fn observe(&self, state: &State) {
        let in_batch = self.intake.batch().records() as u64;
        let fills = &self.meters.fills;
        let fullest = self.intake.batch().fullest_bytes() as u64;
        fills.batch_bytes.store(fullest, Ordering::Relaxed);
        let orphans = state.orphans.len() as u64;
        fills.orphans.store(orphans, Ordering::Relaxed);
        self.meters
            .observe_intake(self.consumer.counters(), self.intake.counters(), in_batch);
        self.meters.floods.observe(self.intake.budgets());
    }

    /// The last commit, with a snapshot, so that the next start has nothing to read again.
    fn finish(&mut self, state: &mut State) {
        state.snapshots.at = None;
        self.add_snapshots(state);
        self.settle(state);
        self.observe(state);
        if self.requests.send(Request::Finish).is_err() {
            tracing::error!("The store's thread has ended");
        }
    }
}

fn tell(switch: &Switch) {
    let Switch {
        topic,
        kind,
        diverted,
        rate,
        budget,
    } = switch;
    match diverted {
        Some(shard) => {
            let lane = Lane {
                kind: *kind,
                shard: shard.number(),
            };
            tracing::error!(
                topic, %lane, bytes_per_second = rate, budget,
                "A topic is over its budget: it gets a lane of its own, which is shipped last and evicted first"
            );
        }
        None => tracing::warn!(
            topic,
            lane = kind.as_str(),
            bytes_per_second = rate,
            budget,
            "A topic is within its budget again, and back in its lane"
        ),
    }
}
