//! Expressions: precedence climbing, with the depth and the number of operators bounded.

use super::{Parsed, Parser, at_most};
use crate::ast::{Expr, Literal, Operator};
use crate::error::ParseError;
use crate::lexer::Token;

const OPERAND: &str = "identifier, string, number, bool";

impl Parser<'_> {
    /// A whole one.
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        self.operators = 0;
        self.binary(0)
    }

    /// Of operators that bind tighter than `floor`.
    fn binary(&mut self, floor: u8) -> Parsed<Expr> {
        let mut left = self.unary()?;
        while let Some(operator) = self.operator().filter(|it| it.precedence() > floor) {
            self.next();
            self.operators += 1;
            at_most(
                "operators of an expression",
                self.operators,
                self.limits.operators,
            )?;
            let right = if matches!(operator, Operator::Matches | Operator::MatchesNot) {
                Expr::Regex(self.pattern()?)
            } else {
                self.binary(operator.precedence())?
            };
            left = Expr::Binary(operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn operator(&mut self) -> Option<Operator> {
        let (Token::Symbol(symbol) | Token::Keyword(symbol)) = *self.peek() else {
            return None;
        };
        let symbol = if symbol == "<>" { "!=" } else { symbol };
        Operator::ALL.into_iter().find(|it| it.symbol() == symbol)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        self.depth += 1;
        at_most(
            "parentheses within parentheses",
            self.depth,
            self.limits.nesting,
        )?;
        let parsed = self.operand();
        self.depth -= 1;
        parsed
    }

    fn operand(&mut self) -> Parsed<Expr> {
        if self.is_symbol("(") {
            let inner = self.binary(0)?;
            self.symbol(")")?;
            return Ok(Expr::Paren(Box::new(inner)));
        }
        if self.is_symbol("+") {
            return self.signed(1);
        }
        if self.is_symbol("-") {
            return self.signed(-1);
        }
        if self.is_symbol("*") {
            let kind = if self.is_symbol("::") {
                Some(self.kind()?)
            } else {
                None
            };
            return Ok(Expr::Wildcard(kind));
        }
        if *self.peek() == Token::Symbol("/") {
            return self.pattern().map(Expr::Regex);
        }
        if self.is_keyword("DISTINCT") {
            if self.is_symbol("(") {
                let inner = self.binary(0)?;
                self.symbol(")")?;
                return Ok(Expr::Call("distinct".to_owned(), vec![inner]));
            }
            return self.identifier("identifier").map(Expr::Distinct);
        }
        if *self.peek() == Token::Symbol("$") {
            return self.not_here("a bound parameter is");
        }
        match self.peek() {
            Token::Identifier(_) => self.reference(),
            Token::Keyword("TRUE") => self.literal(Expr::Boolean(true)),
            Token::Keyword("FALSE") => self.literal(Expr::Boolean(false)),
            &Token::Integer(value) => self.literal(Expr::Number(Literal::Integer(value))),
            &Token::Number(value) => self.literal(Expr::Number(Literal::Float(value))),
            &Token::Duration(nanos) => self.literal(Expr::Duration(nanos)),
            Token::String(text) => {
                let text = text.clone();
                self.literal(Expr::String(text))
            }
            Token::Bad(text) if text.starts_with(|it: char| it.is_ascii_digit()) => Err(
                ParseError::Other(format!("invalid number or duration: {text}")),
            ),
            Token::End | Token::Keyword(_) | Token::Symbol(_) | Token::Regex(_) | Token::Bad(_) => {
                self.unexpected(OPERAND)
            }
        }
    }

    fn literal(&mut self, expr: Expr) -> Parsed<Expr> {
        self.next();
        Ok(expr)
    }

    /// What follows a sign. Only literals take it up; of all else it is a factor.
    fn signed(&mut self, sign: i64) -> Parsed<Expr> {
        let can_follow = matches!(
            self.peek(),
            Token::Integer(_)
                | Token::Number(_)
                | Token::Duration(_)
                | Token::Identifier(_)
                | Token::Symbol("(")
        );
        if !can_follow {
            return self.unexpected("identifier, number, duration, (");
        }
        let mut unsigned = self.unary()?;
        match &mut unsigned {
            Expr::Number(Literal::Integer(value)) | Expr::Duration(value) => *value *= sign,
            Expr::Number(Literal::Float(value)) => *value *= sign as f64,
            Expr::Field(_)
            | Expr::Cast(..)
            | Expr::Wildcard(_)
            | Expr::Regex(_)
            | Expr::String(_)
            | Expr::Boolean(_)
            | Expr::Call(..)
            | Expr::Distinct(_)
            | Expr::Paren(_)
            | Expr::Binary(..) => {
                let factor = Expr::Number(Literal::Integer(sign));
                let product =
                    Expr::Binary(Operator::Multiply, Box::new(factor), Box::new(unsigned));
                return Ok(Expr::Paren(Box::new(product)));
            }
        }
        Ok(unsigned)
    }

    /// A field or a call.
    fn reference(&mut self) -> Parsed<Expr> {
        let mut name = self.identifier(OPERAND)?;
        if self.is_symbol("(") {
            return Ok(Expr::Call(name.to_lowercase(), self.arguments()?));
        }
        while self.is_symbol(".") {
            name = format!("{name}.{}", self.identifier("identifier")?);
        }
        if self.is_symbol("::") {
            return Ok(Expr::Cast(name, self.kind()?));
        }
        Ok(Expr::Field(name))
    }

    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        let mut arguments = Vec::new();
        if self.is_symbol(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.binary(0)?);
            at_most("arguments of a call", arguments.len(), self.limits.fields)?;
            if !self.is_symbol(",") {
                self.symbol(")")?;
                return Ok(arguments);
            }
        }
    }

    fn kind(&mut self) -> Parsed<String> {
        const KINDS: [&str; 6] = ["float", "integer", "unsigned", "string", "boolean", "tag"];
        const EXPECTED: &str = "float, integer, unsigned, string, boolean, field, tag";
        if self.is_keyword("FIELD") {
            return Ok("field".to_owned());
        }
        if self.is_keyword("TAG") {
            return Ok("tag".to_owned());
        }
        if let Token::Identifier(name) = self.peek()
            && let Some(kind) = KINDS.iter().find(|it| it.eq_ignore_ascii_case(name))
        {
            self.next();
            return Ok((*kind).to_owned());
        }
        self.unexpected(EXPECTED)
    }
}
