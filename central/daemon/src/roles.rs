//! The consumers of the log, a thread each, and what keeps the log in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use efd_central_feed::{
    Feed, FeedOptions, State as FeedState, StatusReader as FeedStatus, Stop as FeedStop,
};
use efd_central_lake::{Counters, Course, Lake, LakeError, Mailbox, Options, Requests};
use efd_central_log::{BlockLog, Keep, Lease, Progress, Reached, SeatNumber};
use efd_shared_daemon::http::Readiness;
use efd_shared_model::Shard;
use serde_json::{Value as Json, json};

use crate::config::Config;
use crate::fleet::Fleet;
use crate::ledger::LedgerRole;

#[cfg(test)]
mod tests;

/// What the lake's thread is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Starting,
    /// Another process writes the lake; this one takes over when it must.
    StandingBy,
    Running,
    /// It was asked to, and has committed everything.
    Stopped,
    /// It ended by itself: a person must look, and start the process anew. The log keeps what it has not taken.
    Failed(String),
}

impl State {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::StandingBy => "standing_by",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Failed(_) => "failed",
        }
    }
}

#[derive(Clone, Debug, Default)]
struct LakeNow {
    state: State,
    counters: Counters,
    progress: Progress,
}

/// What the lake's thread tells the others, and where it is asked.
#[derive(Clone, Debug)]
pub(crate) struct LakeStatus {
    root: PathBuf,
    mailbox: Mailbox,
    now: Arc<Mutex<LakeNow>>,
    log: Arc<Mutex<Option<Arc<dyn BlockLog>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// To make a part of the lake whole; whoever asks waits for the answer.
const REQUESTS_MAX: usize = 4;

impl LakeStatus {
    fn new(root: PathBuf) -> (Self, Requests) {
        let (mailbox, requests) = Mailbox::new(REQUESTS_MAX);
        let status = Self {
            root,
            mailbox,
            now: Arc::default(),
            log: Arc::default(),
        };
        (status, requests)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `None` where this process does not write the lake.
    pub(crate) fn mailbox(&self) -> Option<&Mailbox> {
        (lock(&self.now).state == State::Running).then_some(&self.mailbox)
    }

    fn set(&self, state: State) {
        lock(&self.now).state = state;
    }

    fn report(&self, lake: &Lake) {
        let mut now = lock(&self.now);
        now.counters = lake.counters();
        now.progress.clone_from(lake.committed());
    }

    /// What the newest commit has; `None` where another process writes the lake.
    pub(crate) fn settled(&self) -> Option<Progress> {
        let now = lock(&self.now);
        (now.state != State::StandingBy).then(|| now.progress.clone())
    }

    /// Of records that wait for their commit.
    pub(crate) fn buffered_bytes(&self) -> u64 {
        lock(&self.now).counters.buffered_bytes
    }

    /// Into files since the start.
    pub(crate) fn written_bytes(&self) -> u64 {
        lock(&self.now).counters.bytes_written
    }

    /// Blocks of the log that no commit covers.
    fn behind(&self, state: &State, progress: &Progress) -> u64 {
        if *state == State::StandingBy {
            return 0;
        }
        let Some(log) = lock(&self.log).clone() else {
            return 0;
        };
        progress.behind(&*log)
    }

    pub(crate) fn to_json(&self) -> Json {
        let LakeNow {
            state,
            counters,
            progress,
        } = lock(&self.now).clone();
        let reason = match &state {
            State::Failed(reason) => Some(reason),
            State::Starting | State::StandingBy | State::Running | State::Stopped => None,
        };
        json!({
            "state": state.as_str(), "reason": reason, "behind_blocks": self.behind(&state, &progress),
            "blocks": counters.blocks, "records": counters.records, "duplicate_blocks": counters.duplicate_blocks,
            "rejected_records": counters.rejected_records, "rejected_blocks": counters.rejected_blocks,
            "commits": counters.commits, "files_added": counters.files_added, "rows_written": counters.rows_written,
            "bytes_written": counters.bytes_written, "commit_failures": counters.commit_failures,
            "no_space": counters.no_space, "files_missing": counters.files_missing,
            "buffered_records": counters.buffered_records, "buffered_bytes": counters.buffered_bytes,
            "last_commit": counters.last_commit.map(|time| time.to_string()),
            "oldest_uncommitted": counters.oldest_uncommitted.map(|time| time.to_string()),
        })
    }
}

#[derive(Debug)]
pub(crate) struct LakeRole {
    root: PathBuf,
    options: Options,
    turn: LakeTurn,
    status: LakeStatus,
    requests: Requests,
}

/// Who writes a lake.
#[derive(Debug)]
enum LakeTurn {
    /// This process, and no other.
    Alone(Box<Lake>),
    /// Whoever has the seat.
    Shared(Lease),
}

impl LakeRole {
    /// `lease`: of processes that take turns.
    pub(crate) fn open(config: &Config, lease: Option<Lease>) -> Result<Self> {
        let root = config.lake_path();
        let options = Options {
            commit_after: config.lake.commit_every.duration(),
            memory_bytes: config.lake.memory_max.as_usize(),
            ..Options::default()
        };
        let (status, requests) = LakeStatus::new(root.clone());
        let turn = if let Some(lease) = lease {
            LakeTurn::Shared(lease)
        } else {
            let (lake, progress) = Lake::open(root.clone(), options.clone())
                .with_context(|| format!("open the lake {}", root.display()))?;
            // Until the first commit of this start, what the last one has.
            lock(&status.now).progress = progress;
            LakeTurn::Alone(Box::new(lake))
        };
        Ok(Self {
            root,
            options,
            turn,
            status,
            requests,
        })
    }

    pub(crate) fn status(&self) -> LakeStatus {
        self.status.clone()
    }
}

/// The feed, and whether this process is alone with it.
#[derive(Debug)]
pub(crate) enum FeedRole {
    Alone(Box<Feed>),
    /// A worker for each seat, which runs while this process has the seat.
    Shared {
        workers: Vec<(Shard, Feed)>,
        lease: Arc<Lease>,
    },
}

/// What is known of a worker of the feed.
#[derive(Clone, Debug)]
pub(crate) struct FeedWorker {
    pub(crate) shard: Shard,
    pub(crate) status: FeedStatus,
}

impl FeedWorker {
    /// `None` where another process runs it.
    fn settled(&self) -> Option<Progress> {
        let is_here = self.status.read().state != FeedState::StandingBy;
        is_here.then(|| self.status.settled())
    }
}

pub(crate) type FeedWorkers = Vec<FeedWorker>;

/// What all workers have durably that read a lane; `None` where one of them runs elsewhere.
pub(crate) fn feed_progress(workers: &FeedWorkers) -> Option<Progress> {
    let settled = workers
        .iter()
        .map(|worker| Some((worker.shard, worker.settled()?)));
    let settled = settled.collect::<Option<Vec<_>>>()?;
    let mut all = Progress::default();
    let lanes = settled
        .iter()
        .flat_map(|(_, progress)| progress.seen.keys());
    for lane in lanes.collect::<std::collections::BTreeSet<_>>() {
        let of_lane = Shard::from_number(lane.lane.shard);
        let readers = settled.iter().filter(|(shard, _)| shard.meets(of_lane));
        let seen =
            readers.map(|(_, progress)| progress.seen.get(lane).cloned().unwrap_or_default());
        if let Some(seen) = seen.reduce(|one, other| one.intersection(&other)) {
            all.seen.insert(*lane, seen);
        }
    }
    Some(all)
}

impl FeedRole {
    pub(crate) fn shared(options: &FeedOptions, workers: u16, lease: Lease) -> Result<Self> {
        Ok(Self::Shared {
            workers: Feed::standing_by(options, Shard::all(workers)?)?,
            lease: Arc::new(lease),
        })
    }

    pub(crate) fn status(&self) -> FeedWorkers {
        let worker = |(shard, feed): (Shard, &Feed)| FeedWorker {
            shard,
            status: feed.status(),
        };
        match self {
            Self::Alone(feed) => vec![worker((Shard::WHOLE, feed))],
            Self::Shared { workers, .. } => {
                let workers = workers.iter().map(|(shard, feed)| (*shard, feed));
                workers.map(worker).collect()
            }
        }
    }
}

/// The running consumers.
#[derive(Debug)]
pub(crate) struct Roles {
    lake: Option<JoinHandle<Result<()>>>,
    ledger: Option<JoinHandle<Result<()>>>,
    feed: Vec<JoinHandle<Result<()>>>,
    keeper: JoinHandle<()>,
    stop_lake: Arc<AtomicBool>,
    stop_feed: FeedStop,
    stop_keeper: Arc<AtomicBool>,
}

/// The lake has one.
const SEAT: SeatNumber = SeatNumber(0);
/// How soon a stop is noticed by who waits for a seat.
const LOOK_EVERY: Duration = Duration::from_millis(300);
const KEEP_EVERY: Duration = Duration::from_secs(1);
const RETAIN_TURNS: u32 = 30;

impl Roles {
    /// A consumer that ends by itself makes `readiness` say so; the others go on.
    pub(crate) fn start(
        log: Arc<dyn BlockLog>,
        lake: Option<LakeRole>,
        feed: Option<FeedRole>,
        ledger: Option<(LedgerRole, Arc<Fleet>)>,
        keep: Keep,
        readiness: &Readiness,
    ) -> Result<Self> {
        let (stop_lake, stop_feed, stop_keeper) = (
            Arc::<AtomicBool>::default(),
            FeedStop::default(),
            Arc::<AtomicBool>::default(),
        );
        let mut consumers = Vec::new();
        if let Some(status) = lake.as_ref().map(LakeRole::status) {
            *lock(&status.log) = Some(Arc::clone(&log));
            consumers.push(Consumer {
                name: "lake",
                shard: Shard::WHOLE,
                settled: Box::new(move || status.settled()),
            });
        }
        for worker in feed.iter().flat_map(FeedRole::status) {
            consumers.push(Consumer {
                name: "feed",
                shard: worker.shard,
                settled: Box::new(move || worker.settled()),
            });
        }
        let ledger = ledger.map(|(role, fleet)| {
            let status = role.status();
            consumers.push(Consumer {
                name: "ledger",
                shard: Shard::WHOLE,
                settled: Box::new({
                    let status = status.clone();
                    move || Some(status.settled())
                }),
            });
            let (log, stop, readiness) =
                (Arc::clone(&log), Arc::clone(&stop_lake), readiness.clone());
            let failed = move |reason: String| {
                readiness.waits("ledger", format!("its thread ended: {reason}"));
                status.fail(reason);
            };
            spawn("ledger", move || {
                watched("ledger", failed, || role.run(log, &fleet, &stop))
            })
        });
        let lake = lake.map(|role| {
            let (log, stop, readiness) =
                (Arc::clone(&log), Arc::clone(&stop_lake), readiness.clone());
            let status = role.status();
            let failed = move |reason: String| {
                readiness.waits("lake", format!("its thread ended: {reason}"));
                status.set(State::Failed(reason));
            };
            spawn("lake", move || {
                watched("lake", failed, || run_lake(role, log, &stop))
            })
        });
        let feed = feed.map_or_else(
            || Ok(Vec::new()),
            |role| start_feed(role, &log, &stop_feed, readiness),
        )?;
        let keeper = {
            let stop = Arc::clone(&stop_keeper);
            spawn("keeper", move || {
                look_after(&*log, &consumers, &keep, &stop)
            })?
        };
        Ok(Self {
            lake: lake.transpose()?,
            ledger: ledger.transpose()?,
            feed,
            keeper,
            stop_lake,
            stop_feed,
            stop_keeper,
        })
    }

    /// The lake takes what the log has and commits it; the feed writes its last checkpoint.
    pub(crate) fn drain(self) -> Result<()> {
        let Self {
            lake,
            ledger,
            feed,
            keeper,
            stop_lake,
            stop_feed,
            stop_keeper,
        } = self;
        stop_lake.store(true, Ordering::Release);
        stop_feed.set();
        let mut failed = Vec::new();
        let lake = lake.map(|thread| ("lake", thread));
        let feed = feed.into_iter().map(|thread| ("feed", thread));
        let ledger = ledger.map(|thread| ("ledger", thread));
        for (name, thread) in lake.into_iter().chain(ledger).chain(feed) {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => failed.push(format!("{name}: {error:#}")),
                Err(_panic) => failed.push(format!("{name}: its thread panicked")),
            }
        }
        stop_keeper.store(true, Ordering::Release);
        if keeper.join().is_err() {
            failed.push("keeper: its thread panicked".into());
        }
        if failed.is_empty() {
            Ok(())
        } else {
            bail!("{}", failed.join("; "))
        }
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .with_context(|| format!("start thread {name}"))
}

/// A consumer's work, whose end by an error or a panic is told: seen from outside, a dead thread looks like an idle one.
fn watched(
    name: &'static str,
    failed: impl FnOnce(String),
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let result = catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_panic| Err(anyhow!("its thread panicked; standard error has the place")));
    result.inspect_err(|error| {
        let reason = format!("{error:#}");
        tracing::error!(
            consumer = name,
            reason,
            "A consumer ended; the log keeps what it has not taken"
        );
        failed(reason);
    })
}

fn start_feed(
    role: FeedRole,
    log: &Arc<dyn BlockLog>,
    stop: &FeedStop,
    readiness: &Readiness,
) -> Result<Vec<JoinHandle<Result<()>>>> {
    let start = |name: String, status: FeedStatus, work: Box<dyn FnOnce() -> Result<()> + Send>| {
        let readiness = readiness.clone();
        let failed = move |reason: String| {
            readiness.waits("feed", format!("its thread ended: {reason}"));
            status.fail(&reason);
        };
        spawn(&name, move || watched("feed", failed, work))
    };
    match role {
        FeedRole::Alone(feed) => {
            let (log, stop, status) = (Arc::clone(log), stop.clone(), feed.status());
            let work = Box::new(move || Ok(feed.run(log, &stop)?));
            Ok(vec![start("feed".into(), status, work)?])
        }
        FeedRole::Shared { workers, lease } => {
            let workers = workers.into_iter().map(|(shard, feed)| {
                let (log, stop, status) = (Arc::clone(log), stop.clone(), feed.status());
                let lease = Arc::clone(&lease);
                let seat = SeatNumber(shard.index());
                let work = Box::new(move || run_worker(feed, &lease, seat, &log, &stop));
                start(format!("feed-{}", shard.index()), status, work)
            });
            workers.collect()
        }
    }
}

/// Whenever this process has the seat.
fn run_worker(
    mut feed: Feed,
    lease: &Lease,
    number: SeatNumber,
    log: &Arc<dyn BlockLog>,
    stop: &FeedStop,
) -> Result<()> {
    while !stop.is_set() {
        if let Some(seat) = lease.take(number, LOOK_EVERY) {
            feed.run_in(&seat, log, stop)?;
        }
    }
    Ok(())
}

fn run_lake(role: LakeRole, log: Arc<dyn BlockLog>, stop: &AtomicBool) -> Result<()> {
    let LakeRole {
        root,
        options,
        turn,
        status,
        requests,
    } = role;
    let is_stopped = || stop.load(Ordering::Acquire);
    match turn {
        LakeTurn::Alone(lake) => {
            let course = || {
                if is_stopped() {
                    Course::Drain
                } else {
                    Course::On
                }
            };
            follow(*lake, log, &course, (&status, &requests))?;
            status.set(State::Stopped);
        }
        // In the end too: the seat is given back, and another process writes the lake.
        LakeTurn::Shared(lease) => {
            status.set(State::StandingBy);
            while !is_stopped() {
                let Some(seat) = lease.take(SEAT, LOOK_EVERY) else {
                    continue;
                };
                let tenure = seat.tenure();
                let course = || match (tenure.is_over(), is_stopped()) {
                    (true, _) => Course::Leave,
                    (false, true) => Course::Drain,
                    (false, false) => Course::On,
                };
                match Lake::open(root.clone(), options.clone()) {
                    Ok((lake, progress)) => {
                        lock(&status.now).progress = progress;
                        follow(lake, Arc::clone(&log), &course, (&status, &requests))?;
                        status.set(State::StandingBy);
                    }
                    // The one before us is on its way out: its seat is gone, its lock not yet.
                    Err(error @ LakeError::Locked { .. }) => {
                        tracing::warn!(%error, "The lake is to be taken over");
                        std::thread::sleep(LOOK_EVERY);
                    }
                    Err(error) => {
                        return Err(error)
                            .with_context(|| format!("open the lake {}", root.display()));
                    }
                }
            }
        }
    }
    Ok(())
}

fn follow(
    lake: Lake,
    log: Arc<dyn BlockLog>,
    course: &dyn Fn() -> Course,
    (status, requests): (&LakeStatus, &Requests),
) -> Result<()> {
    status.report(&lake);
    status.set(State::Running);
    efd_central_lake::run(lake, log, course, requests, |lake| {
        status.report(lake);
    })?;
    Ok(())
}

/// Who reads the log, and what of it each has durably and so needs no longer. One that is dead holds the log where it
/// died: what it has not taken is nowhere else.
struct Consumer {
    name: &'static str,
    shard: Shard,
    /// `None` where another process runs it.
    settled: Box<dyn Fn() -> Option<Progress> + Send>,
}

/// What the log can do between appends, and its retention.
fn look_after(log: &dyn BlockLog, consumers: &[Consumer], keep: &Keep, stop: &AtomicBool) {
    let mut turns = 0;
    while !stop.load(Ordering::Acquire) {
        std::thread::sleep(KEEP_EVERY);
        log.maintain();
        turns += 1;
        if turns % RETAIN_TURNS == 0 || log.health().is_full {
            forget_old(log, consumers, keep);
        }
    }
}

fn forget_old(log: &dyn BlockLog, consumers: &[Consumer], keep: &Keep) {
    let reached = |consumer: &'_ Consumer| {
        Some(Reached {
            name: consumer.name,
            shard: consumer.shard,
            progress: (consumer.settled)()?,
        })
    };
    let settled: Vec<Reached<'_>> = consumers.iter().filter_map(reached).collect();
    match log.retain(keep, &settled) {
        Ok(retained) if !retained.endangered.is_empty() => tracing::error!(
            endangered = ?retained.endangered,
            "Consumers are so far behind that the log's retention will pass them: after that their edges are asked again"
        ),
        Ok(retained) if retained.held_back > 0 => tracing::warn!(
            segments = retained.held_back, consumers = ?retained.held_back_by,
            "The log keeps old segments that consumers have not taken"
        ),
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "Retention of the log failed"),
    }
}
