//! What can be wrong with an announced type.

use std::fmt;

use super::identifier::TypeId;

/// Which of the two blobs an offset is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Information,
    Mapping,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Information => "TypeInformation",
            Self::Mapping => "TypeMapping",
        })
    }
}

/// Why an announced type cannot be used. Its samples may still be read by a type from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XtypesError {
    #[error("the {part} has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        part: Part,
        bytes: usize,
        limit: usize,
    },
    #[error("{part}, byte {offset}: {needed} bytes are needed, {left} are left")]
    Truncated {
        part: Part,
        offset: usize,
        needed: usize,
        left: usize,
    },
    #[error("{part}, byte {offset}: {value} {what}, the limit is {limit}")]
    TooMany {
        part: Part,
        offset: usize,
        what: &'static str,
        value: u64,
        limit: u64,
    },
    #[error("{part}, byte {offset}: types are nested deeper than {limit}")]
    TooDeep {
        part: Part,
        offset: usize,
        limit: usize,
    },
    #[error("{part}, byte {offset}: {what} is {value}, expected {expected}")]
    BadValue {
        part: Part,
        offset: usize,
        what: &'static str,
        value: u64,
        expected: &'static str,
    },
    #[error("{part}, byte {offset}: {what} {problem}")]
    BadText {
        part: Part,
        offset: usize,
        what: &'static str,
        problem: &'static str,
    },
    #[error("{part}, byte {offset}: unknown kind {kind:#04x} of {what}")]
    UnknownKind {
        part: Part,
        offset: usize,
        what: &'static str,
        kind: u8,
    },
    #[error(
        "{part}, byte {offset}: only a minimal type is given, which has no names; a complete one is needed"
    )]
    OnlyMinimal { part: Part, offset: usize },
    #[error("{part}, byte {offset}: type {id} appears twice, with different TypeObjects")]
    IdTwice {
        part: Part,
        offset: usize,
        id: TypeId,
    },
    #[error("the TypeMapping has no complete TypeObject for the root {0}")]
    NoRoot(TypeId),
    #[error("the root `{root}` is {found}, expected a struct or a union")]
    RootKind { root: String, found: &'static str },
    #[error("`{user}`: the TypeMapping has no complete TypeObject for {id}, the type of {member}")]
    Missing {
        user: String,
        member: String,
        id: TypeId,
    },
    #[error("`{user}`: the type of {member} is {found}, which is not supported")]
    Unsupported {
        user: String,
        member: String,
        found: &'static str,
    },
    #[error("`{user}`: the type of {member} is {found}, expected {expected}")]
    WrongKind {
        user: String,
        member: String,
        found: String,
        expected: &'static str,
    },
    #[error("`{user}`: {member} has types nested deeper than {limit}")]
    TooDeepInside {
        user: String,
        member: String,
        limit: usize,
    },
    #[error(
        "`{user}`: {member} makes more than {limit} types when its collections are written out"
    )]
    TooManyInside {
        user: String,
        member: String,
        limit: usize,
    },
    #[error("`{user}`: {member} has {elements} elements in one array, the limit is {limit}")]
    ArrayTooLarge {
        user: String,
        member: String,
        elements: u64,
        limit: u64,
    },
    #[error("two types have the name `{0}` and are not equal")]
    NameTwice(String),
    #[error("`{user}`: {what} `{name}` appears twice")]
    MemberTwice {
        user: String,
        what: &'static str,
        name: String,
    },
    #[error("`{user}`: {what} {value} of `{member}` is taken")]
    NumberTwice {
        user: String,
        what: &'static str,
        member: String,
        value: i64,
    },
    #[error("`{user}`: {what} {value} of `{member}` is not {min} to {max}")]
    OutOfRange {
        user: String,
        what: &'static str,
        member: String,
        value: i64,
        min: i128,
        max: i128,
    },
    #[error("union `{0}` has two default cases")]
    DefaultTwice(String),
    #[error("`{name}` {what} itself without end")]
    Endless { name: String, what: &'static str },
    #[error("`{name}` has a chain of more than {limit} {what}")]
    ChainTooLong {
        name: String,
        what: &'static str,
        limit: usize,
    },
}
