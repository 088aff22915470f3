//! The log's in-memory twin, for tests of its consumers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use efd_shared_model::ids::EpochLane;
use efd_shared_model::{
    EdgeId, EpochDeclaration, EpochId, Fingerprint, RangeSet, Schema, SealedBlock,
    StreamDeclaration, StreamNumber,
};

use crate::{
    BlockLog, Entry, Generation, Health, Keep, LogError, Lost, Partition, Passed, Place, Reached,
    Reading, Retained, Stream, lock, signal::Signal,
};

/// Forgets everything when dropped; otherwise keeps every promise of [`BlockLog`].
#[derive(Debug, Default)]
pub struct MemoryLog {
    state: Mutex<State>,
    signal: Signal,
}

#[derive(Debug, Default)]
struct State {
    epochs: BTreeMap<EpochId, EpochDeclaration>,
    streams: BTreeMap<(EpochId, StreamNumber), StreamDeclaration>,
    schemas: BTreeMap<Fingerprint, Schema>,
    partitions: BTreeMap<Partition, Vec<SealedBlock>>,
    received: BTreeMap<EpochLane, RangeSet>,
}

impl MemoryLog {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn streams_through(&self, epoch: EpochId) -> StreamNumber {
        let numbers = self
            .streams
            .range((epoch, StreamNumber(0))..=(epoch, StreamNumber(u32::MAX)));
        StreamNumber(numbers.count() as u32)
    }
}

impl BlockLog for MemoryLog {
    fn declare(
        &self,
        epoch: &EpochDeclaration,
        streams: &[StreamDeclaration],
        schemas: &[Schema],
    ) -> Result<(), LogError> {
        let mut state = self.state();
        for schema in schemas {
            state.schemas.insert(schema.fingerprint(), schema.clone());
        }
        for stream in streams {
            if !state.schemas.contains_key(&stream.schema) {
                return Err(LogError::UnknownSchema(stream.schema));
            }
            if let Some(known) = state
                .streams
                .get(&(epoch.epoch, stream.number))
                .filter(|known| *known != stream)
            {
                return Err(LogError::Redeclared {
                    epoch: epoch.epoch,
                    number: stream.number.0,
                    known: known.topic.clone(),
                    found: stream.topic.clone(),
                });
            }
            state
                .streams
                .insert((epoch.epoch, stream.number), stream.clone());
        }
        state
            .epochs
            .entry(epoch.epoch)
            .or_insert_with(|| epoch.clone());
        Ok(())
    }

    fn append(&self, blocks: &[(Partition, SealedBlock)]) -> Result<(), LogError> {
        let mut state = self.state();
        for (partition, block) in blocks {
            let (epoch, needed) = (block.id().lane.epoch, block.header().streams_through);
            let known = state.streams_through(epoch);
            if known < needed {
                return Err(LogError::Undeclared {
                    epoch,
                    missing: (known.0 + 1..=needed.0).collect(),
                });
            }
            state
                .partitions
                .entry(partition.clone())
                .or_default()
                .push(block.clone());
            state
                .received
                .entry(block.id().lane)
                .or_default()
                .insert(block.id().number.0);
        }
        drop(state);
        self.signal.raise();
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<Partition>, LogError> {
        Ok(self.state().partitions.keys().cloned().collect())
    }

    fn read(
        &self,
        partition: &Partition,
        from: Place,
        bytes_max: usize,
    ) -> Result<Reading, LogError> {
        let (first, end) = self.bounds(partition)?;
        if end < from {
            return Ok(Reading::Rewound { first, end });
        }
        let state = self.state();
        let blocks = state
            .partitions
            .get(partition)
            .map_or(&[][..], Vec::as_slice);
        let mut bytes = 0;
        let entries = (from.0.max(1)..).zip(blocks.iter().skip(from.0.max(1) as usize - 1));
        let entries = entries
            .take_while(|(_, block)| {
                let first = bytes == 0;
                bytes += block.bytes().len();
                first || bytes <= bytes_max
            })
            .map(|(place, block)| Entry::Block {
                place: Place(place),
                block: block.clone(),
            })
            .collect();
        Ok(Reading::Entries(entries))
    }

    fn bounds(&self, partition: &Partition) -> Result<(Place, Place), LogError> {
        let count = self.state().partitions.get(partition).map_or(0, Vec::len);
        Ok((Place::FIRST, Place(count as u64 + 1)))
    }

    fn received(&self, lane: EpochLane) -> Result<RangeSet, LogError> {
        Ok(self
            .state()
            .received
            .get(&lane)
            .cloned()
            .unwrap_or_default())
    }

    fn received_lanes(&self) -> Result<Vec<EpochLane>, LogError> {
        Ok(self.state().received.keys().copied().collect())
    }

    fn note_lost(&self, _lost: &Lost) -> Result<u64, LogError> {
        Ok(0)
    }

    fn lost(&self, _edge: EdgeId) -> Result<Lost, LogError> {
        Ok(Lost::new())
    }

    fn set_absent(&self, _lane: EpochLane, _numbers: &RangeSet) -> Result<RangeSet, LogError> {
        Ok(RangeSet::new())
    }

    fn losses(&self) -> u64 {
        0
    }

    fn note_passed(&self, _passed: Passed) {}

    fn maintain(&self) {}

    fn health(&self) -> Health {
        Health::default()
    }

    fn retain(&self, _keep: &Keep, _consumers: &[Reached<'_>]) -> Result<Retained, LogError> {
        Ok(Retained::default())
    }

    fn epochs(&self) -> Result<Vec<EpochDeclaration>, LogError> {
        Ok(self.state().epochs.values().cloned().collect())
    }

    fn streams_through(&self, epoch: EpochId) -> Result<StreamNumber, LogError> {
        Ok(self.state().streams_through(epoch))
    }

    fn stream(
        &self,
        epoch: EpochId,
        number: StreamNumber,
    ) -> Result<Option<Arc<Stream>>, LogError> {
        let state = self.state();
        let found = || {
            let declaration = state.streams.get(&(epoch, number))?.clone();
            let site = state.epochs.get(&epoch)?.site.clone();
            let schema = state.schemas.get(&declaration.schema)?.clone();
            Some(Arc::new(Stream {
                site,
                declaration,
                schema,
            }))
        };
        Ok(found())
    }

    fn wait(&self, seen: Generation, timeout: Duration) -> Generation {
        self.signal.wait(seen, timeout)
    }
}
