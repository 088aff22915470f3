//! An ordered end: who is asked to stop, and who is late.
//!
//! A [`Stop`] is one value shared by all tasks and threads of a daemon. Each of them registers under a name;
//! when the end has been asked for, the daemon waits for all of them up to a deadline and can say whom it waits for.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Cloneable; every clone is the same stop.
#[derive(Clone)]
pub struct Stop {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The same change for those who wait in async code.
    phase: watch::Sender<Phase>,
}

#[derive(Default)]
struct State {
    reason: Option<String>,
    panicked: Option<String>,
    next_id: u64,
    running: BTreeMap<u64, String>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Asked,
    /// Asked a second time: nobody is waited for any more.
    Forced,
}

/// Held by a task or thread that must end before the process does. Dropping it says that it has; dropping it in a panic
/// stops the daemon.
#[must_use = "dropping it says that the task has ended"]
pub struct Running {
    stop: Stop,
    id: u64,
}

/// A task or thread that panicked: the daemon ends, and does not go on with a part missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` ended by a panic")]
pub struct Panicked {
    pub name: String,
}

/// Who had not ended when the wait was over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("still running: {}", names.join(", "))]
pub struct Late {
    pub names: Vec<String>,
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                changed: Condvar::new(),
                phase: watch::Sender::new(Phase::Running),
            }),
        }
    }

    /// Asks all to stop. The first reason is kept; asking again changes nothing.
    pub fn ask(&self, reason: &str) {
        let mut state = self.state();
        if state.reason.is_none() {
            state.reason = Some(reason.to_owned());
            self.enter(Phase::Asked);
        }
    }

    /// Asks all to stop, and waits for nobody.
    pub fn force(&self, reason: &str) {
        self.ask(reason);
        self.enter(Phase::Forced);
    }

    fn enter(&self, phase: Phase) {
        self.shared.phase.send_if_modified(|current| {
            let later = *current < phase;
            *current = phase.max(*current);
            later
        });
        self.shared.changed.notify_all();
    }

    pub fn is_asked(&self) -> bool {
        *self.shared.phase.borrow() >= Phase::Asked
    }

    /// Why, once asked.
    pub fn reason(&self) -> Option<String> {
        self.state().reason.clone()
    }

    /// For the daemon's exit code: an error where someone who registered has panicked.
    pub fn check(&self) -> Result<(), Panicked> {
        match self.state().panicked.clone() {
            Some(name) => Err(Panicked { name }),
            None => Ok(()),
        }
    }

    /// Completes when a stop is asked for. Cancel-safe.
    pub async fn asked(&self) {
        self.reach(Phase::Asked).await;
    }

    async fn reach(&self, phase: Phase) {
        let mut current = self.shared.phase.subscribe();
        // The sender lives in `self`, so the channel cannot have closed.
        let _closed = current.wait_for(|current| *current >= phase).await.is_err();
    }

    /// Sleeps in a thread; `true` as soon as a stop is asked for, `false` when `timeout` has passed without.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(self.state(), timeout, |state| state.reason.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        state.reason.is_some()
    }

    /// Names a task or thread that must end before the process does.
    pub fn register(&self, name: impl Into<String>) -> Running {
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        state.running.insert(id, name.into());
        Running {
            stop: self.clone(),
            id,
        }
    }

    /// Who has not ended yet, in the order in which they registered.
    pub fn running(&self) -> Vec<String> {
        self.state().running.values().cloned().collect()
    }

    /// Waits until all who registered have ended: at most `patience`, and not at all once forced.
    pub async fn finished(&self, patience: Duration) -> Result<(), Late> {
        let mut changes = self.shared.phase.subscribe();
        let all_ended = async {
            while !self.state().running.is_empty() {
                // Woken by each end. The sender lives in `self`, so the channel cannot have closed.
                if changes.changed().await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            biased;
            () = all_ended => {}
            () = self.reach(Phase::Forced) => {}
            () = tokio::time::sleep(patience) => {}
        }
        let names = self.running();
        if names.is_empty() {
            Ok(())
        } else {
            Err(Late { names })
        }
    }

    /// SIGTERM and SIGINT ask for a stop, a second one forces it. Needs a tokio runtime.
    pub fn listen(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = self.clone();
        tokio::spawn(async move {
            let first = either(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = first, "Stopping");
            stop.ask(first);
            let second = either(&mut terminate, &mut interrupt).await;
            tracing::warn!(
                signal = second,
                late = stop.running().join(", "),
                "Stopping at once"
            );
            stop.force(second);
        });
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere must not keep the process from ending.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Stop")
            .field("reason", &state.reason)
            .field("running", &state.running.values())
            .finish()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let name = self.stop.state().running.remove(&self.id);
        if std::thread::panicking() {
            let name = name.unwrap_or_default();
            tracing::error!(
                name,
                "Ended by a panic: the whole daemon stops, to be started anew"
            );
            self.stop.ask(&format!("`{name}` ended by a panic"));
            self.stop.state().panicked.get_or_insert(name);
        }
        self.stop.shared.phase.send_modify(|_| {});
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.stop.state();
        f.debug_tuple("Running")
            .field(&state.running.get(&self.id))
            .finish()
    }
}

#[cfg(test)]
mod tests;
