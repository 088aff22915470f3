//! The tiers of a real edge's buffer, against statistics that Python makes of what was published.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::fs;
use std::time::Duration;

use common::{Setup, exclusive, wait_until};
use efd_tests_e2e::Sim;
use efd_tests_testkit::process;

use serde_json::Value;

const SETTLE: Duration = Duration::from_secs(90);

/// What `checkers/tiers.py` says of the windows that the buffer has now.
fn compare(setup: &Setup, tier: &str, seconds: &str, kind: &str) -> Value {
    let mut command = setup.rig.command("efd-inspect");
    command
        .arg("tiers")
        .arg(setup.rig.buffer())
        .args(["--cat", tier]);
    let ran = process::run(command, SETTLE).unwrap();
    assert!(ran.status.success(), "{}", ran.stderr);
    let windows = setup.rig.folder().join(format!("{tier}.jsonl"));
    fs::write(&windows, ran.stdout).unwrap();
    let mut command = setup.python("tiers.py");
    command
        .arg(setup.rig.oracle())
        .arg(setup.rig.lake())
        .arg(&windows);
    command.args([seconds, kind]);
    let ran = process::run(command, SETTLE).unwrap();
    assert!(ran.status.success(), "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Until every window was closed and committed.
fn check(setup: &Setup, tier: &str, seconds: &str, kind: &str) {
    let mut said = Value::Null;
    let number = |said: &Value, key: &str| said[key].as_u64().unwrap();
    let is_right = wait_until(SETTLE, || {
        std::thread::sleep(Duration::from_secs(1));
        said = compare(setup, tier, seconds, kind);
        number(&said, "absent") == 0 && number(&said, "faults") == 0
    });
    println!("{tier}: {said}");
    assert!(is_right, "{said}");
    assert!(
        number(&said, "windows") > 20 && number(&said, "values") > 1000,
        "{said}"
    );
}

#[test]
fn tiers_are_what_python_makes_of_what_was_published() {
    let _turn = exclusive();
    let tiers = r#"tiers=[{resolution="1s",retain="1d"},{resolution="10s",retain="2d"}]"#;
    let mut setup = Setup::with(common::Options {
        edge_settings: vec![tiers.into()],
        ..common::Options::new("tiers")
    });
    setup.start();
    let sim = Sim {
        seconds: 25,
        rate: 300,
        more: vec!["--values".into(), "--extreme".into()],
    };
    setup.rig.start_sim(&sim).unwrap();
    // In the middle of windows, twice.
    for _ in 0..2 {
        setup.wait_for_samples(2000);
        setup.rig.edge().unwrap().kill9().unwrap();
        setup.rig.start_edge().unwrap();
    }
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    check(&setup, "1s", "1", "raw");
    check(&setup, "10s", "10", "merged");
    let status = setup.rig.edge_status().unwrap();
    assert_eq!(status["tier_work"]["errors"], 0, "{status}");
    assert!(
        status["tiers"][0]["bytes"].as_u64().unwrap() > 0,
        "{status}"
    );
    setup.rig.stop().unwrap();
    check(&setup, "1s", "1", "raw");
    let account = setup.law();
    println!("{}", account.json);
    setup.finish();
}
