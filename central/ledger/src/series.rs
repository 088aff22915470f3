//! What the book calls things by numbers, and where a schema has what numbers its samples.

use efd_shared_avro::{Decoder, Nested, RecordSchema, Sink};

/// A topic of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SeriesNumber(pub(crate) i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PublisherNumber(pub(crate) i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LaneNumber(pub(crate) i64);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PublisherKey {
    pub(crate) series: SeriesNumber,
    /// `salIndex`; −1 where the component is not indexed.
    pub(crate) instance: i64,
    pub(crate) identity: String,
    pub(crate) origin: i64,
}

/// Reads SAL's `private_seqNum`, `private_identity` and `private_origin`.
#[derive(Debug)]
pub(crate) struct Numbered {
    decoder: Decoder,
    sequence: usize,
    identity: Option<usize>,
    origin: Option<usize>,
}

/// Of one datum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) sequence: i64,
    pub(crate) identity: String,
    pub(crate) origin: i64,
}

impl Numbered {
    /// `None` where the samples have no numbers.
    pub(crate) fn of(schema: &str) -> Option<Self> {
        let schema = RecordSchema::parse(schema).ok()?;
        let find = |name: &str| schema.fields.iter().position(|field| field.name == name);
        let (sequence, identity, origin) = (
            find("private_seqNum")?,
            find("private_identity"),
            find("private_origin"),
        );
        Some(Self {
            decoder: Decoder::new(schema.into()),
            sequence,
            identity,
            origin,
        })
    }

    /// `false` where the datum does not decode, or its publisher does not number.
    pub(crate) fn read(&self, datum: &[u8], numbers: &mut Numbers) -> bool {
        numbers.sequence = 0;
        numbers.origin = 0;
        numbers.identity.clear();
        let mut read = Read { of: self, numbers };
        self.decoder.decode(datum, &mut read).is_ok() && numbers.sequence > 0
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
