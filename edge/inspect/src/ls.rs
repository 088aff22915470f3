//! `ls`: lanes, segments, epochs, acknowledgements, totals.

mod render;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use efd_shared_model::{EpochDeclaration, LaneKind, RangeSet, UtcNanos};
use efd_shared_store::{Acked, LaneName, ReadOnlyStore, SegmentInfo};

use crate::open::open;
use crate::outcome::{Exit, InspectError};
use crate::screen::Screen;
use crate::tiers;

/// Lists the buffer at `path`: tables, or one JSON object where `json`.
pub fn ls(
    path: &Path,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    let store = open(path, screen)?;
    let mut reader = store.reader();
    let epochs = match reader.epochs() {
        Ok(epochs) => in_order(epochs),
        Err(error) => {
            screen.damaged(format_args!("epochs: {error}"))?;
            Vec::new()
        }
    };
    let listing = Listing::new(path, &store, epochs);
    for segment in listing.lanes.iter().flat_map(|lane| &lane.segments) {
        let damaged = segment.damaged.member_count();
        if damaged > 0 {
            let positions = &segment.damaged;
            let key = &segment.key;
            screen.damaged(format_args!(
                "segment {key}: {damaged} blocks cannot be read, at positions {positions}"
            ))?;
        }
    }
    for file in &listing.set_aside {
        screen.damaged(said_of_set_aside(file))?;
    }
    if json {
        serde_json::to_writer(&mut screen.out, &listing.json()).map_err(std::io::Error::from)?;
        writeln!(screen.out)?;
    } else {
        listing.write_tables(&mut screen.out)?;
        tiers::list_below(path, screen)?;
    }
    Ok(screen.end()?)
}

struct Listing {
    path: PathBuf,
    /// Parents before children.
    epochs: Vec<EpochDeclaration>,
    lanes: Vec<ListedLane>,
    destinations: Vec<String>,
    set_aside: Vec<PathBuf>,
    unseen: Vec<String>,
}

struct ListedLane {
    name: LaneName,
    /// Oldest first.
    segments: Vec<SegmentInfo>,
    totals: Totals,
    /// Blocks that each destination has, in the order of [`Listing::destinations`]; `None` for what is never shipped.
    acked: Option<Vec<u64>>,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    segments: usize,
    blocks: u64,
    records: u64,
    /// On the disk.
    bytes: u64,
    /// Blocks that cannot be read.
    damaged: u64,
    span: Option<(UtcNanos, UtcNanos)>,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.segments += other.segments;
        self.blocks += other.blocks;
        self.records += other.records;
        self.bytes += other.bytes;
        self.damaged += other.damaged;
        self.span = match (self.span, other.span) {
            (Some((min, max)), Some((other_min, other_max))) => {
                Some((min.min(other_min), max.max(other_max)))
            }
            (span, None) | (None, span) => span,
        };
    }
}

impl From<&SegmentInfo> for Totals {
    fn from(info: &SegmentInfo) -> Self {
        Self {
            segments: 1,
            blocks: info.contents.blocks(),
            records: info.contents.records(),
            bytes: info.file_bytes,
            damaged: info.damaged.member_count(),
            span: info.contents.event_span(),
        }
    }
}

impl Listing {
    fn new(path: &Path, store: &ReadOnlyStore, epochs: Vec<EpochDeclaration>) -> Self {
        let mut by_lane: BTreeMap<LaneName, Vec<SegmentInfo>> = BTreeMap::new();
        for info in store.segments() {
            by_lane.entry(info.key.lane.clone()).or_default().push(info);
        }
        let acked = store.acked();
        let lanes = by_lane
            .into_iter()
            .map(|(name, segments)| ListedLane::new(name, segments, acked));
        Self {
            path: path.to_owned(),
            epochs,
            lanes: lanes.collect(),
            destinations: acked.keys().cloned().collect(),
            set_aside: set_aside(path),
            unseen: store.notices().iter().map(ToString::to_string).collect(),
        }
    }

    fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        for lane in &self.lanes {
            sum.add(&lane.totals);
        }
        sum
    }
}

impl ListedLane {
    fn new(name: LaneName, segments: Vec<SegmentInfo>, acked: &BTreeMap<String, Acked>) -> Self {
        let mut totals = Totals::default();
        for info in &segments {
            totals.add(&info.into());
        }
        let contents = || segments.iter().flat_map(|info| &info.contents.lanes);
        let is_shipped =
            contents().any(|(log, _)| log.lane.kind.is_shipped()) || totals.blocks == 0;
        let count = |acked: &Acked| {
            let logs = contents().filter_map(|(log, held)| Some((acked.get(log)?, &held.numbers)));
            logs.map(|(acked, held)| members_of_both(acked, held)).sum()
        };
        let is_parked = name.as_str() == LaneKind::Parked.as_str();
        Self {
            acked: (is_shipped && !is_parked).then(|| acked.values().map(count).collect()),
            name,
            segments,
            totals,
        }
    }
}

/// How many numbers are in both. One walk along both, as a lane may have many gaps.
fn members_of_both(a: &RangeSet, b: &RangeSet) -> u64 {
    let (mut in_a, mut in_b) = (a.iter().peekable(), b.iter().peekable());
    let mut count = 0;
    while let (Some(left), Some(right)) = (in_a.peek(), in_b.peek()) {
        let (first, last) = (
            *left.start().max(right.start()),
            *left.end().min(right.end()),
        );
        if first <= last {
            count += (last - first).saturating_add(1);
        }
        if left.end() <= right.end() {
            in_a.next();
        } else {
            in_b.next();
        }
    }
    count
}

/// By when they began; where clocks stepped, a parent still comes before its children.
fn in_order(mut left: Vec<EpochDeclaration>) -> Vec<EpochDeclaration> {
    left.sort_by_key(|epoch| (epoch.began.utc, epoch.epoch));
    let mut ordered: Vec<EpochDeclaration> = Vec::with_capacity(left.len());
    let mut waiting: std::collections::BTreeSet<_> = left.iter().map(|epoch| epoch.epoch).collect();
    while !left.is_empty() {
        let is_ready = |epoch: &EpochDeclaration| {
            epoch
                .parent
                .as_ref()
                .is_none_or(|parent| !waiting.contains(&parent.epoch))
        };
        // Hostile parents may go in a circle: the earliest is taken then.
        let next = left.iter().position(is_ready).unwrap_or(0);
        let epoch = left.remove(next);
        waiting.remove(&epoch.epoch);
        ordered.push(epoch);
    }
    ordered
}

/// Damaged files that a start of the edge has moved out of its way.
pub(crate) fn set_aside(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path.join("set-aside"))
        .into_iter()
        .flatten()
        .flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.retain(|file| !file.to_string_lossy().ends_with("-wal"));
    files.sort();
    files
}

pub(crate) fn said_of_set_aside(file: &Path) -> String {
    format!(
        "{} was set aside by the edge: what is intact in it can be read with `efd-inspect cat` on that file",
        file.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_both_agrees_with_counting() {
        let set = |ranges: &[(u64, u64)]| ranges.iter().map(|&(a, b)| a..=b).collect::<RangeSet>();
        let check = |a: &[(u64, u64)], b: &[(u64, u64)]| {
            let (a, b) = (set(a), set(b));
            let expected = (0..=40).filter(|&n| a.contains(n) && b.contains(n)).count() as u64;
            assert_eq!(members_of_both(&a, &b), expected, "{a} {b}");
            assert_eq!(members_of_both(&b, &a), expected, "{a} {b}");
        };
        check(&[], &[(1, 9)]);
        check(&[(1, 5), (8, 20), (22, 22)], &[(4, 9), (11, 12), (20, 30)]);
        check(&[(1, 10)], &[(1, 10)]);
        check(&[(1, 3), (5, 7)], &[(4, 4), (8, 40)]);
    }
}
