//! The feed's thread: sessions one after another, and the waiting between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use efd_central_log::{BlockLog, Generation, LogError};
use efd_shared_model::UtcNanos;

use crate::broker::BrokerError;
use crate::checkpoint::Checkpoint;
use crate::folder::{Folder, FolderError, Loaded};
use crate::kafka::KafkaBroker;
use crate::options::{FeedOptions, OptionsError};
use crate::registry::HttpRegistry;
use crate::session::{Hands, Saves, Session, SessionError, Settings, Step};
use crate::status::{State, Status, StatusReader};

#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Folder(#[from] FolderError),
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

/// One feed: a folder, a cluster, a registry.
#[derive(Debug)]
pub struct Feed {
    options: FeedOptions,
    folder: Folder,
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
        options.check()?;
        // It connects later; what it is told is judged at once.
        KafkaBroker::connect(&options).map_err(|error| FeedError::Properties(error.to_string()))?;
        let folder = Folder::open(&options.folder)?;
        let feed = Self {
            options,
            folder,
            status: StatusReader::default(),
        };
        // Before the first session: until then the log must keep what the checkpoint does not have.
        feed.load()?;
        Ok(feed)
    }

    /// The checkpoint. One that is damaged is moved aside and told: then all topics are read back and what is there is
    /// not produced again, whatever of it the log still has.
    fn load(&self) -> Result<Checkpoint, FolderError> {
        let checkpoint = match self.folder.load()? {
            Loaded::Nothing => Checkpoint::default(),
            Loaded::Checkpoint(checkpoint) => checkpoint,
            Loaded::Damaged { moved_to, reason } => {
                let moved_to = moved_to.display();
                let text = format!("{reason}; moved to {moved_to}; {BEGIN_ANEW}");
                tracing::error!(reason, %moved_to, "Checkpoint is damaged; {BEGIN_ANEW}");
                self.status
                    .update(|status| status.checkpoint_damaged = Some(text));
                Checkpoint::default()
            }
        };
        self.status.settle(&checkpoint.progress);
        Ok(checkpoint)
    }

    /// A handle that stays good while the feed runs.
    pub fn status(&self) -> StatusReader {
        self.status.clone()
    }

    /// Feeds until `stop` is set; then waits for open acknowledgements and writes a last checkpoint.
    /// Whatever fails outside is waited for; only a closed log ends it early.
    pub fn run<L: BlockLog + ?Sized>(mut self, log: Arc<L>, stop: &Stop) -> Result<(), FeedError> {
        let begin = now();
        let mut registry = HttpRegistry::new(&self.options.registry);
        let mut before = Status::default();
        while !stop.is_set() {
            let reason = match self.session(&log, &mut registry, (begin, &before), stop) {
                Ok(()) => break,
                Err(Ended::Log(LogError::Closed)) => return Err(FeedError::LogClosed),
                Err(Ended::Folder(error)) => State::WaitingForFolder(error.one_line()),
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
        self.status.update(|status| status.state = State::Stopped);
        Ok(())
    }

    /// From the last checkpoint to a stop or a failure.
    fn session<L: BlockLog + ?Sized>(
        &mut self,
        log: &Arc<L>,
        registry: &mut HttpRegistry,
        (begin, before): (Instant, &Status),
        stop: &Stop,
    ) -> Result<(), Ended> {
        let elapsed = || now().duration_since(begin);
        let checkpoint = self.load()?;
        let broker = KafkaBroker::connect(&self.options).map_err(Ended::Broker)?;
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
                store: &mut self.folder,
            };
            let ended = session.step(elapsed(), wait, &mut hands);
            if report_at <= elapsed() || ended.is_err() || session.saves() != saves {
                report_at = elapsed() + REPORT_EVERY;
                saves = self.report(&session, before, saves)?;
            }
            match ended? {
                Step::Busy => wait = Duration::ZERO,
                Step::Waiting => wait = ACK_WAIT,
                Step::Idle => {
                    wait = Duration::ZERO;
                    generation = log.wait(generation, LOOK_EVERY);
                }
            }
            if stop.is_set() {
                break;
            }
        }
        let give_up_at = elapsed() + self.options.drain_within;
        while session.drain(ACK_WAIT)? != Step::Idle && elapsed() < give_up_at {}
        let saved = session.save(&mut self.folder);
        self.report(&session, before, saves)?;
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
        known: Saves,
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
                status.checkpoint_bytes = self.folder.checkpoint_bytes();
            }
            if let Err(error) = session.report(before, status) {
                result = Err(error);
            }
        });
        result
    }
}

/// Why a session ended.
enum Ended {
    Broker(BrokerError),
    Log(LogError),
    Folder(FolderError),
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

impl From<FolderError> for Ended {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

fn settings(options: &FeedOptions) -> Settings {
    #[cfg(feature = "sabotage")]
    let no_dedup = options.sabotage == Some(crate::options::Sabotage::NoDedup);
    #[cfg(not(feature = "sabotage"))]
    let no_dedup = false;
    Settings {
        topic_format: options.topic_format.clone(),
        checkpoint_every: options.checkpoint_every,
        retry_after: options.retry_after,
        in_flight_blocks_max: options.in_flight_blocks_max,
        no_dedup,
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
