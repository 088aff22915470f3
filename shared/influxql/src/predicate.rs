//! What a condition asks of a point's fields.

use crate::ast::{Expr, Operator, Pattern};
use crate::error::StatementError;
use crate::scalar::{Scalar, arithmetic, compare};

/// A name that is no field is that of a tag, which no point has: as text it is empty.
#[derive(Clone, Debug)]
pub(crate) enum Predicate {
    Float(f64),
    Integer(i64),
    Boolean(bool),
    String(String),
    /// By its number in the plan.
    Field(usize),
    /// Neither a field nor compared as text.
    Absent,
    Matches {
        text: Box<Self>,
        pattern: Pattern,
        is_wanted: bool,
    },
    Binary(Operator, Box<Self>, Box<Self>),
}

impl Predicate {
    /// `field` gives the number of a name that is a field.
    pub(crate) fn new(
        condition: &Expr,
        field: &mut dyn FnMut(&str) -> Option<usize>,
    ) -> Result<Self, StatementError> {
        match condition {
            Expr::Paren(inner) => Self::new(inner, field),
            Expr::Number(literal) => Ok(match Scalar::from(*literal) {
                Scalar::Integer(value) => Self::Integer(value),
                Scalar::Float(value) => Self::Float(value),
                Scalar::Boolean(value) => Self::Boolean(value),
                Scalar::String(value) => Self::String(value.to_owned()),
            }),
            Expr::Boolean(value) => Ok(Self::Boolean(*value)),
            Expr::String(text) => Ok(Self::String(text.clone())),
            Expr::Field(name) => Ok(field(name).map_or(Self::Absent, Self::Field)),
            Expr::Binary(operator, left, right) => Self::binary(*operator, left, right, field),
            Expr::Call(name, _) => Err(StatementError::outside(format!("{name}() in a condition"))),
            Expr::Cast(..)
            | Expr::Wildcard(_)
            | Expr::Regex(_)
            | Expr::Duration(_)
            | Expr::Distinct(_) => Err(StatementError::outside(format!(
                "{condition} in a condition"
            ))),
        }
    }

    fn binary(
        operator: Operator,
        left: &Expr,
        right: &Expr,
        field: &mut dyn FnMut(&str) -> Option<usize>,
    ) -> Result<Self, StatementError> {
        if let (Operator::Matches | Operator::MatchesNot, Expr::Regex(pattern)) = (operator, right)
        {
            let is_wanted = operator == Operator::Matches;
            let text = Self::new(left, field)?;
            if matches!(text, Self::Absent) {
                return Ok(Self::Boolean(pattern.is_match("") == is_wanted));
            }
            return Ok(Self::Matches {
                text: Box::new(text),
                pattern: pattern.clone(),
                is_wanted,
            });
        }
        let (left, right) = (Self::new(left, field)?, Self::new(right, field)?);
        match (operator, &left, &right) {
            (Operator::Equal | Operator::NotEqual, Self::Absent, Self::String(text))
            | (Operator::Equal | Operator::NotEqual, Self::String(text), Self::Absent) => Ok(
                Self::Boolean(text.is_empty() == (operator == Operator::Equal)),
            ),
            _ => Ok(Self::Binary(operator, Box::new(left), Box::new(right))),
        }
    }

    /// Whether a point has what is asked for; `value` gives its fields.
    pub(crate) fn holds<'a>(&'a self, value: &dyn Fn(usize) -> Option<Scalar<'a>>) -> bool {
        self.evaluate(value) == Some(Scalar::Boolean(true))
    }

    fn evaluate<'a>(&'a self, value: &dyn Fn(usize) -> Option<Scalar<'a>>) -> Option<Scalar<'a>> {
        match self {
            Self::Float(it) => Some(Scalar::Float(*it)),
            Self::Integer(it) => Some(Scalar::Integer(*it)),
            Self::Boolean(it) => Some(Scalar::Boolean(*it)),
            Self::String(it) => Some(Scalar::String(it)),
            Self::Field(number) => value(*number),
            Self::Absent => None,
            Self::Matches {
                text,
                pattern,
                is_wanted,
            } => {
                let is_as_wanted = match text.evaluate(value) {
                    Some(Scalar::String(text)) => pattern.is_match(text) == *is_wanted,
                    Some(Scalar::Float(_) | Scalar::Integer(_) | Scalar::Boolean(_)) | None => {
                        false
                    }
                };
                Some(Scalar::Boolean(is_as_wanted))
            }
            Self::Binary(operator, left, right) => {
                let (left, right) = (left.evaluate(value), right.evaluate(value));
                let is_true = |it: Option<Scalar<'_>>| it == Some(Scalar::Boolean(true));
                if operator.is_arithmetic() {
                    return arithmetic(*operator, left, right);
                }
                Some(Scalar::Boolean(if *operator == Operator::And {
                    is_true(left) && is_true(right)
                } else if *operator == Operator::Or {
                    is_true(left) || is_true(right)
                } else {
                    compare_optional(*operator, left, right)
                }))
            }
        }
    }

    /// What every point has to have in `field`, if it is one integer.
    pub(crate) fn required(&self, field: usize) -> Option<i64> {
        let Self::Binary(operator, left, right) = self else {
            return None;
        };
        if *operator == Operator::And {
            return left.required(field).or_else(|| right.required(field));
        }
        match (&**left, &**right) {
            (Self::Field(number), Self::Integer(value))
            | (Self::Integer(value), Self::Field(number))
                if *operator == Operator::Equal && *number == field =>
            {
                Some(*value)
            }
            _ => None,
        }
    }

    /// Whether it asks nothing else.
    pub(crate) fn is_only(&self, field: usize) -> bool {
        matches!(self, Self::Binary(Operator::Equal, ..)) && self.required(field).is_some()
    }
}

/// Beside a boolean, nothing is false.
fn compare_optional(
    operator: Operator,
    left: Option<Scalar<'_>>,
    right: Option<Scalar<'_>>,
) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => compare(operator, left, right),
        (Some(it @ Scalar::Boolean(_)), None) | (None, Some(it @ Scalar::Boolean(_))) => {
            compare(operator, it, Scalar::Boolean(false))
        }
        (Some(_), None) | (None, Some(_)) | (None, None) => false,
    }
}
