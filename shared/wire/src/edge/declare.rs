//! Says what epochs and streams are, ahead of the blocks that use them.

use std::collections::{BTreeMap, BTreeSet};

use efd_shared_model::bytes::Writer;
use efd_shared_model::{
    BlockNumber, EpochDeclaration, EpochId, Fingerprint, RangeSet, Schema, StreamDeclaration,
    StreamNumber,
};

use super::Command;
use super::ship::{EpochShip, Ordinal, Ship};
use crate::frame::{Declare, HelloLane, LaneKey, Welcome};
use crate::limits::{
    DECLARE_BYTES_TARGET, DECLARE_STREAMS_MAX, EPOCHS_MAX, HELLO_EPOCHS_BYTES_MAX, LANES_MAX,
};
use crate::moment::Moment;
use crate::violation::Violation;

/// Of one connection.
#[derive(Debug, Default)]
pub(super) struct Declaring {
    /// Epochs whose hello or [`Epoch`](crate::EdgeFrame::Epoch) went out on this connection.
    hello: BTreeSet<Ordinal>,
    /// Announced, with streams that have not been sent.
    due: BTreeSet<Ordinal>,
    /// What the shell is reading. One at a time: a declaration is memory until it is sent.
    reading: Option<Ordinal>,
    schemas_sent: BTreeSet<Fingerprint>,
}

impl Declaring {
    pub(super) fn forget(&mut self, ordinal: Ordinal) {
        self.due.remove(&ordinal);
        self.hello.remove(&ordinal);
        if self.reading == Some(ordinal) {
            self.reading = None;
        }
    }
}

/// What a welcome changes in a lane's acknowledgements.
#[derive(Debug)]
pub(super) struct Reckoning {
    pub(super) key: LaneKey,
    pub(super) news: RangeSet,
    pub(super) withdrawn: RangeSet,
}

impl Ship {
    /// As many epochs as a hello takes: those with something to send first, the newest first.
    pub(super) fn hello(&mut self) -> (Vec<EpochDeclaration>, Vec<HelloLane>) {
        let has_backlog = |epoch: &EpochShip| epoch.lanes.values().any(|l| l.unacked().0 > 0);
        let mut order: Vec<_> = self
            .epochs
            .iter()
            .map(|(&ordinal, epoch)| (has_backlog(epoch), ordinal))
            .collect();
        order.sort();
        let (mut epochs, mut lanes, mut bytes) = (Vec::new(), Vec::new(), 0);
        self.declaring = Declaring::default();
        for (_, ordinal) in order.into_iter().rev() {
            let Some(epoch) = self.epochs.get(&ordinal) else {
                continue;
            };
            let mut out = Writer::new();
            epoch.declaration.write(&mut out);
            bytes += out.len();
            if epochs.len() == EPOCHS_MAX
                || bytes > HELLO_EPOCHS_BYTES_MAX
                || lanes.len() + epoch.lanes.len() > LANES_MAX
            {
                break;
            }
            epochs.push(epoch.declaration.clone());
            lanes.extend(epoch.lanes.iter().map(|(&lane, ship)| HelloLane {
                key: LaneKey {
                    epoch: epoch.declaration.epoch,
                    lane,
                },
                head: BlockNumber(ship.head),
                floor: BlockNumber(ship.floor()),
            }));
            self.declaring.hello.insert(ordinal);
        }
        (epochs, lanes)
    }

    /// Returns what changed in the acknowledgements, and the epochs that the hello had no room for.
    pub(super) fn on_welcome(
        &mut self,
        welcome: &Welcome,
        now: Moment,
    ) -> (Vec<Reckoning>, Vec<EpochDeclaration>) {
        self.on_window(welcome.window_bytes);
        self.on_credit(welcome.credit_bytes);
        let received: BTreeMap<_, _> = welcome
            .received
            .iter()
            .map(|(key, set)| (*key, set))
            .collect();
        let streams: BTreeMap<_, _> = welcome.streams.iter().copied().collect();
        let (mut reckonings, mut late) = (Vec::new(), Vec::new());
        let (none, live_for) = (RangeSet::new(), self.live_for);
        for (&ordinal, epoch) in &mut self.epochs {
            let id = epoch.declaration.epoch;
            let in_hello = self.declaring.hello.contains(&ordinal);
            let known = streams.get(&id).filter(|_| in_hello);
            let known = known.map_or(StreamNumber(0), |n| *n.min(&epoch.streams_through));
            epoch.known = known;
            epoch.sent = known;
            for (&lane, ship) in &mut epoch.lanes {
                let key = LaneKey { epoch: id, lane };
                // Of an epoch that the hello did not name, what was acknowledged stays so.
                let kept = ship.acked().clone();
                let received = if in_hello {
                    received.get(&key).copied().unwrap_or(&none)
                } else {
                    &kept
                };
                ship.expire(now, live_for, StreamNumber(0));
                let (news, withdrawn) = ship.on_welcome(received, known, epoch.streams_through);
                reckonings.push(Reckoning {
                    key,
                    news,
                    withdrawn,
                });
            }
            if !in_hello {
                late.push(ordinal);
            }
        }
        let room = EPOCHS_MAX - self.declaring.hello.len().min(EPOCHS_MAX);
        late.reverse();
        late.truncate(room);
        let announced: Vec<_> = self.declaring.hello.iter().chain(&late).copied().collect();
        for &ordinal in &announced {
            self.announce(ordinal);
        }
        let late = late.iter().filter_map(|ordinal| self.epochs.get(ordinal));
        let late = late.map(|epoch| epoch.declaration.clone()).collect();
        (reckonings, late)
    }

    /// The centre knows of the epoch: its blocks and streams may go.
    pub(super) fn announce(&mut self, ordinal: Ordinal) {
        if let Some(epoch) = self.epochs.get_mut(&ordinal) {
            epoch.announced = true;
        }
        self.declaring.hello.insert(ordinal);
        self.declare_if_due(ordinal);
        self.index_epoch(ordinal);
    }

    pub(super) fn declare_if_due(&mut self, ordinal: Ordinal) {
        let is_due = |epoch: &EpochShip| epoch.announced && epoch.sent < epoch.streams_through;
        if self.epochs.get(&ordinal).is_some_and(is_due) {
            self.declaring.due.insert(ordinal);
        }
    }

    /// The newest epoch first: the present waits for it.
    pub(super) fn next_read(&mut self) -> Option<Command> {
        if self.declaring.reading.is_some() {
            return None;
        }
        let ordinal = *self.declaring.due.last()?;
        let epoch = self.epochs.get(&ordinal)?;
        let first = epoch.sent.next();
        let last = epoch.sent.0.saturating_add(DECLARE_STREAMS_MAX as u32);
        self.declaring.reading = Some(ordinal);
        Some(Command::ReadStreams {
            epoch: epoch.declaration.epoch,
            first,
            through: StreamNumber(last).min(epoch.streams_through),
        })
    }

    /// Makes frames of what was read, each schema's text once a connection. Where nothing was read, nothing is asked
    /// for until a block needs it or a connection begins.
    pub(super) fn on_streams_read(
        &mut self,
        id: EpochId,
        streams: Vec<(StreamDeclaration, Schema)>,
    ) -> Vec<Declare> {
        let Some(&ordinal) = self.by_id.get(&id) else {
            return Vec::new();
        };
        if self.declaring.reading != Some(ordinal) {
            return Vec::new();
        }
        self.declaring.reading = None;
        self.declaring.due.remove(&ordinal);
        let Some(epoch) = self.epochs.get_mut(&ordinal) else {
            return Vec::new();
        };
        let mut frames = Vec::new();
        let mut batch = Batch::new(id);
        for (stream, schema) in streams {
            let in_order =
                stream.number == epoch.sent.next() && stream.number <= epoch.streams_through;
            debug_assert!(in_order && stream.schema == schema.fingerprint());
            if !in_order {
                break;
            }
            epoch.sent = stream.number;
            let text_is_due = self.declaring.schemas_sent.insert(stream.schema);
            batch.add(stream, text_is_due.then_some(schema));
            if batch.is_full() {
                frames.push(std::mem::replace(&mut batch, Batch::new(id)).declare);
            }
        }
        if !batch.declare.streams.is_empty() {
            frames.push(batch.declare);
        }
        if !frames.is_empty() {
            self.declare_if_due(ordinal);
        }
        frames
    }

    pub(super) fn on_declare_ack(
        &mut self,
        id: EpochId,
        through: StreamNumber,
    ) -> Result<(), Violation> {
        let Some(&ordinal) = self.by_id.get(&id) else {
            return Ok(());
        };
        let Some(epoch) = self.epochs.get_mut(&ordinal) else {
            return Ok(());
        };
        if epoch.sent < through {
            return Err(Violation::StreamAckBeyondSent {
                epoch: id,
                acked: through,
                sent: epoch.sent,
            });
        }
        epoch.known = epoch.known.max(through);
        for ship in epoch.lanes.values_mut() {
            ship.release(epoch.known);
        }
        self.index_epoch(ordinal);
        Ok(())
    }
}

#[derive(Debug)]
struct Batch {
    declare: Declare,
    bytes: usize,
}

impl Batch {
    fn new(epoch: EpochId) -> Self {
        Self {
            declare: Declare {
                epoch,
                streams: Vec::new(),
                schemas: Vec::new(),
            },
            bytes: 0,
        }
    }

    fn add(&mut self, stream: StreamDeclaration, schema: Option<Schema>) {
        /// Number, kind, fingerprint, lengths.
        const STREAM_BYTES: usize = 64;
        self.bytes += STREAM_BYTES + stream.topic.len() + stream.dds_topic.len();
        self.bytes += stream.dds_type.len() + schema.as_ref().map_or(0, |s| s.text().len());
        self.declare.streams.push(stream);
        self.declare.schemas.extend(schema);
    }

    fn is_full(&self) -> bool {
        self.bytes >= DECLARE_BYTES_TARGET || self.declare.streams.len() == DECLARE_STREAMS_MAX
    }
}
