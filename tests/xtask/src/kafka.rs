//! A Kafka cluster and a schema registry for a developer, from `kafka-up` to `kafka-down`.
//!
//! A process of its own holds them, and a lock; it ends them when a file `stop` appears, or when its hours are over.

use std::fs::{self, File, TryLockError};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use efd_tests_testkit::install::{Group, Installer};
use efd_tests_testkit::services::{Kafka, KafkaOptions, Registry, RegistryOptions};

use crate::project::{say, target_folder};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// With three a topic has three copies, two of which have to be durable.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    brokers: u32,
    /// They end by themselves after so long.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=24 * 7))]
    hours: u64,
    /// Is the process that holds them.
    #[arg(long, hide = true)]
    hold: bool,
}

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Cold, with everything to be unpacked, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(300);
const END_WITHIN: Duration = Duration::from_secs(90);

/// Files in the cluster's folder.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self> {
        Ok(Self(target_folder()?.join("kafka")))
    }

    fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// What a centre's configuration needs; there while they are ready.
    fn ready(&self) -> PathBuf {
        self.0.join("central.toml")
    }

    fn stop(&self) -> PathBuf {
        self.0.join("stop")
    }

    fn log(&self) -> PathBuf {
        self.0.join("hold.log")
    }

    /// `None`: another process holds them.
    fn hold(&self) -> Result<Option<File>> {
        let path = self.lock();
        let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("lock {}", path.display()))
            }
        }
    }

    fn is_up(&self) -> Result<bool> {
        Ok(self.lock().exists() && self.hold()?.is_none())
    }
}

pub(crate) fn up(arguments: &Arguments) -> Result<()> {
    let place = Place::new()?;
    if arguments.hold {
        return hold(&place, arguments);
    }
    if place.is_up()? {
        say("they are up already:");
    } else {
        let installer = Installer::new()?;
        installer.packages(Group::Build)?;
        installer.kafka()?;
        installer.registry()?;
        start(&place, arguments)?;
    }
    let settings = fs::read_to_string(place.ready()).context("read what the cluster is")?;
    say(settings.trim_end());
    say(&format!(
        "\n{} has the same, and the brokers' logs lie beside it; `cargo xtask kafka-down` ends them",
        place.ready().display()
    ));
    Ok(())
}

/// What an earlier cluster left is removed.
fn start(place: &Place, arguments: &Arguments) -> Result<()> {
    if place.0.exists() {
        fs::remove_dir_all(&place.0).with_context(|| format!("remove {}", place.0.display()))?;
    }
    fs::create_dir_all(&place.0)?;
    let log = File::create(place.log())?;
    let mut holder = Command::new(std::env::current_exe()?)
        .args(["kafka-up", "--hold", "--brokers"])
        .arg(arguments.brokers.to_string())
        .arg("--hours")
        .arg(arguments.hours.to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C here is not for it.
        .process_group(0)
        .spawn()
        .context("start the process that holds the cluster")?;
    let came = wait(READY_WITHIN, || {
        Ok(place.ready().exists() || holder.try_wait()?.is_some())
    })?;
    if !came || !place.ready().exists() {
        let told = fs::read_to_string(place.log()).unwrap_or_default();
        bail!("the cluster did not come up:\n{}", told.trim_end());
    }
    Ok(())
}

fn hold(place: &Place, arguments: &Arguments) -> Result<()> {
    let Some(_held) = place.hold()? else {
        bail!("another process holds {}", place.lock().display());
    };
    let options = KafkaOptions {
        brokers: arguments.brokers,
        ..KafkaOptions::default()
    };
    let mut kafka = Kafka::start(&place.0, options)?;
    let registry = Registry::start(&place.0.join("registry"), RegistryOptions::default())?;
    let replication = arguments.brokers.min(3);
    let settings = format!(
        "[kafka]\nbrokers = \"{}\"\nreplication = {replication}\nmin_insync_replicas = {}\n[feed]\nregistry = \"{}\"\n",
        kafka.bootstrap(),
        replication.div_ceil(2),
        registry.url()
    );
    publish(&place.ready(), &settings)?;
    let hours = Duration::from_secs(arguments.hours * 3600);
    wait(hours, || Ok(place.stop().exists()))?;
    kafka.stop()?;
    drop(registry);
    fs::remove_file(place.ready())?;
    Ok(())
}

/// Whole, or not at all.
fn publish(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, text).with_context(|| format!("write {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("rename to {}", path.display()))
}

pub(crate) fn down() -> Result<()> {
    let place = Place::new()?;
    if !place.is_up()? {
        say("no cluster is up");
        return Ok(());
    }
    fs::write(place.stop(), "").with_context(|| format!("write {}", place.stop().display()))?;
    if !wait(END_WITHIN, || Ok(!place.is_up()?))? {
        bail!(
            "the cluster has not ended in {} s; see {}",
            END_WITHIN.as_secs(),
            place.log().display()
        );
    }
    say("the cluster has ended; its data stay until the next one begins");
    Ok(())
}

/// False if it took longer.
#[expect(clippy::disallowed_methods, reason = "a person waits")]
fn wait(within: Duration, mut until: impl FnMut() -> Result<bool>) -> Result<bool> {
    let began = Instant::now();
    while began.elapsed() < within {
        if until()? {
            return Ok(true);
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(false)
}
