//! Readers that share no code with us: DuckDB, fastavro and Python's own csv and json against an oracle of values that
//! were written down before they were encoded.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use efd_shared_avro::Value;
use efd_shared_model::{
    BlockNumber, LaneKind, RecordId, Schema, StreamDeclaration, StreamNumber, TopicKind, UtcNanos,
};
use efd_shared_store::{Options, Store};
use efd_tests_testkit::install::Installer;
use efd_tests_testkit::python::run_json;
use serde_json::{Value as Json, json};

use crate::world::{BEGIN, Numbers, SECOND, block, datum, epoch, log, run};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/inspect/check.py");
const WITHIN: Duration = Duration::from_secs(120);

const TOPICS: [(&str, &str); 2] = [
    (
        "lsst.sal.Test.all",
        r#"{"name":"All","type":"record","fields":[{"name":"flag","type":"boolean"},{"name":"count","type":"long"},{"name":"value","type":"double","units":"deg","description":"Where it points"},{"name":"text","type":"string"},{"name":"raw","type":"bytes"},{"name":"flags","type":{"type":"array","items":"boolean"}},{"name":"counts","type":{"type":"array","items":"long"}},{"name":"values","type":{"type":"array","items":"double"}},{"name":"texts","type":{"type":"array","items":"string"}}]}"#,
    ),
    (
        "lsst.sal.Test.time",
        r#"{"name":"Time","type":"record","fields":[{"name":"time","type":"double"},{"name":"efd_block","type":"long"}]}"#,
    ),
];

fn double(numbers: &mut Numbers) -> f64 {
    match numbers.below(12) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => -0.0,
        4 => f64::MIN_POSITIVE / 8.0,
        5 => 1e300,
        _ => numbers.next() as i64 as f64 / 1e6,
    }
}

fn text(numbers: &mut Numbers) -> String {
    let words = [
        "",
        "ENABLED",
        "a,b",
        "\"quoted\"",
        "två\nlines",
        "🔭",
        " ",
        "\\",
        "NaN",
    ];
    words[numbers.below(9) as usize].to_owned()
}

fn long(numbers: &mut Numbers) -> i64 {
    match numbers.below(6) {
        0 => i64::MIN,
        1 => i64::MAX,
        _ => numbers.next() as i64 >> numbers.below(60),
    }
}

fn values(topic: usize, numbers: &mut Numbers) -> Vec<Value> {
    if topic == 1 {
        return vec![Value::Double(double(numbers)), Value::Long(long(numbers))];
    }
    let length = numbers.below(4);
    let raw = (0..numbers.below(5))
        .map(|_| numbers.next() as u8)
        .collect();
    vec![
        Value::Boolean(numbers.below(2) == 0),
        Value::Long(long(numbers)),
        Value::Double(double(numbers)),
        Value::String(text(numbers)),
        Value::Bytes(raw),
        Value::Array(
            (0..length)
                .map(|_| Value::Boolean(numbers.below(2) == 0))
                .collect(),
        ),
        Value::Array((0..length).map(|_| Value::Long(long(numbers))).collect()),
        Value::Array(
            (0..length)
                .map(|_| Value::Double(double(numbers)))
                .collect(),
        ),
        Value::Array((0..length).map(|_| Value::String(text(numbers))).collect()),
    ]
}

/// Doubles as their bits: JSON has no NaN. Bytes as hexadecimal.
fn plain(value: &Value) -> Json {
    match value {
        Value::Boolean(value) => json!(value),
        Value::Long(value) => json!(value),
        Value::Double(value) => json!(format!("{:016x}", value.to_bits())),
        Value::String(text) => json!(text),
        Value::Bytes(bytes) => json!(
            bytes
                .iter()
                .map(|it| format!("{it:02x}"))
                .collect::<String>()
        ),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Fixed(_) | Value::Enum { .. } | Value::Optional(_) => unreachable!("flat"),
        Value::Record(_) | Value::Map(_) => unreachable!("flat"),
    }
}

/// Gives the oracle: every record with its name and values.
fn write(root: &Path) -> Json {
    let options = Options {
        segment_bytes_max: 40_000,
        reserve_bytes: 0,
        ..Options::default()
    };
    let (mut store, _) = Store::open(root, options).unwrap();
    let schemas = TOPICS.map(|(_, text)| Schema::new(text));
    let stream = |index: usize| StreamDeclaration {
        number: StreamNumber(index as u32 + 1),
        topic: TOPICS[index].0.into(),
        dds_topic: String::new(),
        dds_type: String::new(),
        kind: TopicKind::Telemetry,
        schema: schemas[index].fingerprint(),
    };
    store
        .declare(&epoch(1), &[stream(0), stream(1)], &schemas)
        .unwrap();
    let lane = LaneKind::Telemetry.as_str().parse().unwrap();
    let (mut numbers, mut oracle) = (Numbers(5), Vec::new());
    for number in 1..=30 {
        let mut written: Vec<_> = (0..1 + numbers.below(60))
            .map(|_| {
                let topic = numbers.below(2) as usize;
                let time = BEGIN + numbers.below(3600 * SECOND as u64) as i64;
                let instance = (numbers.below(2) == 0).then(|| numbers.below(4) as i32);
                (topic, time, instance, values(topic, &mut numbers))
            })
            .collect();
        // A block has its records by stream.
        written.sort_by_key(|(topic, ..)| *topic);
        for (index, (topic, time, instance, values)) in written.iter().enumerate() {
            let id = RecordId {
                block: log(1, LaneKind::Telemetry).block(BlockNumber(number)),
                index: index as u32,
            };
            oracle.push(json!({
                "topic": TOPICS[*topic].0, "id": id.to_string(), "time": time, "instance": instance,
                "values": values.iter().map(plain).collect::<Vec<_>>(),
            }));
        }
        let records = written
            .iter()
            .map(|(topic, time, instance, values)| {
                (*topic as u32 + 1, *time, *instance, datum(values))
            })
            .collect();
        let block = block(log(1, LaneKind::Telemetry), number, records);
        store
            .append(&lane, &[block], None, UtcNanos(BEGIN))
            .unwrap();
    }
    store.close().unwrap();
    Json::Array(oracle)
}

/// Folder and exported files of every format, with the oracle beside them.
fn exported() -> (tempfile::TempDir, PathBuf, usize) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("buffer");
    let oracle = write(&root);
    let place = folder.path().to_owned();
    fs::write(place.join("oracle.json"), oracle.to_string()).unwrap();
    for format in ["parquet", "csv", "avro"] {
        let to = place.join(format);
        let ran = run(
            "export",
            &root,
            &["--format", format, "--to", to.to_str().unwrap()],
        );
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    }
    for (file, arguments) in [("cat.jsonl", &[][..]), ("raw.jsonl", &["--raw"])] {
        let ran = run("cat", &root, arguments);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        fs::write(place.join(file), ran.out).unwrap();
    }
    let records = oracle.as_array().unwrap().len();
    (folder, place, records)
}

#[test]
fn other_readers_find_every_value() {
    const NAME: &str = "export and cat read by DuckDB and Python";
    let python = match Installer::new().and_then(|installer| installer.python()) {
        Ok(python) => python,
        Err(error) => return efd_tests_testkit::skip(NAME, &error),
    };
    let (_folder, place, records) = exported();
    assert!(records > 500, "{records}");
    let check = || {
        let mut command = python.command(SCRIPT);
        command.arg(&place);
        run_json(command, WITHIN)
    };
    let read = check().unwrap();
    for reader in ["duckdb", "csv", "avro", "cat", "raw"] {
        assert_eq!(read[reader], records, "{reader}: {read}");
    }
    // It does not find everything good: one digit of one value makes it fail.
    let lines = fs::read_to_string(place.join("cat.jsonl")).unwrap();
    let wrong = lines.replacen("\"count\":", "\"count\":1", 1);
    assert_ne!(wrong, lines);
    fs::write(place.join("cat.jsonl"), wrong).unwrap();
    assert!(check().is_err());
}
