//! What is on the bus and what the edge does with it: joins as the daemon does, listens for some seconds, and keeps nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use efd_edge_dds::{Consumer, Guid, ParticipantInfo, ReaderId, Sample, WriterInfo};
use efd_edge_transcode::LeapSeconds;
use efd_shared_daemon::clock::{monotonic_now, utc_now};
use efd_shared_model::UtcNanos;

use super::{Bus, Joined, Lack, POLL_ANSWERS};
use crate::binding::TopicPlan;

const SAMPLES_AT_ONCE: usize = 4096;
/// Samples of a writer that are read to see whether its type is what it sends.
const TRIED_MAX: u64 = 16;

/// Everything on the bus, ordered: participants by GUID, writers by topic.
#[derive(Debug)]
pub struct Survey {
    pub participants: Vec<ParticipantInfo>,
    pub writers: Vec<Surveyed>,
    pub listened: Duration,
}

/// A writer, and what comes of it.
#[derive(Debug)]
pub struct Surveyed {
    pub info: WriterInfo,
    pub state: State,
    pub heard: Heard,
}

/// What the daemon does with a writer's samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// None of its partitions is ours.
    NotOurs,
    /// It appeared just now.
    Pending,
    NoReader(String),
    /// It does not give us what we ask for: the policy, where the library says so.
    NotMatched(Option<&'static str>),
    /// Kept as they come until the type is known.
    Parked(Lack),
    /// Recorded under this name.
    Read(String),
    /// The writer does not send what its type says.
    Undecodable {
        topic: String,
        error: String,
    },
}

/// What came from a writer while we listened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// Written after we had joined.
    pub live: u64,
    pub live_bytes: u64,
    /// Written before.
    pub history: u64,
    /// Since the first reader was there for it.
    pub over: Duration,
}

impl Heard {
    /// Samples in a second.
    pub fn rate(&self) -> f64 {
        self.live as f64 / self.over.as_secs_f64().max(1e-3)
    }
}

#[derive(Debug, Default)]
struct Ear {
    heard: Heard,
    tried: u64,
    error: Option<String>,
}

impl Bus {
    /// Instead of [`run`](Self::run). `consumer`: of the ring that the bus was given.
    pub fn survey(mut self, mut consumer: Consumer, during: Duration) -> anyhow::Result<Survey> {
        self.look_at_idl(None);
        let mut joined = self.join()?;
        let leaps = LeapSeconds::new(&[(0.0, 37)])?;
        let (began, began_utc) = (monotonic_now(), utc_now());
        let until = began.saturating_add(i64::try_from(during.as_nanos()).unwrap_or(i64::MAX));
        let mut ears: BTreeMap<(u64, ReaderId), Ear> = BTreeMap::new();
        let mut since: BTreeMap<Guid, i64> = BTreeMap::new();
        let mut samples = Vec::with_capacity(SAMPLES_AT_ONCE);
        loop {
            let now = monotonic_now();
            if until <= now || self.stop.is_asked() {
                break;
            }
            for event in joined.discovery.poll(POLL_ANSWERS)? {
                self.apply(&mut joined, event);
            }
            self.take_answers(&mut joined, monotonic_now());
            for guid in joined.writers.keys() {
                since.entry(*guid).or_insert(now);
            }
            consumer.pop(&mut samples, SAMPLES_AT_ONCE, POLL_ANSWERS);
            let plans: BTreeMap<u64, &TopicPlan> = match samples.is_empty() {
                true => BTreeMap::new(),
                false => plans(&joined),
            };
            for sample in samples.drain(..).filter(Sample::valid) {
                let ear = ears
                    .entry((sample.publication_handle(), sample.reader()))
                    .or_default();
                let plan = plans.get(&sample.publication_handle());
                ear.take(&sample, plan.copied(), began_utc, &leaps);
            }
        }
        let now = monotonic_now();
        let writers = joined.discovery.writers().map(|info| {
            let reader = joined
                .writers
                .get(&info.guid)
                .and_then(|served| joined.readers.get(&served.key));
            let ear = reader.and_then(|reader| ears.remove(&(info.handle, reader.id())));
            let Ear {
                mut heard, error, ..
            } = ear.unwrap_or_default();
            let listened = since.get(&info.guid).map_or(0, |since| now - since);
            heard.over = Duration::from_nanos(listened.max(0) as u64);
            let state = if self.patterns.take_any(&info.partitions) {
                state(&joined, info, &heard, error)
            } else {
                State::NotOurs
            };
            let info = info.clone();
            Surveyed { info, state, heard }
        });
        let mut writers: Vec<Surveyed> = writers.collect();
        writers.sort_by(|a, b| {
            let by = |it: &Surveyed| (it.info.topic.clone(), it.info.guid);
            by(a).cmp(&by(b))
        });
        let participants = joined.discovery.participants().cloned().collect();
        joined.leave();
        Ok(Survey {
            participants,
            writers,
            listened: Duration::from_nanos((now - began).max(0) as u64),
        })
    }
}

fn plans(joined: &Joined) -> BTreeMap<u64, &TopicPlan> {
    let planned = joined.writers.values().filter_map(|writer| {
        let plan = writer.plan.as_deref().ok()?;
        Some((writer.info.handle, plan))
    });
    planned.collect()
}

fn state(joined: &Joined, info: &WriterInfo, heard: &Heard, error: Option<String>) -> State {
    if let Some(unread) = joined.unread.get(&info.guid) {
        return State::NoReader(unread.why.clone());
    }
    let Some(writer) = joined.writers.get(&info.guid) else {
        return State::Pending;
    };
    let status = joined
        .readers
        .get(&writer.key)
        .and_then(|reader| reader.status().ok());
    if let Some(status) = status
        && status.matched_writers == 0
        && heard.live + heard.history == 0
    {
        return State::NotMatched(status.incompatible.map(|it| it.policy));
    }
    match (&writer.plan, error) {
        (Err(lack), _) => State::Parked(lack.clone()),
        (Ok(plan), None) => State::Read(plan.topic.clone()),
        (Ok(plan), Some(error)) => State::Undecodable {
            topic: plan.topic.clone(),
            error,
        },
    }
}

impl Ear {
    fn take(
        &mut self,
        sample: &Sample,
        plan: Option<&TopicPlan>,
        began: UtcNanos,
        leaps: &LeapSeconds,
    ) {
        if sample.source_timestamp_ns().is_some_and(|at| at < began.0) {
            self.heard.history += 1;
        } else {
            self.heard.live += 1;
            self.heard.live_bytes += sample.payload().len() as u64;
        }
        if self.tried < TRIED_MAX
            && let Some(plan) = plan
        {
            self.tried += 1;
            if let Err(error) = plan.try_read(sample.payload(), leaps) {
                self.error.get_or_insert_with(|| error.to_string());
            }
        }
    }
}
