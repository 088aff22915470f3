//! The type that Cyclone announces against the one that it was made from.

use efd_shared_types::avro::AvroSchema;
use efd_shared_types::general::Node;
use efd_shared_types::{GeneralTopic, xtypes};

use crate::topic::Topic;

pub fn check([information, mapping]: [&[u8]; 2], topic: &Topic) {
    let announced = xtypes::parse(information, mapping)
        .unwrap_or_else(|error| panic!("{error}: {mapping:02x?}"));
    assert_eq!(announced.root, topic.topic.dds_type);
    assert_eq!(xtypes::type_id(information), Ok(announced.id));
    let found = GeneralTopic::of(&announced.types, &announced.root, &topic.topic.dds_topic);
    let (found, expected) = (ordered(found.unwrap()), ordered(topic.topic.clone()));
    assert_eq!(found, expected);
    let schemas = [found, expected].map(|topic| AvroSchema::of_general(&topic));
    assert_eq!(schemas[0], schemas[1]);
}

/// A TypeObject has literals in the order of their values, and a default case without labels.
fn ordered(mut topic: GeneralTopic) -> GeneralTopic {
    for node in &mut topic.nodes {
        match node {
            Node::Enum(it) => {
                let default = it.literals[it.default].clone();
                it.literals.sort_by_key(|(_, value)| *value);
                let mut literals = it.literals.iter();
                it.default = literals.position(|it| *it == default).unwrap();
            }
            Node::Union(it) => {
                let cases = it.cases.iter_mut();
                cases
                    .filter(|case| case.is_default)
                    .for_each(|case| case.labels.clear());
            }
            _ => {}
        }
    }
    topic
}
