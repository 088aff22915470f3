//! What an edge's disk holds for sure, and the blocks that go onto it.

use std::collections::BTreeMap;

use efd_shared_model::block::Codec;
use efd_shared_model::loss::{LOSS_SCHEMA, LOSS_TOPIC};
use efd_shared_model::record::EventTimeOrigin;
use efd_shared_model::{
    BlockBuilder, BlockId, BlockNumber, ClockState, EpochDeclaration, EpochId, EpochLane, Lane,
    Loss, LossReason, RangeSet, RecordStamps, Schema, SealedBlock, StreamDeclaration, StreamNumber,
    TopicKind, UtcNanos,
};
use efd_shared_wire::Moment;
use efd_shared_wire::edge::{HeldEpoch, HeldLane};

use crate::random::Dice;

/// Survives crashes.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// In the order in which they began.
    pub(crate) epochs: Vec<DiskEpoch>,
}

#[derive(Debug)]
pub(crate) struct DiskEpoch {
    pub(crate) declaration: EpochDeclaration,
    pub(crate) streams: Vec<(StreamDeclaration, Schema)>,
    pub(crate) lanes: BTreeMap<Lane, DiskLane>,
}

#[derive(Debug, Default)]
pub(crate) struct DiskLane {
    pub(crate) head: u64,
    pub(crate) blocks: BTreeMap<u64, Stored>,
    pub(crate) acked: RangeSet,
}

#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) block: SealedBlock,
    pub(crate) damaged: bool,
}

/// What one commit adds, and does once it is durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) committed_at: Moment,
    pub(crate) epoch: Option<EpochDeclaration>,
    pub(crate) streams: Vec<(StreamDeclaration, Schema)>,
    pub(crate) blocks: Vec<SealedBlock>,
    /// Named as lost by one of the blocks: to be removed after.
    pub(crate) removals: Vec<(EpochLane, RangeSet)>,
}

/// What a read finds.
#[derive(Debug)]
pub(crate) enum Read<'a> {
    Block(&'a SealedBlock),
    Damaged,
    Gone,
}

impl Disk {
    pub(crate) fn epoch(&self, id: EpochId) -> Option<&DiskEpoch> {
        self.epochs
            .iter()
            .find(|epoch| epoch.declaration.epoch == id)
    }

    pub(crate) fn lane_mut(&mut self, lane: EpochLane) -> Option<&mut DiskLane> {
        let epoch = self
            .epochs
            .iter_mut()
            .find(|epoch| epoch.declaration.epoch == lane.epoch)?;
        epoch.lanes.get_mut(&lane.lane)
    }

    pub(crate) fn read(&self, id: BlockId) -> Read<'_> {
        let lane = self
            .epoch(id.lane.epoch)
            .and_then(|epoch| epoch.lanes.get(&id.lane.lane));
        match lane.and_then(|lane| lane.blocks.get(&id.number.0)) {
            None => Read::Gone,
            Some(stored) if stored.damaged => Read::Damaged,
            Some(stored) => Read::Block(&stored.block),
        }
    }

    /// The sync: all of the batch, at once.
    pub(crate) fn store(&mut self, batch: &Batch, damaged_per_mille: u64, dice: &mut Dice) {
        if let Some(declaration) = &batch.epoch {
            self.epochs.push(DiskEpoch {
                declaration: declaration.clone(),
                streams: Vec::new(),
                lanes: BTreeMap::new(),
            });
        }
        let Some(epoch) = self.epochs.last_mut() else {
            return;
        };
        epoch.streams.extend(batch.streams.iter().cloned());
        for block in &batch.blocks {
            let id = block.id();
            let lane = epoch.lanes.entry(id.lane.lane).or_default();
            lane.head = id.number.0;
            // What names losses is not lost itself here: two faults at once are for the real store's tests.
            let is_loss = id.lane.lane.kind == efd_shared_model::LaneKind::Losses;
            let damaged = !is_loss && dice.chance(damaged_per_mille);
            let stored = Stored {
                block: block.clone(),
                damaged,
            };
            lane.blocks.insert(id.number.0, stored);
        }
    }

    /// What a session begins with. A damaged block is found only when it is read.
    pub(crate) fn held(&self) -> Vec<HeldEpoch> {
        let held_lane = |(&lane, disk): (&Lane, &DiskLane)| HeldLane {
            lane,
            head: BlockNumber(disk.head),
            held: disk.blocks.keys().map(|&number| number..=number).collect(),
            acked: disk.acked.clone(),
        };
        let held_epoch = |epoch: &DiskEpoch| HeldEpoch {
            declaration: epoch.declaration.clone(),
            streams_through: StreamNumber(epoch.streams.len() as u32),
            lanes: epoch.lanes.iter().map(held_lane).collect(),
        };
        self.epochs.iter().map(held_epoch).collect()
    }
}

/// Stream 1 of every epoch is the losses.
pub(crate) const LOSS_STREAM: StreamNumber = StreamNumber(1);

pub(crate) fn stream(number: u32, dice: &mut Dice) -> (StreamDeclaration, Schema) {
    let is_loss = number == LOSS_STREAM.0;
    let schema = if is_loss {
        Schema::new(LOSS_SCHEMA)
    } else {
        let variant = dice.index(5);
        Schema::new(format!(
            r#"{{"type":"record","name":"t{variant}","fields":[]}}"#
        ))
    };
    let declaration = StreamDeclaration {
        number: StreamNumber(number),
        topic: if is_loss {
            LOSS_TOPIC.to_owned()
        } else {
            format!("lsst.sal.Test.t{number}")
        },
        dds_topic: String::new(),
        dds_type: String::new(),
        kind: if is_loss {
            TopicKind::Loss
        } else {
            TopicKind::Telemetry
        },
        schema: schema.fingerprint(),
    };
    (declaration, schema)
}

/// Of records with these datums.
pub(crate) fn seal(id: BlockId, datums: &[(StreamNumber, Vec<u8>)]) -> Option<SealedBlock> {
    let mut builder = BlockBuilder::new();
    for (stream, datum) in datums {
        builder.datum(*stream).extend_from_slice(datum);
        let stamps = RecordStamps {
            event_time: UtcNanos(0),
            origin: EventTimeOrigin::Reception,
            implausible: false,
            latin1: false,
            instance: None,
        };
        builder.finish(*stream, stamps);
    }
    builder.seal(id, ClockState::default(), Codec::None, 0)
}

pub(crate) fn losses(lane: EpochLane, ranges: &RangeSet, reason: LossReason) -> Vec<Vec<u8>> {
    let loss = |range: std::ops::RangeInclusive<u64>| {
        let mut datum = Vec::new();
        Loss {
            epoch: lane.epoch.to_string(),
            lane: lane.lane.to_string(),
            first_block: *range.start() as i64,
            last_block: *range.end() as i64,
            ..Loss::new(reason, UtcNanos(0), UtcNanos(1))
        }
        .encode(&mut datum);
        datum
    };
    ranges.iter().map(loss).collect()
}
