//! From a checkpoint to the next failure: takes blocks from the log, routes their records, sends them, and writes
//! checkpoints. Generic over the seams; all waiting is the caller's.

mod push;
mod retry;
mod streams;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use efd_central_log::{BlockLog, Follower, LogError, Progress};
use efd_shared_model::{EpochId, Shard, StreamNumber};

use crate::account::{Account, Counters, Purpose};
use crate::broker::{Ack, Broker, BrokerError, Ensured, OutputIx, Span};
use crate::checkpoint::Checkpoint;
use crate::options::TopicFormat;
use crate::registry::Registry;
use crate::route::{RouteKey, Routes};
use crate::status::{ParkedOutput, State, Status};
use crate::store::CheckpointStore;

use push::{Job, Pushed};
use retry::Retries;

/// Blocks begun in one step, so that acknowledgements and the checkpoint get their turn.
const BLOCKS_PER_STEP: usize = 64;
/// After the registry, the broker or the disk could not do what a new topic needs.
const BLOCKED_FOR: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub topic_format: TopicFormat,
    pub shard: Shard,
    pub checkpoint_every: Duration,
    pub retry_after: Duration,
    pub in_flight_blocks_max: usize,
    /// [`crate::options::Sabotage::NoDedup`]
    pub no_dedup: bool,
    /// [`crate::options::Sabotage::DieBeforeCheckpoint`]: in place of that checkpoint, where records were acknowledged.
    pub dies_at_save: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The session is over; the next one reads back from the last checkpoint.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What a step could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more to send.
    Busy,
    /// Nothing can be sent before an acknowledgement comes or a wait is over.
    Waiting,
    /// Everything in the log has been sent, not all of it acknowledged.
    Sent,
    /// Everything in the log has been acknowledged.
    Idle,
}

/// Where the records of a stream go.
#[derive(Clone, Debug)]
enum Destination {
    Output(OutputIx, Arc<RouteKey>),
    /// Another worker feeds them.
    Elsewhere,
}

/// Why new blocks wait.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Blocked {
    until: Duration,
    state: State,
}

/// What the session works with besides the broker, which dies with it.
pub(crate) struct Hands<'a> {
    pub registry: &'a mut dyn Registry,
    pub store: &'a mut dyn CheckpointStore,
}

pub(crate) struct Session<L: ?Sized, B> {
    settings: Settings,
    log: Arc<L>,
    broker: B,
    follower: Follower<L>,
    account: Account,
    routes: Routes,
    /// Where a stream's records go. Lookups only.
    streams: BTreeMap<(EpochId, StreamNumber), Destination>,
    job: Option<Job>,
    retries: Retries,
    blocked: Option<Blocked>,
    acks: Vec<Ack>,
    /// Handed to the producer.
    bytes: u64,
    save_at: Duration,
    is_dirty: bool,
    saves: Saves,
    /// Of the newest checkpoint that is durable.
    saved: Progress,
    registry_refusals: u64,
    unreadable_blocks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Saves {
    pub written: u64,
    pub failed: u64,
}

impl<L: BlockLog + ?Sized, B: Broker> Session<L, B> {
    /// Reads back what was produced behind `checkpoint`.
    pub(crate) fn start(
        settings: Settings,
        log: Arc<L>,
        mut broker: B,
        checkpoint: Checkpoint,
        now: Duration,
    ) -> Result<Self, SessionError> {
        let Checkpoint {
            shard: _,
            progress,
            outputs,
            routes,
        } = checkpoint;
        let topics: Vec<&str> = outputs.keys().map(String::as_str).collect();
        let ensured = broker.ensure(&topics)?;
        let mut account = Account::default();
        let (mut spans, mut of_span) = (Vec::new(), Vec::new());
        for ((topic, mark), ensured) in outputs.into_iter().zip(ensured) {
            let from = Some(mark.end);
            let output = account.open(&topic, Some(mark));
            match ensured {
                Ensured::Refused(reason) => account.output_mut(output).park(reason),
                Ensured::Created | Ensured::Existed => {
                    spans.push(Span { topic, from });
                    of_span.push(output);
                }
            }
        }
        let ends = broker.read_back(&spans, &mut |met| {
            if let (Some(id), false) = (met.id, settings.no_dedup) {
                account.note_found(of_span[met.span], id, met.offset, &progress);
            }
        })?;
        for (&output, end) in of_span.iter().zip(ends) {
            account.handle_read_back(output, end);
        }
        let save_at = now + settings.checkpoint_every;
        Ok(Self {
            saved: progress.clone(),
            follower: Follower::of_shard(Arc::clone(&log), progress, settings.shard),
            settings,
            log,
            broker,
            account,
            routes,
            streams: BTreeMap::new(),
            job: None,
            retries: Retries::default(),
            blocked: None,
            acks: Vec::new(),
            bytes: 0,
            save_at,
            is_dirty: true,
            saves: Saves::default(),
            registry_refusals: 0,
            unreadable_blocks: 0,
        })
    }

    /// Takes acknowledgements, waiting up to `wait` for one, then sends what can be sent.
    /// After an error the session is over.
    pub(crate) fn step(
        &mut self,
        now: Duration,
        wait: Duration,
        hands: &mut Hands<'_>,
    ) -> Result<Step, SessionError> {
        self.take_acks(wait)?;
        self.advance_retries(now, hands)?;
        let step = self.deliver(now, hands)?;
        self.broker.flush();
        if self.save_at <= now {
            self.save_at = now + self.settings.checkpoint_every;
            // A failure is counted and tried again: what is read back after a crash only grows.
            let _counted = self.save(hands.store);
        }
        Ok(match step {
            Step::Idle => self.retries.step(),
            // What is retried goes on with its acknowledgements.
            Step::Sent if self.retries.step() != Step::Idle => Step::Waiting,
            Step::Busy | Step::Waiting | Step::Sent => step,
        })
    }

    /// As [`Self::step`], but begins no block: on the way to a stop.
    pub(crate) fn drain(&mut self, wait: Duration) -> Result<Step, SessionError> {
        self.take_acks(wait)?;
        if let Some(mut job) = self.job.take_if(|job| job.is_routed)
            && self.push(&mut job)? == Pushed::Later
        {
            self.job = Some(job);
        }
        self.broker.flush();
        let in_flight = self.account.records_in_flight() > 0
            || self.job.as_ref().is_some_and(|job| job.is_routed);
        Ok(if in_flight { Step::Waiting } else { Step::Idle })
    }

    fn take_acks(&mut self, wait: Duration) -> Result<(), SessionError> {
        let mut acks = std::mem::take(&mut self.acks);
        self.broker.poll(wait, &mut acks)?;
        self.is_dirty |= !acks.is_empty();
        for ack in acks.drain(..) {
            self.account.handle_ack(ack);
        }
        self.acks = acks;
        Ok(())
    }

    fn deliver(&mut self, now: Duration, hands: &mut Hands<'_>) -> Result<Step, SessionError> {
        if self
            .blocked
            .as_ref()
            .is_some_and(|blocked| now < blocked.until)
        {
            return Ok(Step::Waiting);
        }
        for _ in 0..BLOCKS_PER_STEP {
            let Some(mut job) = (match self.job.take() {
                Some(job) => Some(job),
                None => self.next_job()?,
            }) else {
                self.blocked = None;
                return Ok(match self.account.blocks_in_flight() {
                    _ if !self.has_room() => Step::Waiting,
                    0 => Step::Idle,
                    _ => Step::Sent,
                });
            };
            if !job.is_routed {
                match self.open_streams(&job.block, hands)? {
                    Ok(()) => job.is_routed = true,
                    Err(state) => {
                        let until = now + BLOCKED_FOR;
                        if self
                            .blocked
                            .as_ref()
                            .is_none_or(|blocked| blocked.state != state)
                        {
                            tracing::warn!(?state, "Feed waits");
                        }
                        self.blocked = Some(Blocked { until, state });
                        self.job = Some(job);
                        return Ok(Step::Waiting);
                    }
                }
                self.blocked = None;
            }
            if self.push(&mut job)? == Pushed::Later {
                self.job = Some(job);
                return Ok(Step::Waiting);
            }
        }
        Ok(Step::Busy)
    }

    fn has_room(&self) -> bool {
        self.account.blocks_in_flight() < self.settings.in_flight_blocks_max
            && !self.account.is_full()
    }

    fn next_job(&mut self) -> Result<Option<Job>, SessionError> {
        if !self.has_room() {
            return Ok(None);
        }
        while let Some(delivery) = self.follower.poll()? {
            self.is_dirty = true;
            let id = delivery.block.id();
            let class = delivery.partition.class;
            let slot = self
                .account
                .begin(id, delivery.partition, delivery.place, Purpose::Deliver);
            match delivery.block.open() {
                Ok(block) => return Ok(Some(Job::new(slot, block, class, Purpose::Deliver))),
                Err(error) => {
                    tracing::error!(block = %id, %error, "Block of the log cannot be read; a good copy will be taken");
                    self.unreadable_blocks += 1;
                    self.account.unreadable(slot);
                }
            }
        }
        Ok(None)
    }

    /// What can be claimed at this moment.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            shard: self.settings.shard,
            progress: self.account.settle(self.follower.progress()),
            outputs: self.account.marks(),
            routes: self.routes.clone(),
        }
    }

    /// Writes the checkpoint unless nothing has happened since the last one.
    pub(crate) fn save(&mut self, store: &mut dyn CheckpointStore) -> Result<(), State> {
        if !self.is_dirty {
            return Ok(());
        }
        let is_due = |save| save <= self.saves.written && self.account.counters().records > 0;
        if self.settings.dies_at_save.is_some_and(is_due) {
            std::process::abort();
        }
        let checkpoint = self.checkpoint();
        match store.save(&checkpoint) {
            Ok(()) => {
                self.saved = checkpoint.progress;
                self.saves.written += 1;
                self.is_dirty = false;
                Ok(())
            }
            Err(error) => {
                let reason = error.one_line();
                tracing::warn!(reason, "Checkpoint is not written");
                self.saves.failed += 1;
                Err(State::WaitingForFolder(reason))
            }
        }
    }

    pub(crate) fn saves(&self) -> Saves {
        self.saves
    }

    /// What the feed no longer needs from the log, even if this process is killed at once.
    pub(crate) fn saved(&self) -> &Progress {
        &self.saved
    }

    pub(crate) fn state(&self) -> State {
        match &self.blocked {
            Some(blocked) => blocked.state.clone(),
            None if self.account.is_full() => State::Full,
            None => match self.broker.trouble() {
                Some(reason) if self.account.blocks_in_flight() > 0 => {
                    State::WaitingForBroker(reason)
                }
                Some(_) | None => State::Running,
            },
        }
    }

    /// Adds what this session knows to `status`, whose counters stood at `before` when it began.
    pub(crate) fn report(&self, before: &Status, status: &mut Status) -> Result<(), LogError> {
        let Counters {
            blocks,
            records,
            skipped,
            duplicates,
            strangers,
            rewound,
            refused,
        } = self.account.counters();
        status.state = self.state();
        status.blocks = before.blocks + blocks;
        status.records = before.records + records;
        status.bytes = before.bytes + self.bytes;
        status.skipped = before.skipped + skipped;
        status.duplicates = before.duplicates + duplicates;
        status.strangers = before.strangers + strangers;
        status.rewound = before.rewound + rewound;
        status.refused = before.refused + refused;
        status.registry_refusals = before.registry_refusals + self.registry_refusals;
        status.unreadable_blocks = before.unreadable_blocks + self.unreadable_blocks;
        status.vanished_blocks = before.vanished_blocks + self.retries.vanished_blocks();
        status.in_flight_blocks = self.account.blocks_in_flight() as u64;
        status.in_flight_records = self.account.records_in_flight();
        status.topics = self.account.outputs().count() as u64;
        let troubled = self.account.outputs().map(|(_, output)| output);
        let troubled = troubled.filter(|output| output.parked.is_some() || !output.owed.is_empty());
        status.parked = troubled
            .map(|output| ParkedOutput {
                topic: output.topic.clone(),
                reason: output
                    .parked
                    .clone()
                    .or_else(|| output.refusal.clone())
                    .unwrap_or_default(),
                whole: output.parked.is_some(),
                owed_blocks: output
                    .owed
                    .blocks
                    .seen
                    .values()
                    .map(|set| set.member_count())
                    .sum(),
                owed_records: output
                    .owed
                    .records
                    .values()
                    .map(|owed| owed.indexes.member_count())
                    .sum(),
            })
            .collect();
        let settled = self.account.settle(self.follower.progress());
        status.lag_blocks = 0;
        for partition in self.follower.partitions()? {
            let (first, next) = self.log.bounds(&partition)?;
            let from = settled.next_place(&partition).max(first);
            status.lag_blocks += next.0.saturating_sub(from.0);
        }
        Ok(())
    }
}
