//! Publishers that are not ours: Eclipse's Python binding with types of its own, and what no component of the corpus has.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use common::services::Services;
use common::{Options, Setup, exclusive};
use efd_tests_e2e::Sim;
use efd_tests_testkit::process::{self, Daemon};
use efd_tests_testkit::python::run_json;

const SETTLE: Duration = Duration::from_secs(90);

fn own_idl() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("idl")
}

/// Keyed and keyless, commands, events, telemetry, two instances.
const COMPONENTS: [&str; 3] = ["LabWeather", "LabMirror", "LabMount"];

/// Publishes the component without our code, until centre and consumers have everything.
fn publish(component: &str, options: Options, more: &[&str]) -> Setup {
    publish_file(&Setup::lab_file(component), options, more)
}

fn publish_file(idl: &std::path::Path, options: Options, more: &[&str]) -> Setup {
    let mut setup = Setup::with(options);
    setup.start();
    let mut command = setup.python("sal_bus.py");
    command
        .arg("publish")
        .arg(idl)
        .arg(setup.rig.oracle())
        .args(more);
    let captured = process::run(command, Duration::from_secs(120)).unwrap();
    let said = (captured.status, &captured.stderr);
    assert!(captured.status.success(), "{said:?}");
    setup.rig.drain(SETTLE).unwrap();
    setup
}

/// The edge has no IDL file at all: what the writers announce is enough.
#[test]
fn announced_types_need_no_file() {
    let _turn = exclusive();
    for component in COMPONENTS {
        let options = Options {
            edge_idl: Some(Vec::new()),
            ..Options::new("announced")
        };
        let mut setup = publish(component, options, &[]);
        assert_eq!(setup.edge_number("/bus/untyped_topics"), 0);
        assert_eq!(setup.edge_number("/samples/parked"), 0);
        setup.rig.stop().unwrap();
        let account = setup.law();
        assert_eq!(account.lost, 0, "{}", account.summary());
        setup.check_values("lake");
        setup.finish();
    }
}

/// Writers of one topic that offer all kinds of things: each has a reader that fits, and no sample is taken by two.
#[test]
fn writers_that_offer_other_things_are_taken_once() {
    let _turn = exclusive();
    let more = ["--offers", "--rate", "400"];
    let mut setup = publish("LabWeather", Options::new("offers"), &more);
    let duplicates = setup.edge_number("/samples/duplicates");
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!((account.lost, duplicates), (0, 0), "{}", account.summary());
    setup.check_values("lake");
    setup.finish();
}

/// Exit code and JSON.
fn topics(setup: &Setup, settings: &[&str]) -> (Option<i32>, serde_json::Value) {
    let mut command = std::process::Command::new(common::programs().join("efd-edge"));
    command.arg("--config").arg(setup.rig.edge_config());
    let settings = settings.iter().flat_map(|it| ["--set", it]);
    command
        .args(settings)
        .args(["topics", "--json", "--seconds", "4"]);
    let captured = process::run(setup.rig.in_place(command), Duration::from_secs(60)).unwrap();
    let json = serde_json::from_str(&captured.stdout).unwrap_or_default();
    (captured.status.code(), json)
}

/// Beside the daemon, of nine kinds of writers; with a wrong partition; and of a bus on which nobody is.
#[test]
fn efd_edge_topics_tells_what_is_on_the_bus() {
    let _turn = exclusive();
    let mut setup = Setup::with(Options::new("topics"));
    setup.start();
    let mut command = setup.python("sal_bus.py");
    command
        .arg("publish")
        .arg(Setup::lab_file("LabWeather"))
        .arg(setup.rig.oracle())
        .args(["--offers", "--seconds", "25"]);
    let log = setup.rig.folder().join("publisher.log");
    let mut publisher = Daemon::start("sal_bus.py", command, &log).unwrap();
    setup.wait_for_samples(100);

    let (code, bus) = topics(&setup, &[]);
    let writers = bus["writers"].as_array().unwrap();
    let states: BTreeSet<&str> = writers
        .iter()
        .filter_map(|it| it["state"].as_str())
        .collect();
    assert_eq!((code, states), (Some(0), BTreeSet::from(["read"])), "{bus}");
    assert!(writers.len() > 9, "{bus}");
    for (of, word) in [
        ("vendor", "Cyclone DDS"),
        ("durability", "transient_local"),
        ("durability", "volatile"),
        ("reliability", "best_effort"),
        ("ownership", "exclusive"),
        ("record", "lsst.sal.LabWeather.wind"),
    ] {
        assert!(
            writers.iter().any(|writer| writer[of] == word),
            "{of} {word}: {bus}"
        );
    }
    let samples: u64 = writers.iter().filter_map(|it| it["samples"].as_u64()).sum();
    assert!(samples > 100, "{bus}");
    assert!(bus["participants"].as_array().unwrap().len() > 1, "{bus}");

    let (code, bus) = topics(&setup, &["dds.partitions=[\"tucson.*\"]"]);
    assert_eq!(
        (code, &bus["writers"][0]["state"]),
        (Some(1), &"not_ours".into()),
        "{bus}"
    );
    assert!(
        bus["hints"][0].as_str().unwrap().contains("dds.partitions"),
        "{bus}"
    );
    let (code, bus) = topics(&setup, &["dds.domain=91"]);
    assert_eq!(
        (code, &bus["participants"]),
        (Some(1), &serde_json::json!([])),
        "{bus}"
    );
    assert!(bus["hints"].as_array().unwrap().len() > 1, "{bus}");

    let status = publisher.wait(Duration::from_secs(60)).unwrap();
    assert!(status.success(), "{}", publisher.log().tail(10));
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    // A second reader takes nothing from the first.
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.summary());
    setup.finish();
}

/// Published, and compared in the lake, without our code.
#[test]
fn values_of_a_foreign_publisher_arrive_to_the_bit() {
    let _turn = exclusive();
    for component in COMPONENTS {
        let mut setup = publish(component, Options::new("foreign"), &[]);
        setup.rig.stop().unwrap();
        let account = setup.law();
        assert_eq!(account.lost, 0, "{}", account.summary());
        setup.check_values("lake");
        setup.check_values("pandas");
        setup.finish();
    }
}

/// From a PyPI publisher to a PyPI reader of the public topics, through a real broker and a real registry.
#[test]
fn values_of_a_foreign_publisher_arrive_in_the_public_topics() {
    let _turn = exclusive();
    let Some(services) = Services::start("foreign-kafka") else {
        return;
    };
    for component in COMPONENTS {
        let mut setup = publish(component, services.options("foreign-kafka"), &[]);
        let public = setup.check_values("kafka");
        assert!(
            public["topics"].as_u64() > Some(2) && public["compared"].as_u64() > Some(500),
            "{public}"
        );
        assert_eq!(public["compared"], public["published"], "{public}");
        setup.rig.stop().unwrap();
        let account = setup.law();
        assert_eq!(account.lost, 0, "{}", account.summary());
        setup.finish();
    }
    services.finish();
}

/// Types come from the wire, without units and descriptions: with the IDL file at hand, each topic has the schema that the
/// observatory's own producer gives it.
#[test]
fn announced_types_get_the_golden_schemas() {
    let _turn = exclusive();
    let (Some(idl), Some(golden)) = (common::corpus("sal-idl"), common::corpus("avro-golden"))
    else {
        return;
    };
    let Some(services) = Services::start("golden") else {
        return;
    };
    for component in ["Test", "ATPneumatics"] {
        let file = idl.join(format!("sal_revCoded_{component}.idl"));
        let options = Options {
            idl: vec![idl.clone()],
            ..services.options("golden")
        };
        let mut setup = publish_file(&file, options, &[]);
        let mut command = setup.python("schemas.py");
        command
            .args([services.registry.url().as_str(), "summit"])
            .arg(golden.join(format!("{component}.jsonl")));
        let found = run_json(command, Duration::from_secs(60)).unwrap();
        println!("{component}: {found}");
        assert_eq!(found["equal"], found["golden"], "{found}");
        assert!(found["units"].as_u64() > Some(100), "{found}");
        setup.rig.stop().unwrap();
        let account = setup.law();
        assert_eq!(account.lost, 0, "{}", account.summary());
        setup.finish();
    }
    services.finish();
}

/// On both sides of the leap second of 2016-12-31, and today: `private_efdStamp` is the UTC that astropy gives.
#[test]
fn efd_stamps_agree_with_astropy() {
    let _turn = exclusive();
    let mut setup = Setup::new("astropy");
    setup.start();
    let stamps = setup.rig.folder().join("stamps.json");
    let mut command = setup.python("stamps.py");
    command.arg("make").arg(&stamps);
    let made = run_json(command, Duration::from_secs(60)).unwrap();
    assert!(made["stamps"].as_u64() > Some(20), "{made}");
    let mut command = setup.python("sal_bus.py");
    command
        .arg("publish")
        .arg(Setup::lab_file("LabWeather"))
        .arg(setup.rig.oracle())
        .arg("--stamps")
        .arg(&stamps);
    let captured = process::run(command, Duration::from_secs(120)).unwrap();
    let said = (captured.status, &captured.stderr);
    assert!(captured.status.success(), "{said:?}");
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let mut command = setup.python("stamps.py");
    command.arg("check").arg(&stamps).arg(setup.rig.lake());
    let checked = run_json(command, Duration::from_secs(60)).unwrap();
    println!("{checked}");
    assert!(checked["compared"].as_u64() > Some(100), "{checked}");
    assert_eq!(checked["wrong"], serde_json::json!([]), "{checked}");
    setup.finish();
}

/// Runs the project's own strange types through, and gives what the edge had counted.
fn own_types(topic: &str) -> serde_json::Value {
    let mut setup = Setup::with(Options {
        idl: vec![own_idl()],
        ..Options::new("own-types")
    });
    setup.start();
    let more = ["--values", "--extreme", "--topic", topic];
    setup.run_sim(&Sim {
        seconds: 5,
        rate: 40,
        more: more.map(str::to_owned).to_vec(),
    });
    setup.rig.drain(SETTLE).unwrap();
    let status = setup.rig.edge_status().unwrap();
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.summary());
    setup.check_values("lake");
    setup.check_values("pandas");
    setup.finish();
    status
}

#[test]
fn a_sample_of_115872_bytes_arrives_to_the_bit() {
    let _turn = exclusive();
    let status = own_types("LabBig_huge");
    let number = |path: &str| {
        status
            .pointer(path)
            .and_then(|value| value.as_u64())
            .unwrap()
    };
    // With the encapsulation header of 4 bytes.
    assert_eq!(
        number("/samples/received_bytes"),
        115_876 * number("/samples/received")
    );
}

/// `LabOldID` for the index, `private_host`, no identity, structs without a revision code, octal and hex constants.
#[test]
fn the_older_generation_arrives_to_the_bit() {
    let _turn = exclusive();
    own_types("LabOld_");
}
