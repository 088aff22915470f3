//! The durable log of blocks at the centre: what ingest appends to and every consumer follows.
//!
//! In:  sealed blocks as they came from the edges, and the declarations that they need.
//! Out: the same blocks in the order of their partition, to any number of consumers that each keep their own [`Progress`].
//!
//! Invariants:
//! * What [`BlockLog::append`] returned `Ok` for is durable. Only then may an edge be told.
//! * A block may stand in the log more than once (a retry, or live and fill): every consumer drops what it has seen,
//!   by the range sets that it keeps with its output. [`Follower`] does it for them.
//! * What the log's own disk loses is not *received* any more: its edge is asked for it again ([`BlockLog::lost`]), and
//!   it comes as a new entry. A consumer goes past damage only after that is noted.
//! * A declaration is durable before the first block that needs it, and never expires.
//!
//! Absent: networks, tokio, what the records mean.

mod embedded;
mod follower;
mod kafka;
mod lost;
mod memory;
mod progress;
mod signal;
mod tenure;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use efd_shared_model::{
    EdgeId, EpochDeclaration, EpochId, Fingerprint, RangeSet, Schema, SealedBlock, Shard, Site,
    StreamDeclaration, StreamNumber, ids::EpochLane,
};

pub use embedded::{EmbeddedLog, OpenError};
pub use follower::{Delivery, Follower, FollowerCounters};
pub use kafka::{KafkaLog, KafkaOptions, Lease, Seat, SeatNumber, Seats, TopicSettings};
pub use memory::MemoryLog;
pub use progress::{Progress, ProgressError};
pub use tenure::Tenure;
pub use walk::Walk;

/// A panic while a lock was held leaves what it guards as it was between two calls.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a block came fresh or as back-fill: back-fill must not delay the present, so it has partitions of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Live,
    Fill,
}

/// Where blocks of a site go, whichever edge and epoch they are from. A topic's are in one partition as long as its edges
/// split their lanes into as many shards; its component tells which worker takes them wherever they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    pub site: Site,
    pub shard: u16,
    pub class: Class,
}

impl Partition {
    /// Which components it has.
    pub fn shard(&self) -> Shard {
        Shard::from_number(self.shard)
    }
}

impl fmt::Display for Partition {
    /// `summit.0.live`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class {
            Class::Live => "live",
            Class::Fill => "fill",
        };
        write!(f, "{}.{}.{class}", self.site, self.shard)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("partition `{0}` is not `<site>.<shard>.live` or `<site>.<shard>.fill`")]
pub struct PartitionError(String);

impl FromStr for Partition {
    type Err = PartitionError;
    fn from_str(text: &str) -> Result<Self, PartitionError> {
        let parse = || {
            let mut parts = text.split('.');
            let (site, shard, class) = (
                parts.next()?.parse().ok()?,
                parts.next()?.parse().ok()?,
                parts.next()?,
            );
            let class = match class {
                "live" => Class::Live,
                "fill" => Class::Fill,
                _ => return None,
            };
            parts
                .next()
                .is_none()
                .then_some(Self { site, shard, class })
        };
        parse().ok_or_else(|| PartitionError(text.chars().take(64).collect()))
    }
}

/// A position in a partition, counted from 1. As a consumer's progress: the next one to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64);

impl Place {
    pub const FIRST: Self = Self(1);

    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What stands at a place.
#[derive(Clone, Debug)]
pub enum Entry {
    Block {
        place: Place,
        block: SealedBlock,
    },
    /// The log's own disk damaged it: a consumer goes on, and the edge is asked to send it again.
    Damaged {
        place: Place,
        reason: String,
    },
}

impl Entry {
    pub fn place(&self) -> Place {
        match self {
            Self::Block { place, .. } | Self::Damaged { place, .. } => *place,
        }
    }
}

/// What a partition gives from a place on.
#[derive(Clone, Debug)]
pub enum Reading {
    /// In the order of their places; the first may stand behind the place asked for, where those before it are gone.
    /// None where the place is the end.
    Entries(Vec<Entry>),
    /// Nothing is held from the place up to `next`: removed, lost with its file, or never used.
    Absent { next: Place },
    /// The log ends before the place: it was begun anew, or lost its end.
    Rewound { first: Place, end: Place },
}

impl Reading {
    /// The entries alone; none where the place is not within the log.
    pub fn into_entries(self) -> Vec<Entry> {
        match self {
            Self::Entries(entries) => entries,
            Self::Absent { .. } | Self::Rewound { .. } => Vec::new(),
        }
    }
}

/// A declared stream, with all that a consumer needs to name and read its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    pub site: Site,
    pub declaration: StreamDeclaration,
    pub schema: Schema,
}

/// Changes whenever something was appended: what [`BlockLog::wait`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Generation(pub u64);

/// Block numbers by lane.
pub type Lost = BTreeMap<EpochLane, RangeSet>;

/// Places that gave a consumer no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Passed {
    /// The log's disk damaged them.
    pub damaged: u64,
    /// Removed, lost with their file, or never used.
    pub absent: u64,
    /// Times that the log ended before a consumer's place: it was begun anew, or lost its end.
    pub rewound: u64,
}

impl Passed {
    pub(crate) fn add(&mut self, more: Self) {
        let Self {
            damaged,
            absent,
            rewound,
        } = more;
        self.damaged = self.damaged.saturating_add(damaged);
        self.absent = self.absent.saturating_add(absent);
        self.rewound = self.rewound.saturating_add(rewound);
    }
}

/// How the log's own disk fares.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Health {
    /// Its disk has no room beyond what was kept in reserve, or not even that.
    pub is_full: bool,
    /// Over all consumers, since the log was opened.
    pub passed: Passed,
    /// Blocks that are to come again.
    pub lost_blocks: u64,
    /// Blocks that were lost, and that their edge has not either. A consumer that took them in time has them.
    pub absent: Lost,
}

impl Health {
    pub fn absent_blocks(&self) -> u64 {
        let counts = self.absent.values().map(RangeSet::member_count);
        counts.fold(0, u64::saturating_add)
    }
}

/// What a log may keep of what every consumer has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    pub age_max: Duration,
    /// Of all segments of the embedded log; what consumers have not taken stays above it too.
    pub bytes_max: u64,
}

impl Keep {
    /// However much it is.
    pub fn by_age(age_max: Duration) -> Self {
        Self {
            age_max,
            bytes_max: u64::MAX,
        }
    }
}

/// What retention did, and what it may not do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Segments of the embedded log.
    pub removed: u64,
    /// Old enough, or too much, and some consumer has not read it: how many, and which consumers.
    pub held_back: u64,
    pub held_back_by: BTreeSet<String>,
    /// Kafka's retention asks nobody.
    pub endangered: Vec<Endangered>,
}

/// A consumer, or one of the workers that share its work, and what it has durably.
#[derive(Clone, Debug)]
pub struct Reached<'a> {
    pub name: &'a str,
    pub shard: Shard,
    pub progress: Progress,
}

impl Reached<'_> {
    /// Whether its output takes from there.
    pub fn reads(&self, partition: &Partition) -> bool {
        self.shard.meets(partition.shard())
    }
}

/// A consumer that retention comes near, or has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endangered {
    pub consumer: String,
    pub partition: Partition,
    /// What it has not taken and is older than half of what retention leaves.
    pub places: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log has no room: {0}")]
    NoSpace(String),
    #[error("the log is closed")]
    Closed,
    #[error("stream {number} of epoch {epoch} is declared as {found}, and was as {known}")]
    Redeclared {
        epoch: EpochId,
        number: u32,
        known: String,
        found: String,
    },
    #[error("epoch {epoch}: streams {missing:?} are not declared")]
    Undeclared { epoch: EpochId, missing: Vec<u32> },
    #[error("schema {0} is not known")]
    UnknownSchema(Fingerprint),
    #[error("{0}")]
    Refused(String),
    #[error("{action}: {reason}")]
    Storage {
        action: &'static str,
        reason: String,
    },
}

impl LogError {
    /// It is what was to be appended or declared, not the log: trying again gives the same.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Redeclared { .. }
            | Self::Undeclared { .. }
            | Self::UnknownSchema(_)
            | Self::Refused(_) => true,
            Self::NoSpace(_) | Self::Closed | Self::Storage { .. } => false,
        }
    }
}

/// Blocking, and safe to share between threads.
pub trait BlockLog: fmt::Debug + Send + Sync + 'static {
    /// Durable, with the schemas of the text, when this returns `Ok`. May be called again with the same.
    fn declare(
        &self,
        epoch: &EpochDeclaration,
        streams: &[StreamDeclaration],
        schemas: &[Schema],
    ) -> Result<(), LogError>;

    /// Durable when this returns `Ok`. May be called again with the same blocks.
    fn append(&self, blocks: &[(Partition, SealedBlock)]) -> Result<(), LogError>;

    /// Every partition that has ever held a block.
    fn partitions(&self) -> Result<Vec<Partition>, LogError>;

    /// Entries from `from` on, about `bytes_max` of them, at least one where this process has read or appended one. What
    /// another has just appended may come with a later call.
    fn read(
        &self,
        partition: &Partition,
        from: Place,
        bytes_max: usize,
    ) -> Result<Reading, LogError>;

    /// First place held and the place that the next append gets.
    fn bounds(&self, partition: &Partition) -> Result<(Place, Place), LogError>;

    /// Block numbers that are durable here, or were until retention removed them; without those that were lost.
    fn received(&self, lane: EpochLane) -> Result<RangeSet, LogError>;

    /// Lanes of which blocks were received.
    fn received_lanes(&self) -> Result<Vec<EpochLane>, LogError>;

    /// Blocks that were received and that a consumer can get no more: they are to come again. Gives how many are news;
    /// durable when it returns `Ok`.
    fn note_lost(&self, lost: &Lost) -> Result<u64, LogError>;

    /// Blocks of an edge that were received and lost, and that it may still have.
    fn lost(&self, edge: EdgeId) -> Result<Lost, LogError>;

    /// The edge has them no more. Gives those of them that were lost, and are news.
    fn set_absent(&self, lane: EpochLane, numbers: &RangeSet) -> Result<RangeSet, LogError>;

    /// Grows whenever blocks are found lost.
    fn losses(&self) -> u64;

    /// What a consumer went past; for metrics.
    fn note_passed(&self, passed: Passed);

    /// What can wait, to be called about once a second.
    fn maintain(&self);

    fn health(&self) -> Health;

    /// Lets go what every consumer has read and is too old, or, the oldest first, too much; more, where the disk is full.
    /// Or says whom retention, which is another's work, will pass.
    fn retain(&self, keep: &Keep, consumers: &[Reached<'_>]) -> Result<Retained, LogError>;

    fn epochs(&self) -> Result<Vec<EpochDeclaration>, LogError>;

    /// How many streams of the epoch are declared, counted from 1 without gaps.
    fn streams_through(&self, epoch: EpochId) -> Result<StreamNumber, LogError>;

    fn stream(&self, epoch: EpochId, number: StreamNumber)
    -> Result<Option<Arc<Stream>>, LogError>;

    /// Returns at once if something was appended since `seen`, else when it is or after `timeout`.
    fn wait(&self, seen: Generation, timeout: Duration) -> Generation;
}
