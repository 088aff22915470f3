//! From files to a catalogue: what is trusted, what is read again, what is set aside.
//!
//! The segments of a lane end where the next one begins: rows that an older file has beyond that belong to a commit
//! that was reported as failed and was repeated in the next file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use efd_shared_model::{EpochLane, RangeSet, UtcNanos};
use rusqlite::{Connection, OptionalExtension};

use crate::disk::{self, Disk, FileKind, Header};
use crate::error::{StoreError, file, sql};
use crate::lane::{LaneName, Position, SegmentKey};
use crate::meta::Entry;
use crate::sealed::unseal;
use crate::segment::scan::{self, Scan};
use crate::segment::writer::States;
use crate::segment::{Contents, SegmentInfo, SegmentState};
use crate::wal;

/// What was found wrong when a store was opened. Everything named here that the centre does not have is to be
/// committed as a loss.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Files that could not be read, moved to `set-aside/`.
    pub set_aside: Vec<SetAside>,
    /// Segments of which some blocks cannot be read; the others are.
    pub damaged: Vec<DamagedSegment>,
    /// Closed segments that the catalogue has and the disk has not.
    pub missing: Vec<SegmentInfo>,
    /// `meta.db` was lost or set aside: acknowledgements and kept values begin empty.
    pub meta_rebuilt: bool,
    /// Positions that were skipped because the end of a damaged segment is not known.
    pub skipped: Vec<(LaneName, Position, Position)>,
}

#[derive(Debug)]
pub struct SetAside {
    pub file: PathBuf,
    pub moved_to: PathBuf,
    pub reason: String,
    /// What the catalogue knew of a segment; `None` for one that was open, and for `meta.db`.
    pub known: Option<SegmentInfo>,
}

#[derive(Debug)]
pub struct DamagedSegment {
    pub key: SegmentKey,
    pub positions: RangeSet,
    /// The block numbers that those positions held, where their neighbours tell.
    pub numbers: BTreeMap<EpochLane, RangeSet>,
    pub reason: String,
    /// More was lost after its last position; how much is not known.
    pub lost_tail: bool,
}

impl Recovery {
    /// Nothing was wrong.
    pub fn is_clean(&self) -> bool {
        let Self {
            set_aside,
            damaged,
            missing,
            meta_rebuilt,
            skipped,
        } = self;
        set_aside.is_empty()
            && damaged.is_empty()
            && missing.is_empty()
            && !meta_rebuilt
            && skipped.is_empty()
    }
}

/// Segment files by lane and id. Other files, unfinished ones among them, are not looked at.
pub(crate) fn list(root: &Path) -> Result<BTreeMap<LaneName, BTreeSet<u64>>, StoreError> {
    let folder = root.join("segments");
    let mut lanes = BTreeMap::new();
    for name in list_lanes(&folder)? {
        let ids = list_segments(&folder.join(name.as_str()), ".db")?;
        lanes.insert(name, ids);
    }
    Ok(lanes)
}

pub(crate) fn list_lanes(folder: &Path) -> Result<BTreeSet<LaneName>, StoreError> {
    let mut lanes = BTreeSet::new();
    for lane in fs::read_dir(folder).map_err(file("list", folder))? {
        let name = lane.map_err(file("list", folder))?.file_name();
        lanes.extend(name.to_str().and_then(|name| name.parse::<LaneName>().ok()));
    }
    Ok(lanes)
}

/// The ids of the files in a lane's folder whose names end so.
pub(crate) fn list_segments(folder: &Path, suffix: &str) -> Result<BTreeSet<u64>, StoreError> {
    let mut ids = BTreeSet::new();
    for segment in fs::read_dir(folder).map_err(file("list", folder))? {
        let name = segment.map_err(file("list", folder))?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(suffix));
        ids.extend(id.and_then(|id| id.parse::<u64>().ok()));
    }
    Ok(ids)
}

/// Beginnings of files that never got their name, and WAL files whose database was moved away.
pub(crate) fn sweep(root: &Path, disk: &Disk) -> Result<(), StoreError> {
    let lanes = list(root)?;
    let segments = root.join("segments");
    let folders = lanes.keys().map(|lane| segments.join(lane.as_str()));
    for folder in folders.chain([root.to_owned()]) {
        for entry in fs::read_dir(&folder).map_err(file("list", &folder))? {
            let path = entry.map_err(file("list", &folder))?.path();
            let name = path.to_string_lossy();
            if [".db.new", ".db.new-journal", ".db.new-wal", ".db.new-shm"]
                .iter()
                .any(|suffix| name.ends_with(suffix))
            {
                disk.unlink(&path).map_err(file("remove", &path))?;
            } else if let Some(database) = name.strip_suffix("-wal")
                && !Path::new(database).exists()
            {
                disk.set_aside(root, Path::new(database))?;
            }
        }
    }
    Ok(())
}

/// A segment as its file shows it.
#[derive(Debug)]
pub(crate) enum Found {
    /// As the catalogue has it: not opened.
    Trusted(SegmentInfo),
    /// Closed and whole, by its own summary.
    Closed(Connection, SegmentInfo),
    /// Whole; was being written to.
    Open(Connection, SegmentInfo),
    /// In part.
    Damaged(Connection, SegmentInfo, Scan),
    /// Never held a block.
    Unbegun,
    /// Not at all.
    Unreadable(String),
}

/// The row of `segment`.
struct Birth {
    lane: String,
    id: u64,
    format: i64,
    created: UtcNanos,
    first: Position,
    summary: Option<Vec<u8>>,
}

fn birth(connection: &Connection) -> rusqlite::Result<Option<Birth>> {
    connection
        .query_row(
            "SELECT format, created, first_position, summary, lane, id FROM segment",
            [],
            |row| {
                Ok(Birth {
                    format: row.get(0)?,
                    created: UtcNanos(row.get(1)?),
                    first: Position(row.get(2)?),
                    summary: row.get(3)?,
                    lane: row.get(4)?,
                    id: row.get(5)?,
                })
            },
        )
        .optional()
}

/// A file says itself which segment it is: one that was renamed or copied must not speak for another.
pub(crate) fn other_segment(key: &SegmentKey, lane: &str, id: u64) -> Option<String> {
    let is_same = key.lane.as_str() == lane && key.id == id;
    (!is_same).then(|| {
        format!("it is a copy of segment {lane}/{id:010}, or was renamed: its blocks are shown where it is given by itself")
    })
}

/// A newer format is said in two places: one alone is damage.
pub(crate) fn one_place(found: i64) -> String {
    format!("its header says format {found}, its table does not")
}

/// Looks at one segment file. `limit`: where the next segment of the lane begins. `open` makes the connection.
pub(crate) fn look(
    path: &Path,
    key: &SegmentKey,
    entry: Option<&Entry>,
    limit: Position,
    open: impl FnOnce(&Path) -> Result<Connection, StoreError>,
) -> Result<Found, StoreError> {
    let header = disk::read_header(path, FileKind::Segment).map_err(file("read", path))?;
    let closed = entry
        .map(|entry| &entry.info)
        .filter(|info| info.state == SegmentState::Closed);
    let newer = match header {
        Header::Wrong(reason) => return Ok(Found::Unreadable(reason.into())),
        Header::TooNew(found) => Some(found),
        Header::Ours => None,
    };
    if let Some(info) = closed
        && newer.is_none()
        && info.file_bytes == disk::file_bytes(path)
        && !disk::has_wal(path)
    {
        return Ok(Found::Trusted(info.clone()));
    }
    // Before it is opened: SQLite's recovery ends at a damaged frame, and the next commit overwrites what follows.
    let hidden = hidden_commits(path)?;
    let connection = match open(path) {
        Ok(connection) => connection,
        Err(error) => return unreadable(error),
    };
    // One view of the file: a live writer commits between two statements.
    let view = match connection.unchecked_transaction() {
        Ok(view) => view,
        Err(error) => return unreadable(sql("read", path)(error)),
    };
    let birth = birth(&connection);
    if let (Some(found), Ok(Some(birth))) = (newer, &birth)
        && birth.format == found
    {
        return Err(StoreError::TooNew {
            path: path.to_owned(),
            found,
            newest: disk::FORMAT,
        });
    }
    if let Ok(Some(birth)) = &birth
        && let Some(reason) = other_segment(key, &birth.lane, birth.id)
    {
        return Ok(Found::Unreadable(reason));
    }
    let told = newer.map(one_place);
    let examined = examine(&connection, path, key, closed, birth, limit);
    let states = states(&connection);
    drop(view);
    match examined {
        Ok(Examined::Unbegun) if hidden > 0 => Ok(Found::Unreadable(damaged_wal(hidden))),
        Ok(Examined::Unbegun) => Ok(Found::Unbegun),
        Ok(Examined::Closed(info)) => Ok(Found::Closed(connection, info)),
        Ok(Examined::Scanned(info, mut scan)) => {
            if let Some(told) = told {
                scan.why.get_or_insert(told);
            }
            if hidden > 0 {
                scan.lost_tail = true;
                scan.why.get_or_insert_with(|| damaged_wal(hidden));
            }
            if let Err(error) = states {
                scan.why.get_or_insert_with(|| damaged_values(&error));
            }
            if scan.why.is_none() && newer.is_none() {
                Ok(Found::Open(connection, info))
            } else {
                Ok(Found::Damaged(connection, info, scan))
            }
        }
        Err(error) => unreadable(error),
    }
}

/// A live writer can make a frame look damaged while it is read: what is damage stays.
fn hidden_commits(path: &Path) -> Result<u64, StoreError> {
    let mut hidden = 0;
    for _ in 0..3 {
        hidden = wal::hidden_commits(path).map_err(file("read", path))?;
        if hidden == 0 {
            break;
        }
    }
    Ok(hidden)
}

fn damaged_wal(hidden: u64) -> String {
    format!("its WAL is damaged: {hidden} commits behind the damage are lost")
}

/// A file that is damaged, or that the device cannot read, must not block the start; what is wrong around it may.
fn unreadable(error: StoreError) -> Result<Found, StoreError> {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseBusy, PermissionDenied, ReadOnly};
    if let StoreError::Damaged { reason, .. } = error {
        return Ok(Found::Unreadable(reason));
    }
    if let StoreError::Sqlite { source, .. } = &error
        && !matches!(
            source.sqlite_error_code(),
            Some(CannotOpen | DatabaseBusy | PermissionDenied | ReadOnly)
        )
    {
        return Ok(Found::Unreadable(source.to_string()));
    }
    Err(error)
}

enum Examined {
    Unbegun,
    Closed(SegmentInfo),
    Scanned(SegmentInfo, Scan),
}

fn examine(
    connection: &Connection,
    path: &Path,
    key: &SegmentKey,
    closed: Option<&SegmentInfo>,
    birth: rusqlite::Result<Option<Birth>>,
    limit: Position,
) -> Result<Examined, StoreError> {
    if matches!(birth, Ok(None)) && is_unbegun(connection).map_err(sql("read", path))? {
        return Ok(Examined::Unbegun);
    }
    let known = closed.map(|info| (info.first, info.last));
    let birth = birth.ok().flatten();
    if let (Some(birth), None) = (&birth, known)
        && let Some(info) = by_summary(connection, path, key, birth)
    {
        return Ok(Examined::Closed(info));
    }
    let mut scan = scan::scan(connection, path, limit, known)?;
    let (first, created) = match (&birth, scan.positions) {
        (Some(birth), Some((first, _))) if birth.first == first => (first, birth.created),
        (Some(birth), None) => (birth.first, birth.created),
        (_, Some((first, _))) => {
            let why = || "its own description is damaged".to_owned();
            scan.why.get_or_insert_with(why);
            (first, UtcNanos(0))
        }
        (None, None) => (Position::FIRST, UtcNanos(0)),
    };
    let mut info = SegmentInfo::new(key.clone(), first, created);
    info.last = scan
        .positions
        .map_or_else(|| first.previous(), |(_, last)| last);
    info.contents = scan.contents.clone();
    info.damaged = scan.damaged.clone();
    info.file_bytes = disk::database_bytes(path);
    Ok(Examined::Scanned(info, scan))
}

/// A closed segment that the catalogue does not have says itself what it holds.
fn by_summary(
    connection: &Connection,
    path: &Path,
    key: &SegmentKey,
    birth: &Birth,
) -> Option<SegmentInfo> {
    let contents = Contents::decode(unseal(&[], birth.summary.as_ref()?).ok()?).ok()?;
    let count = contents.blocks();
    let mut info = SegmentInfo::new(key.clone(), birth.first, birth.created);
    info.last = Position(birth.first.0.checked_add(count)?.checked_sub(1)?);
    let last: Option<u64> = connection
        .query_row("SELECT max(position) FROM blocks", [], |row| row.get(0))
        .ok()?;
    if count > 0 && last != Some(info.last.0) {
        return None;
    }
    info.contents = contents;
    info.state = SegmentState::Closed;
    info.file_bytes = disk::file_bytes(path);
    Some(info)
}

fn is_unbegun(connection: &Connection) -> rusqlite::Result<bool> {
    for table in ["blocks", "epoch_lanes", "state"] {
        if connection
            .prepare(&format!("SELECT 1 FROM {table} LIMIT 1"))?
            .exists([])?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The values of a lane: those of its newest segment, which began with all that the one before it had. Where they
/// cannot be read, those of the one before it; with the segments passed over, and why. A segment that is older may
/// have values that a later one has replaced.
pub(crate) fn newest_states<'a>(
    segments: impl DoubleEndedIterator<Item = &'a SegmentInfo>,
    open: impl Fn(&SegmentInfo) -> Result<Connection, StoreError>,
) -> (States, Vec<(SegmentKey, String)>) {
    let mut passed_over = Vec::new();
    for info in segments.rev() {
        let reason = match open(info).map(|connection| states(&connection)) {
            Ok(Ok(states)) => return (states, passed_over),
            Ok(Err(error)) => damaged_values(&error),
            Err(error) => error.to_string(),
        };
        passed_over.push((info.key.clone(), reason));
    }
    (States::new(), passed_over)
}

fn damaged_values(error: &rusqlite::Error) -> String {
    format!("its values cannot be read: {error}")
}

pub(crate) fn states(connection: &Connection) -> rusqlite::Result<States> {
    let mut statement = connection.prepare("SELECT key, through, value FROM state")?;
    let mut rows = statement.query([])?;
    let mut states = States::new();
    while let Some(row) = rows.next()? {
        let (key, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(2)?);
        let value = unseal(&[key.as_bytes()], &sealed)?.to_vec();
        states.insert(key, (Position(row.get(1)?), value));
    }
    Ok(states)
}
