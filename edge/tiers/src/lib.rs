//! Makes the tiers of an edge's buffer.
//!
//! In:  durable telemetry, block by block, as [`efd_shared_store::Reader`] gives it. Out: files of windows, in
//! `tiers/<resolution>` of the buffer's folder ([`efd_shared_tiers`]), a moving span of time each.
//!
//! The way: [`engine`] reads blocks → [`open`] holds the samples of windows that are not closed → [`folder`] puts closed
//! windows into files → [`coarse`] makes coarser windows out of those → [`state`] notes how far it came.
//!
//! Absent: clocks, threads, the bus. Nothing here writes to the buffer's segments, and nothing of the buffer waits for this.
//!
//! The rules:
//! - A window is closed when its `resolution` and a grace have passed since its first sample was committed, by the clock of
//!   the blocks: whatever the samples' own clocks say, a window is given the time that it takes.
//! - A sample for a window that is closed is late: the window is computed anew from the buffer's blocks. Where those are
//!   gone, the late samples are merged into what is there, and the quartiles, which need all samples, are given up.
//! - A coarser window is merged from the finer ones, and again whenever one of those changes.
//! - After a crash it goes on with the first block of the oldest open window. What was committed is computed again and is
//!   the same.

pub mod coarse;
pub mod engine;
pub mod folder;
pub mod open;
pub mod reduce;
pub mod settings;
pub mod state;
mod streams;

pub use engine::{Counters, Engine, TierError};
pub use settings::{SettingsError, TierSettings};
