//! Reads spans of topics to their ends: at a session's start, and for whoever looks at the public topics.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use efd_central_kafka::{Connection, Quiet, reason};
use efd_shared_model::UtcNanos;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::{Offset, Timestamp, TopicPartitionList};

use crate::broker::{BrokerError, Met};
use crate::wire::{self, HEADER_ID, HEADER_TIME};

use super::{ANSWER_WITHIN, PARTITION, now, unavailable};

/// Gives up after nothing has come for this long.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// From the end of a partition to looking which have ended.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// How soon whoever waits is asked whether to go on.
const ASK_EVERY: Duration = Duration::from_millis(500);
const NANOS_PER_MILLI: i64 = 1_000_000;

/// A consumer that joins no group and commits nothing.
pub(crate) struct Reader {
    consumer: BaseConsumer<Quiet>,
    config: ClientConfig,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// An offset of a topic, or why it may not be read.
pub(crate) type Bound = Result<i64, String>;

/// By topic.
pub(crate) type Unread = BTreeMap<String, UnreadTopic>;

#[derive(Debug)]
pub(crate) struct UnreadTopic {
    /// What [`Met::span`] is.
    pub(crate) span: usize,
    pub(crate) next: i64,
    /// Exclusive.
    pub(crate) end: i64,
}

enum Unreadable {
    /// One of the topics at least.
    Forbidden,
    Stopped,
    Other(BrokerError),
}

impl From<BrokerError> for Unreadable {
    fn from(error: BrokerError) -> Self {
        Self::Other(error)
    }
}

pub(crate) const MAY_NOT_BE_READ: &str = "may not be read (topic authorization failed): what is in it must be known, or it would get records twice";

impl Reader {
    pub(crate) fn connect(kafka: &Connection) -> Result<Self, BrokerError> {
        let mut config = kafka.config("efd-feed");
        config
            // A consumer must have one.
            .set("group.id", "efd-feed-read-back")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            .set("fetch.message.max.bytes", "4194304")
            .set("queued.max.messages.kbytes", "16384");
        let consumer = make_consumer(&config)?;
        Ok(Self { consumer, config })
    }

    pub(crate) fn metadata(&self, within: Duration) -> Result<Metadata, KafkaError> {
        self.consumer.fetch_metadata(None, within)
    }

    /// Topics that the cluster has.
    pub(crate) fn topics(&self) -> Result<BTreeSet<String>, BrokerError> {
        let metadata = self.metadata(ANSWER_WITHIN);
        let metadata = metadata.map_err(unavailable("list topics"))?;
        let has_partition = |topic: &&MetadataTopic| !topic.partitions().is_empty();
        Ok(metadata
            .topics()
            .iter()
            .filter(has_partition)
            .map(|topic| topic.name().to_owned())
            .collect())
    }

    /// Begin or end of each topic, in few requests.
    pub(crate) fn bounds(&self, topics: &[&str], which: Offset) -> Result<Vec<Bound>, BrokerError> {
        let found = self.offsets(topics, which)?.into_iter().zip(topics);
        let offset = |(bound, topic): (Result<Option<i64>, String>, &&str)| match bound {
            Ok(Some(offset)) => Ok(Ok(offset)),
            Ok(None) => Err(no_answer(topic)),
            Err(why) => Ok(Err(why)),
        };
        found.map(offset).collect()
    }

    /// The first offset of each topic that was appended at this time or later; `None` where none was.
    pub(crate) fn appended_since(
        &self,
        topics: &[&str],
        time: UtcNanos,
    ) -> Result<Vec<Result<Option<i64>, String>>, BrokerError> {
        // librdkafka takes the time where offsets are, and negative ones have other meanings.
        let millis = time.0.div_euclid(NANOS_PER_MILLI).max(0);
        self.offsets(topics, Offset::Offset(millis))
    }

    fn offsets(
        &self,
        topics: &[&str],
        which: Offset,
    ) -> Result<Vec<Result<Option<i64>, String>>, BrokerError> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let mut list = TopicPartitionList::with_capacity(topics.len());
        for topic in topics {
            list.add_partition_offset(topic, PARTITION, which)
                .map_err(unavailable("ask for offsets"))?;
        }
        let answer = self.consumer.offsets_for_times(list, ANSWER_WITHIN);
        let answer = answer.map_err(unavailable("ask for offsets"))?;
        let of_topic: BTreeMap<String, (Offset, Result<(), KafkaError>)> = answer
            .elements()
            .iter()
            .map(|element| {
                let answer = (element.offset(), element.error());
                (element.topic().to_owned(), answer)
            })
            .collect();
        let found = topics.iter().map(|topic| match of_topic.get(*topic) {
            Some((Offset::Offset(offset), Ok(()))) => Ok(Ok(Some(*offset))),
            Some((Offset::End, Ok(()))) => Ok(Ok(None)),
            Some((_, Err(error))) if is_forbidden(error) => Ok(Err(MAY_NOT_BE_READ.to_owned())),
            Some((_, Err(error))) => Err(BrokerError::Unavailable(format!(
                "ask for offsets of {topic}: {}",
                reason(error)
            ))),
            Some((_, Ok(()))) | None => Err(no_answer(topic)),
        });
        found.collect()
    }

    /// Reads all of `unread`, except topics that may not be read: it gives their spans. `None` where `go_on`, which is asked
    /// often, ended it.
    pub(crate) fn read(
        &mut self,
        unread: Unread,
        met: &mut dyn FnMut(Met),
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<usize>>, BrokerError> {
        let mut forbidden = Vec::new();
        let mut parts = vec![unread];
        while let Some(mut part) = parts.pop() {
            match self.read_part(&mut part, met, go_on) {
                Ok(()) => continue,
                Err(Unreadable::Other(error)) => return Err(error),
                Err(Unreadable::Stopped) => return Ok(None),
                Err(Unreadable::Forbidden) => {}
            }
            // A consumer says it of a topic only once.
            self.consumer = make_consumer(&self.config)?;
            // And does not say of which: one half has it, or both.
            let half = part.len() / 2;
            match part.keys().nth(half).cloned() {
                Some(middle) if half > 0 => {
                    let rest = part.split_off(&middle);
                    parts.extend([rest, part]);
                }
                Some(_) | None => forbidden.extend(part.values().map(|topic| topic.span)),
            }
        }
        Ok(Some(forbidden))
    }

    /// Takes out of `unread` what is read.
    fn read_part(
        &self,
        unread: &mut Unread,
        met: &mut dyn FnMut(Met),
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), Unreadable> {
        if unread.is_empty() {
            return Ok(());
        }
        let failed = |error| Unreadable::from(unavailable("read back")(error));
        let mut list = TopicPartitionList::with_capacity(unread.len());
        for (topic, UnreadTopic { next, .. }) in &*unread {
            list.add_partition_offset(topic, PARTITION, Offset::Offset(*next))
                .map_err(failed)?;
        }
        self.consumer.assign(&list).map_err(failed)?;
        let read = self.consume(unread, met, go_on);
        self.consumer.unassign().map_err(failed)?;
        read
    }

    /// Until every end is reached.
    fn consume(
        &self,
        unread: &mut Unread,
        met: &mut dyn FnMut(Met),
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), Unreadable> {
        let mut give_up_at = now() + SILENCE_MAX;
        let mut look_at: Option<Instant> = None;
        while !unread.is_empty() {
            if !go_on() {
                return Err(Unreadable::Stopped);
            }
            if look_at.is_some_and(|at| at <= now()) {
                look_at = None;
                let before = unread.len();
                self.drop_finished(unread)?;
                if unread.len() < before {
                    give_up_at = now() + SILENCE_MAX;
                }
                continue;
            }
            let until = look_at.map_or(give_up_at, |at| at.min(give_up_at));
            let wait = until.saturating_duration_since(now()).min(ASK_EVERY);
            let message = match self.consumer.poll(wait) {
                Some(Ok(message)) => message,
                // The consumer was assigned; that any partition has ended is noted here too, but not which.
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    look_at.get_or_insert_with(|| now() + LOOK_AFTER);
                    continue;
                }
                // It is no member of its group, and needs no right to be one.
                Some(Err(error))
                    if has_code(&error, RDKafkaErrorCode::GroupAuthorizationFailed) =>
                {
                    continue;
                }
                Some(Err(error)) if is_forbidden(&error) => return Err(Unreadable::Forbidden),
                Some(Err(error)) => return Err(unavailable("read back")(error).into()),
                None if now() < give_up_at => continue,
                None => {
                    let (count, limit) = (unread.len(), SILENCE_MAX);
                    let reason = format!(
                        "read back: nothing came for {limit:.0?}, {count} topics are not read"
                    );
                    return Err(BrokerError::Unavailable(reason).into());
                }
            };
            let Some(topic) = unread.get_mut(message.topic()) else {
                continue;
            };
            give_up_at = now() + SILENCE_MAX;
            let (offset, span) = (message.offset(), topic.span);
            topic.next = offset + 1;
            if offset < topic.end {
                met(met_in(&message, span));
            }
            if topic.end <= topic.next {
                unread.remove(message.topic());
            }
        }
        Ok(())
    }

    /// Topics whose last offsets hold nothing (compacted, aborted) end without a message. To be done rarely: librdkafka looks
    /// through all topics for each.
    fn drop_finished(&self, unread: &mut Unread) -> Result<(), BrokerError> {
        let positions = self.consumer.position().map_err(unavailable("read back"))?;
        for element in positions.elements() {
            if let Offset::Offset(position) = element.offset()
                && unread
                    .get(element.topic())
                    .is_some_and(|topic| topic.end <= position)
            {
                unread.remove(element.topic());
            }
        }
        Ok(())
    }
}

fn make_consumer(config: &ClientConfig) -> Result<BaseConsumer<Quiet>, BrokerError> {
    config
        .create_with_context(Quiet)
        .map_err(unavailable("make consumer"))
}

fn no_answer(topic: &str) -> BrokerError {
    BrokerError::Unavailable(format!("ask for offsets of {topic}: no answer"))
}

fn is_forbidden(error: &KafkaError) -> bool {
    has_code(error, RDKafkaErrorCode::TopicAuthorizationFailed)
}

fn has_code(error: &KafkaError, code: RDKafkaErrorCode) -> bool {
    error.rdkafka_error_code() == Some(code)
}

fn met_in(message: &BorrowedMessage<'_>, span: usize) -> Met {
    let header = |name| {
        let mut headers = message.headers()?.iter();
        headers.find(|header| header.key == name)?.value
    };
    let appended = match message.timestamp() {
        Timestamp::LogAppendTime(millis) => Some(UtcNanos(millis.saturating_mul(NANOS_PER_MILLI))),
        Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
    };
    Met {
        span,
        offset: message.offset(),
        id: header(HEADER_ID).and_then(wire::decode_id),
        time: header(HEADER_TIME).and_then(wire::decode_time),
        appended,
    }
}
