//! Groups of one measurement: batches go in, in the order of time; the values of each call come out.

use std::ops::RangeInclusive;

use crate::accumulate::{Accumulator, Selected};
use crate::error::StatementError;
use crate::fill::{Span, fill, start};
use crate::instant;
use crate::limits::Limits;
use crate::plan::{Groups, Plan};
use crate::scalar::{Scalar, Value};
use crate::source::{FieldKind, Summary};

pub(crate) struct Grouping<'a> {
    plan: &'a Plan,
    groups: &'a Groups,
    limits: &'a Limits,
    /// Of the open group.
    start: Option<i64>,
    calls: Vec<OpenCall>,
    finished: u64,
}

struct OpenCall {
    times: RangeInclusive<i64>,
    open: Accumulator,
    /// Whether the open group has anything of it.
    is_touched: bool,
    closed: Vec<Selected>,
    /// Where in `closed` each group ends.
    ends: Vec<usize>,
}

impl<'a> Grouping<'a> {
    pub(crate) fn new(plan: &'a Plan, groups: &'a Groups, limits: &'a Limits) -> Self {
        let calls = groups.calls.iter().map(|call| OpenCall {
            times: reached(plan, groups, call.reach),
            open: Accumulator::new(call.function),
            is_touched: false,
            closed: Vec::new(),
            ends: Vec::new(),
        });
        Self {
            plan,
            groups,
            limits,
            start: None,
            calls: calls.collect(),
            finished: 0,
        }
    }

    /// What has to be read.
    pub(crate) fn times(plan: &Plan, groups: &Groups) -> RangeInclusive<i64> {
        let reach = groups.calls.iter().map(|it| it.reach).max().unwrap_or(0);
        reached(plan, groups, reach)
    }

    /// A point; `value` gives its fields by their numbers in the plan.
    pub(crate) fn point<'v>(
        &mut self,
        time: i64,
        value: &dyn Fn(usize) -> Option<Scalar<'v>>,
    ) -> Result<(), StatementError> {
        self.open(time)?;
        let others = &self.groups.beside;
        let beside = || {
            others
                .iter()
                .map(|it| value(*it).map(Value::from))
                .collect()
        };
        for (call, open) in self.groups.calls.iter().zip(&mut self.calls) {
            if open.times.contains(&time)
                && let Some(scalar) = value(call.field)
            {
                open.open.add(time, scalar, &beside);
                open.is_touched = true;
            }
        }
        Ok(())
    }

    /// A window; `summary` gives its fields by their numbers in the plan.
    pub(crate) fn window<'s>(
        &mut self,
        time: i64,
        summary: &dyn Fn(usize) -> Option<(&'s Summary, FieldKind)>,
    ) -> Result<(), StatementError> {
        self.open(time)?;
        for (call, open) in self.groups.calls.iter().zip(&mut self.calls) {
            if open.times.contains(&time)
                && let Some((summary, kind)) = summary(call.field)
            {
                open.open.merge(time, summary, kind == FieldKind::Integer);
                open.is_touched = true;
            }
        }
        Ok(())
    }

    /// To be asked after each batch.
    pub(crate) fn check_held(&self) -> Result<(), StatementError> {
        let held = self.calls.iter().map(|it| it.open.held() as u64).sum();
        StatementError::at_most("values held by one group", held, self.limits.group_values)
    }

    /// What each call gave, in the order of the answer.
    pub(crate) fn finish(mut self) -> Result<Vec<Vec<Selected>>, StatementError> {
        self.close()?;
        let Self {
            plan,
            groups,
            limits,
            calls,
            ..
        } = self;
        let each = calls.into_iter().zip(&groups.calls).map(|(open, call)| {
            let mut points = open.closed;
            if plan.is_descending {
                reverse_groups(&mut points, &open.ends);
            }
            match groups.grid {
                Some(grid) => fill(
                    points,
                    plan.fill,
                    call.function,
                    span(plan, grid, &open.times),
                    limits.buckets,
                ),
                None => Ok(points),
            }
        });
        each.collect()
    }

    /// The group that the time is in.
    fn open(&mut self, time: i64) -> Result<(), StatementError> {
        let group = match self.groups.grid {
            Some(grid) => start(grid, time),
            None => *self.plan.times.start(),
        };
        if self.start != Some(group) {
            self.close()?;
            self.start = Some(group);
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), StatementError> {
        let Some(group) = self.start.take() else {
            return Ok(());
        };
        // Since when is not said: since 1970.
        let group = if self.groups.grid.is_none() && group == instant::MIN {
            0
        } else {
            group
        };
        for (call, open) in self.groups.calls.iter().zip(&mut self.calls) {
            if !std::mem::take(&mut open.is_touched) {
                continue;
            }
            let done = std::mem::replace(&mut open.open, Accumulator::new(call.function)).finish();
            self.finished += done.len() as u64;
            let has_own_times = self.groups.has_own_times;
            open.closed.extend(done.into_iter().map(|it| {
                if has_own_times {
                    it
                } else {
                    Selected { time: group, ..it }
                }
            }));
            open.ends.push(open.closed.len());
        }
        StatementError::at_most("groups of a statement", self.finished, self.limits.buckets)
    }
}

/// The values of one group stay in their order.
fn reverse_groups(points: &mut [Selected], ends: &[usize]) {
    points.reverse();
    for (group, end) in ends.iter().enumerate() {
        let begin = if group == 0 { 0 } else { ends[group - 1] };
        let count = points.len();
        points[count - end..count - begin].reverse();
    }
}

/// A transformation needs what was before its first group; where groups fall, that is later.
fn reached(plan: &Plan, groups: &Groups, reach: i64) -> RangeInclusive<i64> {
    let nanos = groups.grid.map_or(0, |it| it.every.saturating_mul(reach));
    let (min, max) = (*plan.times.start(), *plan.times.end());
    if plan.is_descending {
        min..=max.saturating_add(nanos).min(instant::MAX)
    } else {
        min.saturating_sub(nanos).max(instant::MIN)..=max
    }
}

fn span(plan: &Plan, grid: crate::source::Grid, times: &RangeInclusive<i64>) -> Span {
    let (min, max) = (
        Some(*times.start()).filter(|it| *it != instant::MIN),
        Some(*times.end()),
    );
    let (first, last) = if plan.is_descending {
        (max, min)
    } else {
        (min, max)
    };
    Span {
        grid,
        first,
        last,
        is_descending: plan.is_descending,
    }
}
