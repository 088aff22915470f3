//! InfluxDB 1.6.7 is the judge: what it answered is in `fixtures/influxdb-1.6.7.jsonl`.
//!
//! With `EFD_INFLUXDB_URL` set to one that runs (`http://127.0.0.1:8086`) the answers are recorded anew, from a database
//! `efd` that is dropped first.

mod support;

use std::path::PathBuf;

use efd_shared_influxql::{Epoch, Request};
use serde_json::{Value, json};

use support::data::{self, DATABASE};
use support::memory::{self, Memory};
use support::statements::{self, Question};

const RANDOM: usize = 300;
/// Relative, of what is computed from several floats.
const TOLERANCE: f64 = 1e-9;
/// Of deviations near 1e9, which are less exact in InfluxDB: it sums the values up as they are.
const TOLERANCE_NEAR_1E9: f64 = 1e-4;

#[test]
fn answers_as_influxdb_does() {
    if let Ok(url) = std::env::var("EFD_INFLUXDB_URL") {
        record(&url);
    }
    let recorded = std::fs::read_to_string(fixture()).expect("the recorded answers");
    let mut source = Memory::new(data::topics());
    let (mut failures, mut agreed) = (Vec::new(), 0);
    for line in recorded.lines() {
        let entry: Value = serde_json::from_str(line).expect("a line is JSON");
        for windows in [0, 1, 5] {
            source.windows = windows;
            match compare(&entry, &mut source) {
                Ok(()) => agreed += 1,
                Err(difference) => failures.push(format!(
                    "{}\n    windows {windows}: {difference}",
                    entry["q"]
                )),
            }
        }
    }
    assert!(
        source.given > 100,
        "windows were given {} times",
        source.given
    );
    assert!(
        failures.is_empty(),
        "{} differ, {agreed} agree:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn compare(entry: &Value, source: &mut Memory) -> Result<(), String> {
    let text = entry["q"].as_str().expect("a statement");
    let request = Request {
        statements: text,
        database: entry["db"].as_str(),
        epoch: Epoch::parse(entry["epoch"].as_str().unwrap_or_default()),
        chunk_rows: entry["chunk_size"].as_u64(),
        now: entry["now"].as_i64().expect("when it was recorded"),
        ..memory::request(text)
    };
    let expected = &entry["answer"];
    let actual = match memory::ask(&request, source) {
        Ok(documents) => {
            let documents = documents
                .iter()
                .map(|it| serde_json::from_str(it).expect("JSON"));
            (200, Value::Array(documents.collect()))
        }
        Err(error) => (400, json!([{ "error": error.to_string() }])),
    };
    let is_computed = [
        "mean",
        "stddev",
        "sum",
        "moving_average",
        "derivative",
        "difference",
        "linear",
        "median",
    ];
    let is_near_1e9 = text.contains("stddev") && text.contains("pressure");
    let relative = match is_computed
        .iter()
        .any(|it| text.to_lowercase().contains(it))
    {
        true if is_near_1e9 => TOLERANCE_NEAR_1E9,
        true => TOLERANCE,
        false => 0.0,
    };
    // What has left a moving average leaves a rest in InfluxDB's.
    let rest = if text.contains("moving_average") {
        1e-9
    } else {
        0.0
    };
    let tolerance = Tolerance {
        relative,
        absolute: rest,
    };
    if entry["status"] != actual.0 || !equal(expected, &actual.1, tolerance) {
        return Err(format!(
            "\n    influxdb {} {expected}\n    here     {} {}",
            entry["status"], actual.0, actual.1
        ));
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
struct Tolerance {
    relative: f64,
    absolute: f64,
}

fn equal(a: &Value, b: &Value, tolerance: Tolerance) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b, tolerance))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b, tolerance)))
        }
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a == b,
            _ => {
                let [a, b] = [a, b].map(|it| it.as_f64().expect("a number"));
                (a - b).abs() <= tolerance.relative * a.abs().max(b.abs()) + tolerance.absolute
            }
        },
        (a, b) => a == b,
    }
}

fn fixture() -> PathBuf {
    [
        env!("CARGO_MANIFEST_DIR"),
        "tests",
        "fixtures",
        "influxdb-1.6.7.jsonl",
    ]
    .iter()
    .collect()
}

fn record(url: &str) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let post = |question: &Question| -> (u16, String) {
        let mut form = vec![("q", question.statements.clone())];
        form.extend(question.database.clone().map(|it| ("db", it)));
        form.push(("epoch", question.epoch.clone()));
        if let Some(rows) = question.chunk_rows {
            form.extend([
                ("chunked", "true".to_owned()),
                ("chunk_size", rows.to_string()),
            ]);
        }
        let mut response = agent
            .post(format!("{url}/query"))
            .send_form(form)
            .expect("InfluxDB answers");
        let text = response.body_mut().read_to_string().expect("text");
        let documents: Vec<&str> = text.lines().collect();
        (response.status().as_u16(), documents.join(","))
    };
    let plain = |text: &str| Question {
        statements: text.to_owned(),
        database: None,
        epoch: "ns".to_owned(),
        chunk_rows: None,
    };
    for text in [
        format!("DROP DATABASE {DATABASE}"),
        format!("CREATE DATABASE {DATABASE}"),
    ] {
        assert_eq!(post(&plain(&text)).0, 200);
    }
    let written = agent
        .post(format!("{url}/write?db={DATABASE}"))
        .send(data::line_protocol(&data::topics()));
    assert_eq!(
        written.expect("InfluxDB takes the data").status().as_u16(),
        204
    );

    let mut lines = String::new();
    for question in statements::written()
        .into_iter()
        .chain(statements::random(RANDOM))
    {
        let (status, answer) = post(&question);
        // The answer as it came: to read numbers and to write them again may change them.
        let mut line = json!({
            "q": question.statements,
            "db": question.database,
            "epoch": question.epoch,
            "chunk_size": question.chunk_rows,
            "now": now(),
            "status": status,
        })
        .to_string();
        line.truncate(line.len() - 1);
        lines.push_str(&format!(
            "{line},\"answer\":[{answer}]}}
"
        ));
    }
    std::fs::write(fixture(), lines).expect("the fixture is written");
}

#[allow(
    clippy::disallowed_methods,
    reason = "the recorder is a shell: InfluxDB has a clock too"
)]
fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_nanos()).expect("before 2262")
}
