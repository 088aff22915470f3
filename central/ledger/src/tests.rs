//! The ledger over a log in memory, against a naive oracle.

mod compare;
mod trace;

use std::collections::BTreeMap;
use std::sync::Arc;

use efd_central_log::{BlockLog, Class, Follower, MemoryLog, Partition, Progress};
use efd_shared_model::block::Codec;
use efd_shared_model::bytes::Writer;
use efd_shared_model::committed::{COMMITTED_SCHEMA, COMMITTED_TOPIC};
use efd_shared_model::loss::{LOSS_SCHEMA, LOSS_TOPIC};
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, Committed, EdgeId, EpochDeclaration, EpochId, EpochLane,
    EventTimeOrigin, Lane, LaneKind, Loss, LossReason, RecordStamps, Schema, SealedBlock,
    StreamDeclaration, StreamNumber, TopicKind, UtcNanos,
};
use proptest::prelude::*;

use crate::{Account, Filter, HOUR, Hour, Ledger, Row, Stage, recount};

const SCALARS: &str = r#"{"name":"lsst.sal.Test.scalars","type":"record","fields":[
    {"name":"private_identity","type":"string","default":""},{"name":"private_origin","type":"long","default":0},
    {"name":"private_seqNum","type":"long","default":0},{"name":"value","type":"double","default":0.0}]}"#;
const TOPIC: &str = "lsst.sal.Test.scalars";
const OTHER: &str = "ros.chatter";
const SECOND: i64 = 1_000_000_000;

struct World {
    log: Arc<MemoryLog>,
    epoch: EpochDeclaration,
    numbers: BTreeMap<LaneKind, u64>,
    folder: tempfile::TempDir,
}

#[derive(Clone, Debug)]
struct Sample {
    identity: &'static str,
    number: i64,
    time: i64,
}

impl World {
    fn new() -> Self {
        let epoch = EpochDeclaration {
            edge: EdgeId([1; 16]),
            site: "summit".parse().unwrap(),
            epoch: EpochId([2; 16]),
            parent: None,
            began: ClockState::default(),
            software: "test".into(),
        };
        let streams = [
            (LOSS_TOPIC, TopicKind::Loss, LOSS_SCHEMA),
            (TOPIC, TopicKind::Telemetry, SCALARS),
            (
                OTHER,
                TopicKind::Telemetry,
                r#"{"name":"c","type":"record","fields":[{"name":"v","type":"long"}]}"#,
            ),
            (COMMITTED_TOPIC, TopicKind::Loss, COMMITTED_SCHEMA),
        ];
        let log = MemoryLog::default();
        for (number, (topic, kind, text)) in (1..).zip(streams) {
            let schema = Schema::new(text);
            let declaration = StreamDeclaration {
                number: StreamNumber(number),
                topic: topic.into(),
                dds_topic: String::new(),
                dds_type: String::new(),
                kind,
                schema: schema.fingerprint(),
            };
            log.declare(&epoch, &[declaration], &[schema]).unwrap();
        }
        Self {
            log: Arc::new(log),
            epoch,
            numbers: BTreeMap::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn seal(&mut self, lane: LaneKind, records: &[(u32, i64, Vec<u8>)]) -> SealedBlock {
        let mut builder = BlockBuilder::new();
        for (stream, time, datum) in records {
            builder
                .datum(StreamNumber(*stream))
                .extend_from_slice(datum);
            let stamps = RecordStamps {
                event_time: UtcNanos(*time),
                origin: EventTimeOrigin::SndStamp,
                implausible: false,
                latin1: false,
                instance: None,
            };
            builder.finish(StreamNumber(*stream), stamps);
        }
        let number = self.numbers.entry(lane).or_default();
        *number += 1;
        let lane = EpochLane {
            edge: self.epoch.edge,
            epoch: self.epoch.epoch,
            lane: Lane::new(lane),
        };
        let id = lane.block(BlockNumber(*number));
        builder
            .seal(id, ClockState::default(), Codec::Zstd, 1)
            .unwrap()
    }

    fn telemetry(&mut self, samples: &[Sample]) -> SealedBlock {
        let records: Vec<_> = samples
            .iter()
            .map(|sample| (2, sample.time, datum(sample)))
            .collect();
        self.seal(LaneKind::Telemetry, &records)
    }

    fn losses(&mut self, losses: &[Loss]) -> SealedBlock {
        let encoded = losses.iter().map(|loss| {
            let mut datum = Vec::new();
            loss.encode(&mut datum);
            (1, loss.until.0, datum)
        });
        let records: Vec<_> = encoded.collect();
        self.seal(LaneKind::Losses, &records)
    }

    fn statement(&mut self, said: &Committed) -> SealedBlock {
        let mut datum = Vec::new();
        said.encode(&mut datum);
        self.seal(LaneKind::Losses, &[(4, 1, datum)])
    }

    fn append(&self, class: Class, block: &SealedBlock) {
        let partition = Partition {
            site: self.epoch.site.clone(),
            shard: 0,
            class,
        };
        self.log.append(&[(partition, block.clone())]).unwrap();
    }

    /// A new start of the ledger takes all that is in the log, committing after every few blocks.
    fn take_all(&self, commit_every: usize) -> Ledger {
        let (mut ledger, progress) = Ledger::open(self.folder.path().to_owned()).unwrap();
        let mut follower = Follower::new(Arc::clone(&self.log), progress);
        while let Some(delivery) = follower.poll().unwrap() {
            ledger.take(&*self.log, &delivery, UtcNanos(0)).unwrap();
            if ledger.waiting() >= commit_every {
                ledger.commit().unwrap();
            }
        }
        ledger.pass(follower.progress());
        ledger.commit().unwrap();
        ledger
    }

    fn account(&self, stages: &[Stage]) -> Account {
        let ledger = self.take_all(3);
        ledger
            .reader()
            .unwrap()
            .account(&Filter::default(), stages)
            .unwrap()
    }
}

fn datum(sample: &Sample) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.zigzag(sample.identity.len() as i64);
    writer.raw(sample.identity.as_bytes());
    writer.zigzag(7);
    writer.zigzag(sample.number);
    writer.raw(&0.5f64.to_le_bytes());
    writer.as_bytes().to_vec()
}

fn sample(number: i64, seconds: i64) -> Sample {
    Sample {
        identity: "Test:1",
        number,
        time: seconds * SECOND,
    }
}

fn gap(reason: LossReason, first: i64, last: i64, until_seconds: i64) -> Loss {
    let until = UtcNanos(until_seconds * SECOND);
    Loss {
        topic: TOPIC.into(),
        identity: "Test:1".into(),
        origin: 7,
        first_seq: first,
        last_seq: last,
        count: last - first + 1,
        ..Loss::new(reason, until.saturating_sub(SECOND), until)
    }
}

fn of_topic(account: &Account, topic: &str) -> Vec<Row> {
    let rows = account.rows.iter().filter(|row| row.topic == topic);
    rows.cloned().collect()
}

#[test]
fn every_difference_has_its_reason() {
    let mut world = World::new();
    let h = 3600;
    let block = world.telemetry(&[sample(5, 10), sample(6, 11), sample(9, 12)]);
    world.append(Class::Live, &block);
    // 13 to 15 are in a block that was evicted; 17 is nowhere.
    let evicted = world.telemetry(&[sample(13, h + 1), sample(14, h + 2), sample(15, h + 3)]);
    let block = world.telemetry(&[
        sample(10, h),
        sample(12, h),
        sample(16, h + 4),
        sample(18, h + 5),
    ]);
    world.append(Class::Live, &block);
    let lane = evicted.id().lane.lane.to_string();
    let losses = [
        gap(LossReason::BeforeContact, 1, 4, 10),
        gap(LossReason::DdsGap, 7, 8, 12),
        gap(LossReason::Crash, 11, 11, h),
        Loss {
            epoch: evicted.id().lane.epoch.to_string(),
            lane,
            first_block: 2,
            last_block: 2,
            count: 3,
            ..Loss::new(
                LossReason::Evicted,
                UtcNanos((h + 1) * SECOND),
                UtcNanos((h + 3) * SECOND + 1),
            )
        },
    ];
    let block = world.losses(&losses);
    world.append(Class::Live, &block);
    let account = world.account(&[]);
    let rows = of_topic(&account, TOPIC);
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.hour.0,
                row.published,
                row.edge,
                row.centre,
                row.before_contact,
                row.unnamed,
            )
        })
        .collect();
    assert_eq!(told, [(0, 5, 3, 3, 4, 0), (1, 9, 7, 4, 0, 1)]);
    let lost = |row: &Row| format!("{:?}", row.lost);
    assert_eq!(lost(&rows[0]), r#"{"dds_gap": 2}"#);
    assert_eq!(lost(&rows[1]), r#"{"crash": 1, "evicted": 3}"#);
    assert_eq!(account.lanes, []);
    // Data win over the loss that named them.
    world.append(Class::Fill, &evicted);
    let account = world.account(&[]);
    let row = &of_topic(&account, TOPIC)[1];
    assert_eq!((row.centre, row.published, row.unnamed), (7, 9, 1));
    assert_eq!(lost(row), r#"{"crash": 1}"#);
    assert_eq!(account.by_topic().total().centre, 3 + 7 + 4);
}

/// A loss of blocks whose topics nothing numbers.
#[test]
fn what_no_number_shows_is_told_of_the_lane() {
    let mut world = World::new();
    let mut plain = Writer::new();
    plain.zigzag(1);
    let block = world.seal(LaneKind::Telemetry, &[(3, 5, plain.as_bytes().to_vec())]);
    world.append(Class::Live, &block);
    let lost = Loss {
        epoch: world.epoch.epoch.to_string(),
        lane: "telemetry".into(),
        first_block: 2,
        last_block: 3,
        count: 20,
        ..Loss::new(LossReason::Evicted, UtcNanos(5), UtcNanos(6))
    };
    let block = world.losses(&[lost.clone(), lost]);
    world.append(Class::Live, &block);
    let account = world.account(&[]);
    let row = &of_topic(&account, OTHER)[0];
    assert_eq!((row.published, row.centre), (1, 1));
    let lanes: Vec<_> = account
        .lanes
        .iter()
        .map(|row| (row.reason.as_str(), row.blocks, row.records))
        .collect();
    assert_eq!(lanes, [("evicted", 2, Some(20))]);
}

#[test]
fn what_a_store_lacks_is_told_by_topic_and_hour() {
    let mut world = World::new();
    let first = world.telemetry(&[sample(1, 1), sample(2, 2)]);
    let second = world.telemetry(&[sample(3, 3), sample(4, 3600)]);
    world.append(Class::Live, &first);
    world.append(Class::Live, &second);
    let ledger = world.take_all(1);
    let book = ledger.reader().unwrap();
    let mut has = Progress::default();
    has.insert(&first);
    let lacks = book.lacks(&*world.log, &has).unwrap();
    let stages = [
        Stage {
            name: "lake",
            lacks,
        },
        Stage {
            name: "feed",
            lacks: Err("away".into()),
        },
    ];
    let account = book.account(&Filter::default(), &stages).unwrap();
    let told: Vec<_> = account
        .rows
        .iter()
        .map(|row| {
            (
                row.hour.0,
                row.centre,
                row.stages["lake"],
                row.stages["feed"],
            )
        })
        .collect();
    assert_eq!(told, [(0, 3, Some(2), None), (1, 1, Some(0), None)]);
    assert!(!account.rows[0].is_complete());
    let total = account.total();
    assert_eq!(
        (total.stages["lake"], total.stages["feed"]),
        (Some(2), None)
    );
}

#[test]
fn a_block_that_vanished_from_the_log_is_named() {
    let mut world = World::new();
    let blocks: Vec<_> = (0..5)
        .map(|hour| world.telemetry(&[sample(hour + 1, hour * 3600), sample(hour + 100, 9 * 3600)]))
        .collect();
    blocks
        .iter()
        .for_each(|block| world.append(Class::Live, block));
    let ledger = world.take_all(2);
    let book = ledger.reader().unwrap();
    let whole = recount(&*world.log, &|| true).unwrap().unwrap();
    assert_eq!(whole.counts, book.counts(&Filter::default()).unwrap());
    assert_eq!(
        book.check_log(&whole, &Filter::default()).unwrap(),
        Default::default()
    );
    // The log as it is without one of them.
    let other = World::new();
    for (index, block) in blocks.iter().enumerate() {
        if index != 2 {
            other.append(Class::Live, block);
        }
    }
    let held = recount(&*other.log, &|| true).unwrap().unwrap();
    let (missing, differences) = book.check_log(&held, &Filter::default()).unwrap();
    assert_eq!(
        missing
            .values()
            .map(|numbers| numbers.to_string())
            .collect::<Vec<_>>(),
        ["{3}"]
    );
    let told: Vec<_> = differences
        .iter()
        .map(|it| (it.topic.as_str(), it.hour.0, it.expected, it.found))
        .collect();
    assert_eq!(told, [(TOPIC, 2, 1, 0), (TOPIC, 9, 5, 4)]);
    let differences = book
        .check_lake(
            &held.counts,
            &Default::default(),
            &Filter {
                from: Some(Hour(3)),
                ..Filter::default()
            },
        )
        .unwrap();
    assert_eq!(differences.len(), 1);
    assert_eq!(recount(&*world.log, &|| false).unwrap().map(|_| ()), None);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Stored,
    Named,
    Unnamed,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two publishers under one topic, one of which begins anew; blocks in the orders of an edge, some of them twice; named and
    /// unnamed gaps. By hour: published = stored + named + unnamed.
    #[test]
    fn the_account_is_that_of_a_naive_oracle(
        fates in proptest::collection::vec(prop_oneof![6 => Just(Fate::Stored), 1 => Just(Fate::Named), 1 => Just(Fate::Unnamed)], 60..200),
        block_samples in 1usize..9,
        order in any::<u64>(),
        restart in 20usize..40,
    ) {
        let mut world = World::new();
        let (mut stored, mut losses, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        let mut expected: BTreeMap<i64, (u64, u64, u64)> = BTreeMap::new();
        for identity in ["Test:1", "Test:2"] {
            let is_second = identity == "Test:2";
            let mut number = 0;
            waiting.clear();
            for (index, fate) in fates.iter().enumerate() {
                number = if is_second && index == restart { 1 } else { number + 1 };
                let time = index as i64 * HOUR / 17;
                let one = Sample { identity, number, time };
                // The first and last of each run come, as what is outside of them nobody can know.
                let is_end = index == 0 || index + 1 == fates.len() || (is_second && (index == restart || index + 1 == restart));
                match fate {
                    _ if is_end => {}
                    Fate::Stored => {}
                    Fate::Named | Fate::Unnamed => {
                        waiting.push((*fate, number));
                        continue;
                    }
                }
                let hour = expected.entry(Hour::of(UtcNanos(time)).0).or_default();
                hour.0 += 1;
                for (fate, number) in waiting.drain(..) {
                    if fate == Fate::Named {
                        hour.1 += 1;
                        losses.push(Loss { identity: identity.into(), ..gap(LossReason::DdsGap, number, number, time / SECOND) });
                    } else {
                        hour.2 += 1;
                    }
                }
                stored.push(one);
            }
        }
        stored.sort_by_key(|sample| sample.time);
        let mut blocks: Vec<_> = stored.chunks(block_samples).map(<[Sample]>::to_vec).collect::<Vec<_>>()
            .iter().map(|samples| world.telemetry(samples)).collect();
        for losses in losses.chunks(5) {
            blocks.push(world.losses(losses));
        }
        // As they were made, or the newest first; or a live one first, and then back-fill with the newest first.
        let head = (order / 3 % 7) as usize;
        let mut keyed: Vec<_> = blocks.iter().enumerate().map(|(index, block)| {
            let key = match order % 3 {
                0 => index as u64,
                1 => u64::MAX - index as u64,
                _ if index + head >= blocks.len() => index as u64,
                _ => u64::MAX - index as u64,
            };
            (key, block)
        }).collect();
        keyed.sort_by_key(|(key, _)| *key);
        for (key, block) in keyed {
            world.append(Class::Live, block);
            if key % 3 == 0 {
                world.append(Class::Fill, block);
            }
        }
        let account = world.account(&[]);
        let found: BTreeMap<i64, (u64, u64, u64)> = of_topic(&account, TOPIC).iter().map(|row| {
            assert_eq!(row.published, row.centre + row.lost.values().sum::<u64>() + row.unnamed);
            (row.hour.0, (row.centre, row.lost.get("dds_gap").copied().unwrap_or(0), row.unnamed))
        }).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn how_blocks_came_is_told_by_hour() {
    let mut world = World::new();
    let first = world.telemetry(&[sample(1, 1), sample(2, 2)]);
    let second = world.telemetry(&[sample(3, 3)]);
    world.append(Class::Live, &first);
    world.append(Class::Fill, &second);
    let book = world.take_all(1).reader().unwrap();
    let hours = book.link(&Filter::default()).unwrap();
    // The world's edge seals at the begin of time, and its ledger takes then.
    let told: Vec<_> = hours
        .iter()
        .map(|it| {
            (
                it.hour.0,
                it.live_blocks,
                it.fill_blocks,
                it.records,
                it.delay_median,
            )
        })
        .collect();
    assert_eq!(told, [(0, 1, 1, 3, Some(0))]);
    let other = Filter {
        site: Some("tucson".parse().unwrap()),
        ..Filter::default()
    };
    assert_eq!(book.link(&other).unwrap(), []);
}
