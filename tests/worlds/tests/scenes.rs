//! Worlds with one thing in them.

use std::time::Duration;

use efd_shared_model::LaneKind;
use efd_shared_wire::Class;
use efd_tests_worlds::{Delay, Faults, Plan, Summary, run};

fn check(plan: &Plan, seed: u64) -> Summary {
    run::world(plan.clone(), seed).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn a_calm_world_loses_repeats_and_reconnects_nothing() {
    for seed in 1..=20 {
        let summary = check(&Plan::calm(), seed);
        assert!(summary.delivered > 100, "{summary:?}");
        assert_eq!(
            (summary.lost, summary.repeats, summary.edge_crashes),
            (0, 0, 0)
        );
        let fill = summary.delays.iter().filter(|d| d.class == Class::Fill);
        assert_eq!(fill.count(), 0, "nothing is late: seed {seed}");
    }
}

/// 6 MB of backlog on 400 kB/s take 15 s at least; the live blocks of that time are not to notice.
#[test]
fn live_blocks_stay_quick_while_a_backlog_drains() {
    for seed in 1..=10 {
        let plan = Plan {
            backlog: 3000,
            link_rate: Some(400_000),
            lasts: Duration::from_secs(20),
            ..Plan::calm()
        };
        let summary = check(&plan, seed);
        let live: Vec<_> = summary
            .delays
            .iter()
            .filter(|d| d.class == Class::Live)
            .collect();
        assert!(live.len() > 100, "{} live blocks", live.len());
        let slow: Vec<_> = live
            .iter()
            .filter(|d| d.delay > Duration::from_millis(1000))
            .collect();
        // One in twenty blocks is lost on the way once, and takes up to 1.5 s more.
        assert!(
            slow.len() * 20 <= live.len(),
            "{slow:?} of {} in seed {seed}",
            live.len()
        );
        let worst = live.iter().map(|d| d.delay).max();
        assert!(
            worst < Some(Duration::from_secs(3)),
            "{worst:?} in seed {seed}"
        );
        let filled = summary.delays.iter().filter(|d| d.class == Class::Fill);
        let last = filled.map(|d| d.delay).max();
        assert!(
            last < Some(Duration::from_secs(40)),
            "the backlog took {last:?} in seed {seed}"
        );
    }
}

/// More comes live than the link carries: events pass before telemetry, and the backlog is not starved.
#[test]
fn an_overloaded_link_carries_events_first_and_starves_nobody() {
    let mut early = 0;
    for seed in 1..=5 {
        let plan = Plan {
            backlog: 200,
            link_rate: Some(12_000),
            lasts: Duration::from_secs(60),
            settles_within: Duration::from_secs(1200),
            ..Plan::calm()
        };
        let summary = check(&plan, seed);
        let live = |kind| {
            summary
                .delays
                .iter()
                .filter(move |d| d.class == Class::Live && d.kind == kind)
        };
        let (events, telemetry) = (
            live(LaneKind::Events).count(),
            live(LaneKind::Telemetry).count(),
        );
        let events_of = summary
            .delays
            .iter()
            .filter(|d| d.kind == LaneKind::Events)
            .count();
        assert!(
            events * 10 >= events_of * 8,
            "{events} of {events_of} events live, seed {seed}"
        );
        assert!(telemetry > 0, "seed {seed}");
        let within = |d: &&Delay| d.delay < plan.lasts;
        let filled = summary.delays.iter().filter(|d| d.class == Class::Fill);
        early += filled.filter(within).count();
    }
    // Half of the edges pace themselves. With the others, a minute's worth of the link is in its queue before, live first,
    // and little of what is owed to back-fill comes early.
    assert!(early > 50, "back-fill starved: {early} blocks");
}

#[test]
fn a_log_that_lost_its_disk_is_filled_again() {
    let faults = Faults {
        log_disk_loss: 30,
        ..Faults::none()
    };
    check_want(faults);
}

#[test]
fn blocks_that_the_log_lost_are_wanted_and_come_again() {
    let faults = Faults {
        log_loss: 100,
        ..Faults::none()
    };
    check_want(faults);
}

fn check_want(faults: Faults) {
    let plan = Plan {
        faults,
        ..Plan::calm()
    };
    let mut wanted = 0;
    for seed in 1..=20 {
        let summary = check(&plan, seed);
        assert_eq!(summary.lost, 0, "seed {seed}");
        wanted += summary.wanted;
    }
    assert!(wanted > 1000, "{wanted} blocks wanted in 20 worlds");
}
