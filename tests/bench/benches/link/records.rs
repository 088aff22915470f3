//! Records in a broker: counted by their offsets, read, and put into another.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

/// In the order of their event time.
pub(crate) type Records = Vec<Record>;

pub(crate) struct Record {
    /// Without the site.
    topic: String,
    /// Event time, UTC ns.
    time: i64,
    value: Vec<u8>,
}

/// How many records each topic has had.
pub(crate) type Ends = BTreeMap<String, u64>;

const SOON: Duration = Duration::from_secs(60);

pub(crate) fn mean_bytes(records: &[Record]) -> f64 {
    let bytes: usize = records.iter().map(|record| record.value.len()).sum();
    bytes as f64 / records.len() as f64
}

/// By name.
pub(crate) fn topics(phases: &[Records]) -> BTreeSet<String> {
    let records = phases.iter().flatten();
    records.map(|record| record.topic.clone()).collect()
}

fn consumer(brokers: &str) -> Result<BaseConsumer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "counts")
        .set("enable.auto.commit", "false")
        .create()?)
}

/// Of the topics whose names begin so; the begin is left out of the names. By the broker's own offsets.
pub(crate) fn ends(brokers: &str, begin: &str) -> Result<Ends> {
    let consumer = consumer(brokers)?;
    let metadata = consumer.fetch_metadata(None, SOON)?;
    let mut ends = Ends::new();
    for topic in metadata.topics() {
        let Some(name) = topic.name().strip_prefix(begin) else {
            continue;
        };
        ensure!(topic.partitions().len() == 1, "partitions of {name}");
        let (low, high) = consumer.fetch_watermarks(topic.name(), 0, SOON)?;
        ensure!(low == 0, "{name} begins with {low}");
        ends.insert(name.to_owned(), u64::try_from(high)?);
    }
    Ok(ends)
}

/// Waits until the broker has as many of each as `wanted`, and not one more.
pub(crate) fn arrived(brokers: &str, begin: &str, wanted: &Ends, within: Duration) -> Result<()> {
    let began = Instant::now();
    loop {
        // A topic may be in the making.
        let ends = ends(brokers, begin).unwrap_or_default();
        let are_there =
            |(name, records): (&String, &u64)| ends.get(name).is_some_and(|end| end >= records);
        if wanted.iter().all(are_there) {
            ensure!(
                ends == *wanted,
                "more than was wanted: {ends:?}, not {wanted:?}"
            );
            return Ok(());
        }
        ensure!(
            began.elapsed() < within,
            "not there within {within:?}: {ends:?} of {wanted:?}"
        );
        thread::sleep(Duration::from_millis(200));
    }
}

/// All records of these topics, split at these ends, each of which includes those before.
pub(crate) fn read(brokers: &str, begin: &str, phases: &[Ends]) -> Result<Vec<Records>> {
    let consumer = consumer(brokers)?;
    let mut list = TopicPartitionList::new();
    let all = phases.last().context("no phases")?;
    for name in all.keys() {
        list.add_partition_offset(&format!("{begin}{name}"), 0, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut records: Vec<Records> = phases.iter().map(|_| Records::new()).collect();
    for _ in 0..all.values().sum() {
        let message = consumer.poll(SOON).context("no more records")??;
        let topic = message.topic().strip_prefix(begin).context("a topic")?;
        let headers = message.headers().context("a record without headers")?;
        let header = headers.iter().find(|header| header.key == "efd.time");
        let time = header
            .and_then(|header| header.value)
            .context("no efd.time")?;
        let offset = u64::try_from(message.offset())?;
        let phase = phases
            .iter()
            .position(|ends| ends.get(topic).is_some_and(|end| offset < *end))
            .context("a record behind the end")?;
        records[phase].push(Record {
            topic: topic.to_owned(),
            time: i64::from_be_bytes(time.try_into()?),
            value: message.payload().context("no value")?.to_vec(),
        });
    }
    for records in &mut records {
        records.sort_by_key(|record| record.time);
    }
    Ok(records)
}

/// How they are put into a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    AtOnce,
    /// As they were published.
    Live,
}

/// `linger_ms`: how long a record waits for others of its topic. The broker decides about compression.
pub(crate) fn put(brokers: &str, records: &[Record], pace: Pace, linger_ms: u32) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("acks", "1")
        .set("linger.ms", linger_ms.to_string())
        .set("queue.buffering.max.messages", "1000000")
        .create()?;
    let first = records.first().context("no records")?.time;
    let began = Instant::now();
    for record in records {
        if pace == Pace::Live {
            let due = Duration::from_nanos(u64::try_from(record.time - first)?);
            thread::sleep(due.saturating_sub(began.elapsed()));
        }
        let mut message = BaseRecord::<(), [u8]>::to(&record.topic).payload(&record.value);
        while let Err((error, unsent)) = producer.send(message) {
            ensure!(
                error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull),
                "put: {error}"
            );
            message = unsent;
            thread::sleep(Duration::from_millis(5));
        }
    }
    producer.flush(SOON)?;
    Ok(())
}

/// Makes the topics that they will be put into.
pub(crate) fn make_topics(brokers: &str, names: impl IntoIterator<Item = String>) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()?;
    for name in names {
        let began = Instant::now();
        // To ask for a topic makes it.
        let is_there = || -> Result<bool> {
            let metadata = producer.client().fetch_metadata(Some(&name), SOON)?;
            let topic = metadata.topics().first().context("no answer")?;
            Ok(topic.error().is_none() && topic.partitions().len() == 1)
        };
        while !is_there()? {
            ensure!(began.elapsed() < SOON, "{name} is not made");
            thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}
