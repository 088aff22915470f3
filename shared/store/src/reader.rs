//! The readers' side: blocks by position or by name, and what is known of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, Metadata};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use efd_shared_model::{
    BlockId, BlockNumber, EpochDeclaration, EpochId, EpochLane, Fingerprint, RangeSet, Schema,
    SealedBlock, StreamDeclaration, UtcNanos,
};
use rusqlite::Connection;

use crate::catalogue::{Place, Shared};
use crate::declare::Declared;
use crate::disk::Access;
use crate::error::{StoreError, sql};
use crate::lane::{LaneName, Position, SegmentKey};
use crate::meta::META;
use crate::recover;
use crate::segment::SegmentInfo;
use crate::segment::scan::{self, BlockSpan, DamageReason, LaneKeys, Tally};

/// What is at a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Block(Position, SealedBlock),
    /// A block was there and cannot be given.
    Damaged(Damaged),
    /// Nothing is held from `first` through `last`: removed, set aside, or never used.
    Absent {
        first: Position,
        last: Position,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    pub position: Position,
    /// `None` where its row cannot be read either.
    pub id: Option<BlockId>,
    pub segment: SegmentKey,
    pub reason: DamageReason,
}

impl Item {
    /// Where to read on.
    pub fn next(&self) -> Position {
        match self {
            Self::Block(position, _) => position.next(),
            Self::Damaged(damaged) => damaged.position.next(),
            Self::Absent { last, .. } => last.next(),
        }
    }
}

/// Has its own read-only connections: one for each thread that reads. A read is a short transaction of its own, so
/// that no reader keeps a WAL from being emptied.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    /// Most recently used last.
    open: VecDeque<OpenFile>,
    meta: Option<OpenMeta>,
}

#[derive(Debug)]
struct OpenFile {
    key: SegmentKey,
    access: Access,
    connection: Connection,
}

/// For who asks for thousands of schemas: as it was found when it was opened.
#[derive(Debug)]
struct OpenMeta {
    found: Found,
    connection: Connection,
}

/// What another process may change under an open connection that does not look for it.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Live,
    Frozen {
        access: Access,
        bytes: Option<u64>,
        modified: Option<SystemTime>,
    },
}

impl Found {
    fn now(path: &Path) -> Self {
        match Access::Resting.at_present(path) {
            Access::Live => Self::Live,
            access @ (Access::Immutable | Access::Resting | Access::Alone) => {
                let metadata = fs::metadata(path).ok();
                Self::Frozen {
                    access,
                    bytes: metadata.as_ref().map(Metadata::len),
                    modified: metadata.and_then(|metadata| metadata.modified().ok()),
                }
            }
        }
    }
}

impl Reader {
    /// Segment files that are kept open.
    const OPEN_MAX: usize = 6;
    /// What one read gives at most.
    pub const ITEMS_MAX: usize = 4096;

    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            open: VecDeque::new(),
            meta: None,
        }
    }

    /// What a lane holds from a position on, in order, at most `bytes_max` of it (but at least one block) and
    /// [`Self::ITEMS_MAX`] items. Leaves nothing out silently: what cannot be given is named. Empty behind the head.
    /// Each block's bytes are checked against the checksum they were written with.
    pub fn read(
        &mut self,
        lane: &LaneName,
        from: Position,
        bytes_max: usize,
    ) -> Result<Vec<Item>, StoreError> {
        self.read_through(lane, from, Position(u64::MAX), bytes_max)
    }

    /// As [`Self::read`], and nothing of the next segment. Empty behind the segment's last position.
    pub fn read_of(
        &mut self,
        info: &SegmentInfo,
        from: Position,
        bytes_max: usize,
    ) -> Result<Vec<Item>, StoreError> {
        self.read_through(&info.key.lane, from, info.last, bytes_max)
    }

    fn read_through(
        &mut self,
        lane: &LaneName,
        from: Position,
        through: Position,
        bytes_max: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        let mut bytes = 0;
        let mut next = from.max(Position::FIRST);
        while next <= through
            && items.len() < Self::ITEMS_MAX
            && (bytes < bytes_max || items.is_empty())
        {
            let place = self.shared.read().place(lane, next);
            match place {
                Place::End => break,
                Place::Absent { until } => {
                    let (first, last) = (next, Position(until.0 - 1).min(through));
                    items.push(Item::Absent { first, last });
                    next = last.next();
                }
                Place::Held { key, access, last } => {
                    let last = last.min(through);
                    let through = self.read_segment(
                        &key,
                        access,
                        next..=last,
                        &mut items,
                        &mut bytes,
                        bytes_max,
                    );
                    match through {
                        Ok(end) => next = end,
                        // Removed meanwhile: the catalogue knows.
                        Err(_) if self.shared.read().segment(&key).is_none() => {}
                        Err(error) => {
                            items.extend(name_all(&key, next, last, &error));
                            next = items.last().map_or_else(|| last.next(), Item::next);
                        }
                    }
                }
            }
        }
        Ok(items)
    }

    /// Gives the position to read on from. An error where the segment cannot be read at all.
    fn read_segment(
        &mut self,
        key: &SegmentKey,
        access: Access,
        positions: RangeInclusive<Position>,
        items: &mut Vec<Item>,
        bytes: &mut usize,
        bytes_max: usize,
    ) -> Result<Position, StoreError> {
        let path = self.shared.path(key);
        let connection = self.connection(key, access)?;
        let wrong = sql("read segment", &path);
        let transaction = connection.unchecked_transaction().map_err(&wrong)?;
        // Without them the blocks tell themselves what log they belong to.
        let lanes = scan::lane_keys(&transaction).unwrap_or_default();
        let (mut next, last) = positions.into_inner();
        while next <= last
            && items.len() < Self::ITEMS_MAX
            && (*bytes < bytes_max || items.is_empty())
        {
            let item = item(&transaction, &lanes, key, next);
            if let Item::Block(_, block) = &item {
                let fits = *bytes + block.bytes().len() <= bytes_max;
                if !fits && *bytes > 0 {
                    *bytes = bytes_max;
                    break;
                }
                *bytes += block.bytes().len();
            }
            items.push(item);
            next = next.next();
        }
        Ok(next)
    }

    fn connection(&mut self, key: &SegmentKey, access: Access) -> Result<&Connection, StoreError> {
        self.forget_removed();
        let path = self.shared.path(key);
        let access = access.at_present(&path);
        let found = self.open.iter().position(|file| file.key == *key);
        let kept = found.and_then(|index| self.open.remove(index));
        let file = match kept.filter(|file| file.access == access) {
            Some(file) => file,
            None => {
                let connection = self.shared.disk.open_reader(&path, access)?;
                check_identity(&connection, key, &path)?;
                OpenFile {
                    key: key.clone(),
                    access,
                    connection,
                }
            }
        };
        if self.open.len() >= Self::OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back(file);
        match self.open.back() {
            Some(file) => Ok(&file.connection),
            None => Err(StoreError::NoSegment(key.clone())),
        }
    }

    /// An open file keeps its space on the disk after it was unlinked.
    pub fn forget_removed(&mut self) {
        let catalogue = self.shared.read();
        self.open
            .retain(|file| catalogue.segment(&file.key).is_some());
    }

    /// The block of that name; `None` if it is not held. Where it is held more than once: the first that is whole.
    pub fn read_block(
        &mut self,
        log: &EpochLane,
        number: BlockNumber,
    ) -> Result<Option<Item>, StoreError> {
        let mut damaged = None;
        for (lane, position, _) in self.positions(log, number.0..=number.0, 16)? {
            match self.read(&lane, position, 1)?.into_iter().next() {
                Some(Item::Block(position, block)) if block.id() == log.block(number) => {
                    return Ok(Some(Item::Block(position, block)));
                }
                Some(item @ Item::Damaged(_)) => damaged = Some(item),
                Some(Item::Block(..) | Item::Absent { .. }) | None => {}
            }
        }
        Ok(damaged)
    }

    /// Where the blocks of a log with these numbers are, ascending within a segment, at most `max` of them.
    pub fn positions(
        &mut self,
        log: &EpochLane,
        numbers: RangeInclusive<u64>,
        max: usize,
    ) -> Result<Vec<(LaneName, Position, BlockNumber)>, StoreError> {
        let mut found = Vec::new();
        let wanted = (*numbers.start(), (*numbers.end()).min(i64::MAX as u64));
        for (info, access) in self.segments_of(log, &numbers) {
            let left = max - found.len();
            if left == 0 {
                break;
            }
            let path = self.shared.path(&info.key);
            let shared = Arc::clone(&self.shared);
            let connection = match self.connection(&info.key, access) {
                Ok(connection) => connection,
                Err(_) if shared.read().segment(&info.key).is_none() => continue,
                Err(error) => return Err(error),
            };
            let rows = scan::find(connection, log, wanted, (info.first, info.last), left);
            let rows = rows.map_err(sql("look up blocks", &path))?;
            let lane = &info.key.lane;
            found.extend(
                rows.into_iter().map(|(position, number)| {
                    (lane.clone(), Position(position), BlockNumber(number))
                }),
            );
        }
        Ok(found)
    }

    fn segments_of(
        &self,
        log: &EpochLane,
        numbers: &RangeInclusive<u64>,
    ) -> Vec<(SegmentInfo, Access)> {
        let catalogue = self.shared.read();
        let holds = |info: &&SegmentInfo| {
            let contents = info.contents.lanes.get(log);
            let span = numbers.clone();
            let count = span.end().saturating_sub(*span.start()).saturating_add(1);
            contents.is_some_and(|contents| {
                let missing = contents.numbers.missing(span);
                let missing = missing.iter().fold(0u64, |sum, range| {
                    sum.saturating_add((range.end() - range.start()).saturating_add(1))
                });
                missing < count
            })
        };
        let segments = catalogue.segments().filter(holds);
        segments
            .map(|info| (info.clone(), catalogue.access(info)))
            .collect()
    }

    /// See [`Store::tally`](crate::Store::tally).
    pub fn tally(
        &mut self,
        key: &SegmentKey,
        log: &EpochLane,
        numbers: &RangeSet,
    ) -> Result<Tally, StoreError> {
        let access = {
            let catalogue = self.shared.read();
            let info = catalogue.segment(key);
            info.map(|info| catalogue.access(info))
        };
        let access = access.ok_or_else(|| StoreError::NoSegment(key.clone()))?;
        let path = self.shared.path(key);
        let connection = self.connection(key, access)?;
        scan::tally(connection, log, numbers).map_err(sql("count blocks", &path))
    }

    /// The last position ever given in a lane; [`Position::NONE`] of an unknown one.
    pub fn head(&self, lane: &LaneName) -> Position {
        let catalogue = self.shared.read();
        catalogue
            .lanes
            .get(lane)
            .map_or(Position::NONE, |log| log.head)
    }

    /// The first position held in a lane; where it holds none, the one that comes next.
    pub fn floor(&self, lane: &LaneName) -> Position {
        let catalogue = self.shared.read();
        let Some(log) = catalogue.lanes.get(lane) else {
            return Position::FIRST;
        };
        let first = log.segments.values().find(|info| !info.is_empty());
        first.map_or_else(|| log.head.next(), |info| info.first)
    }

    pub fn lanes(&self) -> Vec<LaneName> {
        self.shared.read().lanes.keys().cloned().collect()
    }

    /// Block numbers of a log that are held.
    pub fn numbers(&self, log: &EpochLane) -> RangeSet {
        self.shared.read().numbers(log)
    }

    /// Every log of which blocks are held.
    pub fn logs(&self) -> Vec<EpochLane> {
        let catalogue = self.shared.read();
        let logs = catalogue
            .segments()
            .flat_map(|info| info.contents.lanes.keys());
        let logs: BTreeSet<_> = logs.copied().collect();
        logs.into_iter().collect()
    }

    /// Oldest first within a lane.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.read().segments().cloned().collect()
    }

    /// The newest value of a key, and the head of the lane when it was set.
    pub fn state(&self, lane: &LaneName, key: &str) -> Option<(Position, Vec<u8>)> {
        let catalogue = self.shared.read();
        catalogue.lanes.get(lane)?.states.get(key).cloned()
    }

    /// All values of a lane, by key: as [`Self::state`] gives each.
    pub fn states(&self, lane: &LaneName) -> BTreeMap<String, (Position, Vec<u8>)> {
        let catalogue = self.shared.read();
        let log = catalogue.lanes.get(lane);
        log.map(|log| log.states.clone()).unwrap_or_default()
    }

    /// The blocks of a segment that may have something of these event times, ascending by position; empty if it has been
    /// removed.
    pub fn spans(
        &mut self,
        key: &SegmentKey,
        times: &RangeInclusive<UtcNanos>,
    ) -> Result<Vec<BlockSpan>, StoreError> {
        let found = {
            let catalogue = self.shared.read();
            let info = catalogue.segment(key);
            info.map(|info| (info.first, info.last, catalogue.access(info)))
        };
        let Some((first, last, access)) = found else {
            return Ok(Vec::new());
        };
        let path = self.shared.path(key);
        let spans = self.connection(key, access).and_then(|connection| {
            scan::spans(connection, (first, last), times).map_err(sql("look up blocks", &path))
        });
        match spans {
            Err(_) if self.shared.read().segment(key).is_none() => Ok(Vec::new()),
            spans => spans,
        }
    }

    /// When the block at a position was committed; `None` if it is not held, or its row cannot be read.
    pub fn committed(&mut self, lane: &LaneName, position: Position) -> Option<UtcNanos> {
        let place = self.shared.read().place(lane, position);
        let Place::Held { key, access, .. } = place else {
            return None;
        };
        let connection = self.connection(&key, access).ok()?;
        scan::committed(connection, position).ok()
    }

    /// Every epoch declared, ascending by id.
    pub fn epochs(&mut self) -> Result<Vec<EpochDeclaration>, StoreError> {
        let mut all = BTreeMap::new();
        let add = |all: &mut BTreeMap<_, _>, declared: Declared<'_>| {
            let epochs = declared.epochs()?;
            all.extend(epochs.into_iter().map(|epoch| (epoch.epoch, epoch)));
            Ok(None::<()>)
        };
        self.declared(|_| true, |declared| add(&mut all, declared))?;
        // A `meta.db` that has lost its WAL knows less than the segments, each of which declares what its blocks need.
        let unknown: BTreeSet<EpochId> = self
            .logs()
            .into_iter()
            .map(|log| log.epoch)
            .filter(|epoch| !all.contains_key(epoch))
            .collect();
        if !unknown.is_empty() {
            let has_it = |info: &SegmentInfo| {
                let mut logs = info.contents.lanes.keys();
                logs.any(|log| unknown.contains(&log.epoch))
            };
            self.declared_in_segments(has_it, |declared| add(&mut all, declared))?;
        }
        Ok(all.into_values().collect())
    }

    /// Streams of an epoch, ascending by number; [`StoreError::NoEpoch`] if it is not declared.
    pub fn streams(&mut self, epoch: EpochId) -> Result<Vec<StreamDeclaration>, StoreError> {
        // Of several segments none needs to have all of them: the longest list has.
        let mut longest: Option<Vec<StreamDeclaration>> = None;
        let has_it = |info: &SegmentInfo| info.contents.lanes.keys().any(|log| log.epoch == epoch);
        let mut ask = |declared: Declared<'_>| {
            if declared.epoch(epoch)?.is_some() {
                let streams = declared.streams(epoch)?;
                let is_longer = |longest: &Vec<_>| longest.len() < streams.len();
                if longest.as_ref().is_none_or(is_longer) {
                    longest = Some(streams);
                }
            }
            Ok(None::<()>)
        };
        self.declared(has_it, &mut ask)?;
        // See `epochs`: the newest segment of each lane has the longest list.
        let newest: BTreeSet<SegmentKey> = {
            let catalogue = self.shared.read();
            let of_epoch = catalogue.segments().filter(|info| has_it(info));
            let by_lane: BTreeMap<_, _> = of_epoch
                .map(|info| (info.key.lane.clone(), info.key.clone()))
                .collect();
            by_lane.into_values().collect()
        };
        self.declared_in_segments(|info| newest.contains(&info.key), &mut ask)?;
        longest.ok_or(StoreError::NoEpoch(epoch))
    }

    /// `None` if it is not known.
    pub fn schema(&mut self, fingerprint: &Fingerprint) -> Result<Option<Schema>, StoreError> {
        let ask = |declared: Declared<'_>| declared.schema(fingerprint);
        match self.declared(|_| true, ask)? {
            Some(schema) => Ok(Some(schema)),
            // See `epochs`.
            None => self.declared_in_segments(|_| true, ask),
        }
    }

    /// Asks `meta.db`; where that is not to be had or cannot be read, the segments, newest first.
    fn declared<T>(
        &mut self,
        relevant: impl Fn(&SegmentInfo) -> bool,
        mut ask: impl FnMut(Declared<'_>) -> rusqlite::Result<Option<T>>,
    ) -> Result<Option<T>, StoreError> {
        let path = self.shared.root.join(META);
        if self.shared.lone.is_none() && path.exists() {
            let answer = self
                .meta(&path)
                .and_then(|meta| ask(Declared::new(meta)).map_err(sql("read declarations", &path)));
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "Declarations are taken from the segments"
                ),
            }
        }
        self.declared_in_segments(relevant, ask)
    }

    fn meta(&mut self, path: &Path) -> Result<&Connection, StoreError> {
        let found = Found::now(path);
        let meta = match self.meta.take().filter(|meta| meta.found == found) {
            Some(meta) => meta,
            None => OpenMeta {
                found,
                connection: self.shared.disk.open_as_possible(path)?.0,
            },
        };
        Ok(&self.meta.insert(meta).connection)
    }

    fn declared_in_segments<T>(
        &mut self,
        relevant: impl Fn(&SegmentInfo) -> bool,
        mut ask: impl FnMut(Declared<'_>) -> rusqlite::Result<Option<T>>,
    ) -> Result<Option<T>, StoreError> {
        let segments: Vec<_> = {
            let catalogue = self.shared.read();
            let relevant = catalogue.segments().filter(|info| relevant(info));
            relevant
                .map(|info| (info.key.clone(), catalogue.access(info)))
                .collect()
        };
        for (key, access) in segments.iter().rev() {
            let path = self.shared.path(key);
            let answer = self.connection(key, *access).and_then(|connection| {
                ask(Declared::new(connection)).map_err(sql("read declarations", &path))
            });
            match answer {
                Ok(None) => {}
                Ok(answer) => return Ok(answer),
                Err(error) => tracing::warn!(
                    segment = %key,
                    error = &error as &dyn std::error::Error,
                    "Reading the declarations of a segment failed"
                ),
            }
        }
        Ok(None)
    }
}

/// Files of one size that have changed their names are trusted until they are opened.
fn check_identity(
    connection: &Connection,
    key: &SegmentKey,
    path: &Path,
) -> Result<(), StoreError> {
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?));
    let own = connection.query_row("SELECT lane, id FROM segment", [], row);
    let other = own
        .ok()
        .and_then(|(lane, id)| recover::other_segment(key, &lane, id));
    match other {
        None => Ok(()),
        Some(reason) => Err(StoreError::Damaged {
            path: path.to_owned(),
            reason,
        }),
    }
}

fn item(connection: &Connection, lanes: &LaneKeys, key: &SegmentKey, position: Position) -> Item {
    match scan::read_block(connection, lanes, position) {
        Ok(block) => Item::Block(position, block),
        Err((row, reason)) => Item::Damaged(Damaged {
            position,
            id: row.map(|row| row.id()),
            segment: key.clone(),
            reason,
        }),
    }
}

/// Every position of a segment that cannot be opened, as far as one read goes.
fn name_all(key: &SegmentKey, first: Position, last: Position, error: &StoreError) -> Vec<Item> {
    let reason = if let StoreError::Damaged { reason, .. } = error {
        DamageReason::Corrupt(reason.clone())
    } else if let StoreError::Sqlite { source, .. } = error {
        DamageReason::of(source)
    } else {
        DamageReason::Unreadable(error.to_string())
    };
    let through = last
        .0
        .min(first.0.saturating_add(Reader::ITEMS_MAX as u64 - 1));
    (first.0..=through)
        .map(|position| {
            Item::Damaged(Damaged {
                position: Position(position),
                id: None,
                segment: key.clone(),
                reason: reason.clone(),
            })
        })
        .collect()
}
