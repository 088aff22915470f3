use std::time::Instant;

use efd_central_log::{Class, EmbeddedLog};
use efd_shared_model::block::Codec;
use efd_shared_model::{
    BlockBuilder, ClockState, EdgeId, EventTimeOrigin, Lane, LaneKind, RecordStamps, TopicKind,
    UtcNanos,
};

use super::*;

fn edge_lane(edge: u8) -> EpochLane {
    EpochLane {
        edge: EdgeId([edge; 16]),
        epoch: EpochId([edge; 16]),
        lane: Lane::new(LaneKind::Events),
    }
}

fn declaration(edge: u8) -> (EpochDeclaration, StreamDeclaration, Schema) {
    let schema = Schema::new("\"long\"");
    let epoch = EpochDeclaration {
        edge: EdgeId([edge; 16]),
        site: "summit".parse().unwrap(),
        epoch: EpochId([edge; 16]),
        parent: None,
        began: ClockState::default(),
        software: "test".into(),
    };
    let stream = StreamDeclaration {
        number: StreamNumber(1),
        topic: "t".into(),
        dds_topic: String::new(),
        dds_type: String::new(),
        kind: TopicKind::Event,
        schema: schema.fingerprint(),
    };
    (epoch, stream, schema)
}

fn block(edge: u8, number: u64) -> SealedBlock {
    let stamps = RecordStamps {
        event_time: UtcNanos(1),
        origin: EventTimeOrigin::SndStamp,
        implausible: false,
        latin1: false,
        instance: None,
    };
    let mut builder = BlockBuilder::new();
    builder.datum(StreamNumber(1)).push(1);
    builder.finish(StreamNumber(1), stamps);
    let id = edge_lane(edge).block(BlockNumber(number));
    builder
        .seal(id, ClockState::default(), Codec::None, 1)
        .unwrap()
}

struct Bench {
    _folder: tempfile::TempDir,
    appender: Appender,
    stop: Stop,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = efd_shared_store::Options::default();
        let (log, _) =
            EmbeddedLog::open(folder.path().to_owned(), options, || UtcNanos(1)).unwrap();
        let stop = Stop::new();
        let appender = Appender::start(Arc::new(log), stop.clone()).unwrap();
        Self {
            _folder: folder,
            appender,
            stop,
        }
    }

    fn send(&self, request: Request) {
        self.appender.requests.blocking_send(request).unwrap();
    }

    fn append(&self, edge: u8, number: u64, reply: &mpsc::Sender<Durable>) {
        let partition = Partition {
            site: "summit".parse().unwrap(),
            shard: 0,
            class: Class::Live,
        };
        self.send(Request::Append {
            partition,
            block: block(edge, number),
            reply: reply.clone(),
        });
    }

    fn declare(&self, edge: u8, software: &str, reply: &mpsc::Sender<Durable>) {
        let (mut epoch, stream, schema) = declaration(edge);
        epoch.software = software.into();
        self.send(Request::Declare {
            epoch,
            streams: vec![stream],
            schemas: vec![schema],
            reply: reply.clone(),
        });
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.ask("the test is over");
    }
}

/// Within seconds, or never: an append thread that tries for ever must not hang the test.
#[expect(clippy::disallowed_methods, reason = "a test's deadline")]
fn next(replies: &mut mpsc::Receiver<Durable>) -> Durable {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if let Ok(durable) = replies.try_recv() {
            return durable;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("no answer: the append thread is stuck");
}

/// The thread is everybody's: what one edge sends may cost that edge its session, and nobody else anything.
#[test]
fn a_block_that_the_log_never_takes_harms_its_edge_alone() {
    let bench = Bench::new();
    let (bad, mut bad_in) = mpsc::channel(16);
    let (good, mut good_in) = mpsc::channel(16);
    bench.declare(1, "test", &bad);
    bench.declare(2, "test", &good);
    assert!(matches!(next(&mut bad_in), Durable::Declared { .. }));
    assert!(matches!(next(&mut good_in), Durable::Declared { .. }));
    // More than SQLite's integers hold; of an epoch that nobody declared.
    for (edge, number) in [(1, u64::MAX - 1), (1, 1 << 63), (9, 1)] {
        bench.append(2, number % 1000 + 1, &good);
        bench.append(edge, number, &bad);
        let refused = next(&mut bad_in);
        assert!(
            matches!(&refused, Durable::Refused { number: found, reason, .. }
                if found.0 == number && !reason.is_empty()),
            "{refused:?}"
        );
        let appended = Durable::Appended {
            lane: edge_lane(2),
            number: BlockNumber(number % 1000 + 1),
        };
        assert_eq!(next(&mut good_in), appended);
    }
    assert_eq!(*bench.appender.room().borrow(), ROOM_BYTES);
    let counters = bench.appender.counters();
    assert_eq!(counters.refused.load(Ordering::Relaxed), 3);
    assert_eq!(counters.failures.load(Ordering::Relaxed), 0);
}

#[test]
fn a_declaration_that_contradicts_is_answered() {
    let bench = Bench::new();
    let (reply, mut replies) = mpsc::channel(16);
    bench.declare(1, "test", &reply);
    assert!(matches!(next(&mut replies), Durable::Declared { .. }));
    bench.declare(1, "another", &reply);
    let refused = next(&mut replies);
    assert!(
        matches!(&refused, Durable::DeclareRefused { reason, .. } if !reason.is_empty()),
        "{refused:?}"
    );
    bench.append(1, 1, &reply);
    assert!(matches!(next(&mut replies), Durable::Appended { .. }));
}
