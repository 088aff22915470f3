//! The passing of time, given by the program: nothing else here reads a clock or waits.

use std::time::Duration;

use efd_shared_model::UtcNanos;

pub trait Pace {
    fn utc(&self) -> UtcNanos;

    /// Since some begin; never goes back.
    fn elapsed(&self) -> Duration;

    fn sleep(&self, span: Duration);

    /// Sleeps until [`Self::elapsed`] is `then`.
    fn sleep_until(&self, then: Duration) {
        let left = then.saturating_sub(self.elapsed());
        if !left.is_zero() {
            self.sleep(left);
        }
    }
}
