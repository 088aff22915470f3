//! SIGTERM of the centre while its consumers have not committed: what was acknowledged is in the lake when it has ended.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::time::Duration;

use common::{Options, Setup, exclusive, wait_until};
use efd_tests_e2e::Sim;
use efd_tests_testkit::process;

const SETTLE: Duration = Duration::from_secs(90);

fn lake_number(setup: &Setup, name: &str) -> u64 {
    setup.rig.central_status().unwrap()["lake"][name]
        .as_u64()
        .unwrap()
}

fn sim() -> Sim {
    Sim {
        seconds: 6,
        rate: 500,
        more: vec!["--values".into()],
    }
}

/// No commit is due for an hour, so all that the lake has, the stop has written. The edge stays connected meanwhile.
#[test]
fn a_stop_commits_what_was_acknowledged() {
    let _turn = exclusive();
    let mut setup = Setup::with(Options {
        central_settings: vec!["lake.commit_every=1h".into()],
        ..Options::new("stop-drains")
    });
    setup.start();
    setup.run_sim(&sim());
    assert!(
        wait_until(SETTLE, || setup.acknowledged()),
        "{}",
        setup.rig.edge_status().unwrap()
    );
    assert_eq!(lake_number(&setup, "commits"), 0, "else nothing is shown");
    assert!(lake_number(&setup, "behind_blocks") > 0);

    let ended = setup.rig.central().unwrap().stop(SETTLE).unwrap();
    assert!(ended.success(), "{ended}");
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.summary());
    setup.check_values("lake");
    setup.rig.stop().unwrap();
    setup.finish();
}

/// Another writer's commit stands where the lake's next would: its thread ends. That is seen from outside, ingest goes
/// on, the end is no success, and when the stranger is gone nothing is missing.
#[test]
fn a_dead_lake_is_seen_and_loses_nothing() {
    let _turn = exclusive();
    let mut setup = Setup::with(Options {
        central_settings: vec!["lake.commit_every=1s".into()],
        ..Options::new("dead-lake")
    });
    setup.rig.start_central().unwrap();
    let strange = setup.rig.lake().join("_commits/00000000000000000001.json");
    std::fs::create_dir_all(strange.parent().unwrap()).unwrap();
    std::fs::write(&strange, "{}").unwrap();
    setup.rig.start_edge().unwrap();
    setup.run_sim(&sim());
    let acknowledged = wait_until(SETTLE, || setup.acknowledged());
    assert!(acknowledged, "a dead lake holds up nothing else");

    let status = setup.rig.central_status().unwrap();
    assert_eq!(status["lake"]["state"], "failed", "{status}");
    let url = format!("http://{}/readyz", setup.rig.central_http());
    let ready = setup
        .rig
        .in_network(|| process::get(&url, Duration::from_secs(5)))
        .unwrap()
        .unwrap();
    assert_eq!(ready.status, 503, "{}", ready.body);
    assert!(ready.body.contains("two writers"), "{}", ready.body);
    let mut command = setup.rig.command("efd-central");
    command
        .arg("status")
        .arg("--config")
        .arg(setup.rig.central_config());
    let told = process::run(command, Duration::from_secs(30)).unwrap();
    assert_eq!(told.status.code(), Some(1), "{}", told.stdout);
    assert!(
        told.stdout.contains("LOOK  the lake is failed: "),
        "{}",
        told.stdout
    );

    let ended = setup.rig.central().unwrap().stop(SETTLE).unwrap();
    assert_eq!(ended.code(), Some(2), "its work is not done");
    std::fs::remove_file(&strange).unwrap();
    setup.rig.start_central().unwrap();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.summary());
    setup.finish();
}
