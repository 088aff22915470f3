//! The seam to Kafka, by librdkafka. Only here is rdkafka named.

mod acks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use efd_central_kafka::{Quiet, block_on, reason};
use efd_central_log::Tenure;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, PurgeConfig, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::{Ack, Broker, BrokerError, Ensured, Met, Outgoing, SendError, Span};
use crate::options::{FeedOptions, RECORD_BYTES_MAX, TopicSettings};
use crate::probe::Cluster;
use crate::wire::{self, HEADER_CLASS, HEADER_ID, HEADER_TIME};

use acks::{Acks, Judged, judge, pack};

/// Our topics have one partition: order is by topic.
const PARTITION: i32 = 0;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Topics made by one request: a few seconds of work for a small cluster.
const CREATE_MAX: usize = 500;
const CREATE_WITHIN: Duration = Duration::from_secs(60);
/// Reading back gives up after nothing has come for this long.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Rounds of [`FeedOptions::settle`] before ends that keep moving are taken to be another's work.
const SETTLE_ROUNDS_MAX: u32 = 20;

/// One connection: producer, consumer for reading back, administration.
pub(crate) struct KafkaBroker {
    producer: Arc<ThreadedProducer<Acks>>,
    tenure: Tenure,
    consumer: BaseConsumer<Quiet>,
    admin: AdminClient<Quiet>,
    topics: TopicSettings,
    settle: Option<Duration>,
    frame: Vec<u8>,
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
        let mut common = ClientConfig::new();
        common
            .set("bootstrap.servers", &options.brokers)
            .set("client.id", "efd-feed")
            // A consumer must have one; no group is ever joined, nothing is ever committed.
            .set("group.id", "efd-feed-read-back")
            .set_log_level(RDKafkaLogLevel::Notice);
        // What is said of producers only, a consumer ignores, and the other way round.
        let with_users = |config: &mut ClientConfig| {
            for (name, value) in options.librdkafka.iter() {
                config.set(name, value);
            }
        };
        with_users(&mut common);

        let mut config = common.clone();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Never given up by time: a record that timed out may be in the topic.
            .set("message.timeout.ms", "0")
            .set("message.max.bytes", RECORD_BYTES_MAX.to_string())
            // Below the broker's own default limit for a batch.
            .set("batch.size", "1000000")
            .set("linger.ms", "5")
            .set("compression.type", "lz4")
            .set("reconnect.backoff.max.ms", "2000")
            .set(
                "queue.buffering.max.messages",
                options.in_flight_records_max.to_string(),
            )
            .set(
                "queue.buffering.max.kbytes",
                (options.in_flight_bytes_max >> 10).max(1).to_string(),
            );
        with_users(&mut config);
        let producer: ThreadedProducer<Acks> = config
            .create_with_context(Acks::default())
            .map_err(unavailable("make producer"))?;
        let producer = Arc::new(producer);
        let recalled = Arc::downgrade(&producer);
        tenure.at_end(move || {
            if let Some(producer) = recalled.upgrade() {
                producer.purge(PurgeConfig::default().queue().inflight());
            }
        });

        let mut config = common.clone();
        config
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            .set("fetch.message.max.bytes", "4194304")
            .set("queued.max.messages.kbytes", "16384");
        let consumer = config
            .create_with_context(Quiet)
            .map_err(unavailable("make consumer"))?;
        let admin = common
            .create_with_context(Quiet)
            .map_err(unavailable("make admin client"))?;
        Ok(Self {
            producer,
            tenure,
            consumer,
            admin,
            topics: options.topics.clone(),
            settle: Some(options.settle),
            frame: Vec::new(),
        })
    }

    /// Who is there.
    pub(crate) fn cluster(&self, within: Duration) -> Result<Cluster, BrokerError> {
        let metadata = self.producer.client().fetch_metadata(None, within);
        let metadata = metadata.map_err(|error| {
            // librdkafka's own error says only that there was no answer.
            let trouble = self.producer.context().trouble();
            BrokerError::Unavailable(trouble.unwrap_or_else(|| error.to_string()))
        })?;
        let brokers = metadata.brokers().iter();
        Ok(Cluster {
            brokers: brokers
                .map(|broker| format!("{}:{}", broker.host(), broker.port()))
                .collect(),
            topics: metadata.topics().len(),
        })
    }

    /// Topics that the cluster has. Fills the producer's cache too.
    fn existing(&self) -> Result<BTreeSet<String>, BrokerError> {
        let metadata = self.producer.client().fetch_metadata(None, ANSWER_WITHIN);
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
    fn bounds(&self, spans: &[Span], which: Offset) -> Result<Vec<i64>, BrokerError> {
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
        let of_topic: BTreeMap<String, Offset> = answer
            .elements()
            .iter()
            .filter(|element| element.error().is_ok())
            .map(|element| (element.topic().to_owned(), element.offset()))
            .collect();
        let found = spans.iter().map(|span| match of_topic.get(&span.topic) {
            Some(Offset::Offset(offset)) => Ok(*offset),
            Some(_) | None => Err(BrokerError::Unavailable(format!(
                "ask for offsets of {}: no answer",
                span.topic
            ))),
        });
        found.collect()
    }

    fn settled_ends(&mut self, spans: &[Span]) -> Result<Vec<i64>, BrokerError> {
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

    /// Reads `unread` (topic → span, end) until every end is reached.
    fn consume(
        &self,
        mut unread: BTreeMap<String, (usize, i64)>,
        met: &mut dyn FnMut(Met),
    ) -> Result<(), BrokerError> {
        while !unread.is_empty() {
            let message = match self.consumer.poll(SILENCE_MAX) {
                Some(Ok(message)) => message,
                // The consumer was assigned; the end of any partition is noted here too.
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    self.drop_finished(&mut unread)?;
                    continue;
                }
                Some(Err(error)) => return Err(unavailable("read back")(error)),
                None => {
                    let (count, limit) = (unread.len(), SILENCE_MAX);
                    let reason = format!(
                        "read back: nothing came for {limit:.0?}, {count} topics are not read"
                    );
                    return Err(BrokerError::Unavailable(reason));
                }
            };
            let Some(&(span, end)) = unread.get(message.topic()) else {
                continue;
            };
            let offset = message.offset();
            if offset < end {
                let id = id_of(&message);
                met(Met { span, offset, id });
            }
            if end <= offset + 1 {
                unread.remove(message.topic());
            }
        }
        Ok(())
    }

    /// Topics whose last offsets hold nothing (compacted, aborted) end without a message.
    fn drop_finished(
        &self,
        unread: &mut BTreeMap<String, (usize, i64)>,
    ) -> Result<(), BrokerError> {
        let positions = self.consumer.position().map_err(unavailable("read back"))?;
        for element in positions.elements() {
            if let Offset::Offset(position) = element.offset()
                && unread
                    .get(element.topic())
                    .is_some_and(|(_, end)| *end <= position)
            {
                unread.remove(element.topic());
            }
        }
        Ok(())
    }
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
    ) -> Result<Vec<i64>, BrokerError> {
        let ends = self.settled_ends(spans)?;
        let begins = self.bounds(spans, Offset::Beginning)?;
        let mut list = TopicPartitionList::new();
        let mut unread = BTreeMap::new();
        for (ix, ((span, &end), begin)) in spans.iter().zip(&ends).zip(begins).enumerate() {
            // A topic that ends before the span begins was made anew.
            let from = span
                .from
                .filter(|&from| from <= end)
                .unwrap_or(begin)
                .max(begin);
            if from < end {
                let offset = Offset::Offset(from);
                list.add_partition_offset(&span.topic, PARTITION, offset)
                    .map_err(unavailable("read back"))?;
                unread.insert(span.topic.clone(), (ix, end));
            }
        }
        if !unread.is_empty() {
            self.consumer
                .assign(&list)
                .map_err(unavailable("read back"))?;
            let read = self.consume(unread, met);
            self.consumer.unassign().map_err(unavailable("read back"))?;
            read?;
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
        wire::frame(schema, datum, &mut self.frame);
        let (id, time) = (wire::encode_id(id), wire::encode_time(event_time));
        let headers = OwnedHeaders::new_with_capacity(3)
            .insert(header(HEADER_ID, &id))
            .insert(header(HEADER_TIME, &time))
            .insert(header(HEADER_CLASS, wire::class_text(class).as_bytes()));
        let key = instance.map(|instance| instance.to_string());
        let message = BaseRecord::<str, [u8], usize>::with_opaque_to(topic, pack(output, token))
            .partition(PARTITION)
            .payload(&self.frame)
            .headers(headers);
        let message = match &key {
            Some(key) => message.key(key.as_str()),
            None => message,
        };
        let sent = self.tenure.while_it_lasts(|| self.producer.send(message));
        let Some(sent) = sent else {
            let reason = "another process may have taken over".to_owned();
            return Err(SendError::Failed(BrokerError::Fatal(reason)));
        };
        sent.map_err(|(error, _)| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => SendError::Full,
            _ => match judge(&error) {
                Judged::Refused(refusal) => SendError::Refused(refusal),
                Judged::Unknown(reason) => SendError::Failed(BrokerError::Fatal(reason)),
            },
        })
    }

    fn poll(&mut self, wait: Duration, acks: &mut Vec<Ack>) -> Result<(), BrokerError> {
        self.producer.context().take(wait, acks)
    }

    fn trouble(&self) -> Option<String> {
        self.producer.context().trouble()
    }
}

fn header<'a>(key: &'a str, value: &'a [u8]) -> Header<'a, &'a [u8]> {
    Header {
        key,
        value: Some(value),
    }
}

fn id_of(message: &BorrowedMessage<'_>) -> Option<efd_shared_model::RecordId> {
    let headers = message.headers()?;
    let id = headers.iter().find(|header| header.key == HEADER_ID)?;
    wire::decode_id(id.value?)
}
