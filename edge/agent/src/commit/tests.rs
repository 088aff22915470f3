use std::sync::mpsc::{Receiver, sync_channel};

use efd_shared_model::{
    ClockState, EdgeId, EpochId, EventTimeOrigin, Fingerprint, Lane, LeapTable, Loss, LossReason,
    RecordStamps, StreamDeclaration, StreamNumber, TopicKind,
};
use efd_shared_stats::Resolution;
use efd_shared_store::{Item, Options, Position};

use super::*;
use crate::parked::{Parked, ParkedReason, sal_progress_key};

const EDGE: EdgeId = EdgeId([0xed; 16]);

struct Bench {
    committer: Committer,
    notices: tokio::sync::mpsc::Receiver<Notice>,
    _spare: Receiver<Batch>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(policy: Policy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            // Each block a segment of its own.
            segment_bytes_max: 1,
            ..Options::default()
        };
        let (store, _) = Store::open(folder.path(), options).unwrap();
        let (spare, spare_out) = sync_channel(4);
        let (notices_in, notices) = tokio::sync::mpsc::channel(1024);
        let ten = Resolution::from_seconds(10).unwrap();
        let (reducer, thread) = Reducer::new(store.reader(), ten);
        std::thread::spawn(move || thread.run(&Stop::new()));
        let committer = Committer {
            store,
            options: CommitOptions {
                folder: folder.path().to_owned(),
                compression: 1,
                policy,
                reserve_bytes: 0,
                #[cfg(feature = "sabotage")]
                announce_early: false,
            },
            epoch: EpochDeclaration {
                edge: EDGE,
                site: "summit".parse().unwrap(),
                epoch: EpochId([1; 16]),
                parent: None,
                began: ClockState::default(),
                software: "test".into(),
            },
            clock: ClockReader::new(LeapTable::built_in()).unwrap(),
            activity: Arc::default(),
            reducer,
            meters: Arc::default(),
            recent: Arc::new(Recent::new(1 << 20)),
            statements: Statements::new(Duration::from_secs(3600)),
            state: State::default(),
            spare,
            notices: notices_in,
            stop: Stop::new(),
            next: BTreeMap::new(),
            epoch_declared: false,
            room_due: None,
        };
        Self {
            committer,
            notices,
            _spare: spare_out,
            _folder: folder,
        }
    }

    /// One batch with a block of `records` records, each of 1 kB that does not compress.
    fn commit(&mut self, kind: LaneKind, stream: u32, records: usize) {
        self.commit_to(Lane::new(kind), stream, records);
    }

    fn commit_to(&mut self, lane: Lane, stream: u32, records: usize) {
        let kind = lane.kind;
        let mut batch = Batch::default();
        batch.streams = self.declare(kind, stream);
        batch.schemas = vec![efd_shared_model::Schema::new("{}")];
        let mut noise = u64::from(stream) + 1;
        for _ in 0..records {
            let builder = batch.builder(lane);
            let datum = builder.datum(StreamNumber(stream));
            for _ in 0..128 {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                datum.extend(noise.rotate_left(17).to_le_bytes());
            }
            builder.finish(StreamNumber(stream), stamps());
        }
        self.committer.commit(&mut batch);
    }

    /// Streams are numbered per epoch without a hole: 1 to 4 are the project's own.
    fn declare(&self, kind: LaneKind, stream: u32) -> Vec<StreamDeclaration> {
        vec![StreamDeclaration {
            number: StreamNumber(stream),
            topic: format!("lsst.sal.Test.t{stream}"),
            dds_topic: format!("Test_t{stream}"),
            dds_type: format!("Test::t{stream}"),
            kind: match kind {
                LaneKind::Events => TopicKind::Event,
                LaneKind::Telemetry | LaneKind::Losses | LaneKind::Reduced | LaneKind::Parked => {
                    TopicKind::Telemetry
                }
            },
            schema: efd_shared_model::Schema::new("{}").fingerprint(),
        }]
    }

    fn park(&mut self, dds_type: &str, reason: ParkedReason, count: usize) {
        let mut batch = Batch::default();
        let builder = batch.builder(Lane::new(LaneKind::Parked));
        for index in 0..count {
            let parked = Parked {
                reason,
                dds_topic: &dds_type.replace("::", "_"),
                dds_type,
                received: UtcNanos(100 + index as i64),
                source: None,
                keeps_history: false,
                payload: &[0, 1, 0, 0],
            };
            parked.encode(builder.datum(crate::intake::PARKED_STREAM));
            builder.finish(crate::intake::PARKED_STREAM, stamps());
        }
        self.committer.commit(&mut batch);
    }

    /// Until nothing is waited for.
    fn retain(&mut self) {
        self.committer.retain(utc_now(), Room::Enough);
        while self.committer.reducer.is_waiting() {
            std::thread::sleep(Duration::from_millis(1));
            self.committer.retain(utc_now(), Room::Enough);
        }
    }

    fn losses(&mut self) -> Vec<Loss> {
        let lane = lane_name(LaneKind::Losses);
        let mut reader = self.committer.store.reader();
        let items = reader.read(&lane, Position::FIRST, usize::MAX).unwrap();
        let blocks = items.into_iter().filter_map(|item| match item {
            Item::Block(_, sealed) => Some(sealed.open().unwrap()),
            Item::Damaged(_) | Item::Absent { .. } => None,
        });
        blocks
            .flat_map(|block| {
                let losses = block
                    .records()
                    .map(|(_, it)| Loss::decode(it.datum).unwrap());
                losses.collect::<Vec<_>>()
            })
            .collect()
    }

    fn held(&self, kind: LaneKind) -> usize {
        let segments = self.committer.store.segments();
        let lane = lane_name(kind);
        segments.iter().filter(|info| info.key.lane == lane).count()
    }
}

fn stamps() -> RecordStamps {
    RecordStamps {
        event_time: UtcNanos(1_795_478_400_000_000_000),
        origin: EventTimeOrigin::SndStamp,
        implausible: false,
        latin1: false,
        instance: None,
    }
}

fn unlimited() -> Policy {
    Policy::default()
}

/// What is given up when we are to stop takes all with it that would come after: a snapshot that is newer than it would hide
/// that it is absent.
#[test]
fn nothing_is_stored_after_what_was_given_up() {
    let mut bench = Bench::new(unlimited());
    bench.commit(LaneKind::Telemetry, 5, 1);
    assert_eq!(bench.held(LaneKind::Telemetry), 1);
    bench.committer.stop.ask("test");
    let key = bench.committer.store.segments()[0].key.clone();
    let mut tries = 0;
    let stored = bench.committer.until_stored("try", |_| {
        tries += 1;
        Err(StoreError::NoSegment(key.clone()))
    });
    assert_eq!(
        (stored, tries),
        (Stored::No, 2),
        "once more, as room may have been made"
    );
    bench.commit(LaneKind::Telemetry, 5, 1);
    assert_eq!(bench.held(LaneKind::Telemetry), 1);
}

#[test]
fn a_block_that_the_store_refuses_is_named_and_the_next_one_is_stored() {
    let mut bench = Bench::new(unlimited());
    let mut batch = Batch::default();
    // A stream whose schema nobody has declared.
    batch.streams = bench.declare(LaneKind::Telemetry, 5);
    batch.streams[0].schema = Fingerprint::of("other");
    let builder = batch.builder(Lane::new(LaneKind::Telemetry));
    for _ in 0..7 {
        builder.datum(StreamNumber(5)).push(0);
        builder.finish(StreamNumber(5), stamps());
    }
    bench.committer.commit(&mut batch);
    let losses = bench.losses();
    assert_eq!(losses.len(), 1, "{losses:?}");
    assert_eq!(
        (losses[0].reason, losses[0].count, &*losses[0].lane),
        (LossReason::Corrupt, 7, "telemetry")
    );
    assert!(losses[0].detail.contains("refused"), "{}", losses[0].detail);
    assert_eq!(bench.held(LaneKind::Telemetry), 0);

    bench.commit(LaneKind::Telemetry, 5, 2);
    let store = &bench.committer.store;
    let logs = store.reader().logs();
    let telemetry = logs.iter().find(|log| log.lane.kind == LaneKind::Telemetry);
    let numbers = store.reader().numbers(telemetry.unwrap());
    assert_eq!(numbers.to_string(), "{1}", "a refused block leaves no hole");
    assert_eq!(bench.losses().len(), 1);
}

#[test]
fn telemetry_leaves_before_events_and_its_loss_is_durable_first() {
    let mut bench = Bench::new(unlimited());
    bench.commit(LaneKind::Events, 5, 40);
    for stream in 5..10 {
        bench.commit(LaneKind::Telemetry, stream, 39 + stream as usize);
    }
    let bytes = |bench: &Bench| -> u64 {
        let segments = bench.committer.store.segments();
        segments.iter().map(|info| info.file_bytes).sum()
    };
    // Two segments too many.
    bench.committer.options.policy.bytes_max = bytes(&bench) - 60_000;
    bench.retain();
    assert_eq!(bench.held(LaneKind::Events), 1);
    let losses = bench.losses();
    assert!(!losses.is_empty());
    for (index, loss) in losses.iter().enumerate() {
        assert_eq!(
            (
                loss.reason,
                &*loss.lane,
                loss.first_block,
                loss.last_block,
                loss.count
            ),
            (
                LossReason::Evicted,
                "telemetry",
                1 + index as i64,
                1 + index as i64,
                44 + index as i64
            ),
            "the oldest first"
        );
    }
    assert_eq!(bench.held(LaneKind::Telemetry), 5 - losses.len());
    let mut removed = 0;
    let mut named = 0;
    while let Ok(notice) = bench.notices.try_recv() {
        match notice {
            Notice::Removed { .. } => {
                removed += 1;
                assert!(
                    removed <= named,
                    "the loss is announced before the data are gone"
                );
            }
            Notice::Durable { block, .. } => {
                named += usize::from(block.id().lane.lane.kind == LaneKind::Losses);
            }
            Notice::EpochBegun(_) => {}
        }
    }
    assert_eq!(removed, losses.len());
}

/// Events though they are, and the newest of all.
#[test]
fn a_flood_leaves_before_its_neighbours_and_is_named_by_its_lane() {
    let mut bench = Bench::new(unlimited());
    let lane = Lane {
        kind: LaneKind::Events,
        shard: efd_shared_model::Shard::diverted("Test", 0).number(),
    };
    bench.commit(LaneKind::Telemetry, 5, 40);
    bench.commit(LaneKind::Events, 5, 40);
    for stream in 6..9 {
        bench.commit_to(lane, stream, 41);
    }
    let held = |bench: &Bench| {
        let segments = bench.committer.store.segments();
        let of = |name: LaneName| segments.iter().filter(|it| it.key.lane == name).count();
        (
            of(lane_name(LaneKind::Telemetry)),
            of(lane_name(LaneKind::Events)),
            of(lane_name_of(lane)),
        )
    };
    assert_eq!(held(&bench), (1, 1, 3), "in files of its own");
    bench.committer.options.policy.quotas.flood = 100_000;
    bench.retain();
    let (_, _, left) = held(&bench);
    assert!(left < 3 && held(&bench) == (1, 1, left));
    bench.committer.options.policy.bytes_max = 200_000;
    bench.retain();
    assert_eq!(held(&bench).0 + held(&bench).1, 2, "{:?}", held(&bench));
    let losses = bench.losses();
    assert!(!losses.is_empty());
    assert!(
        losses.iter().all(|loss| loss.lane == lane.to_string()),
        "{losses:?}"
    );
    assert!(losses.iter().all(|loss| loss.count == 41), "{losses:?}");
}

#[test]
fn parked_samples_that_became_records_or_were_named_are_no_loss() {
    let mut bench = Bench::new(unlimited());
    bench.park("Test::read", ParkedReason::Untyped, 5);
    bench.park("Test::read", ParkedReason::Undecodable, 4);
    bench.park("Test::unread", ParkedReason::Untyped, 3);
    // All three blocks have been read for one of the types.
    let mut batch = Batch::default();
    let lane = batch.lane(LaneKind::Telemetry);
    let through = Position(3).0.to_le_bytes().to_vec();
    lane.states.insert(sal_progress_key("Test::read"), through);
    bench.committer.commit(&mut batch);
    bench.park("Test::read", ParkedReason::Untyped, 2);
    // The newest segment is open, and stays.
    bench.park("Test::other", ParkedReason::Untyped, 1);
    bench.committer.options.policy.unshipped_bytes_max = 0;
    bench.retain();
    let mut named: Vec<_> = bench
        .losses()
        .into_iter()
        .map(|loss| (loss.reason, loss.topic, loss.count))
        .collect();
    named.sort();
    assert_eq!(
        named,
        [
            (LossReason::Untyped, "Test_read".to_owned(), 2),
            (LossReason::Untyped, "Test_unread".to_owned(), 3),
        ]
    );
    assert_eq!(bench.held(LaneKind::Parked), 1);
}
