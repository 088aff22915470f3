//! Everything that CI runs.

use std::time::Instant;

use anyhow::{Context as _, Result};
use efd_tests_testkit::install::{Group, Installer};
use efd_tests_testkit::skips;

use crate::project::{Profile, cargo, say, skips_file, succeed, target_folder};
use crate::{check, demo, generated, lanes};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Thousands of crashes and seeds, longer runs: hours.
    #[arg(long)]
    long: bool,
    /// A test that cannot run here fails, where else it is skipped and listed at the end.
    #[arg(long)]
    no_skip: bool,
    /// Only this stage.
    #[arg(long, value_enum)]
    only: Option<Stage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Stage {
    /// Formatting, lints, licences, advisories.
    Check,
    /// Every crate's tests, and the whole system with real services.
    Test,
    /// The README's demo, shortened, with its account.
    Demo,
}

/// Test builds can break promises on purpose: without its flag a program behaves as ever.
pub(crate) const FEATURES: &str =
    "efd-edge-agent/sabotage,efd-central-daemon/sabotage,efd-edge-inspect/play";

/// What the tests start: Kafka, a schema registry, a Python with DuckDB and other readers, the
/// observatory's Python, an InfluxDB, promtool, a browser, other vendors' DDS.
pub(crate) fn prepare() -> Result<()> {
    let installer = Installer::new()?;
    installer.packages(Group::Build)?;
    installer.packages(Group::Services)?;
    installer.packages(Group::Vendors)?;
    installer.kafka()?;
    installer.registry()?;
    installer.python()?;
    installer.observatory()?;
    installer.influx()?;
    installer.promtool()?;
    Ok(())
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // What a run that was killed left is not of this one.
    skips::take(&skips_file()?).context("empty the list of skips")?;
    let result = stages(arguments);
    let skipped = skips::take(&skips_file()?).context("read the list of skips")?;
    for line in &skipped {
        say(&format!("skipped: {line}"));
    }
    if skipped.is_empty() && result.is_ok() {
        say("skipped: nothing");
    }
    result
}

fn stages(arguments: &Arguments) -> Result<()> {
    let wanted = |stage| arguments.only.is_none_or(|only| only == stage);
    stage("prepare", prepare)?;
    if wanted(Stage::Check) {
        stage("check", || check::run(Some(&skips_file()?)))?;
    }
    if wanted(Stage::Test) {
        stage("build", build)?;
        stage("test", || test(arguments))?;
    }
    if wanted(Stage::Demo) {
        stage("build", build)?;
        stage("demo", demo::as_test)?;
    }
    Ok(())
}

/// The programs and all tests in one selection: another would build the dependencies once more with other features.
fn build() -> Result<()> {
    let kinds = ["--bins", "--tests", "--features", FEATURES];
    succeed(
        cargo()
            .args(["build", "--locked", "--workspace"])
            .args(kinds),
    )?;
    generated::settle(&target_folder()?.join(Profile::Dev.folder()))
}

fn test(arguments: &Arguments) -> Result<()> {
    let (python, skips_file) = (Installer::new()?.python()?, skips_file()?);
    let selection = ["--locked", "--workspace", "--features", FEATURES];
    lanes::run(&selection, |command| {
        command
            .env("EFD_PYTHON", python.interpreter())
            .env(skips::LIST, &skips_file);
        if arguments.no_skip {
            command.env(skips::NO_SKIP, "1");
        }
        if arguments.long {
            command.envs([
                ("EFD_LONG", "1"),
                ("EFD_SEEDS", "20000"),
                ("EFD_CRASHES", "5000"),
                ("EFD_FUZZ_SECONDS", "600"),
            ]);
        }
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "tells a person how long a stage took"
)]
fn stage<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    say(&format!("── {name}"));
    let result = work().with_context(|| format!("stage {name}"));
    say(&format!(
        "── {name}: {} after {:.0?}",
        if result.is_ok() { "done" } else { "FAILED" },
        began.elapsed()
    ));
    result
}
