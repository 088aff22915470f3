//! Wakes who waits for blocks, whoever appended them.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::{Generation, lock};

#[derive(Debug, Default)]
pub(crate) struct Signal {
    generation: Mutex<Generation>,
    raised: Condvar,
}

impl Signal {
    pub(crate) fn raise(&self) {
        lock(&self.generation).0 += 1;
        self.raised.notify_all();
    }

    /// Returns at once if it was raised since `seen`, else when it is or after `timeout`.
    pub(crate) fn wait(&self, seen: Generation, timeout: Duration) -> Generation {
        let generation = lock(&self.generation);
        let waited = self
            .raised
            .wait_timeout_while(generation, timeout, |generation| *generation <= seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
