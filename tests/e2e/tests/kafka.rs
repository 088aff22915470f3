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

/// Broker and centre are killed in turn while records flow: nothing missing, nothing twice in the public topics.
#[test]
fn kills_cost_nothing() {
    let _turn = exclusive();
    let Some((mut services, options)) = services("kafka-kills") else {
        return;
    };
    let mut setup = Setup::with(options);
    setup.start();
    setup.rig.start_sim(&lab(24, 500)).unwrap();
    setup.wait_for_samples(1500);
    setup.rig.central().unwrap().kill9().unwrap();
    setup.rig.start_central().unwrap();
    setup.wait_for_samples(3000);
    services.kafka.kill9().unwrap();
    setup.wait_for_samples(5000);
    setup
        .rig
        .in_network(|| services.kafka.restart())
        .unwrap()
        .unwrap();
    setup.wait_for_samples(7000);
    setup.rig.central().unwrap().kill9().unwrap();
    setup.rig.start_central().unwrap();
    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    setup.check_values("kafka");
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.json);
    setup.finish();
    services.folder.finish().unwrap();
}
