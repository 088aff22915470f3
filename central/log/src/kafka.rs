//! The log on a Kafka cluster: several centres append to it side by side, and every consumer follows it from anywhere.
//!
//! Each partition is a topic of one Kafka partition, `efd.log.<site>.<shard>.<class>`: a place is an offset, retention
//! and access rights are by site, and no count of partitions can be changed under us. What is not blocks stands in
//! `efd.meta`, see [`meta`]. Only in this folder does the log name librdkafka.

mod follow;
mod lease;
mod meta;
mod produce;
mod readers;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use efd_central_kafka::{Connection, Quiet, reason};
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{
    BlockId, EdgeId, EpochDeclaration, EpochId, RangeSet, RecordId, Schema, SealedBlock,
    StreamDeclaration, StreamNumber, UtcNanos,
};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::{
    BlockLog, Endangered, Entry, Generation, Health, Keep, LogError, Lost, Partition, Passed,
    Place, Reached, Reading, Retained, Stream, lock, signal::Signal,
};

use follow::Meta;
use meta::Record;
use produce::{Appender, Outgoing};
use readers::{Damaged, Found, Read, Readers, bounds};
use topics::Topics;

pub use lease::{Lease, Seat, SeatNumber};
pub use topics::{Seats, TopicSettings};

/// Our topics have one partition each.
const PARTITION: i32 = 0;
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How the cluster is reached, and how the log's topics are made.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    pub connection: Connection,
    pub topics: TopicSettings,
    /// This process among those that append. Two of the same name cost an edge that changes between them some blocks
    /// that it sends twice.
    pub centre: String,
    /// Ages are counted by it.
    pub clock: fn() -> UtcNanos,
}

fn common_config(options: &KafkaOptions) -> ClientConfig {
    let id = format!("efd-central-{}", options.centre);
    let mut common = options.connection.config(&id);
    common.set("reconnect.backoff.max.ms", "1000");
    common
}

/// Of a consumer in `group`, which must be named though most never join it: places are kept elsewhere.
fn consumer_config(common: &ClientConfig, group: &str) -> ClientConfig {
    let mut config = common.clone();
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("allow.auto.create.topics", "false")
        .set("check.crcs", "true");
    config
}

fn storage(action: &'static str) -> impl Fn(KafkaError) -> LogError {
    move |error| LogError::Storage {
        action,
        reason: reason(&error),
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LogError> {
    let spawned = thread::Builder::new().name(name).spawn(work);
    spawned.map_err(|error| LogError::Storage {
        action: "start a thread",
        reason: error.to_string(),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a shell: it waits for another program's answer"
)]
fn now() -> Instant {
    Instant::now()
}

#[derive(Debug)]
pub struct KafkaLog {
    centre: String,
    clock: fn() -> UtcNanos,
    topics: Topics,
    appender: Appender,
    readers: Readers,
    meta: Meta,
    /// Asks for bounds.
    watcher: Watcher,
    signal: Arc<Signal>,
    own: Mutex<Own>,
    /// By partition, some seconds old at most.
    bounds: Mutex<BTreeMap<Partition, (Place, Place)>>,
    losses: AtomicU64,
    passed: Mutex<Passed>,
}

struct Watcher(BaseConsumer<Quiet>);

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

/// What this process has appended.
#[derive(Debug, Default)]
struct Own {
    /// Partitions whose topic is known to be there, and declared.
    ready: BTreeSet<Partition>,
    received: Lost,
    /// Lanes whose `received` is not in `efd.meta` as it is here.
    unwritten: BTreeSet<EpochLane>,
}

impl KafkaLog {
    /// Whether the topics that are there would do, and how many these are; makes none.
    pub fn check(options: &KafkaOptions) -> Result<usize, LogError> {
        Topics::connect(&common_config(options), &options.topics)?.look()
    }

    /// Makes or checks `efd.meta`, and reads it to its end. The cluster must be there.
    pub fn open(options: &KafkaOptions) -> Result<Self, LogError> {
        let common = common_config(options);
        let topics = Topics::connect(&common, &options.topics)?;
        topics.ensure_meta()?;
        let signal = Arc::<Signal>::default();
        let meta = Meta::open(&common, &options.topics.meta(), Arc::clone(&signal))?;
        let watcher = consumer_config(&common, &options.topics.meta())
            .create_with_context(Quiet)
            .map_err(storage("make a consumer"))?;
        let received = meta.with(|table| table.received_by(&options.centre));
        let log = Self {
            centre: options.centre.clone(),
            clock: options.clock,
            readers: Readers::new(&common, options.topics.clone(), Arc::clone(&signal)),
            topics,
            appender: Appender::new(&common, "none"),
            meta,
            watcher: Watcher(watcher),
            signal,
            own: Mutex::new(Own {
                received,
                ..Own::default()
            }),
            bounds: Mutex::default(),
            losses: AtomicU64::new(0),
            passed: Mutex::default(),
        };
        log.look_at_bounds()?;
        Ok(log)
    }

    /// Durable, and known to this process, when it returns `Ok`.
    fn write(&self, records: &[Record]) -> Result<(), LogError> {
        let topic = self.topics.names().meta();
        let outgoing: Vec<_> = records
            .iter()
            .map(|Record { key, value }| Outgoing {
                topic: &topic,
                partition: PARTITION,
                key,
                value,
            })
            .collect();
        let offsets = self.appender.append(&outgoing)?;
        let last = offsets.into_iter().max();
        last.map_or(Ok(()), |offset| self.meta.wait_through(offset))
    }

    /// A topic is made before the first block of its partition, and known to every process before that.
    fn ensure(&self, partition: &Partition) -> Result<(), LogError> {
        if lock(&self.own).ready.contains(partition) {
            return Ok(());
        }
        self.topics.ensure_partition(partition)?;
        if !self
            .meta
            .with(|table| table.partitions().contains(partition))
        {
            self.write(&[Record::partition(partition)])?;
        }
        lock(&self.own).ready.insert(partition.clone());
        Ok(())
    }

    fn check_declared(&self, block: &SealedBlock) -> Result<(), LogError> {
        let (epoch, needed) = (block.id().lane.epoch, block.header().streams_through);
        let through = || self.meta.with(|table| table.streams_through(epoch));
        if through() < needed {
            self.meta.catch_up()?;
        }
        let known = through();
        if known < needed {
            return Err(LogError::Undeclared {
                epoch,
                missing: (known.0 + 1..=needed.0).collect(),
            });
        }
        Ok(())
    }

    fn look_at_bounds(&self) -> Result<(), LogError> {
        let partitions = self.meta.with(|table| table.partitions().clone());
        for partition in partitions {
            let found = bounds(&self.watcher.0, &self.topics.names().of(&partition))?;
            lock(&self.bounds).insert(partition, found);
        }
        Ok(())
    }

    /// Where the part of a partition begins that arrived after `since`, ms since 1970.
    fn place_at(&self, partition: &Partition, since: i64) -> Result<Option<Place>, LogError> {
        let topic = self.topics.names().of(partition);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, PARTITION, Offset::Offset(since))
            .map_err(storage("ask for the log's age"))?;
        let found = self
            .watcher
            .0
            .offsets_for_times(list, ANSWER_WITHIN)
            .map_err(storage("ask for the log's age"))?;
        let offset = found.elements().first().map(|element| element.offset());
        Ok(match offset {
            Some(Offset::Offset(offset)) => Some(readers::place_of(offset)),
            // Nothing came since.
            Some(_) | None => None,
        })
    }

    /// What came again is not lost any more. A note that fails costs one more question.
    fn note_found_again(&self, blocks: &[(Partition, SealedBlock)]) -> Result<(), LogError> {
        let mut came: Lost = Lost::new();
        for (_, block) in blocks {
            let lane = came.entry(block.id().lane).or_default();
            lane.insert(block.id().number.0);
        }
        let mut records = Vec::new();
        self.meta.with(|table| {
            for (lane, numbers) in &came {
                let lost = table.lost(lane);
                if !lost.intersection(numbers).is_empty() {
                    records.push(Record::lost(lane, &lost.difference(numbers)));
                    let absent = table.absent(lane);
                    records.push(Record::absent(lane, &absent.difference(numbers)));
                }
            }
        });
        if records.is_empty() {
            return Ok(());
        }
        self.write(&records)
    }

    fn damaged(&self, partition: &Partition, damaged: Damaged) -> Result<Entry, LogError> {
        let Damaged { place, key, reason } = damaged;
        tracing::error!(
            %partition, %place, key, reason,
            "A block of the log cannot be read; the edge is asked for it again"
        );
        if let Some(BlockId { lane, number }) = block_of(&key) {
            let lost = RangeSet::from_iter([number.0..=number.0]);
            self.note_lost(&Lost::from([(lane, lost)]))?;
        }
        Ok(Entry::Damaged { place, reason })
    }

    /// Writes down what was received since the last call.
    fn write_received(&self) -> Result<(), LogError> {
        let (lanes, records) = {
            let mut own = lock(&self.own);
            let lanes = std::mem::take(&mut own.unwritten);
            let record = |lane| {
                Some(Record::received(
                    &self.centre,
                    lane,
                    own.received.get(lane)?,
                ))
            };
            let records: Vec<Record> = lanes.iter().filter_map(record).collect();
            (lanes, records)
        };
        if records.is_empty() {
            return Ok(());
        }
        self.write(&records)
            .inspect_err(|_| lock(&self.own).unwritten.extend(lanes))
    }
}

/// A block's key is its identity.
fn block_of(key: &str) -> Option<BlockId> {
    let id: RecordId = format!("{key}/0").parse().ok()?;
    Some(id.block)
}

impl BlockLog for KafkaLog {
    fn declare(
        &self,
        epoch: &EpochDeclaration,
        streams: &[StreamDeclaration],
        schemas: &[Schema],
    ) -> Result<(), LogError> {
        let news = |table: &mut meta::Table| {
            let mut news = Vec::new();
            let known = |schema: &&Schema| !table.has_schema(&schema.fingerprint());
            news.extend(schemas.iter().filter(known).map(Record::schema));
            if table.epoch(epoch.epoch).is_none() {
                news.push(Record::epoch(epoch));
            }
            for stream in streams {
                let has_schema = table.has_schema(&stream.schema)
                    || schemas
                        .iter()
                        .any(|schema| schema.fingerprint() == stream.schema);
                if !has_schema {
                    return Err(LogError::UnknownSchema(stream.schema));
                }
                match table.declaration(epoch.epoch, stream.number) {
                    None => news.push(Record::stream(epoch.epoch, stream)),
                    Some(known) if known == stream => {}
                    Some(known) => {
                        return Err(LogError::Redeclared {
                            epoch: epoch.epoch,
                            number: stream.number.0,
                            known: known.topic.clone(),
                            found: stream.topic.clone(),
                        });
                    }
                }
            }
            Ok(news)
        };
        let records = match self.meta.with(news) {
            // Another centre may have been told, and this one not yet.
            Err(LogError::UnknownSchema(_)) => {
                self.meta.catch_up()?;
                self.meta.with(news)?
            }
            other => other?,
        };
        if records.is_empty() {
            return Ok(());
        }
        self.write(&records)
    }

    /// After an error some blocks may be durable: they are to be appended again, and then stand twice.
    fn append(&self, blocks: &[(Partition, SealedBlock)]) -> Result<(), LogError> {
        for (partition, block) in blocks {
            self.check_declared(block)?;
            self.ensure(partition)?;
        }
        let named: Vec<(String, String, &SealedBlock)> = blocks
            .iter()
            .map(|(partition, block)| {
                let topic = self.topics.names().of(partition);
                (topic, block.id().to_string(), block)
            })
            .collect();
        let outgoing: Vec<_> = named
            .iter()
            .map(|(topic, key, block)| Outgoing {
                topic,
                partition: PARTITION,
                key,
                value: block.bytes(),
            })
            .collect();
        let offsets = self.appender.append(&outgoing)?;
        {
            let mut bounds = lock(&self.bounds);
            for ((partition, _), offset) in blocks.iter().zip(offsets) {
                let end = readers::place_of(offset).next();
                self.readers.note_end(partition, end);
                let known = bounds
                    .entry(partition.clone())
                    .or_insert((Place::FIRST, end));
                known.1 = known.1.max(end);
            }
            let mut own = lock(&self.own);
            for (_, block) in blocks {
                let lane = block.id().lane;
                own.received
                    .entry(lane)
                    .or_default()
                    .insert(block.id().number.0);
                own.unwritten.insert(lane);
            }
        }
        self.signal.raise();
        if let Err(error) = self.note_found_again(blocks) {
            tracing::warn!(%error, "Noting that lost blocks came again failed; they are asked for once more");
        }
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<Partition>, LogError> {
        Ok(self
            .meta
            .with(|table| table.partitions().iter().cloned().collect()))
    }

    fn read(
        &self,
        partition: &Partition,
        from: Place,
        bytes_max: usize,
    ) -> Result<Reading, LogError> {
        let found = match self.readers.read(partition, from, bytes_max)? {
            Read::Outside(reading) => return Ok(reading),
            Read::Found(found) => found,
        };
        let mut entries = Vec::with_capacity(found.len());
        for one in found {
            entries.push(match one {
                Found::Block(place, block) => Entry::Block { place, block },
                Found::Damaged(damaged) => self.damaged(partition, damaged)?,
            });
        }
        Ok(Reading::Entries(entries))
    }

    /// Of this process's appends at once, of others' within seconds.
    fn bounds(&self, partition: &Partition) -> Result<(Place, Place), LogError> {
        if let Some(known) = lock(&self.bounds).get(partition) {
            return Ok(*known);
        }
        if !self
            .meta
            .with(|table| table.partitions().contains(partition))
        {
            return Ok((Place::FIRST, Place::FIRST));
        }
        let found = bounds(&self.watcher.0, &self.topics.names().of(partition))?;
        lock(&self.bounds).insert(partition.clone(), found);
        Ok(found)
    }

    fn received(&self, lane: EpochLane) -> Result<RangeSet, LogError> {
        let mut received = lock(&self.own)
            .received
            .get(&lane)
            .cloned()
            .unwrap_or_default();
        self.meta.with(|table| {
            received.union(&table.received_by_others(&self.centre, &lane));
            received.subtract(&table.lost(&lane));
        });
        Ok(received)
    }

    fn received_lanes(&self) -> Result<Vec<EpochLane>, LogError> {
        let mut lanes = self.meta.with(|table| table.received_lanes());
        lanes.extend(lock(&self.own).received.keys());
        Ok(lanes.into_iter().collect())
    }

    fn lost(&self, edge: EdgeId) -> Result<Lost, LogError> {
        Ok(self
            .meta
            .with(|table| table.missing(|lane| lane.edge == edge)))
    }

    fn note_lost(&self, lost: &Lost) -> Result<u64, LogError> {
        let (mut blocks, mut records) = (0, Vec::new());
        self.meta.with(|table| {
            for (lane, numbers) in lost {
                let mut known = table.lost(lane);
                let news = numbers.difference(&known);
                if !news.is_empty() {
                    blocks += news.member_count();
                    known.union(&news);
                    records.push(Record::lost(lane, &known));
                }
            }
        });
        if !records.is_empty() {
            self.write(&records)?;
            self.losses.fetch_add(1, Ordering::Release);
        }
        Ok(blocks)
    }

    fn set_absent(&self, lane: EpochLane, numbers: &RangeSet) -> Result<RangeSet, LogError> {
        let (news, all) = self.meta.with(|table| {
            let mut absent = table.absent(&lane);
            let lost = table.lost(&lane).intersection(numbers);
            let news = lost.difference(&absent);
            absent.union(&news);
            (news, absent)
        });
        if !news.is_empty() {
            self.write(&[Record::absent(&lane, &all)])?;
        }
        Ok(news)
    }

    fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    fn note_passed(&self, passed: Passed) {
        lock(&self.passed).add(passed);
    }

    fn epochs(&self) -> Result<Vec<EpochDeclaration>, LogError> {
        Ok(self.meta.with(|table| table.epochs().cloned().collect()))
    }

    fn streams_through(&self, epoch: EpochId) -> Result<StreamNumber, LogError> {
        Ok(self.meta.with(|table| table.streams_through(epoch)))
    }

    fn stream(
        &self,
        epoch: EpochId,
        number: StreamNumber,
    ) -> Result<Option<Arc<Stream>>, LogError> {
        let stream = || self.meta.with(|table| table.stream(epoch, number));
        if let Some(stream) = stream() {
            return Ok(Some(stream));
        }
        // The block that needs it may have come faster than its declaration: only the topic's end can say that there is none.
        self.meta.catch_up()?;
        Ok(stream())
    }

    fn wait(&self, seen: Generation, timeout: Duration) -> Generation {
        self.signal.wait(seen, timeout)
    }

    fn maintain(&self) {
        if let Err(error) = self.write_received() {
            tracing::warn!(%error, "Noting what was received failed; it is tried again");
        }
        if let Err(error) = self.look_at_bounds() {
            tracing::debug!(%error, "The log's bounds are not known");
        }
    }

    fn retain(&self, keep: &Keep, consumers: &[Reached<'_>]) -> Result<Retained, LogError> {
        let half = i64::try_from(keep.age_max.as_millis() / 2).unwrap_or(i64::MAX);
        let since = ((self.clock)().0 / 1_000_000).saturating_sub(half);
        let mut retained = Retained::default();
        for partition in self.partitions()? {
            let (first, end) = self.bounds(&partition)?;
            let safe = self.place_at(&partition, since)?.unwrap_or(end);
            for consumer in consumers.iter().filter(|one| one.reads(&partition)) {
                let progress = &consumer.progress;
                let next = progress.next_place(&partition);
                // Who never read a partition begins where it does.
                let next = if progress.places.contains_key(&partition) {
                    next
                } else {
                    next.max(first)
                };
                if next < safe {
                    retained.endangered.push(Endangered {
                        consumer: consumer.name.to_owned(),
                        partition: partition.clone(),
                        places: safe.0 - next.0,
                    });
                }
            }
        }
        Ok(retained)
    }

    fn health(&self) -> Health {
        self.meta.with(|table| Health {
            is_full: false,
            passed: *lock(&self.passed),
            lost_blocks: table
                .missing(|_| true)
                .values()
                .map(RangeSet::member_count)
                .sum(),
            absent: table.absent_lanes(),
        })
    }
}
