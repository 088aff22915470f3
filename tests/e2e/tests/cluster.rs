//! Two centres that share a log on a cluster of three brokers: each sample is in the public topics and in the lake once,
//! or named, whatever is killed or frozen.
//!
//! Timings decide nothing here; they are printed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::time::{Duration, Instant};

use common::services::Services;
use common::{Options, Setup, exclusive, wait_until};
use efd_tests_e2e::{Log, Sim};
use efd_tests_testkit::process::Signal;

const SETTLE: Duration = Duration::from_secs(180);
/// Who has not taken over by then does not.
const TAKE_OVER_WITHIN: Duration = Duration::from_secs(60);
const CENTRES: [usize; 2] = [0, 1];

fn state(setup: &Setup, centre: usize, role: &str) -> String {
    let status = setup.rig.status_of(centre).ok();
    let state = status.and_then(|status| Some(status[role]["state"].as_str()?.to_owned()));
    state.unwrap_or_default()
}

/// Who runs the role; `None` while nobody does.
fn owner(setup: &Setup, role: &str) -> Option<usize> {
    let mut running = CENTRES.into_iter();
    running.find(|centre| state(setup, *centre, role) == "running")
}

/// Of the feed's workers, in their order, who has each.
fn workers(setup: &Setup) -> Vec<Vec<usize>> {
    let mut owners = Vec::new();
    for centre in CENTRES {
        let status = setup.rig.status_of(centre).unwrap_or_default();
        let workers = status["feed"]["workers"].as_array().cloned();
        for (ix, worker) in workers.unwrap_or_default().iter().enumerate() {
            owners.resize(owners.len().max(ix + 1), Vec::new());
            if worker["state"] == "running" {
                owners[ix].push(centre);
            }
        }
    }
    owners
}

/// Until some centre but this one runs feed and lake, and has the edge. How long each took.
fn wait_for_others(setup: &Setup, gone: usize, since: Instant) -> String {
    let other = 1 - gone;
    let mut told = Vec::new();
    for (what, is_so) in [
        (
            "edge",
            &(|| setup.connected_to() == Some(other)) as &dyn Fn() -> bool,
        ),
        // Who is frozen does not answer: it is not asked.
        ("feed", &|| state(setup, other, "feed") == "running"),
        ("lake", &|| state(setup, other, "lake") == "running"),
    ] {
        let came = wait_until(TAKE_OVER_WITHIN, is_so);
        let status = setup.rig.status_of(other);
        assert!(came, "{what} is not taken over: {status:?}");
        told.push(format!("{what} {:.1} s", since.elapsed().as_secs_f64()));
    }
    told.join(", ")
}

#[test]
fn two_centres_take_over_from_each_other() {
    let _turn = exclusive();
    let Some(services) = Services::with_brokers("cluster", 3) else {
        return;
    };
    let rounds = if common::long() { 10 } else { 2 };
    let mut setup = Setup::with(Options {
        centres: 2,
        log: Log::Kafka,
        ..services.options("cluster")
    });
    for centre in CENTRES {
        setup.rig.start_centre(centre).unwrap();
    }
    setup.rig.start_edge().unwrap();
    setup
        .rig
        .start_sim(&Sim {
            seconds: 40 + rounds * 25,
            rate: 1000,
            more: vec!["--values".into()],
        })
        .unwrap();
    setup.wait_for_samples(3000);
    for round in 0..rounds {
        let settled = wait_until(TAKE_OVER_WITHIN, || {
            owner(&setup, "feed").is_some() && owner(&setup, "lake").is_some()
        });
        assert!(
            settled,
            "{:?}",
            CENTRES.map(|centre| setup.rig.status_of(centre))
        );
        let victim = owner(&setup, "feed").unwrap();
        let began = Instant::now();
        setup.rig.lose_centre(victim).unwrap();
        let took = wait_for_others(&setup, victim, began);
        println!("round {round}: centre {victim} killed; taken over: {took}");
        setup.rig.start_centre(victim).unwrap();
    }

    // Frozen, with a take-over meanwhile, and woken: it must not send what it had begun. The kernel ends it before.
    let victim = owner(&setup, "feed").unwrap();
    let began = Instant::now();
    setup
        .rig
        .centre(victim)
        .unwrap()
        .signal(Signal::Stop)
        .unwrap();
    let took = wait_for_others(&setup, victim, began);
    println!("centre {victim} frozen; taken over: {took}");
    std::thread::sleep(Duration::from_secs(if common::long() { 60 } else { 5 }));
    // Whatever there is of it goes on.
    setup
        .rig
        .centre(victim)
        .unwrap()
        .signal(Signal::Continue)
        .ok();
    let frozen = setup.rig.centre(victim).unwrap();
    let ended = frozen.exit_status().unwrap();
    assert!(ended.is_some(), "a frozen owner of a seat is ended");
    setup.rig.start_centre(victim).unwrap();

    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    let public = setup.check_values("kafka");
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.json);
    assert_eq!(public["lost"], 0, "{public}");
    setup.finish();
    services.finish();
}

/// An edge's lanes are split into four shards and joined again while everything runs, and four workers share the topics
/// among two centres, one of which is killed: no topic has two workers, and each sample is there once or named.
#[test]
fn from_one_shard_to_four() {
    const WORKERS: usize = 4;
    let _turn = exclusive();
    let Some(services) = Services::start("shards") else {
        return;
    };
    let options = services.options("shards");
    let mut central_settings = options.central_settings.clone();
    central_settings.push(format!("feed.workers={WORKERS}"));
    let mut setup = Setup::with(Options {
        centres: 2,
        log: Log::Kafka,
        central_settings,
        ..options
    });
    for centre in CENTRES {
        setup.rig.start_centre(centre).unwrap();
    }
    setup.rig.start_edge().unwrap();
    setup
        .rig
        .start_sim(&Sim {
            seconds: 60,
            rate: 1000,
            more: vec!["--values".into()],
        })
        .unwrap();
    setup.wait_for_samples(3000);
    let shared = |setup: &Setup| {
        let workers = workers(setup);
        workers.len() == WORKERS
            && workers.iter().all(|owners| owners.len() == 1)
            && CENTRES
                .iter()
                .all(|centre| workers.iter().any(|owners| owners == &[*centre]))
    };
    assert!(
        wait_until(TAKE_OVER_WITHIN, || shared(&setup)),
        "{:?}",
        workers(&setup)
    );
    for shards in ["commit.shards=4", "commit.shards=1", "commit.shards=4"] {
        setup.rig.set_edge(shards);
        if shards.ends_with('1') {
            setup.rig.edge().unwrap().kill9().unwrap();
        } else {
            let edge = setup.rig.edge().unwrap();
            assert!(edge.stop(SETTLE).unwrap().success());
        }
        setup.rig.start_edge().unwrap();
        setup.wait_for_samples(3000);
        if shards.ends_with('1') {
            setup.rig.lose_centre(1).unwrap();
            setup.rig.start_centre(1).unwrap();
        }
    }
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    let public = setup.check_values("kafka");
    for centre in CENTRES {
        let feed = &setup.rig.status_of(centre).unwrap()["feed"];
        assert_eq!(feed["duplicates"], 0, "{feed}");
    }
    setup.rig.stop().unwrap();
    let account = setup.law();
    println!("named as lost by four starts of the edge: {}", account.lost);
    assert_eq!(public["lost"].as_u64(), Some(account.lost), "{public}");
    let lanes = setup.check_values("lake")["lanes"].to_string();
    for lane in ["telemetry", "telemetry.5", "events.6"] {
        assert!(lanes.contains(&format!("\"{lane}\"")), "{lane} in {lanes}");
    }
    setup.finish();
    services.finish();
}
