//! `watch` beside a writer at work, and of a buffer at rest.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use efd_shared_daemon::clock::utc_now;
use efd_shared_model::block::Codec;
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EventTimeOrigin, LaneKind, Loss, LossReason, RangeSet,
    RecordStamps, SealedBlock, StreamNumber, UtcNanos,
};
use efd_shared_store::{Options, Store};
use efd_tests_testkit::skip;
use serde_json::Value as Json;

use crate::world::{Ran, closed, command, contents, declare, log, run, segment, telemetry};

struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watching {
    fn start(root: &Path, arguments: &[&str]) -> Self {
        let mut command = command();
        command
            .arg("watch")
            .arg(root)
            .args(arguments)
            .stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> Json {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "it has ended");
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Named now.
fn loss(number: u64, count: i64) -> SealedBlock {
    let loss = Loss {
        topic: "lsst.sal.MTMount.elevation".into(),
        count,
        ..Loss::new(LossReason::QueueFull, UtcNanos(0), UtcNanos(1))
    };
    let mut builder = BlockBuilder::new();
    let stream = StreamNumber(3);
    let mut datum = Vec::new();
    loss.encode(&mut datum);
    builder.datum(stream).extend_from_slice(&datum);
    builder.finish(
        stream,
        RecordStamps {
            event_time: UtcNanos(0),
            origin: EventTimeOrigin::Reception,
            implausible: false,
            latin1: false,
            instance: None,
        },
    );
    let clock = ClockState {
        utc: utc_now(),
        ..ClockState::default()
    };
    let id = log(3, LaneKind::Losses).block(BlockNumber(number));
    builder.seal(id, clock, Codec::Zstd, 1).unwrap()
}

#[test]
fn what_is_added_is_counted_once_and_what_was_there_is_not() {
    let (_folder, root) = closed();
    let options = Options {
        reserve_bytes: 0,
        // Several segments come and go while it is watched.
        segment_bytes_max: 20_000,
        ..Options::default()
    };
    let (mut store, _) = Store::open(&root, options).unwrap();
    let lane = |kind: LaneKind| kind.as_str().parse().unwrap();
    declare(&mut store, 3);
    // Named before it is watched.
    store
        .append(&lane(LaneKind::Losses), &[loss(1, 5)], None, utc_now())
        .unwrap();
    let mut watching = Watching::start(&root, &["--every", "50ms", "--json"]);
    let first = watching.line();
    assert_eq!(
        (&first["records"], &first["bytes"]),
        (&0.into(), &0.into()),
        "{first}"
    );
    let hour = &first["losses"]["last_hour"]["queue_full"];
    assert_eq!(
        (&hour["count"], &first["losses"]["since_begin"]),
        (&5.into(), &Json::Object(Default::default()))
    );

    const BLOCKS: u64 = 60;
    for number in 1..=BLOCKS {
        store
            .append(
                &lane(LaneKind::Telemetry),
                &[telemetry(3, number)],
                None,
                utc_now(),
            )
            .unwrap();
        store.maintain(utc_now());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let named = [loss(2, 7), loss(3, -1)];
    store
        .append(&lane(LaneKind::Losses), &named, None, utc_now())
        .unwrap();
    let acked: RangeSet = [1..=BLOCKS - 10].into_iter().collect();
    store.add_acked("centre", &log(3, LaneKind::Telemetry), &acked);
    store.save_acked().unwrap();

    let (mut records, mut in_lanes, mut elevation) = (0, 0, 0);
    let count = |json: &Json| json["records"].as_u64().unwrap_or(0);
    // A minute of them.
    let mut lines = std::iter::repeat_with(|| watching.line()).take(1_200);
    let last = lines.find(|line| {
        records += count(line);
        elevation += count(&line["components"]["MTMount"]);
        in_lanes += count(&line["lanes"]["telemetry"]) + count(&line["lanes"]["losses"]);
        line["losses"]["since_begin"]["queue_full"]["losses"] == 2 && line["records"] == 0
    });
    let last = last.expect("all that was added is counted");
    assert_eq!(
        (records, in_lanes, elevation),
        (10 * BLOCKS + 2, 10 * BLOCKS + 2, 10 * BLOCKS)
    );
    let lost = |span: &str| last["losses"][span]["queue_full"].clone();
    assert_eq!(
        lost("since_begin"),
        serde_json::json!({"losses": 2, "count": 7, "uncounted": 1})
    );
    assert_eq!(
        lost("last_hour"),
        serde_json::json!({"losses": 3, "count": 12, "uncounted": 1})
    );
    let lag = &last["lag"][0];
    assert_eq!(lag["destination"], "centre");
    // Of epoch 1: 2 of telemetry, 2 of events, a loss; of epoch 2: 6 and 2; of epoch 3: 10 and 3 losses.
    assert_eq!(lag["blocks"], 2 + 2 + 1 + 6 + 2 + 10 + 3, "{lag}");
    assert!(lag["bytes"].as_u64().unwrap() > 0, "{lag}");
    assert!(
        last["newest_age_seconds"].as_f64().unwrap() < 60.0,
        "{last}"
    );
    let held: u64 = contents(&root).values().map(|file| file.len() as u64).sum();
    let told = last["disk"]["buffer_bytes"].as_u64().unwrap();
    assert!(told > 0 && told <= held, "{told} of {held}");
    assert!(last["disk"]["free_bytes"].as_u64().unwrap() > 0);
    assert_eq!(last["blocks_passed_over"], 0);
    drop(watching);
    store.close().unwrap();
}

/// An old block is not looked into: that one is damaged is for `verify` to find.
#[test]
fn a_buffer_at_rest_is_neither_read_nor_written() {
    let (_folder, root) = closed();
    let path = segment(&root, "telemetry", 0);
    let mut bytes = fs::read(&path).unwrap();
    let block = bytes.windows(5).position(|at| at == b"EFDB\x01").unwrap();
    bytes[block + 200] ^= 4;
    fs::write(&path, bytes).unwrap();
    assert_eq!(run("verify", &root, &[]).code, 2);
    let before = contents(&root);
    let Ran { code, out, err } = run("watch", &root, &["--every", "10ms", "--count", "3"]);
    assert_eq!(
        (code, err.as_str(), out.lines().count()),
        (0, "", 3),
        "{out}"
    );
    for line in out.lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        assert_eq!(line["records"], 0, "{line}");
        assert!(
            line["newest"]
                .as_str()
                .unwrap()
                .starts_with("2026-11-24T01:01:00"),
            "{line}"
        );
        assert!(line["seconds"].as_f64().unwrap() > 0.0, "{line}");
    }
    assert!(contents(&root) == before);
    let Ran { code, err, .. } = run("watch", &root.join("nothing"), &["--count", "1"]);
    assert_eq!(code, 1, "{err}");
}

/// Interrupted on a terminal of 20 rows: the view fits, and the terminal is in the mode it was in.
#[test]
fn on_a_terminal_it_is_drawn_in_place() {
    let test = "on_a_terminal_it_is_drawn_in_place";
    let (_folder, root) = closed();
    let shell = format!(
        "stty rows 20 cols 50; stty -g; timeout -s INT 3 {} watch {} --every 100ms; echo \"ended $?\"; stty -g",
        env!("CARGO_BIN_EXE_efd-inspect"),
        root.display()
    );
    let mut script = Command::new("script");
    script
        .args(["-qec", &shell, "/dev/null"])
        .stdin(Stdio::null());
    let Ok(output) = script.output() else {
        return skip(test, &"no script(1) here, which makes a terminal");
    };
    let out = String::from_utf8(output.stdout).unwrap();
    let (mode, rest) = out.split_once('\n').unwrap();
    let (view, after) = rest
        .split_once("ended 124")
        .unwrap_or_else(|| panic!("{out}"));
    assert_eq!(after.trim(), mode.trim(), "{out}");
    // Drawn several times over itself, and no mode changed.
    assert!(
        view.matches("\x1b[").count() > 20 && view.contains("A\r"),
        "{view:?}"
    );
    assert!(!view.contains("\x1b[?"), "{view:?}");
    let frames: Vec<_> = view
        .split("\x1b[J")
        .filter(|frame| frame.contains("newest"))
        .collect();
    assert!(frames.len() > 3, "{view:?}");
    for frame in frames {
        assert!(frame.lines().count() <= 20, "{frame:?}");
        let visible = |line: &str| {
            line.split("\x1b[K").next().map_or(0, |line| {
                line.rsplit('\r').next().unwrap_or(line).chars().count()
            })
        };
        assert!(
            frame.split("\r\n").all(|line| visible(line) <= 50),
            "{frame:?}"
        );
    }
}
