//! Where things are, and how cargo is called.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value as Json;

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    // tests/xtask
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or_else(|| Path::new("."))
}

#[expect(clippy::print_stdout, reason = "a command for people at a terminal")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs it with its output on our terminal.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let line = typed(command);
    let status = command
        .status()
        .with_context(|| format!("start `{line}`"))?;
    if status.success() {
        Ok(())
    } else {
        bail!("`{line}` ended with {status}")
    }
}

pub(crate) fn typed(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

pub(crate) fn metadata() -> Result<Json> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .context("start cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    serde_json::from_slice(&output.stdout).context("parse cargo metadata")
}

pub(crate) fn target_folder() -> Result<PathBuf> {
    let metadata = metadata()?;
    Ok(metadata["target_directory"]
        .as_str()
        .context("target_directory")?
        .into())
}

/// Builds the four programs and gives the folder they are in.
pub(crate) fn build_programs(profile: Profile, features: &[&str]) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--locked"]);
    for package in [
        "efd-edge-agent",
        "efd-edge-inspect",
        "efd-central-daemon",
        "efd-tests-sim",
    ] {
        command.args(["--package", package]);
    }
    for feature in features {
        command.args(["--features", feature]);
    }
    command.args(["--profile", profile.name()]);
    succeed(&mut command)?;
    Ok(target_folder()?.join(profile.folder()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
    Demo,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
            Self::Demo => "demo",
        }
    }

    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
            Self::Demo => "demo",
        }
    }
}
