//! How blocks came: by hour, how many, how late, and where none came.

use std::collections::BTreeMap;

use efd_central_log::{Class, Partition};
use efd_shared_model::UtcNanos;

use crate::{Book, Filter, Hour, LedgerError};

/// Of a site, in one hour of the edges' clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkHour {
    pub site: String,
    pub hour: Hour,
    pub live_blocks: u64,
    pub fill_blocks: u64,
    pub records: u64,
    /// From the commit at the edge to the ledger, of live blocks, ns; by both clocks. `None` without one.
    pub delay_median: Option<i64>,
    pub delay_max: Option<i64>,
    /// Below zero where an edge's clock is ahead of ours.
    pub delay_min: Option<i64>,
    /// The longest time without a block that was committed in the hour, ns.
    pub silence_max: i64,
}

#[derive(Debug, Default)]
struct Found {
    live: Vec<i64>,
    fill: u64,
    records: u64,
    sealed: Vec<i64>,
}

impl Book {
    /// As far back as the log goes, by site and hour.
    pub fn link(&self, filter: &Filter) -> Result<Vec<LinkHour>, LedgerError> {
        let wrong = self.wrong("read how blocks came");
        let bound = |hour: Option<Hour>, open: i64| hour.map_or(open, |hour| hour.begin().0);
        let (from, until) = (bound(filter.from, i64::MIN), bound(filter.until, i64::MAX));
        let mut statement = self
            .connection
            .prepare(
                "SELECT partition, records, sealed_utc, taken_utc FROM blocks WHERE sealed_utc >= ?1 AND sealed_utc < ?2",
            )
            .map_err(&wrong)?;
        let mut rows = statement.query([from, until]).map_err(&wrong)?;
        let mut found: BTreeMap<(String, Hour), Found> = BTreeMap::new();
        while let Some(row) = rows.next().map_err(&wrong)? {
            let read = || {
                let times: (i64, i64) = (row.get(2)?, row.get(3)?);
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, times))
            };
            let (partition, records, (sealed, taken)) = read().map_err(&wrong)?;
            let Ok(Partition { site, class, .. }) = partition.parse() else {
                continue;
            };
            if filter.site.as_ref().is_some_and(|wanted| *wanted != site) {
                continue;
            }
            let key = (site.to_string(), Hour::of(UtcNanos(sealed)));
            let of_hour = found.entry(key).or_default();
            match class {
                Class::Live => of_hour.live.push(taken.saturating_sub(sealed)),
                Class::Fill => of_hour.fill += 1,
            }
            of_hour.records += records.cast_unsigned();
            of_hour.sealed.push(sealed);
        }
        Ok(found
            .into_iter()
            .map(|((site, hour), found)| found.told(site, hour))
            .collect())
    }
}

impl Found {
    fn told(mut self, site: String, hour: Hour) -> LinkHour {
        self.live.sort_unstable();
        self.sealed.sort_unstable();
        let gaps = self.sealed.windows(2).map(|pair| pair[1] - pair[0]);
        LinkHour {
            site,
            hour,
            live_blocks: self.live.len() as u64,
            fill_blocks: self.fill,
            records: self.records,
            delay_median: self.live.get(self.live.len() / 2).copied(),
            delay_max: self.live.last().copied(),
            delay_min: self.live.first().copied(),
            silence_max: gaps.max().unwrap_or(0),
        }
    }
}
