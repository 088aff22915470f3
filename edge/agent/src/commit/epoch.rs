//! What the buffer holds when it is opened, epoch by epoch; and the new epoch that begins.

use std::collections::{BTreeMap, BTreeSet};

use efd_shared_model::epoch::Parent;
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{
    BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, RangeSet, Site, StreamNumber,
};
use efd_shared_store::{Acked, Reader, StoreError};
use efd_shared_wire::edge::{HeldEpoch, HeldLane};

/// The destination whose acknowledgements count. There will be a second one.
pub const CENTRE: &str = "centre";

/// The epoch of this start. Its parent is the newest one of the buffer, with how far each lane was durable.
pub fn begin_epoch(
    reader: &mut Reader,
    acked: &Acked,
    edge: EdgeId,
    site: Site,
    epoch: EpochId,
    began: ClockState,
) -> Result<EpochDeclaration, StoreError> {
    let parent = newest(reader.epochs()?).map(|parent| {
        let lanes = lanes_of(reader, acked, parent.epoch);
        let heads = lanes
            .into_iter()
            .map(|lane| (lane.lane, head(reader, acked, &lane)))
            .collect();
        Parent {
            epoch: parent.epoch,
            heads,
        }
    });
    Ok(EpochDeclaration {
        edge,
        site,
        epoch,
        parent,
        began,
        software: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// The epoch that no other continues; of several (a clone came home) the one begun last.
fn newest(epochs: Vec<EpochDeclaration>) -> Option<EpochDeclaration> {
    let parents: BTreeSet<EpochId> = epochs
        .iter()
        .filter_map(|epoch| Some(epoch.parent.as_ref()?.epoch))
        .collect();
    epochs
        .into_iter()
        .filter(|epoch| !parents.contains(&epoch.epoch))
        .max_by_key(|epoch| epoch.began.utc)
}

fn lanes_of(reader: &Reader, acked: &Acked, epoch: EpochId) -> BTreeSet<EpochLane> {
    let known = reader.logs().into_iter().chain(acked.keys().copied());
    known.filter(|lane| lane.epoch == epoch).collect()
}

fn head(reader: &Reader, acked: &Acked, lane: &EpochLane) -> BlockNumber {
    let held = reader.numbers(lane).last().unwrap_or(0);
    BlockNumber(held.max(acked.get(lane).and_then(RangeSet::last).unwrap_or(0)))
}

/// What the shipper begins with: every epoch of which a lane that is shipped still holds something.
pub fn held_epochs(reader: &mut Reader, acked: &Acked) -> Result<Vec<HeldEpoch>, StoreError> {
    let mut lanes: BTreeMap<EpochId, Vec<HeldLane>> = BTreeMap::new();
    for lane in reader
        .logs()
        .into_iter()
        .filter(|lane| lane.lane.kind.is_shipped())
    {
        lanes.entry(lane.epoch).or_default().push(HeldLane {
            lane: lane.lane,
            head: head(reader, acked, &lane),
            held: reader.numbers(&lane),
            acked: acked.get(&lane).cloned().unwrap_or_default(),
        });
    }
    let declarations: BTreeMap<EpochId, EpochDeclaration> = reader
        .epochs()?
        .into_iter()
        .map(|declaration| (declaration.epoch, declaration))
        .collect();
    let mut held = Vec::new();
    for (epoch, lanes) in lanes {
        let Some(declaration) = declarations.get(&epoch) else {
            continue;
        };
        let streams = reader.streams(epoch)?;
        let numbers: RangeSet = streams
            .iter()
            .map(|s| u64::from(s.number.0)..=u64::from(s.number.0))
            .collect();
        let streams_through = StreamNumber(u32::try_from(numbers.through()).unwrap_or(u32::MAX));
        held.push(HeldEpoch {
            declaration: declaration.clone(),
            streams_through,
            lanes,
        });
    }
    held.sort_by_key(|epoch| epoch.declaration.began.utc);
    Ok(held)
}
