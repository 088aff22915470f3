//! GROUP BY.

use std::collections::BTreeSet;

use crate::ast::Expr;
use crate::error::StatementError;
use crate::source::Grid;
use crate::times::{Constant, constant};

#[derive(Debug, Default)]
pub(super) struct Dimensions {
    pub(super) grid: Option<Grid>,
    pub(super) tags: Vec<String>,
}

impl Dimensions {
    pub(super) fn new(dimensions: &[Expr], now: i64) -> Result<Self, StatementError> {
        let (mut grid, mut tags) = (None, BTreeSet::new());
        for dimension in dimensions {
            match dimension {
                time if time.is_time() => {
                    return Err(StatementError::invalid(
                        "time() is a function and expects at least one argument",
                    ));
                }
                Expr::Field(name) => {
                    tags.insert(name.clone());
                }
                // No measurement has a tag.
                Expr::Wildcard(_) | Expr::Regex(_) => {}
                Expr::Call(name, arguments) if name == "time" => {
                    if grid.is_some() {
                        return Err(StatementError::invalid(
                            "multiple time dimensions not allowed",
                        ));
                    }
                    grid = Some(intervals(arguments, now)?);
                }
                Expr::Call(..) => {
                    return Err(StatementError::invalid(
                        "only time() calls allowed in dimensions",
                    ));
                }
                Expr::Cast(..)
                | Expr::Number(_)
                | Expr::Duration(_)
                | Expr::String(_)
                | Expr::Boolean(_)
                | Expr::Distinct(_)
                | Expr::Paren(_)
                | Expr::Binary(..) => {
                    return Err(StatementError::invalid(
                        "only time and tag dimensions allowed",
                    ));
                }
            }
        }
        Ok(Self {
            grid: grid.filter(|it| it.every > 0),
            tags: tags.into_iter().collect(),
        })
    }
}

fn intervals(arguments: &[Expr], now: i64) -> Result<Grid, StatementError> {
    if !(1..=2).contains(&arguments.len()) {
        return Err(StatementError::invalid(
            "time dimension expected 1 or 2 arguments",
        ));
    }
    let Expr::Duration(every) = arguments[0] else {
        return Err(StatementError::invalid(
            "time dimension must have duration argument",
        ));
    };
    let offset = match arguments.get(1) {
        None => 0,
        Some(written) => match constant(written, now)? {
            Constant::Duration(nanos) => nanos,
            Constant::Time(nanos) => i64::try_from(nanos).unwrap_or(0),
            Constant::Integer(_)
            | Constant::Float(_)
            | Constant::String(_)
            | Constant::Other(_) => {
                return Err(StatementError::invalid(format!(
                    "invalid time dimension offset: {written}"
                )));
            }
        },
    };
    Ok(Grid {
        every,
        offset: if every > 0 {
            offset.rem_euclid(every)
        } else {
            0
        },
        ends: false,
    })
}
