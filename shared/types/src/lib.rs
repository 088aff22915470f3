//! One dynamic type model for everything that DDS publishes, and what follows from a type.
//!
//! In:  IDL text ([`idl::parse`]), or what a DDS writer announces ([`xtypes::parse`]): the same [`model`].
//! Out: definitions by name ([`Types`]), the SAL view of a struct ([`SalTopic`]) or the general one of any other
//!      ([`GeneralTopic`]), its Avro schema
//!      ([`avro::AvroSchema`]), and a [`Registry`] of what a folder of IDL files defines.
//!
//! Absent: files, clocks, DDS, the CDR of samples. Text or bytes come in, values go out.
//!
//! Invariants:
//! - Parsing never panics. That of IDL never fails either: it returns what could be read *and* every error.
//! - A struct that is returned is whole: none of its members had an error.
//! - Every [`Type::Named`] in a returned definition names a definition of the same file or announcement.
//! - The schema text of a type is a function of the type alone, byte for byte.

pub mod avro;
pub mod general;
pub mod idl;
pub mod model;
pub mod registry;
pub mod sal;
pub mod xtypes;

pub use general::{GeneralTopic, NoGeneralMapping};
pub use model::{Definition, Struct, Type, TypeName, Types, Versions};
pub use registry::Registry;
pub use sal::{Mapping, NoMapping, SalTopic};
