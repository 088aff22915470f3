//! Reads partitions at any place: consumers that stand where somebody has read to go on from there, without asking anew.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use efd_central_kafka::Quiet;
use efd_shared_model::SealedBlock;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::signal::Signal;
use crate::{LogError, Partition, Place, Reading, lock};

use super::topics::TopicSettings;
use super::{PARTITION, consumer_config, now, storage};

/// Kept for the next read. A thread that reads has one of its own.
const READERS_MAX: usize = 8;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const AGAIN_AFTER: Duration = Duration::from_millis(50);

pub(super) struct Readers {
    config: ClientConfig,
    names: TopicSettings,
    signal: Arc<Signal>,
    idle: Mutex<Vec<Reader>>,
    /// Behind everything that this process has read or appended: who reads before it waits for what stands there.
    ends: Mutex<BTreeMap<Partition, Place>>,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

/// A block that cannot be read, and what its key says of it.
pub(super) struct Damaged {
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) reason: String,
}

pub(super) enum Found {
    Block(Place, SealedBlock),
    Damaged(Damaged),
}

/// What a place gives; as [`Reading`], before damage is noted.
pub(super) enum Read {
    Found(Vec<Found>),
    Outside(Reading),
}

impl Readers {
    pub(super) fn new(common: &ClientConfig, names: TopicSettings, signal: Arc<Signal>) -> Self {
        let mut config = consumer_config(common, &format!("{}log", names.prefix));
        config
            // A place that is gone is told, not skipped.
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_uncommitted")
            .set("fetch.wait.max.ms", "500")
            .set("fetch.message.max.bytes", "4194304")
            .set("queued.min.messages", "1000")
            .set("queued.max.messages.kbytes", "16384");
        Self {
            config,
            names,
            signal,
            idle: Mutex::default(),
            ends: Mutex::default(),
        }
    }

    pub(super) fn read(
        &self,
        partition: &Partition,
        from: Place,
        bytes_max: usize,
    ) -> Result<Read, LogError> {
        let mut reader = self.take(partition, from)?;
        let topic = self.names.of(partition);
        if let Some(cursor) = reader.cursors.get_mut(partition) {
            let ends = lock(&self.ends);
            let known = ends.get(partition).copied();
            cursor.end = known.map_or(cursor.end, |known| known.max(cursor.end));
        }
        let read = reader.read(&topic, partition, from, (bytes_max, &self.signal));
        if read.is_err() {
            reader.forget(&topic, partition);
        }
        if let Some(cursor) = reader.cursors.get(partition) {
            self.note_end(partition, cursor.next);
        }
        let mut idle = lock(&self.idle);
        idle.push(reader);
        if READERS_MAX < idle.len() {
            // The one that nobody has used for longest.
            idle.remove(0);
        }
        read
    }

    /// There is something right before `end`.
    pub(super) fn note_end(&self, partition: &Partition, end: Place) {
        let mut ends = lock(&self.ends);
        let known = ends.entry(partition.clone()).or_insert(end);
        *known = end.max(*known);
    }

    /// One that stands there; else one that does not read the partition; else a new one.
    fn take(&self, partition: &Partition, from: Place) -> Result<Reader, LogError> {
        let mut idle = lock(&self.idle);
        let next = |reader: &Reader| Some(reader.cursors.get(partition)?.next);
        let stands = idle.iter().position(|reader| next(reader) == Some(from));
        let spare = stands.or_else(|| idle.iter().rposition(|reader| next(reader).is_none()));
        let any = spare.or_else(|| (READERS_MAX <= idle.len()).then_some(0));
        match any {
            Some(at) => Ok(idle.remove(at)),
            None => {
                let consumer = self.config.create_with_context(Quiet);
                let consumer = consumer.map_err(storage("make a consumer"))?;
                Ok(Reader {
                    consumer: Arc::new(consumer),
                    cursors: BTreeMap::new(),
                })
            }
        }
    }
}

struct Reader {
    consumer: Arc<BaseConsumer<Quiet>>,
    cursors: BTreeMap<Partition, Cursor>,
}

struct Cursor {
    topic: String,
    queue: PartitionQueue<Quiet>,
    next: Place,
    /// The partition's end when it was asked for: everything before it comes, however long it takes.
    end: Place,
    /// Came before the queue was set apart.
    early: VecDeque<Found>,
}

impl Reader {
    fn read(
        &mut self,
        topic: &str,
        partition: &Partition,
        from: Place,
        (bytes_max, signal): (usize, &Arc<Signal>),
    ) -> Result<Read, LogError> {
        if self
            .cursors
            .get(partition)
            .is_none_or(|cursor| cursor.next != from)
            && let Some(outside) = self.go_to(topic, partition, from, signal)?
        {
            return Ok(Read::Outside(outside));
        }
        self.take_early();
        let give_up_at = now() + ANSWER_WITHIN;
        let (mut found, mut bytes) = (Vec::new(), 0);
        let Some(cursor) = self.cursors.get_mut(partition) else {
            return Ok(Read::Found(found));
        };
        while bytes < bytes_max {
            let must_wait = found.is_empty() && cursor.next < cursor.end;
            let wait = if must_wait {
                LOOK_EVERY
            } else {
                Duration::ZERO
            };
            let one = match cursor.early.pop_front() {
                Some(one) => one,
                None => match cursor.queue.poll(wait) {
                    Some(Ok(message)) => found_in(&message),
                    Some(Err(error)) if is_out_of_range(&error) => {
                        let next = cursor.next;
                        self.forget(topic, partition);
                        // It was within when it was asked for: retention has passed it since.
                        let outside = self.go_to(topic, partition, next, signal)?;
                        let nothing = Read::Found(Vec::new());
                        return Ok(outside.map_or(nothing, Read::Outside));
                    }
                    Some(Err(error)) if is_passing(&error) && now() < give_up_at => continue,
                    Some(Err(error)) => return Err(storage("read the log")(error)),
                    None if !must_wait => break,
                    None if now() < give_up_at => continue,
                    None => {
                        return Err(LogError::Storage {
                            action: "read the log",
                            reason: format!(
                                "{topic}: place {} did not come within {ANSWER_WITHIN:?}",
                                cursor.next
                            ),
                        });
                    }
                },
            };
            bytes += one.bytes();
            cursor.next = one.place().next();
            found.push(one);
        }
        Ok(Read::Found(found))
    }

    /// Sets a queue of its own to the place. Gives what is to be said where the place is not within the partition.
    fn go_to(
        &mut self,
        topic: &str,
        partition: &Partition,
        from: Place,
        signal: &Arc<Signal>,
    ) -> Result<Option<Reading>, LogError> {
        self.forget(topic, partition);
        let (first, end) = bounds(&self.consumer, topic)?;
        if end < from {
            return Ok(Some(Reading::Rewound { first, end }));
        }
        if from < first {
            return Ok(Some(Reading::Absent { next: first }));
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, PARTITION, offset_of(from))
            .map_err(storage("read the log"))?;
        self.consumer
            .incremental_assign(&list)
            .map_err(storage("read the log"))?;
        let queue = self.consumer.split_partition_queue(topic, PARTITION);
        let mut queue = queue.ok_or_else(|| LogError::Storage {
            action: "read the log",
            reason: format!("{topic}: its queue cannot be set apart"),
        })?;
        let signal = Arc::clone(signal);
        queue.set_nonempty_callback(move || signal.raise());
        let cursor = Cursor {
            topic: topic.to_owned(),
            queue,
            next: from,
            end,
            early: VecDeque::new(),
        };
        self.cursors.insert(partition.clone(), cursor);
        Ok(None)
    }

    /// The consumer's own queue: events, and messages that came before their queue was set apart.
    fn take_early(&mut self) {
        while let Some(event) = self.consumer.poll(Duration::ZERO) {
            let Ok(message) = event else { continue };
            let mut cursors = self.cursors.values_mut();
            let cursor = cursors.find(|cursor| cursor.topic == message.topic());
            // What is left of a place that was given up is before the one that is wanted.
            if let Some(cursor) = cursor.filter(|cursor| cursor.next <= place_of(message.offset()))
            {
                cursor.early.push_back(found_in(&message));
            }
        }
    }

    fn forget(&mut self, topic: &str, partition: &Partition) {
        if self.cursors.remove(partition).is_none() {
            return;
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, PARTITION);
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::debug!(%error, topic, "Reading ends");
        }
    }
}

impl Found {
    fn place(&self) -> Place {
        match self {
            Self::Block(place, _) => *place,
            Self::Damaged(damaged) => damaged.place,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Block(_, block) => block.bytes().len(),
            Self::Damaged(_) => 1,
        }
    }
}

/// Places count from 1, offsets from 0.
pub(super) fn place_of(offset: i64) -> Place {
    Place(u64::try_from(offset).unwrap_or(0)).next()
}

fn offset_of(place: Place) -> Offset {
    Offset::Offset(i64::try_from(place.0.saturating_sub(1)).unwrap_or(i64::MAX))
}

fn found_in(message: &BorrowedMessage<'_>) -> Found {
    let place = place_of(message.offset());
    let payload = message.payload().unwrap_or_default();
    match SealedBlock::parse(Bytes::copy_from_slice(payload)) {
        Ok(block) => Found::Block(place, block),
        Err(error) => Found::Damaged(Damaged {
            place,
            key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
            reason: error.to_string(),
        }),
    }
}

/// First place held, and the end.
pub(super) fn bounds(
    consumer: &BaseConsumer<Quiet>,
    topic: &str,
) -> Result<(Place, Place), LogError> {
    let give_up_at = now() + ANSWER_WITHIN;
    let (low, high) = loop {
        match consumer.fetch_watermarks(topic, PARTITION, ANSWER_WITHIN) {
            Ok(found) => break found,
            // A topic that was just made, or whose leader was just chosen.
            Err(error) if is_passing(&error) && now() < give_up_at => {
                std::thread::sleep(AGAIN_AFTER);
                // Or librdkafka goes on to answer from what it remembers.
                let _asked_anew = consumer.fetch_metadata(Some(topic), ANSWER_WITHIN);
            }
            Err(error) => {
                return Err(LogError::Storage {
                    action: "ask for the log's bounds",
                    reason: format!("{topic}: {error}"),
                });
            }
        }
    };
    Ok((place_of(low), place_of(high)))
}

fn is_out_of_range(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AutoOffsetReset, OffsetOutOfRange};
    let code = error.rdkafka_error_code();
    matches!(code, Some(AutoOffsetReset | OffsetOutOfRange))
}

/// Another try may succeed.
fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        AllBrokersDown, BrokerTransportFailure, LeaderNotAvailable, NotLeaderForPartition,
        UnknownPartition, UnknownTopicOrPartition,
    };
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(
            AllBrokersDown
                | BrokerTransportFailure
                | LeaderNotAvailable
                | NotLeaderForPartition
                | UnknownPartition
                | UnknownTopicOrPartition
        )
    )
}
