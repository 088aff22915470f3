//! The centre's half of a session, one per connection: takes what the certificate's owner may send, and acknowledges what
//! is durable.
//!
//! In:  frames, checked blocks, and what the shell reports of the log, as `handle_*`. Out: [`Command`]s by
//! [`CentreSession::poll_command`], the next deadline by [`CentreSession::poll_timeout`].
//!
//! Two sessions of one edge may overlap (the old connection is dead and does not know it yet): each acknowledges only
//! what its own shell calls reported durable, so both are right, and a block that came by both is in the log twice.

mod blocks;
mod greet;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use efd_shared_model::{
    EdgeId, EpochDeclaration, EpochId, EpochLane, Fingerprint, RangeSet, Schema, SealedBlock, Site,
    StreamDeclaration, StreamNumber,
};

use crate::codec::WireVersion;
use crate::frame::{CentreFrame, EdgeHeartbeat, Hello, LaneKey, UnableReason};
use crate::moment::Moment;
use crate::stream::Class;
use crate::violation::Violation;

#[derive(Clone, Debug)]
pub struct CentreConfig {
    /// Bytes of blocks that may be on their way or waiting for the log, per session.
    pub window_bytes: u64,
    /// How long a durable block waits for others to be acknowledged with it.
    pub ack_within: Duration,
    /// How many blocks do not wait any longer.
    pub ack_blocks_max: u64,
    pub hello_within: Duration,
    /// What an edge that has other centres to go to hears of this one while nothing happens.
    pub heartbeat_every: Duration,
    /// An edge that says nothing for so long is gone. Several times its heartbeat.
    pub silence_max: Duration,
}

impl Default for CentreConfig {
    fn default() -> Self {
        Self {
            window_bytes: 64 << 20,
            ack_within: Duration::from_millis(10),
            ack_blocks_max: 256,
            hello_within: Duration::from_secs(10),
            heartbeat_every: Duration::from_millis(500),
            silence_max: Duration::from_secs(10),
        }
    }
}

/// What the client's certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub site: Site,
    pub edge: EdgeId,
}

/// What the log has of what a hello named.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Durable block numbers, retention of the log or not.
    pub received: BTreeMap<LaneKey, RangeSet>,
    /// Streams 1 to n are durable.
    pub streams: BTreeMap<EpochId, StreamNumber>,
    /// All epochs of this edge, for finding clones.
    pub epochs: Vec<EpochDeclaration>,
}

/// What the shell is to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// On the control stream. [`CentreFrame::encode`] in [`CentreSession::version`] has the bytes.
    SendFrame(CentreFrame),
    /// Look up what the log has of these and report [`CentreSession::handle_known`].
    Lookup {
        epochs: Vec<EpochId>,
        lanes: Vec<EpochLane>,
    },
    /// Make durable, schemas and epoch included, then report [`CentreSession::handle_declared`]; where the log refuses
    /// them for good, [`CentreSession::handle_declare_refused`].
    Declare {
        epoch: EpochDeclaration,
        streams: Vec<StreamDeclaration>,
        schemas: Vec<Schema>,
    },
    /// Make durable, then report [`CentreSession::handle_appended`]; where the log refuses it for good,
    /// [`CentreSession::handle_append_refused`].
    Append { block: SealedBlock, class: Class },
    /// For the ledger and metrics.
    Heartbeat(EdgeHeartbeat),
    /// The edge does not have what was wanted. For the ledger.
    Unable {
        lane: EpochLane,
        ranges: RangeSet,
        reason: UnableReason,
    },
    /// A cloned disk or a restored backup: a human must come. Both children's data are kept.
    Clone {
        parent: EpochId,
        children: Vec<EpochId>,
    },
    /// After all frames so far have gone out. The machine has done with the connection.
    Close { reason: Violation },
}

/// Monotonic, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CentreCounters {
    pub blocks_live: u64,
    pub blocks_fill: u64,
    pub block_bytes: u64,
    /// Received again; acknowledged, not appended.
    pub blocks_duplicate: u64,
    pub blocks_acked: u64,
    /// Asked for (again): the log lost them, or a consumer needs them.
    pub blocks_wanted: u64,
    pub violations: u64,
}

#[derive(Debug)]
enum State {
    /// Connected; nothing is known of the peer but its certificate.
    Greeting {
        give_up_at: Moment,
    },
    /// The hello was right; the shell looks up what the log has.
    Looking {
        hello: Hello,
    },
    Streaming(Streaming),
    /// Whatever comes is ignored.
    Closed,
}

#[derive(Debug)]
struct Streaming {
    version: WireVersion,
    heard_at: Moment,
    heartbeat_at: Moment,
    epochs: BTreeMap<EpochId, EpochIn>,
    /// Of this edge, from before this session: for finding clones.
    elder_epochs: Vec<EpochDeclaration>,
    lanes: BTreeMap<LaneKey, LaneIn>,
    /// Fingerprints of texts that came in this session.
    schemas: BTreeSet<Fingerprint>,
    /// Lanes with something in `unsent_acks`, and how many blocks that is.
    acks_due: BTreeSet<LaneKey>,
    ack_blocks: u64,
    ack_at: Option<Moment>,
    /// `done_bytes <= received_bytes`; `received_bytes` passes `granted_bytes` by the blocks of unknown size at most.
    received_bytes: u64,
    /// Appended, or a duplicate.
    done_bytes: u64,
    granted_bytes: u64,
}

#[derive(Debug)]
struct EpochIn {
    declaration: EpochDeclaration,
    /// Streams 1 to n are durable. `declared <= handed_on`.
    declared: StreamNumber,
    /// Streams 1 to n were given to the shell, or were durable before.
    handed_on: StreamNumber,
}

#[derive(Debug, Default)]
struct LaneIn {
    /// Durable in the log.
    received: RangeSet,
    /// Asked for in this session and not durable since; what the edge answered that it has not stays here.
    wanted: RangeSet,
    /// Given to the shell and not reported durable; with its bytes.
    appending: BTreeMap<u64, u64>,
    unsent_acks: RangeSet,
}

/// One connection of an edge.
#[derive(Debug)]
pub struct CentreSession {
    config: CentreConfig,
    certificate: Certificate,
    state: State,
    /// Bytes that the log takes beyond what it was handed.
    log_room_bytes: u64,
    /// Bounded by what comes in: the shell polls it empty after every `handle_*`.
    outbox: VecDeque<Command>,
    counters: CentreCounters,
}

fn check_count(what: &'static str, count: usize, max: usize) -> Result<(), Violation> {
    if count <= max {
        Ok(())
    } else {
        Err(Violation::TooMany { what, count, max })
    }
}
