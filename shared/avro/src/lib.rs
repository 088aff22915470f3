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
//! Schemas are flat records of boolean, long, double, string, bytes and arrays of these, which is all that SAL has.
//! Anything else is a [`SchemaError::Unsupported`] that names the field; a nested type would be a variant of [`FieldType`].

mod columns;
mod decode;
mod json;
mod schema;
#[cfg(test)]
mod tests;
mod value;

pub use columns::{Column, Columns, Values};
pub use decode::{DatumError, Decoder, Fault, Sink};
pub use json::{json, json_number};
pub use schema::{Field, FieldType, RecordSchema, Scalar, SchemaError};
pub use value::{Value, encode_values, read_values};
