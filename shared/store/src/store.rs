//! The writer's side: declare, append, acknowledge, remove.

mod open;
mod remove;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::Range;
use std::sync::Arc;

use efd_shared_model::schema::{SCHEMA_BYTES_MAX, TOPIC_CHARS_MAX};
use efd_shared_model::{
    EpochDeclaration, EpochId, EpochLane, RangeSet, Schema, SealedBlock, StreamDeclaration,
    StreamNumber, UtcNanos,
};

use crate::catalogue::Shared;
use crate::declare::Declared;
use crate::disk;
use crate::error::{StoreError, Undeclared, file, sql};
use crate::lane::{LaneName, Position, SegmentKey};
use crate::meta::{Acked, Meta, compress};
use crate::options::Options;
use crate::reader::Reader;
use crate::reserve::Reserve;
use crate::segment::scan::Tally;
use crate::segment::writer::{Batch, SegmentWriter, finish};
use crate::segment::{BlockRow, SegmentInfo, SegmentState};

/// The one writer of a store. Blocking; to be owned by one thread. [`Self::reader`] gives the others their eyes.
///
/// Order of truth: a block is where its segment has it. `meta.db` and the catalogue in memory follow.
#[derive(Debug)]
pub struct Store {
    options: Options,
    shared: Arc<Shared>,
    meta: Meta,
    reserve: Reserve,
    lanes: BTreeMap<LaneName, LaneWriter>,
    /// Segments that no block is added to any more, whose files are not yet closed.
    unfinished: BTreeSet<SegmentKey>,
    /// Files that hold nothing but a commit that was reported as failed, and that could not be removed yet.
    void: BTreeSet<SegmentKey>,
    /// Segments whose files are gone and that `meta.db` may still have.
    removed: BTreeSet<SegmentKey>,
    /// As `meta.db` has them, of the epochs used since the start.
    epochs: BTreeMap<EpochId, Epoch>,
    acked: BTreeMap<String, Acked>,
    /// Acknowledgements that `meta.db` does not have yet.
    unsaved: BTreeSet<(String, EpochLane)>,
    /// Held as long as the store is open.
    _lock: Lock,
}

/// Given up when dropped, not when closed: a child that another thread has just forked has the same file open until
/// it executes its own program.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "Giving up the lock failed");
        }
    }
}

#[derive(Debug, Default)]
struct LaneWriter {
    current: Option<SegmentWriter>,
    /// The next file, made ahead.
    spare: Option<SegmentWriter>,
    next_id: u64,
}

#[derive(Debug)]
struct Epoch {
    declaration: EpochDeclaration,
    streams: BTreeMap<u32, StreamDeclaration>,
    /// 1..=through are all declared.
    through: u32,
}

impl Store {
    /// Declares an epoch, its streams, and the schemas that they need and that are not known yet. Durable when this
    /// returns. To be done ahead of the blocks that use them, as often as one likes; a declaration that contradicts an
    /// earlier one is refused whole.
    pub fn declare(
        &mut self,
        epoch: &EpochDeclaration,
        streams: &[StreamDeclaration],
        schemas: &[Schema],
    ) -> Result<(), StoreError> {
        let conflict = |what: String| StoreError::Conflict {
            epoch: epoch.epoch,
            what,
        };
        let mut new = BTreeMap::new();
        let known = self.epoch(epoch.epoch)?;
        let is_new = known.is_none();
        if known.is_some_and(|known| known.declaration != *epoch) {
            return Err(conflict("the epoch".into()));
        }
        for stream in streams {
            let names = [&stream.topic, &stream.dds_topic, &stream.dds_type];
            if let Some(name) = names.into_iter().find(|name| TOPIC_CHARS_MAX < name.len()) {
                return Err(StoreError::TooLarge {
                    what: "bytes of a stream's name",
                    found: name.len(),
                    max: TOPIC_CHARS_MAX,
                });
            }
            let number = stream.number.0;
            let known = known.and_then(|known| known.streams.get(&number));
            match known.or_else(|| new.get(&number).copied()) {
                Some(same) if same == stream => {}
                Some(_) => return Err(conflict(format!("stream {}", number))),
                None => {
                    new.insert(number, stream);
                }
            }
        }
        if let Some(large) = schemas
            .iter()
            .find(|schema| SCHEMA_BYTES_MAX < schema.text().len())
        {
            return Err(StoreError::TooLarge {
                what: "bytes of schema",
                found: large.text().len(),
                max: SCHEMA_BYTES_MAX,
            });
        }
        let mut unknown = Vec::new();
        for schema in schemas {
            if !self.knows(&schema.fingerprint())? {
                unknown.push(compress(schema));
            }
        }
        for stream in new.values() {
            let brought = schemas
                .iter()
                .any(|schema| schema.fingerprint() == stream.schema);
            if !brought && !self.knows(&stream.schema)? {
                return Err(StoreError::NoSchema {
                    epoch: epoch.epoch,
                    stream: stream.number,
                    fingerprint: stream.schema,
                });
            }
        }
        if !is_new && new.is_empty() && unknown.is_empty() {
            return Ok(());
        }
        let added: Vec<_> = new.values().copied().collect();
        self.with_reserve(|store| store.meta.declare(epoch, &added, &unknown))?;
        let known = self.epochs.entry(epoch.epoch).or_insert_with(|| Epoch {
            declaration: epoch.clone(),
            streams: BTreeMap::new(),
            through: 0,
        });
        let new = new
            .into_iter()
            .map(|(number, stream)| (number, stream.clone()));
        known.streams.extend(new);
        known.count_through();
        Ok(())
    }

    fn knows(&self, fingerprint: &efd_shared_model::Fingerprint) -> Result<bool, StoreError> {
        Declared::new(self.meta.connection())
            .has_schema(fingerprint)
            .map_err(sql("look up schema", self.meta.path()))
    }

    /// From memory, else from `meta.db`.
    fn epoch(&mut self, id: EpochId) -> Result<Option<&Epoch>, StoreError> {
        if !self.epochs.contains_key(&id) {
            let declared = Declared::new(self.meta.connection());
            let wrong = sql("look up epoch", self.meta.path());
            if let Some(declaration) = declared.epoch(id).map_err(&wrong)? {
                let streams = declared.streams(id).map_err(&wrong)?;
                let streams = streams.into_iter().map(|stream| (stream.number.0, stream));
                let mut epoch = Epoch {
                    declaration,
                    streams: streams.collect(),
                    through: 0,
                };
                epoch.count_through();
                self.epochs.insert(id, epoch);
            }
        }
        Ok(self.epochs.get(&id))
    }

    /// Adds blocks to the end of a lane, and sets one of its values, in one transaction that is **durable** when this
    /// returns `Ok`. Gives their positions. `blocks` may be empty where a value is set.
    ///
    /// After an error nothing was added, as far as the store will ever tell: append the same blocks again. Positions
    /// stay without gaps. (Should the process die between the error and the repetition, the blocks may turn out to be
    /// there after all: the next epoch does not repeat them.)
    ///
    /// - [`StoreError::NoSpace`]: the reserve is used up too. Remove segments, then repeat.
    /// - [`StoreError::Io`], [`StoreError::Sqlite`], [`StoreError::Damaged`]: the segment was closed for writing and
    ///   the repetition in a new one failed too.
    /// - others: the caller's fault, with the block named.
    pub fn append(
        &mut self,
        lane: &LaneName,
        blocks: &[SealedBlock],
        state: Option<(&str, &[u8])>,
        committed: UtcNanos,
    ) -> Result<Range<Position>, StoreError> {
        self.append_with(lane, blocks, state.as_slice(), committed)
    }

    /// As [`Self::append`], with several of the lane's values.
    pub fn append_with(
        &mut self,
        lane: &LaneName,
        blocks: &[SealedBlock],
        values: &[(&str, &[u8])],
        committed: UtcNanos,
    ) -> Result<Range<Position>, StoreError> {
        self.check(blocks)?;
        let head = self
            .shared
            .read()
            .lanes
            .get(lane)
            .map_or(Position::NONE, |log| log.head);
        let first = head.next();
        let end = Position(head.0.saturating_add(blocks.len() as u64));
        if POSITION_MAX < end.0 {
            let lane = lane.clone();
            return Err(StoreError::LaneFull {
                lane,
                at: Position(POSITION_MAX),
            });
        }
        if blocks.is_empty() && values.is_empty() {
            return Ok(first..first);
        }
        self.rotate_if_due(lane, committed);
        let batch = Batch {
            lane,
            id: 0,
            first,
            blocks,
            values,
            committed,
        };
        self.write(&batch)?;
        Ok(first..end.next())
    }

    /// What may not be stored is refused before anything is written.
    fn check(&mut self, blocks: &[SealedBlock]) -> Result<(), StoreError> {
        let verify = self.options.verify_on_append;
        for block in blocks {
            let header = block.header();
            let undeclared = |what| StoreError::Undeclared {
                block: header.id,
                what,
            };
            let epoch = self.epoch(header.id.lane.epoch)?;
            let epoch = epoch.ok_or_else(|| undeclared(Undeclared::Epoch))?;
            if epoch.declaration.edge != header.id.lane.edge {
                return Err(undeclared(Undeclared::Epoch));
            }
            if epoch.through < header.streams_through.0 {
                let next = StreamNumber(epoch.through).next();
                return Err(undeclared(Undeclared::Stream(next)));
            }
            if POSITION_MAX < header.id.number.0 {
                return Err(StoreError::TooLarge {
                    what: "block number",
                    found: header.id.number.0 as usize,
                    max: POSITION_MAX as usize,
                });
            }
            if verify {
                block.verify()?;
            }
        }
        Ok(())
    }

    /// Tries the current segment; after a failure of the device once more in a new one; after a lack of space once
    /// more without the reserve.
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut device_failed = false;
        loop {
            match self.write_once(batch) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_no_space() && self.reserve.release() => {}
                Err(error) if error.is_device() && !device_failed => {
                    tracing::warn!(
                        lane = %batch.lane,
                        error = &error as &dyn std::error::Error,
                        "A segment failed: its last blocks go to a new one"
                    );
                    device_failed = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn write_once(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        self.ensure_current(batch.lane)?;
        let Some(lane) = self.lanes.get_mut(batch.lane) else {
            return Ok(());
        };
        let Some(writer) = &mut lane.current else {
            return Ok(());
        };
        let batch = Batch {
            id: writer.id,
            ..*batch
        };
        let key = SegmentKey {
            lane: batch.lane.clone(),
            id: writer.id,
        };
        let was_begun = writer.begun.is_some();
        let states = match was_begun {
            true => BTreeMap::new(),
            false => {
                let catalogue = self.shared.read();
                let log = catalogue.lanes.get(batch.lane);
                log.map(|log| log.states.clone()).unwrap_or_default()
            }
        };
        if let Err(error) = writer.append(&batch, self.meta.connection(), &states) {
            if !(error.is_no_space() && writer.is_usable()) {
                self.abandon_current(&key, was_begun);
            }
            return Err(error);
        }

        let mut catalogue = self.shared.write();
        let log = catalogue.lanes.entry(batch.lane.clone()).or_default();
        let info = log
            .segments
            .entry(writer.id)
            .or_insert_with(|| SegmentInfo::new(key, batch.first, batch.committed));
        let mut position = batch.first;
        for block in batch.blocks {
            info.contents
                .add(&BlockRow::of(position, block, batch.committed));
            info.last = position;
            position = position.next();
        }
        info.file_bytes = disk::file_bytes(&writer.path) + writer.wal_bytes;
        log.head = position.previous();
        let values = batch.values.iter();
        log.states.extend(values.map(|(key, value)| {
            let value = value.to_vec();
            ((*key).to_owned(), (log.head, value))
        }));
        Ok(())
    }

    /// After a failure: nothing is added to the file any more. What it may have taken of the failed commit is void,
    /// because the next segment begins at the same position.
    fn abandon_current(&mut self, key: &SegmentKey, was_begun: bool) {
        let Some(writer) = self
            .lanes
            .get_mut(&key.lane)
            .and_then(|lane| lane.current.take())
        else {
            return;
        };
        if was_begun {
            self.unfinished.insert(key.clone());
            return;
        }
        drop(writer);
        self.void.insert(key.clone());
        self.remove_void();
    }

    fn ensure_current(&mut self, name: &LaneName) -> Result<(), StoreError> {
        if !self.lanes.contains_key(name) {
            let folder = self.shared.lane_folder(name);
            fs::create_dir_all(&folder).map_err(file("create", &folder))?;
            let parent = self.shared.root.join("segments");
            self.shared
                .disk
                .sync_dir(&parent)
                .map_err(file("create", &folder))?;
            self.lanes.insert(name.clone(), LaneWriter::default());
        }
        let Some(lane) = self.lanes.get_mut(name) else {
            return Ok(());
        };
        if let Some(current) = &mut lane.current {
            // The bound of the WAL holds for a caller that never calls `maintain`, too.
            if self.options.wal_bytes_max.saturating_mul(2) <= current.wal_bytes {
                Self::checkpoint(current);
            }
            return Ok(());
        }
        lane.current = match lane.spare.take() {
            Some(spare) => Some(spare),
            None => Some(lane.create(&self.shared, name)?),
        };
        Ok(())
    }

    /// A copy that fails leaves the WAL as it is: nothing is lost, and the next commit finds out what is wrong.
    fn checkpoint(writer: &mut SegmentWriter) {
        if let Err(error) = writer.checkpoint() {
            tracing::warn!(
                path = %writer.path.display(),
                error = &error as &dyn std::error::Error,
                "Copying a WAL failed"
            );
        }
    }

    /// The current segment of a lane ends where it is large or old enough.
    fn rotate_if_due(&mut self, name: &LaneName, now: UtcNanos) {
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        let age_max = i64::try_from(self.options.segment_age_max.as_nanos()).unwrap_or(i64::MAX);
        let due = lane.current.as_ref().is_some_and(|current| {
            let old = current
                .begun
                .is_some_and(|begun| age_max <= now.since(begun));
            old || self.options.segment_bytes_max <= current.bytes
        });
        if due && let Some(current) = lane.current.take() {
            self.finish(name, current);
        }
    }

    fn finish(&mut self, name: &LaneName, writer: SegmentWriter) {
        let key = SegmentKey {
            lane: name.clone(),
            id: writer.id,
        };
        let info = self.shared.read().segment(&key).cloned();
        let Some(info) = info else {
            return;
        };
        let disk = &self.shared.disk;
        let done = writer.finish(disk, info.last, info.newest(), Some(&info.contents));
        self.note_finished(key, done);
    }

    /// Tries again to close the file of a segment whose closing failed.
    fn finish_again(&mut self, key: &SegmentKey) {
        let Some(info) = self.shared.read().segment(key).cloned() else {
            self.unfinished.remove(key);
            return;
        };
        let path = self.shared.path(key);
        let disk = &self.shared.disk;
        let contents = info.damaged.is_empty().then_some(&info.contents);
        let done = disk
            .open_writer(&path)
            .and_then(|writer| finish(writer, disk, &path, info.last, info.newest(), contents));
        self.note_finished(key.clone(), done);
    }

    fn note_finished(&mut self, key: SegmentKey, done: Result<(), StoreError>) {
        if let Err(error) = done {
            tracing::warn!(
                segment = %key,
                error = &error as &dyn std::error::Error,
                "Closing a segment failed; it is tried again"
            );
            self.unfinished.insert(key);
            return;
        }
        self.unfinished.remove(&key);
        let path = self.shared.path(&key);
        let mut catalogue = self.shared.write();
        let Some(info) = catalogue.segment_mut(&key) else {
            return;
        };
        info.state = SegmentState::Closed;
        info.file_bytes = disk::file_bytes(&path);
        let info = info.clone();
        drop(catalogue);
        // Without its entry the segment is read again at the next start: slower, not wrong.
        if let Err(error) = self.meta.put_segment(&info) {
            tracing::warn!(
                segment = %key,
                error = &error as &dyn std::error::Error,
                "Noting a closed segment in the catalogue failed"
            );
        }
    }

    /// What can wait, to be called between commits, about once a second: copies WAL files, closes old segments, makes
    /// the next files ahead, notes removals, saves acknowledgements, restores the reserve. What fails is tried again the next time.
    pub fn maintain(&mut self, now: UtcNanos) {
        let names: Vec<_> = self.lanes.keys().cloned().collect();
        for name in names {
            self.rotate_if_due(&name, now);
            self.prepare(&name, now);
        }
        if let Some(key) = self.unfinished.first().cloned() {
            self.finish_again(&key);
        }
        self.remove_void();
        self.note_all_removed();
        if let Err(error) = self.save_acked() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "Saving acknowledgements failed; it is tried again"
            );
        }
        if let Err(error) = self.meta.maintain() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "Copying a WAL failed"
            );
        }
        self.reserve.restore();
    }

    fn prepare(&mut self, name: &LaneName, now: UtcNanos) {
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        let Some(current) = &mut lane.current else {
            return;
        };
        if self.options.wal_bytes_max <= current.wal_bytes {
            Self::checkpoint(current);
        }
        let age = current.begun.map_or(0, |begun| now.since(begun).max(0)) as u128;
        let half_old = self.options.segment_age_max.as_nanos() / 2 <= age;
        let half_full = self.options.segment_bytes_max / 2 <= current.bytes;
        if lane.spare.is_some() || !(half_old || half_full) {
            return;
        }
        let declared = current.declared().clone();
        let made = lane.create(&self.shared, name).and_then(|mut spare| {
            spare.declare_ahead(self.meta.connection(), &declared)?;
            Ok(spare)
        });
        match made {
            Ok(spare) => lane.spare = Some(spare),
            // It is made when it is needed.
            Err(error) => tracing::warn!(
                lane = %name,
                error = &error as &dyn std::error::Error,
                "Making a segment ahead failed"
            ),
        }
    }

    /// Closed segments and open ones, oldest first within a lane.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.read().segments().cloned().collect()
    }

    /// How much of `numbers` a segment holds, exactly. Reads the segment's index.
    pub fn tally(
        &self,
        key: &SegmentKey,
        log: &EpochLane,
        numbers: &RangeSet,
    ) -> Result<Tally, StoreError> {
        self.reader().tally(key, log, numbers)
    }

    /// A segment without blocks that says where the lane goes on.
    fn begin_segment(&mut self, lane: &LaneName, now: UtcNanos) -> Result<(), StoreError> {
        let head = self
            .shared
            .read()
            .lanes
            .get(lane)
            .map_or(Position::NONE, |log| log.head);
        self.write(&Batch {
            lane,
            id: 0,
            first: head.next(),
            blocks: &[],
            values: &[],
            committed: now,
        })
    }

    /// Block numbers that a destination has, by log. In memory at once; on the disk with the next [`Self::maintain`] or
    /// [`Self::save_acked`], and not with an fsync of their own.
    pub fn add_acked(&mut self, destination: &str, log: &EpochLane, numbers: &RangeSet) {
        if numbers.is_empty() {
            return;
        }
        let acked = self.acked.entry(destination.to_owned()).or_default();
        let ranges = acked.entry(*log).or_default();
        ranges.union(numbers);
        self.unsaved.insert((destination.to_owned(), *log));
    }

    /// The destination wants them again.
    pub fn remove_acked(&mut self, destination: &str, log: &EpochLane, numbers: &RangeSet) {
        let acked = self.acked.get_mut(destination);
        if let Some(ranges) = acked.and_then(|acked| acked.get_mut(log)) {
            ranges.subtract(numbers);
            self.unsaved.insert((destination.to_owned(), *log));
        }
    }

    /// Forgets what a destination acknowledged of a log that is not held any more.
    pub fn forget_acked(&mut self, destination: &str, log: &EpochLane) {
        let acked = self.acked.get_mut(destination);
        if acked.is_some_and(|acked| acked.remove(log).is_some()) {
            self.unsaved.insert((destination.to_owned(), *log));
        }
    }

    /// What a destination has.
    pub fn acked(&self, destination: &str) -> &Acked {
        static NOTHING: Acked = Acked::new();
        self.acked.get(destination).unwrap_or(&NOTHING)
    }

    pub fn destinations(&self) -> impl Iterator<Item = &str> {
        self.acked.keys().map(String::as_str)
    }

    /// Writes acknowledgements to `meta.db`, if there are new ones. A lost one costs a duplicate that the centre drops.
    pub fn save_acked(&mut self) -> Result<(), StoreError> {
        if self.unsaved.is_empty() {
            return Ok(());
        }
        let changed = self.unsaved.iter().map(|(destination, log)| {
            let ranges = self.acked.get(destination).and_then(|acked| acked.get(log));
            (destination.as_str(), log, ranges)
        });
        self.meta.put_acked(changed)?;
        self.unsaved.clear();
        Ok(())
    }

    /// A small value of the caller's, durable when this returns. It is lost with `meta.db`.
    pub fn put_value(&mut self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.with_reserve(|store| store.meta.put_value(key, value))
    }

    pub fn value(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.meta.value(key)
    }

    /// Sees every block as soon as it is durable.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// `false` while the disk is so full that the reserve was given up.
    pub fn has_reserve(&self) -> bool {
        self.reserve.is_held()
    }

    /// Copies every WAL, so that the next start has nothing to recover. A store that is only dropped loses nothing.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.save_acked()?;
        self.note_all_removed();
        for lane in std::mem::take(&mut self.lanes).into_values() {
            if let Some(spare) = lane.spare {
                let path = spare.path.clone();
                drop(spare);
                let disk = &self.shared.disk;
                disk.unlink_database(&path).map_err(file("remove", &path))?;
            }
            if let Some(current) = lane.current {
                current.pause(&self.shared.disk)?;
            }
        }
        self.meta.close()
    }

    /// Once more without the reserve, if there is no space.
    fn with_reserve(
        &mut self,
        act: impl Fn(&mut Self) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match act(self) {
            Err(error) if error.is_no_space() && self.reserve.release() => act(self),
            done => done,
        }
    }
}

impl LaneWriter {
    fn create(&mut self, shared: &Shared, name: &LaneName) -> Result<SegmentWriter, StoreError> {
        let id = self.next_id.max(1);
        let key = SegmentKey {
            lane: name.clone(),
            id,
        };
        let path = shared.path(&key);
        let writer = SegmentWriter::create(&shared.disk, &path, id)?;
        self.next_id = id + 1;
        Ok(writer)
    }
}

impl Epoch {
    fn count_through(&mut self) {
        while self.streams.contains_key(&(self.through + 1)) {
            self.through += 1;
        }
    }
}

/// SQLite's integers are signed.
const POSITION_MAX: u64 = i64::MAX as u64;
