//! Publishers that do wrong, named by the edge while they do.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::time::Duration;

use common::{Setup, exclusive, wait_until};
use efd_tests_e2e::Sim;
use efd_tests_testkit::process::{self, Captured};

const WITHIN: Duration = Duration::from_secs(120);

fn status(setup: &Setup) -> Captured {
    let mut command = setup.rig.command("efd-edge");
    command
        .arg("status")
        .arg("--config")
        .arg(setup.rig.edge_config());
    process::run(command, WITHIN).unwrap()
}

/// The lines for a person of what is said of a topic or its publisher.
fn said(setup: &Setup, of: &str, what: &str) -> bool {
    let said = status(setup).stdout;
    let mut lines = said
        .lines()
        .filter(|line| line.starts_with("LOOK  publisher"));
    lines.any(|line| line.contains(of) && line.contains(what))
}

#[test]
fn publishers_that_do_wrong_are_named() {
    let _turn = exclusive();
    let mut setup = Setup::new("lint");
    setup.start();
    let faults = [
        ["--clock-off", "LabWeather=-37"],
        ["--nan-from", "LabMount_elevation=15"],
        ["--flood-from", "LabMirror_logevent_forceWarning=45"],
    ];
    let sim = Sim {
        seconds: 75,
        rate: 400,
        more: faults
            .as_flattened()
            .iter()
            .map(|word| (*word).to_owned())
            .collect(),
    };
    setup.rig.start_sim(&sim).unwrap();
    setup.wait_for_samples(400);
    let wanted = [
        (
            "LabWeather:1",
            "37.0 s behind our clock, which is TAI - UTC",
        ),
        ("LabMount.elevation", "of its floating-point values are NaN"),
        (
            "LabMirror.logevent_forceWarning",
            "of all bytes of the last 10 s",
        ),
    ];
    // One after the other, and then all at once, with an exit code for whoever looks.
    for (of, what) in wanted {
        let named = wait_until(WITHIN, || said(&setup, of, what));
        assert!(named, "{of} {what}: {}", status(&setup).stdout);
    }
    let told = status(&setup);
    assert_eq!(told.status.code(), Some(1), "{}", told.stdout);
    for (of, what) in wanted {
        assert!(said(&setup, of, what), "{of}: {}", told.stdout);
    }
    assert!(!said(&setup, "LabMount:1", "our clock"), "{}", told.stdout);
    let url = format!("{}/metrics", setup.rig.edge_url());
    let metrics = setup.rig.in_network(|| process::get(&url, WITHIN));
    let metrics = metrics.unwrap().unwrap().body;
    for (kind, least) in [("clock", 1.0), ("not_finite", 1.0), ("flood", 1.0)] {
        let name = format!("efd_edge_publisher_findings{{kind=\"{kind}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
        let value: f64 = value.unwrap().parse().unwrap();
        assert!(least <= value, "{kind}: {value}");
    }
    setup.end_of_sim();
    // The publisher has left, and what it did wrong with it; that it is gone is said instead.
    let silent = wait_until(WITHIN, || {
        said(&setup, "LabMount.elevation", "its writer has left the bus")
            && !said(&setup, "forceWarning", "of all bytes")
    });
    assert!(silent, "{}", status(&setup).stdout);
    setup.rig.drain(WITHIN).unwrap();
    let log = std::fs::read_to_string(setup.rig.folder().join("edge.log")).unwrap();
    assert!(log.contains("A publisher is off"));
    assert!(log.contains("A publisher is as before"));
    setup.rig.stop().unwrap();
    setup.law();
    setup.finish();
}
