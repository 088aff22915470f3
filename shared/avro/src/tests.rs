use std::sync::Arc;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Oracle;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;

use super::*;

fn decoder(text: &str) -> Decoder {
    Decoder::new(Arc::new(RecordSchema::parse(text).unwrap()))
}

const EVERYTHING: &str = r#"{"type":"record","name":"r","namespace":"a.b","description":"All kinds","fields":[
    {"name":"flag","type":"boolean","default":false,"units":"unitless","description":"d"},
    {"name":"long","type":{"type":"long"},"default":0},
    {"name":"double","type":"double","default":0.0,"units":"m/s"},
    {"name":"text","type":"string","default":""},
    {"name":"blob","type":"bytes","default":""},
    {"name":"flags","type":{"type":"array","items":"boolean"},"default":[false,false]},
    {"name":"longs","type":{"type":"array","items":"long"},"default":[0,0,0]},
    {"name":"doubles","type":{"type":"array","items":"double"},"default":[]},
    {"name":"texts","type":{"type":"array","items":"string"}},
    {"name":"last","type":"long","default":0}]}"#;

fn values() -> impl Strategy<Value = Vec<Value>> {
    let double = prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        prop::sample::select(vec![f64::NAN, f64::INFINITY, -0.0, f64::MIN_POSITIVE])
    ];
    let long = prop_oneof![
        any::<i64>(),
        -70i64..70,
        prop::sample::select(vec![i64::MIN, i64::MAX])
    ];
    fn array<S: Strategy>(item: S, of: fn(S::Value) -> Value) -> impl Strategy<Value = Value>
    where
        S::Value: 'static,
    {
        prop::collection::vec(item.prop_map(of), 0..9).prop_map(Value::Array)
    }
    (
        (
            any::<bool>().prop_map(Value::Boolean),
            long.clone().prop_map(Value::Long),
            double.clone().prop_map(Value::Double),
            ".{0,12}".prop_map(Value::String),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
        ),
        (
            array(any::<bool>(), Value::Boolean),
            array(long.clone(), Value::Long),
            array(double, Value::Double),
            array(".{0,5}", Value::String),
            long.prop_map(Value::Long),
        ),
    )
        .prop_map(|((a, b, c, d, e), (f, g, h, i, j))| vec![a, b, c, d, e, f, g, h, i, j])
}

fn to_oracle(value: &Value) -> Oracle {
    match value {
        Value::Boolean(value) => Oracle::Boolean(*value),
        Value::Long(value) => Oracle::Long(*value),
        Value::Double(value) => Oracle::Double(*value),
        Value::String(text) => Oracle::String(text.clone()),
        Value::Bytes(bytes) => Oracle::Bytes(bytes.clone()),
        Value::Array(items) => Oracle::Array(items.iter().map(to_oracle).collect()),
        Value::Fixed(_) | Value::Enum { .. } | Value::Optional(_) => unreachable!("flat"),
        Value::Record(_) | Value::Map(_) => unreachable!("flat"),
    }
}

fn written_by_oracle(schema: &apache_avro::Schema, record: Oracle) -> Vec<u8> {
    let writer = GenericDatumWriter::builder(schema).build().unwrap();
    writer.write_value_to_vec(record).unwrap()
}

/// Compares NaN by its bits, which `==` does not.
fn same(left: &[Value], right: &[Value]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .all(|(left, right)| match (left, right) {
                (Value::Double(left), Value::Double(right)) => left.to_bits() == right.to_bits(),
                (Value::Array(left), Value::Array(right)) => same(left, right),
                (left, right) => left == right,
            })
}

fn row(columns: &Columns, row: usize) -> Vec<Value> {
    let at = |values: &Values, index: usize| match values {
        Values::Boolean(values) => Value::Boolean(values[index]),
        Values::Long(values) => Value::Long(values[index]),
        Values::Double(values) => Value::Double(values[index]),
        Values::String { offsets, bytes } => {
            let text = &bytes[offsets[index] as usize..offsets[index + 1] as usize];
            Value::String(String::from_utf8(text.to_vec()).unwrap())
        }
        Values::Bytes { offsets, bytes } => {
            Value::Bytes(bytes[offsets[index] as usize..offsets[index + 1] as usize].to_vec())
        }
        Values::Nested { .. } => unreachable!("flat"),
    };
    let field = |column: &Column| match &column.offsets {
        None => at(&column.values, row),
        Some(offsets) => Value::Array(
            (offsets[row]..offsets[row + 1])
                .map(|index| at(&column.values, index as usize))
                .collect(),
        ),
    };
    columns.columns().iter().map(field).collect()
}

proptest! {
    #[test]
    fn reads_what_apache_avro_writes(rows in prop::collection::vec(values(), 1..6)) {
        let decoder = decoder(EVERYTHING);
        let oracle = apache_avro::Schema::parse_str(EVERYTHING).unwrap();
        let mut columns = Columns::new(decoder.clone());
        for values in &rows {
            prop_assert!(decoder.schema().admits(values));
            let names = decoder.schema().fields.iter().map(|field| field.name.clone());
            let record = Oracle::Record(names.zip(values.iter().map(to_oracle)).collect());
            let datum = written_by_oracle(&oracle, record);
            prop_assert!(same(&read_values(&decoder, &datum).unwrap(), values));
            columns.push(&datum).unwrap();
        }
        for (index, values) in rows.iter().enumerate() {
            prop_assert!(same(&row(&columns, index), values));
        }
    }

    #[test]
    fn apache_avro_reads_what_is_written(values in values()) {
        let oracle = apache_avro::Schema::parse_str(EVERYTHING).unwrap();
        let mut datum = Vec::new();
        encode_values(&values, &mut datum);
        let reader = GenericDatumReader::builder(&oracle).build().unwrap();
        let read = reader.read_value(&mut datum.as_slice()).unwrap();
        let Oracle::Record(fields) = read else { panic!("not a record") };
        for ((_, found), value) in fields.iter().zip(&values) {
            // By their text: NaN is not equal to itself.
            prop_assert_eq!(format!("{found:?}"), format!("{:?}", to_oracle(value)));
        }
    }

    /// Cut, flipped, or invented: an error or values, and the columns stay whole.
    #[test]
    fn hostile_datums_leave_no_trace(values in values(), cut in 0usize..200, flip in 0usize..200, mask: u8, noise in prop::collection::vec(any::<u8>(), 0..80)) {
        let decoder = decoder(EVERYTHING);
        let mut good = Vec::new();
        encode_values(&values, &mut good);
        let mut flipped = good.clone();
        let index = flip % flipped.len();
        flipped[index] ^= mask;
        let cut = &good[..cut % good.len()];

        let mut columns = Columns::new(decoder.clone());
        columns.push(&good).unwrap();
        let error = columns.push(cut).unwrap_err();
        prop_assert!(error.at <= cut.len(), "{}", error);
        prop_assert!(!error.field.is_empty());
        let mut expected = 1;
        for hostile in [&flipped, &noise] {
            let pushed = columns.push(hostile);
            prop_assert_eq!(pushed.is_ok(), decoder.check(hostile).is_ok());
            expected += usize::from(pushed.is_ok());
        }
        columns.push(&good).unwrap();
        prop_assert_eq!(columns.rows(), expected + 1);
        prop_assert!(same(&row(&columns, 0), &values));
        prop_assert!(same(&row(&columns, expected), &values));
    }
}

#[test]
fn schemas_say_what_they_hold() {
    let schema = RecordSchema::parse(EVERYTHING).unwrap();
    assert_eq!(schema.name, "a.b.r");
    assert_eq!(schema.description.as_deref(), Some("All kinds"));
    assert_eq!(schema.fields[0].units.as_deref(), Some("unitless"));
    assert_eq!(schema.fields[0].description.as_deref(), Some("d"));
    assert_eq!(schema.fields[2].units.as_deref(), Some("m/s"));
    assert_eq!(schema.fields[6].length, Some(3));
    assert_eq!(schema.fields[7].length, None);
    assert_eq!(
        schema.fields[8].field_type,
        FieldType::Array(Scalar::String)
    );
}

#[test]
fn what_is_not_read_is_named() {
    let check = |text: &str, expected: &str| {
        let error = RecordSchema::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let field = |field_type: &str| {
        format!(r#"{{"type":"record","name":"r","fields":[{{"name":"f","type":{field_type}}}]}}"#)
    };
    check("{", "not JSON");
    check("\"long\"", "not a record: type \"long\"");
    check(r#"{"type":"record","fields":[]}"#, "`name` is missing");
    check(
        r#"{"type":"record","name":"r"}"#,
        "`fields` is not an array",
    );
    check(
        r#"{"type":"record","name":"r","fields":[{"name":"f"}]}"#,
        "`f` has no type",
    );
    check(&field("\"float\""), "field `f` has type \"float\"");
    check(&field(r#"["long","null"]"#), "field `f` has type [\"long\"");
    check(
        &field(r#"{"type":"array","items":{"type":"array","items":"int"}}"#),
        "field `f`",
    );
    check(&field(r#"{"type":"enum","name":"e"}"#), "field `f`");
    let twice = r#"{"type":"record","name":"r","fields":[{"name":"f","type":"long"},{"name":"f","type":"long"}]}"#;
    check(twice, "two fields are called `f`");
    check(&" ".repeat(2 << 20), "at most");
    check(&"[".repeat(100_000), "not JSON");
}

fn faults(schema: &str, datum: &[u8]) -> String {
    decoder(schema).check(datum).unwrap_err().to_string()
}

#[test]
fn faults_name_field_and_byte() {
    let one = |field_type: &str| {
        format!(r#"{{"type":"record","name":"r","fields":[{{"name":"f","type":{field_type}}}]}}"#)
    };
    let check = |field_type: &str, datum: &[u8], expected: &str| {
        assert_eq!(faults(&one(field_type), datum), expected);
    };
    check(
        "\"boolean\"",
        &[2],
        "field `f` at byte 0: a boolean of 2, not 0 or 1",
    );
    check(
        "\"long\"",
        &[0xff; 11],
        "field `f` at byte 0: a varint of more than 64 bits",
    );
    check(
        "\"long\"",
        &[0x80],
        "field `f` at byte 0: the datum ends, 1 more bytes needed",
    );
    check(
        "\"double\"",
        &[0; 5],
        "field `f` at byte 0: the datum ends, 3 more bytes needed",
    );
    check("\"string\"", &[1], "field `f` at byte 0: a length of -1");
    check(
        "\"string\"",
        &[4, b'a'],
        "field `f` at byte 0: the datum ends, 1 more bytes needed",
    );
    check(
        "\"string\"",
        &[2, 0xff],
        "field `f` at byte 0: text is not UTF-8",
    );
    check(
        "\"long\"",
        &[0, 7],
        "field `` at byte 1: 1 bytes after the last field",
    );
    let longs = r#"{"type":"array","items":"long"}"#;
    check(
        longs,
        &[4, 0],
        "field `f` at byte 0: an array block of 2 items in 1 bytes",
    );
    let most = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    check(
        longs,
        &most,
        "field `f` at byte 0: an array block of 9223372036854775807 items in 0 bytes",
    );
    let least = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0];
    check(
        longs,
        &least,
        "field `f` at byte 0: an array block of -9223372036854775808 items in 0 bytes",
    );
    // −1 item, 3 bytes stated, one there.
    check(
        longs,
        &[1, 6, 9, 0],
        "field `f` at byte 0: an array block says 3 bytes and has 1",
    );
}

#[test]
fn arrays_in_blocks_with_and_without_sizes() {
    let schema = r#"{"type":"record","name":"r","fields":[{"name":"f","type":{"type":"array","items":"double"}},{"name":"g","type":{"type":"array","items":"long"}}]}"#;
    let mut datum = vec![2];
    datum.extend(1.5f64.to_le_bytes());
    datum.extend([3, 32]);
    datum.extend(2.5f64.to_le_bytes());
    datum.extend(f64::NEG_INFINITY.to_le_bytes());
    datum.extend([0, 1, 2, 6, 2, 8, 0]);
    let json = json(&decoder(schema), &datum).unwrap().to_string();
    assert_eq!(json, r#"{"f":[1.5,2.5,"-Infinity"],"g":[3,4]}"#);
}

#[test]
fn json_by_the_stated_rule() {
    let values = [
        (f64::NAN, "\"NaN\""),
        (f64::INFINITY, "\"Infinity\""),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
    ];
    for (value, expected) in values {
        assert_eq!(json_number(value).to_string(), expected);
    }
    assert_eq!(
        serde_json::Value::from(Value::Bytes(vec![0, 0xab])).to_string(),
        "\"00ab\""
    );
    assert_eq!(
        serde_json::Value::from(Value::Long(i64::MIN)).to_string(),
        "-9223372036854775808"
    );
}

#[test]
fn every_golden_schema_is_read() {
    let Some(corpus) = efd_tests_testkit::corpus("every_golden_schema_is_read", "avro-golden")
    else {
        return;
    };
    let mut count = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        for line in std::fs::read_to_string(file.unwrap().path())
            .unwrap()
            .lines()
        {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let golden = &line["schema"];
            let schema = RecordSchema::parse(&golden.to_string()).unwrap();
            assert_eq!(schema.name, golden["name"].as_str().unwrap());
            assert_eq!(
                schema.fields.len(),
                golden["fields"].as_array().unwrap().len()
            );
            for (field, golden) in schema
                .fields
                .iter()
                .zip(golden["fields"].as_array().unwrap())
            {
                assert_eq!(field.name, golden["name"].as_str().unwrap());
                assert_eq!(field.units.as_deref(), golden["units"].as_str());
                assert_eq!(field.description.as_deref(), golden["description"].as_str());
                let is_array = field.field_type.is_array();
                assert_eq!(field.length.is_some(), is_array, "{}", field.name);
                assert!(!field.is_nullable && !field.is_timestamp);
            }
            // The schema's own defaults, encoded by the oracle, are read back.
            let oracle = apache_avro::Schema::parse_str(&golden.to_string()).unwrap();
            let fields = golden["fields"].as_array().unwrap().iter();
            let record = fields.zip(&schema.fields).map(|(golden, field)| {
                let default = default_of(&field.field_type, &golden["default"]);
                (field.name.clone(), to_oracle(&default))
            });
            let datum = written_by_oracle(&oracle, Oracle::Record(record.collect()));
            Decoder::new(Arc::new(schema)).check(&datum).unwrap();
            count += 1;
        }
    }
    assert_eq!(count, 2011);
}

fn default_of(field_type: &FieldType, json: &serde_json::Value) -> Value {
    match field_type {
        FieldType::Array(scalar) => Value::Array(
            json.as_array()
                .unwrap()
                .iter()
                .map(|item| default_of(&FieldType::Scalar(*scalar), item))
                .collect(),
        ),
        FieldType::Scalar(Scalar::Boolean) => Value::Boolean(json.as_bool().unwrap()),
        FieldType::Scalar(Scalar::Long) => Value::Long(json.as_i64().unwrap()),
        FieldType::Scalar(Scalar::Double) => Value::Double(json.as_f64().unwrap()),
        FieldType::Scalar(Scalar::String) => Value::String(json.as_str().unwrap().into()),
        FieldType::Scalar(Scalar::Bytes) | FieldType::Enum(_) | FieldType::Nested(_) => {
            unreachable!("SAL has none")
        }
    }
}
