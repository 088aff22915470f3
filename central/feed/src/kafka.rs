//! The seam to Kafka, by librdkafka. Only here, and below, is rdkafka named.

mod acks;
pub(crate) mod reader;

use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use efd_central_kafka::{Connection, Quiet, block_on, reason};
use efd_central_log::Tenure;
use efd_central_producer::{Fatal, Limits, Producer, Record, TopicIx};
use rdkafka::Offset;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::broker::{
    Ack, Broker, BrokerError, Ensured, Met, Outgoing, OutputIx, Refusal, SendError, Span,
};
use crate::options::{FeedOptions, RECORD_BYTES_MAX, TopicSettings};
use crate::probe::Cluster;
use crate::wire::{self, HEADER_CLASS, HEADER_ID, HEADER_TIME};

use acks::{ack_of, pack};
use reader::{Bound, MAY_NOT_BE_READ, Reader, Unread, UnreadTopic};

/// Our topics have one partition: order is by topic.
pub(crate) const PARTITION: i32 = 0;
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Topics made by one request: a few seconds of work for a small cluster.
const CREATE_MAX: usize = 500;
const CREATE_WITHIN: Duration = Duration::from_secs(60);
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
    reader: Reader,
    admin: AdminClient<Quiet>,
    topics: TopicSettings,
    settle: Option<Duration>,
}

impl fmt::Debug for KafkaBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaBroker").finish_non_exhaustive()
    }
}

pub(crate) fn unavailable(action: &'static str) -> impl Fn(KafkaError) -> BrokerError {
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

        let admin = make_admin(&options.kafka)?;
        Ok(Self {
            producer,
            numbers: Vec::new(),
            acks: Vec::new(),
            tenure,
            reader: Reader::connect(&options.kafka)?,
            admin,
            topics: options.topics.clone(),
            settle: Some(options.settle),
        })
    }

    /// Who is there.
    pub(crate) fn cluster(&self, within: Duration) -> Result<Cluster, BrokerError> {
        let metadata = self.reader.metadata(within);
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

    fn settled_ends(&mut self, spans: &[Span]) -> Result<Vec<Bound>, BrokerError> {
        let topics = topics_of(spans);
        let mut ends = self.reader.bounds(&topics, Offset::End)?;
        // A session without a checkpoint begins with nothing to read: the wait is for the first topics that it finds.
        if spans.is_empty() {
            return Ok(ends);
        }
        let Some(settle) = self.settle.take() else {
            return Ok(ends);
        };
        for _ in 0..SETTLE_ROUNDS_MAX {
            thread::sleep(settle);
            let later = self.reader.bounds(&topics, Offset::End)?;
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
}

pub(crate) fn make_admin(kafka: &Connection) -> Result<AdminClient<Quiet>, BrokerError> {
    kafka
        .config("efd-feed")
        .create_with_context(Quiet)
        .map_err(unavailable("make admin client"))
}

fn topics_of(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.topic.as_str()).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a shell: it waits for another program's answer"
)]
fn now() -> Instant {
    Instant::now()
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
        let existing = self.reader.topics()?;
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
            self.reader.topics()?;
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
        let begins = self.reader.bounds(&topics_of(spans), Offset::Beginning)?;
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
        let forbidden = self.reader.read(unread, met, &|| true)?;
        for ix in forbidden.unwrap_or_default() {
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
