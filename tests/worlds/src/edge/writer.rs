//! Commits, syncs, losses and retention.

use efd_shared_model::epoch::Parent;
use efd_shared_model::{
    BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EpochLane, Lane, LaneKind,
    LossReason, RangeSet, Site, StreamNumber,
};
use efd_shared_wire::edge::Durable;
use efd_shared_wire::{EdgeSession, Moment};

use crate::disk::{Batch, Disk, LOSS_STREAM, losses, seal, stream};
use crate::law::Breach;
use crate::plan::Sabotage;
use crate::random::Dice;
use crate::world::{Event, World};

/// Of one epoch.
const STREAMS_MOST: u32 = 12;

/// The writer.
impl World {
    pub(crate) fn on_commit(&mut self, edge: usize, life: u64) -> Result<(), Breach> {
        if self.is_calm || self.process(edge, life).is_none() {
            return Ok(());
        }
        let wait = self.dice.millis(20..300);
        self.after(wait, Event::Commit { edge, life });
        const LANES: [Lane; 4] = [
            Lane::new(LaneKind::Events),
            Lane::new(LaneKind::Telemetry),
            Lane {
                kind: LaneKind::Telemetry,
                shard: 1,
            },
            Lane::new(LaneKind::Reduced),
        ];
        let lanes: Vec<_> = LANES
            .into_iter()
            .filter(|_| self.dice.chance(500))
            .collect();
        let blocks = lanes
            .into_iter()
            .map(|lane| {
                let records = 1 + self.dice.index(3);
                let datums = (0..records).map(|_| {
                    let mut datum = self.dice.next().to_le_bytes().to_vec();
                    datum.resize(8 + self.dice.index(1500), 0);
                    datum
                });
                (lane, datums.collect())
            })
            .collect();
        self.commit(edge, blocks, Vec::new())
    }

    /// Names them as lost; they are removed when the loss is durable.
    pub(super) fn commit_losses(
        &mut self,
        edge: usize,
        lane: EpochLane,
        ranges: RangeSet,
        reason: LossReason,
    ) -> Result<(), Breach> {
        let datums = losses(lane, &ranges, reason);
        let block = (Lane::new(LaneKind::Losses), datums);
        self.commit(edge, vec![block], vec![(lane, ranges)])
    }

    fn commit(
        &mut self,
        edge: usize,
        blocks: Vec<(Lane, Vec<Vec<u8>>)>,
        removals: Vec<(EpochLane, RangeSet)>,
    ) -> Result<(), Breach> {
        if blocks.is_empty() {
            return Ok(());
        }
        let now = self.now;
        let send_early = self.plan.sabotage == Some(Sabotage::SendEarly);
        let site = &mut self.edges[edge];
        let (id, life) = (site.id, site.life);
        let Some(process) = &mut site.process else {
            return Ok(());
        };
        let writer = &mut process.writer;
        let mut batch = Batch {
            committed_at: now,
            removals,
            ..Batch::default()
        };
        let epoch = match writer.epoch {
            Some(epoch) => epoch,
            None => {
                let declaration = begin_epoch(id, &site.site, &site.disk, &mut self.dice);
                let epoch = declaration.epoch;
                writer.epoch = Some(epoch);
                batch.epoch = Some(declaration);
                epoch
            }
        };
        let due = 2 + u32::from(self.dice.chance(100)) * (writer.streams.max(1) - 1);
        while writer.streams < due.min(STREAMS_MOST) {
            writer.streams += 1;
            batch.streams.push(stream(writer.streams, &mut self.dice));
        }
        for (lane, datums) in blocks {
            let head = writer.heads.entry(lane).or_default();
            *head += 1;
            let number = BlockNumber(*head);
            let lane = EpochLane {
                edge: id,
                epoch,
                lane,
            };
            let mut datums: Vec<_> = datums
                .into_iter()
                .map(|datum| {
                    let stream = match lane.lane.kind {
                        LaneKind::Losses => LOSS_STREAM,
                        LaneKind::Events
                        | LaneKind::Telemetry
                        | LaneKind::Reduced
                        | LaneKind::Parked => {
                            StreamNumber(self.dice.within(2..u64::from(writer.streams) + 1) as u32)
                        }
                    };
                    (stream, datum)
                })
                .collect();
            datums.sort_by_key(|(stream, _)| *stream);
            batch.blocks.extend(seal(lane.block(number), &datums));
        }
        if send_early {
            report_durable(&mut process.session, &batch, now);
        }
        writer.synced_at = writer.synced_at.max(now + self.dice.millis(1..30));
        let at = writer.synced_at;
        writer.unsynced.push_back(batch);
        self.at(at, Event::EdgeSynced { edge, life });
        if send_early {
            self.pump_edge(edge)?;
        }
        Ok(())
    }

    pub(crate) fn on_edge_synced(&mut self, edge: usize, life: u64) -> Result<(), Breach> {
        let now = self.now;
        let damaged = self.plan.faults.damaged;
        let send_early = self.plan.sabotage == Some(Sabotage::SendEarly);
        let site = &mut self.edges[edge];
        let Some(process) = site.process.as_mut().filter(|_| site.life == life) else {
            return Ok(());
        };
        let Some(batch) = process.writer.unsynced.pop_front() else {
            return Ok(());
        };
        site.disk.store(&batch, damaged, &mut self.dice);
        for block in &batch.blocks {
            self.law.on_durable(block, batch.committed_at);
        }
        for (lane, ranges, is_acked) in process.acks.drain(..) {
            let Some(disk) = site.disk.lane_mut(lane) else {
                continue;
            };
            for range in ranges.iter() {
                if is_acked {
                    disk.acked.insert_range(range);
                } else {
                    disk.acked.remove_range(range);
                }
            }
        }
        if !send_early {
            report_durable(&mut process.session, &batch, now);
        }
        for (lane, ranges) in &batch.removals {
            self.remove(edge, *lane, ranges);
        }
        self.pump_edge(edge)
    }

    fn remove(&mut self, edge: usize, lane: EpochLane, ranges: &RangeSet) {
        let site = &mut self.edges[edge];
        if let Some(disk) = site.disk.lane_mut(lane) {
            disk.blocks.retain(|&number, _| !ranges.contains(number));
        }
        if let Some(process) = &mut site.process {
            process.session.handle_removed(lane, ranges);
        }
    }

    /// The oldest blocks of a lane go: the acknowledged at once, the others once a loss names them.
    pub(crate) fn retain(&mut self, edge: usize) -> Result<(), Breach> {
        let site = &self.edges[edge];
        let candidates: Vec<EpochLane> = site
            .disk
            .epochs
            .iter()
            .flat_map(|epoch| {
                let lanes = epoch
                    .lanes
                    .iter()
                    .filter(|(_, lane)| !lane.blocks.is_empty());
                lanes.map(|(&lane, _)| EpochLane {
                    edge: site.id,
                    epoch: epoch.declaration.epoch,
                    lane,
                })
            })
            .collect();
        if site.process.is_none() || candidates.is_empty() {
            return Ok(());
        }
        let lane = candidates[self.dice.index(candidates.len())];
        let count = 1 + self.dice.index(20);
        let pinned = self
            .law
            .lost_from_log
            .get(&lane)
            .cloned()
            .unwrap_or_default();
        let Some(disk) = self.edges[edge].disk.lane_mut(lane) else {
            return Ok(());
        };
        let oldest = disk.blocks.keys().copied().take(count);
        let oldest: Vec<_> = oldest.filter(|&number| !pinned.contains(number)).collect();
        let is_acked = |number: &u64| disk.acked.contains(*number);
        let (acked, unacked): (Vec<_>, Vec<_>) = oldest.into_iter().partition(is_acked);
        let acked: RangeSet = acked.into_iter().map(|n| n..=n).collect();
        let unacked: RangeSet = unacked.into_iter().map(|n| n..=n).collect();
        self.remove(edge, lane, &acked);
        let is_loss = lane.lane.kind == LaneKind::Losses;
        if !unacked.is_empty() && !is_loss {
            if self.plan.sabotage == Some(Sabotage::SilentEviction) {
                self.remove(edge, lane, &unacked);
            } else {
                self.commit_losses(edge, lane, unacked, LossReason::Evicted)?;
            }
        }
        self.pump_edge(edge)
    }

    /// Before the world begins.
    pub(crate) fn lay_backlog(&mut self, edge: usize) {
        if self.plan.backlog == 0 {
            return;
        }
        let site = &mut self.edges[edge];
        let declaration = begin_epoch(site.id, &site.site, &site.disk, &mut self.dice);
        let lane = EpochLane {
            edge: site.id,
            epoch: declaration.epoch,
            lane: Lane::new(LaneKind::Telemetry),
        };
        let block = |number| {
            let datum = (StreamNumber(2), vec![0; 2000]);
            seal(lane.block(BlockNumber(number)), &[datum])
        };
        let batch = Batch {
            epoch: Some(declaration),
            streams: vec![stream(1, &mut self.dice), stream(2, &mut self.dice)],
            blocks: (1..=self.plan.backlog).filter_map(block).collect(),
            ..Batch::default()
        };
        site.disk.store(&batch, 0, &mut self.dice);
        for block in &batch.blocks {
            self.law.on_durable(block, Moment(0));
        }
    }
}

fn begin_epoch(edge: EdgeId, site: &Site, disk: &Disk, dice: &mut Dice) -> EpochDeclaration {
    let parent = disk.epochs.last().map(|epoch| Parent {
        epoch: epoch.declaration.epoch,
        heads: epoch
            .lanes
            .iter()
            .map(|(&lane, disk)| (lane, BlockNumber(disk.head)))
            .collect(),
    });
    EpochDeclaration {
        edge,
        site: site.clone(),
        epoch: EpochId(dice.id()),
        parent,
        began: ClockState::default(),
        software: "world".into(),
    }
}

fn report_durable(session: &mut EdgeSession, batch: &Batch, now: Moment) {
    if let Some(declaration) = &batch.epoch {
        session.handle_epoch_begun(declaration.clone());
    }
    for block in &batch.blocks {
        let durable = Durable {
            lane: block.id().lane,
            number: block.id().number,
            streams_through: block.header().streams_through,
            bytes: block.bytes().len() as u64,
            committed_at: batch.committed_at,
        };
        session.handle_durable(durable, now);
    }
}
