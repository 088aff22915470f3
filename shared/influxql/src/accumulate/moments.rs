//! Sums and deviations that keep their digits: near 1e9 a noise of 1e-3 is seen.

use crate::scalar::{Scalar, Value};
use crate::source::Summary;

/// Compensated (Neumaier 1974); of integers exact.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    count: u64,
    high: f64,
    low: f64,
    integers: i128,
    is_float: bool,
}

impl Sum {
    pub(crate) fn add(&mut self, scalar: Scalar<'_>) {
        match scalar {
            Scalar::Integer(value) => self.integers += i128::from(value),
            Scalar::Float(value) => self.add_float(value),
            Scalar::Boolean(_) | Scalar::String(_) => return,
        }
        self.count += 1;
    }

    pub(crate) fn merge(&mut self, summary: &Summary, is_integer: bool) {
        let sum = summary.mean * summary.count as f64;
        if is_integer {
            self.integers += sum.round() as i128;
        } else {
            self.add_float(sum);
        }
        self.count += summary.count;
    }

    pub(crate) fn add_float(&mut self, value: f64) {
        self.is_float = true;
        let sum = self.high + value;
        self.low += if self.high.abs() >= value.abs() {
            (self.high - sum) + value
        } else {
            (value - sum) + self.high
        };
        self.high = sum;
    }

    pub(crate) fn total(&self) -> f64 {
        // Beyond all numbers the compensation is none.
        let floats = if self.high.is_finite() {
            self.high + self.low
        } else {
            self.high
        };
        if self.is_float {
            floats + self.integers as f64
        } else {
            self.integers as f64
        }
    }

    /// Beyond what an integer can be, it is a number.
    pub(crate) fn sum(&self) -> Option<Value> {
        if self.count == 0 {
            return None;
        }
        match i64::try_from(self.integers) {
            Ok(sum) if !self.is_float => Some(Value::Integer(sum)),
            Ok(_) | Err(_) => Some(Value::Float(self.total())),
        }
    }

    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.total() / self.count as f64)
    }
}

/// Mean and squared deviations from it, updated (Welford 1962) and merged (Chan, Golub and LeVeque 1979). All is counted
/// from the first value: what is large and common to all takes no digits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deviation {
    count: u64,
    origin: f64,
    /// From the origin.
    mean: f64,
    squares: f64,
}

impl Deviation {
    pub(crate) fn add(&mut self, scalar: Scalar<'_>) {
        let Some(value) = scalar.as_f64() else {
            return;
        };
        let value = self.relative(value);
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    pub(crate) fn merge(&mut self, summary: &Summary) {
        let (a, b) = (self.count as f64, summary.count as f64);
        let apart = self.relative(summary.mean) - self.mean;
        self.count += summary.count;
        self.mean += apart * (b / (a + b));
        self.squares += summary.stdev * summary.stdev * b + apart * apart * (a * b / (a + b));
    }

    fn relative(&mut self, value: f64) -> f64 {
        if self.count == 0 {
            self.origin = value;
        }
        value - self.origin
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Of the sample.
    pub(crate) fn stddev(&self) -> Option<f64> {
        (self.count > 1).then(|| (self.squares / (self.count - 1) as f64).sqrt())
    }
}
