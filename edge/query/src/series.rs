//! Values of a topic's fields over a span of time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use efd_shared_avro::RecordSchema;
use efd_shared_model::TopicKind;
use efd_shared_stats::{Resolution, Summary};
use efd_shared_store::Position;
use efd_shared_tiers::{Statistic, Statistics, is_measured};

use crate::answer::{Answer, AnswerColumn, Part};
use crate::ask::{Column, FieldAsk, Stat, TierAsk, columns};
use crate::catalogue::Topic;
use crate::choose::{Choice, From, Offers, RawOffer, TierOffer, choose};
use crate::columns::{Order, Rows, Values};
use crate::error::{QueryError, alike};
use crate::fold::{ByInstance, Folding, Windows, begin_of};
use crate::library::{Budget, Library, Limits};
use crate::raw::{self, Gaps, RawAsk, Wanted, What};
use crate::tiered::TierAskOf;

#[derive(Clone, Debug)]
pub struct SeriesAsk {
    pub topic: String,
    /// None: all of them but arrays of varying length.
    pub fields: Vec<FieldAsk>,
    pub instance: Option<i32>,
    /// `from..until`, ns UTC.
    pub times: (i64, i64),
    /// Of each column and instance, about.
    pub points: Option<usize>,
    pub tier: TierAsk,
    pub statistics: Vec<Stat>,
}

impl Library {
    pub fn series(&mut self, ask: &SeriesAsk, budget: &dyn Budget) -> Result<Answer, QueryError> {
        let topic = self.topic(&ask.topic)?;
        let columns = columns(&topic.name, &topic.schema, &ask.fields)?;
        let offers = self.offers(&topic, &columns, ask.times);
        let choice = choose(&ask.tier, &offers, ask.times, ask.points)?;
        let mut work = Work {
            topic: &topic,
            columns: &columns,
            ask,
            choice: &choice,
            gaps: Gaps::default(),
        };
        match choice.from {
            From::Raw => self.out_of_raw(&mut work, budget),
            From::Tier(resolution) => self.out_of_tier(&mut work, resolution, budget),
        }
    }

    /// Wherever something of it is held.
    pub(crate) fn topic(&mut self, name: &str) -> Result<Topic, QueryError> {
        if let Some(topic) = self.catalogue.topic(&mut self.reader, name)? {
            return Ok(topic);
        }
        if let Some((_, schema)) = self.shelf.known_of(name)
            && let Ok(schema) = RecordSchema::parse(&schema)
        {
            return Ok(Topic {
                name: name.to_owned(),
                kind: TopicKind::Telemetry,
                schema: schema.into(),
            });
        }
        let known = self.catalogue.all(&mut self.reader)?;
        Err(QueryError::NoTopic {
            topic: name.to_owned(),
            similar: alike(name, known.keys().map(String::as_str)),
        })
    }

    pub(crate) fn offers(
        &mut self,
        topic: &Topic,
        columns: &[Column],
        (from, until): (i64, i64),
    ) -> Offers {
        let fields = &topic.schema.fields;
        let is_measured = |column: &Column| {
            let field = fields.iter().find(|field| field.name == column.field);
            field.is_some_and(|field| is_measured(&topic.schema, field))
        };
        let is_measured = topic.kind == TopicKind::Telemetry && columns.iter().all(is_measured);
        let tiers = self
            .shelf
            .reaches(&topic.name)
            .into_iter()
            .map(|reach| TierOffer {
                resolution: reach.resolution,
                begin: reach.begin.map(|begin| begin.0),
                is_building: self.holdings.activity.is_building(reach.resolution),
            });
        Offers {
            tiers: tiers.collect(),
            raw: self.raw_offer(topic, (from, until)),
            is_measured,
        }
    }

    pub(crate) fn raw_offer(&self, topic: &Topic, (from, until): (i64, i64)) -> RawOffer {
        let lane = topic.lane();
        let mut raw = RawOffer {
            begin: None,
            is_whole: self
                .reader
                .lanes()
                .iter()
                .all(|name| !name.is_of(lane) || self.reader.floor(name) <= Position::FIRST),
            committed: i64::MIN,
            bytes: 0,
            bytes_max: self.holdings.limits.raw_bytes,
        };
        for info in self.reader.segments() {
            let Some((min, max)) = info.contents.event_span() else {
                continue;
            };
            if !info.key.lane.is_of(lane) {
                continue;
            }
            // One stamp far off must not say that the buffer reaches back to it.
            let begin = min.0.max(info.created.0.saturating_sub(STAMPS_OFF));
            raw.begin = Some(raw.begin.map_or(begin, |known| known.min(begin)));
            raw.committed = raw.committed.max(info.newest().0);
            let length = max.0.saturating_sub(begin).max(1);
            let common = until.min(max.0).saturating_sub(from.max(begin)).max(0);
            let bytes: u64 = info
                .contents
                .lanes
                .values()
                .map(|it| it.payload_bytes)
                .sum();
            let share = (common as f64 / length as f64).min(1.0);
            raw.bytes += (bytes as f64 * share).ceil() as u64;
        }
        raw
    }

    fn out_of_raw(
        &mut self,
        work: &mut Work<'_>,
        budget: &dyn Budget,
    ) -> Result<Answer, QueryError> {
        let Limits {
            values_max,
            memory_max,
            ..
        } = self.holdings.limits;
        let shown = work.columns.len() * work.ask.statistics.len().max(1);
        let rows_max = values_max / work.columns.len().max(1);
        let windows_max = values_max / shown.max(1);
        let mut bytes = 0;
        let mut rows: Vec<Rows> = Vec::new();
        let mut count = 0;
        let mut folding: Option<Folding> = None;
        let (from, until) = work.ask.times;
        let from = work
            .choice
            .width
            .map_or(from, |width| begin_of(from, width));
        let ask = work.raw_ask((from, until));
        let points = work.ask.points;
        let width = work.choice.width;
        let columns_count = work.columns.len();
        let gaps = raw::scan(self, &ask, budget, &mut |more| {
            if let Some(folding) = &mut folding {
                folding.take(&more);
                return match folding {
                    _ if windows_max < folding.len() => {
                        Err(QueryError::TooManyValues { max: values_max })
                    }
                    _ if memory_max < folding.bytes() => {
                        Err(QueryError::TooMuchMemory { max: memory_max })
                    }
                    _ => Ok(ControlFlow::Continue(())),
                };
            }
            count += more.len();
            bytes += more.bytes();
            if memory_max < bytes {
                return Err(QueryError::TooMuchMemory { max: memory_max });
            }
            rows.push(more);
            // More records than points: windows from here on, and of what came before.
            if let (Some(points), Some(width)) = (points, width)
                && points < count
            {
                let mut begun = Folding::new(width, columns_count);
                rows.drain(..).for_each(|rows| begun.take(&rows));
                folding = Some(begun);
            } else if rows_max < count {
                return Err(QueryError::TooManyValues { max: values_max });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        work.gaps = gaps;
        match folding {
            Some(folding) => Ok(work.windows(folding.finish(), width)),
            None => {
                let from = work.ask.times.0;
                rows.iter_mut().for_each(|rows| rows.drop_before(from));
                Ok(work.records(rows))
            }
        }
    }

    fn out_of_tier(
        &mut self,
        work: &mut Work<'_>,
        resolution: Resolution,
        budget: &dyn Budget,
    ) -> Result<Answer, QueryError> {
        let limits = self.holdings.limits;
        let step = work.choice.width.unwrap_or_else(|| resolution.nanos());
        let (from, until) = work.ask.times;
        let ask = TierAskOf {
            resolution,
            topic: &work.topic.name,
            columns: work.columns,
            instance: work.ask.instance,
            times: (begin_of(from, step), until.saturating_sub(1)),
            wanted: statistics(&work.ask.statistics),
            width: work.choice.width,
            memory_max: limits.memory_max,
        };
        let mut all = self.windows(work.topic, &ask, budget)?;
        if let Some(width) = work.choice.width {
            for of_instance in all.windows.values_mut() {
                *of_instance = std::mem::take(of_instance).coarsened(width);
            }
        }
        let count: usize = all.windows.values().map(Windows::len).sum();
        let columns = work.columns.len() * work.ask.statistics.len().max(1);
        if limits.values_max / columns.max(1) < count {
            return Err(QueryError::TooManyValues {
                max: limits.values_max,
            });
        }
        let answer = work.windows(all.windows, Some(step));
        Ok(Answer {
            raw_since: all.raw_since,
            complete_until: all.complete_until,
            is_building: self.holdings.activity.is_building(resolution),
            damaged_blocks: all.gaps.damaged_blocks,
            unread_files: all.unread_files,
            ..answer
        })
    }
}

/// A publisher's clock may be so far off, ns, without moving where raw data are thought to begin.
const STAMPS_OFF: i64 = 600_000_000_000;

/// What has to be read of windows for what is to be shown of them.
fn statistics(shown: &[Stat]) -> Statistics {
    let mut wanted = Statistics::NONE.and(Statistic::NanCount);
    for stat in shown {
        let needed: &[Statistic] = match stat {
            Stat::Count | Stat::NanCount => &[],
            Stat::Min => &[Statistic::Min],
            Stat::Max => &[Statistic::Max],
            Stat::Mean => &[Statistic::Mean],
            // Two windows of one start are merged.
            Stat::Stdev => &[Statistic::Mean, Statistic::Spread],
            Stat::First => &[Statistic::First],
            Stat::Last => &[Statistic::Last],
            Stat::Q1 | Stat::Median | Stat::Q3 => {
                &[Statistic::Q1, Statistic::Median, Statistic::Q3]
            }
        };
        wanted = needed.iter().fold(wanted, |wanted, one| wanted.and(*one));
    }
    wanted
}

struct Work<'a> {
    topic: &'a Topic,
    columns: &'a [Column],
    ask: &'a SeriesAsk,
    choice: &'a Choice,
    gaps: Gaps,
}

impl<'a> Work<'a> {
    fn raw_ask(&self, (from, until): (i64, i64)) -> RawAsk<'a> {
        RawAsk {
            lane: self.topic.lane(),
            wanted: Wanted::Topic(&self.topic.name),
            what: What::Columns(self.columns),
            instance: self.ask.instance,
            times: (from, until.saturating_sub(1)),
            order: Order::Ascending,
            rows: raw::ROWS,
        }
    }

    fn answer(
        &self,
        resolution: Option<i64>,
        columns: Vec<AnswerColumn>,
        parts: Vec<Part>,
    ) -> Answer {
        Answer {
            topic: self.topic.name.clone(),
            tier: self.choice.from.to_string(),
            why: self.choice.why.clone(),
            resolution,
            times: self.ask.times,
            columns,
            parts,
            raw_since: None,
            complete_until: self.ask.times.1,
            is_building: false,
            damaged_blocks: self.gaps.damaged_blocks,
            unread_files: 0,
        }
    }

    fn records(&self, rows: Vec<Rows>) -> Answer {
        let mut parts: BTreeMap<Option<i32>, Part> = BTreeMap::new();
        let kinds = || self.columns.iter().map(|column| column.kind.empty());
        let instances: Vec<Option<i32>> = match self.ask.instance {
            Some(instance) => vec![Some(instance)],
            None => {
                let all = rows.iter().flat_map(|rows| rows.instances.iter().copied());
                let all: std::collections::BTreeSet<_> = all.collect();
                all.into_iter().collect()
            }
        };
        let is_one = instances.len() == 1;
        for mut rows in rows {
            let groups: Vec<(Option<i32>, Rows)> = match is_one {
                true => vec![(instances[0], rows)],
                false => instances
                    .iter()
                    .map(|instance| (*instance, rows.take_instance(*instance)))
                    .collect(),
            };
            for (instance, mut rows) in groups {
                let part = parts.entry(instance).or_insert_with(|| Part {
                    instance,
                    times: Vec::new(),
                    values: kinds().collect(),
                });
                part.times.append(&mut rows.times);
                for (column, more) in part.values.iter_mut().zip(&mut rows.columns) {
                    column.append(more);
                }
            }
        }
        let columns = self.columns.iter().map(|column| AnswerColumn {
            name: column.to_string(),
            field: column.field.clone(),
            element: column.element,
            statistic: None,
            units: column.units.clone(),
        });
        self.answer(None, columns.collect(), parts.into_values().collect())
    }

    fn windows(&self, windows: ByInstance, resolution: Option<i64>) -> Answer {
        let shown = &self.ask.statistics;
        let of_columns = self.columns.iter().flat_map(|column| {
            shown.iter().map(move |&stat| AnswerColumn {
                name: format!("{column}.{}", stat.name()),
                field: column.field.clone(),
                element: column.element,
                statistic: Some(stat),
                units: column.units.clone().filter(|_| stat.has_units()),
            })
        });
        let parts = windows.into_iter().map(|(instance, windows)| {
            let mut values = Vec::new();
            for column in 0..self.columns.len() {
                for &stat in shown {
                    let all = 0..windows.len();
                    let value = |window| value_of(stat, windows.get(window, column));
                    values.push(Values::Double(all.map(value).collect()));
                }
            }
            Part {
                instance,
                times: windows.starts,
                values,
            }
        });
        self.answer(resolution, of_columns.collect(), parts.collect())
    }
}

/// `None` where a window has none.
pub(crate) fn value_of(stat: Stat, summary: &Summary) -> Option<f64> {
    let quartiles = summary.quartiles.as_ref();
    let value = match stat {
        Stat::Count => return Some(summary.count as f64),
        Stat::NanCount => return Some(summary.nan_count as f64),
        // All NaN of a window without values.
        Stat::Min => summary.min,
        Stat::Max => summary.max,
        Stat::Mean => summary.mean,
        Stat::Stdev => return summary.stdev(),
        Stat::First => summary.first,
        Stat::Last => summary.last,
        Stat::Q1 => quartiles?.q1,
        Stat::Median => quartiles?.median,
        Stat::Q3 => quartiles?.q3,
    };
    (!value.is_nan()).then_some(value)
}
