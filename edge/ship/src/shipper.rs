//! Ferries between notices, quinn and the session machine, which decides.
//!
//! Nothing in the loop waits for the link: frames and blocks go out by tasks of their own, bounded by the machine's window.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use efd_shared_daemon::clock::{ClockReader, monotonic_now, utc_now};
use efd_shared_daemon::shutdown::Stop;
use efd_shared_model::{
    BlockId, EpochDeclaration, EpochId, EpochLane, RangeSet, Schema, SealedBlock,
    StreamDeclaration, StreamNumber, UtcNanos,
};
use efd_shared_wire::codec::FrameBuffer;
use efd_shared_wire::edge::{
    Attempt, CONTROL_PRIORITY, Centre, Command, Durable, EdgeCounters, HeldEpoch,
};
use efd_shared_wire::frame::{CentreFrame, EdgeFrame};
use efd_shared_wire::{Class, EdgeConfig, EdgeSession, Moment};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::endpoint::{Endpoint, LinkError};
use crate::left::Left;
use crate::source::Source;

/// Blocks being read or written to the link at once.
const SENDING_MAX: usize = 64;
const EVENTS_MAX: usize = 4096;
pub(crate) const FRAMES_MAX: usize = 1024;

/// What the shipper must know of the source.
#[derive(Clone, Debug)]
pub enum Notice {
    EpochBegun(EpochDeclaration),
    Durable {
        block: SealedBlock,
        committed: UtcNanos,
    },
    Removed {
        lane: EpochLane,
        ranges: RangeSet,
    },
}

/// What the owner of the source should remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Durable at the centre.
    Acked { lane: EpochLane, ranges: RangeSet },
    /// The centre has them no longer.
    Unacked { lane: EpochLane, ranges: RangeSet },
    /// Damaged: its loss is to be named.
    Unreadable { id: BlockId, reason: String },
}

/// Who remembers [`Outcome`]s.
pub trait Keeper: Send + fmt::Debug {
    /// Gives it back where there is no room now; asked again with the next event.
    fn try_keep(&mut self, outcome: Outcome) -> Result<(), Outcome>;
}

/// Who watches.
pub trait Observer: Send + Sync + fmt::Debug {
    /// After every event.
    fn session(&self, streaming: bool, counters: EdgeCounters, unacked_blocks: u64);
    /// Of the configured list.
    fn connecting(&self, centre: Centre);
    fn connected(&self, centre: Centre, address: SocketAddr);
    /// Once for each that was begun.
    fn left(&self, centre: Centre, why: Left<'_>);
    /// Age of the oldest block not acknowledged, bytes not acknowledged; for the heartbeat.
    fn backlog(&self) -> (Duration, u64);
    fn block_unreadable(&self);
}

/// What happens to the shipper: the whole list.
#[derive(Debug)]
pub(crate) enum Event {
    Notice(Option<Notice>),
    Connected {
        attempt: Attempt,
        frames: mpsc::Sender<Vec<u8>>,
        connection: quinn::Connection,
    },
    Closed {
        attempt: Attempt,
        error: LinkError,
    },
    Control {
        attempt: Attempt,
        bytes: Bytes,
    },
    BlockRead {
        id: BlockId,
        bytes: u64,
    },
    BlockUnreadable {
        id: BlockId,
        reason: String,
    },
    /// A sending task has handed its block to the transport, or given it up.
    BlockDone,
    /// The other side's transport has it; or the connection ends.
    BlockArrived {
        attempt: Attempt,
        bytes: u64,
    },
    StreamsRead {
        epoch: EpochId,
        streams: Vec<(StreamDeclaration, Schema)>,
    },
    Timeout,
    Stop,
}

/// What the shipper works with.
#[derive(Debug)]
pub struct Shipper<S> {
    pub endpoint: Endpoint,
    /// How many centres there are the endpoint knows.
    pub config: EdgeConfig,
    pub held: Vec<HeldEpoch>,
    pub notices: mpsc::Receiver<Notice>,
    pub keeper: Box<dyn Keeper>,
    pub source: S,
    pub clock: ClockReader,
    pub observer: Arc<dyn Observer>,
    pub stop: Stop,
}

impl<S: Source> Shipper<S> {
    /// Until a stop is asked for, and then until the notices end.
    pub async fn run(self, seed: u64) {
        let Self {
            endpoint,
            mut config,
            held,
            mut notices,
            keeper,
            source,
            clock,
            observer,
            stop,
        } = self;
        let _running = stop.register("ship");
        let (events, mut events_in) = mpsc::channel(EVENTS_MAX);
        let (disk, disk_requests) = mpsc::channel(SENDING_MAX * 2);
        let disk_reader = DiskReader {
            source,
            events: events.clone(),
        };
        tokio::task::spawn_blocking(move || disk_reader.run(disk_requests));
        config.centres = endpoint.centres();
        let mut session = EdgeSession::new(config, seed, now());
        session.handle_start(held, now());
        let mut loop_ = Loop {
            session,
            endpoint,
            events,
            disk,
            keeper,
            clock,
            observer,
            trying: None,
            link: None,
            buffer: FrameBuffer::new(),
            sending: 0,
            unkept: VecDeque::new(),
            stopping: false,
        };
        loop_.obey();
        loop {
            let deadline = loop_.session.poll_timeout().map(|(at, _)| at.since(now()));
            let event = tokio::select! {
                notice = notices.recv() => Event::Notice(notice),
                Some(event) = events_in.recv() => event,
                () = stop.asked(), if !loop_.stopping => Event::Stop,
                () = sleep(deadline) => Event::Timeout,
            };
            let ended = matches!(event, Event::Notice(None));
            loop_.apply(event);
            loop_.obey();
            loop_.observe();
            if ended {
                break;
            }
        }
        loop_.session.handle_stop(now());
        loop_.obey();
        loop_.endpoint.close().await;
    }
}

/// The one connection that is made or used.
struct Trying {
    attempt: Attempt,
    centre: Centre,
    task: AbortHandle,
}

struct Connected {
    connection: quinn::Connection,
    frames: mpsc::Sender<Vec<u8>>,
}

struct Loop {
    session: EdgeSession,
    endpoint: Endpoint,
    events: mpsc::Sender<Event>,
    disk: mpsc::Sender<DiskRequest>,
    keeper: Box<dyn Keeper>,
    clock: ClockReader,
    observer: Arc<dyn Observer>,
    trying: Option<Trying>,
    /// Of what is tried, once it is there.
    link: Option<Connected>,
    buffer: FrameBuffer,
    sending: usize,
    /// What the keeper had no room for.
    unkept: VecDeque<Outcome>,
    stopping: bool,
}

impl Loop {
    /// The only place that changes the session.
    fn apply(&mut self, event: Event) {
        let now = now();
        match event {
            Event::Notice(Some(Notice::EpochBegun(declaration))) => {
                self.session.handle_epoch_begun(declaration)
            }
            Event::Notice(Some(Notice::Durable { block, committed })) => {
                self.session.handle_durable(
                    Durable {
                        lane: block.id().lane,
                        number: block.id().number,
                        streams_through: block.header().streams_through,
                        bytes: block.bytes().len() as u64,
                        // The commit was just now; a clock step must not make it old.
                        committed_at: Moment(now.0.saturating_sub(age_ns(committed))),
                    },
                    now,
                )
            }
            Event::Notice(Some(Notice::Removed { lane, ranges })) => {
                self.session.handle_removed(lane, &ranges)
            }
            Event::Notice(None) => {}
            Event::Connected {
                attempt,
                frames,
                connection,
            } => {
                let Some(centre) = self.centre_of(attempt) else {
                    return connection.close(0u32.into(), b"too late");
                };
                let remote = connection.remote_address();
                tracing::info!(%remote, "Connected to the centre");
                self.observer.connected(centre, remote);
                self.buffer = FrameBuffer::new();
                self.link = Some(Connected { connection, frames });
                self.session.handle_connected(attempt, now);
            }
            Event::Closed { attempt, error } => {
                let Some(centre) = self.centre_of(attempt) else {
                    return;
                };
                let why = Left::Closed(&error);
                tracing::warn!(reason = %why, "Connection to the centre ended");
                self.observer.left(centre, why);
                (self.trying, self.link) = (None, None);
                self.session.handle_closed(attempt, now);
            }
            Event::Control { attempt, bytes } => self.read_frames(attempt, &bytes, now),
            Event::BlockRead { id, bytes } => self.session.handle_block_sent(id, bytes),
            Event::BlockUnreadable { id, reason } => {
                self.sending -= 1;
                self.observer.block_unreadable();
                tracing::error!(block = %id, reason, "A block of the buffer cannot be read");
                self.session.handle_block_unreadable(id);
                self.unkept.push_back(Outcome::Unreadable { id, reason });
            }
            Event::BlockDone => self.sending -= 1,
            Event::BlockArrived { attempt, bytes } => {
                self.session.handle_block_arrived(attempt, bytes)
            }
            Event::StreamsRead { epoch, streams } => {
                self.session.handle_streams_read(epoch, streams)
            }
            Event::Timeout => self.session.handle_timeout(now),
            Event::Stop => self.stopping = true,
        }
    }

    /// `None` where we have done with it.
    fn centre_of(&self, attempt: Attempt) -> Option<Centre> {
        let trying = self.trying.as_ref();
        trying
            .filter(|trying| trying.attempt == attempt)
            .map(|trying| trying.centre)
    }

    fn read_frames(&mut self, attempt: Attempt, bytes: &[u8], now: Moment) {
        if self.centre_of(attempt).is_none() {
            return;
        }
        self.buffer.push(bytes);
        loop {
            let frame = match self.buffer.next_frame() {
                Ok(Some(frame)) => CentreFrame::decode(&frame, self.session.version()),
                Ok(None) => return,
                Err(error) => Err(error),
            };
            match frame {
                Ok(frame) => self.session.handle_frame(attempt, frame, now),
                Err(error) => return self.session.handle_undecodable(attempt, error, now),
            }
        }
    }

    /// Carries out what the session asks for. Where too many blocks are under way, no more are begun: on a link that takes
    /// none, heartbeats and the end of the connection must not wait for them.
    fn obey(&mut self) {
        while let Some(outcome) = self.unkept.pop_front() {
            if let Err(outcome) = self.keeper.try_keep(outcome) {
                self.unkept.push_front(outcome);
                break;
            }
        }
        if let Some(link) = &self.link {
            self.session.handle_path(link.connection.stats().path.cwnd);
        }
        while self.unkept.len() < FRAMES_MAX {
            let command = match self.sending < SENDING_MAX {
                true => self.session.poll_command(now()),
                false => self.session.poll_urgent(),
            };
            let Some(command) = command else {
                return;
            };
            self.carry_out(command);
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Connect { attempt, centre } => {
                self.observer.connecting(centre);
                let events = self.events.clone();
                self.trying = Some(Trying {
                    attempt,
                    centre,
                    task: self.endpoint.connect(attempt, centre, events),
                });
            }
            Command::SendFrame(frame) => self.send_frame(&frame),
            Command::SendHeartbeat(vitals) => {
                let (age, bytes) = self.observer.backlog();
                self.send_frame(&vitals.frame(self.clock.state(), age, bytes));
            }
            Command::ReadStreams {
                epoch,
                first,
                through,
            } => self.ask_disk(DiskRequest::Streams {
                epoch,
                first,
                through,
            }),
            Command::SendBlock {
                id,
                class,
                priority,
            } => {
                let (Some(link), Some(trying)) = (&self.link, &self.trying) else {
                    return;
                };
                self.sending += 1;
                let connection = link.connection.clone();
                self.ask_disk(DiskRequest::Block {
                    id,
                    class,
                    priority,
                    attempt: trying.attempt,
                    connection,
                });
            }
            Command::PersistAcks { lane, ranges } => {
                self.unkept.push_back(Outcome::Acked { lane, ranges })
            }
            Command::PersistUnacks { lane, ranges } => {
                self.unkept.push_back(Outcome::Unacked { lane, ranges })
            }
            Command::Disconnect { reason } => {
                tracing::warn!(%reason, "Disconnecting");
                if let Some(link) = self.link.take() {
                    link.connection
                        .close(1u32.into(), reason.to_string().as_bytes());
                }
                if let Some(trying) = self.trying.take() {
                    trying.task.abort();
                    self.observer.left(trying.centre, Left::GivenUp(&reason));
                }
            }
        }
    }

    fn send_frame(&mut self, frame: &EdgeFrame) {
        let Some(link) = &self.link else { return };
        match frame.encode(self.session.version()) {
            // A control stream that takes no frame for so long is a dead connection.
            Ok(bytes) => {
                if link.frames.try_send(bytes).is_err() {
                    link.connection.close(1u32.into(), b"control stream stuck");
                }
            }
            Err(error) => tracing::error!(%error, frame = frame.name(), "Frame cannot be encoded"),
        }
    }

    fn ask_disk(&self, request: DiskRequest) {
        // As many as may be under way fit the channel.
        if self.disk.try_send(request).is_err() {
            tracing::error!("The reader of the buffer has ended");
        }
    }

    fn observe(&self) {
        let streaming = self.session.is_streaming();
        self.observer.session(
            streaming,
            self.session.counters(),
            self.session.vitals().unacked_blocks,
        );
    }
}

fn age_ns(committed: UtcNanos) -> u64 {
    const PLAUSIBLE: std::ops::Range<i64> = 0..60_000_000_000;
    let age = utc_now().since(committed);
    if PLAUSIBLE.contains(&age) {
        age as u64
    } else {
        0
    }
}

#[derive(Debug)]
enum DiskRequest {
    Block {
        id: BlockId,
        class: Class,
        priority: i32,
        attempt: Attempt,
        connection: quinn::Connection,
    },
    Streams {
        epoch: EpochId,
        first: StreamNumber,
        through: StreamNumber,
    },
}

/// Reads the source for the shipper, on a thread that may block.
struct DiskReader<S> {
    source: S,
    events: mpsc::Sender<Event>,
}

impl<S: Source> DiskReader<S> {
    fn run(mut self, mut requests: mpsc::Receiver<DiskRequest>) {
        while let Some(request) = requests.blocking_recv() {
            let event = match request {
                DiskRequest::Block {
                    id,
                    class,
                    priority,
                    attempt,
                    connection,
                } => match self.source.block(&id) {
                    Ok(block) => {
                        let bytes = block.bytes().len() as u64;
                        let events = self.events.clone();
                        tokio::runtime::Handle::current().spawn(async move {
                            let sent = send_block(&connection, &block, class, priority).await;
                            let id = block.id();
                            drop(block);
                            tell(&events, Event::BlockDone).await;
                            match sent {
                                Ok(stream) => {
                                    if let Err(error) = stream.stopped().await {
                                        tracing::debug!(%error, block = %id, "Block did not arrive; the connection ends");
                                    }
                                }
                                Err(error) => {
                                    tracing::debug!(%error, block = %id, "Block not sent; the connection ends")
                                }
                            }
                            tell(&events, Event::BlockArrived { attempt, bytes }).await;
                        });
                        Event::BlockRead { id, bytes }
                    }
                    Err(error) => Event::BlockUnreadable {
                        id,
                        reason: error.to_string(),
                    },
                },
                DiskRequest::Streams {
                    epoch,
                    first,
                    through,
                } => match self.source.streams(epoch, first, through) {
                    Ok(streams) => Event::StreamsRead { epoch, streams },
                    Err(error) => {
                        tracing::error!(error = &*error as &dyn std::error::Error, %epoch, "Reading declarations failed");
                        // Asked for again with the next block of these streams.
                        let streams = Vec::new();
                        Event::StreamsRead { epoch, streams }
                    }
                },
            };
            if self.events.blocking_send(event).is_err() {
                return;
            }
        }
    }
}

async fn send_block(
    connection: &quinn::Connection,
    block: &SealedBlock,
    class: Class,
    priority: i32,
) -> Result<quinn::SendStream, quinn::WriteError> {
    const _: () = assert!(CONTROL_PRIORITY > 0);
    let mut stream = connection.open_uni().await?;
    // Fails only for a stream that has ended.
    if stream.set_priority(priority).is_ok() {
        stream.write_all(&class.header()).await?;
        stream.write_chunk(block.bytes().clone()).await?;
        if stream.finish().is_err() {
            tracing::debug!("The centre stopped the stream of a block");
        }
    }
    Ok(stream)
}

pub(crate) async fn tell(events: &mpsc::Sender<Event>, event: Event) {
    if events.send(event).await.is_err() {
        tracing::debug!("The shipper has ended");
    }
}

async fn sleep(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}

/// Nanoseconds of CLOCK_MONOTONIC.
fn now() -> Moment {
    Moment(u64::try_from(monotonic_now()).unwrap_or(0))
}
