//! A recorded night is played on a test bench: another edge, on another domain, records the same.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{Options, Setup, exclusive, lab_idl, programs, wait_until};
use efd_tests_e2e::{Rig, Sim};
use efd_tests_testkit::netns::Namespace;
use efd_tests_testkit::process::{self, Captured};
use serde_json::Value as Json;

const SETTLE: Duration = Duration::from_secs(90);
const PLAY_WITHIN: Duration = Duration::from_secs(180);
/// Of the bench.
const DOMAIN: &str = "42";
/// What an edge stamps itself: when it received, when it encoded.
const OWN_STAMPS: [&str; 2] = ["private_rcvStamp", "private_kafkaStamp"];

/// Both rigs need networks of their own, and the programs `play`.
fn namespace(test: &str) -> Option<Namespace> {
    let mut help = Command::new(programs().join("efd-inspect"));
    help.arg("--help");
    let help = process::run(help, PLAY_WITHIN).unwrap().stdout;
    if !help
        .lines()
        .any(|line| line.trim_start().starts_with("play "))
    {
        efd_tests_testkit::skip(test, &"efd-inspect was built without the feature `play`");
        return None;
    }
    match Namespace::new() {
        Ok(namespace) => Some(namespace),
        Err(error) => {
            efd_tests_testkit::skip(test, &error);
            None
        }
    }
}

/// An edge that listens to the replay.
fn bench(name: &'static str, partitions: &str, namespace: Namespace) -> Setup {
    let settings = [
        format!("dds.domain={DOMAIN}"),
        format!("dds.partitions={partitions}"),
    ];
    Setup::with(Options {
        edge_settings: settings.to_vec(),
        namespace: Some(namespace),
        ..Options::new(name)
    })
}

fn play_command(rig: &Rig, buffer: &Path, idl: &Path, more: &[&str]) -> Command {
    let mut command = rig.command("efd-inspect");
    command.arg("play").arg(buffer).arg("--idl").arg(idl);
    command.args(["--interface", "lo", "--json"]).args(more);
    command
}

fn play(rig: &Rig, buffer: &Path, idl: &Path, more: &[&str]) -> Captured {
    process::run(play_command(rig, buffer, idl, more), PLAY_WITHIN).unwrap()
}

fn summary(played: &Captured, code: i32) -> Json {
    assert_eq!(
        played.status.code(),
        Some(code),
        "{}{}",
        played.stdout,
        played.stderr
    );
    serde_json::from_str(played.stdout.trim()).unwrap()
}

/// SAL's records of a buffer.
fn records(rig: &Rig, buffer: &Path) -> Vec<Json> {
    let mut command = rig.command("efd-inspect");
    command
        .arg("cat")
        .arg(buffer)
        .args(["--topic", "lsst.sal.*"]);
    let listed = process::run(command, PLAY_WITHIN).unwrap();
    assert_eq!(listed.status.code(), Some(0), "{}", listed.stderr);
    let lines = listed.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// How often each record is there, without what is the edge's own.
fn counted(records: Vec<Json>) -> BTreeMap<String, u32> {
    let mut counted = BTreeMap::new();
    for mut record in records {
        let line = record.as_object_mut().unwrap();
        line.remove("id").unwrap();
        let fields = line["fields"].as_object_mut().unwrap();
        for stamp in OWN_STAMPS {
            fields.remove(stamp).unwrap();
        }
        *counted.entry(record.to_string()).or_default() += 1;
    }
    counted
}

fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    command.arg("-a").arg(from).arg(to);
    assert!(command.status().unwrap().success());
}

fn hashes(folder: &Path) -> String {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "find . -type f ! -name '*-shm' | sort | xargs sha256sum",
    ]);
    command.current_dir(folder);
    let output = command.output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_edge_records_of_the_replay_what_was_recorded() {
    let test = "an_edge_records_of_the_replay_what_was_recorded";
    let Some(network) = namespace(test) else {
        return;
    };
    let _turn = exclusive();
    let mut site = Setup::new("play-site");
    site.start();
    site.run_sim(&Sim {
        seconds: 8,
        rate: 500,
        more: ["--values", "--extreme"].map(str::to_owned).to_vec(),
    });
    site.rig.drain(SETTLE).unwrap();
    site.rig.stop().unwrap();
    let buffer = site.rig.buffer();
    let before = hashes(&buffer);

    let mut bench = bench("play-bench", "[\"replay.*\"]", network);
    bench.start();
    let more = ["--domain", DOMAIN, "--speed", "2", "--commands"];
    let played = summary(&play(&bench.rig, &buffer, &lab_idl(), &more), 0);
    println!("{played}");
    assert_eq!(hashes(&buffer), before);
    let recorded = records(&site.rig, &buffer);
    assert_eq!(played["published"], recorded.len(), "{played}");
    assert_eq!(
        (&played["left_out"], &played["out_of_order"]),
        (&0.into(), &0.into())
    );
    // Not sooner than at twice the pace.
    let seconds = played["seconds"].as_f64().unwrap();
    assert!(seconds >= 3.9, "{played}");

    // What was published at the site, the bench has: counts and every value, by readers that share no code with us.
    copy(&site.rig.oracle(), &bench.rig.oracle());
    bench.rig.drain(SETTLE).unwrap();
    bench.rig.stop().unwrap();
    let account = bench.law();
    assert_eq!(account.lost, 0, "{}", account.json);
    bench.check_values("lake");
    // And the buffers are alike in event times, instances and all that makes a record as well.
    let replayed = records(&bench.rig, &bench.rig.buffer());
    assert_eq!(replayed.len(), recorded.len());
    let (recorded, replayed) = (counted(recorded), counted(replayed));
    let differs = recorded
        .iter()
        .find(|(line, count)| replayed.get(*line) != Some(count));
    assert_eq!((differs, replayed.len()), (None, recorded.len()));
    site.finish();
    bench.finish();
}

/// A folder of IDL without LabMount, and in which `LabWeather::wind` has a field more.
fn outdated_idl(setup: &Setup) -> PathBuf {
    let folder = setup.rig.folder().join("outdated");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(Setup::lab_file("LabMirror"), folder.join("LabMirror.idl")).unwrap();
    let weather = fs::read_to_string(Setup::lab_file("LabWeather")).unwrap();
    let (head, tail) = weather.split_once("struct wind_").unwrap();
    let (name, fields) = tail.split_once('{').unwrap();
    let weather = format!("{head}struct wind_{name}{{ long added;\n{fields}");
    fs::write(folder.join("LabWeather.idl"), weather).unwrap();
    folder
}

#[test]
fn what_must_not_be_played_is_refused_and_what_cannot_be_is_named() {
    let test = "what_must_not_be_played_is_refused_and_what_cannot_be_is_named";
    let Some(network) = namespace(test) else {
        return;
    };
    let _turn = exclusive();
    let mut setup = bench("play-refused", "[\"replay.*\", \"summit.*\"]", network);
    setup.start();
    setup
        .rig
        .start_sim(&Sim {
            seconds: 12,
            rate: 200,
            more: ["--domain", DOMAIN].map(str::to_owned).to_vec(),
        })
        .unwrap();
    setup.wait_for_samples(400);
    let refused = |more: &[&str], expected: &str| {
        let buffer = setup.rig.buffer();
        let played = play(&setup.rig, &buffer, &lab_idl(), more);
        assert_eq!(
            (played.status.code(), played.stdout.as_str()),
            (Some(1), "")
        );
        assert!(played.stderr.contains(expected), "{}", played.stderr);
    };
    // While the publisher is at work.
    refused(
        &["--domain", DOMAIN, "--partition", "summit"],
        "already, by",
    );
    refused(&["--domain", "0"], "--yes-this-domain");
    let nobody = [
        "--domain",
        DOMAIN,
        "--partition",
        "elsewhere",
        "--wait",
        "3s",
    ];
    refused(&nobody, "nobody on domain 42 reads any of these");
    refused(&["--domain", DOMAIN, "--partition", "*"], "partition `*`");
    refused(&["--domain", DOMAIN, "--topic", "NoSuch.*"], "no topic of");
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    what_cannot_be_played_is_named(&setup.rig);
    setup.finish();
}

fn what_cannot_be_played_is_named(site: &Rig) {
    // Another edge: the one that recorded it takes events of a publisher, a time and a number only once.
    let mut setup = bench("play-named", "[\"replay.*\"]", Namespace::new().unwrap());
    setup.start();
    let all = records(site, &site.buffer());
    let count = |wanted: &dyn Fn(&str) -> bool| {
        let topics = all.iter().map(|record| record["topic"].as_str().unwrap());
        topics.filter(|topic| wanted(topic)).count()
    };
    let is_command = |topic: &str| topic.contains(".command_") || topic.ends_with(".ackcmd");
    let cannot = |topic: &str| topic.contains(".LabMount.") || topic == "lsst.sal.LabWeather.wind";
    let idl = outdated_idl(&setup);
    let played = play(
        &setup.rig,
        &site.buffer(),
        &idl,
        &["--domain", DOMAIN, "--speed", "max"],
    );
    let told = summary(&played, 2);
    assert_eq!(told["commands_left_out"], count(&is_command), "{told}");
    assert_eq!(
        told["left_out"],
        count(&|topic| cannot(topic) && !is_command(topic))
    );
    let published = count(&|topic| !cannot(topic) && !is_command(topic));
    assert!(0 < published && published < all.len());
    assert_eq!(told["published"], published, "{told}");
    for expected in [
        "is in none of the IDL files",
        "`long added` for",
        "lsst.sal.LabWeather.wind: ",
        "published with --commands only",
    ] {
        assert!(
            played.stderr.contains(expected),
            "{expected}: {}",
            played.stderr
        );
    }
    let came = |setup: &Setup, count: usize| {
        let came = wait_until(SETTLE, || {
            setup.edge_number("/samples/recorded") == count as u64
        });
        assert!(
            came,
            "{} of {count} came",
            setup.edge_number("/samples/recorded")
        );
    };
    came(&setup, published);

    // A part of it, as if it were now.
    let topic = [
        "--topic",
        "LabMirror.forceData",
        "--limit",
        "20",
        "--restamp",
    ];
    let more = [&["--domain", DOMAIN][..], &topic].concat();
    let told = summary(&play(&setup.rig, &site.buffer(), &lab_idl(), &more), 0);
    assert_eq!(
        (&told["published"], &told["topics"]),
        (&20.into(), &1.into())
    );
    came(&setup, published + 20);
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let last = all
        .iter()
        .map(|record| record["time"].as_str().unwrap())
        .max();
    let again = records(&setup.rig, &setup.rig.buffer());
    let is_later = |record: &&Json| record["time"].as_str() > last;
    assert_eq!(again.iter().filter(is_later).count(), 20);
    setup.finish();
}
