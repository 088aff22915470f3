//! A record batch of version 2, as it goes over the wire and into the topic.
//!
//! Source: Kafka's protocol guide, "Record Batch"; varints are zigzag, the checksum is CRC-32C.

use bytes::Bytes;
use lz4_flex::frame::FrameEncoder;
use std::io::Write as _;

/// A topic by its number within a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicIx(pub u32);

#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub key: Option<&'a [u8]>,
    /// Its parts, one after the other.
    pub value: [&'a [u8]; 2],
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// Who produces: of the cluster, new for each producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub id: i64,
    pub epoch: i16,
}

const HEADER_BYTES: usize = 61;
const BEFORE_LENGTH_BYTES: usize = 12;
const CHECKSUM_AT: usize = 17;
const CHECKED_FROM: usize = 21;
const MAGIC: u8 = 2;
const LZ4: i16 = 3;
/// Smaller batches gain nothing.
const COMPRESSED_FROM_BYTES: usize = 1024;
/// The most that a record's own lengths and attributes take.
const RECORD_OVERHEAD_BYTES: usize = 32;

impl Record<'_> {
    /// About what it takes in a batch, and never less.
    pub(crate) fn bytes_max(&self) -> usize {
        let key = self.key.map_or(0, <[u8]>::len);
        let value: usize = self.value.iter().map(|part| part.len()).sum();
        let headers = self.headers.iter();
        let headers: usize = headers
            .map(|(name, value)| name.len() + value.len() + 10)
            .sum();
        key + value + headers + RECORD_OVERHEAD_BYTES
    }
}

/// A batch that grows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Growing {
    bytes: Vec<u8>,
    records: i32,
    begun_ms: i64,
}

impl Growing {
    /// `begun_ms`: Unix time, of all its records; a topic with LogAppendTime has its own.
    pub(crate) fn new(begun_ms: i64) -> Self {
        Self {
            begun_ms,
            ..Self::default()
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn push(&mut self, record: &Record<'_>) {
        let index = i64::from(self.records);
        self.records += 1;
        let value: usize = record.value.iter().map(|part| part.len()).sum();
        let mut length = 1 + 1 + varint_bytes(index);
        length += record
            .key
            .map_or(1, |key| varint_bytes(key.len() as i64) + key.len());
        length += varint_bytes(value as i64) + value;
        length += varint_bytes(record.headers.len() as i64);
        for (name, value) in record.headers {
            length += varint_bytes(name.len() as i64) + name.len();
            length += varint_bytes(value.len() as i64) + value.len();
        }
        let out = &mut self.bytes;
        put_varint(out, length as i64);
        out.push(0);
        put_varint(out, 0);
        put_varint(out, index);
        match record.key {
            Some(key) => put_bytes(out, key),
            None => put_varint(out, -1),
        }
        put_varint(out, value as i64);
        record
            .value
            .iter()
            .for_each(|part| out.extend_from_slice(part));
        put_varint(out, record.headers.len() as i64);
        for (name, value) in record.headers {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value);
        }
    }

    /// The batch's bytes. `sequence`: of its first record.
    pub(crate) fn seal(&self, identity: Identity, sequence: i32) -> Bytes {
        let compressed = match self.bytes.len() {
            ..COMPRESSED_FROM_BYTES => None,
            _ => compress(&self.bytes).filter(|less| less.len() < self.bytes.len()),
        };
        let (attributes, records) = match &compressed {
            Some(compressed) => (LZ4, compressed),
            None => (0, &self.bytes),
        };
        let count = self.records;
        let mut out = Vec::with_capacity(HEADER_BYTES + records.len());
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        put(&0i64.to_be_bytes());
        put(&((HEADER_BYTES - BEFORE_LENGTH_BYTES + records.len()) as i32).to_be_bytes());
        // The leader's epoch, which the broker fills.
        put(&(-1i32).to_be_bytes());
        put(&[MAGIC]);
        put(&[0; 4]);
        put(&attributes.to_be_bytes());
        put(&(count - 1).to_be_bytes());
        put(&self.begun_ms.to_be_bytes());
        put(&self.begun_ms.to_be_bytes());
        put(&identity.id.to_be_bytes());
        put(&identity.epoch.to_be_bytes());
        put(&sequence.to_be_bytes());
        put(&count.to_be_bytes());
        put(records);
        let checksum = crc32c::crc32c(&out[CHECKED_FROM..]);
        out[CHECKSUM_AT..CHECKED_FROM].copy_from_slice(&checksum.to_be_bytes());
        out.into()
    }
}

/// `None`: it cannot be.
fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = FrameEncoder::new(Vec::with_capacity(bytes.len() / 2));
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

/// Sequences are 31 bits wide and begin anew at 0.
pub(crate) fn sequence_after(sequence: i32, records: usize) -> i32 {
    ((i64::from(sequence) + records as i64) & i64::from(i32::MAX)) as i32
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn varint_bytes(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use kafka_protocol::records::RecordBatchDecoder;
    use proptest::prelude::*;

    use super::*;

    const IDENTITY: Identity = Identity { id: 4711, epoch: 3 };

    #[test]
    fn golden_bytes() {
        let mut batch = Growing::new(1_700_000_000_000);
        let headers: [(&str, &[u8]); 1] = [("h", &[1, 2])];
        batch.push(&Record {
            key: Some(b"k"),
            value: [b"ab", b"c"],
            headers: &headers,
        });
        batch.push(&Record {
            key: None,
            value: [b"", b""],
            headers: &[],
        });
        let hex: String = batch
            .seal(IDENTITY, 5)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "000000000000000000000048ffffffff02f2534b550000000000010000018bcfe568000000018bcfe568000000000000\
        001267000300000005000000021e000000026b066162630202680401020c000002010000";

    #[test]
    fn sequences_begin_anew() {
        assert_eq!(sequence_after(0, 3), 3);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
    }

    type Owned = (Option<Vec<u8>>, Vec<u8>, Vec<u8>, Vec<(String, Vec<u8>)>);

    fn records() -> impl Strategy<Value = Vec<Owned>> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..80);
        let headers = prop::collection::vec(("[a-z.]{1,12}", bytes()), 0..4);
        let record = (prop::option::of(bytes()), bytes(), bytes(), headers);
        prop::collection::vec(record, 1..12)
    }

    proptest! {
        /// Another's reader of the same format. What is compressed is read by real consumers in the feed's tests.
        #[test]
        fn another_reader_finds_the_same(records in records(), sequence in 0..i32::MAX) {
            let mut batch = Growing::new(17);
            for (key, a, b, headers) in &records {
                let headers: Vec<(&str, &[u8])> = headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_slice()))
                    .collect();
                let record = Record { key: key.as_deref(), value: [a.as_slice(), b.as_slice()], headers: &headers };
                let before = batch.bytes();
                batch.push(&record);
                prop_assert!(batch.bytes() - before <= record.bytes_max());
            }
            prop_assume!(batch.bytes() < COMPRESSED_FROM_BYTES);
            let mut sealed = batch.seal(IDENTITY, sequence);
            let set = RecordBatchDecoder::decode(&mut sealed).unwrap();
            prop_assert_eq!(set.records.len(), records.len());
            for (index, (read, (key, a, b, headers))) in set.records.iter().zip(&records).enumerate() {
                prop_assert_eq!(read.producer_id, IDENTITY.id);
                prop_assert_eq!(read.producer_epoch, IDENTITY.epoch);
                prop_assert_eq!(read.sequence, sequence.wrapping_add(index as i32));
                prop_assert_eq!(read.timestamp, 17);
                prop_assert_eq!(read.key.as_deref(), key.as_deref());
                let value = [a.clone(), b.clone()].concat();
                prop_assert_eq!(read.value.as_deref(), Some(value.as_slice()));
                for (name, value) in headers {
                    // The other reader keeps one value of a name.
                    prop_assert!(read.headers.iter().any(|(other, _)| other.as_str() == name), "{} {:?}", name, value);
                }
            }
        }
    }
}
