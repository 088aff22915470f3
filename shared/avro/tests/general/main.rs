//! Types of any kind against `apache-avro`.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test stops where it fails, in its helpers too"
)]

#[path = "../../../../edge/transcode/tests/general/choices.rs"]
mod choices;
mod hostile;
mod oracle;
#[allow(
    dead_code,
    reason = "made for the tests of the transcoder, which use all of it"
)]
#[path = "../../../../edge/transcode/tests/general/types.rs"]
mod types;

use choices::Choices;
use efd_shared_avro::{
    Column, Columns, Field, FieldType, Nested, Value, Values, encode_values, json, read_values,
};
use oracle::{Topic, all_plain};
use proptest::collection::vec;
use proptest::prelude::*;

/// Every way of reading gives what was written.
fn check(topic: &Topic, choices: &mut Choices<'_>) {
    let decoder = &topic.decoder;
    let mut columns = Columns::new(decoder.clone());
    let mut rows = Vec::new();
    for _ in 0..3 {
        let (datum, expected) = topic.datum(choices);
        decoder.check(&datum).unwrap();
        let values = read_values(decoder, &datum).unwrap();
        assert_eq!(all_plain(&values), all_plain(&expected), "{}", topic.json);
        assert!(decoder.schema().admits(&values), "{values:?}");
        let mut again = Vec::new();
        encode_values(&values, &mut again);
        assert_eq!(again, datum);
        let json = json(decoder, &datum).unwrap();
        assert_eq!(json.as_object().unwrap().len(), values.len());
        columns.push(&datum).unwrap();
        rows.push(values);
    }
    for (index, expected) in rows.iter().enumerate() {
        let fields = decoder.schema().fields.iter().zip(columns.columns());
        let found: Vec<_> = fields
            .map(|(field, column)| cell(field, column, index))
            .collect();
        assert_eq!(all_plain(&found), all_plain(expected));
    }
}

fn cell(field: &Field, column: &Column, row: usize) -> Value {
    let bytes = |offsets: &[i32], bytes: &[u8], at: usize| {
        bytes[offsets[at] as usize..offsets[at + 1] as usize].to_vec()
    };
    let at = |at: usize| match (&column.values, &field.field_type) {
        (Values::Boolean(values), _) => Value::Boolean(values[at]),
        (Values::Long(values), _) => Value::Long(values[at]),
        (Values::Double(values), _) => Value::Double(values[at]),
        (
            Values::String {
                offsets,
                bytes: all,
            },
            of,
        ) => {
            let symbol = String::from_utf8(bytes(offsets, all, at)).unwrap();
            match of {
                FieldType::Enum(of) => Value::Enum {
                    position: of.symbols.iter().position(|it| *it == symbol).unwrap_or(99),
                    symbol,
                },
                _ => Value::String(symbol),
            }
        }
        (
            Values::Bytes {
                offsets,
                bytes: all,
            },
            _,
        ) => Value::Bytes(bytes(offsets, all, at)),
        (
            Values::Nested {
                offsets,
                bytes: all,
            },
            FieldType::Nested(of),
        ) => {
            let bytes = bytes(offsets, all, at);
            let nested = Nested::new(of, &bytes);
            let value = nested.value().unwrap();
            let mut text = Vec::new();
            nested.put_json(&mut text);
            let json = serde_json::Value::from(value.clone()).to_string();
            assert_eq!(String::from_utf8(text).unwrap(), json);
            value
        }
        other => panic!("{other:?}"),
    };
    if let Some(offsets) = &column.offsets {
        let items = offsets[row]..offsets[row + 1];
        return Value::Array(items.map(|index| at(index as usize)).collect());
    }
    match &column.is_present {
        None => at(row),
        Some(is_present) if is_present[row] => Value::Optional(Some(Box::new(at(row)))),
        Some(_) => Value::Optional(None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn random_types_are_read(of_type in vec(any::<u8>(), 0..600), of_values in vec(any::<u8>(), 0..1500)) {
        check(&Topic::random(&mut Choices::new(&of_type)), &mut Choices::new(&of_values));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn types_within_themselves_are_read(of_values in vec(any::<u8>(), 0..3000)) {
        let choices = &mut Choices::new(&of_values);
        for name in ["S", "Tree", "Chain", "Pose"] {
            check(&Topic::by_hand(name), choices);
        }
    }
}

/// What becomes of each kind of member.
#[test]
fn fields_of_a_type_with_all() {
    let topic = Topic::by_hand("S");
    let fields = topic.decoder.schema().fields.iter().map(|field| {
        let kind = match &field.field_type {
            FieldType::Scalar(scalar) => scalar.name().to_owned(),
            FieldType::Array(scalar) => format!("{}[]", scalar.name()),
            FieldType::Enum(of) => format!("enum {}", of.symbols.join("|")),
            FieldType::Nested(of) => format!("<{of}>"),
        };
        let null = if field.is_nullable { " or null" } else { "" };
        let time = if field.is_timestamp { " time" } else { "" };
        format!("{}: {kind}{null}{time}", field.name)
    });
    let found: Vec<_> = fields.collect();
    let expected = [
        "efd_sourceTime: long or null time",
        "efd_receivedTime: long time",
        "pose.position.x: double",
        "pose.position.y: double",
        "pose.position.color: enum RED|GREEN|BLUE",
        "pose.speed: double or null",
        "pose.color: enum RED|GREEN|BLUE or null",
        "tree: <idl.Tree>",
        "chain: <idl.Chain>",
        "last: <idl.Point or null>",
        "points: <idl.Point[]>",
        "none: <idl.None[]>",
        "nones: <idl.Nones[]>",
        "colors: <idl.Color[][]>",
        "named: <map of idl.Point>",
        "listed: <ros.test.topic_listed_entry[]>",
        "u.discriminator: enum RED|GREEN|BLUE",
        "u.tree: <idl.Tree or null>",
        "u.point: <idl.Point or null>",
        "u.text: string or null",
        "us: <idl.U[]>",
        "quad: <fixed[16]>",
        "quads: <fixed[16][]>",
        "s: <ros.test.topic or null>",
        "all: <ros.test.topic[]>",
        "a: long",
        "A: long",
        "empty: <map of idl.Nones>",
        "doubles: double[]",
        "texts: string[]",
        "raw: bytes",
    ];
    assert_eq!(found, expected);
}
