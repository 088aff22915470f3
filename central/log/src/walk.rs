//! All that a log holds, partition by partition, whoever has taken it: for whoever recounts it or looks for a block.

use std::collections::VecDeque;
use std::ops::Deref;

use crate::{BlockLog, Entry, LogError, Partition, Place, Reading};

const READ_BYTES: usize = 4 << 20;

/// Ends where the log ended when it began, or a little later. A block may come more than once. After an error it ends.
#[derive(Debug)]
pub struct Walk<P> {
    log: P,
    /// With the next place, and the end.
    partitions: VecDeque<(Partition, Place, Place)>,
    ready: VecDeque<(Partition, Entry)>,
}

impl<P: Deref<Target: BlockLog>> Walk<P> {
    pub fn new(log: P, wants: impl Fn(&Partition) -> bool) -> Result<Self, LogError> {
        let mut partitions = VecDeque::new();
        for partition in log.partitions()? {
            if wants(&partition) {
                let (first, end) = log.bounds(&partition)?;
                partitions.push_back((partition, first, end));
            }
        }
        Ok(Self {
            log,
            partitions,
            ready: VecDeque::new(),
        })
    }

    /// Some entries of the partition that is next, or none where it has ended.
    fn read(&mut self) -> Result<(), LogError> {
        let Some((partition, next, end)) = self.partitions.front_mut() else {
            return Ok(());
        };
        let after = match next < end {
            false => *end,
            true => match self.log.read(partition, *next, READ_BYTES)? {
                Reading::Entries(entries) => {
                    let after = entries.last().map(|last| last.place().next());
                    let entries = entries.into_iter().map(|entry| (partition.clone(), entry));
                    self.ready.extend(entries);
                    // The log gives nothing at the moment.
                    after.unwrap_or(*end)
                }
                Reading::Absent { next } => next,
                Reading::Rewound { .. } => *end,
            },
        };
        *next = after;
        if *end <= after {
            self.partitions.pop_front();
        }
        Ok(())
    }
}

impl<P: Deref<Target: BlockLog>> Iterator for Walk<P> {
    type Item = Result<(Partition, Entry), LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && !self.partitions.is_empty() {
            if let Err(error) = self.read() {
                self.partitions.clear();
                return Some(Err(error));
            }
        }
        self.ready.pop_front().map(Ok)
    }
}
