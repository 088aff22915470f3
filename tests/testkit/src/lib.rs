//! Real services, private networks and bad links for tests.
//!
//! In:  what a test wants to run (a daemon, a broker, a Python checker) and under which conditions (a network of its
//!      own, a link that loses and delays).
//! Out: handles that know when the thing is ready, can hurt it (kill -9, stop, cut), and leave nothing behind.
//!
//! Absent: the daemons under test, their protocols, DDS, tokio, and anything that needs a C compiler: `cargo xtask`
//! builds this crate to install the compiler in the first place.
//!
//! Invariants:
//! - Every process started here dies with the test process, however that ends.
//! - An installer that finds everything in place starts no network access; two at once do not disturb each other.
//! - A port handed out belongs to its holder until the handle is dropped, also while nothing listens there.
//! - Randomness is seeded.

mod clock;

pub mod install;
pub mod netns;
pub mod process;
pub mod python;
pub mod relay;
pub mod services;
pub mod skips;
pub mod tmp;
pub mod volume;

use std::io::Write as _;

pub use clock::wait_until;
pub use skips::{corpus, skip};

/// One line for the person who watches the run, past the capture of the test runner.
pub(crate) fn say(line: &str) {
    // In one write: the test runner's own words come in between.
    let written = std::io::stderr().write_all(format!("{line}\n").as_bytes());
    debug_assert!(written.is_ok(), "standard error is there");
}
