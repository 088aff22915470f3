//! The main job, end to end, and under everything that may happen to it.
//!
//! Each test starts real programs on a DDS bus of its own and checks the law: *published = stored ∪ named losses*, disjoint,
//! nothing twice. Values are compared by Python readers that share no code with the programs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::time::Duration;

use common::{Setup, exclusive, long, programs};
use efd_tests_e2e::{Account, Sim};
use efd_tests_testkit::process::Signal;

const SETTLE: Duration = Duration::from_secs(90);

fn lab(seconds: u32, rate: u32) -> Sim {
    Sim {
        seconds,
        rate,
        more: Vec::new(),
    }
}

fn with_values(sim: Sim) -> Sim {
    Sim {
        more: [sim.more, vec!["--values".into(), "--extreme".into()]].concat(),
        ..sim
    }
}

#[test]
fn every_value_arrives_to_the_bit() {
    let _turn = exclusive();
    let mut setup = Setup::new("values");
    setup.start();
    setup.run_sim(&with_values(lab(6, 300)));
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.json);
    setup.check_values("lake");
    setup.check_values("pandas");
    setup.finish();
}

#[test]
fn the_corpus_arrives_to_the_bit() {
    let _turn = exclusive();
    let Some(idl) = common::corpus("sal-idl") else {
        return;
    };
    let mut setup = Setup::with(common::Options {
        idl: vec![idl],
        ..common::Options::new("corpus")
    });
    setup.start();
    // Every topic a few times: the last round alone publishes each instance of each.
    setup.run_sim(&with_values(lab(8, 500)));
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.json);
    assert_eq!(account.json["topics"].as_u64(), Some(2011));
    setup.check_values("lake");
    setup.finish();
}

#[test]
fn a_cut_link_costs_nothing() {
    let _turn = exclusive();
    let mut setup = Setup::new("cut");
    setup.start();
    let cut = if long() { 60 } else { 12 };
    setup.rig.start_sim(&lab(cut + 8, 1000)).unwrap();
    setup.wait_for_samples(2000);
    setup.rig.relay().cut();
    std::thread::sleep(Duration::from_secs(cut.into()));
    setup.rig.relay().heal();
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.json);
    setup.finish();
}

#[test]
fn a_killed_edge_names_what_it_missed() {
    let _turn = exclusive();
    let mut setup = Setup::new("kill-edge");
    setup.start();
    setup.rig.start_sim(&lab(16, 1000)).unwrap();
    for _ in 0..2 {
        setup.wait_for_samples(3000);
        setup.rig.edge().unwrap().kill9().unwrap();
        setup.rig.start_edge().unwrap();
    }
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert!(
        account.json["reasons"].get("crash").is_some(),
        "a restart under load misses something: {}",
        account.json
    );
    setup.finish();
}

#[test]
fn a_killed_centre_costs_nothing() {
    let _turn = exclusive();
    let mut setup = Setup::new("kill-centre");
    setup.start();
    setup.rig.start_sim(&lab(16, 1000)).unwrap();
    for _ in 0..3 {
        setup.wait_for_samples(2000);
        setup.rig.central().unwrap().kill9().unwrap();
        setup.rig.start_central().unwrap();
    }
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.json);
    setup.finish();
}

/// History for late joiners is taken once: the second start gets every event again and records none of them.
#[test]
fn history_is_recorded_once() {
    let _turn = exclusive();
    let mut setup = Setup::new("history");
    setup.start();
    let events = ["--topic", "logevent"].map(str::to_owned).to_vec();
    setup
        .rig
        .start_sim(&Sim {
            seconds: 14,
            rate: 60,
            more: events,
        })
        .unwrap();
    setup.wait_for_samples(200);
    setup
        .rig
        .edge()
        .unwrap()
        .stop(Duration::from_secs(30))
        .unwrap();
    setup.rig.start_edge().unwrap();
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    let status = setup.rig.edge_status().unwrap();
    assert!(
        status["samples"]["duplicates"].as_u64() > Some(0),
        "history came again, and was recognised: {status}"
    );
    setup.rig.stop().unwrap();
    setup.law();
    setup.finish();
}

/// Samples of a type that nobody knows wait until an IDL file brings it, while the edge runs.
#[test]
fn an_idl_file_that_comes_late_brings_its_samples() {
    let _turn = exclusive();
    let options = common::Options {
        edge_idl: Some(Vec::new()),
        ..common::Options::new("late-idl")
    };
    let mut setup = Setup::with(options);
    setup.start();
    setup.rig.start_sim(&with_values(lab(8, 200))).unwrap();
    common::wait_until(Duration::from_secs(30), || {
        setup.edge_number("/samples/parked") > 300
    });
    assert_eq!(setup.edge_number("/samples/recorded"), 0);
    setup.drop_idl_files();
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.json);
    setup.check_values("lake");
    setup.finish();
}

/// Stopped for longer than the lease, the edge notices, joins anew, and names what it missed.
#[test]
fn an_edge_that_stood_still_reads_on() {
    let _turn = exclusive();
    let mut setup = Setup::new("stopped");
    setup.start();
    setup.rig.start_sim(&lab(22, 500)).unwrap();
    setup.wait_for_samples(1000);
    setup.rig.edge().unwrap().signal(Signal::Stop).unwrap();
    std::thread::sleep(Duration::from_secs(10));
    setup.rig.edge().unwrap().signal(Signal::Continue).unwrap();
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    assert!(setup.edge_number("/bus/participant_restarts") >= 1);
    setup.rig.stop().unwrap();
    setup.law();
    setup.finish();
}

/// An acknowledgement is what lets the edge remove data: given before the log has them, a kill loses them.
fn what_a_kill_takes(name: &'static str, central_sabotage: Vec<String>) -> Account {
    let settings = [
        "buffer.retain=1s",
        "buffer.retain_events=1s",
        "buffer.segment_age_max=1s",
    ];
    let mut setup = Setup::with(common::Options {
        central_sabotage,
        edge_settings: settings.map(str::to_owned).to_vec(),
        ..common::Options::new(name)
    });
    setup.start();
    setup.run_sim(&lab(6, 500));
    // Retention looks every ten seconds.
    std::thread::sleep(Duration::from_secs(14));
    setup.rig.central().unwrap().kill9().unwrap();
    setup.rig.keep_promises();
    setup.rig.start_central().unwrap();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.rig.account().unwrap();
    setup.finish();
    account
}

#[test]
fn what_was_acknowledged_and_removed_is_at_the_centre() {
    let _turn = exclusive();
    let account = what_a_kill_takes("ack-durable", Vec::new());
    assert!(
        account.keeps_the_promise() && account.lost == 0,
        "{}",
        account.summary()
    );
}

#[test]
fn ack_early_turns_it_red() {
    let _turn = exclusive();
    if !common::has_sabotage(&programs()) {
        return;
    }
    let account = what_a_kill_takes("ack-early", vec!["ack-early".into()]);
    assert!(account.missing > 0, "nobody noticed: {}", account.summary());
}

fn values_with(name: &'static str, edge_sabotage: Vec<String>) -> (Account, serde_json::Value) {
    let mut setup = Setup::with(common::Options {
        edge_sabotage,
        ..common::Options::new(name)
    });
    setup.start();
    setup.run_sim(&Sim {
        more: vec!["--values".into()],
        ..lab(5, 400)
    });
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.rig.account().unwrap();
    let values = setup.compare_values("lake");
    setup.finish();
    (account, values)
}

/// A sample that disappears without a word breaks the law.
#[test]
fn drop_one_turns_it_red() {
    let _turn = exclusive();
    if !common::has_sabotage(&programs()) {
        return;
    }
    let (account, values) = values_with("drop-one", vec!["drop-one".into()]);
    assert_eq!(account.missing, 1, "{}", account.summary());
    assert_eq!(values["missing"], 1, "{values}");
}

/// A record that is altered before it has a checksum is found by its values alone.
#[test]
fn flip_bit_turns_it_red() {
    let _turn = exclusive();
    if !common::has_sabotage(&programs()) {
        return;
    }
    let (account, values) = values_with("flip-bit", vec!["flip-bit".into()]);
    assert!(account.keeps_the_promise(), "{}", account.summary());
    assert_eq!(values["mismatched"], 1, "{values}");
}
