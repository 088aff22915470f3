use std::sync::atomic::AtomicI64;

use efd_central_log::{Class, EmbeddedLog, Partition, Place};
use efd_shared_model::block::Codec;
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EventTimeOrigin,
    Lane, LaneKind, RecordStamps, Schema, SealedBlock, StreamDeclaration, StreamNumber, TopicKind,
    UtcNanos,
};

use super::*;

const LANE: EpochLane = EpochLane {
    edge: EdgeId([1; 16]),
    epoch: EpochId([2; 16]),
    lane: Lane::new(LaneKind::Events),
};
const BLOCKS: u64 = 5;
const RETAIN: Keep = Keep {
    age_max: Duration::from_secs(60),
    bytes_max: u64::MAX,
};

static NOW: AtomicI64 = AtomicI64::new(1_800_000_000_000_000_000);

fn block(number: u64) -> SealedBlock {
    let mut builder = BlockBuilder::new();
    builder.datum(StreamNumber(1)).push(number as u8);
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

fn partition() -> Partition {
    Partition {
        site: "summit".parse().unwrap(),
        shard: 0,
        class: Class::Live,
    }
}

/// A segment for each of `BLOCKS` blocks.
fn log(folder: &Path) -> EmbeddedLog {
    let options = efd_shared_store::Options {
        segment_bytes_max: 1,
        ..Default::default()
    };
    let clock = || UtcNanos(NOW.load(Ordering::Relaxed));
    let (log, _) = EmbeddedLog::open(folder.to_owned(), options, clock).unwrap();
    let schema = Schema::new("\"long\"");
    let stream = StreamDeclaration {
        number: StreamNumber(1),
        topic: "t".into(),
        dds_topic: String::new(),
        dds_type: String::new(),
        kind: TopicKind::Event,
        schema: schema.fingerprint(),
    };
    let epoch = EpochDeclaration {
        edge: LANE.edge,
        site: "summit".parse().unwrap(),
        epoch: LANE.epoch,
        parent: None,
        began: ClockState::default(),
        software: "test".into(),
    };
    log.declare(&epoch, &[stream], &[schema]).unwrap();
    for number in 1..=BLOCKS {
        log.append(&[(partition(), block(number))]).unwrap();
    }
    log.maintain();
    log
}

/// A consumer whose next place is in the hands of the test.
fn consumer(name: &'static str) -> (Consumer, Arc<Mutex<Place>>) {
    let place = Arc::new(Mutex::new(Place::FIRST));
    let shared = Arc::clone(&place);
    let settled = move || {
        Some(Progress {
            places: [(partition(), *lock(&shared))].into(),
            ..Progress::default()
        })
    };
    let consumer = Consumer {
        name,
        shard: Shard::WHOLE,
        settled: Box::new(settled),
    };
    (consumer, place)
}

#[test]
fn an_old_segment_leaves_when_lake_and_feed_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(folder.path());
    let first = || log.bounds(&partition()).unwrap().0;
    let ((lake, lake_at), (feed, feed_at)) = (consumer("lake"), consumer("feed"));
    let consumers = [lake, feed];
    *lock(&lake_at) = Place(5);
    *lock(&feed_at) = Place(3);

    forget_old(&log, &consumers, &RETAIN);
    assert_eq!(first(), Place(1), "nothing is old yet");
    NOW.fetch_add(61_000_000_000, Ordering::Relaxed);
    forget_old(&log, &consumers, &RETAIN);
    assert_eq!(first(), Place(3), "the feed still needs the third");
    *lock(&feed_at) = Place(6);
    forget_old(&log, &consumers, &RETAIN);
    assert_eq!(first(), Place(5), "the lake still needs the fifth");
}

fn ended(work: impl FnOnce() -> Result<()>) -> (Result<()>, Option<String>) {
    let mut told = None;
    let result = watched("lake", |reason| told = Some(reason), work);
    (result, told)
}

#[test]
fn a_consumer_that_ends_by_itself_is_told() {
    let (result, told) = ended(|| Ok(()));
    assert!(result.is_ok() && told.is_none());
    let (result, told) = ended(|| Err(anyhow!("no disk").context("commit")));
    assert!(result.is_err());
    assert_eq!(told.as_deref(), Some("commit: no disk"));
    let (result, told) = ended(|| panic!("on purpose"));
    assert!(result.is_err());
    assert!(told.unwrap().contains("panicked"));
}
