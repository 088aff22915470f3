//! The buffer as an InfluxDB's clients see it.
//!
//! The database `efd` has the records; aggregates over groups of time are answered from a tier where one fits. Each tier is a
//! database of its own as well (`efd_10s`), with a field for each statistic (`mean_position`): the observatory's client
//! finds no fields of a measurement that is not in the default retention policy.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, RangeInclusive};

use efd_edge_tiers::settings::name;
use efd_shared_avro::{RecordSchema, Scalar};
use efd_shared_influxql as influxql;
use efd_shared_influxql::{Batch, Database, Field, FieldKind, Grid, Policy, Scan, Source};
use efd_shared_model::UtcNanos;
use efd_shared_stats::{Resolution, Summary};
use efd_shared_tiers::{Statistics, is_measured};

use crate::ask::{Column, Stat, kind};
use crate::catalogue::Topic;
use crate::columns::{Kind, Order, Rows, Values};
use crate::error::QueryError;
use crate::fold::Windows;
use crate::library::{Budget, Library};
use crate::raw::{self, RawAsk, Wanted, What};
use crate::series::value_of;
use crate::tiered::TierAskOf;

pub(crate) const DATABASE: &str = "efd";
/// InfluxDB's default retention policy, which the observatory's client names.
pub(crate) const POLICY: &str = "autogen";
const DAY: i64 = 86_400_000_000_000;

/// One question's view.
pub(crate) struct Influx<'a> {
    pub(crate) library: &'a mut Library,
    pub(crate) budget: &'a dyn Budget,
    /// From where the last scan was answered.
    pub(crate) said: Option<String>,
    topics: BTreeMap<String, Topic>,
}

enum Where {
    Raw,
    Tier(Resolution),
}

impl<'a> Influx<'a> {
    pub(crate) fn new(library: &'a mut Library, budget: &'a dyn Budget) -> Self {
        Self {
            library,
            budget,
            said: None,
            topics: BTreeMap::new(),
        }
    }

    fn of(&self, database: &str) -> Option<Where> {
        if database == DATABASE {
            return Some(Where::Raw);
        }
        let tier = database.strip_prefix(DATABASE)?.strip_prefix('_')?;
        let tiers = self.library.shelf.settings().iter();
        let found = tiers
            .map(|tier| tier.resolution)
            .find(|it| name(*it) == tier);
        found.map(Where::Tier)
    }

    fn topic(&mut self, measurement: &str) -> Result<Option<Topic>, QueryError> {
        if let Some(topic) = self.topics.get(measurement) {
            return Ok(Some(topic.clone()));
        }
        match self.library.topic(measurement) {
            Ok(topic) => {
                self.topics.insert(measurement.to_owned(), topic.clone());
                Ok(Some(topic))
            }
            Err(QueryError::NoTopic { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The fields of a topic, flattened: element 3 of `force` is `force3`. Arrays of unknown length have none, and neither
/// has what is made of other values.
fn flattened(schema: &RecordSchema) -> Vec<(String, Column)> {
    let mut all = Vec::new();
    for field in &schema.fields {
        if matches!(field.field_type.scalar(), Some(Scalar::Bytes) | None) {
            continue;
        }
        let column = |element| Column {
            field: field.name.clone(),
            element,
            kind: kind(&field.field_type),
            units: None,
        };
        if field.field_type.is_array() {
            let elements = 0..field.length.unwrap_or(0);
            all.extend(elements.map(|it| (format!("{}{it}", field.name), column(Some(it)))));
        } else {
            all.push((field.name.clone(), column(None)));
        }
    }
    all
}

/// What a tier's database has of a topic: `mean_force3`.
fn flattened_windows(schema: &RecordSchema) -> Vec<(String, Stat, Column)> {
    let is_measured = |column: &Column| {
        let field = schema.fields.iter().find(|it| it.name == column.field);
        field.is_some_and(|field| is_measured(schema, field))
    };
    let columns = flattened(schema).into_iter();
    let columns = columns.filter(|(_, column)| is_measured(column));
    let each = columns.flat_map(|(name, column)| {
        Stat::ALL.map(|stat| (format!("{}_{name}", stat.name()), stat, column.clone()))
    });
    each.collect()
}

fn field_kind(kind: Kind) -> FieldKind {
    match kind {
        Kind::Double => FieldKind::Float,
        Kind::Long => FieldKind::Integer,
        Kind::Boolean => FieldKind::Boolean,
        Kind::Text => FieldKind::String,
    }
}

impl Source for Influx<'_> {
    type Error = QueryError;

    fn databases(&mut self) -> Result<Vec<Database>, QueryError> {
        let database = |name: String, duration: i64| Database {
            name,
            policies: vec![Policy {
                name: POLICY.into(),
                duration,
                shard: DAY.min(if duration == 0 { DAY } else { duration }),
            }],
        };
        let mut all = vec![database(DATABASE.into(), 0)];
        for tier in self.library.shelf.settings() {
            let name = format!("{DATABASE}_{}", name(tier.resolution));
            let kept = i64::try_from(tier.age_max.as_nanos()).unwrap_or(0);
            all.push(database(name, kept));
        }
        Ok(all)
    }

    fn measurements(&mut self, database: &str) -> Result<Vec<String>, QueryError> {
        let Some(place) = self.of(database) else {
            return Ok(Vec::new());
        };
        let library = &mut *self.library;
        let of_tiers = match place {
            // Aggregates are answered of tiers, whose topics may be held nowhere else.
            Where::Raw => library.shelf.topics(None),
            Where::Tier(resolution) => library.shelf.topics(Some(resolution)),
        };
        let mut all: BTreeSet<String> = of_tiers.iter().map(|it| it.to_string()).collect();
        if let Where::Raw = place {
            let held = library.catalogue.all(&mut library.reader)?;
            let held = held
                .into_iter()
                .filter(|(_, declared)| !declared.dds_topic.is_empty());
            all.extend(held.map(|(topic, _)| topic));
        }
        Ok(all.into_iter().collect())
    }

    fn fields(&mut self, database: &str, measurement: &str) -> Result<Vec<Field>, QueryError> {
        let Some(place) = self.of(database) else {
            return Ok(Vec::new());
        };
        let Some(topic) = self.topic(measurement)? else {
            return Ok(Vec::new());
        };
        let mut fields: Vec<Field> = match place {
            Where::Raw => flattened(&topic.schema)
                .into_iter()
                .map(|(name, column)| Field {
                    name,
                    kind: field_kind(column.kind),
                })
                .collect(),
            Where::Tier(_) => {
                let measured = flattened_windows(&topic.schema).into_iter();
                let salindex = Field {
                    name: "salIndex".into(),
                    kind: FieldKind::Integer,
                };
                let has_index = topic.schema.fields.iter().any(|it| it.name == "salIndex");
                let fields = measured.map(|(name, _, _)| Field {
                    name,
                    kind: FieldKind::Float,
                });
                fields.chain(has_index.then_some(salindex)).collect()
            }
        };
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(fields)
    }

    fn scan(
        &mut self,
        scan: &Scan<'_>,
        take: &mut dyn FnMut(Batch) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let Some(place) = self.of(scan.database) else {
            return Ok(());
        };
        let Some(topic) = self.topic(scan.measurement)? else {
            return Ok(());
        };
        if scan.instance.is_some_and(|it| i32::try_from(it).is_err()) {
            // No component has such an index.
            return Ok(());
        }
        match place {
            Where::Raw => {
                let known = flattened(&topic.schema);
                let column = |name: &String| {
                    let found = known.iter().find(|(known, _)| known == name);
                    found.map(|(_, column)| column.clone())
                };
                let columns: Option<Vec<Column>> = scan.fields.iter().map(column).collect();
                let Some(columns) = columns else {
                    return Ok(());
                };
                match scan
                    .windows
                    .and_then(|grid| self.fitting(&topic, &columns, scan, grid))
                {
                    Some(resolution) => self.windows(&topic, &columns, scan, resolution, take),
                    None => self.records(&topic, &columns, scan, take),
                }
            }
            Where::Tier(resolution) => self.tier(&topic, scan, resolution, take),
        }
    }

    fn message(&mut self) -> Option<String> {
        self.said.take()
    }
}

impl Influx<'_> {
    /// The coarsest tier whose windows are parts of the groups, where raw records would be many or are gone.
    fn fitting(
        &mut self,
        topic: &Topic,
        columns: &[Column],
        scan: &Scan<'_>,
        grid: Grid,
    ) -> Option<Resolution> {
        let (from, until) = (*scan.times.start(), scan.times.end().saturating_add(1));
        let offers = self.library.offers(topic, columns, (from, until));
        if !offers.is_measured {
            return None;
        }
        let needed = from.max(offers.oldest()?);
        if offers.has_raw(needed) && offers.raw.bytes <= offers.raw.bytes_max {
            return None;
        }
        let instances = self.library.shelf.known_of(&topic.name);
        let is_one = scan.instance.is_some() || instances.is_none_or(|(all, _)| all.len() <= 1);
        if grid.ends && !is_one {
            return None;
        }
        let fits = |resolution: Resolution| {
            let nanos = resolution.nanos();
            grid.every == 0 || (grid.every % nanos == 0 && grid.offset % nanos == 0)
        };
        let tiers = offers.tiers.iter().rev();
        let mut fitting = tiers.filter(|tier| tier.reaches(needed) && fits(tier.resolution));
        let coarsest = fitting.clone().next();
        let whole = fitting.find(|tier| !tier.is_building);
        whole.or(coarsest).map(|tier| tier.resolution)
    }

    fn records(
        &mut self,
        topic: &Topic,
        columns: &[Column],
        scan: &Scan<'_>,
        take: &mut dyn FnMut(Batch) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let ask = RawAsk {
            lane: topic.lane(),
            wanted: Wanted::Topic(&topic.name),
            what: What::Columns(columns),
            instance: scan.instance.and_then(|it| i32::try_from(it).ok()),
            times: ends(&scan.times),
            order: match scan.order {
                influxql::Order::Ascending => Order::Ascending,
                influxql::Order::Descending => Order::Descending,
            },
            rows: raw::ROWS,
        };
        raw::scan(self.library, &ask, self.budget, &mut |rows| {
            Ok(take(points(rows)))
        })?;
        Ok(())
    }

    fn windows(
        &mut self,
        topic: &Topic,
        columns: &[Column],
        scan: &Scan<'_>,
        resolution: Resolution,
        take: &mut dyn FnMut(Batch) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let ask = TierAskOf {
            resolution,
            topic: &topic.name,
            columns,
            instance: scan.instance.and_then(|it| i32::try_from(it).ok()),
            times: ends(&scan.times),
            wanted: Statistics::WITHOUT_QUARTILES,
            width: None,
            memory_max: self.library.holdings.limits.memory_max,
        };
        // Instances have no series of their own: their windows follow each other at one start.
        let found = self.library.windows(topic, &ask, self.budget)?;
        let mut said = format!("from the tier of {resolution}");
        if found.complete_until <= ask.times.1 {
            said += &format!(", up to {}", UtcNanos(found.complete_until));
        }
        if self.library.holdings.activity.is_building(resolution) {
            said += ", which is still being built";
        }
        let unread = found.unread_files + found.gaps.damaged_blocks;
        if unread > 0 {
            said += &format!(", without {unread} blocks or files that cannot be read");
        }
        self.said = Some(said);
        let mut all: Vec<(i64, &Windows, usize)> = found
            .windows
            .values()
            .flat_map(|windows| {
                let starts = windows.starts.iter().enumerate();
                starts.map(move |(window, start)| (*start, windows, window))
            })
            .collect();
        all.sort_by_key(|(start, _, _)| *start);
        if scan.order == influxql::Order::Descending {
            all.reverse();
        }
        let summary = |it: &Summary| {
            (it.count > 0).then_some(influxql::Summary {
                count: it.count,
                min: it.min,
                max: it.max,
                mean: it.mean,
                stdev: it.spread,
                first: it.first,
                last: it.last,
            })
        };
        let _flow = take(Batch::Windows {
            starts: all.iter().map(|(start, _, _)| *start).collect(),
            fields: (0..columns.len())
                .map(|column| {
                    let windows = all.iter();
                    let of_column =
                        windows.map(|(_, windows, window)| summary(windows.get(*window, column)));
                    of_column.collect()
                })
                .collect(),
        });
        Ok(())
    }

    /// A tier's own database: each window is a point.
    fn tier(
        &mut self,
        topic: &Topic,
        scan: &Scan<'_>,
        resolution: Resolution,
        take: &mut dyn FnMut(Batch) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let known = flattened_windows(&topic.schema);
        let mut columns: Vec<Column> = Vec::new();
        // Of each field of the scan its column; `None` is `salIndex`.
        let mut wanted: Vec<Option<(usize, Stat)>> = Vec::new();
        for field in scan.fields {
            let Some((_, stat, column)) = known.iter().find(|(name, _, _)| name == field) else {
                wanted.push(None);
                continue;
            };
            let at = columns
                .iter()
                .position(|it| it == column)
                .unwrap_or_else(|| {
                    columns.push(column.clone());
                    columns.len() - 1
                });
            wanted.push(Some((at, *stat)));
        }
        if columns.is_empty() {
            // Which windows there are is known of any channel.
            columns.extend(known.first().map(|(_, _, column)| column.clone()));
        }
        let ask = TierAskOf {
            resolution,
            topic: &topic.name,
            columns: &columns,
            instance: scan.instance.and_then(|it| i32::try_from(it).ok()),
            times: ends(&scan.times),
            wanted: Statistics::ALL,
            width: None,
            memory_max: self.library.holdings.limits.memory_max,
        };
        let by_instance = self.library.shelf.windows(&ask, self.budget)?.windows;
        let mut all: Vec<(i64, Option<i32>, &Windows, usize)> = by_instance
            .iter()
            .flat_map(|(instance, windows)| {
                let starts = windows.starts.iter().enumerate();
                starts.map(move |(window, start)| (*start, *instance, windows, window))
            })
            .collect();
        all.sort_by_key(|(start, instance, _, _)| (*start, *instance));
        if scan.order == influxql::Order::Descending {
            all.reverse();
        }
        let column = |wanted: &Option<(usize, Stat)>| match wanted {
            Some((column, stat)) => {
                let values = all.iter().map(|(_, _, windows, window)| {
                    let value = value_of(*stat, windows.get(*window, *column));
                    value.filter(|value| value.is_finite())
                });
                influxql::Column::Float(values.collect())
            }
            None => {
                let instances = all
                    .iter()
                    .map(|(_, instance, _, _)| instance.map(i64::from));
                influxql::Column::Integer(instances.collect())
            }
        };
        let _flow = take(Batch::Points {
            times: all.iter().map(|(start, _, _, _)| *start).collect(),
            columns: wanted.iter().map(column).collect(),
        });
        Ok(())
    }
}

fn ends(times: &RangeInclusive<i64>) -> (i64, i64) {
    // `i64::MIN` has no negative.
    ((*times.start()).max(UtcNanos(i64::MIN + 1).0), *times.end())
}

/// InfluxDB has neither NaN nor infinities: such a value is not in its point.
fn points(rows: Rows) -> Batch {
    let columns = rows.columns.into_iter().map(|column| match column {
        Values::Double(values) => {
            let finite = values.into_iter();
            let finite = finite.map(|value| value.filter(|value| value.is_finite()));
            influxql::Column::Float(finite.collect())
        }
        Values::Long(values) => influxql::Column::Integer(values),
        Values::Boolean(values) => influxql::Column::Boolean(values),
        Values::Text(values) => influxql::Column::String(values),
    });
    Batch::Points {
        times: rows.times,
        columns: columns.collect(),
    }
}
