//! Blocks of the log around a time, and the records of one topic in them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use efd_central_log::{BlockLog, Entry, LogError, Partition, Place};
use efd_shared_avro::{Numbered, Numbers, RecordSchema};
use efd_shared_model::{
    Block, BlockNumber, EpochId, EpochLane, LeapTable, RecordId, RecordStamps, SealedBlock,
    StreamNumber, TopicKind, UtcNanos,
};
use rusqlite::params;

use crate::LedgerError;
use crate::book::Book;
use crate::numbers::Mark;

use super::gaps::gaps_of;
use super::{Neighbour, Publisher, Sighting, Sought, Stamped, Trace, nearest};

const READ_BYTES: usize = 1 << 20;
/// Somebody waits for the answer.
const BLOCKS_MAX: usize = 2048;
/// Blocks that cannot be read, told by name.
const UNREAD_MAX: usize = 16;

/// Both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: UtcNanos,
    pub(super) until: UtcNanos,
}

impl Span {
    pub(super) fn around(time: UtcNanos, back: i64, ahead: i64) -> Self {
        Self {
            from: time.saturating_sub(back),
            until: time.saturating_add(ahead),
        }
    }

    pub(super) fn has(self, time: UtcNanos) -> bool {
        self.from <= time && time <= self.until
    }
}

/// A record of the topic.
#[derive(Clone, Debug)]
struct Seen {
    id: RecordId,
    record: RecordStamps,
    publisher: Publisher,
    number: Option<i64>,
    /// Of records within the span that is asked for.
    datum: Option<(Arc<Readable>, Vec<u8>)>,
    /// Which of the blocks.
    block: usize,
}

/// A stream of the topic.
#[derive(Debug)]
struct Readable {
    numbered: Option<Numbered>,
    stamped: Option<Stamped>,
}

/// As the book has it.
#[derive(Clone, Debug)]
struct Indexed {
    lane: EpochLane,
    number: u64,
    partition: Partition,
    place: Place,
    sealed: UtcNanos,
    taken: UtcNanos,
}

#[derive(Debug)]
pub(super) struct Looked<'a, L: ?Sized> {
    book: &'a Book,
    log: &'a L,
    sought: &'a Sought,
    kind: TopicKind,
    span: Span,
    known: BTreeSet<(EpochLane, u64)>,
    blocks: Vec<Indexed>,
    seen: Vec<Seen>,
    streams: HashMap<(EpochId, StreamNumber), Option<Arc<Readable>>>,
    numbers: Numbers,
    unread: Vec<String>,
}

impl<'a, L: BlockLog + ?Sized> Looked<'a, L> {
    pub(super) fn new(book: &'a Book, log: &'a L, sought: &'a Sought, kind: TopicKind) -> Self {
        Self {
            book,
            log,
            sought,
            kind,
            span: sought.span(),
            known: BTreeSet::new(),
            blocks: Vec::new(),
            seen: Vec::new(),
            streams: HashMap::new(),
            numbers: Numbers::default(),
            unread: Vec::new(),
        }
    }

    /// Takes the records of all blocks that touch the span. `false` where they are too many: then none was read, unless it
    /// is the first look.
    pub(super) fn look(&mut self, span: Span) -> Result<bool, LedgerError> {
        let mut blocks = self.touching(span)?;
        if BLOCKS_MAX < self.blocks.len() + blocks.len() {
            if !self.blocks.is_empty() {
                return Ok(false);
            }
            let more = blocks.len() - BLOCKS_MAX;
            self.unread.push(format!(
                "{more} blocks of these seconds: at most {BLOCKS_MAX} are looked into"
            ));
            blocks.truncate(BLOCKS_MAX);
        }
        self.span = span;
        let mut by_partition: BTreeMap<Partition, BTreeMap<Place, usize>> = BTreeMap::new();
        for block in blocks {
            let places = by_partition.entry(block.partition.clone()).or_default();
            places.insert(block.place, self.blocks.len());
            self.known.insert((block.lane, block.number));
            self.blocks.push(block);
        }
        for (partition, places) in by_partition {
            self.read(&partition, &places)?;
        }
        Ok(true)
    }

    /// Those that were not read before, each once.
    fn touching(&self, span: Span) -> Result<Vec<Indexed>, LedgerError> {
        let wrong = self.book.wrong("look for blocks of a time");
        let mut statement = self
            .book
            .connection
            .prepare_cached(
                "SELECT lanes.lane, number, partition, place, sealed_utc, taken_utc FROM blocks JOIN lanes ON lanes.id = blocks.lane
                 WHERE lanes.site = ?1 AND event_max >= ?2 AND event_min <= ?3 ORDER BY partition, place",
            )
            .map_err(&wrong)?;
        let bounds = params![self.sought.site.as_str(), span.from.0, span.until.0];
        let mut rows = statement.query(bounds).map_err(&wrong)?;
        let mut met = BTreeSet::new();
        let mut blocks = Vec::new();
        while let Some(row) = rows.next().map_err(&wrong)? {
            let read = || {
                let texts: (String, String) = (row.get(0)?, row.get(2)?);
                let numbers: (i64, i64) = (row.get(1)?, row.get(3)?);
                let times = (UtcNanos(row.get(4)?), UtcNanos(row.get(5)?));
                Ok((texts, numbers, times))
            };
            let ((lane, partition), (number, place), (sealed, taken)) = read().map_err(&wrong)?;
            let (Ok(lane), Ok(partition)) = (lane.parse::<EpochLane>(), partition.parse()) else {
                continue;
            };
            let number = number.cast_unsigned();
            let is_of_kind = lane.lane.kind == self.kind.lane();
            if is_of_kind && !self.known.contains(&(lane, number)) && met.insert((lane, number)) {
                blocks.push(Indexed {
                    lane,
                    number,
                    partition,
                    place: Place(place.cast_unsigned()),
                    sealed,
                    taken,
                });
            }
        }
        Ok(blocks)
    }

    fn read(
        &mut self,
        partition: &Partition,
        places: &BTreeMap<Place, usize>,
    ) -> Result<(), LogError> {
        let mut next = Place::FIRST;
        while let Some((&place, &at)) = places.range(next..).next() {
            let entries = self.log.read(partition, place, READ_BYTES)?.into_entries();
            next = place.next();
            if entries.first().map(Entry::place) != Some(place) {
                self.miss(at, "is not in the log any more");
                continue;
            }
            for entry in entries {
                next = entry.place().next();
                let Some(&at) = places.get(&entry.place()) else {
                    continue;
                };
                match entry {
                    Entry::Block { block, .. } => self.take(at, &block)?,
                    Entry::Damaged { .. } => self.miss(at, "is damaged in the log"),
                }
            }
        }
        Ok(())
    }

    fn miss(&mut self, at: usize, what: &str) {
        if self.unread.len() < UNREAD_MAX {
            let Indexed { lane, number, .. } = &self.blocks[at];
            self.unread.push(format!("block {lane}/{number} {what}"));
        }
    }

    fn take(&mut self, at: usize, sealed: &SealedBlock) -> Result<(), LogError> {
        let epoch = sealed.id().lane.epoch;
        let mut failed = None;
        let opened = sealed.open_if(|stream| match self.stream(epoch, stream) {
            Ok(found) => found.is_some(),
            Err(error) => {
                failed.get_or_insert(error);
                false
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        match opened {
            Ok(Some(block)) => self.take_records(at, &block)?,
            Ok(None) => {}
            Err(_) => self.miss(at, "cannot be read"),
        }
        Ok(())
    }

    fn take_records(&mut self, at: usize, block: &Block) -> Result<(), LogError> {
        let id = block.header().id;
        let asked = self.sought.span();
        for section in block.sections() {
            let Some(stream) = self.stream(id.lane.epoch, section.stream())? else {
                continue;
            };
            for record in section.records() {
                let instance = record.stamps.instance.map_or(-1, i64::from);
                let numbered = stream.numbered.as_ref().is_some_and(|numbered| {
                    numbered.read(record.datum, &mut self.numbers).is_ok()
                        && self.numbers.sequence > 0
                });
                let publisher = match numbered {
                    true => Publisher {
                        instance,
                        identity: self.numbers.identity.clone(),
                        origin: self.numbers.origin,
                    },
                    false => Publisher {
                        instance,
                        ..Publisher::default()
                    },
                };
                let is_asked_for = asked.has(record.stamps.event_time);
                self.seen.push(Seen {
                    id: RecordId {
                        block: id,
                        index: record.index,
                    },
                    record: record.stamps,
                    publisher,
                    number: numbered.then_some(self.numbers.sequence),
                    datum: is_asked_for.then(|| (Arc::clone(&stream), record.datum.to_vec())),
                    block: at,
                });
            }
        }
        Ok(())
    }

    /// `None` where it is of another topic.
    fn stream(
        &mut self,
        epoch: EpochId,
        number: StreamNumber,
    ) -> Result<Option<Arc<Readable>>, LogError> {
        if let Some(known) = self.streams.get(&(epoch, number)) {
            return Ok(known.clone());
        }
        let stream = self.log.stream(epoch, number)?;
        let stream = stream.filter(|it| it.declaration.topic == self.sought.topic);
        let readable = stream.map(|stream| {
            let schema = RecordSchema::parse(stream.schema.text()).ok().map(Arc::new);
            Arc::new(Readable {
                numbered: schema.as_ref().and_then(Numbered::of),
                stamped: schema.as_ref().map(Stamped::of),
            })
        });
        self.streams.insert((epoch, number), readable.clone());
        Ok(readable)
    }

    /// Records outside of the span that was looked at are of blocks that touch it: their neighbours may be in others.
    fn within(&self) -> impl Iterator<Item = &Seen> {
        self.seen
            .iter()
            .filter(|seen| self.span.has(seen.record.event_time))
    }

    /// Whether each publisher has been met before the span, and after it; `expected`: those of which the book knows that they
    /// are there. Where nobody numbers, whoever was met is expected on both sides.
    pub(super) fn has_neighbours(
        &self,
        expected: &BTreeMap<Publisher, (bool, bool)>,
    ) -> (bool, bool) {
        let asked = self.sought.span();
        let mut met: BTreeMap<&Publisher, (bool, bool)> = BTreeMap::new();
        for seen in self.within() {
            let (before, after) = met.entry(&seen.publisher).or_default();
            *before |= seen.record.event_time < asked.from;
            *after |= asked.until < seen.record.event_time;
        }
        if expected.is_empty() {
            let all = |has: fn(&(bool, bool)) -> bool| !met.is_empty() && met.values().all(has);
            return (all(|has| has.0), all(|has| has.1));
        }
        let mut has = (true, true);
        for (publisher, expects) in expected {
            let found = met.get(publisher).copied().unwrap_or_default();
            has.0 &= !expects.0 || found.0;
            has.1 &= !expects.1 || found.1;
        }
        has
    }

    pub(super) fn into_trace(self) -> Trace {
        let asked = self.sought.span();
        let mut of_publishers: BTreeMap<&Publisher, Vec<Mark>> = BTreeMap::new();
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        for seen in self.within() {
            let time = seen.record.event_time;
            if let Some(number) = seen.number {
                let marks = of_publishers.entry(&seen.publisher).or_default();
                marks.push(Mark { number, time });
            }
            if time < asked.from {
                let last = before.entry(&seen.publisher).or_insert((time, seen.number));
                *last = (*last).max((time, seen.number));
            }
            if asked.until < time {
                let first = after.entry(&seen.publisher).or_insert((time, seen.number));
                *first = (*first).min((time, seen.number));
            }
        }
        let gaps = of_publishers
            .into_iter()
            .flat_map(|(publisher, marks)| gaps_of(publisher, marks, asked))
            .collect();
        let neighbours = |of: BTreeMap<&Publisher, (UtcNanos, Option<i64>)>| {
            let neighbour = |(publisher, (time, number)): (&Publisher, _)| Neighbour {
                publisher: publisher.clone(),
                number,
                time,
            };
            of.into_iter().map(neighbour).collect()
        };
        let (before, after) = (neighbours(before), neighbours(after));
        let inside: Vec<&Seen> = self
            .seen
            .iter()
            .filter(|seen| asked.has(seen.record.event_time))
            .collect();
        let candidates = inside.iter().enumerate().map(|(index, seen)| {
            let time = seen.record.event_time;
            (seen.publisher.clone(), time, index)
        });
        let blocks = self.blocks.iter().map(|it| {
            let number = BlockNumber(it.number);
            it.lane.block(number)
        });
        let blocks = blocks.collect();
        let leap = LeapTable::built_in();
        let samples = nearest(self.sought.time, candidates)
            .into_iter()
            .map(|index| self.sighting(inside[index], &leap))
            .collect();
        Trace {
            samples,
            within_span: inside.len() as u64,
            gaps,
            before,
            after,
            blocks,
            unread: self.unread,
            ..Trace::default()
        }
    }

    fn sighting(&self, seen: &Seen, leap: &LeapTable) -> Sighting {
        let block = &self.blocks[seen.block];
        let stamps = seen.datum.as_ref().and_then(|(stream, datum)| {
            let stamped = stream.stamped.as_ref()?;
            Some(stamped.read(datum, leap))
        });
        Sighting {
            id: seen.id,
            record: seen.record,
            publisher: seen.publisher.clone(),
            number: seen.number,
            stamps: stamps.unwrap_or_default(),
            sealed: block.sealed,
            taken: block.taken,
            partition: block.partition.clone(),
            place: block.place,
        }
    }
}
