//! Types of any kind as columns, in memory and through a Parquet file.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test stops where it fails, in its helpers too"
)]

mod cells;
#[path = "../../../../edge/transcode/tests/general/choices.rs"]
mod choices;
#[allow(
    dead_code,
    reason = "made for the tests of the reader of datums, which use all of it"
)]
#[path = "../../../avro/tests/general/oracle.rs"]
mod oracle;
#[allow(
    dead_code,
    reason = "made for the tests of the transcoder, which use all of it"
)]
#[path = "../../../../edge/transcode/tests/general/types.rs"]
mod types;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use choices::Choices;
use efd_shared_avro::{Columns, RecordSchema, Value, read_values};
use oracle::{Topic, all_plain};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use proptest::collection::vec;
use proptest::prelude::*;

fn check(topic: &Topic, choices: &mut Choices<'_>) {
    let schema = topic.decoder.schema();
    let mut columns = Columns::new(topic.decoder.clone());
    let mut rows = Vec::new();
    for _ in 0..1 + choices.below(12) {
        let (datum, _) = topic.datum(choices);
        columns.push(&datum).unwrap();
        let values = read_values(&topic.decoder, &datum).unwrap();
        let fields = schema.fields.iter().zip(&values);
        rows.push(
            fields
                .map(|(field, value)| cells::expected(field, value))
                .collect(),
        );
    }
    let fields = efd_shared_arrow::fields(schema, ["time"]);
    let arrays = schema.fields.iter().zip(columns.into_columns());
    let arrays = arrays.map(|(field, column)| efd_shared_arrow::array(field, column).unwrap());
    let fields = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&fields), arrays.collect()).unwrap();
    same(&batch, &rows);

    let builder = WriterProperties::builder();
    let properties = efd_shared_arrow::encodings(builder, &fields)
        .unwrap()
        .build();
    let mut file = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut file, Arc::clone(&fields), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).unwrap();
    assert_eq!(reader.schema(), &fields);
    let read: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let [read] = &read[..] else {
        panic!("{} batches", read.len());
    };
    same(read, &rows);
}

fn same(batch: &RecordBatch, rows: &[Vec<Value>]) {
    assert_eq!(batch.num_rows(), rows.len());
    let fields = batch.schema();
    for (row, expected) in rows.iter().enumerate() {
        let columns = fields.fields().iter().zip(batch.columns());
        let found: Vec<_> = columns
            .map(|(it, column)| cells::cell(it, column, row))
            .collect();
        assert_eq!(all_plain(&found), all_plain(expected));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn random_types_are_columns(of_type in vec(any::<u8>(), 0..600), of_values in vec(any::<u8>(), 0..3000)) {
        check(&Topic::random(&mut Choices::new(&of_type)), &mut Choices::new(&of_values));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn types_within_themselves_are_columns(of_values in vec(any::<u8>(), 0..6000)) {
        let choices = &mut Choices::new(&of_values);
        for name in ["S", "Tree", "Chain", "Pose"] {
            check(&Topic::by_hand(name), choices);
        }
    }
}

fn type_of(field_type: &str) -> DataType {
    let text =
        format!(r#"{{"type":"record","name":"r","fields":[{{"name":"f","type":{field_type}}}]}}"#);
    let schema = RecordSchema::parse(&text).unwrap();
    efd_shared_arrow::fields(&schema, [])[0].data_type().clone()
}

#[test]
fn many_leaves_are_text() {
    let record = |leaves: usize| {
        let fields = (0..leaves).map(|at| format!(r#"{{"name":"f{at}","type":"long"}}"#));
        let fields: Vec<_> = fields.collect();
        format!(
            r#"["null",{{"type":"record","name":"i","fields":[{}]}}]"#,
            fields.join(",")
        )
    };
    assert!(matches!(type_of(&record(256)), DataType::Struct(_)));
    assert_eq!(type_of(&record(257)), DataType::Utf8);
}
