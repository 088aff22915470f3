//! Transformations: what each makes of a value, given those before.

use std::collections::VecDeque;

use crate::accumulate::Sum;
use crate::function::Transform;
use crate::scalar::Scalar;

/// Of one transformation, from value to value.
#[derive(Clone, Debug)]
pub(crate) struct State {
    transform: Transform,
    /// Times fall, not rise.
    is_descending: bool,
    before: Option<(i64, Number)>,
    recent: VecDeque<f64>,
    sum: Sum,
    integers: i64,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Float(f64),
    Integer(i64),
}

impl Number {
    fn as_f64(self) -> f64 {
        match self {
            Self::Float(value) => value,
            Self::Integer(value) => value as f64,
        }
    }

    fn minus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Self::Integer(a.wrapping_sub(b)),
            (a, b) => Self::Float(a.as_f64() - b.as_f64()),
        }
    }

    fn scalar(self) -> Scalar<'static> {
        match self {
            Self::Float(value) => Scalar::Float(value),
            Self::Integer(value) => Scalar::Integer(value),
        }
    }
}

impl State {
    pub(crate) fn new(transform: Transform, is_descending: bool) -> Self {
        Self {
            transform,
            is_descending,
            before: None,
            recent: VecDeque::new(),
            sum: Sum::default(),
            integers: 0,
        }
    }

    pub(crate) fn next(&mut self, time: i64, scalar: Scalar<'_>) -> Option<Scalar<'static>> {
        let number = match scalar {
            Scalar::Float(value) => Number::Float(value),
            Scalar::Integer(value) => Number::Integer(value),
            Scalar::Boolean(_) | Scalar::String(_) => return None,
        };
        match self.transform {
            Transform::Derivative {
                unit,
                is_non_negative,
            } => {
                let (before, value) = self.step(time, number)?;
                let elapsed = if self.is_descending {
                    before.0 - time
                } else {
                    time - before.0
                };
                let difference = value.minus(before.1).as_f64();
                let rate = difference / (elapsed as f64 / unit as f64);
                (!is_non_negative || rate >= 0.0).then_some(Scalar::Float(rate))
            }
            Transform::Difference { is_non_negative } => {
                let (before, value) = self.step(time, number)?;
                let difference = value.minus(before.1);
                (!is_non_negative || difference.as_f64() >= 0.0).then(|| difference.scalar())
            }
            Transform::CumulativeSum => Some(match number {
                Number::Integer(value) => {
                    self.integers = self.integers.wrapping_add(value);
                    Scalar::Integer(self.integers)
                }
                Number::Float(value) => {
                    self.sum.add_float(value);
                    Scalar::Float(self.sum.total())
                }
            }),
            Transform::MovingAverage(count) => {
                if self.recent.len() == count {
                    self.recent.pop_front();
                }
                self.recent.push_back(number.as_f64());
                // Summed anew: what has left the window leaves no trace.
                (self.recent.len() == count).then(|| {
                    let mut sum = Sum::default();
                    self.recent.iter().for_each(|it| sum.add_float(*it));
                    Scalar::Float(sum.total() / count as f64)
                })
            }
        }
    }

    /// What was before, at another time.
    fn step(&mut self, time: i64, number: Number) -> Option<((i64, Number), Number)> {
        if self.before.is_some_and(|(before, _)| before == time) {
            return None;
        }
        self.before
            .replace((time, number))
            .map(|before| (before, number))
    }
}
