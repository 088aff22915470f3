//! What an edge says it has committed to a lane within a while: the centre compares it with what it has. It travels as a
//! record of the lane `losses` and ends as a row beside the data.

use crate::block::SealedBlock;
use crate::bytes::{ByteError, Reader, Writer};
use crate::digest::{LaneDigest, Tally};
use crate::ids::EpochLane;
use crate::time::UtcNanos;

/// Topic, and so table, of what edges say.
pub const COMMITTED_TOPIC: &str = "efd.committed";

/// Of one lane of one epoch: all blocks of these numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub lane: EpochLane,
    /// Inclusive.
    pub first_block: u64,
    pub last_block: u64,
    pub records: Tally,
    /// When the first and the last were committed.
    pub from: UtcNanos,
    pub until: UtcNanos,
}

impl Committed {
    /// Of a block alone.
    pub fn of(block: &SealedBlock, committed: UtcNanos) -> Self {
        let id = block.id();
        Self {
            lane: id.lane,
            first_block: id.number.0,
            last_block: id.number.0,
            records: tally_of(block),
            from: committed,
            until: committed,
        }
    }

    /// The lane's next block; `false`, and nothing is done, where another is the next.
    pub fn extend(&mut self, block: &SealedBlock, committed: UtcNanos) -> bool {
        let id = block.id();
        if id.lane != self.lane || id.number.0 != self.last_block + 1 {
            return false;
        }
        self.last_block += 1;
        self.records.union(tally_of(block));
        self.until = committed;
        true
    }

    /// Appends the Avro datum by [`COMMITTED_SCHEMA`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self {
            lane,
            first_block,
            last_block,
            records,
            from,
            until,
        } = self;
        let mut writer = Writer::new();
        let lane = lane.to_string();
        writer.zigzag(lane.len() as i64);
        writer.raw(lane.as_bytes());
        for number in [*first_block, *last_block, records.rows, records.digest] {
            writer.zigzag(number.cast_signed());
        }
        writer.zigzag(from.0);
        writer.zigzag(until.0);
        out.extend_from_slice(writer.as_bytes());
    }

    /// Reads a datum that [`Self::encode`] wrote.
    pub fn decode(datum: &[u8]) -> Result<Self, ByteError> {
        const LANE_BYTES_MAX: i64 = 256;
        let mut reader = Reader::new(datum);
        let length = reader.zigzag()?;
        let length = usize::try_from(length)
            .ok()
            .filter(|_| length <= LANE_BYTES_MAX)
            .ok_or_else(|| reader.invalid("length of a lane"))?;
        let lane = std::str::from_utf8(reader.take(length)?)
            .ok()
            .and_then(|text| text.parse().ok());
        let lane = lane.ok_or_else(|| reader.invalid("lane"))?;
        let mut number = || Ok::<_, ByteError>(reader.zigzag()?.cast_unsigned());
        let (first_block, last_block) = (number()?, number()?);
        let records = Tally {
            rows: number()?,
            digest: number()?,
        };
        let committed = Self {
            lane,
            first_block,
            last_block,
            records,
            from: UtcNanos(reader.zigzag()?),
            until: UtcNanos(reader.zigzag()?),
        };
        if last_block < first_block {
            return Err(reader.invalid("range of blocks"));
        }
        reader.finish()?;
        Ok(committed)
    }
}

/// A block's records are numbered from 0.
fn tally_of(block: &SealedBlock) -> Tally {
    let (id, digests) = (block.id(), LaneDigest::new(&block.id().lane));
    let mut tally = Tally::default();
    for index in 0..block.header().records {
        tally.add(digests.of(id.number, index));
    }
    tally
}

/// Field order is the datum's byte order; a change needs a new topic.
pub const COMMITTED_SCHEMA: &str = r#"{"name":"efd.committed","type":"record","fields":[{"name":"lane","type":"string","default":"","description":"Edge, epoch and lane","units":"unitless"},{"name":"first_block","type":"long","default":0,"description":"First block","units":"unitless"},{"name":"last_block","type":"long","default":-1,"description":"Last block; all between them are meant","units":"unitless"},{"name":"records","type":"long","default":0,"description":"Records of these blocks","units":"unitless"},{"name":"digest","type":"long","default":0,"description":"Wrapping sum of XXH3-64 of the records' identities","units":"unitless"},{"name":"from_utc","type":"long","default":0,"description":"Commit of the first, UTC","units":"nanosecond"},{"name":"until_utc","type":"long","default":0,"description":"Commit of the last, UTC","units":"nanosecond"}],"description":"What an edge has committed: the centre compares it with what it has."}"#;

#[cfg(test)]
mod tests {
    use crate::block::Codec;
    use crate::ids::{BlockNumber, EdgeId, EpochId, Lane, LaneKind};
    use crate::{BlockBuilder, ClockState, EventTimeOrigin, RecordStamps, StreamNumber};

    use super::*;

    fn block(number: u64, records: u32) -> SealedBlock {
        let mut builder = BlockBuilder::new();
        for _ in 0..records {
            builder.datum(StreamNumber(1)).push(7);
            let stamps = RecordStamps {
                event_time: UtcNanos(1),
                origin: EventTimeOrigin::SndStamp,
                implausible: false,
                latin1: false,
                instance: None,
            };
            builder.finish(StreamNumber(1), stamps);
        }
        let lane = EpochLane {
            edge: EdgeId([1; 16]),
            epoch: EpochId([2; 16]),
            lane: Lane::new(LaneKind::Events),
        };
        let id = lane.block(BlockNumber(number));
        let sealed = builder.seal(id, ClockState::default(), Codec::None, 1);
        sealed.unwrap()
    }

    #[test]
    fn grows_by_the_next_block_and_reads_back() {
        let mut committed = Committed::of(&block(4, 2), UtcNanos(10));
        assert!(!committed.extend(&block(6, 1), UtcNanos(11)));
        assert!(committed.extend(&block(5, 3), UtcNanos(12)));
        assert_eq!((committed.records.rows, committed.last_block), (5, 5));
        let other = Committed::of(&block(5, 4), UtcNanos(12));
        assert_ne!(committed.records.digest, other.records.digest);
        let mut datum = Vec::new();
        committed.encode(&mut datum);
        assert_eq!(Committed::decode(&datum), Ok(committed));
        for end in 0..datum.len() {
            assert!(Committed::decode(&datum[..end]).is_err());
        }
    }
}
