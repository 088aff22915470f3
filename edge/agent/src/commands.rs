//! What each subcommand does.

mod check;
mod status;
mod topics;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use efd_edge_agent::config::Config;
use efd_edge_agent::run::{self, Sabotage};
use efd_shared_daemon::exit::{Exit, complain, say};
use efd_shared_daemon::{config, logs};
use efd_shared_types::Registry;

use crate::{Arguments, Command};

/// Environment variables that override the configuration.
const ENVIRONMENT: &str = "EFD_EDGE__";

pub(crate) fn dispatch(arguments: Arguments) -> Result<Exit, Box<dyn std::error::Error>> {
    let Arguments {
        config: path,
        set,
        log,
        log_level,
        command,
    } = arguments;
    let load = || load(&path, &set);
    let exit = match command {
        Command::Run {
            #[cfg(feature = "sabotage")]
            sabotage,
        } => {
            #[cfg(feature = "sabotage")]
            let sabotage = sabotage_of(&sabotage)?;
            #[cfg(not(feature = "sabotage"))]
            let sabotage = Sabotage::default();
            let _logs = logs::init(log, log_level.as_deref())?;
            run::run(&load()?, sabotage).map(|()| Exit::Ok)
        }
        Command::Check { offline } => check::run(&load()?, offline),
        Command::Status { json } => status::run(&load()?, json),
        Command::Schema { idl } => schema(&idl),
        Command::Topics { seconds, json } => {
            let _logs = logs::init(log, Some(log_level.as_deref().unwrap_or("warn")))?;
            topics::run(&load()?, seconds, json)
        }
    };
    Ok(exit?)
}

fn load(path: &Path, set: &[String]) -> Result<Config> {
    let config: Config = config::load(path, ENVIRONMENT, set)?;
    let faults = config.faults();
    if !faults.is_empty() {
        bail!("{}:\n  {}", path.display(), faults.join("\n  "));
    }
    Ok(config)
}

#[cfg(feature = "sabotage")]
fn sabotage_of(words: &[String]) -> Result<Sabotage> {
    let mut sabotage = Sabotage::default();
    for word in words {
        match word.as_str() {
            "no-fsync" => sabotage.no_fsync = true,
            "announce-early" => sabotage.announce_early = true,
            "drop-one" => sabotage.intake.drop_one = true,
            "flip-bit" => sabotage.intake.flip_bit = true,
            other => {
                bail!("--sabotage {other}: there are no-fsync, announce-early, drop-one, flip-bit")
            }
        }
    }
    Ok(sabotage)
}

/// One JSON line per topic, ordered by DDS topic; errors on standard error, the good topics all the same.
fn schema(paths: &[PathBuf]) -> Result<Exit> {
    let mut registry = Registry::default();
    for path in idl_files(paths)? {
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        registry.load(&path.display().to_string(), &text);
    }
    for (topic, schema) in registry.topics() {
        let name = serde_json::Value::from(topic.dds_topic.as_str());
        say(&format!(
            "{{\"dds_topic\": {name}, \"schema\": {}}}",
            schema.json
        ));
    }
    let mut exit = Exit::Ok;
    for (file, error) in registry.errors() {
        complain(&format!("{file}:{error}"));
        exit = Exit::Attention;
    }
    Ok(exit)
}

fn idl_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let entries =
                std::fs::read_dir(path).with_context(|| format!("list {}", path.display()))?;
            let mut inside: Vec<PathBuf> = entries
                .map(|entry| Ok(entry?.path()))
                .collect::<Result<_>>()?;
            inside.retain(|path| path.extension().is_some_and(|extension| extension == "idl"));
            inside.sort();
            files.extend(inside);
        } else {
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        bail!("no IDL file in {paths:?}");
    }
    Ok(files)
}
