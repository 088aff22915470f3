//! What a buffer holds that is to be shipped, epoch by epoch.

use std::collections::BTreeMap;

use efd_shared_model::ids::EpochLane;
use efd_shared_model::{BlockNumber, EpochDeclaration, EpochId, RangeSet, StreamNumber};
use efd_shared_store::{Acked, Reader, StoreError};
use efd_shared_wire::edge::{HeldEpoch, HeldLane};

/// The destination whose acknowledgements count. There will be a second one.
pub const CENTRE: &str = "centre";

/// The highest number of a lane that was ever durable here, as far as anything here tells.
pub fn head(reader: &Reader, acked: &Acked, lane: &EpochLane) -> BlockNumber {
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
