//! The loop around the core: the only place that reads a clock.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use efd_central_log::{BlockLog, Delivery, Follower, Generation, LogError, Partition, Place};
use efd_shared_model::UtcNanos;

use crate::error::LakeError;
use crate::lake::Lake;
use crate::options::Now;
use crate::requests::Requests;

/// How soon a stop is noticed.
const NAP: Duration = Duration::from_millis(200);
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// When stopping, a disk that stays full must not keep the process: the log has the rest.
const DRAIN_ATTEMPTS: u32 = 3;
/// Nor may a log that gives nothing.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// Blocks between two looks at the clock and at `stop`.
const BLOCKS_PER_TURN: usize = 64;

/// How the lake is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    On,
    /// Take all that is in the log at this moment, commit it, and end.
    Drain,
    /// End at once: another process may take over. What is not committed is its to take.
    Leave,
}

/// Follows the log into the lake until `course` says otherwise, and does one of `requests` a turn.
///
/// Blocks the thread. `report` sees the lake after every turn. Errors that trying again may help are logged, counted
/// and tried again, nothing taken meanwhile; others are returned.
pub fn run<L: BlockLog + ?Sized>(
    mut lake: Lake,
    log: Arc<L>,
    course: &dyn Fn() -> Course,
    requests: &Requests,
    mut report: impl FnMut(&Lake),
) -> Result<(), LakeError> {
    let clock = Clock::new();
    let mut feed = Feed {
        follower: Follower::new(Arc::clone(&log), lake.committed().clone()),
        held: None,
    };
    let mut retry = Retry::default();
    let mut generation = Generation::default();
    loop {
        match course() {
            Course::On => {}
            Course::Drain => break,
            Course::Leave => return Ok(()),
        }
        let now = clock.now();
        let mut idle = true;
        if !lake.is_full() && !retry.is_waiting(now) {
            match feed.turn(&mut lake, &*log, now) {
                Ok(more) => idle = !more,
                Err(error) => retry.after(error.into(), now)?,
            }
        }
        if requests.serve(&mut lake, &*log, clock.now()) {
            idle = false;
        }
        let now = clock.now();
        feed.pass(&mut lake, now);
        let due = lake.due_in(now);
        if due.is_some_and(|due| due.is_zero()) && !retry.is_waiting(now) {
            match lake.commit(now).and_then(|_| lake.sweep(now)) {
                Ok(()) => retry = Retry::default(),
                Err(error) => retry.after(error, now)?,
            }
        }
        report(&lake);
        if idle {
            let until_due = due.filter(|due| !due.is_zero()).unwrap_or(NAP);
            generation = log.wait(generation, until_due.min(NAP));
            if retry.is_waiting(clock.now()) {
                // The log may have more at once, and nothing of it can be taken.
                std::thread::sleep(NAP);
            }
        }
    }
    let drained = drain(&mut lake, &mut feed, &*log, (&clock, course));
    report(&lake);
    drained
}

/// The follower, and the block that could not be taken yet.
struct Feed<L: ?Sized> {
    follower: Follower<L>,
    held: Option<Delivery>,
}

impl<L: BlockLog + ?Sized> Feed<L> {
    /// `true` if there may be more at once.
    fn turn(&mut self, lake: &mut Lake, log: &L, now: Now) -> Result<bool, LogError> {
        for _ in 0..BLOCKS_PER_TURN {
            if self.held.is_none() {
                self.held = self.follower.poll()?;
            }
            let Some(delivery) = &self.held else {
                return Ok(false);
            };
            lake.take(log, delivery, now)?;
            self.held = None;
            if lake.is_full() {
                break;
            }
        }
        Ok(true)
    }

    /// The follower's places are past the block that is held.
    fn pass(&self, lake: &mut Lake, now: Now) {
        if self.held.is_none() {
            lake.pass(self.follower.progress(), now);
        }
    }

    fn is_past(&self, ends: &[(Partition, Place)]) -> bool {
        let progress = self.follower.progress();
        ends.iter()
            .all(|(partition, end)| progress.next_place(partition) >= *end)
    }
}

fn drain<L: BlockLog + ?Sized>(
    lake: &mut Lake,
    feed: &mut Feed<L>,
    log: &L,
    (clock, course): (&Clock, &dyn Fn() -> Course),
) -> Result<(), LakeError> {
    // Appends may go on: what comes after this is for the next start.
    let mut ends = Vec::new();
    for partition in log.partitions()? {
        let (_, end) = log.bounds(&partition)?;
        ends.push((partition, end));
    }
    let give_up_at = clock.now().monotonic + DRAIN_WITHIN;
    let mut generation = Generation::default();
    while course() != Course::Leave {
        let more = feed.turn(lake, log, clock.now())?;
        if lake.is_full() {
            commit_or_give_up(lake, feed, clock)?;
        }
        // Nothing more to be had at the moment may also mean that it is on its way.
        let is_late = give_up_at <= clock.now().monotonic;
        if feed.is_past(&ends) || (!more && is_late) {
            return commit_or_give_up(lake, feed, clock);
        }
        if !more {
            generation = log.wait(generation, NAP);
        }
    }
    Ok(())
}

fn commit_or_give_up<L: BlockLog + ?Sized>(
    lake: &mut Lake,
    feed: &Feed<L>,
    clock: &Clock,
) -> Result<(), LakeError> {
    feed.pass(lake, clock.now());
    let mut attempt = 1;
    loop {
        match lake.commit(clock.now()) {
            Ok(_) => return Ok(()),
            Err(error) if attempt == DRAIN_ATTEMPTS || !error.is_transient() => return Err(error),
            Err(error) => tracing::warn!(%error, attempt, "Commit to be tried again"),
        }
        attempt += 1;
        std::thread::sleep(RETRY_MIN);
    }
}

#[derive(Debug, Default)]
struct Retry {
    not_before: Option<Duration>,
    pause: Duration,
}

impl Retry {
    fn is_waiting(&self, now: Now) -> bool {
        self.not_before.is_some_and(|until| now.monotonic < until)
    }

    /// Pauses twice as long as the last time; what cannot get better is returned.
    fn after(&mut self, error: LakeError, now: Now) -> Result<(), LakeError> {
        let is_closed = matches!(error, LakeError::Log(LogError::Closed));
        if is_closed || !error.is_transient() {
            return Err(error);
        }
        self.pause = (self.pause * 2).clamp(RETRY_MIN, RETRY_MAX);
        self.not_before = Some(now.monotonic + self.pause);
        tracing::error!(%error, seconds = self.pause.as_secs(), "Lake waits, nothing is lost");
        Ok(())
    }
}

struct Clock {
    origin: Instant,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the loop is the shell that reads the clock"
    )]
    fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the loop is the shell that reads the clock"
    )]
    fn now(&self) -> Now {
        let utc = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Now {
            monotonic: self.origin.elapsed(),
            utc: UtcNanos(utc.map_or(0, |since| since.as_nanos() as i64)),
        }
    }
}
