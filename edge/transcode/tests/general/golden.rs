//! What Cyclone DDS wrote: `make.py` tells how `golden.json` is made.

use apache_avro::types::Value;
use efd_edge_transcode::KeyOf;
use efd_shared_types::idl;
use serde_json::Value as Json;

use crate::{is_taken, topic};

#[test]
fn samples_of_cyclone_dds_are_read() {
    let golden: Json = serde_json::from_str(include_str!("golden.json")).unwrap();
    let parsed = idl::parse(golden["idl"].as_str().unwrap());
    assert_eq!(parsed.errors, []);
    let types = parsed.types();
    let (mut samples, mut keys) = (0, 0);
    for it in golden["topics"].as_array().unwrap() {
        let name = it["type"].as_str().unwrap();
        let topic = topic(&types, name);
        for sample in it["samples"].as_array().unwrap() {
            let payload = bytes(&sample["payload"]);
            let mut out = Vec::new();
            let outcome = topic.transcode(&payload, &mut out);
            let outcome = outcome.unwrap_or_else(|error| panic!("{name}: {error}: {sample}"));
            assert_eq!(outcome.defaulted_members, 0);
            let found = Value::Record(topic.read(&out));
            assert!(
                same(&sample["value"], &found),
                "{name}: {sample}\n{found:?}"
            );
            for cut in 0..payload.len() {
                is_taken(&topic, &payload[..cut]);
            }
            samples += 1;

            if sample["key"].is_null() {
                // The Python API knows nothing of the keys of a base.

                continue;
            }
            let (mut of_sample, mut of_key) = (Vec::new(), Vec::new());
            let result = topic
                .plan
                .key_bytes(&payload, KeyOf::Sample, &mut of_sample);
            assert_eq!(result, Ok(()), "{name}: {sample}");
            let key = bytes(&sample["key"]);
            let result = topic.plan.key_bytes(&key, KeyOf::Key, &mut of_key);
            assert_eq!(result, Ok(()), "{name}: {sample}");
            assert!(!of_key.is_empty());
            assert_eq!(of_sample, of_key, "{name}: {sample}");
            keys += 1;
        }
    }
    assert!(
        samples > 200 && keys >= 18,
        "{samples} samples, {keys} keys"
    );
}

fn bytes(hex: &Json) -> Vec<u8> {
    let digits = hex.as_str().unwrap().as_bytes();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.as_chunks::<2>().0.iter().map(byte).collect()
}

fn same(expected: &Json, found: &Value) -> bool {
    match (expected, found) {
        (Json::Null, Value::Union(0, found)) => **found == Value::Null,
        (expected, Value::Union(1, found)) => !expected.is_null() && same(expected, found),
        (Json::Bool(a), Value::Boolean(b)) => a == b,
        (Json::Number(a), Value::Long(b)) => a.as_i64() == Some(*b),
        (Json::String(a), Value::Double(b)) => *a == format!("{:016x}", b.to_bits()),
        (Json::String(a), Value::String(b)) => a == b,
        (Json::String(a), Value::Enum(_, b)) => a == b,
        (Json::Array(a), Value::Bytes(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| a.as_u64() == Some((*b).into()))
        }
        (Json::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Json::Object(a), Value::Record(b)) => {
            let fields = a.iter().zip(b);
            a.len() == b.len()
                && fields
                    .into_iter()
                    .all(|((a, expected), (b, found))| a == b && same(expected, found))
        }
        (Json::Object(a), Value::Map(b)) => {
            let found =
                |(key, expected): (&String, &Json)| b.get(key).is_some_and(|it| same(expected, it));
            a.len() == b.len() && a.iter().all(found)
        }
        _ => false,
    }
}
