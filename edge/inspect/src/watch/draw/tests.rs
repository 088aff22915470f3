use efd_shared_model::{LossReason, UtcNanos};

use super::super::state::{Losses, Lost};
use super::*;

const SECOND: i64 = 1_000_000_000;
const BEGIN: UtcNanos = UtcNanos(1_795_478_400 * SECOND);
const WIDE: Window = Window {
    columns: 200,
    rows: 40,
};

fn view() -> View {
    let count = |records| Count {
        records,
        bytes: records * 1024,
    };
    let component = |name: &str, records| (name.to_owned(), count(records));
    View {
        utc: UtcNanos(BEGIN.0 + 5 * SECOND),
        began: BEGIN,
        interval: Some(Duration::from_secs(2)),
        total: count(1_003),
        components: vec![
            component("MTM1M3", 1_000),
            component("MTMount", 3),
            component("ATDome", 0),
        ],
        lanes: vec![
            component("events", 3),
            component("losses", 0),
            component("telemetry", 1_000),
        ],
        lag: vec![Lag {
            destination: Some("centre".to_owned()),
            blocks: 12,
            bytes: 3 << 20,
            oldest: Some(UtcNanos(BEGIN.0 + 4 * SECOND)),
        }],
        since_begin: Losses::new(),
        last_hour: Losses::from([(
            LossReason::DdsGap,
            Lost {
                losses: 2,
                count: 7,
                uncounted: 1,
            },
        )]),
        buffer_bytes: 5 << 30,
        free_bytes: Some(80 << 30),
        filling: Some(2048.0),
        full_in: Some(Duration::from_secs(90_000)),
        newest: Some(UtcNanos(BEGIN.0 + 5 * SECOND - SECOND / 5)),
        age: Some(Duration::from_millis(200)),
        passed_over: 0,
        notices: Vec::new(),
    }
}

fn canvas() -> Canvas {
    let options = Options {
        every: Duration::from_secs(1),
        count: None,
        json: false,
    };
    Canvas::new(Path::new("/var/lib/buffer"), &options)
}

#[test]
fn a_view() {
    let expected = "\
/var/lib/buffer   2026-11-24T00:00:05Z   every 1 s
newest  block 0.2 s old, of 2026-11-24T00:00:04Z
rate    502 records/s, 501.5 KiB/s; events 1.5; telemetry 500
lag     centre has not acknowledged 12 blocks, about 3.0 MiB, the oldest 1 s
losses  since 2026-11-24T00:00:00Z: none; in the last hour: dds_gap 7 and 1 of unknown count
disk    5.0 GiB of buffer, 80.0 GiB free: full in 25 h 0 min at 2.0 KiB/s

COMPONENT   RECORDS/S       BYTES/S
MTM1M3            500     500.0 KiB
MTMount           1.5       1.5 KiB
ATDome              0           0 B";
    assert_eq!(canvas().lines(&view(), WIDE).join("\n"), expected);
}

#[test]
fn what_is_not_known_yet_and_what_is_wrong() {
    let mut view = view();
    view.interval = None;
    view.components.clear();
    view.lag[0].blocks = 0;
    view.free_bytes = None;
    view.newest = None;
    view.passed_over = 3;
    view.notices = (1..=5).map(|n| format!("no \x1b[31m {n}")).collect();
    let text = canvas().lines(&view, WIDE).join("\n");
    for expected in [
        "newest  no block yet",
        "rate    -",
        "centre has acknowledged everything",
        "disk    5.0 GiB of buffer\n",
        "3 blocks came too fast",
        "! no \u{fffd}[31m 5",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains('\x1b') && !text.contains("[31m 2"), "{text}");
    view.lag[0].destination = None;
    let text = canvas().lines(&view, WIDE).join("\n");
    assert!(text.contains("lag     nothing to acknowledge"), "{text}");
    view.lag[0].blocks = 2;
    let text = canvas().lines(&view, WIDE).join("\n");
    let expected = "nobody has acknowledged anything: 2 blocks, about 3.0 MiB, the oldest 1 s";
    assert!(text.contains(expected), "{text}");
    view.newest = Some(BEGIN);
    view.age = Some(Duration::from_secs(31));
    let text = canvas().lines(&view, WIDE).join("\n");
    assert!(
        text.contains("31 s old, of 2026-11-24T00:00:00Z: the edge is down"),
        "{text}"
    );
}

#[test]
fn it_fits_every_window() {
    let mut view = view();
    view.components = (0..50)
        .map(|n| (format!("Component{n}"), Count::default()))
        .collect();
    view.notices = vec!["a notice that is a good deal longer than a window is wide".to_owned()];
    for rows in 0..70 {
        for columns in [0, 1, 10, 37, 80, 200] {
            let lines = canvas().lines(&view, Window { columns, rows });
            assert!(lines.len() < usize::from(rows).max(1), "{rows}: {lines:?}");
            assert!(
                lines
                    .iter()
                    .all(|line| line.chars().count() <= columns.into())
            );
        }
    }
    let lines = canvas().lines(
        &view,
        Window {
            columns: 80,
            rows: 20,
        },
    );
    assert_eq!(lines.len(), 19);
    let last = &lines[17..];
    assert_eq!(last[0], "and 41 more");
    assert!(last[1].starts_with("! a notice"));
}

#[test]
fn each_view_is_drawn_over_the_one_before() {
    let (mut canvas, mut view) = (canvas(), view());
    let first = canvas.draw(&view, WIDE);
    assert!(
        !first.contains("\x1b[11A") && first.ends_with("\x1b[K\n\x1b[J"),
        "{first:?}"
    );
    view.components.pop();
    let second = canvas.draw(&view, WIDE);
    assert!(second.starts_with("\x1b[11A\r/var"), "{second:?}");
    let third = canvas.draw(&view, WIDE);
    assert!(third.starts_with("\x1b[10A\r/var"), "{third:?}");
    let narrow = Window {
        columns: 40,
        rows: 40,
    };
    assert!(canvas.draw(&view, narrow).starts_with("\x1b[H\x1b[2J/var"));
    // No mode of the terminal is changed: nothing has to be put back.
    for text in [first, second, third] {
        assert!(!text.contains("\x1b[?"), "{text:?}");
    }
}

#[test]
fn spans() {
    for (millis, expected) in [
        (0, "0 s"),
        (240, "0.2 s"),
        (9_999, "9.9 s"),
        (10_500, "10 s"),
        (119_999, "119 s"),
        (120_000, "2 min 0 s"),
        (7_199_000, "119 min 59 s"),
        (90_061_000, "25 h 1 min"),
        (172_800_000, "2 d 0 h"),
        (1_000_000_000, "11 d 13 h"),
    ] {
        assert_eq!(span(Duration::from_millis(millis)), expected);
    }
}
