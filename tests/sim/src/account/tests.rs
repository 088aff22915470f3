use super::*;

const TELEMETRY: &str = "lsst.sal.Lab.elevation";
const EVENT: &str = "lsst.sal.Lab.logevent_state";

fn publisher(topic: &str) -> Publisher {
    Publisher {
        topic: topic.into(),
        sal_index: Some(1),
        identity: "Lab:1".into(),
        origin: 7,
    }
}

fn lane(kind: &str) -> Lane {
    Lane {
        epoch: "e".into(),
        lane: kind.into(),
    }
}

/// Ten of each were published.
fn oracle() -> Published {
    Published {
        last: BTreeMap::from([(publisher(TELEMETRY), 10), (publisher(EVENT), 10)]),
        by_dds_topic: BTreeMap::from([("Lab_elevation_1a2b3c4d".into(), TELEMETRY.into())]),
    }
}

fn gap(topic: &str, first_seq: i64, last_seq: i64) -> NamedLoss {
    NamedLoss {
        reason: "dds_gap".into(),
        publisher: publisher(topic),
        first_seq,
        last_seq,
        last_block: -1,
        count: last_seq - first_seq + 1,
        ..NamedLoss::default()
    }
}

fn evicted(kind: &str, first_block: i64, last_block: i64, count: i64) -> NamedLoss {
    NamedLoss {
        reason: "evicted".into(),
        last_seq: -1,
        lane: lane(kind),
        first_block,
        last_block,
        count,
        ..NamedLoss::default()
    }
}

fn counted(topic: &str, count: i64) -> NamedLoss {
    NamedLoss {
        reason: "queue_full".into(),
        publisher: Publisher {
            topic: topic.into(),
            ..Publisher::default()
        },
        last_seq: -1,
        last_block: -1,
        count,
        ..NamedLoss::default()
    }
}

/// Each sample in a block of its own number.
fn settle(losses: Vec<NamedLoss>, telemetry: &[i64], events: &[i64]) -> Account {
    let mut evidence = Evidence::default();
    for loss in losses {
        evidence.take_loss(loss);
    }
    for (topic, kind, rows) in [
        (TELEMETRY, "telemetry", telemetry),
        (EVENT, "events", events),
    ] {
        for &sequence in rows {
            let lane = lane(kind);
            evidence.take_row(&publisher(topic), sequence, Some((&lane, sequence)));
        }
    }
    evidence.settle(&oracle())
}

fn all() -> Vec<i64> {
    (1..=10).collect()
}

fn all_but(absent: std::ops::RangeInclusive<i64>) -> Vec<i64> {
    (1..=10).filter(|n| !absent.contains(n)).collect()
}

#[test]
fn what_is_stored_or_named_keeps_the_law() {
    let account = settle(vec![gap(TELEMETRY, 3, 5)], &all_but(3..=5), &all());
    assert!(account.keeps_the_law(), "{}", account.to_json());
    let Line {
        published,
        stored,
        lost,
        ..
    } = account.total;
    assert_eq!((published, stored, lost), (20, 17, 3));
}

#[test]
fn what_is_neither_is_missing() {
    let account = settle(Vec::new(), &all_but(3..=5), &all());
    assert_eq!(account.total.missing, 3);
    assert!(!account.keeps_the_law());
}

#[test]
fn what_is_stored_and_named_is_both() {
    let account = settle(vec![gap(TELEMETRY, 3, 5)], &all_but(5..=5), &all());
    assert_eq!((account.total.both, account.total.lost), (2, 1));
    assert_eq!(account.total.missing, 0);
    assert!(!account.keeps_the_law());
}

#[test]
fn what_nobody_published_cannot_be_lost() {
    let beyond = settle(vec![gap(TELEMETRY, 10, 14)], &all_but(10..=10), &all());
    assert_eq!((beyond.total.misnamed, beyond.total.lost), (4, 1));
    assert!(!beyond.keeps_the_law());
    let mut stranger = gap(TELEMETRY, 1, 2);
    stranger.publisher.origin = 8;
    let unknown = settle(vec![stranger], &all(), &all());
    assert_eq!(unknown.total.misnamed, 2);
    assert!(!unknown.keeps_the_law());
}

#[test]
fn rows_twice_and_rows_of_nobody() {
    let account = settle(
        Vec::new(),
        &[all(), vec![4]].concat(),
        &[all(), vec![11]].concat(),
    );
    assert_eq!((account.total.duplicate, account.total.unexpected), (1, 1));
    assert!(!account.keeps_the_law());
}

/// A count says how many of a topic's samples went where, and their gap says which.
#[test]
fn a_count_needs_as_many_sequence_numbers() {
    let losses = vec![gap(TELEMETRY, 3, 5), counted(TELEMETRY, 3)];
    assert!(settle(losses, &all_but(3..=5), &all()).keeps_the_law());
    let losses = vec![gap(TELEMETRY, 3, 5), counted(TELEMETRY, 4)];
    let account = settle(losses, &all_but(3..=5), &all());
    assert_eq!(account.total.misnamed, 1);
    let account = settle(vec![counted(TELEMETRY, 1)], &all_but(3..=3), &all());
    assert_eq!((account.total.missing, account.total.misnamed), (1, 1));
}

#[test]
fn a_block_makes_good_its_lane_and_no_other() {
    let losses = vec![evicted("telemetry", 3, 5, 3)];
    let account = settle(losses, &all_but(3..=5), &all());
    assert!(account.keeps_the_law(), "{}", account.to_json());
    assert_eq!((account.total.stored, account.total.lost), (17, 3));
    assert_eq!(account.lanes["telemetry"].blocks, 3);
    let other = settle(
        vec![evicted("telemetry", 21, 23, 3)],
        &all(),
        &all_but(3..=5),
    );
    assert_eq!((other.total.missing, other.total.misnamed), (3, 3));
}

#[test]
fn a_block_loss_must_count_right() {
    let too_few = settle(vec![evicted("telemetry", 3, 5, 2)], &all_but(3..=5), &all());
    assert_eq!((too_few.total.missing, too_few.total.misnamed), (1, 0));
    let too_many = settle(vec![evicted("telemetry", 3, 5, 4)], &all_but(3..=5), &all());
    assert_eq!((too_many.total.missing, too_many.total.misnamed), (0, 1));
    let unknown = settle(
        vec![evicted("telemetry.3", 3, 5, -1)],
        &all_but(3..=5),
        &all(),
    );
    assert_eq!(unknown.total.missing, 3);
    assert_eq!(unknown.lanes["telemetry"].uncounted, 3);
}

/// Named by its block and by its sequence number: one of the two is a loss that never was.
#[test]
fn a_sample_is_named_once() {
    let losses = vec![evicted("telemetry", 3, 5, 3), gap(TELEMETRY, 3, 5)];
    let account = settle(losses, &all_but(3..=5), &all());
    assert_eq!(account.total.misnamed, 3);
}

/// As an edge does that is killed after it has named a segment and before it has removed it.
#[test]
fn a_block_that_is_named_again_counts_once() {
    let first = || evicted("telemetry", 3, 5, 3);
    let account = settle(vec![first(), first()], &all_but(3..=5), &all());
    assert!(account.keeps_the_law(), "{}", account.to_json());
    assert_eq!(account.lanes["telemetry"].again, 1);
    let mut other_epoch = first();
    other_epoch.lane.epoch = "f".into();
    let account = settle(vec![first(), other_epoch], &all_but(3..=5), &all());
    assert_eq!(account.total.misnamed, 3);
}

#[test]
fn an_evicted_block_that_arrived_is_told_apart() {
    let account = settle(vec![evicted("telemetry", 3, 5, 3)], &all_but(4..=5), &all());
    assert!(account.keeps_the_law(), "{}", account.to_json());
    assert_eq!((account.total.stored, account.total.lost), (18, 2));
    assert_eq!(account.to_json()["arrived"], 1);
}

/// Where no IDL file ever came, the count by the DDS name is all there is; where one came, a gap says the same again.
#[test]
fn samples_without_a_type_are_named_by_their_dds_topic() {
    let untyped = |count| counted("Lab_elevation_1a2b3c4d", count);
    let account = settle(vec![untyped(3)], &all_but(3..=5), &all());
    assert!(account.keeps_the_law(), "{}", account.to_json());
    assert_eq!((account.total.stored, account.total.lost), (17, 3));
    let losses = vec![untyped(2), gap(TELEMETRY, 3, 5)];
    assert!(settle(losses, &all_but(3..=5), &all()).keeps_the_law());
    let account = settle(vec![untyped(4)], &all_but(3..=5), &all());
    assert_eq!(account.total.misnamed, 1);
}

/// A block that the buffer refused never had a place.
#[test]
fn records_of_a_lane_may_be_named_without_blocks() {
    let refused = evicted("events", 0, -1, 2);
    let account = settle(vec![refused], &all(), &all_but(3..=4));
    assert!(account.keeps_the_law(), "{}", account.to_json());
}
