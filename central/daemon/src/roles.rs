//! The consumers of the log, a thread each, and what keeps the log in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use efd_central_feed::{Feed, Stop as FeedStop};
use efd_central_lake::{Counters, Lake, Options};
use efd_central_log::{BlockLog, EmbeddedLog, Progress};
use serde_json::{Value as Json, json};

use crate::config::Config;

/// What the lake's thread tells the others.
#[derive(Clone, Debug)]
pub(crate) struct LakeStatus {
    shared: Arc<Mutex<(Counters, Progress)>>,
    log: Arc<Mutex<Option<Arc<EmbeddedLog>>>>,
}

impl LakeStatus {
    fn read(&self) -> (Counters, Progress) {
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Blocks of the log that no commit covers.
    fn behind(&self) -> u64 {
        let (_, progress) = self.read();
        let log = self
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(log) = log else { return 0 };
        let partitions = log.partitions().unwrap_or_default();
        let behind = |partition| {
            let (_, end) = log.bounds(partition).ok()?;
            Some(end.0.saturating_sub(progress.next_place(partition).0))
        };
        partitions.iter().filter_map(behind).sum()
    }

    pub(crate) fn to_json(&self) -> Json {
        let (counters, _) = self.read();
        json!({
            "state": "running", "behind_blocks": self.behind(),
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
        let status = LakeStatus {
            shared: Arc::new(Mutex::new((lake.counters(), progress))),
            log: Arc::default(),
        };
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
    pub(crate) fn start(
        log: Arc<EmbeddedLog>,
        lake: Option<LakeRole>,
        feed: Option<Feed>,
        retain: Duration,
    ) -> Result<Self> {
        let (stop_lake, stop_feed, stop_keeper) = (
            Arc::<AtomicBool>::default(),
            FeedStop::default(),
            Arc::<AtomicBool>::default(),
        );
        let lake_status = lake.as_ref().map(LakeRole::status);
        if let Some(status) = &lake_status {
            *status.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&log));
        }
        let has_feed = feed.is_some();
        let lake = lake.map(|role| {
            let (log, stop) = (Arc::clone(&log), Arc::clone(&stop_lake));
            spawn("lake", move || run_lake(role, log, &stop))
        });
        let feed = feed.map(|feed| {
            let (log, stop) = (Arc::clone(&log), stop_feed.clone());
            spawn("feed", move || {
                feed.run(log, &stop)
                    .inspect_err(|error| tracing::error!(%error, "The feed ended"))?;
                Ok(())
            })
        });
        let keeper = {
            let stop = Arc::clone(&stop_keeper);
            spawn("keeper", move || {
                keep(&log, lake_status.as_ref(), has_feed, retain, &stop)
            })?
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

fn run_lake(role: LakeRole, log: Arc<EmbeddedLog>, stop: &AtomicBool) -> Result<()> {
    let LakeRole { lake, status } = role;
    let report = |lake: &Lake| {
        let now = (lake.counters(), lake.committed().clone());
        *status.shared.lock().unwrap_or_else(PoisonError::into_inner) = now;
    };
    let result = efd_central_lake::run(lake, log, stop, report);
    result.inspect_err(|error| {
        tracing::error!(error = error as &dyn std::error::Error, "The lake ended")
    })?;
    Ok(())
}

/// What the log can do between appends, and its retention.
fn keep(
    log: &EmbeddedLog,
    lake: Option<&LakeStatus>,
    has_feed: bool,
    retain: Duration,
    stop: &AtomicBool,
) {
    let mut turns = 0;
    while !stop.load(Ordering::Acquire) {
        std::thread::sleep(KEEP_EVERY);
        log.maintain();
        turns += 1;
        // The feed keeps its place in its own folder: while it runs, what it may need is not judged here.
        if turns % RETAIN_TURNS == 0 && !has_feed {
            let consumers: Vec<(&str, Progress)> = lake
                .iter()
                .map(|status| ("lake", status.read().1))
                .collect();
            match log.retain(retain, &consumers) {
                Ok(retained) if retained.held_back > 0 => tracing::warn!(
                    segments = retained.held_back, consumers = ?retained.held_back_by,
                    "The log keeps old segments that consumers have not taken"
                ),
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "Retention of the log failed"),
            }
        }
    }
}
