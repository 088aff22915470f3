//! Questions to a real edge: its own API, the observatory's client, an InfluxDB beside it, its page in a browser.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{Options, Setup, exclusive, wait_until};
use efd_shared_model::UtcNanos;
use efd_tests_e2e::Sim;
use efd_tests_testkit::install::{Group, Installer};
use efd_tests_testkit::process;
use efd_tests_testkit::python::run_json;
use efd_tests_testkit::services::Influx;
use serde_json::{Value, json};

const SETTLE: Duration = Duration::from_secs(90);
const WITHIN: Duration = Duration::from_secs(300);

/// A checker, with the packages that the observatory's users have.
fn observatory(setup: &Setup, script: &str) -> Command {
    let script = checkers().join(script);
    let python = Installer::new().unwrap().observatory().unwrap();
    setup.rig.in_place(python.command(script))
}

fn checkers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checkers")
}

/// What a checker says, which must be no fault.
fn checked(command: Command) -> Value {
    let said = run_json(command, WITHIN).unwrap();
    println!("{said}");
    assert_eq!(said["faults"], 0, "{said:#}");
    said
}

fn at_least(said: &Value, key: &str, least: u64) {
    assert!(said[key].as_u64().unwrap() >= least, "{key}: {said}");
}

#[test]
fn an_edge_answers_what_was_published() {
    let _turn = exclusive();
    let tiers = r#"tiers=[{resolution="1s",retain="1d"},{resolution="10s",retain="2d"}]"#;
    let mut setup = Setup::with(Options {
        edge_settings: vec![tiers.into()],
        ..Options::new("query")
    });
    setup.start();
    setup
        .rig
        .start_sim(&Sim {
            seconds: 20,
            rate: 300,
            more: vec!["--values".into(), "--instances".into(), "2".into()],
        })
        .unwrap();
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    // What is asked for below was all recorded.
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.summary());

    let (oracle, edge) = (setup.rig.oracle(), setup.rig.edge_url());
    let mut command = setup.python("query.py");
    command.arg(&oracle).arg(&edge).args(["1s", "10s"]);
    let said = checked(command);
    at_least(&said, "topics", 20);
    at_least(&said, "values", 5000);
    at_least(&said, "answers", 150);

    let mut command = observatory(&setup, "client.py");
    command.arg(&oracle).arg(&edge);
    let said = checked(command);
    at_least(&said, "calls", 80);
    at_least(&said, "packed", 1);

    Installer::new().unwrap().influx().unwrap();
    let folder = setup.rig.folder().join("influxdb");
    let influx = setup
        .rig
        .in_network(|| Influx::start(&folder))
        .unwrap()
        .unwrap();
    let mut command = setup.python("side.py");
    command.arg(&oracle).arg(&edge).arg(influx.url());
    command.arg(checkers().join("statements.txt"));
    let said = checked(command);
    at_least(&said, "answers", 500);
    at_least(&said, "rows", 20_000);
    drop(influx);
    setup.finish();
}

/// `edge/page/tests/page.mjs` in a headless Chromium, on a live edge. `EFD_SCREENSHOTS` names a folder that keeps what it saw.
#[test]
fn the_page_shows_what_is_there() {
    let _turn = exclusive();
    Installer::new().unwrap().packages(Group::Services).unwrap();
    let mut setup = Setup::new("page");
    setup.start();
    setup
        .rig
        .start_sim(&Sim {
            seconds: 150,
            rate: 250,
            more: vec!["--values".into()],
        })
        .unwrap();
    setup.wait_for_samples(5000);
    // Until a tier has something.
    let has_tier = wait_until(SETTLE, || setup.edge_number("/tiers/0/bytes") > 0);
    assert!(has_tier, "{}", setup.rig.edge_status().unwrap());

    let topic = "lsst.sal.LabMount.elevation";
    let last: Value = setup
        .rig
        .edge_json(&format!("/api/v1/last?topic={topic}&n=3"))
        .unwrap();
    let values: Vec<Value> = last["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            // The read-out has six digits.
            let time = UtcNanos(record["time"].as_i64().unwrap()).to_string();
            json!({ "time": time, "value": record["fields"]["actualPosition"], "tolerance": 6e-4 })
        })
        .collect();
    let expected = json!({
        "components": ["LabMirror", "LabMount", "LabWeather"], "topic": topic, "field": "actualPosition", "units": "deg",
        "span": "5min", "pointsMin": 100, "values": values, "tiers": { "5min": ["raw"], "30d": ["10s", "5min"] },
        "tierChanges": true, "eventsMin": 5,
        "screenshot": format!("#span=5min&plot={topic};;actualPosition;demandPosition&plot=lsst.sal.LabMirror.forceData;;primaryForce[1:4]"),
    });
    let file = setup.rig.folder().join("page.json");
    std::fs::write(&file, expected.to_string()).unwrap();
    let shots = std::env::var_os("EFD_SCREENSHOTS")
        .map_or_else(|| setup.rig.folder().join("screenshots"), PathBuf::from);
    let driver = Installer::new()
        .unwrap()
        .observatory()
        .unwrap()
        .playwright()
        .unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../edge/page/tests/page.mjs");
    let mut command = Command::new(driver.join("node"));
    command
        .arg(script)
        .arg(setup.rig.edge_url())
        .arg(file)
        .arg(shots);
    command.env("PLAYWRIGHT_CORE", driver.join("package"));
    let ran = process::run(setup.rig.in_place(command), WITHIN).unwrap();
    println!("{}{}", ran.stdout, ran.stderr);
    assert!(ran.status.success(), "{}", ran.status);
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    // Nothing was lost for it.
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.summary());
    setup.finish();
}
