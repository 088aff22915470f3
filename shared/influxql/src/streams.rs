//! Columns of groups: the calls' values joined by time, through operators and transformations.

use crate::accumulate::Selected;
use crate::ast::{Fill, Operator};
use crate::fill::cast;
use crate::plan::Node;
use crate::scalar::{Scalar, Value, arithmetic};
use crate::source::FieldKind;
use crate::transform::State;

/// Values in the order of the answer; where there is none at a time, nothing was said.
pub(crate) type Stream = Vec<(i64, Option<Value>)>;

/// How streams are joined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joining {
    pub(crate) fill: Fill,
    pub(crate) is_descending: bool,
}

impl Joining {
    /// Of one column; `calls`: what each call gave.
    pub(crate) fn stream(self, node: &Node, calls: &[Vec<Selected>]) -> Stream {
        match node {
            Node::Call(number) => calls[*number]
                .iter()
                .map(|it| (it.time, it.value.clone()))
                .collect(),
            Node::Beside(number) => {
                let points = calls.iter().flatten();
                points
                    .map(|it| (it.time, it.beside.get(*number).cloned().flatten()))
                    .collect()
            }
            Node::Transform {
                transform, input, ..
            } => {
                let mut state = State::new(*transform, self.is_descending);
                let values = self.stream(input, calls).into_iter();
                let values = values.filter_map(|(time, value)| {
                    let next = state.next(time, value?.scalar())?;
                    Some((time, Some(next.into())))
                });
                values.collect()
            }
            Node::Binary(operator, left, right) => match (&**left, &**right) {
                (Node::Constant(constant), other) => self.mapped(other, calls, |value| {
                    arithmetic(*operator, Some(*constant), value)
                }),
                (other, Node::Constant(constant)) => self.mapped(other, calls, |value| {
                    arithmetic(*operator, value, Some(*constant))
                }),
                (left, right) => self.joined(
                    *operator,
                    self.stream(left, calls),
                    self.stream(right, calls),
                ),
            },
            // By itself a constant has no time, and fields of points are not in groups.
            Node::Constant(_) | Node::Field(_) => Stream::new(),
        }
    }

    fn mapped(
        self,
        node: &Node,
        calls: &[Vec<Selected>],
        map: impl Fn(Option<Scalar<'_>>) -> Option<Scalar<'_>>,
    ) -> Stream {
        let values = self.stream(node, calls).into_iter();
        values
            .map(|(time, value)| {
                (
                    time,
                    map(value.as_ref().map(Value::scalar)).map(Value::from),
                )
            })
            .collect()
    }

    fn joined(self, operator: Operator, left: Stream, right: Stream) -> Stream {
        let mut sides = [Missing::new(None), Missing::new(None)];
        let mut joined = Stream::new();
        self.rows(&[left, right], |time, row| {
            let [left, right] = [0, 1].map(|side| sides[side].or_filled(row[side], self.fill));
            let value = arithmetic(
                operator,
                left.as_ref().map(Value::scalar),
                right.as_ref().map(Value::scalar),
            );
            joined.push((time, value.map(Value::from)));
            true
        });
        joined
    }

    /// Row by row, as long as `take` wants more. In a row `None`: of that stream there is nothing at that time.
    pub(crate) fn rows<'a>(
        self,
        streams: &'a [Stream],
        mut take: impl FnMut(i64, &[Option<&'a Option<Value>>]) -> bool,
    ) {
        let mut places = vec![0; streams.len()];
        let mut row = vec![None; streams.len()];
        loop {
            let heads = streams
                .iter()
                .zip(&places)
                .filter_map(|(stream, place)| stream.get(*place));
            let times = heads.map(|(time, _)| *time);
            let Some(time) = (if self.is_descending {
                times.max()
            } else {
                times.min()
            }) else {
                return;
            };
            for ((stream, place), cell) in streams.iter().zip(&mut places).zip(&mut row) {
                *cell = stream
                    .get(*place)
                    .filter(|(at, _)| *at == time)
                    .map(|(_, value)| value);
                *place += usize::from(cell.is_some());
            }
            if !take(time, &row) {
                return;
            }
        }
    }
}

/// What one of several streams has at a time at which it has nothing.
pub(crate) struct Missing {
    kind: Option<FieldKind>,
    previous: Option<Value>,
}

impl Missing {
    pub(crate) fn new(kind: Option<FieldKind>) -> Self {
        Self {
            kind,
            previous: None,
        }
    }

    pub(crate) fn or_filled(&mut self, cell: Option<&Option<Value>>, fill: Fill) -> Option<Value> {
        match (cell, fill) {
            (Some(value), _) => {
                self.previous = value.clone();
                value.clone()
            }
            (None, Fill::Previous) => self.previous.clone(),
            (None, Fill::Number(number)) => Some(cast(number, self.kind)),
            (None, Fill::Null | Fill::None | Fill::Linear) => None,
        }
    }
}
