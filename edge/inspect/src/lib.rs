//! What is in a buffer: live, copied, on a disk that cannot be written, or one segment file of it.
//!
//! In:  a path, and what the caller wants to see. Out: tables for people, JSON for programs, an [`Exit`].
//!
//! Absent: DDS, QUIC, clocks (the time of the call is an argument), writing to what is inspected.
//!
//! Invariants:
//! - Everything intact is shown; everything that is not, or that cannot be seen, is named on standard error and in
//!   the exit code. Damage never ends a command.
//! - Memory does not grow with the buffer: one batch of blocks at a time, and the segments' summaries.

pub mod cat;
pub mod ls;
mod open;
mod outcome;
mod pattern;
mod screen;
pub mod verify;
mod when;

pub use outcome::{Exit, InspectError};
pub use pattern::Pattern;
pub use screen::Screen;
pub use when::{Window, WindowError};
