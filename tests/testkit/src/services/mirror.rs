//! MirrorMaker 2, as a process of its own between two clusters.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::ServiceError;
use crate::install::Installer;
use crate::process::Daemon;

/// From where to where.
#[derive(Clone, Debug)]
pub struct MirrorOptions {
    /// Bootstrap servers of the cluster `near`.
    pub near: String,
    /// And of the cluster `far`, in which topics are named `near.TOPIC`.
    pub far: String,
    /// A regular expression.
    pub topics: String,
    /// Settings beyond those that one broker on each side needs. A later entry wins.
    pub settings: Vec<(String, String)>,
}

/// A running mirror.
#[derive(Debug)]
pub struct Mirror {
    daemon: Daemon,
}

const STOP_WITHIN: Duration = Duration::from_secs(60);

impl Mirror {
    /// Installs what is missing, and starts it with its configuration and log in `folder`, which is made; what it was
    /// started with there before goes on. It is at work some 10 s later.
    ///
    /// # Errors
    /// When it cannot be installed or started.
    pub fn start(folder: &Path, options: &MirrorOptions) -> Result<Self, ServiceError> {
        let home = Installer::new()?.mirror()?;
        let file = folder.join("mirror.properties");
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&file, settings(options)));
        written.map_err(|source| ServiceError::Prepare {
            path: file.clone(),
            source,
        })?;
        let mut command = Command::new("java");
        command.args(["-Xms512m", "-Xmx512m", "-Djava.awt.headless=true"]);
        command.arg(format!(
            "-Dlog4j2.configurationFile={}",
            home.logging().display()
        ));
        command
            .arg("-cp")
            .arg(home.class_path())
            .arg("org.apache.kafka.connect.mirror.MirrorMaker")
            .arg(file);
        let daemon = Daemon::start("mirror", command, &folder.join("mirror.log"))?;
        Ok(Self { daemon })
    }

    /// The process: its log, its usage, stop and continue.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// SIGTERM; what it has mirrored is noted.
    ///
    /// # Errors
    /// When it does not end in a minute.
    pub fn stop(&mut self) -> Result<(), ServiceError> {
        Ok(self.daemon.stop(STOP_WITHIN).map(drop)?)
    }
}

fn settings(options: &MirrorOptions) -> String {
    let MirrorOptions {
        near,
        far,
        topics,
        settings,
    } = options;
    let mut text = format!(
        "clusters=near,far\n\
         near.bootstrap.servers={near}\n\
         far.bootstrap.servers={far}\n\
         near->far.enabled=true\n\
         far->near.enabled=false\n\
         near->far.topics={topics}\n\
         replication.factor=1\n"
    );
    let internal = [
        "checkpoints.topic",
        "heartbeats.topic",
        "offset-syncs.topic",
    ];
    let storage = ["config.storage", "offset.storage", "status.storage"];
    for topic in internal.into_iter().chain(storage) {
        // A String takes whatever is written.
        writeln!(text, "{topic}.replication.factor=1").ok();
    }
    for (name, value) in settings {
        writeln!(text, "{name}={value}").ok();
    }
    text
}
