//! One value, and what operators make of two.

use crate::ast::{Literal, Operator};
use crate::source::{Column, FieldKind};

/// Of a point or of a group; borrowed, so that a row costs nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Float(f64),
    Integer(i64),
    Boolean(bool),
    String(&'a str),
}

impl From<Literal> for Scalar<'_> {
    fn from(literal: Literal) -> Self {
        match literal {
            Literal::Integer(value) => Self::Integer(value),
            Literal::Float(value) => Self::Float(value),
        }
    }
}

/// One that outlives its batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Float(f64),
    Integer(i64),
    Boolean(bool),
    String(String),
}

impl Value {
    pub(crate) fn kind(&self) -> FieldKind {
        match self {
            Self::Float(_) => FieldKind::Float,
            Self::Integer(_) => FieldKind::Integer,
            Self::Boolean(_) => FieldKind::Boolean,
            Self::String(_) => FieldKind::String,
        }
    }

    pub(crate) fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::Float(value) => Scalar::Float(*value),
            Self::Integer(value) => Scalar::Integer(*value),
            Self::Boolean(value) => Scalar::Boolean(*value),
            Self::String(value) => Scalar::String(value),
        }
    }
}

impl From<Scalar<'_>> for Value {
    fn from(scalar: Scalar<'_>) -> Self {
        match scalar {
            Scalar::Float(value) => Self::Float(value),
            Scalar::Integer(value) => Self::Integer(value),
            Scalar::Boolean(value) => Self::Boolean(value),
            Scalar::String(value) => Self::String(value.to_owned()),
        }
    }
}

/// What a column has in a row. InfluxDB stores neither NaN nor infinities: they are absent.
pub(crate) fn at(column: &Column, row: usize) -> Option<Scalar<'_>> {
    match column {
        Column::Float(values) => (*values.get(row)?)
            .filter(|it| it.is_finite())
            .map(Scalar::Float),
        Column::Integer(values) => (*values.get(row)?).map(Scalar::Integer),
        Column::Boolean(values) => (*values.get(row)?).map(Scalar::Boolean),
        Column::String(values) => values.get(row)?.as_deref().map(Scalar::String),
    }
}

impl Scalar<'_> {
    pub(crate) fn as_f64(self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(value),
            Self::Integer(value) => Some(value as f64),
            Self::Boolean(_) | Self::String(_) => None,
        }
    }
}

/// Arithmetic as InfluxDB's: a division by zero is 0, and integers divide as numbers do. `None`: there is nothing.
pub(crate) fn arithmetic<'a>(
    operator: Operator,
    left: Option<Scalar<'a>>,
    right: Option<Scalar<'a>>,
) -> Option<Scalar<'a>> {
    match (left?, right?) {
        (Scalar::Integer(a), Scalar::Integer(b)) => integers(operator, a, b),
        (Scalar::Boolean(a), Scalar::Boolean(b)) => booleans(operator, a, b),
        (a, b) => floats(operator, a.as_f64()?, b.as_f64()?),
    }
}

fn integers<'a>(operator: Operator, a: i64, b: i64) -> Option<Scalar<'a>> {
    let value = match operator {
        Operator::Add => a.wrapping_add(b),
        Operator::Subtract => a.wrapping_sub(b),
        Operator::Multiply => a.wrapping_mul(b),
        Operator::Divide => return floats(operator, a as f64, b as f64),
        Operator::Modulo if b == 0 => 0,
        Operator::Modulo => a.wrapping_rem(b),
        Operator::BitAnd => a & b,
        Operator::BitOr => a | b,
        Operator::BitXor => a ^ b,
        Operator::Or
        | Operator::And
        | Operator::Equal
        | Operator::NotEqual
        | Operator::Less
        | Operator::LessEqual
        | Operator::Greater
        | Operator::GreaterEqual
        | Operator::Matches
        | Operator::MatchesNot => return None,
    };
    Some(Scalar::Integer(value))
}

fn floats<'a>(operator: Operator, a: f64, b: f64) -> Option<Scalar<'a>> {
    let value = match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide if b == 0.0 => 0.0,
        Operator::Divide => a / b,
        Operator::Modulo => a % b,
        Operator::BitAnd
        | Operator::BitOr
        | Operator::BitXor
        | Operator::Or
        | Operator::And
        | Operator::Equal
        | Operator::NotEqual
        | Operator::Less
        | Operator::LessEqual
        | Operator::Greater
        | Operator::GreaterEqual
        | Operator::Matches
        | Operator::MatchesNot => return None,
    };
    Some(Scalar::Float(value))
}

fn booleans<'a>(operator: Operator, a: bool, b: bool) -> Option<Scalar<'a>> {
    match operator {
        Operator::BitAnd => Some(Scalar::Boolean(a & b)),
        Operator::BitOr => Some(Scalar::Boolean(a | b)),
        Operator::BitXor => Some(Scalar::Boolean(a ^ b)),
        Operator::Add
        | Operator::Subtract
        | Operator::Multiply
        | Operator::Divide
        | Operator::Modulo
        | Operator::Or
        | Operator::And
        | Operator::Equal
        | Operator::NotEqual
        | Operator::Less
        | Operator::LessEqual
        | Operator::Greater
        | Operator::GreaterEqual
        | Operator::Matches
        | Operator::MatchesNot => None,
    }
}

/// What is of different kinds compares as false, whatever the operator.
pub(crate) fn compare(operator: Operator, left: Scalar<'_>, right: Scalar<'_>) -> bool {
    let ordering = match (left, right) {
        (Scalar::Integer(a), Scalar::Integer(b)) => Some(a.cmp(&b)),
        (Scalar::String(a), Scalar::String(b)) if is_equality(operator) => Some(a.cmp(b)),
        (Scalar::Boolean(a), Scalar::Boolean(b)) if is_equality(operator) => Some(a.cmp(&b)),
        (a, b) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a.partial_cmp(&b),
            (None, _) | (_, None) => None,
        },
    };
    let Some(ordering) = ordering else {
        return false;
    };
    match operator {
        Operator::Equal => ordering.is_eq(),
        Operator::NotEqual => ordering.is_ne(),
        Operator::Less => ordering.is_lt(),
        Operator::LessEqual => ordering.is_le(),
        Operator::Greater => ordering.is_gt(),
        Operator::GreaterEqual => ordering.is_ge(),
        Operator::Or
        | Operator::And
        | Operator::Matches
        | Operator::MatchesNot
        | Operator::Add
        | Operator::Subtract
        | Operator::BitOr
        | Operator::BitXor
        | Operator::Multiply
        | Operator::Divide
        | Operator::Modulo
        | Operator::BitAnd => false,
    }
}

fn is_equality(operator: Operator) -> bool {
    matches!(operator, Operator::Equal | Operator::NotEqual)
}
