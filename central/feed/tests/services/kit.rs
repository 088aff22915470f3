//! Services, a running feed, and the reader that judges.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use efd_central_feed::wire::{HEADER_CLASS, HEADER_ID, HEADER_TIME, decode_id};
use efd_central_feed::{Feed, FeedOptions, Status, StatusReader, Stop, TopicFormat};
use efd_central_kafka::Connection;
use efd_central_log::MemoryLog;
use efd_shared_model::{RecordId, UtcNanos};
use efd_tests_testkit::services::{Kafka, KafkaOptions, Registry, RegistryOptions};
use efd_tests_testkit::tmp::WorkDir;
use efd_tests_testkit::{skip, wait_until};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, Timestamp};
use rdkafka::{Offset, TopicPartitionList};

use crate::common::Spec;

pub(crate) const SOON: Duration = Duration::from_secs(120);

pub(crate) struct Services {
    pub(crate) kafka: Kafka,
    pub(crate) registry: Registry,
}

static SERVICES: Mutex<Option<Services>> = Mutex::new(None);

/// One broker and one registry for all tests, one test at a time; each uses topics of its own. `None`: the test cannot
/// run here, and has said so.
pub(crate) fn services(test: &str) -> Option<Shared> {
    if std::env::var_os("EFD_NO_SERVICES").is_some() {
        skip(test, &"EFD_NO_SERVICES is set");
        return None;
    }
    let mut shared = SERVICES.lock().unwrap_or_else(PoisonError::into_inner);
    if shared.is_none() {
        let dir = WorkDir::new("feed-services").unwrap();
        let kafka = Kafka::start(&dir.join("kafka"), KafkaOptions::default()).unwrap();
        let registry = Registry::start(&dir.join("registry"), RegistryOptions::default()).unwrap();
        *shared = Some(Services { kafka, registry });
    }
    Some(Shared(shared))
}

pub(crate) struct Shared(MutexGuard<'static, Option<Services>>);

impl std::ops::Deref for Shared {
    type Target = Services;
    fn deref(&self) -> &Services {
        self.0.as_ref().unwrap()
    }
}

impl std::ops::DerefMut for Shared {
    fn deref_mut(&mut self) -> &mut Services {
        self.0.as_mut().unwrap()
    }
}

/// Short times, one broker, topics `{test}.{site}.{topic}`.
pub(crate) fn options(services: &Services, test: &str, folder: &Path) -> FeedOptions {
    let mut options = FeedOptions::new(
        folder,
        Connection::plaintext(&services.kafka.bootstrap()),
        services.registry.url().as_str(),
    );
    options.topic_format = TopicFormat::new(&format!("{test}.{{site}}.{{topic}}")).unwrap();
    options.topics.replication = 1;
    options.checkpoint_every = Duration::from_millis(300);
    options.retry_after = Duration::from_millis(500);
    options
}

pub(crate) struct Running {
    stop: Stop,
    pub(crate) status: StatusReader,
    thread: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(options: FeedOptions, log: &Arc<MemoryLog>) -> Self {
        let feed = Feed::open(options).unwrap();
        let (stop, status) = (Stop::default(), feed.status());
        let (log, stop_too) = (Arc::clone(log), stop.clone());
        let thread = std::thread::spawn(move || feed.run(log, &stop_too).unwrap());
        Self {
            stop,
            status,
            thread,
        }
    }

    /// Waits until `is_so`.
    pub(crate) fn wait(&self, wanted: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        let came = wait_until(SOON, || is_so(&self.status.read()));
        let status = self.status.read();
        assert!(came, "no {wanted} within {SOON:?}: {status:#?}");
        status
    }

    pub(crate) fn wait_settled(&self, blocks: u64) -> Status {
        self.wait("rest", |status| {
            status.blocks >= blocks && status.lag_blocks == 0
        })
    }

    pub(crate) fn stop(self) -> Status {
        self.stop.set();
        self.thread.join().unwrap();
        self.status.read()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) topic: String,
    pub(crate) id: RecordId,
    pub(crate) key: Option<String>,
    pub(crate) payload: Vec<u8>,
    pub(crate) time: UtcNanos,
    pub(crate) class: String,
    pub(crate) is_log_append_time: bool,
}

/// A leader may just be changing.
fn bounds(consumer: &BaseConsumer, topic: &str) -> (i64, i64) {
    let mut bounds = None;
    wait_until(SOON, || {
        bounds = Some(consumer.fetch_watermarks(topic, 0, SOON));
        matches!(bounds, Some(Ok(_)))
    });
    bounds.unwrap().unwrap()
}

/// Every record of every topic whose name begins with `prefix`, in order within its topic.
pub(crate) fn read_all(services: &Services, prefix: &str) -> Vec<Read> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", services.kafka.bootstrap())
        .set("group.id", "judge")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(None, SOON).unwrap();
    let topics: Vec<&str> = metadata
        .topics()
        .iter()
        .map(|t| t.name())
        .filter(|t| t.starts_with(prefix))
        .collect();
    let mut list = TopicPartitionList::new();
    let mut ends = BTreeMap::new();
    for topic in topics {
        let (low, high) = bounds(&consumer, topic);
        if low < high {
            list.add_partition_offset(topic, 0, Offset::Offset(low))
                .unwrap();
            ends.insert(topic.to_owned(), high);
        }
    }
    consumer.assign(&list).unwrap();
    let mut read = Vec::new();
    while !ends.is_empty() {
        let message = consumer.poll(SOON).expect("a record in time").unwrap();
        let header = |name: &str| {
            let headers = message.headers().unwrap();
            headers
                .iter()
                .find(|h| h.key == name)
                .unwrap()
                .value
                .unwrap()
                .to_vec()
        };
        read.push(Read {
            topic: message.topic().to_owned(),
            id: decode_id(&header(HEADER_ID)).unwrap(),
            key: message
                .key()
                .map(|key| String::from_utf8(key.to_vec()).unwrap()),
            payload: message.payload().unwrap().to_vec(),
            time: UtcNanos(i64::from_be_bytes(header(HEADER_TIME).try_into().unwrap())),
            class: String::from_utf8(header(HEADER_CLASS)).unwrap(),
            is_log_append_time: matches!(message.timestamp(), Timestamp::LogAppendTime(_)),
        });
        if ends[message.topic()] <= message.offset() + 1 {
            ends.remove(message.topic());
        }
    }
    read
}

/// The law: the records of blocks `1..=through`, each once, in the topic of its stream, in order.
pub(crate) fn check_law(spec: Spec, through: u64, read: &[Read]) {
    let expected = spec.expected(through);
    let mut found = BTreeMap::new();
    let mut duplicates = 0;
    let mut last: BTreeMap<(&str, &str), RecordId> = BTreeMap::new();
    for record in read {
        let stream = record
            .topic
            .rsplit('.')
            .find(|part| part.starts_with('t'))
            .unwrap();
        let value = (
            stream.to_owned(),
            crate::common::decode(&record.payload[5..]),
        );
        duplicates += u32::from(found.insert(record.id, value).is_some());
        let previous = last.insert((&record.topic, &record.class), record.id);
        assert!(
            previous.is_none_or(|previous| previous <= record.id),
            "{} after {previous:?}",
            record.id
        );
    }
    let missing = expected.keys().filter(|id| !found.contains_key(id)).count();
    let (records, expected_records) = (read.len(), expected.len());
    assert_eq!(
        (missing, duplicates),
        (0, 0),
        "missing, duplicates: {records} records, {expected_records} expected"
    );
    assert!(
        found == expected,
        "a record is in a wrong topic or has a wrong value"
    );
}

/// Waits for one of the admin client's futures.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&waker))
        {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
