//! What a store lacks of what the ledger has, and what the log holds of it: recounted from blocks.

use std::collections::BTreeMap;

use efd_central_log::{BlockLog, Entry, LogError, Partition, Place, Progress, Walk};
use efd_shared_model::digest::{LaneDigest, Tally};
use efd_shared_model::{EpochLane, RangeSet, SealedBlock};
use rusqlite::{OptionalExtension as _, Row, params};

use crate::{Book, Hour, LedgerError};

/// Site, topic, hour.
pub type Key = (String, String, Hour);
pub type Counts = BTreeMap<Key, Tally>;

/// The answer waits for them to be read.
const BEHIND_MAX: u64 = 4096;
const READ_BYTES: usize = 4 << 20;

/// With the block that stands there.
type Places = BTreeMap<Partition, BTreeMap<Place, (EpochLane, u64)>>;

/// What the log holds, each block once.
#[derive(Debug, Default)]
pub struct Held {
    pub counts: Counts,
    pub blocks: BTreeMap<EpochLane, RangeSet>,
    /// Places whose block cannot be read.
    pub damaged: u64,
}

/// Adds the block's records. Blocks that do not open count as damaged by whoever reads them.
fn count<L: BlockLog + ?Sized>(
    log: &L,
    sealed: &SealedBlock,
    counts: &mut Counts,
) -> Result<bool, LogError> {
    let Ok(block) = sealed.open() else {
        return Ok(false);
    };
    let digests = LaneDigest::new(&sealed.id().lane);
    for section in block.sections() {
        let Some(stream) = log.stream(sealed.id().lane.epoch, section.stream())? else {
            continue;
        };
        let (site, topic) = (stream.site.to_string(), &stream.declaration.topic);
        let mut by_hour: BTreeMap<Hour, Tally> = BTreeMap::new();
        for record in section.records() {
            let hour = Hour::of(record.stamps.event_time);
            by_hour
                .entry(hour)
                .or_default()
                .add(digests.of(sealed.id().number, record.index));
        }
        for (hour, count) in by_hour {
            let key = (site.clone(), topic.clone(), hour);
            counts.entry(key).or_default().union(count);
        }
    }
    Ok(true)
}

/// Reads all that the log holds; `go_on` is asked now and then, and ends it by `false`.
pub fn recount<L: BlockLog + ?Sized>(
    log: &L,
    go_on: &dyn Fn() -> bool,
) -> Result<Option<Held>, LogError> {
    let mut held = Held::default();
    for entry in Walk::new(log, |_| true)? {
        if !go_on() {
            return Ok(None);
        }
        let (_, entry) = entry?;
        take(log, &entry, &mut held)?;
    }
    Ok(Some(held))
}

fn take<L: BlockLog + ?Sized>(log: &L, entry: &Entry, held: &mut Held) -> Result<(), LogError> {
    match entry {
        Entry::Damaged { .. } => held.damaged += 1,
        Entry::Block { block, .. } => {
            let id = block.id();
            let numbers = held.blocks.entry(id.lane).or_default();
            if numbers.contains(id.number.0) {
                return Ok(());
            }
            if count(log, block, &mut held.counts)? {
                numbers.insert(id.number.0);
            } else {
                held.damaged += 1;
            }
        }
    }
    Ok(())
}

impl Book {
    /// Records that the ledger has and a store with this progress has not; else why that is not known.
    pub fn lacks<L: BlockLog + ?Sized>(
        &self,
        log: &L,
        has: &Progress,
    ) -> Result<Result<Counts, String>, LedgerError> {
        let mut missing = Vec::new();
        for (lane, seen) in &self.progress()?.seen {
            let lacking = match has.seen.get(lane) {
                Some(has) => seen.difference(has),
                None => seen.clone(),
            };
            missing.push((*lane, lacking));
        }
        let blocks: u64 = missing.iter().map(|(_, it)| it.member_count()).sum();
        if blocks > BEHIND_MAX {
            return Ok(Err(format!(
                "{blocks} blocks behind, at most {BEHIND_MAX} are looked into"
            )));
        }
        let mut counts = Counts::new();
        let places = match self.places(missing)? {
            Ok(places) => places,
            Err(reason) => return Ok(Err(reason)),
        };
        for (partition, blocks) in places {
            if let Some(reason) = count_blocks(log, &partition, &blocks, &mut counts)? {
                return Ok(Err(reason));
            }
        }
        Ok(Ok(counts))
    }

    /// Where in the log the blocks stand; else which is there no more.
    fn places(
        &self,
        blocks: Vec<(EpochLane, RangeSet)>,
    ) -> Result<Result<Places, String>, LedgerError> {
        let mut find = self
            .connection
            .prepare_cached(
                "SELECT partition, place FROM blocks JOIN lanes ON lanes.id = blocks.lane
                 WHERE lanes.lane = ?1 AND number = ?2",
            )
            .map_err(self.wrong("look for blocks"))?;
        let mut places = Places::new();
        for (lane, numbers) in blocks {
            for number in numbers.iter().flatten() {
                let of_block = params![lane.to_string(), number.cast_signed()];
                let place = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
                let found: Option<(String, i64)> = find
                    .query_row(of_block, place)
                    .optional()
                    .map_err(self.wrong("look for a block"))?;
                let found = found.and_then(|(partition, place)| {
                    Some((partition.parse().ok()?, Place(place.cast_unsigned())))
                });
                let Some((partition, place)) = found else {
                    return Ok(Err(gone(&lane, number)));
                };
                let of_partition: &mut BTreeMap<_, _> = places.entry(partition).or_default();
                of_partition.insert(place, (lane, number));
            }
        }
        Ok(Ok(places))
    }
}

fn gone(lane: &EpochLane, number: u64) -> String {
    format!("block {lane}/{number} is not in the log any more")
}

/// Counts the records of blocks of one partition, read in the order of their places; gives what is not there.
fn count_blocks<L: BlockLog + ?Sized>(
    log: &L,
    partition: &Partition,
    blocks: &BTreeMap<Place, (EpochLane, u64)>,
    counts: &mut Counts,
) -> Result<Option<String>, LogError> {
    let mut next = Place::FIRST;
    while let Some((&place, (lane, number))) = blocks.range(next..).next() {
        let entries = log.read(partition, place, READ_BYTES)?.into_entries();
        if entries.first().map(Entry::place) != Some(place) {
            return Ok(Some(gone(lane, *number)));
        }
        for entry in entries {
            next = entry.place().next();
            let Some((lane, number)) = blocks.get(&entry.place()) else {
                continue;
            };
            let is_counted = match &entry {
                Entry::Block { block, .. } => {
                    let id = block.id();
                    (id.lane, id.number.0) == (*lane, *number) && count(log, block, counts)?
                }
                Entry::Damaged { .. } => false,
            };
            if !is_counted {
                return Ok(Some(format!("block {lane}/{number} cannot be read")));
            }
        }
    }
    Ok(None)
}
