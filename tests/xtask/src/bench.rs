//! Benchmarks: figures on the terminal and in target/bench/NAME.json.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use efd_tests_testkit::install::Installer;
use serde_json::{Value as Json, json};

use crate::project::{Profile, build_programs, cargo, root, say, succeed, target_folder};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(value_enum)]
    name: Name,
    /// Passed on to the benchmark.
    #[arg(last = true)]
    more: Vec<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Name {
    /// CDR to Avro: bytes and samples a second of one core.
    Transcode,
    /// Durable appends to the buffer, beside bare SQLite.
    Append,
    /// Statistics of windows: values a second of one core.
    Stats,
    /// The inspection tool on a large buffer: bytes verified, records exported, the first line of a topic, memory.
    Inspect,
    /// Questions to a buffer: an hour of raw records and of 10 s, a year of 5 min of all of M1M3, and its bytes.
    Query,
    /// The whole way at the observatory's full rate: lost, cores and memory of each process.
    Load,
    /// From the DDS write to a consumer of a public topic.
    Latency,
    /// A backlog over a bad link and over a good one, while live data come: share of the link, live delay, memory, start.
    Drain,
    /// Bytes on the link for each record, live and of a backlog, beside MirrorMaker 2 on the same values.
    Link,
    /// The feed into real brokers: records a second by topics, what checkpoints cost, how soon it goes on after a crash.
    Feed,
}

#[expect(
    clippy::disallowed_methods,
    reason = "tells figures of this run from older ones"
)]
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (package, name) = match arguments.name {
        Name::Transcode => ("efd-edge-transcode", "transcode"),
        Name::Append => ("efd-shared-store", "append"),
        Name::Stats => ("efd-shared-stats", "windows"),
        Name::Inspect => ("efd-edge-inspect", "inspect"),
        Name::Query => ("efd-edge-query", "query"),
        Name::Load => ("efd-tests-bench", "load"),
        Name::Latency => ("efd-tests-bench", "latency"),
        Name::Drain => ("efd-tests-bench", "drain"),
        Name::Link => ("efd-tests-bench", "link"),
        Name::Feed => ("efd-central-feed", "feed"),
    };
    if matches!(
        arguments.name,
        Name::Load | Name::Latency | Name::Drain | Name::Link
    ) {
        build_programs(Profile::Release, &[])?;
    }
    let out = root().join("target/bench");
    fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
    let summary = out.join(format!("{name}.summary"));
    let began = SystemTime::now();
    succeed(
        cargo()
            .args([
                "bench",
                "--locked",
                "--package",
                package,
                "--bench",
                name,
                "--",
            ])
            .args(&arguments.more)
            .env("EFD_BENCH_SUMMARY", &summary),
    )?;
    if matches!(
        arguments.name,
        Name::Load | Name::Latency | Name::Drain | Name::Link | Name::Query
    ) {
        // It writes its own.
        return Ok(());
    }
    let mut summaries = take(&summary)?;
    if matches!(arguments.name, Name::Stats) {
        summaries.push(kafka_aggregator()?);
    }
    let figures = json!({ "figures": criterion_figures(began)?, "summary": summaries });
    let path = out.join(format!("{name}.json"));
    fs::write(&path, format!("{figures:#}"))
        .with_context(|| format!("write {}", path.display()))?;
    say(&format!("figures: {}", path.display()));
    Ok(())
}

/// The prior system's own computation, in the same run.
fn kafka_aggregator() -> Result<Json> {
    let installer = Installer::new()?;
    let (python, folder) = (installer.python()?, installer.kafka_aggregator()?);
    let script = root().join("tests/bench/benches/kafka_aggregator.py");
    let said = python.run(script, [folder], Duration::from_secs(300))?;
    let rate = said["values_per_second"].as_f64().unwrap_or(f64::NAN);
    say(&format!(
        "kafka-aggregator 0.2.0, `compute` on windows of 50: {rate:.0} values/s"
    ));
    Ok(json!({ "kafka_aggregator": said }))
}

/// What a benchmark says besides its times: one JSON object a line.
fn take(summary: &Path) -> Result<Vec<Json>> {
    let Ok(text) = fs::read_to_string(summary) else {
        return Ok(Vec::new());
    };
    fs::remove_file(summary).with_context(|| format!("remove {}", summary.display()))?;
    let lines = text.lines().map(serde_json::from_str);
    lines
        .collect::<Result<_, _>>()
        .with_context(|| format!("parse {}", summary.display()))
}

/// Median and its 95 % interval, ns, of everything that criterion has measured since `began`.
fn criterion_figures(began: SystemTime) -> Result<Vec<Json>> {
    let mut figures = Vec::new();
    let criterion = target_folder()?.join("criterion");
    // Not every benchmark is one of criterion's.
    let mut folders: Vec<_> = criterion
        .is_dir()
        .then_some(criterion)
        .into_iter()
        .collect();
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            }
        }
        let (what, estimates) = (folder.join("benchmark.json"), folder.join("estimates.json"));
        let is_new = |path: &Path| path.metadata()?.modified().map(|at| began <= at);
        if !folder.ends_with("new") || !is_new(&estimates).unwrap_or(false) {
            continue;
        }
        let read = |path: &Path| -> Result<Json> {
            let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("parse {}", path.display()))
        };
        let (what, estimates) = (read(&what)?, read(&estimates)?);
        let median = &estimates["median"];
        figures.push(json!({
            "name": what["full_id"], "throughput": what["throughput"], "median_ns": median["point_estimate"],
            "low_ns": median["confidence_interval"]["lower_bound"], "high_ns": median["confidence_interval"]["upper_bound"],
        }));
    }
    figures.sort_by_key(|figure| figure["name"].to_string());
    Ok(figures)
}
