//! Bytes on the link for each record, beside MirrorMaker 2 on the same values: live under a light load, and of a backlog.
//!
//! Ours: publisher, edge, a relay that counts, centre, and its feed into a broker. What it fed is then put, without our
//! headers, into the source broker of a MirrorMaker 2, as ts_salkafka would have: a topic for each SAL topic, Confluent's
//! framing, no key, at the pace at which it was published. A relay counts again. A backlog goes through it twice: as such
//! producers leave it in the source, a record a batch, and as if it had been written at once.
//!
//! Of ours everything counts, both ways, with 28 bytes of IP and UDP a packet; of MirrorMaker 2 only what the programs
//! wrote, both ways: no headers, and no acknowledgements of TCP. A first batch of every topic warms each path up, uncounted.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod mirror;
mod ours;
mod records;

use std::fs;

use anyhow::{Context as _, Result};
use clap::Parser;
use efd_tests_testkit::install::Installer;
use efd_tests_testkit::netns::Namespace;
use efd_tests_testkit::tmp::WorkDir;
use serde_json::{Value as Json, json};

use crate::mirror::VARIANTS;

#[derive(Debug, Parser)]
struct Arguments {
    /// Samples a second of the live load, all topics together.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Of the live load.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    #[arg(long, default_value_t = 27)]
    topics: usize,
    /// Samples a second while the backlog is made.
    #[arg(long, default_value_t = 8000)]
    backlog_rate: u32,
    #[arg(long, default_value_t = 30)]
    backlog_seconds: u32,
    /// More words for the publisher: `--sim=--component --sim=MTM1M3`.
    #[arg(long)]
    sim: Vec<String>,
    /// `KEY=VALUE` of the edge's configuration.
    #[arg(long)]
    edge: Vec<String>,
    /// Without MirrorMaker 2.
    #[arg(long)]
    alone: bool,
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one direction of a link has carried.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    bytes: u64,
    packets: u64,
}

impl Traffic {
    fn since(self, before: Self) -> Self {
        Self {
            bytes: self.bytes - before.bytes,
            packets: self.packets - before.packets,
        }
    }
}

/// Up and down.
type Link = [Traffic; 2];

fn since(now: Link, before: Link) -> Link {
    [now[0].since(before[0]), now[1].since(before[1])]
}

/// So many records went over a link.
#[derive(Clone, Copy, Debug)]
struct Passage {
    records: u64,
    link: Link,
    /// Headers of a packet that count.
    header: u64,
    seconds: f64,
}

impl Passage {
    fn bytes(&self) -> u64 {
        let bytes = |traffic: &Traffic| traffic.bytes + self.header * traffic.packets;
        self.link.iter().map(bytes).sum()
    }

    fn per_record(&self) -> f64 {
        self.bytes() as f64 / self.records as f64
    }

    fn json(&self) -> Json {
        let [up, down] = self.link;
        json!({
            "records": self.records, "seconds": self.seconds, "bytes": self.bytes(), "bytes_per_record": self.per_record(),
            "up_bytes": up.bytes, "up_packets": up.packets, "down_bytes": down.bytes, "down_packets": down.packets,
            "header_bytes_per_packet": self.header,
        })
    }
}

/// What is asked of each path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Live,
    /// MirrorMaker 2's source was filled at the pace at which the backlog was published.
    Backlog,
    /// Its source was filled at once, in full batches, as no live publisher fills it: the best case for it.
    Batched,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Live, Self::Backlog, Self::Batched];

    fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Backlog => "backlog",
            Self::Batched => "backlog_in_full_batches",
        }
    }
}

/// One path, and what was measured of it in the order of [`Phase::ALL`].
struct Path {
    name: &'static str,
    passages: [Passage; 3],
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let installer = Installer::new()?;
    installer.kafka()?;
    installer.registry()?;
    if !arguments.alone {
        installer.mirror()?;
    }
    let folder = WorkDir::new("bench-link")?;
    let namespace = Namespace::new()?;
    let ours = ours::run(&arguments, folder.path(), &namespace)?;
    println!(
        "ours: {:?}",
        ours.passages.map(|passage| passage.per_record())
    );
    let values = [1, 2].map(|phase| records::mean_bytes(&ours.records[phase]));
    let [live, backlog] = ours.passages;
    let mut paths = vec![Path {
        name: "ours",
        passages: [live, backlog, backlog],
    }];
    for (variant, number) in VARIANTS.iter().zip(1..).filter(|_| !arguments.alone) {
        let folder = folder.join(format!("mirror-{number}"));
        let passages = namespace.on_thread(|| mirror::run(variant, &folder, &ours.records))?;
        let passages = passages.with_context(|| variant.name)?;
        let told = passages.map(|passage| passage.per_record());
        println!("{}: {told:?}", variant.name);
        paths.push(Path {
            name: variant.name,
            passages,
        });
    }
    report(&arguments, &paths, [values[0], values[1], values[1]])?;
    folder.finish()?;
    Ok(())
}

fn report(arguments: &Arguments, paths: &[Path], values: [f64; 3]) -> Result<()> {
    let mut result = json!({
        "rate": arguments.rate, "seconds": arguments.seconds, "topics": arguments.topics, "sim": arguments.sim,
        "backlog_rate": arguments.backlog_rate, "backlog_seconds": arguments.backlog_seconds, "edge": arguments.edge,
        "cores_of_this_machine": std::thread::available_parallelism()?.get(),
    });
    for (phase, name) in Phase::ALL.map(Phase::name).into_iter().enumerate() {
        let ours = paths[0].passages[phase].per_record();
        println!(
            "\n{name}: values of {:.0} bytes as Confluent frames them\n{:<50} {:>9} {:>14} {:>9} {:>13}",
            values[phase], "path", "records", "bytes on link", "a record", "ours is of it"
        );
        let mut rows = Vec::new();
        for path in paths {
            let passage = path.passages[phase];
            let share = ours / passage.per_record();
            println!(
                "{:<50} {:>9} {:>14} {:>9.1} {share:>13.3}",
                path.name,
                passage.records,
                passage.bytes(),
                passage.per_record()
            );
            let mut row = passage.json();
            row["path"] = path.name.into();
            row["ours_is_of_it"] = share.into();
            rows.push(row);
        }
        result[name] = json!({ "value_bytes": values[phase], "paths": rows });
    }
    let out = efd_tests_bench::root().join("target/bench");
    fs::create_dir_all(&out)?;
    let path = out.join("link.json");
    fs::write(&path, format!("{result:#}")).with_context(|| format!("write {}", path.display()))?;
    println!("figures: {}", path.display());
    Ok(())
}
