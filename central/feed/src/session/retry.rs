//! Brings outputs what they are owed: one output at a time, one block at a time, beside the delivery.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use efd_central_log::{BlockLog, Entry, Partition, Place, Reading};
use efd_shared_model::{Block, BlockId};

use crate::account::Purpose;
use crate::broker::{Broker, BrokerError, Ensured, OutputIx, Span};
use crate::options::RETRY_AFTER_MAX;
use crate::registry::RegistryError;
use crate::route::subject;

use super::push::{Job, Pushed};
use super::{Hands, Session, SessionError};

/// How often the outputs are looked through for one that is owed something.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Read from the log in one step.
const READ_BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Retries {
    /// When each output that is owed something is tried next.
    plan: BTreeMap<OutputIx, Plan>,
    look_at: Duration,
    active: Option<Active>,
    /// A job that the producer has not taken whole.
    job: Option<Job>,
    vanished_blocks: u64,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    at: Duration,
    after: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    output: OutputIx,
    /// Blocks with single records up to this one have had their turn.
    tried_through: Option<BlockId>,
    /// A block is in flight.
    is_waiting: bool,
}

enum Next {
    Block(Partition, Place, Box<Block>, Single),
    /// Nothing now, maybe soon.
    Later,
    /// Everything has had its turn.
    Done,
}

/// Whether single records of the block are owed, or all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Single {
    Yes,
    No,
}

impl Retries {
    /// Owed blocks that the log does not have any more.
    pub(super) fn vanished_blocks(&self) -> u64 {
        self.vanished_blocks
    }
}

impl<L: BlockLog + ?Sized, B: Broker> Session<L, B> {
    pub(super) fn advance_retries(
        &mut self,
        now: Duration,
        hands: &mut Hands<'_>,
    ) -> Result<(), SessionError> {
        let Some(mut active) = self.retries.active.take() else {
            return self.look_for_retry(now);
        };
        for retried in self.account.take_finished_retries() {
            active.is_waiting = false;
            if retried.closed {
                self.put_off(active.output, now);
                return Ok(());
            }
        }
        if let Some(mut job) = self.retries.job.take()
            && self.push(&mut job)? == Pushed::Later
        {
            self.retries.job = Some(job);
        }
        if active.is_waiting {
            self.retries.active = Some(active);
            return Ok(());
        }
        match self.next_owed(&mut active)? {
            Next::Later => self.retries.active = Some(active),
            Next::Done => self.end_retry(active.output, now),
            Next::Block(partition, place, block, single) => {
                if self.begin_retry(active.output, (partition, place), (block, single), hands)? {
                    active.is_waiting = true;
                    self.retries.active = Some(active);
                } else {
                    self.put_off(active.output, now);
                }
            }
        }
        Ok(())
    }

    fn look_for_retry(&mut self, now: Duration) -> Result<(), SessionError> {
        if now < self.retries.look_at {
            return Ok(());
        }
        self.retries.look_at = now + LOOK_EVERY;
        let after = self.settings.retry_after;
        let troubled = self.account.outputs();
        let troubled =
            troubled.filter(|(_, output)| output.parked.is_some() || !output.owed.is_empty());
        for (output, _) in troubled {
            let plan = Plan {
                at: now + after,
                after,
            };
            self.retries.plan.entry(output).or_insert(plan);
        }
        let due = |(output, plan): (&OutputIx, &Plan)| {
            let is_due = plan.at <= now && self.account.output(*output).outstanding == 0;
            is_due.then_some(*output)
        };
        let Some(output) = self.retries.plan.iter().find_map(due) else {
            return Ok(());
        };
        if self.reopen(output)? {
            self.retries.active = Some(Active {
                output,
                tried_through: None,
                is_waiting: false,
            });
        } else {
            self.put_off(output, now);
        }
        Ok(())
    }

    /// Whether the topic is there; then what it has is known too.
    fn reopen(&mut self, output: OutputIx) -> Result<bool, SessionError> {
        let topic = self.account.output(output).topic.clone();
        let reason = match self.broker.ensure(&[&topic]) {
            Ok(ensured) => match ensured.into_iter().next() {
                Some(Ensured::Refused(reason)) => reason,
                Some(Ensured::Created | Ensured::Existed) | None => {
                    let from = Some(self.account.end(output));
                    let settled = self.account.settle(self.follower.progress());
                    let (account, no_dedup) = (&mut self.account, self.settings.no_dedup);
                    let ends = self.broker.read_back(&[Span { topic, from }], &mut |met| {
                        if let (Some(id), false) = (met.id, no_dedup) {
                            account.note_found_again(output, id, met.offset, &settled);
                        }
                    });
                    match ends {
                        Ok(ends) => {
                            ends.into_iter()
                                .for_each(|end| self.account.set_end(output, end));
                            return Ok(true);
                        }
                        Err(BrokerError::Unavailable(reason)) => reason,
                        Err(fatal @ BrokerError::Fatal(_)) => return Err(fatal.into()),
                    }
                }
            },
            Err(BrokerError::Unavailable(reason)) => reason,
            Err(fatal @ BrokerError::Fatal(_)) => return Err(fatal.into()),
        };
        let topic = &self.account.output(output).topic;
        tracing::warn!(
            topic,
            reason,
            "Topic that is owed records is still not usable"
        );
        Ok(false)
    }

    /// Whether the block is on its way.
    fn begin_retry(
        &mut self,
        output: OutputIx,
        (partition, place): (Partition, Place),
        (block, single): (Box<Block>, Single),
        hands: &mut Hands<'_>,
    ) -> Result<bool, SessionError> {
        let (id, class) = (block.header().id, partition.class);
        if self.open_streams(&block, hands)?.is_err() || !self.ask_again(id, output, hands)? {
            return Ok(false);
        }
        let purpose = Purpose::Retry(output);
        let slot = self.account.begin(id, partition, place, purpose);
        let mut job = Job::new(slot, *block, class, purpose);
        job.one_by_one = single == Single::Yes;
        if self.push(&mut job)? == Pushed::Later {
            self.retries.job = Some(job);
        }
        Ok(true)
    }

    /// Where the registry has refused a schema under every name, and so nothing was ever sent under it.
    fn ask_again(
        &mut self,
        id: BlockId,
        output: OutputIx,
        hands: &mut Hands<'_>,
    ) -> Result<bool, SessionError> {
        let epoch = id.lane.epoch;
        let without_schema = self.streams.iter().filter(|((of, _), (to, key))| {
            *of == epoch
                && *to == output
                && self
                    .routes
                    .get(&**key)
                    .is_some_and(|route| route.schema.is_none())
        });
        let without_schema: Vec<_> = without_schema
            .map(|((_, number), (_, key))| (*number, Arc::clone(key)))
            .collect();
        for (number, key) in without_schema {
            let (Some(stream), Some(route)) =
                (self.log.stream(epoch, number)?, self.routes.get_mut(&*key))
            else {
                return Ok(false);
            };
            match hands
                .registry
                .register(&subject(&route.topic), &stream.schema)
            {
                Ok(schema) => route.schema = Some(schema),
                Err(RegistryError::Refused { .. } | RegistryError::Unavailable(_)) => {
                    return Ok(false);
                }
            }
            self.is_dirty = true;
            if self.save(hands.store).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn next_owed(&mut self, active: &mut Active) -> Result<Next, SessionError> {
        let output = active.output;
        loop {
            let after = active
                .tried_through
                .map_or(Bound::Unbounded, Bound::Excluded);
            let records = &self.account.output(output).owed.records;
            let Some((&id, owed)) = records.range((after, Bound::Unbounded)).next() else {
                break;
            };
            active.tried_through = Some(id);
            let (partition, place) = (owed.partition.clone(), owed.place);
            let read = self.log.read(&partition, place, 1)?.into_entries();
            let entry = read.into_iter().next();
            match entry
                .and_then(readable)
                .filter(|(_, block)| block.header().id == id)
            {
                Some((place, block)) => {
                    return Ok(Next::Block(partition, place, block, Single::Yes));
                }
                None => {
                    self.account.output_mut(output).owed.records.remove(&id);
                    self.note_vanished(output, 1);
                }
            }
        }
        if !self.account.output(output).has_record_room() {
            return Ok(Next::Done);
        }
        if let Some(next) = self.next_owed_block(output)? {
            return Ok(next);
        }
        if self.account.will_owe(output) {
            return Ok(Next::Later);
        }
        // The whole log from the first place on has been looked through.
        let vanished = self.account.output_mut(output).forget_blocks();
        self.note_vanished(output, vanished);
        Ok(Next::Done)
    }

    /// `None` when the log has no other.
    fn next_owed_block(&mut self, output: OutputIx) -> Result<Option<Next>, SessionError> {
        let owed = &self.account.output(output).owed;
        if !owed.has_blocks() {
            return Ok(None);
        }
        for (partition, from) in owed.blocks.places.clone() {
            let entries = match self.log.read(&partition, from, READ_BYTES)? {
                Reading::Entries(entries) => entries,
                Reading::Absent { next } => {
                    let places = &mut self.account.output_mut(output).owed.blocks.places;
                    places.insert(partition, next);
                    return Ok(Some(Next::Later));
                }
                // Of the log that was, nothing is left to look for.
                Reading::Rewound { .. } => continue,
            };
            if entries.is_empty() {
                continue;
            }
            let mut next = from;
            for entry in entries {
                let owed = &mut self.account.output_mut(output).owed;
                next = entry.place().next();
                let is_owed = |entry: &Entry| match entry {
                    Entry::Block { block, .. } => owed.has_block(block.id()),
                    Entry::Damaged { .. } => false,
                };
                // One that cannot be read stays owed, and is counted as vanished at the end of the log.
                if is_owed(&entry)
                    && let Some((place, block)) = readable(entry)
                {
                    owed.blocks.places.insert(partition.clone(), place);
                    return Ok(Some(Next::Block(partition, place, block, Single::No)));
                }
            }
            self.account
                .output_mut(output)
                .owed
                .blocks
                .places
                .insert(partition, next);
            return Ok(Some(Next::Later));
        }
        Ok(None)
    }

    fn note_vanished(&mut self, output: OutputIx, blocks: u64) {
        if blocks > 0 {
            self.is_dirty = true;
            self.retries.vanished_blocks += blocks;
            let topic = &self.account.output(output).topic;
            tracing::error!(
                topic,
                blocks,
                "Blocks that are owed are not in the log any more"
            );
        }
    }

    fn put_off(&mut self, output: OutputIx, now: Duration) {
        let after = self.settings.retry_after;
        let plan = self
            .retries
            .plan
            .entry(output)
            .or_insert(Plan { at: now, after });
        plan.at = now + plan.after;
        plan.after = (plan.after * 2).min(RETRY_AFTER_MAX.max(after));
    }

    /// Everything owed has had its turn.
    fn end_retry(&mut self, output: OutputIx, now: Duration) {
        self.is_dirty = true;
        let book = self.account.output_mut(output);
        if book.parked.is_some() && book.has_record_room() {
            book.unpark();
        }
        if book.owed.is_empty() {
            self.retries.plan.remove(&output);
        } else {
            self.put_off(output, now);
        }
    }
}

fn readable(entry: Entry) -> Option<(Place, Box<Block>)> {
    match entry {
        Entry::Block { place, block } => Some((place, Box::new(block.open().ok()?))),
        Entry::Damaged { .. } => None,
    }
}
