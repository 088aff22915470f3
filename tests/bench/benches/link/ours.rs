//! Publisher, edge, relay, centre, and its feed into a broker.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use efd_tests_e2e::{Feed, Network, Oracles, Rig, RigOptions, Sim};
use efd_tests_testkit::netns::Namespace;
use efd_tests_testkit::relay::Counts;
use efd_tests_testkit::services::{Kafka, KafkaOptions, Registry, RegistryOptions};

use crate::records::{self, Ends, Records};
use crate::{Arguments, Link, Passage, Traffic, since};

pub(crate) struct Ours {
    pub(crate) passages: [Passage; 2],
    /// What warmed it up, what was live, and the backlog.
    pub(crate) records: Vec<Records>,
}

/// Of the public topics.
const SITE: &str = "summit.";
const SAL: &str = "summit.lsst.sal.";
/// Of IPv4 and UDP.
const HEADER_BYTES: u64 = 28;
const WARM_UP_SECONDS: u32 = 4;
const SETTLE: Duration = Duration::from_secs(300);

pub(crate) fn run(arguments: &Arguments, folder: &Path, namespace: &Namespace) -> Result<Ours> {
    let programs =
        efd_tests_bench::programs().context("build the programs first: cargo build --release")?;
    let (kafka, registry) = namespace.on_thread(|| -> Result<_> {
        let kafka = Kafka::start(&folder.join("kafka"), KafkaOptions::default())?;
        let registry = Registry::start(&folder.join("registry"), RegistryOptions::default())?;
        Ok((kafka, registry))
    })??;
    let network = Network::Namespace(namespace.clone());
    let idl = vec![efd_tests_bench::idl()];
    let mut options = RigOptions::new(&folder.join("ours"), &programs, idl, network);
    options.feed = Some(Feed {
        brokers: kafka.bootstrap(),
        replication: 1,
        registry: registry.url(),
    });
    options.edge_settings.clone_from(&arguments.edge);
    let mut run = Run {
        arguments,
        rig: Rig::new(options)?,
        oracles: Oracles::default(),
    };
    let fed =
        || -> Result<Ends> { namespace.on_thread(|| records::ends(&kafka.bootstrap(), SAL))? };

    run.rig.start_central()?;
    run.rig.start_edge()?;
    run.publish(arguments.rate, WARM_UP_SECONDS)?;
    run.rig.drain(SETTLE)?;
    let mut ends = vec![fed()?];

    let (before, began) = (run.link(), Instant::now());
    run.publish(arguments.rate, arguments.seconds)?;
    run.rig.drain(SETTLE)?;
    let live = (since(run.link(), before), began.elapsed());
    ends.push(fed()?);

    run.rig.relay().cut();
    run.publish(arguments.backlog_rate, arguments.backlog_seconds)?;
    let (before, began) = (run.link(), Instant::now());
    run.rig.relay().heal();
    run.rig.drain(SETTLE)?;
    let backlog = (since(run.link(), before), began.elapsed());
    ends.push(fed()?);

    let status = run.rig.edge_status()?;
    println!("the edge's link: {}", status["link"]);
    run.rig.stop()?;
    run.oracles.merge(&run.rig)?;
    let account = run.rig.account()?;
    let all: Vec<u64> = ends.iter().map(|ends| ends.values().sum()).collect();
    ensure!(
        account.keeps_the_promise() && account.lost == 0 && account.published == all[2],
        "{} records in the public topics; {}",
        all[2],
        account.summary()
    );
    let records = namespace.on_thread(|| -> Result<_> {
        let ends: Vec<Ends> = ends.into_iter().map(with_sal).collect();
        records::read(&kafka.bootstrap(), SITE, &ends)
    })??;
    let passage = |phase: usize, (link, took): (Link, Duration)| Passage {
        records: all[phase] - all[phase - 1],
        link,
        header: HEADER_BYTES,
        seconds: took.as_secs_f64(),
    };
    Ok(Ours {
        passages: [passage(1, live), passage(2, backlog)],
        records,
    })
}

/// Names as ts_salkafka has them.
fn with_sal(ends: Ends) -> Ends {
    let ends = ends.into_iter();
    ends.map(|(name, end)| (format!("lsst.sal.{name}"), end))
        .collect()
}

struct Run<'a> {
    arguments: &'a Arguments,
    rig: Rig,
    oracles: Oracles,
}

impl Run<'_> {
    /// Returns when all is published.
    fn publish(&mut self, rate: u32, seconds: u32) -> Result<()> {
        let topics = self.arguments.topics.to_string();
        let words = ["--topics-max", &topics, "--instances", "1"].map(str::to_owned);
        self.rig.start_sim(&Sim {
            seconds,
            rate,
            more: words
                .into_iter()
                .chain(self.arguments.sim.iter().cloned())
                .collect(),
        })?;
        let within = Duration::from_secs(u64::from(seconds)) + SETTLE;
        self.rig.sim()?.wait(within)?;
        self.oracles.set_aside(&self.rig)
    }

    fn link(&self) -> Link {
        let counts = self.rig.relay().counts();
        let traffic = |counts: Counts| Traffic {
            bytes: counts.delivered_bytes,
            packets: counts.delivered,
        };
        [traffic(counts.up), traffic(counts.down)]
    }
}
