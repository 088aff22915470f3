//! Whether the daemon does its work, and what it waits for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cloneable; every clone is the same. Ready when no part has a reason not to be.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    reasons: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Readiness {
    /// Each of `parts` is waited for.
    pub fn waiting_for(parts: &[&'static str]) -> Self {
        let readiness = Self::default();
        for part in parts {
            readiness.waits(part, "starting");
        }
        readiness
    }

    pub fn ready(&self, part: &'static str) {
        self.lock().remove(part);
    }

    /// `part` does not do its work, and why, in words for an operator.
    pub fn waits(&self, part: &'static str, reason: impl Into<String>) {
        self.lock().insert(part, reason.into());
    }

    pub fn is_ready(&self) -> bool {
        self.lock().is_empty()
    }

    /// By part.
    pub fn reasons(&self) -> BTreeMap<&'static str, String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
