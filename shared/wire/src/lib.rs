//! What edge and centre say to each other: frames, limits, and the two session state machines. `WIRE.md` beside this
//! crate's manifest has the protocol and its bytes.
//!
//! In:  what the shell at either end saw happen (connected, a frame came, a block is durable, time passed).
//! Out: commands for the shell (send this frame, send that block, persist these acks), and the next deadline.
//!
//! Invariants:
//! * A block is sent only after the edge's shell reported it durable, and after the centre said that the streams it
//!   uses are declared.
//! * A block is acknowledged only after the centre's shell reported it durable in the log.
//! * Hostile bytes and frames end a session with a typed error; they never panic and never allocate past [`limits`].
//!
//! Absent: tokio, quinn, clocks, files, randomness that is not seeded. Time is a [`Moment`] that comes in as an argument.

pub mod centre;
pub mod codec;
pub mod edge;
pub mod frame;
pub mod limits;
pub mod stream;

mod clone;
mod moment;
mod v1;
mod violation;

pub use centre::{CentreConfig, CentreSession};
pub use clone::siblings;
pub use codec::{FrameBuffer, WireError, WireVersion};
pub use edge::{EdgeConfig, EdgeSession};
pub use frame::{CentreFrame, EdgeFrame, LaneKey};
pub use moment::Moment;
pub use stream::{BlockStreamError, Class, ReceivedBlock};
pub use violation::Violation;
