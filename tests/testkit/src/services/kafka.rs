//! A Kafka broker (KRaft: broker and controller in one process).

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::ServiceError;
use crate::install::{Installer, KafkaHome};
use crate::process::{Daemon, Port};

/// How a broker is started.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    pub heap_mib: u32,
    /// Broker settings beyond, or in place of, those that a single node needs. A later entry wins.
    pub settings: Vec<(String, String)>,
    /// How long a start may take; on an idle machine it is 3 to 4 s, cold 10 s.
    pub ready_within: Duration,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            heap_mib: 512,
            settings: Vec::new(),
            ready_within: Duration::from_secs(90),
        }
    }
}

/// A running (or killed) broker. Its port and its data stay the same over restarts.
#[derive(Debug)]
pub struct Kafka {
    daemon: Daemon,
    home: KafkaHome,
    folder: PathBuf,
    options: KafkaOptions,
    port: Port,
    _controller_port: Port,
}

impl Kafka {
    /// Installs what is missing, and starts a broker with configuration, data and log in `folder`, which is made.
    ///
    /// # Errors
    /// When it cannot be installed, or is not ready in time (with the end of its log).
    pub fn start(folder: &Path, options: KafkaOptions) -> Result<Self, ServiceError> {
        let home = Installer::new()?.kafka()?;
        let port = Port::reserve().map_err(ServiceError::Port)?;
        let controller_port = Port::reserve().map_err(ServiceError::Port)?;
        let settings = settings(
            &folder.join("data"),
            port.number(),
            controller_port.number(),
            &options,
        );
        prepare(&home, folder, &settings).map_err(|source| ServiceError::Prepare {
            path: folder.into(),
            source,
        })?;
        let daemon = launch(&home, folder, &options)?;
        Ok(Self {
            daemon,
            home,
            folder: folder.into(),
            options,
            port,
            _controller_port: controller_port,
        })
    }

    /// `127.0.0.1:PORT`, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

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

    /// SIGTERM, and waits until the broker has closed its logs.
    ///
    /// # Errors
    /// When it does not end in a minute.
    pub fn stop(&mut self) -> Result<(), ServiceError> {
        Ok(self.daemon.stop(Duration::from_secs(60)).map(drop)?)
    }

    /// Starts it again on the same port and data; one that still runs is killed first. Waits until it is ready.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), ServiceError> {
        self.kill9()?;
        self.daemon = launch(&self.home, &self.folder, &self.options)?;
        Ok(())
    }
}

/// The controller admits a broker that was killed only when the session of its former life is over: by default 9 s.
fn settings(data: &Path, port: u16, controller_port: u16, options: &KafkaOptions) -> String {
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         log.dirs={}\n\
         num.partitions=1\n\
         default.replication.factor=1\n\
         min.insync.replicas=1\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         broker.session.timeout.ms=3000\n\
         broker.heartbeat.interval.ms=500\n\
         log.segment.bytes=134217728\n",
        data.display()
    );
    for (name, value) in &options.settings {
        // A String takes whatever is written.
        writeln!(text, "{name}={value}").ok();
    }
    text
}

fn prepare(home: &KafkaHome, folder: &Path, settings: &str) -> io::Result<()> {
    let data = folder.join("data");
    fs::create_dir_all(&data)?;
    fs::write(folder.join("server.properties"), settings)?;
    for entry in fs::read_dir(home.formatted())? {
        let entry = entry?;
        fs::copy(entry.path(), data.join(entry.file_name()))?;
    }
    Ok(())
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
    let mut daemon = Daemon::start("kafka", command, &folder.join("kafka.log"))?;
    daemon.wait_for_line("Kafka Server started", options.ready_within)?;
    Ok(daemon)
}
