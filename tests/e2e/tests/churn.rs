//! Topics that appear, vanish and come back.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::time::Duration;

use common::{Options, Setup, exclusive, long, wait_until};
use efd_tests_e2e::Sim;

const SETTLE: Duration = Duration::from_secs(180);
const COMING: usize = 1911;
/// What the edge may have grown since the topics had come and gone for a while.
const GROWTH_MAX: u64 = 32 << 20;

/// Memory of its own that the process has, bytes.
fn anonymous_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() << 10
}

/// While a hundred topics send 20,000 samples a second, all others of the corpus come and go.
#[test]
fn topics_that_come_and_go_cost_nothing() {
    let _turn = exclusive();
    let Some(idl) = common::corpus("sal-idl") else {
        return;
    };
    let mut setup = Setup::with(Options {
        idl: vec![idl],
        ..Options::new("churn")
    });
    setup.start();
    let seconds = if long() { 600 } else { 75 };
    let sim = Sim {
        seconds,
        rate: 20_000,
        more: ["--coming", &COMING.to_string(), "--keep-all"]
            .map(str::to_owned)
            .to_vec(),
    };
    setup.rig.start_sim(&sim).unwrap();
    let mut sizes = Vec::new();
    for (round, there) in [true, false].into_iter().cycle().enumerate() {
        let ended = setup.rig.sim().unwrap().exit_status().unwrap().is_some();
        let came = wait_until(SETTLE, || {
            let writers = setup.edge_number("/bus/writers");
            let is_so = match there {
                true => writers > COMING as u64,
                false => writers < COMING as u64,
            };
            is_so || setup.rig.sim().unwrap().exit_status().unwrap().is_some()
        });
        assert!(
            came,
            "round {round}: {} writers",
            setup.edge_number("/bus/writers")
        );
        if ended {
            break;
        }
        if !there {
            let pid = setup.rig.edge().unwrap().pid();
            let (writers, readers) = ["/bus/writers", "/bus/readers"]
                .map(|path| setup.edge_number(path))
                .into();
            sizes.push(anonymous_bytes(pid));
            println!(
                "gone: {writers} writers, {readers} readers, {} MiB",
                sizes[sizes.len() - 1] >> 20
            );
        }
    }
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    let (published, duplicates) = (
        setup.edge_number("/samples/recorded"),
        setup.edge_number("/samples/duplicates"),
    );
    println!("{published} recorded in {seconds} s and a little, {duplicates} repetitions");
    assert!(sizes.len() > 3, "{sizes:?}");
    // The allocator keeps what went, and for a minute the intake remembers who: then there is no more.
    let settled = if long() { sizes.len() / 2 } else { 1 };
    let (first, last) = (sizes[settled], sizes[sizes.len() - 1]);
    assert!(last <= first + GROWTH_MAX, "{sizes:?}");
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.summary());
    assert_eq!(account.json["topics"].as_u64(), Some(2011));
    setup.finish();
}
