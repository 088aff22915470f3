//! How fast the feed is, flat out from a log in memory into brokers on this machine: by number of topics, with one broker
//! and with three; what its checkpoints cost, beside the same feed without them; and how soon it goes on after `kill -9`
//! with thousands of topics.
//!
//! Prints a table, and writes one JSON object to `EFD_BENCH_SUMMARY`.

#![expect(clippy::print_stdout, reason = "a program for a terminal")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

#[path = "../tests/common/mod.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "it is a module of the tests")]
mod common;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use efd_central_feed::{Feed, FeedError, FeedOptions, StatusReader, Stop, TopicFormat};
use efd_central_kafka::Connection;
use efd_central_log::{BlockLog as _, Class, MemoryLog};
use efd_tests_testkit::process::Daemon;
use efd_tests_testkit::services::{Kafka, KafkaOptions, Registry, RegistryOptions};
use efd_tests_testkit::tmp::WorkDir;
use serde_json::{Value as Json, json};

use common::Spec;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const RECORDS_PER_BLOCK: u32 = 1000;
const PAD_BYTES: usize = 300;
const BLOCKS: u64 = 300;
const RESUMING_TOPICS: u32 = 3000;
const SOON: Duration = Duration::from_secs(300);

struct Services {
    kafka: Kafka,
    registry: Registry,
    folder: PathBuf,
}

impl Services {
    fn run(&self, name: &str, topics: u32, checkpoint_every: Duration) -> Run {
        Run {
            brokers: self.kafka.bootstrap(),
            replication: self.kafka.bootstrap().split(',').count() as u16,
            registry: self.registry.url(),
            prefix: format!("{name}{topics}"),
            topics,
            checkpoint_every,
        }
    }
}

/// A run of the feed. What a child needs of it stands in its environment.
struct Run {
    brokers: String,
    replication: u16,
    registry: String,
    /// Before the topics' names.
    prefix: String,
    topics: u32,
    checkpoint_every: Duration,
}

impl Run {
    fn spec(&self) -> Spec {
        Spec {
            topics: self.topics,
            records_per_block: RECORDS_PER_BLOCK,
            pad_bytes: PAD_BYTES,
        }
    }

    fn options(&self, folder: &Path) -> Result<FeedOptions> {
        let kafka = Connection::plaintext(&self.brokers);
        let mut options = FeedOptions::new(folder, kafka, self.registry.as_str());
        options.topic_format = TopicFormat::new(&format!("{}.{{site}}.{{topic}}", self.prefix))?;
        options.topics.replication = self.replication;
        options.checkpoint_every = self.checkpoint_every;
        Ok(options)
    }
}

struct Running {
    stop: Stop,
    status: StatusReader,
    thread: JoinHandle<std::result::Result<(), FeedError>>,
}

impl Running {
    fn start(options: FeedOptions, log: &Arc<MemoryLog>) -> Result<Self> {
        let feed = Feed::open(options)?;
        let (stop, status) = (Stop::default(), feed.status());
        let (log, stopped) = (Arc::clone(log), stop.clone());
        let thread = thread::spawn(move || feed.run(log, &stopped));
        Ok(Self {
            stop,
            status,
            thread,
        })
    }

    fn wait(&self, blocks: u64) -> Result<()> {
        let begin = Instant::now();
        while self.status.read().blocks < blocks {
            if SOON < begin.elapsed() {
                return Err(format!("not fed within {SOON:?}: {:?}", self.status.read()).into());
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn end(self) -> Result<()> {
        self.stop.set();
        self.thread.join().map_err(|_| "the feed panicked")??;
        Ok(())
    }
}

fn main() -> Result<()> {
    if let Ok(child) = std::env::var("EFD_BENCH_FEED_CHILD") {
        return resumes(&serde_json::from_str(&child)?);
    }
    let work = WorkDir::new("bench-feed")?;
    let mut rows = Vec::new();
    let mut costs = Vec::new();
    let every = Duration::from_secs(1);
    let services = |name: &str, brokers| -> Result<Services> {
        let folder = work.join(name);
        let options = KafkaOptions {
            brokers,
            ..KafkaOptions::default()
        };
        Ok(Services {
            kafka: Kafka::start(&folder.join("kafka"), options)?,
            registry: Registry::start(&folder.join("registry"), RegistryOptions::default())?,
            folder,
        })
    };
    // With no other topics than its own.
    let resumed = {
        let services = services("resume", 1)?;
        let run = services.run("resume", RESUMING_TOPICS, every);
        resume(&run, &services.folder)?
    };
    println!("resumes: {resumed}");
    for brokers in [1, 3] {
        let services = services(&format!("brokers-{brokers}"), brokers)?;
        let run = |name: &str, topics, every| services.run(name, topics, every);
        let folder = &services.folder;
        for topics in [50, 500, 2000] {
            let row = flat_out(&run("flat", topics, every), folder)?;
            println!("{brokers} brokers, {topics} topics: {row}");
            rows.push(json!({ "brokers": brokers, "topics": topics, "feed": row }));
        }
        if brokers == 1 {
            // In turns, as the machine is not the same at all times.
            for round in 0..5 {
                let of = |name: &str, every| -> Result<f64> {
                    let run = run(&format!("{name}{round}-"), 500, every);
                    let row = flat_out(&run, folder)?;
                    row["records_per_s"]
                        .as_f64()
                        .ok_or_else(|| "no rate".into())
                };
                let with = of("with", every)?;
                let without = of("without", Duration::from_secs(3600))?;
                println!(
                    "round {round}: {with:.0} records/s with checkpoints, {without:.0} without"
                );
                costs.push((with, without));
            }
        }
    }
    let mean = |of: fn(&(f64, f64)) -> f64| costs.iter().map(of).sum::<f64>() / costs.len() as f64;
    let cost = 1.0 - mean(|pair| pair.0) / mean(|pair| pair.1);
    println!(
        "checkpoints every second cost {:.1} % of the throughput",
        cost * 100.0
    );
    let summary = json!({
        "flat_out": rows, "checkpoints_cost": cost, "with_and_without": costs, "resumes": resumed,
    });
    if let Ok(path) = std::env::var("EFD_BENCH_SUMMARY") {
        std::fs::write(path, format!("{summary}\n"))?;
    }
    work.finish()?;
    Ok(())
}

/// Topics are opened ahead of the clock.
fn flat_out(run: &Run, work: &Path) -> Result<Json> {
    let spec = run.spec();
    let log = spec.declared();
    spec.append(&log, 1..=1);
    let folder = work.join(&run.prefix);
    let begin = Instant::now();
    let feed = Running::start(run.options(&folder)?, &log)?;
    feed.wait(1)?;
    let open_s = begin.elapsed().as_secs_f64();
    let sealed: Vec<_> = (2..=BLOCKS + 1).map(|number| spec.block(number)).collect();
    let begin = Instant::now();
    for block in sealed {
        log.append(&[(common::partition(Class::Live), block)])?;
    }
    feed.wait(BLOCKS + 1)?;
    let seconds = begin.elapsed().as_secs_f64();
    let status = feed.status.read();
    feed.end()?;
    let records = BLOCKS * u64::from(RECORDS_PER_BLOCK);
    Ok(json!({
        "records_per_s": (records as f64 / seconds).round(), "open_s": open_s, "checkpoints": status.checkpoints,
        "checkpoint_bytes": status.checkpoint_bytes, "skipped": status.skipped,
    }))
}

/// A process feeds, is killed in the middle, and begins again.
fn resume(run: &Run, work: &Path) -> Result<Json> {
    let child = |through: u64| -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        let what = json!({
            "brokers": run.brokers, "registry": run.registry, "prefix": run.prefix, "topics": run.topics,
            "through": through, "folder": work.join(&run.prefix),
        });
        command.env("EFD_BENCH_FEED_CHILD", what.to_string());
        Ok(command)
    };
    let log = |name: &str| work.join(name);
    let mut first = Daemon::start("feed", child(u64::MAX)?, &log("first.log"))?;
    first.wait_for_line("every topic has records", SOON)?;
    thread::sleep(Duration::from_secs(3));
    first.kill9()?;
    let mut again = Daemon::start("feed", child(1)?, &log("again.log"))?;
    again.wait_for_line("resumed", SOON)?;
    let text = again.log().text()?;
    let line = text.lines().find_map(|line| line.strip_prefix("resumed "));
    Ok(serde_json::from_str(line.ok_or("no figures")?)?)
}

/// Feeds blocks that it makes itself; says when the first record was acknowledged that was not there.
fn resumes(what: &Json) -> Result<()> {
    let text = |key: &str| what[key].as_str().unwrap_or_default();
    let run = Run {
        brokers: text("brokers").to_owned(),
        replication: 1,
        registry: text("registry").to_owned(),
        prefix: text("prefix").to_owned(),
        topics: what["topics"].as_u64().unwrap_or(1) as u32,
        checkpoint_every: Duration::from_secs(5),
    };
    let is_first = what["through"].as_u64() == Some(u64::MAX);
    let spec = run.spec();
    let log = spec.declared();
    // Every topic has records by the third block.
    let made = 2000;
    spec.append(&log, 1..=if is_first { 6 } else { made });
    let begin = Instant::now();
    let feed = Running::start(run.options(Path::new(text("folder")))?, &log)?;
    if is_first {
        feed.wait(6)?;
        println!("every topic has records");
        // Until it is killed.
        for number in 7..=made {
            spec.append(&log, number..=number);
            thread::sleep(Duration::from_millis(20));
        }
        return feed.end();
    }
    while feed.status.read().records == 0 {
        if SOON < begin.elapsed() {
            return Err(format!("does not resume: {:?}", feed.status.read()).into());
        }
        thread::sleep(Duration::from_millis(2));
    }
    let status = feed.status.read();
    let figures = json!({
        "seconds": begin.elapsed().as_secs_f64(), "topics": run.topics, "skipped": status.skipped,
    });
    println!("resumed {figures}");
    feed.end()
}
