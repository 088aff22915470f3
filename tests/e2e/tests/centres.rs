//! Several centres to choose from, each with a log and a lake of its own.
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

use common::{Options, Setup, exclusive, wait_until};
use efd_tests_e2e::Sim;
use efd_tests_testkit::process;
use efd_tests_testkit::relay::{Direction, Shape};

const SETTLE: Duration = Duration::from_secs(90);
/// An edge that has not moved by then does not move.
const MOVE_WITHIN: Duration = Duration::from_secs(30);

fn two(name: &'static str) -> Setup {
    Setup::with(Options {
        centres: 2,
        ..Options::new(name)
    })
}

fn lab(seconds: u32, rate: u32) -> Sim {
    Sim {
        seconds,
        rate,
        more: Vec::new(),
    }
}

/// Until the edge is with the centre and ships; how long that took.
fn wait_for_centre(setup: &Setup, centre: usize) -> Duration {
    let began = Instant::now();
    let moved = wait_until(MOVE_WITHIN, || setup.connected_to() == Some(centre));
    assert!(moved, "{}", setup.rig.edge_status().unwrap());
    let sent = setup.edge_number("/link/sent_bytes");
    let ships = wait_until(MOVE_WITHIN, || setup.edge_number("/link/sent_bytes") > sent);
    assert!(ships, "{}", setup.rig.edge_status().unwrap());
    began.elapsed()
}

fn left(setup: &Setup, centre: usize) -> serde_json::Value {
    setup.rig.edge_status().unwrap()["link"]["centres"][centre].clone()
}

/// It says nothing: as after a power cut.
#[test]
fn when_its_centre_dies_the_edge_goes_to_the_other() {
    let _turn = exclusive();
    let mut setup = two("centre-dies");
    setup.rig.start_centre(0).unwrap();
    setup.rig.start_centre(1).unwrap();
    setup.rig.start_edge().unwrap();
    setup.rig.start_sim(&lab(20, 1000)).unwrap();
    setup.wait_for_samples(3000);
    assert_eq!(setup.connected_to(), Some(0), "the preferred one");
    setup.rig.lose_centre(0).unwrap();
    let took = wait_for_centre(&setup, 1);
    println!("killed: connected to the other and shipping after {took:?}");
    let told = left(&setup, 0);
    assert_eq!(
        (&told["times_left"], &told["left"]["cause"]),
        (&1.into(), &"silent".into()),
        "{told}"
    );
    // It comes back, and nobody moves for its sake.
    setup.rig.start_centre(0).unwrap();
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    assert_eq!(setup.connected_to(), Some(1));
    setup.rig.stop().unwrap();
    // The other had nothing, and got all of it.
    let account = setup.law_of(1);
    assert_eq!(account.lost, 0, "{}", account.json);
    let first = setup.rig.account_of(0).unwrap();
    println!("the first: {}", first.summary());
    assert!(first.stored > 0 && first.duplicate == 0 && first.unexpected == 0);
    setup.finish();
}

#[test]
fn a_goodbye_moves_the_edge_and_a_dead_first_choice_does_not_hold_it() {
    let _turn = exclusive();
    let mut setup = two("centre-stops");
    setup.rig.start_centre(1).unwrap();
    let mut check = setup.rig.command("efd-edge");
    check
        .arg("check")
        .arg("--config")
        .arg(setup.rig.edge_config());
    let checked = process::run(check, Duration::from_secs(60)).unwrap();
    for (centre, expected) in [(0, "FAIL  link"), (1, "ok    link")] {
        let address = setup.rig.relay_of(centre).address();
        let line = format!("{expected}: centre {address}: ");
        assert!(checked.stdout.contains(&line), "{line}{}", checked.stdout);
    }
    setup.rig.start_edge().unwrap();
    setup.rig.start_sim(&lab(20, 500)).unwrap();
    let took = wait_for_centre(&setup, 1);
    println!("nobody at the first address: {took:?} after the edge was ready");
    assert_eq!(left(&setup, 0)["left"]["cause"], "unreachable");
    setup.rig.start_centre(0).unwrap();
    let began = Instant::now();
    setup
        .rig
        .centre(1)
        .unwrap()
        .stop(Duration::from_secs(60))
        .unwrap();
    let stopped = began.elapsed();
    wait_for_centre(&setup, 0);
    println!(
        "stopped in {stopped:?}: connected to the other and shipping after {:?}",
        began.elapsed()
    );
    assert_eq!(left(&setup, 1)["left"]["cause"], "goodbye");
    setup.rig.start_centre(1).unwrap();
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.law_of(0);
    assert_eq!(account.lost, 0, "{}", account.json);
    setup.finish();
}

/// 200 ms, 5 % loss, and a backlog that fills the link: the centre is there, and the edge stays.
#[test]
fn a_bad_link_is_no_dead_centre() {
    let _turn = exclusive();
    let mut setup = two("bad-link");
    setup.rig.start_centre(0).unwrap();
    setup.rig.start_centre(1).unwrap();
    setup.rig.relay_of(0).cut();
    setup.rig.relay_of(1).cut();
    setup.rig.start_edge().unwrap();
    setup.rig.start_sim(&lab(25, 1500)).unwrap();
    setup.wait_for_samples(12_000);
    let bad = Shape {
        loss: 0.05,
        delay: Duration::from_millis(100),
        jitter: Duration::from_millis(20),
        rate: Some(2_000_000),
        queue: Duration::from_millis(500),
        ..Shape::default()
    };
    setup.rig.relay_of(0).shape(Direction::Up, bad.clone());
    setup.rig.relay_of(0).shape(Direction::Down, bad);
    setup.rig.relay_of(0).heal();
    assert!(wait_until(SETTLE, || setup.connected_to() == Some(0)));
    let times_left = |setup: &Setup| left(setup, 0)["times_left"].as_u64().unwrap();
    let before = times_left(&setup);
    setup.end_of_sim();
    let counts = setup.rig.relay_of(0).counts();
    println!("{counts:?}");
    assert_eq!(
        (setup.connected_to(), times_left(&setup)),
        (Some(0), before)
    );
    setup.rig.relay_of(0).shape_both(Shape::default());
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.json);
    setup.finish();
}
