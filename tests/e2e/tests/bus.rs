//! The bus is not harmed: while we stand still, take nothing or die, a second reader of the same publishers, of another
//! make, gets every sample.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::time::Duration;

use common::{Options, Setup, exclusive};
use efd_tests_e2e::Sim;
use efd_tests_testkit::process::{Daemon, Signal};
use efd_tests_testkit::volume::Volume;
use serde_json::Value;

const SETTLE: Duration = Duration::from_secs(90);
/// The lease of our participant is 2 s; a writer notices its end up to a second later, and resends what it held back.
const SILENCE_MAX: f64 = 4.5;

struct Bench {
    setup: Setup,
    listener: Daemon,
}

/// Our edge, and the publisher's largest samples beside those that the healthy reader takes.
fn setup(name: &'static str, edge_settings: &[&str]) -> Setup {
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("idl");
    Setup::with(Options {
        idl: vec![own, common::lab_idl()],
        edge_settings: edge_settings.iter().copied().map(str::to_owned).collect(),
        ..Options::new(name)
    })
}

impl Bench {
    /// A publisher of 2 MB a second, our edge, and the healthy reader; all matched and flowing. So many bytes that a
    /// reader who acknowledges nothing fills the writer's memory within a second, and then holds up all others.
    fn start(mut setup: Setup, seconds: u32) -> Self {
        setup.start();
        let mut command = setup.python("sal_bus.py");
        command.arg("listen").arg(Setup::lab_file("LabWeather"));
        let mut listener = Daemon::start(
            "listener",
            command,
            &setup.rig.folder().join("listener.log"),
        )
        .unwrap();
        listener
            .wait_for_line("listening", Duration::from_secs(60))
            .unwrap();
        // So that every writer has the listener, too, before the first sample.
        std::thread::sleep(Duration::from_secs(2));
        setup
            .rig
            .start_sim(&Sim {
                seconds,
                rate: 180,
                more: [
                    "--keep-all",
                    "--topic",
                    "LabBig_huge",
                    "--topic",
                    "LabWeather_",
                ]
                .map(str::to_owned)
                .to_vec(),
            })
            .unwrap();
        setup.wait_for_samples(400);
        Self { setup, listener }
    }

    /// What the healthy reader got.
    fn verdict(&mut self) -> Value {
        self.setup.end_of_sim();
        self.listener.stop(Duration::from_secs(30)).unwrap();
        let said = self.listener.log().tail(1);
        let verdict: Value = serde_json::from_str(said.trim()).unwrap();
        println!("healthy reader: {verdict}");
        assert!(verdict["samples"].as_u64() > Some(500), "{verdict}");
        verdict
    }

    fn check(&mut self) {
        let verdict = self.verdict();
        assert_eq!(verdict["missing"], 0, "{verdict}");
        assert!(silence(&verdict) < SILENCE_MAX, "{verdict}");
    }

    fn stop_for_10_s(&mut self) {
        let edge = self.setup.rig.edge().unwrap();
        edge.signal(Signal::Stop).unwrap();
        std::thread::sleep(Duration::from_secs(10));
        edge.signal(Signal::Continue).unwrap();
    }

    fn end(mut self) -> Setup {
        self.setup.rig.drain(SETTLE).unwrap();
        self.setup.rig.stop().unwrap();
        self.setup
    }
}

/// Neither disk nor link takes anything for a minute: samples wait in memory, up to its limit.
#[test]
fn a_stalled_disk_and_link_harm_nobody() {
    let _turn = exclusive();
    let setup = setup("stalled", &[]);
    let mut volume = match Volume::mount(&setup.rig.buffer(), 512 << 20) {
        Ok(volume) => volume,
        Err(error) => return efd_tests_testkit::skip("stalled disk", &error),
    };
    let mut bench = Bench::start(setup, 75);
    volume.freeze().unwrap();
    bench.setup.rig.relay().cut();
    std::thread::sleep(Duration::from_secs(60));
    volume.thaw().unwrap();
    bench.setup.rig.relay().heal();
    bench.check();
    let setup = bench.end();
    let account = setup.law();
    let full = account.json["reasons"]["queue_full"].as_u64().unwrap_or(0);
    assert_eq!(account.lost, full, "{}", account.summary());
    drop(volume);
    setup.finish();
}

/// Stopped for five times the lease; we notice, join anew and read on.
#[test]
fn a_stopped_edge_harms_nobody() {
    let _turn = exclusive();
    let mut bench = Bench::start(setup("bus-stopped", &[]), 25);
    bench
        .setup
        .rig
        .edge()
        .unwrap()
        .signal(Signal::Stop)
        .unwrap();
    std::thread::sleep(Duration::from_secs(10));
    bench
        .setup
        .rig
        .edge()
        .unwrap()
        .signal(Signal::Continue)
        .unwrap();
    let before = bench.setup.edge_number("/samples/recorded");
    bench.setup.wait_for_samples(before + 200);
    bench.check();
    assert!(bench.setup.edge_number("/bus/participant_restarts") >= 1);
    let setup = bench.end();
    setup.law();
    setup.finish();
}

/// The lease is what spares the others: with a long one, standing still for 10 s silences them.
#[test]
fn a_long_lease_turns_it_red() {
    let _turn = exclusive();
    let mut bench = Bench::start(setup("bus-lease", &["dds.lease=9s"]), 25);
    bench.stop_for_10_s();
    let verdict = bench.verdict();
    assert!(
        silence(&verdict) >= SILENCE_MAX,
        "nobody noticed: {verdict}"
    );
    bench.setup.finish();
}

#[test]
fn a_killed_edge_harms_nobody() {
    let _turn = exclusive();
    let mut bench = Bench::start(setup("bus-killed", &[]), 20);
    bench.setup.rig.edge().unwrap().kill9().unwrap();
    std::thread::sleep(Duration::from_secs(6));
    bench.setup.rig.start_edge().unwrap();
    bench.check();
    let setup = bench.end();
    setup.law();
    setup.finish();
}

fn silence(verdict: &Value) -> f64 {
    verdict["longest_silence"].as_f64().unwrap()
}
