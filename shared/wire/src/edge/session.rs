//! The states of a connection, and what happens in each.

use std::collections::VecDeque;
use std::time::Duration;

use efd_shared_model::{
    BlockId, BlockNumber, EpochDeclaration, EpochId, EpochLane, RangeSet, Schema,
    StreamDeclaration, StreamNumber,
};

use super::backoff::Backoff;
use super::choice::{Choice, Next};
use super::config::{EdgeConfig, Patience};
use super::declare::Reckoning;
use super::ship::Ship;
use super::{
    Attempt, Centre, Command, Disconnect, Durable, EdgeCounters, EdgeSession, HeldEpoch, State,
    Vitals,
};
use crate::codec::{WireError, WireVersion};
use crate::frame::{
    CentreFrame, EdgeFrame, Hello, LaneKey, Refuse, RefuseCode, Unable, UnableReason, Welcome,
};
use crate::limits::LANES_MAX;
use crate::moment::Moment;
use crate::stream::Class;
use crate::violation::Violation;

/// A timer of ours that fires so late tells of a pause of this process.
const LATE: Duration = Duration::from_secs(1);

/// Getters.
impl EdgeSession {
    pub fn counters(&self) -> EdgeCounters {
        self.counters
    }

    /// In which version frames are written and read.
    pub fn version(&self) -> WireVersion {
        match self.state {
            State::Streaming { version, .. } => version,
            State::Stopped
            | State::Offline { .. }
            | State::Connecting { .. }
            | State::Greeting { .. } => WireVersion::OLDEST,
        }
    }

    /// Whether the centre has answered, and blocks may flow.
    pub fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming { .. })
    }

    /// The connection that is made or used.
    pub fn attempt(&self) -> Option<Attempt> {
        match self.state {
            State::Stopped | State::Offline { .. } => None,
            State::Connecting { attempt, .. }
            | State::Greeting { attempt, .. }
            | State::Streaming { attempt, .. } => Some(attempt),
        }
    }

    /// Whom it is made to.
    pub fn centre(&self) -> Option<Centre> {
        self.attempt().map(|_| self.choice.current())
    }

    /// Of blocks sent and not acknowledged.
    pub fn in_flight_bytes(&self) -> u64 {
        self.ship.in_flight_bytes()
    }

    /// What the centre has, as far as is known here.
    pub fn acked(&self, lane: EpochLane) -> Option<&RangeSet> {
        let epoch = self.ship.epochs.get(self.ship.by_id.get(&lane.epoch)?)?;
        Some(epoch.lanes.get(&lane.lane)?.acked())
    }

    pub fn vitals(&self) -> Vitals {
        let newest = self.ship.epochs.values().next_back();
        let heads = newest.into_iter().flat_map(|epoch| {
            let id = epoch.declaration.epoch;
            let lanes = epoch.lanes.iter().take(LANES_MAX);
            lanes.map(move |(&lane, ship)| (LaneKey { epoch: id, lane }, BlockNumber(ship.head)))
        });
        let (mut unacked_blocks, mut oldest_unacked) = (0u64, None);
        for epoch in self.ship.epochs.values() {
            for (&lane, ship) in &epoch.lanes {
                let (count, first) = ship.unacked();
                unacked_blocks = unacked_blocks.saturating_add(count);
                let key = LaneKey {
                    epoch: epoch.declaration.epoch,
                    lane,
                };
                let first = first.map(|n| key.at(self.config.edge).block(BlockNumber(n)));
                oldest_unacked = oldest_unacked.or(first);
            }
        }
        Vitals {
            heads: heads.collect(),
            unacked_blocks,
            oldest_unacked,
        }
    }

    /// What breaks an invariant, in words; for tests. Takes time by the number of ranges.
    pub fn self_check(&self) -> Option<String> {
        self.ship.self_check()
    }
}

/// What happens in the process.
impl EdgeSession {
    /// `seed` spreads the reconnects of several edges.
    pub fn new(config: EdgeConfig, seed: u64, now: Moment) -> Self {
        Self {
            state: State::Stopped,
            attempts: 0,
            choice: Choice::new(config.centres),
            backoff: Backoff::new(config.retry_after, config.retry_after_max, seed),
            ship: Ship::new(&config, now),
            outbox: VecDeque::new(),
            counters: EdgeCounters::default(),
            config,
        }
    }

    /// Begins, with what the buffer holds, in the order in which the epochs began.
    pub fn handle_start(&mut self, epochs: Vec<HeldEpoch>, now: Moment) {
        for epoch in epochs {
            self.ship.add_epoch(epoch);
        }
        self.connect(now);
    }

    /// Ends for good.
    pub fn handle_stop(&mut self, now: Moment) {
        if self.attempt().is_some() {
            self.end_connection(now);
            let reason = Disconnect::Stopped;
            self.outbox.push_back(Command::Disconnect { reason });
        }
        self.state = State::Stopped;
    }

    /// The writer's epoch, at its first commit; before any of its blocks is reported.
    pub fn handle_epoch_begun(&mut self, declaration: EpochDeclaration) {
        let id = declaration.epoch;
        self.ship.add_epoch(HeldEpoch {
            declaration: declaration.clone(),
            streams_through: StreamNumber(0),
            lanes: Vec::new(),
        });
        if self.is_streaming()
            && let Some(&ordinal) = self.ship.by_id.get(&id)
        {
            self.send(EdgeFrame::Epoch(declaration));
            self.ship.announce(ordinal);
        }
    }

    /// A block may be offered from here on.
    pub fn handle_durable(&mut self, durable: Durable, now: Moment) {
        self.ship.on_durable(durable, now);
    }

    /// By retention: gone from the disk, or about to be.
    pub fn handle_removed(&mut self, lane: EpochLane, ranges: &RangeSet) {
        self.ship.on_removed(lane.into(), ranges);
    }

    /// Answers [`Command::ReadStreams`], in order and without gaps.
    pub fn handle_streams_read(
        &mut self,
        epoch: EpochId,
        streams: Vec<(StreamDeclaration, Schema)>,
    ) {
        for declare in self.ship.on_streams_read(epoch, streams) {
            self.send(EdgeFrame::Declare(declare));
        }
    }

    /// Answers [`Command::SendBlock`] as soon as the block has been read. `bytes` are the sealed block's.
    pub fn handle_block_sent(&mut self, id: BlockId, bytes: u64) {
        if self.ship.on_sized(id, bytes) {
            self.counters.block_bytes += bytes;
        }
    }

    /// The transport has brought a block of this connection to the other side, or given it up.
    pub fn handle_block_arrived(&mut self, attempt: Attempt, bytes: u64) {
        if self.attempt() == Some(attempt) {
            self.ship.on_arrived(bytes);
        }
    }

    /// What the network has on its way when it is full, by the transport's congestion control. Of what is handed to the
    /// transport and has not arrived, back-fill is not much more; where this was never told, there is no such limit.
    pub fn handle_path(&mut self, holds_bytes: u64) {
        self.ship.on_path(holds_bytes);
    }

    /// Answers [`Command::SendBlock`]: damaged, or gone. It is never sent; the agent commits the loss.
    pub fn handle_block_unreadable(&mut self, id: BlockId) {
        self.counters.blocks_unreadable += 1;
        self.ship.on_unreadable(id);
    }
}

/// What happens on the connection.
impl EdgeSession {
    pub fn handle_connected(&mut self, attempt: Attempt, now: Moment) {
        if !matches!(self.state, State::Connecting { attempt: current, .. } if current == attempt) {
            return;
        }
        self.counters.connections += 1;
        let (epochs, lanes) = self.ship.hello();
        self.send(EdgeFrame::Hello(Hello {
            versions: WireVersion::SPOKEN,
            edge: self.config.edge,
            site: self.config.site.clone(),
            software: self.config.software.clone(),
            epochs,
            lanes,
        }));
        self.state = State::Greeting {
            attempt,
            give_up_at: now + self.patience().welcome_within,
        };
    }

    /// The connection could not be made, or is gone.
    pub fn handle_closed(&mut self, attempt: Attempt, now: Moment) {
        if self.attempt() == Some(attempt) {
            self.end_connection(now);
            self.go_on(false, now);
        }
    }

    pub fn handle_frame(&mut self, attempt: Attempt, frame: CentreFrame, now: Moment) {
        if self.attempt() != Some(attempt) {
            return;
        }
        if let Err(reason) = self.on_frame(frame, now) {
            self.disconnect(reason, now);
        }
    }

    /// What came on the control stream is no frame.
    pub fn handle_undecodable(&mut self, attempt: Attempt, error: WireError, now: Moment) {
        if self.attempt() == Some(attempt) {
            self.disconnect(Violation::Wire(error).into(), now);
        }
    }

    pub fn handle_timeout(&mut self, now: Moment) {
        match self.state {
            State::Stopped => {}
            State::Offline { retry_at } => {
                if retry_at <= now {
                    self.choice.begin_round();
                    self.connect(now);
                }
            }
            State::Connecting { give_up_at, .. } => {
                if give_up_at <= now {
                    let waited = self.patience().connect_within;
                    self.disconnect(Disconnect::ConnectTimeout(waited), now);
                }
            }
            State::Greeting { give_up_at, .. } => {
                if give_up_at <= now {
                    let waited = self.patience().welcome_within;
                    self.disconnect(Disconnect::WelcomeTimeout(waited), now);
                }
            }
            State::Streaming {
                heard_at,
                heartbeat_at,
                ..
            } => {
                let silence_max = self.patience().silence_max;
                let silence_at = heard_at + silence_max;
                if silence_at.min(heartbeat_at) + LATE <= now {
                    // We stood still: what the centre said meanwhile is yet to be read.
                    self.on_heard(now);
                    self.on_heartbeat_due(now);
                } else if silence_at <= now {
                    self.disconnect(silent(now.since(heard_at), silence_max).into(), now);
                } else if heartbeat_at <= now {
                    self.on_heartbeat_due(now);
                }
            }
        }
    }

    /// What the shell is to do next; `None` where there is nothing until something happens or the timer fires.
    pub fn poll_command(&mut self, now: Moment) -> Option<Command> {
        if let Some(command) = self.poll_urgent() {
            return Some(command);
        }
        if !self.is_streaming() {
            return None;
        }
        if let Some(read) = self.ship.next_read() {
            return Some(read);
        }
        let command = self.ship.next_block(now)?;
        if let Command::SendBlock { class, .. } = command {
            match class {
                Class::Live => self.counters.blocks_live += 1,
                Class::Fill => self.counters.blocks_fill += 1,
            }
        }
        Some(command)
    }

    /// Of that, what must not wait behind blocks: frames, acknowledgements for the disk, ends and beginnings of connections.
    pub fn poll_urgent(&mut self) -> Option<Command> {
        self.outbox.pop_front()
    }

    /// The next deadline and what it is for, so that a log line can explain every wake-up.
    pub fn poll_timeout(&self) -> Option<(Moment, &'static str)> {
        match self.state {
            State::Stopped => None,
            State::Offline { retry_at } => Some((retry_at, "retry")),
            State::Connecting { give_up_at, .. } => Some((give_up_at, "connect timeout")),
            State::Greeting { give_up_at, .. } => Some((give_up_at, "welcome timeout")),
            State::Streaming {
                heard_at,
                heartbeat_at,
                ..
            } => {
                let silence_at = (heard_at + self.patience().silence_max, "silence");
                let first = silence_at.min((heartbeat_at, "heartbeat"));
                Some(self.ship.opens_at().map_or(first, |at| at.min(first)))
            }
        }
    }
}

impl EdgeSession {
    fn patience(&self) -> Patience {
        let choice = &self.choice;
        self.config
            .patience(choice.has_others(), choice.vain_rounds())
    }

    fn on_heard(&mut self, now: Moment) {
        if let State::Streaming { heard_at, .. } = &mut self.state {
            *heard_at = now;
        }
    }

    fn send(&mut self, frame: EdgeFrame) {
        self.outbox.push_back(Command::SendFrame(frame));
    }

    fn connect(&mut self, now: Moment) {
        self.attempts += 1;
        let attempt = Attempt(self.attempts);
        let centre = self.choice.current();
        self.outbox.push_back(Command::Connect { attempt, centre });
        self.state = State::Connecting {
            attempt,
            give_up_at: now + self.patience().connect_within,
        };
    }

    fn disconnect(&mut self, reason: Disconnect, now: Moment) {
        if self.attempt().is_none() {
            return;
        }
        let is_final = match &reason {
            Disconnect::Refused(Refuse { code, .. }) => {
                self.counters.refusals += 1;
                *code != RefuseCode::Unavailable
            }
            Disconnect::Violation(_) => {
                self.counters.violations += 1;
                false
            }
            Disconnect::ConnectTimeout(_) | Disconnect::WelcomeTimeout(_) | Disconnect::Stopped => {
                false
            }
        };
        self.end_connection(now);
        self.outbox.push_back(Command::Disconnect { reason });
        self.go_on(is_final, now);
    }

    fn end_connection(&mut self, now: Moment) {
        self.ship.on_closed(now);
        // What was for this connection; acknowledgements are for the disk.
        self.outbox.retain(|command| match command {
            Command::PersistAcks { .. }
            | Command::PersistUnacks { .. }
            | Command::Disconnect { .. } => true,
            Command::Connect { .. }
            | Command::SendFrame(_)
            | Command::SendHeartbeat(_)
            | Command::ReadStreams { .. }
            | Command::SendBlock { .. } => false,
        });
    }

    /// To another centre at once, or to all of them again after a while.
    fn go_on(&mut self, refused: bool, now: Moment) {
        let wait = match self.choice.on_left(refused) {
            Next::Try => return self.connect(now),
            Next::Wait { all_refused: true } => self.backoff.longest_wait(),
            Next::Wait { all_refused: false } => self.backoff.next_wait(),
        };
        self.state = State::Offline {
            retry_at: now + wait,
        };
    }

    fn on_heartbeat_due(&mut self, now: Moment) {
        // A connection that lasts so long is a good one.
        self.backoff.reset();
        self.choice.on_good();
        let vitals = self.vitals();
        self.outbox.push_back(Command::SendHeartbeat(vitals));
        if let State::Streaming { heartbeat_at, .. } = &mut self.state {
            *heartbeat_at = now + self.config.heartbeat_every;
        }
    }

    fn on_frame(&mut self, frame: CentreFrame, now: Moment) -> Result<(), Disconnect> {
        if let CentreFrame::Refuse(refuse) = frame {
            return Err(Disconnect::Refused(refuse));
        }
        let unexpected = |frame: &CentreFrame, when| {
            let frame = frame.name();
            Err(Violation::Unexpected { frame, when }.into())
        };
        match &mut self.state {
            State::Stopped | State::Offline { .. } => Ok(()),
            State::Connecting { .. } => unexpected(&frame, "before the connection"),
            State::Greeting { attempt, .. } => {
                let attempt = *attempt;
                match frame {
                    CentreFrame::Welcome(welcome) => self.on_welcome(attempt, &welcome, now),
                    CentreFrame::DeclareAck { .. }
                    | CentreFrame::Ack { .. }
                    | CentreFrame::Want { .. }
                    | CentreFrame::Credit { .. }
                    | CentreFrame::Heartbeat
                    | CentreFrame::Refuse(_) => unexpected(&frame, "before the welcome"),
                }
            }
            State::Streaming { heard_at, .. } => {
                *heard_at = now;
                match frame {
                    CentreFrame::Welcome(_) => unexpected(&frame, "after the welcome"),
                    CentreFrame::DeclareAck { epoch, through } => {
                        Ok(self.ship.on_declare_ack(epoch, through)?)
                    }
                    CentreFrame::Ack { lane, ranges } => {
                        let landed = self.ship.on_acked(lane, &ranges)?;
                        for committed_at in landed.live {
                            let delay = now.since(committed_at);
                            self.counters.live_delays.note(delay);
                        }
                        self.persist_acks(lane, landed.news);
                        Ok(())
                    }
                    CentreFrame::Want { lane, ranges } => {
                        self.on_want(lane, ranges);
                        Ok(())
                    }
                    CentreFrame::Credit { bytes_total } => {
                        self.ship.on_credit(bytes_total);
                        Ok(())
                    }
                    CentreFrame::Heartbeat | CentreFrame::Refuse(_) => Ok(()),
                }
            }
        }
    }

    fn on_welcome(
        &mut self,
        attempt: Attempt,
        welcome: &Welcome,
        now: Moment,
    ) -> Result<(), Disconnect> {
        let theirs = crate::frame::Versions {
            oldest: welcome.version,
            newest: welcome.version,
        };
        let version = WireVersion::common(theirs).map_err(Violation::Wire)?;
        self.counters.welcomes += 1;
        self.state = State::Streaming {
            attempt,
            version,
            heard_at: now,
            heartbeat_at: now + self.config.heartbeat_every,
        };
        let (reckonings, late) = self.ship.on_welcome(welcome, now);
        for Reckoning {
            key,
            news,
            withdrawn,
        } in reckonings
        {
            self.persist_acks(key, news);
            self.persist_unacks(key, withdrawn);
        }
        for declaration in late {
            self.send(EdgeFrame::Epoch(declaration));
        }
        Ok(())
    }

    fn on_want(&mut self, lane: LaneKey, ranges: RangeSet) {
        let unable = match self.ship.on_wanted(lane, &ranges) {
            None => vec![(UnableReason::Unknown, ranges)],
            Some(wanted) => {
                self.persist_unacks(lane, wanted.granted);
                wanted.unable
            }
        };
        for (reason, ranges) in unable {
            self.send(EdgeFrame::Unable(Unable {
                lane,
                ranges,
                reason,
            }));
        }
    }

    fn persist_acks(&mut self, key: LaneKey, ranges: RangeSet) {
        if ranges.is_empty() {
            return;
        }
        self.counters.blocks_acked += ranges.member_count();
        let lane = key.at(self.config.edge);
        self.outbox.push_back(Command::PersistAcks { lane, ranges });
    }

    fn persist_unacks(&mut self, key: LaneKey, ranges: RangeSet) {
        if ranges.is_empty() {
            return;
        }
        self.counters.blocks_wanted += ranges.member_count();
        let lane = key.at(self.config.edge);
        self.outbox
            .push_back(Command::PersistUnacks { lane, ranges });
    }
}

fn silent(silent: Duration, max: Duration) -> Violation {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Violation::Silent {
        silent_ms: millis(silent),
        max_ms: millis(max),
    }
}
