//! One publisher, one edge, a centre or several, and a link to each.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use efd_tests_testkit::netns::Namespace;
use efd_tests_testkit::process::{self, Daemon, Port};
use efd_tests_testkit::relay::{Relay, RelayOptions};
use efd_tests_testkit::wait_until;
use serde_json::Value as Json;

use crate::account::Account;

/// What separates the rig's DDS bus from others.
#[derive(Clone, Debug)]
pub enum Network {
    /// A network of its own, multicast and all.
    Namespace(Namespace),
    /// The machine's loopback without multicast, and a DDS domain that nobody else uses: no privileges needed.
    Loopback { domain: u16 },
}

/// Where the centres' logs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// Each has one of its own, and a lake.
    Embedded,
    /// One log on the feed's cluster and one lake for all.
    Kafka,
}

/// Where the feed sends.
#[derive(Clone, Debug)]
pub struct Feed {
    pub brokers: String,
    /// Copies of each record; a majority of them has to be durable before it counts.
    pub replication: u32,
    pub registry: String,
}

/// The centre of another rig, which takes this one's edge too.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its authority.
    pub certificates: PathBuf,
    pub centre: SocketAddr,
    pub lake: PathBuf,
}

#[derive(Debug)]
pub struct RigOptions {
    pub site: String,
    /// Everything lands here; it is made.
    pub folder: PathBuf,
    /// Where `efd-edge`, `efd-central`, `efd-inspect` and `efd-sim` are.
    pub programs: PathBuf,
    /// What the publisher has.
    pub idl: Vec<PathBuf>,
    /// Folders that the edge watches.
    pub edge_idl: Vec<PathBuf>,
    pub network: Network,
    /// The edge prefers the first. None, where there is a host.
    pub centres: usize,
    pub host: Option<Host>,
    /// Where their logs are.
    pub log: Log,
    pub feed: Option<Feed>,
    /// `KEY=VALUE`, over what the configuration files say.
    pub edge_settings: Vec<String>,
    pub central_settings: Vec<String>,
    /// Promises to break on purpose; the programs must be built for it.
    pub edge_sabotage: Vec<String>,
    pub central_sabotage: Vec<String>,
}

impl RigOptions {
    /// Publisher and edge have the same IDL files; no feed; defaults.
    pub fn new(folder: &Path, programs: &Path, idl: Vec<PathBuf>, network: Network) -> Self {
        Self {
            site: "summit".into(),
            host: None,
            folder: folder.to_owned(),
            programs: programs.to_owned(),
            edge_idl: idl.clone(),
            idl,
            network,
            centres: 1,
            log: Log::Embedded,
            feed: None,
            edge_settings: Vec::new(),
            central_settings: Vec::new(),
            edge_sabotage: Vec::new(),
            central_sabotage: Vec::new(),
        }
    }
}

/// What is published.
#[derive(Clone, Debug)]
pub struct Sim {
    pub seconds: u32,
    /// Samples a second, all topics together.
    pub rate: u32,
    pub more: Vec<String>,
}

#[derive(Debug)]
pub struct Rig {
    options: RigOptions,
    centres: Vec<Centre>,
    _port: Port,
    edge_http: SocketAddr,
    edge: Option<Daemon>,
    sim: Option<Daemon>,
}

/// Counted from 0.
#[derive(Debug)]
struct Centre {
    relay: Relay,
    _ports: [Port; 2],
    http: SocketAddr,
    daemon: Option<Daemon>,
}

impl Centre {
    /// With its address for QUIC.
    fn new(network: &Network) -> Result<(Self, SocketAddr)> {
        let ports = [Port::reserve()?, Port::reserve()?];
        let [quic, http] = ports.each_ref().map(local);
        let relay = network
            .run(|| Relay::start(quic, RelayOptions::default()))?
            .context("start relay")?;
        let centre = Self {
            relay,
            _ports: ports,
            http,
            daemon: None,
        };
        Ok((centre, quic))
    }
}

fn local(port: &Port) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port.number()))
}

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(120);

impl Rig {
    /// Makes certificates and configurations; starts the link, none of the programs.
    pub fn new(options: RigOptions) -> Result<Self> {
        fs::create_dir_all(&options.folder)
            .with_context(|| format!("make {}", options.folder.display()))?;
        let port = Port::reserve()?;
        let centres = (0..options.centres).map(|_| Centre::new(&options.network));
        let (centres, quic): (Vec<_>, Vec<_>) =
            centres.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let rig = Self {
            centres,
            edge_http: local(&port),
            _port: port,
            edge: None,
            sim: None,
            options,
        };
        rig.make_certificates()?;
        for (place, quic) in quic.into_iter().enumerate() {
            let toml = rig.central_toml(place, quic);
            fs::write(rig.config_of(place), toml).context("write central.toml")?;
        }
        fs::write(rig.edge_config(), rig.edge_toml()).context("write edge.toml")?;
        Ok(rig)
    }

    pub fn folder(&self) -> &Path {
        &self.options.folder
    }

    pub fn relay(&self) -> &Relay {
        self.relay_of(0)
    }

    pub fn relay_of(&self, centre: usize) -> &Relay {
        &self.centres[centre].relay
    }

    pub fn lake(&self) -> PathBuf {
        self.lake_of(0)
    }

    /// For a rig whose edge this one's centre is to take too.
    pub fn as_host(&self) -> Host {
        Host {
            certificates: self.certificates(),
            centre: self.relay().address(),
            lake: self.lake(),
        }
    }

    fn certificates(&self) -> PathBuf {
        match &self.options.host {
            Some(host) => host.certificates.clone(),
            None => self.options.folder.join("certificates"),
        }
    }

    pub fn lake_of(&self, centre: usize) -> PathBuf {
        if let Some(host) = &self.options.host {
            return host.lake.clone();
        }
        let of = match self.options.log {
            Log::Embedded => centre,
            Log::Kafka => 0,
        };
        self.place_of("lake", of, "")
    }

    fn config_of(&self, centre: usize) -> PathBuf {
        self.place_of("central", centre, ".toml")
    }

    /// `lake` of the first, `lake-2` of the second.
    fn place_of(&self, name: &str, centre: usize, ending: &str) -> PathBuf {
        let folder = &self.options.folder;
        match centre {
            0 => folder.join(format!("{name}{ending}")),
            _ => folder.join(format!("{name}-{}{ending}", centre + 1)),
        }
    }

    pub fn oracle(&self) -> PathBuf {
        self.options.folder.join("oracle")
    }

    pub fn buffer(&self) -> PathBuf {
        self.options.folder.join("buffer")
    }

    pub fn central_http(&self) -> SocketAddr {
        self.centres[0].http
    }

    pub fn central_config(&self) -> PathBuf {
        self.config_of(0)
    }

    pub fn edge_config(&self) -> PathBuf {
        self.options.folder.join("edge.toml")
    }

    /// A program of ours, to be run inside the rig's network.
    pub fn command(&self, program: &str) -> Command {
        self.system_command(&self.options.programs.join(program))
    }

    /// Any program, to be run inside the rig's network.
    pub fn system_command(&self, path: &Path) -> Command {
        self.in_place(Command::new(path))
    }

    /// The same command, inside the rig's network.
    pub fn in_place(&self, mut command: Command) -> Command {
        if let Network::Namespace(namespace) = &self.options.network {
            namespace.place(&mut command);
        }
        command
    }

    pub fn start_central(&mut self) -> Result<()> {
        self.start_centre(0)
    }

    pub fn start_centre(&mut self, centre: usize) -> Result<()> {
        let mut command = self.command("efd-central");
        command
            .arg("run")
            .arg("--config")
            .arg(self.config_of(centre))
            .args(["--log", "json"])
            .args(self.central_settings());
        let sabotage = self.options.central_sabotage.iter();
        command.args(sabotage.flat_map(|word| ["--sabotage", word]));
        let log = self.place_of("central", centre, ".log");
        let mut daemon = Daemon::start("efd-central", command, &log)?;
        let url = format!("http://{}/readyz", self.centres[centre].http);
        self.options
            .network
            .run(|| daemon.wait_for_http(&url, READY_WITHIN))??;
        self.centres[centre].daemon = Some(daemon);
        Ok(())
    }

    /// Words for a command of `efd-central`, to see what the rig's sees.
    pub fn central_settings(&self) -> impl Iterator<Item = &str> {
        let settings = self.options.central_settings.iter();
        settings.flat_map(|setting| ["--set", setting])
    }

    /// For its next start; `KEY=VALUE`.
    pub fn set_edge(&mut self, setting: &str) {
        self.options.edge_settings.push(setting.to_owned());
    }

    pub fn start_edge(&mut self) -> Result<()> {
        let mut command = self.command("efd-edge");
        command
            .arg("run")
            .arg("--config")
            .arg(self.edge_config())
            .args(["--log", "json"]);
        let settings = self.options.edge_settings.iter();
        command.args(settings.flat_map(|setting| ["--set", setting]));
        let sabotage = self.options.edge_sabotage.iter();
        command.args(sabotage.flat_map(|word| ["--sabotage", word]));
        let mut daemon = Daemon::start("efd-edge", command, &self.options.folder.join("edge.log"))?;
        self.options.network.run(|| {
            daemon.wait_for_http(&format!("http://{}/readyz", self.edge_http), READY_WITHIN)
        })??;
        self.edge = Some(daemon);
        Ok(())
    }

    /// Begins to publish once the edge's readers are matched.
    pub fn start_sim(&mut self, sim: &Sim) -> Result<()> {
        let mut command = self.command("efd-sim");
        command.arg("publish");
        for idl in &self.options.idl {
            command.arg("--idl").arg(idl);
        }
        command.args([
            "--site",
            &self.options.site,
            "--seconds",
            &sim.seconds.to_string(),
            "--rate",
            &sim.rate.to_string(),
        ]);
        command
            .arg("--oracle")
            .arg(self.oracle())
            .args(self.dds_arguments())
            .args(&sim.more);
        self.sim = Some(Daemon::start(
            "efd-sim",
            command,
            &self.options.folder.join("sim.log"),
        )?);
        Ok(())
    }

    /// Runs `work` where the rig's sockets are: a service started there is one the programs can reach.
    pub fn in_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.options.network.run(work)
    }

    /// What centres started from here on break on purpose.
    pub fn sabotage_central(&mut self, word: &str) {
        self.options.central_sabotage = vec![word.to_owned()];
    }

    /// Programs started from here on break nothing on purpose.
    pub fn keep_promises(&mut self) {
        self.options.edge_sabotage.clear();
        self.options.central_sabotage.clear();
    }

    pub fn central(&mut self) -> Result<&mut Daemon> {
        self.centre(0)
    }

    pub fn centre(&mut self, centre: usize) -> Result<&mut Daemon> {
        let daemon = self.centres[centre].daemon.as_mut();
        daemon.context("efd-central was not started")
    }

    /// As a power cut does; nothing waits for it any longer.
    pub fn lose_centre(&mut self, centre: usize) -> Result<()> {
        let daemon = self.centres[centre].daemon.take();
        daemon.context("efd-central was not started")?.kill9()?;
        Ok(())
    }

    pub fn edge(&mut self) -> Result<&mut Daemon> {
        self.edge.as_mut().context("efd-edge was not started")
    }

    pub fn sim(&mut self) -> Result<&mut Daemon> {
        self.sim.as_mut().context("efd-sim was not started")
    }

    /// For threads that outlive a borrow of the rig.
    pub fn network(&self) -> Network {
        self.options.network.clone()
    }

    /// Of the edge's HTTP.
    pub fn edge_url(&self) -> String {
        format!("http://{}", self.edge_http)
    }

    /// What `/status` of the edge says.
    pub fn edge_status(&self) -> Result<Json> {
        self.status(self.edge_http)
    }

    pub fn central_status(&self) -> Result<Json> {
        self.status_of(0)
    }

    pub fn status_of(&self, centre: usize) -> Result<Json> {
        self.status(self.centres[centre].http)
    }

    /// What the edge's HTTP answers.
    pub fn edge_json(&self, path: &str) -> Result<Json> {
        self.json(self.edge_http, path)
    }

    fn status(&self, address: SocketAddr) -> Result<Json> {
        self.json(address, "/status")
    }

    fn json(&self, address: SocketAddr, path: &str) -> Result<Json> {
        let url = format!("http://{address}{path}");
        let answer = self
            .options
            .network
            .run(|| process::get(&url, Duration::from_secs(5)))??;
        ensure!(
            answer.status == 200,
            "{url}: {} {}",
            answer.status,
            answer.body
        );
        serde_json::from_str(&answer.body).with_context(|| format!("parse {url}"))
    }

    /// Waits until everything the edge has is at the centre, and was taken by the consumers of each that runs.
    pub fn drain(&mut self, within: Duration) -> Result<()> {
        let idle = |rig: &Self| -> Result<bool> {
            let edge = rig.edge_status()?;
            let is_zero =
                |json: &Json, path: &str| json.pointer(path).and_then(Json::as_u64) == Some(0);
            let mut states = Vec::new();
            for place in rig.running() {
                let central = rig.status_of(place)?;
                let is_idle = is_zero(&central, "/lake/behind_blocks")
                    && is_zero(&central, "/feed/behind_blocks")
                    && is_zero(&central, "/ledger/behind_blocks");
                if !is_idle {
                    return Ok(false);
                }
                let runs = |part: &Json| part["state"] == "running";
                let workers = central["feed"]["workers"].as_array();
                let workers = workers.into_iter().flatten().map(runs);
                states.push((runs(&central["lake"]), workers.collect::<Vec<bool>>()));
            }
            let runs = match rig.options.log {
                Log::Embedded => states
                    .iter()
                    .all(|(lake, feed)| *lake && feed.iter().all(|runs| *runs)),
                // Whoever it is.
                Log::Kafka => {
                    let workers = states.iter().map(|(_, feed)| feed.len()).max();
                    let has_one = |ix| {
                        let runs = |(_, feed): &&(bool, Vec<bool>)| feed.get(ix) == Some(&true);
                        states.iter().filter(runs).count() == 1
                    };
                    states.iter().filter(|(lake, _)| *lake).count() == 1
                        && (0..workers.unwrap_or(0)).all(has_one)
                }
            };
            if !runs {
                return Ok(false);
            }
            Ok(is_zero(&edge, "/samples/waiting")
                && is_zero(&edge, "/buffer/unacknowledged_blocks"))
        };
        // Twice in a row: the first may have fallen between two stages.
        let mut quiet = 0;
        let drained = wait_until(within, || {
            quiet = if idle(self).unwrap_or(false) {
                quiet + 1
            } else {
                0
            };
            quiet >= 3
        });
        if drained {
            return Ok(());
        }
        let centres = self.running().map(|place| self.status_of(place));
        bail!(
            "not drained within {within:?}: edge {}, centre {:?}",
            self.edge_status()?,
            centres.collect::<Vec<_>>()
        )
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.centres.len()).filter(|place| self.centres[*place].daemon.is_some())
    }

    /// Ends the programs in the order of the data, each with SIGTERM: the lake commits what it has.
    pub fn stop(&mut self) -> Result<()> {
        let centres = self.centres.iter_mut().map(|centre| centre.daemon.take());
        let daemons = [self.sim.take(), self.edge.take()];
        for mut daemon in daemons.into_iter().chain(centres).flatten() {
            let status = daemon.stop(STOP_WITHIN)?;
            ensure!(
                status.success(),
                "{} ended with {status}; see {}",
                daemon.name(),
                daemon.log().path().display()
            );
        }
        Ok(())
    }

    /// Published against stored and named, counted by `efd-sim account`.
    pub fn account(&self) -> Result<Account> {
        self.account_of(0)
    }

    pub fn account_of(&self, centre: usize) -> Result<Account> {
        let mut command = self.command("efd-sim");
        command
            .arg("account")
            .arg("--oracle")
            .arg(self.oracle())
            .arg("--lake")
            .arg(self.lake_of(centre))
            .arg("--json");
        let captured = process::run(command, Duration::from_secs(600))?;
        ensure!(
            captured.status.code().is_some(),
            "efd-sim account: {}\n{}",
            captured.status,
            captured.stderr
        );
        let line = captured
            .stdout
            .lines()
            .next_back()
            .context("efd-sim account printed nothing")?;
        Account::parse(line)
    }

    fn dds_arguments(&self) -> Vec<String> {
        match &self.options.network {
            Network::Namespace(_) => vec!["--interface".into(), "lo".into()],
            Network::Loopback { domain } => {
                let words = [
                    "--interface",
                    "lo",
                    "--no-multicast",
                    "--peer",
                    "127.0.0.1",
                    "--domain",
                ];
                words
                    .into_iter()
                    .map(str::to_owned)
                    .chain([domain.to_string()])
                    .collect()
            }
        }
    }

    fn make_certificates(&self) -> Result<()> {
        let folder = self.certificates();
        let folder = folder.to_str().context("folder is not UTF-8")?;
        let ca = |words: &[&str]| -> Result<()> {
            let mut command = Command::new(self.options.programs.join("efd-central"));
            command.args(["ca", "--folder", folder]).args(words);
            let captured = process::run(command, Duration::from_secs(60))?;
            ensure!(
                captured.status.success(),
                "efd-central ca {}: {}",
                words.join(" "),
                captured.stderr
            );
            Ok(())
        };
        if self.options.host.is_none() {
            ca(&["init", "--name", "EFD rig"])?;
            let names = ["--host", "127.0.0.1", "--host", "localhost"];
            ca(&[["issue-central", "--name", "central"].as_slice(), &names].concat())?;
        }
        ca(&["issue-edge", "--site", &self.options.site])
    }

    fn central_toml(&self, centre: usize, quic: SocketAddr) -> String {
        let folder = self.options.folder.display();
        let (path, lake) = (self.place_of("central", centre, ""), self.lake_of(centre));
        let (path, lake) = (path.display(), lake.display());
        let feed = self.options.feed.as_ref().map_or_else(String::new, |feed| {
            format!(
                "[kafka]\nbrokers = \"{}\"\nreplication = {}\nmin_insync_replicas = {}\n[feed]\nregistry = \"{}\"\ncheckpoint_every = \"1s\"\n",
                feed.brokers,
                feed.replication,
                feed.replication.div_ceil(2),
                feed.registry
            )
        });
        let log = match self.options.log {
            Log::Embedded => "",
            Log::Kafka => "[log]\nstore = \"kafka\"\n",
        };
        let name = format!("central-{}", centre + 1);
        format!(
            "listen = \"{quic}\"\nname = \"{name}\"\ncertificates = \"{folder}/certificates\"\npath = \"{path}\"\n{log}\
             [http]\nlisten = \"{}\"\n[lake]\npath = \"{lake}\"\ncommit_every = \"5s\"\n{feed}",
            self.centres[centre].http
        )
    }

    fn edge_toml(&self) -> String {
        let folder = self.options.folder.display();
        let idl: Vec<String> = self
            .options
            .edge_idl
            .iter()
            .map(|path| format!("{:?}", path.display().to_string()))
            .collect();
        let centres = self.centres.iter().map(|centre| centre.relay.address());
        let centres = centres.chain(self.options.host.iter().map(|host| host.centre));
        let centres: Vec<_> = centres.map(|centre| format!("\"{centre}\"")).collect();
        let dds = match &self.options.network {
            Network::Namespace(_) => String::new(),
            Network::Loopback { domain } => {
                format!("domain = {domain}\nmulticast = false\npeers = [\"127.0.0.1\"]\n")
            }
        };
        format!(
            "site = \"{}\"\ncentre = [{}]\ninterface = \"lo\"\ncertificates = \"{}\"\n\
             [dds]\nidl = [{}]\n{dds}[buffer]\npath = \"{folder}/buffer\"\n[http]\nlisten = \"{}\"\n",
            self.options.site,
            centres.join(", "),
            self.certificates().display(),
            idl.join(", "),
            self.edge_http
        )
    }
}

impl Network {
    /// Runs `work` where the rig's sockets are.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        match self {
            Self::Namespace(namespace) => Ok(namespace.on_thread(work)?),
            Self::Loopback { .. } => Ok(work()),
        }
    }
}
