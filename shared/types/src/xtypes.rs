//! The type that a DDS writer announces to [`crate::model`].
//!
//! In:  the TypeInformation of a writer and the TypeMapping that the type lookup gave for it, both in
//!      XCDR2, little-endian, without encapsulation header (OMG DDS-XTypes 1.3, § 7.3.4, § 7.6.3).
//! Out: [`Announced`]: the root's name, the definitions that it needs, and the [`TypeId`] by which a
//!      writer's type is recognised without its TypeMapping.
//!
//! Absent: DDS, the type lookup itself, minimal TypeObjects (they carry no names), and MD5: an
//! identifier is taken as the writer gives it, not computed again.
//!
//! Invariants:
//! - Any bytes end in a value or in an error that names the place, the value and the limit. Nothing
//!   is allocated by a length that the bytes only claim.
//! - What is returned is whole: every [`crate::Type::Named`] has its definition, which is reached from the
//!   root; every name is made of IDL identifiers; no struct contains itself except through a
//!   sequence, a map, a union or an optional; chains of aliases and bases end.
//! - The same type as IDL gives the same definitions, comments aside: a TypeObject carries units
//!   (`@unit`) but neither the descriptions of members nor constants.
//!
//! Literals and flags are in the order of their numbers, as a TypeObject has them (§ 7.3.4.5).
//! `@external` and `@must_understand` do not change what is in a sample, and are dropped. A key is
//! what has `@key`, as in IDL: a path that ends at a struct stands for the keys of that struct, or
//! for all of it where it has none (§ 7.2.2.4.4.4.8).

mod build;
mod check;
mod cursor;
mod error;
mod identifier;
mod information;
mod mapping;
mod object;

pub use error::{Part, XtypesError};
pub use identifier::{Component, TypeId};

use crate::model::{TypeName, Types};

/// Bytes of one TypeInformation or TypeMapping. A type of 17 members has 1.4 kB.
pub const BYTES_MAX: usize = 4 << 20;

/// TypeObjects in one TypeMapping.
pub const TYPES_MAX: usize = 4_096;

/// Members of one struct, cases of one union, labels of one case.
pub const MEMBERS_MAX: usize = 16_384;

/// Literals of one enum.
pub const LITERALS_MAX: usize = 65_536;

/// Members, cases, literals and flags of all types together.
pub const MEMBERS_TOTAL_MAX: usize = 131_072;

/// Sequences of sequences of …
pub const TYPE_DEPTH_MAX: usize = 32;

/// Bytes of the name of a type or a member (Annex B, `TYPE_NAME_MAX_LENGTH`).
pub const NAME_BYTES_MAX: usize = 256;

/// Bytes of a unit or a description.
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// Elements of an array, all dimensions multiplied.
pub const ARRAY_ELEMENTS_MAX: u64 = 1 << 27;

/// Types inside collections that have a TypeObject of their own: these are written out where they
/// are used, and a few of them can use each other very often.
pub const WRITTEN_OUT_MAX: usize = 65_536;

/// Aliases of aliases, as far as [`Types::resolve`] follows them.
pub const ALIASES_MAX: usize = 31;

/// Bases of bases, as far as [`Types::lineage`] follows them.
pub const BASES_MAX: usize = 32;

/// A type as its writer announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// A struct or a union, or an alias of one. The name is the one in the writer's IDL, whatever
    /// the name under which the type was registered.
    pub root: TypeName,
    /// What the root needs, itself included.
    pub types: Types,
    /// The complete identifier of the root.
    pub id: TypeId,
}

/// The type whose complete identifier is in `type_information`, from the TypeObjects in
/// `type_mapping`.
pub fn parse(type_information: &[u8], type_mapping: &[u8]) -> Result<Announced, XtypesError> {
    let id = information::complete_id(type_information)?;
    let index = mapping::Index::read(type_mapping)?;
    let (root, types) = build::build(&index, id)?;
    check::check(&types, &root)?;
    Ok(Announced { root, types, id })
}

/// The complete identifier of the type, which says which plan a writer's samples need.
pub fn type_id(type_information: &[u8]) -> Result<TypeId, XtypesError> {
    information::complete_id(type_information)
}
