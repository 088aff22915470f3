//! Blocks that are read in their order, and the windows of what was read: of what is new, or of what was there before a tier.

use std::collections::{BTreeMap, BTreeSet};

use efd_shared_model::UtcNanos;
use efd_shared_stats::Kernel;
use efd_shared_store::{LaneName, Position};

use crate::blocks::Blocks;
use crate::coarse::Window;
use crate::open::{Due, OpenWindows, SeriesNumber};
use crate::series::SeriesList;
use crate::state::{Name, Progress};

/// Closed windows that wait to be committed.
pub(crate) type Pending = BTreeMap<SeriesNumber, BTreeMap<UtcNanos, Closed>>;

#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) lanes: Vec<LaneProgress>,
    pub(crate) open: OpenWindows,
    /// Windows that were open when it was stopped: what came for them before is taken again.
    pub(crate) resumed: BTreeMap<Name, Resumed>,
    pub(crate) pending: Pending,
    pub(crate) pending_summaries: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// Its first block was not read again.
    Waiting,
    /// It is open again, or closed: what comes then is late.
    Begun,
}

#[derive(Clone, Debug)]
pub(crate) struct Closed {
    pub(crate) window: Window,
    /// By lane, the first and the last block that may have something of it.
    pub(crate) spans: Vec<(usize, Position, Position)>,
}

#[derive(Clone, Debug)]
pub(crate) struct LaneProgress {
    pub(crate) name: LaneName,
    /// Read so far.
    pub(crate) read: Position,
    /// Up to here only what is resumed is taken.
    pub(crate) known: Position,
    /// The last that is read; of what is new there is none.
    pub(crate) until: Position,
}

impl LaneProgress {
    pub(crate) fn resumed(name: LaneName, progress: Progress, until: Position) -> Self {
        Self {
            name,
            read: Position(progress.from.0.saturating_sub(1)),
            known: progress.through,
            until,
        }
    }
}

impl Pass {
    pub(crate) fn new(grace: i64, lanes: Vec<LaneProgress>, open: &BTreeSet<Name>) -> Self {
        Self {
            lanes,
            open: OpenWindows::new(grace),
            resumed: open.iter().map(|name| (*name, Resumed::Waiting)).collect(),
            pending: BTreeMap::new(),
            pending_summaries: 0,
        }
    }

    pub(crate) fn holds(&self, series: SeriesNumber, start: UtcNanos) -> bool {
        let pending = self.pending.get(&series);
        self.open.is_open(series, start) || pending.is_some_and(|it| it.contains_key(&start))
    }

    /// Whether the window was open when it was stopped, and its blocks have not been read again.
    pub(crate) fn awaits(&self, name: &Name) -> bool {
        self.resumed.get(name) == Some(&Resumed::Waiting) && self.is_unread()
    }

    fn is_unread(&self) -> bool {
        self.lanes.iter().any(|lane| lane.read < lane.known)
    }

    pub(crate) fn close(&mut self, due: Vec<Due>, series: &SeriesList, kernel: &mut Kernel) {
        let mut scratch = Vec::new();
        for due in due {
            let mut summaries = Vec::new();
            let shape = &series.get(due.series).key.shape.0;
            due.samples
                .summarise(shape, kernel, &mut scratch, &mut summaries);
            self.pending_summaries += summaries.len();
            let span = |&(lane, first): &(usize, Position)| {
                (lane, first, self.lanes[lane].read.max(first))
            };
            let closed = Closed {
                spans: due.firsts.iter().map(span).collect(),
                window: (due.samples.len() as u64, summaries),
            };
            let of_series = self.pending.entry(due.series).or_default();
            of_series.insert(due.start, closed);
        }
    }

    pub(crate) fn blocks(&self, closed: &Closed) -> Blocks {
        let mut blocks = Blocks::default();
        for &(lane, first, last) in &closed.spans {
            blocks.insert(&self.lanes[lane].name, first.0, last.0);
        }
        blocks
    }

    /// Where to go on, and what is open there.
    pub(crate) fn progress(
        &self,
        series: &SeriesList,
    ) -> (BTreeMap<LaneName, Progress>, BTreeSet<Name>) {
        let mut all: Vec<Progress> = Vec::new();
        for lane in &self.lanes {
            all.push(Progress {
                from: lane.read.next(),
                through: lane.read.max(lane.known),
            });
        }
        // What was resumed and has not been read again is still open.
        let mut open = BTreeSet::new();
        if self.is_unread() {
            let waiting = self.resumed.iter();
            let waiting = waiting.filter(|(_, resumed)| **resumed == Resumed::Waiting);
            open.extend(waiting.map(|(name, _)| *name));
        }
        for (number, start, firsts) in self.open.open() {
            open.insert(series.get(number).name(start));
            for &(lane, first) in firsts {
                all[lane].from = all[lane].from.min(first);
            }
        }
        // Not committed yet: as if they were open.
        for (number, windows) in &self.pending {
            for (start, closed) in windows {
                open.insert(series.get(*number).name(*start));
                for &(lane, first, _) in &closed.spans {
                    all[lane].from = all[lane].from.min(first);
                }
            }
        }
        let names = self.lanes.iter().map(|lane| lane.name.clone());
        (names.zip(all).collect(), open)
    }
}
