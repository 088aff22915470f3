//! An event that goes mad and makes most of all bytes, with a link that does not take them all: it waits, and leaves, alone.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::time::{Duration, SystemTime};

use common::services::Services;
use common::{Setup, exclusive, wait_until};
use efd_tests_e2e::Sim;
use efd_tests_testkit::python::run_json;
use efd_tests_testkit::relay::{Direction, Shape};
use serde_json::Value;

const FLOODER: &str = "lsst.sal.LabMirror.logevent_forceWarning";
const SETTLE: Duration = Duration::from_secs(240);
const SECONDS: u32 = 42;
const FLOOD_FROM: u32 = 8;
/// The flood has its lane by then.
const DIVERTED_WITHIN: Duration = Duration::from_secs(30);
/// Takes all but the flood with ease, and of the flood a part.
const LINK_BITS_PER_SECOND: u64 = 600_000;

#[expect(
    clippy::disallowed_methods,
    reason = "a span of event times is asked for"
)]
fn seconds_now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

fn floods(setup: &Setup) -> Value {
    setup.rig.edge_status().unwrap()["floods"].take()
}

fn recorded_bytes(setup: &Setup) -> u64 {
    setup.edge_number("/samples/recorded_bytes")
}

/// What `checkers/live.py` says of records with event times within that span.
fn live(setup: &Setup, brokers: &str, from: f64, until: f64) -> Value {
    let mut command = setup.python("live.py");
    command.args([brokers, "summit"]).args([
        "--from",
        &from.to_string(),
        "--until",
        &until.to_string(),
    ]);
    run_json(command, SETTLE).unwrap()
}

#[test]
fn a_flood_waits_and_leaves_alone() {
    let _turn = exclusive();
    let Some(services) = Services::start("flood") else {
        return;
    };
    let mut options = services.options("flood");
    let edge_settings = [
        "flood.window=5s",
        "flood.events_rate=80kbit/s",
        "buffer.quotas.flood=1MiB",
        "buffer.segment_bytes_max=128KiB",
        "buffer.segment_age_max=4s",
        "ship.link_rate_max=500kbit/s",
    ];
    options.edge_settings = edge_settings.map(str::to_owned).to_vec();
    let mut setup = Setup::with(options);
    let up = Shape {
        rate: Some(LINK_BITS_PER_SECOND),
        queue: Duration::from_millis(300),
        ..Shape::default()
    };
    setup.rig.relay().shape(Direction::Up, up);
    setup.start();
    setup
        .rig
        .start_sim(&Sim {
            seconds: SECONDS,
            rate: 150,
            more: [
                "--values",
                "--flood-from",
                &format!("LabMirror_logevent_forceWarning={FLOOD_FROM}"),
            ]
            .map(str::to_owned)
            .to_vec(),
        })
        .unwrap();
    setup.wait_for_samples(300);
    let diverted = wait_until(DIVERTED_WITHIN, || {
        floods(&setup)["diverted"]
            .as_array()
            .is_some_and(|it| !it.is_empty())
    });
    assert!(diverted, "{}", floods(&setup));
    let (from, before) = (seconds_now(), recorded_bytes(&setup));
    setup.end_of_sim();
    let until = seconds_now();
    let floods = floods(&setup);
    let (flood, all) = (&floods["bytes"], recorded_bytes(&setup) - before);
    println!("{floods} of {all} bytes");
    assert!(flood.as_u64().unwrap() * 4 >= all * 3, "{floods} of {all}");
    let flooded = &floods["diverted"][0];
    assert_eq!(flooded["topic"], FLOODER);
    assert_eq!(
        floods["since_start"], 1,
        "nobody else was diverted: {floods}"
    );
    setup.rig.relay().shape_both(Shape::default());
    setup.rig.drain(SETTLE).unwrap();
    let live = live(&setup, &services.kafka.bootstrap(), from, until);
    setup.rig.stop().unwrap();

    // What was in flight when it was evicted is stored, and named.
    let account = setup.rig.account().unwrap();
    println!("{}: {}", account.summary(), account.json["lanes"]);
    assert!(account.keeps_the_promise_but_for_arrivals());
    assert!(account.lost > 0, "{}", account.summary());
    for (topic, line) in account.json["lines"].as_object().unwrap() {
        let is_whole = line["stored"] == line["published"];
        assert_eq!(is_whole, topic != FLOODER, "{topic}: {line}");
    }

    // Who waits is the flood.
    let of = |topic: &str, what: &str| live[topic][what].as_f64().unwrap();
    let others = || {
        live.as_object()
            .unwrap()
            .keys()
            .filter(|topic| *topic != FLOODER)
    };
    let slowest = others().map(|topic| of(topic, "p99")).fold(0.0, f64::max);
    let flood = of(FLOODER, "p50");
    println!(
        "to the public topics: the slowest p99 of {} others is {slowest} s; half of the flood took {flood} s",
        others().count()
    );
    assert!(others().count() > 20, "{live}");
    assert!(slowest < flood, "{live:#}");
    setup.check_values("lake");
    setup.finish();
    services.finish();
}
