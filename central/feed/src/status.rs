//! What an operator, and the metrics, may know of a running feed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use efd_central_log::Progress;
use efd_shared_model::UtcNanos;

/// What the feed is doing. Waiting states carry the reason.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum State {
    #[default]
    Starting,
    /// Another process feeds; this one takes over when it must.
    StandingBy,
    /// The brokers do not answer, or cannot do what is asked. Nothing is lost: the log keeps the blocks.
    WaitingForBroker(String),
    /// A new schema cannot be registered: its records and all behind them wait.
    WaitingForRegistry(String),
    /// The checkpoint cannot be written, and must be before new topics are used.
    WaitingForFolder(String),
    WaitingForLog(String),
    /// Looks up what was produced behind the checkpoint.
    ReadingBack,
    Running,
    /// A topic is owed as much as can be remembered.
    Full,
    Stopped,
    /// The feed's thread ended by itself: a person must look, and start the process anew.
    Failed(String),
}

impl State {
    /// A word for a metric's label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::StandingBy => "standing_by",
            Self::WaitingForBroker(_) => "waiting_for_broker",
            Self::WaitingForRegistry(_) => "waiting_for_registry",
            Self::WaitingForFolder(_) => "waiting_for_folder",
            Self::WaitingForLog(_) => "waiting_for_log",
            Self::ReadingBack => "reading_back",
            Self::Running => "running",
            Self::Full => "full",
            Self::Stopped => "stopped",
            Self::Failed(_) => "failed",
        }
    }

    /// Of several, the highest is told.
    fn rank(&self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::StandingBy => 1,
            Self::Running => 2,
            Self::Starting => 3,
            Self::ReadingBack => 4,
            Self::Full => 5,
            Self::WaitingForLog(_) => 6,
            Self::WaitingForFolder(_) => 7,
            Self::WaitingForRegistry(_) => 8,
            Self::WaitingForBroker(_) => 9,
            Self::Failed(_) => 10,
        }
    }

    /// Why it is not what it should be.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::WaitingForBroker(reason)
            | Self::WaitingForRegistry(reason)
            | Self::WaitingForFolder(reason)
            | Self::WaitingForLog(reason)
            | Self::Failed(reason) => Some(reason),
            Self::Full => Some("a topic is owed as much as can be remembered"),
            Self::Starting
            | Self::StandingBy
            | Self::ReadingBack
            | Self::Running
            | Self::Stopped => None,
        }
    }
}

/// A topic that is owed records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedOutput {
    pub topic: String,
    pub reason: String,
    /// Nothing is sent to it; otherwise only single records are refused.
    pub whole: bool,
    /// Blocks that may have records for it.
    pub owed_blocks: u64,
    /// Records refused one by one.
    pub owed_records: u64,
}

/// Counters count since the feed was opened.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Status {
    pub state: State,
    /// Records that the broker acknowledged.
    pub records: u64,
    /// Bytes of records handed to the producer: framing and datum.
    pub bytes: u64,
    /// Blocks whose every record was acknowledged, found or noted as owed.
    pub blocks: u64,
    /// Blocks in the log that are not settled, over all partitions.
    pub lag_blocks: u64,
    pub in_flight_blocks: u64,
    pub in_flight_records: u64,
    /// Topics that have been opened.
    pub topics: u64,
    pub checkpoints: u64,
    pub checkpoint_failures: u64,
    pub last_checkpoint: Option<UtcNanos>,
    /// The checkpoint could not be read: why, where it is kept, and what beginning without it costs.
    pub checkpoint_damaged: Option<String>,
    /// Bytes of it.
    pub checkpoint_bytes: u64,
    pub parked: Vec<ParkedOutput>,
    /// Schemas that the registry refused under their plain name.
    pub registry_refusals: u64,
    /// Times that a topic refused a record.
    pub refused: u64,
    /// Records left out because they were found in their topic after a restart.
    pub skipped: u64,
    /// Records found twice in a topic while reading back.
    pub duplicates: u64,
    /// Records in our topics that are not ours.
    pub strangers: u64,
    /// Topics whose offsets went backwards: made anew, or cut by the cluster.
    pub rewound: u64,
    /// Owed blocks that the log does not have any more.
    pub vanished_blocks: u64,
    /// Blocks whose content could not be read.
    pub unreadable_blocks: u64,
    /// Sessions begun: more than one means that the producer had to be rebuilt.
    pub sessions: u64,
}

impl Status {
    /// Of workers that share the work: the state of the one that is worst off, and sums.
    pub fn of_all(workers: impl IntoIterator<Item = Self>) -> Self {
        let sum = workers.into_iter().reduce(|mut sum, one| {
            if sum.state.rank() < one.state.rank() {
                sum.state = one.state;
            }
            sum.records += one.records;
            sum.bytes += one.bytes;
            sum.blocks += one.blocks;
            sum.lag_blocks += one.lag_blocks;
            sum.in_flight_blocks += one.in_flight_blocks;
            sum.in_flight_records += one.in_flight_records;
            sum.topics += one.topics;
            sum.checkpoints += one.checkpoints;
            sum.checkpoint_failures += one.checkpoint_failures;
            sum.last_checkpoint = sum.last_checkpoint.max(one.last_checkpoint);
            sum.checkpoint_damaged = sum.checkpoint_damaged.or(one.checkpoint_damaged);
            sum.checkpoint_bytes += one.checkpoint_bytes;
            sum.parked.extend(one.parked);
            sum.registry_refusals += one.registry_refusals;
            sum.refused += one.refused;
            sum.skipped += one.skipped;
            sum.duplicates += one.duplicates;
            sum.strangers += one.strangers;
            sum.rewound += one.rewound;
            sum.vanished_blocks += one.vanished_blocks;
            sum.unreadable_blocks += one.unreadable_blocks;
            sum.sessions += one.sessions;
            sum
        });
        sum.unwrap_or_default()
    }
}

/// A handle on the newest [`Status`].
#[derive(Clone, Debug, Default)]
pub struct StatusReader {
    shared: Arc<Mutex<Status>>,
    settled: Arc<Mutex<Progress>>,
}

impl StatusReader {
    pub fn read(&self) -> Status {
        lock(&self.shared).clone()
    }

    /// What the durable checkpoint has: the feed asks the log for nothing before it, whatever happens. Records that
    /// a topic refuses are settled too, so that one bad topic does not keep the whole log; they are owed as long as the
    /// log has them.
    pub fn settled(&self) -> Progress {
        lock(&self.settled).clone()
    }

    /// For whoever runs the feed's thread: it ended by an error, or panicked.
    pub fn fail(&self, reason: &str) {
        self.update(|status| status.state = State::Failed(reason.to_owned()));
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut lock(&self.shared));
    }

    pub(crate) fn settle(&self, progress: &Progress) {
        lock(&self.settled).clone_from(progress);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
