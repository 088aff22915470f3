use std::sync::{Arc, Mutex};

use efd_shared_model::UtcNanos;
use serde_json::{Map, Value};
use tracing::Level;
use tracing_subscriber::layer::SubscriberExt;

use super::collapse::{Collapse, KINDS_MAX, WINDOW_NANOS};
use super::fields::FIELD_CHARS_MAX;
use super::render::Line;
use super::*;
use crate::secret::Secret;

const SECOND: i64 = 1_000_000_000;

fn line(message: &str) -> Line {
    Line {
        time: UtcNanos(1_795_399_261_112_196_079),
        level: Level::WARN,
        target: "efd".to_owned(),
        message: message.to_owned(),
        fields: Map::new(),
        spans: Vec::new(),
        repeated: 0,
    }
}

fn told(lines: Vec<Line>) -> Vec<(String, u64)> {
    lines
        .into_iter()
        .map(|line| (line.message, line.repeated))
        .collect()
}

#[test]
fn repeats_collapse_and_are_told_at_the_end() {
    let mut collapse = Collapse::default();
    let a = |repeated| ("a".to_owned(), repeated);
    assert_eq!(told(collapse.admit(line("a"), 0)), [a(0)]);
    assert_eq!(collapse.deadline(), Some(WINDOW_NANOS));
    for second in 1..10 {
        assert!(collapse.admit(line("a"), second * SECOND).is_empty());
    }
    assert!(collapse.expire(WINDOW_NANOS - 1).is_empty());
    assert_eq!(told(collapse.expire(WINDOW_NANOS)), [a(9)]);
    assert_eq!(collapse.deadline(), None);
    // The next one is news again.
    assert_eq!(told(collapse.admit(line("a"), WINDOW_NANOS)), [a(0)]);
    // Where nobody called `expire` in time, the summary comes with the next line.
    assert!(collapse.admit(line("a"), 19 * SECOND).is_empty());
    assert_eq!(told(collapse.admit(line("a"), 60 * SECOND)), [a(1), a(0)]);
    // A line that was not repeated needs no summary.
    assert!(collapse.close().is_empty());
}

#[test]
fn what_differs_in_level_target_message_or_span_is_not_a_repeat() {
    let mut collapse = Collapse::default();
    let mut other_level = line("a");
    other_level.level = Level::ERROR;
    let mut other_target = line("a");
    other_target.target = "quinn".to_owned();
    let mut other_span = line("a");
    other_span
        .spans
        .push(("session", Map::from_iter([("edge".to_owned(), "x".into())])));
    let mut other_edge = line("a");
    other_edge
        .spans
        .push(("session", Map::from_iter([("edge".to_owned(), "y".into())])));
    for line in [
        line("a"),
        line("b"),
        other_level,
        other_target,
        other_span,
        other_edge,
    ] {
        assert_eq!(collapse.admit(line, 0).len(), 1);
    }
    let mut other_value = line("a");
    other_value.fields.insert("retry_in".to_owned(), 4.into());
    assert!(collapse.admit(other_value, 0).is_empty());
    let summary = collapse.close().remove(0);
    assert_eq!(
        (summary.repeated, &summary.fields["retry_in"]),
        (1, &Value::from(4))
    );
}

#[test]
fn memory_is_bounded_and_nothing_new_is_hidden() {
    let mut collapse = Collapse::default();
    for index in 0..10 * KINDS_MAX {
        assert_eq!(collapse.admit(line(&index.to_string()), 0).len(), 1);
    }
    // The table is full: these are not remembered, so they are written each time.
    assert_eq!(collapse.admit(line("new"), 1).len(), 1);
    assert_eq!(collapse.admit(line("new"), 2).len(), 1);
    // Once the windows have ended there is room.
    assert_eq!(collapse.admit(line("new"), WINDOW_NANOS).len(), 1);
    assert!(collapse.admit(line("new"), WINDOW_NANOS + 1).is_empty());
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `act` logs, as text.
fn logged(format: LogFormat, level: &str, act: impl FnOnce()) -> String {
    let sink = Sink::default();
    let (layer, guard) = layer_to(format, false, Box::new(sink.clone())).unwrap();
    let subscriber = tracing_subscriber::registry()
        .with(filter(Some(level), None).unwrap())
        .with(layer);
    tracing::subscriber::with_default(subscriber, act);
    drop(guard);
    let bytes = sink.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn json_lines_are_flat_and_whole() {
    let text = logged(LogFormat::Json, "debug", || {
        let span = tracing::info_span!("session", edge = "e1", site = tracing::field::Empty);
        span.record("site", "summit");
        let _entered = span.entered();
        let error = io::Error::other("disk\nfull");
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            retry_in = 1.5,
            ratio = f64::NAN,
            level = 3,
            ok = false,
            "Shipping {}",
            "failed"
        );
        tracing::trace!("not at this level");
    });
    let mut lines = text.lines();
    let line: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(lines.next(), None);
    let time = line["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.len() == 30, "{time}");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["target"], module_path!());
    assert_eq!(line["message"], "Shipping failed");
    assert_eq!(line["error"], "disk full");
    assert_eq!(line["retry_in"], 1.5);
    assert_eq!(line["ratio"], "NaN");
    assert_eq!(line["level_"], 3);
    assert_eq!(line["ok"], false);
    let span: Value =
        serde_json::from_str(r#"[{"name":"session","edge":"e1","site":"summit"}]"#).unwrap();
    assert_eq!(line["spans"], span);
}

#[test]
fn text_lines_are_short_and_cannot_be_forged() {
    let mut line = line("Batch acknowledged\n12:00:00Z ERROR forged\x1b[2J");
    line.fields.insert("through".to_owned(), 7.into());
    line.fields.insert("name".to_owned(), "a b".into());
    line.fields.insert("path".to_owned(), "/x".into());
    line.spans.push((
        "session",
        Map::from_iter([("edge".to_owned(), "e1".into())]),
    ));
    assert_eq!(
        line.render(LogFormat::Text, false),
        "02:01:01.112Z WARN  Batch acknowledged 12:00:00Z ERROR forged [2J through=7 name=\"a b\" path=/x in session{edge=e1}\n"
    );
    line.repeated = 9;
    let coloured = line.render(LogFormat::Text, true);
    assert!(coloured.contains("\x1b[33mWARN \x1b[0m"), "{coloured}");
    assert!(coloured.contains("(repeated 9 times)"), "{coloured}");
}

#[test]
fn the_end_of_the_log_tells_what_was_collapsed() {
    let text = logged(LogFormat::Json, "info", || {
        for attempt in 0..1_000 {
            tracing::warn!(attempt, "Broker unreachable");
        }
    });
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["attempt"], lines[0].get("repeated")),
        (&Value::from(0), None)
    );
    assert_eq!(
        (&lines[1]["attempt"], &lines[1]["repeated"]),
        (&Value::from(999), &Value::from(999))
    );
}

#[test]
fn secrets_and_endless_values_do_not_get_in() {
    let text = logged(LogFormat::Json, "info", || {
        let token = Secret::new("hunter2hunter2hunter2").unwrap();
        tracing::info!(
            ?token,
            long = "x".repeat(10 * FIELD_CHARS_MAX),
            "Configured"
        );
    });
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.len() < 2 * FIELD_CHARS_MAX, "{}", text.len());
}

#[test]
fn a_reader_that_is_stuck_does_not_stop_us() {
    struct Stuck(std::sync::mpsc::Receiver<()>, Sink);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _freed = self.0.recv().is_err();
            #[expect(
                clippy::disallowed_methods,
                reason = "a writer that stands in front of one"
            )]
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let (free, stuck) = std::sync::mpsc::channel();
    let sink = Sink::default();
    let out = Box::new(Stuck(stuck, sink.clone()));
    let (layer, guard) = layer_to(LogFormat::Json, false, out).unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        for index in 0..5_000 {
            tracing::info!("line {index}");
        }
    });
    drop(free);
    drop(guard);
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let dropped: u64 = lines.iter().filter_map(|line| line["lines"].as_u64()).sum();
    let written = lines
        .iter()
        .filter(|line| line["message"].as_str().unwrap().starts_with("line "))
        .count();
    assert_eq!(written as u64 + dropped, 5_000);
    assert!(dropped > 3_000, "{dropped}");
}

#[test]
fn the_flag_wins_over_the_variable() {
    let check = |flag, variable, expected: &str| {
        assert_eq!(filter(flag, variable).unwrap().to_string(), expected);
    };
    check(None, None, "info");
    check(None, Some(""), "info");
    check(None, Some("debug"), "debug");
    check(Some("error"), Some("debug"), "error");
    check(Some("info,quinn=warn"), None, "quinn=warn,info");
    let error = filter(None, Some("a=loud")).unwrap_err().to_string();
    assert!(
        error.contains("EFD_LOG") && error.contains("a=loud"),
        "{error}"
    );
    assert_eq!("json".parse(), Ok(LogFormat::Json));
    assert!("xml".parse::<LogFormat>().is_err());
}
