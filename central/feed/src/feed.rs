//! The feed's thread: sessions one after another, and the waiting between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use efd_central_log::{BlockLog, Generation, LogError, Seat, Tenure};
use efd_shared_model::{Shard, UtcNanos};

use crate::broker::BrokerError;
use crate::checkpoint::Checkpoint;
use crate::folder::{Folder, FolderError};
use crate::kafka::KafkaBroker;
use crate::options::{FeedOptions, OptionsError};
use crate::registry::HttpRegistry;
use crate::session::{Hands, Saves, Session, SessionError, Settings, Step};
use crate::status::{State, Status, StatusReader};
use crate::store::{Found, Store, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("librdkafka does not take its properties: {0}")]
    Properties(String),
    #[error("the log is closed")]
    LogClosed,
}

/// Ends [`Feed::run`] from another thread.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    is_set: Arc<AtomicBool>,
}

impl Stop {
    pub fn set(&self) {
        self.is_set.store(true, Ordering::Release);
    }

    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }
}

/// One feed: a cluster, a registry, and a folder where this process alone feeds.
#[derive(Debug)]
pub struct Feed {
    options: FeedOptions,
    /// `None` where processes take turns: then a seat keeps the checkpoint.
    folder: Option<Folder>,
    status: StatusReader,
}

/// Between attempts to begin a session.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest a stop or a new status can take.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// While acknowledgements are open; one that comes ends the wait.
const ACK_WAIT: Duration = Duration::from_millis(5);

/// What it costs to have no checkpoint any more: what a checkpoint alone knows.
const BEGIN_ANEW: &str = "the feed reads all its topics back and leaves out what they have; a record that its topic has \
    expired and the log has not is produced again, what is owed to a topic is looked for in the log as far as that goes \
    back, and a schema that the registry refused is offered to it again under its plain name";

impl Feed {
    /// Takes the folder. Neither broker nor registry need be there yet.
    pub fn open(options: FeedOptions) -> Result<Self, FeedError> {
        let folder = Folder::open(&options.folder)?;
        judge(&options)?;
        let mut feed = Self::new(options, Some(folder));
        // Before the first session: until then the log must keep what the checkpoint does not have.
        if let Some(folder) = &mut feed.folder {
            load(&mut Store::Folder(folder), feed.options.shard, &feed.status)?;
        }
        Ok(feed)
    }

    /// A worker for each shard, which runs whenever this process has its seat, by [`Self::run_in`].
    pub fn standing_by(
        options: &FeedOptions,
        shards: impl Iterator<Item = Shard>,
    ) -> Result<Vec<(Shard, Self)>, FeedError> {
        judge(options)?;
        let worker = |shard| {
            let options = FeedOptions {
                shard,
                ..options.clone()
            };
            let feed = Self::new(options, None);
            feed.status
                .update(|status| status.state = State::StandingBy);
            (shard, feed)
        };
        Ok(shards.map(worker).collect())
    }

    fn new(options: FeedOptions, folder: Option<Folder>) -> Self {
        Self {
            options,
            folder,
            status: StatusReader::default(),
        }
    }

    /// A handle that stays good while the feed runs.
    pub fn status(&self) -> StatusReader {
        self.status.clone()
    }

    /// Feeds until `stop` is set; then waits for open acknowledgements and writes a last checkpoint.
    /// Whatever fails outside is waited for; only a closed log ends it early.
    pub fn run<L: BlockLog + ?Sized>(mut self, log: Arc<L>, stop: &Stop) -> Result<(), FeedError> {
        if let Some(mut folder) = self.folder.take() {
            let mut store = Store::Folder(&mut folder);
            self.sessions(&log, &mut store, &Tenure::begin(), stop)?;
        }
        self.status.update(|status| status.state = State::Stopped);
        Ok(())
    }

    /// As [`Self::run`], and until another process takes over.
    pub fn run_in<L: BlockLog + ?Sized>(
        &mut self,
        seat: &Seat,
        log: &Arc<L>,
        stop: &Stop,
    ) -> Result<(), FeedError> {
        let mut store = Store::Seat { seat, bytes: 0 };
        self.sessions(log, &mut store, seat.tenure(), stop)?;
        let state = if stop.is_set() {
            State::Stopped
        } else {
            State::StandingBy
        };
        self.status.update(|status| {
            status.state = state;
            // Of what follows another process knows.
            (
                status.lag_blocks,
                status.in_flight_blocks,
                status.in_flight_records,
            ) = (0, 0, 0);
            status.parked.clear();
        });
        Ok(())
    }

    fn sessions<L: BlockLog + ?Sized>(
        &mut self,
        log: &Arc<L>,
        store: &mut Store<'_>,
        tenure: &Tenure,
        stop: &Stop,
    ) -> Result<(), FeedError> {
        let begin = now();
        let mut registry = HttpRegistry::new(&self.options)?;
        let mut before = self.status.read();
        while !stop.is_set() && !tenure.is_over() {
            let session = self.session(
                (log, &mut registry, &mut *store),
                (begin, &before),
                (tenure, stop),
            );
            let reason = match session {
                Ok(()) => break,
                Err(Ended::Log(LogError::Closed)) => return Err(FeedError::LogClosed),
                Err(Ended::Store(error)) => State::WaitingForFolder(error.one_line()),
                Err(Ended::Log(error)) => State::WaitingForLog(error.to_string()),
                Err(Ended::Broker(error)) => State::WaitingForBroker(error.to_string()),
            };
            let known = self.status.read().state;
            if known.as_str() != reason.as_str() {
                tracing::warn!(?reason, "Feed waits");
            }
            self.status.update(|status| status.state = reason);
            before = self.status.read();
            sleep(RETRY_AFTER, stop);
        }
        Ok(())
    }

    /// From the last checkpoint to a stop, a failure, or the end of the tenure.
    fn session<L: BlockLog + ?Sized>(
        &mut self,
        (log, registry, store): (&Arc<L>, &mut HttpRegistry, &mut Store<'_>),
        (begin, before): (Instant, &Status),
        (tenure, stop): (&Tenure, &Stop),
    ) -> Result<(), Ended> {
        let elapsed = || now().duration_since(begin);
        let checkpoint = load(store, self.options.shard, &self.status)?;
        let broker = KafkaBroker::connect(&self.options, tenure.clone()).map_err(Ended::Broker)?;
        if !matches!(before.state, State::WaitingForBroker(_)) {
            self.status
                .update(|status| status.state = State::ReadingBack);
        }
        let mut session = Session::start(
            settings(&self.options),
            Arc::clone(log),
            broker,
            checkpoint,
            elapsed(),
        )?;
        self.status.update(|status| status.sessions += 1);
        tracing::info!("Feed session begins");
        let mut report_at = Duration::ZERO;
        let mut saves = Saves::default();
        let mut wait = Duration::ZERO;
        let mut generation = Generation::default();
        loop {
            let mut hands = Hands {
                registry,
                store: &mut *store,
            };
            let ended = session.step(elapsed(), wait, &mut hands);
            if report_at <= elapsed() || ended.is_err() || session.saves() != saves {
                report_at = elapsed() + REPORT_EVERY;
                saves = self.report(&session, before, (saves, store.checkpoint_bytes()))?;
            }
            match ended? {
                Step::Busy => wait = Duration::ZERO,
                Step::Waiting => wait = ACK_WAIT,
                Step::Sent => {
                    wait = Duration::ZERO;
                    generation = log.wait(generation, ACK_WAIT);
                }
                Step::Idle => {
                    wait = Duration::ZERO;
                    generation = log.wait(generation, LOOK_EVERY);
                }
            }
            if tenure.is_over() {
                // What was produced behind the last checkpoint is read back by whoever comes after.
                tracing::warn!("Feed session ends: another process may take over");
                return Ok(());
            }
            if stop.is_set() {
                break;
            }
        }
        let give_up_at = elapsed() + self.options.drain_within;
        while session.drain(ACK_WAIT)? != Step::Idle && elapsed() < give_up_at {}
        let saved = session.save(store);
        self.report(&session, before, (saves, store.checkpoint_bytes()))?;
        if let Err(state) = saved {
            // What was produced behind the older checkpoint is read back at the next start.
            tracing::warn!(?state, "Last checkpoint is not written");
        }
        Ok(())
    }

    fn report<L: BlockLog + ?Sized>(
        &self,
        session: &Session<L, KafkaBroker>,
        before: &Status,
        (known, checkpoint_bytes): (Saves, u64),
    ) -> Result<Saves, LogError> {
        let saves = session.saves();
        if saves.written != known.written {
            self.status.settle(session.saved());
        }
        let mut result = Ok(saves);
        self.status.update(|status| {
            status.checkpoints = before.checkpoints + saves.written;
            status.checkpoint_failures = before.checkpoint_failures + saves.failed;
            if saves.written != known.written {
                status.last_checkpoint = Some(utc_now());
                status.checkpoint_bytes = checkpoint_bytes;
            }
            if let Err(error) = session.report(before, status) {
                result = Err(error);
            }
        });
        result
    }
}

/// Broker and registry are connected later; what they are told is judged at once.
fn judge(options: &FeedOptions) -> Result<(), FeedError> {
    options.check()?;
    HttpRegistry::new(options)?;
    KafkaBroker::connect(options, Tenure::begin())
        .map_err(|error| FeedError::Properties(error.to_string()))?;
    Ok(())
}

/// The checkpoint. One that is damaged is told: then all topics are read back and what is there is not produced again,
/// whatever of it the log still has.
fn load(
    store: &mut Store<'_>,
    shard: Shard,
    status: &StatusReader,
) -> Result<Checkpoint, StoreError> {
    let nothing = Checkpoint {
        shard,
        ..Checkpoint::default()
    };
    let checkpoint = match store.load()? {
        Found::Nothing => nothing,
        Found::Checkpoint(checkpoint) if checkpoint.shard == shard => *checkpoint,
        Found::Checkpoint(checkpoint) => {
            let found = checkpoint.shard;
            tracing::warn!(%found, %shard, "The work is shared otherwise than it was; {BEGIN_ANEW}");
            nothing
        }
        Found::Damaged { reason } => {
            tracing::error!(reason, "Checkpoint is damaged; {BEGIN_ANEW}");
            let text = format!("{reason}; {BEGIN_ANEW}");
            status.update(|status| status.checkpoint_damaged = Some(text));
            nothing
        }
    };
    status.settle(&checkpoint.progress);
    Ok(checkpoint)
}

/// Why a session ended.
enum Ended {
    Broker(BrokerError),
    Log(LogError),
    Store(StoreError),
}

impl From<SessionError> for Ended {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Broker(error) => Self::Broker(error),
            SessionError::Log(error) => Self::Log(error),
        }
    }
}

impl From<LogError> for Ended {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn settings(options: &FeedOptions) -> Settings {
    #[cfg(feature = "sabotage")]
    let (no_dedup, dies_at_save) = match options.sabotage {
        Some(crate::options::Sabotage::NoDedup) => (true, None),
        Some(crate::options::Sabotage::DieBeforeCheckpoint) => (false, Some(4)),
        None => (false, None),
    };
    #[cfg(not(feature = "sabotage"))]
    let (no_dedup, dies_at_save) = (false, None);
    Settings {
        topic_format: options.topic_format.clone(),
        shard: options.shard,
        checkpoint_every: options.checkpoint_every,
        retry_after: options.retry_after,
        in_flight_blocks_max: options.in_flight_blocks_max,
        no_dedup,
        dies_at_save,
    }
}

fn sleep(time: Duration, stop: &Stop) {
    let until = now() + time;
    while !stop.is_set() && now() < until {
        thread::sleep(LOOK_EVERY.min(time));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the feed's thread is the shell: its sessions take the time as an argument"
)]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the status says when the checkpoint was written"
)]
fn utc_now() -> UtcNanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UtcNanos(since.map_or(0, |since| since.as_nanos() as i64))
}
