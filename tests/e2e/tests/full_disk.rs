//! A disk that is full, at the edge, at the centre, at both, under load, and then has space again: nobody starts anything anew.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::time::Duration;

use common::{Options, Setup, exclusive, wait_until};
use efd_tests_e2e::Sim;
use efd_tests_testkit::volume::{Filler, Volume, VolumeError};

const SETTLE: Duration = Duration::from_secs(120);
const RATE: u32 = 1500;
/// Of one state of the disks.
const PHASE: Duration = Duration::from_secs(8);
/// So often within it whoever fills the disks takes what came free.
const TURNS: u32 = 24;
const SECONDS: u32 = 75;

/// One disk for the edge's buffer, one for the centre's log and book, one for the lake.
struct Disks {
    edge: Volume,
    central: Volume,
    lake: Volume,
}

impl Disks {
    fn mount(setup: &Setup) -> Result<Self, VolumeError> {
        let folder = setup.rig.folder();
        Ok(Self {
            edge: Volume::mount(&setup.rig.buffer(), 96 << 20)?,
            central: Volume::mount(&folder.join("central"), 128 << 20)?,
            lake: Volume::mount(&setup.rig.lake(), 128 << 20)?,
        })
    }

    fn centre(&self) -> [&Volume; 2] {
        [&self.central, &self.lake]
    }
}

/// While `PHASE` lasts nothing is free on them, whatever their users give up meanwhile. How many samples came?
fn while_full(setup: &Setup, disks: &[&Volume]) -> u64 {
    let before = recorded(setup);
    let mut full: Vec<Filler> = Vec::new();
    for _ in 0..TURNS {
        full.extend(disks.iter().map(|disk| disk.fill(0).unwrap()));
        std::thread::sleep(PHASE / TURNS);
    }
    recorded(setup) - before
}

fn setup(name: &'static str) -> Setup {
    let edge_settings = ["buffer.segment_bytes_max=1MiB", "buffer.segment_age_max=5s"];
    Setup::with(Options {
        edge_settings: edge_settings.map(str::to_owned).to_vec(),
        central_settings: vec!["lake.commit_every=3s".into()],
        ..Options::new(name)
    })
}

fn recorded(setup: &Setup) -> u64 {
    setup.edge_number("/samples/recorded")
}

fn waiting(setup: &Setup) -> u64 {
    setup.edge_number("/buffer/unacknowledged_blocks")
}

fn recovers(setup: &Setup, after: &str) {
    let done = wait_until(SETTLE, || waiting(setup) < 100);
    assert!(done, "{after}: {}", setup.rig.edge_status().unwrap());
    println!("{after}: the centre has it");
}

#[test]
fn full_disks_at_edge_and_centre_cost_nothing_and_nobody_starts_anew() {
    let _turn = exclusive();
    let mut setup = setup("full");
    let disks = match Disks::mount(&setup) {
        Ok(disks) => disks,
        Err(error) => return efd_tests_testkit::skip("full disks", &error),
    };
    setup.start();
    setup
        .rig
        .start_sim(&Sim {
            seconds: SECONDS,
            rate: RATE,
            more: vec!["--values".into()],
        })
        .unwrap();
    setup.wait_for_samples(8 * u64::from(RATE));

    // Once: what the centre has leaves, and its room is ours.
    let before = recorded(&setup);
    let full = disks.edge.fill(0).unwrap();
    std::thread::sleep(PHASE);
    let came = recorded(&setup) - before;
    println!("the edge's disk is full: {came} samples recorded");
    assert!(came > u64::from(RATE), "{came}");
    drop(full);
    recovers(&setup, "the edge's disk has room");

    let came = while_full(&setup, &disks.centre());
    let waits = waiting(&setup);
    println!("the centre's disks are full: {came} samples recorded, {waits} blocks wait");
    assert!(came > u64::from(RATE) && waits > 0, "{came}, {waits}");
    recovers(&setup, "the centre's disks have room");

    let came = while_full(&setup, &[&disks.edge, &disks.central, &disks.lake]);
    println!(
        "all are full: {came} samples recorded, {} blocks wait",
        waiting(&setup)
    );
    recovers(&setup, "all have room");

    setup.end_of_sim();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.law();
    println!("named: {}", account.json["reasons"]);
    setup.check_values("lake");
    drop(disks);
    setup.finish();
}

/// No link and no room: samples wait in memory, and what leaves, if anything, is telemetry by name.
#[test]
fn a_full_disk_without_a_link_costs_no_event_and_nothing_without_a_name() {
    let _turn = exclusive();
    let edge_settings = [
        "buffer.segment_bytes_max=256KiB",
        "buffer.segment_age_max=3s",
        "buffer.reserve=4MiB",
    ];
    let mut setup = Setup::with(Options {
        edge_settings: edge_settings.map(str::to_owned).to_vec(),
        ..Options::new("full-alone")
    });
    let disk = match Volume::mount(&setup.rig.buffer(), 64 << 20) {
        Ok(disk) => disk,
        Err(error) => return efd_tests_testkit::skip("full disks", &error),
    };
    setup.start();
    setup.rig.relay().cut();
    setup
        .rig
        .start_sim(&Sim {
            seconds: 45,
            rate: RATE,
            more: vec!["--values".into()],
        })
        .unwrap();
    setup.wait_for_samples(10 * u64::from(RATE));
    let full = disk.fill(0).unwrap();
    std::thread::sleep(3 * PHASE);
    let evicted = setup.edge_number("/losses_of_last_day/evicted");
    drop(full);
    setup.end_of_sim();
    setup.rig.relay().heal();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.law();
    println!("named: {}", account.json["reasons"]);
    assert!(account.lost >= evicted, "{evicted}");
    let events = account.json["lanes"]["events"]["blocks"].as_u64();
    assert_eq!(events.unwrap_or(0), 0, "{}", account.json["lanes"]);
    setup.check_values("lake");
    drop(disk);
    setup.finish();
}
