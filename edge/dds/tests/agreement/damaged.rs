//! Payloads with some bytes changed: who takes one need not be the same, but the value is.

use apache_avro::types::Value;
use efd_edge_transcode::GeneralStamps;
use efd_shared_types::general::Node;
use efd_shared_types::model::Extensibility;

use crate::choices::Choices;
use crate::cyclone::Content;
use crate::topic::Topic;
use crate::{Case, Totals};

/// Types of final parts. In others the library checks a damaged payload in one way and reads it in
/// another, outside of it even.
pub fn is_fit(topic: &Topic) -> bool {
    topic.topic.nodes.iter().all(|node| match node {
        Node::Struct(it) => it.extensibility == Extensibility::Final,
        Node::Union(it) => it.extensibility == Extensibility::Final,
        _ => true,
    })
}

pub fn check(case: &Case<'_>, payload: &[u8], choices: &mut Choices<'_>, totals: &mut Totals) {
    let mut damaged = payload.to_vec();
    for _ in 0..1 + choices.below(3) {
        let at = u16::from_le_bytes(choices.word()) as usize % damaged.len();
        let random = choices.byte();
        let others = [0, 1, 2, 4, damaged[at] ^ 1, damaged[at] ^ 4, 0x7f, random];
        damaged[at] = others[choices.below(others.len())];
    }
    let ours = datum(case.topic, &damaged);
    let theirs = case.native.receive(Content::Sample, &damaged);
    match (&ours, &theirs) {
        (None, None) => totals.taken_by_none += 1,
        (Some(_), None) => totals.taken_by_us += 1,
        (None, Some(_)) => totals.taken_by_cyclone += 1,
        (Some(_), Some(_)) => totals.taken_by_both += 1,
    }
    let (Some((ours, defaulted)), Some(theirs)) = (ours, theirs) else {
        return;
    };
    let written = case.native.sample(&theirs).write(true, Content::Sample);
    // What is absent is zero there, and the default of the schema here.
    if defaulted > 0 {
        return;
    }
    let again = datum(case.topic, &written);
    let is_same = again.as_ref().is_some_and(|(again, _)| *again == ours);
    assert!(
        is_same || has_nul(&ours, case.topic),
        "{damaged:02x?} is written again as {written:02x?}\nof {:?}\n{:?}\n{:?}",
        case.ty,
        case.topic.read(&ours),
        again.map(|(again, _)| case.topic.read(&again))
    );
}

fn datum(topic: &Topic, payload: &[u8]) -> Option<(Vec<u8>, u32)> {
    let stamps = GeneralStamps {
        source: None,
        received: 1_800_000_000_000_000_001,
    };
    let mut datum = Vec::new();
    let outcome = topic.plan.transcode(payload, &stamps, &mut datum).ok()?;
    Some((datum, outcome.defaulted_members))
}

/// Texts end at the first one in C.
fn has_nul(datum: &[u8], topic: &Topic) -> bool {
    fn of(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains('\0'),
            Value::Union(_, value) => of(value),
            Value::Array(values) => values.iter().any(of),
            Value::Record(fields) => fields.iter().any(|(_, value)| of(value)),
            _ => false,
        }
    }
    topic.read(datum).iter().any(|(_, value)| of(value))
}
