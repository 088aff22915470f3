//! Opening a store for writing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use efd_shared_model::{RangeSet, UtcNanos};

use super::{LaneWriter, Lock, POSITION_MAX, Store};
use crate::catalogue::{Catalogue, LaneLog, Shared};
use crate::disk::{self, Access, Disk};
use crate::error::{StoreError, file};
use crate::lane::{LaneName, Position, SegmentKey};
use crate::meta::{Acked, Entry, META, Meta};
use crate::options::Options;
use crate::recover::{self, DamagedSegment, Found, Recovery, SetAside};
use crate::reserve::Reserve;
use crate::segment::writer::{SegmentWriter, finish};
use crate::segment::{SegmentInfo, SegmentState};

impl Store {
    /// Opens the store in a folder, or begins one. Takes time by segments, not by records.
    ///
    /// Damage never keeps it from opening: [`Recovery`] names it. Errors are: the folder cannot be used
    /// ([`StoreError::Io`], [`StoreError::NoSpace`]), another process has it ([`StoreError::Locked`]), a newer build
    /// has written it ([`StoreError::TooNew`]).
    pub fn open(
        root: impl Into<PathBuf>,
        options: Options,
    ) -> Result<(Self, Recovery), StoreError> {
        let root = root.into();
        Disk::check_sqlite()?;
        let segments = root.join("segments");
        fs::create_dir_all(&segments).map_err(file("create", &segments))?;
        let lock = lock(&root)?;
        let disk = Disk::new(&options);
        disk.sync_dir(&root).map_err(file("create", &root))?;
        let mut reserve = Reserve::new(&root, options.reserve_bytes);
        let opened = match Opening::open(&root, &disk, &options) {
            Err(error) if error.is_no_space() && reserve.release() => {
                Opening::open(&root, &disk, &options)
            }
            opened => opened,
        };
        let Opening {
            meta,
            acked,
            catalogue,
            lanes,
            unfinished,
            recovery,
            ..
        } = opened?;
        let shared = Shared::new(root, disk, None, catalogue);
        let mut store = Self {
            options,
            shared: Arc::new(shared),
            meta,
            reserve,
            lanes,
            unfinished,
            void: BTreeSet::new(),
            removed: BTreeSet::new(),
            epochs: BTreeMap::new(),
            acked,
            unsaved: BTreeSet::new(),
            _lock: lock,
        };
        for (lane, ..) in &recovery.skipped {
            store.begin_segment(lane, UtcNanos(0))?;
        }
        Ok((store, recovery))
    }

    /// Gives no position of a lane up to and with `through` any more: they were given, and their file is lost.
    pub fn skip_through(
        &mut self,
        lane: &LaneName,
        through: Position,
        now: UtcNanos,
    ) -> Result<(), StoreError> {
        // Positions are without gaps within a segment.
        if let Some(current) = self
            .lanes
            .get_mut(lane)
            .and_then(|lane| lane.current.take())
        {
            self.finish(lane, current);
        }
        let mut catalogue = self.shared.write();
        let log = catalogue.lanes.entry(lane.clone()).or_default();
        log.head = log.head.max(through);
        drop(catalogue);
        self.begin_segment(lane, now)
    }
}

fn lock(root: &Path) -> Result<Lock, StoreError> {
    let path = root.join("lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let lock = lock.map_err(file("open", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(Lock(lock)),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path }),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path, error)),
    }
}

struct Opening<'a> {
    root: &'a Path,
    disk: &'a Disk,
    options: &'a Options,
    meta: Meta,
    acked: BTreeMap<String, Acked>,
    catalogue: Catalogue,
    lanes: BTreeMap<LaneName, LaneWriter>,
    unfinished: BTreeSet<SegmentKey>,
    recovery: Recovery,
}

impl<'a> Opening<'a> {
    fn open(root: &'a Path, disk: &'a Disk, options: &'a Options) -> Result<Self, StoreError> {
        recover::sweep(root, disk)?;
        let files = recover::list(root)?;
        let mut recovery = Recovery::default();
        let has_segments = files.values().any(|ids| !ids.is_empty());
        let (meta, entries, acked) = open_meta(root, disk, has_segments, &mut recovery)?;
        let mut opening = Self {
            root,
            disk,
            options,
            meta,
            acked,
            catalogue: Catalogue::default(),
            lanes: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            recovery,
        };
        let mut by_lane: BTreeMap<LaneName, BTreeMap<u64, Entry>> = BTreeMap::new();
        for lane in files.keys() {
            by_lane.insert(lane.clone(), BTreeMap::new());
        }
        for entry in entries {
            let lane = by_lane.entry(entry.info.key.lane.clone()).or_default();
            lane.insert(entry.info.key.id, entry);
        }
        for (lane, entries) in by_lane {
            let ids = files.get(&lane).cloned().unwrap_or_default();
            opening.open_lane(&lane, &ids, entries)?;
        }
        Ok(opening)
    }

    /// Newest first: where a segment begins is where the one before it ends.
    fn open_lane(
        &mut self,
        lane: &LaneName,
        ids: &BTreeSet<u64>,
        mut entries: BTreeMap<u64, Entry>,
    ) -> Result<(), StoreError> {
        let key = |id| SegmentKey {
            lane: lane.clone(),
            id,
        };
        let newest_id = ids.last().copied().max(entries.keys().last().copied());
        let mut writer = LaneWriter {
            next_id: newest_id.map_or(1, |id| id.saturating_add(1)),
            ..LaneWriter::default()
        };
        let mut log = LaneLog::default();
        let mut limit = Position(POSITION_MAX);
        let mut end_unknown = false;
        for &id in ids.iter().rev() {
            let key = key(id);
            let path = self
                .root
                .join("segments")
                .join(lane.as_str())
                .join(key.file_name());
            let entry = entries.remove(&id);
            // A file that is missing, or that cannot be read, was known to begin where the one before it ends.
            let later = entries.range(id..).map(|(_, entry)| entry.info.first);
            limit = later.fold(limit, Position::min);
            let found = recover::look(&path, &key, entry.as_ref(), limit, |path| {
                self.disk.open_writer(path)
            })?;
            let is_newest = log.segments.is_empty() && !end_unknown;
            let Some(info) = self.take(found, &path, entry, is_newest, &mut writer)? else {
                // Of an unreadable segment that nothing follows, and that was not closed, the end is not known.
                let aside = self
                    .recovery
                    .set_aside
                    .last()
                    .filter(|aside| aside.file == path);
                if let Some(aside) = aside {
                    match &aside.known {
                        Some(known) => {
                            limit = limit.min(known.first);
                            log.head = log.head.max(known.last);
                        }
                        None => end_unknown |= log.segments.is_empty(),
                    }
                }
                continue;
            };
            let damaged = self
                .recovery
                .damaged
                .last()
                .filter(|damaged| damaged.key == key);
            end_unknown |= is_newest && damaged.is_some_and(|damaged| damaged.lost_tail);
            limit = limit.min(info.first);
            log.head = log.head.max(info.last);
            log.segments.insert(id, info);
        }
        for Entry { info, leaving } in entries.into_values() {
            log.head = log.head.max(info.last);
            self.meta.drop_segment(&info.key, false)?;
            if !leaving {
                self.recovery.missing.push(info);
            }
        }
        if end_unknown {
            let from = log.head.next();
            log.head = Position((log.head.0 | SKIP).min(POSITION_MAX - 1));
            self.recovery.skipped.push((lane.clone(), from, log.head));
        }
        self.read_states(&mut log);
        self.catalogue.lanes.insert(lane.clone(), log);
        self.lanes.insert(lane.clone(), writer);
        Ok(())
    }

    /// What becomes of one file. `None`: it is not part of the lane.
    fn take(
        &mut self,
        found: Found,
        path: &Path,
        entry: Option<Entry>,
        is_newest: bool,
        lane: &mut LaneWriter,
    ) -> Result<Option<SegmentInfo>, StoreError> {
        let (connection, mut info, contents) = match found {
            Found::Trusted(info) => return Ok(Some(info)),
            Found::Unbegun => {
                self.disk
                    .unlink_database(path)
                    .map_err(file("remove", path))?;
                return Ok(None);
            }
            Found::Unreadable(reason) => {
                let moved_to = self.disk.set_aside(self.root, path)?;
                if let Some(entry) = &entry {
                    self.meta.drop_segment(&entry.info.key, false)?;
                }
                self.recovery.set_aside.push(SetAside {
                    file: path.to_owned(),
                    moved_to,
                    reason,
                    known: entry.map(|entry| entry.info),
                });
                return Ok(None);
            }
            Found::Closed(connection, info) => {
                self.adopt(&connection, &info.key);
                (connection, info, None)
            }
            Found::Open(connection, info) => {
                self.adopt(&connection, &info.key);
                if is_newest && info.contents.stored_bytes() < self.options.segment_bytes_max {
                    let (begun, id) = (info.created, info.key.id);
                    let writer = SegmentWriter::resume(connection, path, id, begun, &info.contents);
                    lane.current = Some(writer?);
                    return Ok(Some(info));
                }
                let contents = info.contents.clone();
                (connection, info, Some(contents))
            }
            Found::Damaged(connection, info, scan) => {
                self.adopt(&connection, &info.key);
                self.recovery.damaged.push(DamagedSegment {
                    key: info.key.clone(),
                    positions: scan.damaged,
                    numbers: scan.lost,
                    reason: scan.why.unwrap_or_else(|| "its header is damaged".into()),
                    lost_tail: scan.lost_tail,
                });
                (connection, info, None)
            }
        };
        let (disk, last, now) = (self.disk, info.last, info.newest());
        match finish(connection, disk, path, last, now, contents.as_ref()) {
            Ok(()) => {
                info.state = SegmentState::Closed;
                info.file_bytes = disk::file_bytes(path);
                self.meta.put_segment(&info)?;
            }
            Err(error) => {
                tracing::warn!(
                    segment = %info.key,
                    error = &error as &dyn std::error::Error,
                    "Closing a recovered segment failed; it is tried again"
                );
                // What it says of itself may still be in its WAL.
                info.state = SegmentState::Open;
                self.unfinished.insert(info.key.clone());
            }
        }
        Ok(Some(info))
    }

    /// Declarations that `meta.db` may not have: a segment says itself what its blocks need.
    fn adopt(&mut self, segment: &rusqlite::Connection, key: &SegmentKey) {
        if let Err(error) = self.meta.adopt_declarations(segment) {
            tracing::warn!(
                segment = %key,
                error = &error as &dyn std::error::Error,
                "Reading the declarations of a segment failed"
            );
        }
    }

    fn read_states(&mut self, log: &mut LaneLog) {
        let (states, passed_over) = recover::newest_states(log.segments.values(), |info| {
            let access = match info.state {
                SegmentState::Open => Access::Live,
                SegmentState::Closed => Access::Immutable,
            };
            let folder = self.root.join("segments").join(info.key.lane.as_str());
            let path = folder.join(info.key.file_name());
            self.disk.open_reader(&path, access)
        });
        log.states = states;
        for (key, reason) in passed_over {
            if self
                .recovery
                .damaged
                .iter()
                .all(|damaged| damaged.key != key)
            {
                self.recovery.damaged.push(DamagedSegment {
                    key,
                    positions: RangeSet::new(),
                    numbers: BTreeMap::new(),
                    reason,
                    lost_tail: false,
                });
            }
        }
    }
}

type OpenedMeta = (Meta, Vec<Entry>, BTreeMap<String, Acked>);

/// `meta.db`, or a new one where it is lost or damaged.
fn open_meta(
    root: &Path,
    disk: &Disk,
    has_segments: bool,
    recovery: &mut Recovery,
) -> Result<OpenedMeta, StoreError> {
    let path = root.join(META);
    let read = |meta: Meta| -> Result<OpenedMeta, StoreError> {
        let (entries, acked) = (meta.segments()?, meta.acked()?);
        Ok((meta, entries, acked))
    };
    if path.exists() {
        let reason = match Meta::open(root, disk).and_then(read) {
            Ok(opened) => return Ok(opened),
            Err(StoreError::Damaged { reason, .. }) => reason,
            Err(StoreError::Sqlite { source, .. })
                if source.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure)
                    || source.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown) =>
            {
                source.to_string()
            }
            Err(error) => return Err(error),
        };
        let moved_to = disk.set_aside(root, &path)?;
        recovery.set_aside.push(SetAside {
            file: path,
            moved_to,
            reason,
            known: None,
        });
        recovery.meta_rebuilt = true;
    } else {
        recovery.meta_rebuilt = has_segments;
    }
    Meta::create(root, disk)?;
    Meta::open(root, disk).and_then(read)
}

/// How far positions jump over an unknown end: to the next multiple of 2^32. No segment has so many blocks.
const SKIP: u64 = u32::MAX as u64;
