//! Random flat types and samples against a naive encoder and the `apache-avro` reader.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    unreachable_pub,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use apache_avro::types::Value;
use common::sample::{Sample, sample};
use common::{ENCODED_TAI, Encoding, Field, Layout, RECEIVED_TAI, Scalar, Topic, encode, leaps};
use common::{read_datum, stamps, topic};
use efd_edge_transcode::{Cause, KeyOf};
use proptest::collection::vec;
use proptest::prelude::*;

fn expected_text(text: &[u8]) -> String {
    String::from_utf8(text.to_vec())
        .unwrap_or_else(|_| text.iter().map(|byte| char::from(*byte)).collect())
}

fn same(expected: &Scalar, found: &Value) -> bool {
    match (expected, found) {
        (Scalar::Bool(a), Value::Boolean(b)) => a == b,
        (Scalar::Int(_, a), Value::Long(b)) => *a == i128::from(*b),
        (Scalar::F64(a), Value::Double(b)) => *a == b.to_bits(),
        (Scalar::F32(a), Value::Double(b)) if f32::from_bits(*a).is_nan() => {
            let b = b.to_bits();
            u64::from(*a >> 31) == b >> 63
                && b >> 52 & 0x7ff == 0x7ff
                && u64::from(*a & 0x7f_ffff) << 29 == b & ((1 << 52) - 1)
        }
        (Scalar::F32(a), Value::Double(b)) => {
            f64::from(f32::from_bits(*a)).to_bits() == b.to_bits()
        }
        (Scalar::Text(a), Value::String(b)) => expected_text(a) == *b,
        _ => false,
    }
}

fn value<'s>(sample: &'s Sample, name: &str) -> Option<&'s Scalar> {
    let index = sample.names.iter().position(|it| it == name)?;
    match &sample.fields[index] {
        Field::One(scalar) => Some(scalar),
        Field::Array(_) => None,
    }
}

fn integer(sample: &Sample, name: &str) -> Option<i64> {
    match value(sample, name)? {
        Scalar::Int(_, value) => Some(i64::try_from(*value).unwrap()),
        _ => None,
    }
}

fn check(sample: &Sample, topic: &Topic, encoding: Encoding) {
    let leaps = leaps();
    let (payload, _) = encode(
        encoding,
        &sample.fields,
        &sample.order,
        sample.wide,
        sample.garbage,
    );
    let mut out = b"before".to_vec();
    let outcome = topic.plan.transcode(&payload, &stamps(&leaps), &mut out);
    let outcome = outcome.unwrap_or_else(|error| panic!("{encoding:?}: {error}"));
    assert!(out.starts_with(b"before"));

    let datum = read_datum(&topic.schema, &out[6..]);
    let Some(Scalar::F64(snd)) = value(sample, "private_sndStamp") else {
        panic!()
    };
    let snd = f64::from_bits(*snd);
    let offset = if snd >= 1_483_228_837.0 { 37.0 } else { 36.0 };
    let as_double = |bits: f64| Field::One(Scalar::F64(bits.to_bits()));
    let mut expected = vec![
        ("private_efdStamp".to_owned(), as_double(snd - offset)),
        ("private_kafkaStamp".to_owned(), as_double(ENCODED_TAI)),
    ];
    for (name, field) in sample.names.iter().zip(&sample.fields) {
        let received = name == "private_rcvStamp";
        let field = if received {
            as_double(RECEIVED_TAI)
        } else {
            field.clone()
        };
        expected.push((name.clone(), field));
    }
    assert_eq!(datum.len(), expected.len());
    let mut latin1 = 0;
    for ((name, field), (found_name, found)) in expected.iter().zip(&datum) {
        assert_eq!(name, found_name);
        let equal = match (field, found) {
            // NaN − x has whatever payload the processor gives it.
            (Field::One(_), Value::Double(found)) if name == "private_efdStamp" && snd.is_nan() => {
                found.is_nan()
            }
            (Field::One(scalar), found) => same(scalar, found),
            (Field::Array(values), Value::Array(found)) => {
                values.len() == found.len() && values.iter().zip(found).all(|(a, b)| same(a, b))
            }
            (Field::Array(_), _) => false,
        };
        assert!(
            equal,
            "{encoding:?} {name}: expected {field:?}, found {found:?}"
        );
        let values = match field {
            Field::One(scalar) => std::slice::from_ref(scalar),
            Field::Array(values) => values,
        };
        latin1 += values
            .iter()
            .filter(|it| matches!(it, Scalar::Text(text) if std::str::from_utf8(text).is_err()))
            .count();
    }

    assert_eq!(outcome.snd_stamp.to_bits(), snd.to_bits());
    assert_eq!(Some(outcome.seq_num), integer(sample, "private_seqNum"));
    assert_eq!(Some(outcome.origin), integer(sample, "private_origin"));
    let index = integer(sample, "salIndex").or_else(|| integer(sample, "RandID"));
    assert_eq!(outcome.sal_index.map(i64::from), index);
    let identity = match value(sample, "private_identity") {
        Some(Scalar::Text(text)) => expected_text(text),
        _ => String::new(),
    };
    assert_eq!(&out[outcome.identity.clone()], identity.as_bytes());
    assert_eq!(outcome.latin1_texts as usize, latin1);

    let mut key = Vec::new();
    topic
        .plan
        .key_bytes(&payload, KeyOf::Sample, &mut key)
        .unwrap();
    let expected_key = index.map(|index| i32::try_from(index).unwrap().to_be_bytes().to_vec());
    assert_eq!(key, expected_key.unwrap_or_default());
}

fn fails_and_leaves_out_alone(topic: &Topic, payload: &[u8]) -> bool {
    let leaps = leaps();
    let mut out = b"before".to_vec();
    match topic.plan.transcode(payload, &stamps(&leaps), &mut out) {
        Ok(_) => {
            // Whatever was accepted is a datum of the schema.
            read_datum(&topic.schema, &out[6..]);
            false
        }
        Err(error) => {
            assert_eq!(out, b"before");
            assert!(error.offset <= payload.len() + 8, "{error}");
            true
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn values_come_through_in_every_encoding(sample in sample()) {
        let topic = topic(&sample.idl, "Rand::logevent_x_0123abcd");
        for encoding in Encoding::ALL {
            check(&sample, &topic, encoding);
        }
    }

    #[test]
    fn every_truncation_is_an_error(sample in sample(), pick in 0..Encoding::ALL.len()) {
        let topic = topic(&sample.idl, "Rand::logevent_x_0123abcd");
        let encoding = Encoding::ALL[pick];
        let (payload, end) = encode(encoding, &sample.fields, &sample.order, sample.wide, 0xa5);
        for cut in 0..end {
            prop_assert!(fails_and_leaves_out_alone(&topic, &payload[..cut]), "{encoding:?} {cut} of {end}");
        }
        for cut in end..=payload.len() {
            prop_assert!(!fails_and_leaves_out_alone(&topic, &payload[..cut]));
        }
        let longer = [&*payload, &[0; 4]].concat();
        prop_assert!(fails_and_leaves_out_alone(&topic, &longer));
    }

    #[test]
    fn corruption_never_panics(
        sample in sample(),
        pick in 0..Encoding::ALL.len(),
        hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
    ) {
        let topic = topic(&sample.idl, "Rand::logevent_x_0123abcd");
        let encoding = Encoding::ALL[pick];
        let (payload, _) = encode(encoding, &sample.fields, &sample.order, sample.wide, 0);
        let mut all = payload.clone();
        for (index, byte) in hits {
            let at = index.index(payload.len());
            let mut one = payload.clone();
            one[at] ^= byte;
            all[at] ^= byte;
            for damaged in [&one, &all] {
                fails_and_leaves_out_alone(&topic, damaged);
                let mut key = Vec::new();
                drop(topic.plan.key_bytes(damaged, KeyOf::Sample, &mut key));
                drop(topic.plan.key_bytes(damaged, KeyOf::Key, &mut key));
            }
        }
    }

    #[test]
    fn noise_never_panics(sample in sample(), mut noise in vec(any::<u8>(), 0..400), id in 0_u8..12) {
        let topic = topic(&sample.idl, "Rand::logevent_x_0123abcd");
        if noise.len() > 2 {
            noise[..2].copy_from_slice(&[0, id]);
        }
        fails_and_leaves_out_alone(&topic, &noise);
    }
}

const SMALL: &str = "module Small { struct t_0123abcd {
    double private_sndStamp; double private_rcvStamp; long private_seqNum;
    boolean a; boolean b; boolean c[3]; unsigned long long d; unsigned long long e; string s;
}; };";

fn small() -> Vec<Field> {
    let [yes, no] = [Scalar::Bool(true), Scalar::Bool(false)];
    vec![
        Field::One(Scalar::F64(1.5_f64.to_bits())),
        Field::One(Scalar::F64(0)),
        Field::One(Scalar::Int(4, 7)),
        Field::One(yes.clone()),
        Field::One(no.clone()),
        Field::Array(vec![yes.clone(), no, yes]),
        Field::One(Scalar::Int(8, 1)),
        Field::One(Scalar::Int(8, i64::MAX.into())),
        Field::One(Scalar::Text(b"note".to_vec())),
    ]
}

const PLAIN: Encoding = Encoding {
    big_endian: false,
    xcdr2: false,
    layout: Layout::Plain,
};

fn small_payload(fields: &[Field]) -> Vec<u8> {
    encode(PLAIN, fields, &[], false, 0).0
}

/// The payload is that of `small()` with `bytes` at `at`.
fn check_small(at: usize, bytes: &[u8], expected: &str) {
    let topic = topic(SMALL, "Small::t_0123abcd");
    let mut payload = small_payload(&small());
    payload[at..at + bytes.len()].copy_from_slice(bytes);
    let leaps = leaps();
    let mut out = Vec::new();
    let found = match topic.plan.transcode(&payload, &stamps(&leaps), &mut out) {
        Ok(_) => {
            let last = read_datum(&topic.schema, &out).pop().unwrap().1;
            format!("{last:?}")
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(found, expected);
}

#[test]
fn errors_name_value_byte_and_field() {
    check_small(4, &[], r#"String("note")"#);
    check_small(
        24,
        &[2],
        "boolean with the value 2 at byte 24, in field `a`",
    );
    check_small(
        25,
        &[255],
        "boolean with the value 255 at byte 25, in field `b`",
    );
    check_small(
        28,
        &[7],
        "boolean with the value 7 at byte 28, in field `c`",
    );
    let huge = (1_u64 << 63).to_le_bytes();
    check_small(
        36,
        &huge,
        "unsigned value 9223372036854775808 is above 2^63-1 at byte 36, in field `d`",
    );
    check_small(
        44,
        &[255; 8],
        "unsigned value 18446744073709551615 is above 2^63-1 at byte 44, in field `e`",
    );
    check_small(
        52,
        &[200],
        "200 bytes needed, 8 left at byte 56, in field `s`",
    );
    check_small(
        0,
        &[0, 4],
        "encapsulation 0x0004 is not one of CDR, PL_CDR, CDR2, D_CDR2, PL_CDR2 at byte 0",
    );
    check_small(2, &[255, 255], r#"String("note")"#);
}

#[test]
fn odd_texts() {
    // Declared length 5: "note" and its terminator.
    check_small(60, b"!", r#"String("note!")"#);
    check_small(57, &[0], r#"String("n\0te")"#);
    // Nothing that the text claims is cut off, its terminator missing or inside.
    check_small(52, b"\x06\0\0\0note\0!", r#"String("note\0!")"#);
    check_small(52, &[4], "4 bytes too many at byte 60");
    check_small(57, &[0xe9], r#"String("néte")"#);
    check_small(57, "é".as_bytes(), r#"String("née")"#);
    // Length 0 leaves eight bytes: more than padding.
    check_small(52, &[0], "8 bytes too many at byte 56");
    let topic = topic(SMALL, "Small::t_0123abcd");
    let mut payload = small_payload(&small());
    payload.truncate(56);
    payload[52] = 0;
    let (leaps, mut out) = (leaps(), Vec::new());
    topic
        .plan
        .transcode(&payload, &stamps(&leaps), &mut out)
        .unwrap();
    assert_eq!(
        read_datum(&topic.schema, &out).pop().unwrap().1,
        Value::String(String::new())
    );
}

#[test]
fn truncation_in_a_run_names_the_field_it_falls_in() {
    let topic = topic(SMALL, "Small::t_0123abcd");
    let payload = small_payload(&small());
    let leaps = leaps();
    let error = topic
        .plan
        .transcode(&payload[..47], &stamps(&leaps), &mut Vec::new())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "8 bytes needed, 3 left at byte 44, in field `e`"
    );
}

#[test]
fn members_of_a_mutable_type_come_once_each() {
    let topic = topic(SMALL, "Small::t_0123abcd");
    let leaps = leaps();
    for xcdr2 in [false, true] {
        let encoding = Encoding {
            big_endian: false,
            xcdr2,
            layout: Layout::Mutable,
        };
        let run = |order: &[usize]| {
            let (payload, _) = encode(encoding, &small(), order, false, 0);
            topic
                .plan
                .transcode(&payload, &stamps(&leaps), &mut Vec::new())
                .map_err(|it| it.cause)
        };
        assert!(run(&[0, 1, 2, 3, 4, 5, 6, 7, 8]).is_ok());
        assert_eq!(run(&[0, 1, 2, 3, 4, 5, 6, 7]), Err(Cause::MissingMember(8)));
        assert_eq!(
            run(&[0, 1, 2, 3, 4, 5, 6, 7, 7]),
            Err(Cause::MissingMember(8))
        );
        assert_eq!(
            run(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 8]),
            Err(Cause::UnexpectedMember(8))
        );
    }
}

#[test]
fn keys_of_keys() {
    let text = "module Keyed { struct t_0123abcd {
        octet first; double private_sndStamp; double private_rcvStamp; long private_seqNum;
        string name; long long number; short pair[2];
    };
    #pragma keylist t_0123abcd pair name number
    };";
    let topic = topic(text, "Keyed::t_0123abcd");
    let name = Field::One(Scalar::Text(b"ab".to_vec()));
    let number = Field::One(Scalar::Int(8, -2));
    let pair = Field::Array(vec![Scalar::Int(2, 258), Scalar::Int(2, -1)]);
    let rest = [
        Scalar::Int(1, 9),
        Scalar::F64(1),
        Scalar::F64(2),
        Scalar::Int(4, 3),
    ];
    let keys = [name, number, pair];
    let all: Vec<Field> = rest
        .into_iter()
        .map(Field::One)
        .chain(keys.clone())
        .collect();
    let expected = [
        &[0, 0, 0, 3, b'a', b'b', 0][..],
        &(-2_i64).to_be_bytes(),
        &[1, 2, 255, 255],
    ]
    .concat();
    for encoding in Encoding::ALL {
        let order: Vec<usize> = (0..all.len()).rev().collect();
        let mut key = Vec::new();
        let (payload, _) = encode(encoding, &all, &order, false, 1);
        topic
            .plan
            .key_bytes(&payload, KeyOf::Sample, &mut key)
            .unwrap();
        assert_eq!(key, expected, "{encoding:?}");
        if encoding.layout != Layout::Mutable {
            let (payload, end) = encode(encoding, &keys, &[], false, 1);
            key.clear();
            topic
                .plan
                .key_bytes(&payload, KeyOf::Key, &mut key)
                .unwrap();
            assert_eq!(key, expected, "{encoding:?}");
            key.clear();
            assert!(
                topic
                    .plan
                    .key_bytes(&payload[..end - 1], KeyOf::Key, &mut key)
                    .is_err()
            );
            assert!(key.is_empty());
        }
    }
}

#[test]
fn efd_stamp_follows_the_table() {
    let leaps = leaps();
    let cases = [
        (1_483_228_836.999, 36),
        (1_483_228_837.0, 37),
        (0.0, 36),
        (2e9, 37),
        (f64::NAN, 36),
    ];
    for (tai, offset) in cases {
        assert_eq!(leaps.offset_at(tai), offset, "{tai}");
    }
    use efd_edge_transcode::LeapSeconds;
    assert!(LeapSeconds::new(&[]).is_err());
    assert!(LeapSeconds::new(&[(2.0, 1), (1.0, 2)]).is_err());
    assert!(LeapSeconds::new(&[(1.0, 1), (f64::NAN, 2)]).is_err());
}
