//! Fields written out: wildcards and regular expressions, and the names of the columns.

use std::collections::{BTreeMap, BTreeSet};

use crate::ast::{Expr, Output};
use crate::error::StatementError;
use crate::function::takes;
use crate::source::FieldKind;

/// Fields of all measurements of a statement.
pub(crate) type Fields = BTreeMap<String, FieldKind>;

/// Each wildcard and each regular expression becomes the fields that it stands for, by name.
pub(crate) fn expand(outputs: &[Output], fields: &Fields) -> Result<Vec<Output>, StatementError> {
    let mut expanded = Vec::new();
    for output in outputs {
        match (&output.expr, wildcard(&output.expr)) {
            (_, None) => expanded.push(output.clone()),
            (Expr::Wildcard(_) | Expr::Regex(_), Some(wildcard)) => {
                let names = matching(wildcard, fields)?;
                expanded.extend(names.map(|(name, _)| Output {
                    expr: Expr::Field(name.clone()),
                    alias: None,
                }));
            }
            (Expr::Call(outer, _), Some(wildcard)) => {
                let inner = innermost(&output.expr);
                if matches!(inner, "top" | "bottom") {
                    return Err(StatementError::invalid(format!(
                        "expected first argument to be a field in {inner}(), found {wildcard}"
                    )));
                }
                if inner == "distinct" && outer != inner {
                    return Err(StatementError::invalid(
                        "expected field argument in distinct()",
                    ));
                }
                let prefix = output.alias.as_deref().unwrap_or(outer);
                let names = matching(wildcard, fields)?.filter(|(_, kind)| takes(inner, **kind));
                expanded.extend(names.map(|(name, _)| Output {
                    expr: replaced(&output.expr, name),
                    alias: Some(format!("{prefix}_{name}")),
                }));
            }
            (_, Some(wildcard)) => {
                let mut named = wildcard.to_string();
                output.expr.walk(&mut |it| {
                    if let Expr::Call(name, _) = it {
                        named = format!("{name}()");
                    }
                });
                return Err(StatementError::invalid(format!(
                    "unsupported expression with wildcard: {named}"
                )));
            }
        }
    }
    Ok(expanded)
}

fn wildcard(expr: &Expr) -> Option<&Expr> {
    let mut found = None;
    expr.walk(&mut |it| {
        if matches!(it, Expr::Wildcard(_) | Expr::Regex(_)) {
            found.get_or_insert(it);
        }
    });
    found
}

fn matching<'a>(
    wildcard: &'a Expr,
    fields: &'a Fields,
) -> Result<impl Iterator<Item = (&'a String, &'a FieldKind)>, StatementError> {
    if let Expr::Wildcard(Some(kind)) = wildcard
        && !matches!(kind.as_str(), "field" | "tag")
    {
        return Err(StatementError::outside(format!("*::{kind}")));
    }
    let is_of_tags = matches!(wildcard, Expr::Wildcard(Some(kind)) if kind == "tag");
    Ok(fields.iter().filter(move |(name, _)| {
        if let Expr::Regex(pattern) = wildcard {
            pattern.is_match(name)
        } else {
            !is_of_tags
        }
    }))
}

/// The name of the call that takes the field.
fn innermost(call: &Expr) -> &str {
    let Expr::Call(name, arguments) = call else {
        return "";
    };
    match arguments.first() {
        Some(inner @ Expr::Call(..)) => innermost(inner),
        Some(_) | None => name,
    }
}

/// The innermost call's first argument is the field.
fn replaced(expr: &Expr, field: &str) -> Expr {
    let Expr::Call(name, arguments) = expr else {
        return Expr::Field(field.to_owned());
    };
    let first = arguments.first().map(|it| replaced(it, field)).into_iter();
    Expr::Call(
        name.clone(),
        first.chain(arguments.iter().skip(1).cloned()).collect(),
    )
}

/// Of the columns, in their order; a name that is taken gets a number.
pub(crate) fn names(outputs: &[Output]) -> Vec<String> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let aliases: BTreeSet<&String> = outputs.iter().filter_map(|it| it.alias.as_ref()).collect();
    taken.extend(aliases.into_iter().map(|it| (it.clone(), 1)));
    let name = |output: &Output| {
        if let Some(alias) = &output.alias {
            return alias.clone();
        }
        let mut name = own_name(&output.expr);
        if let Some(&count) = taken.get(&name) {
            let free = (count..).find(|number| !taken.contains_key(&format!("{name}_{number}")));
            let number = free.unwrap_or(count);
            taken.insert(name.clone(), number + 1);
            name = format!("{name}_{number}");
        }
        taken.insert(name.clone(), 1);
        name
    };
    outputs.iter().map(name).collect()
}

fn own_name(expr: &Expr) -> String {
    match expr {
        Expr::Field(name) | Expr::Cast(name, _) => name.clone(),
        Expr::Call(name, _) => name.clone(),
        Expr::Distinct(_) => "distinct".to_owned(),
        Expr::Paren(inner) => own_name(inner),
        Expr::Binary(_, left, right) => {
            let both = [own_name(left), own_name(right)];
            let named: Vec<String> = both.into_iter().filter(|it| !it.is_empty()).collect();
            named.join("_")
        }
        Expr::Wildcard(_)
        | Expr::Regex(_)
        | Expr::Number(_)
        | Expr::Duration(_)
        | Expr::String(_)
        | Expr::Boolean(_) => String::new(),
    }
}
