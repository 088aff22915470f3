//! Checkers in Python: scripts of ours that share no code with the daemons, run in the pinned environment.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;

use crate::netns::Namespace;
use crate::process::{self, ProcessError};

/// The environment that [`Installer::python`](crate::install::Installer::python) made.
#[derive(Clone, Debug)]
pub struct Python {
    folder: PathBuf,
}

/// Why a script gave no result.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("`{command}` failed ({status}):\n{tail}")]
    Failed {
        command: String,
        status: ExitStatus,
        tail: String,
    },
    #[error("the last line that `{command}` printed is not JSON: {line:?}")]
    NotJson {
        command: String,
        line: String,
        #[source]
        source: serde_json::Error,
    },
}

impl Python {
    pub(crate) fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The interpreter of the environment.
    pub fn interpreter(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    /// The folder of Playwright's driver: `node`, and `package`, which is playwright-core. `None` where it is not installed.
    pub fn playwright(&self) -> Option<PathBuf> {
        let versions = std::fs::read_dir(self.folder.join("lib")).ok()?;
        let drivers = versions.filter_map(|version| {
            let packages = version.ok()?.path().join("site-packages");
            Some(packages.join("playwright/driver"))
        });
        drivers
            .into_iter()
            .find(|driver| driver.join("node").exists())
    }

    /// A command that runs `script`: to add arguments and environment, for [`run_json`] or for
    /// [`Daemon::start`](process::Daemon::start) (a publisher, say). Nothing of the user's Python is seen, no byte code
    /// is written beside the script, and astropy does not try the network.
    pub fn command(&self, script: impl AsRef<Path>) -> Command {
        let mut command = Command::new(self.interpreter());
        command.env_remove("PYTHONPATH").env_remove("PYTHONHOME");
        command
            .env("PYTHONNOUSERSITE", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUNBUFFERED", "1");
        command.env("ASTROPY_CONFIG_DIR", self.folder.join("astropy"));
        command.arg(script.as_ref());
        command
    }

    /// As [`command`](Self::command), in a private network.
    pub fn command_in(&self, namespace: &Namespace, script: impl AsRef<Path>) -> Command {
        let mut command = self.command(script);
        namespace.place(&mut command);
        command
    }

    /// Runs `script` with arguments and returns its result: the last line of its standard output, as JSON.
    ///
    /// # Errors
    /// As [`run_json`].
    pub fn run<I>(
        &self,
        script: impl AsRef<Path>,
        arguments: I,
        within: Duration,
    ) -> Result<Value, PythonError>
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let mut command = self.command(script);
        command.args(arguments);
        run_json(command, within)
    }
}

/// Runs a command to its end and returns the last line of its standard output, as JSON; what it prints before is free.
///
/// # Errors
/// When it cannot run, is not done in time, ends with a status other than 0 (with the end of what it printed), or its
/// last line is not JSON.
pub fn run_json(command: Command, within: Duration) -> Result<Value, PythonError> {
    let typed = process::typed(&command);
    let captured = process::run(command, within)?;
    if !captured.status.success() {
        let said = format!("{}{}", captured.stdout, captured.stderr);
        return Err(PythonError::Failed {
            command: typed,
            status: captured.status,
            tail: process::last_lines(&said, 30),
        });
    }
    let line = captured
        .stdout
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("");
    serde_json::from_str(line).map_err(|source| PythonError::NotJson {
        command: typed,
        line: line.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_last_line_is_the_result() {
        let value = run_json(shell(r#"echo reading; echo '{"rows": 3}'; echo"#), SOON).unwrap();
        assert_eq!(value, serde_json::json!({"rows": 3}));
    }

    #[test]
    fn failures_carry_what_was_said() {
        let failed = run_json(shell("echo '{}'; echo no such file >&2; exit 1"), SOON).unwrap_err();
        assert!(
            matches!(&failed, PythonError::Failed { tail, .. } if tail.contains("no such file")),
            "{failed}"
        );
        let text = run_json(shell("echo done"), SOON).unwrap_err();
        assert!(
            matches!(&text, PythonError::NotJson { line, .. } if line == "done"),
            "{text}"
        );
        let nothing = run_json(shell("true"), SOON).unwrap_err();
        assert!(
            matches!(&nothing, PythonError::NotJson { line, .. } if line.is_empty()),
            "{nothing}"
        );
    }
}
