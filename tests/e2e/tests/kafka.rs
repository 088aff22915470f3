//! Public Kafka topics: a real broker and a real schema registry, read by confluent-kafka with its own Avro deserializer.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::time::Duration;

use common::{Options, Setup, exclusive};
use efd_tests_e2e::{Feed, Sim};
use efd_tests_testkit::install::Installer;
use efd_tests_testkit::netns::Namespace;
use efd_tests_testkit::services::{Kafka, KafkaOptions, Registry, RegistryOptions};
use efd_tests_testkit::tmp::WorkDir;

const SETTLE: Duration = Duration::from_secs(120);

struct Services {
    kafka: Kafka,
    _registry: Registry,
    folder: WorkDir,
}

/// Broker and registry in a network of their own, which the rig then shares.
fn services(name: &'static str) -> Option<(Services, Options)> {
    if std::env::var_os("EFD_NO_SERVICES").is_some() {
        efd_tests_testkit::skip(name, &"EFD_NO_SERVICES is set");
        return None;
    }
    let installer = Installer::new().unwrap();
    installer.kafka().unwrap();
    installer.registry().unwrap();
    let namespace = match Namespace::new() {
        Ok(namespace) => namespace,
        Err(error) => {
            efd_tests_testkit::skip(name, &error);
            return None;
        }
    };
    let folder = WorkDir::new("services").unwrap();
    let (kafka_folder, registry_folder) = (folder.join("kafka"), folder.join("registry"));
    let (kafka, registry) = namespace
        .on_thread(|| {
            let kafka = Kafka::start(&kafka_folder, KafkaOptions::default()).unwrap();
            let registry = Registry::start(&registry_folder, RegistryOptions::default()).unwrap();
            (kafka, registry)
        })
        .unwrap();
    let feed = Feed {
        brokers: kafka.bootstrap(),
        registry: registry.url(),
    };
    let options = Options {
        feed: Some(feed),
        namespace: Some(namespace),
        ..Options::new(name)
    };
    Some((
        Services {
            kafka,
            _registry: registry,
            folder,
        },
        options,
    ))
}

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
    let Some((services, options)) = services("kafka-values") else {
        return;
    };
    let mut setup = Setup::with(options);
    setup.start();
    setup.run_sim(&lab(8, 500));
    setup.rig.drain(SETTLE).unwrap();
    setup.check_values("kafka");
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.json);
    setup.check_values("lake");
    setup.finish();
    services.folder.finish().unwrap();
}

/// The law at 2,000 samples a second over 200 topics, in the lake and in the public topics: the link is cut for a minute,
/// edge, centre and broker are killed, and each sample is there once or named.
#[test]
fn cut_and_killed_all_is_there_once_or_named() {
    let _turn = exclusive();
    let Some((mut services, options)) = services("law") else {
        return;
    };
    let idl = common::corpus("sal-idl").unwrap_or_else(common::lab_idl);
    let mut setup = Setup::with(Options {
        idl: vec![idl],
        ..options
    });
    setup.start();
    let more = ["--values", "--topics-max", "200", "--instances", "2"];
    setup
        .rig
        .start_sim(&Sim {
            seconds: 120,
            rate: 2000,
            more: more.map(str::to_owned).to_vec(),
        })
        .unwrap();
    setup.wait_for_samples(10_000);

    setup.rig.relay().cut();
    std::thread::sleep(Duration::from_secs(60));
    setup.rig.relay().heal();

    setup.rig.central().unwrap().kill9().unwrap();
    setup.rig.start_central().unwrap();
    services.kafka.kill9().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let restarted = setup.rig.in_network(|| services.kafka.restart()).unwrap();
    restarted.unwrap();
    setup.rig.edge().unwrap().kill9().unwrap();
    setup.rig.start_edge().unwrap();
    setup.wait_for_samples(4000);
    setup.rig.central().unwrap().kill9().unwrap();
    setup.rig.start_central().unwrap();
    setup.rig.edge().unwrap().kill9().unwrap();
    setup.rig.start_edge().unwrap();

    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    let public = setup.check_values("kafka");
    setup.rig.stop().unwrap();
    let account = setup.law();
    let lake = setup.check_values("lake");
    assert_eq!(public["lost"], lake["lost"], "both name the same");
    println!(
        "each of two restarts of the edge missed {:.2} s of samples on average",
        account.lost as f64 / 2.0 / 2000.0
    );
    setup.finish();
    services.folder.finish().unwrap();
}
