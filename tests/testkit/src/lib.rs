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
pub mod tmp;
pub mod volume;

pub use clock::wait_until;

/// Prints that a test is skipped and why. With `EFD_TEST_NO_SKIP=1` (where everything must be able to run) it panics.
///
/// # Panics
/// Only under `EFD_TEST_NO_SKIP=1`.
pub fn skip(test: &str, why: &dyn std::fmt::Display) {
    assert!(
        std::env::var_os("EFD_TEST_NO_SKIP").is_none_or(|value| value != "1"),
        "{test} may not be skipped here (EFD_TEST_NO_SKIP=1): {why}"
    );
    say(&format!("{test}: SKIPPED: {why}"));
}

/// One line for the person who watches the run.
#[expect(
    clippy::print_stderr,
    reason = "the terminal of a test run is this crate's only audience"
)]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
