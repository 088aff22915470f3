//! `cat --fields`, `--raw` and `--follow`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use efd_shared_avro::{Decoder, RecordSchema, Value, read_values};
use efd_shared_model::{LaneKind, Schema, UtcNanos};
use efd_shared_store::{LaneName, Options, SegmentState, Store};

use crate::world::{BEGIN, Ran, SECOND, closed, command, declare, event, run, telemetry};

#[test]
fn only_some_fields() {
    let (_folder, root) = closed();
    let Ran { code, out, err } = run("cat", &root, &["--fields", "angle,state"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let all = run("cat", &root, &[]).out;
    let expected: Vec<serde_json::Value> = all
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|mut line| {
            let fields = line["fields"].as_object_mut().unwrap();
            fields.retain(|name, _| name == "angle" || name == "state");
            (!fields.is_empty()).then_some(line)
        })
        .collect();
    let found: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(found.len(), 128);
    assert_eq!(found, expected);
    // Topics that are passed over do not count.
    assert_eq!(
        run("cat", &root, &["--fields", "torque", "--limit", "3"]).lines(),
        3
    );

    let refused = |arguments: &[&str], expected: &str| {
        let Ran { code, out, err } = run("cat", &root, arguments);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains(expected), "{err}");
    };
    refused(
        &["--fields", "angle,torqeu"],
        "is `torqeu`: there are torque",
    );
    let of_another = ["--topic", "Test.*", "--fields", "angle"];
    refused(
        &of_another,
        "none of the 2 fields of these topics is `angle`",
    );
    refused(&["--fields", "angle", "--raw"], "cannot be used with");
}

#[test]
fn the_datum_as_it_is() {
    let (_folder, root) = closed();
    let Ran { code, out, err } = run("cat", &root, &["--raw", "--topic", "*elevation"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let schema = run("show", &root, &["*elevation", "--json"]).out;
    let schema: serde_json::Value = serde_json::from_str(schema.lines().next().unwrap()).unwrap();
    let text = schema["schema"].to_string();
    let decoder = Decoder::new(RecordSchema::parse(&text).unwrap().into());
    let plain = run("cat", &root, &["--topic", "*elevation"]).out;
    assert_eq!(out.lines().count(), 120);
    for (raw, plain) in out.lines().zip(plain.lines()) {
        let raw: serde_json::Value = serde_json::from_str(raw).unwrap();
        let plain: serde_json::Value = serde_json::from_str(plain).unwrap();
        for same in ["topic", "time", "id"] {
            assert_eq!(raw[same], plain[same]);
        }
        assert_eq!(
            raw["schema"],
            Schema::new(text.as_str()).fingerprint().to_string()
        );
        let hex = raw["datum"].as_str().unwrap();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        let values = read_values(&decoder, &bytes).unwrap();
        let Value::Double(angle) = values[1] else {
            panic!("not a double");
        };
        match plain["fields"]["angle"].as_f64() {
            Some(expected) => assert_eq!(angle, expected),
            None => assert!(angle.is_nan()),
        }
    }
}

/// A `cat --follow` under way, killed when dropped.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Following {
    fn start(root: &Path, arguments: &[&str]) -> Self {
        let mut child = command()
            .arg("cat")
            .arg(root)
            .arg("--follow")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                if send.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    fn take(&self, count: usize) -> Vec<String> {
        (0..count)
            .map(|_| self.lines.recv_timeout(Duration::from_secs(30)).unwrap())
            .collect()
    }

    fn is_quiet(&self) -> bool {
        self.lines.recv_timeout(Duration::from_millis(700)).is_err()
    }

    /// Gives its exit code and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        let mut err = self.child.stderr.take().unwrap();
        err.read_to_string(&mut said).unwrap();
        (status.code(), said)
    }
}

fn open(root: &Path) -> Store {
    let options = Options {
        segment_bytes_max: 3_000,
        segment_age_max: Duration::from_secs(86_400),
        reserve_bytes: 0,
        ..Options::default()
    };
    Store::open(root, options).unwrap().0
}

fn lane(kind: LaneKind) -> LaneName {
    kind.as_str().parse().unwrap()
}

fn id(line: &str) -> String {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_live_buffer_is_followed_each_record_once() {
    let (_folder, root) = closed();
    let mut store = open(&root);
    let following = Following::start(&root, &["--topic", "MTMount.*", "--limit", "300"]);
    let mut seen: Vec<String> = following.take(120).iter().map(|line| id(line)).collect();
    assert!(following.is_quiet());
    // Segments begin, fill up and close; a restart of the edge between, and a new epoch.
    let now = |number: u64| UtcNanos(BEGIN + (9_000 + number as i64) * SECOND);
    for (n, numbers) in [(3, 1..=10), (4, 1..=9)] {
        declare(&mut store, n);
        for number in numbers {
            let blocks = [telemetry(n, number)];
            store
                .append(&lane(LaneKind::Telemetry), &blocks, None, now(number))
                .unwrap();
            store
                .append(
                    &lane(LaneKind::Events),
                    &[event(n, number)],
                    None,
                    now(number),
                )
                .unwrap();
            store.maintain(now(number));
            if number % 3 == 0 {
                std::thread::sleep(Duration::from_millis(150));
            }
        }
        store.close().unwrap();
        store = open(&root);
    }
    let more = following.take(180);
    seen.extend(more.iter().map(|line| id(line)));
    let (code, said) = following.end();
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let expected: Vec<String> = run("cat", &root, &["--topic", "MTMount.*", "--limit", "300"])
        .out
        .lines()
        .map(id)
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_lane_and_a_topic_that_begin_later_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("buffer");
    let mut store = open(&root);
    declare(&mut store, 1);
    let append = |store: &mut Store, kind, block| {
        let at = store.append(&lane(kind), &[block], None, UtcNanos(BEGIN));
        at.unwrap();
    };
    append(&mut store, LaneKind::Telemetry, telemetry(1, 1));
    let following = Following::start(&root, &["--limit", "12"]);
    assert_eq!(following.take(10).len(), 10);
    append(&mut store, LaneKind::Events, event(1, 1));
    let later = following.take(2);
    assert!(later[0].contains("summaryState"), "{later:?}");
    assert_eq!(following.end(), (Some(0), String::new()));
}

#[test]
fn retention_beside_it_loses_and_repeats_nothing_that_could_be_read() {
    let (_folder, root) = closed();
    let mut store = open(&root);
    let following = Following::start(&root, &["--topic", "MTMount.*"]);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut count = |lines: Vec<String>| {
        for line in lines {
            *counts.entry(id(&line)).or_default() += 1;
        }
    };
    count(following.take(120));
    declare(&mut store, 3);
    for number in 1..=12 {
        let blocks = [telemetry(3, number)];
        let at = UtcNanos(BEGIN + 9_000 * SECOND);
        store
            .append(&lane(LaneKind::Telemetry), &blocks, None, at)
            .unwrap();
        store.maintain(at);
        // What was read is removed: every closed segment but those of the last two blocks.
        count(following.take(10));
        for info in store.segments() {
            if info.key.lane == lane(LaneKind::Telemetry) && info.state == SegmentState::Closed {
                store.remove(&info.key).unwrap();
            }
        }
    }
    assert!(following.is_quiet());
    assert_eq!(counts.len(), 240);
    assert!(counts.values().all(|&count| count == 1));
}

#[test]
fn whoever_reads_it_may_leave() {
    let (_folder, root) = closed();
    let mut store = open(&root);
    let mut child = command()
        .args(["cat", "--follow", "--lane", "telemetry"])
        .arg(&root)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    drop(out);
    declare(&mut store, 3);
    // The next line finds that nobody reads.
    for number in 1..=40 {
        let blocks = [telemetry(3, number)];
        store
            .append(&lane(LaneKind::Telemetry), &blocks, None, UtcNanos(BEGIN))
            .unwrap();
        if child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
