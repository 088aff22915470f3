//! The shell of the centre's session machines: a log that syncs, stalls, and forgets what was not synced.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use efd_shared_model::{
    EdgeId, EpochDeclaration, EpochId, EpochLane, Fingerprint, RangeSet, Schema, SealedBlock, Site,
    StreamDeclaration, StreamNumber,
};
use efd_shared_wire::centre::{Certificate, Command, Known};
use efd_shared_wire::{
    CentreConfig, CentreSession, Class, EdgeFrame, Moment, ReceivedBlock, Violation,
};

use crate::disk::Read;
use crate::law::Breach;
use crate::link::LinkId;
use crate::plan::{Plan, Sabotage};
use crate::random::Dice;
use crate::world::{Event, World};

#[derive(Debug)]
pub(crate) struct CentreSite {
    config: CentreConfig,
    pub(crate) is_up: bool,
    /// Counts processes.
    life: u64,
    links: u64,
    pub(crate) log: Log,
    sessions: BTreeMap<LinkId, Session>,
}

#[derive(Debug)]
struct Session {
    machine: CentreSession,
    timer_at: Option<Moment>,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    /// In the order of their sync; survives crashes, like all but `pending`.
    pub(crate) durable: Vec<SealedBlock>,
    received: BTreeMap<EpochLane, RangeSet>,
    epochs: BTreeMap<EpochId, EpochDeclaration>,
    streams: BTreeMap<EpochId, StreamNumber>,
    schemas: BTreeSet<Fingerprint>,
    pub(crate) pending: VecDeque<Pending>,
    pending_bytes: u64,
    room_bytes: u64,
    is_stalled: bool,
    is_syncing: bool,
    appends: u64,
}

/// Given to the log, not yet synced.
#[derive(Debug)]
pub(crate) struct Pending {
    link: LinkId,
    what: What,
}

#[derive(Debug)]
enum What {
    Block {
        block: SealedBlock,
        class: Class,
    },
    Streams {
        epoch: EpochDeclaration,
        streams: Vec<StreamDeclaration>,
        schemas: Vec<Schema>,
    },
}

impl CentreSite {
    pub(crate) fn new(plan: &Plan, dice: &mut Dice) -> Self {
        let config = CentreConfig {
            window_bytes: if plan.may_be_cramped && dice.chance(300) {
                30_000
            } else {
                1 << 20
            },
            ..CentreConfig::default()
        };
        let room_bytes = if plan.may_be_cramped && dice.chance(300) {
            20_000
        } else {
            1 << 30
        };
        Self {
            config,
            is_up: true,
            life: 1,
            links: 0,
            log: Log {
                room_bytes,
                ..Log::default()
            },
            sessions: BTreeMap::new(),
        }
    }

    pub(crate) fn next_link(&mut self) -> LinkId {
        self.links += 1;
        LinkId(self.links)
    }
}

impl Log {
    fn room_left(&self) -> u64 {
        if self.is_stalled {
            0
        } else {
            self.room_bytes.saturating_sub(self.pending_bytes)
        }
    }

    fn rebuild_received(&mut self) {
        self.received.clear();
        for block in &self.durable {
            let id = block.id();
            let received = self.received.entry(id.lane).or_default();
            received.insert(id.number.0);
        }
    }
}

/// The process and its connections.
impl World {
    pub(crate) fn open_centre_end(
        &mut self,
        id: LinkId,
        edge: EdgeId,
        site: Site,
    ) -> Result<(), Breach> {
        let config = self.centre.config.clone();
        let machine = CentreSession::new(config, Certificate { site, edge }, self.now);
        let session = Session {
            machine,
            timer_at: None,
        };
        self.centre.sessions.insert(id, session);
        self.tell_log_state()
    }

    pub(crate) fn crash_centre(&mut self) {
        if !self.centre.is_up {
            return;
        }
        self.note(format_args!("centre crashes"));
        self.summary.centre_crashes += 1;
        let centre = &mut self.centre;
        centre.is_up = false;
        centre.life += 1;
        centre.log.pending.clear();
        (centre.log.pending_bytes, centre.log.is_syncing) = (0, false);
        for id in std::mem::take(&mut centre.sessions).into_keys() {
            self.close_centre_end(id);
        }
        let wait = self.dice.millis(200..5000);
        self.after(wait, Event::CentreStart);
    }

    fn close_centre_end(&mut self, id: LinkId) {
        let late = self.dice.millis(0..20_000);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.centre_is_open = false;
        let wait = if link.carries_down {
            link.latency * 2
        } else {
            late
        };
        self.after(wait, Event::EdgeHears { link: id });
        self.forget_link(id);
    }

    pub(crate) fn on_centre_hears(&mut self, id: LinkId) {
        if let Some(mut session) = self.centre.sessions.remove(&id) {
            session.machine.handle_closed();
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.centre_is_open = false;
            (link.carries_up, link.carries_down) = (false, false);
            self.forget_link(id);
        }
    }

    pub(crate) fn on_to_centre(&mut self, id: LinkId, bytes: &[u8]) -> Result<(), Breach> {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id).filter(|link| link.carries_up) else {
            return Ok(());
        };
        link.up.push(bytes);
        loop {
            let Some(link) = self.links.get_mut(&id) else {
                return Ok(());
            };
            let accuse = |error: efd_shared_wire::WireError| Breach::Accusation(error.to_string());
            let Some(frame) = link.up.next_frame().map_err(accuse)? else {
                return Ok(());
            };
            let frame = EdgeFrame::decode(&frame, link.up_version).map_err(accuse)?;
            let Some(session) = self.centre.sessions.get_mut(&id) else {
                return Ok(());
            };
            session.machine.handle_frame(frame, now);
            link.up_version = session.machine.version();
            self.pump_centre(id)?;
        }
    }

    pub(crate) fn on_block_arrives(&mut self, id: LinkId, bytes: Bytes) -> Result<(), Breach> {
        let now = self.now;
        if self.links.get(&id).is_none_or(|link| !link.carries_up) {
            return Ok(());
        }
        let Some(session) = self.centre.sessions.get_mut(&id) else {
            return Ok(());
        };
        let received = ReceivedBlock::check(bytes);
        let received = received.map_err(|error| Breach::Accusation(error.to_string()))?;
        session.machine.handle_block(received, now);
        self.pump_centre(id)
    }

    pub(crate) fn on_centre_timer(&mut self, id: LinkId) -> Result<(), Breach> {
        let now = self.now;
        let Some(session) = self.centre.sessions.get_mut(&id) else {
            return Ok(());
        };
        if session.timer_at.is_some_and(|at| at <= now) {
            session.timer_at = None;
        }
        let is_due = |machine: &CentreSession| machine.poll_timeout().filter(|(at, _)| *at <= now);
        if is_due(&session.machine).is_some() {
            session.machine.handle_timeout(now);
        }
        self.pump_centre(id)?;
        let session = self.centre.sessions.get(&id);
        match session.and_then(|session| is_due(&session.machine)) {
            None => Ok(()),
            Some((_, reason)) => Err(Breach::Invariant(format!("{reason} stands after its time"))),
        }
    }

    /// Does what the machine says, and sets its timer.
    fn pump_centre(&mut self, id: LinkId) -> Result<(), Breach> {
        let now = self.now;
        while let Some(session) = self.centre.sessions.get_mut(&id)
            && let Some(command) = session.machine.poll_command()
        {
            self.obey_centre(id, command)?;
        }
        let looks = self.is_time_to_look();
        let Some(session) = self.centre.sessions.get_mut(&id) else {
            return Ok(());
        };
        if looks && let Some(broken) = session.machine.self_check() {
            return Err(Breach::Invariant(broken));
        }
        if let Some((at, _)) = session.machine.poll_timeout()
            && session.timer_at.is_none_or(|set| at < set)
        {
            let at = at.max(now);
            session.timer_at = Some(at);
            self.at(at, Event::CentreTimer { link: id });
        }
        Ok(())
    }

    fn obey_centre(&mut self, id: LinkId, command: Command) -> Result<(), Breach> {
        self.note(format_args!("centre {id:?}: {command:?}"));
        let now = self.now;
        let Some(session) = self.centre.sessions.get_mut(&id) else {
            return Ok(());
        };
        match command {
            Command::SendFrame(frame) => {
                let bytes = frame.encode(session.machine.version());
                let bytes = bytes.map_err(|error| Breach::Accusation(error.to_string()))?;
                self.send_down(id, bytes);
                Ok(())
            }
            Command::Lookup { epochs, lanes } => {
                let wait = self.dice.millis(0..20);
                let looked_up = Event::LookedUp {
                    link: id,
                    epochs,
                    lanes,
                };
                self.after(wait, looked_up);
                Ok(())
            }
            Command::Declare {
                epoch,
                streams,
                schemas,
            } => {
                if self.plan.sabotage == Some(Sabotage::DeclareEarly)
                    && let Some(last) = streams.last()
                {
                    session.machine.handle_declared(epoch.epoch, last.number);
                }
                let what = What::Streams {
                    epoch,
                    streams,
                    schemas,
                };
                self.append(id, what);
                Ok(())
            }
            Command::Append { block, class } => {
                self.law.check_sent(&block)?;
                let declared = self.centre.log.streams.get(&block.id().lane.epoch);
                if declared.is_none_or(|through| *through < block.header().streams_through) {
                    return Err(Breach::Undeclared(block.id()));
                }
                if self.plan.sabotage == Some(Sabotage::AckEarly) {
                    let id = block.id();
                    session.machine.handle_appended(id.lane, id.number, now);
                }
                self.append(id, What::Block { block, class });
                Ok(())
            }
            Command::Heartbeat(_) | Command::Unable { .. } => Ok(()),
            Command::Clone { children, .. } => {
                Err(Breach::Accusation(format!("clones {children:?}")))
            }
            Command::Close { reason } => {
                self.centre.sessions.remove(&id);
                self.close_centre_end(id);
                if matches!(reason, Violation::Silent { .. }) {
                    return Ok(());
                }
                Err(Breach::Accusation(format!("centre: {reason}")))
            }
        }
    }

    pub(crate) fn on_looked_up(
        &mut self,
        id: LinkId,
        epochs: &[EpochId],
        lanes: &[EpochLane],
    ) -> Result<(), Breach> {
        let now = self.now;
        let log = &self.centre.log;
        let received = lanes.iter().filter_map(|lane| {
            let received = log.received.get(lane)?;
            Some(((*lane).into(), received.clone()))
        });
        let streams = epochs
            .iter()
            .filter_map(|epoch| Some((*epoch, *log.streams.get(epoch)?)));
        let known = Known {
            received: received.collect(),
            streams: streams.collect(),
            epochs: log.epochs.values().cloned().collect(),
        };
        if let Some(session) = self.centre.sessions.get_mut(&id) {
            session.machine.handle_known(known, now);
        }
        self.pump_centre(id)
    }
}

/// The log.
impl World {
    fn append(&mut self, link: LinkId, what: What) {
        let log = &mut self.centre.log;
        if let What::Block { block, .. } = &what {
            log.pending_bytes += block.bytes().len() as u64;
        }
        log.pending.push_back(Pending { link, what });
        self.sync_log();
    }

    fn sync_log(&mut self) {
        let log = &mut self.centre.log;
        if log.pending.is_empty() || log.is_syncing || log.is_stalled {
            return;
        }
        log.is_syncing = true;
        let life = self.centre.life;
        let wait = self.dice.millis(1..30);
        self.after(wait, Event::LogSynced { life });
    }

    pub(crate) fn on_log_synced(&mut self, life: u64) -> Result<(), Breach> {
        let now = self.now;
        if self.centre.life != life || self.centre.log.is_stalled {
            return Ok(());
        }
        self.centre.log.is_syncing = false;
        let drops = self.plan.sabotage == Some(Sabotage::DropOne);
        let mut touched = BTreeSet::new();
        for Pending { link, what } in std::mem::take(&mut self.centre.log.pending) {
            touched.insert(link);
            let log = &mut self.centre.log;
            let session = self.centre.sessions.get_mut(&link);
            match what {
                What::Block { block, class } => {
                    let id = block.id();
                    log.pending_bytes -= block.bytes().len() as u64;
                    log.appends += 1;
                    log.received.entry(id.lane).or_default().insert(id.number.0);
                    self.law.on_logged(id, class, now);
                    if !(drops && log.appends.is_multiple_of(50)) {
                        log.durable.push(block);
                    }
                    if let Some(session) = session {
                        session.machine.handle_appended(id.lane, id.number, now);
                    }
                }
                What::Streams {
                    epoch,
                    streams,
                    schemas,
                } => {
                    log.schemas.extend(schemas.iter().map(Schema::fingerprint));
                    let unknown =
                        |stream: &&StreamDeclaration| !log.schemas.contains(&stream.schema);
                    if let Some(stream) = streams.iter().find(unknown) {
                        let text = format!("stream {:?} without its schema", stream.number);
                        return Err(Breach::Invariant(text));
                    }
                    let id = epoch.epoch;
                    log.epochs.insert(id, epoch);
                    let through = log.streams.entry(id).or_insert(StreamNumber(0));
                    for stream in &streams {
                        *through = stream.number.max(*through);
                    }
                    if let Some(session) = session {
                        session.machine.handle_declared(id, *through);
                    }
                }
            }
        }
        self.tell_log_state()?;
        for link in touched {
            self.pump_centre(link)?;
        }
        Ok(())
    }

    fn tell_log_state(&mut self) -> Result<(), Breach> {
        let room = self.centre.log.room_left();
        let ids: Vec<_> = self.centre.sessions.keys().copied().collect();
        for id in ids {
            if let Some(session) = self.centre.sessions.get_mut(&id) {
                session.machine.handle_log_state(room);
            }
            self.pump_centre(id)?;
        }
        Ok(())
    }

    pub(crate) fn stall_log(&mut self) -> Result<(), Breach> {
        self.note(format_args!("log stalls"));
        self.centre.log.is_stalled = true;
        self.centre.log.is_syncing = false;
        let wait = self.dice.millis(200..8000);
        self.after(wait, Event::LogResumes);
        self.tell_log_state()
    }

    pub(crate) fn on_log_resumes(&mut self) -> Result<(), Breach> {
        self.centre.log.is_stalled = false;
        self.sync_log();
        self.tell_log_state()
    }

    /// Some blocks of one edge that it still has; a live session asks for them at once, a later one by its welcome.
    pub(crate) fn lose_from_log(&mut self, edge: usize) -> Result<(), Breach> {
        let share = self.dice.within(10..300);
        let Self {
            centre,
            edges,
            dice,
            law,
            ..
        } = self;
        let site = &edges[edge];
        let mut lost: BTreeMap<EpochLane, RangeSet> = BTreeMap::new();
        for block in &centre.log.durable {
            let id = block.id();
            let is_held = id.lane.edge == site.id() && matches!(site.disk.read(id), Read::Block(_));
            if is_held && dice.chance(share) {
                lost.entry(id.lane).or_default().insert(id.number.0);
            }
        }
        let is_lost = |block: &SealedBlock| {
            let id = block.id();
            lost.get(&id.lane)
                .is_some_and(|set| set.contains(id.number.0))
        };
        centre.log.durable.retain(|block| !is_lost(block));
        centre.log.rebuild_received();
        for (lane, ranges) in &lost {
            law.lost_from_log.entry(*lane).or_default().union(ranges);
        }
        let sessions = centre.sessions.iter_mut();
        let mut told = Vec::new();
        for (&id, session) in sessions {
            if session.machine.certificate().edge == site.id() {
                for (lane, ranges) in &lost {
                    session.machine.handle_want(*lane, ranges);
                }
                told.push(id);
            }
        }
        for id in told {
            self.pump_centre(id)?;
        }
        Ok(())
    }

    /// Everything but what the edges no longer have, which came back from another store.
    pub(crate) fn lose_log_disk(&mut self) {
        self.note(format_args!("the log's disk is lost"));
        let Self {
            centre, edges, law, ..
        } = self;
        let log = &mut centre.log;
        log.durable.retain(|block| {
            let id = block.id();
            let is_held = |site: &&crate::edge::EdgeSite| site.id() == id.lane.edge;
            let held = edges.iter().find(is_held);
            let is_held = held.is_some_and(|site| matches!(site.disk.read(id), Read::Block(_)));
            if is_held {
                let lost = law.lost_from_log.entry(id.lane).or_default();
                lost.insert(id.number.0);
            }
            !is_held
        });
        log.rebuild_received();
        log.epochs.clear();
        log.streams.clear();
        log.schemas.clear();
    }
}
