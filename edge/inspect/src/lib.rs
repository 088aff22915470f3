//! What is in a buffer: live, copied, on a disk that cannot be written, or one segment file of it.
//!
//! In:  a path, and what the caller wants to see. Out: tables for people, JSON for programs, an [`Exit`].
//!
//! Absent: clocks (the time of the call, or a [`Pace`], is an argument), writing to what is inspected. What an export
//! or a repair makes goes into a folder of its own. QUIC is in the rescue (feature `rescue`) only, DDS in `play` (feature `play`).
//!
//! Invariants:
//! - Everything intact is shown; everything that is not, or that cannot be seen, is named on standard error and in
//!   the exit code. Damage never ends a command.
//! - Memory does not grow with the buffer: one batch of blocks at a time, and the segments' summaries.

pub mod account;
pub mod cat;
pub mod export;
mod fresh;
pub mod ls;
mod open;
mod outcome;
mod pace;
mod pattern;
#[cfg(feature = "play")]
pub mod play;
pub mod repair;
pub mod retention;
mod screen;
#[cfg(feature = "rescue")]
pub mod send;
pub mod show;
mod table;
pub mod tiers;
pub mod verify;
mod walk;
pub mod watch;

pub use efd_shared_daemon::when::{Window, WindowError};
pub use outcome::{Exit, InspectError};
pub use pace::Pace;
pub use pattern::Pattern;
pub use screen::Screen;
pub use walk::Filter;
