//! Datums that no writer makes.

use std::sync::Arc;

use efd_shared_avro::{Columns, Decoder, RECORDS_MAX, RecordSchema, read_values};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::choices::Choices;
use crate::oracle::Topic;

/// An error, or values; and every way of reading agrees on it.
fn is_read(decoder: &Decoder, datum: &[u8]) -> bool {
    let checked = decoder.check(datum);
    if let Err(error) = &checked {
        assert!(error.at <= datum.len(), "{error}");
    }
    let values = read_values(decoder, datum);
    assert_eq!(values.as_ref().err(), checked.as_ref().err());
    let mut columns = Columns::new(decoder.clone());
    let empty = columns.columns().to_vec();
    assert_eq!(columns.push(datum), checked);
    if checked.is_err() {
        assert_eq!(columns.columns(), empty);
    }
    checked.is_ok()
}

fn spoil(topic: &Topic, choices: &mut Choices<'_>, hits: &[(prop::sample::Index, u8)]) {
    let (datum, _) = topic.datum(choices);
    assert!(is_read(&topic.decoder, &datum));
    for cut in 0..datum.len() {
        assert!(!is_read(&topic.decoder, &datum[..cut]));
    }
    assert!(!is_read(&topic.decoder, &[&*datum, &[0]].concat()));
    let mut all = datum.clone();
    for (index, byte) in hits {
        let at = index.index(datum.len());
        let mut one = datum.clone();
        one[at] = *byte;
        is_read(&topic.decoder, &one);
        all[at] ^= byte;
        is_read(&topic.decoder, &all);
    }
    for at in 0..datum.len() {
        for mask in [0xff, 1, 0x80] {
            let mut one = datum.clone();
            one[at] ^= mask;
            is_read(&topic.decoder, &one);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn truncation_and_corruption_never_panic(
        of_type in vec(any::<u8>(), 0..300),
        of_values in vec(any::<u8>(), 0..300),
        hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        spoil(&Topic::random(&mut Choices::new(&of_type)), &mut Choices::new(&of_values), &hits);
        spoil(&Topic::by_hand("Tree"), &mut Choices::new(&of_values), &hits);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn a_type_with_all_is_spoilt(
        of_values in vec(any::<u8>(), 0..400),
        hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        spoil(&Topic::by_hand("S"), &mut Choices::new(&of_values), &hits);
    }
}

fn fault(field_type: &str, datum: &[u8]) -> String {
    let text =
        format!(r#"{{"type":"record","name":"r","fields":[{{"name":"f","type":{field_type}}}]}}"#);
    let decoder = Decoder::new(Arc::new(RecordSchema::parse(&text).unwrap()));
    is_read(&decoder, datum);
    decoder.check(datum).unwrap_err().to_string()
}

const MOST: [u8; 10] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];

#[test]
fn faults_name_field_and_byte() {
    let check = |field_type: &str, datum: &[u8], expected: &str| {
        assert_eq!(fault(field_type, datum), expected);
    };
    let colors = r#"{"type":"enum","name":"e","symbols":["a","b"]}"#;
    check(
        colors,
        &[4],
        "field `f` at byte 0: symbol 2 of an enum of 2",
    );
    check(
        colors,
        &[1],
        "field `f` at byte 0: symbol -1 of an enum of 2",
    );
    let null = r#"["null","long"]"#;
    check(
        null,
        &[4, 0],
        "field `f` at byte 0: branch 2 of a union of null and a type",
    );
    check(
        null,
        &[2],
        "field `f` at byte 1: the datum ends, 1 more bytes needed",
    );
    let arrays = r#"{"type":"array","items":{"type":"array","items":"double"}}"#;
    check(
        arrays,
        &[2, 4, 0, 0, 0],
        "field `f` at byte 1: an array block of 2 items in 3 bytes",
    );
    check(
        arrays,
        &MOST,
        "field `f` at byte 0: an array block of 9223372036854775807 items in 0 bytes",
    );
    // −1 item of 3 bytes stated, one there.
    check(
        arrays,
        &[1, 6, 0, 0],
        "field `f` at byte 0: an array block says 3 bytes and has 1",
    );
    let map = r#"{"type":"map","values":"long"}"#;
    check(
        map,
        &[4, 0, 0, 0],
        "field `f` at byte 0: an array block of 2 items in 3 bytes",
    );
    check(
        map,
        &[2, 2, 0xff, 0, 0],
        "field `f` at byte 1: text is not UTF-8",
    );
    let fixed = r#"{"type":"fixed","name":"q","size":16}"#;
    check(
        fixed,
        &[0; 15],
        "field `f` at byte 0: the datum ends, 1 more bytes needed",
    );
}

/// Items that have no bytes cannot be bounded by the bytes that are there.
#[test]
fn items_without_bytes_have_a_limit() {
    let none = r#"{"type":"array","items":{"type":"record","name":"n","fields":[]}}"#;
    let text = format!(r#"{{"type":"record","name":"r","fields":[{{"name":"f","type":{none}}}]}}"#);
    let decoder = Decoder::new(Arc::new(RecordSchema::parse(&text).unwrap()));
    // 65,536 of them: zigzag 131,072.
    assert!(is_read(&decoder, &[0x80, 0x80, 0x08, 0]));
    assert!(!is_read(&decoder, &[0x82, 0x80, 0x08, 0]));
    assert!(!is_read(&decoder, &[0x80, 0x80, 0x08, 2, 0]));
    assert!(!is_read(&decoder, &[&MOST[..], &[0]].concat()));
}

#[test]
fn records_within_records_have_a_limit() {
    let topic = Topic::by_hand("Chain");
    // Neither time; then so many links, each within a union.
    let of = |links: usize| {
        let mut datum = vec![0, 0, 7];
        (0..links).for_each(|_| datum.extend([2, 0, 0, 7]));
        datum.push(0);
        datum
    };
    assert!(is_read(&topic.decoder, &of(RECORDS_MAX)));
    assert!(!is_read(&topic.decoder, &of(RECORDS_MAX + 1)));
    assert!(!is_read(&topic.decoder, &of(1_000_000)));
}

#[test]
fn schemas_that_are_not_read_are_named() {
    let check = |text: &str, expected: &str| {
        let error = RecordSchema::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let field = |field_type: &str| {
        format!(r#"{{"type":"record","name":"r","fields":[{{"name":"f","type":{field_type}}}]}}"#)
    };
    check(&field(r#"["long","null"]"#), "`f` has type [\"long\"");
    check(
        &field(r#"["null","long","double"]"#),
        "`f` has type [\"null\"",
    );
    check(
        &field(r#"["null",["null","long"]]"#),
        "`f` has type [\"null\"",
    );
    check(
        &field(r#"{"type":"fixed","name":"x","size":4}"#),
        "`f` has type {",
    );
    check(
        &field(r#"{"type":"array","items":"float"}"#),
        "`f` has type \"float\"",
    );
    check(&field(r#"{"type":"map"}"#), "`f` has type {");
    check(&field("\"unknown\""), "`f` has type \"unknown\"");
    check(
        &field("\"r\""),
        "`r` is more than 64 records within records",
    );
    let inner = r#"{"type":"record","name":"i","fields":[{"name":"a","type":"long"},{"name":"a","type":"long"}]}"#;
    check(&field(inner), "schema of i: two fields are called `a`");
    let again = r#"{"type":"record","name":"r","fields":[]}"#;
    check(&field(again), "schema of r: `r` is defined twice");
    // Each of the records holds the one before it twice.
    let mut fields = vec![r#"{"name":"a0","type":{"type":"record","name":"r0","fields":[{"name":"x","type":"long"}]}}"#.to_owned()];
    for at in 1..40 {
        let before = at - 1;
        fields.push(format!(r#"{{"name":"a{at}","type":{{"type":"record","name":"r{at}","fields":[{{"name":"l","type":"r{before}"}},{{"name":"r","type":"r{before}"}}]}}}}"#));
    }
    let text = format!(
        r#"{{"type":"record","name":"r","fields":[{}]}}"#,
        fields.join(",")
    );
    check(&text, "16385 fields, at most 16384 are taken");
}
