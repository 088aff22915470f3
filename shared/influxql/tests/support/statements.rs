//! What is asked: statements written by hand, and statements made at random.

use std::fmt::Write as _;

use super::data::{BEGIN, DATABASE, Random, SECOND};

#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub statements: String,
    pub database: Option<String>,
    pub epoch: String,
    pub chunk_rows: Option<u64>,
}

const WRITTEN: &str = include_str!("../fixtures/statements.txt");

/// A line is a statement. `#` begins a comment; `@ db=… epoch=… chunk=…` is of the lines that follow.
pub fn written() -> Vec<Question> {
    let mut questions = Vec::new();
    let (mut database, mut epoch, mut chunk_rows) =
        (Some(DATABASE.to_owned()), "ns".to_owned(), None);
    for line in WRITTEN
        .lines()
        .filter(|it| !it.is_empty() && !it.starts_with('#'))
    {
        if let Some(parameters) = line.strip_prefix('@') {
            (database, epoch, chunk_rows) = (Some(DATABASE.to_owned()), "ns".to_owned(), None);
            for (name, value) in parameters
                .split_whitespace()
                .filter_map(|it| it.split_once('='))
            {
                match name {
                    "db" => database = Some(value.to_owned()).filter(|it| !it.is_empty()),
                    "epoch" => epoch = value.to_owned(),
                    "chunk" => chunk_rows = value.parse().ok(),
                    other => panic!("{other}: not a parameter"),
                }
            }
            continue;
        }
        questions.push(Question {
            statements: line.replace("\\n", "\n"),
            database: database.clone(),
            epoch: epoch.clone(),
            chunk_rows,
        });
    }
    questions
}

const MEASUREMENTS: &[(&str, &[&str], &[&str])] = &[
    (
        "lsst.sal.MTMount.elevation",
        &[
            "actualPosition",
            "actualTorque0",
            "actualTorque1",
            "encoder",
        ],
        &["isMoving", "state", "salIndex", "nowhere"],
    ),
    (
        "lsst.sal.ESS.temperature",
        &["pressure", "temperature0", "temperature1", "tiny"],
        &["location", "salIndex", "nowhere"],
    ),
    (
        "lsst.sal.MTMount.logevent_summaryState",
        &["summaryState"],
        &["note", "salIndex"],
    ),
];
const GROUPED: &[&str] = &[
    "mean",
    "sum",
    "count",
    "min",
    "max",
    "first",
    "last",
    "spread",
    "stddev",
    "median",
    "percentile",
];
const ALONE: &[&str] = &["distinct", "top", "bottom"];
const TRANSFORMS: &[&str] = &[
    "derivative",
    "non_negative_derivative",
    "difference",
    "cumulative_sum",
    "moving_average",
];
const FILLS: &[&str] = &[
    "",
    " fill(null)",
    " fill(none)",
    " fill(previous)",
    " fill(linear)",
    " fill(0)",
    " fill(-1.5)",
];

pub fn random(count: usize) -> Vec<Question> {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut question = |_| Question {
        statements: select(&mut random),
        database: Some(DATABASE.to_owned()),
        epoch: (*random.one(&["ns", "ms", ""])).to_owned(),
        chunk_rows: (random.below(6) == 0).then(|| 1 + random.below(20)),
    };
    (0..count).map(&mut question).collect()
}

pub fn select(random: &mut Random) -> String {
    let (name, numbers, others) = random.one(MEASUREMENTS);
    let is_grouped = random.below(4) > 0;
    let every = *random.one(&[1, 2, 5, 7, 10, 30, 60]);
    let has_interval = is_grouped && random.below(4) > 0;
    let mut columns = Vec::new();
    for _ in 0..1 + random.below(3) {
        columns.push(column(random, numbers, others, is_grouped, has_interval));
    }
    if is_grouped && random.below(10) == 0 {
        let field = *random.one(numbers);
        columns = vec![match *random.one(ALONE) {
            "distinct" => format!("distinct({field})"),
            extremes => format!("{extremes}({field}, {})", 1 + random.below(4)),
        }];
    }
    let mut text = format!("SELECT {} FROM \"{name}\"", columns.join(", "));
    let from =
        BEGIN + (random.below(100) as i64 - 10) * SECOND + random.below(2) as i64 * 500_000_000;
    let to = from + (1 + random.below(120) as i64) * SECOND;
    let upper = *random.one(&["<", "<="]);
    write!(text, " WHERE time >= {from} AND time {upper} {to}").expect("a string takes everything");
    if random.below(2) == 0 {
        write!(text, " AND {}", condition(random, numbers)).expect("a string takes everything");
    }
    if has_interval {
        let offset = if random.below(4) == 0 {
            format!(", {}ms", random.below(8000))
        } else {
            String::new()
        };
        write!(
            text,
            " GROUP BY time({every}s{offset}){}",
            random.one(FILLS)
        )
        .expect("a string takes everything");
    }
    if random.below(4) == 0 {
        text.push_str(" ORDER BY time DESC");
    }
    // InfluxDB's LIMIT is of the points that top and bottom choose from, and of each column by itself; its OFFSET without
    // LIMIT gives one row of points.
    let uneven = [
        "fill(none)",
        "derivative(",
        "difference(",
        "cumulative_sum(",
        "moving_average(",
    ];
    let is_even = columns.len() == 1 || !uneven.iter().any(|it| text.contains(it));
    let is_extreme = ["top(", "bottom("].iter().any(|it| text.contains(it));
    if random.below(3) == 0 && is_even && !is_extreme {
        write!(
            text,
            " LIMIT {} OFFSET {}",
            1 + random.below(9),
            random.below(4)
        )
        .expect("a string takes everything");
    }
    text
}

fn column(
    random: &mut Random,
    numbers: &[&str],
    others: &[&str],
    is_grouped: bool,
    has_interval: bool,
) -> String {
    let field = *random.one(numbers);
    if !is_grouped {
        return match random.below(6) {
            0 => format!("{field} * 2 - 1"),
            1 => (*random.one(others)).to_owned(),
            2 => format!("{field} / {}", random.one(numbers)),
            _ => field.to_owned(),
        };
    }
    let grouped = match *random.one(GROUPED) {
        // Of equal values any may be the percentile: it must not be seen which.
        "percentile" if has_interval => format!("percentile({field}, {})", random.below(101)),
        "percentile" => format!("median({field})"),
        name => format!("{name}({field})"),
    };
    match random.below(6) {
        // InfluxDB gives rows of nulls where a deviation is of one value.
        0 if has_interval && !grouped.starts_with("stddev") => match *random.one(TRANSFORMS) {
            "moving_average" => format!("moving_average({grouped}, {})", 2 + random.below(3)),
            name if name.ends_with("derivative") && random.below(2) == 0 => {
                format!("{name}({grouped}, 1s)")
            }
            name => format!("{name}({grouped})"),
        },
        1 => format!("{grouped} * 9 / 5 + 32"),
        2 => format!("count({})", random.one(others)),
        _ => grouped,
    }
}

fn condition(random: &mut Random, numbers: &[&str]) -> String {
    let comparison = |random: &mut Random| {
        let field = *random.one(numbers);
        match random.below(6) {
            0 => format!("{field} > 0"),
            1 => format!("{field} <= 45.5"),
            2 => format!("salIndex = {}", 1 + random.below(2)),
            3 => "nowhere = 1".to_owned(),
            4 => "state != 'IDLE'".to_owned(),
            _ => format!("{field} != {}", random.below(4)),
        }
    };
    match random.below(4) {
        0 => format!("({} OR {})", comparison(random), comparison(random)),
        1 => format!("({} AND {})", comparison(random), comparison(random)),
        _ => comparison(random),
    }
}
