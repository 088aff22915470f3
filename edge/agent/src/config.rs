//! The configuration of an edge. Four lines suffice; every default is stated in `edge/agent/edge.toml`, which a test reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use efd_edge_query::Limits;
use efd_edge_ship::Link;
use efd_edge_tiers::{Hours, TierSettings, Topics, WorkHours, Zone};
use efd_shared_daemon::http::HttpConfig;
use efd_shared_daemon::units::{ByteRate, ByteSize, Span};
use efd_shared_model::{Shard, Site};
use efd_shared_stats::{Resolution, ResolutionError};
use efd_shared_store::retention::Quotas;
use serde::Deserialize;

use crate::budget::BudgetSettings;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The namespace of this edge: `summit`, `tucson`. Its certificate must say the same.
    #[serde(deserialize_with = "site")]
    pub site: Site,
    /// `host:port` of a centre's QUIC port (UDP), or a list of them in the order of preference.
    #[serde(deserialize_with = "centres")]
    pub centre: Vec<String>,
    /// Network interface of the DDS bus; empty lets Cyclone DDS choose.
    #[serde(default)]
    pub interface: String,
    /// Folder with `ca.crt`, and `<site>-<edge>.crt` and `.key` as `efd-central ca` issued them.
    pub certificates: PathBuf,
    #[serde(default)]
    pub dds: Dds,
    #[serde(default)]
    pub buffer: Buffer,
    #[serde(default)]
    pub flood: Flood,
    #[serde(default)]
    pub commit: Commit,
    #[serde(default)]
    pub ship: Ship,
    #[serde(default)]
    pub http: HttpConfig,
    #[serde(default)]
    pub time: Time,
    #[serde(default)]
    pub query: Query,
    /// Finest first; none keeps raw data alone.
    #[serde(default = "Tier::defaults")]
    pub tiers: Vec<Tier>,
    #[serde(default)]
    pub tiers_work: TiersWork,
}

/// Statistics of windows, kept beside the raw data and longer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Of a window; a day is a whole number of them, and each is a whole number of those of the tier before.
    pub resolution: Span,
    pub retain: Span,
    /// Names with wildcards, `*` and `?`; with or without `lsst.sal.`; empty means all.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Absent means a twentieth of the buffer's disk.
    pub bytes_max: Option<ByteSize>,
}

/// Of what may wait: tiers that came later than the data, and late samples of long outages.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TiersWork {
    /// `20:00-06:00`; several with commas. Absent means always.
    #[serde(deserialize_with = "hours")]
    pub hours: Option<Hours>,
    /// An IANA name. Absent means UTC.
    #[serde(deserialize_with = "zone")]
    pub time_zone: Zone,
}

impl TiersWork {
    pub fn hours(&self) -> WorkHours {
        match &self.hours {
            None => WorkHours::Always,
            Some(hours) => WorkHours::Within {
                hours: hours.clone(),
                zone: self.time_zone.clone(),
            },
        }
    }
}

impl Tier {
    fn defaults() -> Vec<Self> {
        let tier = |seconds: u64, days: u64| Self {
            resolution: Span::from_secs(seconds),
            retain: Span::from_secs(days * 86_400),
            topics: Vec::new(),
            bytes_max: None,
        };
        vec![tier(10, 31), tier(300, 366)]
    }

    fn settings(&self, bytes_of_disk: u64) -> Result<TierSettings, ResolutionError> {
        let nanos = i64::try_from(self.resolution.duration().as_nanos()).unwrap_or(i64::MAX);
        Ok(TierSettings {
            resolution: Resolution::from_nanos(nanos)?,
            topics: Topics::of(&self.topics),
            age_max: self.retain.duration(),
            bytes_max: self.bytes_max.map_or(bytes_of_disk / 20, ByteSize::bytes),
        })
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dds {
    pub domain: u32,
    /// Partitions to read, with wildcards; empty means `<site>.*`.
    pub partitions: Vec<String>,
    /// Folders of IDL files, watched while running.
    pub idl: Vec<PathBuf>,
    pub multicast: bool,
    /// Unicast addresses of participants, for networks without multicast.
    pub peers: Vec<String>,
    /// How long the bus waits for us when we have died.
    pub lease: Span,
    /// Samples waiting to be transcoded.
    pub ring_bytes_max: ByteSize,
}

impl Default for Dds {
    fn default() -> Self {
        Self {
            domain: 0,
            partitions: Vec::new(),
            idl: vec![PathBuf::from("/etc/efd/idl")],
            multicast: true,
            peers: Vec::new(),
            lease: Span::from_secs(2),
            ring_bytes_max: ByteSize::from_mib(64),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Buffer {
    pub path: PathBuf,
    /// Raw data that the centre has are removed when they are older.
    pub retain: Span,
    /// The same of events, commands and acknowledgements.
    pub retain_events: Span,
    /// All of the buffer; absent means 80 % of its disk.
    pub bytes_max: Option<ByteSize>,
    /// Kept free of other files, and given up when the disk is full, so that what is most urgent still fits.
    pub reserve: ByteSize,
    /// Samples whose type is not known yet.
    pub untyped_bytes_max: ByteSize,
    pub segment_bytes_max: ByteSize,
    pub segment_age_max: Span,
    pub quotas: BufferQuotas,
}

/// Of what is in the buffer, some may have no more than this. Absent means no limit but the buffer's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BufferQuotas {
    pub events: Option<ByteSize>,
    pub telemetry: Option<ByteSize>,
    /// Statistics in the place of what was evicted.
    pub reduced: Option<ByteSize>,
    /// Each topic that is over its budget; absent means a quarter of the buffer.
    pub flood: Option<ByteSize>,
}

impl BufferQuotas {
    pub fn of(&self, bytes_max: u64) -> Quotas {
        let bytes = |size: Option<ByteSize>| size.map_or(u64::MAX, ByteSize::bytes);
        Quotas {
            events: bytes(self.events),
            telemetry: bytes(self.telemetry),
            reduced: bytes(self.reduced),
            flood: self
                .flood
                .map_or_else(|| Quotas::of_buffer(bytes_max).flood, ByteSize::bytes),
        }
    }
}

/// Budgets of topics. One that is over its budget gets a lane of its own, which is shipped last and evicted first.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flood {
    /// A topic may be ahead of its budget by what it has in this time.
    pub window: Span,
    /// Percent of all bytes of events, or of telemetry, that one topic may make.
    pub share: u8,
    /// A topic may make so many times what it made in the last hours.
    pub times: u16,
    /// An event topic may always make this.
    pub events_rate: ByteRate,
    pub telemetry_rate: ByteRate,
    /// Topics in lanes of their own at one time; 0: none ever.
    pub lanes_max: u16,
    /// Budgets by name, with wildcards, in the place of all the above.
    pub topics: BTreeMap<String, ByteRate>,
}

/// Each has a segment file and an fsync of its own.
const FLOOD_LANES_MAX: u16 = 64;

impl Default for Flood {
    fn default() -> Self {
        Self {
            window: Span::from_secs(60),
            share: 50,
            times: 8,
            events_rate: ByteRate::from_bits_per_second(512_000),
            telemetry_rate: ByteRate::from_bits_per_second(32_000_000),
            lanes_max: 8,
            topics: BTreeMap::new(),
        }
    }
}

impl Flood {
    pub fn settings(&self) -> BudgetSettings {
        let topics = self.topics.iter();
        BudgetSettings {
            window: self.window.duration(),
            share_percent: self.share,
            times: self.times,
            events_rate: self.events_rate.bytes_per_second(),
            telemetry_rate: self.telemetry_rate.bytes_per_second(),
            of_topics: topics
                .map(|(name, rate)| {
                    (
                        Topics::of(std::slice::from_ref(name)),
                        rate.bytes_per_second(),
                    )
                })
                .collect(),
            lanes_max: self.lanes_max,
        }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/var/lib/efd-edge"),
            retain: Span::from_secs(7 * 86_400),
            retain_events: Span::from_secs(31 * 86_400),
            bytes_max: None,
            reserve: ByteSize::from_mib(16),
            untyped_bytes_max: ByteSize::from_mib(256),
            segment_bytes_max: ByteSize::from_mib(128),
            segment_age_max: Span::from_secs(3600),
            quotas: BufferQuotas::default(),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Commit {
    /// A sample waits at most this long for others to share its fsync.
    pub within: Span,
    /// A commit is made at once when this much waits.
    pub bytes: ByteSize,
    /// zstd level of blocks, 1 to 19.
    pub compression: i32,
    /// Into how many lanes, by component, events and telemetry are split.
    pub shards: u16,
}

impl Default for Commit {
    fn default() -> Self {
        Self {
            within: Span::from_millis(10),
            bytes: ByteSize::from_bytes(512 << 10),
            compression: 1,
            shards: 1,
        }
    }
}

/// Which of the back-fill goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum FillOrder {
    /// An operator needs the hours just past before last week.
    #[default]
    NewestFirst,
    /// The centre's tables fill in the order of time.
    OldestFirst,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ship {
    /// All that we send; absent means unlimited.
    pub link_rate_max: Option<ByteRate>,
    /// Back-fill's part of it; absent means all that live data leave.
    pub fill_rate_max: Option<ByteRate>,
    pub fill_order: FillOrder,
    /// Sent and not yet acknowledged.
    pub in_flight_bytes_max: ByteSize,
    /// UDP payload of the path: 1372 fits inside WireGuard.
    pub mtu_max: u16,
}

impl Default for Ship {
    fn default() -> Self {
        Self {
            link_rate_max: None,
            fill_rate_max: None,
            fill_order: FillOrder::default(),
            in_flight_bytes_max: ByteSize::from_mib(32),
            mtu_max: 1372,
        }
    }
}

/// Of questions over HTTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// Questions answered at one time; the threads have a low priority.
    pub threads: u8,
    /// A question is answered within this time, or not at all.
    pub within: Span,
    /// Of one answer that is made in memory: rows times columns.
    pub values_max: u32,
    /// Of one answer.
    pub bytes_max: ByteSize,
    /// Of what one question holds while it is answered.
    pub memory_max: ByteSize,
    /// Blocks of raw records that are read without being asked for by name, uncompressed.
    pub raw_bytes: ByteSize,
}

impl Default for Query {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            threads: 2,
            within: Span::from_secs(limits.within.as_secs()),
            values_max: u32::try_from(limits.values_max).unwrap_or(u32::MAX),
            bytes_max: ByteSize::from_bytes(limits.bytes_max as u64),
            memory_max: ByteSize::from_bytes(limits.memory_max as u64),
            raw_bytes: ByteSize::from_bytes(limits.raw_bytes),
        }
    }
}

impl Query {
    pub fn limits(&self) -> Limits {
        Limits {
            within: self.within.duration(),
            values_max: self.values_max as usize,
            bytes_max: self.bytes_max.as_usize(),
            memory_max: self.memory_max.as_usize(),
            raw_bytes: self.raw_bytes.bytes(),
        }
    }
}

#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Time {
    /// A newer `leap-seconds.list`; absent means the built-in table.
    pub leap_seconds: Option<PathBuf>,
}

const LEASE_MIN: Duration = Duration::from_millis(500);
/// Publishers announce 10 s. An edge that stood still for so long was dropped by them and has dropped them; joined anew
/// it is found again, and it joins anew after a pause as long as its own lease. With a longer lease than theirs a
/// Cyclone writer that keeps all was seen to wait for ever.
const LEASE_MAX: Duration = Duration::from_secs(9);

impl Config {
    pub fn link(&self) -> Link {
        Link {
            centres: self.centre.clone(),
            mtu_max: self.ship.mtu_max,
            window_bytes: self.ship.in_flight_bytes_max.bytes(),
            rate_max: self.ship.link_rate_max.map(|rate| rate.bytes_per_second()),
        }
    }

    /// As the configuration has them, checked before.
    pub fn tiers(&self, bytes_of_disk: u64) -> Vec<TierSettings> {
        let tiers = self.tiers.iter();
        tiers
            .filter_map(|tier| tier.settings(bytes_of_disk).ok())
            .collect()
    }

    pub fn partitions(&self) -> Vec<String> {
        if self.dds.partitions.is_empty() {
            vec![format!("{}.*", self.site)]
        } else {
            self.dds.partitions.clone()
        }
    }

    /// What no type can refuse. One line per fault.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut refuse = |bad: bool, text: String| bad.then(|| faults.push(text));
        refuse(
            self.dds.domain > 232,
            format!("dds.domain = {}: DDS has domains 0 to 232", self.dds.domain),
        );
        let lease = self.dds.lease.duration();
        refuse(
            !(LEASE_MIN..=LEASE_MAX).contains(&lease),
            format!(
                "dds.lease = {lease:?}: {LEASE_MIN:?} to {LEASE_MAX:?}; reliable writers wait so long for an edge that has died, and hold up all other readers"
            ),
        );
        refuse(
            !(1..=100).contains(&self.flood.share),
            format!("flood.share = {}: 1 to 100 percent", self.flood.share),
        );
        refuse(
            self.flood.lanes_max > FLOOD_LANES_MAX,
            format!(
                "flood.lanes_max = {}: at most {FLOOD_LANES_MAX}, each has files of its own",
                self.flood.lanes_max
            ),
        );
        let window = self.flood.window.duration();
        refuse(
            window < Duration::from_secs(1),
            format!("flood.window = {window:?}: at least 1 s"),
        );
        if let Some(error) = Shard::all(self.commit.shards).err() {
            refuse(true, format!("commit.shards = {error}"));
        }
        refuse(
            !(1..=19).contains(&self.commit.compression),
            format!(
                "commit.compression = {}: zstd has levels 1 to 19",
                self.commit.compression
            ),
        );
        refuse(
            !(1200..=65_000).contains(&self.ship.mtu_max),
            format!(
                "ship.mtu_max = {}: QUIC needs 1200 to 65000 bytes",
                self.ship.mtu_max
            ),
        );
        refuse(self.centre.is_empty(), "centre = []: name one".into());
        for (place, centre) in self.centre.iter().enumerate() {
            let parts = centre.rsplit_once(':');
            refuse(
                parts.is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()),
                format!("centre = \"{centre}\": write `host:port`"),
            );
            refuse(
                self.centre[..place].contains(centre),
                format!("centre = \"{centre}\": it is named twice"),
            );
        }
        refuse(
            self.dds.idl.is_empty(),
            "dds.idl = []: without an IDL folder no SAL topic has a type".into(),
        );
        refuse(
            !(1..=16).contains(&self.query.threads),
            format!("query.threads = {}: 1 to 16", self.query.threads),
        );
        refuse(
            self.query.values_max == 0,
            "query.values_max = 0: no answer has so few values".into(),
        );
        for tier in &self.tiers {
            if let Err(error) = tier.settings(0) {
                let written = tier.resolution.duration();
                faults.push(format!("tiers.resolution = {written:?}: {error}"));
            }
        }
        if let Err(error) = efd_edge_tiers::settings::check(&self.tiers(0)) {
            faults.push(format!("tiers: {error}"));
        }
        faults
    }
}

fn site<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Site, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(serde::de::Error::custom)
}

/// One, or a list.
fn centres<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Centres;

    impl<'de> serde::de::Visitor<'de> for Centres {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("`host:port`, or a list of these")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(
            self,
            sequence: A,
        ) -> Result<Self::Value, A::Error> {
            Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(sequence))
        }
    }

    deserializer.deserialize_any(Centres)
}

fn hours<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Hours>, D::Error> {
    let hours = String::deserialize(deserializer)?.parse();
    hours.map(Some).map_err(serde::de::Error::custom)
}

fn zone<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Zone, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(serde::de::Error::custom)
}

/// Where `--config` looks by default.
pub fn default_path() -> &'static Path {
    Path::new("/etc/efd/edge.toml")
}

/// Of `/metrics`, `/status` and the rest.
pub const HTTP_PORT: u16 = 9464;

#[cfg(test)]
mod tests {
    use super::*;

    /// The commented example states every default: with its four values alone the configuration is the same.
    #[test]
    fn the_example_states_the_defaults() {
        let example = include_str!("../edge.toml");
        let four: String = example
            .lines()
            .filter(|line| !line.starts_with('#'))
            .take_while(|line| !line.starts_with('['))
            .map(|line| format!("{line}\n"))
            .collect();
        let read = |text: &str| -> Config {
            efd_shared_daemon::config::parse(Path::new("edge.toml"), text, "NOTHING__", [], &[])
                .unwrap()
        };
        let (whole, short) = (read(example), read(&four));
        assert!(whole.faults().is_empty(), "{:?}", whole.faults());
        let shown = |config: &Config| {
            let mut config = config.clone();
            config.http = HttpConfig::default();
            format!("{config:#?}")
        };
        assert_eq!(shown(&whole), shown(&short));
        assert_eq!(whole.http.listen, Some(([127, 0, 0, 1], HTTP_PORT).into()));
        assert_eq!(short.partitions(), ["summit.*"]);
    }

    #[test]
    fn one_centre_or_several() {
        let read = |centre: &str, settings: &[String]| {
            let text = format!(
                "site = \"summit\"\ncentre = {centre}\ninterface = \"\"\ncertificates = \"/c\"\n"
            );
            let path = Path::new("edge.toml");
            efd_shared_daemon::config::parse::<Config>(path, &text, "NOTHING__", [], settings)
        };
        let good = |centre: &str| read(centre, &[]).unwrap();
        assert_eq!(good("\"a:1\"").centre, ["a:1"]);
        let two = good("[\"a:1\", \"[::1]:2\"]");
        assert_eq!(two.link().centres, ["a:1", "[::1]:2"]);
        assert_eq!(two.faults(), Vec::<String>::new());
        let set = ["centre=[\"c:3\", \"d:4\"]".to_owned()];
        assert_eq!(read("\"a:1\"", &set).unwrap().centre, ["c:3", "d:4"]);
        for (wrong, expected) in [
            ("[]", "name one"),
            ("[\"a:1\", \"b\"]", "\"b\": write `host:port`"),
            ("[\"a:1\", \"a:1\"]", "it is named twice"),
        ] {
            let faults = good(wrong).faults();
            assert!(
                faults.len() == 1 && faults[0].contains(expected),
                "{faults:?}"
            );
        }
        let error = format!("{:?}", read("7", &[]).unwrap_err());
        assert!(error.contains("`host:port`, or a list of these"), "{error}");
    }

    #[test]
    fn tiers_of_some_topics_and_hours_for_what_may_wait() {
        let read = |more: &str| {
            let four =
                "site = \"summit\"\ncentre = \"c:1\"\ninterface = \"\"\ncertificates = \"/c\"\n";
            let text = format!("{four}{more}");
            let path = Path::new("edge.toml");
            efd_shared_daemon::config::parse::<Config>(path, &text, "NOTHING__", [], &[])
        };
        let config = read(
            r#"
            [[tiers]]
            resolution = "1s"
            retain = "7d"
            topics = ["lsst.sal.MTM1M3.*", "MTMount.elevation"]
            [[tiers]]
            resolution = "10s"
            retain = "31d"
            [tiers_work]
            hours = "20:00-06:00"
            time_zone = "America/Santiago"
            "#,
        )
        .unwrap();
        assert_eq!(config.faults(), Vec::<String>::new());
        let tiers = config.tiers(1000);
        assert!(tiers[0].topics.has("lsst.sal.MTMount.elevation"));
        assert!(!tiers[0].topics.has("lsst.sal.MTMount.azimuth"));
        assert_eq!(tiers[1].topics, Topics::All);
        let time = |seconds: i64| efd_shared_model::UtcNanos(seconds * 1_000_000_000);
        // 2026-07-15T23:59:59Z, an hour before in summer.
        let hours = config.tiers_work.hours();
        assert!(!hours.contains(time(1_784_159_999)) && hours.contains(time(1_784_160_000)));
        assert_eq!(read("").unwrap().tiers_work.hours(), WorkHours::Always);
        for (wrong, expected) in [
            ("hours = \"8-9\"", "`8` is not a time of the day"),
            (
                "time_zone = \"Chile/Paranal\"",
                "`Chile/Paranal` is not a time zone",
            ),
        ] {
            let error = read(&format!("[tiers_work]\n{wrong}")).unwrap_err();
            assert!(format!("{error:?}").contains(expected), "{error:?}");
        }
    }
}
