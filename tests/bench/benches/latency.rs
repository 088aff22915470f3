//! How long a sample takes from the publisher's DDS write to a consumer of its public topic: publisher, edge, centre, broker and
//! registry on this machine, every commit of the edge durable.
//!
//! Counted from the time stamp that the publisher puts into the sample right before the write (`efd.time`).

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use efd_tests_e2e::{Feed, Log, Network, Rig, RigOptions, Sim};
use efd_tests_testkit::install::Installer;
use efd_tests_testkit::netns::Namespace;
use efd_tests_testkit::services::{Kafka, KafkaOptions, Registry, RegistryOptions};
use efd_tests_testkit::tmp::WorkDir;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

#[derive(Debug, Parser)]
struct Arguments {
    /// Samples a second, all topics together.
    #[arg(long, default_value_t = 5000)]
    rate: u32,
    #[arg(long, default_value_t = 50)]
    topics: usize,
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// The log of blocks is on the cluster too.
    #[arg(long)]
    log_on_cluster: bool,
    /// `KEY=VALUE` of the edge's configuration.
    #[arg(long)]
    edge: Vec<String>,
    /// `KEY=VALUE` of the centre's.
    #[arg(long)]
    central: Vec<String>,
    #[arg(long, hide = true)]
    bench: bool,
}

/// In which topics are made, and everything begins.
const WARM_UP: Duration = Duration::from_secs(15);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let idl = efd_tests_bench::idl();
    let programs =
        efd_tests_bench::programs().context("build the programs first: cargo build --release")?;
    let installer = Installer::new()?;
    installer.kafka()?;
    installer.registry()?;
    let folder = WorkDir::new("bench-latency")?;
    let namespace = Namespace::new()?;
    let (kafka, registry) = namespace.on_thread(|| -> Result<_> {
        let kafka = Kafka::start(&folder.join("kafka"), KafkaOptions::default())?;
        let registry = Registry::start(&folder.join("registry"), RegistryOptions::default())?;
        Ok((kafka, registry))
    })??;
    let network = Network::Namespace(namespace.clone());
    let mut options = RigOptions::new(folder.path(), &programs, vec![idl], network);
    options.feed = Some(Feed {
        brokers: kafka.bootstrap(),
        replication: 1,
        registry: registry.url(),
    });
    options.edge_settings.clone_from(&arguments.edge);
    options.central_settings.clone_from(&arguments.central);
    if arguments.log_on_cluster {
        options.log = Log::Kafka;
    }
    let mut rig = Rig::new(options)?;
    rig.start_central()?;
    rig.start_edge()?;
    let topics = arguments.topics.to_string();
    rig.start_sim(&Sim {
        seconds: arguments.seconds + WARM_UP.as_secs() as u32,
        rate: arguments.rate,
        more: ["--topics-max", &topics, "--instances", "1"]
            .map(str::to_owned)
            .to_vec(),
    })?;
    std::thread::sleep(WARM_UP);
    let brokers = kafka.bootstrap();
    let within = Duration::from_secs(arguments.seconds.into());
    let (mut latencies, mut to_broker) = namespace.on_thread(|| consume(&brokers, within))??;
    println!("{} records met", latencies.len());
    rig.sim()?.wait(Duration::from_secs(120))?;
    rig.drain(Duration::from_secs(120))?;
    rig.stop()?;
    let account = rig.account()?;
    ensure!(
        latencies.len() > 100,
        "{} records were met",
        latencies.len()
    );
    latencies.sort_unstable();
    to_broker.sort_unstable();
    let of = |sorted: &[i64], of_thousand: usize| {
        sorted[(sorted.len() - 1) * of_thousand / 1000] as f64 / 1e6
    };
    let quantile = |of_thousand| of(&latencies, of_thousand);
    let result = json!({
        "asked_per_second": arguments.rate, "topics": arguments.topics,
        "edge": arguments.edge, "central": arguments.central,
        "log": if arguments.log_on_cluster { "cluster" } else { "embedded" },
        "met": latencies.len(), "met_per_second": latencies.len() as f64 / within.as_secs_f64(),
        "p50_ms": quantile(500), "p90_ms": quantile(900), "p99_ms": quantile(990), "p999_ms": quantile(999),
        "max_ms": quantile(1000), "to_broker_p50_ms": of(&to_broker, 500), "to_broker_p99_ms": of(&to_broker, 990),
        "published": account.published, "lost": account.lost,
        "cores_of_this_machine": std::thread::available_parallelism()?.get(),
    });
    println!("{result:#}");
    let out = efd_tests_bench::root().join("target/bench");
    std::fs::create_dir_all(&out)?;
    std::fs::write(out.join("latency.json"), result.to_string())?;
    ensure!(
        account.keeps_the_promise(),
        "the law is broken: {}",
        account.summary()
    );
    drop((kafka, registry));
    folder.finish()?;
    Ok(())
}

/// Nanoseconds from event time to arrival of everything that comes within that time, and to the broker's own stamp, which
/// has whole milliseconds.
fn consume(brokers: &str, within: Duration) -> Result<(Vec<i64>, Vec<i64>)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "latency")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "100")
        .create()?;
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(30))?;
    let mut list = TopicPartitionList::new();
    let names = metadata.topics().iter().map(|topic| topic.name());
    for topic in names.filter(|name| name.starts_with("summit.lsst.sal.")) {
        list.add_partition_offset(topic, 0, Offset::End)?;
    }
    consumer.assign(&list)?;
    let (mut latencies, mut to_broker) = (Vec::new(), Vec::new());
    let end = Instant::now() + within;
    while Instant::now() < end {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let headers = message.headers().context("a record without headers")?;
        let header = headers.iter().find(|header| header.key == "efd.time");
        let time = header
            .and_then(|header| header.value)
            .context("no efd.time")?;
        let time = i64::from_be_bytes(time.try_into()?);
        latencies.push(now.as_nanos() as i64 - time);
        let appended = message.timestamp().to_millis().context("no append time")?;
        to_broker.push(appended * 1_000_000 - time);
    }
    Ok((latencies, to_broker))
}
