//! The central log's own disk loses what was acknowledged: the edge is asked for it again, and the law holds.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use common::{Options, Setup, exclusive, wait_until};
use efd_tests_e2e::Sim;

const SETTLE: Duration = Duration::from_secs(90);
const LAKE_OFF: &str = "[lake]\nenabled = false\n";

/// A log that the edge was told has everything, and that no consumer has read; the centre is stopped.
fn unread_log(name: &'static str) -> Setup {
    let mut setup = Setup::with(Options {
        central_settings: vec!["log.segment_bytes_max=64KiB".into()],
        ..Options::new(name)
    });
    let settings = fs::read_to_string(setup.rig.central_config()).unwrap();
    assert!(settings.contains("[lake]\n"), "{settings}");
    fs::write(
        setup.rig.central_config(),
        settings.replace("[lake]\n", LAKE_OFF),
    )
    .unwrap();
    setup.start();
    setup.run_sim(&Sim {
        seconds: 8,
        rate: 500,
        more: vec!["--values".into()],
    });
    assert!(
        wait_until(SETTLE, || setup.acknowledged()),
        "{}",
        setup.rig.edge_status().unwrap()
    );
    setup.rig.central().unwrap().stop(SETTLE).unwrap();
    fs::write(setup.rig.central_config(), settings).unwrap();
    setup
}

/// Of the partition with most of them, oldest first. Of the last two one is open, and none is in the catalogue.
fn segments(setup: &Setup) -> Vec<PathBuf> {
    let lanes = fs::read_dir(setup.rig.folder().join("central/log/segments")).unwrap();
    let of_lane = |lane: PathBuf| -> Vec<PathBuf> {
        let files = fs::read_dir(lane).unwrap().map(|file| file.unwrap().path());
        let files: BTreeSet<_> = files
            .filter(|path| path.extension().is_some_and(|extension| extension == "db"))
            .collect();
        files.into_iter().collect()
    };
    let segments = lanes
        .map(|lane| of_lane(lane.unwrap().path()))
        .max_by_key(Vec::len)
        .unwrap();
    assert!(segments.len() >= 5, "too few to damage some: {segments:?}");
    segments
}

/// With the lake: nothing missing, nothing twice, and the values are right. Gives what the log counted.
fn comes_again(mut setup: Setup) -> serde_json::Value {
    setup.rig.start_central().unwrap();
    let number = |setup: &Setup, path: &str| {
        let status = setup.rig.central_status().unwrap();
        status.pointer(path).and_then(serde_json::Value::as_u64)
    };
    let came = wait_until(SETTLE, || {
        number(&setup, "/edges/0/blocks_wanted") > Some(0)
            && number(&setup, "/log/lost_blocks") == Some(0)
    });
    let status = setup.rig.central_status().unwrap();
    assert!(came, "{status}");
    assert_eq!(status["log"]["absent_blocks"], 0, "{status}");
    setup.rig.drain(SETTLE).unwrap();
    let log = setup.rig.central_status().unwrap()["log"].take();
    println!("{log}");
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.summary());
    setup.check_values("lake");
    setup.finish();
    log
}

#[test]
fn segments_that_are_gone_come_again() {
    let _turn = exclusive();
    let setup = unread_log("log-gone");
    let segments = segments(&setup);
    for gone in [&segments[2..=2], &segments[segments.len() - 2..]].concat() {
        fs::remove_file(gone).unwrap();
    }
    let log = comes_again(setup);
    assert!(
        log["passed_places"].as_u64() > Some(1 << 20),
        "the places of a lost end are not given anew: {log}"
    );
}

/// The file has its size and its head: only who reads its blocks notices.
#[test]
fn damage_that_the_lake_meets_comes_again() {
    let _turn = exclusive();
    let setup = unread_log("log-damaged");
    let damaged = &segments(&setup)[2];
    let mut bytes = fs::read(damaged).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..] {
        *byte ^= 0x55;
    }
    fs::write(damaged, bytes).unwrap();
    let log = comes_again(setup);
    assert!(log["damaged_places"].as_u64() > Some(0), "{log}");
}
