//! A buffer that is full and cannot ship: telemetry leaves before events, and what leaves is named, to the sample.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::time::Duration;

use common::{Options, Setup, exclusive, wait_until};
use efd_tests_e2e::{Account, Sim};
use efd_tests_testkit::process;
use serde_json::Value;

const SETTLE: Duration = Duration::from_secs(90);
/// Retention looks every ten seconds.
const EVICTION_WITHIN: Duration = Duration::from_secs(40);
const RATE: u32 = 1500;
const BYTES_MAX: u64 = 4 << 20;

/// A buffer of some segments. What an open one has in its WAL counts too, and only closed ones can leave: few commits,
/// and segments that are soon closed, keep the open ones small beside the limit.
fn setup(name: &'static str) -> Setup {
    let settings = [
        "buffer.bytes_max=4MiB",
        "buffer.segment_bytes_max=256KiB",
        "buffer.segment_age_max=8s",
        "commit.within=200ms",
    ];
    let mut setup = Setup::with(Options {
        edge_settings: settings.map(str::to_owned).to_vec(),
        ..Options::new(name)
    });
    setup.start();
    setup
}

/// Four topics of telemetry, one of them large, and one of events.
fn traffic(seconds: u32) -> Sim {
    let topics = [
        "LabMirror_forceData",
        "LabMount_azimuth",
        "LabMount_elevation",
        "LabWeather_wind",
        "LabMount_logevent_target",
    ];
    let topics = topics.iter().flat_map(|topic| ["--topic", topic]);
    Sim {
        seconds,
        rate: RATE,
        more: topics.chain(["--values"]).map(str::to_owned).collect(),
    }
}

fn evicted(setup: &Setup) -> u64 {
    setup.edge_number("/losses_of_last_day/evicted")
}

/// Nothing is published any more, and a last look of retention has left the buffer below its limit.
fn wait_for_evictions(setup: &Setup) {
    let done = wait_until(EVICTION_WITHIN, || {
        let bytes = setup.edge_number("/buffer/bytes");
        evicted(setup) > 0 && bytes <= BYTES_MAX
    });
    assert!(done, "{}", setup.rig.edge_status().unwrap());
}

/// What `key` of the lane's losses of blocks counts.
fn of_lane(account: &Account, lane: &str, key: &str) -> u64 {
    let number = account.json["lanes"][lane][key].as_u64();
    number.unwrap_or(0)
}

/// What `checkers/reduced.py` says of what stands in the place of evicted telemetry.
fn reduced(setup: &Setup) -> Value {
    let mut command = setup.python("reduced.py");
    command.arg(setup.rig.oracle()).arg(setup.rig.lake());
    let ran = process::run(command, SETTLE).unwrap();
    assert!(ran.status.success(), "{}", ran.stderr);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    println!("{said}");
    said
}

#[test]
fn telemetry_leaves_before_events_and_each_sample_is_named() {
    let _turn = exclusive();
    let mut setup = setup("evict");
    // Nothing is in flight when the link breaks: what is named did not arrive.
    setup.rig.relay().cut();
    setup.run_sim(&traffic(25));
    wait_for_evictions(&setup);
    let named = evicted(&setup);
    setup.rig.relay().heal();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();

    let account = setup.law();
    assert!(account.stored > 0, "{}", account.summary());
    assert_eq!(account.lost, named, "all is lost by eviction alone");
    assert_eq!(of_lane(&account, "telemetry", "named"), named);
    assert_eq!(of_lane(&account, "telemetry", "uncounted"), 0);
    assert_eq!(of_lane(&account, "events", "blocks"), 0);
    let events = &account.json["lines"]["lsst.sal.LabMount.logevent_target"];
    assert_eq!(events["stored"], events["published"], "{events}");
    assert_eq!(account.json["reasons"].as_object().unwrap().len(), 1);
    let values = setup.check_values("lake");
    assert_eq!(values["lost"].as_u64(), Some(named));

    // In the place of what was evicted stand statistics of just that.
    let reduced = reduced(&setup);
    let number = |key: &str| reduced[key].as_u64().unwrap();
    assert_eq!(number("faults"), 0, "{reduced}");
    assert_eq!(
        (number("samples"), number("lost")),
        (named, named),
        "{reduced}"
    );
    assert!(number("rows") > 4 && number("values") > 500, "{reduced}");
    assert!(number("evictions") > 0, "{reduced}");
    assert_eq!(number("pointing"), number("evictions"), "{reduced}");

    // The same lake without its list of losses: what was evicted is then missing, and nobody may call it well.
    let losses = "efd_site=summit/efd_topic=efd.losses";
    std::fs::remove_dir_all(setup.rig.lake().join(losses)).unwrap();
    let unnamed = setup.rig.account().unwrap();
    assert_eq!(unnamed.missing, named, "{}", unnamed.summary());
    assert!(!unnamed.keeps_the_promise());
    assert_eq!(setup.compare_values("lake")["missing"], named);
    setup.finish();
}

/// The centre dies under traffic, and so does the edge while it evicts: what it had named and not yet removed is named by
/// block again, and by no publisher's numbers.
#[test]
fn a_kill_among_evictions_names_each_sample_once() {
    let _turn = exclusive();
    let mut setup = setup("evict-restart");
    setup.rig.start_sim(&traffic(45)).unwrap();
    setup.wait_for_samples(u64::from(RATE));
    setup.rig.central().unwrap().kill9().unwrap();
    let began = wait_until(EVICTION_WITHIN, || evicted(&setup) > 0);
    assert!(began, "{}", setup.rig.edge_status().unwrap());
    setup.rig.edge().unwrap().kill9().unwrap();
    setup.rig.start_edge().unwrap();
    setup.end_of_sim();
    wait_for_evictions(&setup);
    setup.rig.start_central().unwrap();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();

    let account = setup.rig.account().unwrap();
    println!("{}", account.summary());
    assert!(
        account.keeps_the_promise_but_for_arrivals(),
        "{}",
        account.summary()
    );
    // What was in flight when the centre died is less than a second's.
    assert!(account.arrived < RATE.into(), "{}", account.summary());
    assert!(of_lane(&account, "telemetry", "named") > 0);
    assert_eq!(of_lane(&account, "events", "blocks"), 0);
    // Of what was in flight some arrived that is also named, and is in the statistics too: nothing has them twice else.
    let reduced = reduced(&setup);
    let number = |key: &str| reduced[key].as_u64().unwrap();
    let named = of_lane(&account, "telemetry", "named");
    assert_eq!(number("samples"), named, "{reduced}");
    setup.finish();
}
