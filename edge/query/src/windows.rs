//! Windows of a tier, and of raw records where the tier has none yet.

use std::ops::ControlFlow;

use crate::catalogue::Topic;
use crate::columns::Order;
use crate::error::QueryError;
use crate::fold::{ByInstance, Folding, Windows};
use crate::library::{Budget, Library};
use crate::raw::{self, Gaps, RawAsk, Wanted, What};
use crate::tiered::{Shelved, TierAskOf};

/// What a tier and the raw records behind it have.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) windows: ByInstance,
    /// From here on windows are of raw records, ns UTC.
    pub(crate) raw_since: Option<i64>,
    /// Later ones are left out: the raw records would be too many.
    pub(crate) complete_until: i64,
    pub(crate) gaps: Gaps,
    pub(crate) unread_files: u64,
}

/// Windows of one instance may be closed so many later than those of another: each waits for its own clock.
const LAG: i64 = 2;

impl Library {
    pub(crate) fn windows(
        &mut self,
        topic: &Topic,
        ask: &TierAskOf<'_>,
        budget: &dyn Budget,
    ) -> Result<Found, QueryError> {
        let Shelved {
            windows,
            ends,
            unread_files,
        } = self.shelf.windows(ask, budget)?;
        let (from, through) = ask.times;
        let until = through.saturating_add(1);
        let mut found = Found {
            windows,
            raw_since: None,
            complete_until: until,
            gaps: Gaps::default(),
            unread_files,
        };
        // What is still open, or waits to be committed, is made of raw records.
        let newest = ends.values().copied().max();
        let near = newest.map(|it| it.saturating_sub(LAG * ask.resolution.nanos()));
        let begins = ends.values().copied().filter(|end| near <= Some(*end));
        let first = begins.min().unwrap_or(from).max(from);
        if until <= first {
            return Ok(found);
        }
        let offers = self.offers(topic, ask.columns, (first, until));
        if !offers.has_raw(first) || offers.raw.bytes == 0 {
            return Ok(found);
        }
        if offers.raw.bytes_max < offers.raw.bytes {
            found.complete_until = first;
            return Ok(found);
        }
        let mut folding = Folding::new(ask.resolution.nanos(), ask.columns.len());
        let raw = RawAsk {
            lane: topic.lane(),
            wanted: Wanted::Topic(&topic.name),
            what: What::Columns(ask.columns),
            instance: ask.instance,
            times: (first, through),
            order: Order::Ascending,
            rows: raw::ROWS,
        };
        let max = ask.memory_max;
        found.gaps = raw::scan(self, &raw, budget, &mut |rows| {
            folding.take(&rows);
            match max < folding.bytes() {
                true => Err(QueryError::TooMuchMemory { max }),
                false => Ok(ControlFlow::Continue(())),
            }
        })?;
        for (instance, mut tail) in folding.finish() {
            if let Some(end) = ends.get(&instance) {
                tail.drop_before(*end);
            }
            let Some(begin) = tail.starts.first().copied() else {
                continue;
            };
            found.raw_since = Some(found.raw_since.map_or(begin, |known| known.min(begin)));
            let of_instance = found.windows.entry(instance);
            of_instance
                .or_insert_with(|| Windows::new(ask.columns.len()))
                .append(tail);
        }
        Ok(found)
    }
}
