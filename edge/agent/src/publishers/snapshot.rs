//! The bytes of a snapshot, version 2 (1 had no histories): beside the data in the buffer, read by the next start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use efd_shared_model::UtcNanos;
use efd_shared_model::bytes::{ByteError, Reader, Writer};

use super::{HISTORY_DEPTH, Histories, PUBLISHERS_MAX, Publisher, Publishers, TopicIndex};

const VERSION: u8 = 2;
const WITHOUT_HISTORIES: u8 = 1;
const BYTES_MAX: usize = 256 << 20;
const TOPICS_MAX: usize = 100_000;
const NAME_BYTES_MAX: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("snapshot version {0}, this build reads up to {VERSION}")]
    TooNew(u8),
    #[error("decompress snapshot of publishers: {0}")]
    Decompress(#[source] std::io::Error),
    #[error("read snapshot of publishers: {0}")]
    Bytes(#[from] ByteError),
}

impl Publishers {
    /// Publishers silent since `before` are left out, and topics that nobody is left of.
    pub fn snapshot(&self, before: UtcNanos) -> Vec<u8> {
        let alive = || {
            self.table
                .iter()
                .filter(|publisher| before <= publisher.last_received)
        };
        let topics: BTreeSet<TopicIndex> = alive()
            .map(|publisher| publisher.topic)
            .chain(self.histories.alive(before))
            .collect();
        let places: BTreeMap<TopicIndex, u64> = topics.into_iter().zip(0..).collect();
        let mut out = Writer::new();
        out.varint(places.len() as u64);
        for topic in places.keys() {
            out.text(&self.topics[topic.0 as usize]);
        }
        out.varint(alive().count() as u64);
        for publisher in alive() {
            let Publisher {
                topic,
                sal_index,
                identity,
                origin,
                last_sequence,
                last_snd_stamp,
                ..
            } = publisher;
            let Publisher {
                last_received,
                restored: _,
                history,
                ..
            } = publisher;
            out.varint(places[topic]);
            out.zigzag(sal_index.map_or(i64::MIN, i64::from));
            out.blob(identity);
            out.zigzag(*origin);
            out.zigzag(*last_sequence);
            out.u64(last_snd_stamp.to_bits());
            out.i64(last_received.0);
            out.varint(history.len() as u64);
            for (sequence, stamp) in history {
                out.zigzag(*sequence);
                out.u64(*stamp);
            }
        }
        // What an older build can read as long as it can be said so.
        let version = match self.histories.is_empty() {
            true => WITHOUT_HISTORIES,
            false => VERSION,
        };
        if version != WITHOUT_HISTORIES {
            self.histories.write(&places, &mut out);
        }
        let mut bytes = vec![version];
        // Compression of bytes in memory does not fail; an empty snapshot would only cost named losses.
        bytes.extend(zstd::bulk::compress(out.as_bytes(), 1).unwrap_or_default());
        bytes
    }

    /// Every publisher read counts as not heard since this process began.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (&version, packed) = bytes
            .split_first()
            .ok_or(ByteError::Truncated { at: 0, needed: 1 })?;
        if !matches!(version, WITHOUT_HISTORIES | VERSION) {
            return Err(SnapshotError::TooNew(version));
        }
        let capacity = zstd::bulk::Decompressor::upper_bound(packed)
            .unwrap_or(BYTES_MAX)
            .min(BYTES_MAX);
        let plain = zstd::bulk::decompress(packed, capacity).map_err(SnapshotError::Decompress)?;
        let mut reader = Reader::new(&plain);
        let mut publishers = Self::new();
        for _ in 0..reader.count("topics", TOPICS_MAX)? {
            publishers.topic(reader.text("characters of a topic", NAME_BYTES_MAX)?);
        }
        for _ in 0..reader.count("publishers", PUBLISHERS_MAX)? {
            let publisher = read_publisher(&mut reader, publishers.topics.len())?;
            publishers
                .table
                .insert_unique(publisher.hash(), publisher, Publisher::hash);
        }
        if version != WITHOUT_HISTORIES {
            publishers.histories = Histories::read(&mut reader, publishers.topics.len())?;
        }
        reader.finish()?;
        Ok(publishers)
    }

    /// A replay of recorded samples is over: what was heard in it was heard by the process before.
    pub fn mark_restored(&mut self) {
        for publisher in self.table.iter_mut() {
            publisher.restored = true;
        }
    }
}

fn read_publisher(reader: &mut Reader<'_>, topics: usize) -> Result<Publisher, ByteError> {
    let topic = TopicIndex(reader.count("topics", topics.saturating_sub(1))? as u32);
    let sal_index = match reader.zigzag()? {
        i64::MIN => None,
        index => Some(i32::try_from(index).map_err(|_| reader.invalid("salIndex"))?),
    };
    let identity = reader.blob("bytes of an identity", NAME_BYTES_MAX)?.into();
    let origin = reader.zigzag()?;
    let last_sequence = reader.zigzag()?;
    let last_snd_stamp = f64::from_bits(reader.u64()?);
    let last_received = UtcNanos(reader.i64()?);
    let count = reader.count("samples of history", HISTORY_DEPTH)?;
    let history = (0..count)
        .map(|_| Ok((reader.zigzag()?, reader.u64()?)))
        .collect::<Result<VecDeque<_>, ByteError>>()?;
    Ok(Publisher {
        topic,
        sal_index,
        identity,
        origin,
        last_sequence,
        last_snd_stamp,
        last_received,
        restored: true,
        history,
    })
}
