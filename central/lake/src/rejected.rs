//! Records that cannot be decoded, as records of a table that can.

use efd_shared_avro::{Value, encode_values};

/// Topic, and so table, of what could not be decoded.
pub const REJECTED_TOPIC: &str = "efd.rejected";

/// The identity columns are those of the record itself. `datum` has its bytes; of a block that cannot be opened, the block's.
pub const REJECTED_SCHEMA: &str = r#"{"name":"efd.rejected","type":"record","fields":[{"name":"topic","type":"string","default":"","description":"Topic; empty: not known","units":"unitless"},{"name":"schema","type":"string","default":"","description":"Fingerprint of the schema","units":"unitless"},{"name":"reason","type":"string","default":"","description":"Why it cannot be decoded","units":"unitless"},{"name":"datum","type":"bytes","default":"","description":"Its bytes","units":"unitless"}],"description":"Records that their schema does not decode."}"#;

pub(crate) fn rejected_datum(topic: &str, schema: &str, reason: &str, datum: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(datum.len() + 200);
    let values = [
        Value::String(topic.into()),
        Value::String(schema.into()),
        Value::String(reason.into()),
        Value::Bytes(datum.into()),
    ];
    encode_values(&values, &mut out);
    out
}
