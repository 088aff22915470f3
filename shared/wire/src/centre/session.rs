//! The states of a connection, and what happens in each.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use efd_shared_model::{EpochId, StreamNumber};

use super::{CentreConfig, CentreCounters, CentreSession, Certificate, Command, Known, State};
use crate::codec::{WireError, WireVersion};
use crate::frame::{CentreFrame, EdgeFrame, Refuse, RefuseCode, Unable};
use crate::moment::Moment;
use crate::stream::{BlockStreamError, ReceivedBlock};
use crate::violation::Violation;

/// Getters.
impl CentreSession {
    pub fn counters(&self) -> CentreCounters {
        self.counters
    }

    /// In which version frames are written and read.
    pub fn version(&self) -> WireVersion {
        match &self.state {
            State::Streaming(streaming) => streaming.version,
            State::Greeting { .. } | State::Looking { .. } | State::Closed => WireVersion::OLDEST,
        }
    }

    pub fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming(_))
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What breaks an invariant, in words; for tests.
    pub fn self_check(&self) -> Option<String> {
        let State::Streaming(streaming) = &self.state else {
            return None;
        };
        let (mut appending_bytes, mut ack_blocks) = (0, 0);
        for (key, lane) in &streaming.lanes {
            appending_bytes += lane.appending.values().sum::<u64>();
            ack_blocks += lane.unsent_acks.member_count();
            for range in lane.unsent_acks.iter() {
                if !lane.received.contains_range(range) {
                    return Some(format!("{key:?}: acks of what is not durable"));
                }
            }
            if lane.unsent_acks.is_empty() == streaming.acks_due.contains(key) {
                return Some(format!("{key:?}: acks not accounted for"));
            }
        }
        let due = streaming.received_bytes - streaming.done_bytes;
        if appending_bytes != due || ack_blocks != streaming.ack_blocks {
            return Some(format!(
                "{appending_bytes} bytes are being appended, {due} are due; {ack_blocks} acks, {} counted",
                streaming.ack_blocks
            ));
        }
        (streaming.ack_at.is_some() == streaming.acks_due.is_empty())
            .then(|| "acks without a deadline, or the reverse".into())
    }
}

impl CentreSession {
    /// A connection with that client certificate is there. No credit is given before the first
    /// [`Self::handle_log_state`].
    pub fn new(config: CentreConfig, certificate: Certificate, now: Moment) -> Self {
        let give_up_at = now + config.hello_within;
        Self {
            config,
            certificate,
            state: State::Greeting { give_up_at },
            log_room_bytes: 0,
            outbox: VecDeque::new(),
            counters: CentreCounters::default(),
        }
    }

    pub fn handle_frame(&mut self, frame: EdgeFrame, now: Moment) {
        if let Err(violation) = self.on_frame(frame, now) {
            self.close(violation);
        }
    }

    /// What came on the control stream is no frame.
    pub fn handle_undecodable(&mut self, error: WireError) {
        self.close(error.into());
    }

    /// What came on a uni stream is no block.
    pub fn handle_bad_block(&mut self, error: BlockStreamError) {
        self.close(error.into());
    }

    pub fn handle_block(&mut self, received: ReceivedBlock, now: Moment) {
        if let Err(violation) = self.on_block(received, now) {
            self.close(violation);
        }
    }

    /// Answers [`Command::Lookup`].
    pub fn handle_known(&mut self, known: Known, now: Moment) {
        match mem::replace(&mut self.state, State::Closed) {
            State::Looking { hello } => {
                if let Err(violation) = self.on_known(hello, known, now) {
                    self.close(violation);
                }
            }
            other @ (State::Greeting { .. } | State::Streaming(_) | State::Closed) => {
                self.state = other;
            }
        }
    }

    /// Streams 1 to `through` of the epoch are durable.
    pub fn handle_declared(&mut self, epoch: EpochId, through: StreamNumber) {
        let State::Streaming(streaming) = &mut self.state else {
            return;
        };
        let Some(known) = streaming.epochs.get_mut(&epoch) else {
            return;
        };
        debug_assert!(through <= known.handed_on);
        known.declared = known.declared.max(through.min(known.handed_on));
        let through = known.declared;
        self.send(CentreFrame::DeclareAck { epoch, through });
    }

    /// The centre goes down, or for another reason wants no more of this connection.
    pub fn handle_stop(&mut self, text: &str) {
        if !self.is_closed() {
            self.flush_acks();
            self.send(CentreFrame::Refuse(Refuse {
                code: RefuseCode::Unavailable,
                text: text.to_owned(),
            }));
            self.state = State::Closed;
        }
    }

    /// The connection is gone.
    pub fn handle_closed(&mut self) {
        self.state = State::Closed;
        self.outbox.clear();
    }

    pub fn handle_timeout(&mut self, now: Moment) {
        match &mut self.state {
            State::Greeting { give_up_at } => {
                if *give_up_at <= now {
                    let waited = self.config.hello_within;
                    self.close(silent(waited, waited));
                }
            }
            State::Looking { .. } | State::Closed => {}
            State::Streaming(streaming) => {
                let silence_max = self.config.silence_max;
                if streaming.heard_at + silence_max <= now {
                    let violation = silent(now.since(streaming.heard_at), silence_max);
                    self.close(violation);
                    return;
                }
                if streaming.heartbeat_at <= now {
                    streaming.heartbeat_at = now + self.config.heartbeat_every;
                    self.outbox
                        .push_back(Command::SendFrame(CentreFrame::Heartbeat));
                }
                if streaming.ack_at.is_some_and(|at| at <= now) {
                    self.flush_acks();
                }
            }
        }
    }

    pub fn poll_command(&mut self) -> Option<Command> {
        self.outbox.pop_front()
    }

    /// The next deadline and what it is for.
    pub fn poll_timeout(&self) -> Option<(Moment, &'static str)> {
        match &self.state {
            State::Greeting { give_up_at } => Some((*give_up_at, "hello timeout")),
            State::Looking { .. } | State::Closed => None,
            State::Streaming(streaming) => {
                let silence_at = streaming.heard_at + self.config.silence_max;
                let first = (silence_at, "silence").min((streaming.heartbeat_at, "heartbeat"));
                let ack = streaming.ack_at.map(|at| (at, "acknowledge"));
                Some(ack.map_or(first, |ack| ack.min(first)))
            }
        }
    }
}

impl CentreSession {
    pub(super) fn send(&mut self, frame: CentreFrame) {
        self.outbox.push_back(Command::SendFrame(frame));
    }

    pub(super) fn close(&mut self, reason: Violation) {
        if self.is_closed() {
            return;
        }
        self.counters.violations += 1;
        self.flush_acks();
        self.send(CentreFrame::Refuse(Refuse {
            code: reason.refuse_code(),
            text: reason.to_string(),
        }));
        self.state = State::Closed;
        self.outbox.push_back(Command::Close { reason });
    }

    fn on_frame(&mut self, frame: EdgeFrame, now: Moment) -> Result<(), Violation> {
        let name = frame.name();
        let unexpected = |when| Err(Violation::Unexpected { frame: name, when });
        match (&mut self.state, frame) {
            (State::Closed, _) => Ok(()),
            (State::Greeting { .. }, EdgeFrame::Hello(hello)) => self.on_hello(hello),
            (
                State::Greeting { .. },
                EdgeFrame::Declare(_)
                | EdgeFrame::Epoch(_)
                | EdgeFrame::Heartbeat(_)
                | EdgeFrame::Unable(_),
            ) => unexpected("before the hello"),
            (State::Looking { .. }, _) => unexpected("before the welcome"),
            (State::Streaming(_), EdgeFrame::Hello(_)) => unexpected("after the hello"),
            (State::Streaming(streaming), EdgeFrame::Declare(declare)) => {
                streaming.heard_at = now;
                self.on_declare(declare)
            }
            (State::Streaming(streaming), EdgeFrame::Epoch(declaration)) => {
                streaming.heard_at = now;
                self.on_epoch(declaration, StreamNumber(0))
            }
            (State::Streaming(streaming), EdgeFrame::Heartbeat(heartbeat)) => {
                streaming.heard_at = now;
                self.outbox.push_back(Command::Heartbeat(heartbeat));
                Ok(())
            }
            (State::Streaming(streaming), EdgeFrame::Unable(unable)) => {
                streaming.heard_at = now;
                let Unable {
                    lane,
                    ranges,
                    reason,
                } = unable;
                let lane = lane.at(self.certificate.edge);
                self.outbox.push_back(Command::Unable {
                    lane,
                    ranges,
                    reason,
                });
                Ok(())
            }
        }
    }
}

fn silent(silent: Duration, max: Duration) -> Violation {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Violation::Silent {
        silent_ms: millis(silent),
        max_ms: millis(max),
    }
}
