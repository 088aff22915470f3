//! The crate on a real (loopback) network: several participants in this process, each with sockets and threads of its own, and
//! other processes where one is to be killed or measured.
//!
//! Runs in a network namespace of its own where that is permitted (as root, by `unshare -n`), with multicast on `lo`; else on the
//! host's `lo` by unicast, in DDS domain 77. `cargo test --test bus -- NAME` runs those whose name contains `NAME`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, with a harness of its own"
)]

mod exchange;
mod figures;
mod lifecycle;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use crate::world::World;

type Test = (&'static str, fn(&World));

const TESTS: &[Test] = &[
    (
        "payloads_arrive_byte_for_byte",
        exchange::payloads_arrive_byte_for_byte,
    ),
    (
        "instances_are_kept_apart",
        exchange::instances_are_kept_apart,
    ),
    (
        "keyed_without_a_key_function",
        exchange::keyed_without_a_key_function,
    ),
    (
        "late_joiner_gets_history_per_instance",
        exchange::late_joiner_gets_history_per_instance,
    ),
    (
        "partitions_match_by_wildcard",
        exchange::partitions_match_by_wildcard,
    ),
    (
        "full_ring_is_counted_and_harms_nobody",
        exchange::full_ring_is_counted_and_harms_nobody,
    ),
    (
        "malformed_packets_do_no_harm",
        exchange::malformed_packets_do_no_harm,
    ),
    (
        "incompatible_qos_is_named",
        exchange::incompatible_qos_is_named,
    ),
    (
        "writers_and_participants_come_and_go",
        lifecycle::writers_and_participants_come_and_go,
    ),
    (
        "type_lookup_lets_go_of_writers",
        lifecycle::type_lookup_lets_go_of_writers,
    ),
    (
        "killed_publisher_is_noticed",
        lifecycle::killed_publisher_is_noticed,
    ),
    (
        "stopped_process_notices_its_pause",
        lifecycle::stopped_process_notices_its_pause,
    ),
    ("deletion_under_traffic", lifecycle::deletion_under_traffic),
    (
        "everything_outlives_a_closed_participant",
        lifecycle::everything_outlives_a_closed_participant,
    ),
    (
        "wrong_configuration_says_why",
        lifecycle::wrong_configuration_says_why,
    ),
    ("two_thousand_topics", figures::two_thousand_topics),
    ("cost_per_sample", figures::cost_per_sample),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("child", role)) = args
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        return world::run_child(role);
    }
    if args.iter().any(|arg| arg == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let world = match World::enter(&args) {
        Ok(world) => world,
        Err(code) => return code,
    };
    let filter = args.iter().find(|arg| !arg.starts_with('-'));
    let chosen = TESTS
        .iter()
        .filter(|(name, _)| filter.is_none_or(|part| name.contains(part.as_str())));
    let failed: Vec<&str> = chosen
        .filter(|test| !passes(&world, test))
        .map(|(name, _)| *name)
        .collect();
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

fn passes(world: &World, (name, test): &Test) -> bool {
    println!("test {name} ...");
    let passed = catch_unwind(AssertUnwindSafe(|| test(world))).is_ok();
    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    passed
}
