//! The seam to Kafka, by librdkafka. Only here is rdkafka named.

mod acks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use efd_central_kafka::{Quiet, block_on, reason};
use efd_central_log::Tenure;
use efd_central_producer::{Fatal, Limits, Producer, Record, TopicIx};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::{
    Ack, Broker, BrokerError, Ensured, Met, Outgoing, OutputIx, Refusal, SendError, Span,
};
use crate::options::{FeedOptions, RECORD_BYTES_MAX, TopicSettings};
use crate::probe::Cluster;
use crate::wire::{self, HEADER_CLASS, HEADER_ID, HEADER_TIME};

use acks::{ack_of, pack};

/// Our topics have one partition: order is by topic.
const PARTITION: i32 = 0;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Topics made by one request: a few seconds of work for a small cluster.
const CREATE_MAX: usize = 500;
const CREATE_WITHIN: Duration = Duration::from_secs(60);
/// Reading back gives up after nothing has come for this long.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// From the end of a partition to looking which have ended.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// Rounds of [`FeedOptions::settle`] before ends that keep moving are taken to be another's work.
const SETTLE_ROUNDS_MAX: u32 = 20;

/// A producer, a consumer for reading back, administration.
pub(crate) struct KafkaBroker {
    producer: Producer,
    /// The producer's number of each output.
    numbers: Vec<Option<TopicIx>>,
    acks: Vec<efd_central_producer::Ack>,
    tenure: Tenure,
    /// For reading back.
    consumer: BaseConsumer<Quiet>,
    consumer_config: ClientConfig,
    admin: AdminClient<Quiet>,
    topics: TopicSettings,
    settle: Option<Duration>,
}

impl fmt::Debug for KafkaBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaBroker").finish_non_exhaustive()
    }
}

fn unavailable(action: &'static str) -> impl Fn(KafkaError) -> BrokerError {
    move |error| BrokerError::Unavailable(format!("{action}: {}", reason(&error)))
}

impl KafkaBroker {
    /// Sends nothing after the end of the tenure.
    pub(crate) fn connect(options: &FeedOptions, tenure: Tenure) -> Result<Self, BrokerError> {
        let limits = Limits {
            records: options.in_flight_records_max as usize,
            bytes: options.in_flight_bytes_max,
            record_bytes: RECORD_BYTES_MAX,
            ..Limits::default()
        };
        let producer = Producer::start(&options.kafka, limits)
            .map_err(|error| BrokerError::Unavailable(error.to_string()))?;
        let closer = producer.closer();
        tenure.at_end(move || closer.purge());

        let mut common = options.kafka.config("efd-feed");
        // A consumer must have one; no group is ever joined, nothing is ever committed.
        common.set("group.id", "efd-feed-read-back");
        let mut config = common.clone();
        config
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            .set("fetch.message.max.bytes", "4194304")
            .set("queued.max.messages.kbytes", "16384");
        let consumer = make_consumer(&config)?;
        let admin = common
            .create_with_context(Quiet)
            .map_err(unavailable("make admin client"))?;
        Ok(Self {
            producer,
            numbers: Vec::new(),
            acks: Vec::new(),
            tenure,
            consumer,
            consumer_config: config,
            admin,
            topics: options.topics.clone(),
            settle: Some(options.settle),
        })
    }

    /// Who is there.
    pub(crate) fn cluster(&self, within: Duration) -> Result<Cluster, BrokerError> {
        let metadata = self.consumer.fetch_metadata(None, within);
        let metadata = metadata.map_err(|error| {
            // librdkafka's own error says only that there was no answer.
            BrokerError::Unavailable(self.producer.trouble().unwrap_or_else(|| error.to_string()))
        })?;
        let brokers = metadata.brokers().iter();
        Ok(Cluster {
            brokers: brokers
                .map(|broker| format!("{}:{}", broker.host(), broker.port()))
                .collect(),
            topics: metadata.topics().len(),
        })
    }

    /// Topics that the cluster has.
    fn existing(&self) -> Result<BTreeSet<String>, BrokerError> {
        let metadata = self.consumer.fetch_metadata(None, ANSWER_WITHIN);
        let metadata = metadata.map_err(unavailable("list topics"))?;
        let has_partition =
            |topic: &&rdkafka::metadata::MetadataTopic| !topic.partitions().is_empty();
        Ok(metadata
            .topics()
            .iter()
            .filter(has_partition)
            .map(|topic| topic.name().to_owned())
            .collect())
    }

    fn number(&mut self, output: OutputIx, topic: &str) -> TopicIx {
        let at = output.0 as usize;
        if self.numbers.len() <= at {
            self.numbers.resize(at + 1, None);
        }
        *self.numbers[at].get_or_insert_with(|| self.producer.topic(topic))
    }

    fn create(&self, topics: &[&str]) -> Result<BTreeMap<String, Ensured>, BrokerError> {
        let min_insync = self.topics.min_insync().to_string();
        let bytes_max = RECORD_BYTES_MAX.to_string();
        let retention = self
            .topics
            .retention
            .map(|retention| retention.as_millis().to_string());
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|topic| {
                let replication = TopicReplication::Fixed(self.topics.replication.into());
                let new = NewTopic::new(topic, 1, replication)
                    .set("min.insync.replicas", &min_insync)
                    .set("max.message.bytes", &bytes_max)
                    .set("message.timestamp.type", "LogAppendTime");
                match &retention {
                    Some(retention) => new.set("retention.ms", retention),
                    None => new,
                }
            })
            .collect();
        let options = AdminOptions::new()
            .request_timeout(Some(CREATE_WITHIN))
            .operation_timeout(Some(CREATE_WITHIN));
        let results = block_on(self.admin.create_topics(&new, &options))
            .map_err(unavailable("create topics"))?;
        let mut answers = BTreeMap::new();
        for result in results {
            let (topic, ensured) = match result {
                Ok(topic) => (topic, Ensured::Created),
                Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) => (topic, Ensured::Existed),
                Err((topic, code)) if REFUSED_TOPIC.contains(&code) => {
                    let reason = format!("create topic: {code}");
                    (topic, Ensured::Refused(reason))
                }
                Err((topic, RDKafkaErrorCode::InvalidReplicationFactor)) => {
                    let asked = self.topics.replication;
                    let reason = format!(
                        "create topic {topic}: the cluster has fewer than {asked} brokers; for one broker say `replication = 1`"
                    );
                    return Err(BrokerError::Unavailable(reason));
                }
                Err((topic, code)) => {
                    return Err(BrokerError::Unavailable(format!(
                        "create topic {topic}: {code}"
                    )));
                }
            };
            answers.insert(topic, ensured);
        }
        Ok(answers)
    }

    /// Begin or end of each topic, in few requests.
    fn bounds(&self, spans: &[Span], which: Offset) -> Result<Vec<Bound>, BrokerError> {
        if spans.is_empty() {
            return Ok(Vec::new());
        }
        let mut list = TopicPartitionList::with_capacity(spans.len());
        for span in spans {
            list.add_partition_offset(&span.topic, PARTITION, which)
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
        let found = spans
            .iter()
            .map(|Span { topic, .. }| match of_topic.get(topic) {
                Some((Offset::Offset(offset), Ok(()))) => Ok(Ok(*offset)),
                Some((_, Err(error))) if is_forbidden(error) => Ok(Err(MAY_NOT_BE_READ.to_owned())),
                Some((_, Err(error))) => Err(BrokerError::Unavailable(format!(
                    "ask for offsets of {topic}: {}",
                    reason(error)
                ))),
                Some((_, Ok(()))) | None => Err(BrokerError::Unavailable(format!(
                    "ask for offsets of {topic}: no answer"
                ))),
            });
        found.collect()
    }

    fn settled_ends(&mut self, spans: &[Span]) -> Result<Vec<Bound>, BrokerError> {
        let mut ends = self.bounds(spans, Offset::End)?;
        // A session without a checkpoint begins with nothing to read: the wait is for the first topics that it finds.
        if spans.is_empty() {
            return Ok(ends);
        }
        let Some(settle) = self.settle.take() else {
            return Ok(ends);
        };
        for _ in 0..SETTLE_ROUNDS_MAX {
            thread::sleep(settle);
            let later = self.bounds(spans, Offset::End)?;
            if later == ends {
                return Ok(ends);
            }
            ends = later;
        }
        tracing::warn!(
            "Topics keep growing by another's records; what is ours among them is looked at so far"
        );
        Ok(ends)
    }

    /// Reads all of `unread`, except topics that may not be read: their spans.
    fn read(
        &mut self,
        unread: Unread,
        met: &mut dyn FnMut(Met),
    ) -> Result<Vec<usize>, BrokerError> {
        let mut forbidden = Vec::new();
        let mut parts = vec![unread];
        while let Some(mut part) = parts.pop() {
            match self.read_part(&mut part, met) {
                Ok(()) => continue,
                Err(Unreadable::Other(error)) => return Err(error),
                Err(Unreadable::Forbidden) => {}
            }
            // A consumer says it of a topic only once.
            self.consumer = make_consumer(&self.consumer_config)?;
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
        Ok(forbidden)
    }

    /// Takes out of `unread` what is read.
    fn read_part(&self, unread: &mut Unread, met: &mut dyn FnMut(Met)) -> Result<(), Unreadable> {
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
        let read = self.consume(unread, met);
        self.consumer.unassign().map_err(failed)?;
        read
    }

    /// Until every end is reached.
    fn consume(&self, unread: &mut Unread, met: &mut dyn FnMut(Met)) -> Result<(), Unreadable> {
        let mut give_up_at = now() + SILENCE_MAX;
        let mut look_at: Option<Instant> = None;
        while !unread.is_empty() {
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
            let wait = until.saturating_duration_since(now());
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
                let id = id_of(&message);
                met(Met { span, offset, id });
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

#[expect(
    clippy::disallowed_methods,
    reason = "a shell: it waits for another program's answer"
)]
fn now() -> Instant {
    Instant::now()
}

/// Begin or end of a topic, or why it may not be read.
type Bound = Result<i64, String>;
/// By topic.
type Unread = BTreeMap<String, UnreadTopic>;

struct UnreadTopic {
    span: usize,
    next: i64,
    end: i64,
}

enum Unreadable {
    /// One of the topics at least.
    Forbidden,
    Other(BrokerError),
}

impl From<BrokerError> for Unreadable {
    fn from(error: BrokerError) -> Self {
        Self::Other(error)
    }
}

const MAY_NOT_BE_READ: &str = "may not be read (topic authorization failed): what is in it must be known, or it would get records twice";

fn is_forbidden(error: &KafkaError) -> bool {
    has_code(error, RDKafkaErrorCode::TopicAuthorizationFailed)
}

fn has_code(error: &KafkaError, code: RDKafkaErrorCode) -> bool {
    error.rdkafka_error_code() == Some(code)
}

const REFUSED_TOPIC: [RDKafkaErrorCode; 4] = [
    RDKafkaErrorCode::InvalidTopic,
    RDKafkaErrorCode::PolicyViolation,
    RDKafkaErrorCode::TopicAuthorizationFailed,
    RDKafkaErrorCode::InvalidConfig,
];

impl Broker for KafkaBroker {
    fn ensure(&mut self, topics: &[&str]) -> Result<Vec<Ensured>, BrokerError> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let existing = self.existing()?;
        let missing: Vec<&str> = topics
            .iter()
            .copied()
            .filter(|topic| !existing.contains(*topic))
            .collect();
        let mut made = BTreeMap::new();
        for some in missing.chunks(CREATE_MAX) {
            made.extend(self.create(some)?);
        }
        if !missing.is_empty() {
            self.existing()?;
        }
        let answer = |topic: &&str| made.get(*topic).cloned().unwrap_or(Ensured::Existed);
        Ok(topics.iter().map(answer).collect())
    }

    fn read_back(
        &mut self,
        spans: &[Span],
        met: &mut dyn FnMut(Met),
    ) -> Result<Vec<Bound>, BrokerError> {
        let mut ends = self.settled_ends(spans)?;
        let begins = self.bounds(spans, Offset::Beginning)?;
        let mut unread = Unread::new();
        for (ix, ((span, end), begin)) in spans.iter().zip(&ends).zip(begins).enumerate() {
            let (&Ok(end), Ok(begin)) = (end, begin) else {
                continue;
            };
            // A topic that ends before the span begins was made anew.
            let from = span
                .from
                .filter(|&from| from <= end)
                .unwrap_or(begin)
                .max(begin);
            if from < end {
                let topic = UnreadTopic {
                    span: ix,
                    next: from,
                    end,
                };
                unread.insert(span.topic.clone(), topic);
            }
        }
        for ix in self.read(unread, met)? {
            ends[ix] = Err(MAY_NOT_BE_READ.to_owned());
        }
        Ok(ends)
    }

    fn send(&mut self, record: &Outgoing<'_>) -> Result<(), SendError> {
        let &Outgoing {
            output,
            topic,
            instance,
            schema,
            id,
            event_time,
            class,
            datum,
            token,
        } = record;
        let topic = self.number(output, topic);
        let frame = wire::frame(schema);
        let (id, time) = (wire::encode_id(id), wire::encode_time(event_time));
        let key = instance.map(|instance| instance.to_string());
        let headers = [
            (HEADER_ID, id.as_slice()),
            (HEADER_TIME, time.as_slice()),
            (HEADER_CLASS, wire::class_text(class).as_bytes()),
        ];
        let record = Record {
            key: key.as_deref().map(str::as_bytes),
            value: [&frame, datum],
            headers: &headers,
        };
        let sent = self
            .tenure
            .while_it_lasts(|| self.producer.send(topic, &record, pack(output, token)));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(efd_central_producer::SendError::Full)) => Err(SendError::Full),
            Some(Err(error @ efd_central_producer::SendError::TooLarge { .. })) => {
                Err(SendError::Refused(Refusal::Record(error.to_string())))
            }
            Some(Err(error @ efd_central_producer::SendError::Closed)) => {
                // What was fatal comes with the next poll.
                Err(SendError::Failed(BrokerError::Fatal(error.to_string())))
            }
            None => {
                let reason = "another process may have taken over".to_owned();
                Err(SendError::Failed(BrokerError::Fatal(reason)))
            }
        }
    }

    fn flush(&mut self) {
        self.producer.flush();
    }

    fn poll(&mut self, wait: Duration, acks: &mut Vec<Ack>) -> Result<(), BrokerError> {
        self.producer
            .poll(wait, &mut self.acks)
            .map_err(|Fatal(reason)| BrokerError::Fatal(reason))?;
        acks.extend(self.acks.drain(..).map(ack_of));
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        self.producer.trouble()
    }
}

fn id_of(message: &BorrowedMessage<'_>) -> Option<efd_shared_model::RecordId> {
    let headers = message.headers()?;
    let id = headers.iter().find(|header| header.key == HEADER_ID)?;
    wire::decode_id(id.value?)
}
