//! Which records, as one number: the sum of the digests of their identities, in whatever order they come.

use xxhash_rust::xxh3::xxh3_64;

use crate::ids::{BlockNumber, EpochLane, RecordId};

/// XXH3-64 of the bytes of edge, epoch, the lane's text, block (u64, little-endian) and index (u32, little-endian).
pub fn identity_digest(id: &RecordId) -> u64 {
    LaneDigest::new(&id.block.lane).of(id.block.number, id.index)
}

/// [`identity_digest`] for many records of one lane.
#[derive(Clone, Copy, Debug)]
pub struct LaneDigest {
    bytes: [u8; BYTES_MAX],
    /// Where the block comes.
    end: usize,
}

const TAIL_BYTES: usize = 8 + 4;
/// The longest lane is `telemetry.65535`.
const BYTES_MAX: usize = 16 + 16 + 15 + TAIL_BYTES;

impl LaneDigest {
    pub fn new(lane: &EpochLane) -> Self {
        let EpochLane { edge, epoch, lane } = lane;
        let mut bytes = [0; BYTES_MAX];
        bytes[..16].copy_from_slice(&edge.0);
        bytes[16..32].copy_from_slice(&epoch.0);
        let text = lane.to_string();
        let end = 32 + text.len();
        bytes[32..end].copy_from_slice(text.as_bytes());
        Self { bytes, end }
    }

    pub fn of(&self, block: BlockNumber, index: u32) -> u64 {
        let mut bytes = self.bytes;
        let (block_end, end) = (self.end + 8, self.end + TAIL_BYTES);
        bytes[self.end..block_end].copy_from_slice(&block.0.to_le_bytes());
        bytes[block_end..end].copy_from_slice(&index.to_le_bytes());
        xxh3_64(&bytes[..end])
    }
}

/// How many records, and which: two are equal where the same records are in both, as often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    pub rows: u64,
    /// The wrapping sum of [`identity_digest`].
    pub digest: u64,
}

impl Tally {
    pub fn add(&mut self, identity_digest: u64) {
        self.rows += 1;
        self.digest = self.digest.wrapping_add(identity_digest);
    }

    pub fn union(&mut self, other: Self) {
        let Self { rows, digest } = other;
        self.rows += rows;
        self.digest = self.digest.wrapping_add(digest);
    }

    /// The rest, where `other` is a part of it.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_sub(other.rows),
            digest: self.digest.wrapping_sub(other.digest),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ids::{EdgeId, EpochId, Lane, LaneKind};

    use super::*;

    fn id(shard: u16, block: u64, index: u32) -> RecordId {
        let lane = EpochLane {
            edge: EdgeId([7; 16]),
            epoch: EpochId([9; 16]),
            lane: Lane {
                kind: LaneKind::Telemetry,
                shard,
            },
        };
        RecordId {
            block: lane.block(BlockNumber(block)),
            index,
        }
    }

    /// Ledgers keep these numbers.
    #[test]
    fn digests_never_change() {
        let check = |id: RecordId, expected: u64| {
            let digest = identity_digest(&id);
            assert_eq!(digest, expected, "{id}: {digest:#018x}");
        };
        check(id(0, 1, 0), 0x24d3_eaec_f3e2_5407);
    }

    #[test]
    fn it_is_of_those_bytes() {
        let mut bytes = vec![7; 16];
        bytes.extend([9; 16]);
        bytes.extend(b"telemetry.3");
        bytes.extend(41u64.to_le_bytes());
        bytes.extend(5u32.to_le_bytes());
        assert_eq!(identity_digest(&id(3, 41, 5)), xxh3_64(&bytes));
    }

    #[test]
    fn a_tally_knows_no_order_and_counts_what_is_twice() {
        let digests: Vec<_> = (0..5)
            .map(|index| identity_digest(&id(0, 1, index)))
            .collect();
        let tally = |digests: &mut dyn Iterator<Item = &u64>| {
            let mut tally = Tally::default();
            digests.for_each(|digest| tally.add(*digest));
            tally
        };
        let whole = tally(&mut digests.iter());
        assert_eq!(whole, tally(&mut digests.iter().rev()));
        let mut parts = tally(&mut digests[..2].iter());
        parts.union(tally(&mut digests[2..].iter()));
        assert_eq!(whole, parts);
        let twice = tally(&mut digests.iter().chain(&digests[..1]));
        assert_ne!(whole, twice);
    }
}
