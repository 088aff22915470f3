//! What is taken from a peer, at most. Every length is checked against these before memory is asked for.

use efd_shared_model::block::PAYLOAD_BYTES_MAX;
use efd_shared_model::schema::SCHEMA_BYTES_MAX;

/// One control frame: kind and body, without its length.
pub const FRAME_BYTES_MAX: usize = 8 << 20;
/// A sealed block: its payload, and generously its prelude and header.
pub const BLOCK_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + (64 << 10) + 64;
/// The largest number of a block that is taken. Stores keep numbers as signed integers.
pub const BLOCK_NUMBER_MAX: u64 = i64::MAX as u64;
/// What the uni stream of one block holds.
pub const BLOCK_STREAM_BYTES_MAX: usize = BLOCK_BYTES_MAX + crate::stream::HEADER_BYTES;

/// Epochs that one session speaks of.
pub const EPOCHS_MAX: usize = 4096;
/// Declarations of epochs in a hello; what does not fit follows the welcome, each in a frame of its own.
pub const HELLO_EPOCHS_BYTES_MAX: usize = 6 << 20;
/// Lanes that a hello or a heartbeat names, over all epochs.
pub const LANES_MAX: usize = 16_384;
/// Ranges in one `Ack`, `Want` or `Unable`; more go in several frames.
pub const RANGES_MAX: usize = 65_536;
/// Ranges in a welcome, over all lanes. A centre that has more tells the rest of no lane: what it does not tell is
/// sent again and dropped.
pub const WELCOME_RANGES_MAX: usize = 262_144;

/// Streams in one `Declare`.
pub const DECLARE_STREAMS_MAX: usize = 1024;
/// Where a `Declare` is closed and the next one begun: bytes before compression.
pub const DECLARE_BYTES_TARGET: usize = 2 << 20;
/// Bytes of a `Declare` before compression.
pub const DECLARE_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// Streams of one epoch.
pub const STREAMS_MAX: u32 = 1 << 20;
/// Different schemas in one session.
pub const SCHEMAS_MAX: usize = 65_536;

pub const REFUSE_CHARS_MAX: usize = 1024;

/// Blocks that an edge may have begun without knowing their size: by so many may it pass the centre's credit.
pub const UNSIZED_BLOCKS_MAX: usize = 4;

/// Blocks of one edge that are on their way to a centre at once, each in a stream of its own.
pub const STREAMS_AT_ONCE_MAX: usize = 2048;

/// Two varints.
const RANGE_BYTES_MAX: usize = 20;
/// Epoch, lane, and two varints.
const LANE_BYTES_MAX: usize = 16 + 3 + RANGE_BYTES_MAX;

const _: () = assert!(
    WELCOME_RANGES_MAX * RANGE_BYTES_MAX + LANES_MAX * LANE_BYTES_MAX + EPOCHS_MAX * 21 + 64
        < FRAME_BYTES_MAX,
    "the largest welcome fits a frame"
);
const _: () = assert!(
    HELLO_EPOCHS_BYTES_MAX + LANES_MAX * LANE_BYTES_MAX + 256 < FRAME_BYTES_MAX,
    "the largest hello fits a frame"
);
const _: () = assert!(RANGES_MAX * RANGE_BYTES_MAX + 64 < FRAME_BYTES_MAX);
const _: () = assert!(
    DECLARE_BYTES_TARGET + SCHEMA_BYTES_MAX + 4096 < DECLARE_BYTES_MAX,
    "the stream that closes a batch still fits"
);
