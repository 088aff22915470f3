//! SELECT and its clauses.

use super::{Parsed, Parser, at_most};
use crate::ast::{Expr, Fill, Output, Select};
use crate::error::ParseError;
use crate::lexer::Token;

impl Parser<'_> {
    pub(super) fn select(&mut self) -> Parsed<Select> {
        let fields = self.outputs()?;
        if *self.peek() == Token::Keyword("INTO") {
            return self.not_here("SELECT INTO is");
        }
        self.keyword("FROM")?;
        let origins = self.origins()?;
        let condition = self.condition()?;
        let dimensions = self.dimensions()?;
        let fill = self.fill()?;
        let is_descending = self.order()?;
        Ok(Select {
            fields,
            origins,
            condition,
            dimensions,
            fill,
            is_descending,
            page: self.page("LIMIT", "OFFSET")?,
            series: self.page("SLIMIT", "SOFFSET")?,
            zone: self.zone()?,
        })
    }

    fn outputs(&mut self) -> Parsed<Vec<Output>> {
        let mut outputs = Vec::new();
        loop {
            let expr = self.expression()?;
            let alias = if self.is_keyword("AS") {
                Some(self.identifier("identifier")?)
            } else {
                None
            };
            outputs.push(Output { expr, alias });
            at_most("fields of a statement", outputs.len(), self.limits.fields)?;
            if !self.is_symbol(",") {
                return Ok(outputs);
            }
        }
    }

    pub(super) fn condition(&mut self) -> Parsed<Option<Expr>> {
        if self.is_keyword("WHERE") {
            self.expression().map(Some)
        } else {
            Ok(None)
        }
    }

    fn dimensions(&mut self) -> Parsed<Vec<Expr>> {
        let mut dimensions = Vec::new();
        if !self.is_keyword("GROUP") {
            return Ok(dimensions);
        }
        self.keyword("BY")?;
        loop {
            dimensions.push(self.expression()?);
            at_most(
                "dimensions of a statement",
                dimensions.len(),
                self.limits.fields,
            )?;
            if !self.is_symbol(",") {
                return Ok(dimensions);
            }
        }
    }

    fn fill(&mut self) -> Parsed<Fill> {
        if !self.is_word("fill") {
            return Ok(Fill::Null);
        }
        self.next();
        self.symbol("(")?;
        let argument = self.expression()?;
        self.symbol(")")?;
        let named = |name: &str| match name.to_ascii_lowercase().as_str() {
            "null" => Some(Fill::Null),
            "none" => Some(Fill::None),
            "previous" => Some(Fill::Previous),
            "linear" => Some(Fill::Linear),
            _ => None,
        };
        let fill = if let Expr::Number(number) = argument {
            Some(Fill::Number(number))
        } else if let Expr::Field(name) = &argument {
            named(name)
        } else {
            None
        };
        fill.ok_or_else(|| ParseError::Other("expected number argument in fill()".to_owned()))
    }

    /// Whether descending.
    pub(super) fn order(&mut self) -> Parsed<bool> {
        if !self.is_keyword("ORDER") {
            return Ok(false);
        }
        self.keyword("BY")?;
        let only_time =
            || ParseError::Other("only ORDER BY time supported at this time".to_owned());
        if self.is_word("time") {
            self.next();
        } else if matches!(self.peek(), Token::Identifier(_)) {
            return Err(only_time());
        } else if !matches!(self.peek(), Token::Keyword("ASC" | "DESC")) {
            return self.unexpected("identifier, ASC, DESC");
        }
        let is_descending = self.is_keyword("DESC");
        if !is_descending {
            self.is_keyword("ASC");
        }
        if *self.peek() == Token::Symbol(",") {
            return Err(only_time());
        }
        Ok(is_descending)
    }

    fn zone(&mut self) -> Parsed<Option<String>> {
        if !self.is_word("tz") {
            return Ok(None);
        }
        self.next();
        self.symbol("(")?;
        let Token::String(zone) = self.peek() else {
            return self.unexpected("string");
        };
        let zone = zone.clone();
        self.next();
        self.symbol(")")?;
        Ok(Some(zone))
    }

    /// A word that means something only where it stands.
    fn is_word(&mut self, word: &str) -> bool {
        matches!(self.peek(), Token::Identifier(name) if name.eq_ignore_ascii_case(word))
    }
}
