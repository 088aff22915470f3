//! One sample's way, as far as book and log tell it; or where it ended.
//!
//! The book's index says which blocks have records of a time; those are read, and no others. Numbers of each publisher show
//! what is absent beside them: to see both ends of a gap, more of the log is looked at by and by, to an hour each way.

mod gaps;
mod look;
mod near;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use efd_central_log::{BlockLog, Partition, Place};
use efd_shared_avro::{Decoder, FieldType, Nested, RecordSchema, Scalar, Sink};
use efd_shared_model::{
    BlockId, LeapTable, RecordId, RecordStamps, Site, TaiNanos, TopicKind, UtcNanos,
};
use rusqlite::{OptionalExtension as _, params};

use crate::{Book, HOUR, Hour, LedgerError};

pub use gaps::{Gap, LostBlocks};

use look::{Looked, Span};

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Sought {
    pub site: Site,
    /// As in the lake: `lsst.sal.MTMount.elevation`.
    pub topic: String,
    pub time: UtcNanos,
    /// Each way, ns.
    pub within: i64,
}

impl Sought {
    fn span(&self) -> Span {
        Span::around(self.time, self.within, self.within)
    }
}

/// Who numbers its samples; of topics that nobody numbers, the instance alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Publisher {
    /// `salIndex`; −1 where the component is not indexed.
    pub instance: i64,
    pub identity: String,
    pub origin: i64,
}

/// The stamps of a datum, in UTC; `None` where it has no such field, or nothing sensible in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamps {
    /// `private_sndStamp`, or the DDS source timestamp.
    pub sent: Option<UtcNanos>,
    /// `private_rcvStamp`: when DDS delivered it to the edge.
    pub received: Option<UtcNanos>,
    /// `private_kafkaStamp`
    pub encoded: Option<UtcNanos>,
}

/// A sample that the log has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub id: RecordId,
    pub record: RecordStamps,
    pub publisher: Publisher,
    /// `private_seqNum`
    pub number: Option<i64>,
    pub stamps: Stamps,
    /// When the edge sealed the block, by its clock: just before it was durable there.
    pub sealed: UtcNanos,
    /// When the ledger took the block; of a book that was made anew, later than it came.
    pub taken: UtcNanos,
    pub partition: Partition,
    pub place: Place,
}

/// A sample beside the span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub publisher: Publisher,
    pub number: Option<i64>,
    pub time: UtcNanos,
}

/// What became of what was sought.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Of each publisher the sample that is nearest, the nearest first.
    pub samples: Vec<Sighting>,
    /// Samples within the span.
    pub within_span: u64,
    /// Numbers that are absent, and were published within the span or may have been.
    pub gaps: Vec<Gap>,
    /// The last samples before the span and the first after it, as far as was looked.
    pub before: Vec<Neighbour>,
    pub after: Vec<Neighbour>,
    /// Losses of the topic in these hours that no number shows, by reason.
    pub others: BTreeMap<String, u64>,
    /// Event times of the topic's first and last record; where nothing is numbered, to the hour. `None`: the book has no such topic.
    pub extent: Option<(UtcNanos, UtcNanos)>,
    /// Names that are like it, where there is no such topic.
    pub near_names: Vec<String>,
    /// Blocks that were looked at: what a store has of others, the log has not any more.
    pub blocks: BTreeSet<BlockId>,
    /// Blocks that should be looked at and cannot be.
    pub unread: Vec<String>,
    /// Up to this time the log has let go of blocks: what it had is in the stores alone.
    pub retired_through: Option<UtcNanos>,
    /// Between these times the log was looked through.
    pub looked: Option<(UtcNanos, UtcNanos)>,
}

/// Each way, ns. The last is a bound for what nobody has to be told of.
const REACHES: [i64; 3] = [60_000_000_000, 600_000_000_000, HOUR];

impl Book {
    /// Reads the blocks around a time.
    pub fn trace<L: BlockLog + ?Sized>(
        &self,
        log: &L,
        sought: &Sought,
    ) -> Result<Trace, LedgerError> {
        let Some((series, kind)) = self.series_of(sought)? else {
            return Ok(Trace {
                near_names: self.near_names(sought)?,
                ..Trace::default()
            });
        };
        let beside = self.beside(series, sought)?;
        let mut looked = Looked::new(self, log, sought, kind);
        let (mut back, mut ahead) = (sought.within, sought.within);
        looked.look(Span::around(sought.time, back, ahead))?;
        for reach in REACHES {
            let (has_before, has_after) = looked.has_neighbours(&beside);
            let reach_to = |has: bool, now: i64| if has { now } else { now.max(reach) };
            let wider = (reach_to(has_before, back), reach_to(has_after, ahead));
            if wider == (back, ahead) {
                continue;
            }
            if !looked.look(Span::around(sought.time, wider.0, wider.1))? {
                break;
            }
            (back, ahead) = wider;
        }
        let span = Span::around(sought.time, back, ahead);
        let mut trace = looked.into_trace();
        trace.looked = Some((span.from, span.until));
        trace.extent = self.extent(series)?;
        trace.retired_through = self.retired_through()?;
        self.name_gaps(series, kind, sought, &mut trace.gaps)?;
        trace.others = self.others(sought)?;
        Ok(trace)
    }

    fn series_of(&self, sought: &Sought) -> Result<Option<(i64, TopicKind)>, LedgerError> {
        let wrong = self.wrong("look for a topic");
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found: Option<(i64, u8)> = self
            .connection
            .query_row(
                "SELECT id, kind FROM series WHERE site = ?1 AND topic = ?2",
                params![sought.site.as_str(), sought.topic],
                read,
            )
            .optional()
            .map_err(wrong)?;
        let kind = |kind| TopicKind::from_u8(kind).unwrap_or(TopicKind::Telemetry);
        Ok(found.map(|(id, number)| (id, kind(number))))
    }

    /// Publishers that had samples not far before the span, and not far after it.
    fn beside(
        &self,
        series: i64,
        sought: &Sought,
    ) -> Result<BTreeMap<Publisher, (bool, bool)>, LedgerError> {
        let wrong = self.wrong("look for publishers");
        let span = sought.span();
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT instance, identity, origin, max(first_utc < ?2 AND last_utc >= ?4), max(last_utc > ?3 AND first_utc <= ?5)
                 FROM publishers JOIN runs ON runs.publisher = publishers.id WHERE series = ?1 GROUP BY publishers.id",
            )
            .map_err(&wrong)?;
        let bounds = params![
            series,
            span.from.0,
            span.until.0,
            span.from.saturating_sub(HOUR).0,
            span.until.saturating_add(HOUR).0
        ];
        let read = |row: &rusqlite::Row<'_>| {
            let publisher = Publisher {
                instance: row.get(0)?,
                identity: row.get(1)?,
                origin: row.get(2)?,
            };
            Ok((publisher, (row.get(3)?, row.get(4)?)))
        };
        let rows = statement.query_map(bounds, read).map_err(&wrong)?;
        rows.collect::<Result<_, _>>().map_err(&wrong)
    }

    /// Of this site, or the same name of others.
    fn near_names(&self, sought: &Sought) -> Result<Vec<String>, LedgerError> {
        let wrong = self.wrong("read topics");
        let mut statement = self
            .connection
            .prepare("SELECT site, topic FROM series")
            .map_err(&wrong)?;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let all = statement.query_map([], read).map_err(&wrong)?;
        let all: Vec<(String, String)> = all.collect::<Result<_, _>>().map_err(&wrong)?;
        let (here, elsewhere): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|(site, _)| site == sought.site.as_str());
        let same = elsewhere
            .into_iter()
            .filter(|(_, topic)| *topic == sought.topic);
        let same = same.map(|(site, topic)| format!("{topic} of {site}"));
        let near = near::names(&sought.topic, here.into_iter().map(|(_, topic)| topic));
        Ok(same.chain(near).collect())
    }

    fn extent(&self, series: i64) -> Result<Option<(UtcNanos, UtcNanos)>, LedgerError> {
        let wrong = self.wrong("read the extent of a topic");
        let ask = |sql: &str| {
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let found: (Option<i64>, Option<i64>) =
                self.connection.query_row(sql, [series], read)?;
            Ok::<_, rusqlite::Error>(found.0.zip(found.1))
        };
        let numbered = ask(
            "SELECT min(min(first_utc, last_utc)), max(max(first_utc, last_utc)) FROM runs
             JOIN publishers ON publishers.id = runs.publisher WHERE series = ?1",
        )
        .map_err(&wrong)?;
        let hours =
            ask("SELECT min(hour), max(hour) FROM hours WHERE series = ?1").map_err(&wrong)?;
        let of_hours = hours.map(|(first, last)| {
            let end = Hour(last.saturating_add(1)).begin();
            (Hour(first).begin(), end.saturating_sub(1))
        });
        let of_numbers = numbered.map(|(first, last)| (UtcNanos(first), UtcNanos(last)));
        Ok(of_numbers.or(of_hours))
    }

    /// Losses of the topic by hour.
    fn others(&self, sought: &Sought) -> Result<BTreeMap<String, u64>, LedgerError> {
        let wrong = self.wrong("read losses of a topic");
        let span = sought.span();
        let mut statement = self
            .connection
            .prepare(
                "SELECT reason, samples + uncounted FROM other_losses WHERE site = ?1 AND topic = ?2 AND hour BETWEEN ?3 AND ?4",
            )
            .map_err(&wrong)?;
        let of_topic = params![
            sought.site.as_str(),
            sought.topic,
            Hour::of(span.from).0,
            Hour::of(span.until).0
        ];
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
        let rows = statement.query_map(of_topic, read).map_err(&wrong)?;
        let mut others = BTreeMap::new();
        for row in rows {
            let (reason, samples) = row.map_err(&wrong)?;
            *others.entry(reason).or_default() += samples.cast_unsigned();
        }
        Ok(others)
    }
}

/// Where a schema has what [`Stamps`] are made of.
#[derive(Debug)]
struct Stamped {
    decoder: Decoder,
    /// Sent, received, encoded.
    fields: [Option<usize>; 3],
}

/// Names of fields: of SAL's topics, TAI in seconds; of others, UTC in ns.
const STAMPS: [[&str; 2]; 3] = [
    ["private_sndStamp", "efd_sourceTime"],
    ["private_rcvStamp", "efd_receivedTime"],
    ["private_kafkaStamp", ""],
];

impl Stamped {
    fn of(schema: &Arc<RecordSchema>) -> Self {
        let is_one = |names: [&str; 2]| {
            let mut fields = schema.fields.iter();
            fields.position(|field| {
                let fits = matches!(
                    field.field_type,
                    FieldType::Scalar(Scalar::Double | Scalar::Long)
                );
                fits && names.contains(&field.name.as_str())
            })
        };
        Self {
            decoder: Decoder::new(Arc::clone(schema)),
            fields: STAMPS.map(is_one),
        }
    }

    /// What can be read of them.
    fn read(&self, datum: &[u8], leap: &LeapTable) -> Stamps {
        let mut read = ReadStamps {
            fields: self.fields,
            leap,
            found: [None; 3],
        };
        // A datum that ends early has had some of its stamps.
        let _unread = self.decoder.decode(datum, &mut read).is_err();
        let [sent, received, encoded] = read.found;
        Stamps {
            sent,
            received,
            encoded,
        }
    }
}

struct ReadStamps<'a> {
    fields: [Option<usize>; 3],
    leap: &'a LeapTable,
    found: [Option<UtcNanos>; 3],
}

impl ReadStamps<'_> {
    fn put(&mut self, field: usize, time: Option<UtcNanos>) {
        if let Some(at) = self.fields.iter().position(|it| *it == Some(field)) {
            self.found[at] = time.filter(|time| time.0 > 0);
        }
    }
}

impl Sink for ReadStamps<'_> {
    fn boolean(&mut self, _field: usize, _value: bool) {}
    fn long(&mut self, field: usize, value: i64) {
        self.put(field, Some(UtcNanos(value)));
    }
    fn double(&mut self, field: usize, value: f64) {
        let tai = TaiNanos::from_seconds(value);
        self.put(field, tai.map(|tai| self.leap.to_utc(tai)));
    }
    fn string(&mut self, _field: usize, _value: &str) {}
    fn bytes(&mut self, _field: usize, _value: &[u8]) {}
    fn end_array(&mut self, _field: usize) {}
    fn null(&mut self, _field: usize) {}
    fn nested(&mut self, _field: usize, _value: Nested<'_>) {}
}

/// Those of each publisher that are nearest to `time`, the nearest first.
fn nearest(
    time: UtcNanos,
    publishers: impl Iterator<Item = (Publisher, UtcNanos, usize)>,
) -> Vec<usize> {
    let mut best: BTreeMap<Publisher, (u64, usize)> = BTreeMap::new();
    for (publisher, at, index) in publishers {
        let found = (at.0.abs_diff(time.0), index);
        let known = best.entry(publisher).or_insert(found);
        *known = (*known).min(found);
    }
    let order: BTreeSet<(u64, usize)> = best.into_values().collect();
    order.into_iter().map(|(_, index)| index).collect()
}
