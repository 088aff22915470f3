//! One sample followed through all stages, and the public topics held against the book.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::time::{Duration, SystemTime};

use common::services::Services;
use common::{Options, Setup, exclusive, wait_until};
use efd_shared_model::{LeapTable, TaiNanos, UtcNanos};
use efd_tests_e2e::Sim;
use efd_tests_testkit::process::{self, Captured};
use efd_tests_testkit::python::run_json;
use serde_json::Value as Json;

const SETTLE: Duration = Duration::from_secs(120);
const TOPIC: &str = "lsst.sal.LabMount.elevation";
const OTHER: &str = "lsst.sal.LabMount.azimuth";

fn with_values(seconds: u32, rate: u32) -> Sim {
    Sim {
        seconds,
        rate,
        more: vec!["--values".into()],
    }
}

fn central(setup: &Setup, words: &[&str]) -> Captured {
    let (name, options) = words.split_first().unwrap();
    let mut command = setup.rig.command("efd-central");
    command
        .arg(name)
        .arg("--config")
        .arg(setup.rig.central_config())
        .args(options);
    process::run(command, Duration::from_secs(300)).unwrap()
}

fn answer(setup: &Setup, words: &[&str], codes: &[i32]) -> Json {
    let told = central(setup, &[words, &["--json"]].concat());
    let code = told.status.code().unwrap();
    assert!(codes.contains(&code), "{words:?}: {code} {}", told.stderr);
    serde_json::from_str(&told.stdout).unwrap()
}

/// All that the centre has is in lake and public topics.
fn wait_for_stores(setup: &Setup, stores: &[&str]) {
    let mut total = Json::Null;
    let is_there = wait_until(SETTLE, || {
        total = answer(setup, &["account"], &[0, 1])["total"].take();
        stores.iter().all(|store| total[store] == total["centre"])
    });
    assert!(is_there, "{total}");
}

/// A sample as the simulator noted it before it published it.
#[derive(Debug)]
struct Noted {
    sequence: i64,
    identity: String,
    time: UtcNanos,
}

fn noted(setup: &Setup, topic: &str) -> Vec<Noted> {
    let leap = LeapTable::built_in();
    let file = setup.rig.oracle().join(format!("values/{topic}.jsonl"));
    let text = std::fs::read_to_string(file).unwrap();
    let read = |line: &str| {
        let line: Json = serde_json::from_str(line).unwrap();
        let fields = &line["fields"];
        let sent = fields["private_sndStamp"].as_f64().unwrap();
        Noted {
            sequence: fields["private_seqNum"].as_i64().unwrap(),
            identity: fields["private_identity"].as_str().unwrap().to_owned(),
            time: leap.to_utc(TaiNanos::from_seconds(sent).unwrap()),
        }
    };
    text.lines().map(read).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the simulator's stamps are of this machine's clock"
)]
fn now() -> UtcNanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UtcNanos(since.unwrap().as_nanos() as i64)
}

/// A sample of the oracle is followed from stamp to stamp, into the public topic and the lake; one that was published while the
/// edge was dead is told as lost, and why.
#[test]
fn a_sample_is_followed_and_a_lost_one_is_told() {
    let _turn = exclusive();
    let Some(services) = Services::start("trace") else {
        return;
    };
    let mut options = services.options("trace");
    options.central_settings.push("lake.commit_every=2s".into());
    let mut setup = Setup::with(options);
    setup.start();
    setup.rig.start_sim(&with_values(16, 500)).unwrap();
    setup.wait_for_samples(1500);
    setup.rig.edge().unwrap().kill9().unwrap();
    let killed = now();
    std::thread::sleep(Duration::from_secs(3));
    setup.rig.start_edge().unwrap();
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    wait_for_stores(&setup, &["feed", "lake"]);
    let noted = noted(&setup, TOPIC);

    let one = &noted[5];
    let time = one.time.to_string();
    let trace = ["trace", "summit", TOPIC, &time, "--within", "100us"];
    let told = answer(&setup, &trace, &[0]);
    let sample = &told["samples"][0];
    println!("{told}");
    // The reader of the oracle's JSON may be off by the last bit of a double.
    assert!(sample["off_ns"].as_i64().unwrap().abs() < 500, "{told}");
    assert_eq!(sample["publisher"]["number"], one.sequence);
    assert_eq!(sample["publisher"]["identity"], one.identity);
    let log = &sample["log"];
    let stamps = ["sent", "received", "encoded", "sealed"].map(|name| &sample[name]);
    let stamps: Vec<&str> = stamps
        .into_iter()
        .chain([&log["taken"]])
        .map(|stamp| stamp.as_str().unwrap())
        .collect();
    assert_eq!(stamps[0], sample["event_time"]);
    assert!(stamps.is_sorted(), "{stamps:?}");
    let (feed, lake) = (&sample["feed"], &sample["lake"]);
    assert_eq!(feed["state"], "there", "{told}");
    assert_eq!(feed["topic"], format!("summit.{TOPIC}"));
    assert!(feed["offset"].is_u64() && feed["appended"].as_str().unwrap() >= &time[..20]);
    assert_eq!(lake["state"], "there", "{told}");
    let file = setup.rig.lake().join(lake["file"].as_str().unwrap());
    assert!(file.is_file() && lake["committed"].as_str().unwrap() > &*time);
    let page = central(&setup, &trace);
    println!("{}", page.stdout);
    for words in [
        "received",
        "summit.0.live at place",
        "partition 0 offset",
        ".parquet row",
    ] {
        assert!(page.stdout.contains(words), "{words}: {}", page.stdout);
    }

    // In the middle of what was published while there was no edge.
    let dead = killed.saturating_add(1_500_000_000);
    let lost = noted
        .iter()
        .min_by_key(|it| it.time.0.abs_diff(dead.0))
        .unwrap();
    let time = lost.time.to_string();
    let trace = ["trace", "summit", TOPIC, &time, "--within", "100us"];
    let told = answer(&setup, &trace, &[1]);
    println!("{told}");
    let gaps = told["gaps"].as_array().unwrap();
    let gap = gaps
        .iter()
        .find(|gap| gap["publisher"]["identity"] == lost.identity);
    let gap = gap.unwrap();
    let number = |key: &str| gap[key].as_i64().unwrap();
    assert!(
        (number("first")..=number("last")).contains(&lost.sequence),
        "{lost:?} {gap}"
    );
    assert!(gap["after"].as_str().unwrap() < &*time && &*time < gap["before"].as_str().unwrap());
    assert_eq!(gap["unnamed"], 0, "{gap}");
    assert!(gap["lost"]["crash"].as_u64() > Some(0), "{gap}");
    let page = central(&setup, &trace);
    println!("{}", page.stdout);
    assert!(
        page.stdout.contains("LOST") && page.stdout.contains("crash"),
        "{}",
        page.stdout
    );

    // Never published; a name that is not quite one; and no time at all.
    let later = noted
        .last()
        .unwrap()
        .time
        .saturating_add(3_000_000_000)
        .to_string();
    let told = answer(&setup, &["trace", "summit", TOPIC, &later], &[1]);
    assert_eq!(told["ended"][0]["what"], "after_last", "{told}");
    let told = answer(
        &setup,
        &["trace", "summit", "lsst.sal.LabMount.elevatoin", &time],
        &[1],
    );
    assert_eq!(told["ended"][0]["what"], "unknown_topic");
    assert!(
        told["ended"][0]["why"].as_str().unwrap().contains(TOPIC),
        "{told}"
    );
    let bad = central(&setup, &["trace", "summit", TOPIC, "yesterday"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(bad.stderr.contains("TIME `yesterday`"), "{}", bad.stderr);
    setup.rig.stop().unwrap();
    setup.law();
    setup.finish();
    services.finish();
}

fn administer(setup: &Setup, services: &Services, words: &[&str]) {
    let mut command = setup.python("admin.py");
    command.arg(services.kafka.bootstrap()).args(words);
    run_json(command, Duration::from_secs(90)).unwrap();
}

fn of_feed(verify: &Json) -> Vec<&Json> {
    let all = verify["differences"].as_array().unwrap().iter();
    all.filter(|it| it["store"] == "feed").collect()
}

/// Records deleted from a public topic by hand, and one that stands twice: each is named by topic, hour and count, and what is
/// missing comes again as the answer says.
#[test]
fn what_is_missing_in_a_public_topic_or_twice_is_named() {
    const GONE: &str = "7";
    let _turn = exclusive();
    let Some(services) = Services::start("public-recount") else {
        return;
    };
    let mut setup = Setup::with(Options {
        ..services.options("public-recount")
    });
    setup.start();
    setup.run_sim(&with_values(8, 500));
    setup.rig.drain(SETTLE).unwrap();
    wait_for_stores(&setup, &["feed"]);
    let whole = answer(&setup, &["account", "--verify"], &[0])["verify"].take();
    println!("{}", whole["feed"]);
    assert_eq!(whole["feed"]["not_compared"], Json::Null, "{whole}");
    let read = whole["feed"]["records"].as_u64().unwrap();
    assert!(1000 < read && of_feed(&whole).is_empty(), "{whole}");

    administer(
        &setup,
        &services,
        &["forget", &format!("summit.{TOPIC}"), GONE],
    );
    let told = answer(&setup, &["account", "--verify"], &[1])["verify"].take();
    let differences = of_feed(&told);
    println!("{differences:?} {}", told["feed"]);
    let count = |it: &&Json| it["count"].as_u64().unwrap();
    assert_eq!(
        differences.iter().map(count).sum::<u64>(),
        7,
        "{differences:?}"
    );
    let hours: Vec<String> = noted(&setup, TOPIC)
        .iter()
        .map(|it| it.time.to_string()[..13].to_owned())
        .collect();
    for it in &differences {
        assert_eq!(
            (&it["site"], &it["topic"]),
            (&"summit".into(), &TOPIC.into())
        );
        assert_eq!(it["differs"], "missing");
        let hour = it["hour"].as_str().unwrap()[..13].to_owned();
        assert!(hours.contains(&hour), "{it}");
    }
    let page = central(&setup, &["account", "--verify", "--topic", TOPIC]);
    println!("{}", page.stdout);
    for words in [
        format!("DIFFERS  feed: summit {TOPIC} "),
        "REPAIR   feed: ".to_owned(),
        "verified: 1 public topics".to_owned(),
    ] {
        assert!(page.stdout.contains(&words), "{words}: {}", page.stdout);
    }

    // As the answer says.
    setup.rig.central().unwrap().kill9().unwrap();
    let checkpoint = setup.rig.folder().join("central/feed/checkpoint.json");
    std::fs::rename(&checkpoint, checkpoint.with_extension("aside")).unwrap();
    setup.rig.start_central().unwrap();
    wait_for_stores(&setup, &["feed"]);
    let again = answer(&setup, &["account", "--verify"], &[0])["verify"].take();
    assert!(of_feed(&again).is_empty(), "{again}");
    setup.check_values("kafka");

    administer(&setup, &services, &["again", &format!("summit.{OTHER}")]);
    let told = answer(&setup, &["account", "--verify"], &[1])["verify"].take();
    let differences = of_feed(&told);
    assert_eq!(differences.len(), 1, "{differences:?}");
    let it = differences[0];
    assert_eq!(
        (&it["topic"], &it["differs"], &it["count"]),
        (&OTHER.into(), &"too_many".into(), &1.into())
    );
    let page = central(&setup, &["account", "--verify"]);
    assert!(
        page.stdout.contains("1 records are there twice"),
        "{}",
        page.stdout
    );
    setup.rig.stop().unwrap();
    setup.law();
    setup.finish();
    services.finish();
}
