//! What goes wrong around a centre whose log is on a cluster: outages, administrators, retention, deaths at chosen moments.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::time::Duration;

use common::services::Services;
use common::{Options, Setup, exclusive, programs, wait_until};
use efd_tests_e2e::{Log, Sim};
use efd_tests_testkit::python::run_json;

const SETTLE: Duration = Duration::from_secs(180);

/// Minutes in the long run; seconds where the time is short, in which the same happens.
fn outage(long: u64, short: u64) -> Duration {
    Duration::from_secs(if common::long() { long } else { short })
}

fn lab(seconds: u64, rate: u32) -> Sim {
    Sim {
        seconds: seconds as u32,
        rate,
        more: vec!["--values".into()],
    }
}

fn on_cluster(services: &Services, name: &'static str) -> Options {
    Options {
        log: Log::Kafka,
        ..services.options(name)
    }
}

fn administer(setup: &Setup, services: &Services, words: &[&str]) {
    let mut command = setup.python("admin.py");
    command.arg(services.kafka.bootstrap()).args(words);
    run_json(command, Duration::from_secs(60)).unwrap();
}

fn feed(setup: &Setup, key: &str) -> serde_json::Value {
    let status = setup.rig.central_status().unwrap_or_default();
    status["feed"][key].clone()
}

/// In the public topics and in the lake, each sample once; and that is the end of it.
fn all_is_there(mut setup: Setup, services: Services) {
    let public = setup.check_values("kafka");
    assert_eq!(public["lost"], 0, "{public}");
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.summary());
    setup.finish();
    services.finish();
}

/// A registry that is away when every schema is new, then the whole cluster, under traffic all the time.
#[test]
fn outages_of_registry_and_cluster() {
    let _turn = exclusive();
    let Some(mut services) = Services::start("outages") else {
        return;
    };
    let (registry_out, cluster_out) = (outage(60, 15), outage(120, 30));
    services.registry.kill9().unwrap();
    let mut setup = Setup::with(on_cluster(&services, "outages"));
    setup.start();
    let seconds = 30 + registry_out.as_secs() + cluster_out.as_secs();
    setup.rig.start_sim(&lab(seconds, 1000)).unwrap();
    let waits = wait_until(SETTLE, || feed(&setup, "state") == "waiting_for_registry");
    assert!(waits, "{}", feed(&setup, "state"));
    std::thread::sleep(registry_out);
    services.restart_registry();
    let goes_on = wait_until(SETTLE, || feed(&setup, "records").as_u64() > Some(5000));
    assert!(goes_on, "{}", feed(&setup, "state"));

    services.kafka.kill9().unwrap();
    let stands = wait_until(SETTLE, || {
        setup.edge_number("/buffer/unacknowledged_blocks") > 10
    });
    assert!(stands, "the edge keeps what no log takes");
    std::thread::sleep(cluster_out);
    services.restart_kafka();
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    all_is_there(setup, services);
}

/// An administrator deletes a topic, gives others more partitions, and lowers a limit for records: what concerns a topic
/// stays with that topic, and the centre starts again among all that.
#[test]
fn an_administrator_changes_topics() {
    let _turn = exclusive();
    let Some(services) = Services::start("administrator") else {
        return;
    };
    let mut setup = Setup::with(on_cluster(&services, "administrator"));
    setup.start();
    setup.rig.start_sim(&lab(35, 500)).unwrap();
    setup.wait_for_samples(3000);
    let administer = |setup: &Setup, words: &[&str]| administer(setup, &services, words);
    let small = "summit.lsst.sal.LabMirror.forceData";
    administer(&setup, &["set", small, "max.message.bytes", "100"]);
    for topic in [
        "summit.lsst.sal.LabMount.azimuth",
        "efd.log.summit.0.live",
        "efd.meta",
        "efd.lake",
    ] {
        administer(&setup, &["partitions", topic, "3"]);
    }
    let is_owed = |setup: &Setup| feed(setup, "parked").to_string().contains(small);
    assert!(
        wait_until(SETTLE, || is_owed(&setup)),
        "{}",
        feed(&setup, "parked")
    );
    let records = feed(&setup, "records").as_u64();
    let others = wait_until(SETTLE, || {
        feed(&setup, "records").as_u64() > records.map(|n| n + 1000)
    });
    assert!(others, "the others go on");

    setup.rig.central().unwrap().kill9().unwrap();
    setup.rig.start_central().unwrap();
    administer(&setup, &["set", small, "max.message.bytes", "1000000"]);
    let is_free = wait_until(SETTLE, || {
        feed(&setup, "parked_outputs") == 0 && feed(&setup, "state") == "running"
    });
    assert!(is_free, "{}", feed(&setup, "parked"));
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    setup.check_values("kafka");

    // What an administrator deletes is gone; what comes after is in the topic made anew, once.
    let deleted = "summit.lsst.sal.LabMount.elevation";
    administer(&setup, &["delete", deleted]);
    setup.rig.start_sim(&lab(8, 500)).unwrap();
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    let made_anew = wait_until(SETTLE, || {
        feed(&setup, "parked_outputs") == 0 && feed(&setup, "rewound").as_u64() > Some(0)
    });
    let feed = setup.rig.central_status().unwrap()["feed"].clone();
    assert!(made_anew, "{feed}");
    let after = setup.compare_values("kafka");
    for fault in ["duplicate", "mismatched"] {
        assert_eq!(after[fault], 0, "{after}");
    }
    setup.rig.stop().unwrap();
    setup.finish();
    services.finish();
}

/// The log's retention passes a feed that stands: alarms before, what it missed is lost by name after, and the edge sends
/// it again.
#[test]
fn retention_passes_a_feed_that_stands() {
    let _turn = exclusive();
    let settings = [
        ("log.retention.check.interval.ms", "500"),
        ("log.segment.delete.delay.ms", "100"),
        ("log.initial.task.delay.ms", "500"),
        ("log.roll.ms", "2000"),
    ];
    let Some(mut services) = Services::with_settings("passed", &settings) else {
        return;
    };
    services.registry.kill9().unwrap();
    let options = on_cluster(&services, "passed");
    let mut central_settings = options.central_settings.clone();
    central_settings.extend(["log.retain=20s", "lake.commit_every=1s"].map(str::to_owned));
    let mut setup = Setup::with(Options {
        central_settings,
        ..options
    });
    setup.start();
    setup.rig.start_sim(&lab(75, 500)).unwrap();
    let told = |setup: &mut Setup, text: &str| {
        let log = setup.rig.central().unwrap().log().text().unwrap();
        log.contains(text)
    };
    let alarm = "so far behind that the log's retention will pass them";
    assert!(wait_until(SETTLE, || told(&mut setup, alarm)));
    setup.end_of_sim();
    services.restart_registry();
    let gave_up = "The log gave up blocks that a consumer had not taken";
    assert!(wait_until(SETTLE, || told(&mut setup, gave_up)));
    setup.rig.drain(SETTLE).unwrap();
    let is_whole = wait_until(SETTLE, || {
        let status = setup.rig.central_status().unwrap_or_default();
        status["log"]["lost_blocks"] == 0
    });
    assert!(is_whole, "{:?}", setup.rig.central_status());
    setup.rig.drain(SETTLE).unwrap();
    all_is_there(setup, services);
}

/// The centre dies when blocks are durable that the edge has not been told of, and when records are in public topics that
/// no checkpoint has.
#[test]
fn deaths_between_two_steps() {
    let _turn = exclusive();
    if !common::has_sabotage(&programs()) {
        return;
    }
    for log in [Log::Kafka, Log::Embedded] {
        let Some(services) = Services::start("deaths") else {
            return;
        };
        let mut setup = Setup::with(Options {
            log,
            ..services.options("deaths")
        });
        setup.rig.sabotage_central("die-after-append");
        setup.start();
        setup.rig.start_sim(&lab(30, 500)).unwrap();
        for next in [Some("die-before-checkpoint"), None] {
            let died = setup.rig.central().unwrap().wait(SETTLE).unwrap();
            assert!(!died.success(), "{died}");
            match next {
                Some(word) => setup.rig.sabotage_central(word),
                None => setup.rig.keep_promises(),
            }
            setup.rig.start_central().unwrap();
        }
        setup.end_of_sim();
        setup.rig.drain(SETTLE).unwrap();
        let skipped = feed(&setup, "skipped");
        assert!(
            skipped.as_u64() > Some(0),
            "it was in the topics already: {skipped}"
        );
        all_is_there(setup, services);
    }
}
