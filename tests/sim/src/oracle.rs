//! What was published, written down before it is encoded: the answer key of every end-to-end test.
//!
//! `publishers.json`: one entry for each (topic, instance) with its identity, the last sequence number, and the topic's name on
//! the bus.
//! `values/<topic>.jsonl` where asked for: one line a sample, `{"efd_seq": …, "fields": {…}}`, doubles in the shortest form
//! that reads back, `NaN` and `Infinity` as Python's json writes and reads them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use efd_shared_types::SalTopic;
use serde_json::{Value as Json, json};

use crate::values::{Value, expected_text};

/// How a publisher signs its samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Publisher {
    /// `lsst.sal.Test.scalars`
    pub(crate) topic: String,
    pub(crate) sal_index: Option<i32>,
    pub(crate) identity: String,
    pub(crate) origin: i64,
}

/// What was published, as the oracle has it.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// The last sequence number of each publisher, which began at 1.
    pub(crate) last: BTreeMap<Publisher, i64>,
    /// `Test_scalars_0ad55b18` → `lsst.sal.Test.scalars`
    pub(crate) by_dds_topic: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(crate) struct Oracle {
    folder: PathBuf,
    values: Option<BTreeMap<String, BufWriter<File>>>,
    published: Published,
}

impl Oracle {
    /// `keep_values`: write every sample's fields, not just how many there were.
    pub(crate) fn create(folder: &Path, keep_values: bool) -> io::Result<Self> {
        fs::create_dir_all(folder.join("values"))?;
        let values = keep_values.then(BTreeMap::new);
        Ok(Self {
            folder: folder.to_owned(),
            values,
            published: Published::default(),
        })
    }

    /// Must be called before the sample is encoded.
    pub(crate) fn note(
        &mut self,
        publisher: &Publisher,
        sequence: i64,
        topic: &SalTopic,
        values: &[Value],
    ) -> io::Result<()> {
        if let Some(files) = &mut self.values {
            if !files.contains_key(&publisher.topic) {
                let path = self
                    .folder
                    .join("values")
                    .join(format!("{}.jsonl", publisher.topic));
                let file = File::options().create(true).append(true).open(path)?;
                files.insert(publisher.topic.clone(), BufWriter::new(file));
            }
            if let Some(file) = files.get_mut(&publisher.topic) {
                let mut line = String::with_capacity(256);
                line.push_str("{\"seq\":");
                line.push_str(&sequence.to_string());
                line.push_str(",\"fields\":{");
                for (index, (field, value)) in topic.fields.iter().zip(values).enumerate() {
                    line.push_str(if index == 0 { "\"" } else { ",\"" });
                    line.push_str(&field.name);
                    line.push_str("\":");
                    write_value(value, &mut line);
                }
                line.push_str("}}\n");
                file.write_all(line.as_bytes())?;
            }
        }
        let Published { last, by_dds_topic } = &mut self.published;
        match last.get_mut(publisher) {
            Some(last) => *last = sequence,
            None => {
                last.insert(publisher.clone(), sequence);
                by_dds_topic.insert(topic.dds_topic.clone(), publisher.topic.clone());
            }
        }
        Ok(())
    }

    /// Everything noted is in the files when this returns.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        for file in self.values.iter_mut().flat_map(BTreeMap::values_mut) {
            file.flush()?;
        }
        let Published { last, by_dds_topic } = &self.published;
        let dds_names: BTreeMap<&str, &str> = by_dds_topic
            .iter()
            .map(|(dds, topic)| (topic.as_str(), dds.as_str()))
            .collect();
        let publishers = last.iter().map(|(publisher, last)| {
            let Publisher {
                topic,
                sal_index,
                identity,
                origin,
            } = publisher;
            json!({
                "topic": topic, "dds_topic": dds_names.get(topic.as_str()), "sal_index": sal_index,
                "identity": identity, "origin": origin, "last_seq": last,
            })
        });
        let publishers: Vec<Json> = publishers.collect();
        let staged = self.folder.join("publishers.json.new");
        fs::write(&staged, serde_json::to_string(&publishers)?)?;
        fs::rename(staged, self.folder.join("publishers.json"))
    }
}

/// Reads what [`Oracle::flush`] wrote.
pub(crate) fn read_published(folder: &Path) -> Result<Published> {
    let path = folder.join("publishers.json");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let entries: Vec<Json> =
        serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    let mut published = Published::default();
    for entry in entries {
        let text = |key: &str| {
            entry[key]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("{key} of {entry}"))
        };
        let publisher = Publisher {
            topic: text("topic")?,
            sal_index: entry["sal_index"].as_i64().map(|index| index as i32),
            identity: text("identity")?,
            origin: entry["origin"].as_i64().context("origin")?,
        };
        if let Ok(dds) = text("dds_topic") {
            published.by_dds_topic.insert(dds, publisher.topic.clone());
        }
        let last = entry["last_seq"].as_i64().context("last_seq")?;
        published.last.insert(publisher, last);
    }
    Ok(published)
}

fn write_value(value: &Value, line: &mut String) {
    let float = |value: f64, line: &mut String| {
        if value.is_finite() {
            line.push_str(&format!("{value:?}"));
        } else if value.is_nan() {
            line.push_str("NaN");
        } else {
            line.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
        }
    };
    match value {
        Value::Boolean(value) => line.push_str(if *value { "true" } else { "false" }),
        Value::Integer(value) => line.push_str(&value.to_string()),
        Value::Single(value) => float(f64::from(*value), line),
        Value::Double(value) => float(*value, line),
        Value::Text(bytes) => line.push_str(&Json::from(expected_text(bytes)).to_string()),
        Value::List(values) => {
            for (index, value) in values.iter().enumerate() {
                line.push(if index == 0 { '[' } else { ',' });
                write_value(value, line);
            }
            if values.is_empty() {
                line.push('[');
            }
            line.push(']');
        }
    }
}
