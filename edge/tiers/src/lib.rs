//! Makes the tiers of an edge's buffer.
//!
//! In:  durable telemetry, block by block, as [`efd_shared_store::Reader`] gives it. Out: files of windows, in
//! `tiers/<resolution>` of the buffer's folder ([`efd_shared_tiers`]), a moving span of time each.
//!
//! The way: [`engine`] reads blocks → [`open`] holds the samples of windows that are not closed → [`folder`] puts closed
//! windows into files → [`coarse`] makes coarser windows out of those → [`state`] notes how far it came. [`plan`] tells which
//! tiers a topic has, and which of them are new.
//!
//! Absent: clocks, threads, the bus. Nothing here writes to the buffer's segments, and nothing of the buffer waits for this.
//!
//! The rules (`shared/tiers/TIERS.md` has them at length):
//! - The tiers of a topic are a chain: the first is made of samples, each other of the one before it.
//! - A window is closed when its `resolution` and a grace have passed since its first sample was committed, by the clock of
//!   the blocks of that lane: whatever the samples' own clocks say, a window is given the time that it takes.
//! - A sample for a window that is closed is late: the window is computed anew from the buffer's blocks. Where those are
//!   gone, the late samples are merged into what is there, once, and the quartiles, which need all samples, are given up.
//! - A coarser window is merged from the finer ones, and again whenever one of those changes, unless it has more samples
//!   than are left of them.
//! - After a crash it goes on with the first block of the oldest open window. What was committed is computed again and is
//!   the same.
//! - A tier that comes later is built of what is held, when nothing else is to be done.

pub mod blocks;
pub mod coarse;
pub mod engine;
pub mod folder;
pub mod hours;
pub mod open;
mod pass;
pub mod plan;
pub mod reduce;
mod series;
pub mod settings;
pub mod state;
mod streams;

pub use engine::{Building, Counters, Engine, TierError};
pub use hours::{Hours, HoursError, WorkHours, Zone};
pub use settings::{SettingsError, TierSettings, Topics};
