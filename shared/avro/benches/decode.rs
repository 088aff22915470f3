//! Records a second from datum to columns: an array topic like M1M3's, and a small event.

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use efd_shared_avro::{Columns, Decoder, RecordSchema, Value, encode_values};

fn field(name: &str, field_type: &str) -> String {
    format!(r#"{{"name":"{name}","type":{field_type}}}"#)
}

fn schema(fields: &[String]) -> Decoder {
    let text = format!(
        r#"{{"type":"record","name":"bench","fields":[{}]}}"#,
        fields.join(",")
    );
    let schema = RecordSchema::parse(&text).expect("the schema is ours");
    Decoder::new(Arc::new(schema))
}

/// `private_*` as every SAL topic has them.
fn private() -> (Vec<String>, Vec<Value>) {
    let fields = [
        ("private_efdStamp", "\"double\""),
        ("private_kafkaStamp", "\"double\""),
        ("private_revCode", "\"string\""),
        ("private_sndStamp", "\"double\""),
        ("private_rcvStamp", "\"double\""),
        ("private_seqNum", "\"long\""),
        ("private_identity", "\"string\""),
        ("private_origin", "\"long\""),
    ];
    let stamp = || Value::Double(1_795_399_261.112_196);
    let values = vec![
        stamp(),
        stamp(),
        Value::String("1a2b3c4d".into()),
        stamp(),
        stamp(),
        Value::Long(123_456),
        Value::String("MTM1M3".into()),
        Value::Long(4711),
    ];
    let fields = fields.map(|(name, field_type)| field(name, field_type));
    (fields.into(), values)
}

fn bench(criterion: &mut Criterion) {
    let (mut wide, mut wide_values) = private();
    for index in 0..5 {
        wide.push(field(
            &format!("forces{index}"),
            r#"{"type":"array","items":"double"}"#,
        ));
        let forces = (0..156)
            .map(|n| Value::Double(f64::from(n) * 1.1))
            .collect();
        wide_values.push(Value::Array(forces));
    }
    let (mut small, mut small_values) = private();
    small.push(field("summaryState", "\"long\""));
    small_values.push(Value::Long(3));

    let mut group = criterion.benchmark_group("decode");
    for (name, fields, values) in [("wide", wide, wide_values), ("small", small, small_values)] {
        let decoder = schema(&fields);
        let mut datum = Vec::new();
        encode_values(&values, &mut datum);
        const ROWS: u64 = 1000;
        group.throughput(Throughput::Elements(ROWS));
        group.bench_function(format!("{name}/columns/{} bytes", datum.len()), |bencher| {
            bencher.iter(|| {
                let mut columns = Columns::new(decoder.clone());
                for _ in 0..ROWS {
                    columns.push(&datum).expect("the datum is ours");
                }
                columns
            });
        });
        group.bench_function(format!("{name}/check"), |bencher| {
            bencher.iter(|| (0..ROWS).all(|_| decoder.check(std::hint::black_box(&datum)).is_ok()));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
