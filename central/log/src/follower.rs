//! Reads the log for one consumer: partitions side by side, each block handed out once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use efd_shared_model::{LaneKind, SealedBlock};

use crate::{BlockLog, Class, Entry, LogError, Partition, Place, Progress};

/// A block that the consumer has not seen.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub partition: Partition,
    pub place: Place,
    pub block: SealedBlock,
}

/// Since the follower was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FollowerCounters {
    pub delivered: u64,
    /// Blocks dropped because they had been seen.
    pub duplicates: u64,
    /// Places that were damaged on the log's disk.
    pub damaged: u64,
    /// Places that retention had removed before they were read.
    pub passed: u64,
}

/// Live and fill of every partition get turns; live gets [`LIVE_TURNS`] for each turn of fill, so that back-fill neither
/// starves nor delays the present.
///
/// [`Self::progress`] covers exactly what [`Self::poll`] has returned: commit it together with the output of those blocks.
#[derive(Debug)]
pub struct Follower<L: ?Sized> {
    log: Arc<L>,
    progress: Progress,
    ready: BTreeMap<Partition, VecDeque<Entry>>,
    turns: VecDeque<Partition>,
    counters: FollowerCounters,
}

const LIVE_TURNS: usize = 4;
const READ_BYTES: usize = 4 << 20;

impl<L: BlockLog + ?Sized> Follower<L> {
    pub fn new(log: Arc<L>, progress: Progress) -> Self {
        Self {
            log,
            progress,
            ready: BTreeMap::new(),
            turns: VecDeque::new(),
            counters: FollowerCounters::default(),
        }
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    pub fn counters(&self) -> FollowerCounters {
        self.counters
    }

    /// The next block, or `None` when everything in the log has been read.
    pub fn poll(&mut self) -> Result<Option<Delivery>, LogError> {
        let mut idle = 0;
        loop {
            if self.turns.is_empty() {
                self.turns = self.round()?;
                idle += 1;
                // Two whole rounds without an entry: there is none.
                if idle > 2 || self.turns.is_empty() {
                    return Ok(None);
                }
            }
            let Some(partition) = self.turns.pop_front() else {
                continue;
            };
            while let Some(entry) = self.next_entry(&partition)? {
                idle = 0;
                if let Some(delivery) = self.take(&partition, entry) {
                    return Ok(Some(delivery));
                }
            }
        }
    }

    fn round(&self) -> Result<VecDeque<Partition>, LogError> {
        let partitions = self.log.partitions()?;
        let turns = |partition: &Partition| match partition.class {
            Class::Live => LIVE_TURNS,
            Class::Fill => 1,
        };
        Ok(partitions
            .into_iter()
            .flat_map(|partition| std::iter::repeat_n(partition.clone(), turns(&partition)))
            .collect())
    }

    fn next_entry(&mut self, partition: &Partition) -> Result<Option<Entry>, LogError> {
        let ready = self.ready.entry(partition.clone()).or_default();
        if ready.is_empty() {
            ready.extend(self.log.read(
                partition,
                self.progress.next_place(partition),
                READ_BYTES,
            )?);
        }
        Ok(ready.pop_front())
    }

    /// Moves the place past `entry`; gives its block unless it is damaged, seen, or not for consumers.
    fn take(&mut self, partition: &Partition, entry: Entry) -> Option<Delivery> {
        let expected = self.progress.next_place(partition);
        self.counters.passed += entry.place().0.saturating_sub(expected.0);
        self.progress
            .places
            .insert(partition.clone(), entry.place().next());
        match entry {
            Entry::Damaged { .. } => {
                self.counters.damaged += 1;
                None
            }
            Entry::Block { place, block } => {
                debug_assert_ne!(block.id().lane.lane.kind, LaneKind::Parked);
                if !self.progress.insert(&block) {
                    self.counters.duplicates += 1;
                    return None;
                }
                self.counters.delivered += 1;
                Some(Delivery {
                    partition: partition.clone(),
                    place,
                    block,
                })
            }
        }
    }
}
