//! What comes and goes on an edge's connection.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use efd_shared_model::{BlockId, EpochId, LossReason, RangeSet, StreamNumber};
use efd_shared_wire::edge::Attempt;
use efd_shared_wire::{CentreFrame, Class, FrameBuffer, WireError, WireVersion};

use crate::disk::Read;
use crate::law::Breach;
use crate::link::{Link, LinkId};
use crate::plan::Sabotage;
use crate::world::World;

/// The connection.
impl World {
    pub(crate) fn on_connected(
        &mut self,
        edge: usize,
        life: u64,
        attempt: Attempt,
    ) -> Result<(), Breach> {
        let now = self.now;
        let site = &self.edges[edge];
        let is_reachable = self.centre.is_up && site.unreachable_until <= now;
        let (latency, rate) = (site.latency, site.rate);
        let Some(process) = self.process(edge, life) else {
            return Ok(());
        };
        if !is_reachable {
            process.session.handle_closed(attempt, now);
            return self.pump_edge(edge);
        }
        let id = self.centre.next_link();
        let link = Link {
            edge,
            life,
            attempt,
            latency,
            rate,
            carries_up: true,
            carries_down: true,
            edge_is_open: true,
            centre_is_open: true,
            up_at: now,
            down_at: now,
            up: FrameBuffer::new(),
            down: FrameBuffer::new(),
            up_version: WireVersion::OLDEST,
            down_version: WireVersion::OLDEST,
            queue: BTreeMap::new(),
            queued: 0,
            is_busy: false,
            sent: BTreeSet::new(),
        };
        self.links.insert(id, link);
        let (certified_id, certified_site) = (self.edges[edge].id, self.edges[edge].site.clone());
        self.open_centre_end(id, certified_id, certified_site)?;
        if let Some(process) = self.process(edge, life) {
            process.link = Some(id);
            process.session.handle_connected(attempt, now);
        }
        self.pump_edge(edge)
    }

    pub(crate) fn on_to_edge(&mut self, id: LinkId, bytes: &[u8]) -> Result<(), Breach> {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id).filter(|link| link.carries_down) else {
            return Ok(());
        };
        let (edge, life, attempt) = (link.edge, link.life, link.attempt);
        link.down.push(bytes);
        loop {
            let Some(link) = self.links.get_mut(&id) else {
                return Ok(());
            };
            let accuse = |error: WireError| Breach::Accusation(error.to_string());
            let Some(frame) = link.down.next_frame().map_err(accuse)? else {
                return Ok(());
            };
            let frame = CentreFrame::decode(&frame, link.down_version).map_err(accuse)?;
            if let CentreFrame::Want { lane, ranges } = &frame {
                let lane = lane.at(self.edges[edge].id);
                let is_wanted = |id: &BlockId| id.lane == lane && ranges.contains(id.number.0);
                link.sent.retain(|id| !is_wanted(id));
            }
            let Some(process) = self.process(edge, life) else {
                return Ok(());
            };
            process.session.handle_frame(attempt, frame, now);
            let version = process.session.version();
            if let Some(link) = self.links.get_mut(&id) {
                link.down_version = version;
            }
            self.pump_edge(edge)?;
        }
    }

    pub(crate) fn on_edge_hears(&mut self, id: LinkId) -> Result<(), Breach> {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id).filter(|link| link.edge_is_open) else {
            return Ok(());
        };
        link.edge_is_open = false;
        (link.carries_up, link.carries_down) = (false, false);
        link.queue.clear();
        let (edge, life, attempt) = (link.edge, link.life, link.attempt);
        self.forget_link(id);
        let Some(process) = self.process(edge, life) else {
            return Ok(());
        };
        process.link = None;
        process.session.handle_closed(attempt, now);
        self.pump_edge(edge)
    }

    pub(crate) fn on_streams_read(
        &mut self,
        edge: usize,
        life: u64,
        epoch: EpochId,
        wanted: RangeInclusive<StreamNumber>,
    ) -> Result<(), Breach> {
        let send_early = self.plan.sabotage == Some(Sabotage::SendEarly);
        let on_disk = self.edges[edge].disk.epoch(epoch);
        let mut streams = on_disk.map_or_else(Vec::new, |epoch| epoch.streams.clone());
        let Some(process) = self.process(edge, life) else {
            return Ok(());
        };
        if send_early {
            streams.extend(
                process
                    .writer
                    .unsynced
                    .iter()
                    .flat_map(|b| b.streams.clone()),
            );
        }
        streams.retain(|(stream, _)| wanted.contains(&stream.number));
        let due = wanted.end().0 + 1 - wanted.start().0;
        if streams.len() != due as usize {
            return Err(Breach::Invariant(format!(
                "streams {wanted:?} are not durable"
            )));
        }
        process.session.handle_streams_read(epoch, streams);
        self.pump_edge(edge)
    }

    pub(crate) fn on_block_read(
        &mut self,
        id: LinkId,
        block: BlockId,
        class: Class,
        priority: i32,
    ) -> Result<(), Breach> {
        let Some(link) = self.links.get(&id).filter(|link| link.edge_is_open) else {
            return Ok(());
        };
        let (edge, life) = (link.edge, link.life);
        let site = &mut self.edges[edge];
        let Some(process) = site.process.as_mut().filter(|_| site.life == life) else {
            return Ok(());
        };
        let mut read = site.disk.read(block);
        if matches!(read, Read::Gone) {
            let unsynced = process
                .writer
                .unsynced
                .iter()
                .flat_map(|batch| &batch.blocks);
            let found = unsynced.into_iter().find(|other| other.id() == block);
            read = found.map_or(Read::Gone, Read::Block);
        }
        match read {
            Read::Block(sealed) => {
                let bytes = sealed.bytes().len() as u64;
                process.session.handle_block_sent(block, bytes);
                self.law.check_sent(sealed)?;
                let mut stream = class.header().to_vec();
                stream.extend_from_slice(sealed.bytes());
                if let Some(link) = self.links.get_mut(&id)
                    && !link.sent.insert(block)
                {
                    return Err(Breach::SentTwice(block));
                }
                self.send_block(id, priority, stream.into());
            }
            Read::Damaged => {
                process.session.handle_block_unreadable(block);
                let ranges = RangeSet::from_iter([block.number.0..=block.number.0]);
                self.commit_losses(edge, block.lane, ranges, LossReason::Corrupt)?;
            }
            Read::Gone => process.session.handle_block_unreadable(block),
        }
        self.pump_edge(edge)
    }
}
