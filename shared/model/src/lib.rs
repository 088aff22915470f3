//! The words of the project as types: time scales, identities, records, blocks, losses.
//!
//! In:  nothing; this crate stands at the head of every other.
//! Out: values that cannot be wrong, and the byte format of a block (`BLOCK.md` beside this crate's manifest).
//!
//! Absent: clocks, files, sockets, serde. Time comes in as an argument, and a type that crosses
//! a process boundary has a byte format written by hand and kept by a fixture.

pub mod block;
pub mod bytes;
pub mod clock;
pub mod committed;
pub mod digest;
pub mod epoch;
pub mod ids;
pub mod leap;
pub mod loss;
pub mod pattern;
pub mod ranges;
pub mod record;
pub mod reduced;
pub mod schema;
pub mod shard;
pub mod time;

pub use block::{Block, BlockBuilder, BlockError, BlockHeader, SealedBlock};
pub use clock::ClockState;
pub use committed::Committed;
pub use digest::{LaneDigest, Tally, identity_digest};
pub use epoch::EpochDeclaration;
pub use ids::{
    BlockId, BlockNumber, EdgeId, EpochId, EpochLane, Lane, LaneKind, RecordId, Site, StreamNumber,
};
pub use leap::LeapTable;
pub use loss::{Loss, LossReason};
pub use pattern::Pattern;
pub use ranges::RangeSet;
pub use record::{EventTimeOrigin, RecordRef, RecordStamps};
pub use reduced::Reduced;
pub use schema::{Fingerprint, Schema, StreamDeclaration, TopicKind};
pub use shard::{DIVERTED_SLOTS, Shard, component_of};
pub use time::{TaiNanos, UtcNanos};
