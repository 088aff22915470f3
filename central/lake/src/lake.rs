//! The consumer's core, step by step: time is an argument, the disk is a [`Disk`].

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use efd_central_log::{BlockLog, Delivery, LogError, Progress};
use efd_shared_model::block::Section;
use efd_shared_model::{
    EpochId, EventTimeOrigin, RecordStamps, Schema, Site, StreamNumber, UtcNanos,
};

use crate::buffer::{Buffer, Stamped};
use crate::chain::{self, Grave, staged_path};
use crate::commit::{Change, Commit, FileEntry, Totals};
use crate::counters::Counters;
use crate::disk::{Disk, LocalDisk};
use crate::error::LakeError;
use crate::layout::{COMMITS, HINT, commit_path, file_name, folder_of};
use crate::options::{Now, Options};
use crate::part::Part;
use crate::rejected::{REJECTED_SCHEMA, REJECTED_TOPIC, rejected_datum};
use crate::table::{TableNumber, Tables};
use crate::write::{FileWriter, LaneText};

/// Streams whose table is remembered; more are looked up again.
const STREAMS_MAX: usize = 1 << 16;

/// A lake that this process alone writes.
#[derive(Debug)]
pub struct Lake {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    tables: Tables,
    streams: HashMap<(EpochId, StreamNumber), TableNumber>,
    rejected_schema: Schema,
    buffer: Buffer,
    /// When the first record of `buffer` was taken.
    oldest: Option<Now>,
    /// What `committed` and `buffer` have together.
    progress: Progress,
    committed: Progress,
    last: u64,
    totals: Totals,
    pending: Option<Pending>,
    graves: VecDeque<Grave>,
    /// Days that were added to and not compacted since, and when that was last. `None` until a clock is known.
    pub(crate) touched: Option<BTreeMap<i64, Duration>>,
    pub(crate) counters: Counters,
}

/// A commit whose files are durable in `_tmp/`. Nothing else is committed before it is through.
#[derive(Debug)]
struct Pending {
    commit: Commit,
    bytes: Vec<u8>,
    progress: Progress,
    /// Durable as `_commits/<n>.json`: from here on it is true.
    is_published: bool,
    /// How many of its files are in their places.
    placed: usize,
}

/// A record that cannot be decoded.
struct Reject {
    site: Site,
    topic: String,
    schema: String,
    reason: String,
}

/// Where a record goes, and as what.
pub(crate) struct Sorted<'d> {
    pub(crate) table: TableNumber,
    pub(crate) datum: Cow<'d, [u8]>,
    is_rejected: bool,
}

impl Lake {
    /// Makes the folder where there is none, puts right what a crash left, and says how far the lake is.
    pub fn open(root: PathBuf, options: Options) -> Result<(Self, Progress), LakeError> {
        let disk = LocalDisk::hold(root.clone()).map_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                LakeError::Locked { root: root.clone() }
            } else {
                LakeError::io("open", &root, error)
            }
        })?;
        Self::open_on(Arc::new(disk), options)
    }

    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Progress), LakeError> {
        let opened = chain::open(&*disk)?;
        let mut counters = Counters {
            files_missing: opened.missing,
            ..Counters::default()
        };
        let (mut last, mut totals, mut progress) = Default::default();
        if let Some(commit) = opened.newest {
            progress = commit.progress().map_err(|error| LakeError::BadCommit {
                path: commit_path(commit.n),
                reason: error.to_string(),
            })?;
            (last, totals) = (commit.n, commit.totals);
            counters.last_commit = Some(UtcNanos(commit.time_ns));
        }
        let lake = Self {
            disk,
            options,
            tables: Tables::default(),
            streams: HashMap::new(),
            rejected_schema: Schema::new(REJECTED_SCHEMA),
            buffer: Buffer::default(),
            oldest: None,
            committed: Progress::clone(&progress),
            progress: Progress::clone(&progress),
            last,
            totals,
            pending: None,
            graves: opened.graves.into(),
            touched: None,
            counters,
        };
        Ok((lake, progress))
    }

    pub fn counters(&self) -> Counters {
        Counters {
            buffered_records: self.buffer.records(),
            buffered_bytes: self.buffer.bytes() as u64,
            oldest_uncommitted: self.oldest.map(|now| now.utc),
            ..self.counters
        }
    }

    /// Number of the newest commit; 0 before the first.
    pub fn last_commit(&self) -> u64 {
        self.last
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Adds the block's records to what the next commit writes. A block that was taken before is dropped. On an error,
    /// which is the log's, nothing of the block was taken: offer it again.
    pub fn take<L: BlockLog + ?Sized>(
        &mut self,
        log: &L,
        delivery: &Delivery,
        now: Now,
    ) -> Result<(), LogError> {
        let Delivery {
            partition,
            place,
            block: sealed,
        } = delivery;
        if self.progress.has(sealed) {
            self.counters.duplicate_blocks += 1;
        } else {
            match sealed.open() {
                Ok(block) => {
                    let epoch = sealed.id().lane.epoch;
                    let tables = block
                        .sections()
                        .map(|section| self.table_of(log, epoch, section.stream()))
                        .collect::<Result<Vec<_>, _>>()?;
                    for (section, table) in block.sections().zip(tables) {
                        self.take_section(delivery, section, table);
                    }
                    self.counters.records += u64::from(sealed.header().records);
                    self.progress.insert(sealed);
                }
                Err(error) => self.reject_block(delivery, &error.to_string()),
            }
            self.counters.blocks += 1;
            self.oldest.get_or_insert(now);
        }
        self.progress.reach(partition, place.next());
        Ok(())
    }

    /// Takes over how far a follower is whose every delivery has been taken: it has also passed entries that it did not
    /// deliver. They are committed as soon as records would be.
    pub fn pass(&mut self, follower: &Progress, now: Now) {
        if self.progress.pass(follower) {
            self.oldest.get_or_insert(now);
        }
    }

    /// `None` where the log knows no such stream.
    pub(crate) fn table_of<L: BlockLog + ?Sized>(
        &mut self,
        log: &L,
        epoch: EpochId,
        number: StreamNumber,
    ) -> Result<Option<TableNumber>, LogError> {
        if let Some(&table) = self.streams.get(&(epoch, number)) {
            return Ok(Some(table));
        }
        let Some(stream) = log.stream(epoch, number)? else {
            return Ok(None);
        };
        let table = self
            .tables
            .number(&stream.site, &stream.declaration.topic, &stream.schema);
        if self.streams.len() >= STREAMS_MAX {
            self.streams.clear();
        }
        self.streams.insert((epoch, number), table);
        Ok(Some(table))
    }

    fn take_section(
        &mut self,
        delivery: &Delivery,
        section: Section<'_>,
        table: Option<TableNumber>,
    ) {
        for record in section.records() {
            let stamped = Stamped {
                block: delivery.block.id(),
                index: record.index,
                class: delivery.partition.class,
                stamps: record.stamps,
            };
            let site = &delivery.partition.site;
            let sorted = self.sorted(site, section.stream(), table, record.datum);
            self.counters.rejected_records += u64::from(sorted.is_rejected);
            self.buffer.push(sorted.table, stamped, &sorted.datum);
        }
    }

    /// Which table a record goes to: its stream's, or that of what cannot be decoded, with its bytes and the reason.
    /// `site`: where the stream is not declared.
    pub(crate) fn sorted<'d>(
        &mut self,
        site: &Site,
        stream: StreamNumber,
        table: Option<TableNumber>,
        datum: &'d [u8],
    ) -> Sorted<'d> {
        let reject = match table.map(|table| (table, self.tables.get(table))) {
            None => Reject {
                site: site.clone(),
                topic: String::new(),
                schema: String::new(),
                reason: format!("stream {} is not declared", stream.0),
            },
            Some((table, known)) => {
                let reason = match &known.decoder {
                    Ok(decoder) => decoder.check(datum).err().map(|e| e.to_string()),
                    Err(error) => Some(error.to_string()),
                };
                let Some(reason) = reason else {
                    return Sorted {
                        table,
                        datum: datum.into(),
                        is_rejected: false,
                    };
                };
                Reject {
                    site: known.site.clone(),
                    topic: known.topic.clone(),
                    schema: known.schema.to_string(),
                    reason,
                }
            }
        };
        self.rejected(&reject, datum)
    }

    fn rejected(&mut self, reject: &Reject, datum: &[u8]) -> Sorted<'static> {
        let Reject {
            site,
            topic,
            schema,
            reason,
        } = reject;
        tracing::warn!(%site, topic, reason, "Record cannot be decoded, kept in efd.rejected");
        let table = self
            .tables
            .number(site, REJECTED_TOPIC, &self.rejected_schema);
        Sorted {
            table,
            datum: rejected_datum(topic, schema, reason, datum).into(),
            is_rejected: true,
        }
    }

    pub(crate) fn is_table_of(&self, table: TableNumber, part: &Part) -> bool {
        let table = self.tables.get(table);
        table.site == part.site && table.topic == part.topic
    }

    /// Kept whole, and not counted as seen: a sound copy of it is still welcome.
    fn reject_block(&mut self, delivery: &Delivery, reason: &str) {
        let header = delivery.block.header();
        let stamped = Stamped {
            block: header.id,
            index: 0,
            class: delivery.partition.class,
            stamps: RecordStamps {
                event_time: header.event_time_min,
                origin: EventTimeOrigin::Reception,
                implausible: false,
                latin1: false,
                instance: None,
            },
        };
        let reject = Reject {
            site: delivery.partition.site.clone(),
            topic: String::new(),
            schema: String::new(),
            reason: format!("block of {} records: {reason}", header.records),
        };
        self.counters.rejected_blocks += 1;
        let sorted = self.rejected(&reject, delivery.block.bytes());
        self.buffer.push(sorted.table, stamped, &sorted.datum);
    }

    /// How long until [`Self::commit`] should be called; `None` while there is nothing to commit.
    pub fn due_in(&self, now: Now) -> Option<Duration> {
        if self.pending.is_some() || self.is_full() {
            return Some(Duration::ZERO);
        }
        let oldest = self.oldest?;
        let age = now.monotonic.saturating_sub(oldest.monotonic);
        Some(self.options.commit_after.saturating_sub(age))
    }

    /// The memory for records is used up: take nothing before a commit has succeeded.
    pub fn is_full(&self) -> bool {
        self.buffer.bytes() >= self.options.memory_bytes
    }

    /// Commits all that was taken. On an error nothing is lost and nothing is twice: call it again.
    ///
    /// Returns the number of the commit, or `None` if there was nothing new.
    pub fn commit(&mut self, now: Now) -> Result<Option<u64>, LakeError> {
        let committed = self.try_commit(now);
        if let Err(error) = &committed {
            self.counters.commit_failures += 1;
            self.counters.no_space += u64::from(error.is_no_space());
        }
        committed
    }

    fn try_commit(&mut self, now: Now) -> Result<Option<u64>, LakeError> {
        let finished = self.finish_pending()?;
        if self.buffer.is_empty() && self.progress == self.committed {
            self.oldest = None;
            return Ok(finished);
        }
        let added = self.staged(|lake| {
            let mut added = Vec::new();
            lake.write_parts(&lake.buffer, &mut added)?;
            Ok(added)
        })?;
        self.touch(&added, now);
        let change = Change {
            added,
            ..Change::default()
        };
        self.prepare(change, Progress::clone(&self.progress), now);
        self.counters.rows_written += self.buffer.records();
        self.buffer.clear();
        self.oldest = None;
        self.finish_pending()
    }

    /// Runs `write` and makes what it wrote durable, or leaves nothing of it.
    pub(crate) fn staged<T>(
        &self,
        write: impl FnOnce(&Self) -> Result<T, LakeError>,
    ) -> Result<T, LakeError> {
        self.settled(write(self))
    }

    /// What was written becomes durable, or nothing of it stays.
    pub(crate) fn settled<T>(&self, written: Result<T, LakeError>) -> Result<T, LakeError> {
        let result = written.and_then(|written| {
            let synced = self.disk.sync();
            synced.map_err(|error| LakeError::io("sync", Path::new("the lake"), error))?;
            Ok(written)
        });
        if result.is_err() {
            // What stays is deleted by the next attempt or the next start.
            let _unused = chain::clear_staged(&*self.disk);
        }
        result
    }

    /// Stages the files of a buffer, which come after those in `added`.
    pub(crate) fn write_parts(
        &self,
        buffer: &Buffer,
        added: &mut Vec<FileEntry>,
    ) -> Result<(), LakeError> {
        let lanes: Vec<_> = buffer.lanes().iter().map(LaneText::new).collect();
        let ranks = LaneText::ranks(&lanes);
        for (key, part) in buffer.parts() {
            let table = self.tables.get(key.table);
            // Records of a table without a decoder were rejected.
            let Ok(decoder) = &table.decoder else {
                continue;
            };
            let columns = Arc::new(crate::table::columns_of(decoder.schema()));
            for run in part.runs() {
                let mut run = run?;
                run.sort(&ranks);
                let (time_min, time_max) = run.time_span();
                let folder = folder_of(&table.site, &table.topic, time_min);
                let name = file_name(self.last + 1, added.len(), table.schema);
                let mut file = FileEntry {
                    path: format!("{folder}/{name}"),
                    site: table.site.to_string(),
                    topic: table.topic.clone(),
                    schema: table.schema.to_string(),
                    rows: run.rows.len() as u64,
                    bytes: 0,
                    sha256: String::new(),
                    time_min: time_min.0,
                    time_max: time_max.0,
                };
                let level = self.options.compression_level;
                let mut writer = FileWriter::create(&*self.disk, &file, &columns, level)?;
                writer.write_run(&columns, decoder, &run, &lanes)?;
                (file.bytes, file.sha256) = writer.finish()?;
                added.push(file);
            }
        }
        Ok(())
    }

    /// The files of `change` are durable in `_tmp/`.
    pub(crate) fn prepare(&mut self, change: Change, progress: Progress, now: Now) {
        let swept_through = self.graves.front().map_or(self.last, |grave| grave.n - 1);
        let removed = change.removed.len() as u64;
        let commit = Commit::after(
            (self.last, self.totals),
            now.utc,
            change,
            swept_through,
            &progress,
        );
        self.counters.files_removed += removed;
        self.counters.files_added += commit.added.len() as u64;
        self.counters.bytes_written += commit.added.iter().map(|file| file.bytes).sum::<u64>();
        // Plain fields and strings as keys: this cannot fail, and if it did, the empty commit would be refused as such.
        let bytes = serde_json::to_vec(&commit).unwrap_or_default();
        self.pending = Some(Pending {
            commit,
            bytes,
            progress,
            is_published: false,
            placed: 0,
        });
    }

    /// Publishes the pending commit and puts its files into their places, from where an earlier attempt stopped.
    pub(crate) fn finish_pending(&mut self) -> Result<Option<u64>, LakeError> {
        let Some(pending) = &mut self.pending else {
            return Ok(None);
        };
        let n = pending.commit.n;
        if !pending.is_published {
            publish(&*self.disk, n, &pending.bytes)?;
            pending.is_published = true;
        }
        for file in &pending.commit.added[pending.placed..] {
            let place = Path::new(&file.path);
            self.disk
                .rename(&staged_path(place), place)
                .map_err(|error| LakeError::io("rename into", place, error))?;
            pending.placed += 1;
        }
        if let Some(Pending {
            commit, progress, ..
        }) = self.pending.take()
        {
            self.committed = progress;
            self.last = n;
            self.totals = commit.totals;
            self.counters.commits += 1;
            self.counters.last_commit = Some(UtcNanos(commit.time_ns));
            if !commit.removed.is_empty() {
                let grave = Grave::of(commit);
                grave.set_aside(&*self.disk);
                self.graves.push_back(grave);
            }
        }
        if n.is_multiple_of(self.options.checkpoint_every.max(1)) {
            self.write_hint(n);
        }
        Ok(Some(n))
    }

    /// Only a hint: without it the lake opens all the same.
    fn write_hint(&self, n: u64) {
        let hint = Path::new(COMMITS).join(HINT);
        let staged = staged_path(&hint);
        let written = self
            .disk
            .create(&staged)
            .and_then(|mut file| {
                file.write_all(n.to_string().as_bytes())?;
                file.flush()
            })
            .and_then(|()| self.disk.rename(&staged, &hint));
        if let Err(error) = written {
            tracing::debug!(%error, "Hint at the newest commit not written");
        }
    }

    /// Deletes files that compaction replaced more than [`Options::grace`] ago.
    pub fn sweep(&mut self, now: Now) -> Result<(), LakeError> {
        let grace = self.options.grace.as_nanos() as i64;
        while let Some(grave) = self.graves.front_mut() {
            if now.utc.0.saturating_sub(grave.removed_at) < grace {
                return Ok(());
            }
            while let Some(path) = grave.paths.last() {
                if grave.is_damage {
                    chain::set_aside(&*self.disk, path)?;
                    grave.paths.pop();
                    continue;
                }
                match self.disk.remove(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(LakeError::io("remove", path, error));
                    }
                    Ok(()) | Err(_) => grave.paths.pop(),
                };
            }
            self.graves.pop_front();
        }
        Ok(())
    }

    /// What the files of the newest commit and before have.
    pub fn committed(&self) -> &Progress {
        &self.committed
    }

    /// Whether `path` was removed by a commit and is only kept for queries that run.
    pub(crate) fn is_grave(&self, path: &str) -> bool {
        let path = Path::new(path);
        let mut paths = self.graves.iter().flat_map(|grave| &grave.paths);
        paths.any(|grave| grave == path)
    }
}

/// An earlier attempt may have got as far as the name and no further: then the file must be the same.
fn publish(disk: &dyn Disk, n: u64, bytes: &[u8]) -> Result<(), LakeError> {
    let path = commit_path(n);
    match disk.put_if_absent(&path, bytes) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = disk
                .read(&path)
                .map_err(|error| LakeError::io("read", &path, error))?;
            if found != bytes {
                return Err(LakeError::Conflict { path });
            }
            disk.sync()
                .map_err(|error| LakeError::io("sync", &path, error))
        }
        Err(error) => Err(LakeError::io("publish", &path, error)),
    }
}
