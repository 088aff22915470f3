//! The only reader of the clock in this crate.

use std::thread;
use std::time::{Duration, Instant};

#[expect(
    clippy::disallowed_methods,
    reason = "tests wait for real processes in real time"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How often a wait looks again: short beside what is waited for (a JVM, a socket), long beside a context switch.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A wait with an end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    started: Instant,
    within: Duration,
}

impl Deadline {
    pub(crate) fn after(within: Duration) -> Self {
        Self {
            started: now(),
            within,
        }
    }

    pub(crate) fn waited(self) -> Duration {
        now().duration_since(self.started)
    }

    /// What is left; zero when passed.
    pub(crate) fn left(self) -> Duration {
        self.within.saturating_sub(self.waited())
    }

    pub(crate) fn passed(self) -> bool {
        self.left().is_zero()
    }
}

/// Asks every 10 ms until the answer is true or `within` has passed; always asks at least once. Returns the last answer.
pub fn wait_until(within: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let deadline = Deadline::after(within);
    loop {
        if ready() {
            return true;
        }
        if deadline.passed() {
            return false;
        }
        thread::sleep(LOOK_EVERY.min(deadline.left()));
    }
}
