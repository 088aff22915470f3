//! The account of the centre: what readers that share no code with it count, and by name what was taken away by hand.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::time::Duration;

use common::{Options, Setup, exclusive, wait_until};
use efd_tests_e2e::Sim;
use efd_tests_testkit::process::{self, Captured};
use efd_tests_testkit::python::run_json;
use serde_json::Value as Json;

const SETTLE: Duration = Duration::from_secs(90);

fn with_values(seconds: u32, rate: u32) -> Sim {
    Sim {
        seconds,
        rate,
        more: vec!["--values".into()],
    }
}

/// `efd-central account` with these options.
fn ask(setup: &Setup, options: &[&str]) -> Captured {
    central(setup, "account", options)
}

/// The day before noon belongs to the night before.
fn night_of(time: &str) -> String {
    let (date, hour) = (&time[..10], &time[11..13]);
    let mut command = std::process::Command::new("date");
    let noon = if hour < "12" { "yesterday" } else { "" };
    command.args(["-u", "+%Y%m%d", "-d", &format!("{date} {noon}")]);
    let answer = process::run(command, Duration::from_secs(10)).unwrap();
    answer.stdout.trim().to_owned()
}

fn central(setup: &Setup, command_name: &str, options: &[&str]) -> Captured {
    let mut command = setup.rig.command("efd-central");
    command
        .arg(command_name)
        .arg("--config")
        .arg(setup.rig.central_config())
        .args(options);
    process::run(command, Duration::from_secs(300)).unwrap()
}

fn account(setup: &Setup, options: &[&str]) -> Json {
    let answer = ask(setup, &[options, &["--json"]].concat());
    let code = answer.status.code();
    assert!(matches!(code, Some(0 | 1)), "{}", answer.stderr);
    serde_json::from_str(&answer.stdout).unwrap()
}

/// Held against the lake and the oracle by DuckDB.
fn compare(setup: &Setup) -> Json {
    let told = account(setup, &["--hours", "--all"]);
    let file = setup.rig.folder().join("account.json");
    std::fs::write(&file, told.to_string()).unwrap();
    let mut command = setup.python("completeness.py");
    command
        .arg(&file)
        .arg(setup.rig.lake())
        .arg(setup.rig.oracle());
    let result = run_json(command, Duration::from_secs(120)).unwrap();
    println!("{result}");
    result
}

/// An edge that is killed, and a link that is cut, under traffic.
#[test]
fn the_account_is_that_of_other_readers() {
    let _turn = exclusive();
    let mut setup = Setup::with(Options {
        central_settings: vec!["lake.commit_every=2s".into()],
        ..Options::new("account")
    });
    setup.start();
    setup.rig.start_sim(&with_values(14, 800)).unwrap();
    setup.wait_for_samples(2000);
    setup.rig.edge().unwrap().kill9().unwrap();
    setup.rig.start_edge().unwrap();
    setup.wait_for_samples(1000);
    setup.rig.relay().cut();
    std::thread::sleep(Duration::from_secs(2));
    setup.rig.relay().heal();
    // Counted by two starts of the centre.
    setup.rig.central().unwrap().kill9().unwrap();
    setup.rig.start_central().unwrap();
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    let in_lake = wait_until(SETTLE, || {
        let total = account(&setup, &[])["total"].take();
        total["lake"] == total["centre"]
    });
    assert!(in_lake, "{}", account(&setup, &[]));
    let result = compare(&setup);
    assert_eq!(result["differences"], serde_json::json!([]), "{result}");
    assert_eq!(result["unnamed"], 0, "{result}");
    assert!(
        result["lost"].as_u64() > Some(0),
        "a killed edge misses something: {result}"
    );
    let told = ask(&setup, &["--verify"]);
    println!("{}", told.stdout);
    assert_eq!(
        told.status.code(),
        Some(0),
        "{}{}",
        told.stdout,
        told.stderr
    );
    // For people: the night, a topic, and what is wrong with a question.
    let bad = ask(&setup, &["--day-obs", "2026-11-27"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(bad.stderr.contains("write 20261127"), "{}", bad.stderr);
    let none = account(&setup, &["--topic", "no.such.*"]);
    assert_eq!(none["rows"], serde_json::json!([]));
    // The night, for people.
    let day = setup.rig.central_status().unwrap()["lake"]["last_commit"].take();
    let day = night_of(day.as_str().unwrap());
    let report = central(&setup, "report", &["--day-obs", &day]);
    println!("{}", report.stdout);
    assert_eq!(report.status.code(), Some(0), "{}", report.stderr);
    for words in [
        "LabMount",
        "crash",
        "0 absent without a name",
        "live  back-fill",
    ] {
        assert!(report.stdout.contains(words), "{words}: {}", report.stdout);
    }
    let page = central(&setup, "report", &["--day-obs", &day, "--html"]);
    assert!(page.stdout.starts_with("<!doctype html>") && page.stdout.ends_with("</html>\n"));
    setup.rig.stop().unwrap();
    let mut command = setup.python("completeness.py");
    command.arg("-").arg(setup.rig.lake());
    let table = run_json(command, Duration::from_secs(60)).unwrap();
    println!("{table}");
    for name in ["published", "centre", "lost", "unnamed"] {
        assert_eq!(table[name], result[name], "{name}");
    }
    assert_eq!(table["lake"], table["centre"]);
    let law = setup.law();
    assert_eq!(
        (result["lost"].as_u64(), result["oracle"].as_u64()),
        (Some(law.lost), Some(law.published))
    );
    setup.finish();
}

/// Blocks that the centre acknowledged and does not have: the edge thinks that they are there, until what it says of its hour
/// is compared.
#[test]
fn what_is_missing_in_silence_is_asked_for() {
    let _turn = exclusive();
    let mut setup = Setup::with(Options {
        central_sabotage: vec!["swallow".into()],
        edge_settings: vec!["commit.state_every=4s".into()],
        ..Options::new("silent")
    });
    if !common::has_sabotage(&common::programs()) {
        return;
    }
    setup.start();
    setup.run_sim(&with_values(12, 400));
    let silent = |setup: &Setup| {
        let status = setup.rig.central_status().unwrap();
        status["ledger"]["silent_blocks"].as_u64().unwrap()
    };
    let found = wait_until(SETTLE, || silent(&setup) == 3);
    assert!(found, "{}", setup.rig.central_status().unwrap()["ledger"]);
    let came = wait_until(SETTLE, || {
        setup.rig.central_status().unwrap()["log"]["lost_blocks"] == 0
    });
    assert!(came, "{}", setup.rig.central_status().unwrap()["log"]);
    setup.rig.drain(SETTLE).unwrap();
    let statements = account(&setup, &["--all"])["statements"].clone();
    println!("{statements}");
    assert!(statements["equal"].as_u64().unwrap() > 0, "{statements}");
    assert_eq!(statements["differs"], 0, "{statements}");
    setup.rig.stop().unwrap();
    assert_eq!(setup.law().lost, 0);
    setup.check_values("lake");
    setup.finish();
}

/// A segment of the edge becomes noise before the centre has it: what was in it is named by topic, hour and count.
#[test]
fn a_damaged_segment_of_the_edge_is_named() {
    let _turn = exclusive();
    let mut setup = Setup::with(Options {
        edge_settings: vec!["buffer.segment_age_max=3s".into()],
        ..Options::new("segment")
    });
    setup.start();
    setup.run_sim(&with_values(4, 400));
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.relay().cut();
    let first = setup.rig.oracle();
    let aside = setup.rig.folder().join("oracle-first");
    std::fs::rename(&first, &aside).unwrap();
    setup.run_sim(&with_values(8, 400));
    let edge = setup.rig.edge().unwrap();
    assert!(edge.stop(SETTLE).unwrap().success());
    let buffer = setup.rig.buffer();
    let gone = take_away(&setup, "segment", &[buffer.to_str().unwrap(), "telemetry"]);
    setup.rig.start_edge().unwrap();
    setup.rig.relay().heal();
    let corrupt = |setup: &Setup| setup.edge_number("/losses_of_last_day/corrupt");
    let met = wait_until(SETTLE, || {
        corrupt(&setup) == gone["records"].as_u64().unwrap()
    });
    assert!(met, "{}", setup.rig.edge_status().unwrap());
    setup.rig.drain(SETTLE).unwrap();

    let told = account(&setup, &["--verify", "--hours"]);
    println!("{told:#}");
    let rows = told["rows"].as_array().unwrap();
    let lost: u64 = rows
        .iter()
        .map(|row| row["lost"]["corrupt"].as_u64().unwrap_or(0))
        .sum();
    let reasons = rows
        .iter()
        .flat_map(|row| row["lost"].as_object().unwrap().keys());
    assert!(reasons.clone().all(|reason| reason == "corrupt"), "{told}");
    assert_eq!(lost, gone["records"].as_u64().unwrap(), "{gone}");
    let hit = rows.iter().filter(|row| row["lost"]["corrupt"].is_u64());
    let hit: Vec<&str> = hit.filter_map(|row| row["topic"].as_str()).collect();
    assert!(
        hit.len() > 2 && hit.iter().all(|topic| topic.starts_with("lsst.sal.")),
        "{hit:?}"
    );
    setup.rig.stop().unwrap();
    setup.finish();
}

fn take_away(setup: &Setup, what: &str, arguments: &[&str]) -> Json {
    let mut command = setup.python("take_away.py");
    command.arg(what).args(arguments);
    let gone = run_json(command, Duration::from_secs(60)).unwrap();
    println!("{what}: {gone}");
    gone
}

/// Of one store, by topic: how many are missing, too many, or others.
fn differences(verify: &Json, store: &str, topic: Option<&str>) -> u64 {
    let all = verify["differences"].as_array().unwrap().iter();
    let of_store = all.filter(|it| it["store"] == store);
    let wanted = of_store.filter(|it| topic.is_none_or(|topic| it["topic"] == topic));
    wanted.map(|it| it["count"].as_u64().unwrap().max(1)).sum()
}

/// A block of the log and a row of the lake deleted, a file of the lake replaced by an older one: each is named by topic, hour
/// and count, and put back from where it still is.
#[test]
fn what_was_taken_away_by_hand_is_named_and_put_back() {
    const ROW: &str = "lsst.sal.LabMount.elevation";
    const OLDER: &str = "lsst.sal.LabMount.azimuth";
    let _turn = exclusive();
    let mut setup = Setup::with(Options {
        central_settings: vec!["lake.commit_every=2s".into()],
        ..Options::new("taken-away")
    });
    setup.start();
    setup.run_sim(&with_values(9, 500));
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let (log, lake) = (setup.rig.folder().join("central/log"), setup.rig.lake());
    let (log, lake) = (log.to_str().unwrap(), lake.to_str().unwrap());
    let block = take_away(&setup, "block", &[log]);
    let row = take_away(&setup, "row", &[lake, ROW]);
    let older = take_away(&setup, "older", &[lake, OLDER]);
    let number = |json: &Json, key: &str| json[key].as_u64().unwrap();

    // Without the edge: what is in the log comes back, what is not is named.
    setup.rig.start_central().unwrap();
    let counted = wait_until(SETTLE, || {
        let status = setup.rig.central_status().unwrap();
        status["ledger"]["behind_blocks"] == 0 && status["lake"]["state"] == "running"
    });
    assert!(counted);
    let told = ask(&setup, &["--verify"]);
    println!("{}", told.stdout);
    assert_eq!(told.status.code(), Some(1), "{}", told.stderr);
    let line = |store: &str, topic: &str| {
        let begin = format!("DIFFERS  {store}: summit {topic} ");
        let mut lines = told.stdout.lines();
        lines.find(|line| line.starts_with(&begin)).unwrap()
    };
    assert!(line("lake", ROW).contains(": 1 records are missing"));
    assert!(!line("lake", OLDER).is_empty());
    for words in ["DIFFERS  log", "FAULT", "REPAIRED lake"] {
        assert!(told.stdout.contains(words), "{words}: {}", told.stdout);
    }
    let verify = account(&setup, &["--verify"])["verify"].take();
    assert_eq!(
        differences(&verify, "log", None),
        number(&block, "records"),
        "{verify}"
    );
    assert!(
        verify["log"]["missing_blocks"]
            .to_string()
            .contains(&block["number"].to_string()),
        "{verify}"
    );
    assert_eq!(
        verify["faults"],
        serde_json::json!([]),
        "the files are whole again: {verify}"
    );

    // With it, all of it comes.
    setup.rig.start_edge().unwrap();
    let is_whole = || {
        let answer = account(&setup, &["--verify"]);
        answer["verify"]["differences"] == serde_json::json!([])
    };
    assert!(
        wait_until(SETTLE, is_whole),
        "{}",
        account(&setup, &["--verify"])
    );
    println!("{row} {older}");
    assert!(std::path::Path::new(lake).join("_damaged").is_dir());
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let law = setup.law();
    assert_eq!(law.lost, 0, "{}", law.summary());
    setup.check_values("lake");
    setup.finish();
}
