//! An independent reader: DuckDB, pandas and pyarrow, where `EFD_PYTHON` points to an interpreter that has them.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use efd_central_lake::{Lake, Options};
use efd_central_log::Follower;
use efd_shared_avro::Value;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::world::World;

/// Reads the lake by a glob with both, and compares with the oracle to the bit of each double.
const SCRIPT: &str = include_str!("check.py");

#[test]
fn duckdb_and_pandas_read_the_same() {
    let Some(python) = std::env::var_os("EFD_PYTHON") else {
        return efd_tests_testkit::skip(
            "duckdb_and_pandas_read_the_same",
            &"EFD_PYTHON is not set",
        );
    };
    let mut world = World::new(11);
    let root = TempDir::new().unwrap();
    let (mut lake, progress) = Lake::open(root.path().to_owned(), Options::default()).unwrap();
    let mut follower = Follower::new(Arc::clone(&world.log), progress);
    for _ in 0..3 {
        (0..60).for_each(|_| world.append());
        world.feed(&mut lake, &mut follower, usize::MAX);
        lake.commit(world.clock).unwrap();
    }
    let rows = world.oracle.iter().map(|(name, row)| {
        let fields = match row.topic.as_str() {
            "lsst.sal.Test.all" | "ros.arm.state" => world.columns(&row.schema),
            _ => Vec::new(),
        };
        let values: serde_json::Map<_, _> = fields
            .into_iter()
            .zip(row.values.iter().map(plain))
            .collect();
        json!({
            "name": [name.0, name.1, name.2, name.3, name.4],
            "site": row.site, "topic": row.topic, "time": row.time, "values": values,
        })
    });
    let oracle = root.path().join("_oracle.json");
    fs::write(&oracle, Json::Array(rows.collect()).to_string()).unwrap();
    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .arg(root.path())
        .arg(&oracle)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    println!("{}", text(&output.stdout));
}

/// Doubles as their bits: JSON has no NaN.
fn plain(value: &Value) -> Json {
    match value {
        Value::Boolean(value) => json!(value),
        Value::Long(value) => json!(value),
        Value::Double(value) => json!(format!("{:016x}", value.to_bits())),
        Value::String(text) => json!(text),
        Value::Bytes(bytes) => json!(bytes),
        Value::Fixed(bytes) => json!(bytes),
        Value::Enum { symbol, .. } => json!(symbol),
        Value::Optional(value) => value.as_deref().map_or(Json::Null, plain),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Record(fields) | Value::Map(fields) => {
            let fields = fields.iter();
            fields
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect()
        }
    }
}
