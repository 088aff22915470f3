//! Samples as a real OpenSplice wrote them, garbage in their padding included.

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
use common::{ENCODED_TAI, RECEIVED_TAI, Topic, leaps, read_datum, stamps};
use efd_edge_transcode::{KeyOf, Outcome, Plan};
use efd_shared_types::avro::AvroSchema;
use efd_shared_types::{NoMapping, Registry};

/// Topic and payload of each line; `None` where the corpus is absent.
fn samples() -> Option<(Registry, Vec<(String, Vec<u8>)>)> {
    let path = efd_tests_testkit::corpus("samples of OpenSplice", "opensplice")?;
    let mut registry = Registry::default();
    registry.load("lab.idl", &std::fs::read(path.join("lab.idl")).unwrap());
    assert_eq!(registry.errors().count(), 0);
    let text = std::fs::read_to_string(path.join("samples.txt")).unwrap();
    let samples = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let hex = words[3].as_bytes().chunks(2);
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        (words[1].to_owned(), hex.map(byte).collect())
    });
    Some((registry, samples.collect()))
}

fn find(registry: &Registry, name: &str) -> Option<Topic> {
    let (topic, schema) = registry
        .topics()
        .find(|(topic, _)| topic.dds_topic == name)?;
    let AvroSchema { json, .. } = &**schema;
    let schema = apache_avro::Schema::parse_str(json).unwrap();
    Some(Topic {
        plan: Plan::compile(topic),
        topic: (**topic).clone(),
        schema,
    })
}

fn transcode(topic: &Topic, payload: &[u8]) -> (Outcome, String, Vec<(String, Value)>) {
    let (leaps, mut out) = (leaps(), Vec::new());
    let outcome = topic.plan.transcode(payload, &stamps(&leaps), &mut out);
    let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error}", topic.topic.dds_topic));
    let identity = String::from_utf8(out[outcome.identity.clone()].to_vec()).unwrap();
    (outcome, identity, read_datum(&topic.schema, &out))
}

fn get<'d>(datum: &'d [(String, Value)], name: &str) -> &'d Value {
    &datum.iter().find(|it| it.0 == name).unwrap().1
}

#[test]
fn every_sample_is_read() {
    let Some((registry, samples)) = samples() else {
        return;
    };
    let mut read = 0;
    for (name, payload) in &samples {
        let Some(topic) = find(&registry, name) else {
            // The one with a sequence, which is no SAL type.
            assert_eq!(name, "MTMount_big_33333333");
            continue;
        };
        let (outcome, identity, datum) = transcode(&topic, payload);
        let indexed = name.starts_with("Test");
        assert_eq!(outcome.sal_index.is_some(), indexed);
        assert!(
            identity == "MTMount" || identity.starts_with("Test:"),
            "{identity}"
        );
        assert!(
            (1.795e9..1.796e9).contains(&outcome.snd_stamp),
            "{}",
            outcome.snd_stamp
        );
        let double = |value: f64| Value::Double(value);
        assert_eq!(
            *get(&datum, "private_efdStamp"),
            double(outcome.snd_stamp - 37.0)
        );
        assert_eq!(*get(&datum, "private_rcvStamp"), double(RECEIVED_TAI));
        assert_eq!(*get(&datum, "private_kafkaStamp"), double(ENCODED_TAI));
        let Value::String(revision) = get(&datum, "private_revCode") else {
            panic!()
        };
        assert!(name.ends_with(revision.as_str()), "{revision}");
        let mut key = Vec::new();
        topic
            .plan
            .key_bytes(payload, KeyOf::Sample, &mut key)
            .unwrap();
        assert_eq!(
            key,
            outcome
                .sal_index
                .map_or(Vec::new(), |index| index.to_be_bytes().to_vec())
        );
        read += 1;
    }
    assert_eq!((read, samples.len()), (6, 7));
}

#[test]
fn values_of_the_elevation_samples() {
    let Some((registry, samples)) = samples() else {
        return;
    };
    let topic = find(&registry, "MTMount_elevation_1a2b3c4d").unwrap();
    let payloads = samples.iter().filter(|it| it.0 == topic.topic.dds_topic);
    let mut rows = 0;
    for (row, (_, payload)) in payloads.enumerate() {
        let (outcome, _, datum) = transcode(&topic, payload);
        let seq = i64::try_from(row).unwrap();
        assert_eq!(outcome.seq_num, seq);
        assert_eq!(outcome.origin, 0x7457);
        assert_eq!(
            *get(&datum, "actualPosition"),
            Value::Double([12.5, 13.5][row])
        );
        let arr: Vec<Value> = (0..12).map(|i| Value::Double(f64::from(i) * 0.5)).collect();
        assert_eq!(*get(&datum, "arr"), Value::Array(arr));
        assert_eq!(
            *get(&datum, "note"),
            Value::String(["hello", "nöte"][row].to_owned())
        );
        assert_eq!(*get(&datum, "b"), Value::Boolean(true));
        assert_eq!(*get(&datum, "o"), Value::Long(0xab));
        assert_eq!(*get(&datum, "s"), Value::Long(-2));
        assert_eq!(outcome.latin1_texts, 0);
        assert_eq!(*get(&datum, "ll"), Value::Long(-5_000_000_000));
        assert_eq!(*get(&datum, "us"), Value::Long(65_535));
        assert_eq!(*get(&datum, "ul"), Value::Long(4_000_000_000));
        assert_eq!(
            *get(&datum, "timestamp"),
            Value::Double([1000.25, 1001.25][row])
        );
        rows += 1;
    }
    assert_eq!(rows, 2);
}

#[test]
fn a_text_in_latin1_is_read() {
    let Some((registry, samples)) = samples() else {
        return;
    };
    let topic = find(&registry, "MTMount_elevation_1a2b3c4d").unwrap();
    let (_, payload) = samples
        .iter()
        .find(|it| it.0 == topic.topic.dds_topic)
        .unwrap();
    let mut payload = payload.clone();
    let at = payload.windows(5).position(|it| it == b"hello").unwrap();
    payload[at + 1] = 0xe9;
    let (outcome, _, datum) = transcode(&topic, &payload);
    assert_eq!(*get(&datum, "note"), Value::String("h\u{e9}llo".to_owned()));
    assert_eq!(outcome.latin1_texts, 1);
}

#[test]
fn the_sequence_is_refused_by_name() {
    let Some((registry, _)) = samples() else {
        return;
    };
    let big = registry.get("MTMount::big_33333333").unwrap();
    let Err(error @ NoMapping::Member { .. }) = &big.mapping else {
        panic!("{:?}", big.mapping)
    };
    assert_eq!(
        error.to_string(),
        "no mapping for sequence yet: member `data` of `MTMount::big_33333333`"
    );
}
