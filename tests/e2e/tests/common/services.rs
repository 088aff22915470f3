//! Real brokers and a real schema registry.

use efd_tests_e2e::Feed;
use efd_tests_testkit::install::Installer;
use efd_tests_testkit::netns::Namespace;
use efd_tests_testkit::services::{Kafka, KafkaOptions, Registry, RegistryOptions};
use efd_tests_testkit::tmp::WorkDir;

use super::Options;

/// Brokers and registry in a network of their own, which the rigs then share.
pub(crate) struct Services {
    pub(crate) kafka: Kafka,
    brokers: u32,
    pub(crate) registry: Registry,
    namespace: Namespace,
    folder: WorkDir,
}

impl Services {
    /// With one broker. `None`: they cannot run here, and that has been said.
    pub(crate) fn start(test: &'static str) -> Option<Self> {
        Self::with_brokers(test, 1)
    }

    pub(crate) fn with_brokers(test: &'static str, brokers: u32) -> Option<Self> {
        if std::env::var_os("EFD_NO_SERVICES").is_some() {
            efd_tests_testkit::skip(test, &"EFD_NO_SERVICES is set");
            return None;
        }
        let installer = Installer::new().unwrap();
        installer.kafka().unwrap();
        installer.registry().unwrap();
        let namespace = match Namespace::new() {
            Ok(namespace) => namespace,
            Err(error) => {
                efd_tests_testkit::skip(test, &error);
                return None;
            }
        };
        let folder = WorkDir::new("services").unwrap();
        let (kafka_folder, registry_folder) = (folder.join("kafka"), folder.join("registry"));
        let (kafka, registry) = namespace
            .on_thread(|| {
                let options = KafkaOptions {
                    brokers,
                    ..KafkaOptions::default()
                };
                let kafka = Kafka::start(&kafka_folder, options).unwrap();
                let registry =
                    Registry::start(&registry_folder, RegistryOptions::default()).unwrap();
                (kafka, registry)
            })
            .unwrap();
        Some(Self {
            kafka,
            brokers,
            registry,
            namespace,
            folder,
        })
    }

    /// Of a rig that feeds them.
    pub(crate) fn options(&self, name: &'static str) -> Options {
        Options {
            feed: Some(Feed {
                brokers: self.kafka.bootstrap(),
                replication: self.brokers.min(3),
                registry: self.registry.url(),
            }),
            namespace: Some(self.namespace.clone()),
            ..Options::new(name)
        }
    }

    pub(crate) fn restart_kafka(&mut self) {
        let Self {
            kafka, namespace, ..
        } = self;
        namespace.on_thread(|| kafka.restart()).unwrap().unwrap();
    }

    /// One of several; the others go on.
    pub(crate) fn restart_broker(&mut self, index: usize) {
        let Self {
            kafka, namespace, ..
        } = self;
        let broker = &mut kafka.brokers()[index];
        namespace.on_thread(|| broker.restart()).unwrap().unwrap();
    }

    pub(crate) fn finish(self) {
        let Self {
            kafka,
            registry,
            folder,
            ..
        } = self;
        drop((kafka, registry));
        folder.finish().unwrap();
    }
}
