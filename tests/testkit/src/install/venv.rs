//! The Python environments of the checkers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::Pinned;
use super::debian::{self, Need};
use super::{InstallError, Installer, at};
use crate::python::Python;

/// One environment: what is in it cannot always be together with what is in another.
pub(super) struct Environment {
    name: &'static str,
    requirements: &'static str,
}

pub(super) const CHECKERS: Environment = Environment {
    name: "python",
    requirements: include_str!("../../services/requirements.txt"),
};

pub(super) const OBSERVATORY: Environment = Environment {
    name: "observatory",
    requirements: include_str!("../../services/observatory.txt"),
};

const ASTROPY: &str = include_str!("../../services/astropy.cfg");

/// A Python that can make environments: the system's first, since one found by the search path may be a shim that
/// depends on the working folder.
pub(super) fn base_interpreter() -> Option<&'static str> {
    ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let probe = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))";
        debian::said(python, &["-c", probe]).is_some()
    })
}

pub(super) fn python(
    installer: &Installer,
    environment: &Environment,
) -> Result<Python, InstallError> {
    let pinned = Pinned {
        name: environment.name,
        version: "3",
        by: &[environment.requirements, ASTROPY],
    };
    let folder = installer.cached(&pinned, |folder| build(installer, environment, folder))?;
    Ok(Python::at(&folder))
}

fn build(
    installer: &Installer,
    environment: &Environment,
    folder: &Path,
) -> Result<(), InstallError> {
    debian::provide(installer, &[Need::PythonVenv])?;
    let base = base_interpreter().unwrap_or("python3");
    let mut make = Command::new(base);
    make.args(["-m", "venv"]).arg(folder);
    installer.run("the Python environment", make)?;

    let requirements = write(folder.join("requirements.txt"), environment.requirements)?;
    let mut fill = Command::new(folder.join("bin/python"));
    fill.args([
        "-m",
        "pip",
        "install",
        "--no-input",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        "-r",
    ]);
    fill.arg(requirements);
    installer.run("the Python packages", fill)?;

    let settings = folder.join("astropy");
    fs::create_dir(&settings).map_err(at("make", &settings))?;
    write(settings.join("astropy.cfg"), ASTROPY).map(drop)
}

/// kafka-aggregator's own package, unpacked and without what it depends on: for the part of it that computes.
pub(super) fn kafka_aggregator(installer: &Installer) -> Result<PathBuf, InstallError> {
    let pinned = Pinned {
        name: "kafka-aggregator",
        version: "0.2.0",
        by: &[],
    };
    let python = python(installer, &CHECKERS)?;
    installer.cached(&pinned, |folder| {
        let mut fetch = Command::new(python.interpreter());
        fetch.args([
            "-m",
            "pip",
            "install",
            "--no-input",
            "--disable-pip-version-check",
        ]);
        fetch
            .args(["--no-deps", "--no-compile", "--target"])
            .arg(folder);
        fetch.arg("kafka-aggregator==0.2.0");
        installer.run("kafka-aggregator", fetch).map(drop)
    })
}

fn write(path: PathBuf, text: &str) -> Result<PathBuf, InstallError> {
    fs::write(&path, text).map_err(at("write", &path))?;
    Ok(path)
}
