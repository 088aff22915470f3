//! The rescue of a dead edge: its disk is shipped by `efd-inspect send`, over the link or in a sealed file, and then the
//! edge comes back with the same. Nothing twice, nothing missing.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{Setup, exclusive, wait_until};
use efd_tests_e2e::Sim;
use efd_tests_testkit::process::{self, Captured, Daemon};
use serde_json::Value as Json;

const SETTLE: Duration = Duration::from_secs(120);
const SEND_WITHIN: Duration = Duration::from_secs(120);
const UNSHIPPED: u64 = 100_000;
const RATE: u32 = 6000;

/// A rig whose edge was killed with everything that it had recorded since the link was cut; and a copy of its disk.
fn dead_edge(name: &'static str, seconds: u32) -> (Setup, PathBuf) {
    let mut setup = Setup::new(name);
    setup.start();
    let sim = Sim {
        seconds,
        rate: RATE,
        more: Vec::new(),
    };
    setup.rig.start_sim(&sim).unwrap();
    // Some of it is at the centre already.
    setup.wait_for_samples(5_000);
    setup.rig.relay().cut();
    setup.end_of_sim();
    let durable = wait_until(SETTLE, || setup.edge_number("/samples/waiting") == 0);
    assert!(durable, "the edge does not come to rest");
    std::thread::sleep(Duration::from_millis(500));
    setup.rig.edge().unwrap().kill9().unwrap();
    let copy = setup.rig.folder().join("copy");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(setup.rig.buffer())
        .arg(&copy)
        .status()
        .unwrap();
    assert!(copied.success());
    setup.rig.relay().heal();
    (setup, copy)
}

fn edge_of(setup: &Setup, buffer: &Path) -> String {
    let mut command = setup.rig.command("efd-inspect");
    command.arg("ls").arg(buffer).arg("--json");
    let listed = process::run(command, SEND_WITHIN).unwrap();
    let listed: Json = serde_json::from_str(&listed.stdout).unwrap();
    listed["epochs"][0]["edge"].as_str().unwrap().to_owned()
}

/// Issues a rescuer's certificate into a folder of its own.
fn rescue_certificates(setup: &Setup, edge: &str) -> PathBuf {
    let all = setup.rig.folder().join("certificates");
    let mut command = setup.rig.command("efd-central");
    command.args(["ca", "--folder"]).arg(&all).args([
        "issue-rescue",
        "--site",
        "summit",
        "--edge",
        edge,
    ]);
    let issued = process::run(command, Duration::from_secs(60)).unwrap();
    assert!(issued.status.success(), "{}", issued.stderr);
    let folder = setup.rig.folder().join("rescue").join(edge);
    std::fs::create_dir_all(&folder).unwrap();
    let stem = format!("rescue-summit-{edge}");
    for name in [
        "ca.crt".to_owned(),
        format!("{stem}.crt"),
        format!("{stem}.key"),
    ] {
        std::fs::copy(all.join(&name), folder.join(&name)).unwrap();
    }
    folder
}

fn send_command(setup: &Setup, from: &Path, certificates: &Path) -> Command {
    let mut command = setup.rig.command("efd-inspect");
    command
        .arg("send")
        .arg(from)
        .args(["--centre", &setup.rig.relay().address().to_string()])
        .arg("--certificates")
        .arg(certificates)
        .args(["--json", "--patience", "20s"]);
    command
}

fn send(setup: &Setup, from: &Path, certificates: &Path) -> Captured {
    process::run(send_command(setup, from, certificates), SEND_WITHIN).unwrap()
}

fn parsed(captured: &Captured) -> Json {
    assert!(captured.status.success(), "{}", captured.stderr);
    serde_json::from_str(captured.stdout.trim()).unwrap()
}

/// Blocks that came to the centre in the rescuer's sessions.
fn rescued_blocks(setup: &Setup) -> u64 {
    let status = setup.rig.central_status().unwrap();
    let edges = status["edges"].as_array().unwrap();
    let rescue = edges.iter().find(|edge| edge["role"] == "rescue");
    rescue.map_or(0, |edge| edge["blocks_fill"].as_u64().unwrap())
}

/// The edge comes back, and all is counted.
fn edge_returns(mut setup: Setup, published_min: u64) {
    setup.rig.start_edge().unwrap();
    setup.rig.drain(SETTLE).unwrap();
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert_eq!(account.lost, 0, "{}", account.json);
    assert!(published_min < account.published, "{}", account.json);
    setup.finish();
}

#[test]
fn a_dead_edges_disk_is_shipped_in_its_place() {
    let _turn = exclusive();
    let (setup, copy) = dead_edge("rescue", 21);
    let edge = edge_of(&setup, &copy);
    let certificates = rescue_certificates(&setup, &edge);

    // An edge's own certificate gives no right to it.
    let own = send(&setup, &copy, &{
        let folder = setup.rig.folder().join("own");
        std::fs::create_dir_all(&folder).unwrap();
        let all = setup.rig.folder().join("certificates");
        let names = [
            "ca.crt".to_owned(),
            format!("summit-{edge}.crt"),
            format!("summit-{edge}.key"),
        ];
        for name in names {
            std::fs::copy(all.join(&name), folder.join(&name)).unwrap();
        }
        folder
    });
    assert_eq!(own.status.code(), Some(1));
    assert!(
        own.stderr.contains("that of a rescue is needed"),
        "{}",
        own.stderr
    );

    // Nor does the rescue of another edge.
    let other = "00000000-0000-4000-8000-000000000001";
    let refused = send(&setup, &copy, &rescue_certificates(&setup, other));
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains(other), "{}", refused.stderr);
    assert_eq!(rescued_blocks(&setup), 0);

    // Interrupted twice.
    for _ in 0..2 {
        let before = rescued_blocks(&setup);
        let mut command = send_command(&setup, &copy, &certificates);
        command.args(["--rate", "1MB/s"]);
        let log = setup.rig.folder().join("send.log");
        let mut sending = Daemon::start("efd-inspect", command, &log).unwrap();
        let some = wait_until(SEND_WITHIN, || {
            rescued_blocks(&setup) != before && rescued_blocks(&setup) > 5
        });
        assert!(some, "{}", sending.log().tail(5));
        sending.kill9().unwrap();
    }
    let done = parsed(&send(&setup, &copy, &certificates));
    let number = |key: &str| done[key].as_u64().unwrap();
    assert!(number("already") > 0 && number("sent") > 0, "{done}");
    assert_eq!(number("unreadable"), 0, "{done}");
    // Again: nothing is left to do.
    let again = parsed(&send(&setup, &copy, &certificates));
    assert_eq!(again["sent"], 0, "{again}");
    assert_eq!(again["already"], done["blocks"], "{again}");
    edge_returns(setup, UNSHIPPED);
}

#[test]
fn a_sealed_file_carries_it_where_there_is_no_network() {
    let _turn = exclusive();
    let (setup, copy) = dead_edge("sealed", 6);
    let edge = edge_of(&setup, &copy);
    let certificates = rescue_certificates(&setup, &edge);
    let inspect = |words: &[&str], path: &Path| {
        let mut command = setup.rig.command("efd-inspect");
        command.arg("send").arg(path).args(words);
        process::run(command, SEND_WITHIN).unwrap()
    };
    let parcel = setup.rig.folder().join("night.efdparcel");
    let sealed = parsed(&inspect(
        &["--seal", parcel.to_str().unwrap(), "--json"],
        &copy,
    ));
    assert!(sealed["blocks"].as_u64().unwrap() > 0, "{sealed}");
    let twice = inspect(&["--seal", parcel.to_str().unwrap()], &copy);
    assert!(twice.stderr.contains("exists"), "{}", twice.stderr);

    let receipt = setup.rig.folder().join("night.json");
    let mut command = send_command(&setup, &parcel, &certificates);
    command.arg("--receipt").arg(&receipt);
    let done = parsed(&process::run(command, SEND_WITHIN).unwrap());
    assert_eq!(done["blocks"], sealed["blocks"], "{done}");
    assert!(done["sent"].as_u64().unwrap() > 0, "{done}");

    // With the receipt, nothing more needs to be carried.
    let rest = setup.rig.folder().join("rest.efdparcel");
    let words = [
        "--without",
        receipt.to_str().unwrap(),
        "--seal",
        rest.to_str().unwrap(),
        "--json",
    ];
    let nothing = parsed(&inspect(&words, &copy));
    assert_eq!(nothing["blocks"], 0, "{nothing}");

    // A file that was cut on its way: what is in it goes, and the exit code says that it is not all.
    let cut = setup.rig.folder().join("cut.efdparcel");
    let bytes = std::fs::read(&parcel).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let half = send(&setup, &cut, &certificates);
    assert_eq!(half.status.code(), Some(2), "{}", half.stderr);
    assert!(half.stderr.contains("cut off"), "{}", half.stderr);
    edge_returns(setup, u64::from(5 * RATE));
}
