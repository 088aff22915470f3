//! Blocks, declarations, and a broker that this test has to itself.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use efd_central_kafka::Connection;
use efd_central_log::{Class, KafkaLog, KafkaOptions, Partition, TopicSettings};
use efd_shared_model::block::Codec;
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EventTimeOrigin,
    Lane, LaneKind, RecordStamps, Schema, SealedBlock, StreamDeclaration, StreamNumber, TopicKind,
    UtcNanos,
};
use efd_tests_testkit::services::{Kafka, KafkaOptions as BrokerOptions};
use efd_tests_testkit::skip;
use efd_tests_testkit::tmp::WorkDir;

pub(crate) const LANE: EpochLane = EpochLane {
    edge: EdgeId([1; 16]),
    epoch: EpochId([2; 16]),
    lane: Lane::new(LaneKind::Events),
};

pub(crate) fn block(number: u64) -> SealedBlock {
    let mut builder = BlockBuilder::new();
    builder
        .datum(StreamNumber(1))
        .extend_from_slice(&number.to_be_bytes());
    let stamps = RecordStamps {
        event_time: UtcNanos(1),
        origin: EventTimeOrigin::SndStamp,
        implausible: false,
        latin1: false,
        instance: None,
    };
    builder.finish(StreamNumber(1), stamps);
    let id = LANE.block(BlockNumber(number));
    builder
        .seal(id, ClockState::default(), Codec::None, 1)
        .unwrap()
}

pub(crate) fn epoch() -> EpochDeclaration {
    EpochDeclaration {
        edge: LANE.edge,
        site: "summit".parse().unwrap(),
        epoch: LANE.epoch,
        parent: None,
        began: ClockState::default(),
        software: "test".into(),
    }
}

pub(crate) fn schema() -> Schema {
    Schema::new("\"long\"")
}

pub(crate) fn stream(number: u32, topic: &str) -> StreamDeclaration {
    StreamDeclaration {
        number: StreamNumber(number),
        topic: topic.into(),
        dds_topic: String::new(),
        dds_type: String::new(),
        kind: TopicKind::Event,
        schema: schema().fingerprint(),
    }
}

pub(crate) fn partition(class: Class) -> Partition {
    Partition {
        site: "summit".parse().unwrap(),
        shard: 0,
        class,
    }
}

/// One test at a time: each has a broker of its own.
static TURN: Mutex<()> = Mutex::new(());

pub(crate) struct World {
    pub(crate) kafka: Kafka,
    folder: Option<WorkDir>,
    _turn: MutexGuard<'static, ()>,
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            folder.finish().unwrap();
        }
    }
}

/// `None`: the test cannot run here, and has said so.
pub(crate) fn world(test: &str, settings: &[(&str, &str)]) -> Option<World> {
    if std::env::var_os("EFD_NO_SERVICES").is_some() {
        skip(test, &"EFD_NO_SERVICES is set");
        return None;
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = WorkDir::new(test).unwrap();
    let kafka = broker(folder.path(), settings);
    Some(World {
        kafka,
        folder: Some(folder),
        _turn: turn,
    })
}

fn broker(folder: &Path, settings: &[(&str, &str)]) -> Kafka {
    let settings = settings.iter();
    let options = BrokerOptions {
        settings: settings
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..BrokerOptions::default()
    };
    Kafka::start(folder, options).unwrap()
}

pub(crate) fn options(kafka: &Kafka, centre: &str) -> KafkaOptions {
    KafkaOptions {
        connection: Connection::plaintext(&kafka.bootstrap()),
        topics: TopicSettings {
            prefix: "efd.".into(),
            replication: 1,
            min_insync_replicas: 1,
            retain: Duration::from_secs(7 * 86_400),
        },
        centre: centre.to_owned(),
        clock: utc_now,
    }
}

#[expect(clippy::disallowed_methods, reason = "the brokers stamp by this clock")]
pub(crate) fn utc_now() -> UtcNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    UtcNanos(since.unwrap().as_nanos() as i64)
}

pub(crate) fn open(kafka: &Kafka, centre: &str) -> KafkaLog {
    KafkaLog::open(&options(kafka, centre)).unwrap()
}
