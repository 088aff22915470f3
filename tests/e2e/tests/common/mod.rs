//! What every end-to-end test begins and ends with.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod services;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use efd_tests_e2e::{Account, Feed, Host, Log, Network, Rig, RigOptions, Sim};
use efd_tests_testkit::install::Installer;
use efd_tests_testkit::netns::Namespace;
use efd_tests_testkit::process;
use efd_tests_testkit::python::run_json;
use efd_tests_testkit::tmp::WorkDir;

pub(crate) use efd_tests_testkit::wait_until;

static TURN: Mutex<()> = Mutex::new(());

/// One rig at a time: each wants both cores.
pub(crate) fn exclusive() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `cargo xtask test --long`.
pub(crate) fn long() -> bool {
    std::env::var_os("EFD_LONG").is_some()
}

/// Where `efd-edge` and the others are: beside the test, which cargo put into `deps`.
pub(crate) fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let beside = || test.parent().and_then(Path::parent).unwrap().to_owned();
    let folder = std::env::var_os("EFD_PROGRAMS").map_or_else(beside, PathBuf::from);
    assert!(
        folder.join("efd-edge").exists(),
        "{} has no efd-edge: run `cargo xtask test`, or `cargo build` first",
        folder.display()
    );
    folder
}

/// Whether these programs were built for tests.
pub(crate) fn has_sabotage(programs: &Path) -> bool {
    let mut command = std::process::Command::new(programs.join("efd-central"));
    command.args(["run", "--help"]);
    let has = process::run(command, Duration::from_secs(20))
        .unwrap()
        .stdout
        .contains("--sabotage");
    if !has {
        efd_tests_testkit::skip(
            "sabotage",
            &"the programs were built without the feature `sabotage`",
        );
    }
    has
}

/// A folder of the corpus; where there is none, the test that asks is skipped, or does without.
pub(crate) fn corpus(name: &str) -> Option<PathBuf> {
    // The test runner gives a test's name to its thread.
    let test = std::thread::current();
    efd_tests_testkit::corpus(test.name().unwrap_or(name), name)
}

pub(crate) fn lab_idl() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/idl")
}

pub(crate) struct Options {
    pub(crate) name: &'static str,
    pub(crate) site: &'static str,
    pub(crate) host: Option<Host>,
    pub(crate) idl: Vec<PathBuf>,
    /// What the edge has at first; `None`: the same.
    pub(crate) edge_idl: Option<Vec<PathBuf>>,
    pub(crate) centres: usize,
    pub(crate) log: Log,
    pub(crate) feed: Option<Feed>,
    pub(crate) central_sabotage: Vec<String>,
    pub(crate) edge_sabotage: Vec<String>,
    /// `KEY=VALUE`.
    pub(crate) edge_settings: Vec<String>,
    pub(crate) central_settings: Vec<String>,
    pub(crate) namespace: Option<Namespace>,
}

impl Options {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            site: "summit",
            host: None,
            idl: vec![lab_idl()],
            edge_idl: None,
            centres: 1,
            log: Log::Embedded,
            feed: None,
            central_sabotage: Vec::new(),
            edge_sabotage: Vec::new(),
            edge_settings: Vec::new(),
            central_settings: Vec::new(),
            namespace: None,
        }
    }
}

pub(crate) struct Setup {
    pub(crate) rig: Rig,
    folder: WorkDir,
    idl: Vec<PathBuf>,
    late_idl: PathBuf,
    site: &'static str,
    has_feed: Option<Feed>,
}

impl Setup {
    pub(crate) fn new(name: &'static str) -> Self {
        Self::with(Options::new(name))
    }

    pub(crate) fn with(options: Options) -> Self {
        let folder = WorkDir::new(options.name).unwrap();
        let network = match options.namespace.map_or_else(Namespace::new, Ok) {
            Ok(namespace) => Network::Namespace(namespace),
            // Without the right to make one: a domain of this process's own on loopback.
            Err(_) => Network::Loopback {
                domain: 100 + (std::process::id() % 100) as u16,
            },
        };
        let late_idl = folder.join("late-idl");
        std::fs::create_dir_all(&late_idl).unwrap();
        let mut edge_idl = options.edge_idl.unwrap_or_else(|| options.idl.clone());
        edge_idl.push(late_idl.clone());
        let rig = Rig::new(RigOptions {
            site: options.site.into(),
            host: options.host,
            edge_idl,
            centres: options.centres,
            log: options.log,
            feed: options.feed.clone(),
            edge_settings: options.edge_settings,
            central_settings: options.central_settings,
            edge_sabotage: options.edge_sabotage,
            central_sabotage: options.central_sabotage,
            ..RigOptions::new(folder.path(), &programs(), options.idl.clone(), network)
        })
        .unwrap();
        Self {
            rig,
            folder,
            idl: options.idl,
            late_idl,
            site: options.site,
            has_feed: options.feed,
        }
    }

    /// Centre, then edge.
    pub(crate) fn start(&mut self) {
        self.rig.start_central().unwrap();
        self.rig.start_edge().unwrap();
    }

    pub(crate) fn run_sim(&mut self, sim: &Sim) {
        self.rig.start_sim(sim).unwrap();
        self.end_of_sim();
    }

    pub(crate) fn end_of_sim(&mut self) {
        let status = self
            .rig
            .sim()
            .unwrap()
            .wait(Duration::from_secs(300))
            .unwrap();
        assert!(
            status.success(),
            "{}",
            self.rig.sim().unwrap().log().tail(20)
        );
    }

    /// Whether the centre has acknowledged everything that the edge has, whatever the consumers have taken.
    pub(crate) fn acknowledged(&self) -> bool {
        // Three times: the first may have fallen between two stages.
        (0..3).all(|_| {
            std::thread::sleep(Duration::from_millis(100));
            let status = self.rig.edge_status().ok();
            ["/samples/waiting", "/buffer/unacknowledged_blocks"]
                .iter()
                .all(|path| {
                    let number = status
                        .as_ref()
                        .and_then(|status| status.pointer(path)?.as_u64());
                    number == Some(0)
                })
        })
    }

    pub(crate) fn edge_number(&self, path: &str) -> u64 {
        let status = self.rig.edge_status();
        status
            .ok()
            .and_then(|status| status.pointer(path)?.as_u64())
            .unwrap_or(0)
    }

    /// Of the configuration's list, the one that the edge is connected to.
    pub(crate) fn connected_to(&self) -> Option<usize> {
        let status = self.rig.edge_status().ok()?;
        let mut centres = status["link"]["centres"].as_array()?.iter();
        let connected = centres.position(|centre| centre["state"] == "connected");
        connected.filter(|_| status["link"]["state"] == "streaming")
    }

    /// Until the edge of this start has recorded so many.
    pub(crate) fn wait_for_samples(&mut self, count: u64) {
        let came = wait_until(Duration::from_secs(60), || {
            self.edge_number("/samples/recorded") >= count
        });
        assert!(
            came,
            "only {} samples recorded; {}",
            self.edge_number("/samples/recorded"),
            self.rig.sim().unwrap().log().tail(5)
        );
    }

    /// The IDL files come into a folder that the edge watches.
    pub(crate) fn drop_idl_files(&self) {
        self.idl.iter().for_each(|folder| self.drop_files(folder));
    }

    /// Those of another folder.
    pub(crate) fn drop_files(&self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, self.late_idl.join(path.file_name().unwrap())).unwrap();
        }
    }

    /// Checks the law in the lake.
    pub(crate) fn law(&self) -> Account {
        self.law_of(0)
    }

    pub(crate) fn law_of(&self, centre: usize) -> Account {
        let account = self.rig.account_of(centre).unwrap();
        println!("{}: {}", self.folder.path().display(), account.summary());
        assert!(
            account.published > 0 && account.keeps_the_promise(),
            "the law is broken: {}",
            account.summary()
        );
        account
    }

    /// Compares every value by readers that share no code with us, and gives what they counted.
    pub(crate) fn check_values(&self, store: &str) -> serde_json::Value {
        let result = self.compare_values(store);
        println!("{store}: {result}");
        let number = |key: &str| result[key].as_u64().unwrap();
        let faults = [
            "missing",
            "both",
            "duplicate",
            "unexpected",
            "misnamed",
            "mismatched",
        ];
        for key in faults {
            assert_eq!(number(key), 0, "{key} in {result}");
        }
        assert_eq!(
            number("compared") + number("lost"),
            number("published"),
            "{result}"
        );
        result
    }

    /// What `checkers/values.py` counts.
    pub(crate) fn compare_values(&self, store: &str) -> serde_json::Value {
        let mut command = self.python("values.py");
        command.arg(self.rig.oracle());
        match (store, &self.has_feed) {
            ("kafka", Some(feed)) => {
                command.args(["kafka", &feed.brokers, &feed.registry, self.site])
            }
            _ => command.arg(store).arg(self.rig.lake()).arg(self.site),
        };
        run_json(command, Duration::from_secs(600)).unwrap()
    }

    /// A program of `checkers/`, to be run inside the rig's network.
    pub(crate) fn python(&self, script: &str) -> std::process::Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("checkers")
            .join(script);
        let python = Installer::new().unwrap().python().unwrap();
        self.rig.in_place(python.command(script))
    }

    /// The IDL file of a component of the project's own.
    pub(crate) fn lab_file(component: &str) -> PathBuf {
        lab_idl().join(format!("sal_revCoded_{component}.idl"))
    }

    pub(crate) fn finish(self) {
        let Self { rig, folder, .. } = self;
        drop(rig);
        folder.finish().unwrap();
    }
}
