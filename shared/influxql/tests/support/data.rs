//! The data set: four topics, the same each time.

use std::fmt::Write as _;

use efd_shared_influxql::FieldKind;

pub const DATABASE: &str = "efd";
/// 2023-11-14T22:13:20Z.
pub const BEGIN: i64 = 1_700_000_000 * SECOND;
pub const SECOND: i64 = 1_000_000_000;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Float(f64),
    Integer(i64),
    Boolean(bool),
    String(String),
}

#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    /// Ascending by name.
    pub fields: Vec<(String, FieldKind)>,
    /// Ascending by time.
    pub rows: Vec<(i64, Vec<Option<Value>>)>,
}

/// Marsaglia's xorshift.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: u64) -> u64 {
        (self.bits() >> 11) % end
    }

    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

pub fn topics() -> Vec<Topic> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    vec![
        weather(&mut random),
        elevation(&mut random),
        summary_state(),
        odd(),
    ]
}

fn topic(name: &str, fields: &[(&str, FieldKind)], rows: Vec<(i64, Vec<Option<Value>>)>) -> Topic {
    assert!(fields.is_sorted_by_key(|it| it.0) && rows.is_sorted_by_key(|it| it.0));
    Topic {
        name: name.to_owned(),
        fields: fields
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), *kind))
            .collect(),
        rows,
    }
}

/// Four points a second, at uneven times, with a gap of 25 s; two instances by turns.
fn elevation(random: &mut Random) -> Topic {
    let fields = [
        ("actualPosition", FieldKind::Float),
        ("actualTorque0", FieldKind::Float),
        ("actualTorque1", FieldKind::Float),
        ("actualTorque2", FieldKind::Float),
        ("encoder", FieldKind::Integer),
        ("isMoving", FieldKind::Boolean),
        ("salIndex", FieldKind::Integer),
        ("state", FieldKind::String),
    ];
    let states = ["IDLE", "SLEWING", "TRACKING", "it's \"odd\""];
    let mut rows = Vec::new();
    for index in 0..400i64 {
        let gap = if index >= 150 { 25 * SECOND } else { 0 };
        let time = BEGIN + index * SECOND / 4 + random.below(200_000_000) as i64 + gap;
        let position = 45.0 + index as f64 * 0.01 + random.unit();
        let torques = [0, 1, 2].map(|_| (random.unit() - 0.5) * 1e4);
        let sometimes = random.below(5) > 0;
        let encoder =
            (sometimes || index == 0).then(|| Value::Integer(random.below(2000) as i64 - 1000));
        rows.push((
            time,
            vec![
                Some(Value::Float(position)),
                Some(Value::Float(torques[0])),
                sometimes.then_some(Value::Float(torques[1])),
                Some(Value::Float(torques[2])),
                encoder,
                Some(Value::Boolean(random.below(2) == 0)),
                Some(Value::Integer(1 + index % 2)),
                (index % 3 == 0).then(|| Value::String((*random.one(&states)).to_owned())),
            ],
        ));
    }
    topic("lsst.sal.MTMount.elevation", &fields, rows)
}

/// One a second on the second: large values with little noise, tiny ones, huge ones.
fn weather(random: &mut Random) -> Topic {
    let fields = [
        ("count", FieldKind::Integer),
        ("huge", FieldKind::Float),
        ("location", FieldKind::String),
        ("pressure", FieldKind::Float),
        ("salIndex", FieldKind::Integer),
        ("temperature0", FieldKind::Float),
        ("temperature1", FieldKind::Float),
        ("tiny", FieldKind::Float),
    ];
    let mut rows = Vec::new();
    for index in 0..120i64 {
        let scale = 10f64.powi(random.below(4) as i32);
        rows.push((
            BEGIN + index * SECOND,
            vec![
                Some(Value::Integer(9_007_199_254_740_993 + index)),
                (index % 10 == 0).then(|| Value::Float(1e21 * scale * (random.unit() - 0.5))),
                Some(Value::String("Pachón, südlich".to_owned())),
                Some(Value::Float(1e9 + 1e-3 * (random.unit() - 0.5))),
                Some(Value::Integer(1)),
                Some(Value::Float((random.unit() - 0.5) * 30.0)),
                (!(40..60).contains(&index)).then(|| Value::Float((random.unit() - 0.5) * 30.0)),
                Some(Value::Float(1e-7 * scale * random.unit())),
            ],
        ));
    }
    topic("lsst.sal.ESS.temperature", &fields, rows)
}

/// Six events in a day.
fn summary_state() -> Topic {
    let fields = [
        ("note", FieldKind::String),
        ("salIndex", FieldKind::Integer),
        ("summaryState", FieldKind::Integer),
    ];
    let states = [5, 5, 1, 2, 2, 3];
    let row = |(index, state): (usize, &i64)| {
        let note = (index != 2).then(|| Value::String(format!("note {index}")));
        let time = BEGIN + index as i64 * 3 * 3600 * SECOND + 123_456_789;
        (
            time,
            vec![
                note,
                Some(Value::Integer(1 + index as i64 % 2)),
                Some(Value::Integer(*state)),
            ],
        )
    };
    topic(
        "lsst.sal.MTMount.logevent_summaryState",
        &fields,
        states.iter().enumerate().map(row).collect(),
    )
}

/// A name and fields that need quotes.
fn odd() -> Topic {
    let fields = [
        ("a b", FieldKind::Float),
        ("actualPosition", FieldKind::Integer),
        ("duration", FieldKind::Integer),
    ];
    let row = |index: i64| {
        let values = [
            Value::Float(index as f64 / 8.0),
            Value::Integer(index * index),
            Value::Integer(7 - index),
        ];
        (BEGIN + index * 10 * SECOND, values.map(Some).to_vec())
    };
    topic("odd, \"name\"", &fields, (0..8).map(row).collect())
}

/// As InfluxDB takes it.
pub fn line_protocol(topics: &[Topic]) -> String {
    let mut lines = String::new();
    let escaped = |name: &str| {
        name.replace(',', "\\,")
            .replace(' ', "\\ ")
            .replace('=', "\\=")
    };
    for topic in topics {
        for (time, values) in &topic.rows {
            lines.push_str(&escaped(&topic.name));
            let mut separator = ' ';
            for ((name, _), value) in topic.fields.iter().zip(values) {
                let text = match value {
                    None => continue,
                    Some(Value::Float(value)) => format!("{value:e}"),
                    Some(Value::Integer(value)) => format!("{value}i"),
                    Some(Value::Boolean(value)) => value.to_string(),
                    Some(Value::String(value)) => {
                        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
                    }
                };
                write!(lines, "{separator}{}={text}", escaped(name))
                    .expect("a string takes everything");
                separator = ',';
            }
            writeln!(lines, " {time}").expect("a string takes everything");
        }
    }
    lines
}
