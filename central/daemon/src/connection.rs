//! One edge's connection: ferries between quinn, the session machine and the appender. No decision is made here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use efd_central_log::{BlockLog, Class as LogClass, LogError, Lost, Partition};
use efd_shared_daemon::clock::monotonic_now;
use efd_shared_daemon::identity::ClientRole;
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{EpochId, RangeSet};
use efd_shared_wire::centre::{Certificate, Command, Known};
use efd_shared_wire::codec::FrameBuffer;
use efd_shared_wire::frame::{EdgeFrame, LaneKey, UnableReason};
use efd_shared_wire::limits::BLOCK_STREAM_BYTES_MAX;
use efd_shared_wire::{CentreConfig, CentreSession, Class, Moment, ReceivedBlock};
use tokio::sync::{mpsc, watch};

use crate::appender::{Appender, Durable, Request};
use crate::fleet::Fleet;
use crate::ingest::Client;

/// Reads of whole blocks that wait for the session machine.
const BLOCKS_MAX: usize = 64;
const REPLIES_MAX: usize = 4096;
const FRAMES_MAX: usize = 1024;
/// How long a refused edge gets to read why.
const GOODBYE: Duration = Duration::from_secs(1);

/// What happens to a connection: the whole list.
#[derive(Debug)]
enum Event {
    Control(Option<Bytes>),
    Block(Result<ReceivedBlock, efd_shared_wire::BlockStreamError>),
    Durable(Durable),
    Known(Known),
    /// The log found that it has lost something, of some edge.
    Losses,
    Lost(Lost),
    Room(u64),
    Timeout,
    Stop,
    Gone(String),
}

/// What all connections share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) log: Arc<dyn BlockLog>,
    pub(crate) appender: Appender,
    /// [`BlockLog::losses`]
    pub(crate) losses: watch::Receiver<u64>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) stop: efd_shared_daemon::shutdown::Stop,
    #[cfg(feature = "sabotage")]
    pub(crate) sabotage: crate::sabotage::Sabotage,
}

pub(crate) struct Connection {
    shared: Shared,
    quic: quinn::Connection,
    session: CentreSession,
    client: Client,
    frames: mpsc::Sender<Vec<u8>>,
    replies: mpsc::Sender<Durable>,
    known: mpsc::Sender<Known>,
    lost: mpsc::Sender<Lost>,
}

/// Serves one connection until it ends.
pub(crate) async fn serve(shared: Shared, quic: quinn::Connection, client: Client) -> Result<()> {
    let (send, mut receive) = match quic.accept_bi().await {
        Ok(streams) => streams,
        // `efd-edge check` wants no session.
        Err(quinn::ConnectionError::ApplicationClosed(closed))
            if closed.error_code == 0u32.into() =>
        {
            return Ok(());
        }
        Err(error) => return Err(error).context("accept the control stream"),
    };
    let fleet = Arc::clone(&shared.fleet);
    let _present = fleet.connected(&client, quic.remote_address());
    let (frames, frames_out) = mpsc::channel::<Vec<u8>>(FRAMES_MAX);
    let writer = tokio::spawn(write_frames(send, frames_out));
    let (replies, mut replies_in) = mpsc::channel(REPLIES_MAX);
    let (known, mut known_in) = mpsc::channel(4);
    let (lost, mut lost_in) = mpsc::channel(4);
    let mut losses = shared.losses.clone();
    losses.mark_unchanged();
    let (blocks, mut blocks_in) = mpsc::channel(BLOCKS_MAX);
    let reader = tokio::spawn(read_blocks(quic.clone(), blocks));
    let mut room = shared.appender.room();
    let stop = shared.stop.clone();
    let mut session =
        CentreSession::new(CentreConfig::default(), client.certificate.clone(), now());
    session.handle_log_state(*room.borrow_and_update());
    let mut connection = Connection {
        shared,
        quic: quic.clone(),
        session,
        client,
        frames,
        replies,
        known,
        lost,
    };
    let mut buffer = FrameBuffer::new();
    loop {
        let deadline = connection
            .session
            .poll_timeout()
            .map(|(at, _)| at.since(now()));
        let event = tokio::select! {
            biased;
            chunk = receive.read_chunk(1 << 16, true) => match chunk {
                Ok(chunk) => Event::Control(chunk.map(|chunk| chunk.bytes)),
                Err(error) => Event::Gone(error.to_string()),
            },
            Some(durable) = replies_in.recv() => Event::Durable(durable),
            Some(known) = known_in.recv() => Event::Known(known),
            Ok(()) = losses.changed() => Event::Losses,
            Some(lost) = lost_in.recv() => Event::Lost(lost),
            Ok(()) = room.changed() => Event::Room(*room.borrow_and_update()),
            Some(block) = blocks_in.recv() => Event::Block(block),
            reason = quic.closed() => Event::Gone(reason.to_string()),
            () = stop.asked() => Event::Stop,
            () = sleep(deadline) => Event::Timeout,
        };
        let gone = connection.apply(event, &mut buffer);
        connection.obey().await?;
        if let Some(reason) = gone {
            connection.session.handle_closed();
            let Certificate { site, edge } = &connection.client.certificate;
            tracing::info!(%site, %edge, role = connection.client.role.as_str(), reason, "Edge disconnected");
            break;
        }
        if connection.session.is_closed() {
            break;
        }
    }
    let Connection { frames, .. } = connection;
    drop(frames);
    // What was to be said goes out before the connection ends.
    if tokio::time::timeout(GOODBYE, writer).await.is_err() {
        tracing::debug!("The edge did not read our last words");
    }
    quic.close(0u32.into(), b"");
    reader.abort();
    Ok(())
}

impl Connection {
    /// The only place that changes the session. Gives the reason when the connection is gone.
    fn apply(&mut self, event: Event, buffer: &mut FrameBuffer) -> Option<String> {
        let now = now();
        match event {
            Event::Control(Some(bytes)) => {
                buffer.push(&bytes);
                self.read_frames(buffer, now);
            }
            Event::Control(None) => return Some("the edge ended the control stream".into()),
            Event::Block(Ok(block)) => self.session.handle_block(block, now),
            Event::Block(Err(error)) => self.session.handle_bad_block(error),
            Event::Durable(Durable::Appended { lane, number }) => {
                self.session.handle_appended(lane, number, now)
            }
            Event::Durable(Durable::Refused {
                lane,
                number,
                reason,
            }) => self.session.handle_append_refused(lane, number, reason),
            Event::Durable(Durable::DeclareRefused { epoch, reason }) => {
                self.session.handle_declare_refused(epoch, reason)
            }
            Event::Durable(Durable::Declared { epoch, through }) => {
                self.session.handle_declared(epoch, through)
            }
            Event::Known(known) => {
                self.session.handle_known(known, now);
                self.look_up_lost();
            }
            Event::Losses => self.look_up_lost(),
            Event::Lost(lost) => {
                for (lane, numbers) in &lost {
                    self.session.handle_lost(*lane, numbers);
                }
            }
            Event::Room(bytes) => self.session.handle_log_state(bytes),
            Event::Timeout => self.session.handle_timeout(now),
            Event::Stop => self.session.handle_stop("the centre goes down"),
            Event::Gone(reason) => return Some(reason),
        }
        None
    }

    fn read_frames(&mut self, buffer: &mut FrameBuffer, now: Moment) {
        loop {
            let frame = match buffer.next_frame() {
                Ok(Some(frame)) => EdgeFrame::decode(&frame, self.session.version()),
                Ok(None) => return,
                Err(error) => Err(error),
            };
            match frame {
                Ok(frame) => self.session.handle_frame(frame, now),
                Err(error) => return self.session.handle_undecodable(error),
            }
        }
    }

    /// Carries out what the session asks for.
    async fn obey(&mut self) -> Result<()> {
        while let Some(command) = self.session.poll_command() {
            match command {
                Command::SendFrame(frame) => {
                    let bytes = frame
                        .encode(self.session.version())
                        .context("encode frame")?;
                    if self.frames.send(bytes).await.is_err() {
                        return Ok(());
                    }
                }
                Command::Lookup { epochs, lanes } => self.look_up(epochs, lanes),
                Command::Declare {
                    epoch,
                    streams,
                    schemas,
                } => {
                    let reply = self.replies.clone();
                    self.shared
                        .appender
                        .send(Request::Declare {
                            epoch,
                            streams,
                            schemas,
                            reply,
                        })
                        .await?;
                }
                Command::Append { block, class } => self.append(block, class).await?,
                Command::Heartbeat(heartbeat) => {
                    self.shared
                        .fleet
                        .heard(&self.client, &heartbeat, &self.quic);
                }
                Command::Unable {
                    lane,
                    ranges,
                    reason,
                } => {
                    self.note_absent(lane, ranges, reason);
                }
                Command::Clone { parent, children } => {
                    self.shared.fleet.cloned(&self.client);
                    tracing::error!(
                        edge = %self.client.certificate.edge, %parent, ?children,
                        "Two epochs continue one: a disk was cloned or a backup restored. The data of both are kept"
                    );
                }
                Command::Close { reason } => {
                    self.shared.fleet.refused(&reason);
                    tracing::warn!(%reason, "Connection closed: the edge breaks the protocol");
                }
            }
        }
        self.shared
            .fleet
            .session(&self.client, self.session.counters());
        Ok(())
    }

    async fn append(
        &self,
        block: efd_shared_model::SealedBlock,
        class: Class,
    ) -> Result<(), LogError> {
        let class = match class {
            Class::Live => LogClass::Live,
            Class::Fill => LogClass::Fill,
        };
        let partition = Partition {
            site: self.client.certificate.site.clone(),
            shard: block.id().lane.lane.shard,
            class,
        };
        #[cfg(feature = "sabotage")]
        if self.shared.sabotage.swallow && crate::sabotage::swallows(&block) {
            let (lane, number) = (block.id().lane, block.id().number);
            crate::sabotage::say_durable(&self.replies, lane, number).await;
            return Ok(());
        }
        #[cfg(feature = "sabotage")]
        if self.shared.sabotage.ack_early {
            let (lane, number) = (block.id().lane, block.id().number);
            crate::sabotage::say_durable(&self.replies, lane, number).await;
            // The log gets it when it is too late.
            let (reply, _nobody) = mpsc::channel(1);
            let appender = self.shared.appender.clone();
            let delay = self.shared.sabotage.append_delay;
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                appender
                    .send(Request::Append {
                        partition,
                        block,
                        reply,
                    })
                    .await
            });
            return Ok(());
        }
        let reply = self.replies.clone();
        self.shared
            .appender
            .send(Request::Append {
                partition,
                block,
                reply,
            })
            .await
    }

    /// Reads of the log block; the answer comes back as an event.
    fn look_up(&self, epochs: Vec<EpochId>, lanes: Vec<EpochLane>) {
        let (log, known, edge) = (
            Arc::clone(&self.shared.log),
            self.known.clone(),
            self.client.certificate.edge,
        );
        tokio::task::spawn_blocking(move || {
            let result = known_of(&*log, edge, &epochs, &lanes).unwrap_or_else(|error| {
                // Nothing known: everything is sent again, and dropped as known by its number.
                tracing::error!(%error, "Look up what the log has");
                Known::default()
            });
            if known.blocking_send(result).is_err() {
                tracing::debug!("The connection that asked is gone");
            }
        });
    }
}

/// What the connection owes to damage of the log.
impl Connection {
    fn look_up_lost(&self) {
        let (log, lost, edge) = (
            Arc::clone(&self.shared.log),
            self.lost.clone(),
            self.client.certificate.edge,
        );
        tokio::task::spawn_blocking(move || {
            let found = log.lost(edge).unwrap_or_else(|error| {
                tracing::error!(%error, "Look up what the log has lost; asked for in the next session");
                Lost::new()
            });
            if !found.is_empty() && lost.blocking_send(found).is_err() {
                tracing::debug!("The connection that asked is gone");
            }
        });
    }

    fn note_absent(&self, lane: EpochLane, ranges: RangeSet, reason: UnableReason) {
        match self.client.role {
            ClientRole::Edge => {}
            // Its copy may be old or a part: what it has not, the edge may still have.
            ClientRole::Rescue => return,
        }
        let log = Arc::clone(&self.shared.log);
        tokio::task::spawn_blocking(move || match log.set_absent(lane, &ranges) {
            Ok(absent) if absent.is_empty() => {}
            Ok(absent) => tracing::error!(
                %lane, numbers = %absent, ?reason,
                "Blocks that the log lost are not at the edge either; a consumer that had not taken them will not"
            ),
            Err(error) => {
                tracing::error!(%error, %lane, numbers = %ranges, "Note what the edge has not either")
            }
        });
    }
}

fn known_of(
    log: &dyn BlockLog,
    edge: efd_shared_model::EdgeId,
    epochs: &[EpochId],
    lanes: &[EpochLane],
) -> Result<Known, LogError> {
    let received = lanes
        .iter()
        .map(|lane| Ok((LaneKey::from(*lane), log.received(*lane)?)));
    let streams = epochs
        .iter()
        .map(|epoch| Ok((*epoch, log.streams_through(*epoch)?)));
    let of_this_edge = log.epochs()?.into_iter().filter(|epoch| epoch.edge == edge);
    Ok(Known {
        received: received.collect::<Result<BTreeMap<_, _>, LogError>>()?,
        streams: streams.collect::<Result<BTreeMap<_, _>, LogError>>()?,
        epochs: of_this_edge.collect(),
    })
}

/// Each uni stream holds one block. Digests are checked here, off the session's path.
async fn read_blocks(
    quic: quinn::Connection,
    blocks: mpsc::Sender<Result<ReceivedBlock, efd_shared_wire::BlockStreamError>>,
) {
    while let Ok(mut stream) = quic.accept_uni().await {
        let blocks = blocks.clone();
        tokio::spawn(async move {
            // A stream that ends early belongs to a connection that does: the block comes again.
            let received = match stream.read_to_end(BLOCK_STREAM_BYTES_MAX).await {
                Ok(bytes) => ReceivedBlock::check(bytes.into()),
                Err(quinn::ReadToEndError::TooLong) => {
                    Err(efd_shared_wire::BlockStreamError::TooLarge {
                        bytes: BLOCK_STREAM_BYTES_MAX + 1,
                    })
                }
                Err(quinn::ReadToEndError::Read(_)) => return,
            };
            if blocks.send(received).await.is_err() {
                tracing::debug!("A block came after the end of its session");
            }
        });
    }
}

async fn write_frames(mut send: quinn::SendStream, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = send.write_all(&frame).await {
            tracing::debug!(%error, "Control stream ended");
            return;
        }
    }
    if send.finish().is_ok() {
        // Gives the edge the time to read it.
        if let Err(error) = send.stopped().await {
            tracing::debug!(%error, "Control stream ended");
        }
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
