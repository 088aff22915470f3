//! What is refused says what, the value, the limit and the next step; and is counted.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Setup, exclusive, programs};
use efd_tests_e2e::Sim;
use efd_tests_testkit::process::{self, Captured};

const SOON: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(90);

/// Runs `efd-edge` or `efd-central` with the rig's configuration; it must end by itself.
fn run(setup: &Setup, program: &str, words: &[&str]) -> Captured {
    let config = match program {
        "efd-edge" => setup.rig.edge_config(),
        _ => setup.rig.central_config(),
    };
    let mut command = setup.rig.command(program);
    command.arg("--config").arg(config).args(words);
    process::run(command, SOON).unwrap()
}

/// Exit code 2, and each of `words` in what is said.
#[track_caller]
fn refused(captured: &Captured, words: &[&str]) {
    let said = format!("{}{}", captured.stdout, captured.stderr);
    assert_eq!(captured.status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn configurations_that_cannot_be_right() {
    let _turn = exclusive();
    let setup = Setup::new("configuration");
    let edge = |setting: &str| {
        run(
            &setup,
            "efd-edge",
            &["check", "--offline", "--set", setting],
        )
    };
    let central = |setting: &str| run(&setup, "efd-central", &["check", "--set", setting]);
    refused(
        &edge("buffer.retian=7d"),
        &["retian", "expected one of", "retain"],
    );
    refused(
        &edge("buffer.retain=7"),
        &["`7` has no unit", "`7d` for days"],
    );
    refused(
        &edge("buffer.bytes_max=200"),
        &["buffer.bytes_max", "no unit"],
    );
    refused(
        &edge("ship.link_rate_max=20"),
        &["ship.link_rate_max", "no unit"],
    );
    refused(
        &edge("commit.compression=90"),
        &["compression = 90", "1 to 19"],
    );
    refused(&edge("dds.domain=300"), &["dds.domain = 300", "0 to 232"]);
    refused(
        &edge("dds.lease=60s"),
        &["dds.lease = 60s", "hold up all other readers"],
    );
    refused(&edge("site=Summit Hill"), &["site", "Summit Hill"]);
    refused(&edge("centre=nowhere"), &["nowhere", "host:port"]);
    refused(
        &edge("http.listen=0.0.0.0:9464"),
        &["0.0.0.0:9464", "token"],
    );
    refused(&central("log.retain=forever"), &["log.retain", "forever"]);
    refused(&central("kafka.brokers=broker:9092"), &["registry"]);

    // A fault in the file has its line.
    let path = setup.rig.folder().join("bad.toml");
    let good = std::fs::read_to_string(setup.rig.edge_config()).unwrap();
    std::fs::write(&path, good.replace("[buffer]\n", "[buffer]\nretain = 7\n")).unwrap();
    let mut command = setup.rig.command("efd-edge");
    command
        .arg("--config")
        .arg(&path)
        .args(["check", "--offline"]);
    let line = 1 + good.lines().position(|line| line == "[buffer]").unwrap() + 1;
    refused(
        &process::run(command, SOON).unwrap(),
        &[&format!("bad.toml:{line}:"), "buffer.retain", "no unit"],
    );
    setup.finish();
}

#[test]
fn folders_that_cannot_be_written_and_ports_in_use() {
    let _turn = exclusive();
    let mut setup = Setup::new("in-use");
    // /proc takes no file, not even from root.
    let words = ["run", "--set", "buffer.path=/proc/efd"];
    refused(&run(&setup, "efd-edge", &words), &["/proc/efd"]);
    refused(
        &run(&setup, "efd-central", &["run", "--set", "path=/proc/efd"]),
        &["/proc/efd"],
    );
    setup.rig.start_central().unwrap();
    setup.rig.start_edge().unwrap();
    let elsewhere = setup.rig.folder().join("elsewhere");
    let path = format!("path={}", elsewhere.display());
    let words = ["run", "--set", &path, "--set", "http.listen=127.0.0.1:0"];
    refused(
        &run(&setup, "efd-central", &words),
        &["UDP address 127.0.0.1:", "in use", "`listen`"],
    );
    let words = ["run", "--set", &path, "--set", "listen=127.0.0.1:0"];
    refused(
        &run(&setup, "efd-central", &words),
        &["HTTP address 127.0.0.1:", "in use", "`http.listen`"],
    );
    // The buffer has one writer.
    let words = ["run", "--set", "http.listen=127.0.0.1:0"];
    refused(&run(&setup, "efd-edge", &words), &["buffer", "in use"]);
    setup.rig.stop().unwrap();
    setup.finish();
}

#[test]
fn certificates_of_another_authority_or_site() {
    let _turn = exclusive();
    let mut setup = Setup::new("certificates");
    setup.rig.start_central().unwrap();
    let folder = setup.rig.folder().join("others");
    let ca = |words: &[&str]| {
        let mut command = setup.rig.command("efd-central");
        command.args(["ca", "--folder"]).arg(&folder).args(words);
        let captured = process::run(command, SOON).unwrap();
        assert!(captured.status.success(), "{}", captured.stderr);
    };
    ca(&["init", "--name", "somebody else"]);
    ca(&["issue-edge", "--site", "summit"]);
    let others = format!("certificates={}", folder.display());
    let before = refused_handshakes(&setup);
    refused(
        &run(&setup, "efd-edge", &["check", "--set", &others]),
        &["FAIL  link", "invalid peer certificate"],
    );
    // Ours says summit: we cannot speak for tucson, nor be told to.
    refused(
        &run(&setup, "efd-edge", &["check", "--set", "site=tucson"]),
        &["FAIL  certificate", "tucson"],
    );
    // The other side refuses, too, where the edge trusts both authorities.
    let mixed = setup.rig.folder().join("mixed");
    std::fs::create_dir(&mixed).unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, mixed.join(path.file_name().unwrap())).unwrap();
    }
    let ours = setup.rig.folder().join("certificates");
    let both = [ours, folder.clone()].map(|folder| std::fs::read_to_string(folder.join("ca.crt")));
    std::fs::write(mixed.join("ca.crt"), both.map(Result::unwrap).concat()).unwrap();
    let mixed = format!("certificates={}", mixed.display());
    refused(
        &run(&setup, "efd-edge", &["check", "--set", &mixed]),
        &["FAIL  link", "refused us"],
    );
    assert!(
        refused_handshakes(&setup) >= before + 2,
        "each refusal is counted"
    );
    setup.rig.stop().unwrap();
    setup.finish();
}

fn refused_handshakes(setup: &Setup) -> u64 {
    let status = setup.rig.central_status().unwrap();
    status["ingest"]["handshakes_refused"].as_u64().unwrap()
}

/// Samples cut short on their way: counted, kept, named; the others are not held up.
#[test]
fn truncated_samples_are_counted_and_named() {
    let _turn = exclusive();
    let mut setup = Setup::new("truncated");
    setup.start();
    setup.run_sim(&Sim {
        seconds: 6,
        rate: 500,
        more: ["--values", "--truncate-every", "50"]
            .map(str::to_owned)
            .to_vec(),
    });
    setup.rig.drain(SETTLE).unwrap();
    let (undecodable, parked) = (
        setup.edge_number("/samples/undecodable"),
        setup.edge_number("/samples/parked"),
    );
    setup.rig.stop().unwrap();
    let account = setup.law();
    assert!(undecodable > 40, "{}", account.summary());
    assert_eq!(
        account.json["reasons"]["undecodable"].as_u64(),
        Some(undecodable)
    );
    assert_eq!(account.lost, undecodable, "{}", account.summary());
    assert_eq!(parked, 0, "known types are not waited for");
    let mut cat = setup.rig.command("efd-inspect");
    cat.arg("cat")
        .arg(setup.rig.buffer())
        .args(["--lane", "parked"]);
    let kept = process::run(cat, SOON).unwrap();
    assert!(kept.status.success(), "{}", kept.stderr);
    assert_eq!(
        kept.stdout.lines().count() as u64,
        undecodable,
        "kept as they came"
    );
    setup.check_values("lake");
    setup.finish();
}

/// Each program says what it is for, and refuses words that it does not know.
#[test]
fn help_teaches() {
    for program in ["efd-edge", "efd-central", "efd-inspect", "efd-sim"] {
        let path = programs().join(program);
        let ask = |word: &str| {
            let mut command = std::process::Command::new(Path::new(&path));
            command.arg(word);
            process::run(command, SOON).unwrap()
        };
        let help = ask("--help");
        assert!(
            help.status.success() && help.stdout.contains("Usage:"),
            "{program}"
        );
        let unknown = ask("fly");
        // 2 means a damaged buffer there.
        let code = if program == "efd-inspect" { 1 } else { 2 };
        assert_eq!(unknown.status.code(), Some(code), "{program}");
        assert!(unknown.stderr.contains("fly"), "{}", unknown.stderr);
    }
}
