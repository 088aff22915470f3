//! The new epoch that begins when the buffer is opened.

use std::collections::BTreeSet;

use efd_edge_ship::head;
use efd_shared_model::epoch::Parent;
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{ClockState, EdgeId, EpochDeclaration, EpochId, Site};
use efd_shared_store::{Acked, Reader, StoreError};

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
