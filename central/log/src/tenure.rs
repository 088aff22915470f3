//! The right to be the only writer of a consumer's output, as long as it lasts.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::lock;

type Hook = Box<dyn Fn() + Send + Sync>;

/// A consumer looks at it before everything that leaves the process. Clones are one tenure.
#[derive(Clone)]
pub struct Tenure(Arc<Mutex<State>>);

enum State {
    Lasts { at_end: Vec<Hook> },
    Over,
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenure")
            .field("is_over", &self.is_over())
            .finish()
    }
}

impl Tenure {
    /// Until somebody ends it; of a consumer that can only be here, nobody does.
    pub fn begin() -> Self {
        let at_end = Vec::new();
        Self(Arc::new(Mutex::new(State::Lasts { at_end })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    pub fn is_over(&self) -> bool {
        matches!(*self.state(), State::Over)
    }

    /// Does `act` unless the tenure is over: it does not end in between. To be short: who ends it waits.
    pub fn while_it_lasts<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        match &*self.state() {
            State::Lasts { .. } => Some(act()),
            State::Over => None,
        }
    }

    /// `hook` recalls what has not left the process. At once, where the tenure is over.
    pub fn at_end(&self, hook: impl Fn() + Send + Sync + 'static) {
        match &mut *self.state() {
            State::Lasts { at_end } => return at_end.push(Box::new(hook)),
            State::Over => {}
        }
        hook();
    }

    /// Nothing leaves the process any more when this returns.
    pub fn end(&self) {
        let mut state = self.state();
        if let State::Lasts { at_end } = std::mem::replace(&mut *state, State::Over) {
            at_end.iter().for_each(|hook| hook());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn an_end_recalls_and_refuses() {
        let tenure = Tenure::begin();
        let recalled = Arc::new(AtomicU32::new(0));
        let hook = |recalled: &Arc<AtomicU32>| {
            let recalled = Arc::clone(recalled);
            move || {
                recalled.fetch_add(1, Ordering::Relaxed);
            }
        };
        tenure.at_end(hook(&recalled));
        assert_eq!(tenure.while_it_lasts(|| 7), Some(7));
        assert_eq!(recalled.load(Ordering::Relaxed), 0);
        tenure.clone().end();
        tenure.end();
        assert!(tenure.is_over());
        assert_eq!(recalled.load(Ordering::Relaxed), 1, "once");
        assert_eq!(tenure.while_it_lasts(|| 7), None);
        tenure.at_end(hook(&recalled));
        assert_eq!(recalled.load(Ordering::Relaxed), 2, "too late is at once");
    }
}
