//! Groups without a value.

use crate::accumulate::Selected;
use crate::ast::{Fill, Literal};
use crate::error::StatementError;
use crate::function::Function;
use crate::scalar::Value;
use crate::source::{FieldKind, Grid};

/// Where groups begin.
pub(crate) fn start(grid: Grid, time: i64) -> i64 {
    // The very first group of all time may begin before it.
    time.saturating_sub(time.saturating_sub(grid.offset).rem_euclid(grid.every))
}

/// From the group of `first` to that of `last`, which is earlier if they fall. `None`: from the first, to the last that
/// there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) grid: Grid,
    pub(crate) first: Option<i64>,
    pub(crate) last: Option<i64>,
    pub(crate) is_descending: bool,
}

impl Span {
    /// The groups' starts, given those of the values.
    fn starts(&self, points: &[Selected], limit: u64) -> Result<Vec<i64>, StatementError> {
        let (Some(front), Some(back)) = (points.first(), points.last()) else {
            return Ok(Vec::new());
        };
        let first = self.first.map_or(front.time, |it| start(self.grid, it));
        let last = self.last.map_or(back.time, |it| start(self.grid, it));
        let (low, high) = if self.is_descending {
            (last, first)
        } else {
            (first, last)
        };
        if low > high {
            return Ok(Vec::new());
        }
        let count = high.abs_diff(low) / self.grid.every.unsigned_abs() + 1;
        StatementError::at_most("groups of a statement", count, limit)?;
        let rising = (0..count as i64).map(|it| low + it * self.grid.every);
        Ok(if self.is_descending {
            rising.rev().collect()
        } else {
            rising.collect()
        })
    }
}

/// Of one call, in the order of the answer; where it never has a value, nothing is filled in.
pub(crate) fn fill(
    points: Vec<Selected>,
    with: Fill,
    function: Function,
    span: Span,
    limit: u64,
) -> Result<Vec<Selected>, StatementError> {
    if with == Fill::None || function.is_plural() {
        return Ok(points);
    }
    let starts = span.starts(&points, limit)?;
    let is_count = matches!(function, Function::Count | Function::CountDistinct);
    let with = if with == Fill::Null && is_count {
        Fill::Number(Literal::Integer(0))
    } else {
        with
    };
    let kind = points
        .iter()
        .find_map(|it| it.value.as_ref())
        .map(Value::kind);
    let mut has_point = Vec::with_capacity(starts.len());
    let beside = points.first().map_or(0, |it| it.beside.len());
    let mut filled: Vec<Selected> = Vec::with_capacity(starts.len());
    let mut points = points.into_iter().peekable();
    let mut previous: Option<Value> = None;
    for start in starts {
        if let Some(point) = points.next_if(|it| it.time == start) {
            previous = point.value.clone();
            filled.push(point);
            has_point.push(true);
            continue;
        }
        has_point.push(false);
        let value = match with {
            Fill::Null | Fill::None | Fill::Linear => None,
            Fill::Previous => previous.clone(),
            Fill::Number(number) => Some(cast(number, kind)),
        };
        filled.push(Selected {
            time: start,
            value,
            beside: vec![None; beside],
        });
    }
    if with == Fill::Linear {
        interpolate(&mut filled, &has_point);
    }
    Ok(filled)
}

/// A number, as a value of that kind.
pub(crate) fn cast(number: Literal, kind: Option<FieldKind>) -> Value {
    match (kind, number) {
        (Some(FieldKind::Float) | None, Literal::Float(value)) => Value::Float(value),
        (Some(FieldKind::Float) | None, Literal::Integer(value)) => Value::Float(value as f64),
        (Some(FieldKind::Integer), Literal::Float(value)) => Value::Integer(value as i64),
        (Some(FieldKind::Integer), Literal::Integer(value)) => Value::Integer(value),
        (Some(FieldKind::Boolean), _) => Value::Boolean(false),
        (Some(FieldKind::String), _) => Value::String(String::new()),
    }
}

/// Groups without a point are put on the line from the point before to the point after; a point may be without a value,
/// as the deviation of one value is, and then there is no line.
fn interpolate(groups: &mut [Selected], has_point: &[bool]) {
    let mut before: Option<usize> = None;
    for index in (0..groups.len()).filter(|it| has_point[*it]) {
        if let Some(before) = before.replace(index) {
            let (left, right) = (groups[before].clone(), groups[index].clone());
            for group in &mut groups[before + 1..index] {
                group.value = between(&left, &right, group.time);
            }
        }
    }
}

fn between(left: &Selected, right: &Selected, time: i64) -> Option<Value> {
    let line = |a: f64, difference: f64| {
        let slope = difference / (right.time - left.time) as f64;
        slope * (time - left.time) as f64 + a
    };
    match (left.value.as_ref()?, right.value.as_ref()?) {
        (Value::Float(a), Value::Float(b)) => Some(Value::Float(line(*a, b - a))),
        (Value::Integer(a), Value::Integer(b)) => Some(Value::Integer(line(
            *a as f64,
            b.wrapping_sub(*a) as f64,
        ) as i64)),
        _ => None,
    }
}
