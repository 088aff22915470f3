//! What it prints, word by word.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::world::{Ran, closed, command, contents, crashed, run, segment};

/// The folder's path differs in each run.
fn named(text: &str, root: &std::path::Path) -> String {
    text.replace(&root.display().to_string(), "BUFFER")
}

fn bytes_hidden(text: &str) -> String {
    // File sizes are SQLite's affair.
    let words = text.lines().map(|line| {
        line.split("  ")
            .filter(|word| !word.ends_with("iB"))
            .collect::<Vec<_>>()
            .join("  ")
    });
    words.collect::<Vec<_>>().join("\n")
}

#[test]
fn ls() {
    let (_folder, root) = closed();
    let Ran { code, out, err } = run("ls", &root, &[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let out = named(&out, &root);
    let mut lines = out.lines();
    assert!(
        lines.next().unwrap().contains("18 blocks, 130 records, "),
        "{out}"
    );
    assert_eq!(
        bytes_hidden(&lines.skip(1).take(9).collect::<Vec<_>>().join("\n")),
        "\
EPOCH                                 BEGAN                 SITE    EDGE                                  PARENT                                SOFTWARE
01010101-0101-0101-0101-010101010101  2026-11-24T00:00:00Z  summit  edededed-eded-eded-eded-edededededed  -                                     0.1.0
02020202-0202-0202-0202-020202020202  2026-11-24T01:00:00Z  summit  edededed-eded-eded-eded-edededededed  01010101-0101-0101-0101-010101010101  0.1.0

LANE       SEGMENTS  FROM                  UNTIL                 BLOCKS  RECORDS      BYTES  DAMAGED  ACKNOWLEDGED BY centre
events            1  2026-11-24T00:00:00Z  2026-11-24T01:00:01Z       4        8        -  0 of 4
losses            1  2026-11-24T00:00:00Z  2026-11-24T00:00:01Z       1        1        -  0 of 1
parked            1  2026-11-24T00:00:00Z  2026-11-24T00:00:01Z       1        1        -  never shipped
telemetry         4  2026-11-24T00:00:10Z  2026-11-24T01:01:10Z      12      120        -  4 of 12"
    );
}

#[test]
fn ls_for_programs() {
    let (_folder, root) = closed();
    let Ran { code, out, .. } = run("ls", &root, &["--json"]);
    assert_eq!((code, out.lines().count()), (0, 1));
    let listing: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(listing["totals"]["records"], 130);
    assert_eq!(
        listing["epochs"][1]["parent"],
        "01010101-0101-0101-0101-010101010101"
    );
    assert_eq!(listing["notices"], serde_json::json!([]));
    let telemetry = listing["lanes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|lane| lane["lane"] == "telemetry")
        .unwrap();
    assert_eq!(
        telemetry["acknowledged"]["centre"],
        serde_json::json!({"blocks": 4, "of": 12})
    );
    assert_eq!(telemetry["from"], "2026-11-24T00:00:10.000000000Z");
    assert_eq!(telemetry["until"], "2026-11-24T01:01:09.000000001Z");
    let segments = telemetry["segments"].as_array().unwrap();
    let blocks: u64 = segments
        .iter()
        .map(|segment| segment["blocks"].as_u64().unwrap())
        .sum();
    assert_eq!(blocks, 12);
    assert!(
        segments.len() > 1 && segments[0]["state"] == "closed",
        "{segments:?}"
    );
}

#[test]
fn cat_events_losses_and_parked() {
    let (_folder, root) = closed();
    let check = |arguments: &[&str], expected: &str| {
        let Ran { code, out, err } = run("cat", &root, arguments);
        assert_eq!((code, err.as_str()), (0, ""));
        assert_eq!(out, expected);
    };
    let edge = "edededed-eded-eded-eded-edededededed";
    let (one, two) = (
        "01010101-0101-0101-0101-010101010101",
        "02020202-0202-0202-0202-020202020202",
    );
    let line = |time: &str, epoch: &str, number: u64, index: u32| {
        format!(
            "{{\"topic\":\"lsst.sal.Test.logevent_summaryState\",\"time\":\"{time}Z\",\"id\":\"{edge}/{epoch}/events/{number}/{index}\",\
             \"instance\":{},\"fields\":{{\"salIndex\":{},\"state\":\"ENABLED \\\"{number}\\\"\"}}}}\n",
            index + 1,
            index + 1
        )
    };
    check(
        &["--topic", "Test.*", "--instance", "2"],
        &[
            line("2026-11-24T00:00:00.000000003", one, 1, 1),
            line("2026-11-24T00:00:00.000000004", one, 2, 1),
            line("2026-11-24T01:00:00.000000003", two, 1, 1),
            line("2026-11-24T01:00:00.000000004", two, 2, 1),
        ]
        .concat(),
    );
    // Half-open.
    check(
        &[
            "--lane",
            "events",
            "--from",
            "2026-11-24T00:00:00.000000003Z",
            "--until",
            "2026-11-24T00:00:00.000000004Z",
        ],
        &[
            line("2026-11-24T00:00:00.000000003", one, 1, 1),
            line("2026-11-24T00:00:00.000000003", one, 2, 0),
        ]
        .concat(),
    );
    check(
        &["--topic", "efd.losses"],
        &format!(
            "{{\"topic\":\"efd.losses\",\"time\":\"2026-11-24T00:00:00.000000000Z\",\"id\":\"{edge}/{one}/losses/1/0\",\"fields\":\
             {{\"reason\":\"dds_gap\",\"topic\":\"lsst.sal.MTMount.elevation\",\"sal_index\":-1,\"identity\":\"MTMount\",\
             \"origin\":-1,\"first_seq\":7,\"last_seq\":9,\"epoch\":\"\",\"lane\":\"\",\"first_block\":0,\"last_block\":-1,\
             \"count\":3,\"from_utc\":1795478400000000000,\"until_utc\":1795478400000000005,\"detail\":\"\"}}}}\n"
        ),
    );
    check(
        &["--lane", "parked"],
        &format!(
            "{{\"topic\":\"efd.parked\",\"time\":\"2026-11-24T00:00:00.000000001Z\",\"id\":\"{edge}/{one}/parked/1/0\",\"fields\":\
             {{\"reason\":\"untyped\",\"dds_topic\":\"New_thing_00000000\",\"dds_type\":\"New::thing_00000000\",\
             \"payload\":{{\"bytes\":120}}}}}}\n"
        ),
    );
}

#[test]
fn cat_telemetry_is_complete_and_in_order() {
    let (_folder, root) = closed();
    let Ran { code, out, .. } = run("cat", &root, &["--topic", "lsst.sal.MTMount.elevation"]);
    assert_eq!((code, out.lines().count()), (0, 120));
    let records: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let times: Vec<_> = records
        .iter()
        .map(|record| record["time"].as_str().unwrap())
        .collect();
    assert!(times.is_sorted());
    assert_eq!(records[3]["fields"]["angle"], "NaN");
    assert_eq!(records[4]["fields"]["angle"], 2.0);
    assert_eq!(
        records[119]["fields"]["torque"].as_array().unwrap().len(),
        40
    );
    let hour = [
        "--from",
        "2026-11-24T01:00:20Z",
        "--until",
        "2026-11-24T01:00:25Z",
    ];
    assert_eq!(run("cat", &root, &hour).lines(), 5);
    assert_eq!(run("cat", &root, &["--limit", "7"]).lines(), 7);
    assert_eq!(run("cat", &root, &["--limit", "0"]).lines(), 0);
    assert_eq!(run("cat", &root, &[]).lines(), 130);
}

#[test]
fn a_crashed_buffer_gives_the_same_as_a_closed_one() {
    let (_folder, root) = closed();
    let (_crashed_folder, crashed) = crashed();
    let expected = run("cat", &root, &[]);
    let found = run("cat", &crashed, &[]);
    assert_eq!((found.code, found.err.as_str()), (0, ""));
    assert_eq!(found.out, expected.out);
    assert_eq!(run("verify", &crashed, &[]).code, 0);
}

#[test]
fn a_segment_alone_is_read() {
    let (_folder, root) = closed();
    let file = segment(&root, "telemetry", 0);
    let alone = tempfile::tempdir().unwrap();
    let copy = alone.path().join("disk-dump");
    std::fs::copy(file, &copy).unwrap();
    let Ran { code, out, err } = run("cat", &copy, &["--limit", "1"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.starts_with(
            "{\"topic\":\"lsst.sal.MTMount.elevation\",\"time\":\"2026-11-24T00:00:10.000000000Z\""
        ),
        "{out}"
    );
    assert_eq!(run("verify", &copy, &[]).code, 0);
    let listing: serde_json::Value =
        serde_json::from_str(&run("ls", &copy, &["--json"]).out).unwrap();
    assert_eq!(listing["lanes"][0]["lane"], "telemetry");
}

#[test]
fn verify_of_a_whole_buffer() {
    let (_folder, root) = closed();
    let Ran { code, out, err } = run("verify", &root, &[]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.starts_with("intact: 7 segments, 18 blocks, 130 records, "),
        "{out}"
    );
    let summary: serde_json::Value =
        serde_json::from_str(&run("verify", &root, &["--json"]).out).unwrap();
    assert_eq!(
        (&summary["intact"], &summary["blocks"]),
        (&true.into(), &18.into())
    );
    let Ran { code, out, .. } = run("verify", &root, &["--deep"]);
    assert!(
        code == 0 && out.ends_with(" checked and decompressed\n"),
        "{out}"
    );
}

#[test]
fn errors_say_what_to_do() {
    let (folder, root) = closed();
    let check = |verb: &str, path: &std::path::Path, arguments: &[&str], expected: &str| {
        let Ran { code, out, err } = run(verb, path, arguments);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains(expected), "{err}");
    };
    check(
        "cat",
        &root,
        &["--from", "2026-11-24"],
        "times are UTC, write 2026-11-24T00:00:00Z",
    );
    check("cat", &root, &["--from", "-2"], "has no unit");
    check(
        "cat",
        &root,
        &["--from", "-1h", "--until", "-2h"],
        "the first must be earlier",
    );
    check(
        "cat",
        &root,
        &["--lane", "event"],
        "there is no lane `event` here: there are events, losses, parked, telemetry",
    );
    check(
        "cat",
        &root,
        &["--topic", "MTMount.elevatio"],
        "no topic of 4 matches `MTMount.elevatio`: there are lsst.sal.MTMount.elevation",
    );
    check(
        "ls",
        folder.path(),
        &[],
        "is not a store: it has neither `meta.db` nor `segments`",
    );
    check(
        "verify",
        &folder.path().join("nothing"),
        &[],
        "No such file",
    );
    check("list", &root, &[], "unrecognized subcommand");
}

#[test]
fn help_teaches() {
    let verbs = [
        "ls",
        "show",
        "cat",
        "export",
        "account",
        "retention",
        "repair",
        "send",
        "watch",
        "verify",
    ];
    let of_verbs = verbs.map(|verb| vec![verb, "--help"]);
    for arguments in of_verbs.into_iter().chain([vec!["--help"]]) {
        let output = command().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("Usage: efd-inspect"), "{text}");
    }
}

#[test]
fn a_broken_pipe_is_no_error() {
    let (_folder, root) = closed();
    let mut child = command()
        .arg("cat")
        .arg(&root)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"topic\""));
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn nothing_is_written() {
    for (_folder, root) in [closed(), crashed()] {
        let before = contents(&root);
        for verb in ["ls", "cat", "verify"] {
            assert_eq!(run(verb, &root, &[]).code, 0);
            let after = contents(&root);
            let names = |all: &std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>| {
                all.keys().cloned().collect::<Vec<_>>()
            };
            assert_eq!(names(&after), names(&before), "{verb}");
            assert!(after == before, "{verb}");
        }
    }
}
