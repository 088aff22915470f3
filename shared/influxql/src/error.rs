//! What goes wrong with a statement: before anything is answered ([`ParseError`]), or in place of its answer.

use crate::lexer::{Lexer, Token};

/// No statement of the request is answered; InfluxDB's status is 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("error parsing query: found {found}, expected {expected} at line {line}, char {char}")]
    Unexpected {
        found: String,
        expected: String,
        line: usize,
        char: usize,
    },
    #[error(
        "error parsing query: {what} outside the subset that is answered here, at line {line}, char {char}"
    )]
    Outside {
        what: &'static str,
        line: usize,
        char: usize,
    },
    #[error("error parsing query: {what}: {value}, limit {limit}")]
    Limit {
        what: &'static str,
        value: usize,
        limit: usize,
    },
    #[error("error parsing query: {0}")]
    Other(String),
}

impl ParseError {
    pub(crate) fn unexpected(text: &str, found: &Token, begin: usize, expected: &str) -> Self {
        let (line, char) = Lexer::position(text, found, begin);
        Self::Unexpected {
            found: found.to_string(),
            expected: expected.to_owned(),
            line,
            char,
        }
    }
}

/// In place of a statement's answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatementError {
    #[error("database name required")]
    DatabaseRequired,
    #[error("database not found: {0}")]
    DatabaseNotFound(String),
    #[error("retention policy not found: {0}")]
    PolicyNotFound(String),
    #[error("{0} is outside the subset that is answered here")]
    Outside(String),
    #[error("{what}: {value}, limit {limit}")]
    Limit {
        what: &'static str,
        value: u64,
        limit: u64,
    },
    /// What InfluxDB says as well.
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),
}

impl StatementError {
    pub(crate) fn outside(what: impl Into<String>) -> Self {
        Self::Outside(what.into())
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }

    pub(crate) fn source(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Source(Box::new(error))
    }

    pub(crate) fn at_most(what: &'static str, value: u64, limit: u64) -> Result<(), Self> {
        if value > limit {
            Err(Self::Limit { what, value, limit })
        } else {
            Ok(())
        }
    }
}
