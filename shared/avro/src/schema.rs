//! What a schema's text says, as types.

use std::sync::Arc;

use efd_shared_model::schema::SCHEMA_BYTES_MAX;

use crate::nested::{NestedType, RECORDS_MAX};
use crate::parse;

/// Fields of one record, and of all records within it that are taken apart; SAL's widest topic has 182.
pub(crate) const FIELDS_MAX: usize = 16_384;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("schema of {found} bytes, at most {SCHEMA_BYTES_MAX} are taken")]
    TooLarge { found: usize },
    #[error("schema is not JSON: {0}")]
    Json(String),
    #[error("schema is not a record: type {found}")]
    NotARecord { found: String },
    #[error("schema of {record}: `{key}` {expected}")]
    Malformed {
        record: String,
        key: String,
        expected: &'static str,
    },
    #[error("schema of {record}: {found} fields, at most {FIELDS_MAX} are taken")]
    TooManyFields { record: String, found: usize },
    #[error("schema of {record}: two fields are called `{field}`")]
    Duplicate { record: String, field: String },
    #[error(
        "schema of {record}: field `{field}` has type {found}; boolean, long, double, string, bytes, fixed of 16 bytes, enums, records, and arrays, maps and unions of null with one of these are read"
    )]
    Unsupported {
        record: String,
        field: String,
        found: String,
    },
    #[error(
        "schema of {record}: `{within}` is more than {RECORDS_MAX} records within records, or they have no end"
    )]
    TooDeep { record: String, within: String },
}

/// A type whose value is not made of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    Boolean,
    Long,
    Double,
    String,
    Bytes,
}

impl Scalar {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "boolean" => Some(Self::Boolean),
            "long" => Some(Self::Long),
            "double" => Some(Self::Double),
            "string" => Some(Self::String),
            "bytes" => Some(Self::Bytes),
            _ => None,
        }
    }

    /// As the schema has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Long => "long",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
        }
    }

    /// Of one value in a datum. None is 0, which bounds an array's length by its datum's.
    pub(crate) fn bytes_min(self) -> usize {
        match self {
            Self::Double => 8,
            Self::Boolean | Self::Long | Self::String | Self::Bytes => 1,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumType {
    /// With its namespace.
    pub name: String,
    pub symbols: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    Scalar(Scalar),
    Array(Scalar),
    /// Its values are texts.
    Enum(Arc<EnumType>),
    /// All else: its values are one piece of the datum.
    Nested(NestedType),
}

impl FieldType {
    /// Of the value, or of an array's items. An enum's values are texts; `None` of what is made of other values.
    pub fn scalar(&self) -> Option<Scalar> {
        match self {
            Self::Scalar(scalar) | Self::Array(scalar) => Some(*scalar),
            Self::Enum(_) => Some(Scalar::String),
            Self::Nested(_) => None,
        }
    }

    pub fn is_array(&self) -> bool {
        match self {
            Self::Array(_) => true,
            Self::Scalar(_) | Self::Enum(_) | Self::Nested(_) => false,
        }
    }

    pub fn is_nested(&self) -> bool {
        match self {
            Self::Nested(_) => true,
            Self::Scalar(_) | Self::Array(_) | Self::Enum(_) => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Of a field of a record within the record: `pose.position.x`.
    pub name: String,
    pub field_type: FieldType,
    /// Of a scalar or an enum. A [`FieldType::Nested`] knows itself.
    pub is_nullable: bool,
    /// A long of nanoseconds since 1970, UTC.
    pub is_timestamp: bool,
    pub units: Option<String>,
    pub description: Option<String>,
    /// Of a SAL array, by the length of its default: Avro itself states none, and a datum may have another.
    pub length: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSchema {
    /// With its namespace: `lsst.sal.MTMount.elevation`.
    pub name: String,
    pub description: Option<String>,
    /// In the order of the datum. A record within the record is its fields, unless it may hold itself or may be null.
    pub fields: Vec<Field>,
}

impl RecordSchema {
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(SchemaError::TooLarge { found: text.len() });
        }
        parse::schema(text)
    }
}
