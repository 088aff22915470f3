//! Types that are not SAL's, from publishers of four vendors: every value is in the lake and in the public topics as it
//! was published, to the bit.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::services::Services;
use common::{Options, Setup, exclusive, programs, wait_until};
use efd_tests_testkit::install::{Group, Installer, Vendor};
use efd_tests_testkit::netns::Namespace;
use efd_tests_testkit::process::{self, Daemon};
use efd_tests_testkit::python::run_json;
use serde_json::Value as Json;

const SETTLE: Duration = Duration::from_secs(90);
/// Of each topic.
const SAMPLES: u64 = 60;

/// The IDL files, and the sources of what publishes.
fn dialects() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dialects")
}

#[derive(Clone, Copy, Debug)]
enum Publisher {
    /// Eclipse's Python binding, with more arguments.
    Python(&'static [&'static str]),
    Cyclone,
    CycloneUntyped,
    FastDds,
    FastDdsTyped,
    RustDds,
}

/// None of them with code of ours.
const ALL: [Publisher; 7] = [
    Publisher::Python(&[]),
    Publisher::Python(&["--twins"]),
    Publisher::Python(&["--change", "1"]),
    Publisher::Python(&["--change", "2", "--first", "1000"]),
    Publisher::Cyclone,
    Publisher::FastDds,
    Publisher::RustDds,
];

impl Publisher {
    fn command(self, setup: &Setup) -> Command {
        let installer = Installer::new().unwrap();
        let built = |vendor| installer.publisher(vendor, &dialects()).unwrap();
        let (mut command, more) = match self {
            Self::Python(more) => {
                let python = installer.python().unwrap();
                (python.command(dialects().join("cyclone.py")), more)
            }
            Self::Cyclone => (Command::new(built(Vendor::Cyclone)), &["--latin1"][..]),
            Self::CycloneUntyped => (Command::new(built(Vendor::CycloneUntyped)), &[][..]),
            Self::FastDds => (Command::new(built(Vendor::FastDds)), &["--latin1"][..]),
            Self::FastDdsTyped => (
                Command::new(built(Vendor::FastDds)),
                &["--more", "typed"][..],
            ),
            Self::RustDds => (
                Command::new(programs().join("rustdds-publish")),
                &["--latin1"][..],
            ),
        };
        command
            .args(["--samples", &SAMPLES.to_string(), "--oracle"])
            .arg(oracle(setup))
            .args(more);
        on_loopback(setup.rig.in_place(command))
    }
}

/// For the vendors that are told so by this variable.
fn on_loopback(mut command: Command) -> Command {
    command.env(
        "CYCLONEDDS_URI",
        "<CycloneDDS><Domain><General><Interfaces><NetworkInterface name='lo' multicast='true'/></Interfaces>\
         </General></Domain></CycloneDDS>",
    );
    command
}

fn oracle(setup: &Setup) -> PathBuf {
    setup.rig.folder().join("dialects.jsonl")
}

/// An edge that reads what is in no partition. `None`: there can be no bus of its own here, and that has been said.
fn options(name: &'static str, edge_idl: Vec<PathBuf>) -> Option<Options> {
    let namespace = Namespace::new().inspect_err(|error| efd_tests_testkit::skip(name, error));
    Some(Options {
        namespace: Some(namespace.ok()?),
        ..on_bus(Options::new(name), edge_idl)
    })
}

fn on_bus(options: Options, edge_idl: Vec<PathBuf>) -> Options {
    Options {
        idl: Vec::new(),
        edge_idl: Some(edge_idl),
        edge_settings: vec!["dds.partitions=[\"\"]".into()],
        ..options
    }
}

fn publish(setup: &Setup, command: Command) {
    let captured = process::run(command, Duration::from_secs(180)).unwrap();
    assert!(
        captured.status.success(),
        "{}{}",
        captured.stdout,
        captured.stderr
    );
    println!("{}", setup.rig.edge_status().unwrap()["samples"]);
}

/// `dialects/odd.py`
fn odd(setup: &Setup, arguments: &[&str]) -> Command {
    let python = Installer::new().unwrap().python().unwrap();
    let mut command = python.command(dialects().join("odd.py"));
    command.args(arguments).arg("--oracle").arg(oracle(setup));
    setup.rig.in_place(command)
}

/// What `checkers/dialects.py` counts.
fn compare(setup: &Setup, arguments: &[&str]) -> Json {
    let mut command = setup.python("dialects.py");
    command.arg(oracle(setup)).args(arguments);
    let result = run_json(command, Duration::from_secs(300)).unwrap();
    println!("{}: {result}", arguments[0]);
    result
}

/// All of it right.
fn check(setup: &Setup, arguments: &[&str]) -> Json {
    let result = compare(setup, arguments);
    let faults = [
        "missing",
        "duplicate",
        "mismatched",
        "unexpected",
        "losses",
        "rejected",
    ];
    for key in faults {
        assert_eq!(result[key], 0, "{key} in {result}");
    }
    assert_eq!(result["compared"], result["published"], "{result}");
    result
}

fn check_lake(setup: &Setup) -> Json {
    check(setup, &["lake", setup.rig.lake().to_str().unwrap()])
}

/// Runs each publisher in turn, and compares what the lake has of all.
fn published(name: &'static str, edge_idl: Vec<PathBuf>, publishers: &[Publisher], topics: u64) {
    let _turn = exclusive();
    let Some(options) = options(name, edge_idl) else {
        return;
    };
    let mut setup = Setup::with(options);
    setup.start();
    for publisher in publishers {
        publish(&setup, publisher.command(&setup));
    }
    setup.rig.drain(SETTLE).unwrap();
    for path in [
        "/bus/untyped_topics",
        "/samples/parked",
        "/samples/duplicates",
    ] {
        assert_eq!(setup.edge_number(path), 0, "{path}");
    }
    setup.rig.stop().unwrap();
    let result = check_lake(&setup);
    assert_eq!(result["topics"], topics, "{result}");
    setup.finish();
}

/// Final, appendable and mutable in both XCDRs, optional members, unions, bitmasks, instances that are disposed of and
/// unregistered, ROS 2's names.
#[test]
fn types_that_the_python_binding_announces() {
    published("python", Vec::new(), &[Publisher::Python(&[])], 19);
}

/// One record name, two schemas, records of both between each other.
#[test]
fn two_types_on_one_topic_at_once() {
    published("twins", Vec::new(), &[Publisher::Python(&["--twins"])], 1);
}

#[test]
fn a_type_that_is_another_in_the_second_run() {
    let runs = [
        Publisher::Python(&["--change", "1"]),
        Publisher::Python(&["--change", "2", "--first", "1000"]),
    ];
    published("change", Vec::new(), &runs, 1);
}

#[test]
fn types_that_a_program_in_c_announces() {
    published("c", Vec::new(), &[Publisher::Cyclone], 10);
}

#[test]
fn types_of_a_program_in_c_that_only_an_idl_file_tells() {
    let publishers = [Publisher::CycloneUntyped];
    published("c-untyped", vec![dialects()], &publishers, 10);
}

#[test]
fn types_of_fast_dds_that_only_an_idl_file_tells() {
    published("fastdds", vec![dialects()], &[Publisher::FastDds], 4);
}

/// In both byte orders, with and without source times, with padding that is not zero.
#[test]
fn types_of_rust_dds_that_only_an_idl_file_tells() {
    published("rustdds", vec![dialects()], &[Publisher::RustDds], 7);
}

/// Parked by one process, read by the next, when the IDL files come.
#[test]
fn samples_wait_for_the_files_that_tell_their_types() {
    let _turn = exclusive();
    let Some(options) = options("late-types", Vec::new()) else {
        return;
    };
    let mut setup = Setup::with(options);
    setup.start();
    publish(&setup, Publisher::RustDds.command(&setup));
    let all_parked = wait_until(SETTLE, || {
        setup.edge_number("/samples/parked") == 7 * SAMPLES
    });
    assert!(all_parked, "{:?}", setup.rig.edge_status());
    setup.rig.edge().unwrap().kill9().unwrap();
    setup.rig.start_edge().unwrap();
    setup.drop_files(&dialects());
    let all_read = wait_until(SETTLE, || {
        setup.edge_number("/samples/recorded") == 7 * SAMPLES
    });
    assert!(all_read, "{:?}", setup.rig.edge_status());
    // Once: the lane of what is parked is still there.
    setup.rig.edge().unwrap().kill9().unwrap();
    setup.rig.start_edge().unwrap();
    publish(
        &setup,
        Publisher::Python(&["--change", "1"]).command(&setup),
    );
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let result = check_lake(&setup);
    assert_eq!(result["topics"], 8, "{result}");
    setup.finish();
}

/// What Fast DDS 2 announces is not what the standard says.
#[test]
fn broken_type_information_does_no_harm() {
    let publishers = [Publisher::FastDdsTyped];
    published("fastdds-typed", vec![dialects()], &publishers, 4);
}

/// Of a topic whose samples nothing numbers: killed and started again, the edge gets its whole history each time.
#[test]
fn history_is_taken_once_whatever_happens_to_us() {
    let _turn = exclusive();
    let Some(options) = options("latched", Vec::new()) else {
        return;
    };
    let mut setup = Setup::with(options);
    setup.start();
    let command = odd(&setup, &["--samples", "4000", "--rate", "250", "--latched"]);
    let log = setup.rig.folder().join("odd.log");
    let mut publisher = Daemon::start("odd.py", command, &log).unwrap();
    for count in [500, 1000] {
        let came = wait_until(SETTLE, || setup.edge_number("/samples/recorded") >= count);
        assert!(came, "{}", publisher.log().tail(5));
        setup.rig.edge().unwrap().kill9().unwrap();
        setup.rig.start_edge().unwrap();
    }
    let repeated = wait_until(SETTLE, || setup.edge_number("/samples/duplicates") > 500);
    assert!(repeated, "the history came again");
    let status = publisher.wait(Duration::from_secs(120)).unwrap();
    assert!(status.success(), "{}", publisher.log().tail(5));
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let result = check_lake(&setup);
    assert_eq!(result["compared"], 4000, "{result}");
    setup.finish();
}

/// Every third sample is not of the type that its writer announces: kept as it came, and named.
#[test]
fn a_writer_that_sends_what_it_does_not_announce() {
    let _turn = exclusive();
    let Some(options) = options("liar", Vec::new()) else {
        return;
    };
    let mut setup = Setup::with(options);
    setup.start();
    publish(
        &setup,
        odd(&setup, &["--samples", "90", "--rate", "100", "--lie", "3"]),
    );
    setup.rig.drain(SETTLE).unwrap();
    assert_eq!(setup.edge_number("/samples/undecodable"), 30);
    let mut shown = Command::new(programs().join("efd-inspect"));
    shown
        .args(["ls", "--json"])
        .arg(setup.rig.folder().join("buffer"));
    let shown = process::run(shown, Duration::from_secs(30)).unwrap();
    assert!(shown.stdout.contains("parked"), "{}", shown.stdout);
    setup.rig.stop().unwrap();
    let result = compare(&setup, &["lake", setup.rig.lake().to_str().unwrap()]);
    assert_eq!(
        (&result["compared"], &result["losses"]),
        (&60.into(), &30.into()),
        "{result}"
    );
    for fault in [
        "missing",
        "duplicate",
        "mismatched",
        "unexpected",
        "rejected",
    ] {
        assert_eq!(result[fault], 0, "{result}");
    }
    setup.finish();
}

/// Cyclone's own load generator.
fn ddsperf(setup: &Setup) -> Command {
    let mut command = Command::new("ddsperf");
    command.args([
        "-D", "6", "-k", "all", "-n", "3", "pub", "500Hz", "size", "200",
    ]);
    on_loopback(setup.rig.in_place(command))
}

/// Of all vendors through a real broker and a real registry; some topics have two types.
#[test]
fn values_of_all_vendors_arrive_in_the_public_topics() {
    let _turn = exclusive();
    let Some(services) = Services::start("dialects-kafka") else {
        return;
    };
    let options = on_bus(services.options("dialects-kafka"), vec![dialects()]);
    let (site, feed) = (options.site, options.feed.clone().unwrap());
    let mut setup = Setup::with(options);
    setup.start();
    for publisher in ALL {
        publish(&setup, publisher.command(&setup));
    }
    Installer::new().unwrap().packages(Group::Vendors).unwrap();
    publish(&setup, ddsperf(&setup));
    setup.rig.drain(SETTLE).unwrap();
    let result = check(&setup, &["kafka", &feed.brokers, &feed.registry, site]);
    assert_eq!(result["topics"], 19 + 2 + 10 + 4 + 7 + 1, "{result}");
    assert!(result["published"].as_u64() > Some(3640), "{result}");
    setup.rig.stop().unwrap();
    let stored = check_lake(&setup);
    assert_eq!(stored["stored"], result["stored"]);
    setup.finish();
    services.finish();
}
