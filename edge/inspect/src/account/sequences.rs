//! Publishers' numbers: which were recorded, which were named as lost, and which neither.

use std::collections::{BTreeMap, HashMap};

use efd_shared_avro::{DatumError, Decoder, Sink};
use efd_shared_model::RangeSet;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Publisher {
    pub(super) topic: String,
    /// `salIndex`, −1 where there is none.
    pub(super) instance: i64,
    pub(super) identity: Vec<u8>,
    pub(super) origin: i64,
}

#[derive(Debug, Default)]
pub(super) struct Sequences {
    by_publisher: HashMap<Publisher, Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    seen: RangeSet,
    named: RangeSet,
}

/// Where a schema has what numbers its samples.
#[derive(Debug)]
pub(super) struct Numbered {
    sequence: usize,
    identity: Option<usize>,
    origin: Option<usize>,
    read: Read,
}

/// Of one datum.
#[derive(Clone, Debug, Default)]
pub(super) struct Read {
    pub(super) sequence: i64,
    pub(super) identity: Vec<u8>,
    pub(super) origin: i64,
}

impl Numbered {
    /// `None` where the samples have no numbers.
    pub(super) fn of(decoder: &Decoder) -> Option<Self> {
        let fields = &decoder.schema().fields;
        let find = |name: &str| fields.iter().position(|field| field.name == name);
        Some(Self {
            sequence: find("private_seqNum")?,
            identity: find("private_identity"),
            origin: find("private_origin"),
            read: Read::default(),
        })
    }

    pub(super) fn read(&mut self, decoder: &Decoder, datum: &[u8]) -> Result<&Read, DatumError> {
        decoder.decode(datum, self)?;
        Ok(&self.read)
    }
}

impl Sink for Numbered {
    fn boolean(&mut self, _field: usize, _value: bool) {}

    #[inline]
    fn long(&mut self, field: usize, value: i64) {
        if field == self.sequence {
            self.read.sequence = value;
        } else if Some(field) == self.origin {
            self.read.origin = value;
        }
    }

    fn double(&mut self, _field: usize, _value: f64) {}

    #[inline]
    fn string(&mut self, field: usize, value: &str) {
        if Some(field) == self.identity {
            self.read.identity.clear();
            self.read.identity.extend_from_slice(value.as_bytes());
        }
    }

    fn bytes(&mut self, _field: usize, _value: &[u8]) {}
    fn end_array(&mut self, _field: usize) {}
}

impl Sequences {
    pub(super) fn seen(&mut self, topic: &str, instance: i64, read: &Read) {
        let publisher = Publisher {
            topic: topic.to_owned(),
            instance,
            identity: read.identity.clone(),
            origin: read.origin,
        };
        if let Ok(number) = u64::try_from(read.sequence) {
            let numbers = self.by_publisher.entry(publisher).or_default();
            numbers.seen.insert_range(number..=number);
        }
    }

    pub(super) fn named(&mut self, publisher: Publisher, first: i64, last: i64) {
        if let (Ok(first), Ok(last)) = (u64::try_from(first), u64::try_from(last)) {
            let numbers = self.by_publisher.entry(publisher).or_default();
            numbers.named.insert_range(first..=last);
        }
    }

    /// By topic: numbers between the first and the last recorded ones of each publisher, neither recorded nor named.
    pub(super) fn unnamed(&self) -> BTreeMap<String, u64> {
        let mut unnamed = BTreeMap::new();
        for (publisher, Numbers { seen, named }) in &self.by_publisher {
            let (Some(first), Some(last)) = (seen.iter().next(), seen.last()) else {
                continue;
            };
            let mut all = seen.clone();
            all.union(named);
            let holes = all.missing(*first.start()..=last);
            let count: u64 = holes
                .iter()
                .map(|hole| (hole.end() - hole.start()).saturating_add(1))
                .sum();
            if count > 0 {
                *unnamed.entry(publisher.topic.clone()).or_insert(0) += count;
            }
        }
        unnamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_recorded_nor_named_is_counted() {
        let mut sequences = Sequences::default();
        let read = |sequence| Read {
            sequence,
            identity: b"Test:1".to_vec(),
            origin: 7,
        };
        for number in [3, 4, 8, 12, -1] {
            sequences.seen("t", 1, &read(number));
        }
        assert_eq!(sequences.unnamed(), BTreeMap::from([("t".to_owned(), 6)]));
        let publisher = Publisher {
            topic: "t".into(),
            instance: 1,
            identity: b"Test:1".to_vec(),
            origin: 7,
        };
        sequences.named(publisher.clone(), 1, 6);
        sequences.named(publisher, 10, 10);
        // 7, 9 and 11 are left; what comes before the first and after the last is nobody's.
        assert_eq!(sequences.unnamed(), BTreeMap::from([("t".to_owned(), 3)]));
        sequences.seen("t", 2, &read(50));
        assert_eq!(sequences.unnamed(), BTreeMap::from([("t".to_owned(), 3)]));
    }
}
