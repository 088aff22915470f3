//! The consumers of the log, a thread each, and what keeps the log in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use efd_central_feed::{Feed, Stop as FeedStop};
use efd_central_lake::{Counters, Lake, Options};
use efd_central_log::{BlockLog, EmbeddedLog, Progress};
use efd_shared_daemon::http::Readiness;
use serde_json::{Value as Json, json};

use crate::config::Config;

#[cfg(test)]
mod tests;

/// What the lake's thread is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Starting,
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

/// What the lake's thread tells the others.
#[derive(Clone, Debug, Default)]
pub(crate) struct LakeStatus {
    now: Arc<Mutex<LakeNow>>,
    log: Arc<Mutex<Option<Arc<EmbeddedLog>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LakeStatus {
    fn set(&self, state: State) {
        lock(&self.now).state = state;
    }

    fn report(&self, lake: &Lake) {
        let mut now = lock(&self.now);
        now.counters = lake.counters();
        now.progress.clone_from(lake.committed());
    }

    /// Blocks of the log that no commit covers.
    fn behind(&self, progress: &Progress) -> u64 {
        let Some(log) = lock(&self.log).clone() else {
            return 0;
        };
        let partitions = log.partitions().unwrap_or_default();
        let behind = |partition| {
            let (_, end) = log.bounds(partition).ok()?;
            Some(end.0.saturating_sub(progress.next_place(partition).0))
        };
        partitions.iter().filter_map(behind).sum()
    }

    pub(crate) fn to_json(&self) -> Json {
        let LakeNow {
            state,
            counters,
            progress,
        } = lock(&self.now).clone();
        let reason = match &state {
            State::Failed(reason) => Some(reason),
            State::Starting | State::Running | State::Stopped => None,
        };
        json!({
            "state": state.as_str(), "reason": reason, "behind_blocks": self.behind(&progress),
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
    lake: Lake,
    status: LakeStatus,
}

impl LakeRole {
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let root = config.lake_path();
        let options = Options {
            commit_after: config.lake.commit_every.duration(),
            memory_bytes: config.lake.memory_max.as_usize(),
            ..Options::default()
        };
        let (lake, progress) = Lake::open(root.clone(), options)
            .with_context(|| format!("open the lake {}", root.display()))?;
        let status = LakeStatus::default();
        // Until the first commit of this start, what the last one has.
        lock(&status.now).progress = progress;
        Ok(Self { lake, status })
    }

    pub(crate) fn status(&self) -> LakeStatus {
        self.status.clone()
    }
}

/// The running consumers.
#[derive(Debug)]
pub(crate) struct Roles {
    lake: Option<JoinHandle<Result<()>>>,
    feed: Option<JoinHandle<Result<()>>>,
    keeper: JoinHandle<()>,
    stop_lake: Arc<AtomicBool>,
    stop_feed: FeedStop,
    stop_keeper: Arc<AtomicBool>,
}

const KEEP_EVERY: Duration = Duration::from_secs(1);
const RETAIN_TURNS: u32 = 30;

impl Roles {
    /// A consumer that ends by itself makes `readiness` say so; the others go on.
    pub(crate) fn start(
        log: Arc<EmbeddedLog>,
        lake: Option<LakeRole>,
        feed: Option<Feed>,
        retain: Duration,
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
                settled: Box::new(move || lock(&status.now).progress.clone()),
            });
        }
        if let Some(status) = feed.as_ref().map(Feed::status) {
            consumers.push(Consumer {
                name: "feed",
                settled: Box::new(move || status.settled()),
            });
        }
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
        let feed = feed.map(|feed| {
            let (log, stop, readiness) = (Arc::clone(&log), stop_feed.clone(), readiness.clone());
            let status = feed.status();
            let failed = move |reason: String| {
                readiness.waits("feed", format!("its thread ended: {reason}"));
                status.fail(&reason);
            };
            spawn("feed", move || {
                watched("feed", failed, || Ok(feed.run(log, &stop)?))
            })
        });
        let keeper = {
            let stop = Arc::clone(&stop_keeper);
            spawn("keeper", move || keep(&log, &consumers, retain, &stop))?
        };
        Ok(Self {
            lake: lake.transpose()?,
            feed: feed.transpose()?,
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
            feed,
            keeper,
            stop_lake,
            stop_feed,
            stop_keeper,
        } = self;
        stop_lake.store(true, Ordering::Release);
        stop_feed.set();
        let mut failed = Vec::new();
        for (name, thread) in [("lake", lake), ("feed", feed)] {
            match thread.map(JoinHandle::join) {
                None | Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => failed.push(format!("{name}: {error:#}")),
                Some(Err(_panic)) => failed.push(format!("{name}: its thread panicked")),
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

fn run_lake(role: LakeRole, log: Arc<EmbeddedLog>, stop: &AtomicBool) -> Result<()> {
    let LakeRole { lake, status } = role;
    status.report(&lake);
    status.set(State::Running);
    efd_central_lake::run(lake, log, stop, |lake| status.report(lake))?;
    status.set(State::Stopped);
    Ok(())
}

/// Who reads the log, and what of it each has durably and so needs no longer. One that is dead holds the log where it
/// died: what it has not taken is nowhere else.
struct Consumer {
    name: &'static str,
    settled: Box<dyn Fn() -> Progress + Send>,
}

/// What the log can do between appends, and its retention.
fn keep(log: &EmbeddedLog, consumers: &[Consumer], retain: Duration, stop: &AtomicBool) {
    let mut turns = 0;
    while !stop.load(Ordering::Acquire) {
        std::thread::sleep(KEEP_EVERY);
        log.maintain();
        turns += 1;
        if turns % RETAIN_TURNS == 0 {
            forget_old(log, consumers, retain);
        }
    }
}

fn forget_old(log: &EmbeddedLog, consumers: &[Consumer], retain: Duration) {
    let settled: Vec<(&str, Progress)> = consumers
        .iter()
        .map(|consumer| (consumer.name, (consumer.settled)()))
        .collect();
    match log.retain(retain, &settled) {
        Ok(retained) if retained.held_back > 0 => tracing::warn!(
            segments = retained.held_back, consumers = ?retained.held_back_by,
            "The log keeps old segments that consumers have not taken"
        ),
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "Retention of the log failed"),
    }
}
