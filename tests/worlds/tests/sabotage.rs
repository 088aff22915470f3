//! A test that cannot fail is no test: each lie is found out, and for what it is.

use efd_tests_worlds::{Breach, Plan, Sabotage, run};

/// Runs storms until one ends in the breach that the lie must cause; any other breach fails.
fn check(sabotage: Sabotage, is_caught: fn(&Breach) -> bool) {
    let plan = Plan {
        sabotage: Some(sabotage),
        ..Plan::storm()
    };
    for seed in 1..=100 {
        if let Err(failure) = run::world(plan.clone(), seed) {
            assert!(is_caught(&failure.breach), "{sabotage:?}: {failure}");
            return;
        }
    }
    panic!("{sabotage:?} went unnoticed through 100 worlds");
}

#[test]
fn ack_early() {
    check(Sabotage::AckEarly, |breach| {
        matches!(breach, Breach::AckedBeforeDurable { .. })
    });
}

#[test]
fn no_dedup() {
    check(Sabotage::NoDedup, |breach| {
        matches!(breach, Breach::Duplicate(_))
    });
}

#[test]
fn send_early() {
    check(Sabotage::SendEarly, |breach| {
        matches!(breach, Breach::SentBeforeDurable(_))
    });
}

#[test]
fn drop_one() {
    check(Sabotage::DropOne, |breach| {
        matches!(breach, Breach::Missing(_))
    });
}

#[test]
fn declare_early() {
    check(Sabotage::DeclareEarly, |breach| {
        matches!(breach, Breach::Undeclared(_))
    });
}

#[test]
fn silent_eviction() {
    check(Sabotage::SilentEviction, |breach| {
        matches!(breach, Breach::Missing(_))
    });
}
