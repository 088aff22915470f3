//! What can be wrong with an IDL file.

use super::suggest::DidYouMean;

/// One finding, at the place where a person should look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {reason}")]
pub struct IdlError {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    pub reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("the file has {bytes} bytes, the limit is {limit}")]
    FileTooLarge { bytes: usize, limit: usize },
    #[error("more than {limit} errors: the rest is not listed")]
    TooManyErrors { limit: usize },
    #[error("more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
    #[error("{what} nested deeper than {limit}")]
    TooDeep { what: &'static str, limit: usize },
    #[error("expected {expected}, found {found}")]
    Expected {
        expected: &'static str,
        found: String,
    },
    #[error("`{0}` is not closed: `}}` is missing")]
    NotClosed(String),
    #[error("a comment that begins with `/*` is not closed")]
    CommentNotClosed,
    #[error("unknown type `{name}`{suggestion}")]
    UnknownType {
        name: String,
        suggestion: DidYouMean,
    },
    #[error("unknown constant `{name}`{suggestion}")]
    UnknownConstant {
        name: String,
        suggestion: DidYouMean,
    },
    #[error("`{0}` has errors of its own, so what uses it is left out")]
    UsesBroken(String),
    #[error("`{0}` is not complete here; only a sequence, a map or an optional may hold it")]
    Incomplete(String),
    #[error("`{name}` is {found}, not {expected}")]
    WrongKind {
        name: String,
        found: &'static str,
        expected: &'static str,
    },
    #[error("`{name}` was defined before, in line {line}")]
    Duplicate { name: String, line: u32 },
    #[error("member `{0}` appears twice")]
    DuplicateMember(String),
    #[error("member id {id} of `{name}` is taken")]
    DuplicateId { name: String, id: u32 },
    #[error("{what} are not supported")]
    Unsupported { what: &'static str },
    #[error("`{0}` is not a number")]
    BadNumber(String),
    #[error("`{0}` does not fit the operands")]
    BadOperands(char),
    #[error("division by zero")]
    DivisionByZero,
    #[error("{value} is out of range: {what} takes {min} to {max}")]
    OutOfRange {
        what: &'static str,
        value: i128,
        min: i128,
        max: i128,
    },
    #[error("a constant of type {ty} cannot be {value}")]
    BadConstant { ty: &'static str, value: String },
    #[error("keylist for unknown struct `{0}`: ignored")]
    KeylistUnknownStruct(String),
    #[error("keylist of `{name}` names unknown member `{path}`{suggestion}")]
    KeylistUnknownMember {
        name: String,
        path: String,
        suggestion: DidYouMean,
    },
    #[error("`{0}` has a keylist and @key: the keylist is ignored")]
    KeylistAndKey(String),
    #[error("constant `{0}` has another value above: the first one holds")]
    ConstantChanged(String),
    #[error("metadata comment is not of the form @Metadata=(Units=\"…\",Description=\"…\")")]
    BadMetadata,
    #[error("`int` is not IDL: read as `long`")]
    IntIsLong,
}
