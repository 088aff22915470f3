//! Statements as text, that is parsed to the same.

use std::fmt::{self, Display, Formatter};

use crate::ast::{Expr, Fill, Literal, Name, Origin, Output, Page, Pattern, Select};
use crate::lexer::{Duration, is_plain};

impl Display for Select {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("SELECT ")?;
        list(f, &self.fields)?;
        f.write_str(" FROM ")?;
        list(f, &self.origins)?;
        if let Some(condition) = &self.condition {
            write!(f, " WHERE {condition}")?;
        }
        if !self.dimensions.is_empty() {
            f.write_str(" GROUP BY ")?;
            list(f, &self.dimensions)?;
        }
        match self.fill {
            Fill::Null => {}
            Fill::None => f.write_str(" fill(none)")?,
            Fill::Previous => f.write_str(" fill(previous)")?,
            Fill::Linear => f.write_str(" fill(linear)")?,
            Fill::Number(number) => write!(f, " fill({number})")?,
        }
        if self.is_descending {
            f.write_str(" ORDER BY time DESC")?;
        }
        page(f, self.page, "")?;
        page(f, self.series, "S")?;
        match &self.zone {
            Some(zone) => write!(f, " tz({})", Quoted('\'', zone)),
            None => Ok(()),
        }
    }
}

impl Display for Output {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.alias {
            Some(alias) => write!(f, "{} AS {}", self.expr, Identifier(alias)),
            None => self.expr.fmt(f),
        }
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(database) = &self.database {
            write!(f, "{}.", Identifier(database))?;
        }
        match &self.policy {
            Some(policy) => write!(f, "{}.", Identifier(policy))?,
            None if self.database.is_some() => f.write_str(".")?,
            None => {}
        }
        match &self.name {
            Name::Exact(name) => Identifier(name).fmt(f),
            Name::Matching(pattern) => pattern.fmt(f),
        }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => Identifier(name).fmt(f),
            Self::Cast(name, kind) => write!(f, "{}::{kind}", Identifier(name)),
            Self::Wildcard(None) => f.write_str("*"),
            Self::Wildcard(Some(kind)) => write!(f, "*::{kind}"),
            Self::Regex(pattern) => pattern.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Duration(nanos) => Duration(*nanos).fmt(f),
            Self::String(text) => Quoted('\'', text).fmt(f),
            Self::Boolean(value) => value.fmt(f),
            Self::Call(name, arguments) => {
                write!(f, "{name}(")?;
                list(f, arguments)?;
                f.write_str(")")
            }
            Self::Distinct(name) => write!(f, "DISTINCT {}", Identifier(name)),
            Self::Paren(inner) => write!(f, "({inner})"),
            Self::Binary(operator, left, right) => {
                write!(f, "{left} {} {right}", operator.symbol())
            }
        }
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            // Always with a point: without, it were an integer.
            Self::Float(value) if value.fract() == 0.0 => write!(f, "{value}.0"),
            Self::Float(value) => value.fmt(f),
        }
    }
}

impl Display for Pattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.as_str().replace('/', "\\/"))
    }
}

/// In quotes where it needs them.
pub(crate) struct Identifier<'a>(pub(crate) &'a str);

impl Display for Identifier<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if is_plain(self.0) {
            f.write_str(self.0)
        } else {
            Quoted('"', self.0).fmt(f)
        }
    }
}

struct Quoted<'a>(char, &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(quote, text) = *self;
        write!(f, "{quote}")?;
        for char in text.chars() {
            match char {
                '\n' => f.write_str("\\n")?,
                '\\' => f.write_str("\\\\")?,
                other if other == quote => write!(f, "\\{quote}")?,
                other => write!(f, "{other}")?,
            }
        }
        write!(f, "{quote}")
    }
}

fn list<T: Display>(f: &mut Formatter<'_>, all: &[T]) -> fmt::Result {
    for (index, one) in all.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{one}")?;
    }
    Ok(())
}

fn page(f: &mut Formatter<'_>, page: Page, of: &str) -> fmt::Result {
    for (name, value) in [("LIMIT", page.limit), ("OFFSET", page.offset)] {
        if value > 0 {
            write!(f, " {of}{name} {value}")?;
        }
    }
    Ok(())
}
