//! A store, or one segment file on its own, opened for reading by a process that does not own it: beside a running
//! writer, copied, or on a disk that cannot be written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use efd_shared_model::{EpochLane, RangeSet};

use crate::catalogue::{Catalogue, LaneLog, Shared};
use crate::disk::{self, Access, Disk};
use crate::error::{StoreError, chain, file, sql};
use crate::lane::{LaneName, Position, SegmentKey};
use crate::meta::{self, Acked, Entry, META};
use crate::options::Options;
use crate::reader::Reader;
use crate::recover::{self, Found};
use crate::segment::{SegmentInfo, SegmentState};

/// Changes nothing on the disk; beside a live writer SQLite keeps its place in the `-shm` file that this has made.
#[derive(Debug)]
pub struct ReadOnlyStore {
    shared: Arc<Shared>,
    seen: Seen,
}

/// What was found beside the segments.
#[derive(Debug, Default)]
struct Seen {
    acked: BTreeMap<String, Acked>,
    values: BTreeMap<String, Vec<u8>>,
    notices: Vec<Notice>,
    lost: Vec<SegmentInfo>,
}

/// What a reader should know before trusting what it sees to be all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    #[error("{}: what is still in its -wal is not seen, because the disk cannot be written", .0.display())]
    UnseenWal(PathBuf),
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{} is damaged in part: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("segment {0} is in the catalogue, but its file is missing")]
    Missing(SegmentKey),
    #[error("there is no meta.db: acknowledgements are not known")]
    NoMeta,
}

impl ReadOnlyStore {
    /// `path` is a store's folder, or a segment file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path.as_ref(), &Options::default())
    }

    pub(crate) fn open_with(path: &Path, options: &Options) -> Result<Self, StoreError> {
        Disk::check_sqlite()?;
        let disk = Disk::new(options);
        let metadata = std::fs::metadata(path).map_err(file("open", path))?;
        let mut looking = Looking {
            disk: &disk,
            catalogue: Catalogue::default(),
            seen: Seen::default(),
        };
        let lone = if !metadata.is_dir() {
            looking.lone(path)?;
            Some(path.to_owned())
        } else {
            let segments = path.join("segments");
            if let Err(error) = std::fs::metadata(&segments)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(file("look into", &segments)(error));
            }
            if !segments.is_dir() && !path.join(META).exists() {
                return Err(StoreError::NotAStore {
                    path: path.to_owned(),
                });
            }
            looking.folder(path)?;
            None
        };
        let Looking {
            catalogue, seen, ..
        } = looking;
        Ok(Self {
            shared: Arc::new(Shared::new(path.to_owned(), disk, lone, catalogue)),
            seen,
        })
    }

    /// Looks again: what a live writer has added since.
    pub fn refresh(&mut self) -> Result<(), StoreError> {
        let path = self.shared.lone.as_ref().unwrap_or(&self.shared.root);
        let mut looking = Looking {
            disk: &self.shared.disk,
            catalogue: Catalogue::default(),
            seen: Seen::default(),
        };
        match &self.shared.lone {
            Some(path) => looking.lone(path)?,
            None => looking.folder(path)?,
        }
        let Looking {
            catalogue, seen, ..
        } = looking;
        *self.shared.write() = catalogue;
        self.seen = seen;
        Ok(())
    }

    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Oldest first within a lane.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.read().segments().cloned().collect()
    }

    /// Where the file of a segment is.
    pub fn path(&self, key: &SegmentKey) -> PathBuf {
        self.shared.path(key)
    }

    /// What each destination has acknowledged, as last saved.
    pub fn acked(&self) -> &BTreeMap<String, Acked> {
        &self.seen.acked
    }

    /// What [`Store::put_value`](crate::Store::put_value) has kept in `meta.db`.
    pub fn values(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.seen.values
    }

    pub fn notices(&self) -> &[Notice] {
        &self.seen.notices
    }

    /// Segments that the catalogue has, and of which nothing can be read.
    pub fn lost(&self) -> &[SegmentInfo] {
        &self.seen.lost
    }

    /// Blocks that were stored and are not here: between the first and the last of each log, and in [`Self::lost`]
    /// segments. What retention has removed is not among them.
    pub fn absent(&self) -> BTreeMap<EpochLane, RangeSet> {
        let (mut held, mut known) = (BTreeMap::new(), BTreeMap::new());
        let add = |to: &mut BTreeMap<EpochLane, RangeSet>, info: &SegmentInfo| {
            for (log, contents) in &info.contents.lanes {
                to.entry(*log).or_default().union(&contents.numbers);
            }
        };
        for info in self.shared.read().segments() {
            add(&mut held, info);
            add(&mut known, info);
        }
        self.seen.lost.iter().for_each(|info| add(&mut known, info));
        let mut absent = BTreeMap::new();
        for (log, known) in known {
            let (Some(first), Some(last)) = (known.iter().next(), known.last()) else {
                continue;
            };
            let mut missing = RangeSet::new();
            missing.insert_range(*first.start()..=last);
            if let Some(held) = held.get(&log) {
                missing.subtract(held);
            }
            if !missing.is_empty() {
                absent.insert(log, missing);
            }
        }
        absent
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

struct Looking<'a> {
    disk: &'a Disk,
    catalogue: Catalogue,
    seen: Seen,
}

impl Looking<'_> {
    fn lone(&mut self, path: &Path) -> Result<(), StoreError> {
        if let Some(reason) = not_a_file(path) {
            let path = path.to_owned();
            return Err(StoreError::Damaged { path, reason });
        }
        let key = lone_key(self.disk, path)?;
        let lane = key.lane.clone();
        self.look(path, key, None, Position(i64::MAX as u64))?;
        self.read_states(&lane, |_| path.to_owned());
        Ok(())
    }

    fn folder(&mut self, root: &Path) -> Result<(), StoreError> {
        let mut entries = self.read_meta(root)?;
        let segments = root.join("segments");
        let lanes = match recover::list_lanes(&segments) {
            Ok(lanes) => lanes,
            Err(error) => {
                let (path, reason) = (segments.clone(), chain(&error));
                self.seen.notices.push(Notice::Unreadable { path, reason });
                Default::default()
            }
        };
        for lane in lanes {
            let folder = segments.join(lane.as_str());
            let path = |key: &SegmentKey| folder.join(key.file_name());
            let listed = recover::list_segments(&folder, ".db")
                .and_then(|ids| Ok((ids, recover::list_segments(&folder, ".db-wal")?)));
            let (ids, wals) = match listed {
                Ok(listed) => listed,
                Err(error) => {
                    let reason = chain(&error);
                    let path = folder.clone();
                    self.seen.notices.push(Notice::Unreadable { path, reason });
                    continue;
                }
            };
            for &id in wals.difference(&ids) {
                let lane = lane.clone();
                let database = path(&SegmentKey { lane, id });
                let path = disk::with_suffix(&database, "-wal");
                // A live writer makes the database first and removes it last: it came, or both went, between two looks.
                if database.exists() || !path.exists() {
                    continue;
                }
                let reason = "its database is missing: what was committed to it is lost".into();
                self.seen.notices.push(Notice::Damaged { path, reason });
            }
            self.catalogue.lanes.entry(lane.clone()).or_default();
            let mut limit = Position(i64::MAX as u64);
            for &id in ids.iter().rev() {
                let lane = lane.clone();
                let key = SegmentKey { lane, id };
                let entry = entries.remove(&key);
                let later = entries
                    .range(&key..)
                    .take_while(|(later, _)| later.lane == key.lane);
                limit = later.fold(limit, |limit, (_, entry)| limit.min(entry.info.first));
                limit = self.look(&path(&key), key, entry.as_ref(), limit)?;
            }
            self.read_states(&lane, path);
        }
        for (key, entry) in entries {
            if !entry.leaving {
                self.seen.notices.push(Notice::Missing(key));
                self.seen.lost.push(entry.info);
            }
        }
        Ok(())
    }

    fn read_meta(&mut self, root: &Path) -> Result<BTreeMap<SegmentKey, Entry>, StoreError> {
        let path = root.join(META);
        if let Some(reason) = not_a_file(&path) {
            self.seen.notices.push(Notice::Unreadable { path, reason });
            return Ok(BTreeMap::new());
        }
        if !path.exists() {
            self.seen.notices.push(Notice::NoMeta);
            return Ok(BTreeMap::new());
        }
        let read = || {
            let (connection, access) = self.disk.open_as_possible(&path)?;
            meta::check_format(&connection, &path)?;
            let wrong = sql("read catalogue", &path);
            let entries = meta::read_segments(&connection).map_err(&wrong)?;
            let acked = meta::read_acked(&connection).map_err(&wrong)?;
            let whole = meta::check_whole(&connection);
            let values = meta::read_values(&connection);
            Ok::<_, StoreError>((entries, acked, values, whole, access))
        };
        match read() {
            Ok((entries, acked, values, whole, access)) => {
                let mut damaged = |reason: String| {
                    let path = path.clone();
                    self.seen.notices.push(Notice::Damaged { path, reason });
                };
                match (values, whole) {
                    (Err(error), _) => damaged(format!("its values cannot be read: {error}")),
                    (Ok(values), whole) => {
                        if let Err(error) = whole {
                            // Who needs what is gone asks the segments.
                            damaged(error.to_string());
                        }
                        self.seen.values = values;
                    }
                }
                if access == Access::Immutable && disk::has_wal(&path) {
                    self.seen.notices.push(Notice::UnseenWal(path));
                }
                self.seen.acked = acked;
                let entries = entries.into_iter();
                Ok(entries
                    .map(|entry| (entry.info.key.clone(), entry))
                    .collect())
            }
            Err(error @ StoreError::TooNew { .. }) => Err(error),
            Err(error) => {
                let reason = chain(&error);
                self.seen.notices.push(Notice::Unreadable { path, reason });
                Ok(BTreeMap::new())
            }
        }
    }

    fn read_states(&mut self, lane: &LaneName, path: impl Fn(&SegmentKey) -> PathBuf) {
        let Some(log) = self.catalogue.lanes.get(lane) else {
            return;
        };
        let (states, passed_over) = recover::newest_states(log.segments.values(), |info| {
            let path = path(&info.key);
            let access = self.catalogue.access(info).at_present(&path);
            self.disk.open_reader(&path, access)
        });
        let log: &mut LaneLog = self.catalogue.lanes.entry(lane.clone()).or_default();
        log.states = states;
        for (key, reason) in passed_over {
            let path = path(&key);
            let is_known = self.seen.notices.iter().any(
                |notice| matches!(notice, Notice::Damaged { path: known, .. } if *known == path),
            );
            // The writer may have removed it meanwhile.
            if !is_known && path.exists() {
                self.seen.notices.push(Notice::Damaged { path, reason });
            }
        }
    }

    /// Gives where the next older segment has to end.
    fn look(
        &mut self,
        path: &Path,
        key: SegmentKey,
        entry: Option<&Entry>,
        limit: Position,
    ) -> Result<Position, StoreError> {
        let lost = entry.map(|entry| &entry.info);
        if let Some(reason) = not_a_file(path) {
            let path = path.to_owned();
            self.seen.notices.push(Notice::Unreadable { path, reason });
            self.seen.lost.extend(lost.cloned());
            return Ok(lost.map_or(limit, |info| limit.min(info.first)));
        }
        let mut access = Access::Live;
        let found = recover::look(path, &key, entry, limit, |path| {
            let (connection, how) = self.disk.open_as_possible(path)?;
            access = how;
            Ok(connection)
        });
        let path = path.to_owned();
        let has_wal = disk::has_wal(&path);
        let found = match found {
            Ok(found) => found,
            // The writer may have removed it meanwhile.
            Err(_) if !path.exists() => return Ok(limit),
            Err(error @ StoreError::TooNew { .. }) => return Err(error),
            Err(error) => Found::Unreadable(chain(&error)),
        };
        if access == Access::Immutable && has_wal {
            self.seen.notices.push(Notice::UnseenWal(path.clone()));
        }
        // What a live writer has in its WAL makes up for it.
        let missing = match access {
            Access::Live => 0,
            _ if has_wal => 0,
            Access::Immutable | Access::Resting | Access::Alone => disk::missing_bytes(&path),
        };
        let cut = (missing > 0).then(|| format!("its last {missing} bytes are missing"));
        let mut info = match found {
            Found::Trusted(info) | Found::Closed(_, info) | Found::Open(_, info) => {
                if let Some(reason) = cut {
                    self.seen.notices.push(Notice::Damaged { path, reason });
                }
                info
            }
            Found::Damaged(_, info, scan) => {
                let reason = cut.or(scan.why).unwrap_or_else(|| "its header".into());
                self.seen.notices.push(Notice::Damaged { path, reason });
                info
            }
            Found::Unbegun => return Ok(limit),
            Found::Unreadable(reason) => {
                self.seen.notices.push(Notice::Unreadable { path, reason });
                self.seen.lost.extend(lost.cloned());
                return Ok(lost.map_or(limit, |info| limit.min(info.first)));
            }
        };
        // A file that says that it is closed may still have its last pages in the WAL.
        if info.state == SegmentState::Closed && has_wal {
            info.state = SegmentState::Open;
        }
        if access != Access::Live {
            self.catalogue.frozen.insert(key.clone(), access);
        }
        let log: &mut LaneLog = self.catalogue.lanes.entry(key.lane.clone()).or_default();
        log.head = log.head.max(info.last);
        let first = info.first;
        log.segments.insert(key.id, info);
        Ok(limit.min(first))
    }
}

/// A pipe would keep us waiting for ever.
fn not_a_file(path: &Path) -> Option<String> {
    let metadata = std::fs::metadata(path).ok()?;
    (!metadata.is_file()).then(|| "it is not a regular file".to_owned())
}

/// A lone file says itself which segment it is.
fn lone_key(disk: &Disk, path: &Path) -> Result<SegmentKey, StoreError> {
    match disk::read_header(path, disk::FileKind::Segment).map_err(file("read", path))? {
        disk::Header::Wrong(reason) => {
            return Err(StoreError::Damaged {
                path: path.to_owned(),
                reason: reason.into(),
            });
        }
        disk::Header::TooNew(_) | disk::Header::Ours => {}
    }
    let (connection, _) = disk.open_as_possible(path)?;
    let read = connection.query_row("SELECT lane, id FROM segment", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?))
    });
    let named = read
        .ok()
        .and_then(|(lane, id)| Some((lane.parse::<LaneName>().ok()?, id)));
    // The name is for people: a file whose description is damaged is read all the same.
    let (lane, id) = match named {
        Some(named) => named,
        None => (
            "unknown"
                .parse()
                .map_err(|error: crate::lane::LaneNameError| StoreError::Damaged {
                    path: path.to_owned(),
                    reason: error.to_string(),
                })?,
            1,
        ),
    };
    Ok(SegmentKey { lane, id })
}
