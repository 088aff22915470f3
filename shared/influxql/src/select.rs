//! SELECT: which measurements, what of each is read, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, RangeInclusive};

use crate::ast::{Name, Page, Select};
use crate::catalog::Catalog;
use crate::error::StatementError;
use crate::expand::Fields;
use crate::groups::Grouping;
use crate::output::{Head, Writer};
use crate::plan::{Groups, Plan};
use crate::points::Points;
use crate::reading::{Measurement, Reading, Rows};
use crate::scalar::Value;
use crate::source::{FieldKind, Order, Source};
use crate::streams::{Joining, Missing, Stream};
use crate::{Limits, Request};

/// Answers it into the writer; what the source says of its scans is left with the writer too.
pub(crate) fn select<S: Source>(
    select: &Select,
    request: &Request<'_>,
    source: &mut S,
    writer: &mut Writer<'_>,
) -> Result<(), StatementError> {
    let measurements = measurements(select, request, source)?;
    let mut fields = Fields::new();
    for it in measurements.values().flat_map(|it| &it.fields) {
        let kind = fields.entry(it.0.clone()).or_insert(*it.1);
        // The kind that can hold the other.
        *kind = std::cmp::min_by_key(*kind, *it.1, |kind| rank(*kind));
    }
    let plan = Plan::new(select, &fields, request.now, &request.limits)?;
    // Of each measurement there is one series: it has no tags.
    if select.series.offset > 0 || plan.times.is_empty() || plan.nodes.is_empty() {
        return Ok(());
    }
    let mut each: Vec<&Measurement> = measurements.values().collect();
    if plan.is_descending {
        each.reverse();
    }
    for measurement in each {
        let one = One {
            plan: &plan,
            measurement,
            limits: &request.limits,
        };
        match &plan.groups {
            Some(groups) => one.groups(groups, source, writer)?,
            None => one.points(source, writer)?,
        }
        if writer.is_closed() {
            return Ok(());
        }
    }
    Ok(())
}

/// As InfluxDB ranks them.
fn rank(kind: FieldKind) -> u8 {
    match kind {
        FieldKind::Float => 0,
        FieldKind::Integer => 1,
        FieldKind::String => 2,
        FieldKind::Boolean => 3,
    }
}

/// By name: so they are answered, however they were asked for.
fn measurements<S: Source>(
    select: &Select,
    request: &Request<'_>,
    source: &mut S,
) -> Result<BTreeMap<String, Measurement>, StatementError> {
    let mut found = BTreeMap::new();
    for origin in &select.origins {
        let catalog = Catalog::of(source, origin.database.as_deref().or(request.database))?;
        let database = catalog.database(origin.policy.as_deref())?;
        let names: BTreeSet<String> = match &origin.name {
            Name::Exact(name) => BTreeSet::from([name.clone()]),
            Name::Matching(pattern) => {
                let all = source
                    .measurements(&database)
                    .map_err(StatementError::source)?;
                all.into_iter().filter(|it| pattern.is_match(it)).collect()
            }
        };
        for name in names {
            let fields = source
                .fields(&database, &name)
                .map_err(StatementError::source)?;
            let fields = fields.into_iter().map(|it| (it.name, it.kind)).collect();
            let measurement = Measurement {
                database: database.clone(),
                name: name.clone(),
                fields,
            };
            if found.insert(name.clone(), measurement).is_some() {
                return Err(StatementError::outside(format!("{name:?} twice in FROM")));
            }
        }
    }
    Ok(found)
}

/// What is answered of one measurement.
struct One<'a> {
    plan: &'a Plan,
    measurement: &'a Measurement,
    limits: &'a Limits,
}

impl One<'_> {
    fn points<S: Source>(
        &self,
        source: &mut S,
        writer: &mut Writer<'_>,
    ) -> Result<(), StatementError> {
        let plan = self.plan;
        let order = if plan.is_descending {
            Order::Descending
        } else {
            Order::Ascending
        };
        let mut points = Points::new(plan);
        writer.series(self.head());
        let message = self
            .scan(plan.times.clone(), order)
            .run(source, &mut |batch| {
                let (times, rows) = batch.points()?;
                let mut row = Vec::with_capacity(plan.nodes.len());
                for (index, &time) in times.iter().enumerate() {
                    let value = |number| rows.value(number, index);
                    if !plan.predicate.as_ref().is_none_or(|it| it.holds(&value)) {
                        continue;
                    }
                    if points.row(time, &value, &mut row)
                        && writer.row(time, row.iter().copied())?.is_break()
                    {
                        return Ok(ControlFlow::Break(()));
                    }
                    if points.is_full() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            })?;
        message.into_iter().for_each(|it| writer.message(it));
        Ok(())
    }

    fn groups<S: Source>(
        &self,
        groups: &Groups,
        source: &mut S,
        writer: &mut Writer<'_>,
    ) -> Result<(), StatementError> {
        let plan = self.plan;
        let mut grouping = Grouping::new(plan, groups, self.limits);
        let mut scan = self.scan(Grouping::times(plan, groups), Order::Ascending);
        scan.windows = plan.windows(|name| self.measurement.fields.get(name).copied());
        let message = scan.run(source, &mut |batch| {
            match batch {
                Rows::Points(times, rows) => {
                    for (index, &time) in times.iter().enumerate() {
                        let value = |number| rows.value(number, index);
                        if plan.predicate.as_ref().is_none_or(|it| it.holds(&value)) {
                            grouping.point(time, &value)?;
                        }
                    }
                }
                Rows::Windows(starts, rows) => {
                    for (index, &time) in starts.iter().enumerate() {
                        grouping.window(time, &|number| rows.summary(number, index))?;
                    }
                }
            }
            grouping.check_held()?;
            Ok(ControlFlow::Continue(()))
        })?;
        message.into_iter().for_each(|it| writer.message(it));

        let calls = grouping.finish()?;
        let joining = Joining {
            fill: plan.fill,
            is_descending: plan.is_descending,
        };
        let streams: Vec<Stream> = plan
            .nodes
            .iter()
            .map(|it| joining.stream(it, &calls))
            .collect();
        drop(calls);
        writer.series(self.head());
        self.rows(joining, &streams, writer)
    }

    fn rows(
        &self,
        joining: Joining,
        streams: &[Stream],
        writer: &mut Writer<'_>,
    ) -> Result<(), StatementError> {
        let mut columns: Vec<Missing> =
            self.plan.kinds.iter().map(|it| Missing::new(*it)).collect();
        let Page { limit, offset } = self.plan.page;
        let (mut passed, mut result) = (0, Ok(()));
        joining.rows(streams, |time, row| {
            passed += 1;
            let cells = row.iter().zip(&mut columns);
            let values: Vec<Option<Value>> = cells
                .map(|(cell, column)| column.or_filled(*cell, self.plan.fill))
                .collect();
            if passed <= offset {
                return true;
            }
            let values = values.iter().map(|it| it.as_ref().map(Value::scalar));
            match writer.row(time, values) {
                Ok(flow) => {
                    flow.is_continue() && (limit == 0 || passed < limit.saturating_add(offset))
                }
                Err(error) => {
                    result = Err(error);
                    false
                }
            }
        });
        result
    }

    fn scan(&self, times: RangeInclusive<i64>, order: Order) -> Reading<'_> {
        Reading {
            plan: self.plan,
            measurement: self.measurement,
            times,
            order,
            windows: None,
        }
    }

    fn head(&self) -> Head<'_> {
        Head {
            name: Some(&self.measurement.name),
            tags: &self.plan.tags,
            columns: &self.plan.columns,
        }
    }
}
