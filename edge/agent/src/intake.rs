//! From samples to the records of the next commit.
//!
//! In:  samples with their binding. Out: a [`Batch`] with one block's records for each lane, and what they declare.
//!
//! Pure: no clock, no DDS, no store. A sample is recorded, or parked, or recognised as a repetition, or its loss is named.

mod batch;
mod general;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use efd_edge_transcode::{LeapSeconds, Outcome, Plan, Stamps};
use efd_shared_model::committed::{COMMITTED_SCHEMA, COMMITTED_TOPIC};
use efd_shared_model::loss::{LOSS_SCHEMA, LOSS_TOPIC};
use efd_shared_model::reduced::{self, REDUCED_TOPIC};
use efd_shared_model::{
    BlockBuilder, Committed, EventTimeOrigin, Fingerprint, Lane, LaneKind, LeapTable, Loss,
    LossReason, RecordStamps, Schema, Shard, StreamDeclaration, StreamNumber, TaiNanos, TopicKind,
    UtcNanos, block::DATUM_BYTES_MAX, component_of,
};

use crate::binding::{Binding, PLANS_MAX, Reading, TopicPlan};
use crate::budget::{BudgetIndex, BudgetSettings, Budgets, Switch};
use crate::lint::{self, Lint, TopicNumber};
use crate::parked::{PARKED_SCHEMA, PARKED_TOPIC, Parked, ParkedReason};
use crate::publishers::{Gap, Observed, Publishers, TopicIndex, Verdict};

pub use batch::{Batch, LaneBatch};

/// One sample, still in the receiver's memory.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    pub payload: &'a [u8],
    pub received: UtcNanos,
    pub source: Option<UtcNanos>,
}

impl Received<'_> {
    /// As the time at which a publisher wrote it.
    fn is_plausible(&self, utc: UtcNanos) -> bool {
        EARLIEST <= utc && utc <= self.received.saturating_add(AHEAD_MAX_NS)
    }

    fn plausible_source(&self) -> Option<UtcNanos> {
        self.source.filter(|source| self.is_plausible(*source))
    }
}

/// Since this process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntakeCounters {
    pub recorded: u64,
    pub recorded_bytes: u64,
    /// Repetitions of history that was recorded before.
    pub duplicates: u64,
    pub undecodable: u64,
    /// Larger than [`SAMPLE_BYTES_MAX`].
    pub oversize: u64,
    /// Kept without a type.
    pub parked: u64,
    /// Stamps that were 0, NaN or a day ahead.
    pub implausible_stamps: u64,
    /// Texts taken as ISO-8859-1.
    pub latin1_texts: u64,
    /// Members that samples of other types than SAL's do not have, though they are not optional.
    pub defaulted_members: u64,
}

/// A record of SAL's can be twice as large as its sample, as floats become doubles; and it has to fit into a block.
pub const SAMPLE_BYTES_MAX: usize = DATUM_BYTES_MAX / 2;
/// A publisher's clock may be this far ahead of ours.
const AHEAD_MAX_NS: i64 = 86_400 * 1_000_000_000;
/// 2000-01-01: a stamp before it was never set.
const EARLIEST: UtcNanos = UtcNanos(946_684_800 * 1_000_000_000);

/// The project's own streams have the first numbers of every epoch, so that whoever commits can name a loss.
pub const LOSS_STREAM: StreamNumber = StreamNumber(1);
pub const PARKED_STREAM: StreamNumber = StreamNumber(2);
pub const REDUCED_STREAM: StreamNumber = StreamNumber(3);
pub const COMMITTED_STREAM: StreamNumber = StreamNumber(4);
const OWN_LAST: StreamNumber = COMMITTED_STREAM;

/// Declared with every epoch.
pub fn own_streams() -> [(StreamDeclaration, Schema); 4] {
    let own = |number, topic: &str, kind, schema: &str| {
        let schema = Schema::new(schema);
        let (dds_topic, dds_type) = (String::new(), String::new());
        let fingerprint = schema.fingerprint();
        (
            StreamDeclaration {
                number,
                topic: topic.to_owned(),
                dds_topic,
                dds_type,
                kind,
                schema: fingerprint,
            },
            schema,
        )
    };
    [
        own(LOSS_STREAM, LOSS_TOPIC, TopicKind::Loss, LOSS_SCHEMA),
        own(
            PARKED_STREAM,
            PARKED_TOPIC,
            TopicKind::Parked,
            PARKED_SCHEMA,
        ),
        own(
            REDUCED_STREAM,
            REDUCED_TOPIC,
            TopicKind::Reduced,
            &reduced::schema(),
        ),
        own(
            COMMITTED_STREAM,
            COMMITTED_TOPIC,
            TopicKind::Loss,
            COMMITTED_SCHEMA,
        ),
    ]
}

/// Streams of this epoch: numbers are given at the first record.
#[derive(Debug, Default)]
struct Streams {
    by_topic: HashMap<(String, TopicKind, Fingerprint), StreamNumber>,
    last: Option<StreamNumber>,
}

#[derive(Debug)]
pub struct Intake {
    leaps: LeapTable,
    leap_seconds: LeapSeconds,
    streams: Streams,
    /// What a plan's records are in this epoch, by the plan's address.
    bound: HashMap<usize, Bound>,
    /// By lane, so that a lane's snapshot stands in the same transaction as its data.
    publishers: BTreeMap<LaneKind, Publishers>,
    /// Into how many events and telemetry are split.
    shards: u16,
    budgets: Budgets,
    /// No lane of single topics is used: records must stand in the transaction that says where they were taken from.
    is_at_home: bool,
    batch: Batch,
    counters: IntakeCounters,
    pub(crate) lint: Lint,
    #[cfg(feature = "sabotage")]
    pub(crate) sabotage: Sabotage,
}

/// Promises to break on purpose, each once, in telemetry. Test builds only.
#[cfg(feature = "sabotage")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Sabotage {
    /// A sample disappears, and nothing is said.
    pub drop_one: bool,
    /// A record is altered before it gets its checksum.
    pub flip_bit: bool,
}

/// Records that are made before a promise is broken.
#[cfg(feature = "sabotage")]
const SABOTAGE_AFTER: u64 = 200;

/// An address stays taken: the plan lives beside its entry.
#[derive(Debug)]
struct Bound {
    _alive: Arc<TopicPlan>,
    place: Target,
}

/// Where the records of a plan go.
#[derive(Clone, Copy, Debug)]
struct Target {
    stream: StreamNumber,
    lane: Lane,
    topic: TopicIndex,
    linted: Option<TopicNumber>,
    budget: Option<BudgetIndex>,
}

impl Intake {
    /// `publishers`: as restored from the buffer.
    pub fn new(leaps: LeapTable, publishers: BTreeMap<LaneKind, Publishers>) -> Self {
        let steps: Vec<(f64, i32)> = leaps
            .steps_tai()
            .map(|(tai, offset)| (tai as f64, offset))
            .collect();
        let fallback = || LeapSeconds::new(&[(0.0, leaps.offset_at_tai(TaiNanos(0)))]);
        let leap_seconds = LeapSeconds::new(&steps).or_else(|_| fallback());
        // A table is never empty and ascends: both were checked when it was read.
        let leap_seconds = leap_seconds.unwrap_or_else(|_| unreachable!("one entry is a table"));
        Self {
            leaps,
            leap_seconds,
            streams: Streams::default(),
            bound: HashMap::new(),
            publishers,
            shards: 1,
            budgets: Budgets::new(BudgetSettings::none()),
            is_at_home: false,
            batch: Batch::default(),
            counters: IntakeCounters::default(),
            lint: Lint::new(lint::Limits::default()),
            #[cfg(feature = "sabotage")]
            sabotage: Sabotage::default(),
        }
    }

    /// `shards`: as [`Shard::all`] takes them.
    #[must_use]
    pub fn with_shards(mut self, shards: u16) -> Self {
        self.shards = shards;
        self
    }

    #[must_use]
    pub fn with_budgets(mut self, settings: BudgetSettings) -> Self {
        self.budgets = Budgets::new(settings);
        self
    }

    /// Whether records go to the lanes of their kinds whatever the budgets say.
    pub fn stay_at_home(&mut self, is_at_home: bool) {
        self.is_at_home = is_at_home;
    }

    /// Which topics change their lane between the batch as it is and the next one. A snapshot has to go with the batch: so a
    /// topic's records after the newest snapshot are in one lane. `now`: monotonic, ns.
    pub fn judge_budgets(&mut self, now: i64) -> Vec<Switch> {
        if self.is_at_home {
            return Vec::new();
        }
        self.budgets.judge(now)
    }

    pub fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    pub fn counters(&self) -> IntakeCounters {
        self.counters
    }

    /// Looks at what publishers did since the last time; as [`Lint::tick`].
    pub fn look_at_publishers(
        &mut self,
        now: UtcNanos,
        is_written: &dyn Fn(&str) -> bool,
    ) -> Option<Vec<lint::Change>> {
        let tai_minus_utc = self.leaps.offset_at_utc(now);
        self.lint.tick(now, tai_minus_utc, is_written)
    }

    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// What was collected since the last call; `spare` is filled next.
    pub fn take_batch(&mut self, spare: Batch) -> Batch {
        debug_assert!(spare.is_empty());
        std::mem::replace(&mut self.batch, spare)
    }

    /// A snapshot of what `lane`'s publishers have sent, for the commit that ends with the batch as it is.
    pub fn snapshot(&mut self, lane: LaneKind, key: &str, silent_before: UtcNanos) {
        if let Some(publishers) = self.publishers.get(&lane) {
            let snapshot = publishers.snapshot(silent_before);
            self.set_state(lane, key.to_owned(), snapshot);
        }
    }

    /// A value that becomes durable with the lane's records of this batch.
    pub fn set_state(&mut self, lane: LaneKind, key: String, value: Vec<u8>) {
        self.batch.lane(lane).states.insert(key, value);
    }

    /// `encoded`: now, not before the sample was received.
    pub fn sample(&mut self, binding: &Binding, sample: Received<'_>, encoded: UtcNanos) {
        if SAMPLE_BYTES_MAX < sample.payload.len() {
            return self.oversize(binding, sample);
        }
        let Some(plan) = &binding.plan else {
            self.counters.parked += 1;
            return self.park(binding, sample, ParkedReason::Untyped);
        };
        match &plan.reading {
            Reading::Sal(reading) => self.sal(binding, plan, reading, sample, encoded),
            Reading::General(reading) => self.general(binding, plan, reading, sample),
        }
    }

    fn sal(
        &mut self,
        binding: &Binding,
        plan: &Arc<TopicPlan>,
        reading: &Plan,
        sample: Received<'_>,
        encoded: UtcNanos,
    ) {
        let Target {
            stream,
            lane,
            topic,
            budget,
            linted,
        } = self.bound(plan);
        let stamps = Stamps {
            received_tai: self.leaps.to_tai(sample.received).as_seconds(),
            encoded_tai: self.leaps.to_tai(encoded).as_seconds(),
            leaps: &self.leap_seconds,
        };
        let builder = self.batch.builder(lane);
        let out = builder.datum(stream);
        let begin = out.len();
        let outcome = match reading.transcode(sample.payload, &stamps, out) {
            Ok(outcome) => outcome,
            Err(error) => {
                builder.abandon(stream);
                return self.undecodable(binding, plan, sample, &error);
            }
        };
        let bytes = out.len() - begin;
        #[cfg(feature = "sabotage")]
        if lane.kind == LaneKind::Telemetry
            && self.counters.recorded >= SABOTAGE_AFTER
            && std::mem::take(&mut self.sabotage.flip_bit)
            && let Some(last) = out.last_mut()
        {
            *last ^= 1;
        }
        let publishers = self.publishers.entry(lane.kind).or_default();
        let verdict = publishers.observe(Observed {
            topic,
            sal_index: outcome.sal_index,
            identity: &out[outcome.identity.clone()],
            origin: outcome.origin,
            sequence: outcome.seq_num,
            snd_stamp: outcome.snd_stamp,
            received: sample.received,
            keeps_history: binding.keeps_history,
        });
        if verdict == Verdict::Duplicate {
            builder.abandon(stream);
            self.counters.duplicates += 1;
            return;
        }
        if let Some(topic) = linted {
            let is_stamped = outcome.snd_stamp.is_finite() && outcome.snd_stamp != 0.0;
            // Late joiners get old samples: their stamps tell nothing of a clock.
            let is_live = !binding.keeps_history || binding.history_until <= sample.received;
            self.lint.observe(lint::Observed {
                topic,
                sal_index: outcome.sal_index,
                identity: &out[outcome.identity.clone()],
                origin: outcome.origin,
                sequence: outcome.seq_num,
                received: sample.received,
                lag: (is_stamped && is_live).then_some(stamps.received_tai - outcome.snd_stamp),
                bytes,
                floats: outcome.floats,
                not_finite: outcome.not_finite,
            });
        }
        let identity = match verdict {
            Verdict::AfterGap(_) => {
                String::from_utf8_lossy(&out[outcome.identity.clone()]).into_owned()
            }
            Verdict::New | Verdict::Duplicate => String::new(),
        };
        #[cfg(feature = "sabotage")]
        if lane.kind == LaneKind::Telemetry
            && self.counters.recorded >= SABOTAGE_AFTER
            && std::mem::take(&mut self.sabotage.drop_one)
        {
            return self.batch.builder(lane).abandon(stream);
        }
        let stamps = self.record_stamps(&outcome, sample);
        self.record(lane, stream, stamps, bytes, outcome.latin1_texts);
        self.charge(budget, bytes);
        if let Verdict::AfterGap(gap) = verdict {
            self.gap(plan, &outcome, identity, gap, sample.received);
        }
    }

    /// The datum that stands at the end of its stream becomes a record.
    fn record(
        &mut self,
        lane: Lane,
        stream: StreamNumber,
        stamps: RecordStamps,
        bytes: usize,
        latin1_texts: u32,
    ) {
        self.counters.recorded += 1;
        self.counters.recorded_bytes += bytes as u64;
        self.counters.latin1_texts += u64::from(latin1_texts);
        self.counters.implausible_stamps += u64::from(stamps.implausible);
        self.batch.builder(lane).finish(stream, stamps);
    }

    /// Kept raw, and named.
    fn undecodable(
        &mut self,
        binding: &Binding,
        plan: &TopicPlan,
        sample: Received<'_>,
        why: &dyn std::fmt::Display,
    ) {
        self.park(binding, sample, ParkedReason::Undecodable);
        self.counters.undecodable += 1;
        let topic = plan.topic.clone();
        self.lost(LossReason::Undecodable, topic, sample, why.to_string());
    }

    fn record_stamps(&self, outcome: &Outcome, sample: Received<'_>) -> RecordStamps {
        let sent = TaiNanos::from_seconds(outcome.snd_stamp)
            .map(|tai| self.leaps.to_utc(tai))
            .filter(|utc| sample.is_plausible(*utc));
        let (event_time, origin) = match (sent, sample.plausible_source()) {
            (Some(utc), _) => (utc, EventTimeOrigin::SndStamp),
            (None, Some(utc)) => (utc, EventTimeOrigin::Source),
            (None, None) => (sample.received, EventTimeOrigin::Reception),
        };
        RecordStamps {
            event_time,
            origin,
            implausible: sent.is_none(),
            latin1: outcome.latin1_texts > 0,
            instance: outcome.sal_index,
        }
    }

    /// Of a record that comes now; what waited for its type is of another time.
    fn charge(&mut self, budget: Option<BudgetIndex>, bytes: usize) {
        if let Some(budget) = budget.filter(|_| !self.is_at_home) {
            self.budgets.take(budget, bytes);
        }
    }

    /// The stream of a plan in this epoch, declared with the batch that first uses it, and the lane that its topic has now.
    fn bound(&mut self, plan: &Arc<TopicPlan>) -> Target {
        let address = Arc::as_ptr(plan).addr();
        let place = match self.bound.get(&address) {
            Some(bound) => bound.place,
            None => self.bind(plan, address),
        };
        let diverted = place
            .budget
            .filter(|_| !self.is_at_home)
            .and_then(|budget| self.budgets.diverted(budget));
        match diverted {
            None => place,
            Some(shard) => Target {
                lane: Lane {
                    shard: shard.number(),
                    ..place.lane
                },
                ..place
            },
        }
    }

    fn bind(&mut self, plan: &Arc<TopicPlan>, address: usize) -> Target {
        let kind = plan.lane();
        let lane = Lane {
            kind,
            shard: Shard::of(component_of(&plan.topic), self.shards).number(),
        };
        let stream = self.streams.number(plan, &mut self.batch);
        let publishers = self.publishers.entry(kind).or_default();
        let place = Target {
            stream,
            lane,
            topic: publishers.topic(&plan.topic),
            budget: self.budgets.topic(&plan.topic, kind),
            linted: self.lint.topic(&plan.topic, plan.kind),
        };
        if self.bound.len() >= PLANS_MAX {
            let is_used = |bound: &Bound| Arc::strong_count(&bound._alive) > 1;
            self.bound.retain(|_, bound| is_used(bound));
        }
        let _alive = Arc::clone(plan);
        self.bound.insert(address, Bound { _alive, place });
        place
    }

    /// Puts a loss into the next commit.
    pub fn name_loss(&mut self, loss: &Loss, now: UtcNanos) {
        record_loss(self.batch.builder(Lane::new(LaneKind::Losses)), loss, now);
        self.batch.losses.push((loss.reason, named_samples(loss)));
    }

    fn gap(
        &mut self,
        plan: &TopicPlan,
        outcome: &Outcome,
        identity: String,
        gap: Gap,
        received: UtcNanos,
    ) {
        let loss = Loss {
            topic: plan.topic.clone(),
            sal_index: outcome.sal_index.map_or(-1, i64::from),
            identity,
            origin: outcome.origin,
            first_seq: gap.first,
            last_seq: gap.last,
            count: gap.count,
            ..Loss::new(gap.reason, gap.since.unwrap_or(received), received)
        };
        self.name_loss(&loss, received);
    }

    /// Neither recorded nor parked: no block takes it.
    fn oversize(&mut self, binding: &Binding, sample: Received<'_>) {
        self.counters.oversize += 1;
        let (reason, topic) = match &binding.plan {
            Some(plan) => (LossReason::Undecodable, plan.topic.clone()),
            None => (LossReason::Untyped, binding.dds_topic.to_string()),
        };
        let found = sample.payload.len();
        let detail = format!("sample of {found} bytes, at most {SAMPLE_BYTES_MAX} are taken");
        self.lost(reason, topic, sample, detail);
    }

    fn lost(&mut self, reason: LossReason, topic: String, sample: Received<'_>, detail: String) {
        let loss = Loss {
            topic,
            count: 1,
            detail,
            ..Loss::new(reason, sample.received, sample.received.saturating_add(1))
        };
        self.name_loss(&loss, sample.received);
    }

    fn park(&mut self, binding: &Binding, sample: Received<'_>, reason: ParkedReason) {
        let builder = self.batch.builder(Lane::new(LaneKind::Parked));
        let parked = Parked {
            reason,
            dds_topic: &binding.dds_topic,
            dds_type: &binding.dds_type,
            received: sample.received,
            source: sample.source,
            keeps_history: binding.keeps_history,
            payload: sample.payload,
        };
        parked.encode(builder.datum(PARKED_STREAM));
        builder.finish(PARKED_STREAM, ours(sample.received));
    }
}

/// Stamps of a record of our own.
fn ours(now: UtcNanos) -> RecordStamps {
    RecordStamps {
        event_time: now,
        origin: EventTimeOrigin::Reception,
        implausible: false,
        latin1: false,
        instance: None,
    }
}

/// A loss whose count is not known counts as one.
pub fn named_samples(loss: &Loss) -> u64 {
    u64::try_from(loss.count).unwrap_or(1)
}

/// Adds a loss to a block of the lane `losses`.
pub fn record_loss(builder: &mut BlockBuilder, loss: &Loss, now: UtcNanos) {
    loss.encode(builder.datum(LOSS_STREAM));
    builder.finish(LOSS_STREAM, ours(now));
}

/// Adds a statement of what was committed to a block of the lane `losses`.
pub fn record_committed(builder: &mut BlockBuilder, committed: &Committed, now: UtcNanos) {
    committed.encode(builder.datum(COMMITTED_STREAM));
    builder.finish(COMMITTED_STREAM, ours(now));
}

impl Streams {
    fn number(&mut self, plan: &TopicPlan, batch: &mut Batch) -> StreamNumber {
        let schema = plan.schema.fingerprint();
        let key = (plan.topic.clone(), plan.kind, schema);
        if let Some(&number) = self.by_topic.get(&key) {
            return number;
        }
        let number = self.last.unwrap_or(OWN_LAST).next();
        self.last = Some(number);
        batch.streams.push(StreamDeclaration {
            number,
            topic: plan.topic.clone(),
            dds_topic: plan.dds_topic.clone(),
            dds_type: plan.dds_type.clone(),
            kind: plan.kind,
            schema,
        });
        batch.schemas.push(plan.schema.clone());
        self.by_topic.insert(key, number);
        number
    }
}
