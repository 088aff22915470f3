//! What the daemon counts: one set of numbers for `/metrics`, `/status` and the log.

mod floods;
mod link;
mod publishers;
#[cfg(test)]
mod tests;
mod tiers;
mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use efd_edge_dds::RingCounters;
use efd_edge_ship::{Cause, Left, Observer};
use efd_shared_daemon::queues::Queues;
use efd_shared_daemon::rate::Rate;
use efd_shared_model::{ClockState, LaneKind, LossReason, RangeSet, SealedBlock, UtcNanos};
use efd_shared_store::Store;
use efd_shared_wire::edge::{Centre, EdgeCounters};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Value as Json, json};

pub use self::floods::FloodMeters;
use self::link::LinkMeters;
pub use self::publishers::PublisherMeters;
pub use self::tiers::TierMeters;
use self::watch::{WatchMeters, Watched};
use crate::intake::IntakeCounters;
use crate::ledger::LossesOfTheDay;
use crate::queues::Fills;

/// As `/status` names us.
pub const PROGRAM: &str = "efd-edge";

/// Gauges that follow another thread's counters.
type Count = Gauge<u64, AtomicU64>;

#[derive(Debug, Default)]
pub struct Meters {
    // On the bus.
    pub participants: Count,
    pub writers: Count,
    pub readers: Count,
    pub untyped_topics: Count,
    pub participant_restarts: Counter,
    pub samples_malformed: Count,
    pub samples_oversize: Count,
    pub disposals: Count,
    received: Count,
    received_bytes: Count,
    dropped_full: Count,
    waiting: Count,
    // Records.
    recorded: Count,
    recorded_bytes: Count,
    duplicates: Count,
    undecodable: Count,
    oversize: Count,
    parked: Count,
    implausible_stamps: Count,
    latin1_texts: Count,
    defaulted_members: Count,
    // The buffer.
    pub store_errors: Counter,
    pub segments_removed: Counter,
    loss_samples: Family<Reason, Counter>,
    reduced_windows: Counter,
    reduced_records: Counter,
    spans: Mutex<Spans>,
    blocks: Counter,
    block_bytes: Counter,
    commit_seconds: Gauge<f64, AtomicU64>,
    buffer_bytes: Count,
    segments: Count,
    // The link.
    link: LinkMeters,
    link_failures: Counter,
    blocks_unreadable: Counter,
    streaming: Gauge<i64, AtomicI64>,
    unacked_blocks: Count,
    blocks_live: Count,
    blocks_fill: Count,
    sent_bytes: Count,
    pub certificate_days: Gauge<i64, AtomicI64>,
    pub leap_table_days: Gauge<i64, AtomicI64>,
    /// Estimated once a second from the segments: exact where a segment is wholly acknowledged or not at all.
    unacked_records: Count,
    unacked_bytes: Count,
    /// When the oldest segment with something unacknowledged was begun, ns UTC; 0: none.
    unacked_since: AtomicI64,
    held_records: Count,
    pub tiers: TierMeters,
    pub publishers: PublisherMeters,
    pub queues: OnceLock<Queues>,
    pub fills: Fills,
    watch: WatchMeters,
    pub floods: FloodMeters,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// What is told over a time.
#[derive(Debug, Default)]
struct Spans {
    losses: LossesOfTheDay,
    commits: Rate,
    clock: ClockState,
    bytes_max: u64,
}

impl Meters {
    /// Of an edge that has these centres to choose from.
    pub fn new(centres: &[String]) -> Self {
        Self {
            link: LinkMeters::new(centres),
            ..Self::default()
        }
    }

    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("efd_edge");
        let mut gauge =
            |name: &str, help: &str, metric: &Count| registry.register(name, help, metric.clone());
        gauge(
            "dds_participants",
            "Participants seen on the bus",
            &self.participants,
        );
        gauge("dds_writers", "Writers in our partitions", &self.writers);
        gauge("dds_readers", "Readers of ours", &self.readers);
        gauge(
            "dds_untyped_topics",
            "Topics whose type no IDL file has",
            &self.untyped_topics,
        );
        gauge("samples_received", "Samples taken from DDS", &self.received);
        gauge(
            "samples_received_bytes",
            "Their payloads",
            &self.received_bytes,
        );
        gauge(
            "samples_dropped",
            "Samples not taken, as our queue was full; each is named as a loss",
            &self.dropped_full,
        );
        gauge(
            "samples_waiting",
            "Samples between DDS and the buffer",
            &self.waiting,
        );
        gauge("records", "Records made", &self.recorded);
        gauge(
            "records_bytes",
            "Avro bytes of records made",
            &self.recorded_bytes,
        );
        gauge(
            "samples_duplicate",
            "Repetitions of history, recorded before",
            &self.duplicates,
        );
        gauge(
            "samples_undecodable",
            "Samples that do not fit their type; kept, and named as a loss",
            &self.undecodable,
        );
        gauge(
            "samples_oversize",
            "Samples larger than a block takes; not kept, each is named as a loss",
            &self.oversize,
        );
        gauge(
            "dds_samples_malformed",
            "Samples shorter than an encapsulation header; not kept, the publisher's next number names them",
            &self.samples_malformed,
        );
        gauge(
            "dds_samples_oversize",
            "Samples larger than the whole queue; not kept, the publisher's next number names them",
            &self.samples_oversize,
        );
        gauge(
            "dds_disposals",
            "Instances that publishers disposed of or unregistered; nothing is recorded of it",
            &self.disposals,
        );
        gauge(
            "samples_parked",
            "Samples kept without a type",
            &self.parked,
        );
        gauge(
            "stamps_implausible",
            "Publishers' stamps that were 0, NaN or a day ahead",
            &self.implausible_stamps,
        );
        gauge(
            "texts_latin1",
            "Texts that were not UTF-8",
            &self.latin1_texts,
        );
        gauge(
            "members_defaulted",
            "Members that samples lack though their type has them, of types other than SAL's",
            &self.defaulted_members,
        );
        gauge(
            "buffer_bytes",
            "Bytes of the buffer's segments",
            &self.buffer_bytes,
        );
        gauge("buffer_segments", "Segments of the buffer", &self.segments);
        gauge(
            "blocks_unacknowledged",
            "Durable blocks that the centre does not have",
            &self.unacked_blocks,
        );
        gauge(
            "records_unacknowledged",
            "Records that the centre does not have; an estimate",
            &self.unacked_records,
        );
        gauge(
            "backlog_bytes",
            "Bytes of blocks that the centre does not have; an estimate",
            &self.unacked_bytes,
        );
        gauge("blocks_sent_live", "Blocks sent fresh", &self.blocks_live);
        gauge(
            "blocks_sent_fill",
            "Blocks sent as back-fill",
            &self.blocks_fill,
        );
        gauge("sent_bytes", "Bytes of blocks sent", &self.sent_bytes);
        let mut counter = |name: &str, help: &str, metric: &Counter| {
            registry.register(name, help, metric.clone())
        };
        counter(
            "dds_participant_restarts",
            "Times the participant was made anew after a pause",
            &self.participant_restarts,
        );
        counter(
            "store_errors",
            "Commits that failed and were tried again",
            &self.store_errors,
        );
        counter(
            "segments_removed",
            "Segments removed by retention",
            &self.segments_removed,
        );
        counter(
            "reduced_windows",
            "Windows of statistics that went to the centre in the place of evicted telemetry",
            &self.reduced_windows,
        );
        counter(
            "reduced_records",
            "Evicted records that they stand for",
            &self.reduced_records,
        );
        counter("blocks_committed", "Blocks made durable", &self.blocks);
        counter("blocks_committed_bytes", "Their bytes", &self.block_bytes);
        counter(
            "link_failures",
            "Connections that ended or were not made",
            &self.link_failures,
        );
        counter(
            "blocks_unreadable",
            "Blocks of the buffer that could not be read",
            &self.blocks_unreadable,
        );
        registry.register(
            "loss_samples",
            "Samples named as lost, by reason; a loss of unknown count as one",
            self.loss_samples.clone(),
        );
        for reason in LossReason::ALL {
            let reason = reason.as_str();
            self.loss_samples
                .get_or_create(&Reason { reason })
                .inc_by(0);
        }
        self.link.register(registry);
        self.floods.register(registry);
        self.tiers.register(registry);
        self.publishers.register(registry);
        self.watch.register(registry);
        self.queues.get_or_init(|| Queues::register(registry));
        registry.register(
            "commit_seconds",
            "Duration of the last commit",
            self.commit_seconds.clone(),
        );
        registry.register(
            "link_streaming",
            "1 while connected and welcome",
            self.streaming.clone(),
        );
        registry.register(
            "certificate_days",
            "Days until our certificate expires",
            self.certificate_days.clone(),
        );
        registry.register(
            "leap_seconds_days",
            "Days until the leap-second table expires",
            self.leap_table_days.clone(),
        );
    }

    pub fn observe_intake(&self, ring: RingCounters, intake: IntakeCounters, in_batch: u64) {
        self.received.set(ring.received);
        self.received_bytes.set(ring.received_bytes);
        self.dropped_full.set(ring.dropped_full);
        self.waiting.set(ring.held_samples as u64 + in_batch);
        self.recorded.set(intake.recorded);
        self.recorded_bytes.set(intake.recorded_bytes);
        self.duplicates.set(intake.duplicates);
        self.undecodable.set(intake.undecodable);
        self.oversize.set(intake.oversize);
        self.parked.set(intake.parked);
        self.implausible_stamps.set(intake.implausible_stamps);
        self.latin1_texts.set(intake.latin1_texts);
        self.defaulted_members.set(intake.defaulted_members);
    }

    pub fn observe_store(&self, store: &Store, destination: &str) {
        let (segments, acked) = (store.segments(), store.acked(destination));
        let (mut held, mut records, mut bytes) = (0, 0.0, 0.0);
        // Of each lane, in the first segment that has one.
        let mut oldest = BTreeMap::new();
        let mut parked = 0;
        for segment in &segments {
            let of_parked = segment.contents.lanes.iter();
            let of_parked = of_parked.filter(|(lane, _)| lane.lane.kind == LaneKind::Parked);
            parked += of_parked.map(|(_, lane)| lane.stored_bytes).sum::<u64>();
            for (lane, contents) in segment
                .contents
                .lanes
                .iter()
                .filter(|(lane, _)| lane.lane.kind.is_shipped())
            {
                held += contents.records;
                let has = acked.get(lane);
                let unacked: RangeSet = contents
                    .numbers
                    .iter()
                    .flat_map(|range| {
                        has.map_or_else(|| vec![range.clone()], |has| has.missing(range.clone()))
                    })
                    .collect();
                let missing = unacked.member_count();
                if let Some(first) = unacked.iter().next() {
                    let place = (&segment.key, *first.start());
                    oldest.entry(*lane).or_insert(place);
                    let part = missing as f64 / contents.blocks.max(1) as f64;
                    records += part * contents.records as f64;
                    bytes += part * contents.stored_bytes as f64;
                }
            }
        }
        self.segments.set(segments.len() as u64);
        self.buffer_bytes
            .set(segments.iter().map(|segment| segment.file_bytes).sum());
        self.fills.parked_bytes.store(parked, Ordering::Relaxed);
        self.held_records.set(held);
        self.unacked_records.set(records as u64);
        self.unacked_bytes.set(bytes as u64);
        let committed = oldest.iter().filter_map(|(lane, (key, number))| {
            let one = RangeSet::from_iter([*number..=*number]);
            // What cannot be looked up is told by other means.
            store.tally(key, lane, &one).ok()?.committed_first
        });
        let since = committed.min().unwrap_or(UtcNanos(0));
        self.unacked_since.store(since.0, Ordering::Relaxed);
    }

    pub fn committed(&self, blocks: &[SealedBlock], began: UtcNanos, ended: UtcNanos) {
        self.commit_seconds.set(ended.since(began) as f64 / 1e9);
        for block in blocks {
            self.blocks.inc();
            self.block_bytes.inc_by(block.bytes().len() as u64);
        }
    }

    /// Durable in the lane `losses`.
    pub fn losses_named(&self, losses: &[(LossReason, u64)], now: UtcNanos) {
        for &(reason, samples) in losses {
            let label = Reason {
                reason: reason.as_str(),
            };
            self.loss_samples.get_or_create(&label).inc_by(samples);
            self.spans().losses.add(reason, samples, now);
        }
    }

    pub fn observe_clock(&self, clock: ClockState, bytes_max: u64, now: UtcNanos) {
        let mut spans = self.spans();
        spans.commits.look(self.block_bytes.get(), now);
        (spans.clock, spans.bytes_max) = (clock, bytes_max);
        self.watch.observe(Watched {
            bytes_max,
            hours_left: self.hours_left(&spans),
            oldest_seconds: self.oldest_unacked_age_ns() as f64 / 1e9,
            clock,
        });
    }

    /// Without a link, at the rate of the last ten minutes.
    fn hours_left(&self, spans: &Spans) -> Option<f64> {
        let left = spans.bytes_max.saturating_sub(self.backlog_bytes());
        Self::rate(spans).map(|rate| left as f64 / rate / 3600.0)
    }

    /// Bytes a second of the last ten minutes.
    fn rate(spans: &Spans) -> Option<f64> {
        spans.commits.per_second().filter(|rate| *rate > 0.0)
    }

    fn spans(&self) -> std::sync::MutexGuard<'_, Spans> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of when the store was looked at last; 0 where the session has everything acknowledged since.
    fn oldest_unacked_age_ns(&self) -> u64 {
        match self.unacked_since.load(Ordering::Relaxed) {
            _ if self.unacked_blocks.get() == 0 => 0,
            0 => 0,
            since => efd_shared_daemon::clock::utc_now()
                .since(UtcNanos(since))
                .max(0) as u64,
        }
    }

    /// That the centre does not have.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        if self.unacked_blocks.get() == 0 {
            return 0;
        }
        self.unacked_bytes.get()
    }

    /// What was put in the place of a segment.
    pub fn reduced(&self, windows: u64, records: u64) {
        self.reduced_windows.inc_by(windows);
        self.reduced_records.inc_by(records);
    }

    /// The body of `/status`.
    pub fn status(&self) -> Json {
        let mut spans = self.spans();
        let losses = spans.losses.sum(efd_shared_daemon::clock::utc_now());
        let losses: serde_json::Map<_, _> = losses
            .iter()
            .map(|(reason, samples)| (reason.to_string(), (*samples).into()))
            .collect();
        let hours_left = self.hours_left(&spans);
        let clock = spans.clock;
        let (tiers, tier_work) = self.tiers.status();
        let (centre, centres) = self.link.status();
        json!({
            "bus": {
                "participants": self.participants.get(), "writers": self.writers.get(), "readers": self.readers.get(),
                "untyped_topics": self.untyped_topics.get(), "participant_restarts": self.participant_restarts.get(),
            },
            "samples": {
                "received": self.received.get(), "received_bytes": self.received_bytes.get(), "recorded": self.recorded.get(),
                "recorded_bytes": self.recorded_bytes.get(), "waiting": self.waiting.get(),
                "duplicates": self.duplicates.get(), "undecodable": self.undecodable.get(),
                "oversize": self.oversize.get() + self.samples_oversize.get(), "malformed": self.samples_malformed.get(),
                "parked": self.parked.get(),
                "dropped": self.dropped_full.get(), "implausible_stamps": self.implausible_stamps.get(),
            },
            "buffer": {
                "bytes": self.buffer_bytes.get(), "segments": self.segments.get(), "blocks_committed": self.blocks.get(),
                "unacknowledged_blocks": self.unacked_blocks.get(), "backlog_bytes": self.backlog_bytes(),
                "acknowledged_records": self.held_records.get() - self.unacked_records.get().min(self.held_records.get()), "store_errors": self.store_errors.get(),
                "blocks_unreadable": self.blocks_unreadable.get(),
                "commit_seconds": self.commit_seconds.get(), "bytes_max": spans.bytes_max,
                "hours_left": hours_left,
                // At the rate of the last ten minutes, of all that is kept.
                "days_that_fit": Self::rate(&spans).map(|rate| spans.bytes_max as f64 / rate / 86_400.0),
            },
            "tiers": tiers, "tier_work": tier_work,
            "publishers": self.publishers.status(),
            "queues": self.queues.get().map(Queues::status),
            "floods": self.floods.status(),
            "losses_of_last_day": losses,
            "reduced": { "windows": self.reduced_windows.get(), "records": self.reduced_records.get() },
            "clock": {
                "source": format!("{:?}", clock.source), "tai_minus_utc": clock.tai_offset,
                "tai_from": format!("{:?}", clock.tai_origin), "error_seconds": clock.error.map(|ns| ns as f64 / 1e9),
            },
            "link": {
                "state": if self.streaming.get() == 1 { "streaming" } else { "offline" },
                "centre": centre, "centres": centres, "failures": self.link_failures.get(), "blocks_live": self.blocks_live.get(),
                "blocks_fill": self.blocks_fill.get(), "sent_bytes": self.sent_bytes.get(),
                "oldest_unacknowledged_seconds": self.oldest_unacked_age_ns() as f64 / 1e9,
                "live_within": self.link.live_within(),
            },
            "certificate": { "days_left": self.certificate_days.get() },
            "leap_seconds": { "days_left": self.leap_table_days.get() },
            "program": PROGRAM, "version": env!("CARGO_PKG_VERSION"),
        })
    }
}

impl Observer for Meters {
    fn session(&self, streaming: bool, counters: EdgeCounters, unacked_blocks: u64) {
        self.streaming.set(streaming.into());
        self.unacked_blocks.set(unacked_blocks);
        self.blocks_live.set(counters.blocks_live);
        self.blocks_fill.set(counters.blocks_fill);
        self.sent_bytes.set(counters.block_bytes);
        self.link.delays(counters.live_delays);
    }

    fn backlog(&self) -> (Duration, u64) {
        let age = Duration::from_nanos(self.oldest_unacked_age_ns());
        (age, self.backlog_bytes())
    }

    fn connecting(&self, centre: Centre) {
        self.link.connecting(centre);
    }

    fn connected(&self, centre: Centre, address: SocketAddr) {
        self.link.connected(centre, address);
    }

    fn left(&self, centre: Centre, why: Left<'_>) {
        if why.cause() != Cause::Stopped {
            self.link_failures.inc();
        }
        self.link.left(centre, why);
    }

    fn block_unreadable(&self) {
        self.blocks_unreadable.inc();
    }
}
