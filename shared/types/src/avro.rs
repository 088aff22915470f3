//! The Avro schema of a SAL topic, as the observatory's consumers already read it.
//!
//! Integers become `long`, floats `double`; text, booleans and one-dimensional arrays stay what they
//! are. Two stamps come first. Every field has a default, an array one of its exact length, as Avro
//! itself has no place for it. Units and descriptions are attributes of their own.

use serde_json::{Map, Value, json};

use crate::model::Metadata;
use crate::sal::{SalField, SalTopic, Scalar};

/// The fields that stand before those of the topic; doubles, in seconds.
pub const STAMPS: [(&str, &str); 2] = [
    (
        "private_efdStamp",
        "UTC time for EFD timestamp. An integer (the number of leap seconds) different from private_sndStamp.",
    ),
    (
        "private_kafkaStamp",
        "TAI time at which the Kafka message was created.",
    ),
];

/// A schema: its text is its identity, units and descriptions included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AvroSchema {
    /// Full name of the record: `lsst.sal.MTMount.elevation`.
    pub name: String,
    /// Compact JSON; the same topic gives the same bytes.
    pub json: String,
}

impl AvroSchema {
    pub fn of(topic: &SalTopic) -> Self {
        let stamps = STAMPS.iter().map(|(name, description)| {
            json!({
                "name": name,
                "type": "double",
                "description": description,
                "units": "second",
                "default": 0.0,
            })
        });
        let mut schema = Map::new();
        schema.insert("name".to_owned(), topic.avro_name().into());
        schema.insert("type".to_owned(), "record".into());
        schema.insert(
            "fields".to_owned(),
            stamps.chain(topic.fields.iter().map(field)).collect(),
        );
        let optional = [
            ("sal_version", &topic.versions.sal),
            ("xml_version", &topic.versions.xml),
            ("description", &topic.description),
        ];
        for (key, value) in optional {
            insert_some(&mut schema, key, value.as_deref());
        }
        Self {
            name: topic.avro_name(),
            json: Value::Object(schema).to_string(),
        }
    }
}

fn field(field: &SalField) -> Value {
    let SalField {
        name,
        id: _,
        scalar,
        count,
        metadata,
    } = field;
    let Metadata { units, description } = metadata;
    let (ty, default) = match scalar {
        Scalar::Boolean => ("boolean", json!(false)),
        Scalar::F32 | Scalar::F64 => ("double", json!(0.0)),
        Scalar::Text => ("string", json!("")),
        Scalar::I8 | Scalar::U8 | Scalar::I16 | Scalar::U16 => ("long", json!(0)),
        Scalar::I32 | Scalar::U32 | Scalar::I64 | Scalar::U64 => ("long", json!(0)),
    };
    let (ty, default) = match count {
        None => (json!(ty), default),
        Some(count) => (
            json!({"type": "array", "items": ty}),
            Value::Array(vec![default; *count as usize]),
        ),
    };
    let mut map = Map::new();
    map.insert("name".to_owned(), (**name).into());
    map.insert("type".to_owned(), ty);
    map.insert("default".to_owned(), default);
    insert_some(&mut map, "description", description.as_deref());
    insert_some(&mut map, "units", units.as_deref());
    Value::Object(map)
}

fn insert_some(map: &mut Map<String, Value>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value.into());
    }
}
