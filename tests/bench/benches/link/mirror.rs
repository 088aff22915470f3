//! MirrorMaker 2 between two brokers, with the link on its one side or on its other.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use efd_tests_testkit::process::Port;
use efd_tests_testkit::relay::{Direction, StreamRelay};
use efd_tests_testkit::services::{Kafka, KafkaOptions, Mirror, MirrorOptions};

use crate::records::{self, Ends, Pace, Records};
use crate::{Link, Passage, Traffic, since};

/// One way of running it.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    beside: Beside,
    compression: Compression,
}

/// Where MirrorMaker 2 runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    /// As the observatory has it: it fetches over the link, what the source's producers made of their records.
    Target,
    /// It produces over the link, in batches of its own.
    Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    /// Everything by default.
    None,
    /// Beside the target: what the source holds is compressed, and its producers wait 10 ms for a batch. Beside the
    /// source: batches of 512 KiB, for which it waits 100 ms, as the observatory sets it.
    Zstd,
}

pub(crate) const VARIANTS: [Variant; 4] = [
    Variant {
        name: "MirrorMaker 2 beside the target",
        beside: Beside::Target,
        compression: Compression::None,
    },
    Variant {
        name: "MirrorMaker 2 beside the target, source in zstd",
        beside: Beside::Target,
        compression: Compression::Zstd,
    },
    Variant {
        name: "MirrorMaker 2 beside the source",
        beside: Beside::Source,
        compression: Compression::None,
    },
    Variant {
        name: "MirrorMaker 2 beside the source, zstd, 100 ms",
        beside: Beside::Source,
        compression: Compression::Zstd,
    },
];

const WITHIN: Duration = Duration::from_secs(300);
/// In which it comes to rest after its start.
const REST: Duration = Duration::from_secs(8);
/// A producer that gives what it has at once makes batches of it.
const AT_ONCE_LINGER_MS: u32 = 10;
const ZSTD_LINGER_MS: u32 = 10;
const TARGET_PREFIX: &str = "near.lsst.sal.";

pub(crate) fn run(variant: &Variant, folder: &Path, phases: &[Records]) -> Result<[Passage; 3]> {
    let [warm_up, live, backlog] = phases else {
        anyhow::bail!("{} phases", phases.len());
    };
    let place = Place::start(variant, folder)?;
    let source = place.near.bootstrap();
    records::make_topics(&source, records::topics(phases))?;
    records::put(&source, warm_up, Pace::AtOnce, AT_ONCE_LINGER_MS)?;
    let mut mirror = place.mirror(variant)?;
    place.wait()?;
    thread::sleep(REST);

    let linger = match variant.compression {
        Compression::None => 0,
        Compression::Zstd => ZSTD_LINGER_MS,
    };
    let (before, began) = (place.link(), Instant::now());
    records::put(&source, live, Pace::Live, linger)?;
    place.wait()?;
    let live = passage(live, since(place.link(), before), began);
    mirror.stop()?;

    // The same once more, which is as good as other values: nothing is de-duplicated.
    let as_published = place.backlog(variant, backlog, Pace::Live, linger)?;
    let at_once = place.backlog(variant, backlog, Pace::AtOnce, AT_ONCE_LINGER_MS)?;
    Ok([live, as_published, at_once])
}

fn passage(records: &Records, link: Link, began: Instant) -> Passage {
    Passage {
        records: records.len() as u64,
        link,
        // What TCP adds is not counted.
        header: 0,
        seconds: began.elapsed().as_secs_f64(),
    }
}

/// Two brokers and the link.
struct Place<'a> {
    folder: &'a Path,
    near: Kafka,
    far: Kafka,
    relay: StreamRelay,
    _port: Port,
}

impl<'a> Place<'a> {
    fn start(variant: &Variant, folder: &'a Path) -> Result<Self> {
        let port = Port::reserve()?;
        let options = |is_remote: bool| KafkaOptions {
            relayed: is_remote.then(|| port.number()),
            ..KafkaOptions::default()
        };
        let mut near = options(variant.beside == Beside::Target);
        if variant.compression == Compression::Zstd {
            near.settings
                .push(("compression.type".into(), "zstd".into()));
        }
        let near = Kafka::start(&folder.join("near"), near)?;
        let far = options(variant.beside == Beside::Source);
        let far = Kafka::start(&folder.join("far"), far)?;
        let behind = match variant.beside {
            Beside::Target => near.behind_relay(),
            Beside::Source => far.behind_relay(),
        };
        let listen = SocketAddr::from(([127, 0, 0, 1], port.number()));
        let relay = StreamRelay::start(behind, listen).context("start relay")?;
        Ok(Self {
            folder,
            near,
            far,
            relay,
            _port: port,
        })
    }

    fn mirror(&self, variant: &Variant) -> Result<Mirror> {
        let relay = self.relay.address().to_string();
        let (near, far) = match variant.beside {
            Beside::Target => (relay, self.far.bootstrap()),
            Beside::Source => (self.near.bootstrap(), relay),
        };
        let settings: &[(&str, &str)] = match (variant.beside, variant.compression) {
            (Beside::Source, Compression::Zstd) => &[
                ("far.producer.compression.type", "zstd"),
                ("far.producer.linger.ms", "100"),
                ("far.producer.batch.size", "524288"),
            ],
            (Beside::Target | Beside::Source, Compression::None)
            | (Beside::Target, Compression::Zstd) => &[],
        };
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let options = MirrorOptions {
            near,
            far,
            topics: "lsst[.]sal[.].*".into(),
            settings: settings.iter().map(owned).collect(),
        };
        Ok(Mirror::start(&self.folder.join("mirror"), &options)?)
    }

    /// Fills the source, and then starts MirrorMaker 2.
    fn backlog(
        &self,
        variant: &Variant,
        records: &Records,
        pace: Pace,
        linger_ms: u32,
    ) -> Result<Passage> {
        records::put(&self.near.bootstrap(), records, pace, linger_ms)?;
        let (before, began) = (self.link(), Instant::now());
        let mut mirror = self.mirror(variant)?;
        self.wait()?;
        let passage = passage(records, since(self.link(), before), began);
        mirror.stop()?;
        Ok(passage)
    }

    /// Until the target has what the source has.
    fn wait(&self) -> Result<()> {
        let wanted: Ends = records::ends(&self.near.bootstrap(), "lsst.sal.")?;
        records::arrived(&self.far.bootstrap(), TARGET_PREFIX, &wanted, WITHIN)
    }

    fn link(&self) -> Link {
        let traffic = |direction| {
            let counts = self.relay.counts(direction);
            Traffic {
                bytes: counts.bytes,
                packets: counts.segments,
            }
        };
        [traffic(Direction::Up), traffic(Direction::Down)]
    }
}
