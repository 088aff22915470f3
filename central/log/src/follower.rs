//! Reads the log for one consumer: partitions side by side, each block handed out once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use efd_shared_model::{EpochLane, LaneKind, SealedBlock, Shard};

use crate::{BlockLog, Class, Entry, LogError, Lost, Partition, Passed, Place, Progress, Reading};

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
    /// Blocks that the log had given up before they were taken.
    pub missed: u64,
}

/// Live and fill of every partition get turns; live gets [`LIVE_TURNS`] for each turn of fill, so that back-fill neither
/// starves nor delays the present.
///
/// [`Self::progress`] covers exactly what [`Self::poll`] has returned: commit it together with the output of those blocks.
#[derive(Debug)]
pub struct Follower<L: ?Sized> {
    log: Arc<L>,
    /// What else the log has is read by others.
    shard: Shard,
    progress: Progress,
    ready: BTreeMap<Partition, VecDeque<Entry>>,
    turns: VecDeque<Partition>,
    counters: FollowerCounters,
    audit: Option<Audit>,
}

/// After places were passed: what had been received by then must be seen when the log has been read so far.
#[derive(Debug)]
struct Audit {
    received: Lost,
    ends: Vec<(Partition, Place)>,
}

const LIVE_TURNS: usize = 4;
const READ_BYTES: usize = 4 << 20;

impl<L: BlockLog + ?Sized> Follower<L> {
    pub fn new(log: Arc<L>, progress: Progress) -> Self {
        Self::of_shard(log, progress, Shard::WHOLE)
    }

    /// Hands out the blocks that may have records of the shard, and perhaps of others too.
    pub fn of_shard(log: Arc<L>, progress: Progress, shard: Shard) -> Self {
        Self {
            log,
            shard,
            progress,
            ready: BTreeMap::new(),
            turns: VecDeque::new(),
            counters: FollowerCounters::default(),
            audit: None,
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
        if self.progress.has_passed {
            self.look_for_missing()?;
        }
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

    /// Whoever let the log pass a consumer, its disk, its retention, or an administrator: what the consumer has missed
    /// is asked for again.
    fn look_for_missing(&mut self) -> Result<(), LogError> {
        let Some(audit) = &self.audit else {
            // Received first: all of it is before the ends.
            let mut ends = Vec::new();
            let mut received = Lost::new();
            let lanes = self.log.received_lanes()?;
            let is_ours = |lane: &EpochLane| Shard::from_number(lane.lane.shard).meets(self.shard);
            for lane in lanes.into_iter().filter(is_ours) {
                received.insert(lane, self.log.received(lane)?);
            }
            for partition in self.partitions()? {
                let (_, end) = self.log.bounds(&partition)?;
                ends.push((partition, end));
            }
            self.audit = Some(Audit { received, ends });
            return Ok(());
        };
        let mut ends = audit.ends.iter();
        if !ends.all(|(partition, end)| *end <= self.progress.next_place(partition)) {
            return Ok(());
        }
        let mut missing = Lost::new();
        for (lane, received) in &audit.received {
            let seen = self.progress.seen.get(lane);
            let lost = seen.map_or_else(|| received.clone(), |seen| received.difference(seen));
            if !lost.is_empty() {
                missing.insert(*lane, lost);
            }
        }
        let blocks = self.log.note_lost(&missing)?;
        if blocks > 0 {
            tracing::error!(
                blocks,
                lanes = missing.len(),
                "The log gave up blocks that a consumer had not taken; their edges are asked for them again"
            );
        }
        self.counters.missed += missing
            .values()
            .map(|lost| lost.member_count())
            .sum::<u64>();
        self.audit = None;
        self.progress.has_passed = false;
        Ok(())
    }

    /// Those that it reads.
    pub fn partitions(&self) -> Result<Vec<Partition>, LogError> {
        let mut partitions = self.log.partitions()?;
        partitions.retain(|partition| partition.shard().meets(self.shard));
        Ok(partitions)
    }

    fn round(&self) -> Result<VecDeque<Partition>, LogError> {
        let partitions = self.partitions()?;
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
        let (next, passed) = match self.log.read(partition, place, READ_BYTES)? {
            Reading::Entries(entries) => return Ok(entries.into()),
            Reading::Absent { next } => {
                let absent = next.0.saturating_sub(place.0);
                let none = Passed::default();
                (next, Passed { absent, ..none })
            }
            Reading::Rewound { first, end } => {
                // What was seen is dropped by its number.
                tracing::error!(
                    %partition, %place, %end,
                    "The log ends before a consumer's place; it is read again from its first place"
                );
                let none = Passed::default();
                (first, Passed { rewound: 1, ..none })
            }
        };
        self.note_passed(partition, passed);
        self.progress.places.insert(partition.clone(), next);
        let read = self.log.read(partition, next, READ_BYTES)?;
        Ok(read.into_entries().into())
    }

    fn note_passed(&mut self, partition: &Partition, passed: Passed) {
        // Who never read the partition has missed nothing: it begins where the log does.
        self.progress.has_passed |= self.progress.places.contains_key(partition);
        self.counters.passed.add(passed);
        self.log.note_passed(passed);
    }

    /// Moves the place past `entry`; gives its block unless it is damaged, seen, or not for consumers.
    fn take(&mut self, partition: &Partition, entry: Entry) -> Option<Delivery> {
        let expected = self.progress.next_place(partition);
        let absent = entry.place().0.saturating_sub(expected.0);
        let damaged = u64::from(matches!(entry, Entry::Damaged { .. }));
        if absent > 0 || damaged > 0 {
            let passed = Passed {
                damaged,
                absent,
                rewound: 0,
            };
            self.note_passed(partition, passed);
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
