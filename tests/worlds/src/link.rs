//! A connection between one edge's process and the centre: a control stream in order, block streams in any, both until
//! it is cut.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use efd_shared_model::BlockId;
use efd_shared_wire::edge::Attempt;
use efd_shared_wire::{FrameBuffer, Moment, WireVersion};

/// Names a connection for the life of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u64);

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) edge: usize,
    /// The edge's process at that end.
    pub(crate) life: u64,
    pub(crate) attempt: Attempt,
    /// One way.
    pub(crate) latency: Duration,
    /// Bytes per second, for blocks.
    pub(crate) rate: u64,
    /// Whether anything still arrives there.
    pub(crate) carries_up: bool,
    pub(crate) carries_down: bool,
    pub(crate) edge_is_open: bool,
    pub(crate) centre_is_open: bool,
    /// Nothing on a control stream overtakes.
    pub(crate) up_at: Moment,
    pub(crate) down_at: Moment,
    pub(crate) up: FrameBuffer,
    pub(crate) down: FrameBuffer,
    pub(crate) up_version: WireVersion,
    pub(crate) down_version: WireVersion,
    /// Blocks that the edge's transport holds, the highest priority first.
    pub(crate) queue: BTreeMap<(Reverse<i32>, u64), Bytes>,
    pub(crate) queued: u64,
    pub(crate) is_busy: bool,
    /// Blocks sent and not wanted again since.
    pub(crate) sent: BTreeSet<BlockId>,
}
