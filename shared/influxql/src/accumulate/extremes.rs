//! Functions that need a group's values themselves.

use std::cmp::Ordering;

use super::{Selected, order};
use crate::scalar::{Scalar, Value};

/// A number with its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    time: i64,
    value: Number,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Float(f64),
    Integer(i64),
}

impl Sample {
    /// `None`: it is not a number.
    pub(crate) fn new(time: i64, scalar: Scalar<'_>) -> Option<Self> {
        let value = match scalar {
            Scalar::Float(value) => Number::Float(value),
            Scalar::Integer(value) => Number::Integer(value),
            Scalar::Boolean(_) | Scalar::String(_) => return None,
        };
        Some(Self { time, value })
    }

    fn scalar(&self) -> Scalar<'static> {
        match self.value {
            Number::Float(value) => Scalar::Float(value),
            Number::Integer(value) => Scalar::Integer(value),
        }
    }

    fn as_f64(&self) -> f64 {
        match self.value {
            Number::Float(value) => value,
            Number::Integer(value) => value as f64,
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        order(self.scalar(), other.scalar())
    }

    fn selected(&self, beside: Vec<Option<Value>>) -> Selected {
        Selected {
            time: self.time,
            value: Some(self.scalar().into()),
            beside,
        }
    }
}

pub(super) fn median(mut samples: Vec<Sample>) -> Option<f64> {
    samples.sort_unstable_by(Sample::order);
    let middle = samples.len() / 2;
    let upper = samples.get(middle)?.as_f64();
    if samples.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = samples[middle - 1].as_f64();
    Some(lower + (upper - lower) / 2.0)
}

/// The nearest rank; of equal values the earlier come first.
pub(super) fn percentile(mut samples: Vec<Sample>, of: f64) -> Option<Selected> {
    samples.sort_by(Sample::order);
    let rank = (samples.len() as f64 * of / 100.0 + 0.5).floor() - 1.0;
    if rank < 0.0 {
        return None;
    }
    Some(samples.get(rank as usize)?.selected(Vec::new()))
}

/// The first of an order, a few; of equal ones the earlier.
#[derive(Clone, Debug)]
pub(crate) struct Extremes {
    wanted: Ordering,
    count: usize,
    best: Vec<(Sample, Vec<Option<Value>>)>,
}

impl Extremes {
    pub(super) fn new(wanted: Ordering, count: usize) -> Self {
        Self {
            wanted,
            count,
            best: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, sample: Option<Sample>, beside: &dyn Fn() -> Vec<Option<Value>>) {
        let Some(sample) = sample else {
            return;
        };
        let place = self
            .best
            .partition_point(|(it, _)| sample.order(it) != self.wanted);
        if place < self.count {
            self.best.truncate(self.count - 1);
            self.best.insert(place, (sample, beside()));
        }
    }

    pub(super) fn held(&self) -> usize {
        self.best.len()
    }

    pub(super) fn finish(mut self) -> Vec<Selected> {
        self.best.sort_by_key(|(sample, _)| sample.time);
        self.best
            .into_iter()
            .map(|(sample, beside)| sample.selected(beside))
            .collect()
    }
}
