//! What the store holds, in memory: shared by the writer, which changes it after each commit, and the readers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use efd_shared_model::{EpochLane, RangeSet};

use crate::disk::{Access, Disk};
use crate::lane::{LaneName, Position, SegmentKey};
use crate::segment::writer::States;
use crate::segment::{SegmentInfo, SegmentState};

#[derive(Debug)]
pub(crate) struct Shared {
    pub root: PathBuf,
    pub disk: Disk,
    /// A segment file on its own, without a store around it.
    pub lone: Option<PathBuf>,
    catalogue: RwLock<Catalogue>,
}

#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    pub lanes: BTreeMap<LaneName, LaneLog>,
    /// Open segments that nobody writes to, in a store that is opened to be read only.
    pub frozen: BTreeMap<SegmentKey, Access>,
}

#[derive(Debug, Default)]
pub(crate) struct LaneLog {
    /// By id, which is the order of positions.
    pub segments: BTreeMap<u64, SegmentInfo>,
    /// Of the last block ever appended, held or not.
    pub head: Position,
    pub states: States,
}

/// Where a position is.
#[derive(Debug)]
pub(crate) enum Place {
    /// In this segment, whose last position is given.
    Held {
        key: SegmentKey,
        access: Access,
        last: Position,
    },
    /// Not held, nor is any before this one.
    Absent { until: Position },
    /// Behind the head.
    End,
}

impl Shared {
    pub(crate) fn new(
        root: PathBuf,
        disk: Disk,
        lone: Option<PathBuf>,
        catalogue: Catalogue,
    ) -> Self {
        Self {
            root,
            disk,
            lone,
            catalogue: RwLock::new(catalogue),
        }
    }

    // A panic elsewhere leaves the catalogue as it is: every change to it is whole.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.catalogue
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Catalogue> {
        self.catalogue
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lane_folder(&self, lane: &LaneName) -> PathBuf {
        self.root.join("segments").join(lane.as_str())
    }

    pub(crate) fn path(&self, key: &SegmentKey) -> PathBuf {
        match &self.lone {
            Some(path) => path.clone(),
            None => self.lane_folder(&key.lane).join(key.file_name()),
        }
    }
}

impl Catalogue {
    pub(crate) fn segment(&self, key: &SegmentKey) -> Option<&SegmentInfo> {
        self.lanes.get(&key.lane)?.segments.get(&key.id)
    }

    pub(crate) fn segment_mut(&mut self, key: &SegmentKey) -> Option<&mut SegmentInfo> {
        self.lanes.get_mut(&key.lane)?.segments.get_mut(&key.id)
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &SegmentInfo> {
        self.lanes.values().flat_map(|lane| lane.segments.values())
    }

    pub(crate) fn access(&self, info: &SegmentInfo) -> Access {
        match info.state {
            SegmentState::Closed => Access::Immutable,
            SegmentState::Open => self.frozen.get(&info.key).copied().unwrap_or(Access::Live),
        }
    }

    pub(crate) fn place(&self, lane: &LaneName, position: Position) -> Place {
        let Some(log) = self.lanes.get(lane) else {
            return Place::End;
        };
        if log.head < position {
            return Place::End;
        }
        // Segments leave from the old end, one by one: a walk from there is short for a reader that lags, and a
        // reader at the head begins at the other end.
        let found = log
            .segments
            .values()
            .rev()
            .take_while(|info| position <= info.last || info.is_empty());
        match found.filter(|info| !info.is_empty()).last() {
            None => Place::Absent {
                until: log.head.next(),
            },
            Some(info) if position < info.first => Place::Absent { until: info.first },
            Some(info) => Place::Held {
                key: info.key.clone(),
                access: self.access(info),
                last: info.last,
            },
        }
    }

    /// Block numbers of a log that are held.
    pub(crate) fn numbers(&self, log: &EpochLane) -> RangeSet {
        let mut all = RangeSet::new();
        for info in self.segments() {
            if let Some(contents) = info.contents.lanes.get(log) {
                all.union(&contents.numbers);
            }
        }
        all
    }
}
