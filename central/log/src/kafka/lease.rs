//! Who may run a consumer: a Kafka group, of which one member at a time has a seat.
//!
//! Every role has a topic of its own (`efd.feed`, `efd.lake`) with one partition for each seat. The group's
//! coordinator gives each partition to one member; that is the seat. What the member commits there is refused when it
//! has lost the seat, so a commit that succeeds proves that it was still held when the commit was sent: the seat is held
//! for [`SESSION`] from that moment, as the coordinator waits as long before it gives it to another.
//!
//! A member ends its own tenure early enough that what it had sent can arrive before another begins ([`TENURE`]); where
//! it cannot act, because it is stopped, the kernel ends the process ([`switch`]). So whoever wakes up late finds nothing
//! of it that could still write.

mod register;
mod switch;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use efd_central_kafka::log;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::{LogError, Tenure, lock};

use super::topics::{Seats, Topics};
use super::{KafkaOptions, common_config, consumer_config, now, spawn, storage};

use register::Register;
use switch::{Moment, Switch};

/// After so long without a sign of its member the coordinator gives a seat to another: the least that brokers allow by
/// default.
const SESSION: Duration = Duration::from_secs(6);
/// From the last proof that the seat is held to the end that the member makes itself.
const TENURE: Duration = Duration::from_millis(4_500);
/// From there to the end that the kernel makes.
const KILL: Duration = Duration::from_millis(5_500);
const _: () = assert!(TENURE.as_millis() < KILL.as_millis());
const _: () = assert!(KILL.as_millis() < SESSION.as_millis());
/// Between two proofs.
const RENEW_EVERY: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a seat that is asked back waits for its consumer to end.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(4);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// One of a role's seats, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatNumber(pub u16);

#[derive(Debug)]
struct Held {
    tenure: Tenure,
    is_taken: bool,
    /// What is to be committed; `None` while it is not known what an earlier owner has left.
    wanted: Option<i64>,
    /// By us.
    committed: Option<i64>,
}

impl Held {
    fn new() -> Self {
        Self {
            tenure: Tenure::begin(),
            is_taken: false,
            wanted: None,
            committed: None,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    seats: BTreeMap<SeatNumber, Held>,
    /// Tenures that ended, and whose consumer has not yet.
    ending: BTreeSet<SeatNumber>,
    /// A commit that succeeded was sent at that moment.
    proven: Option<Moment>,
    /// Committed at once, not with the next renewal.
    is_urgent: bool,
    trouble: Option<String>,
}

struct Shared {
    role: String,
    topic: String,
    state: Mutex<State>,
    changed: Condvar,
    switch: Switch,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn granted(&self, seats: impl Iterator<Item = SeatNumber>) {
        let mut state = self.state();
        for seat in seats {
            tracing::info!(role = self.role, seat = seat.0, "Has a seat");
            state.seats.insert(seat, Held::new());
        }
        state.is_urgent = true;
        drop(state);
        self.changed.notify_all();
    }

    /// Ends tenures, and waits for their consumers.
    fn revoked(&self, seats: impl Iterator<Item = SeatNumber>) {
        let mut state = self.state();
        for seat in seats {
            tracing::info!(role = self.role, seat = seat.0, "Gives a seat back");
            state.end(seat);
        }
        self.settle(&mut state);
        self.changed.notify_all();
        let has_consumer = |state: &mut State| !state.ending.is_empty();
        let waited = self
            .changed
            .wait_timeout_while(state, HAND_OVER_WITHIN, has_consumer);
        let waited = waited.unwrap_or_else(PoisonError::into_inner).1;
        if waited.timed_out() {
            // It is fenced: what it still does leaves the process no more.
            tracing::warn!(
                role = self.role,
                "A consumer has not ended; its seat is given back"
            );
        }
    }

    /// The switch is on exactly while some tenure lasts.
    fn settle(&self, state: &mut State) {
        match state.proven {
            Some(proven) if !state.seats.is_empty() => self.switch.arm(proven + KILL),
            Some(_) | None => self.switch.disarm(),
        }
    }

    /// `list` was committed by a request that was sent at that moment.
    fn proved(&self, list: &TopicPartitionList, sent: Moment) {
        let mut state = self.state();
        // Answered so late that a tenure would be over already: it says nothing of who has the seat now.
        if sent + TENURE <= Moment::now() {
            state.trouble = Some(format!("a commit was answered after more than {TENURE:?}"));
            return;
        }
        state.proven = state.proven.max(Some(sent));
        state.trouble = None;
        for element in list.elements() {
            let seat = seat_of(element.partition());
            if let (Some(held), Offset::Offset(offset)) =
                (state.seats.get_mut(&seat), element.offset())
            {
                held.committed = held.committed.max(Some(offset));
            }
        }
        self.settle(&mut state);
        drop(state);
        self.changed.notify_all();
    }

    fn troubled(&self, error: &KafkaError) {
        tracing::debug!(role = self.role, %error, "The seat is not confirmed");
        self.state().trouble = Some(error.to_string());
    }

    /// Ends what has not been confirmed for too long.
    fn look_at_clock(&self, now: Moment) {
        let mut state = self.state();
        let is_proven = |proven: Moment| now < proven + TENURE;
        // A seat that was just given has no proof yet, and no consumer.
        if state.seats.is_empty() || state.proven.is_none_or(is_proven) {
            return;
        }
        let seats: Vec<_> = state.seats.keys().copied().collect();
        tracing::warn!(
            role = self.role,
            trouble = state.trouble.as_deref().unwrap_or_default(),
            "The seat was not confirmed for {TENURE:?}; its consumer ends here"
        );
        for seat in seats {
            state.end(seat);
            // The coordinator may still hold it for us: with the next proof it is ours anew.
            state.seats.insert(seat, Held::new());
        }
        state.proven = None;
        self.switch.disarm();
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    /// Ours, confirmed, and without a consumer.
    fn is_free(&self, seat: SeatNumber) -> bool {
        let held = self.seats.get(&seat);
        let is_ours = held.is_some_and(|held| held.committed.is_some() && !held.is_taken);
        is_ours && self.proven.is_some() && !self.ending.contains(&seat)
    }

    fn end(&mut self, seat: SeatNumber) {
        if let Some(held) = self.seats.remove(&seat) {
            held.tenure.end();
            if held.is_taken {
                self.ending.insert(seat);
            }
        }
    }
}

fn seat_of(partition: i32) -> SeatNumber {
    SeatNumber(u16::try_from(partition).unwrap_or(u16::MAX))
}

fn seats_of(list: &TopicPartitionList) -> Vec<SeatNumber> {
    let elements = list.elements();
    elements
        .iter()
        .map(|element| seat_of(element.partition()))
        .collect()
}

/// The group's callbacks.
struct Member(Arc<Shared>);

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka group");
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(list) => self.0.revoked(seats_of(list).into_iter()),
            Rebalance::Assign(_) | Rebalance::Error(_) => {}
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                // Nothing is read through the group.
                if let Err(error) = consumer.pause(list) {
                    tracing::debug!(%error, "Pause");
                }
                self.0.granted(seats_of(list).into_iter());
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "Kafka group"),
        }
    }
}

/// This process among those that would run a role.
pub struct Lease {
    shared: Arc<Shared>,
    register: Arc<Register>,
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("role", &self.shared.role)
            .finish_non_exhaustive()
    }
}

impl Lease {
    /// Makes the role's topic where there is none, and joins its group. All processes must say the same of its seats.
    pub fn join(options: &KafkaOptions, role: &str, seats: Seats) -> Result<Self, LogError> {
        let common = common_config(options);
        Topics::connect(&common, &options.topics)?.ensure_role(role, seats)?;
        let topic = options.topics.role(role);
        let shared = Arc::new(Shared {
            role: role.to_owned(),
            topic: topic.clone(),
            state: Mutex::default(),
            changed: Condvar::new(),
            switch: Switch::new().map_err(|error| LogError::Storage {
                action: "make a timer",
                reason: error.to_string(),
            })?,
        });
        let register = Arc::new(Register::new(&common, &topic)?);
        let mut config = consumer_config(&common, &topic);
        config
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", SESSION.as_millis().to_string())
            .set("heartbeat.interval.ms", "500")
            .set("topic.metadata.refresh.interval.ms", "30000");
        let consumer: BaseConsumer<Member> = config
            .create_with_context(Member(Arc::clone(&shared)))
            .map_err(storage("make a group's member"))?;
        consumer
            .subscribe(&[&topic])
            .map_err(storage("join a group"))?;
        let consumer = Arc::new(consumer);
        let is_stopped = Arc::<AtomicBool>::default();
        let start = |name: String, work: fn(&BaseConsumer<Member>, &Shared, &AtomicBool)| {
            let (consumer, shared) = (Arc::clone(&consumer), Arc::clone(&shared));
            let is_stopped = Arc::clone(&is_stopped);
            spawn(name, move || work(&consumer, &shared, &is_stopped))
        };
        // Nobody waits for its end: it may wait for a cluster that is gone.
        start(format!("prove-{role}"), prove)?;
        let thread = start(format!("lease-{role}"), keep)?;
        Ok(Self {
            shared,
            register,
            is_stopped,
            thread: Some(thread),
        })
    }

    /// Waits up to `within` for the seat to be ours, and confirmed. What is returned is to be dropped when the consumer
    /// has ended, and not before.
    pub fn take(&self, number: SeatNumber, within: Duration) -> Option<Seat> {
        let not_yet = |state: &mut State| !state.is_free(number);
        let waited = self
            .shared
            .changed
            .wait_timeout_while(self.shared.state(), within, not_yet);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return None;
        }
        let held = state.seats.get_mut(&number)?;
        held.is_taken = true;
        Some(Seat {
            number,
            tenure: held.tenure.clone(),
            shared: Arc::clone(&self.shared),
            register: Arc::clone(&self.register),
        })
    }

    /// Why no seat is confirmed, where that is known.
    pub fn trouble(&self) -> Option<String> {
        self.shared.state().trouble.clone()
    }
}

impl Drop for Lease {
    /// Leaves the group: another may begin at once.
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(
                role = self.shared.role,
                "The thread that holds seats panicked"
            );
        }
    }
}

/// A seat that this process has.
#[derive(Debug)]
pub struct Seat {
    number: SeatNumber,
    tenure: Tenure,
    shared: Arc<Shared>,
    register: Arc<Register>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Seat {
    pub fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    /// What this owner or an earlier one saved last.
    pub fn load(&self) -> Result<Option<Vec<u8>>, LogError> {
        let state = self.shared.state();
        let held = state.seats.get(&self.number);
        let next = held.and_then(|held| held.committed).unwrap_or_default();
        drop(state);
        if next == 0 {
            return Ok(None);
        }
        self.register
            .read(i32::from(self.number.0), next - 1)
            .map(Some)
    }

    /// Durable, and saved by an owner that still has the seat, when this returns `Ok`.
    pub fn save(&self, value: &[u8]) -> Result<(), LogError> {
        if self.tenure.is_over() {
            return Err(over());
        }
        let partition = i32::from(self.number.0);
        let offset = self.register.write(partition, "checkpoint", value)?;
        self.commit(offset)
    }

    fn commit(&self, offset: i64) -> Result<(), LogError> {
        let refused = |reason: String| LogError::Storage {
            action: "commit a checkpoint",
            reason,
        };
        // As Kafka's consumers do: the offset after the last one that counts.
        let next = Some(offset + 1);
        let mut state = self.shared.state();
        if self.tenure.is_over() {
            return Err(over());
        }
        let held = state.seats.get_mut(&self.number);
        let held = held.ok_or_else(|| refused("the seat was given back".into()))?;
        held.wanted = held.wanted.max(next);
        state.is_urgent = true;
        self.shared.changed.notify_all();
        let committed = |state: &State| Some(state.seats.get(&self.number)?.committed >= next);
        let is_open = |state: &mut State| committed(state) == Some(false) && !self.tenure.is_over();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, ANSWER_WITHIN, is_open);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match committed(&state) {
            _ if self.tenure.is_over() => Err(over()),
            Some(true) => Ok(()),
            Some(false) => {
                let trouble = state.trouble.as_deref().unwrap_or_default();
                let reason = format!("no answer within {ANSWER_WITHIN:?} {trouble}");
                Err(refused(reason))
            }
            None => Err(refused("the seat was given back".into())),
        }
    }
}

fn over() -> LogError {
    LogError::Storage {
        action: "save a checkpoint",
        reason: "another process may have taken over".into(),
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ending.remove(&self.number);
        if let Some(held) = state.seats.get_mut(&self.number)
            && !self.tenure.is_over()
        {
            held.is_taken = false;
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

/// The lease's thread: serves the group, and ends what is not proven.
fn keep(consumer: &BaseConsumer<Member>, shared: &Shared, is_stopped: &AtomicBool) {
    let serve = || {
        if let Some(Err(error)) = consumer.poll(LOOK_EVERY) {
            shared.troubled(&error);
        }
        shared.look_at_clock(Moment::now());
    };
    while !is_stopped.load(Ordering::Acquire) {
        serve();
    }
    // Leaves the group, so that another need not wait for the session's end.
    consumer.unsubscribe();
    let give_up_at = now() + HAND_OVER_WITHIN;
    while !shared.state().seats.is_empty() && now() < give_up_at {
        serve();
    }
    let seats: Vec<_> = shared.state().seats.keys().copied().collect();
    shared.revoked(seats.into_iter());
}

/// Proves the seats, in a thread of its own: librdkafka tells the outcome of a commit only to who waits for it.
fn prove(consumer: &BaseConsumer<Member>, shared: &Shared, is_stopped: &AtomicBool) {
    while !is_stopped.load(Ordering::Acquire) {
        // What comes from here on asks for another round.
        shared.state().is_urgent = false;
        let mut list = look_up_new(consumer, shared);
        let state = shared.state();
        for (seat, held) in &state.seats {
            if let Some(wanted) = held.wanted {
                let offset = Offset::Offset(wanted);
                let added = list.add_partition_offset(&shared.topic, i32::from(seat.0), offset);
                debug_assert!(added.is_ok());
            }
        }
        drop(state);
        if list.count() > 0 {
            let sent = Moment::now();
            match consumer.commit(&list, CommitMode::Sync) {
                Ok(()) => shared.proved(&list, sent),
                Err(error) => shared.troubled(&error),
            }
        }
        let state = shared.state();
        let calm = |state: &mut State| !state.is_urgent;
        let waited = shared.changed.wait_timeout_while(state, RENEW_EVERY, calm);
        drop(waited);
    }
}

/// Asks where earlier owners have left seats that are new to us. Gives an empty list, to be filled.
fn look_up_new(consumer: &BaseConsumer<Member>, shared: &Shared) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (seat, held) in &shared.state().seats {
        if held.wanted.is_none() {
            list.add_partition(&shared.topic, i32::from(seat.0));
        }
    }
    if list.count() == 0 {
        return list;
    }
    match consumer.committed_offsets(list, ANSWER_WITHIN) {
        Ok(found) => {
            let mut state = shared.state();
            for element in found.elements() {
                if let Some(held) = state.seats.get_mut(&seat_of(element.partition())) {
                    // Nobody has committed before: that we hold the seat is proven by committing its begin.
                    let left = if let Offset::Offset(offset) = element.offset() {
                        offset
                    } else {
                        0
                    };
                    held.wanted = Some(left);
                }
            }
        }
        Err(error) => shared.troubled(&error),
    }
    TopicPartitionList::new()
}
