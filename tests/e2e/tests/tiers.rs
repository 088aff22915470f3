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
use efd_shared_model::UtcNanos;
use efd_tests_e2e::Sim;
use efd_tests_testkit::process;

use serde_json::Value;

const SETTLE: Duration = Duration::from_secs(90);

#[expect(clippy::disallowed_methods, reason = "a real edge has a real clock")]
fn utc_now() -> UtcNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UtcNanos(i64::try_from(since.unwrap().as_nanos()).unwrap())
}

/// What `checkers/tiers.py` says of the windows that the buffer has now.
fn compare(setup: &Setup, tier: &str, seconds: &str, kind: &str, leap: Option<i64>) -> Value {
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
    command.envs(leap.map(|leap| ("EFD_LEAP", leap.to_string())));
    let ran = process::run(command, SETTLE).unwrap();
    assert!(ran.status.success(), "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Until every window was closed and committed.
fn check(setup: &Setup, tier: &str, seconds: &str, kind: &str, leap: Option<i64>) {
    let mut said = Value::Null;
    let number = |said: &Value, key: &str| said[key].as_u64().unwrap();
    let is_right = wait_until(SETTLE, || {
        std::thread::sleep(Duration::from_secs(1));
        said = compare(setup, tier, seconds, kind, leap);
        number(&said, "absent") == 0 && number(&said, "faults") == 0
    });
    println!("{tier}: {said}");
    assert!(is_right, "{said}");
    assert!(
        number(&said, "windows") > 20 && number(&said, "values") > 1000,
        "{said}"
    );
}

/// In the middle of the run a second is inserted: UTC has it twice, and what came in it twice is in the same windows.
#[test]
fn a_leap_second_is_in_the_windows_that_have_it_twice() {
    let _turn = exclusive();
    let leap = utc_now().0.div_euclid(1_000_000_000) + 22;
    // Seconds since 1900.
    let ntp = |unix: i64| unix + 2_208_988_800;
    let table = format!(
        "#@ {}\n{} 37\n{} 38\n",
        ntp(leap + 300 * 86_400),
        ntp(1_483_228_800),
        ntp(leap)
    );
    let file = std::env::temp_dir().join(format!("efd-leap-{}.list", std::process::id()));
    fs::write(&file, table).unwrap();
    let tiers = r#"tiers=[{resolution="1s",retain="1d"},{resolution="10s",retain="2d"}]"#;
    let mut setup = Setup::with(common::Options {
        edge_settings: vec![
            tiers.into(),
            format!("time.leap_seconds={}", file.display()),
        ],
        ..common::Options::new("tiers-leap")
    });
    setup.start();
    setup.run_sim(&Sim {
        seconds: 30,
        rate: 300,
        more: vec!["--values".into(), "--instances".into(), "2".into()],
    });
    assert!(utc_now().0 > leap * 1_000_000_000, "it has not come yet");
    setup.rig.drain(SETTLE).unwrap();
    check(&setup, "1s", "1", "raw", Some(leap));
    check(&setup, "10s", "10", "merged", Some(leap));
    // Without it they are not what they should be: the comparison sees a second.
    let said = compare(&setup, "1s", "1", "raw", None);
    assert!(
        said["faults"].as_u64().unwrap() + said["absent"].as_u64().unwrap() > 0,
        "{said}"
    );
    setup.rig.stop().unwrap();
    fs::remove_file(&file).unwrap();
    setup.law();
    setup.finish();
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
    check(&setup, "1s", "1", "raw", None);
    check(&setup, "10s", "10", "merged", None);
    let status = setup.rig.edge_status().unwrap();
    assert_eq!(status["tier_work"]["errors"], 0, "{status}");
    assert!(
        status["tiers"][0]["bytes"].as_u64().unwrap() > 0,
        "{status}"
    );
    setup.rig.stop().unwrap();
    check(&setup, "1s", "1", "raw", None);
    let account = setup.law();
    println!("{}", account.json);
    setup.finish();
}
