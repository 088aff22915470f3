//! One scan of one measurement: the plan's fields looked up in what the source gives.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};

use crate::error::StatementError;
use crate::plan::Plan;
use crate::scalar::{self, Scalar};
use crate::source::{Batch, Column, FieldKind, Grid, Order, Scan, Source, Summary};

#[derive(Debug)]
pub(crate) struct Measurement {
    pub(crate) database: String,
    pub(crate) name: String,
    pub(crate) fields: BTreeMap<String, FieldKind>,
}

pub(crate) struct Reading<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) measurement: &'a Measurement,
    pub(crate) times: RangeInclusive<i64>,
    pub(crate) order: Order,
    pub(crate) windows: Option<Grid>,
}

/// A batch, its times apart.
pub(crate) enum Rows<'a> {
    Points(&'a [i64], PointRows<'a>),
    Windows(&'a [i64], WindowRows<'a>),
}

impl<'a> Rows<'a> {
    /// Where no windows were asked for.
    pub(crate) fn points(self) -> Result<(&'a [i64], PointRows<'a>), StatementError> {
        match self {
            Self::Points(times, rows) => Ok((times, rows)),
            Self::Windows(..) => Err(StatementError::invalid(
                "the source gave windows where points were asked for",
            )),
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct PointRows<'a> {
    places: &'a [Option<usize>],
    columns: &'a [Column],
}

impl<'a> PointRows<'a> {
    /// Of a field by its number in the plan.
    pub(crate) fn value(self, number: usize, row: usize) -> Option<Scalar<'a>> {
        scalar::at(self.columns.get(self.places[number]?)?, row)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct WindowRows<'a> {
    places: &'a [Option<(usize, FieldKind)>],
    fields: &'a [Vec<Option<Summary>>],
}

impl<'a> WindowRows<'a> {
    /// Of a field by its number in the plan.
    pub(crate) fn summary(self, number: usize, row: usize) -> Option<(&'a Summary, FieldKind)> {
        let (place, kind) = self.places[number]?;
        let summary = self.fields.get(place)?.get(row)?.as_ref()?;
        Some((summary, kind))
    }
}

impl Reading<'_> {
    /// Batch by batch; what the source says of the scan.
    pub(crate) fn run<S: Source>(
        &self,
        source: &mut S,
        take: &mut dyn FnMut(Rows<'_>) -> Result<ControlFlow<()>, StatementError>,
    ) -> Result<Option<String>, StatementError> {
        let Self {
            plan, measurement, ..
        } = *self;
        let is_there = |name: &&String| measurement.fields.contains_key(*name);
        // The condition alone gives no row.
        if !plan.fields[..plan.selected].iter().any(|it| is_there(&it)) {
            return Ok(None);
        }
        let fields: Vec<String> = plan.fields.iter().filter(is_there).cloned().collect();
        let place = |name: &String| fields.iter().position(|it| it == name);
        let places: Vec<Option<usize>> = plan.fields.iter().map(place).collect();
        let placed = |(name, place): (&String, &Option<usize>)| {
            Some(((*place)?, *measurement.fields.get(name)?))
        };
        let kinds: Vec<_> = plan.fields.iter().zip(&places).map(placed).collect();
        let scan = Scan {
            database: &measurement.database,
            measurement: &measurement.name,
            fields: &fields,
            times: self.times.clone(),
            order: self.order,
            instance: plan.instance,
            windows: self.windows,
        };
        let mut failed = None;
        let scanned = source.scan(&scan, &mut |batch| {
            let rows = match &batch {
                Batch::Points { times, columns } => Rows::Points(
                    times,
                    PointRows {
                        places: &places,
                        columns,
                    },
                ),
                Batch::Windows { starts, fields } => Rows::Windows(
                    starts,
                    WindowRows {
                        places: &kinds,
                        fields,
                    },
                ),
            };
            take(rows).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            })
        });
        match failed {
            Some(error) => Err(error),
            None => scanned
                .map(|()| source.message())
                .map_err(StatementError::source),
        }
    }
}
