//! What an operator asks of running daemons, and that asking changes nothing.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Setup, exclusive, programs, wait_until};
use efd_tests_e2e::Sim;
use efd_tests_testkit::process::{self, Captured};

const WITHIN: Duration = Duration::from_secs(60);

fn ask(setup: &Setup, program: &str, config: &Path, words: &[&str]) -> Captured {
    let mut command = setup.rig.command(program);
    command.args(words).arg("--config").arg(config);
    process::run(command, WITHIN).unwrap()
}

fn connected(setup: &Setup) -> Vec<bool> {
    let status = setup.rig.central_status().unwrap();
    let edges = status["edges"].as_array().unwrap().iter();
    edges
        .map(|edge| edge["connected"].as_bool().unwrap())
        .collect()
}

#[test]
fn a_check_beside_what_runs_disturbs_nothing() {
    let _turn = exclusive();
    let mut setup = Setup::new("check-beside");
    setup.start();
    assert!(wait_until(WITHIN, || connected(&setup) == [true]));
    let edge = ask(&setup, "efd-edge", &setup.rig.edge_config(), &["check"]);
    assert!(edge.status.success(), "{}", edge.stdout);
    assert!(
        edge.stdout.contains("of the efd-edge that runs"),
        "{}",
        edge.stdout
    );
    assert!(edge.stdout.contains("it answers at"), "{}", edge.stdout);
    let central = ask(
        &setup,
        "efd-central",
        &setup.rig.central_config(),
        &["check"],
    );
    assert!(central.status.success(), "{}", central.stdout);
    assert_eq!(
        central
            .stdout
            .matches("of the efd-central that runs")
            .count(),
        2,
        "{}",
        central.stdout
    );
    // The probe's end is not the edge's.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(connected(&setup), [true]);
    setup.rig.stop().unwrap();
    // A port that another program has is found before the start.
    let taken = setup
        .rig
        .in_network(|| std::net::TcpListener::bind(setup.rig.central_http()));
    let _taken = taken.unwrap().unwrap();
    let central = ask(
        &setup,
        "efd-central",
        &setup.rig.central_config(),
        &["check"],
    );
    assert_eq!(central.status.code(), Some(2), "{}", central.stdout);
    assert!(central.stdout.contains("is in use"), "{}", central.stdout);
    setup.finish();
}

#[test]
fn the_wrong_daemon_is_told_apart() {
    let _turn = exclusive();
    let mut setup = Setup::new("wrong-daemon");
    setup.rig.start_central().unwrap();
    let listen = format!("http.listen={}", setup.rig.central_http());
    let asked = ask(
        &setup,
        "efd-edge",
        &setup.rig.edge_config(),
        &["status", "--set", &listen],
    );
    assert_eq!(asked.status.code(), Some(2), "{}", asked.stdout);
    assert_eq!(asked.stdout, "");
    assert!(
        asked.stderr.contains("is efd-central, not efd-edge"),
        "{}",
        asked.stderr
    );
    setup.rig.stop().unwrap();
    setup.finish();
}

/// The age is that of the block, not of the file that it is in.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "compares an age with the wall clock"
)]
fn what_waits_is_as_old_as_it_is() {
    let _turn = exclusive();
    let mut setup = Setup::new("age");
    setup.start();
    let sim = |seconds| Sim {
        seconds,
        rate: 200,
        more: Vec::new(),
    };
    setup.run_sim(&sim(2));
    assert!(wait_until(WITHIN, || setup.acknowledged()));
    let age = |setup: &Setup| {
        let status = setup.rig.edge_status().unwrap();
        let number = |path: &str| status.pointer(path).unwrap().as_f64().unwrap();
        let (age, bytes) = (
            "/link/oldest_unacknowledged_seconds",
            "/buffer/backlog_bytes",
        );
        (number(age), number(bytes))
    };
    assert_eq!(age(&setup), (0.0, 0.0));
    // The file grows old meanwhile.
    std::thread::sleep(Duration::from_secs(5));
    setup.rig.relay().cut();
    let began = Instant::now();
    setup.run_sim(&sim(2));
    let waits = wait_until(WITHIN, || age(&setup).1 > 0.0 && age(&setup).0 > 0.0);
    assert!(waits);
    let (seconds, _) = age(&setup);
    assert!(seconds <= began.elapsed().as_secs_f64(), "{seconds}");
    setup.rig.relay().heal();
    assert!(wait_until(WITHIN, || setup.acknowledged()));
    assert_eq!(age(&setup), (0.0, 0.0));
    setup.rig.stop().unwrap();
    setup.finish();
}

#[test]
fn whoever_reads_one_line_has_had_enough() {
    for (program, words) in [
        ("efd-edge", "schema"),
        ("efd-edge", "check --offline --config"),
        ("efd-central", "check --config"),
    ] {
        let setup = Setup::new("head");
        let path = programs().join(program);
        let argument = match (program, words) {
            (_, "schema") => common::lab_idl(),
            ("efd-edge", _) => setup.rig.edge_config(),
            (_, _) => setup.rig.central_config(),
        };
        let line = format!(
            "{} {words} {} | head -n 0; sleep 1",
            path.display(),
            argument.display()
        );
        let mut command = Command::new("sh");
        command.arg("-c").arg(line);
        let ran = process::run(setup.rig.in_place(command), WITHIN).unwrap();
        assert!(
            !ran.stderr.contains("panicked"),
            "{program} {words}: {}",
            ran.stderr
        );
        setup.finish();
    }
}
