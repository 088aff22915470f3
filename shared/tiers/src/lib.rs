//! The tiers of an edge's buffer: statistics of windows, far smaller than the records they were made of.
//!
//! In:  summaries of the channels of a series, window by window. Out: the same, by series, channel, statistic and span.
//!
//! A *series* is one topic of one instance, with one schema and one shape. A *channel* is one number of it: a field, or
//! an element of an array. `TIERS.md` beside this crate's manifest has the files.
//!
//! Absent: clocks, threads, blocks; when a window closes is the edge's affair, and so is where it goes on after a crash.
//!
//! Invariants:
//! - A window is committed as a whole, or not at all; the one committed last is the one that is read.
//! - Every value read has passed a checksum that covers where it was found.
//! - Memory is bounded by the windows of one series in one file.

mod channels;
mod collect;
mod column;
mod file;
mod piece;
mod settle;
mod statistic;
mod verify;

pub use channels::{CHANNELS_MAX, Channel, Measured, Row, Shape, is_measured};
pub use collect::Samples;
pub use file::{
    Found, Known, Note, Run, Series, SeriesKey, Span, Steady, TOPIC_BYTES_MAX, TierFile, TierReader,
};
pub use piece::PieceError;
pub use settle::settle;
pub use statistic::{Statistic, Statistics};
pub use verify::verify;
