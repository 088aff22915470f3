//! Which members are the key.

use super::resolve::Outcome;
use super::{GeneralTopic, KeyMember, NoGeneralMapping, Node, NodeId};
use crate::model::{KeyPath, Struct, Types};

/// The key members of a struct: its own, and those of its bases.
pub(super) fn of(
    types: &Types,
    topic: &GeneralTopic,
    structure: &Struct,
    id: NodeId,
) -> Outcome<Vec<KeyMember>> {
    let lineage = types.lineage(structure);
    let paths = lineage.iter().flat_map(|part| &part.keys);
    let paths: Vec<&[String]> = paths.map(KeyPath::as_slice).collect();
    select(types, topic, id, &paths)
}

/// Ends, as a value through members that are not optional does.
fn select(
    types: &Types,
    topic: &GeneralTopic,
    id: NodeId,
    paths: &[&[String]],
) -> Outcome<Vec<KeyMember>> {
    let Node::Struct(it) = topic.node(id) else {
        return Ok(Vec::new());
    };
    let mut keys = Vec::new();
    for (position, member) in it.members.iter().enumerate() {
        let of_member = paths.iter().filter_map(|path| {
            let (first, rest) = path.split_first()?;
            (**first == *member.name).then_some(rest)
        });
        let of_member: Vec<&[String]> = of_member.collect();
        if of_member.is_empty() {
            continue;
        }
        let refuse = |why| NoGeneralMapping::Key {
            owner: it.dds_type.clone(),
            member: member.name.to_string(),
            why,
        };
        if member.optional {
            return Err(refuse("it is optional"));
        }
        let inside = match topic.node(member.node) {
            Node::Struct(nested) => {
                let inside = if of_member.iter().any(|rest| rest.is_empty()) {
                    types
                        .structure(nested.dds_type.as_str())
                        .map_or(Ok(Vec::new()), |it| of(types, topic, it, member.node))?
                } else {
                    select(types, topic, member.node, &of_member)?
                };
                (!inside.is_empty()).then_some(inside)
            }
            Node::Primitive(_) | Node::Text | Node::WideText | Node::Bytes { .. } => None,
            Node::Array { .. } | Node::Sequence { .. } | Node::Map { .. } => None,
            Node::Union(_) | Node::Enum(_) | Node::Bitmask(_) => None,
        };
        if inside.is_none() && !of_member.iter().any(|rest| rest.is_empty()) {
            return Err(refuse("the path does not lead to a member of a struct"));
        }
        keys.push(KeyMember {
            member: position,
            inside,
        });
    }
    for path in paths {
        let known = path.first().is_none_or(|first| {
            let mut members = it.members.iter();
            members.any(|member| *member.name == **first)
        });
        if !known {
            return Err(NoGeneralMapping::Key {
                owner: it.dds_type.clone(),
                member: path.join("."),
                why: "there is no such member",
            });
        }
    }
    Ok(keys)
}
