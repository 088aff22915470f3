//! Reads a lake back: every file that a glob finds, and the chain of commits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};
use efd_central_lake::Commit;
use efd_shared_avro::Value;
use efd_shared_model::UtcNanos;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};

use crate::cells;
use crate::world::{Expected, Name};

pub fn parquet_files(root: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|end| end == "parquet") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("efd_site=")
        {
            walk(&path, &mut found);
        }
    }
    found.sort();
    found
}

pub fn commits(root: &Path) -> Vec<Commit> {
    (1..)
        .map(|n| root.join(format!("_commits/{n:020}.json")))
        .take_while(|path| path.exists())
        .map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
        .collect()
}

/// The files by the commits, after checking that they are what the commits say.
pub fn live_files(root: &Path) -> BTreeSet<PathBuf> {
    let mut live = BTreeMap::new();
    let commits = commits(root);
    for commit in &commits {
        for removed in &commit.removed {
            assert!(
                live.remove(removed).is_some(),
                "{removed} removed and not there"
            );
        }
        for file in &commit.added {
            assert!(
                live.insert(file.path.clone(), file.clone()).is_none(),
                "{}",
                file.path
            );
        }
    }
    let totals = commits
        .last()
        .map(|commit| commit.totals)
        .unwrap_or_default();
    assert_eq!(totals.files, live.len() as u64);
    assert_eq!(
        totals.rows,
        live.values().map(|file| file.rows).sum::<u64>()
    );
    assert_eq!(
        totals.bytes,
        live.values().map(|file| file.bytes).sum::<u64>()
    );
    for file in live.values() {
        let bytes = fs::read(root.join(&file.path)).unwrap();
        assert_eq!(bytes.len() as u64, file.bytes, "{}", file.path);
        let digest: String = Sha256::digest(&bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(digest, file.sha256);
    }
    live.into_keys().map(|path| root.join(path)).collect()
}

#[derive(Debug, Default)]
pub struct Found {
    pub rows: BTreeMap<Name, Expected>,
    pub classes: BTreeSet<String>,
}

/// Every row, with all that a file must be true to: its folder, its order, its metadata.
pub fn read(files: impl IntoIterator<Item = PathBuf>) -> Found {
    let mut found = Found::default();
    for path in files {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        let pairs = builder
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .unwrap()
            .clone();
        let value = |key: &str| {
            pairs
                .iter()
                .find(|pair| pair.key == key)
                .unwrap()
                .value
                .clone()
                .unwrap()
        };
        let (site, topic, schema) = (value("efd.site"), value("efd.topic"), value("efd.schema"));
        assert!(
            path.to_str()
                .unwrap()
                .contains(&format!("efd_site={site}/"))
        );
        assert!(path.to_str().unwrap().contains(&schema[..8]));
        let mut before = None;
        for batch in builder.build().unwrap() {
            let batch = batch.unwrap();
            for row in 0..batch.num_rows() {
                let (name, expected, class) = read_row(&batch, row, (&site, &topic, &schema));
                let date = format!("efd_date={}", UtcNanos(expected.time).date());
                assert!(path.parent().unwrap().ends_with(date), "{}", path.display());
                let key = Some((expected.time, name.clone()));
                assert!(before < key, "{}: not sorted", path.display());
                before = key;
                found.classes.insert(class);
                let twice = found.rows.insert(name.clone(), expected);
                assert!(twice.is_none(), "{name:?} is there twice");
            }
        }
    }
    found
}

fn read_row(
    batch: &RecordBatch,
    row: usize,
    (site, topic, schema): (&str, &str, &str),
) -> (Name, Expected, String) {
    let text = |name: &str| batch[name].as_string::<i32>().value(row).to_owned();
    let name = (
        text("efd_edge"),
        text("efd_epoch"),
        text("efd_lane"),
        batch["efd_block"].as_primitive::<Int64Type>().value(row),
        batch["efd_index"].as_primitive::<Int32Type>().value(row),
    );
    let columns = batch.schema();
    let fields = columns.fields().iter().zip(batch.columns());
    // `time` is the first, ours are the last nine.
    let values = fields
        .skip(1)
        .take(batch.num_columns() - 10)
        .map(|(field, array)| cells::cell(field, array, row));
    let expected = Expected {
        values: values.collect(),
        site: site.into(),
        topic: topic.into(),
        schema: schema.into(),
        time: batch["time"]
            .as_primitive::<TimestampNanosecondType>()
            .value(row),
        origin: match text("efd_time_origin").as_str() {
            "snd_stamp" => "snd_stamp",
            "source" => "source",
            "reception" => "reception",
            other => panic!("{other}"),
        },
        implausible: batch["efd_implausible"].as_boolean().value(row),
        latin1: batch["efd_latin1"].as_boolean().value(row),
    };
    (name, expected, text("efd_class"))
}

/// Equal to the bit: NaN by its payload.
pub fn assert_same(found: &BTreeMap<Name, Expected>, oracle: &BTreeMap<Name, Expected>) {
    let (left, right): (Vec<_>, Vec<_>) = (found.keys().collect(), oracle.keys().collect());
    assert_eq!(left, right, "names");
    for (name, found) in found {
        let expected = &oracle[name];
        let bits = |expected: &Expected| {
            let mut plain = expected.clone();
            let values = std::mem::take(&mut plain.values);
            (
                format!("{plain:?}"),
                values.iter().map(bits_of).collect::<Vec<_>>(),
            )
        };
        assert_eq!(bits(found), bits(expected), "{name:?}");
    }
}

fn bits_of(value: &Value) -> String {
    match value {
        Value::Double(value) => format!("{:016x}", value.to_bits()),
        Value::Array(items) => items.iter().map(bits_of).collect::<Vec<_>>().join(","),
        Value::Optional(Some(value)) => format!("some {}", bits_of(value)),
        Value::Record(fields) | Value::Map(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| format!("{name}: {}", bits_of(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        other => format!("{other:?}"),
    }
}
