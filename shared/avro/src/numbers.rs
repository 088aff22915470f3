//! By what a publisher of SAL's numbers its samples, read out of a datum.

use std::sync::Arc;

use crate::{DatumError, Decoder, Nested, RecordSchema, Sink};

/// Where a schema has `private_seqNum`, `private_identity` and `private_origin`.
#[derive(Clone, Debug)]
pub struct Numbered {
    decoder: Decoder,
    sequence: usize,
    identity: Option<usize>,
    origin: Option<usize>,
}

/// Of one datum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Not above 0: the publisher does not number.
    pub sequence: i64,
    pub identity: String,
    pub origin: i64,
}

impl Numbered {
    /// `None` where the samples have no numbers.
    pub fn of(schema: &Arc<RecordSchema>) -> Option<Self> {
        let find = |name: &str| schema.fields.iter().position(|field| field.name == name);
        Some(Self {
            sequence: find("private_seqNum")?,
            identity: find("private_identity"),
            origin: find("private_origin"),
            decoder: Decoder::new(Arc::clone(schema)),
        })
    }

    /// `numbers` keep their memory from datum to datum.
    pub fn read(&self, datum: &[u8], numbers: &mut Numbers) -> Result<(), DatumError> {
        numbers.sequence = 0;
        numbers.origin = 0;
        numbers.identity.clear();
        self.decoder.decode(datum, &mut Read { of: self, numbers })
    }
}

struct Read<'a> {
    of: &'a Numbered,
    numbers: &'a mut Numbers,
}

impl Sink for Read<'_> {
    fn boolean(&mut self, _field: usize, _value: bool) {}

    #[inline]
    fn long(&mut self, field: usize, value: i64) {
        if field == self.of.sequence {
            self.numbers.sequence = value;
        } else if Some(field) == self.of.origin {
            self.numbers.origin = value;
        }
    }

    fn double(&mut self, _field: usize, _value: f64) {}

    #[inline]
    fn string(&mut self, field: usize, value: &str) {
        if Some(field) == self.of.identity {
            self.numbers.identity.push_str(value);
        }
    }

    fn bytes(&mut self, _field: usize, _value: &[u8]) {}
    fn end_array(&mut self, _field: usize) {}
    fn null(&mut self, _field: usize) {}
    fn nested(&mut self, _field: usize, _value: Nested<'_>) {}
}
