//! The edge's half of a session: what is held and not acknowledged goes out, the present before the past.
//!
//! In:  what the shell saw happen, as `handle_*`. Out: [`Command`]s by [`EdgeSession::poll_command`], and the next
//! deadline by [`EdgeSession::poll_timeout`]. After every `handle_*`, poll commands until there is none, then set one
//! timer.
//!
//! A command to send a block is made when it is polled, never stored: what is decided is what is right at that moment,
//! and the shell's own limits (a stream that cannot be opened) hold back the machine by not polling.

mod backoff;
mod bucket;
mod choice;
mod config;
mod declare;
mod delays;
mod lane;
mod session;
mod shares;
mod ship;
#[cfg(test)]
mod tests;
mod window;

use std::collections::VecDeque;
use std::time::Duration;

use efd_shared_model::{
    BlockId, BlockNumber, ClockState, EpochDeclaration, EpochId, EpochLane, Lane, RangeSet,
    StreamNumber,
};

use crate::codec::WireVersion;
use crate::frame::{EdgeFrame, EdgeHeartbeat, LaneKey, Refuse};
use crate::moment::Moment;
use crate::stream::Class;
use crate::violation::Violation;

use backoff::Backoff;
use choice::Choice;
use ship::Ship;

pub use choice::Centre;
pub use config::{EdgeConfig, FillOrder, Guarantees, GuaranteesError, Patience};
pub use delays::LiveDelays;

/// Counts connections. What the shell reports of an older one is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt(pub u64);

/// An epoch of which the buffer still holds something, or the one being written.
#[derive(Clone, Debug)]
pub struct HeldEpoch {
    pub declaration: EpochDeclaration,
    /// Streams 1 to n are declared in the buffer.
    pub streams_through: StreamNumber,
    pub lanes: Vec<HeldLane>,
}

#[derive(Clone, Debug)]
pub struct HeldLane {
    pub lane: Lane,
    /// The highest number that is durable, removed since or not.
    pub head: BlockNumber,
    /// Durable, neither removed nor damaged.
    pub held: RangeSet,
    /// As persisted. What of it was not persisted yet costs a duplicate, which the centre drops.
    pub acked: RangeSet,
}

/// A block became durable at the edge.
#[derive(Clone, Copy, Debug)]
pub struct Durable {
    pub lane: EpochLane,
    pub number: BlockNumber,
    /// [`BlockHeader::streams_through`](efd_shared_model::BlockHeader::streams_through).
    pub streams_through: StreamNumber,
    /// Of the sealed block.
    pub bytes: u64,
    pub committed_at: Moment,
}

/// What the shell is to do. In order, except that blocks are independent of each other and of frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Then report [`EdgeSession::handle_connected`] or [`EdgeSession::handle_closed`].
    Connect { attempt: Attempt, centre: Centre },
    /// On the control stream. [`EdgeFrame::encode`] in [`EdgeSession::version`] has the bytes.
    SendFrame(EdgeFrame),
    /// [`Vitals::frame`] with what the shell knows, on the control stream.
    SendHeartbeat(Vitals),
    /// Read these declarations from the buffer, with their schemas, and report [`EdgeSession::handle_streams_read`].
    ReadStreams {
        epoch: EpochId,
        first: StreamNumber,
        through: StreamNumber,
    },
    /// Read the block, open a uni stream with that priority, report [`EdgeSession::handle_block_sent`] as soon as its
    /// size is known, and write it: [`Class::header`], then the block's bytes. Where it cannot be read or its digest is
    /// wrong: [`EdgeSession::handle_block_unreadable`].
    SendBlock {
        id: BlockId,
        class: Class,
        /// Higher goes first, below the control stream's [`CONTROL_PRIORITY`].
        priority: i32,
    },
    /// Durable in the central log. Order does not matter, losing it costs a duplicate.
    PersistAcks { lane: EpochLane, ranges: RangeSet },
    /// The centre has them no longer: not to be removed by age.
    PersistUnacks { lane: EpochLane, ranges: RangeSet },
    /// Close the connection, or try no longer to make it. The machine has done with it.
    Disconnect { reason: Disconnect },
}

/// Above every block.
pub const CONTROL_PRIORITY: i32 = 100;

/// Why the edge gave up a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disconnect {
    #[error("no connection after {0:?}")]
    ConnectTimeout(Duration),
    #[error("no welcome after {0:?}")]
    WelcomeTimeout(Duration),
    #[error("the centre refuses: {}", .0.text)]
    Refused(Refuse),
    #[error("the centre breaks the protocol: {0}")]
    Violation(#[from] Violation),
    #[error("stopped")]
    Stopped,
}

/// What the machine knows of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vitals {
    pub heads: Vec<(LaneKey, BlockNumber)>,
    /// Of all lanes.
    pub unacked_blocks: u64,
    /// In the oldest epoch that has any; the first by lane.
    pub oldest_unacked: Option<BlockId>,
}

impl Vitals {
    /// The shell adds its clock, and the age and bytes that only the buffer knows.
    pub fn frame(
        self,
        clock: ClockState,
        oldest_unacked_age: Duration,
        backlog_bytes: u64,
    ) -> EdgeFrame {
        let Self {
            heads,
            unacked_blocks: _,
            oldest_unacked: _,
        } = self;
        EdgeFrame::Heartbeat(EdgeHeartbeat {
            clock,
            heads,
            oldest_unacked_age,
            backlog_bytes,
        })
    }
}

/// Monotonic, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeCounters {
    pub connections: u64,
    pub welcomes: u64,
    pub refusals: u64,
    pub violations: u64,
    pub blocks_live: u64,
    pub blocks_fill: u64,
    /// As read by the shell.
    pub block_bytes: u64,
    pub blocks_acked: u64,
    pub blocks_unreadable: u64,
    /// Un-acknowledged by the centre.
    pub blocks_wanted: u64,
    pub live_delays: LiveDelays,
}

#[derive(Debug)]
enum State {
    /// Before [`EdgeSession::handle_start`], and after [`EdgeSession::handle_stop`].
    Stopped,
    /// No connection. Blocks stay in the buffer.
    Offline { retry_at: Moment },
    /// The shell is at it.
    Connecting {
        attempt: Attempt,
        give_up_at: Moment,
    },
    /// Connected; our hello is out. No block may go before the centre says what it has.
    Greeting {
        attempt: Attempt,
        give_up_at: Moment,
    },
    /// Blocks flow.
    Streaming {
        attempt: Attempt,
        version: WireVersion,
        /// When something of the centre's last came.
        heard_at: Moment,
        heartbeat_at: Moment,
    },
}

/// One edge's session with a centre at a time, over any number of connections. Holds no block, only which there are.
#[derive(Debug)]
pub struct EdgeSession {
    config: EdgeConfig,
    state: State,
    attempts: u64,
    choice: Choice,
    backoff: Backoff,
    ship: Ship,
    /// Bounded by what comes in: the shell polls it empty after every `handle_*`.
    outbox: VecDeque<Command>,
    counters: EdgeCounters,
}
