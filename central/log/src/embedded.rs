//! The log on a local disk: one machine, nothing to install. A partition is a lane of [`efd_shared_store`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use efd_shared_model::ids::EpochLane;
use efd_shared_model::{
    EdgeId, EpochDeclaration, EpochId, RangeSet, Schema, SealedBlock, StreamDeclaration,
    StreamNumber, UtcNanos,
};
use efd_shared_store::{
    DamageReason, Damaged, Item, LaneName, Options, Position, Reader, Recovery, SegmentInfo,
    SegmentKey, SegmentState, Store, StoreError, Undeclared,
};

use crate::{
    BlockLog, Entry, Generation, Health, Keep, LogError, Lost, Partition, Passed, Place, Reached,
    Reading, Retained, Stream, lock, lost, signal::Signal,
};

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("open the log {}", folder.display())]
    Open {
        folder: PathBuf,
        #[source]
        source: StoreError,
    },
    #[error("the log {} holds lane `{lane}`, which is no partition", folder.display())]
    Lane { folder: PathBuf, lane: LaneName },
}

/// Readers in reserve: consumers and ingest read at the same time.
const READERS_MAX: usize = 8;

#[derive(Debug)]
pub struct EmbeddedLog {
    clock: fn() -> UtcNanos,
    reserve_bytes: u64,
    store: Mutex<Store>,
    readers: Mutex<Vec<Reader>>,
    streams: Mutex<HashMap<EpochId, Arc<EpochStreams>>>,
    signal: Signal,
    /// Counts findings of lost blocks.
    losses: AtomicU64,
    passed: Mutex<Passed>,
}

#[derive(Debug)]
struct EpochStreams {
    by_number: HashMap<StreamNumber, Arc<Stream>>,
    through: StreamNumber,
}

impl EmbeddedLog {
    /// `clock` stamps commits; ages of segments are counted by it.
    pub fn open(
        folder: PathBuf,
        options: Options,
        clock: fn() -> UtcNanos,
    ) -> Result<(Self, Recovery), OpenError> {
        let wrong = |source| OpenError::Open {
            folder: folder.clone(),
            source,
        };
        let reserve_bytes = options.reserve_bytes;
        let (mut store, recovery) = Store::open(&folder, options).map_err(wrong)?;
        let stray = store
            .reader()
            .lanes()
            .into_iter()
            .find(|lane| lane.as_str().parse::<Partition>().is_err());
        if let Some(lane) = stray {
            return Err(OpenError::Lane { folder, lane });
        }
        lost::skip_lost_ends(&mut store, clock()).map_err(wrong)?;
        let missing = lost::reckon(&mut store, &recovery).map_err(wrong)?;
        if missing > 0 {
            tracing::error!(
                folder = %folder.display(), blocks = missing,
                "Blocks that were received are not held any more; their edges are asked for them again"
            );
        }
        let log = Self {
            clock,
            reserve_bytes,
            store: Mutex::new(store),
            readers: Mutex::default(),
            streams: Mutex::default(),
            signal: Signal::default(),
            losses: AtomicU64::new(0),
            passed: Mutex::default(),
        };
        Ok((log, recovery))
    }

    #[cfg(test)]
    pub(crate) fn file_bytes(&self) -> u64 {
        let segments = lock(&self.store).segments();
        segments.iter().map(|segment| segment.file_bytes).sum()
    }

    /// A place that does not give its block: another copy of it, else what is lost is noted, and asked for again.
    fn mend(
        &self,
        damaged: Damaged,
        given_up: &mut BTreeSet<SegmentKey>,
    ) -> Result<Entry, LogError> {
        let Damaged {
            position,
            id,
            segment,
            reason,
        } = damaged;
        let place = Place(position.0);
        // What a row says of a block that is another one is no name for it.
        let id = id.filter(|_| !matches!(reason, DamageReason::Disagrees(_)));
        if let Some(id) = id {
            let copy = self.with_reader(
                |reader| reader.read_block(&id.lane, id.number),
                "look for another copy of a damaged block",
            )?;
            if let Some(Item::Block(_, block)) = copy {
                return Ok(Entry::Block { place, block });
            }
        }
        let store = lock(&self.store);
        let is_of_segment = |lane, number| {
            let segments = store.segments();
            let info = segments.iter().find(|info| info.key == segment);
            let contents = info.and_then(|info| info.contents.lanes.get(lane));
            contents.is_some_and(|contents| contents.numbers.contains(number))
        };
        let lost = match id {
            Some(id) if is_of_segment(&id.lane, id.number.0) => {
                let number = id.number.0;
                BTreeMap::from([(id.lane, RangeSet::from_iter([number..=number]))])
            }
            Some(_) | None if given_up.insert(segment.clone()) => lost::only_in(&store, &segment),
            Some(_) | None => BTreeMap::new(),
        };
        drop(store);
        let blocks = self.note_lost(&lost)?;
        if blocks > 0 {
            tracing::error!(
                %segment, %place, %reason, blocks,
                "The log is damaged; the edge is asked for the blocks again"
            );
        }
        Ok(Entry::Damaged {
            place,
            reason: reason.to_string(),
        })
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        lock(&self.store)
            .segments()
            .iter()
            .map(|segment| segment.file_bytes)
            .sum()
    }

    /// Ends the log so that the next start has nothing to recover.
    pub fn close(self) -> Result<(), LogError> {
        let mut store = self
            .store
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        lost::note_ends(&mut store).map_err(storage("note where the log ends"))?;
        store.close().map_err(storage("close the log"))
    }

    fn with_reader<T>(
        &self,
        work: impl FnOnce(&mut Reader) -> Result<T, StoreError>,
        action: &'static str,
    ) -> Result<T, LogError> {
        let spare = lock(&self.readers).pop();
        let mut reader = spare.unwrap_or_else(|| lock(&self.store).reader());
        let result = work(&mut reader).map_err(storage(action));
        let mut readers = lock(&self.readers);
        if readers.len() < READERS_MAX {
            readers.push(reader);
        }
        result
    }

    fn epoch_streams(&self, epoch: EpochId) -> Result<Arc<EpochStreams>, LogError> {
        if let Some(streams) = lock(&self.streams).get(&epoch) {
            return Ok(Arc::clone(streams));
        }
        let streams =
            self.with_reader(|reader| read_streams(reader, epoch), "read declarations")?;
        let streams = Arc::new(streams);
        lock(&self.streams).insert(epoch, Arc::clone(&streams));
        Ok(streams)
    }
}

fn read_streams(reader: &mut Reader, epoch: EpochId) -> Result<EpochStreams, StoreError> {
    let site = reader
        .epochs()?
        .into_iter()
        .find(|known| known.epoch == epoch)
        .map(|known| known.site);
    let mut streams = EpochStreams {
        by_number: HashMap::new(),
        through: StreamNumber(0),
    };
    let Some(site) = site else { return Ok(streams) };
    for declaration in reader.streams(epoch)? {
        let Some(schema) = reader.schema(&declaration.schema)? else {
            continue;
        };
        if declaration.number == streams.through.next() {
            streams.through = declaration.number;
        }
        let number = declaration.number;
        let stream = Stream {
            site: site.clone(),
            declaration,
            schema,
        };
        streams.by_number.insert(number, Arc::new(stream));
    }
    Ok(streams)
}

fn lane_of(partition: &Partition) -> Result<LaneName, LogError> {
    let name = partition.to_string();
    name.parse()
        .map_err(|_| LogError::Refused(format!("partition `{name}` cannot be named")))
}

fn storage(action: &'static str) -> impl Fn(StoreError) -> LogError {
    move |error| match error {
        StoreError::NoSpace { .. } => LogError::NoSpace(error.to_string()),
        StoreError::NoSchema { fingerprint, .. } => LogError::UnknownSchema(fingerprint),
        StoreError::Conflict { epoch, ref what } => LogError::Redeclared {
            epoch,
            number: 0,
            known: what.clone(),
            found: "another declaration".into(),
        },
        StoreError::Undeclared { block, what } => {
            let missing = match what {
                Undeclared::Epoch => Vec::new(),
                Undeclared::Stream(number) => vec![number.0],
            };
            LogError::Undeclared {
                epoch: block.lane.epoch,
                missing,
            }
        }
        StoreError::NoEpoch(epoch) => LogError::Undeclared {
            epoch,
            missing: Vec::new(),
        },
        StoreError::Block(_) | StoreError::TooLarge { .. } | StoreError::LaneFull { .. } => {
            LogError::Refused(with_causes(&error))
        }
        StoreError::Io { .. }
        | StoreError::Sqlite { .. }
        | StoreError::Damaged { .. }
        | StoreError::TooNew { .. }
        | StoreError::Locked { .. }
        | StoreError::NotAStore { .. }
        | StoreError::OldSqlite { .. }
        | StoreError::NoSegment(_)
        | StoreError::StillOpen(_) => LogError::Storage {
            action,
            reason: with_causes(&error),
        },
    }
}

fn with_causes(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl BlockLog for EmbeddedLog {
    fn declare(
        &self,
        epoch: &EpochDeclaration,
        streams: &[StreamDeclaration],
        schemas: &[Schema],
    ) -> Result<(), LogError> {
        lock(&self.store)
            .declare(epoch, streams, schemas)
            .map_err(storage("declare streams"))?;
        lock(&self.streams).remove(&epoch.epoch);
        Ok(())
    }

    /// Partitions are made durable one after the other. After an error some may be: the blocks are to be appended again,
    /// and may then stand twice.
    fn append(&self, blocks: &[(Partition, SealedBlock)]) -> Result<(), LogError> {
        let mut by_partition: BTreeMap<&Partition, Vec<SealedBlock>> = BTreeMap::new();
        for (partition, block) in blocks {
            by_partition
                .entry(partition)
                .or_default()
                .push(block.clone());
        }
        let now = (self.clock)();
        let mut store = lock(&self.store);
        for (partition, blocks) in by_partition {
            store
                .append(&lane_of(partition)?, &blocks, None, now)
                .map_err(storage("append blocks"))?;
            for block in &blocks {
                lost::note_received(&mut store, &block.id().lane, block.id().number.0);
            }
        }
        drop(store);
        self.signal.raise();
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<Partition>, LogError> {
        let lanes = self.with_reader(|reader| Ok(reader.lanes()), "list partitions")?;
        let mut partitions: Vec<Partition> = lanes
            .iter()
            .filter_map(|lane| lane.as_str().parse().ok())
            .collect();
        partitions.sort();
        Ok(partitions)
    }

    fn read(
        &self,
        partition: &Partition,
        from: Place,
        bytes_max: usize,
    ) -> Result<Reading, LogError> {
        // Asked for ahead of the read: an append in between is not taken for a hole.
        let (first, end) = self.bounds(partition)?;
        if end < from {
            return Ok(Reading::Rewound { first, end });
        }
        let lane = lane_of(partition)?;
        let items = self.with_reader(
            |reader| reader.read(&lane, Position(from.0), bytes_max),
            "read the log",
        )?;
        let mut given_up = BTreeSet::new();
        let mut entries = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Item::Block(position, block) => entries.push(Entry::Block {
                    place: Place(position.0),
                    block,
                }),
                Item::Damaged(damaged) => entries.push(self.mend(damaged, &mut given_up)?),
                // The next entry's place shows the hole.
                Item::Absent { .. } => {}
            }
        }
        if entries.is_empty() && from < end {
            return Ok(Reading::Absent { next: end });
        }
        Ok(Reading::Entries(entries))
    }

    fn bounds(&self, partition: &Partition) -> Result<(Place, Place), LogError> {
        let lane = lane_of(partition)?;
        self.with_reader(
            |reader| {
                Ok((
                    Place(reader.floor(&lane).0),
                    Place(reader.head(&lane).next().0),
                ))
            },
            "read the log's bounds",
        )
    }

    fn received(&self, lane: EpochLane) -> Result<RangeSet, LogError> {
        Ok(lost::received(&lock(&self.store), &lane))
    }

    fn received_lanes(&self) -> Result<Vec<EpochLane>, LogError> {
        let store = lock(&self.store);
        Ok(lost::received_lanes(&store).into_iter().collect())
    }

    fn note_lost(&self, lost: &Lost) -> Result<u64, LogError> {
        let blocks = lost::note_lost(&mut lock(&self.store), lost)
            .map_err(storage("note what the log has lost"))?;
        if blocks > 0 {
            self.losses.fetch_add(1, Ordering::Release);
        }
        Ok(blocks)
    }

    fn lost(&self, edge: EdgeId) -> Result<Lost, LogError> {
        Ok(lost::missing_of(&lock(&self.store), edge))
    }

    fn set_absent(&self, lane: EpochLane, numbers: &RangeSet) -> Result<RangeSet, LogError> {
        lost::note_absent(&mut lock(&self.store), &lane, numbers)
            .map_err(storage("note what the edge has not either"))
    }

    fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    fn note_passed(&self, passed: Passed) {
        lock(&self.passed).add(passed);
    }

    fn maintain(&self) {
        let mut store = lock(&self.store);
        store.maintain((self.clock)());
        if let Err(error) = lost::note_ends(&mut store) {
            tracing::warn!(%error, "Noting where the log ends failed; it is tried again");
        }
    }

    fn health(&self) -> Health {
        let store = lock(&self.store);
        let lost = lost::missing(&store, |_| true);
        Health {
            is_full: self.reserve_bytes > 0 && !store.has_reserve(),
            passed: *lock(&self.passed),
            lost_blocks: lost.values().map(RangeSet::member_count).sum(),
            absent: lost::absent(&store)
                .iter()
                .filter(|(_, numbers)| !numbers.is_empty())
                .map(|(lane, numbers)| (*lane, numbers.clone()))
                .collect(),
        }
    }

    fn retain(&self, keep: &Keep, consumers: &[Reached<'_>]) -> Result<Retained, LogError> {
        let now = (self.clock)();
        let age_max = i64::try_from(keep.age_max.as_nanos()).unwrap_or(i64::MAX);
        let mut retained = Retained::default();
        let mut store = lock(&self.store);
        let mut segments = store.segments();
        segments.sort_by_key(SegmentInfo::newest);
        let bytes: u64 = segments.iter().map(|segment| segment.file_bytes).sum();
        // Without its reserve the log has met a full disk: it has to leave that much.
        let wanted = if store.has_reserve() {
            0
        } else {
            self.reserve_bytes
        };
        let mut excess = bytes.saturating_sub(keep.bytes_max).max(wanted);
        for segment in segments {
            let is_old = age_max <= now.since(segment.newest());
            if segment.state != SegmentState::Closed || !is_old && excess == 0 {
                continue;
            }
            let Ok(partition) = segment.key.lane.as_str().parse::<Partition>() else {
                continue;
            };
            let behind: Vec<&str> = consumers
                .iter()
                .filter(|consumer| consumer.reads(&partition))
                .filter(|consumer| consumer.progress.next_place(&partition).0 <= segment.last.0)
                .map(|consumer| consumer.name)
                .collect();
            if behind.is_empty() {
                lost::note_retired(&mut store, &segment)
                    .map_err(storage("note what retention removes"))?;
                store
                    .remove(&segment.key)
                    .map_err(storage("remove a segment of the log"))?;
                excess = excess.saturating_sub(segment.file_bytes);
                retained.removed += 1;
            } else {
                retained.held_back += 1;
                retained
                    .held_back_by
                    .extend(behind.into_iter().map(str::to_owned));
            }
        }
        Ok(retained)
    }

    fn epochs(&self) -> Result<Vec<EpochDeclaration>, LogError> {
        self.with_reader(Reader::epochs, "read epochs")
    }

    fn streams_through(&self, epoch: EpochId) -> Result<StreamNumber, LogError> {
        Ok(self.epoch_streams(epoch)?.through)
    }

    fn stream(
        &self,
        epoch: EpochId,
        number: StreamNumber,
    ) -> Result<Option<Arc<Stream>>, LogError> {
        if let Some(stream) = self.epoch_streams(epoch)?.by_number.get(&number) {
            return Ok(Some(Arc::clone(stream)));
        }
        // What was read while a declaration came may be older than it: only the store can say that there is none.
        lock(&self.streams).remove(&epoch);
        Ok(self.epoch_streams(epoch)?.by_number.get(&number).cloned())
    }

    fn wait(&self, seen: Generation, timeout: Duration) -> Generation {
        self.signal.wait(seen, timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use efd_shared_model::{ClockState, TopicKind};

    /// A reader that looked just before a declaration must not hide it from those that come after.
    #[test]
    fn a_stale_reading_hides_no_stream() {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) =
            EmbeddedLog::open(folder.path().to_owned(), Options::default(), || UtcNanos(1))
                .unwrap();
        let epoch = EpochDeclaration {
            edge: EdgeId([1; 16]),
            site: "summit".parse().unwrap(),
            epoch: EpochId([2; 16]),
            parent: None,
            began: ClockState::default(),
            software: "test".into(),
        };
        let schema = Schema::new("\"long\"");
        let stream = StreamDeclaration {
            number: StreamNumber(1),
            topic: "t".into(),
            dds_topic: String::new(),
            dds_type: String::new(),
            kind: TopicKind::Event,
            schema: schema.fingerprint(),
        };
        log.declare(&epoch, &[], &[]).unwrap();
        let stale = log.epoch_streams(epoch.epoch).unwrap();
        log.declare(&epoch, &[stream], &[schema]).unwrap();
        lock(&log.streams).insert(epoch.epoch, stale);
        assert!(log.stream(epoch.epoch, StreamNumber(1)).unwrap().is_some());
        assert!(log.stream(epoch.epoch, StreamNumber(2)).unwrap().is_none());
    }
}
