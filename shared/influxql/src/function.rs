//! The functions of the subset, by name, with what each takes.

use crate::ast::{Expr, Literal};
use crate::error::StatementError;
use crate::source::FieldKind;

/// Of a group's values one or a few.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Function {
    Count,
    CountDistinct,
    Sum,
    Mean,
    Median,
    Min,
    Max,
    First,
    Last,
    Spread,
    Stddev,
    /// Of 100.
    Percentile(f64),
    Distinct,
    Top(usize),
    Bottom(usize),
}

/// Of values in their order, each by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Transform {
    /// Per `unit`, ns.
    Derivative {
        unit: i64,
        is_non_negative: bool,
    },
    Difference {
        is_non_negative: bool,
    },
    MovingAverage(usize),
    CumulativeSum,
}

const KNOWN_OUTSIDE: &[&str] = &[
    "mode",
    "sample",
    "integral",
    "elapsed",
    "holt_winters",
    "holt_winters_with_fit",
    "histogram",
    "abs",
    "ceil",
    "floor",
    "round",
    "sqrt",
    "pow",
    "exp",
    "ln",
    "log",
    "log2",
    "log10",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "atan2",
    "exponential_moving_average",
    "double_exponential_moving_average",
    "triple_exponential_moving_average",
    "relative_strength_index",
    "triple_exponential_derivative",
    "kaufmans_efficiency_ratio",
    "kaufmans_adaptive_moving_average",
    "chande_momentum_oscillator",
];

pub(crate) const TRANSFORMS: &[&str] = &[
    "derivative",
    "non_negative_derivative",
    "difference",
    "non_negative_difference",
    "moving_average",
    "cumulative_sum",
];

impl Function {
    /// `None`: there is no such function here. The first argument is the caller's affair.
    pub(crate) fn new(name: &str, arguments: &[Expr]) -> Result<Option<Self>, StatementError> {
        let simple = match name {
            "count" => Self::Count,
            "sum" => Self::Sum,
            "mean" => Self::Mean,
            "median" => Self::Median,
            "min" => Self::Min,
            "max" => Self::Max,
            "first" => Self::First,
            "last" => Self::Last,
            "spread" => Self::Spread,
            "stddev" => Self::Stddev,
            "distinct" => Self::Distinct,
            "percentile" => {
                arity(name, arguments, 2)?;
                let Expr::Number(of) = arguments[1] else {
                    return Err(StatementError::invalid(
                        "expected float argument in percentile()",
                    ));
                };
                Self::Percentile(match of {
                    Literal::Integer(value) => value as f64,
                    Literal::Float(value) => value,
                })
            }
            "top" => return extremes(name, arguments).map(|count| Some(Self::Top(count))),
            "bottom" => return extremes(name, arguments).map(|count| Some(Self::Bottom(count))),
            _ => return Ok(None),
        };
        if !matches!(simple, Self::Percentile(_)) {
            arity(name, arguments, 1)?;
        }
        Ok(Some(simple))
    }

    /// What cannot be called at all.
    pub(crate) fn unknown(name: &str) -> StatementError {
        if KNOWN_OUTSIDE.contains(&name) {
            StatementError::outside(format!("{name}()"))
        } else {
            StatementError::invalid(format!("undefined function {name}()"))
        }
    }

    /// Whether what it gives is a point of the group, with a time.
    pub(crate) fn is_selector(self) -> bool {
        match self {
            Self::Min
            | Self::Max
            | Self::First
            | Self::Last
            | Self::Percentile(_)
            | Self::Top(_)
            | Self::Bottom(_) => true,
            Self::Count
            | Self::CountDistinct
            | Self::Sum
            | Self::Mean
            | Self::Median
            | Self::Spread
            | Self::Stddev
            | Self::Distinct => false,
        }
    }

    /// Whether it may give several values of a group: then it stands alone, and nothing is filled in.
    pub(crate) fn is_plural(self) -> bool {
        matches!(self, Self::Distinct | Self::Top(_) | Self::Bottom(_))
    }

    /// Whether a summary of a window is enough.
    pub(crate) fn is_of_summaries(self) -> bool {
        match self {
            Self::Count
            | Self::Sum
            | Self::Mean
            | Self::Min
            | Self::Max
            | Self::First
            | Self::Last
            | Self::Spread
            | Self::Stddev => true,
            Self::CountDistinct
            | Self::Median
            | Self::Percentile(_)
            | Self::Distinct
            | Self::Top(_)
            | Self::Bottom(_) => false,
        }
    }
}

/// Whether a call of this name takes fields of this kind.
pub(crate) fn takes(name: &str, kind: FieldKind) -> bool {
    match kind {
        FieldKind::Float | FieldKind::Integer => true,
        FieldKind::Boolean => matches!(
            name,
            "count" | "distinct" | "first" | "last" | "min" | "max"
        ),
        FieldKind::String => matches!(name, "count" | "distinct" | "first" | "last"),
    }
}

impl Transform {
    /// Of a moving average: each value is summed up as often.
    const WINDOW_MAX: u64 = 10_000;

    /// `interval`: of GROUP BY time, where what is transformed are groups.
    pub(crate) fn new(
        name: &str,
        arguments: &[Expr],
        interval: Option<i64>,
    ) -> Result<Option<Self>, StatementError> {
        let is_non_negative = name.starts_with("non_negative_");
        match name {
            "derivative" | "non_negative_derivative" => {
                if arguments.is_empty() || arguments.len() > 2 {
                    return Err(StatementError::invalid(format!(
                        "invalid number of arguments for {name}, expected at least 1 but no more than 2, got {}",
                        arguments.len()
                    )));
                }
                let unit = match arguments.get(1) {
                    None => interval.unwrap_or(crate::lexer::SECOND),
                    Some(Expr::Duration(unit)) if *unit > 0 => *unit,
                    Some(Expr::Duration(unit)) => {
                        return Err(StatementError::invalid(format!(
                            "duration argument must be positive, got {}",
                            crate::lexer::Duration(*unit)
                        )));
                    }
                    Some(other) => {
                        return Err(StatementError::invalid(format!(
                            "second argument to {name} must be a duration, got {other}"
                        )));
                    }
                };
                Ok(Some(Self::Derivative {
                    unit,
                    is_non_negative,
                }))
            }
            "difference" | "non_negative_difference" => {
                arity(name, arguments, 1)?;
                Ok(Some(Self::Difference { is_non_negative }))
            }
            "cumulative_sum" => {
                arity(name, arguments, 1)?;
                Ok(Some(Self::CumulativeSum))
            }
            "moving_average" => {
                arity(name, arguments, 2)?;
                let Expr::Number(Literal::Integer(count)) = arguments[1] else {
                    return Err(StatementError::invalid(format!(
                        "second argument for moving_average must be an integer, got {}",
                        arguments[1]
                    )));
                };
                StatementError::at_most(
                    "window of moving_average",
                    count.unsigned_abs(),
                    Self::WINDOW_MAX,
                )?;
                if count <= 1 {
                    return Err(StatementError::invalid(format!(
                        "moving_average window must be greater than 1, got {count}"
                    )));
                }
                Ok(Some(Self::MovingAverage(count as usize)))
            }
            _ => Ok(None),
        }
    }

    /// How many groups before the first InfluxDB reads for it; a moving average would need more.
    pub(crate) fn reach(self) -> i64 {
        match self {
            Self::Derivative { .. } | Self::Difference { .. } | Self::MovingAverage(_) => 1,
            Self::CumulativeSum => 0,
        }
    }
}

fn arity(name: &str, arguments: &[Expr], expected: usize) -> Result<(), StatementError> {
    let got = arguments.len();
    if got == expected {
        return Ok(());
    }
    Err(StatementError::invalid(format!(
        "invalid number of arguments for {name}, expected {expected}, got {got}"
    )))
}

/// Of one group: each value that comes is put into its place among them.
const EXTREMES_MAX: u64 = 10_000;

/// How many of them.
fn extremes(name: &str, arguments: &[Expr]) -> Result<usize, StatementError> {
    match arguments {
        [] | [_] => Err(StatementError::invalid(format!(
            "invalid number of arguments for {name}, expected at least 2, got {}",
            arguments.len()
        ))),
        [_, Expr::Number(Literal::Integer(count))] if *count < 1 => Err(StatementError::invalid(
            format!("limit ({count}) in {name} function must be at least 1"),
        )),
        [_, Expr::Number(Literal::Integer(count))] => {
            StatementError::at_most(
                "values of top or bottom",
                count.unsigned_abs(),
                EXTREMES_MAX,
            )?;
            Ok(*count as usize)
        }
        [_, other] => Err(StatementError::invalid(format!(
            "expected integer as last argument in {name}(), found {other}"
        ))),
        _ => Err(StatementError::outside(format!(
            "{name}() with more than two arguments"
        ))),
    }
}
