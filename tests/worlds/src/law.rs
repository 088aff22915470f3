//! What must be true of a world, watched by one who sees both ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use efd_shared_model::{BlockId, EpochLane, Loss, RangeSet, SealedBlock};
use efd_shared_wire::{Class, Moment};

/// How the law was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breach {
    /// A block was sent, or came, that no disk of an edge holds for sure.
    SentBeforeDurable(BlockId),
    /// An edge was told that the centre has what the centre never had for sure.
    AckedBeforeDurable { lane: EpochLane, ranges: RangeSet },
    /// Sent again on one connection though nobody asked.
    SentTwice(BlockId),
    /// In the log before its streams are.
    Undeclared(BlockId),
    /// At the end: durable at an edge, neither at the centre nor named as lost.
    Missing(BlockId),
    /// At the end: delivered more than once.
    Duplicate(BlockId),
    /// Its content is not what the edge committed.
    Altered(BlockId),
    /// One machine accuses the other, in a world where both are honest.
    Accusation(String),
    /// A machine contradicts itself.
    Invariant(String),
    /// Healed for long, and not everything has arrived.
    Stuck(String),
}

#[derive(Debug, Default)]
pub(crate) struct Law {
    /// Every block that ever was durable at an edge: its digest, and when it was committed.
    durable: BTreeMap<BlockId, (u128, Moment)>,
    /// Every number that ever was durable in the log.
    logged: BTreeMap<EpochLane, RangeSet>,
    /// What the log lost since: not to be removed at the edges before it is there again.
    pub(crate) lost_from_log: BTreeMap<EpochLane, RangeSet>,
    /// From commit to the log's sync, first time only.
    pub(crate) delays: Vec<(BlockId, Class, Duration)>,
}

impl Law {
    pub(crate) fn on_durable(&mut self, block: &SealedBlock, committed_at: Moment) {
        let known = (block.digest(), committed_at);
        self.durable.insert(block.id(), known);
    }

    pub(crate) fn check_sent(&self, block: &SealedBlock) -> Result<(), Breach> {
        match self.durable.get(&block.id()) {
            None => Err(Breach::SentBeforeDurable(block.id())),
            Some((digest, _)) if *digest != block.digest() => Err(Breach::Altered(block.id())),
            Some(_) => Ok(()),
        }
    }

    pub(crate) fn on_logged(&mut self, id: BlockId, class: Class, now: Moment) {
        let is_new = self.logged.entry(id.lane).or_default().insert(id.number.0);
        if let Some(lost) = self.lost_from_log.get_mut(&id.lane) {
            lost.remove_range(id.number.0..=id.number.0);
        }
        if is_new && let Some((_, committed_at)) = self.durable.get(&id) {
            self.delays.push((id, class, now.since(*committed_at)));
        }
    }

    pub(crate) fn check_acked(&self, lane: EpochLane, ranges: &RangeSet) -> Result<(), Breach> {
        let logged = self.logged.get(&lane);
        let is_there = |range| logged.is_some_and(|logged| logged.contains_range(range));
        if ranges.iter().all(is_there) {
            Ok(())
        } else {
            let ranges = ranges.clone();
            Err(Breach::AckedBeforeDurable { lane, ranges })
        }
    }

    /// *durable at an edge = at the centre, once each ∪ named losses*.
    pub(crate) fn check_end(&self, log: &[SealedBlock], dedup: bool) -> Result<Reckoning, Breach> {
        let mut seen: BTreeMap<EpochLane, RangeSet> = BTreeMap::new();
        let (mut delivered, mut named, mut reckoning) =
            (BTreeSet::new(), BTreeMap::new(), Reckoning::default());
        for block in log {
            let id = block.id();
            let is_new = seen.entry(id.lane).or_default().insert(id.number.0);
            if dedup && !is_new {
                reckoning.repeats += 1;
                continue;
            }
            if !delivered.insert(id) {
                return Err(Breach::Duplicate(id));
            }
            self.check_sent(block)?;
            read_losses(block, &mut named)?;
        }
        for &id in self.durable.keys() {
            let is_named = || {
                let ranges: Option<&RangeSet> = named.get(&id.lane);
                ranges.is_some_and(|ranges| ranges.contains(id.number.0))
            };
            match (delivered.contains(&id), is_named()) {
                (true, _) => reckoning.delivered += 1,
                (false, true) => reckoning.lost += 1,
                (false, false) => return Err(Breach::Missing(id)),
            }
        }
        Ok(reckoning)
    }
}

/// What came of the blocks that were durable at the edges.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reckoning {
    pub(crate) delivered: usize,
    pub(crate) lost: usize,
    /// In the log more than once, dropped by the consumer.
    pub(crate) repeats: usize,
}

/// The ranges that the losses of a block of the lane `losses` name.
fn read_losses(
    block: &SealedBlock,
    named: &mut BTreeMap<EpochLane, RangeSet>,
) -> Result<(), Breach> {
    let id = block.id();
    if id.lane.lane.kind != efd_shared_model::LaneKind::Losses {
        return Ok(());
    }
    let broken = |what: String| Breach::Invariant(format!("loss in {id}: {what}"));
    let opened = block.open().map_err(|error| broken(error.to_string()))?;
    for (_, record) in opened.records() {
        let loss = Loss::decode(record.datum).map_err(|error| broken(error.to_string()))?;
        let (Ok(epoch), Ok(lane)) = (loss.epoch.parse(), loss.lane.parse()) else {
            return Err(broken(format!("{}/{}", loss.epoch, loss.lane)));
        };
        let lane = EpochLane {
            edge: id.lane.edge,
            epoch,
            lane,
        };
        let range = loss.first_block as u64..=loss.last_block as u64;
        named.entry(lane).or_default().insert_range(range);
    }
    Ok(())
}
