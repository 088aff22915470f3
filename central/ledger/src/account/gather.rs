//! Reads the book and draws up the rows.

use std::collections::BTreeMap;

use efd_shared_model::ids::Lane;
use efd_shared_model::{EpochLane, LaneKind, LossReason, RangeSet, TopicKind, UtcNanos};
use rusqlite::params;

use super::{Account, Filter, LaneRow, Row};
use crate::blame::{self, Blocks, Hole};
use crate::book::{BlockLoss, Book};
use crate::numbers::{Span, Spans};
use crate::{HOUR, Hour, LedgerError};

type Reasons = BTreeMap<String, u64>;

/// Of one topic of one site.
#[derive(Debug)]
struct Series {
    id: i64,
    site: String,
    topic: String,
    lane: LaneKind,
    hours: BTreeMap<Hour, Found>,
    is_numbered: bool,
}

/// Of an hour.
#[derive(Clone, Debug, Default)]
struct Found {
    records: u64,
    absent: u64,
    /// Named by numbers, between the first and the last that came.
    inside: Reasons,
    /// Named by numbers, outside of them.
    outside: Reasons,
    other: Reasons,
    uncounted: u64,
}

pub(super) fn account(book: &Book, filter: &Filter) -> Result<Account, LedgerError> {
    let mut series = series(book, filter)?;
    for one in &mut series {
        read_hours(book, one, filter)?;
        read_numbers(book, one, filter)?;
    }
    let mut others = read_others(book, filter)?;
    for one in &mut series {
        for (hour, found) in &mut others
            .remove(&(one.site.clone(), one.topic.clone()))
            .unwrap_or_default()
        {
            let to = one.hours.entry(*hour).or_default();
            to.other.append(&mut found.other);
            to.uncounted += found.uncounted;
        }
    }
    let losses = block_losses(book, filter)?;
    let mut holes = Vec::new();
    for (index, one) in series.iter().enumerate() {
        for (hour, found) in &one.hours {
            let named: u64 = found.inside.values().sum();
            let hole = Hole {
                lane: one.lane,
                hour: *hour,
                absent: found.absent.saturating_sub(named),
                explained: Reasons::new(),
            };
            holes.push((index, hole));
        }
    }
    let (owners, mut holes): (Vec<usize>, Vec<Hole>) = holes.into_iter().unzip();
    let lanes = blame_lanes(&mut holes, &losses);
    let mut account = Account {
        rows: Vec::new(),
        lanes,
    };
    for (index, hole) in owners.into_iter().zip(holes) {
        let one = &series[index];
        if filter.wants_hour(hole.hour) && filter.wants_topic(&one.topic) {
            account.rows.push(row(one, &hole));
        }
    }
    // Losses of topics of which nothing ever came.
    for ((site, topic), hours) in others {
        for (hour, found) in hours {
            if filter.wants_hour(hour) && filter.wants_topic(&topic) {
                account.rows.push(bare_row(&site, &topic, hour, found));
            }
        }
    }
    account.rows.retain(|row| !is_empty(row));
    account
        .rows
        .sort_by(|a, b| (&a.site, &a.topic, a.hour).cmp(&(&b.site, &b.topic, b.hour)));
    Ok(account)
}

fn is_empty(row: &Row) -> bool {
    row.published == 0 && row.centre == 0 && row.lost.is_empty() && row.before_contact == 0
}

fn add(to: &mut Reasons, more: &Reasons) {
    for (reason, samples) in more {
        *to.entry(reason.clone()).or_default() += samples;
    }
}

/// What DDS brought, and the edge did not store.
const RECEIVED: [LossReason; 3] = [
    LossReason::Undecodable,
    LossReason::Untyped,
    LossReason::QueueFull,
];
/// What was stored at the edge, and did not come.
const STORED: [LossReason; 2] = [LossReason::Evicted, LossReason::Corrupt];

fn sum_of(lost: &Reasons, reasons: &[LossReason]) -> u64 {
    let of = |reason: &LossReason| lost.get(reason.as_str()).copied().unwrap_or(0);
    reasons.iter().map(of).sum()
}

fn row(series: &Series, hole: &Hole) -> Row {
    let found = series.hours.get(&hole.hour).cloned().unwrap_or_default();
    let mut lost = found.inside.clone();
    add(&mut lost, &hole.explained);
    let by_number: u64 = lost.values().sum();
    let mut outside = found.outside;
    let before_contact = outside
        .remove(LossReason::BeforeContact.as_str())
        .unwrap_or(0);
    let outside_count: u64 = outside.values().sum();
    add(&mut lost, &outside);
    let other_count: u64 = found.other.values().sum();
    // A numbered sample that did not fit its type is a gap in the numbers besides: it is one.
    let named_twice = match series.is_numbered {
        true => 0,
        false => other_count,
    };
    let published = found.records + by_number + outside_count + named_twice + hole.absent;
    let stored = sum_of(&lost, &STORED);
    let brought = sum_of(&found.other, &RECEIVED);
    let edge = found.records + stored;
    let mut of_others = found.other;
    if series.is_numbered {
        // Its gap is named as `dds_gap`; what it was is known better here.
        let gap = LossReason::DdsGap.as_str();
        if let Some(gaps) = lost.get_mut(gap) {
            *gaps = gaps.saturating_sub(brought);
        }
        lost.retain(|_, samples| *samples > 0);
    }
    add(&mut lost, &of_others);
    of_others.clear();
    Row {
        published,
        received: (edge + brought).min(published.max(edge)),
        edge,
        centre: found.records,
        lost,
        uncounted: found.uncounted,
        before_contact,
        unnamed: hole.absent,
        ..Row::of(&series.site, &series.topic, hole.hour)
    }
}

fn bare_row(site: &str, topic: &str, hour: Hour, found: Found) -> Row {
    let published = found.other.values().sum();
    Row {
        published,
        received: sum_of(&found.other, &RECEIVED),
        lost: found.other,
        uncounted: found.uncounted,
        ..Row::of(site, topic, hour)
    }
}

fn series(book: &Book, filter: &Filter) -> Result<Vec<Series>, LedgerError> {
    let wrong = book.wrong("read topics");
    let mut statement = book
        .connection
        .prepare("SELECT id, site, topic, kind FROM series")
        .map_err(&wrong)?;
    let read = |row: &rusqlite::Row<'_>| {
        let kind = TopicKind::from_u8(row.get(3)?).unwrap_or(TopicKind::Telemetry);
        Ok(Series {
            id: row.get(0)?,
            site: row.get(1)?,
            topic: row.get(2)?,
            lane: kind.lane(),
            hours: BTreeMap::new(),
            is_numbered: false,
        })
    };
    let all = statement.query_map([], read).map_err(&wrong)?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(&wrong)?;
    Ok(all
        .into_iter()
        .filter(|series| filter.wants_site(&series.site))
        .collect())
}

/// Bounds that SQLite compares with; the hour before is needed to see a gap at the begin.
fn bounds(filter: &Filter) -> (i64, i64) {
    let from = filter.from.map_or(i64::MIN, |hour| hour.0);
    let until = filter.until.map_or(i64::MAX, |hour| hour.0);
    (from, until)
}

fn read_hours(book: &Book, series: &mut Series, filter: &Filter) -> Result<(), LedgerError> {
    let wrong = book.wrong("read hours");
    let (from, until) = bounds(filter);
    let mut statement = book
        .connection
        .prepare_cached(
            "SELECT hour, records FROM hours WHERE series = ?1 AND hour >= ?2 AND hour < ?3",
        )
        .map_err(&wrong)?;
    let mut rows = statement
        .query(params![series.id, from, until])
        .map_err(&wrong)?;
    while let Some(row) = rows.next().map_err(&wrong)? {
        let read = || Ok((Hour(row.get(0)?), row.get::<_, i64>(1)?));
        let (hour, records) = read().map_err(&wrong)?;
        series.hours.entry(hour).or_default().records = records.cast_unsigned();
    }
    Ok(())
}

/// Gaps of every publisher of the series, and what names them.
fn read_numbers(book: &Book, series: &mut Series, filter: &Filter) -> Result<(), LedgerError> {
    let wrong = book.wrong("read numbers");
    let (from, until) = bounds(filter);
    let mut statement = book
        .connection
        .prepare_cached("SELECT id FROM publishers WHERE series = ?1")
        .map_err(&wrong)?;
    let publishers = statement
        .query_map([series.id], |row| row.get::<_, i64>(0))
        .map_err(&wrong)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(&wrong)?;
    series.is_numbered |= !publishers.is_empty();
    for publisher in publishers {
        let mut runs: BTreeMap<i64, Spans> = BTreeMap::new();
        // And of each run the hour before, from which on its numbers are missed.
        let mut statement = book
            .connection
            .prepare_cached(
                "SELECT run, hour, spans.first, spans.last, records FROM runs JOIN spans USING (publisher, run)
                 WHERE publisher = ?1 AND hour < ?3 AND hour >= coalesce((SELECT max(hour) FROM spans AS before
                     WHERE before.publisher = ?1 AND before.run = runs.run AND before.hour < ?2), ?2)",
            )
            .map_err(&wrong)?;
        let mut rows = statement.query([publisher, from, until]).map_err(&wrong)?;
        while let Some(row) = rows.next().map_err(&wrong)? {
            let read = || {
                let span = Span {
                    first: row.get(2)?,
                    last: row.get(3)?,
                    records: row.get::<_, i64>(4)?.cast_unsigned(),
                };
                Ok((row.get(0)?, Hour(row.get(1)?), span))
            };
            let (run, hour, span) = read().map_err(&wrong)?;
            runs.entry(run).or_default().0.insert(hour, span);
        }
        for (hour, absent) in runs.values().flat_map(Spans::absent) {
            if filter.wants_hour(hour) {
                series.hours.entry(hour).or_default().absent += absent;
            }
        }
        let mut statement = book
            .connection
            .prepare_cached(
                "SELECT reason, first, last, count, until_utc FROM number_losses
                 WHERE publisher = ?1 AND until_utc >= ?2 AND until_utc < ?3",
            )
            .map_err(&wrong)?;
        // Reception and event time may be of different hours.
        let margin = |hour: i64, hours: i64| hour.saturating_add(hours).saturating_mul(HOUR);
        let mut rows = statement
            .query([publisher, margin(from, -25), margin(until, 25)])
            .map_err(&wrong)?;
        while let Some(row) = rows.next().map_err(&wrong)? {
            let read = || {
                let numbers: (i64, i64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
                Ok((row.get::<_, String>(0)?, numbers, UtcNanos(row.get(4)?)))
            };
            let (reason, (first, last, count), time) = read().map_err(&wrong)?;
            let count =
                u64::try_from(count).unwrap_or_else(|_| (last - first + 1).max(0).cast_unsigned());
            // A publisher that began anew had the same numbers before.
            let covering = runs.values().filter_map(|spans| {
                let hour = spans.hour_of(last)?;
                spans.hour_of(first).map(|_| hour)
            });
            let hour = covering.min_by_key(|hour| hour.0.abs_diff(Hour::of(time).0));
            let to = |hour| filter.wants_hour(hour);
            match hour {
                Some(hour) if to(hour) => {
                    let found = series.hours.entry(hour).or_default();
                    *found.inside.entry(reason).or_default() += count;
                }
                None if to(Hour::of(time)) => {
                    let found = series.hours.entry(Hour::of(time)).or_default();
                    *found.outside.entry(reason).or_default() += count;
                }
                Some(_) | None => {}
            }
        }
    }
    Ok(())
}

type Others = BTreeMap<(String, String), BTreeMap<Hour, Found>>;

fn read_others(book: &Book, filter: &Filter) -> Result<Others, LedgerError> {
    let wrong = book.wrong("read losses");
    let (from, until) = bounds(filter);
    let mut statement = book
        .connection
        .prepare("SELECT site, topic, hour, reason, samples, uncounted FROM other_losses WHERE hour >= ?1 AND hour < ?2")
        .map_err(&wrong)?;
    let mut rows = statement.query([from, until]).map_err(&wrong)?;
    let mut others = Others::new();
    while let Some(row) = rows.next().map_err(&wrong)? {
        let read = || {
            let counts: (i64, i64) = (row.get(4)?, row.get(5)?);
            let key: (String, String) = (row.get(0)?, row.get(1)?);
            Ok((key, Hour(row.get(2)?), row.get::<_, String>(3)?, counts))
        };
        let (key, hour, reason, (samples, uncounted)) = read().map_err(&wrong)?;
        if !filter.wants_site(&key.0) {
            continue;
        }
        let found = others.entry(key).or_default().entry(hour).or_default();
        *found.other.entry(reason).or_default() += samples.cast_unsigned();
        found.uncounted += uncounted.cast_unsigned();
    }
    Ok(others)
}

/// Without those whose blocks came all the same.
pub(crate) fn block_losses(
    book: &Book,
    filter: &Filter,
) -> Result<Vec<(BlockLoss, u64)>, LedgerError> {
    let wrong = book.wrong("read losses of blocks");
    let seen = book.progress()?.seen;
    let mut statement = book
        .connection
        .prepare("SELECT site, edge, epoch, lane, reason, first, last, count, from_utc, until_utc FROM block_losses")
        .map_err(&wrong)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(BlockLoss {
            site: row.get(0)?,
            lane: (row.get(1)?, row.get(2)?, row.get(3)?),
            reason: row.get(4)?,
            first: row.get(5)?,
            last: row.get(6)?,
            count: row.get(7)?,
            from: UtcNanos(row.get(8)?),
            until: UtcNanos(row.get(9)?),
        })
    };
    let all = statement.query_map([], read).map_err(&wrong)?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(&wrong)?;
    let mut losses = Vec::new();
    for mut loss in all.into_iter().filter(|loss| filter.wants_site(&loss.site)) {
        let hours = hours_of(&loss);
        let is_wanted = hours.is_none_or(|(first, last)| {
            filter.from.is_none_or(|from| from <= last)
                && filter.until.is_none_or(|until| first < until)
        });
        if !is_wanted {
            continue;
        }
        let (edge, epoch, lane) = &loss.lane;
        let log = format!("{edge}/{epoch}/{lane}").parse::<EpochLane>();
        let numbers = (u64::try_from(loss.first), u64::try_from(loss.last));
        let mut blocks = 0;
        if let (Ok(lane), (Ok(first), Ok(last))) = (log, numbers)
            && first <= last
        {
            let all = RangeSet::from_iter([first..=last]);
            let came = seen
                .get(&lane)
                .map_or(0, |seen| all.intersection(seen).member_count());
            let of_all = all.member_count();
            blocks = of_all - came;
            if blocks == 0 {
                continue;
            }
            if loss.count > 0 {
                let count = u128::from(loss.count.cast_unsigned()) * u128::from(blocks);
                loss.count = i64::try_from(count / u128::from(of_all)).unwrap_or(i64::MAX);
            }
        }
        losses.push((loss, blocks));
    }
    Ok(losses)
}

/// `None` where the loss tells no span.
fn hours_of(loss: &BlockLoss) -> Option<(Hour, Hour)> {
    let last = loss.until.saturating_sub(1);
    (loss.from < loss.until).then(|| (Hour::of(loss.from), Hour::of(last)))
}

/// What no topic's numbers show.
fn blame_lanes(holes: &mut [Hole], losses: &[(BlockLoss, u64)]) -> Vec<LaneRow> {
    let kind = |loss: &BlockLoss| loss.lane.2.parse::<Lane>().map(|lane| lane.kind);
    let blocks: Vec<Blocks> = losses
        .iter()
        .map(|(loss, _)| Blocks {
            lane: kind(loss).unwrap_or(LaneKind::Telemetry),
            reason: loss.reason.clone(),
            records: u64::try_from(loss.count).ok(),
            hours: hours_of(loss),
        })
        .collect();
    let left = blame::explain(holes, &blocks);
    losses
        .iter()
        .zip(left)
        .filter(|(_, left)| *left != Some(0))
        .map(|((loss, blocks), records)| LaneRow {
            site: loss.site.clone(),
            lane: loss.lane.2.clone(),
            reason: loss.reason.clone(),
            first: hours_of(loss).map(|(first, _)| first),
            blocks: *blocks,
            records,
        })
        .collect()
}
