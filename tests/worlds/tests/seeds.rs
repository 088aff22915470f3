//! Hundreds of worlds in which everything goes wrong. `EFD_SEEDS=N` runs more, `SIM_SEED=0x…` one again, traced.

use efd_tests_worlds::{Plan, run};

#[test]
fn every_durable_block_arrives_once_or_is_named() {
    let totals = run::worlds(&Plan::storm(), &run::seeds(500));
    let totals = totals.unwrap_or_else(|failure| panic!("{failure}"));
    println!("{totals:?}");
    // A storm that never does what it says proves nothing.
    if totals.worlds >= 500 {
        for (what, count) in [
            ("connections", totals.connections),
            ("edge crashes", totals.edge_crashes),
            ("centre crashes", totals.centre_crashes),
            ("blocks wanted again", totals.wanted),
            ("blocks lost and named", totals.lost as u64),
            ("blocks twice in the log", totals.repeats as u64),
        ] {
            assert!(
                count >= totals.worlds,
                "{count} {what} in {} worlds",
                totals.worlds
            );
        }
    }
}
