//! One dynamic type model for everything that DDS publishes, and what follows from a type.
//!
//! In:  IDL text ([`idl::parse`]). XTypes TypeObjects give the same [`model`] by another door.
//! Out: definitions by name ([`Types`]), the SAL view of a struct ([`SalTopic`]) or the general one of any other
//!      ([`GeneralTopic`]), its Avro schema
//!      ([`avro::AvroSchema`]), and a [`Registry`] of what a folder of IDL files defines.
//!
//! Absent: files, clocks, DDS, CDR. Text comes in, values go out.
//!
//! Invariants:
//! - Parsing never fails and never panics: it returns what could be read *and* every error.
//! - A struct that is returned is whole: none of its members had an error.
//! - Every [`Type::Named`] in a returned definition names a definition of the same file.
//! - The schema text of a type is a function of the type alone, byte for byte.

pub mod avro;
pub mod general;
pub mod idl;
pub mod model;
pub mod registry;
pub mod sal;

pub use general::{GeneralTopic, NoGeneralMapping};
pub use model::{Definition, Struct, Type, TypeName, Types, Versions};
pub use registry::Registry;
pub use sal::{Mapping, NoMapping, SalTopic};
