//! Reads the log for one consumer: partitions side by side, each block handed out once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use efd_shared_model::{LaneKind, SealedBlock};

use crate::{BlockLog, Class, Entry, LogError, Partition, Passed, Place, Progress};

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
    pub passed: Passed,
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
        if self.ready.get(partition).is_none_or(VecDeque::is_empty) {
            let entries = self.read(partition)?;
            self.ready.insert(partition.clone(), entries);
        }
        Ok(self.ready.get_mut(partition).and_then(VecDeque::pop_front))
    }

    fn read(&mut self, partition: &Partition) -> Result<VecDeque<Entry>, LogError> {
        let place = self.progress.next_place(partition);
        // Asked for ahead of the read: an append in between is not taken for a hole.
        let (first, end) = self.log.bounds(partition)?;
        if place <= end {
            let entries = self.log.read(partition, place, READ_BYTES)?;
            if entries.is_empty() && place < end {
                let absent = end.0 - place.0;
                self.note_passed(Passed {
                    absent,
                    ..Passed::default()
                });
                self.progress.places.insert(partition.clone(), end);
            }
            return Ok(entries.into());
        }
        // The log was begun anew. What was seen is dropped by its number.
        tracing::error!(
            %partition, %place, %end,
            "The log ends before a consumer's place; it is read again from its first place"
        );
        self.note_passed(Passed {
            rewound: 1,
            ..Passed::default()
        });
        self.progress.places.insert(partition.clone(), first);
        let entries = self.log.read(partition, first, READ_BYTES)?;
        Ok(entries.into())
    }

    fn note_passed(&mut self, passed: Passed) {
        self.counters.passed.add(passed);
        self.log.note_passed(passed);
    }

    /// Moves the place past `entry`; gives its block unless it is damaged, seen, or not for consumers.
    fn take(&mut self, partition: &Partition, entry: Entry) -> Option<Delivery> {
        let expected = self.progress.next_place(partition);
        let absent = entry.place().0.saturating_sub(expected.0);
        let damaged = u64::from(matches!(entry, Entry::Damaged { .. }));
        if absent > 0 || damaged > 0 {
            self.note_passed(Passed {
                damaged,
                absent,
                rewound: 0,
            });
        }
        self.progress
            .places
            .insert(partition.clone(), entry.place().next());
        match entry {
            Entry::Damaged { .. } => None,
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
