use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use efd_shared_model::block::Codec;
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EventTimeOrigin,
    Lane, LaneKind, RecordStamps, Schema, SealedBlock, StreamDeclaration, StreamNumber, TopicKind,
    UtcNanos,
};
use proptest::prelude::*;

use super::*;

mod damage;

fn block(epoch: u8, number: u64) -> SealedBlock {
    block_in(epoch, Lane::new(LaneKind::Events), number)
}

fn block_of_shard(shard: u16) -> SealedBlock {
    let kind = LaneKind::Events;
    block_in(1, Lane { kind, shard }, 1)
}

fn block_in(epoch: u8, lane: Lane, number: u64) -> SealedBlock {
    let lane = EpochLane {
        edge: EdgeId([1; 16]),
        epoch: EpochId([epoch; 16]),
        lane,
    };
    let stamps = RecordStamps {
        event_time: UtcNanos(number as i64),
        origin: EventTimeOrigin::SndStamp,
        implausible: false,
        latin1: false,
        instance: None,
    };
    let mut builder = BlockBuilder::new();
    builder.datum(StreamNumber(1)).push(number as u8);
    builder.finish(StreamNumber(1), stamps);
    builder
        .seal(
            lane.block(BlockNumber(number)),
            ClockState::default(),
            Codec::None,
            1,
        )
        .unwrap()
}

fn declared(epochs: &[u8]) -> Arc<MemoryLog> {
    let log = MemoryLog::default();
    let schema = Schema::new("\"long\"");
    let stream = StreamDeclaration {
        number: StreamNumber(1),
        topic: "t".into(),
        dds_topic: String::new(),
        dds_type: String::new(),
        kind: TopicKind::Event,
        schema: schema.fingerprint(),
    };
    for &epoch in epochs {
        let epoch = EpochDeclaration {
            edge: EdgeId([1; 16]),
            site: "summit".parse().unwrap(),
            epoch: EpochId([epoch; 16]),
            parent: None,
            began: ClockState::default(),
            software: "test".into(),
        };
        log.declare(
            &epoch,
            std::slice::from_ref(&stream),
            std::slice::from_ref(&schema),
        )
        .unwrap();
    }
    Arc::new(log)
}

fn reached(progress: Progress) -> Reached<'static> {
    Reached {
        name: "lake",
        shard: Shard::WHOLE,
        progress,
    }
}

fn partition(class: Class) -> Partition {
    Partition {
        site: "summit".parse().unwrap(),
        shard: 0,
        class,
    }
}

proptest! {
    /// However often a block stands in the log, in whatever partition and order, and wherever the consumer restarts.
    #[test]
    fn each_block_is_delivered_once(
        appends in prop::collection::vec((any::<bool>(), 1u8..3, 1u64..20), 1..80),
        restarts in prop::collection::vec(0usize..30, 0..4),
    ) {
        let log = declared(&[1, 2]);
        let mut expected = BTreeSet::new();
        for (live, epoch, number) in &appends {
            let class = if *live { Class::Live } else { Class::Fill };
            log.append(&[(partition(class), block(*epoch, *number))]).unwrap();
            expected.insert((*epoch, *number));
        }
        let mut delivered: BTreeMap<(u8, u64), u32> = BTreeMap::new();
        let mut progress = Progress::default();
        for budget in restarts.into_iter().chain([usize::MAX]) {
            let mut follower = Follower::new(Arc::clone(&log), progress);
            for _ in 0..budget {
                let Some(delivery) = follower.poll().unwrap() else { break };
                let id = delivery.block.id();
                *delivered.entry((id.lane.epoch.0[0], id.number.0)).or_default() += 1;
            }
            progress = Progress::from_json(&follower.progress().to_json()).unwrap();
            prop_assert_eq!(&progress, follower.progress());
        }
        prop_assert!(delivered.values().all(|&count| count == 1));
        prop_assert_eq!(delivered.into_keys().collect::<BTreeSet<_>>(), expected);
    }
}

/// A worker reads where it may find something, and its audit asks for nothing of the others.
#[test]
fn a_worker_reads_the_partitions_of_its_shard() {
    let log = declared(&[1]);
    let worker = Shard::all(2).unwrap().last().unwrap();
    let mut of_worker = BTreeSet::new();
    for number in 0..15 {
        let shard = Shard::from_number(number);
        let partition = Partition {
            shard: number,
            ..partition(Class::Live)
        };
        let block = block_of_shard(number);
        if shard.meets(worker) {
            of_worker.insert(block.id());
        }
        log.append(&[(partition, block)]).unwrap();
    }
    let progress = Progress {
        has_passed: true,
        ..Progress::default()
    };
    let mut follower = Follower::of_shard(Arc::clone(&log), progress, worker);
    let mut taken = BTreeSet::new();
    for _ in 0..3 {
        while let Some(delivery) = follower.poll().unwrap() {
            taken.insert(delivery.block.id());
        }
    }
    assert_eq!(taken, of_worker);
    assert_eq!(taken.len(), 1 + 1 + 2 + 4, "of 1, 2, 4 and 8 shards");
    assert!(!follower.progress().has_passed, "the audit came to its end");
    assert_eq!(follower.counters().missed, 0);
}

#[test]
fn fill_does_not_delay_live_and_is_not_starved() {
    let log = declared(&[1, 2]);
    for number in 1..=1000 {
        log.append(&[(partition(Class::Fill), block(1, number))])
            .unwrap();
    }
    for number in 1..=100 {
        log.append(&[(partition(Class::Live), block(2, number))])
            .unwrap();
    }
    let mut follower = Follower::new(Arc::clone(&log), Progress::default());
    let first: Vec<_> = (0..200)
        .map(|_| follower.poll().unwrap().unwrap().partition.class)
        .collect();
    let live = first[..130]
        .iter()
        .filter(|class| **class == Class::Live)
        .count();
    assert_eq!(live, 100, "live is through after 125 turns");
    assert!(first[..20].contains(&Class::Fill));
}

#[test]
fn undeclared_and_redeclared_are_refused() {
    let log = MemoryLog::default();
    let error = log
        .append(&[(partition(Class::Live), block(1, 1))])
        .unwrap_err();
    assert!(
        error.to_string().ends_with("streams [1] are not declared"),
        "{error}"
    );
}

#[test]
fn waiting_ends_with_an_append() {
    let log = declared(&[1]);
    let seen = log.wait(Generation::default(), Duration::ZERO);
    let appender = {
        let log = Arc::clone(&log);
        std::thread::spawn(move || {
            log.append(&[(partition(Class::Live), block(1, 1))])
                .unwrap()
        })
    };
    assert!(log.wait(seen, Duration::from_secs(60)) > seen);
    appender.join().unwrap();
}

#[test]
fn partition_names_read_back() {
    let name = partition(Class::Fill).to_string();
    assert_eq!(name, "summit.0.fill");
    assert_eq!(name.parse(), Ok(partition(Class::Fill)));
    assert!("summit.0.other".parse::<Partition>().is_err());
}

mod embedded {
    use super::*;
    use efd_shared_store::Options;

    fn open(folder: &std::path::Path) -> EmbeddedLog {
        EmbeddedLog::open(folder.to_owned(), Options::default(), || {
            UtcNanos(1_800_000_000_000_000_000)
        })
        .unwrap()
        .0
    }

    fn declare(log: &EmbeddedLog) {
        let memory = declared(&[1, 2]);
        for epoch in memory.epochs().unwrap() {
            let stream = memory
                .stream(epoch.epoch, StreamNumber(1))
                .unwrap()
                .unwrap();
            log.declare(
                &epoch,
                std::slice::from_ref(&stream.declaration),
                std::slice::from_ref(&stream.schema),
            )
            .unwrap();
        }
    }

    #[test]
    fn keeps_its_promises_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        assert!(
            log.append(&[(partition(Class::Live), block(1, 1))])
                .is_err(),
            "not declared yet"
        );
        declare(&log);
        for number in 1..=20 {
            log.append(&[
                (partition(Class::Live), block(1, number)),
                (partition(Class::Fill), block(2, number)),
            ])
            .unwrap();
        }
        drop(log);
        let log = Arc::new(open(folder.path()));
        assert_eq!(
            log.partitions().unwrap(),
            [partition(Class::Live), partition(Class::Fill)]
        );
        assert_eq!(
            log.bounds(&partition(Class::Live)).unwrap(),
            (Place(1), Place(21))
        );
        assert_eq!(
            log.received(block(1, 1).id().lane).unwrap().to_string(),
            "{1-20}"
        );
        assert_eq!(
            log.streams_through(EpochId([1; 16])).unwrap(),
            StreamNumber(1)
        );
        let stream = log
            .stream(EpochId([1; 16]), StreamNumber(1))
            .unwrap()
            .unwrap();
        assert_eq!(
            (stream.site.as_str(), stream.declaration.topic.as_str()),
            ("summit", "t")
        );
        let mut follower = Follower::new(Arc::clone(&log), Progress::default());
        let mut count = 0;
        while let Some(delivery) = follower.poll().unwrap() {
            assert_eq!(
                delivery.block,
                block(
                    delivery.block.id().lane.epoch.0[0],
                    delivery.block.id().number.0
                )
            );
            count += 1;
        }
        assert_eq!(count, 40);
    }

    /// A block in each.
    fn of_five_segments(folder: &std::path::Path) -> EmbeddedLog {
        let options = Options {
            segment_bytes_max: 1,
            ..Options::default()
        };
        let clock: fn() -> UtcNanos = || UtcNanos(1_800_000_000_000_000_000);
        let (log, _) = EmbeddedLog::open(folder.to_owned(), options, clock).unwrap();
        declare(&log);
        for number in 1..=5 {
            log.append(&[(partition(Class::Live), block(1, number))])
                .unwrap();
        }
        log.maintain();
        log
    }

    #[test]
    fn too_many_bytes_leave_before_their_time_and_never_what_a_consumer_needs() {
        let folder = tempfile::tempdir().unwrap();
        let log = of_five_segments(folder.path());
        let taken = Progress {
            places: BTreeMap::from([(partition(Class::Live), Place(5))]),
            ..Progress::default()
        };
        let first = || log.bounds(&partition(Class::Live)).unwrap().0;
        let retain = |bytes_max| {
            let keep = Keep {
                age_max: Duration::MAX,
                bytes_max,
            };
            log.retain(&keep, &[reached(taken.clone())]).unwrap()
        };
        assert_eq!(retain(log.file_bytes()), Retained::default(), "all fits");
        assert_eq!(
            (retain(log.file_bytes() - 1).removed, first()),
            (1, Place(2))
        );
        let all_that_may = retain(0);
        assert_eq!((all_that_may.removed, first()), (3, Place(5)));
        assert!(all_that_may.held_back > 0, "{all_that_may:?}");
    }

    #[test]
    fn retention_never_passes_a_consumer_and_never_forgets_what_was_received() {
        let folder = tempfile::tempdir().unwrap();
        let log = of_five_segments(folder.path());
        let behind = Progress {
            places: BTreeMap::from([(partition(Class::Live), Place(3))]),
            ..Progress::default()
        };
        let retained = log
            .retain(&Keep::by_age(Duration::ZERO), &[reached(behind)])
            .unwrap();
        assert_eq!(retained.removed, 2);
        assert!(
            retained.held_back > 0 && retained.held_back_by.contains("lake"),
            "{retained:?}"
        );
        assert_eq!(log.bounds(&partition(Class::Live)).unwrap().0, Place(3));
        drop(log);
        let log = open(folder.path());
        assert_eq!(
            log.received(block(1, 1).id().lane).unwrap().to_string(),
            "{1-5}"
        );
        assert_eq!(log.lost(EdgeId([1; 16])).unwrap(), Lost::new());
    }
}
