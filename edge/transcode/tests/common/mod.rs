//! An encoder of CDR as plain as it can be, and Avro read back by somebody else's reader.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod sample;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use efd_edge_transcode::{LeapSeconds, Plan, Stamps};
use efd_shared_types::avro::AvroSchema;
use efd_shared_types::sal::SalTopic;
use efd_shared_types::{Mapping, TypeName, idl};

pub(crate) const RECEIVED_TAI: f64 = 1_795_399_290.9;
pub(crate) const ENCODED_TAI: f64 = 1_795_399_291.25;
/// TAI at which the last two leap seconds had passed.
pub(crate) const LEAPS: [(f64, i32); 2] = [(1_435_708_836.0, 36), (1_483_228_837.0, 37)];

pub(crate) fn leaps() -> LeapSeconds {
    LeapSeconds::new(&LEAPS).unwrap()
}

pub(crate) fn stamps(leaps: &LeapSeconds) -> Stamps<'_> {
    Stamps {
        received_tai: RECEIVED_TAI,
        encoded_tai: ENCODED_TAI,
        leaps,
    }
}

pub(crate) struct Topic {
    pub(crate) topic: SalTopic,
    pub(crate) plan: Plan,
    pub(crate) schema: apache_avro::Schema,
}

pub(crate) fn topic(idl_text: &str, name: &str) -> Topic {
    let parsed = idl::parse(idl_text);
    assert_eq!(parsed.errors, [], "{idl_text}");
    let name = TypeName::new(name);
    let Mapping::Sal(topic) = Mapping::of(&parsed.types(), &parsed.versions, &name).unwrap() else {
        panic!("{name} is a placeholder");
    };
    let schema = apache_avro::Schema::parse_str(&AvroSchema::of(&topic).json).unwrap();
    Topic {
        plan: Plan::compile(&topic),
        topic: *topic,
        schema,
    }
}

/// The fields of a datum; panics where a byte is left over.
pub(crate) fn read_datum(schema: &apache_avro::Schema, mut datum: &[u8]) -> Vec<(String, Value)> {
    let reader = GenericDatumReader::builder(schema).build().unwrap();
    let value = reader.read_value(&mut datum).unwrap();
    assert!(datum.is_empty(), "{} bytes are left over", datum.len());
    let Value::Record(fields) = value else {
        panic!("a datum is a record")
    };
    fields
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Plain,
    Delimited,
    Mutable,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoding {
    pub(crate) big_endian: bool,
    pub(crate) xcdr2: bool,
    pub(crate) layout: Layout,
}

impl Encoding {
    pub(crate) const ALL: [Self; 10] = [
        Self {
            big_endian: false,
            xcdr2: false,
            layout: Layout::Plain,
        },
        Self {
            big_endian: true,
            xcdr2: false,
            layout: Layout::Plain,
        },
        Self {
            big_endian: false,
            xcdr2: false,
            layout: Layout::Mutable,
        },
        Self {
            big_endian: true,
            xcdr2: false,
            layout: Layout::Mutable,
        },
        Self {
            big_endian: false,
            xcdr2: true,
            layout: Layout::Plain,
        },
        Self {
            big_endian: true,
            xcdr2: true,
            layout: Layout::Plain,
        },
        Self {
            big_endian: false,
            xcdr2: true,
            layout: Layout::Delimited,
        },
        Self {
            big_endian: true,
            xcdr2: true,
            layout: Layout::Delimited,
        },
        Self {
            big_endian: false,
            xcdr2: true,
            layout: Layout::Mutable,
        },
        Self {
            big_endian: true,
            xcdr2: true,
            layout: Layout::Mutable,
        },
    ];

    fn id(self) -> u8 {
        let base = match (self.xcdr2, self.layout) {
            (false, Layout::Plain) => 0,
            (false, Layout::Mutable) => 2,
            (false, Layout::Delimited) => panic!("XCDR1 has no delimited form"),
            (true, Layout::Plain) => 6,
            (true, Layout::Delimited) => 8,
            (true, Layout::Mutable) => 10,
        };
        base + u8::from(!self.big_endian)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Bool(bool),
    /// Size in bytes and value.
    Int(usize, i128),
    F32(u32),
    F64(u64),
    Text(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Field {
    One(Scalar),
    Array(Vec<Scalar>),
}

struct Writer {
    bytes: Vec<u8>,
    encoding: Encoding,
    garbage: u8,
}

impl Writer {
    fn align(&mut self, to: usize) {
        let to = to.min(if self.encoding.xcdr2 { 4 } else { 8 });
        while !self.bytes.len().is_multiple_of(to) {
            self.garbage = self.garbage.wrapping_mul(31).wrapping_add(17);
            self.bytes.push(self.garbage);
        }
    }

    /// The `size` low bytes of a value.
    fn number(&mut self, size: usize, value: i128) {
        self.align(size);
        let mut bytes = value.to_le_bytes()[..size].to_vec();
        if self.encoding.big_endian {
            bytes.reverse();
        }
        self.bytes.extend(bytes);
    }

    fn scalar(&mut self, scalar: &Scalar) {
        match scalar {
            Scalar::Bool(value) => self.number(1, i128::from(*value)),
            Scalar::Int(size, value) => self.number(*size, *value),
            Scalar::F32(bits) => self.number(4, i128::from(*bits)),
            Scalar::F64(bits) => self.number(8, i128::from(*bits)),
            Scalar::Text(text) => {
                self.number(4, text.len() as i128 + 1);
                self.bytes.extend(text);
                self.bytes.push(0);
            }
        }
    }

    fn field(&mut self, field: &Field) {
        match field {
            Field::One(scalar) => self.scalar(scalar),
            Field::Array(values) => {
                let is_text = matches!(values[0], Scalar::Text(_));
                if self.encoding.xcdr2 && is_text {
                    self.number(4, 0);
                    let start = self.bytes.len();
                    values.iter().for_each(|value| self.scalar(value));
                    self.patch(start - 4, self.bytes.len() - start);
                } else {
                    values.iter().for_each(|value| self.scalar(value));
                }
            }
        }
    }

    fn patch(&mut self, at: usize, value: usize) {
        let value = value as u32;
        let bytes = if self.encoding.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        };
        self.bytes[at..at + 4].copy_from_slice(&bytes);
    }

    fn member(&mut self, id: u32, field: &Field, wide_header: bool) {
        self.align(4);
        if !self.encoding.xcdr2 {
            let (encoding, garbage) = (self.encoding, self.garbage);
            let mut inner = Self {
                bytes: Vec::new(),
                encoding,
                garbage,
            };
            inner.field(field);
            let len = inner.bytes.len();
            if wide_header || len > 0xffff {
                self.number(2, 0x3f01 | 0x4000);
                self.number(2, 8);
                self.number(4, id.into());
                self.number(4, len as i128);
            } else {
                self.number(2, id.into());
                self.number(2, len as i128);
            }
            self.bytes.extend(inner.bytes);
            return;
        }
        let header = |code: u32| i128::from(code << 28 | id);
        let small = match field {
            Field::One(Scalar::Bool(_) | Scalar::Int(1, _)) => Some(0),
            Field::One(Scalar::Int(2, _)) => Some(1),
            Field::One(Scalar::Int(4, _) | Scalar::F32(_)) => Some(2),
            Field::One(Scalar::Int(8, _) | Scalar::F64(_)) => Some(3),
            _ => None,
        };
        let has_length = matches!(field, Field::One(Scalar::Text(_)))
            || matches!(field, Field::Array(it) if matches!(it[0], Scalar::Text(_)));
        if let Some(code) = small.filter(|_| !wide_header) {
            self.number(4, header(code));
            self.field(field);
        } else if has_length && !wide_header {
            self.number(4, header(5));
            self.field(field);
        } else {
            self.number(4, header(4));
            self.number(4, 0);
            let start = self.bytes.len();
            self.field(field);
            self.patch(start - 4, self.bytes.len() - start);
        }
    }
}

/// A payload and where its last meaningful byte ends. `order` and `wide` matter to mutable types:
/// the order of the members, and whether they have the longer headers.
pub(crate) fn encode(
    encoding: Encoding,
    fields: &[Field],
    order: &[usize],
    wide: bool,
    garbage: u8,
) -> (Vec<u8>, usize) {
    let mut writer = Writer {
        bytes: Vec::new(),
        encoding,
        garbage,
    };
    match encoding.layout {
        Layout::Plain => fields.iter().for_each(|field| writer.field(field)),
        Layout::Delimited => {
            writer.number(4, 0);
            fields.iter().for_each(|field| writer.field(field));
            writer.patch(0, writer.bytes.len() - 4);
        }
        Layout::Mutable => {
            if encoding.xcdr2 {
                writer.number(4, 0);
            }
            for &index in order {
                writer.member(index as u32, &fields[index], wide);
            }
            if encoding.xcdr2 {
                writer.patch(0, writer.bytes.len() - 4);
            } else {
                writer.align(4);
                writer.number(2, 0x3f02);
                writer.number(2, 0);
            }
        }
    }
    let end = writer.bytes.len() + 4;
    writer.align(4);
    let header = [0, encoding.id(), garbage, garbage];
    ([&header, &*writer.bytes].concat(), end)
}
