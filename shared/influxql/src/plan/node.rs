//! One column, as what has to be computed.

use super::Groups;
use crate::ast::{Expr, Operator};
use crate::error::StatementError;
use crate::expand::Fields;
use crate::function::{Function, Transform, takes};
use crate::scalar::Scalar;
use crate::source::{FieldKind, Grid};

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Constant(Scalar<'static>),
    /// By its number in the plan.
    Field(usize),
    /// By its number in the groups.
    Call(usize),
    /// By its number in [`Groups::beside`].
    Beside(usize),
    /// `state`: its number among the transforms.
    Transform {
        transform: Transform,
        input: Box<Self>,
        state: usize,
    },
    Binary(Operator, Box<Self>, Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) function: Function,
    /// By its number in the plan.
    pub(crate) field: usize,
    /// How many groups before the first it has to be computed for.
    pub(crate) reach: i64,
}

pub(super) struct Builder<'a> {
    kinds: &'a Fields,
    is_aggregate: bool,
    interval: Option<i64>,
    fields: Vec<String>,
    calls: Vec<Call>,
    beside: Vec<usize>,
    transforms: usize,
}

impl<'a> Builder<'a> {
    pub(super) fn new(kinds: &'a Fields, is_aggregate: bool, interval: Option<i64>) -> Self {
        Self {
            kinds,
            is_aggregate,
            interval,
            fields: Vec::new(),
            calls: Vec::new(),
            beside: Vec::new(),
            transforms: 0,
        }
    }

    pub(super) fn groups(&self, grid: Option<Grid>) -> Option<Groups> {
        let one = match self.calls[..] {
            [one] => one.function.is_selector(),
            _ => false,
        };
        let is_extremes = |it: &Call| matches!(it.function, Function::Top(_) | Function::Bottom(_));
        self.is_aggregate.then(|| Groups {
            calls: self.calls.clone(),
            grid,
            has_own_times: (one && grid.is_none()) || self.calls.iter().any(is_extremes),
            beside: self.beside.clone(),
        })
    }

    pub(super) fn transforms(&self) -> usize {
        self.transforms
    }

    pub(super) fn into_fields(self) -> Vec<String> {
        self.fields
    }

    /// With the kind of its values; `None`: it has none.
    pub(super) fn typed(
        &mut self,
        expr: &Expr,
    ) -> Result<(Node, Option<FieldKind>), StatementError> {
        match expr {
            Expr::Number(literal) => {
                let scalar = Scalar::from(*literal);
                let is_integer = matches!(scalar, Scalar::Integer(_));
                let kind = if is_integer {
                    FieldKind::Integer
                } else {
                    FieldKind::Float
                };
                Ok((Node::Constant(scalar), Some(kind)))
            }
            Expr::Paren(inner) => self.typed(inner),
            Expr::Field(name) => Ok(self.field(name)),
            Expr::Distinct(name) => self.aggregate("distinct", Function::Distinct, name, 0),
            Expr::Call(name, arguments) => self.call(name, arguments, 0),
            Expr::Binary(operator, left, right) => {
                let ((left, a), (right, b)) = (self.typed(left)?, self.typed(right)?);
                let kind = kind_of(*operator, a, b).map_err(|(a, b)| {
                    StatementError::invalid(format!(
                        "type error: {}: incompatible types: {a} and {b}",
                        self.with_kinds(expr)
                    ))
                })?;
                Ok((
                    Node::Binary(*operator, Box::new(left), Box::new(right)),
                    kind,
                ))
            }
            Expr::Cast(..)
            | Expr::Wildcard(_)
            | Expr::Regex(_)
            | Expr::Duration(_)
            | Expr::String(_)
            | Expr::Boolean(_) => Err(StatementError::outside(format!("{expr} in SELECT"))),
        }
    }

    /// As InfluxDB shows it.
    fn with_kinds(&self, expr: &Expr) -> Expr {
        match expr {
            Expr::Field(name) => match self.kinds.get(name) {
                Some(kind) => Expr::Cast(name.clone(), kind.to_string()),
                None => expr.clone(),
            },
            Expr::Paren(inner) => Expr::Paren(Box::new(self.with_kinds(inner))),
            Expr::Call(name, arguments) => Expr::Call(
                name.clone(),
                arguments.iter().map(|it| self.with_kinds(it)).collect(),
            ),
            Expr::Binary(operator, left, right) => Expr::Binary(
                *operator,
                Box::new(self.with_kinds(left)),
                Box::new(self.with_kinds(right)),
            ),
            Expr::Cast(..)
            | Expr::Wildcard(_)
            | Expr::Regex(_)
            | Expr::Number(_)
            | Expr::Duration(_)
            | Expr::String(_)
            | Expr::Boolean(_)
            | Expr::Distinct(_) => expr.clone(),
        }
    }

    fn field(&mut self, name: &str) -> (Node, Option<FieldKind>) {
        let (number, kind) = (self.number(name), self.kinds.get(name).copied());
        if !self.is_aggregate {
            return (Node::Field(number), kind);
        }
        self.beside.push(number);
        (Node::Beside(self.beside.len() - 1), kind)
    }

    fn number(&mut self, name: &str) -> usize {
        let found = self.fields.iter().position(|it| it == name);
        found.unwrap_or_else(|| {
            self.fields.push(name.to_owned());
            self.fields.len() - 1
        })
    }

    fn call(
        &mut self,
        name: &str,
        arguments: &[Expr],
        reach: i64,
    ) -> Result<(Node, Option<FieldKind>), StatementError> {
        if let Some(transform) = Transform::new(name, arguments, self.interval)? {
            let (input, kind) = if let Expr::Call(inner, innermost) = &arguments[0] {
                self.call(inner, innermost, reach.max(transform.reach()))?
            } else {
                self.typed(&arguments[0])?
            };
            check_kind(name, kind)?;
            let kind = match transform {
                Transform::Derivative { .. } | Transform::MovingAverage(_) => {
                    kind.map(|_| FieldKind::Float)
                }
                Transform::Difference { .. } | Transform::CumulativeSum => kind,
            };
            let state = self.transforms;
            self.transforms += 1;
            return Ok((
                Node::Transform {
                    transform,
                    input: Box::new(input),
                    state,
                },
                kind,
            ));
        }
        let function = Function::new(name, arguments)?.ok_or_else(|| Function::unknown(name))?;
        match arguments.first() {
            Some(Expr::Field(field)) => self.aggregate(name, function, field, reach),
            Some(Expr::Distinct(field)) => {
                self.aggregate(name, Function::CountDistinct, field, reach)
            }
            Some(Expr::Call(_, innermost)) => match innermost.first() {
                Some(Expr::Field(field)) => {
                    self.aggregate(name, Function::CountDistinct, field, reach)
                }
                _ => Err(StatementError::invalid(
                    "expected field argument in distinct()",
                )),
            },
            _ => Err(StatementError::invalid(format!(
                "expected field argument in {name}()"
            ))),
        }
    }

    fn aggregate(
        &mut self,
        name: &str,
        function: Function,
        field: &str,
        reach: i64,
    ) -> Result<(Node, Option<FieldKind>), StatementError> {
        let kind = self.kinds.get(field).copied();
        check_kind(name, kind)?;
        let field = self.number(field);
        let call = Call {
            function,
            field,
            reach,
        };
        let found = self.calls.iter().position(|it| *it == call);
        let number = found.unwrap_or_else(|| {
            self.calls.push(call);
            self.calls.len() - 1
        });
        let kind = match function {
            Function::Count | Function::CountDistinct => Some(FieldKind::Integer),
            Function::Mean | Function::Median | Function::Stddev => Some(FieldKind::Float),
            Function::Sum
            | Function::Min
            | Function::Max
            | Function::First
            | Function::Last
            | Function::Spread
            | Function::Percentile(_)
            | Function::Distinct
            | Function::Top(_)
            | Function::Bottom(_) => kind,
        };
        Ok((Node::Call(number), kind))
    }
}

fn check_kind(name: &str, kind: Option<FieldKind>) -> Result<(), StatementError> {
    match kind {
        Some(kind) if !takes(name, kind) => Err(StatementError::invalid(format!(
            "unsupported {name} iterator type: *query.{kind}InterruptIterator"
        ))),
        Some(_) | None => Ok(()),
    }
}

type Kinds = (FieldKind, FieldKind);

/// What an operator makes of two kinds, or the two that do not go together.
fn kind_of(
    operator: Operator,
    a: Option<FieldKind>,
    b: Option<FieldKind>,
) -> Result<Option<FieldKind>, Kinds> {
    use FieldKind::{Boolean, Float, Integer};
    let (Some(a), Some(b)) = (a, b) else {
        return Ok(None);
    };
    let is_bitwise = matches!(
        operator,
        Operator::BitAnd | Operator::BitOr | Operator::BitXor
    );
    match (a, b) {
        (Integer, Integer) if operator == Operator::Divide => Ok(Some(Float)),
        (Integer, Integer) => Ok(Some(Integer)),
        (Float | Integer, Float | Integer) if !is_bitwise => Ok(Some(Float)),
        (Boolean, Boolean) if is_bitwise => Ok(Some(Boolean)),
        (a, b) => Err((a, b)),
    }
}
