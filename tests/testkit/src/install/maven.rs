//! Java services, fetched by Maven from the coordinates in `services/*.xml`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::Pinned;
use super::debian::{self, Need};
use super::{InstallError, Installer, at};

/// An installed broker.
#[derive(Clone, Debug)]
pub struct KafkaHome {
    pub(crate) folder: PathBuf,
}

/// An installed MirrorMaker 2.
#[derive(Clone, Debug)]
pub struct MirrorHome {
    folder: PathBuf,
}

/// An installed schema registry.
#[derive(Clone, Debug)]
pub struct RegistryHome {
    pub(crate) folder: PathBuf,
}

const KAFKA_VERSION: &str = "4.3.1";
const KAFKA_POM: &str = include_str!("../../services/kafka-pom.xml");
const KAFKA_LOGGING: &str = include_str!("../../services/kafka-log4j2.xml");
const MIRROR_POM: &str = include_str!("../../services/mirror-pom.xml");
const REGISTRY_VERSION: &str = "2.6.13.Final";
const REGISTRY_POM: &str = include_str!("../../services/registry-pom.xml");
const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";

/// Sixteen bytes in base64: every broker of these tests is a cluster of its own, so one name serves all.
const CLUSTER: &str = "ZWZkLXRlc3RzLWthZmthMQ";

impl KafkaHome {
    /// The argument of `java -cp`.
    pub(crate) fn class_path(&self) -> PathBuf {
        self.folder.join("lib/*")
    }

    pub(crate) fn logging(&self) -> PathBuf {
        self.folder.join("log4j2.xml")
    }

    /// A formatted, empty data folder of node 1. Copying it saves a JVM's start (1 to 3 s) for each broker.
    pub(crate) fn formatted(&self) -> PathBuf {
        self.folder.join("formatted")
    }
}

impl MirrorHome {
    /// The argument of `java -cp`.
    pub(crate) fn class_path(&self) -> PathBuf {
        self.folder.join("lib/*")
    }

    pub(crate) fn logging(&self) -> PathBuf {
        self.folder.join("log4j2.xml")
    }
}

impl RegistryHome {
    /// The argument of `java -jar`.
    pub(crate) fn jar(&self) -> PathBuf {
        self.folder.join(format!(
            "apicurio-registry-app-{REGISTRY_VERSION}-runner.jar"
        ))
    }
}

pub(super) fn kafka(installer: &Installer) -> Result<KafkaHome, InstallError> {
    debian::provide(installer, &[Need::Java])?;
    let pinned = Pinned {
        name: "kafka",
        version: KAFKA_VERSION,
        by: &[KAFKA_POM, KAFKA_LOGGING, CLUSTER],
    };
    let folder = installer.cached(&pinned, |folder| {
        let lib = folder.join("lib");
        fetch(
            installer,
            "Kafka",
            folder,
            KAFKA_POM,
            &["copy-dependencies", "-DincludeScope=runtime"],
            &lib,
        )?;
        let home = KafkaHome {
            folder: folder.to_owned(),
        };
        fs::write(home.logging(), KAFKA_LOGGING).map_err(at("write", &home.logging()))?;
        format_storage(installer, &home)
    })?;
    Ok(KafkaHome { folder })
}

pub(super) fn mirror(installer: &Installer) -> Result<MirrorHome, InstallError> {
    debian::provide(installer, &[Need::Java])?;
    let pinned = Pinned {
        name: "mirror",
        version: KAFKA_VERSION,
        by: &[MIRROR_POM, KAFKA_LOGGING],
    };
    let folder = installer.cached(&pinned, |folder| {
        let goal = ["copy-dependencies", "-DincludeScope=runtime"];
        let lib = folder.join("lib");
        fetch(installer, "MirrorMaker 2", folder, MIRROR_POM, &goal, &lib)?;
        let logging = folder.join("log4j2.xml");
        fs::write(&logging, KAFKA_LOGGING).map_err(at("write", &logging))
    })?;
    Ok(MirrorHome { folder })
}

pub(super) fn registry(installer: &Installer) -> Result<RegistryHome, InstallError> {
    debian::provide(installer, &[Need::Java])?;
    let pinned = Pinned {
        name: "registry",
        version: REGISTRY_VERSION,
        by: &[REGISTRY_POM],
    };
    let folder = installer.cached(&pinned, |folder| {
        fetch(
            installer,
            "the registry",
            folder,
            REGISTRY_POM,
            &["unpack-dependencies"],
            folder,
        )
    })?;
    Ok(RegistryHome { folder })
}

/// Runs one goal of the dependency plugin on `pom`, with output to `to`.
fn fetch(
    installer: &Installer,
    what: &str,
    folder: &Path,
    pom: &str,
    goal: &[&str],
    to: &Path,
) -> Result<(), InstallError> {
    debian::provide(installer, &[Need::Maven])?;
    let pom_path = folder.join("pom.xml");
    fs::write(&pom_path, pom).map_err(at("write", &pom_path))?;
    let mut command = Command::new("mvn");
    command
        .args(["-B", "-q", "-Dstyle.color=never", "-f"])
        .arg(&pom_path)
        .arg(format!("{PLUGIN}:{}", goal[0]))
        .args(&goal[1..]);
    command.arg(format!("-DoutputDirectory={}", to.display()));
    installer.run(what, command).map(drop)
}

fn format_storage(installer: &Installer, home: &KafkaHome) -> Result<(), InstallError> {
    let formatted = home.formatted();
    let properties = home.folder.join("format.properties");
    // Only the node and the folder matter for formatting; a broker brings listeners of its own.
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2\n\
         controller.listener.names=CONTROLLER\ncontroller.quorum.voters=1@127.0.0.1:2\nlog.dirs={}\n",
        formatted.display()
    );
    fs::write(&properties, text).map_err(at("write", &properties))?;
    let mut command = Command::new("java");
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"]);
    command.arg(format!(
        "-Dlog4j2.configurationFile={}",
        home.logging().display()
    ));
    command.arg("-cp").arg(home.class_path());
    command
        .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"])
        .arg(&properties);
    installer
        .run("Kafka (format its storage)", command)
        .map(drop)
}
