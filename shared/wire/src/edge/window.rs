//! What may be in the air: our limit, the centre's credit, and what the transport holds.

use efd_shared_model::BlockId;

use crate::limits::{STREAMS_AT_ONCE_MAX, UNSIZED_BLOCKS_MAX};
use crate::stream::Class;

/// Streams that back-fill has open at most: of what centres allow, a quarter is left to what comes live.
const FILL_STREAMS_MAX: usize = STREAMS_AT_ONCE_MAX / 4 * 3;
/// Handed over ahead of what the network takes, so that it never waits for us.
const PATH_AHEAD_BYTES: u64 = 2 << 20;

/// `sent_bytes` may pass `credit_bytes` by the blocks of unknown size.
#[derive(Debug)]
pub(super) struct Window {
    /// Our own limit.
    pub(super) bytes_max: u64,
    pub(super) in_flight_bytes: u64,
    /// On this connection: granted in total, sent in total.
    pub(super) credit_bytes: u64,
    pub(super) sent_bytes: u64,
    /// What the centre is ready to have in the air.
    pub(super) credit_window_bytes: u64,
    /// Handed to the shell, size not yet told; at most [`UNSIZED_BLOCKS_MAX`].
    pub(super) unsized_blocks: Vec<Unsized>,
    pub(super) path: Path,
}

/// What was handed to the transport and has not arrived: on the network, and waiting to be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Path {
    pub(super) bytes: u64,
    pub(super) blocks: usize,
    /// What the network holds, where the shell has told.
    pub(super) holds_bytes: Option<u64>,
}

impl Path {
    /// More would only wait, in memory and in front of what is yet to come live.
    pub(super) fn takes_fill(&self) -> bool {
        let Some(holds_bytes) = self.holds_bytes else {
            return true;
        };
        let ahead = (holds_bytes / 2).max(PATH_AHEAD_BYTES);
        self.bytes < holds_bytes.saturating_add(ahead) && self.blocks < FILL_STREAMS_MAX
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Unsized {
    pub(super) id: BlockId,
    pub(super) class: Class,
    pub(super) charged_bytes: u64,
}

impl Window {
    pub(super) fn is_open(&self) -> bool {
        self.unsized_blocks.len() < UNSIZED_BLOCKS_MAX
            && self.in_flight_bytes < self.bytes_max
            && self.sent_bytes < self.credit_bytes
    }

    /// Back-fill leaves a quarter to what is yet to come live, which must not wait for acknowledgements of the past.
    pub(super) fn is_open_for_fill(&self) -> bool {
        let credit_left = self.credit_bytes.saturating_sub(self.sent_bytes);
        let reserved = self.in_flight_bytes < self.bytes_max / 4 * 3
            && self.credit_window_bytes / 4 < credit_left;
        reserved && self.path.takes_fill() || self.in_flight_bytes == 0
    }
}
