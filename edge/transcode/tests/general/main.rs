//! Types of every kind against a naive writer, the `apache-avro` reader, and Cyclone DDS.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test stops where it fails, in its helpers too"
)]

mod choices;
mod golden;
mod hostile;
mod key;
mod same;
mod topic;
mod types;
mod value;
mod writer;

use choices::Choices;
use efd_edge_transcode::KeyOf;
use proptest::collection::vec;
use proptest::prelude::*;
use topic::{Topic, topic};
use types::StructTy;
use writer::Encoding;

fn check(encoding: Encoding, ty: &StructTy, topic: &Topic, choices: &mut Choices<'_>) {
    let slots = value::members(ty, choices);
    let (payload, expected) = writer::write(encoding, ty, &slots, choices, false);
    let mut out = b"before".to_vec();
    let outcome = topic.transcode(&payload, &mut out);
    let outcome = outcome.unwrap_or_else(|error| panic!("{encoding:?}: {error}: {payload:02x?}"));
    assert!(out.starts_with(b"before"));
    let found = topic.read(&out[6..]);
    assert!(
        same::same_members(ty, &expected, &found),
        "{encoding:?}: {payload:02x?}\nexpected {expected:?}\nfound {found:?}"
    );
    // A struct without members is there, wherever that is.
    let absent = format!("{expected:?}").matches("Absent").count();
    assert!(outcome.defaulted_members as usize <= absent);

    let mut key = b"k".to_vec();
    let result = topic.plan.key_bytes(&payload, KeyOf::Sample, &mut key);
    match key::expected(ty, &expected) {
        Some(expected) => {
            assert_eq!(
                result,
                Ok(()),
                "{encoding:?}: {payload:02x?} of {ty:?} with {:?}",
                topic.topic.keys
            );
            assert_eq!(key[1..], expected, "{encoding:?}: {payload:02x?}");
        }
        None => {
            assert!(result.is_err(), "{encoding:?}: {payload:02x?}");
            assert_eq!(key, b"k");
        }
    }

    let (payload, _) = writer::write(encoding, ty, &slots, choices, true);
    key.truncate(1);
    let result = topic.plan.key_bytes(&payload, KeyOf::Key, &mut key);
    assert_eq!(result, Ok(()), "{encoding:?}: {payload:02x?}");
    assert_eq!(
        key[1..],
        key::expected(ty, &slots).unwrap(),
        "{encoding:?}: {payload:02x?}"
    );
}

/// The same after an error; a datum of the schema else.
fn is_taken(topic: &Topic, payload: &[u8]) -> bool {
    let mut out = b"before".to_vec();
    let result = topic.transcode(payload, &mut out);
    for holds in [KeyOf::Sample, KeyOf::Key] {
        let mut key = Vec::new();
        if topic.plan.key_bytes(payload, holds, &mut key).is_err() {
            assert!(key.is_empty());
        }
    }
    match result {
        Ok(_) => {
            topic.read(&out[6..]);
            true
        }
        Err(error) => {
            assert_eq!(out, b"before");
            assert!(error.offset <= payload.len() + 16, "{error}");
            false
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, ..ProptestConfig::default() })]

    /// Each case is a type and a value of it in each of ten encodings.
    #[test]
    fn values_come_through_in_every_encoding(
        of_type in vec(any::<u8>(), 0..600),
        of_values in vec(any::<u8>(), 0..2500),
    ) {
        let (ty, types) = types::random(&mut Choices::new(&of_type));
        let topic = topic(&types, &ty.name);
        for (at, encoding) in Encoding::all().into_iter().enumerate() {
            let other = [&of_values[at * of_values.len() / 10..], &of_values].concat();
            check(encoding, &ty, &topic, &mut Choices::new(&other));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn truncation_and_corruption_never_panic(
        of_type in vec(any::<u8>(), 0..300),
        of_values in vec(any::<u8>(), 0..500),
        pick in 0..10_usize,
        hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..80),
    ) {
        let (ty, types) = types::random(&mut Choices::new(&of_type));
        let topic = topic(&types, &ty.name);
        let choices = &mut Choices::new(&of_values);
        let slots = value::members(&ty, choices);
        let encoding = Encoding::all()[pick];
        let (payload, _) = writer::write(encoding, &ty, &slots, choices, false);
        assert!(is_taken(&topic, &payload));
        for cut in 0..payload.len() {
            let taken = is_taken(&topic, &payload[..cut]);
            assert!(cut >= 4 || !taken);
        }
        let longer = [&*payload, &[0; 4]].concat();
        assert!(!is_taken(&topic, &longer));
        let mut all = payload.clone();
        for (index, byte) in hits {
            let at = index.index(payload.len());
            let mut one = payload.clone();
            one[at] = byte;
            is_taken(&topic, &one);
            all[at] ^= byte;
            is_taken(&topic, &all);
        }
        for at in 0..payload.len() {
            let mut one = payload.clone();
            one[at] ^= 0xff;
            is_taken(&topic, &one);
        }
    }
}
