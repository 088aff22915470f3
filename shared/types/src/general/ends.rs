//! That values end, and that the defaults of a schema are of a size that can be written.

use super::resolve::{Outcome, Place};
use super::{DEFAULT_VALUES_MAX, DEPTH_MAX, GeneralTopic, NoGeneralMapping, Node, NodeId};

/// What a value of a node has in it where nothing is optional.
#[derive(Clone, Copy)]
enum Extent {
    Unknown,
    Entered,
    Known { values: u64, depth: usize },
}

/// Every value ends, and the defaults of all fields together are few enough to be written.
pub(super) fn check(topic: &GeneralTopic) -> Outcome<()> {
    let mut extents = vec![Extent::Unknown; topic.nodes.len()];
    let mut all = 0_u64;
    let owner = &topic.dds_type;
    for (index, node) in topic.nodes.iter().enumerate() {
        let (owner, id) = match node {
            Node::Struct(it) => (&it.dds_type, NodeId(index as u32)),
            // The value of an entry has a default as well.
            Node::Map { value, .. } => (owner, *value),
            Node::Primitive(_) | Node::Text | Node::WideText | Node::Bytes { .. } => continue,
            Node::Array { .. } | Node::Sequence { .. } => continue,
            Node::Union(_) | Node::Enum(_) | Node::Bitmask(_) => continue,
        };
        let place = Place::outside(owner);
        let (values, _) = extent(topic, id, &place, &mut extents)?;
        all = all.saturating_add(values);
        let (count, limit) = (all, DEFAULT_VALUES_MAX);
        if limit < count {
            return Err(NoGeneralMapping::TooManyDefaults {
                owner: owner.clone(),
                count,
                limit,
            });
        }
    }
    Ok(())
}

/// Values in the default of a node, and the levels below it.
fn extent(
    topic: &GeneralTopic,
    id: NodeId,
    place: &Place<'_>,
    extents: &mut Vec<Extent>,
) -> Outcome<(u64, usize)> {
    match extents[id.index()] {
        Extent::Known { values, depth } => {
            place.within(
                "levels of types within types",
                place.depth + depth,
                DEPTH_MAX,
            )?;
            return Ok((values, depth));
        }
        Extent::Entered => {
            return Err(NoGeneralMapping::Endless {
                owner: place.owner.clone(),
                member: place.member.to_owned(),
            });
        }
        Extent::Unknown => extents[id.index()] = Extent::Entered,
    }
    let place = &place.deeper()?;
    let (mut values, mut below) = (1_u64, 0);
    match topic.node(id) {
        Node::Struct(it) => {
            values = 0;
            for member in &it.members {
                if member.optional {
                    values += 1;
                    continue;
                }
                let place = &Place {
                    owner: &it.dds_type,
                    member: &member.name,
                    ..*place
                };
                let (inside, depth) = extent(topic, member.node, place, extents)?;
                values = values.saturating_add(inside);
                below = below.max(depth);
            }
        }
        Node::Array { element, .. } => below = extent(topic, *element, place, extents)?.1,
        Node::Union(it) => values += it.cases.len() as u64,
        Node::Primitive(_) | Node::Text | Node::WideText | Node::Bytes { .. } => {}
        Node::Sequence { .. } | Node::Map { .. } | Node::Enum(_) | Node::Bitmask(_) => {}
    }
    let depth = below + 1;
    extents[id.index()] = Extent::Known { values, depth };
    Ok((values, depth))
}
