//! The thread that owns the store: makes each batch durable, then says so; keeps acknowledgements; carries out retention.
//!
//! In:  batches of the intake, acknowledgements of the shipper. Out: [`Notice`]s to the shipper, in order.
//!
//! Nothing is announced before it is durable. A batch for which the disk has no place is tried again until it has: the ring
//! in front of the intake fills, and what it drops is named. A block that the store will never take is named itself.

mod epoch;
mod evict;
mod statements;
pub mod substitute;
#[cfg(test)]
mod tests;
mod unread;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use efd_edge_query::Activity;
use efd_edge_query::activity::Fresh;
use efd_edge_ship::{CENTRE, Keeper, Notice, Outcome};
use efd_shared_daemon::clock::{ClockReader, utc_now};
use efd_shared_daemon::shutdown::Stop;
use efd_shared_model::block::Codec;
use efd_shared_model::{
    BlockBuilder, BlockNumber, EpochDeclaration, EpochLane, Lane, LaneKind, SealedBlock, UtcNanos,
};
use efd_shared_store::retention::Policy;
use efd_shared_store::{LaneName, Store, StoreError};

use crate::commit::substitute::{Reducer, Room};
use crate::intake::{Batch, own_streams};
use crate::meters::Meters;
use crate::recent::Recent;
use crate::restore;

pub use epoch::begin_epoch;
pub use statements::Statements;

/// The value of each lane's publishers, kept in the same transaction as its data.
pub const PUBLISHERS_STATE: &str = "publishers";
/// Set with it: how far it goes in the lanes of single topics.
pub const DIVERTED_STATE: &str = "diverted";

#[derive(Debug)]
pub enum Request {
    /// Its builders come back empty by the spare channel.
    Commit(Batch),
    Shipped(Outcome),
    /// All batches are in; nothing comes after.
    Finish,
}

/// How the shipper reaches the store's thread.
#[derive(Debug)]
pub struct StoreKeeper(pub SyncSender<Request>);

impl Keeper for StoreKeeper {
    fn try_keep(&mut self, outcome: Outcome) -> Result<(), Outcome> {
        match self.0.try_send(Request::Shipped(outcome)) {
            Err(TrySendError::Full(Request::Shipped(outcome))) => Err(outcome),
            // After its end nothing is remembered: the centre drops what comes again.
            Err(_) | Ok(()) => Ok(()),
        }
    }
}

#[derive(Debug, Clone)]
pub struct CommitOptions {
    pub folder: PathBuf,
    pub compression: i32,
    pub policy: Policy,
    pub reserve_bytes: u64,
    #[cfg(feature = "sabotage")]
    pub announce_early: bool,
}

/// Everything the thread owns.
#[derive(Debug)]
pub struct Committer {
    pub store: Store,
    pub options: CommitOptions,
    pub epoch: EpochDeclaration,
    pub clock: ClockReader,
    pub meters: Arc<Meters>,
    pub activity: Arc<Activity>,
    pub recent: Arc<Recent>,
    pub spare: SyncSender<Batch>,
    pub notices: tokio::sync::mpsc::Sender<Notice>,
    pub reducer: Reducer,
    pub stop: Stop,
    /// The next number of each lane, in this epoch.
    pub next: BTreeMap<Lane, BlockNumber>,
    pub epoch_declared: bool,
    /// While the reserve is given up, bytes that have to leave for it and for what was committed since: so what others put
    /// on the disk costs no more of the buffer than our own data need.
    pub room_due: Option<u64>,
    pub statements: Statements,
    pub state: State,
}

/// What may not be done at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// Something could not be stored and is given up, as we are to stop: what would follow may rest on it. So nothing is
    /// stored any more, and the next start names what is absent.
    pub has_given_up: bool,
    /// A block of losses is sealed and not yet stored: the next one has the same number, so nothing is named.
    pub is_naming: bool,
}

/// What became of something to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stored {
    Yes,
    /// The store will never take it.
    Refused(String),
    /// We are to stop.
    No,
}

const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// Retention looks at segments, not blocks: cheap, and no hurry.
const RETAIN_EVERY_NS: i64 = 10_000_000_000;
const RETRY_AFTER: Duration = Duration::from_millis(500);

impl Committer {
    pub fn run(mut self, requests: &Receiver<Request>) {
        let _running = self.stop.register("commit");
        let (mut maintained, mut retained) = (UtcNanos(0), UtcNanos(0));
        loop {
            let request = requests.recv_timeout(MAINTAIN_EVERY);
            match request {
                Ok(Request::Commit(mut batch)) => {
                    self.commit(&mut batch);
                    batch.reset();
                    // The intake is gone when it has ended: then nobody needs the spare.
                    if self.spare.send(batch).is_err() {
                        tracing::debug!("The intake has ended");
                    }
                }
                Ok(Request::Shipped(outcome)) => self.keep(outcome),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Request::Finish) | Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = utc_now();
            if now.since(maintained) >= MAINTAIN_EVERY.as_nanos() as i64 || now < maintained {
                maintained = now;
                self.store.maintain(now);
                self.state_committed(now);
                self.meters.observe_store(&self.store, CENTRE);
                let bytes_max = self.options.policy.bytes_max;
                self.meters
                    .observe_clock(self.clock.state(), bytes_max, now);
            }
            let every = match self.reducer.is_waiting() {
                true => MAINTAIN_EVERY.as_nanos() as i64,
                false => RETAIN_EVERY_NS,
            };
            self.note_reserve();
            let is_tight = self.room_due.is_some() && maintained == now;
            if now.since(retained) >= every || now < retained || is_tight {
                retained = now;
                self.retain(now, Room::Enough);
            }
        }
        if let Err(error) = self.store.close() {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "Closing the buffer failed"
            );
        }
    }

    /// The reserve is given up within a commit.
    fn note_reserve(&mut self) {
        if self.store.has_reserve() {
            self.room_due = None;
        } else {
            self.room_due.get_or_insert(self.options.reserve_bytes);
        }
    }

    fn keep(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Acked { lane, ranges } => self.store.add_acked(CENTRE, &lane, &ranges),
            Outcome::Unacked { lane, ranges } => self.store.remove_acked(CENTRE, &lane, &ranges),
            Outcome::Unreadable { id, reason } => self.name_unreadable(&id, &reason),
        }
    }

    /// Stops where something could not be stored: what follows may rest on it.
    fn commit(&mut self, batch: &mut Batch) {
        if self.state.has_given_up {
            return;
        }
        if self.until_stored("declare epoch", Self::declare_epoch) == Stored::No {
            return;
        }
        // A block of a stream that is refused here is refused as well, and named.
        let declare = |this: &mut Self| {
            this.store
                .declare(&this.epoch, &batch.streams, &batch.schemas)
        };
        if !batch.streams.is_empty() && self.until_stored("declare streams", declare) == Stored::No
        {
            return;
        }
        self.activity.declare(&batch.streams);
        for (kind, lane) in batch.lanes() {
            let states = std::mem::take(&mut lane.states);
            if !self.commit_lane(kind, &mut lane.builders, &states) {
                return;
            }
        }
        self.meters.losses_named(&batch.losses, utc_now());
    }

    /// With its own streams; once.
    fn declare_epoch(&mut self) -> Result<(), StoreError> {
        if !self.epoch_declared {
            let (streams, schemas): (Vec<_>, Vec<_>) = own_streams().into_iter().unzip();
            self.store.declare(&self.epoch, &streams, &schemas)?;
            self.epoch_declared = true;
            self.notify(Notice::EpochBegun(self.epoch.clone()));
        }
        Ok(())
    }

    /// A block for each shard, one transaction; before it one for each topic that has a lane of its own. `false`: not stored, and we are to stop.
    fn commit_lane(
        &mut self,
        kind: LaneKind,
        builders: &mut BTreeMap<u16, BlockBuilder>,
        states: &BTreeMap<String, Vec<u8>>,
    ) -> bool {
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        for (&shard, builder) in builders {
            let lane = Lane { kind, shard };
            match lane.is_diverted() {
                true => alone.push((lane, builder)),
                false => together.push((lane, builder)),
            }
        }
        // First: a snapshot goes as far as all of them.
        for of_topic in alone {
            let name = lane_name_of(of_topic.0);
            if !self.commit_to(&name, kind, vec![of_topic], &[]) {
                return false;
            }
        }
        let heads = match states.contains_key(PUBLISHERS_STATE) {
            true => restore::diverted_heads(&self.store.reader(), kind),
            false => None,
        };
        let values: Vec<(&str, &[u8])> = states
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()))
            .chain(heads.as_deref().map(|heads| (DIVERTED_STATE, heads)))
            .collect();
        self.commit_to(&lane_name(kind), kind, together, &values)
    }

    fn commit_to(
        &mut self,
        name: &LaneName,
        kind: LaneKind,
        builders: Vec<(Lane, &mut BlockBuilder)>,
        values: &[(&str, &[u8])],
    ) -> bool {
        let sections = builders.iter().flat_map(|(_, builder)| builder.sections());
        let fresh: Vec<Fresh> = sections
            .filter_map(|(stream, stamps)| Fresh::of(stream, stamps))
            .collect();
        let mut blocks = Vec::new();
        for (lane, builder) in builders {
            blocks.extend(self.seal(lane, builder));
        }
        if blocks.is_empty() && values.is_empty() {
            return true;
        }
        #[cfg(feature = "sabotage")]
        if self.options.announce_early {
            self.announce(&blocks, utc_now());
        }
        let committed = utc_now();
        self.state.is_naming = kind == LaneKind::Losses;
        let stored = self.append(name, blocks, values, committed);
        self.state.is_naming = false;
        let Some(blocks) = stored else {
            return false;
        };
        if let Some(due) = &mut self.room_due {
            *due += blocks.iter().map(|it| it.bytes().len() as u64).sum::<u64>();
        }
        self.meters.committed(&blocks, committed, utc_now());
        self.activity.committed(&fresh, committed);
        for block in &blocks {
            let id = block.id();
            self.next.insert(id.lane.lane, id.number.next());
        }
        if kind.is_shipped() {
            self.announce(&blocks, committed);
        }
        true
    }

    /// What of the blocks is stored; what the store refuses is named, and its number is the next one's. `None`: we are
    /// to stop.
    fn append(
        &mut self,
        name: &LaneName,
        blocks: Vec<SealedBlock>,
        values: &[(&str, &[u8])],
        committed: UtcNanos,
    ) -> Option<Vec<SealedBlock>> {
        let append = |this: &mut Self| {
            let appended = this.store.append_with(name, &blocks, values, committed);
            appended.map(drop)
        };
        match self.until_stored("append", append) {
            Stored::Yes => Some(blocks),
            Stored::No => None,
            Stored::Refused(reason) if blocks.len() <= 1 => {
                self.name_refused(&blocks, &reason);
                Some(Vec::new())
            }
            // One of them is to blame.
            Stored::Refused(_) => {
                let mut stored = Vec::new();
                let mut values = values;
                for block in blocks {
                    let of_block = std::mem::take(&mut values);
                    stored.extend(self.append(name, vec![block], of_block, committed)?);
                }
                Some(stored)
            }
        }
    }

    /// The lane's next block; `None` where there is nothing in it.
    fn seal(&self, lane: Lane, builder: &mut BlockBuilder) -> Option<SealedBlock> {
        builder.seal(
            self.epoch_lane(lane).block(self.next_number(lane)),
            self.clock.state(),
            Codec::Zstd,
            self.options.compression,
        )
    }

    fn next_number(&self, lane: Lane) -> BlockNumber {
        self.next.get(&lane).copied().unwrap_or(BlockNumber::FIRST)
    }

    /// In the epoch of this start.
    fn epoch_lane(&self, lane: Lane) -> EpochLane {
        EpochLane {
            edge: self.epoch.edge,
            epoch: self.epoch.epoch,
            lane,
        }
    }

    fn announce(&mut self, blocks: &[SealedBlock], committed: UtcNanos) {
        for block in blocks {
            self.statements.add(block, committed);
            self.recent.put(block.clone());
            self.notify(Notice::Durable {
                block: block.clone(),
                committed,
            });
        }
    }

    /// The shipper reads its notices whatever the link does.
    fn notify(&self, notice: Notice) {
        if self.notices.blocking_send(notice).is_err() {
            tracing::debug!("The shipper has ended");
        }
    }

    /// Tries until it works; makes room where there is none. What has been sealed keeps its bytes and its number.
    fn until_stored(
        &mut self,
        what: &'static str,
        mut work: impl FnMut(&mut Self) -> Result<(), StoreError>,
    ) -> Stored {
        // Once more when we are to stop: room may have been made.
        let mut is_last = false;
        while let Err(error) = work(self) {
            self.meters.store_errors.inc();
            if error.is_refusal() {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "Cannot {what}: the store refuses it"
                );
                return Stored::Refused(error.to_string());
            }
            tracing::error!(
                error = &error as &dyn std::error::Error,
                folder = %self.options.folder.display(),
                retry_in = ?RETRY_AFTER,
                "Cannot {what}; samples wait in memory"
            );
            if error.is_no_space() {
                self.retain(utc_now(), Room::None);
            }
            let is_stopping = self.stop.wait_timeout(RETRY_AFTER);
            if std::mem::replace(&mut is_last, is_stopping) {
                self.state.has_given_up = true;
                tracing::error!(
                    "Stopped while the buffer takes nothing; what waits in memory is lost, and named after the next start"
                );
                return Stored::No;
            }
        }
        Stored::Yes
    }
}

/// Of the folder with the lane's segments: shards of a kind share them, but for lanes of single topics, which are to leave
/// without the others.
pub fn lane_name_of(lane: Lane) -> LaneName {
    let name = match lane.is_diverted() {
        true => lane.to_string().parse().ok(),
        false => None,
    };
    name.unwrap_or_else(|| lane_name(lane.kind))
}

pub fn lane_name(kind: LaneKind) -> LaneName {
    // Every lane's word is a legal name.
    kind.as_str()
        .parse()
        .unwrap_or_else(|_| unreachable!("`{}` names a lane", kind.as_str()))
}
