//! A Kafka cluster (KRaft: each node is broker and controller in one process), of one node or of several.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Certificates, ServiceError};
use crate::install::{Installer, KafkaHome};
use crate::process::{Daemon, Port, Signal};

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Topics are replicated to all of them, to three at most; a majority has to be there.
    pub brokers: u32,
    /// Of each broker.
    pub heap_mib: u32,
    /// Broker settings beyond, or in place of, those that a node needs. A later entry wins.
    pub settings: Vec<(String, String)>,
    /// A second listener, with TLS and a login by SCRAM, for users who have just the rights that they were
    /// [given](Kafka::admit). The first stays open to anybody.
    pub secured: Option<Certificates>,
    /// A further open listener, for a cluster of one: clients are told that it is at this port of 127.0.0.1, where a
    /// [relay](crate::relay::StreamRelay) stands before [what really listens](Kafka::behind_relay).
    pub relayed: Option<u16>,
    /// How long a start may take; on an idle machine it is 3 to 4 s, cold 10 s.
    pub ready_within: Duration,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            brokers: 1,
            heap_mib: 512,
            settings: Vec::new(),
            secured: None,
            relayed: None,
            ready_within: Duration::from_secs(90),
        }
    }
}

/// Running (or killed) brokers. Their ports and their data stay the same over restarts.
#[derive(Debug)]
pub struct Kafka {
    brokers: Vec<Broker>,
}

/// One of a cluster.
#[derive(Debug)]
pub struct Broker {
    daemon: Daemon,
    home: KafkaHome,
    folder: PathBuf,
    options: KafkaOptions,
    port: Port,
    _controller_port: Port,
    secured_port: Port,
    behind_relay: Port,
}

impl Kafka {
    /// Installs what is missing, and starts brokers with configuration, data and log in `folder`, which is made.
    ///
    /// # Errors
    /// When it cannot be installed, or is not ready in time (with the end of its log).
    pub fn start(folder: &Path, options: KafkaOptions) -> Result<Self, ServiceError> {
        let home = Installer::new()?.kafka()?;
        let ports = (0..options.brokers).map(|_| {
            Ok([
                Port::reserve()?,
                Port::reserve()?,
                Port::reserve()?,
                Port::reserve()?,
            ])
        });
        let ports: Vec<[Port; 4]> = ports
            .collect::<io::Result<_>>()
            .map_err(ServiceError::Port)?;
        let voters = ports
            .iter()
            .zip(1..)
            .map(|([_, controller, ..], node)| format!("{node}@127.0.0.1:{}", controller.number()));
        let voters = voters.collect::<Vec<_>>().join(",");
        let mut brokers = Vec::new();
        for (ports, node) in ports.into_iter().zip(1..) {
            let folder = folder.join(format!("broker-{node}"));
            let numbers = ports.each_ref().map(Port::number);
            let settings = settings(node, &folder.join("data"), numbers, &voters, &options);
            let [port, controller_port, secured_port, behind_relay] = ports;
            prepare(node, &home, &folder, &settings).map_err(|source| ServiceError::Prepare {
                path: folder.clone(),
                source,
            })?;
            brokers.push(Broker {
                daemon: launch(&home, &folder, &options)?,
                home: home.clone(),
                folder,
                options: options.clone(),
                port,
                _controller_port: controller_port,
                secured_port,
                behind_relay,
            });
        }
        let mut cluster = Self { brokers };
        cluster.wait()?;
        Ok(cluster)
    }

    /// `127.0.0.1:PORT,…`, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.addresses(|broker| &broker.port)
    }

    /// The same of the [secured](KafkaOptions::secured) listener.
    pub fn secured_bootstrap(&self) -> String {
        self.addresses(|broker| &broker.secured_port)
    }

    /// Where the [relayed](KafkaOptions::relayed) listener listens: what its relay forwards to.
    pub fn behind_relay(&self) -> SocketAddr {
        let port = self
            .brokers
            .first()
            .map_or(0, |broker| broker.behind_relay.number());
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn addresses(&self, port: impl Fn(&Broker) -> &Port) -> String {
        let brokers = self.brokers.iter();
        let addresses = brokers.map(|broker| format!("127.0.0.1:{}", port(broker).number()));
        addresses.collect::<Vec<_>>().join(",")
    }

    pub fn brokers(&mut self) -> &mut [Broker] {
        &mut self.brokers
    }

    /// SIGKILL for all of them.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn kill9(&mut self) -> Result<(), ServiceError> {
        self.brokers.iter_mut().try_for_each(Broker::kill9)
    }

    /// SIGTERM for all at once, as none ends well without a majority; waits until they have closed their logs.
    ///
    /// # Errors
    /// When one does not end in a minute.
    pub fn stop(&mut self) -> Result<(), ServiceError> {
        for broker in &mut self.brokers {
            broker.daemon.signal(Signal::Terminate)?;
        }
        for broker in &mut self.brokers {
            broker.daemon.stop(Duration::from_secs(60))?;
        }
        Ok(())
    }

    /// Starts all again on the same ports and data; those that still run are killed first. Waits until they are ready.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), ServiceError> {
        self.kill9()?;
        for broker in &mut self.brokers {
            broker.launch()?;
        }
        self.wait()
    }

    fn wait(&mut self) -> Result<(), ServiceError> {
        self.brokers.iter_mut().try_for_each(Broker::wait)
    }
}

impl Broker {
    /// The process: its log, its usage, stop and continue.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn kill9(&mut self) -> Result<(), ServiceError> {
        Ok(self.daemon.kill9().map(drop)?)
    }

    /// Starts it again on the same port and data; if it still runs it is killed first. Waits until it is ready.
    ///
    /// # Errors
    /// As [`Kafka::start`].
    pub fn restart(&mut self) -> Result<(), ServiceError> {
        self.kill9()?;
        self.launch()?;
        self.wait()
    }

    fn launch(&mut self) -> Result<(), ServiceError> {
        self.daemon = launch(&self.home, &self.folder, &self.options)?;
        Ok(())
    }

    fn wait(&mut self) -> Result<(), ServiceError> {
        let within = self.options.ready_within;
        Ok(self
            .daemon
            .wait_for_line("Kafka Server started", within)
            .map(drop)?)
    }
}

/// The controller admits a broker that was killed only when the session of its former life is over: by default 9 s.
fn settings(
    node: u32,
    data: &Path,
    [port, controller_port, secured_port, behind_relay]: [u16; 4],
    voters: &str,
    options: &KafkaOptions,
) -> String {
    let replicas = options.brokers.min(3);
    let in_sync = replicas.div_ceil(2);
    let (secured, protocols) = match options.secured {
        None => (String::new(), ""),
        Some(_) => (
            format!(",SECURED://127.0.0.1:{secured_port}"),
            ",SECURED:SASL_SSL",
        ),
    };
    let (listener, advertised, protocol) = match options.relayed {
        None => (String::new(), String::new(), ""),
        Some(relay) => (
            format!(",RELAYED://127.0.0.1:{behind_relay}"),
            format!(",RELAYED://127.0.0.1:{relay}"),
            ",RELAYED:PLAINTEXT",
        ),
    };
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id={node}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{secured}{listener}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}{secured}{advertised}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}{protocol}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         controller.quorum.voters={voters}\n\
         log.dirs={}\n\
         num.partitions=1\n\
         default.replication.factor={replicas}\n\
         min.insync.replicas={in_sync}\n\
         offsets.topic.replication.factor={replicas}\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor={replicas}\n\
         transaction.state.log.min.isr={in_sync}\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor={replicas}\n\
         share.coordinator.state.topic.min.isr={in_sync}\n\
         group.initial.rebalance.delay.ms=0\n\
         broker.session.timeout.ms=3000\n\
         broker.heartbeat.interval.ms=500\n\
         log.segment.bytes=134217728\n",
        data.display()
    );
    if let Some(certificates) = &options.secured {
        text.push_str(&secured_settings(certificates));
    }
    for (name, value) in &options.settings {
        // A String takes whatever is written.
        writeln!(text, "{name}={value}").ok();
    }
    text
}

/// Brokers among themselves and the tests' own clients come by the open listener, as ANONYMOUS.
fn secured_settings(certificates: &Certificates) -> String {
    format!(
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS\n\
         sasl.enabled.mechanisms=SCRAM-SHA-512\n\
         listener.name.secured.scram-sha-512.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         listener.name.secured.ssl.keystore.type=PEM\n\
         listener.name.secured.ssl.keystore.location={}\n",
        certificates.folder.join("server.pem").display()
    )
}

/// The installed folder was formatted for node 1.
fn prepare(node: u32, home: &KafkaHome, folder: &Path, settings: &str) -> io::Result<()> {
    let data = folder.join("data");
    fs::create_dir_all(&data)?;
    fs::write(folder.join("server.properties"), settings)?;
    for entry in fs::read_dir(home.formatted())? {
        let entry = entry?;
        fs::copy(entry.path(), data.join(entry.file_name()))?;
    }
    let names = data.join("meta.properties");
    let text = fs::read_to_string(&names)?;
    let lines = text.lines().map(|line| match line.split_once('=') {
        Some(("node.id", _)) => format!("node.id={node}\n"),
        // Base 64: another letter in front is another directory.
        Some(("directory.id", id)) => format!("directory.id={node}{}\n", &id[1..]),
        _ => format!("{line}\n"),
    });
    fs::write(&names, lines.collect::<String>())
}

fn launch(home: &KafkaHome, folder: &Path, options: &KafkaOptions) -> Result<Daemon, ServiceError> {
    let mut command = Command::new("java");
    command.args([
        format!("-Xms{0}m", options.heap_mib),
        format!("-Xmx{0}m", options.heap_mib),
    ]);
    command.arg("-Djava.awt.headless=true");
    command.arg(format!(
        "-Dlog4j2.configurationFile={}",
        home.logging().display()
    ));
    command
        .arg("-cp")
        .arg(home.class_path())
        .arg("kafka.Kafka")
        .arg(folder.join("server.properties"));
    Ok(Daemon::start("kafka", command, &folder.join("kafka.log"))?)
}
