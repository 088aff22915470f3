//! What of a buffer or a sealed file is to go to the centre.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use efd_edge_ship::{Source, SourceError, held_epochs};
use efd_shared_model::{
    BlockId, EdgeId, EpochId, EpochLane, RangeSet, Schema, SealedBlock, Site, StreamDeclaration,
    StreamNumber,
};
use efd_shared_store::{Acked, Item, LaneName, ReadOnlyStore, Reader, SegmentInfo};
use efd_shared_wire::edge::HeldEpoch;

use super::SendError;
use super::receipt::Receipt;
use crate::outcome::InspectError;
use crate::screen::Screen;
use efd_shared_daemon::when::Window;

/// Which blocks. The default is all that are shipped.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Blocks with anything in it, whole.
    pub window: Window,
    pub lane: Option<LaneName>,
    /// Needed where the buffer holds blocks of several.
    pub edge: Option<EdgeId>,
    /// What it names is at the centre already.
    pub receipt: Option<Receipt>,
}

/// Of one edge.
#[derive(Clone, Debug)]
pub(crate) struct Shipment {
    pub(crate) edge: EdgeId,
    pub(crate) site: Site,
    pub(crate) epochs: Vec<HeldEpoch>,
}

impl Shipment {
    pub(crate) fn blocks(&self) -> u64 {
        let lanes = self.epochs.iter().flat_map(|epoch| &epoch.lanes);
        lanes.map(|lane| lane.held.member_count()).sum()
    }

    /// Of a buffer. What cannot go is named on the screen.
    pub(crate) fn of_buffer(
        store: &ReadOnlyStore,
        choice: &Choice,
        screen: &mut Screen<impl Write, impl Write>,
    ) -> Result<Self, InspectError> {
        let mut reader = store.reader();
        let mut epochs = held_epochs(&mut reader, &Acked::new())?;
        let declared: BTreeSet<EpochId> = epochs.iter().map(|it| it.declaration.epoch).collect();
        for log in reader.logs() {
            if log.lane.kind.is_shipped() && !declared.contains(&log.epoch) {
                let count = reader.numbers(&log).member_count();
                screen.damaged(format_args!(
                    "{count} blocks of {log} cannot be sent: their epoch is not declared here"
                ))?;
            }
        }
        for epoch in &mut epochs {
            epoch.streams_through = streams_with_schema(&mut reader, epoch.declaration.epoch)?;
        }
        let mut shipment = Self::of_epochs(epochs, choice)?;
        if choice.lane.is_some() || choice.window != Window::default() {
            let within = Within::find(store, choice, screen)?;
            if within.numbers.is_empty() {
                return Err(SendError::NothingChosen.into());
            }
            shipment.keep(|log, held| match within.numbers.get(log) {
                Some(numbers) => held.intersection(numbers),
                None => RangeSet::new(),
            });
        }
        Ok(shipment)
    }

    /// Of one edge, without what the receipt names.
    pub(crate) fn of_epochs(epochs: Vec<HeldEpoch>, choice: &Choice) -> Result<Self, SendError> {
        let edges: BTreeMap<EdgeId, Site> = epochs
            .iter()
            .map(|epoch| (epoch.declaration.edge, epoch.declaration.site.clone()))
            .collect();
        let names = || edges.keys().map(EdgeId::to_string).collect();
        let (edge, site) = match choice.edge {
            Some(edge) => {
                let site = edges.get(&edge);
                let site = site.ok_or_else(|| SendError::NotThisEdge {
                    edge,
                    edges: names(),
                })?;
                (edge, site.clone())
            }
            None => match edges.first_key_value() {
                None => return Err(SendError::Nothing),
                Some((edge, site)) if edges.len() == 1 => (*edge, site.clone()),
                Some(_) => return Err(SendError::SeveralEdges { edges: names() }),
            },
        };
        let mut shipment = Self {
            edge,
            site,
            epochs: epochs
                .into_iter()
                .filter(|epoch| epoch.declaration.edge == edge)
                .collect(),
        };
        if let Some(receipt) = &choice.receipt {
            receipt.check_edge(edge)?;
            shipment.keep(|log, held| held.difference(&receipt.received(log)));
        }
        Ok(shipment)
    }

    fn keep(&mut self, rest: impl Fn(&EpochLane, &RangeSet) -> RangeSet) {
        let edge = self.edge;
        for epoch in &mut self.epochs {
            let id = epoch.declaration.epoch;
            for lane in &mut epoch.lanes {
                let log = EpochLane {
                    edge,
                    epoch: id,
                    lane: lane.lane,
                };
                lane.held = rest(&log, &lane.held);
            }
        }
    }
}

/// Streams 1 to n of which everything is here that the centre needs.
fn streams_with_schema(reader: &mut Reader, epoch: EpochId) -> Result<StreamNumber, InspectError> {
    let mut through = StreamNumber(0);
    for stream in reader.streams(epoch)? {
        if stream.number != through.next() || reader.schema(&stream.schema)?.is_none() {
            break;
        }
        through = stream.number;
    }
    Ok(through)
}

/// Blocks that the choice's lane and span touch.
#[derive(Default)]
struct Within {
    numbers: BTreeMap<EpochLane, RangeSet>,
}

impl Within {
    fn find(
        store: &ReadOnlyStore,
        choice: &Choice,
        screen: &mut Screen<impl Write, impl Write>,
    ) -> Result<Self, InspectError> {
        let mut within = Self::default();
        let mut reader = store.reader();
        for info in store.segments() {
            if choice
                .lane
                .as_ref()
                .is_none_or(|lane| *lane == info.key.lane)
            {
                screen.progress(format_args!("looking at segment {}", info.key))?;
                within.segment(&info, &choice.window, &mut reader)?;
            }
        }
        screen.clear_progress()?;
        Ok(within)
    }

    fn segment(
        &mut self,
        info: &SegmentInfo,
        window: &Window,
        reader: &mut Reader,
    ) -> Result<(), InspectError> {
        let mut reads = false;
        for (log, contents) in &info.contents.lanes {
            let (min, max) = (contents.event_time_min, contents.event_time_max);
            if window.contains(min) && window.contains(max) {
                self.numbers
                    .entry(*log)
                    .or_default()
                    .union(&contents.numbers);
            } else {
                reads |= window.touches(min, max);
            }
        }
        if !reads {
            return Ok(());
        }
        let mut next = info.first;
        while next <= info.last {
            let items = reader.read_of(info, next, 1 << 20)?;
            let Some(end) = items.last().map(Item::next) else {
                break;
            };
            next = end;
            for item in items {
                if let Item::Block(_, block) = item {
                    let header = block.header();
                    if window.touches(header.event_time_min, header.event_time_max) {
                        let id = block.id();
                        self.numbers.entry(id.lane).or_default().insert(id.number.0);
                    }
                }
            }
        }
        Ok(())
    }
}

/// A block that uses what cannot be declared would be refused by the centre, and with it the connection.
#[derive(Debug)]
pub(crate) struct Declared<S> {
    source: S,
    through: BTreeMap<EpochId, StreamNumber>,
}

impl<S> Declared<S> {
    pub(crate) fn new(source: S, shipment: &Shipment) -> Self {
        let through = shipment
            .epochs
            .iter()
            .map(|epoch| (epoch.declaration.epoch, epoch.streams_through))
            .collect();
        Self { source, through }
    }
}

impl<S: Source> Source for Declared<S> {
    fn block(&mut self, id: &BlockId) -> Result<SealedBlock, SourceError> {
        let block = self.source.block(id)?;
        let through = self.through.get(&id.lane.epoch).copied();
        let (through, needed) = (
            through.unwrap_or(StreamNumber(0)),
            block.header().streams_through,
        );
        if through < needed {
            let reason = format!(
                "it uses streams up to {}, and those after {} are not all declared here",
                needed.0, through.0
            );
            return Err(reason.into());
        }
        Ok(block)
    }

    fn streams(
        &mut self,
        epoch: EpochId,
        first: StreamNumber,
        through: StreamNumber,
    ) -> Result<Vec<(StreamDeclaration, Schema)>, SourceError> {
        self.source.streams(epoch, first, through)
    }
}
