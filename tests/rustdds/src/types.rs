//! The types of `tests/e2e/dialects/*.idl`, as serde sees them, and their records for the oracle.

use rustdds::Keyed;
use rustdds::cdr_encoding_size::{CdrEncodingMaxSize, CdrEncodingSize};
use serde::ser::SerializeTuple as _;
use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

use crate::values::Random;

/// What a topic carries.
pub(crate) trait Sample: Sized {
    fn make(random: &mut Random, number: i64) -> Self;
    /// As `tests/e2e/dialects/shape.py` describes it.
    fn record(&self) -> Json;
}

fn double(value: f64) -> Json {
    json!({"$double": format!("{:016x}", value.to_bits())})
}

fn bytes(value: &[u8]) -> Json {
    let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"$bytes": digits})
}

fn list<T>(items: &[T], record: impl FnMut(&T) -> Json) -> Json {
    items.iter().map(record).collect()
}

#[derive(Clone, Copy, Debug, Serialize)]
enum Mode {
    Off,
    Idle,
    Moving,
}

impl Mode {
    fn make(random: &mut Random) -> Self {
        [Self::Off, Self::Idle, Self::Moving][random.below(3)]
    }

    fn record(self) -> Json {
        json!(match self {
            Self::Off => "OFF",
            Self::Idle => "IDLE",
            Self::Moving => "MOVING",
        })
    }
}

#[derive(Debug, Serialize)]
struct Point {
    x: f64,
    y: f32,
}

impl Point {
    fn make(random: &mut Random) -> Self {
        Self {
            x: random.f64(),
            y: random.f32(),
        }
    }

    fn record(&self) -> Json {
        json!({"x": double(self.x), "y": double(self.y.into())})
    }
}

#[derive(Debug, Serialize)]
struct Note {
    text: String,
    level: u8,
    weight: f64,
}

impl Note {
    fn make(random: &mut Random) -> Self {
        Self {
            text: random.text(1000),
            level: random.u8(),
            weight: random.f64(),
        }
    }

    fn record(&self) -> Json {
        json!({"text": self.text, "level": self.level, "weight": double(self.weight)})
    }
}

#[derive(Debug)]
enum Reading {
    Measure(f64),
    Words(i32, String),
    Place(Point),
    Code(i32, i32),
}

impl Reading {
    fn make(random: &mut Random) -> Self {
        match random.below(6) {
            0 => Self::Measure(random.f64()),
            1 => Self::Words(2, random.text(1000)),
            2 => Self::Words(-3, random.text(1000)),
            3 => Self::Place(Point::make(random)),
            4 => Self::Code(0, random.i32()),
            _ => Self::Code(i32::MIN, random.i32()),
        }
    }

    fn label(&self) -> i32 {
        match self {
            Self::Measure(_) => 1,
            Self::Place(_) => 4,
            Self::Words(label, _) | Self::Code(label, _) => *label,
        }
    }

    fn record(&self) -> Json {
        let mut record = json!({"discriminator": self.label(), "measure": null, "words": null, "place": null, "code": null});
        let (case, value) = match self {
            Self::Measure(value) => ("measure", double(*value)),
            Self::Words(_, words) => ("words", json!(words)),
            Self::Place(place) => ("place", place.record()),
            Self::Code(_, code) => ("code", json!(code)),
        };
        record[case] = value;
        record
    }
}

/// A tuple of label and value: serde's own enums count their variants from 0.
impl Serialize for Reading {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pair = serializer.serialize_tuple(2)?;
        pair.serialize_element(&self.label())?;
        match self {
            Self::Measure(value) => pair.serialize_element(value)?,
            Self::Words(_, words) => pair.serialize_element(words)?,
            Self::Place(place) => pair.serialize_element(place)?,
            Self::Code(_, code) => pair.serialize_element(code)?,
        }
        pair.end()
    }
}

/// `Plain` and `Growing`: in XCDR1 they are the same bytes.
#[derive(Debug, Serialize)]
pub(crate) struct Everything {
    number: i64,
    flag: bool,
    raw: u8,
    letter: u8,
    small: i16,
    usmall: u16,
    medium: i32,
    umedium: u32,
    large: i64,
    ularge: u64,
    single: f32,
    real: f64,
    text: String,
    code: String,
    mode: Mode,
    point: Point,
    note: Note,
    reading: Reading,
    digest: [u8; 5],
    matrix: [[f64; 3]; 2],
    corners: [Point; 2],
    blob: Vec<u8>,
    reals: Vec<f64>,
    shorts: Vec<i16>,
    labels: Vec<String>,
    path: Vec<Point>,
    notes: Vec<Note>,
    modes: Vec<Mode>,
    rows: Vec<Vec<i32>>,
    readings: Vec<Reading>,
    last: u8,
}

impl Sample for Everything {
    fn make(random: &mut Random, number: i64) -> Self {
        Self {
            number,
            flag: random.flag(),
            raw: random.u8(),
            letter: random.letter(),
            small: random.i16(),
            usmall: random.i16() as u16,
            medium: random.i32(),
            umedium: random.i32() as u32,
            large: random.i64(),
            ularge: random.any() >> 1,
            single: random.f32(),
            real: random.f64(),
            text: random.text(1000),
            code: random.text(16),
            mode: Mode::make(random),
            point: Point::make(random),
            note: Note::make(random),
            reading: Reading::make(random),
            digest: std::array::from_fn(|_| random.u8()),
            matrix: std::array::from_fn(|_| std::array::from_fn(|_| random.f64())),
            corners: std::array::from_fn(|_| Point::make(random)),
            blob: random.list(1000, Random::u8),
            reals: random.list(1000, Random::f64),
            shorts: random.list(6, Random::i16),
            labels: random.list(1000, |random| random.text(1000)),
            path: random.list(1000, Point::make),
            notes: random.list(4, Note::make),
            modes: random.list(1000, Mode::make),
            rows: random.list(1000, |random| random.list(1000, Random::i32)),
            readings: random.list(1000, Reading::make),
            last: random.u8(),
        }
    }

    fn record(&self) -> Json {
        let doubles = |values: &[f64]| list(values, |value| double(*value));
        json!({
            "number": self.number,
            "flag": self.flag,
            "raw": self.raw,
            "letter": char::from(self.letter).to_string(),
            "small": self.small,
            "usmall": self.usmall,
            "medium": self.medium,
            "umedium": self.umedium,
            "large": self.large,
            "ularge": self.ularge,
            "single": double(self.single.into()),
            "real": double(self.real),
            "text": self.text,
            "code": self.code,
            "mode": self.mode.record(),
            "point": self.point.record(),
            "note": self.note.record(),
            "reading": self.reading.record(),
            "digest": bytes(&self.digest),
            "matrix": list(&self.matrix, |line| doubles(line)),
            "corners": list(&self.corners, Point::record),
            "blob": bytes(&self.blob),
            "reals": doubles(&self.reals),
            "shorts": self.shorts,
            "labels": self.labels,
            "path": list(&self.path, Point::record),
            "notes": list(&self.notes, Note::record),
            "modes": list(&self.modes, |mode| mode.record()),
            "rows": self.rows,
            "readings": list(&self.readings, Reading::record),
            "last": self.last,
        })
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Masked {
    number: i64,
    raw: u8,
    flags: u16,
    last: u8,
}

impl Sample for Masked {
    fn make(random: &mut Random, number: i64) -> Self {
        Self {
            number,
            raw: random.u8(),
            flags: random.any() as u16 & 0x8009,
            last: random.u8(),
        }
    }

    fn record(&self) -> Json {
        json!({"number": self.number, "raw": self.raw, "flags": self.flags, "last": self.last})
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Numbered {
    pub(crate) number: i64,
    pub(crate) unit: i32,
    pub(crate) axis: String,
    pub(crate) time: f64,
    pub(crate) efd_edge: String,
}

/// `unit` and `axis`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(crate) struct Key {
    pub(crate) unit: i32,
    pub(crate) axis: String,
}

impl rustdds::Key for Key {}

impl CdrEncodingSize for Key {
    fn cdr_encoding_max_size() -> CdrEncodingMaxSize {
        CdrEncodingMaxSize::Unbounded
    }
}

impl Keyed for Numbered {
    type K = Key;

    fn key(&self) -> Key {
        Key {
            unit: self.unit,
            axis: self.axis.clone(),
        }
    }
}

impl Sample for Numbered {
    fn make(random: &mut Random, number: i64) -> Self {
        Self {
            number,
            unit: (number % 3 - 1) as i32,
            axis: ["", "α", "xxxxxxxxxxxx"][(number % 3) as usize].to_owned(),
            time: random.f64(),
            efd_edge: random.text(1000),
        }
    }

    fn record(&self) -> Json {
        json!({
            "number": self.number,
            "unit": self.unit,
            "axis": self.axis,
            "time": double(self.time),
            "efd_edge": self.efd_edge,
        })
    }
}
