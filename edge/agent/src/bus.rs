//! The thread that joins the bus: finds writers, gives each topic a reader and each writer a binding, watches IDL folders,
//! and makes everything anew after a pause of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use efd_edge_dds::{
    Discovery, DiscoveryEvent, DomainConfig, Durability, Guid, KeyOf, Keying, Ownership,
    Participant, PauseWatch, PayloadKind, Reader, ReaderId, ReaderSpec, Reliability, Ring,
    RingWaker, WriterInfo,
};
use efd_shared_daemon::clock::monotonic_now;
use efd_shared_daemon::http::Readiness;
use efd_shared_daemon::shutdown::Stop;

use crate::binding::{Binding, TopicPlan};
use crate::idl::IdlFolders;
use crate::meters::Meters;
use crate::partitions::Patterns;

/// What the intake must know, in order.
#[derive(Debug)]
pub enum BusNotice {
    /// Samples of this writer, as this reader takes them, are read so. A later notice for the same pair replaces it.
    Bound {
        writer: u64,
        reader: ReaderId,
        binding: Binding,
    },
    WriterGone {
        writer: u64,
    },
    /// What was parked for want of this type can be read.
    TypeKnown {
        plan: Arc<TopicPlan>,
    },
}

/// One reader serves all writers of a topic that offer the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ReaderKey {
    topic: String,
    type_name: String,
    keyed: bool,
    reliable: bool,
    keeps_history: bool,
    exclusive: bool,
}

#[derive(Debug)]
struct ServedWriter {
    info: WriterInfo,
    key: ReaderKey,
}

#[derive(Debug)]
pub struct Bus {
    pub config: DomainConfig,
    pub patterns: Patterns,
    pub partitions: Vec<String>,
    pub idl: IdlFolders,
    pub ring: Ring,
    pub waker: RingWaker,
    pub notices: SyncSender<BusNotice>,
    pub meters: Arc<Meters>,
    pub readiness: Readiness,
    pub stop: Stop,
    plans: BTreeMap<String, Arc<TopicPlan>>,
    /// Of readers that are gone.
    refused_before: Refused,
    silent_since: i64,
}

/// What readers do not put into the ring.
#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    malformed: u64,
    oversize: u64,
    disposals: u64,
}

impl Refused {
    fn add(mut self, reader: &Reader) -> Self {
        let counters = reader.counters();
        self.malformed += counters.malformed;
        self.oversize += counters.oversize;
        self.disposals += counters.invalid;
        self
    }
}

/// Everything that ends with a participant. Fields drop in order: readers before what they belong to.
struct Joined {
    readers: BTreeMap<ReaderKey, Reader>,
    writers: BTreeMap<Guid, ServedWriter>,
    participants: BTreeSet<Guid>,
    discovery: Discovery,
    participant: Participant,
}

const POLL: Duration = Duration::from_millis(100);
const LOOK_AT_IDL_NS: i64 = 1_000_000_000;
const SILENCE_NS: i64 = 30_000_000_000;
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
const REJOIN_AFTER: Duration = Duration::from_secs(1);

/// Name of the part in `/readyz`.
pub const BUS: &str = "bus";

impl Bus {
    #[expect(
        clippy::too_many_arguments,
        reason = "the wiring of one thread, called once"
    )]
    pub fn new(
        config: DomainConfig,
        partitions: Vec<String>,
        idl: IdlFolders,
        ring: Ring,
        waker: RingWaker,
        notices: SyncSender<BusNotice>,
        meters: Arc<Meters>,
        readiness: Readiness,
        stop: Stop,
    ) -> Self {
        let patterns = Patterns::new(&partitions);
        Self {
            config,
            patterns,
            partitions,
            idl,
            ring,
            waker,
            notices,
            meters,
            readiness,
            stop,
            plans: BTreeMap::new(),
            refused_before: Refused::default(),
            silent_since: monotonic_now(),
        }
    }

    pub fn run(mut self) {
        let _running = self.stop.register("bus");
        let pause = PauseWatch::start(self.config.lease, self.config.realtime_priority);
        let pause = pause
            .inspect_err(|error| tracing::error!(%error, "No watch over our own pauses"))
            .ok();
        self.look_at_idl(None);
        while !self.stop.is_asked() {
            match self.join() {
                Ok(joined) => {
                    self.readiness.ready(BUS);
                    self.stay(joined, pause.as_ref());
                }
                Err(error) => {
                    self.readiness.waits(BUS, error.to_string());
                    tracing::error!(%error, retry_in = ?REJOIN_AFTER, "Cannot join the DDS bus");
                    self.stop.wait_timeout(REJOIN_AFTER);
                }
            }
        }
    }

    fn join(&self) -> anyhow::Result<Joined> {
        let participant = Participant::open(&self.config)?;
        let discovery = participant.discovery()?;
        let (readers, writers, participants) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        tracing::info!(
            domain = self.config.domain_id, interface = self.config.interface.as_deref().unwrap_or("any"),
            partitions = ?self.partitions, "Joined the DDS bus"
        );
        Ok(Joined {
            readers,
            writers,
            participants,
            discovery,
            participant,
        })
    }

    /// Until a stop is asked for, or we stood still for so long that writers have dropped us.
    fn stay(&mut self, mut joined: Joined, pause: Option<&PauseWatch>) {
        let mut looked = monotonic_now();
        while !self.stop.is_asked() {
            if let Some(pause) = pause.and_then(PauseWatch::take) {
                self.meters.participant_restarts.inc();
                tracing::warn!(length = ?pause.length, "This process stood still: joining the bus anew, as writers may have dropped us");
                break;
            }
            match joined.discovery.poll(POLL) {
                Ok(events) => {
                    for event in events {
                        self.apply(&mut joined, event);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "Discovery failed: joining the bus anew");
                    break;
                }
            }
            let now = monotonic_now();
            if now - looked >= LOOK_AT_IDL_NS {
                looked = now;
                self.look_at_idl(Some(&joined));
                self.observe(&joined, now);
            }
        }
        let Joined {
            readers,
            participant,
            discovery,
            ..
        } = joined;
        self.refused_before = readers.values().fold(self.refused_before, Refused::add);
        drop(readers);
        drop(discovery);
        if let Err(error) = participant.close(CLOSE_WITHIN) {
            tracing::warn!(%error, "Leaving the bus takes long");
        }
    }

    fn apply(&mut self, joined: &mut Joined, event: DiscoveryEvent) {
        match event {
            DiscoveryEvent::ParticipantAppeared(info) => {
                joined.participants.insert(info.guid);
            }
            DiscoveryEvent::ParticipantGone(guid) => {
                joined.participants.remove(&guid);
            }
            DiscoveryEvent::WriterAppeared(info) => {
                if self.patterns.take_any(&info.partitions) {
                    self.serve(joined, *info);
                }
            }
            DiscoveryEvent::WriterGone { guid, handle } => {
                let Some(gone) = joined.writers.remove(&guid) else {
                    return;
                };
                self.tell(BusNotice::WriterGone { writer: handle });
                let is_needed = joined.writers.values().any(|writer| writer.key == gone.key);
                if !is_needed && let Some(reader) = joined.readers.remove(&gone.key) {
                    self.refused_before = self.refused_before.add(&reader);
                }
            }
        }
    }

    fn serve(&mut self, joined: &mut Joined, info: WriterInfo) {
        let key = ReaderKey {
            topic: info.topic.clone(),
            type_name: info.type_name.clone(),
            keyed: info.keyed,
            reliable: matches!(info.reliability, Reliability::Reliable { .. }),
            keeps_history: info.durability >= Durability::TransientLocal,
            exclusive: info.ownership == Ownership::Exclusive,
        };
        let plan = self.plan(&info.type_name);
        if !joined.readers.contains_key(&key) {
            match joined
                .participant
                .create_reader(&self.reader_spec(&info, &key, plan.as_ref()), &self.ring)
            {
                Ok(reader) => {
                    tracing::debug!(
                        topic = info.topic,
                        type_name = info.type_name,
                        typed = plan.is_some(),
                        "Reader created"
                    );
                    joined.readers.insert(key.clone(), reader);
                }
                Err(error) => {
                    tracing::error!(%error, topic = info.topic, "No reader for a topic of the bus");
                    return;
                }
            }
        }
        if let Some(reader) = joined.readers.get(&key) {
            self.tell(BusNotice::Bound {
                writer: info.handle,
                reader: reader.id(),
                binding: binding(&info, plan),
            });
        }
        joined.writers.insert(info.guid, ServedWriter { info, key });
    }

    fn reader_spec(
        &self,
        info: &WriterInfo,
        key: &ReaderKey,
        plan: Option<&Arc<TopicPlan>>,
    ) -> ReaderSpec {
        let keying = match (key.keyed, plan) {
            (false, _) => Keying::Keyless,
            (true, None) => Keying::Keyed(None),
            (true, Some(plan)) => Keying::Keyed(Some(key_of(Arc::clone(plan)))),
        };
        ReaderSpec {
            topic: info.topic.clone(),
            type_name: info.type_name.clone(),
            keying,
            partitions: self.partitions.clone(),
            reliability: info.reliability,
            durability: info.durability.min(Durability::TransientLocal),
            ownership: info.ownership,
            invalid: Default::default(),
        }
    }

    fn plan(&mut self, type_name: &str) -> Option<Arc<TopicPlan>> {
        if let Some(plan) = self.plans.get(type_name) {
            return Some(Arc::clone(plan));
        }
        let plan = Arc::new(TopicPlan::of(self.idl.registry().get(type_name)?)?);
        self.plans.insert(type_name.to_owned(), Arc::clone(&plan));
        Some(plan)
    }

    /// Types that came or changed are told to whoever waits for them. A type that went away keeps its plan: data flow on.
    fn look_at_idl(&mut self, joined: Option<&Joined>) {
        let changes = self.idl.look();
        let touched: BTreeSet<String> = changes
            .iter()
            .flat_map(|change| change.added.iter().chain(&change.changed))
            .map(|name| name.as_str().to_owned())
            .collect();
        if !touched.is_empty() {
            tracing::info!(types = touched.len(), "IDL types came or changed");
        }
        for name in touched {
            self.plans.remove(&name);
            let Some(plan) = self.plan(&name) else {
                continue;
            };
            for writer in joined.iter().flat_map(|joined| joined.writers.values()) {
                if writer.info.type_name != name {
                    continue;
                }
                let reader = joined.and_then(|joined| joined.readers.get(&writer.key));
                if let Some(reader) = reader {
                    let binding = binding(&writer.info, Some(Arc::clone(&plan)));
                    self.tell(BusNotice::Bound {
                        writer: writer.info.handle,
                        reader: reader.id(),
                        binding,
                    });
                }
            }
            self.tell(BusNotice::TypeKnown { plan });
        }
    }

    fn observe(&mut self, joined: &Joined, now: i64) {
        let untyped: BTreeSet<&str> = joined
            .writers
            .values()
            .filter(|writer| !self.plans.contains_key(&writer.info.type_name))
            .map(|writer| writer.info.topic.as_str())
            .collect();
        self.meters
            .participants
            .set(joined.participants.len() as u64);
        self.meters.writers.set(joined.writers.len() as u64);
        self.meters.readers.set(joined.readers.len() as u64);
        self.meters.untyped_topics.set(untyped.len() as u64);
        let refused = joined
            .readers
            .values()
            .fold(self.refused_before, Refused::add);
        self.meters.samples_malformed.set(refused.malformed);
        self.meters.samples_oversize.set(refused.oversize);
        self.meters.disposals.set(refused.disposals);
        if let Some(topic) = untyped.first() {
            tracing::warn!(
                topics = untyped.len(), first = topic, folders = ?self.idl.unreadable().keys(),
                "No IDL file has the type of some topics; their samples are kept until one has"
            );
        }
        if !joined.writers.is_empty() {
            self.silent_since = now;
        } else if now - self.silent_since >= SILENCE_NS {
            self.silent_since = now;
            tracing::warn!(
                domain = self.config.domain_id, interface = self.config.interface.as_deref().unwrap_or("any"),
                participants = joined.participants.len(), partitions = ?self.partitions, multicast = ?self.config.multicast,
                "The bus is silent: no writer in our partitions"
            );
        }
    }

    fn tell(&self, notice: BusNotice) {
        if self.notices.send(notice).is_err() {
            tracing::debug!("The intake has ended");
        }
        self.waker.wake();
    }
}

fn binding(info: &WriterInfo, plan: Option<Arc<TopicPlan>>) -> Binding {
    Binding {
        dds_topic: info.topic.as_str().into(),
        dds_type: info.type_name.as_str().into(),
        keeps_history: info.durability >= Durability::TransientLocal,
        plan,
    }
}

/// Runs on the receive threads: no lock, no wait.
fn key_of(plan: Arc<TopicPlan>) -> KeyOf {
    Arc::new(move |payload, key| {
        use efd_edge_transcode::KeyOf as Holds;
        let holds = match key.payload_kind() {
            PayloadKind::Sample => Holds::Sample,
            PayloadKind::KeyOnly => Holds::Key,
        };
        let mut bytes = Vec::with_capacity(16);
        let found = plan.plan.key_bytes(payload, holds, &mut bytes).is_ok();
        if found {
            key.push(&bytes);
        }
        found
    })
}
