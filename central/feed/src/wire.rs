//! What a public record looks like: Confluent's framing, key, and the three headers that identify it.
//!
//! | header | bytes |
//! |---|---|
//! | [`HEADER_ID`] | 47, big-endian: edge (16), epoch (16), lane kind (u8), shard (u16), block (u64), index (u32) |
//! | [`HEADER_TIME`] | 8: event time, UTC nanoseconds since 1970, big-endian i64 |
//! | [`HEADER_CLASS`] | `live` or `fill`, ASCII |
//!
//! The id is fixed-width binary because it is on every record: the text form is twice as long. In Python:
//! `edge, epoch, kind, shard, block, index = struct.unpack(">16s16sBHQI", value)`.

use efd_central_log::Class;
use efd_shared_model::{
    BlockNumber, EdgeId, EpochId, Lane, LaneKind, RecordId, UtcNanos, ids::EpochLane,
};

/// The identity of the record: equal in two messages only if one is a duplicate of the other.
pub const HEADER_ID: &str = "efd.id";
/// When it happened, as far as the edge could tell.
pub const HEADER_TIME: &str = "efd.time";
/// Whether the block came fresh or as back-fill.
pub const HEADER_CLASS: &str = "efd.class";

pub const ID_BYTES: usize = 47;

/// The registry's number for a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SchemaId(pub u32);

pub const FRAME_BYTES: usize = 5;

/// What stands before the datum in Confluent's wire format: 0 and the schema's id.
pub fn frame(schema: SchemaId) -> [u8; FRAME_BYTES] {
    let [a, b, c, d] = schema.0.to_be_bytes();
    [0, a, b, c, d]
}

pub fn encode_id(id: RecordId) -> [u8; ID_BYTES] {
    let RecordId { block, index } = id;
    let EpochLane { edge, epoch, lane } = block.lane;
    let mut bytes = [0; ID_BYTES];
    bytes[..16].copy_from_slice(&edge.0);
    bytes[16..32].copy_from_slice(&epoch.0);
    bytes[32] = lane.kind as u8;
    bytes[33..35].copy_from_slice(&lane.shard.to_be_bytes());
    bytes[35..43].copy_from_slice(&block.number.0.to_be_bytes());
    bytes[43..].copy_from_slice(&index.to_be_bytes());
    bytes
}

/// `None` for anything that [`encode_id`] does not write.
pub fn decode_id(bytes: &[u8]) -> Option<RecordId> {
    let bytes: &[u8; ID_BYTES] = bytes.try_into().ok()?;
    let (edge, rest) = bytes.split_first_chunk()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let (shard, rest) = rest.split_first_chunk()?;
    let (number, index) = rest.split_first_chunk()?;
    let lane = Lane {
        kind: LaneKind::from_u8(*kind)?,
        shard: u16::from_be_bytes(*shard),
    };
    let log = EpochLane {
        edge: EdgeId(*edge),
        epoch: EpochId(*epoch),
        lane,
    };
    Some(RecordId {
        block: log.block(BlockNumber(u64::from_be_bytes(*number))),
        index: u32::from_be_bytes(index.try_into().ok()?),
    })
}

pub fn encode_time(time: UtcNanos) -> [u8; 8] {
    time.0.to_be_bytes()
}

/// `None` for anything that [`encode_time`] does not write.
pub fn decode_time(bytes: &[u8]) -> Option<UtcNanos> {
    let bytes = bytes.try_into().ok()?;
    Some(UtcNanos(i64::from_be_bytes(bytes)))
}

pub fn class_text(class: Class) -> &'static str {
    match class {
        Class::Live => "live",
        Class::Fill => "fill",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_their_bytes_are_fixed() {
        let log = EpochLane {
            edge: EdgeId([0xaa; 16]),
            epoch: EpochId([0xbb; 16]),
            lane: Lane {
                kind: LaneKind::Telemetry,
                shard: 0x0102,
            },
        };
        let id = RecordId {
            block: log.block(BlockNumber(0x0304)),
            index: 0x05,
        };
        let bytes = encode_id(id);
        assert_eq!(
            bytes[30..],
            [0xbb, 0xbb, 2, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 5]
        );
        assert_eq!(decode_id(&bytes), Some(id));
        assert_eq!(decode_id(&bytes[..46]), None);
        let mut unknown_lane = bytes;
        unknown_lane[32] = 99;
        assert_eq!(decode_id(&unknown_lane), None);
    }

    #[test]
    fn times_read_back() {
        let time = UtcNanos(-1_795_399_261_112_196_079);
        assert_eq!(decode_time(&encode_time(time)), Some(time));
        assert_eq!(decode_time(&[0; 7]), None);
    }

    #[test]
    fn framing() {
        assert_eq!(frame(SchemaId(0x0102_0304)), [0, 1, 2, 3, 4]);
    }
}
