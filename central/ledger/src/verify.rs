//! The book against the stores themselves.

use std::collections::{BTreeMap, BTreeSet};

use efd_central_log::{BlockLog, Progress};
use efd_shared_model::digest::Tally;
use efd_shared_model::{BlockId, EpochLane, RangeSet, UtcNanos};
use serde_json::{Value, json};

use crate::behind::{Counts, Held};
use crate::{Book, Filter, Hour, LedgerError};

/// Of one topic in one hour, in one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `log`, `lake`, `feed`.
    pub store: &'static str,
    pub site: String,
    pub topic: String,
    pub hour: Hour,
    /// Records that should be there.
    pub expected: u64,
    pub found: u64,
}

impl Difference {
    pub fn to_json(&self) -> Value {
        let Self {
            store,
            site,
            topic,
            hour,
            expected,
            found,
        } = self;
        let differs = match expected.cmp(found) {
            std::cmp::Ordering::Greater => "missing",
            std::cmp::Ordering::Less => "too_many",
            std::cmp::Ordering::Equal => "others",
        };
        json!({
            "store": store, "site": site, "topic": topic, "hour": hour.begin().to_string(),
            "expected": expected, "found": found, "differs": differs, "count": expected.abs_diff(*found),
        })
    }
}

impl Book {
    /// What the book has by site, topic and hour.
    pub fn counts(&self, filter: &Filter) -> Result<Counts, LedgerError> {
        let wrong = self.wrong("read the counts");
        let mut statement = self
            .connection
            .prepare("SELECT site, topic, hour, records, digest FROM hours JOIN series ON series.id = hours.series")
            .map_err(&wrong)?;
        let mut rows = statement.query([]).map_err(&wrong)?;
        let mut counts = Counts::new();
        while let Some(row) = rows.next().map_err(&wrong)? {
            let read = || {
                let key: (String, String, Hour) = (row.get(0)?, row.get(1)?, Hour(row.get(2)?));
                Ok((key, crate::book::read_count(row, 3)?))
            };
            let (key, count) = read().map_err(&wrong)?;
            if filter.wants(&key) {
                counts.insert(key, count);
            }
        }
        Ok(counts)
    }

    /// Up to here the log has given up what it had; later event times are all in what it holds.
    pub(crate) fn retired_through(&self) -> Result<Option<UtcNanos>, LedgerError> {
        let text = self.note(crate::book::RETIRED_THROUGH)?;
        Ok(text.and_then(|text| text.parse().ok()).map(UtcNanos))
    }

    /// Blocks that the log should hold, by what stands in the book.
    fn indexed(&self) -> Result<BTreeMap<EpochLane, RangeSet>, LedgerError> {
        let wrong = self.wrong("read the places of blocks");
        let mut statement = self
            .connection
            .prepare("SELECT lanes.lane, number FROM blocks JOIN lanes ON lanes.id = blocks.lane ORDER BY blocks.lane, number")
            .map_err(&wrong)?;
        let mut rows = statement.query([]).map_err(&wrong)?;
        let mut indexed: BTreeMap<EpochLane, RangeSet> = BTreeMap::new();
        while let Some(row) = rows.next().map_err(&wrong)? {
            let read = || Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
            let (lane, number) = read().map_err(&wrong)?;
            if let Ok(lane) = lane.parse() {
                indexed
                    .entry(lane)
                    .or_default()
                    .insert(number.cast_unsigned());
            }
        }
        Ok(indexed)
    }

    /// Blocks that are not where the book says, and by topic and hour how many records they had.
    pub fn check_log(
        &self,
        held: &Held,
        filter: &Filter,
    ) -> Result<(BTreeMap<EpochLane, RangeSet>, Vec<Difference>), LedgerError> {
        let mut missing = self.indexed()?;
        for (lane, numbers) in &mut missing {
            if let Some(found) = held.blocks.get(lane) {
                numbers.subtract(found);
            }
        }
        missing.retain(|_, numbers| !numbers.is_empty());
        let retired = self.retired_through()?.map(Hour::of);
        let mut expected = self.counts(filter)?;
        expected.retain(|(_, _, hour), _| retired.is_none_or(|retired| retired < *hour));
        // What came since the book was read is in the log, and not expected yet.
        let mut differences = differences("log", &expected, &held.counts, filter);
        differences.retain(|it| it.found <= it.expected);
        Ok((missing, differences))
    }

    /// `found`: as the lake was recounted; `lacks`: what it has not taken yet.
    pub fn check_lake(
        &self,
        found: &Counts,
        lacks: &Counts,
        filter: &Filter,
    ) -> Result<Vec<Difference>, LedgerError> {
        let mut expected = self.counts(filter)?;
        subtract(&mut expected, lacks);
        Ok(differences("lake", &expected, found, filter))
    }
}

/// The book at one moment, and of it what a store has: held against a store that grows, as the book does, while it is read.
#[derive(Debug)]
pub struct Basis {
    blocks: BTreeMap<EpochLane, RangeSet>,
    expected: Counts,
}

impl Book {
    /// `has`: what the store has durably. Else why that cannot be told.
    pub fn basis<L: BlockLog + ?Sized>(
        &self,
        log: &L,
        has: &Progress,
        filter: &Filter,
    ) -> Result<Result<Basis, String>, LedgerError> {
        // One reading, whatever is written meanwhile.
        let _reading = self
            .connection
            .unchecked_transaction()
            .map_err(self.wrong("begin to read"))?;
        let lacks = match self.lacks(log, has)? {
            Ok(lacks) => lacks,
            Err(why) => return Ok(Err(why)),
        };
        let mut expected = self.counts(filter)?;
        subtract(&mut expected, &lacks);
        let both = |(lane, seen): (EpochLane, RangeSet)| {
            let has = has.seen.get(&lane)?;
            Some((lane, seen.intersection(has)))
        };
        let blocks = self.progress()?.seen.into_iter().filter_map(both).collect();
        Ok(Ok(Basis { blocks, expected }))
    }
}

impl Basis {
    /// Whether its records are expected. Of other blocks nothing is said.
    pub fn has(&self, block: BlockId) -> bool {
        let numbers = self.blocks.get(&block.lane);
        numbers.is_some_and(|numbers| numbers.contains(block.number.0))
    }

    pub fn expected(&self) -> &Counts {
        &self.expected
    }

    /// `found`: of blocks that it [has](Self::has).
    pub fn differences(
        &self,
        store: &'static str,
        found: &Counts,
        filter: &Filter,
    ) -> Vec<Difference> {
        differences(store, &self.expected, found, filter)
    }
}

fn subtract(expected: &mut Counts, lacks: &Counts) {
    for (key, lacking) in lacks {
        if let Some(count) = expected.get_mut(key) {
            *count = count.without(*lacking);
        }
    }
    expected.retain(|_, count| count.rows > 0);
}

fn differences(
    store: &'static str,
    expected: &Counts,
    found: &Counts,
    filter: &Filter,
) -> Vec<Difference> {
    let keys: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let of = |counts: &Counts, key| counts.get(key).copied().unwrap_or_default();
    keys.into_iter()
        .filter(|key| filter.wants(key))
        .filter_map(|key| {
            let (should, is): (Tally, Tally) = (of(expected, key), of(found, key));
            let (site, topic, hour) = key;
            (should != is).then(|| Difference {
                store,
                site: site.clone(),
                topic: topic.clone(),
                hour: *hour,
                expected: should.rows,
                found: is.rows,
            })
        })
        .collect()
}
