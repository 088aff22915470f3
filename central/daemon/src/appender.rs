//! The one thread that appends to the log: blocks of all edges that wait together share one durable append.
//!
//! In:  [`Request`]s of the connections, bounded by their credit. Out: to each connection, what became durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use efd_central_log::{BlockLog, LogError, Partition};
use efd_shared_daemon::queues::Fill;
use efd_shared_daemon::shutdown::Stop;
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{
    BlockNumber, EpochDeclaration, EpochId, Schema, SealedBlock, StreamDeclaration, StreamNumber,
};
use tokio::sync::{mpsc, watch};

/// Requests that wait at most; their bytes are bounded by the sessions' credit.
const QUEUE_MAX: usize = 8192;
/// One append takes about so much.
const APPEND_BYTES_MAX: usize = 16 << 20;
/// What each session may have on its way while the log takes blocks.
pub(crate) const ROOM_BYTES: u64 = 64 << 20;
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) enum Request {
    Append {
        partition: Partition,
        block: SealedBlock,
        reply: mpsc::Sender<Durable>,
    },
    Declare {
        epoch: EpochDeclaration,
        streams: Vec<StreamDeclaration>,
        schemas: Vec<Schema>,
        reply: mpsc::Sender<Durable>,
    },
}

/// What a connection is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    Appended {
        lane: EpochLane,
        number: BlockNumber,
    },
    /// The log will never take it as it came.
    Refused {
        lane: EpochLane,
        number: BlockNumber,
        reason: String,
    },
    Declared {
        epoch: EpochId,
        through: StreamNumber,
    },
    DeclareRefused {
        epoch: EpochId,
        reason: String,
    },
}

#[derive(Debug, Default)]
pub(crate) struct AppenderCounters {
    pub(crate) blocks: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) appends: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// Blocks and declarations that the log will never take.
    pub(crate) refused: AtomicU64,
}

/// The connections' end.
#[derive(Clone, Debug)]
pub(crate) struct Appender {
    requests: mpsc::Sender<Request>,
    room: watch::Receiver<u64>,
    counters: Arc<AppenderCounters>,
}

impl Appender {
    pub(crate) fn start(log: Arc<dyn BlockLog>, stop: Stop) -> std::io::Result<Self> {
        let (requests, incoming) = mpsc::channel(QUEUE_MAX);
        let (room_in, room) = watch::channel(ROOM_BYTES);
        let counters = Arc::new(AppenderCounters::default());
        let thread = Thread {
            log,
            incoming,
            room: room_in,
            counters: Arc::clone(&counters),
            stop,
        };
        std::thread::Builder::new()
            .name("append".into())
            .spawn(move || thread.run())?;
        Ok(Self {
            requests,
            room,
            counters,
        })
    }

    pub(crate) async fn send(&self, request: Request) -> Result<(), LogError> {
        self.requests
            .send(request)
            .await
            .map_err(|_| LogError::Closed)
    }

    /// Bytes that the log takes; 0 while it is down.
    pub(crate) fn room(&self) -> watch::Receiver<u64> {
        self.room.clone()
    }

    /// Requests that wait.
    pub(crate) fn fill(&self) -> Fill {
        let waiting = self.requests.max_capacity() - self.requests.capacity();
        Fill::new(waiting as u64, QUEUE_MAX as u64)
    }

    pub(crate) fn counters(&self) -> &AppenderCounters {
        &self.counters
    }
}

struct Thread {
    log: Arc<dyn BlockLog>,
    incoming: mpsc::Receiver<Request>,
    room: watch::Sender<u64>,
    counters: Arc<AppenderCounters>,
    stop: Stop,
}

type Waiting = (EpochLane, BlockNumber, mpsc::Sender<Durable>);

impl Thread {
    fn run(mut self) {
        let _running = self.stop.register("append");
        while let Some(first) = self.incoming.blocking_recv() {
            let (mut blocks, mut waiting, mut bytes) = (Vec::new(), Vec::new(), 0usize);
            let mut next = Some(first);
            while let Some(request) = next {
                match request {
                    Request::Append {
                        partition,
                        block,
                        reply,
                    } => {
                        bytes += block.bytes().len();
                        waiting.push((block.id().lane, block.id().number, reply));
                        blocks.push((partition, block));
                    }
                    Request::Declare {
                        epoch,
                        streams,
                        schemas,
                        reply,
                    } => {
                        self.declare(&epoch, &streams, &schemas, &reply);
                    }
                }
                next = if bytes < APPEND_BYTES_MAX {
                    self.incoming.try_recv().ok()
                } else {
                    None
                };
            }
            if !blocks.is_empty() && !self.append(&blocks, &waiting) {
                return;
            }
        }
    }

    /// `false` when we are to stop and the log still takes nothing: the edges keep what was not acknowledged.
    fn append(&self, blocks: &[(Partition, SealedBlock)], waiting: &[Waiting]) -> bool {
        while let Err(error) = self.log.append(blocks) {
            match (blocks, waiting) {
                ([_], [(lane, number, reply)]) if error.is_refusal() => {
                    self.refuse(&error, &lane.block(*number));
                    let (lane, number, reason) = (*lane, *number, error.to_string());
                    tell(
                        reply,
                        Durable::Refused {
                            lane,
                            number,
                            reason,
                        },
                    );
                    return true;
                }
                // One of them is not fit for the log: the others must not suffer.
                _ if error.is_refusal() => {
                    let mut each = blocks.chunks(1).zip(waiting.chunks(1));
                    return each.all(|(block, waiting)| self.append(block, waiting));
                }
                _ => {
                    self.down(&error);
                    if self.stop.wait_timeout(RETRY_AFTER) {
                        return false;
                    }
                }
            }
        }
        self.up();
        let bytes: usize = blocks.iter().map(|(_, block)| block.bytes().len()).sum();
        let _appends = self.counters.appends.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "sabotage")]
        crate::sabotage::appended(_appends);
        self.counters
            .blocks
            .fetch_add(blocks.len() as u64, Ordering::Relaxed);
        self.counters
            .bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        for (lane, number, reply) in waiting {
            tell(
                reply,
                Durable::Appended {
                    lane: *lane,
                    number: *number,
                },
            );
        }
        true
    }

    fn refuse(&self, error: &LogError, what: &dyn std::fmt::Display) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%error, %what, "Refused by the log; the session with its edge ends");
    }

    fn declare(
        &self,
        epoch: &EpochDeclaration,
        streams: &[StreamDeclaration],
        schemas: &[Schema],
        reply: &mpsc::Sender<Durable>,
    ) {
        while let Err(error) = self.log.declare(epoch, streams, schemas) {
            if error.is_refusal() {
                self.refuse(&error, &epoch.epoch);
                let (epoch, reason) = (epoch.epoch, error.to_string());
                return tell(reply, Durable::DeclareRefused { epoch, reason });
            }
            self.down(&error);
            if self.stop.wait_timeout(RETRY_AFTER) {
                return;
            }
        }
        self.up();
        let through = streams
            .iter()
            .map(|stream| stream.number)
            .max()
            .unwrap_or(StreamNumber(0));
        tell(
            reply,
            Durable::Declared {
                epoch: epoch.epoch,
                through,
            },
        );
    }

    fn down(&self, error: &LogError) {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        self.room.send_replace(0);
        tracing::error!(%error, retry_in = ?RETRY_AFTER, "The log takes nothing; the edges keep their data");
    }

    fn up(&self) {
        self.room
            .send_if_modified(|room| std::mem::replace(room, ROOM_BYTES) != ROOM_BYTES);
    }
}

/// A connection that is gone asks again in its next session.
fn tell(reply: &mpsc::Sender<Durable>, durable: Durable) {
    if let Err(error) = reply.blocking_send(durable) {
        tracing::debug!(durable = ?error.0, "The connection that sent it is gone");
    }
}

#[cfg(test)]
mod tests;
