//! The services are the real ones: a record goes through them and survives a broker's violent end.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where it fails, in its helpers too"
)]
#![expect(
    clippy::print_stdout,
    reason = "start times and sizes are reported, not asserted"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use efd_tests_testkit::install::{Cache, Group, Installer};
use efd_tests_testkit::netns;
use efd_tests_testkit::process::{get, post};
use efd_tests_testkit::services::{Kafka, KafkaOptions, Registry, RegistryOptions};
use efd_tests_testkit::tmp::WorkDir;
use serde_json::json;

const SOON: Duration = Duration::from_secs(90);

#[test]
fn a_record_survives_kill_9_of_the_broker() {
    install();
    record_survives();
}

#[test]
fn the_same_in_a_private_network() {
    install();
    netns::isolated("the_same_in_a_private_network", record_survives);
}

#[test]
fn astropy_knows_the_leap_seconds_without_a_network() {
    install();
    netns::isolated("astropy_knows_the_leap_seconds_without_a_network", || {
        let python = Installer::new().unwrap().python().unwrap();
        let work = WorkDir::new("astropy").unwrap();
        let script = work.join("leap.py");
        std::fs::write(
            &script,
            "import json, sys\nfrom astropy.time import Time\n\
             print(json.dumps([round((Time(t, scale='tai') - Time(t, scale='utc').tai).sec) for t in sys.argv[1:]]))\n",
        )
        .unwrap();
        let days = [
            "2016-12-31T00:00:00",
            "2017-01-01T00:00:00",
            "2026-06-01T00:00:00",
        ];
        assert_eq!(
            python.run(&script, days, SOON).unwrap(),
            json!([-36, -37, -37])
        );
        work.finish().unwrap();
    });
}

#[test]
fn the_checkers_import_what_they_need() {
    install();
    let python = Installer::new().unwrap().python().unwrap();
    let work = WorkDir::new("imports").unwrap();
    let script = work.join("imports.py");
    std::fs::write(
        &script,
        "import astropy, confluent_kafka, cyclonedds, cyclonedds.domain, duckdb, fastavro, json, numpy, pandas, pyarrow.parquet, sys\n\
         print(json.dumps({'prefix': sys.prefix, 'sum': duckdb.sql('select sum(i) from range(10) t(i)').fetchall()[0][0]}))\n",
    )
    .unwrap();
    let result = python.run(&script, [""; 0], SOON).unwrap();
    assert_eq!(result["sum"], 45);
    assert!(
        python
            .interpreter()
            .starts_with(result["prefix"].as_str().unwrap())
    );
    work.finish().unwrap();
}

#[test]
fn a_second_installation_does_nothing() {
    let first = Installer::new().unwrap();
    first.packages(Group::Build).unwrap();
    first.packages(Group::Services).unwrap();
    first.packages(Group::Vendors).unwrap();
    install();
    let second = Installer::with(Cache::of_this_user().unwrap(), |line| {
        panic!("something to do: {line}")
    });
    timed("look whether all is there", || {
        second.packages(Group::Build).unwrap();
        second.packages(Group::Services).unwrap();
        second.packages(Group::Vendors).unwrap();
        second.kafka().unwrap();
        second.registry().unwrap();
        second.python().unwrap();
    });
}

/// Before entering a private network, from which nothing can be fetched.
fn install() {
    let installer = Installer::new().unwrap();
    installer.kafka().unwrap();
    installer.registry().unwrap();
    installer.python().unwrap();
}

fn record_survives() {
    let work = WorkDir::new("services").unwrap();
    let python = Installer::new().unwrap().python().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/round_trip.py");

    let mut kafka = timed("Kafka start", || {
        Kafka::start(&work.join("kafka"), KafkaOptions::default()).unwrap()
    });
    let mut registry = timed("registry start", || {
        Registry::start(&work.join("registry"), RegistryOptions::default()).unwrap()
    });
    let (bootstrap, registry_url) = (kafka.bootstrap(), registry.url());
    let arguments = |action| {
        [
            action,
            bootstrap.as_str(),
            registry_url.as_str(),
            "summit.lsst.sal.MTMount.elevation",
        ]
    };
    let produced = python.run(&script, arguments("produce"), SOON).unwrap();
    assert_eq!(
        (&produced["offset"], &produced["version"]),
        (&json!(0), &json!(1)),
        "{produced}"
    );
    let consumed = python.run(&script, arguments("consume"), SOON).unwrap();
    assert_eq!(
        (&consumed["equal"], &consumed["count"]),
        (&json!(true), &json!(1)),
        "{consumed}"
    );

    for daemon in [kafka.brokers()[0].daemon(), registry.daemon()] {
        let usage = daemon.usage().unwrap();
        println!(
            "{}: {} MB resident, {:.1} CPU-s",
            daemon.name(),
            usage.rss_bytes / 1_000_000,
            usage.cpu.as_secs_f64()
        );
    }

    // Our own client sees the same registry.
    let subject =
        format!("{registry_url}/subjects/summit.lsst.sal.MTMount.elevation-value/versions");
    assert_eq!(get(&subject, SOON).unwrap().body, "[1]");
    let other = r#"{"schema":"{\"type\":\"record\",\"name\":\"x\",\"fields\":[{\"name\":\"y\",\"type\":\"long\"}]}"}"#;
    let url = format!("{registry_url}/subjects/other-value/versions");
    let answer = post(&url, "application/vnd.schemaregistry.v1+json", other, SOON).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);

    kafka.kill9().unwrap();
    assert!(
        std::net::TcpStream::connect(&bootstrap).is_err(),
        "nobody listens"
    );
    timed("Kafka restart after kill -9", || kafka.restart().unwrap());
    assert_eq!(kafka.bootstrap(), bootstrap);
    assert_eq!(
        python.run(&script, arguments("consume"), SOON).unwrap(),
        consumed
    );

    timed("Kafka stop", || kafka.stop().unwrap());
    timed("Kafka restart after stop", || kafka.restart().unwrap());
    assert_eq!(
        python.run(&script, arguments("consume"), SOON).unwrap(),
        consumed
    );
    drop((kafka, registry));
    work.finish().unwrap();
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = now();
    let done = work();
    println!("{what}: {:.1} s", (now() - begun).as_secs_f64());
    done
}

#[expect(clippy::disallowed_methods, reason = "start times are reported")]
fn now() -> Instant {
    Instant::now()
}
