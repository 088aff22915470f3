//! Numbers that are absent beside a time, and what names them.

use std::collections::BTreeMap;

use efd_shared_model::{EpochLane, RangeSet, TopicKind, UtcNanos};
use rusqlite::params;

use crate::account::block_losses;
use crate::book::Book;
use crate::numbers::{Mark, Runs};
use crate::{Filter, HOUR, Hour, LedgerError};

use super::look::Span;
use super::{Publisher, Sought};

/// Reception and event time differ by the way of the data; a publisher that begins anew has the same numbers again.
const NAMED_WITHIN: i64 = 2 * HOUR;

/// Consecutive numbers of one publisher that are absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub publisher: Publisher,
    /// Inclusive.
    pub first: i64,
    pub last: i64,
    /// Event times of the samples beside it: in between they were published.
    pub after: UtcNanos,
    pub before: UtcNanos,
    /// How many of them each reason names.
    pub named: BTreeMap<String, u64>,
    /// Blocks that are lost and may have had them.
    pub blocks: Vec<LostBlocks>,
    /// How many nothing names.
    pub unnamed: u64,
}

/// Blocks that did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostBlocks {
    pub reason: String,
    /// Edge, epoch and lane, as text.
    pub lane: String,
    /// Inclusive.
    pub first: i64,
    pub last: i64,
}

impl Gap {
    pub fn count(&self) -> u64 {
        (self.last.saturating_sub(self.first))
            .saturating_add(1)
            .max(0)
            .cast_unsigned()
    }
}

/// Of one publisher: those that touch the span.
pub(super) fn gaps_of(publisher: &Publisher, mut marks: Vec<Mark>, span: Span) -> Vec<Gap> {
    marks.sort_unstable_by_key(|mark| (mark.time, mark.number));
    let mut runs = Runs::default();
    let mut by_run: BTreeMap<usize, Vec<Mark>> = BTreeMap::new();
    for mark in marks {
        by_run.entry(runs.place(mark)).or_default().push(mark);
    }
    let mut gaps = Vec::new();
    let mut last_of_run: Option<Mark> = None;
    for mut marks in by_run.into_values() {
        marks.sort_unstable_by_key(|mark| mark.number);
        let Some((first, last)) = marks.first().copied().zip(marks.last().copied()) else {
            continue;
        };
        // It began anew, and its first samples are not here.
        let begins = last_of_run.map(|before| Mark {
            number: 0,
            time: before.time,
        });
        let pairs = begins.map(|begin| (begin, first)).into_iter();
        let pairs = pairs.chain(marks.iter().copied().zip(marks.iter().copied().skip(1)));
        for (one, next) in pairs {
            let (after, before) = (one.time.min(next.time), one.time.max(next.time));
            let touches = after <= span.until && span.from <= before;
            if touches && one.number.saturating_add(1) < next.number {
                gaps.push(Gap {
                    publisher: publisher.clone(),
                    first: one.number + 1,
                    last: next.number - 1,
                    after,
                    before,
                    named: BTreeMap::new(),
                    blocks: Vec::new(),
                    unnamed: 0,
                });
            }
        }
        last_of_run = Some(last);
    }
    gaps
}

impl Book {
    pub(super) fn name_gaps(
        &self,
        series: i64,
        kind: TopicKind,
        sought: &Sought,
        gaps: &mut [Gap],
    ) -> Result<(), LedgerError> {
        if gaps.is_empty() {
            return Ok(());
        }
        for gap in &mut *gaps {
            let named = self.named(series, gap)?;
            gap.unnamed = gap.count() - named.member_count().min(gap.count());
        }
        let hours = gaps
            .iter()
            .map(|gap| (Hour::of(gap.after), Hour::of(gap.before)));
        let (from, until) = hours.fold((Hour(i64::MAX), Hour(i64::MIN)), |(from, until), it| {
            (from.min(it.0), until.max(it.1))
        });
        let filter = Filter {
            site: Some(sought.site.clone()),
            from: Some(from),
            until: Some(Hour(until.0.saturating_add(1))),
            ..Filter::default()
        };
        for (loss, _) in block_losses(self, &filter)? {
            let (edge, epoch, lane) = &loss.lane;
            let lane = format!("{edge}/{epoch}/{lane}");
            let is_of_kind = lane
                .parse::<EpochLane>()
                .is_ok_and(|lane| lane.lane.kind == kind.lane());
            let has_span = loss.from < loss.until;
            for gap in gaps.iter_mut().filter(|gap| gap.unnamed > 0 && is_of_kind) {
                if has_span && (loss.until <= gap.after || gap.before < loss.from) {
                    continue;
                }
                // How many of its records were of this topic nobody can tell.
                let records = u64::try_from(loss.count).unwrap_or(gap.unnamed);
                let explained = records.min(gap.unnamed);
                gap.unnamed -= explained;
                *gap.named.entry(loss.reason.clone()).or_default() += explained;
                gap.blocks.push(LostBlocks {
                    reason: loss.reason.clone(),
                    lane: lane.clone(),
                    first: loss.first,
                    last: loss.last,
                });
            }
        }
        Ok(())
    }

    /// The numbers of the gap that losses name, those nearest in time first.
    fn named(&self, series: i64, gap: &mut Gap) -> Result<RangeSet, LedgerError> {
        let wrong = self.wrong("read what names a gap");
        let Publisher {
            instance,
            identity,
            origin,
        } = &gap.publisher;
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT reason, first, last FROM number_losses JOIN publishers ON publishers.id = number_losses.publisher
                 WHERE series = ?1 AND instance = ?2 AND identity = ?3 AND origin = ?4 AND first <= ?6 AND last >= ?5
                 AND until_utc BETWEEN ?7 AND ?8 ORDER BY abs(until_utc - ?9)",
            )
            .map_err(&wrong)?;
        let of_gap = params![
            series,
            instance,
            identity,
            origin,
            gap.first,
            gap.last,
            gap.after.saturating_sub(NAMED_WITHIN).0,
            gap.before.saturating_add(NAMED_WITHIN).0,
            gap.before.0
        ];
        let read = |row: &rusqlite::Row<'_>| {
            let numbers: (i64, i64) = (row.get(1)?, row.get(2)?);
            Ok((row.get::<_, String>(0)?, numbers))
        };
        let rows = statement.query_map(of_gap, read).map_err(&wrong)?;
        let mut named = RangeSet::new();
        for row in rows {
            let (reason, (first, last)) = row.map_err(&wrong)?;
            let (first, last) = (first.max(gap.first), last.min(gap.last));
            let mut news = RangeSet::from_iter([first.cast_unsigned()..=last.cast_unsigned()]);
            news.subtract(&named);
            if !news.is_empty() {
                *gap.named.entry(reason).or_default() += news.member_count();
                named.union(&news);
            }
        }
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(marks: &[(i64, i64)], span: (i64, i64)) -> Vec<(i64, i64, i64, i64)> {
        let marks = marks.iter().map(|&(number, seconds)| Mark {
            number,
            time: UtcNanos(seconds * 1_000_000_000),
        });
        let span = Span {
            from: UtcNanos(span.0 * 1_000_000_000),
            until: UtcNanos(span.1 * 1_000_000_000),
        };
        let gaps = gaps_of(&Publisher::default(), marks.collect(), span);
        let seconds = |time: UtcNanos| time.0 / 1_000_000_000;
        gaps.iter()
            .map(|gap| (gap.first, gap.last, seconds(gap.after), seconds(gap.before)))
            .collect()
    }

    #[test]
    fn between_two_samples() {
        let marks = [(1, 10), (2, 20), (5, 30), (6, 40), (9, 50)];
        assert_eq!(found(&marks, (25, 25)), [(3, 4, 20, 30)]);
        assert_eq!(found(&marks, (0, 100)), [(3, 4, 20, 30), (7, 8, 40, 50)]);
        assert_eq!(found(&marks, (32, 38)), []);
    }

    #[test]
    fn where_a_publisher_began_anew() {
        let marks = [(70, 10), (71, 20), (3, 30), (4, 40)];
        assert_eq!(found(&marks, (25, 25)), [(1, 2, 20, 30)]);
        assert_eq!(found(&[(71, 20), (1, 30)], (25, 25)), []);
    }
}
