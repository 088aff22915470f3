//! What a condition says of time, apart from what it says of fields.

use crate::ast::{Expr, Literal, Operator};
use crate::error::StatementError;
use crate::instant::{self, Rfc3339};

/// Both included; where nothing is said, `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
}

impl Times {
    /// Both sides of an OR narrow the times as well: so it is in InfluxDB.
    fn and(self, other: Self) -> Self {
        Self {
            min: self.min.max(other.min),
            max: match (self.max, other.max) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

/// The times of a condition, and what else it asks.
pub(crate) fn split(condition: &Expr, now: i64) -> Result<(Option<Expr>, Times), StatementError> {
    match condition {
        Expr::Binary(operator @ (Operator::And | Operator::Or), left, right) => {
            let ((left, a), (right, b)) = (split(left, now)?, split(right, now)?);
            let rest = match (left, right) {
                (Some(left), Some(right)) => {
                    Some(Expr::Binary(*operator, Box::new(left), Box::new(right)))
                }
                (left, right) => left.or(right),
            };
            Ok((rest, a.and(b)))
        }
        Expr::Binary(operator, left, right) if !operator.is_arithmetic() => {
            if left.is_time() {
                Ok((None, bound(*operator, right, now)?))
            } else if right.is_time() {
                Ok((None, bound(operator.mirrored(), left, now)?))
            } else {
                Ok((Some(condition.clone()), Times::default()))
            }
        }
        Expr::Paren(inner) => {
            let (rest, times) = split(inner, now)?;
            Ok((rest.map(|it| Expr::Paren(Box::new(it))), times))
        }
        Expr::Boolean(_) => Ok((Some(condition.clone()), Times::default())),
        Expr::Binary(..)
        | Expr::Field(_)
        | Expr::Cast(..)
        | Expr::Wildcard(_)
        | Expr::Regex(_)
        | Expr::Number(_)
        | Expr::Duration(_)
        | Expr::String(_)
        | Expr::Call(..)
        | Expr::Distinct(_) => Err(StatementError::invalid(format!(
            "invalid condition expression: {condition}"
        ))),
    }
}

fn bound(operator: Operator, value: &Expr, now: i64) -> Result<Times, StatementError> {
    let time = constant(value, now)?.time(value)?;
    let bounds = |min, max| Ok(Times { min, max });
    match operator {
        Operator::Equal => bounds(Some(time), Some(time)),
        Operator::Less => bounds(None, Some(time - 1)),
        Operator::LessEqual => bounds(None, Some(time)),
        Operator::Greater => bounds(Some(time + 1), None),
        Operator::GreaterEqual => bounds(Some(time), None),
        Operator::NotEqual
        | Operator::Matches
        | Operator::MatchesNot
        | Operator::Or
        | Operator::And
        | Operator::Add
        | Operator::Subtract
        | Operator::BitOr
        | Operator::BitXor
        | Operator::Multiply
        | Operator::Divide
        | Operator::Modulo
        | Operator::BitAnd => Err(StatementError::invalid(format!(
            "invalid time comparison operator: {}",
            operator.symbol()
        ))),
    }
}

/// What is known without a point.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Constant {
    Integer(i64),
    Float(f64),
    /// ns.
    Duration(i64),
    /// ns; more than a time may be.
    Time(i128),
    String(String),
    /// Named as InfluxDB's errors name it.
    Other(&'static str),
}

impl Constant {
    fn time(self, written: &Expr) -> Result<i64, StatementError> {
        let nanos = match self {
            Self::Integer(nanos) | Self::Duration(nanos) => i128::from(nanos),
            Self::Float(nanos) => nanos as i128,
            Self::Time(nanos) => nanos,
            Self::String(text) if instant::is_like(&text) => instant::parse(&text)
                .ok_or_else(|| StatementError::invalid("invalid timestamp string"))?,
            Self::String(_) => return Err(not_a_time("StringLiteral")),
            Self::Other(name) => return Err(not_a_time(name)),
        };
        let is_written = |how: &str| {
            if matches!(written, Expr::Number(_) | Expr::Duration(_)) {
                StatementError::invalid(format!("time {nanos} {how} time literal"))
            } else {
                StatementError::invalid(format!("time {} {how} time literal", Rfc3339(nanos)))
            }
        };
        match i64::try_from(nanos) {
            Ok(time) if (instant::MIN..=instant::MAX).contains(&time) => Ok(time),
            Ok(_) | Err(_) if nanos > 0 => Err(is_written("overflows")),
            Ok(_) | Err(_) => Err(is_written("underflows")),
        }
    }

    /// A string beside a duration is a time.
    fn operand(self) -> Self {
        let time = if let Self::String(text) = &self {
            instant::parse(text)
        } else {
            None
        };
        time.map_or(self, Self::Time)
    }
}

fn not_a_time(name: &str) -> StatementError {
    StatementError::invalid(format!(
        "invalid operation: time and *influxql.{name} are not compatible"
    ))
}

pub(crate) fn constant(expr: &Expr, now: i64) -> Result<Constant, StatementError> {
    match expr {
        Expr::Number(Literal::Integer(value)) => Ok(Constant::Integer(*value)),
        Expr::Number(Literal::Float(value)) => Ok(Constant::Float(*value)),
        Expr::Duration(nanos) => Ok(Constant::Duration(*nanos)),
        Expr::String(text) => Ok(Constant::String(text.clone())),
        Expr::Paren(inner) => constant(inner, now),
        Expr::Call(name, arguments) if name == "now" && arguments.is_empty() => {
            Ok(Constant::Time(i128::from(now)))
        }
        Expr::Binary(operator, left, right) => {
            let (left, right) = (
                constant(left, now)?.operand(),
                constant(right, now)?.operand(),
            );
            arithmetic(*operator, left, right).ok_or_else(|| {
                StatementError::invalid(format!("invalid operation: {expr} is not a time"))
            })
        }
        Expr::Boolean(_) => Ok(Constant::Other("BooleanLiteral")),
        Expr::Field(_) | Expr::Cast(..) | Expr::Distinct(_) => Ok(Constant::Other("VarRef")),
        Expr::Wildcard(_) => Ok(Constant::Other("Wildcard")),
        Expr::Regex(_) => Ok(Constant::Other("RegexLiteral")),
        Expr::Call(..) => Ok(Constant::Other("Call")),
    }
}

fn arithmetic(operator: Operator, left: Constant, right: Constant) -> Option<Constant> {
    use Constant::{Duration, Float, Integer, Time};
    use Operator::{Add, Divide, Multiply, Subtract};
    match (operator, left, right) {
        (Add, Time(a), Duration(b) | Integer(b)) | (Add, Duration(b) | Integer(b), Time(a)) => {
            Some(Time(a + i128::from(b)))
        }
        (Subtract, Time(a), Duration(b) | Integer(b)) => Some(Time(a - i128::from(b))),
        (Subtract, Time(a), Time(b)) => i64::try_from(a - b).ok().map(Duration),
        (Add, Duration(a), Duration(b)) => a.checked_add(b).map(Duration),
        (Subtract, Duration(a), Duration(b)) => a.checked_sub(b).map(Duration),
        (Multiply, Duration(a), Integer(b)) | (Multiply, Integer(b), Duration(a)) => {
            a.checked_mul(b).map(Duration)
        }
        (Divide, Duration(a), Integer(b)) => a.checked_div(b).map(Duration),
        (Add, Integer(a), Integer(b)) => a.checked_add(b).map(Integer),
        (Subtract, Integer(a), Integer(b)) => a.checked_sub(b).map(Integer),
        (Multiply, Integer(a), Integer(b)) => a.checked_mul(b).map(Integer),
        (Add, Duration(a), Integer(b)) | (Add, Integer(a), Duration(b)) => {
            a.checked_add(b).map(Duration)
        }
        (Subtract, Duration(a), Integer(b)) => a.checked_sub(b).map(Duration),
        (Add, Float(a), Float(b)) => Some(Float(a + b)),
        (Subtract, Float(a), Float(b)) => Some(Float(a - b)),
        _ => None,
    }
}
