//! Why a payload is not a sample of its type.

use std::sync::Arc;

/// A payload that does not fit its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause} at byte {offset}{}", in_field(field.as_deref()))]
pub struct Undecodable {
    /// From the first byte of the payload, encapsulation header included.
    pub offset: usize,
    /// `None` outside all fields: in a header, or behind the last field.
    pub field: Option<Arc<str>>,
    pub cause: Cause,
}

fn in_field(field: Option<&str>) -> String {
    field
        .map(|name| format!(", in field `{name}`"))
        .unwrap_or_default()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    #[error("{need} bytes needed, {left} left")]
    Truncated { need: usize, left: usize },
    #[error("encapsulation 0x{0:04x} is not one of CDR, PL_CDR, CDR2, D_CDR2, PL_CDR2")]
    Encapsulation(u16),
    #[error("{0} bytes too many")]
    Trailing(usize),
    #[error("boolean with the value {0}")]
    Boolean(u8),
    #[error("unsigned value {0} is above 2^63-1")]
    Unsigned(u64),
    #[error("a member with id {0} that the type does not have, or has once")]
    UnexpectedMember(u32),
    #[error("no member with id {0}")]
    MissingMember(u32),
    #[error("a member with id {0} that must be understood, which the type does not have")]
    NotUnderstood(u32),
    #[error("{0} is no literal of the enum")]
    Literal(i64),
    #[error("UTF-16 unit 0x{0:04x} without the other half of its pair")]
    Surrogate(u16),
    #[error("{0} bytes of UTF-16, an odd number")]
    OddLength(usize),
    #[error("more than {0} levels of values within values")]
    Depth(usize),
    #[error("more than {0} elements without a byte")]
    Empty(usize),
    #[error("more than {0} bytes of datum for a payload of this size")]
    Expansion(usize),
}
