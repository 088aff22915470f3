//! Reads what is durable, and makes windows of it.

mod correct;
mod put;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use efd_shared_model::bytes::{Reader as ByteReader, Writer};
use efd_shared_model::clock::ClockSource;
use efd_shared_model::{ClockState, RangeSet, SealedBlock, UtcNanos};
use efd_shared_stats::{Kernel, Resolution};
use efd_shared_store::database::{Disk, with_suffix};
use efd_shared_store::{Item, LANE_NAME_CHARS_MAX, LaneName, Position, Reader, StoreError};
use efd_shared_tiers::{Note, Row};

use crate::coarse::Window;
use crate::folder::{Holding, TierFolder};
use crate::open::{Arrival, Due, OpenWindows, Pushed, SeriesNumber};
use crate::settings::TierSettings;
use crate::state::{Name, Progress, State};
use crate::streams::{Known, Streams};

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
const LATE_MAX: usize = 65_536;
const RANGES_MAX: usize = 1 << 16;

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
    /// is lost for the tier. False if it is not that.
    pub fn set_aside(&self, root: &Path) -> io::Result<bool> {
        let Self::Store(StoreError::Damaged { path, .. }) = self else {
            return Ok(false);
        };
        if !path.starts_with(root.join("tiers")) {
            return Ok(false);
        }
        for suffix in ["-wal", ""] {
            let from = with_suffix(path, suffix);
            if from.exists() {
                fs::rename(&from, with_suffix(&with_suffix(path, ".damaged"), suffix))?;
            }
        }
        unlink(&with_suffix(path, "-shm"))?;
        Ok(true)
    }
}

fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
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
    /// Late samples that no window took: too many waited.
    pub given_up: u64,
    /// Windows closed before their time, for want of memory.
    pub early: u64,
    /// Records that do not fit their schema, or of too many shapes.
    pub unfit: u64,
    /// Blocks that could not be read; the account names them.
    pub blocks_unreadable: u64,
}

#[derive(Debug)]
pub struct Engine {
    folders: Vec<TierFolder>,
    state_path: PathBuf,
    disk: Disk,
    lanes: Vec<LaneProgress>,
    streams: Streams,
    /// By the digest of its key.
    series: HashMap<u64, SeriesNumber>,
    /// Windows that the files had at the start: the newest of each series, and of those that are not in it.
    newest: BTreeMap<u64, UtcNanos>,
    newest_of_others: Option<UtcNanos>,
    open: OpenWindows,
    /// Windows that were open when it was stopped: what came for them before is taken again.
    resumed: BTreeSet<Name>,
    pending: BTreeMap<SeriesNumber, BTreeMap<UtcNanos, Window>>,
    pending_summaries: usize,
    /// Blocks that hold what waits to be committed.
    pending_ranges: BTreeMap<usize, RangeSet>,
    /// For windows that are closed: the blocks with late samples.
    late: BTreeMap<Name, RangeSet>,
    /// Coarser windows that are to be merged, and since when; by tier.
    coarse: Vec<BTreeMap<Name, Arrival>>,
    committed: Option<Arrival>,
    kernel: Kernel,
    row: Row,
    counters: Counters,
}

#[derive(Debug)]
struct LaneProgress {
    name: LaneName,
    /// Read so far.
    read: Position,
    /// Up to here only what is resumed is taken.
    known: Position,
}

impl Engine {
    /// For the tiers of the buffer at `root`, finest first, at least one. Goes on where it was; where that is not known
    /// any more, with the last commit that is found: what comes twice is then late, and computed anew.
    pub fn open(root: &Path, settings: &[TierSettings], disk: &Disk) -> Result<Self, TierError> {
        let root = root.join("tiers");
        fs::create_dir_all(&root).map_err(|source| TierError::Io {
            path: root.clone(),
            source,
        })?;
        let folders = settings
            .iter()
            .map(|tier| TierFolder::open(&root, *tier, disk))
            .collect::<Result<Vec<_>, _>>()?;
        let resolution = settings
            .first()
            .map_or(Resolution::SECOND, |tier| tier.resolution);
        let state_path = root.join("state");
        let state = match State::load(&state_path) {
            Some(state) => state,
            None => from_notes(folders.first())?,
        };
        let (newest, newest_of_others) = match folders.first() {
            Some(finest) => finest.newest()?,
            None => Default::default(),
        };
        let now = Arrival::from(&ClockState::default());
        let mut coarse: Vec<BTreeMap<Name, Arrival>> = state
            .coarse
            .iter()
            .map(|windows| windows.iter().map(|name| (*name, now)).collect())
            .collect();
        coarse.resize_with(folders.len().saturating_sub(1), BTreeMap::new);
        let lane = |(name, progress): (LaneName, Progress)| LaneProgress {
            name,
            read: Position(progress.from.0.saturating_sub(1)),
            known: progress.through,
        };
        Ok(Self {
            folders,
            state_path,
            disk: disk.clone(),
            lanes: state.lanes.into_iter().map(lane).collect(),
            streams: Streams::default(),
            series: HashMap::new(),
            newest,
            newest_of_others,
            open: OpenWindows::new(resolution, GRACE),
            resumed: state.open,
            pending: BTreeMap::new(),
            pending_summaries: 0,
            pending_ranges: BTreeMap::new(),
            late: state.late,
            coarse,
            committed: None,
            kernel: Kernel::new(),
            row: Row::default(),
            counters: Counters::default(),
        })
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// By tier, finest first.
    pub fn holding(&self) -> impl Iterator<Item = (&TierSettings, Holding)> {
        self.folders
            .iter()
            .map(|folder| (folder.settings(), folder.holding()))
    }

    /// Reads some of what is new in the lanes of telemetry, closes and commits what is due. `now` is the clock of the
    /// moment, which closes windows when everything was read. False when there is nothing more to read.
    pub fn step(&mut self, reader: &mut Reader, now: &ClockState) -> Result<bool, TierError> {
        for name in reader.lanes() {
            let is_telemetry =
                name.as_str() == "telemetry" || name.as_str().starts_with("telemetry.");
            if is_telemetry && self.lanes.iter().all(|lane| lane.name != name) {
                self.lanes.push(LaneProgress {
                    name,
                    read: Position::NONE,
                    known: Position::NONE,
                });
            }
        }
        let mut is_more = false;
        let mut clock = None;
        for lane in 0..self.lanes.len() {
            let (name, from) = (self.lanes[lane].name.clone(), self.lanes[lane].read.next());
            let items = reader.read(&name, from, READ_BYTES)?;
            is_more |= !items.is_empty();
            for item in items {
                let next = item.next();
                if let Item::Block(position, block) = item {
                    clock = Some(block.header().clock);
                    self.take_block(reader, lane, position, &block)?;
                    let due = self.open.close_due(Arrival::from(&block.header().clock));
                    self.close(due);
                }
                self.lanes[lane].read = Position(next.0.saturating_sub(1));
            }
            if SAMPLE_BYTES_MAX < self.open.bytes() {
                let due = self.open.close_all();
                self.counters.early += due.len() as u64;
                self.close(due);
            }
        }
        let clock = clock.filter(|_| is_more).unwrap_or(*now);
        let arrived = Arrival::from(&clock);
        if !is_more {
            let due = self.open.close_due(arrived);
            self.close(due);
        }
        let last = *self.committed.get_or_insert(arrived);
        let windows = self.resolution().nanos().saturating_mul(WINDOWS_SHARED);
        let every = windows.min(COMMIT_WITHIN);
        let is_time = arrived.since(last).is_none_or(|since| every <= since);
        if is_time || PENDING_SUMMARIES_MAX < self.pending_summaries {
            // Makes room, perhaps for what is committed.
            self.remove_old(&clock)?;
            self.commit(reader, arrived, false)?;
            self.settle(clock.utc)?;
        }
        Ok(is_more)
    }

    /// What is closed is committed, what is open is noted.
    pub fn stop(mut self, reader: &mut Reader, now: &ClockState) -> Result<(), TierError> {
        self.commit(reader, Arrival::from(now), false)?;
        for folder in self.folders {
            folder.close()?;
        }
        Ok(())
    }

    /// Closes every window, and merges all that changed: for who needs the whole at once.
    pub fn flush(&mut self, reader: &mut Reader, now: &ClockState) -> Result<(), TierError> {
        let due = self.open.close_all();
        self.close(due);
        self.commit(reader, Arrival::from(now), true)
    }

    fn take_block(
        &mut self,
        reader: &mut Reader,
        lane: usize,
        position: Position,
        sealed: &SealedBlock,
    ) -> Result<(), TierError> {
        let block = match sealed.open() {
            Ok(block) => block,
            Err(error) => {
                self.counters.blocks_unreadable += 1;
                tracing::error!(%error, %position, "A block has no part in the tiers");
                return Ok(());
            }
        };
        let is_known = position <= self.lanes[lane].known;
        let arrived = Arrival::from(&sealed.header().clock);
        let epoch = sealed.id().lane.epoch;
        let resolution = self.resolution();
        for section in block.sections() {
            let Some(stream) = self.streams.get(reader, epoch, section.stream())? else {
                continue;
            };
            for record in section.records() {
                if stream.measured.read(record.datum, &mut self.row).is_err() {
                    self.counters.unfit += 1;
                    continue;
                }
                let known = stream.series_of(record.stamps.instance, &self.row.shape);
                let series = match known {
                    Known::Series(series) => series,
                    Known::Unfit => {
                        self.counters.unfit += 1;
                        continue;
                    }
                    Known::New(key) => {
                        let digest = key.digest();
                        let newest = self.newest.get(&digest).copied().or(self.newest_of_others);
                        let schema = stream.schema.clone();
                        let add = || self.open.add_series(key, schema, lane, newest);
                        let series = *self.series.entry(digest).or_insert_with(add);
                        stream.add(record.stamps.instance, self.row.shape.clone(), series);
                        series
                    }
                };
                let time = record.stamps.event_time;
                let start = resolution.start(time);
                if is_known && !self.open.is_open(series, start) {
                    if !self
                        .resumed
                        .contains(&(self.open.key(series).digest(), start))
                    {
                        continue;
                    }
                    self.open.begin(series, start, arrived, position);
                }
                self.counters.samples += 1;
                let values = &self.row.values;
                let pushed = self.open.push(series, time, values, arrived, position);
                if pushed == Pushed::Taken {
                    continue;
                }
                let key = self.open.key(series);
                let is_pending = self
                    .pending
                    .get(&series)
                    .is_some_and(|it| it.contains_key(&start));
                let name = (key.digest(), start);
                let is_closed = self.late.contains_key(&name)
                    || is_pending
                    || !self.folders[0].notes_of(key, start)?.is_empty();
                if !is_closed {
                    self.open.begin(series, start, arrived, position);
                    self.open.push(series, time, values, arrived, position);
                    continue;
                }
                self.counters.late += 1;
                if self.late.len() < LATE_MAX || self.late.contains_key(&name) {
                    self.late.entry(name).or_default().insert(position.0);
                } else {
                    self.counters.given_up += 1;
                }
            }
        }
        Ok(())
    }

    fn resolution(&self) -> Resolution {
        self.folders
            .first()
            .map_or(Resolution::SECOND, |folder| folder.settings().resolution)
    }

    fn close(&mut self, due: Vec<Due>) {
        let mut scratch = Vec::new();
        for due in due {
            let mut summaries = Vec::new();
            let shape = &self.open.key(due.series).shape.0;
            due.samples
                .summarise(shape, &mut self.kernel, &mut scratch, &mut summaries);
            let lane = self.open.lane(due.series);
            let through = self.lanes[lane].read.next().0.max(due.first.0);
            let ranges = self.pending_ranges.entry(lane).or_default();
            ranges.insert_range(due.first.0..=through);
            self.pending_summaries += summaries.len();
            let rows = due.samples.len() as u64;
            let of_series = self.pending.entry(due.series).or_default();
            of_series.insert(due.start, (rows, summaries));
        }
    }

    /// Everything that waits: closed windows, late ones, coarser ones; then how far it came.
    fn commit(&mut self, reader: &mut Reader, now: Arrival, all: bool) -> Result<(), TierError> {
        let pending = std::mem::take(&mut self.pending);
        let ranges = std::mem::take(&mut self.pending_ranges);
        if !pending.is_empty() {
            let committed = self.put(&pending, &ranges, now);
            if let Err(error) = committed {
                self.pending = pending;
                self.pending_ranges = ranges;
                return Err(error);
            }
        }
        self.pending_summaries = 0;
        while self.correct(reader, now)? > 0 && all {}
        for tier in 1..self.folders.len() {
            self.coarsen(tier, now, all)?;
        }
        self.save()?;
        self.committed = Some(now);
        Ok(())
    }

    fn note(&self, ranges: &BTreeMap<usize, RangeSet>) -> Note {
        let mut out = Writer::new();
        out.varint(ranges.len() as u64);
        for (&lane, ranges) in ranges {
            out.text(self.lanes[lane].name.as_str());
            ranges.write(&mut out);
        }
        out.into_bytes()
    }

    fn save(&self) -> Result<(), TierError> {
        let mut lanes: BTreeMap<LaneName, Progress> = BTreeMap::new();
        for lane in &self.lanes {
            let through = lane.read.max(lane.known);
            let from = Position(lane.read.0.saturating_add(1));
            lanes.insert(lane.name.clone(), Progress { from, through });
        }
        // What was resumed and has not been read again is still open.
        let is_unread = |lane: &LaneProgress| lane.read < lane.known;
        let mut open = BTreeSet::new();
        if self.lanes.iter().any(is_unread) {
            open.clone_from(&self.resumed);
        }
        for (key, lane, start, first) in self.open.open() {
            open.insert((key.digest(), start));
            if let Some(progress) = lanes.get_mut(&self.lanes[lane].name) {
                progress.from = progress.from.min(first);
            }
        }
        let names = |windows: &BTreeMap<Name, Arrival>| windows.keys().copied().collect();
        let state = State {
            lanes,
            open,
            late: self.late.clone(),
            coarse: self.coarse.iter().map(names).collect(),
        };
        let saved = state.save(&self.state_path, &self.disk);
        saved.map_err(|source| TierError::Io {
            path: self.state_path.clone(),
            source,
        })
    }

    /// By a clock that nobody sets nothing leaves for its age: a machine that wakes in another century keeps its year.
    fn remove_old(&mut self, clock: &ClockState) -> Result<(), TierError> {
        let is_right = clock.source != ClockSource::Undisciplined;
        for folder in &mut self.folders {
            folder.remove_old(is_right.then_some(clock.utc))?;
        }
        Ok(())
    }

    /// Writes one file of each tier anew that is over.
    fn settle(&mut self, now: UtcNanos) -> Result<(), TierError> {
        for folder in &mut self.folders {
            folder.settle_one(UtcNanos(now.0.saturating_sub(SETTLE_AFTER)))?;
        }
        Ok(())
    }
}

/// The blocks of a lane that a note names.
fn ranges_of(note: &Note, lane: &LaneName) -> Option<RangeSet> {
    lanes_of(note).ok()?.remove(lane)
}

fn lanes_of(
    note: &Note,
) -> Result<BTreeMap<LaneName, RangeSet>, efd_shared_model::bytes::ByteError> {
    let mut reader = ByteReader::new(note);
    let mut all = BTreeMap::new();
    for _ in 0..reader.count("lanes", RANGES_MAX)? {
        let name = reader.text("lane", LANE_NAME_CHARS_MAX)?.parse();
        let name = name.map_err(|_| reader.invalid("lane"))?;
        all.insert(name, RangeSet::read(&mut reader, RANGES_MAX)?);
    }
    reader.finish()?;
    Ok(all)
}

/// From the last commits of the finest tier: the oldest block that any of the last few names.
fn from_notes(finest: Option<&TierFolder>) -> Result<State, StoreError> {
    let mut state = State::default();
    let Some(finest) = finest else {
        return Ok(state);
    };
    let notes = finest.newest_notes()?;
    for note in notes.iter().rev().take(4) {
        for (lane, ranges) in lanes_of(note).unwrap_or_default() {
            let Some(first) = ranges.iter().next().map(|range| *range.start()) else {
                continue;
            };
            let progress = state.lanes.entry(lane).or_insert(Progress {
                from: Position(first),
                through: Position::NONE,
            });
            progress.from = progress.from.min(Position(first));
        }
    }
    Ok(state)
}
