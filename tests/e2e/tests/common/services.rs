//! Real brokers and a real schema registry.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use efd_tests_e2e::Feed;
use efd_tests_testkit::install::Installer;
use efd_tests_testkit::netns::Namespace;
use efd_tests_testkit::python::Python;
use efd_tests_testkit::services::{
    Certificates, Gate, Kafka, KafkaOptions, Registry, RegistryOptions,
};
use efd_tests_testkit::tmp::WorkDir;

use super::Options;

/// Brokers and registry in a network of their own, which the rigs then share.
pub(crate) struct Services {
    pub(crate) kafka: Kafka,
    brokers: u32,
    pub(crate) registry: Registry,
    secured: Option<Secured>,
    namespace: Namespace,
    folder: WorkDir,
}

/// What a centre needs for services that ask who is there.
struct Secured {
    python: Python,
    gate: Gate,
}

const USER: &str = "efd";
pub(crate) const PASSWORD: &str = "hunter2, of course";

impl Services {
    /// With one broker. `None`: they cannot run here, and that has been said.
    pub(crate) fn start(test: &'static str) -> Option<Self> {
        Self::make(test, KafkaOptions::default(), false)
    }

    pub(crate) fn with_brokers(test: &'static str, brokers: u32) -> Option<Self> {
        Self::make(
            test,
            KafkaOptions {
                brokers,
                ..KafkaOptions::default()
            },
            false,
        )
    }

    /// With settings of the broker.
    pub(crate) fn with_settings(test: &'static str, settings: &[(&str, &str)]) -> Option<Self> {
        let settings = settings.iter();
        let options = KafkaOptions {
            settings: settings
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..KafkaOptions::default()
        };
        Self::make(test, options, false)
    }

    /// The centre comes by TLS and with a login; its user has no rights yet.
    pub(crate) fn secured(test: &'static str) -> Option<Self> {
        Self::make(test, KafkaOptions::default(), true)
    }

    fn make(test: &'static str, options: KafkaOptions, is_secured: bool) -> Option<Self> {
        let brokers = options.brokers;
        if std::env::var_os("EFD_NO_SERVICES").is_some() {
            efd_tests_testkit::skip(test, &"EFD_NO_SERVICES is set");
            return None;
        }
        let installer = Installer::new().unwrap();
        installer.kafka().unwrap();
        installer.registry().unwrap();
        let python = is_secured.then(|| installer.python().unwrap());
        let namespace = match Namespace::new() {
            Ok(namespace) => namespace,
            Err(error) => {
                efd_tests_testkit::skip(test, &error);
                return None;
            }
        };
        let folder = WorkDir::new("services").unwrap();
        let (kafka_folder, registry_folder) = (folder.join("kafka"), folder.join("registry"));
        let secrets = folder.join("secrets");
        let certificates = python
            .as_ref()
            .map(|python| Certificates::make(python, &secrets).unwrap());
        let (kafka, registry, gate) = namespace
            .on_thread(|| {
                let options = KafkaOptions {
                    secured: certificates.clone(),
                    ..options
                };
                let kafka = Kafka::start(&kafka_folder, options).unwrap();
                let registry =
                    Registry::start(&registry_folder, RegistryOptions::default()).unwrap();
                let gate = python
                    .as_ref()
                    .zip(certificates)
                    .map(|(python, certificates)| {
                        let login = (USER, PASSWORD);
                        let log = folder.join("gate.log");
                        Gate::start(python, &certificates, login, &registry, &log).unwrap()
                    });
                (kafka, registry, gate)
            })
            .unwrap();
        for (name, text) in [("password", PASSWORD), ("wrong-password", "wrong")] {
            if is_secured {
                let path = secrets.join(name);
                std::fs::write(&path, format!("{text}\n")).unwrap();
                std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            }
        }
        Some(Self {
            kafka,
            brokers,
            registry,
            secured: python
                .zip(gate)
                .map(|(python, gate)| Secured { python, gate }),
            namespace,
            folder,
        })
    }

    /// Gives the centre's user these rights besides those that it has.
    pub(crate) fn admit(&self, rights: &[&str]) {
        let python = &self.secured.as_ref().unwrap().python;
        let admit = || self.kafka.admit(python, USER, PASSWORD, rights);
        self.namespace.on_thread(admit).unwrap().unwrap();
    }

    /// Where the services are.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.on_thread(work).unwrap()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Of a rig that feeds them.
    pub(crate) fn options(&self, name: &'static str) -> Options {
        Options {
            feed: Some(Feed {
                brokers: self.kafka.bootstrap(),
                replication: self.brokers.min(3),
                registry: self.registry.url(),
            }),
            central_settings: self.central_settings(),
            namespace: Some(self.namespace.clone()),
            ..Options::new(name)
        }
    }

    /// Readers of the tests come by the open ways, the centre by the secured ones.
    fn central_settings(&self) -> Vec<String> {
        let Some(Secured { gate, .. }) = &self.secured else {
            return Vec::new();
        };
        let file = |setting: &str, name: &str| {
            let path = self.folder.join("secrets").join(name);
            format!("{setting}={}", path.display())
        };
        vec![
            format!("kafka.brokers={}", self.kafka.secured_bootstrap()),
            "kafka.tls=true".into(),
            file("kafka.ca_file", "ca.crt"),
            format!("kafka.username={USER}"),
            file("kafka.password_file", "password"),
            format!("feed.registry={}", gate.url()),
            file("feed.registry_ca_file", "ca.crt"),
            format!("feed.registry_username={USER}"),
            file("feed.registry_password_file", "password"),
        ]
    }

    pub(crate) fn restart_kafka(&mut self) {
        let Self {
            kafka, namespace, ..
        } = self;
        namespace.on_thread(|| kafka.restart()).unwrap().unwrap();
    }

    /// Empty: it keeps its schemas in memory.
    pub(crate) fn restart_registry(&mut self) {
        let Self {
            registry,
            namespace,
            ..
        } = self;
        namespace.on_thread(|| registry.restart()).unwrap().unwrap();
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
