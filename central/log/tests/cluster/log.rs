use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use efd_central_kafka::block_on;
use efd_central_log::{
    BlockLog, Class, Follower, Generation, KafkaLog, Keep, LogError, Lost, Place, Progress,
    Reached, Reading,
};
use efd_shared_model::{RangeSet, Shard, StreamNumber};
use efd_tests_testkit::wait_until;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

use crate::kit::{LANE, block, epoch, open, options, partition, schema, stream, world};

const SOON: Duration = Duration::from_secs(30);

fn declare(log: &KafkaLog) {
    log.declare(&epoch(), &[stream(1, "t")], &[schema()])
        .unwrap();
}

fn append(log: &KafkaLog, class: Class, numbers: impl Iterator<Item = u64>) {
    let blocks: Vec<_> = numbers
        .map(|number| (partition(class), block(number)))
        .collect();
    log.append(&blocks).unwrap();
}

/// Everything up to the end, by number; the progress goes on from where it was.
fn take(log: &Arc<KafkaLog>, progress: &mut Progress) -> Vec<u64> {
    let mut follower = Follower::new(Arc::clone(log), progress.clone());
    let mut taken = Vec::new();
    let mut generation = Generation::default();
    let partitions = log.partitions().unwrap();
    let mut is_end = false;
    let came = wait_until(SOON, || {
        while let Some(delivery) = follower.poll().unwrap() {
            taken.push(delivery.block.id().number.0);
        }
        let at_end = |partition| {
            let (_, end) = log.bounds(partition).unwrap();
            end <= follower.progress().next_place(partition)
        };
        let was_end = is_end;
        is_end = partitions.iter().all(at_end);
        generation = log.wait(generation, Duration::from_millis(20));
        // Once more, for what is done at the end.
        was_end && is_end
    });
    assert!(came, "{:?}", follower.progress());
    *progress = follower.progress().clone();
    taken
}

/// What one centre appends, another gives to its consumers, and says that it was received; also after a new start.
#[test]
fn two_centres_share_a_log() {
    let Some(world) = world("log-two-centres", &[]) else {
        return;
    };
    let kafka = &world.kafka;
    let (a, b) = (Arc::new(open(kafka, "a")), Arc::new(open(kafka, "b")));
    let undeclared = a.append(&[(partition(Class::Live), block(1))]);
    assert!(
        matches!(undeclared, Err(LogError::Undeclared { .. })),
        "{undeclared:?}"
    );
    declare(&a);
    declare(&a);
    declare(&b);
    let again = b.declare(&epoch(), &[stream(1, "other")], &[schema()]);
    assert!(
        matches!(again, Err(LogError::Redeclared { .. })),
        "{again:?}"
    );
    append(&a, Class::Live, 1..=3);
    append(&b, Class::Fill, 4..=5);
    // A block that an edge has sent to both.
    append(&b, Class::Live, 3..=6);

    let mut progress = Progress::default();
    b.maintain();
    let taken: BTreeSet<u64> = take(&b, &mut progress).into_iter().collect();
    assert_eq!(taken, (1..=6).collect());
    assert_eq!(a.bounds(&partition(Class::Fill)).unwrap().1, Place(3));
    let known = a.stream(LANE.epoch, StreamNumber(1)).unwrap().unwrap();
    assert_eq!(known.declaration.topic, "t");
    assert!(a.stream(LANE.epoch, StreamNumber(2)).unwrap().is_none());

    // What each has received is told to the other, and known to one that starts anew.
    a.maintain();
    b.maintain();
    let all = || Ok::<_, LogError>(a.received(LANE)?.to_string());
    assert!(
        wait_until(SOON, || all().unwrap() == "{1-6}"),
        "{:?}",
        all()
    );
    drop(a);
    let a = Arc::new(open(kafka, "a"));
    assert_eq!(a.received(LANE).unwrap().to_string(), "{1-6}");
    assert_eq!(a.streams_through(LANE.epoch).unwrap(), StreamNumber(1));
    assert_eq!(a.epochs().unwrap(), [epoch()]);

    // Woken by the other's append.
    let generation = a.wait(Generation::default(), Duration::ZERO);
    assert!(take(&a, &mut progress).is_empty());
    append(&b, Class::Live, 7..=7);
    a.wait(generation, SOON);
    a.maintain();
    assert_eq!(take(&a, &mut progress), [7]);
}

/// Any place can be read at any time, and what is not within the log is said.
#[test]
fn places() {
    let Some(world) = world("log-places", &[]) else {
        return;
    };
    let kafka = &world.kafka;
    let log = open(kafka, "a");
    declare(&log);
    let live = partition(Class::Live);
    for numbers in [1..=50u64, 51..=100] {
        append(&log, Class::Live, numbers);
    }
    for (from, bytes) in [
        (1, 1),
        (100, 1 << 20),
        (17, 300),
        (99, 1),
        (17, 1 << 20),
        (1, 1 << 20),
    ] {
        let Reading::Entries(entries) = log.read(&live, Place(from), bytes).unwrap() else {
            panic!("{from}");
        };
        let places: Vec<u64> = entries.iter().map(|entry| entry.place().0).collect();
        let expected: Vec<u64> = (from..).take(places.len()).collect();
        assert!(!places.is_empty() && places == expected, "{places:?}");
    }
    let end = log.read(&live, Place(101), 1).unwrap();
    assert!(matches!(end, Reading::Entries(entries) if entries.is_empty()));
    // A reader that stood at the end knows of what this process has appended since.
    for number in 101..=130 {
        append(&log, Class::Live, number..=number);
        let read = log.read(&live, Place(number), 1).unwrap();
        assert!(
            matches!(&read, Reading::Entries(entries) if entries.len() == 1),
            "{number}: {read:?}"
        );
    }
    let behind = log.read(&live, Place(500), 1).unwrap();
    assert!(
        matches!(
            behind,
            Reading::Rewound {
                first: Place(1),
                end: Place(131)
            }
        ),
        "{behind:?}"
    );
    // Two consumers side by side.
    let log = Arc::new(log);
    let (mut a, mut b) = (
        Follower::new(Arc::clone(&log), Progress::default()),
        Follower::new(Arc::clone(&log), Progress::default()),
    );
    for number in 1..=130 {
        for follower in [&mut a, &mut b] {
            let delivery = follower.poll().unwrap().unwrap();
            assert_eq!(delivery.block.id().number.0, number);
        }
    }
    assert!(a.poll().unwrap().is_none());
}

/// Retention passes a consumer that stands: an alarm before; after it, what it missed is lost by name, and comes again.
#[test]
fn retention_passes_a_consumer() {
    // Segments of a few blocks; the broker looks after them every second.
    let settings = [
        ("log.retention.check.interval.ms", "500"),
        ("log.segment.delete.delay.ms", "100"),
        ("log.initial.task.delay.ms", "500"),
    ];
    let Some(world) = world("log-retention", &settings) else {
        return;
    };
    let kafka = &world.kafka;
    let mut options = options(kafka, "a");
    options.topics.retain = Duration::from_secs(8);
    let log = Arc::new(KafkaLog::open(&options).unwrap());
    declare(&log);
    append(&log, Class::Live, 1..=4);
    let mut progress = Progress::default();
    assert_eq!(take(&log, &mut progress), [1, 2, 3, 4]);
    append(&log, Class::Live, 5..=9);
    let age_max = options.topics.retain;
    let consumers = [Reached {
        name: "feed",
        shard: Shard::WHOLE,
        progress: progress.clone(),
    }];
    let endangered = || {
        log.retain(&Keep::by_age(age_max), &consumers)
            .unwrap()
            .endangered
    };
    assert_eq!(endangered(), []);
    assert!(wait_until(SOON, || !endangered().is_empty()));
    assert_eq!(endangered()[0].consumer, "feed");

    // A closed segment is removed: the topic rolls one when a later block comes.
    let gone = wait_until(Duration::from_secs(60), || {
        log.maintain();
        log.bounds(&partition(Class::Live)).unwrap().0 > Place(5)
    });
    assert!(gone, "{:?}", log.bounds(&partition(Class::Live)));
    append(&log, Class::Live, 10..=10);
    // A consumer that goes on in another process: here some would have been fetched ahead.
    log.maintain();
    drop(log);
    let log = Arc::new(KafkaLog::open(&options).unwrap());
    let taken = take(&log, &mut progress);
    assert!(taken.ends_with(&[10]), "{taken:?}");
    let missed: RangeSet = (5..=9)
        .filter(|number| !taken.contains(number))
        .map(|number| number..=number)
        .collect();
    assert!(!missed.is_empty());
    assert_eq!(
        log.lost(LANE.edge).unwrap(),
        Lost::from([(LANE, missed.clone())])
    );
    assert_eq!(log.health().lost_blocks, missed.member_count());
    let mut received: RangeSet = [1..=10].into_iter().collect();
    received.subtract(&missed);
    assert_eq!(log.received(LANE).unwrap(), received);

    // Some the edge has, one it has not.
    let absent = RangeSet::from_iter([5..=5]);
    assert_eq!(log.set_absent(LANE, &absent).unwrap(), absent);
    append(&log, Class::Fill, 6..=9);
    assert_eq!(log.lost(LANE.edge).unwrap(), Lost::new());
    assert_eq!(log.health().absent, Lost::from([(LANE, absent)]));
    assert_eq!(log.health().lost_blocks, 0);
    let again = take(&log, &mut progress);
    let expected: Vec<u64> = missed
        .iter()
        .flatten()
        .filter(|number| *number > 5)
        .collect();
    assert_eq!(again, expected);
    assert!(!progress.has_passed);
    drop(log);
    let log = KafkaLog::open(&options).unwrap();
    assert_eq!(log.health().absent_blocks(), 1, "durable");
}

/// A topic as an administrator made it: used where nothing is lost by it, refused by name where something would be.
#[test]
fn topics_that_exist_are_checked() {
    let Some(world) = world("log-topics", &[("message.max.bytes", "1000000")]) else {
        return;
    };
    let kafka = &world.kafka;
    let mut made = options(kafka, "a");
    made.topics.retain = Duration::from_secs(3600);
    assert_eq!(KafkaLog::check(&made).unwrap(), 0);
    let log = KafkaLog::open(&made).unwrap();
    declare(&log);
    append(&log, Class::Live, 1..=1);
    drop(log);
    assert_eq!(KafkaLog::check(&made).unwrap(), 2);
    // Another retention is told and taken; fewer copies than configured are not.
    made.topics.retain = Duration::from_secs(60);
    let log = KafkaLog::open(&made).unwrap();
    append(&log, Class::Live, 2..=2);
    drop(log);
    made.topics.min_insync_replicas = 2;
    let checked = KafkaLog::check(&made).unwrap_err().to_string();
    let refused = KafkaLog::open(&made).unwrap_err().to_string();
    assert!(checked.contains("min.insync.replicas"), "{checked}");
    assert!(
        refused.contains("efd.meta has min.insync.replicas = 1"),
        "{refused}"
    );
    made.topics.min_insync_replicas = 1;
    made.topics.replication = 3;
    made.topics.prefix = "other.".into();
    let refused = KafkaLog::open(&made).unwrap_err().to_string();
    assert!(refused.contains("fewer than 3 brokers"), "{refused}");
}

/// A cluster that is gone is an error in time, and what was to be appended then is appended later.
#[test]
fn a_cluster_that_is_gone_is_waited_for() {
    let Some(mut world) = world("log-gone", &[]) else {
        return;
    };
    let kafka = &mut world.kafka;
    let log = Arc::new(open(kafka, "a"));
    declare(&log);
    append(&log, Class::Live, 1..=1);
    let mut progress = Progress::default();
    assert_eq!(take(&log, &mut progress), [1]);
    kafka.kill9().unwrap();
    let error = log.append(&[(partition(Class::Live), block(2))]);
    let error = error.unwrap_err();
    assert!(!error.is_refusal(), "{error}");
    kafka.restart().unwrap();
    assert!(wait_until(SOON, || {
        log.append(&[(partition(Class::Live), block(2))]).is_ok()
    }));
    let taken = take(&log, &mut progress);
    assert_eq!(taken, [2], "once, though it may stand twice");
}

/// librdkafka remembers for long that a topic was not there when it was first asked for.
#[test]
fn a_topic_that_comes_late_is_found() {
    let Some(world) = world("log-late-topic", &[]) else {
        return;
    };
    let kafka = &world.kafka;
    let log = open(kafka, "a");
    declare(&log);
    append(&log, Class::Live, 1..=1);
    drop(log);
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .create()
        .unwrap();
    let topic = "efd.log.summit.0.live";
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    let deleted = block_on(admin.delete_topics(&[topic], &options)).unwrap();
    assert_eq!(deleted, [Ok(topic.to_owned())]);
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    let log = thread::scope(|scope| {
        let opening = scope.spawn(|| open(kafka, "b"));
        thread::sleep(Duration::from_secs(3));
        let made = block_on(admin.create_topics([&new], &options)).unwrap();
        assert_eq!(made, [Ok(topic.to_owned())]);
        opening.join().unwrap()
    });
    let found = log.bounds(&partition(Class::Live)).unwrap();
    assert_eq!(found, (Place::FIRST, Place::FIRST));
}
