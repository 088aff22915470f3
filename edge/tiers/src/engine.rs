//! Reads what is durable, and makes windows of it.

mod build;
mod correct;
mod merge;
mod put;
mod resume;
mod take;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use efd_shared_model::clock::ClockSource;
use efd_shared_model::{ClockState, LaneKind, UtcNanos};
use efd_shared_stats::{Kernel, Resolution};
use efd_shared_store::database::Disk;
use efd_shared_store::{Item, Position, Reader, StoreError};
use efd_shared_tiers::Row;

use self::build::Build;
pub use self::build::Building;
use self::resume::Change;
use self::take::Which;
use crate::blocks::Blocks;
use crate::folder::{Holding, Newest, TierFolder};
use crate::hours::WorkHours;
use crate::open::Arrival;
use crate::pass::{LaneProgress, Pass};
use crate::plan::{Plan, TierOf};
use crate::series::SeriesList;
use crate::settings::TierSettings;
use crate::state::{Name, State};
use crate::streams::Streams;

/// After its resolution a window waits for what was under way when it ended, ns.
const GRACE: i64 = 2_000_000_000;
/// Of blocks, at one time.
const READ_BYTES: usize = 4 << 20;
/// Closed windows wait for so many others of their series to share a commit, but not longer than this, ns; or until there
/// are so many values.
const WINDOWS_SHARED: i64 = 3;
const COMMIT_WITHIN: i64 = 60_000_000_000;
const PENDING_SUMMARIES_MAX: usize = 200_000;
/// Samples of open windows; above it all windows are closed before their time.
const SAMPLE_BYTES_MAX: usize = 160 << 20;
/// A file is written anew so long after its span was over, ns.
const SETTLE_AFTER: i64 = 600_000_000_000;
const LATE_MAX: usize = 1 << 18;

#[derive(Debug, thiserror::Error)]
pub enum TierError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("write {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl TierError {
    /// A damaged file of a tier is put where nobody reads it and nobody deletes it, so that the others come on; what it had
    /// is lost for the tier. Gives where it is; `None` if it is not that.
    pub fn set_aside(&self, root: &Path) -> Result<Option<PathBuf>, StoreError> {
        let Self::Store(StoreError::Damaged { path, .. }) = self else {
            return Ok(None);
        };
        if !path.starts_with(root.join("tiers")) {
            return Ok(None);
        }
        Disk::default().set_aside(root, path).map(Some)
    }
}

/// What was done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub samples: u64,
    /// Windows of series, all tiers.
    pub windows: u64,
    /// Samples for windows that were closed.
    pub late: u64,
    /// Windows computed anew for them.
    pub corrected: u64,
    /// Of these, merged because their blocks are gone.
    pub merged: u64,
    /// Late samples that no window took: too many waited, or their blocks are gone. Of the latter a window counts as one.
    pub given_up: u64,
    /// Samples for windows that have left their tier.
    pub too_old: u64,
    /// Coarser windows that stayed, as fewer samples are left in the finer ones.
    pub kept: u64,
    /// Windows closed before their time, for want of memory.
    pub early: u64,
    /// Records that do not fit their schema, or of too many shapes.
    pub unfit: u64,
    /// Blocks that could not be read; the account names them.
    pub blocks_unreadable: u64,
}

#[derive(Debug)]
pub struct Engine {
    /// Finest first.
    tiers: Vec<TierFolder>,
    plan: Arc<Plan>,
    state_path: PathBuf,
    disk: Disk,
    hours: WorkHours,
    streams: Streams,
    series: SeriesList,
    /// By tier: windows that the files had at the start.
    newest: Vec<Newest>,
    live: Pass,
    build: Option<Build>,
    /// While the tiers are those of the configuration before.
    change: Option<Change>,
    /// Windows that are closed, and the blocks with samples that came late for them.
    late: BTreeMap<Name, Blocks>,
    /// Coarser windows that are to be merged, and since when.
    coarse: BTreeMap<Name, Arrival>,
    committed: Option<Arrival>,
    /// By tier: when its closed windows were committed last.
    put: Vec<Option<Arrival>>,
    kernel: Kernel,
    row: Row,
    counters: Counters,
}

/// ns between the commits of a tier.
fn commit_every(resolution: Resolution) -> i64 {
    let windows = resolution.nanos().saturating_mul(WINDOWS_SHARED);
    windows.min(COMMIT_WITHIN)
}

/// What a reading of a lane gave.
enum Got {
    Nothing,
    Items { clock: Option<ClockState> },
}

impl Engine {
    /// Work that may wait is done in these hours only.
    #[must_use]
    pub fn within(self, hours: WorkHours) -> Self {
        Self { hours, ..self }
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Windows that wait to be computed anew.
    pub fn late(&self) -> usize {
        self.late.len()
    }

    /// By tier, finest first.
    pub fn holding(&self) -> impl Iterator<Item = (&TierSettings, Holding)> {
        self.tiers
            .iter()
            .map(|folder| (folder.settings(), folder.holding()))
    }

    /// Reads some of what is new in the lanes of telemetry, closes and commits what is due. `now` is the clock of the
    /// moment, which closes windows when everything was read. When nothing is new, a slice of the work that may wait is
    /// done. False when there is nothing more to do.
    pub fn step(&mut self, reader: &mut Reader, now: &ClockState) -> Result<bool, TierError> {
        self.change(reader)?;
        self.meet_lanes(reader);
        let mut is_more = false;
        let mut clock = None;
        for lane in 0..self.live.lanes.len() {
            match self.read_lane(reader, Which::Live, lane)? {
                Got::Nothing => {
                    let due = self.live.open.close_due(lane, Arrival::from(now));
                    self.live.close(due, &self.series, &mut self.kernel);
                }
                Got::Items { clock: read } => {
                    is_more = true;
                    clock = read.or(clock);
                }
            }
            if SAMPLE_BYTES_MAX < self.live.open.bytes() {
                let due = self.live.open.close_all();
                self.counters.early += due.len() as u64;
                self.live.close(due, &self.series, &mut self.kernel);
            }
        }
        let clock = clock.filter(|_| is_more).unwrap_or(*now);
        let arrived = Arrival::from(&clock);
        let last = *self.committed.get_or_insert(arrived);
        let finest = self.tiers.first();
        let every = finest.map_or(COMMIT_WITHIN, |tier| commit_every(tier.resolution()));
        let is_time = arrived.since(last).is_none_or(|since| every <= since);
        if is_time || PENDING_SUMMARIES_MAX < self.live.pending_summaries {
            // Makes room, perhaps for what is committed.
            self.remove_old(&clock)?;
            self.commit(reader, arrived, false)?;
            self.settle(clock.utc)?;
        }
        if !is_more && self.hours.contains(now.utc) {
            return self.work(reader, Arrival::from(now));
        }
        Ok(is_more)
    }

    /// What is closed is committed, what is open is noted.
    pub fn stop(mut self, reader: &mut Reader, now: &ClockState) -> Result<(), TierError> {
        if self.change.is_none() {
            self.put_pending(Arrival::from(now), true)?;
            self.commit(reader, Arrival::from(now), false)?;
        }
        for folder in self.tiers {
            folder.close()?;
        }
        Ok(())
    }

    /// Closes every window, builds what is to be built, and merges all that changed: for who needs the whole at once.
    pub fn flush(&mut self, reader: &mut Reader, now: &ClockState) -> Result<(), TierError> {
        self.change(reader)?;
        let due = self.live.open.close_all();
        self.live.close(due, &self.series, &mut self.kernel);
        let now = Arrival::from(now);
        self.commit(reader, now, true)?;
        while self.work(reader, now)? {}
        self.commit(reader, now, true)
    }

    fn note_late(&mut self, name: Name, blocks: &Blocks) {
        if self.late.len() < LATE_MAX || self.late.contains_key(&name) {
            self.late.entry(name).or_default().union(blocks);
        } else {
            self.counters.given_up += 1;
        }
    }

    fn meet_lanes(&mut self, reader: &Reader) {
        for name in reader.lanes() {
            let is_telemetry = name.is_of(LaneKind::Telemetry);
            if is_telemetry && self.live.lanes.iter().all(|lane| lane.name != name) {
                self.live.lanes.push(LaneProgress {
                    name,
                    read: Position::NONE,
                    known: Position::NONE,
                    until: Position(u64::MAX),
                });
            }
        }
        self.forget_replaced(reader);
    }

    /// Takes what one reading gives, and closes what is due by the clock of these blocks.
    fn read_lane(
        &mut self,
        reader: &mut Reader,
        which: Which,
        lane: usize,
    ) -> Result<Got, TierError> {
        let of_lane = self.pass(which).lanes[lane].clone();
        let items = match of_lane.read < of_lane.until {
            true => reader.read(&of_lane.name, of_lane.read.next(), READ_BYTES)?,
            false => Vec::new(),
        };
        if items.is_empty() {
            return Ok(Got::Nothing);
        }
        let mut clock = None;
        for item in items {
            let last = Position(item.next().0.saturating_sub(1));
            if of_lane.until < last {
                // What comes then is not for this pass, or a hole reaches further.
                self.pass(which).lanes[lane].read = of_lane.until;
                break;
            }
            if let Item::Block(position, block) = &item {
                let read = block.header().clock;
                clock = Some(read);
                self.take_block(reader, which, lane, *position, block)?;
                self.pass(which).lanes[lane].read = last;
                let pass = self.pass(which);
                let due = pass.open.close_due(lane, Arrival::from(&read));
                self.close(which, due);
            } else {
                self.pass(which).lanes[lane].read = last;
            }
        }
        Ok(Got::Items { clock })
    }

    fn pass(&mut self, which: Which) -> &mut Pass {
        let build = self.build.as_mut().and_then(|build| build.pass.as_mut());
        match (which, build) {
            (Which::Build, Some(build)) => build,
            (Which::Live, _) | (Which::Build, None) => &mut self.live,
        }
    }

    fn close(&mut self, which: Which, due: Vec<crate::open::Due>) {
        let build = self.build.as_mut().and_then(|build| build.pass.as_mut());
        let pass = match (which, build) {
            (Which::Build, Some(build)) => build,
            (Which::Live, _) | (Which::Build, None) => &mut self.live,
        };
        pass.close(due, &self.series, &mut self.kernel);
    }

    /// Everything that waits: closed windows, some that are late, coarser ones; then how far it came.
    fn commit(&mut self, reader: &mut Reader, now: Arrival, all: bool) -> Result<(), TierError> {
        self.put_pending(now, all)?;
        self.put_built(now)?;
        let (at_once, mut left) = match all {
            true => (correct::MANY, usize::MAX),
            false => (correct::FEW, correct::FEW),
        };
        while left > 0 {
            let done = self.correct(reader, now, at_once.min(left))?;
            left = if done == 0 { 0 } else { left - done };
        }
        for tier in 1..self.tiers.len() {
            self.coarsen(tier, now, all)?;
        }
        self.save()?;
        self.committed = Some(now);
        Ok(())
    }

    fn state(&self) -> State {
        let (lanes, open) = self.live.progress(&self.series);
        let floors = self.tiers.iter();
        let floors = floors.filter_map(|tier| Some((tier.resolution(), tier.floor()?)));
        State {
            tiers: self.holding().map(|(tier, _)| TierOf::from(tier)).collect(),
            lanes,
            open,
            late: self.late.clone(),
            coarse: self.coarse.keys().copied().collect::<BTreeSet<_>>(),
            floors: floors.collect(),
            build: match (&self.change, &self.build) {
                (Some(change), _) => change.unbuilt(),
                (None, build) => build.as_ref().map(|build| build.state(&self.series)),
            },
        }
    }

    fn save(&self) -> Result<(), TierError> {
        let saved = self.state().save(&self.state_path, &self.disk);
        saved.map_err(|source| TierError::Io {
            path: self.state_path.clone(),
            source,
        })
    }

    /// By a clock that nobody sets nothing leaves for its age: a machine that wakes in another century keeps its year.
    fn remove_old(&mut self, clock: &ClockState) -> Result<(), TierError> {
        let now = (clock.source != ClockSource::Undisciplined).then_some(clock.utc);
        let mut is_any = false;
        for folder in &mut self.tiers {
            if let Some(floor) = folder.floor_due(now) {
                folder.raise_floor(floor);
                is_any = true;
            }
        }
        if is_any {
            self.save()?;
            for folder in &mut self.tiers {
                folder.remove_old()?;
            }
        }
        Ok(())
    }

    /// Writes one file of each tier anew that is over.
    fn settle(&mut self, now: UtcNanos) -> Result<(), TierError> {
        for folder in &mut self.tiers {
            folder.settle_one(UtcNanos(now.0.saturating_sub(SETTLE_AFTER)))?;
        }
        Ok(())
    }
}
