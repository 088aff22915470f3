//! Looks at a store that somebody else writes to. Only what was added since the look before is read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use efd_shared_model::{
    BlockNumber, EpochId, EpochLane, LaneKind, Loss, SealedBlock, StreamNumber, UtcNanos,
};
use efd_shared_store::{Acked, Item, LaneName, Position, ReadOnlyStore, Reader, SegmentInfo};

use super::state::{Count, Lag, Lost, MINUTES, Observation, minute_of};
use crate::outcome::InspectError;

/// Read at a time.
const BATCH_BYTES: usize = 1 << 20;
/// Read of one lane in one look, at most: a watch that was stopped for an hour shows the present, not the hour.
const LOOK_BYTES_MAX: usize = 256 << 20;
/// Distinct things that are named; a store with more is damaged enough.
const NOTICES_MAX: usize = 1_000;
/// Logs that are asked for their oldest block that is not acknowledged.
const LOGS_ASKED_MAX: usize = 64;

pub(super) struct Observer {
    path: PathBuf,
    store: ReadOnlyStore,
    reader: Reader,
    /// `None` before the first look.
    next: Option<BTreeMap<LaneName, Position>>,
    components: Components,
    /// When the first missing block of a log was sealed, with its number.
    oldest: BTreeMap<EpochLane, (u64, Option<UtcNanos>)>,
    named: BTreeSet<String>,
}

impl Observer {
    pub(super) fn new(path: &Path, store: ReadOnlyStore) -> Self {
        let named = store.notices().iter().map(ToString::to_string).collect();
        Self {
            path: path.to_owned(),
            reader: store.reader(),
            store,
            next: None,
            components: Components::default(),
            oldest: BTreeMap::new(),
            named,
        }
    }

    /// Finds what was added: a look is at what was there then.
    pub(super) fn refresh(&mut self) -> Result<(), InspectError> {
        self.store.refresh()?;
        // A connection of the last look may be to a WAL that a restart of the edge has replaced.
        self.reader = self.store.reader();
        Ok(())
    }

    /// The first look reads the losses of the last hour, and no other blocks.
    pub(super) fn look(
        &mut self,
        utc: UtcNanos,
        elapsed: Duration,
    ) -> Result<Observation, InspectError> {
        let mut seen = Observation {
            utc,
            elapsed,
            ..Observation::default()
        };
        let notices = self.store.notices().iter().map(ToString::to_string);
        for notice in notices.collect::<Vec<_>>() {
            self.name(notice, &mut seen);
        }
        let known = self.next.take();
        let mut next = BTreeMap::new();
        for lane in self.reader.lanes() {
            let from = match &known {
                None => self.first(&lane, utc)?,
                Some(known) => known.get(&lane).copied().unwrap_or(Position::FIRST),
            };
            let through = self.lane(&lane, from, &mut seen)?;
            next.insert(lane, through);
        }
        self.next = Some(next);
        let segments = self.store.segments();
        seen.newest = segments
            .iter()
            .filter(|info| !info.is_empty())
            .map(SegmentInfo::newest)
            .max();
        seen.lag = self.lag(&segments)?;
        seen.buffer_bytes = segments.iter().map(|info| info.file_bytes).sum::<u64>()
            + ["meta.db", "meta.db-wal"]
                .iter()
                .filter_map(|name| std::fs::metadata(self.path.join(name)).ok())
                .map(|file| file.len())
                .sum::<u64>();
        seen.free_bytes = rustix::fs::statvfs(&self.path)
            .ok()
            .map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        Ok(seen)
    }

    fn name(&mut self, notice: String, seen: &mut Observation) {
        if self.named.len() < NOTICES_MAX && self.named.insert(notice.clone()) {
            seen.notices.push(notice);
        }
    }

    /// Where the first look at a lane begins: behind its head, of losses an hour before.
    fn first(&mut self, lane: &LaneName, utc: UtcNanos) -> Result<Position, InspectError> {
        let (mut from, end) = (self.reader.floor(lane), self.reader.head(lane).next());
        let is_losses = lane.as_str().split('.').next() == Some(LaneKind::Losses.as_str());
        if !is_losses {
            return Ok(end);
        }
        let since = minute_of(utc) - MINUTES + 1;
        let mut until = end;
        while from < until {
            let middle = Position(from.0 + (until.0 - from.0) / 2);
            match self.reader.read(lane, middle, 1)?.into_iter().next() {
                Some(Item::Block(_, block)) if since <= minute_of(block.header().clock.utc) => {
                    until = middle;
                }
                Some(item) => from = item.next(),
                None => until = middle,
            }
        }
        Ok(from)
    }

    /// Reads on in a lane, and gives where to go on.
    fn lane(
        &mut self,
        lane: &LaneName,
        mut next: Position,
        seen: &mut Observation,
    ) -> Result<Position, InspectError> {
        let mut count = Count::default();
        let mut bytes = 0;
        loop {
            let items = self.reader.read(lane, next, BATCH_BYTES)?;
            let Some(end) = items.last().map(Item::next) else {
                break;
            };
            next = end;
            for item in items {
                match item {
                    Item::Block(_, block) => {
                        bytes += block.bytes().len();
                        count.add(self.block(&block, seen));
                    }
                    Item::Damaged(damaged) => {
                        let (segment, position) = (damaged.segment, damaged.position);
                        let reason = damaged.reason;
                        let notice = format!("segment {segment}, position {position}: {reason}");
                        self.name(notice, seen);
                    }
                    Item::Absent { .. } => {}
                }
            }
            let head = self.reader.head(lane);
            if LOOK_BYTES_MAX < bytes && next <= head {
                seen.passed_over += head.0 - next.0 + 1;
                next = head.next();
            }
        }
        seen.lanes.insert(lane.to_string(), count);
        Ok(next)
    }

    fn block(&mut self, block: &SealedBlock, seen: &mut Observation) -> Count {
        let id = block.id();
        let mut count = Count::default();
        let opened = match block.open() {
            Ok(opened) => opened,
            Err(error) => {
                self.name(format!("block {id}: {error}"), seen);
                return count;
            }
        };
        let is_losses = id.lane.lane.kind == LaneKind::Losses;
        for section in opened.sections() {
            let mut part = Count {
                records: section.len() as u64,
                bytes: 0,
            };
            for record in section.records() {
                part.bytes += record.datum.len() as u64;
                if is_losses {
                    let minute = minute_of(block.header().clock.utc);
                    if let Err(error) = take_loss(record.datum, minute, seen) {
                        self.name(format!("block {id}: {error}"), seen);
                    }
                }
            }
            count.add(part);
            let component = self
                .components
                .of(id.lane.epoch, section.stream(), &mut self.reader);
            seen.components
                .entry(component.to_owned())
                .or_default()
                .add(part);
        }
        count
    }

    /// Who has acknowledged anything, and what each lacks; where nobody has, everything.
    fn lag(&mut self, segments: &[SegmentInfo]) -> Result<Vec<Lag>, InspectError> {
        let acked = self.store.acked().iter();
        let mut destinations: Vec<(Option<String>, Acked)> = acked
            .map(|(name, acked)| (Some(name.clone()), acked.clone()))
            .collect();
        if destinations.is_empty() {
            destinations.push((None, Acked::new()));
        }
        let mut all = Vec::new();
        for (destination, acked) in destinations {
            let (mut lag, firsts) = missing(segments, &acked);
            lag.destination = destination;
            for (log, number) in firsts.into_iter().take(LOGS_ASKED_MAX) {
                let sealed = self.sealed(log, number)?;
                lag.oldest = match (lag.oldest, sealed) {
                    (Some(oldest), Some(sealed)) => Some(oldest.min(sealed)),
                    (oldest, sealed) => oldest.or(sealed),
                };
            }
            all.push(lag);
        }
        // Logs that retention has removed since.
        self.oldest.retain(|log, _| {
            segments
                .iter()
                .any(|info| info.contents.lanes.contains_key(log))
        });
        Ok(all)
    }

    fn sealed(&mut self, log: EpochLane, number: u64) -> Result<Option<UtcNanos>, InspectError> {
        if let Some(&(known, sealed)) = self.oldest.get(&log)
            && known == number
        {
            return Ok(sealed);
        }
        let item = self.reader.read_block(&log, BlockNumber(number))?;
        let sealed = match item {
            Some(Item::Block(_, block)) => Some(block.header().clock.utc),
            Some(Item::Damaged(_) | Item::Absent { .. }) | None => None,
        };
        self.oldest.insert(log, (number, sealed));
        Ok(sealed)
    }
}

/// What is held and not acknowledged, and the first missing number of each log that has one.
fn missing(segments: &[SegmentInfo], acked: &Acked) -> (Lag, BTreeMap<EpochLane, u64>) {
    let (mut lag, mut firsts) = (Lag::default(), BTreeMap::new());
    let logs = segments.iter().flat_map(|info| &info.contents.lanes);
    for (log, held) in logs.filter(|(log, _)| log.lane.kind.is_shipped()) {
        let has = acked.get(log);
        let ranges = held.numbers.iter().flat_map(|range| match has {
            Some(has) => has.missing(range.clone()),
            None => vec![range.clone()],
        });
        let mut blocks = 0;
        for range in ranges {
            blocks += range.end() - range.start() + 1;
            let begin = *range.start();
            let first = firsts.entry(*log).or_insert(begin);
            *first = begin.min(*first);
        }
        lag.blocks += blocks;
        let part = u128::from(held.stored_bytes) * u128::from(blocks);
        lag.bytes += (part / u128::from(held.blocks.max(1))) as u64;
    }
    (lag, firsts)
}

fn take_loss(datum: &[u8], minute: i64, seen: &mut Observation) -> Result<(), String> {
    let loss = Loss::decode(datum).map_err(|error| error.to_string())?;
    let count = u64::try_from(loss.count).ok();
    let losses = seen.losses.entry(minute).or_default();
    losses.entry(loss.reason).or_default().add(Lost {
        losses: 1,
        count: count.unwrap_or(0),
        uncounted: count.is_none().into(),
    });
    Ok(())
}

/// The component of each stream, by epoch.
#[derive(Default)]
struct Components(BTreeMap<EpochId, BTreeMap<StreamNumber, String>>);

/// Of a stream that is not declared here.
const UNKNOWN: &str = "(undeclared)";

impl Components {
    fn of(&mut self, epoch: EpochId, stream: StreamNumber, reader: &mut Reader) -> &str {
        let known = self.0.entry(epoch).or_default();
        if !known.contains_key(&stream) {
            // A stream is declared before its first block: the list is asked for when it has grown.
            for declaration in reader.streams(epoch).unwrap_or_default() {
                known.insert(declaration.number, component(&declaration.topic));
            }
        }
        known.entry(stream).or_insert_with(|| UNKNOWN.to_owned())
    }
}

/// `lsst.sal.MTMount.elevation` → `MTMount`; what is not SAL is its own.
fn component(topic: &str) -> String {
    let sal = topic.strip_prefix("lsst.sal.");
    let name = sal.and_then(|sal| sal.split('.').next()).unwrap_or(topic);
    name.to_owned()
}
