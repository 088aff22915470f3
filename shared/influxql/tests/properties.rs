//! Against a naive oracle, and against whatever may be sent.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use efd_shared_influxql::{FieldKind, Limits, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value as Json;

use support::data::{self, Random, Topic, Value};
use support::memory::{self, Memory};
use support::statements;

const FUNCTIONS: [&str; 10] = [
    "count", "sum", "mean", "min", "max", "first", "last", "spread", "stddev", "median",
];
/// Any window may be merged of these.
const OF_SUMMARIES: usize = 9;

/// Points of one field `x`, at most one a nanosecond.
fn topic(points: &BTreeMap<i64, f64>) -> Topic {
    Topic {
        name: "m".to_owned(),
        fields: vec![("x".to_owned(), FieldKind::Float)],
        rows: points
            .iter()
            .map(|(time, value)| (*time, vec![Some(Value::Float(*value))]))
            .collect(),
    }
}

fn rows(text: &str, source: &mut Memory) -> Vec<Vec<Json>> {
    let documents = memory::ask(&memory::request(text), source).expect("it can be parsed");
    let document: Json = serde_json::from_str(&documents[0]).expect("JSON");
    let result = &document["results"][0];
    assert!(result.get("error").is_none(), "{text}: {result}");
    let values = result["series"][0]["values"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    values
        .into_iter()
        .map(|it| it.as_array().expect("a row").clone())
        .collect()
}

/// In two passes over values that lie near each other.
fn naive(function: &str, values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    let origin = *values.first()?;
    let mean = values.iter().map(|it| it - origin).sum::<f64>() / count;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
    match function {
        "count" => Some(count),
        "sum" => Some(origin * count + mean * count),
        "mean" => Some(origin + mean),
        "min" => Some(min),
        "max" => Some(max),
        "first" => Some(origin),
        "last" => values.last().copied(),
        "spread" => Some(max - min),
        "stddev" if values.len() < 2 => None,
        "stddev" => {
            let squares: f64 = values.iter().map(|it| (it - origin - mean).powi(2)).sum();
            Some((squares / (count - 1.0)).sqrt())
        }
        "median" => Some((sorted[(values.len() - 1) / 2] + sorted[values.len() / 2]) / 2.0),
        other => panic!("{other}: no function"),
    }
}

#[derive(Clone, Debug)]
struct Grouped {
    points: BTreeMap<i64, f64>,
    from: i64,
    length: i64,
    every: i64,
    offset: i64,
    fill: &'static str,
    is_descending: bool,
    limit: usize,
    skipped: usize,
    windows: i64,
}

prop_compose! {
    fn grouped()(
        base in prop::sample::select(vec![0.0, 1e9, -1e9, 1e-6]),
        points in prop::collection::btree_map(0i64..1000, -1e-3..1e-3f64, 0..80),
        from in 0i64..300,
        length in 1i64..700,
        every in prop::sample::select(vec![5i64, 10, 64, 250]),
        offset in -20i64..20,
        fill in prop::sample::select(vec!["null", "none", "previous", "7"]),
        is_descending in any::<bool>(),
        limit in 0usize..6,
        skipped in 0usize..3,
        windows in prop::sample::select(vec![0i64, 1, 5]),
    ) -> Grouped {
        let points = points.into_iter().map(|(time, noise)| (time, base + noise)).collect();
        let skipped = if limit == 0 { 0 } else { skipped };
        Grouped { points, from, length, every, offset, fill, is_descending, limit, skipped, windows }
    }
}

impl Grouped {
    fn statement(&self, columns: &str) -> String {
        let Self {
            from,
            length,
            every,
            offset,
            fill,
            ..
        } = self;
        let mut text = format!(
            "SELECT {columns} FROM m WHERE time >= {from} AND time < {} GROUP BY time({every}ns, {offset}ns) fill({fill})",
            from + length
        );
        if self.is_descending {
            text.push_str(" ORDER BY time DESC");
        }
        if self.limit > 0 {
            write!(text, " LIMIT {} OFFSET {}", self.limit, self.skipped)
                .expect("a string takes everything");
        }
        text
    }

    fn expected(&self, function: &str) -> Vec<(i64, Option<f64>)> {
        let start = |time: i64| time - (time - self.offset).rem_euclid(self.every);
        let end = self.from + self.length;
        let mut groups: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for (time, value) in self.points.range(self.from..end) {
            groups.entry(start(*time)).or_default().push(*value);
        }
        if groups.is_empty() {
            return Vec::new();
        }
        if self.fill != "none" {
            let mut group = start(self.from);
            while group < end {
                groups.entry(group).or_default();
                group += self.every;
            }
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        if self.is_descending {
            groups.reverse();
        }
        let mut previous = None;
        let filled = groups.into_iter().map(|(time, values)| {
            let value = match (values.is_empty(), self.fill) {
                (false, _) => naive(function, &values),
                (true, "previous") => previous,
                (true, "7") => Some(7.0),
                (true, _) if function == "count" => Some(0.0),
                (true, _) => None,
            };
            previous = value;
            (time, value)
        });
        let limit = if self.limit == 0 {
            usize::MAX
        } else {
            self.limit
        };
        filled.skip(self.skipped).take(limit).collect()
    }
}

proptest! {
    #[test]
    fn groups_are_what_a_naive_oracle_says(it in grouped(), function in 0..FUNCTIONS.len()) {
        let function = FUNCTIONS[function];
        let mut source = Memory::new(vec![topic(&it.points)]);
        source.windows = it.windows;
        let actual = rows(&it.statement(&format!("{function}(x)")), &mut source);
        let expected = it.expected(function);
        prop_assert_eq!(actual.len(), expected.len());
        for (row, (time, value)) in actual.iter().zip(&expected) {
            prop_assert_eq!(row[0].as_i64(), Some(*time));
            match (row[1].as_f64(), value) {
                (Some(a), Some(b)) => {
                    // The noise of 1e-3 is to be seen: of deviations no more is lost than the values have themselves.
                    let scale = if function == "stddev" { b.abs().max(1e-5) * 1e-3 } else { b.abs().max(1e-9) * 1e-12 };
                    prop_assert!((a - b).abs() <= scale, "{} {} {}", function, a, b);
                }
                (a, b) => prop_assert_eq!(a, *b, "{} {:?}", function, row),
            }
        }
    }

    #[test]
    fn windows_give_what_points_give(it in grouped(), parts in 1i64..8) {
        let columns: Vec<String> = FUNCTIONS[..OF_SUMMARIES].iter().map(|name| format!("{name}(x)")).collect();
        let text = it.statement(&columns.join(", "));
        let mut source = Memory::new(vec![topic(&it.points)]);
        let of_points = rows(&text, &mut source);
        source.windows = parts;
        let of_windows = rows(&text, &mut source);
        prop_assert_eq!(source.given, 1);
        prop_assert_eq!(of_points.len(), of_windows.len());
        for (a, b) in of_points.iter().zip(&of_windows) {
            prop_assert_eq!(&a[0], &b[0]);
            for ((function, a), b) in FUNCTIONS.iter().zip(&a[1..]).zip(&b[1..]) {
                // A mean near 1e9 is known to 1e-7, and a deviation from means not better.
                let known = if *function == "stddev" { 3e-7 } else { 1e-9 };
                match (a.as_f64(), b.as_f64()) {
                    (Some(a), Some(b)) => {
                        prop_assert!((a - b).abs() <= a.abs() * 1e-12 + known, "{} {} {}", function, a, b);
                    }
                    (a, b) => prop_assert_eq!(a, b),
                }
            }
        }
    }

    #[test]
    fn chunks_hold_what_one_document_holds(seed in 1u64.., chunk_rows in 1u64..30) {
        let text = statements::select(&mut Random(seed));
        let mut source = Memory::new(data::topics());
        let whole = rows(&text, &mut source);
        let request = Request { chunk_rows: Some(chunk_rows), ..memory::request(&text) };
        let documents = memory::ask(&request, &mut source).expect("it can be parsed");
        let mut parts = Vec::new();
        for (index, document) in documents.iter().enumerate() {
            let document: Json = serde_json::from_str(document).expect("JSON");
            let result = &document["results"][0];
            prop_assert_eq!(result["partial"] == true, index + 1 < documents.len());
            let values = result["series"][0]["values"].as_array().cloned().unwrap_or_default();
            prop_assert!(values.len() as u64 <= chunk_rows);
            parts.extend(values.into_iter().map(|it| it.as_array().expect("a row").clone()));
        }
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,200}") {
        drop(memory::ask(&memory::request(&text), &mut Memory::new(data::topics())));
    }

    #[test]
    fn no_words_panic(words in vec(prop::sample::select(WORDS.to_vec()), 0..40)) {
        let text = words.join(" ");
        drop(memory::ask(&memory::request(&text), &mut Memory::new(data::topics())));
    }
}

const WORDS: [&str; 62] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "time",
    "(",
    ")",
    ",",
    ";",
    "*",
    "+",
    "-",
    "/",
    "%",
    "=",
    "!=",
    "<",
    ">=",
    "=~",
    "AND",
    "OR",
    "LIMIT",
    "OFFSET",
    "ORDER",
    "DESC",
    "fill",
    "null",
    "none",
    "previous",
    "linear",
    "mean",
    "max",
    "top",
    "distinct",
    "DISTINCT",
    "derivative",
    "moving_average",
    "encoder",
    "state",
    "salIndex",
    "now()",
    "1h",
    "10s",
    "0",
    "1700000000s",
    "9223372036854775807",
    "0.5",
    "'IDLE'",
    "'2023-11-14'",
    "/x/",
    "/(/",
    "\"lsst.sal.MTMount.elevation\"",
    "AS",
    "SHOW",
    "FIELD",
    "KEYS",
    "MEASUREMENTS",
    "WITH",
    "::",
    "true",
    "tz",
];

/// Each limit is an error that names it and the value.
#[test]
fn limits() {
    let check = |text: &str, limits: Limits, expected: &str| {
        let request = Request {
            limits,
            ..memory::request(text)
        };
        let answer = match memory::ask(&request, &mut Memory::new(data::topics())) {
            Ok(documents) => documents.concat(),
            Err(error) => error.to_string(),
        };
        assert!(answer.contains(expected), "{answer}");
    };
    let few = Limits {
        statement_bytes: 200,
        statements: 2,
        nesting: 8,
        operators: 10,
        fields: 4,
        buckets: 20,
        group_values: 50,
        rows: 30,
        answer_bytes: 2000,
    };
    check(&"x".repeat(201), few, "bytes of a request: 201, limit 200");
    check(
        "SHOW DATABASES;SHOW DATABASES;SHOW DATABASES",
        few,
        "statements of a request: 3, limit 2",
    );
    check(
        &format!("SELECT {}", "(".repeat(50)),
        few,
        "parentheses within parentheses: 9, limit 8",
    );
    check(
        &format!("SELECT {}", "-(".repeat(50)),
        few,
        "parentheses within parentheses: 9, limit 8",
    );
    check(
        "SELECT a+1+1+1+1+1+1+1+1+1+1+1 FROM m",
        few,
        "operators of an expression: 11, limit 10",
    );
    check(
        "SELECT a,a,a,a,a FROM m",
        few,
        "fields of a statement: 5, limit 4",
    );
    check(
        "SELECT * FROM \"lsst.sal.ESS.temperature\"",
        few,
        "columns of a statement: 8, limit 4",
    );
    let groups = "SELECT mean(tiny) FROM \"lsst.sal.ESS.temperature\" WHERE time >= 1700000000s AND time < 1700000100s";
    check(
        &format!("{groups} GROUP BY time(1s)"),
        few,
        "groups of a statement: 21, limit 20",
    );
    check(
        &format!("{groups} AND tiny < 0 OR time > 0 GROUP BY time(1s)"),
        few,
        "\"statement_id\":0}",
    );
    check(
        "SELECT median(tiny) FROM \"lsst.sal.ESS.temperature\"",
        few,
        "values held by one group: 74, limit 50",
    );
    check(
        "SELECT tiny FROM \"lsst.sal.ESS.temperature\"",
        few,
        "rows of an answer that is not chunked: 31, limit 30",
    );
    check(
        "SELECT location, location, location, location FROM \"lsst.sal.ESS.temperature\"",
        few,
        "bytes of an answer that is not chunked",
    );
    let deep = format!("SELECT {}a FROM m", "-(".repeat(100_000));
    check(
        &deep,
        Limits {
            statement_bytes: usize::MAX,
            ..Limits::default()
        },
        "limit 32",
    );
    let wide = format!("SELECT a{} FROM m", "+a".repeat(100_000));
    check(
        &wide,
        Limits {
            statement_bytes: usize::MAX,
            ..Limits::default()
        },
        "operators of an expression: 1001",
    );
}

#[test]
fn outside_the_subset_is_named() {
    let check = |text: &str, expected: &str| {
        let answer = match memory::ask(&memory::request(text), &mut Memory::new(data::topics())) {
            Ok(documents) => documents.concat(),
            Err(error) => error.to_string(),
        };
        assert!(
            answer.contains(expected) && answer.contains("outside the subset"),
            "{text}: {answer}"
        );
    };
    let from = "FROM \"lsst.sal.ESS.temperature\"";
    check("SHOW DIAGNOSTICS", "SHOW DIAGNOSTICS is");
    check("SHOW STATS FOR 'x'; SHOW DATABASES", "SHOW STATS FOR is");
    check("CREATE DATABASE x", "CREATE DATABASE is");
    check("DROP MEASUREMENT x", "DROP MEASUREMENT is");
    check("DELETE FROM x", "DELETE FROM is");
    check("EXPLAIN SELECT a FROM b", "EXPLAIN SELECT is");
    check("SHOW SERIES CARDINALITY", "SHOW SERIES CARDINALITY is");
    check("SELECT mean(x) FROM (SELECT x FROM m)", "a subquery is");
    check("SELECT x INTO y FROM m", "SELECT INTO is");
    check("SELECT a FROM m WHERE x = $y", "a bound parameter is");
    check(
        &format!("SELECT tiny {from} tz('America/Santiago')"),
        "tz('America/Santiago') is",
    );
    check(&format!("SELECT mode(tiny) {from}"), "mode() is");
    check(&format!("SELECT abs(tiny) {from}"), "abs() is");
    check(
        &format!("SELECT tiny::integer {from}"),
        "the cast tiny::integer is",
    );
    check(
        &format!("SELECT difference(tiny), mean(tiny) {from}"),
        "difference() of a field beside an aggregate is",
    );
    check(
        &format!("SELECT top(tiny, location, 2) {from}"),
        "top() with more than two arguments is",
    );
    check("SELECT tiny FROM m, m", "twice in FROM is");
}

/// As deep as the limits let it be.
#[test]
fn a_long_condition() {
    let terms = vec!["tiny > 0"; 500].join(" OR ");
    let text = format!("SELECT tiny FROM \"lsst.sal.ESS.temperature\" WHERE {terms} LIMIT 3");
    assert_eq!(rows(&text, &mut Memory::new(data::topics())).len(), 3);
}

#[test]
fn windows_are_taken_where_they_do() {
    let check = |text: &str, expected: usize| {
        let mut source = Memory::new(data::topics());
        source.windows = 1;
        rows(text, &mut source);
        assert_eq!(source.given, expected, "{text}");
    };
    let (from, by) = (
        "FROM \"lsst.sal.MTMount.elevation\" WHERE time < 1700000100s",
        "GROUP BY time(10s)",
    );
    check(&format!("SELECT mean(encoder) {from} {by}"), 1);
    check(&format!("SELECT mean(encoder) {from}"), 1);
    check(
        &format!("SELECT mean(encoder), stddev(actualPosition) * 2 {from} {by} fill(previous)"),
        1,
    );
    check(&format!("SELECT derivative(last(encoder)) {from} {by}"), 1);
    check(&format!("SELECT max(encoder) {from} {by}"), 1);
    check(
        &format!("SELECT mean(encoder) {from} AND salIndex = 2 {by}"),
        1,
    );
    check(
        &format!("SELECT mean(encoder) {from} AND (salIndex = 2) {by}"),
        1,
    );
    // The point's own time, other fields of it, its value, its text.
    check(&format!("SELECT max(encoder) {from}"), 0);
    check(&format!("SELECT max(encoder), state {from} {by}"), 0);
    check(
        &format!("SELECT mean(encoder) {from} AND encoder > 0 {by}"),
        0,
    );
    check(
        &format!("SELECT mean(encoder) {from} AND salIndex = 2 AND encoder > 0 {by}"),
        0,
    );
    check(
        &format!("SELECT mean(encoder) {from} AND salIndex != 2 {by}"),
        0,
    );
    check(
        &format!("SELECT mean(encoder), count(state) {from} {by}"),
        0,
    );
    check(&format!("SELECT median(encoder) {from} {by}"), 0);
    check(
        &format!("SELECT mean(encoder), difference(mean(encoder)) {from} {by}"),
        0,
    );
    check(&format!("SELECT encoder {from}"), 0);
}

#[test]
fn messages_of_the_source() {
    let mut source = Memory::new(data::topics());
    source.message = Some("from the tier of 10 s".to_owned());
    let text = "SELECT mean(tiny) FROM \"lsst.sal.ESS.temperature\"; SHOW DATABASES";
    let documents = memory::ask(&memory::request(text), &mut source).unwrap();
    let document: Json = serde_json::from_str(&documents[0]).unwrap();
    let message = serde_json::json!([{ "level": "info", "text": "from the tier of 10 s" }]);
    assert_eq!(document["results"][0]["messages"], message);
    assert!(document["results"][1].get("messages").is_none());
}

/// Two points at one time are two rows, and count twice.
#[test]
fn instances_at_one_time() {
    let mut twice = topic(&BTreeMap::from([(5, 1.0), (7, 2.0)]));
    twice.rows.insert(1, (5, vec![Some(Value::Float(3.0))]));
    let mut source = Memory::new(vec![twice]);
    assert_eq!(rows("SELECT x FROM m", &mut source).len(), 3);
    let counted = rows("SELECT count(x), first(x), last(x) FROM m", &mut source);
    assert_eq!(Json::from(counted), serde_json::json!([[0, 3, 1, 2]]));
}

/// InfluxDB stores no NaN: here it is absent.
#[test]
fn not_a_number_is_absent() {
    let points = BTreeMap::from([(1, f64::NAN), (2, 1.5), (3, f64::INFINITY)]);
    let mut source = Memory::new(vec![topic(&points)]);
    assert_eq!(rows("SELECT x FROM m", &mut source).len(), 1);
    let counted = rows("SELECT count(x), max(x) FROM m", &mut source);
    assert_eq!(Json::from(counted), serde_json::json!([[0, 1, 1.5]]));
}
