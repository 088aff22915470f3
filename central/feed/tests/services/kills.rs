//! kill -9 of the feed and of the broker, under load.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use efd_central_feed::{Feed, FeedOptions, Stop};
use efd_central_kafka::Connection;
use efd_central_log::MemoryLog;
use efd_tests_testkit::process::Daemon;
use efd_tests_testkit::tmp::WorkDir;
use rand::{Rng, SeedableRng};

use crate::common::Spec;
use crate::kit::{Running, SOON, check_law, options, read_all, services};

const SPEC: Spec = Spec {
    topics: 40,
    records_per_block: 100,
    pad_bytes: 100,
};
const BLOCKS_PER_SECOND: u64 = 60;
const ROUNDS: u64 = 10;
/// Of the log, in the end: the rounds take less.
const BLOCKS: u64 = 2400;

/// What a child needs to know; see [`child`].
const FOLDER: &str = "EFD_FEED_CHILD_FOLDER";
const BROKERS: &str = "EFD_FEED_CHILD_BROKERS";
const REGISTRY: &str = "EFD_FEED_CHILD_REGISTRY";
const TEST: &str = "EFD_FEED_CHILD_TEST";
const BEGIN_MS: &str = "EFD_FEED_CHILD_BEGIN_MS";

/// Ten kills at random moments: while it starts, reads back, sends, writes a checkpoint.
#[test]
fn a_feed_killed_ten_times_feeds_each_record_once() {
    let Some(services) = services("a_feed_killed_ten_times_feeds_each_record_once") else {
        return;
    };
    let dir = WorkDir::new("feed-kill").unwrap();
    let begin_ms = unix_ms();
    let start = |round: u64| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "kills::child", "--nocapture", "--ignored"]);
        command
            .env(FOLDER, dir.join("feed"))
            .env(BROKERS, services.kafka.bootstrap())
            .env(REGISTRY, services.registry.url())
            .env(TEST, "kill")
            .env(BEGIN_MS, begin_ms.to_string());
        Daemon::start("feed", command, &dir.join(format!("feed-{round}.log"))).unwrap()
    };
    let seed = std::env::var("SIM_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(begin_ms);
    println!("SIM_SEED={seed}");
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    for round in 0..ROUNDS {
        let mut child = start(round);
        std::thread::sleep(Duration::from_millis(rng.random_range(100..3500)));
        assert_eq!(
            child.exit_status().unwrap(),
            None,
            "it ran until it was killed"
        );
        child.kill9().unwrap();
    }
    let mut child = start(ROUNDS);
    assert!(child.wait(SOON).unwrap().success());
    let read = read_all(&services, "kill.");
    check_law(SPEC, BLOCKS, &read);
    let skipped = child.log().text().unwrap();
    println!(
        "last child: {}",
        skipped
            .lines()
            .find(|line| line.starts_with("child:"))
            .unwrap_or("?")
    );
    dir.finish().unwrap();
}

/// Runs in a process of its own, until everything is fed.
#[test]
#[ignore = "the child of the test above"]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let env = |name: &str| std::env::var(name).unwrap();
    let mut options = FeedOptions::new(
        PathBuf::from(folder),
        Connection::plaintext(&env(BROKERS)),
        env(REGISTRY).as_str(),
    );
    options.topic_format =
        efd_central_feed::TopicFormat::new(&format!("{}.{{site}}.{{topic}}", env(TEST))).unwrap();
    options.topics.replication = 1;
    options.checkpoint_every = Duration::from_millis(700);
    #[cfg(feature = "sabotage")]
    if std::env::var("EFD_SABOTAGE").is_ok_and(|name| name == "no-dedup") {
        options.sabotage = Some(efd_central_feed::Sabotage::NoDedup);
    }
    let begin_ms: u64 = env(BEGIN_MS).parse().unwrap();
    let log = SPEC.declared();
    let feed = Feed::open(options).unwrap();
    let (stop, status) = (Stop::default(), feed.status());
    let running = std::thread::spawn({
        let (log, stop) = (Arc::clone(&log), stop.clone());
        move || feed.run(log, &stop).unwrap()
    });
    let mut through = 0;
    while through < BLOCKS {
        let due = ((unix_ms() - begin_ms) * BLOCKS_PER_SECOND / 1000).min(BLOCKS);
        if through < due {
            SPEC.append(&log, through + 1..=due);
            through = due;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    while status.read().lag_blocks > 0 || status.read().blocks == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.set();
    running.join().unwrap();
    println!("child: {:?}", status.read());
}

/// Three kills of the broker while records flow; the feed's process lives on.
#[test]
fn a_broker_killed_under_load_gets_each_record_once() {
    let Some(mut services) = services("a_broker_killed_under_load_gets_each_record_once") else {
        return;
    };
    let dir = WorkDir::new("feed-broker-kill").unwrap();
    let log = SPEC.declared();
    SPEC.append(&log, 1..=1);
    let feed = Running::start(options(&services, "brokerkill", dir.path()), &log);
    feed.wait_settled(1);
    let filler = fill(&log, 2, 900);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(1500));
        services.kafka.kill9().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        services.kafka.restart().unwrap();
    }
    filler.join().unwrap();
    feed.wait_settled(900);
    let status = feed.stop();
    check_law(SPEC, 900, &read_all(&services, "brokerkill."));
    println!(
        "broker kills: {} sessions, {} skipped",
        status.sessions, status.skipped
    );
    dir.finish().unwrap();
}

fn fill(log: &Arc<MemoryLog>, from: u64, through: u64) -> std::thread::JoinHandle<()> {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for number in from..=through {
            SPEC.append(&log, number..=number);
            std::thread::sleep(Duration::from_millis(1000 / BLOCKS_PER_SECOND));
        }
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the log grows by the clock, across kills of the process"
)]
fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64
}
