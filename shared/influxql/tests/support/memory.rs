//! A source that holds topics in memory, and gives points or windows.

use std::convert::Infallible;
use std::ops::ControlFlow;

use efd_shared_influxql::{
    Batch, Column, Database, Field, FieldKind, Grid, Limits, Order, ParseError, Policy, Request,
    Scan, Source, Summary, answer,
};

use super::data::{DATABASE, Topic, Value};

#[derive(Clone, Debug)]
pub struct Memory {
    pub topics: Vec<Topic>,
    /// Points of a batch.
    pub batch: usize,
    /// How many windows a group is made of; 0: points, even if windows would do.
    pub windows: i64,
    /// How often windows were given.
    pub given: usize,
    pub message: Option<String>,
}

impl Memory {
    pub fn new(topics: Vec<Topic>) -> Self {
        Self {
            topics,
            batch: 37,
            windows: 0,
            given: 0,
            message: None,
        }
    }

    fn topic(&self, database: &str, measurement: &str) -> Option<&Topic> {
        self.topics
            .iter()
            .find(|it| database == DATABASE && it.name == measurement)
    }
}

impl Source for Memory {
    type Error = Infallible;

    fn databases(&mut self) -> Result<Vec<Database>, Infallible> {
        let policy = Policy {
            name: "autogen".to_owned(),
            duration: 0,
            shard: 7 * 24 * 3600 * 1_000_000_000,
        };
        Ok(vec![Database {
            name: DATABASE.to_owned(),
            policies: vec![policy],
        }])
    }

    fn measurements(&mut self, database: &str) -> Result<Vec<String>, Infallible> {
        let mut names: Vec<String> = self.topics.iter().map(|it| it.name.clone()).collect();
        names.retain(|_| database == DATABASE);
        names.sort();
        Ok(names)
    }

    fn fields(&mut self, database: &str, measurement: &str) -> Result<Vec<Field>, Infallible> {
        let fields = self
            .topic(database, measurement)
            .into_iter()
            .flat_map(|it| &it.fields);
        Ok(fields
            .map(|(name, kind)| Field {
                name: name.clone(),
                kind: *kind,
            })
            .collect())
    }

    fn scan(
        &mut self,
        scan: &Scan<'_>,
        take: &mut dyn FnMut(Batch) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        let Some(topic) = self.topic(scan.database, scan.measurement) else {
            return Ok(());
        };
        let place = |name: &String| {
            topic
                .fields
                .iter()
                .position(|(it, _)| it == name)
                .expect("a field of the topic")
        };
        let places: Vec<usize> = scan.fields.iter().map(place).collect();
        let mut rows: Vec<&(i64, Vec<Option<Value>>)> = topic
            .rows
            .iter()
            .filter(|(time, _)| scan.times.contains(time))
            .collect();
        if scan.order == Order::Descending {
            rows.reverse();
        }
        let kinds: Vec<FieldKind> = places.iter().map(|it| topic.fields[*it].1).collect();
        if let Some(grid) = scan.windows.filter(|_| self.windows > 0) {
            if let Some(instance) = scan.instance {
                let salindex = topic
                    .fields
                    .iter()
                    .position(|(it, _)| it == "salIndex")
                    .expect("it was asked for");
                rows.retain(|(_, values)| values[salindex] == Some(Value::Integer(instance)));
            }
            let batch = windows(&rows, &places, grid, self.windows, *scan.times.start());
            self.given += 1;
            let (ControlFlow::Continue(()) | ControlFlow::Break(())) = take(batch);
            return Ok(());
        }
        for part in rows.chunks(self.batch) {
            let column = |(place, kind): (&usize, &FieldKind)| column(part, *place, *kind);
            let columns = places.iter().zip(&kinds).map(column).collect();
            let times = part.iter().map(|it| it.0).collect();
            if take(Batch::Points { times, columns }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn message(&mut self) -> Option<String> {
        self.message.clone()
    }
}

fn column(rows: &[&(i64, Vec<Option<Value>>)], place: usize, kind: FieldKind) -> Column {
    let values = rows.iter().map(|it| it.1[place].clone());
    match kind {
        FieldKind::Float => Column::Float(values.map(|it| it.map(|it| number(&it))).collect()),
        FieldKind::Integer => Column::Integer(
            values
                .map(|it| match it {
                    Some(Value::Integer(value)) => Some(value),
                    _ => None,
                })
                .collect(),
        ),
        FieldKind::Boolean => Column::Boolean(
            values
                .map(|it| match it {
                    Some(Value::Boolean(value)) => Some(value),
                    _ => None,
                })
                .collect(),
        ),
        FieldKind::String => Column::String(
            values
                .map(|it| match it {
                    Some(Value::String(value)) => Some(value),
                    _ => None,
                })
                .collect(),
        ),
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Float(value) => *value,
        Value::Integer(value) => *value as f64,
        Value::Boolean(_) | Value::String(_) => panic!("{value:?} is no number"),
    }
}

/// Each group in as many parts; what is before the times asked for is not in the first.
fn windows(
    rows: &[&(i64, Vec<Option<Value>>)],
    places: &[usize],
    grid: Grid,
    parts: i64,
    begin: i64,
) -> Batch {
    let start = |time: i64| {
        let part = match grid.every {
            0 => return time,
            every if every % parts == 0 => every / parts,
            every => every,
        };
        (time - (time - grid.offset).rem_euclid(part)).max(begin)
    };
    let mut starts: Vec<i64> = rows.iter().map(|it| start(it.0)).collect();
    starts.dedup();
    let field = |place: &usize| {
        let summary = |window: &i64| {
            let values = rows
                .iter()
                .filter(|it| start(it.0) == *window)
                .filter_map(|it| it.1[*place].as_ref());
            summary(&values.map(number).collect::<Vec<f64>>())
        };
        starts.iter().map(summary).collect()
    };
    let fields = places.iter().map(field).collect();
    Batch::Windows { starts, fields }
}

fn summary(values: &[f64]) -> Option<Summary> {
    let (first, last) = (*values.first()?, *values.last()?);
    let count = values.len() as f64;
    // From the first value, so that large ones keep their digits.
    let mean = first + values.iter().map(|it| it - first).sum::<f64>() / count;
    let squares: f64 = values.iter().map(|it| (it - mean).powi(2)).sum();
    Some(Summary {
        count: values.len() as u64,
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        mean,
        stdev: (squares / count).sqrt(),
        first,
        last,
    })
}

/// All documents of an answer, or the error that takes its place.
pub fn ask(request: &Request<'_>, source: &mut Memory) -> Result<Vec<String>, ParseError> {
    let mut documents = Vec::new();
    answer(request, source, &mut |document| {
        let text = String::from_utf8(document).expect("JSON is UTF-8");
        assert!(
            text.ends_with('\n') && text.matches('\n').count() == 1,
            "one line: {text}"
        );
        documents.push(text);
        ControlFlow::Continue(())
    })?;
    Ok(documents)
}

pub fn request(statements: &str) -> Request<'_> {
    Request {
        statements,
        database: Some(DATABASE),
        epoch: Some(efd_shared_influxql::Epoch::Nanos),
        chunk_rows: None,
        now: super::data::BEGIN + 3600 * super::data::SECOND,
        limits: Limits::default(),
    }
}
