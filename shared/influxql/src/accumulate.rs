//! What is kept of one group for one call.

mod extremes;
mod moments;

pub(crate) use extremes::Sample;
pub(crate) use moments::Sum;

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::function::Function;
use crate::scalar::{Scalar, Value};
use crate::source::Summary;

use extremes::{Extremes, percentile};
use moments::Deviation;

/// One of a group: its time means something where one was selected.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selected {
    pub(crate) time: i64,
    pub(crate) value: Option<Value>,
    /// Other fields of the point that was selected.
    pub(crate) beside: Vec<Option<Value>>,
}

impl Selected {
    fn of(value: Option<Value>) -> Self {
        Self {
            time: 0,
            value,
            beside: Vec::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Accumulator {
    Count(u64),
    Sum(Sum),
    Mean(Sum),
    /// The one that compares so with all others; of equal ones the earliest.
    Extreme(Ordering, Option<Selected>),
    First(Option<Selected>),
    Last(Option<Selected>),
    Spread(Option<(Value, Value)>),
    Stddev(Deviation),
    Median(Vec<Sample>),
    Percentile(f64, Vec<Sample>),
    Distinct {
        seen: HashSet<Key>,
        values: Vec<Value>,
        is_counted: bool,
    },
    Extremes(Extremes),
}

/// A value that can be looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Float(u64),
    Integer(i64),
    Boolean(bool),
    String(String),
}

impl From<Scalar<'_>> for Key {
    fn from(scalar: Scalar<'_>) -> Self {
        match scalar {
            // Zero has one sign.
            Scalar::Float(value) => Self::Float((value + 0.0).to_bits()),
            Scalar::Integer(value) => Self::Integer(value),
            Scalar::Boolean(value) => Self::Boolean(value),
            Scalar::String(value) => Self::String(value.to_owned()),
        }
    }
}

impl Accumulator {
    pub(crate) fn new(function: Function) -> Self {
        match function {
            Function::Count => Self::Count(0),
            Function::Sum => Self::Sum(Sum::default()),
            Function::Mean => Self::Mean(Sum::default()),
            Function::Min => Self::Extreme(Ordering::Less, None),
            Function::Max => Self::Extreme(Ordering::Greater, None),
            Function::First => Self::First(None),
            Function::Last => Self::Last(None),
            Function::Spread => Self::Spread(None),
            Function::Stddev => Self::Stddev(Deviation::default()),
            Function::Median => Self::Median(Vec::new()),
            Function::Percentile(of) => Self::Percentile(of, Vec::new()),
            Function::Distinct => Self::distinct(false),
            Function::CountDistinct => Self::distinct(true),
            Function::Top(count) => Self::Extremes(Extremes::new(Ordering::Greater, count)),
            Function::Bottom(count) => Self::Extremes(Extremes::new(Ordering::Less, count)),
        }
    }

    fn distinct(is_counted: bool) -> Self {
        Self::Distinct {
            seen: HashSet::new(),
            values: Vec::new(),
            is_counted,
        }
    }

    /// Points come in the order of time. `beside` gives the other fields of the point.
    pub(crate) fn add(
        &mut self,
        time: i64,
        scalar: Scalar<'_>,
        beside: &dyn Fn() -> Vec<Option<Value>>,
    ) {
        let selected = || Selected {
            time,
            value: Some(scalar.into()),
            beside: beside(),
        };
        match self {
            Self::Count(count) => *count += 1,
            Self::Sum(sum) | Self::Mean(sum) => sum.add(scalar),
            Self::Extreme(wanted, best) => {
                let current = best.as_ref().and_then(|it| it.value.as_ref());
                if current.is_none_or(|it| order(scalar, it.scalar()) == *wanted) {
                    *best = Some(selected());
                }
            }
            Self::First(first) => {
                first.get_or_insert_with(selected);
            }
            Self::Last(last) => *last = Some(selected()),
            Self::Spread(spread) => widen(spread, scalar, scalar),
            Self::Stddev(deviation) => deviation.add(scalar),
            Self::Median(samples) | Self::Percentile(_, samples) => {
                samples.extend(Sample::new(time, scalar))
            }
            Self::Distinct { seen, values, .. } => {
                if seen.insert(scalar.into()) {
                    values.push(scalar.into());
                }
            }
            Self::Extremes(extremes) => extremes.add(Sample::new(time, scalar), beside),
        }
    }

    /// Windows come in the order of time. Only of functions that [`Function::is_of_summaries`] says so of.
    pub(crate) fn merge(&mut self, start: i64, summary: &Summary, is_integer: bool) {
        let scalar = |value: f64| {
            if is_integer {
                Scalar::Integer(value.round() as i64)
            } else {
                Scalar::Float(value)
            }
        };
        match self {
            Self::Count(count) => *count += summary.count,
            Self::Sum(sum) | Self::Mean(sum) => sum.merge(summary, is_integer),
            Self::Stddev(deviation) => deviation.merge(summary),
            Self::Spread(spread) => widen(spread, scalar(summary.min), scalar(summary.max)),
            Self::Extreme(Ordering::Less, _) => self.add(start, scalar(summary.min), &Vec::new),
            Self::Extreme(..) => self.add(start, scalar(summary.max), &Vec::new),
            Self::First(_) => self.add(start, scalar(summary.first), &Vec::new),
            Self::Last(_) => self.add(start, scalar(summary.last), &Vec::new),
            Self::Median(_) | Self::Percentile(..) | Self::Distinct { .. } | Self::Extremes(_) => {
                unreachable!("windows are asked for only where all functions are of summaries")
            }
        }
    }

    /// How many values it holds.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Median(samples) | Self::Percentile(_, samples) => samples.len(),
            Self::Distinct { values, .. } => values.len(),
            Self::Extremes(extremes) => extremes.held(),
            Self::Count(_)
            | Self::Sum(_)
            | Self::Mean(_)
            | Self::Extreme(..)
            | Self::First(_)
            | Self::Last(_)
            | Self::Spread(_)
            | Self::Stddev(_) => 1,
        }
    }

    /// Nothing, if nothing came.
    pub(crate) fn finish(self) -> Vec<Selected> {
        let one =
            |value: Option<Value>| value.map(|it| Selected::of(Some(it))).into_iter().collect();
        match self {
            Self::Count(0) => Vec::new(),
            Self::Count(count) => one(Some(Value::Integer(
                i64::try_from(count).unwrap_or(i64::MAX),
            ))),
            Self::Sum(sum) => one(sum.sum()),
            Self::Mean(sum) => one(sum.mean().map(Value::Float)),
            Self::Extreme(_, selected) | Self::First(selected) | Self::Last(selected) => {
                selected.into_iter().collect()
            }
            Self::Spread(spread) => one(spread.map(|(min, max)| match (min, max) {
                (Value::Integer(min), Value::Integer(max)) => Value::Integer(max.wrapping_sub(min)),
                (min, max) => {
                    let [min, max] = [min, max].map(|it| it.scalar().as_f64().unwrap_or(f64::NAN));
                    Value::Float(max - min)
                }
            })),
            Self::Stddev(deviation) if deviation.count() == 0 => Vec::new(),
            Self::Stddev(deviation) => vec![Selected::of(deviation.stddev().map(Value::Float))],
            Self::Median(samples) => one(extremes::median(samples).map(Value::Float)),
            Self::Percentile(of, samples) => percentile(samples, of).into_iter().collect(),
            Self::Distinct {
                values,
                is_counted: true,
                ..
            } if values.is_empty() => Vec::new(),
            Self::Distinct {
                values,
                is_counted: true,
                ..
            } => one(Some(Value::Integer(values.len() as i64))),
            Self::Distinct { values, .. } => values
                .into_iter()
                .map(|it| Selected::of(Some(it)))
                .collect(),
            Self::Extremes(extremes) => extremes.finish(),
        }
    }
}

/// Of values of one kind.
pub(crate) fn order(a: Scalar<'_>, b: Scalar<'_>) -> Ordering {
    match (a, b) {
        (Scalar::Integer(a), Scalar::Integer(b)) => a.cmp(&b),
        (Scalar::Boolean(a), Scalar::Boolean(b)) => a.cmp(&b),
        (Scalar::String(a), Scalar::String(b)) => a.cmp(b),
        (a, b) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (None, _) | (_, None) => Ordering::Equal,
        },
    }
}

fn widen(spread: &mut Option<(Value, Value)>, least: Scalar<'_>, greatest: Scalar<'_>) {
    let Some((min, max)) = spread else {
        *spread = Some((least.into(), greatest.into()));
        return;
    };
    if order(least, min.scalar()).is_lt() {
        *min = least.into();
    }
    if order(greatest, max.scalar()).is_gt() {
        *max = greatest.into();
    }
}
