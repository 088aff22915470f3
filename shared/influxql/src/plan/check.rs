//! What the fields of a SELECT may be together.

use super::Groups;
use crate::ast::{Expr, Fill, Output};
use crate::error::StatementError;
use crate::function::{Function, TRANSFORMS};

/// Time is always the first column, and may have another name.
pub(super) fn without_time(outputs: &[Output]) -> Result<(Vec<Output>, String), StatementError> {
    let times = outputs.iter().filter(|it| it.expr.is_time());
    let alias = times.filter_map(|it| it.alias.clone()).next_back();
    let others: Vec<Output> = outputs
        .iter()
        .filter(|it| !it.expr.is_time())
        .cloned()
        .collect();
    if others.is_empty() {
        return Err(StatementError::invalid(
            "at least 1 non-time field must be queried",
        ));
    }
    Ok((others, alias.unwrap_or_else(|| "time".to_owned())))
}

/// What groups may not be asked for.
pub(super) fn groups(groups: &Groups, fill: Fill, limit: u64) -> Result<(), StatementError> {
    for call in &groups.calls {
        let (Function::Top(count) | Function::Bottom(count)) = call.function else {
            continue;
        };
        if limit > 0 && count as u64 > limit {
            let name = if matches!(call.function, Function::Top(_)) {
                "top"
            } else {
                "bottom"
            };
            return Err(StatementError::invalid(format!(
                "limit ({count}) in {name} function can not be larger than the LIMIT ({limit}) in the select statement"
            )));
        }
    }
    let is_filled =
        groups.grid.is_some() && matches!(fill, Fill::Previous | Fill::Linear | Fill::Number(_));
    if is_filled && !groups.beside.is_empty() {
        return Err(StatementError::outside(
            "fill() of fields beside a selector",
        ));
    }
    Ok(())
}

/// The calls and the fields that are outside of calls.
#[derive(Default)]
struct Found {
    aggregates: Vec<String>,
    plural: Option<String>,
    has_others_than_selectors: bool,
    raw_transforms: Option<String>,
    has_transforms: bool,
    has_fields: bool,
}

/// Whether groups are computed, not points.
pub(super) fn fields(
    outputs: &[Output],
    interval: Option<i64>,
    fill: Fill,
) -> Result<bool, StatementError> {
    let mut found = Found::default();
    for output in outputs {
        let mut names_something = false;
        output.expr.walk(&mut |it| {
            names_something |= matches!(
                it,
                Expr::Field(_)
                    | Expr::Cast(..)
                    | Expr::Wildcard(_)
                    | Expr::Regex(_)
                    | Expr::Call(..)
                    | Expr::Distinct(_)
            );
        });
        if !names_something {
            return Err(StatementError::invalid(
                "field must contain at least one variable",
            ));
        }
        found.expression(&output.expr, interval)?;
    }
    found.check(interval, fill)
}

impl Found {
    fn expression(&mut self, expr: &Expr, interval: Option<i64>) -> Result<(), StatementError> {
        match expr {
            Expr::Field(_) | Expr::Wildcard(_) | Expr::Regex(_) => self.has_fields = true,
            Expr::Cast(..) => return Err(StatementError::outside(format!("the cast {expr}"))),
            Expr::Distinct(_) => self.aggregate("distinct", None),
            Expr::Call(name, arguments) => self.call(name, arguments, interval)?,
            Expr::Paren(inner) => self.expression(inner, interval)?,
            Expr::Binary(operator, left, right) => {
                if !operator.is_arithmetic() {
                    return Err(StatementError::invalid(format!(
                        "invalid operator {} in SELECT clause",
                        operator.symbol()
                    )));
                }
                self.expression(left, interval)?;
                self.expression(right, interval)?;
            }
            Expr::Number(_) => {}
            Expr::Duration(_) | Expr::String(_) | Expr::Boolean(_) => {
                return Err(StatementError::outside(format!("{expr} in SELECT")));
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        name: &str,
        arguments: &[Expr],
        interval: Option<i64>,
    ) -> Result<(), StatementError> {
        if TRANSFORMS.contains(&name) {
            self.has_transforms = true;
            return match arguments.first() {
                Some(Expr::Call(inner, arguments)) => {
                    if interval.is_none() {
                        return Err(StatementError::invalid(format!(
                            "{name} aggregate requires a GROUP BY interval"
                        )));
                    }
                    self.call(inner, arguments, interval)
                }
                Some(Expr::Field(_) | Expr::Wildcard(_) | Expr::Regex(_)) => {
                    if interval.is_some() {
                        return Err(StatementError::invalid(format!(
                            "aggregate function required inside the call to {name}"
                        )));
                    }
                    self.raw_transforms = Some(name.to_owned());
                    Ok(())
                }
                Some(_) => Err(StatementError::invalid(format!(
                    "expected field argument in {name}()"
                ))),
                None => Err(StatementError::invalid(format!(
                    "invalid number of arguments for {name}, expected at least 1, got 0"
                ))),
            };
        }
        let function = Function::new(name, arguments)?.ok_or_else(|| Function::unknown(name))?;
        match arguments.first() {
            Some(Expr::Field(_) | Expr::Wildcard(_) | Expr::Regex(_)) => {}
            Some(Expr::Call(inner, innermost)) if name == "count" && inner == "distinct" => {
                Function::new(inner, innermost)?;
                if !matches!(innermost.first(), Some(Expr::Field(_))) {
                    return Err(StatementError::invalid(
                        "expected field argument in distinct()",
                    ));
                }
            }
            Some(Expr::Distinct(_)) if name == "count" => {}
            _ => {
                return Err(StatementError::invalid(format!(
                    "expected field argument in {name}()"
                )));
            }
        }
        self.aggregate(name, Some(function));
        Ok(())
    }

    fn aggregate(&mut self, name: &str, function: Option<Function>) {
        let function = function.unwrap_or(Function::Distinct);
        self.aggregates.push(name.to_owned());
        self.has_others_than_selectors |= !function.is_selector();
        if function.is_plural() {
            self.plural = Some(name.to_owned());
        }
    }

    fn check(&self, interval: Option<i64>, fill: Fill) -> Result<bool, StatementError> {
        let is_one = self.aggregates.len() == 1;
        match &self.plural {
            Some(name) if name == "distinct" && (!is_one || self.has_fields) => {
                return Err(StatementError::invalid(
                    "aggregate function distinct() cannot be combined with other functions or fields",
                ));
            }
            Some(name) if !is_one => {
                return Err(StatementError::invalid(format!(
                    "selector function {name}() cannot be combined with other functions"
                )));
            }
            Some(name) if self.has_transforms => {
                return Err(StatementError::outside(format!(
                    "a transformation of {name}()"
                )));
            }
            Some(_) | None => {}
        }
        let is_aggregate = !self.aggregates.is_empty();
        if let (Some(name), true) = (&self.raw_transforms, is_aggregate) {
            return Err(StatementError::outside(format!(
                "{name}() of a field beside an aggregate"
            )));
        }
        if self.has_fields && (self.has_transforms || self.has_others_than_selectors) {
            return Err(StatementError::invalid(
                "mixing aggregate and non-aggregate queries is not supported",
            ));
        }
        if self.has_fields && self.aggregates.len() > 1 {
            return Err(StatementError::invalid(
                "mixing multiple selector functions with tags or fields is not supported",
            ));
        }
        if self.has_fields && self.aggregates.iter().any(|it| it == "percentile") {
            return Err(StatementError::outside(
                "percentile() with other fields of its point",
            ));
        }
        if !is_aggregate && interval.is_some() {
            return Err(StatementError::invalid(
                "GROUP BY requires at least one aggregate function",
            ));
        }
        match fill {
            Fill::None | Fill::Linear if !is_aggregate && self.raw_transforms.is_none() => {
                let name = if fill == Fill::None { "none" } else { "linear" };
                Err(StatementError::invalid(format!(
                    "fill({name}) must be used with a function"
                )))
            }
            Fill::None | Fill::Linear | Fill::Null | Fill::Previous | Fill::Number(_) => {
                Ok(is_aggregate)
            }
        }
    }
}
