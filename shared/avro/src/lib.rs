//! Avro datums read by their schema into columns or values.
//!
//! In:  a schema's text ([`RecordSchema::parse`]) and datums without framing, as blocks carry them.
//! Out: calls on a [`Sink`] in the order of the datum, with no value tree between ([`Decoder`]); columns whose buffers
//!      Arrow can take as they are ([`Columns`]); or values for people ([`Value`], [`json`]).
//!
//! Absent: Arrow, files, schema resolution (a datum is read by the schema it was written with, never by another).
//!
//! Invariants:
//! * Hostile datums give a [`DatumError`] with the field and the byte; they never panic, and never make the reader
//!   allocate more than a small multiple of their own length.
//! * [`Columns::push`] adds a whole row or nothing.
//!
//! # What is read
//!
//! Every schema that types of DDS become (SAL's and all others); anything else is a [`SchemaError`] that names the field.
//!
//! - A record within the record is its fields, `pose.position.x`: Avro has the one's bytes after the other's, so this
//!   costs nothing. SAL's fields are [`FieldType::Scalar`] and [`FieldType::Array`].
//! - An enum is a field whose values are texts. A scalar or an enum that may be null is a field with `is_nullable`.
//! - All else is one [`FieldType::Nested`]: other arrays, maps, quadruple floats, records that may be null or may hold
//!   themselves. Its values are checked to their end and given as the datum has them ([`Nested`]).

mod columns;
mod cursor;
mod decode;
mod json;
mod nested;
mod numbers;
mod parse;
mod schema;
#[cfg(test)]
mod tests;
mod value;

pub use columns::{Column, Columns, Values};
pub use cursor::Cursor;
pub use decode::{DatumError, Decoder, Fault, Sink};
pub use json::{json, json_number};
pub use nested::{FIXED_BYTES, Group, LEVELS_MAX, Nested, NestedType, Node, NodeId};
pub use nested::{RECORDS_MAX, RecordField, RecordNode, Visit};
pub use numbers::{Numbered, Numbers};
pub use schema::{EnumType, Field, FieldType, RecordSchema, Scalar, SchemaError};
pub use value::{Value, encode_values, read_values};
