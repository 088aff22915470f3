//! Windows of a tier, and of raw records where the tier has none yet.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::catalogue::Topic;
use crate::columns::Order;
use crate::error::QueryError;
use crate::fold::{ByInstance, Folding, Windows, begin_of};
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

/// A window is closed by its own first sample's arrival: it may be so many windows before the newest of them all.
const LAG: i64 = 2;
/// Of the end of an instance's windows behind the newest of them all, ns: it goes on, with a clock that is wrong or seldom.
const BEHIND: i64 = 120_000_000_000;

/// How far before the newest window of a tier raw records may take its place, ns.
pub(crate) fn reach_back(nanos: i64) -> i64 {
    BEHIND.max(LAG.saturating_mul(nanos))
}

/// From where on windows may still be open, or wait to be committed. `committed`: when the newest block was; a clock that
/// is ahead says nothing of the others. `None` where there are none yet.
fn not_yet(ends: &BTreeMap<Option<i32>, i64>, nanos: i64, committed: i64) -> Option<i64> {
    let present = committed.saturating_add(nanos);
    let past = ends.values().copied().filter(|end| *end <= present);
    let newest = past.clone().max()?;
    let near = past.filter(|end| newest.saturating_sub(BEHIND) <= *end);
    near.chain([newest.saturating_sub(LAG * nanos)]).min()
}

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
        let offers = self.offers(topic, ask.columns, (from, until));
        let (Some(begin), true) = (offers.raw.begin, offers.raw.bytes > 0) else {
            return Ok(found);
        };
        let nanos = ask.resolution.nanos();
        let present = not_yet(&ends, nanos, offers.raw.committed);
        let mut first = present.unwrap_or(from).max(from);
        if !offers.has_raw(first) {
            // The window that the oldest of them is in has others that are gone.
            let last = begin.saturating_sub(1);
            first = begin_of(last, nanos).saturating_add(nanos);
        }
        if until <= first {
            return Ok(found);
        }
        let raw = self.raw_offer(topic, (first, until));
        if raw.bytes == 0 {
            return Ok(found);
        }
        if raw.bytes_max < raw.bytes {
            // They are those of its neighbours too: of a topic that came to an end nothing is missing.
            let alive = self.holdings.activity.of(&topic.name);
            let is_over = alive.is_some_and(|it| it.newest.is_none_or(|newest| newest.0 < first));
            if !is_over {
                found.complete_until = first;
            }
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
        // A tier may have windows of these in part: what it had when the edge was stopped.
        for windows in found.windows.values_mut() {
            windows.drop_from(first);
        }
        for (instance, tail) in folding.finish() {
            found.raw_since = Some(first);
            let of_instance = found.windows.entry(instance);
            of_instance
                .or_insert_with(|| Windows::new(ask.columns.len()))
                .append(tail);
        }
        found.windows.retain(|_, windows| windows.len() > 0);
        Ok(found)
    }
}
