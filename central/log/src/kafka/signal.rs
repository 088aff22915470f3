//! Wakes who waits for blocks, whoever appended them.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::Generation;

#[derive(Debug, Default)]
pub(super) struct Signal {
    generation: Mutex<Generation>,
    raised: Condvar,
}

impl Signal {
    pub(super) fn raise(&self) {
        let mut generation = self
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        generation.0 += 1;
        self.raised.notify_all();
    }

    /// Returns at once if it was raised since `seen`, else when it is or after `timeout`.
    pub(super) fn wait(&self, seen: Generation, timeout: Duration) -> Generation {
        let generation = self
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .raised
            .wait_timeout_while(generation, timeout, |generation| *generation <= seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
