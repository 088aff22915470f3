//! What one commit adds, lane by lane.

use std::collections::BTreeMap;

use efd_shared_model::{
    BlockBuilder, Lane, LaneKind, LossReason, Schema, Shard, StreamDeclaration,
};

/// Records collected for the next commit, and the declarations that they need.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order in which they must become durable: a loss before the data that follow it.
    lanes: BTreeMap<CommitOrder, LaneBatch>,
    /// Streams used for the first time, ascending.
    pub streams: Vec<StreamDeclaration>,
    pub schemas: Vec<Schema>,
    /// What its losses name: reason, and samples where they are known.
    pub losses: Vec<(LossReason, u64)>,
}

#[derive(Debug, Default)]
pub struct LaneBatch {
    /// By shard: each fills a block of its own.
    pub builders: BTreeMap<u16, BlockBuilder>,
    /// Values by key that go into the same transaction.
    pub states: BTreeMap<String, Vec<u8>>,
}

/// A crash between two lanes then costs a loss that names too much, never data whose loss nobody named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CommitOrder(u8, LaneKind);

impl CommitOrder {
    fn of(lane: LaneKind) -> Self {
        let rank = match lane {
            LaneKind::Losses => 0,
            LaneKind::Parked => 1,
            LaneKind::Events => 2,
            LaneKind::Telemetry => 3,
            LaneKind::Reduced => 4,
        };
        Self(rank, lane)
    }
}

impl Batch {
    fn builders(&self) -> impl Iterator<Item = &BlockBuilder> {
        self.lanes.values().flat_map(|lane| lane.builders.values())
    }

    pub fn is_empty(&self) -> bool {
        self.builders().all(BlockBuilder::is_empty)
    }

    pub fn has_no_state(&self) -> bool {
        self.lanes.values().all(|lane| lane.states.is_empty())
    }

    pub fn records(&self) -> usize {
        self.builders().map(BlockBuilder::records).sum()
    }

    /// Bytes of the datums, uncompressed.
    pub fn datum_bytes(&self) -> usize {
        self.builders().map(BlockBuilder::datum_bytes).sum()
    }

    /// Of the largest block, uncompressed.
    pub fn fullest_bytes(&self) -> usize {
        let bytes = self.builders().map(BlockBuilder::datum_bytes);
        bytes.max().unwrap_or(0)
    }

    /// Whether every block still takes a record of any size.
    pub fn has_room(&self) -> bool {
        self.builders().all(BlockBuilder::has_room)
    }

    pub fn lane(&mut self, lane: LaneKind) -> &mut LaneBatch {
        self.lanes.entry(CommitOrder::of(lane)).or_default()
    }

    pub fn builder(&mut self, lane: Lane) -> &mut BlockBuilder {
        let builders = &mut self.lane(lane.kind).builders;
        builders.entry(lane.shard).or_default()
    }

    /// In commit order.
    pub fn lanes(&mut self) -> impl Iterator<Item = (LaneKind, &mut LaneBatch)> {
        self.lanes.iter_mut().map(|(order, lane)| (order.1, lane))
    }

    /// Ready to be filled again; builders keep their memory.
    pub fn reset(&mut self) {
        self.streams.clear();
        self.schemas.clear();
        self.losses.clear();
        for lane in self.lanes.values_mut() {
            lane.states.clear();
            // Those of single topics come and go.
            let is_diverted = |shard: u16| Shard::from_number(shard).is_diverted();
            lane.builders.retain(|shard, _| !is_diverted(*shard));
        }
    }
}
