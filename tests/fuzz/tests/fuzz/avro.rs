//! Avro datums and schemas. A datum's input is a schema's number, then the datum.

use std::sync::{Arc, LazyLock};

use efd_shared_avro::{
    Columns, DatumError, Decoder, FieldType, RecordSchema, Scalar, Value, encode_values,
    read_values,
};
use efd_tests_fuzz::{Rng, Target, told};

const SCHEMAS: usize = 64;
const TYPES: [&str; 5] = ["boolean", "long", "double", "string", "bytes"];

static ALL: LazyLock<Vec<Decoder>> = LazyLock::new(|| {
    let decoder = |number| {
        Decoder::new(Arc::new(
            RecordSchema::parse(&schema(&mut Rng::new(number))).unwrap(),
        ))
    };
    (0..SCHEMAS as u64).map(decoder).collect()
});

fn schema(rng: &mut Rng) -> String {
    let field = |index: usize, rng: &mut Rng| {
        let kind = rng.pick(&TYPES).unwrap();
        let (kind, default) = match rng.below(3) {
            0 => (
                format!(r#"{{"type":"array","items":"{kind}"}}"#),
                r#","default":[0,0]"#,
            ),
            _ => (format!("{kind:?}"), ""),
        };
        format!(
            r#"{{"name":"f{index}","type":{kind}{default},"units":"{}"}}"#,
            rng.word(5)
        )
    };
    let fields: Vec<_> = (0..rng.below(9)).map(|index| field(index, rng)).collect();
    format!(
        r#"{{"type":"record","name":"R{}","namespace":"a.b","fields":[{}]}}"#,
        rng.word(5),
        fields.join(",")
    )
}

fn value(scalar: Scalar, rng: &mut Rng) -> Value {
    match scalar {
        Scalar::Boolean => Value::Boolean(rng.one_in(2)),
        Scalar::Long => Value::Long(rng.skewed() as i64),
        Scalar::Double => Value::Double(f64::from_bits(rng.draw())),
        Scalar::String => Value::String(rng.word(20)),
        Scalar::Bytes => Value::Bytes(rng.word(20).into_bytes()),
    }
}

fn datum(decoder: &Decoder, rng: &mut Rng) -> Vec<u8> {
    let fields = decoder.schema().fields.iter();
    let values: Vec<_> = fields
        .map(|field| match &field.field_type {
            FieldType::Scalar(scalar) => value(*scalar, rng),
            FieldType::Array(scalar) => {
                Value::Array((0..rng.below(20)).map(|_| value(*scalar, rng)).collect())
            }
            FieldType::Enum(_) | FieldType::Nested(_) => unreachable!("not among the schemas"),
        })
        .collect();
    let mut out = Vec::new();
    encode_values(&values, &mut out);
    out
}

/// Every way of reading agrees with every other.
fn check(input: &[u8]) -> Result<u64, DatumError> {
    let (number, datum) = input
        .split_first()
        .map_or((0, input), |(number, datum)| (usize::from(*number), datum));
    let decoder = &ALL[number % SCHEMAS];
    let checked = decoder.check(datum);
    let values = read_values(decoder, datum);
    assert_eq!(checked.as_ref().err(), values.as_ref().err());
    let mut columns = Columns::new(decoder.clone());
    let empty: Vec<_> = columns.columns().to_vec();
    assert_eq!(columns.push(datum), checked);
    let values = match values {
        Ok(values) => values,
        Err(error) => {
            assert_eq!(
                (columns.rows(), columns.columns()),
                (0, &*empty),
                "nothing of a bad row stays"
            );
            return Err(error);
        }
    };
    assert!(decoder.schema().admits(&values));
    // Blocks of arrays may have been cut otherwise; encoded again they are always the same. Bits, as NaN is not itself.
    let mut again = Vec::new();
    encode_values(&values, &mut again);
    let mut third = Vec::new();
    encode_values(&read_values(decoder, &again)?, &mut third);
    assert_eq!(again, third);
    efd_shared_avro::json(decoder, datum)?;
    Ok(u64::from(again == datum))
}

#[test]
fn datums() {
    LazyLock::force(&ALL);
    crate::run(&Target {
        name: "avro-datum",
        seed: |rng| {
            let number = rng.below(SCHEMAS);
            [&[number as u8][..], &datum(&ALL[number], rng)].concat()
        },
        run: |input| check(input).unwrap_or_else(|error| told(&error)),
        accepts: |input| check(input).is_ok(),
        repair: None,
        words: &[],
        // A tree of values of a datum that is one array of booleans: 32 bytes and more for each of one.
        memory_max: |bytes| crate::few(8 * bytes),
    });
}

#[test]
fn schemas() {
    fn check(input: &[u8]) -> u64 {
        match std::str::from_utf8(input).map(RecordSchema::parse) {
            Err(_) => 0,
            Ok(Err(error)) => told(&error),
            Ok(Ok(schema)) => 1 + schema.fields.len().min(10) as u64,
        }
    }
    crate::run(&Target {
        name: "avro-schema",
        seed: |rng| schema(rng).into_bytes(),
        run: check,
        accepts: |input| (1..=11).contains(&check(input)),
        repair: None,
        words: &[
            "\"type\":",
            "\"record\"",
            "\"items\":",
            "[",
            "]",
            "{",
            "}",
            "null",
            "\"default\":",
            "\\ud800",
            "1e999",
        ],
        memory_max: |bytes| crate::few(4 * bytes),
    });
}
