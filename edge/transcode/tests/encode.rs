//! Datums made samples again: what the transcoder makes of those is the same datum.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use common::sample::{Sample, sample};
use common::{Encoding, Field, Scalar, Topic, encode, leaps, stamps, topic};
use efd_edge_transcode::{Encoded, Encoder, NoSample};
use proptest::prelude::*;

const IDL: &str = "module Test { struct logevent_all_0123abcd {
    long salIndex; //@Key
    string private_revCode; double private_sndStamp; double private_rcvStamp; long private_seqNum;
    string private_identity; long private_origin;
    boolean flag; octet byte; int8 tiny; short small; unsigned short word; unsigned long big;
    unsigned long long huge; float single; string text[2]; float curve[3];
};
#pragma keylist logevent_all_0123abcd salIndex
};";

fn transcoded(topic: &Topic, payload: &[u8]) -> Vec<u8> {
    let (leaps, mut datum) = (leaps(), Vec::new());
    let outcome = topic.plan.transcode(payload, &stamps(&leaps), &mut datum);
    outcome.unwrap_or_else(|error| panic!("{error}"));
    datum
}

fn sample_topic(sample: &Sample) -> Topic {
    topic(&sample.idl, "Rand::logevent_x_0123abcd")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_datum_made_a_sample_gives_the_same_datum(sample in sample(), which in 0..Encoding::ALL.len()) {
        let topic = sample_topic(&sample);
        let (payload, _) =
            encode(Encoding::ALL[which], &sample.fields, &sample.order, sample.wide, sample.garbage);
        let datum = transcoded(&topic, &payload);
        let mut made = b"before".to_vec();
        let Encoded { snd_stamp_at } = Encoder::compile(&topic.topic).encode(&datum, &mut made).unwrap();
        prop_assert!(made.starts_with(b"before"));
        let made = &made[6..];
        prop_assert_eq!(transcoded(&topic, made), datum);
        let Some(Field::One(Scalar::F64(stamp))) = sample.names.iter().zip(&sample.fields)
            .find_map(|(name, field)| (name == "private_sndStamp").then_some(field)) else { panic!() };
        prop_assert_eq!(&made[snd_stamp_at..snd_stamp_at + 8], &stamp.to_le_bytes());
    }

    /// Cut, altered, or longer: a reason and nothing written, or a sample of the type.
    #[test]
    fn what_is_no_datum_is_named(
        sample in sample(),
        cut in any::<prop::sample::Index>(),
        alter in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        tail in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let topic = sample_topic(&sample);
        let encoding = Encoding::ALL[0];
        let (payload, _) = encode(encoding, &sample.fields, &sample.order, sample.wide, 0);
        let whole = transcoded(&topic, &payload);
        let mut datum = whole.clone();
        if let Some((index, byte)) = alter {
            let at = index.index(datum.len());
            datum[at] = byte;
        }
        datum.extend(tail);
        datum.truncate(cut.index(datum.len() + 1));
        let mut out = vec![7];
        match Encoder::compile(&topic.topic).encode(&datum, &mut out) {
            Ok(_) => {
                let again = transcoded(&topic, &out[1..]);
                if datum == whole { prop_assert_eq!(again, whole); }
            }
            Err(error) => {
                prop_assert_eq!(&out, &[7]);
                prop_assert!(error.offset <= datum.len(), "{}", error);
                prop_assert!(datum != whole, "{}", error);
            }
        }
    }
}

/// The fields of [`IDL`] behind the two stamps, as a datum.
fn datum(change: impl Fn(&str, &mut Vec<u8>)) -> Vec<u8> {
    let double = |value: f64| value.to_le_bytes().to_vec();
    let fields: [(&str, Vec<u8>); 19] = [
        ("private_efdStamp", double(1.0)),
        ("private_kafkaStamp", double(2.0)),
        ("salIndex", vec![2]),
        ("private_revCode", vec![4, b'a', b'b']),
        ("private_sndStamp", double(3.5)),
        ("private_rcvStamp", double(4.5)),
        ("private_seqNum", vec![1]),
        ("private_identity", vec![0]),
        ("private_origin", vec![0x80, 0x01]),
        ("flag", vec![1]),
        ("byte", vec![0xfe, 0x03]),
        ("tiny", vec![0xff, 0x01]),
        ("small", vec![3]),
        ("word", vec![2]),
        ("big", vec![2]),
        ("huge", vec![2]),
        ("single", double(0.5)),
        // Two blocks, one of them with its length in bytes.
        ("text", vec![1, 4, 2, b'x', 2, 0, 0]),
        (
            "curve",
            [
                vec![6],
                double(1.0),
                double(-2.0),
                double(f64::INFINITY),
                vec![0],
            ]
            .concat(),
        ),
    ];
    let mut out = Vec::new();
    for (name, mut bytes) in fields {
        change(name, &mut bytes);
        out.extend(bytes);
    }
    out
}

fn all() -> (Topic, Encoder) {
    let topic = topic(IDL, "Test::logevent_all_0123abcd");
    let encoder = Encoder::compile(&topic.topic);
    (topic, encoder)
}

#[test]
fn bytes_are_those_of_the_standard() {
    let (_, encoder) = all();
    let mut out = Vec::new();
    encoder.encode(&datum(|_, _| {}), &mut out).unwrap();
    let expected = [
        &[0, 1, 0, 0][..],
        &1_i32.to_le_bytes(),
        &[3, 0, 0, 0, b'a', b'b', 0, 0, 0, 0, 0, 0],
        &3.5_f64.to_le_bytes(),
        // A publisher leaves `private_rcvStamp` to who receives.
        &0_f64.to_le_bytes(),
        &(-1_i32).to_le_bytes(),
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &64_i32.to_le_bytes(),
        // flag, byte, tiny, a gap, small, word, a gap, big, huge.
        &[1, 255, 0x80, 0, 0xfe, 0xff, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        &1_u64.to_le_bytes(),
        &0.5_f32.to_le_bytes(),
        &[2, 0, 0, 0, b'x', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        &1_f32.to_le_bytes(),
        &(-2_f32).to_le_bytes(),
        &f32::INFINITY.to_le_bytes(),
    ];
    assert_eq!(out, expected.concat());
}

#[test]
fn a_value_that_no_sample_has_is_named() {
    let (topic, encoder) = all();
    let check = |field: &str, bytes: &[u8], expected: NoSample| {
        let datum = datum(|name, value| {
            if name == field {
                *value = bytes.to_vec();
            }
        });
        let error = encoder.encode(&datum, &mut Vec::new()).unwrap_err();
        assert_eq!((&*error.field, error.cause), (field, expected), "{error}");
    };
    let scalar = |name: &str| {
        let mut fields = topic.topic.fields.iter();
        fields.find(|field| &*field.name == name).unwrap().scalar
    };
    for (field, bytes, value) in [
        ("byte", &[0x80, 0x04][..], 256),
        ("byte", &[1], -1),
        ("tiny", &[0x80, 0x02], 128),
        ("small", &[0x80, 0x80, 0x04], 32_768),
        ("big", &[0x80, 0x80, 0x80, 0x80, 0x20], 1 << 32),
        ("huge", &[1], -1),
        ("salIndex", &[0x80, 0x80, 0x80, 0x80, 0x10], 1 << 31),
    ] {
        let scalar = scalar(field);
        check(field, bytes, NoSample::OutOfRange { value, scalar });
    }
    check("flag", &[2], NoSample::Boolean(2));
    check("private_identity", &[3], NoSample::Length(-2));
    check("private_identity", &[2, 0xff], NoSample::Utf8);
    check("private_seqNum", &[0xff; 10], NoSample::Varint);
    let third = 1.0_f64 / 3.0;
    check("single", &third.to_le_bytes(), NoSample::NotSingle(third));
    check(
        "single",
        &1e300_f64.to_le_bytes(),
        NoSample::NotSingle(1e300),
    );
    let items = |found| NoSample::Items { expected: 2, found };
    check("text", &[0], items(0));
    check("text", &[2, 0, 0], items(1));
    check("text", &[6, 0, 0, 0, 0], items(3));
    let many = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0,
    ];
    check("text", &many, items(1 << 63));
    let mut longer = datum(|_, _| {});
    longer.push(0);
    let error = encoder.encode(&longer, &mut Vec::new()).unwrap_err();
    assert_eq!(error.cause, NoSample::Trailing(1));
}
