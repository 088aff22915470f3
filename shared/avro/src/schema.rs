//! The schema's text as a type.

use std::collections::BTreeSet;

use efd_shared_model::schema::SCHEMA_BYTES_MAX;
use serde_json::Value as Json;

/// Fields of one record; SAL's widest topic has 182.
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
        "schema of {record}: field `{field}` has type {found}; boolean, long, double, string, bytes and arrays of these are read"
    )]
    Unsupported {
        record: String,
        field: String,
        found: String,
    },
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
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "boolean" => Some(Self::Boolean),
            "long" => Some(Self::Long),
            "double" => Some(Self::Double),
            "string" => Some(Self::String),
            "bytes" => Some(Self::Bytes),
            _ => None,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldType {
    Scalar(Scalar),
    Array(Scalar),
}

impl FieldType {
    /// Of the value, or of an array's items.
    pub fn scalar(self) -> Scalar {
        match self {
            Self::Scalar(scalar) | Self::Array(scalar) => scalar,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub field_type: FieldType,
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
    /// In the order of the datum.
    pub fields: Vec<Field>,
}

impl RecordSchema {
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(SchemaError::TooLarge { found: text.len() });
        }
        let json: Json =
            serde_json::from_str(text).map_err(|error| SchemaError::Json(error.to_string()))?;
        let kind = json.get("type").unwrap_or(&json);
        if kind.as_str() != Some("record") {
            return Err(SchemaError::NotARecord {
                found: excerpt(kind),
            });
        }
        let name = full_name(&json)?;
        let fields = json
            .get("fields")
            .and_then(Json::as_array)
            .ok_or_else(|| malformed(&name, "fields", "is not an array"))?;
        if fields.len() > FIELDS_MAX {
            return Err(SchemaError::TooManyFields {
                record: name,
                found: fields.len(),
            });
        }
        let fields = fields
            .iter()
            .map(|field| read_field(&name, field))
            .collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        if let Some(twice) = fields.iter().find(|field| !names.insert(&field.name)) {
            return Err(SchemaError::Duplicate {
                record: name,
                field: twice.name.clone(),
            });
        }
        Ok(Self {
            description: text_of(&json, "description").or_else(|| text_of(&json, "doc")),
            name,
            fields,
        })
    }
}

fn full_name(json: &Json) -> Result<String, SchemaError> {
    let name = json.get("name").and_then(Json::as_str).unwrap_or_default();
    let named = match json.get("namespace").and_then(Json::as_str) {
        Some(namespace) if !name.contains('.') && !namespace.is_empty() => {
            format!("{namespace}.{name}")
        }
        Some(_) | None => name.to_owned(),
    };
    if name.is_empty() {
        Err(malformed("a record", "name", "is missing"))
    } else {
        Ok(named)
    }
}

fn read_field(record: &str, json: &Json) -> Result<Field, SchemaError> {
    let name = json.get("name").and_then(Json::as_str).unwrap_or_default();
    if name.is_empty() {
        return Err(malformed(record, "fields", "has a field without a name"));
    }
    let written = json
        .get("type")
        .ok_or_else(|| malformed(record, name, "has no type"))?;
    let field_type = read_type(written).ok_or_else(|| SchemaError::Unsupported {
        record: record.to_owned(),
        field: name.to_owned(),
        found: excerpt(written),
    })?;
    let length = match field_type {
        FieldType::Scalar(_) => None,
        FieldType::Array(_) => json
            .get("default")
            .and_then(Json::as_array)
            .map(Vec::len)
            .filter(|&length| length > 0),
    };
    Ok(Field {
        name: name.to_owned(),
        field_type,
        units: text_of(json, "units"),
        description: text_of(json, "description").or_else(|| text_of(json, "doc")),
        length,
    })
}

/// `"long"`, `{"type": "long"}` or `{"type": "array", "items": "long"}`.
fn read_type(json: &Json) -> Option<FieldType> {
    let scalar = |json: &Json| {
        let name = json.as_str().or_else(|| json.get("type")?.as_str())?;
        Scalar::from_name(name)
    };
    if let Some(scalar) = scalar(json) {
        return Some(FieldType::Scalar(scalar));
    }
    let is_array = json.get("type").and_then(Json::as_str) == Some("array");
    let items = json.get("items").filter(|_| is_array)?;
    scalar(items).map(FieldType::Array)
}

fn text_of(json: &Json, key: &str) -> Option<String> {
    json.get(key).and_then(Json::as_str).map(str::to_owned)
}

fn malformed(record: &str, key: &str, expected: &'static str) -> SchemaError {
    SchemaError::Malformed {
        record: record.to_owned(),
        key: key.to_owned(),
        expected,
    }
}

fn excerpt(json: &Json) -> String {
    json.to_string().chars().take(80).collect()
}
