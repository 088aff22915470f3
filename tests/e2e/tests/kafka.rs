//! Public Kafka topics: a real broker and a real schema registry, read by confluent-kafka with its own Avro deserializer.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::path::Path;
use std::time::Duration;

use common::services::Services;
use common::{Options, Setup, exclusive, wait_until};
use efd_tests_e2e::{Log, Sim};
use efd_tests_testkit::process::{self, Captured};

const SETTLE: Duration = Duration::from_secs(120);

fn lab(seconds: u32, rate: u32) -> Sim {
    Sim {
        seconds,
        rate,
        more: vec!["--values".into(), "--extreme".into()],
    }
}

#[test]
fn every_value_arrives_in_the_public_topics() {
    let _turn = exclusive();
    let Some(services) = Services::start("kafka-values") else {
        return;
    };
    let mut setup = Setup::with(services.options("kafka-values"));
    setup.start();
    setup.run_sim(&lab(8, 500));
    setup.rig.drain(SETTLE).unwrap();
    setup.check_values("kafka");
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.json);
    setup.check_values("lake");
    setup.finish();
    services.finish();
}

/// The law at 2,000 samples a second over 200 topics, in the lake and in the public topics: the link is cut for a minute,
/// edge, centre and broker are killed, and each sample is there once or named.
#[test]
fn cut_and_killed_all_is_there_once_or_named() {
    let _turn = exclusive();
    let Some(mut services) = Services::start("law") else {
        return;
    };
    let idl = common::corpus("sal-idl").unwrap_or_else(common::lab_idl);
    let mut setup = Setup::with(Options {
        idl: vec![idl],
        ..services.options("law")
    });
    setup.start();
    let rounds = if common::long() { 10 } else { 2 };
    let more = ["--values", "--topics-max", "200", "--instances", "2"];
    setup
        .rig
        .start_sim(&Sim {
            seconds: 90 + 15 * rounds,
            rate: 2000,
            more: more.map(str::to_owned).to_vec(),
        })
        .unwrap();
    setup.wait_for_samples(10_000);

    setup.rig.relay().cut();
    std::thread::sleep(Duration::from_secs(60));
    setup.rig.relay().heal();

    services.kafka.kill9().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    services.restart_kafka();
    for _ in 0..rounds {
        setup.rig.central().unwrap().kill9().unwrap();
        setup.rig.start_central().unwrap();
        setup.rig.edge().unwrap().kill9().unwrap();
        setup.rig.start_edge().unwrap();
        setup.wait_for_samples(4000);
    }

    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    let public = setup.check_values("kafka");
    setup.rig.stop().unwrap();
    let account = setup.law();
    let lake = setup.check_values("lake");
    assert_eq!(public["lost"], lake["lost"], "both name the same");
    println!(
        "each of {rounds} restarts of the edge missed {:.2} s of samples on average",
        account.lost as f64 / f64::from(rounds) / 2000.0
    );
    setup.finish();
    services.finish();
}

/// Three brokers, three copies of each block of the log and of each record, two of which have to be durable. Each broker
/// is killed in turn under traffic, and the centre in between: whoever reads the topics sees each sample once.
#[test]
fn each_broker_of_a_cluster_is_killed_in_turn() {
    const BROKERS: u32 = 3;
    let _turn = exclusive();
    let Some(mut services) = Services::with_brokers("brokers", BROKERS) else {
        return;
    };
    let rounds = if common::long() { 10 } else { 2 };
    let mut setup = Setup::with(Options {
        log: Log::Kafka,
        ..services.options("brokers")
    });
    setup.start();
    setup
        .rig
        .start_sim(&Sim {
            seconds: rounds * BROKERS * 15,
            rate: 1000,
            more: vec!["--values".into()],
        })
        .unwrap();
    setup.wait_for_samples(3000);
    let mut under_traffic = 0;
    for round in 0..rounds {
        for broker in 0..BROKERS as usize {
            services.kafka.brokers()[broker].kill9().unwrap();
            let before = setup.edge_number("/samples/recorded");
            std::thread::sleep(Duration::from_secs(3));
            services.restart_broker(broker);
            under_traffic += u32::from(before + 1000 < setup.edge_number("/samples/recorded"));
        }
        if round == 0 {
            setup.rig.central().unwrap().kill9().unwrap();
            setup.rig.start_central().unwrap();
        }
    }
    // On a slow machine the traffic may be over before the last of them.
    assert!(BROKERS <= under_traffic, "{under_traffic}");
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    let public = setup.check_values("kafka");
    assert_eq!(public["lost"], 0, "{public}");
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.summary());
    setup.finish();
    services.finish();
}

/// The centre is killed under traffic and finds rubbish for a checkpoint: it starts, reads its topics back, and every
/// record is there once.
#[test]
fn a_damaged_checkpoint_costs_reading_only() {
    let _turn = exclusive();
    let Some(services) = Services::start("damaged-checkpoint") else {
        return;
    };
    let mut setup = Setup::with(services.options("damaged-checkpoint"));
    setup.start();
    setup.rig.start_sim(&lab(20, 500)).unwrap();
    setup.wait_for_samples(3000);
    setup.rig.central().unwrap().kill9().unwrap();
    let feed = setup.rig.folder().join("central/feed");
    let text = std::fs::read_to_string(feed.join("checkpoint.json")).unwrap();
    let damaged = &text[..text.len() / 2];
    std::fs::write(feed.join("checkpoint.json"), damaged).unwrap();
    setup.rig.start_central().unwrap();
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();

    let aside = std::fs::read_to_string(feed.join("checkpoint.json.damaged-1")).unwrap();
    assert_eq!(aside, damaged, "kept for people to look at");
    let status = setup.rig.central_status().unwrap();
    assert!(
        status["feed"]["skipped"].as_u64() > Some(1000),
        "read back, and left out: {status}"
    );
    let told = central(&setup, &["status"], &[]);
    assert_eq!(told.status.code(), Some(1), "{}", told.stdout);
    assert!(
        told.stdout
            .contains("LOOK  the feed's checkpoint was damaged"),
        "{}",
        told.stdout
    );
    setup.check_values("kafka");
    setup.rig.stop().unwrap();
    setup.finish();
    services.finish();
}

/// Retention waits for the feed: while the broker is away nothing leaves, when it has taken everything the log shrinks.
#[test]
fn the_log_keeps_what_the_feed_has_not_and_no_more() {
    let _turn = exclusive();
    let Some(mut services) = Services::start("retention") else {
        return;
    };
    let settings = [
        "log.retain=1s",
        "log.segment_age_max=1s",
        "lake.commit_every=1s",
    ];
    let mut setup = Setup::with(Options {
        central_settings: settings.map(str::to_owned).to_vec(),
        ..services.options("retention")
    });
    setup.start();
    setup.rig.start_sim(&lab(20, 200)).unwrap();
    setup.wait_for_samples(1000);
    services.kafka.kill9().unwrap();
    setup.end_of_sim();
    assert!(wait_until(SETTLE, || setup.acknowledged()));
    // What is old is looked for every thirty seconds, and what of it must stay is told.
    let told = |setup: &mut Setup| {
        let log = setup.rig.central().unwrap().log().text().unwrap();
        log.lines()
            .filter(|line| line.contains("keeps old segments") && line.contains("feed"))
            .count()
    };
    let before = told(&mut setup);
    let warned = wait_until(Duration::from_secs(70), || before < told(&mut setup));
    assert!(warned, "{}", setup.rig.central().unwrap().log().tail(20));
    let held = segments(&setup);
    assert!(
        held > 5,
        "one a second since the broker went away, not {held}"
    );

    services.restart_kafka();
    setup.rig.drain(SETTLE).unwrap();
    let shrank = wait_until(Duration::from_secs(70), || segments(&setup) <= 2);
    assert!(shrank, "{} of {held} segments are left", segments(&setup));
    setup.check_values("kafka");
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.summary());
    setup.finish();
    services.finish();
}

/// `check` says who answers, and who does not.
#[test]
fn check_asks_broker_and_registry() {
    let _turn = exclusive();
    let Some(mut services) = Services::start("check") else {
        return;
    };
    let setup = Setup::with(services.options("check"));
    let (brokers, registry) = (services.kafka.bootstrap(), services.registry.url());
    let check = |settings: &[&str], code: i32, wanted: &[&str]| {
        let Captured { status, stdout, .. } = central(&setup, &["check"], settings);
        assert_eq!(status.code(), Some(code), "{stdout}");
        for line in wanted {
            assert!(stdout.contains(line), "`{line}` is not in\n{stdout}");
        }
        assert!(!stdout.contains("hunter2"), "{stdout}");
    };
    let with_login = format!(
        "feed.registry={}",
        registry.replace("http://", "http://anna:hunter2@")
    );
    let (broker_well, registry_well) = (
        format!("ok    broker: {brokers} answer"),
        format!("ok    registry: {registry} answers"),
    );
    check(&[], 0, &[&broker_well, &registry_well]);
    check(&[&with_login], 0, &[&registry_well]);
    let three = ["kafka.replication=3", "kafka.min_insync_replicas=2"];
    check(&three, 2, &["FAIL  broker: the cluster has 1 brokers"]);
    let sasl = "kafka.properties.\"sasl.password\"=hunter2";
    check(
        &[sasl],
        2,
        &["FAIL  feed: librdkafka property `sasl.password`"],
    );
    services.kafka.kill9().unwrap();
    services.registry.kill9().unwrap();
    let (broker_ill, registry_ill) = (
        format!("FAIL  broker: ask {brokers}"),
        format!("FAIL  registry: GET {registry}/subjects"),
    );
    check(&[&with_login], 2, &[&broker_ill, &registry_ill]);
    setup.finish();
    services.finish();
}

/// Brokers and a registry that ask who is there. TLS and a login on both ways, and no more rights than LOG.md lists: first
/// too few of them, which hold up just the topics that they are about.
#[test]
fn with_tls_a_login_and_just_the_rights_that_it_needs() {
    let _turn = exclusive();
    let Some(services) = Services::secured("secured") else {
        return;
    };
    let admit = |rights: &[&str]| services.admit(rights);
    admit(&[
        "topic:efd.:create,describe,describe_configs,read,write",
        "group:efd.:read",
        "topic:summit.lsst.sal.LabMount.:create,describe,read,write",
        // Nothing for LabWeather; and what was sent to LabMirror cannot be read back.
        "topic:summit.lsst.sal.LabMirror.:create,describe,write",
    ]);
    let mut setup = Setup::with(Options {
        log: Log::Kafka,
        ..services.options("secured")
    });
    let check = |settings: &[&str], code: i32, wanted: &[&str]| {
        let Captured { status, stdout, .. } = central(&setup, &["check"], settings);
        assert_eq!(status.code(), Some(code), "{stdout}");
        for line in wanted {
            assert!(stdout.contains(line), "`{line}` is not in\n{stdout}");
        }
    };
    let well = [
        "ok    log: on the cluster, 0 topics efd.*",
        "ok    broker: ",
        "ok    registry: ",
    ];
    check(&[], 0, &well);
    let secrets = services.folder().join("secrets");
    let set = |setting: &str, file: &str| format!("{setting}={}", secrets.join(file).display());
    check(
        &[&set("kafka.ca_file", "other-ca.crt")],
        2,
        &["FAIL  broker: ", "UnknownIssuer"],
    );
    check(
        &[&set("kafka.password_file", "wrong-password")],
        2,
        &["FAIL  broker: ", "Authentication failed"],
    );
    check(
        &[&set("feed.registry_ca_file", "other-ca.crt")],
        2,
        &["FAIL  registry: ", "UnknownIssuer"],
    );
    check(
        &[&set("feed.registry_password_file", "wrong-password")],
        2,
        &["FAIL  registry: ", "it asks for a login"],
    );

    setup.start();
    setup.rig.start_sim(&lab(30, 500)).unwrap();
    setup.wait_for_samples(3000);
    // A topic with nothing in it has nothing to be read back.
    let feeds = wait_until(SETTLE, || {
        let status = setup.rig.central_status().unwrap_or_default();
        status["feed"]["records"].as_u64() > Some(2000)
    });
    assert!(feeds, "{:?}", setup.rig.central_status());
    setup.rig.central().unwrap().kill9().unwrap();
    setup.rig.start_central().unwrap();
    let parked = |setup: &Setup| -> Vec<String> {
        let status = setup.rig.central_status().unwrap_or_default();
        let parked = status["feed"]["parked"].as_array();
        let named = |one: &serde_json::Value| {
            format!("{}: {}", one["topic"].as_str()?, one["reason"].as_str()?).into()
        };
        parked.into_iter().flatten().filter_map(named).collect()
    };
    let is_so = |parked: &[String], component: &str, reason: &str| {
        let mut of_component = parked.iter().filter(|one| one.contains(component));
        let first = of_component.next();
        first.is_some_and(|one| one.contains(reason))
            && of_component.all(|one| one.contains(reason))
    };
    let waits = wait_until(SETTLE, || {
        let parked = parked(&setup);
        is_so(&parked, "LabWeather", "uthorization")
            && is_so(&parked, "LabMirror", "may not be read")
            && !parked.iter().any(|one| one.contains("LabMount"))
    });
    assert!(waits, "{:#?}", parked(&setup));
    setup.end_of_sim();

    admit(&["topic:summit.:create,describe,read,write"]);
    let is_free = wait_until(SETTLE, || parked(&setup).is_empty());
    assert!(is_free, "{:#?}", parked(&setup));
    setup.rig.drain(SETTLE).unwrap();
    setup.check_values("kafka");
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.summary());
    let told = std::fs::read_to_string(setup.rig.folder().join("central.log")).unwrap();
    assert!(
        !told.contains(common::services::PASSWORD),
        "a password in the log"
    );
    setup.finish();
    services.finish();
}

/// Two sites with the same components in different revisions, into one centre and a registry in which others have schemas.
/// The second came by one certificate; each has its own topics, subjects, and part of the lake.
#[test]
fn two_sites_share_a_centre() {
    let _turn = exclusive();
    let Some(services) = Services::start("sites") else {
        return;
    };
    // Somebody else's: ids and subjects are not ours alone.
    let others = services.registry.url();
    for number in 0..20 {
        let schema =
            format!("{{\\\"type\\\":\\\"fixed\\\",\\\"name\\\":\\\"F{number}\\\",\\\"size\\\":4}}");
        let url = format!("{others}/subjects/foreign.{number}-value/versions");
        let body = format!("{{\"schema\":\"{schema}\"}}");
        let post = || {
            process::post(&url, "application/json", &body, SETTLE)
                .unwrap()
                .status
        };
        assert_eq!(services.run(post), 200);
    }
    let mut summit = Setup::with(Options {
        log: Log::Kafka,
        ..services.options("sites-summit")
    });
    summit.rig.start_central().unwrap();
    let revised = summit.rig.folder().join("revised");
    revise(&common::lab_idl(), &revised);
    let mut tucson = Setup::with(Options {
        site: "tucson",
        host: Some(summit.rig.as_host()),
        centres: 0,
        idl: vec![revised],
        ..services.options("sites-tucson")
    });
    for setup in [&mut summit, &mut tucson] {
        setup.rig.start_edge().unwrap();
    }
    for setup in [&mut summit, &mut tucson] {
        setup.rig.start_sim(&lab(20, 500)).unwrap();
    }
    summit.wait_for_samples(3000);
    summit.rig.central().unwrap().kill9().unwrap();
    summit.rig.start_central().unwrap();
    for setup in [&mut summit, &mut tucson] {
        setup.end_of_sim();
        assert!(wait_until(SETTLE, || setup.acknowledged()));
    }
    summit.rig.drain(SETTLE).unwrap();
    for setup in [&summit, &tucson] {
        let public = setup.check_values("kafka");
        assert_eq!(public["lost"], 0, "{public}");
    }
    let subjects = services.run(|| {
        process::get(&format!("{others}/subjects"), SETTLE)
            .unwrap()
            .body
    });
    for site in ["summit", "tucson"] {
        let subject = format!("\"{site}.lsst.sal.LabMount.elevation-value\"");
        assert!(subjects.contains(&subject), "{subject} in {subjects}");
    }
    tucson.rig.stop().unwrap();
    summit.rig.stop().unwrap();
    for setup in [&summit, &tucson] {
        setup.check_values("lake");
    }
    tucson.finish();
    summit.finish();
    services.finish();
}

/// The same components in another revision: a field more, one less, and other names of types.
fn revise(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let mut revised = 0;
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("elevation_9766e34e", "elevation_00000001").replace(
            "\t  double\tdemandPosition;",
            "\t  long\tdemandCount; // @Metadata=(Units=\"unitless\",Description=\"New here\")\n\t  float\tdemandPosition;",
        );
        revised += text.matches("demandCount").count();
        std::fs::write(to.join(path.file_name().unwrap()), text).unwrap();
    }
    assert!(revised > 0);
}

/// A command of `efd-central` with the rig's configuration.
fn central(setup: &Setup, words: &[&str], settings: &[&str]) -> Captured {
    let mut command = setup.rig.command("efd-central");
    command
        .args(words)
        .arg("--config")
        .arg(setup.rig.central_config())
        .args(setup.rig.central_settings())
        .args(settings.iter().flat_map(|setting| ["--set", setting]));
    process::run(command, Duration::from_secs(60)).unwrap()
}

/// Segments of the centre's log: `<lane>/<ten digits>.db`.
fn segments(setup: &Setup) -> usize {
    let mut folders = vec![setup.rig.folder().join("central/log")];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.len() == 13 && name.ends_with(".db") {
                count += 1;
            }
        }
    }
    count
}
