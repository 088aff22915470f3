//! The loop around the ledger: the only part that reads a clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use efd_central_log::{BlockLog, Delivery, Follower, Generation, LogError};
use efd_shared_model::{EdgeId, EpochLane, UtcNanos};

use crate::{InLog, Ledger, LedgerError};

const NAP: Duration = Duration::from_millis(200);
const COMMIT_EVERY: Duration = Duration::from_secs(2);
/// The page is in memory.
const BLOCKS_MAX: usize = 4096;
const BLOCKS_PER_TURN: usize = 64;
const RETRY_AFTER: Duration = Duration::from_secs(5);
const FORGET_EVERY: Duration = Duration::from_secs(600);
const COMPARE_EVERY: Duration = Duration::from_secs(10);
/// When stopping, a log that gives nothing must not keep the process.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// Follows the log into the book until it `is_stopped`: then it takes what the log has, commits it, and ends. Blocks the
/// thread. `is_drained` as in [`Ledger::compare`]; `report` sees the ledger after every turn. The log's errors and a full
/// disk are waited for.
pub fn run<L: BlockLog + ?Sized>(
    mut ledger: Ledger,
    log: Arc<L>,
    is_stopped: &dyn Fn() -> bool,
    is_drained: &dyn Fn(EdgeId) -> bool,
    mut report: impl FnMut(&mut Ledger),
) -> Result<(), LedgerError> {
    let clock = Clock::new();
    let mut follower = Follower::new(Arc::clone(&log), ledger.committed().clone());
    let mut held: Option<Delivery> = None;
    let mut generation = Generation::default();
    let (mut committed, mut forgot, mut compared) = (clock.now(), clock.now(), clock.now());
    let mut wait_until = Duration::ZERO;
    let mut drain_until = None;
    loop {
        let is_draining = is_stopped();
        if is_draining {
            drain_until.get_or_insert_with(|| clock.now() + DRAIN_WITHIN);
        }
        let (mut is_idle, mut has_read_all) = (true, false);
        if wait_until <= clock.now() && ledger.waiting() < BLOCKS_MAX {
            match turn(&mut ledger, &mut follower, &mut held, &*log) {
                Ok(is_more) => (is_idle, has_read_all) = (!is_more, !is_more),
                Err(LogError::Closed) => return Err(LogError::Closed.into()),
                Err(error) => {
                    tracing::error!(%error, "The ledger cannot read the log");
                    wait_until = clock.now() + RETRY_AFTER;
                }
            }
        }
        if held.is_none() {
            ledger.pass(follower.progress());
        }
        let is_late = drain_until.is_some_and(|until| until <= clock.now());
        let is_due = committed + COMMIT_EVERY <= clock.now()
            || BLOCKS_MAX <= ledger.waiting()
            || is_draining && is_idle
            || is_late;
        if is_due && ledger.has_news() && wait_until <= clock.now() {
            committed = clock.now();
            if let Err(error) = ledger.commit() {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "The ledger waits; nothing is lost"
                );
                wait_until = clock.now() + RETRY_AFTER;
            }
        }
        if has_read_all && !ledger.has_news() && compared + COMPARE_EVERY <= clock.now() {
            compared = clock.now();
            if let Err(error) = compare(&mut ledger, &*log, is_drained) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "What edges have committed is not compared"
                );
            }
        }
        if forgot + FORGET_EVERY <= clock.now() {
            forgot = clock.now();
            if let Err(error) = ledger.forget_old(&*log) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "Old places of the log are not forgotten"
                );
            }
        }
        report(&mut ledger);
        if is_late || is_draining && is_idle && !ledger.has_news() {
            return Ok(());
        }
        if is_idle {
            generation = log.wait(generation, NAP);
        }
        if clock.now() < wait_until {
            std::thread::sleep(NAP);
        }
    }
}

/// What is missing in silence is named, and its edge asked for it.
fn compare<L: BlockLog + ?Sized>(
    ledger: &mut Ledger,
    log: &L,
    is_drained: &dyn Fn(EdgeId) -> bool,
) -> Result<(), LedgerError> {
    let absent = log.health().absent;
    let in_log = |lane: &EpochLane| {
        Ok(InLog {
            received: log.received(*lane)?,
            absent: absent.get(lane).cloned().unwrap_or_default(),
        })
    };
    let silent = ledger.compare(is_drained, &in_log)?.silent;
    if silent.is_empty() {
        return Ok(());
    }
    let news = log.note_lost(&silent)?;
    if news > 0 {
        ledger.note_silent(news);
        let blocks: BTreeMap<String, String> = silent
            .iter()
            .map(|(lane, numbers)| (lane.to_string(), numbers.to_string()))
            .collect();
        tracing::error!(
            ?blocks,
            "Blocks are missing that their edge believes to be here; it is asked for them"
        );
    }
    Ok(())
}

/// `true` if there may be more at once.
fn turn<L: BlockLog + ?Sized>(
    ledger: &mut Ledger,
    follower: &mut Follower<L>,
    held: &mut Option<Delivery>,
    log: &L,
) -> Result<bool, LogError> {
    for _ in 0..BLOCKS_PER_TURN {
        if held.is_none() {
            *held = follower.poll()?;
        }
        let Some(delivery) = held.as_ref() else {
            return Ok(false);
        };
        ledger.take(log, delivery, utc_now())?;
        *held = None;
    }
    Ok(true)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the loop is the shell that reads the clock"
)]
fn utc_now() -> UtcNanos {
    let utc = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UtcNanos(utc.map_or(0, |since| since.as_nanos() as i64))
}

struct Clock(Instant);

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the loop is the shell that reads the clock"
    )]
    fn new() -> Self {
        Self(Instant::now())
    }

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
