//! What each publisher has sent, by its own sequence numbers: the only witness of a loss on the bus.
//!
//! In:  the private fields of each decoded sample.
//! Out: whether it is new, a repetition of history that was recorded before, or the first after a [`Gap`].
//!
//! Pure. A snapshot goes into the buffer beside the data, so that a restarted edge knows what it had recorded.
//!
//! Of topics that are not SAL's, nothing numbers the samples: see [`Histories`].
//!
//! SAL numbers samples 1 to 2³¹−1 for each topic of a publisher's process, which `private_identity` and
//! `private_origin` (its process id) name (ts_salobj; `private_seqNum` ≤ 0 means that the publisher does not number).

mod histories;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use efd_shared_model::{LossReason, UtcNanos};
use hashbrown::HashTable;
use xxhash_rust::xxh3::Xxh3Default;

pub use histories::Histories;
pub use snapshot::SnapshotError;

/// Index of a topic's name in [`Publishers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicIndex(u32);

/// SAL wraps `private_seqNum` here.
pub const SEQUENCE_MAX: i64 = i32::MAX as i64;
/// A jump from this close below the maximum to this close above 1 is a wrap-around, anything else a restart.
const WRAP_WINDOW: i64 = 100_000;
/// Samples remembered for each publisher of a topic that keeps history for late joiners. SAL's events keep 100.
pub const HISTORY_DEPTH: usize = 128;
/// Publishers remembered at most; above it the longest silent are forgotten.
pub const PUBLISHERS_MAX: usize = 200_000;

/// The private fields of one sample.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    pub topic: TopicIndex,
    pub sal_index: Option<i32>,
    pub identity: &'a [u8],
    pub origin: i64,
    pub sequence: i64,
    /// `private_sndStamp`, TAI seconds.
    pub snd_stamp: f64,
    pub received: UtcNanos,
    /// The writer keeps history for late joiners: repetitions are to be expected.
    pub keeps_history: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    New,
    /// Recorded before: a late joiner's history after our restart.
    Duplicate,
    /// New, and `Gap` is missing before it.
    AfterGap(Gap),
}

/// Sequence numbers that never came, inclusive. A wrap-around in between is counted in `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub reason: LossReason,
    pub first: i64,
    pub last: i64,
    pub count: i64,
    /// When the last sample before the gap was received; `None` before the first contact.
    pub since: Option<UtcNanos>,
}

#[derive(Debug, Default)]
pub struct Publishers {
    topics: Vec<Box<str>>,
    by_name: HashMap<Box<str>, TopicIndex>,
    table: HashTable<Publisher>,
    pub histories: Histories,
}

#[derive(Debug, Clone, PartialEq)]
struct Publisher {
    topic: TopicIndex,
    sal_index: Option<i32>,
    identity: Box<[u8]>,
    origin: i64,
    last_sequence: i64,
    last_snd_stamp: f64,
    last_received: UtcNanos,
    /// Not heard since this process began.
    restored: bool,
    /// (sequence, bits of the stamp), oldest first; empty for topics without history.
    history: VecDeque<(i64, u64)>,
}

impl Publishers {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The index of `name`, given now if it has none.
    pub fn topic(&mut self, name: &str) -> TopicIndex {
        if let Some(&known) = self.by_name.get(name) {
            return known;
        }
        let index = TopicIndex(self.topics.len() as u32);
        self.topics.push(name.into());
        self.by_name.insert(name.into(), index);
        index
    }

    /// Takes note of a sample, which is to be recorded unless it is a duplicate.
    pub fn observe(&mut self, sample: Observed<'_>) -> Verdict {
        if sample.sequence <= 0 {
            return Verdict::New;
        }
        let hash = hash(
            sample.topic,
            sample.sal_index,
            sample.identity,
            sample.origin,
        );
        if let Some(publisher) = self.table.find_mut(hash, |publisher| publisher.is(&sample)) {
            return publisher.observe(&sample);
        }
        if self.table.len() >= PUBLISHERS_MAX {
            self.forget_the_longest_silent();
        }
        let mut publisher = Publisher::new(&sample);
        publisher.remember(&sample);
        self.table.insert_unique(hash, publisher, Publisher::hash);
        if sample.sequence == 1 {
            return Verdict::New;
        }
        let (first, last) = (1, sample.sequence - 1);
        Verdict::AfterGap(Gap {
            reason: LossReason::BeforeContact,
            first,
            last,
            count: last,
            since: None,
        })
    }

    /// Half of them, so that the cost is spread over many observations.
    fn forget_the_longest_silent(&mut self) {
        let mut received: Vec<UtcNanos> = self
            .table
            .iter()
            .map(|publisher| publisher.last_received)
            .collect();
        let middle = received.len() / 2;
        let (_, &mut cut, _) = received.select_nth_unstable(middle);
        self.table.retain(|publisher| publisher.last_received > cut);
    }
}

impl Publisher {
    fn new(sample: &Observed<'_>) -> Self {
        Self {
            topic: sample.topic,
            sal_index: sample.sal_index,
            identity: sample.identity.into(),
            origin: sample.origin,
            last_sequence: sample.sequence,
            last_snd_stamp: sample.snd_stamp,
            last_received: sample.received,
            restored: false,
            history: VecDeque::new(),
        }
    }

    fn hash(&self) -> u64 {
        hash(self.topic, self.sal_index, &self.identity, self.origin)
    }

    fn is(&self, sample: &Observed<'_>) -> bool {
        self.topic == sample.topic
            && self.origin == sample.origin
            && self.sal_index == sample.sal_index
            && *self.identity == *sample.identity
    }

    fn observe(&mut self, sample: &Observed<'_>) -> Verdict {
        let (last, now) = (self.last_sequence, sample.sequence);
        if now <= last {
            if self.has_recorded(sample) {
                return Verdict::Duplicate;
            }
            let wrapped = last > SEQUENCE_MAX - WRAP_WINDOW && now < WRAP_WINDOW;
            if !wrapped && sample.snd_stamp <= self.last_snd_stamp {
                // Late, or history from before our first contact: new, and no news about what is missing.
                self.remember(sample);
                return Verdict::New;
            }
            let gap = if wrapped {
                let count = (SEQUENCE_MAX - last) + (now - 1);
                let first = if last == SEQUENCE_MAX { 1 } else { last + 1 };
                let end = if now == 1 { SEQUENCE_MAX } else { now - 1 };
                self.gap(first, end, count)
            } else {
                // A restart that kept its process id, as in a container.
                self.gap(1, now - 1, now - 1)
            };
            return self.advance(sample, gap);
        }
        let gap = self.gap(last + 1, now - 1, now - last - 1);
        self.advance(sample, gap)
    }

    fn gap(&self, first: i64, last: i64, count: i64) -> Option<Gap> {
        let reason = if self.restored {
            LossReason::Crash
        } else {
            LossReason::DdsGap
        };
        (count > 0).then_some(Gap {
            reason,
            first,
            last,
            count,
            since: Some(self.last_received),
        })
    }

    fn advance(&mut self, sample: &Observed<'_>, gap: Option<Gap>) -> Verdict {
        self.last_sequence = sample.sequence;
        self.last_snd_stamp = sample.snd_stamp;
        self.last_received = sample.received;
        self.restored = false;
        self.remember(sample);
        gap.map_or(Verdict::New, Verdict::AfterGap)
    }

    fn remember(&mut self, sample: &Observed<'_>) {
        if !sample.keeps_history {
            return;
        }
        if self.history.len() >= HISTORY_DEPTH {
            self.history.pop_front();
        }
        self.history
            .push_back((sample.sequence, sample.snd_stamp.to_bits()));
    }

    /// A stamp that never moves cannot tell a repetition from the next sample, and then nothing may be dropped.
    fn has_recorded(&self, sample: &Observed<'_>) -> bool {
        let stamped = sample.snd_stamp.is_finite() && sample.snd_stamp > 0.0;
        stamped
            && sample.keeps_history
            && self
                .history
                .contains(&(sample.sequence, sample.snd_stamp.to_bits()))
    }
}

fn hash(topic: TopicIndex, sal_index: Option<i32>, identity: &[u8], origin: i64) -> u64 {
    let mut hasher = Xxh3Default::new();
    hasher.update(&topic.0.to_le_bytes());
    hasher.update(&sal_index.map_or(i64::MIN, i64::from).to_le_bytes());
    hasher.update(&origin.to_le_bytes());
    hasher.update(identity);
    hasher.digest()
}
