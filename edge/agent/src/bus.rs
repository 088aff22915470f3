//! The thread that joins the bus: finds writers, gives each topic a reader and each writer a binding, watches IDL folders,
//! and makes everything anew after a pause of our own.

mod announced;
mod readers;
mod survey;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use efd_edge_dds::{
    Discovery, DiscoveryEvent, DomainConfig, Guid, Participant, PauseWatch, Reader, ReaderId, Ring,
    RingWaker, WriterInfo,
};
use efd_shared_daemon::clock::monotonic_now;
use efd_shared_daemon::http::Readiness;
use efd_shared_daemon::shutdown::Stop;
use efd_shared_types::general::without_ros;

use crate::binding::{Binding, KnownType, Reading, TopicPlan};
use crate::idl::IdlFolders;
use crate::meters::Meters;
use crate::partitions::Patterns;

use announced::{Answer, Asker};
use readers::{ReaderKey, binding, reader_spec};
use types::{Asked, Types, is_among};

pub use survey::{Heard, State, Survey, Surveyed};
pub use types::Lack;

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
        dds_type: String,
        known: KnownType,
    },
}

#[derive(Debug)]
struct ServedWriter {
    info: WriterInfo,
    key: ReaderKey,
    asked: Asked,
    plan: Result<Arc<TopicPlan>, Lack>,
}

#[derive(Debug)]
struct Unread {
    info: WriterInfo,
    asked: Asked,
    why: String,
}

/// A writer whose type is being asked for.
#[derive(Debug)]
struct AwaitedWriter {
    info: WriterInfo,
    /// Monotonic, ns: then it is served without it.
    until: i64,
}

#[derive(Debug)]
pub struct Bus {
    pub config: DomainConfig,
    pub patterns: Patterns,
    pub partitions: Vec<String>,
    types: Types,
    pub ring: Ring,
    pub waker: RingWaker,
    pub notices: SyncSender<BusNotice>,
    pub meters: Arc<Meters>,
    pub readiness: Readiness,
    pub stop: Stop,
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
    awaited: BTreeMap<Guid, AwaitedWriter>,
    /// Writers for which no reader could be made.
    unread: BTreeMap<Guid, Unread>,
    asker: Asker,
    participants: BTreeSet<Guid>,
    discovery: Discovery,
    participant: Participant,
}

impl Joined {
    fn leave(self) {
        let Self {
            readers,
            participant,
            discovery,
            ..
        } = self;
        drop(readers);
        drop(discovery);
        if let Err(error) = participant.close(CLOSE_WITHIN) {
            tracing::warn!(%error, "Leaving the bus takes long");
        }
    }
}

const POLL: Duration = Duration::from_millis(100);
/// While types are asked for.
const POLL_ANSWERS: Duration = Duration::from_millis(2);
/// A volatile writer's samples before this has a reader are not ours: it may not take long.
const TYPE_WITHIN_NS: i64 = 300_000_000;
/// Where no IDL file has the type: two writers may mean different ones by the same name, and what is kept raw does not say
/// whose it is.
const ONLY_TYPE_WITHIN_NS: i64 = 1_000_000_000;
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
            types: Types::new(idl),
            ring,
            waker,
            notices,
            meters,
            readiness,
            stop,
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
        let asker = Asker::start(participant.type_lookup()?)?;
        let (readers, writers, participants) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        tracing::info!(
            domain = self.config.domain_id, interface = self.config.interface.as_deref().unwrap_or("any"),
            partitions = ?self.partitions, "Joined the DDS bus"
        );
        Ok(Joined {
            readers,
            writers,
            awaited: BTreeMap::new(),
            unread: BTreeMap::new(),
            asker,
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
            let patience = match joined.awaited.is_empty() {
                true => POLL,
                false => POLL_ANSWERS,
            };
            match joined.discovery.poll(patience) {
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
            self.take_answers(&mut joined, now);
            if now - looked >= LOOK_AT_IDL_NS {
                looked = now;
                self.look_at_idl(Some(&mut joined));
                self.serve_again(&mut joined);
                self.observe(&joined, now);
            }
        }
        for writer in joined.writers.values() {
            let writer = writer.info.handle;
            self.tell(BusNotice::WriterGone { writer });
        }
        let readers = joined.readers.values();
        self.refused_before = readers.fold(self.refused_before, Refused::add);
        joined.leave();
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
                let (guid, handle) = (info.guid, info.handle);
                if !self.patterns.take_any(&info.partitions) {
                    return self.writer_gone(joined, guid, handle);
                }
                if let Some(served) = joined.writers.get(&guid) {
                    let (asked, key) = (served.asked.clone(), served.key.renewed(&info));
                    return self.serve(joined, *info, asked, Some(key));
                }
                if !info.has_type_info {
                    return self.serve(joined, *info, Asked::Nothing, None);
                }
                joined.asker.ask(guid, handle);
                let within = match self.types.known(&info, &Asked::NoAnswerYet) {
                    Some(_) => TYPE_WITHIN_NS,
                    None => ONLY_TYPE_WITHIN_NS,
                };
                let until = monotonic_now() + within;
                let info = *info;
                joined.awaited.insert(guid, AwaitedWriter { info, until });
            }
            DiscoveryEvent::WriterGone { guid, handle } => {
                self.writer_gone(joined, guid, handle);
            }
        }
    }

    /// Or not ours any more.
    fn writer_gone(&mut self, joined: &mut Joined, guid: Guid, handle: u64) {
        joined.awaited.remove(&guid);
        joined.unread.remove(&guid);
        if let Some(gone) = joined.writers.remove(&guid) {
            self.tell(BusNotice::WriterGone { writer: handle });
            self.release(joined, &gone.key);
        }
    }

    /// Ends the reader that no writer needs.
    fn release(&mut self, joined: &mut Joined, key: &ReaderKey) {
        let is_needed = joined.writers.values().any(|writer| writer.key == *key);
        if !is_needed && let Some(reader) = joined.readers.remove(key) {
            self.refused_before = self.refused_before.add(&reader);
        }
    }

    /// Serves writers whose types are known now, and those that have waited long enough.
    fn take_answers(&mut self, joined: &mut Joined, now: i64) {
        let answers: Vec<Answer> = joined.asker.answers().collect();
        for Answer { guid, announced } in answers {
            let topic = joined
                .awaited
                .get(&guid)
                .map(|awaited| &awaited.info)
                .or_else(|| joined.writers.get(&guid).map(|served| &served.info))
                .map(|info| info.topic.clone());
            let asked = match announced {
                Ok(announced) => Asked::Told(announced),
                Err(why) => {
                    tracing::warn!(why, topic, "The type that a writer announces is of no use");
                    Asked::Refused(why)
                }
            };
            if let Some(AwaitedWriter { info, .. }) = joined.awaited.remove(&guid) {
                self.serve(joined, info, asked, None);
            } else {
                self.answer_came(joined, guid, asked);
            }
        }
        let late: Vec<Guid> = joined
            .awaited
            .iter()
            .filter(|(_, awaited)| awaited.until <= now)
            .map(|(guid, _)| *guid)
            .collect();
        for guid in late {
            if let Some(AwaitedWriter { info, .. }) = joined.awaited.remove(&guid) {
                tracing::debug!(topic = info.topic, "A writer's type is late");
                self.serve(joined, info, Asked::NoAnswerYet, None);
            }
        }
    }

    /// Of a writer that is served already: its samples are read by it from here on, by the reader that it has.
    fn answer_came(&mut self, joined: &mut Joined, guid: Guid, asked: Asked) {
        let Some(writer) = joined.writers.get_mut(&guid) else {
            return;
        };
        writer.asked = asked.clone();
        writer.plan = self.types.plan(&writer.info, &asked);
        let bound = joined
            .readers
            .get(&writer.key)
            .map(|reader| BusNotice::Bound {
                writer: writer.info.handle,
                reader: reader.id(),
                binding: binding(&writer.info, writer.plan.as_ref().ok().cloned()),
            });
        let known = self.types.known(&writer.info, &asked);
        let is_read = writer.plan.is_ok();
        let type_name = writer.info.type_name.clone();
        bound.into_iter().for_each(|notice| self.tell(notice));
        let (true, Some(announced)) = (is_read, asked.announced()) else {
            return;
        };
        // What was parked says of no sample which writer it is from.
        let is_only = joined
            .writers
            .values()
            .filter(|writer| writer.info.type_name == type_name)
            .all(|writer| {
                let other = writer.asked.announced();
                other.is_some_and(|other| other.id == announced.id)
            });
        if let Some(known) = known.filter(|_| is_only) {
            self.tell(BusNotice::TypeKnown {
                dds_type: type_name,
                known,
            });
        }
    }

    /// `key`: of the reader that it has.
    fn serve(
        &mut self,
        joined: &mut Joined,
        info: WriterInfo,
        asked: Asked,
        key: Option<ReaderKey>,
    ) {
        let key = key.unwrap_or_else(|| ReaderKey::of(&info, &asked));
        let plan = self.types.plan(&info, &asked);
        if !joined.readers.contains_key(&key) {
            let spec = reader_spec(&info, &self.partitions, plan.as_ref().ok());
            match joined.participant.create_reader(&spec, &self.ring) {
                Ok(reader) => {
                    tracing::debug!(
                        topic = info.topic,
                        type_name = info.type_name,
                        typed = plan.is_ok(),
                        "Reader created"
                    );
                    joined.readers.insert(key.clone(), reader);
                }
                Err(error) => {
                    tracing::error!(%error, topic = info.topic, "No reader for a topic of the bus");
                    let why = error.to_string();
                    joined.unread.insert(info.guid, Unread { info, asked, why });
                    return;
                }
            }
        }
        joined.unread.remove(&info.guid);
        if let Some(reader) = joined.readers.get(&key) {
            self.tell(BusNotice::Bound {
                writer: info.handle,
                reader: reader.id(),
                binding: binding(&info, plan.as_ref().ok().cloned()),
            });
        }
        // A SAL type's name has its revision: what was parked under it can be no other.
        let is_sal = |plan: &Arc<TopicPlan>| matches!(plan.reading, Reading::Sal(_));
        if asked.announced().is_some()
            && plan.as_ref().is_ok_and(is_sal)
            && let Some(known) = self.types.known(&info, &asked)
        {
            let dds_type = info.type_name.clone();
            self.tell(BusNotice::TypeKnown { dds_type, known });
        }
        let served = ServedWriter {
            info,
            key,
            asked,
            plan,
        };
        let key = served.key.clone();
        let before = joined.writers.insert(served.info.guid, served);
        if let Some(before) = before.filter(|before| before.key != key) {
            self.release(joined, &before.key);
        }
    }

    /// What failed may go this time.
    fn serve_again(&mut self, joined: &mut Joined) {
        for Unread { info, asked, .. } in std::mem::take(&mut joined.unread).into_values() {
            self.serve(joined, info, asked, None);
        }
    }

    /// Types that came or changed are told to whoever waits for them. A type that went away keeps its plan: data flow on.
    fn look_at_idl(&mut self, joined: Option<&mut Joined>) {
        let touched = self.types.look_at_idl();
        if touched.is_empty() {
            return;
        }
        let mut told = BTreeSet::new();
        if let Some(Joined {
            writers, readers, ..
        }) = joined
        {
            for writer in writers.values_mut() {
                if !is_among(&touched, &writer.info.type_name) {
                    continue;
                }
                writer.plan = self.types.plan(&writer.info, &writer.asked);
                if let Some(reader) = readers.get(&writer.key) {
                    self.tell(BusNotice::Bound {
                        writer: writer.info.handle,
                        reader: reader.id(),
                        binding: binding(&writer.info, writer.plan.as_ref().ok().cloned()),
                    });
                }
                // Who says what the type is knows better than a file of the same name.
                if writer.asked.announced().is_some() {
                    let name = &writer.info.type_name;
                    told.insert(without_ros(name).unwrap_or_else(|| name.clone()));
                }
            }
        }
        for dds_type in touched {
            let Some(known) = self.types.registered(&dds_type) else {
                continue;
            };
            if known.is_sal() || !told.contains(&dds_type) {
                self.tell(BusNotice::TypeKnown { dds_type, known });
            }
        }
    }

    fn observe(&mut self, joined: &Joined, now: i64) {
        let untyped: BTreeSet<&str> = joined
            .writers
            .values()
            .filter(|writer| writer.plan.is_err())
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
                topics = untyped.len(), first = topic, folders = ?self.types.unreadable_folders(),
                "The type of some topics is not known; their samples are kept until it is"
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
