//! Brings outputs what they are owed: one output at a time, some blocks at a time, beside the delivery.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
use super::{Destination, Hands, Session, SessionError, Step};

/// How often the outputs are looked through for one that is owed something.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Blocks of an output on their way at a time.
const IN_FLIGHT_MAX: usize = 64;
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

#[derive(Debug)]
struct Active {
    output: OutputIx,
    /// What is left of the last read of the log: a log on a cluster is slow to read at places that lie apart.
    read: Option<Ahead>,
    /// Blocks with single records up to this one have had their turn.
    tried_through: Option<BlockId>,
    /// Blocks that are on their way, and owed until they have arrived.
    in_flight: BTreeSet<BlockId>,
    /// The topic refuses after all: no further block is begun.
    is_closed: bool,
}

#[derive(Debug)]
struct Ahead {
    partition: Partition,
    /// What the output says of the partition, unless something before it has come to be owed.
    at: Place,
    entries: VecDeque<Entry>,
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
    /// What is to be done for outputs that are owed something, when there is nothing else.
    pub(super) fn step(&self) -> Step {
        match &self.active {
            None => Step::Idle,
            Some(active) if !active.in_flight.is_empty() => Step::Waiting,
            Some(_) => Step::Busy,
        }
    }

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
            active.in_flight.remove(&retried.block);
            active.is_closed |= retried.closed;
        }
        if let Some(mut job) = self.retries.job.take()
            && self.push(&mut job)? == Pushed::Later
        {
            self.retries.job = Some(job);
        }
        while self.retries.job.is_none()
            && !active.is_closed
            && active.in_flight.len() < IN_FLIGHT_MAX
        {
            match self.next_owed(&mut active)? {
                Next::Later => break,
                Next::Done => {
                    self.end_retry(active.output, now);
                    return Ok(());
                }
                Next::Block(partition, place, block, single) => {
                    let id = block.header().id;
                    let (at, owed) = ((partition, place), (block, single));
                    if self.begin_retry(active.output, at, owed, hands)? {
                        active.in_flight.insert(id);
                    } else {
                        active.is_closed = true;
                    }
                }
            }
        }
        if active.is_closed && active.in_flight.is_empty() {
            self.put_off(active.output, now);
        } else {
            self.retries.active = Some(active);
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
                read: None,
                tried_through: None,
                in_flight: BTreeSet::new(),
                is_closed: false,
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
                        Ok(ends) => match ends.into_iter().next() {
                            Some(Ok(end)) => {
                                self.account.set_end(output, end);
                                return Ok(true);
                            }
                            Some(Err(reason)) => reason,
                            None => return Ok(true),
                        },
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
        let without_schema = self.streams.iter().filter_map(|((of, number), to)| {
            let Destination::Output(to, key) = to else {
                return None;
            };
            let route = self.routes.get(&**key)?;
            let is_asked_for = *of == epoch && *to == output && route.schema.is_none();
            is_asked_for.then(|| (*number, Arc::clone(key)))
        });
        let without_schema: Vec<_> = without_schema.collect();
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
        if let Some(next) = self.next_owed_block(active)? {
            return Ok(next);
        }
        if !active.in_flight.is_empty() || self.account.will_owe(output) {
            return Ok(Next::Later);
        }
        // The whole log from the first place on has been looked through.
        let vanished = self.account.output_mut(output).forget_blocks();
        self.note_vanished(output, vanished);
        Ok(Next::Done)
    }

    /// `None` when the log has no other.
    fn next_owed_block(&mut self, active: &mut Active) -> Result<Option<Next>, SessionError> {
        let output = active.output;
        if !self.account.output(output).owed.has_blocks() {
            return Ok(None);
        }
        if active.read.is_none() && !self.read_owed(active)? {
            return Ok(None);
        }
        let Some(mut ahead) = active.read.take() else {
            return Ok(Some(Next::Later));
        };
        let owed = &mut self.account.output_mut(output).owed;
        if owed.blocks.places.get(&ahead.partition) != Some(&ahead.at) {
            return Ok(Some(Next::Later));
        }
        let mut found = None;
        while let Some(entry) = ahead.entries.pop_front() {
            ahead.at = entry.place().next();
            let is_owed = match &entry {
                Entry::Block { block, .. } => {
                    owed.has_block(block.id()) && !active.in_flight.contains(&block.id())
                }
                Entry::Damaged { .. } => false,
            };
            // One that cannot be read stays owed, and is counted as vanished at the end of the log.
            if is_owed && let Some((place, block)) = readable(entry) {
                ahead.at = place;
                let partition = ahead.partition.clone();
                found = Some(Next::Block(partition, place, block, Single::No));
                break;
            }
        }
        owed.blocks.places.insert(ahead.partition.clone(), ahead.at);
        if found.is_some() {
            active.read = Some(ahead);
        }
        Ok(Some(found.unwrap_or(Next::Later)))
    }

    /// Reads on for an output. `false` at the end of all partitions.
    fn read_owed(&mut self, active: &mut Active) -> Result<bool, SessionError> {
        let output = active.output;
        for (partition, from) in self.account.output(output).owed.blocks.places.clone() {
            match self.log.read(&partition, from, READ_BYTES)? {
                Reading::Entries(entries) if entries.is_empty() => {}
                Reading::Entries(entries) => {
                    active.read = Some(Ahead {
                        partition,
                        at: from,
                        entries: entries.into(),
                    });
                    return Ok(true);
                }
                Reading::Absent { next } => {
                    let places = &mut self.account.output_mut(output).owed.blocks.places;
                    places.insert(partition, next);
                    return Ok(true);
                }
                // Of the log that was, nothing is left to look for.
                Reading::Rewound { .. } => {}
            }
        }
        Ok(false)
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
