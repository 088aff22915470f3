//! Where things are, and how cargo is called.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value as Json;

use crate::generated;

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

/// What went wrong: not on standard output, whose last line a program may read.
#[expect(clippy::print_stderr, reason = "a command for people at a terminal")]
pub(crate) fn complain(line: &str) {
    eprintln!("{line}");
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // What our own cargo says of this crate is none of what it builds; build scripts that look at it (ring's) would run anew,
    // and all that stands on them, whenever cargo is called by us after it was called by hand.
    for (name, _) in std::env::vars_os() {
        let is_of_this_crate = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if is_of_this_crate {
            command.env_remove(name);
        }
    }
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
        .map(|word| quoted(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// As a shell must have it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
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

/// Where tests list what they skip.
pub(crate) fn skips_file() -> Result<PathBuf> {
    Ok(target_folder()?.join("skipped-tests.txt"))
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
    let folder = target_folder()?.join(profile.folder());
    generated::settle(&folder)?;
    Ok(folder)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed can be typed.
    #[test]
    fn a_shell_reads_what_is_printed() {
        let words = [
            "plain-1.0",
            "",
            "two words",
            "it's",
            "\"$HOME\" `x` *",
            "a\nb",
        ];
        let mut printf = Command::new("printf");
        printf.arg("[%s]").args(words);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(typed(&printf));
        let expected: String = words.map(|word| format!("[{word}]")).concat();
        let printed = shell.output().unwrap().stdout;
        assert_eq!(String::from_utf8(printed).unwrap(), expected);
    }
}
