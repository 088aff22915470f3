//! The inspection tool beside a busy edge: it disturbs nothing, and what it shows is right.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::time::Duration;

use common::{Setup, exclusive, long};
use efd_tests_e2e::Sim;
use efd_tests_testkit::process;

const SETTLE: Duration = Duration::from_secs(120);

#[test]
fn the_tool_beside_a_busy_edge_costs_it_nothing() {
    let _turn = exclusive();
    let mut setup = Setup::new("beside");
    setup.start();
    // The full rate is that of `cargo xtask bench load -- --inspect`, in a release build.
    let sim = Sim {
        seconds: if long() { 300 } else { 10 },
        rate: 4000,
        more: Vec::new(),
    };
    setup.rig.start_sim(&sim).unwrap();
    setup.wait_for_samples(4000);
    let exports = setup.rig.folder().join("exports");
    let mut rounds = 0;
    while setup.rig.sim().unwrap().exit_status().unwrap().is_none() {
        let to = exports.join(rounds.to_string());
        let words: [&[&str]; 6] = [
            &["ls"],
            &["verify"],
            &["cat", "--topic", "LabMount.elevation", "--limit", "5"],
            &["account"],
            &["retention"],
            &["export", "--to", to.to_str().unwrap()],
        ];
        for words in words {
            let mut command = setup.rig.command("efd-inspect");
            command
                .arg(words[0])
                .arg(setup.rig.buffer())
                .args(&words[1..]);
            let ran = process::run(command, SETTLE).unwrap();
            assert!(
                ran.status.success(),
                "{words:?}: {} {}",
                ran.status,
                ran.stderr
            );
            assert!(!ran.stdout.is_empty(), "{words:?}");
        }
        rounds += 1;
    }
    println!("{rounds} rounds of six commands");
    assert!(rounds > 0);
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.json);
    setup.finish();
}
