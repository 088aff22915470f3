//! A backlog leaves over a bad link while live data come, and over a good one: the share of the link that is used, how long
//! live blocks take to the centre's log meanwhile, memory, the time that an edge with such a buffer needs to start, and
//! whether everything arrived once.
//!
//! The backlog is what an edge took while its link was cut; then it is started anew.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use efd_tests_e2e::{Network, Oracles, Rig, RigOptions, Sim};
use efd_tests_testkit::netns::Namespace;
use efd_tests_testkit::relay::{Direction, Shape};
use efd_tests_testkit::tmp::WorkDir;
use efd_tests_testkit::wait_until;
use serde_json::{Value as Json, json};

#[derive(Debug, Parser)]
struct Arguments {
    /// Of blocks, in the backlog of each link.
    #[arg(long, default_value_t = 200)]
    megabytes: u64,
    /// 5 GB of them.
    #[arg(long)]
    full: bool,
    /// Samples a second while the backlog is made.
    #[arg(long, default_value_t = 8000)]
    backlog_rate: u32,
    /// Samples a second while it leaves.
    #[arg(long, default_value_t = 500)]
    live_rate: u32,
    /// Of the bad link, Mbit/s.
    #[arg(long, default_value_t = 20)]
    megabits: u64,
    #[arg(long, default_value_t = 200)]
    rtt_ms: u64,
    /// Each way.
    #[arg(long, default_value_t = 1.0)]
    loss_percent: f64,
    /// `link_rate_max` of the edge on the bad link; `none`: it finds out.
    #[arg(long, default_value = "20Mbit/s")]
    cap: String,
    /// `wan`, `lan`: only this link.
    #[arg(long)]
    only: Option<String>,
    /// `KEY=VALUE` of the edge's configuration.
    #[arg(long)]
    edge: Vec<String>,
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Wan,
    Lan,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Wan => "wan",
            Self::Lan => "lan",
        }
    }
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    if arguments.full {
        arguments.megabytes = 5000;
    }
    let mut results = serde_json::Map::new();
    for kind in [Kind::Wan, Kind::Lan] {
        if arguments
            .only
            .as_deref()
            .is_none_or(|only| only == kind.name())
        {
            let result = drain(kind, &arguments)?;
            println!("{}: {result:#}", kind.name());
            results.insert(kind.name().into(), result);
        }
    }
    let out = efd_tests_bench::root().join("target/bench");
    fs::create_dir_all(&out)?;
    fs::write(out.join("drain.json"), Json::Object(results).to_string())?;
    Ok(())
}

/// What of the corpus is the past, and what is live: topics of their own, so that each is counted by itself.
fn components(idl: &Path) -> [&'static str; 2] {
    if idl.ends_with("sal-idl") {
        ["MTM1M3", "ATDome"]
    } else {
        ["LabMirror", "LabWeather"]
    }
}

fn drain(kind: Kind, arguments: &Arguments) -> Result<Json> {
    let idl = efd_tests_bench::idl();
    let [past, live] = components(&idl);
    let programs =
        efd_tests_bench::programs().context("build the programs first: cargo build --release")?;
    let folder = WorkDir::new(&format!("bench-drain-{}", kind.name()))?;
    let network = match Namespace::new() {
        Ok(namespace) => Network::Namespace(namespace),
        Err(_) => Network::Loopback { domain: 91 },
    };
    let mut options = RigOptions::new(folder.path(), &programs, vec![idl], network);
    options.edge_settings.clone_from(&arguments.edge);
    if kind == Kind::Wan && arguments.cap != "none" {
        let cap = &arguments.cap;
        options
            .edge_settings
            .push(format!("ship.link_rate_max={cap}"));
    }
    let mut rig = Rig::new(options)?;
    rig.relay().cut();
    rig.start_central()?;
    rig.start_edge()?;
    let mut oracles = Oracles::default();
    while backlog_bytes(&rig)? < arguments.megabytes * 1_000_000 {
        publish(&mut rig, past, 20, arguments.backlog_rate)?;
        rig.sim()?.wait(Duration::from_secs(300))?;
        oracles.set_aside(&rig)?;
    }
    rig.edge()?.stop(Duration::from_secs(120))?;
    let began = Instant::now();
    rig.start_edge()?;
    let start_seconds = began.elapsed().as_secs_f64();
    let rss_at_start = rig.edge()?.usage()?.rss_bytes;
    // Known after the first look at the store.
    wait_until(Duration::from_secs(60), || {
        backlog_bytes(&rig).is_ok_and(|bytes| bytes > 0)
    });
    let backlog = backlog_bytes(&rig)?;
    ensure!(backlog > 0, "no backlog: {}", rig.edge_status()?);

    let link_bytes_per_second = arguments.megabits * 125_000;
    let seconds = match kind {
        Kind::Wan => {
            shape(&rig, arguments);
            backlog * 10 / 9 / link_bytes_per_second + 30
        }
        Kind::Lan => 30,
    };
    publish(&mut rig, live, u32::try_from(seconds)?, arguments.live_rate)?;
    rig.sim()?
        .wait_for_line("writers have readers", Duration::from_secs(120))?;
    rig.relay().heal();
    let measured = watch(&mut rig, backlog)?;
    rig.sim()?.wait(Duration::from_secs(seconds + 300))?;
    oracles.set_aside(&rig)?;
    rig.relay().shape_both(Shape::default());
    rig.drain(Duration::from_secs(600))?;
    let rss_most = rig.edge()?.usage()?.rss_bytes_peak;
    let relay = rig.relay().counts();
    rig.stop()?;
    oracles.merge(&rig)?;
    let account = rig.account()?;
    let result = json!({
        "backlog_bytes": backlog, "published": account.published, "lost": account.lost, "duplicate": account.duplicate,
        "missing": account.missing, "edge": arguments.edge, "cap": arguments.cap,
        "megabits": arguments.megabits, "rtt_ms": arguments.rtt_ms, "loss_percent": arguments.loss_percent,
        "start_seconds": start_seconds, "rss_at_start_mib": rss_at_start >> 20, "rss_most_mib": rss_most >> 20,
        "seconds": measured.seconds,
        "backlog_megabits_per_second": measured.drained_bytes as f64 * 8e-6 / measured.seconds,
        "link_used": match kind {
            Kind::Wan => json!(measured.delivered_bytes as f64 / measured.seconds / link_bytes_per_second as f64),
            Kind::Lan => Json::Null,
        },
        "records_per_second": measured.drained_bytes as f64 / backlog as f64 * account.published as f64 / measured.seconds,
        "live": measured.live, "relay_up": format!("{:?}", relay.up),
        "cores_of_this_machine": std::thread::available_parallelism()?.get(),
    });
    ensure!(
        account.keeps_the_promise(),
        "the law is broken: {}\n{result:#}",
        account.summary()
    );
    folder.finish()?;
    Ok(result)
}

fn shape(rig: &Rig, arguments: &Arguments) {
    let both = Shape {
        loss: arguments.loss_percent / 100.0,
        ..Shape::delayed(Duration::from_millis(arguments.rtt_ms) / 2)
    };
    let up = Shape {
        rate: Some(arguments.megabits * 1_000_000),
        queue: Duration::from_millis(300),
        ..both.clone()
    };
    rig.relay().shape(Direction::Up, up);
    rig.relay().shape(Direction::Down, both);
}

fn publish(rig: &mut Rig, component: &str, seconds: u32, rate: u32) -> Result<()> {
    rig.start_sim(&Sim {
        seconds,
        rate,
        more: ["--component", component, "--instances", "1"]
            .map(str::to_owned)
            .to_vec(),
    })
}

fn backlog_bytes(rig: &Rig) -> Result<u64> {
    number(&rig.edge_status()?, "/buffer/backlog_bytes")
}

fn number(status: &Json, path: &str) -> Result<u64> {
    let number = status.pointer(path).and_then(Json::as_u64);
    number.with_context(|| format!("no {path} in {status}"))
}

struct Measured {
    /// Until a fiftieth of the backlog was left: then the link is no longer full.
    seconds: f64,
    drained_bytes: u64,
    /// By the link, packets and all.
    delivered_bytes: u64,
    live: Json,
}

const LIVE_FROM: Duration = Duration::from_secs(6);

/// From the first packet that passes until the backlog is gone.
fn watch(rig: &mut Rig, backlog: u64) -> Result<Measured> {
    let left = backlog / 50;
    let within = Duration::from_secs(60) + Duration::from_secs(backlog / 250_000);
    // The edge looks for its centre again at most so often.
    let healed = Instant::now();
    let before = rig.relay().counts().up.delivered_bytes;
    while rig.relay().counts().up.delivered_bytes < before + 100_000 {
        ensure!(healed.elapsed() < Duration::from_secs(120), "no connection");
        std::thread::sleep(Duration::from_millis(20));
    }
    let began = Instant::now();
    let first = (backlog_bytes(rig)?, rig.relay().counts().up.delivered_bytes);
    let mut live_before = live_within(&rig.edge_status()?);
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let status = rig.edge_status()?;
        // What was committed shortly before the link came back is live too.
        if began.elapsed() < LIVE_FROM {
            live_before = live_within(&status);
        }
        let bytes = number(&status, "/buffer/backlog_bytes")?;
        if bytes <= left {
            return Ok(Measured {
                seconds: began.elapsed().as_secs_f64(),
                drained_bytes: first.0.saturating_sub(bytes),
                delivered_bytes: rig.relay().counts().up.delivered_bytes - first.1,
                live: quantiles(&live_before, &live_within(&status)),
            });
        }
        ensure!(
            began.elapsed() < within,
            "{bytes} bytes of {backlog} are left after {within:?}: {}",
            status["link"]
        );
    }
}

/// Seconds (none: any), and the blocks that took no longer.
fn live_within(status: &Json) -> Vec<(Option<f64>, u64)> {
    let pairs = status.pointer("/link/live_within").and_then(Json::as_array);
    let pairs = pairs.into_iter().flatten();
    pairs
        .map(|pair| (pair[0].as_f64(), pair[1].as_u64().unwrap_or(0)))
        .collect()
}

/// The bound that so many of the blocks kept.
fn quantiles(before: &[(Option<f64>, u64)], after: &[(Option<f64>, u64)]) -> Json {
    let within: Vec<_> = before
        .iter()
        .zip(after)
        .map(|(before, after)| (after.0, after.1 - before.1))
        .collect();
    let all = within.last().map_or(0, |last| last.1);
    let quantile = |percent: u64| {
        let bound = within
            .iter()
            .find(|(_, blocks)| blocks * 100 >= all * percent);
        bound.and_then(|bound| bound.0)
    };
    json!({
        "blocks": all, "p50_within_seconds": quantile(50), "p90_within_seconds": quantile(90),
        "p99_within_seconds": quantile(99), "within": within,
    })
}
