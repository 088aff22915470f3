//! Which members are the key.

use super::StructNode;
use super::resolve::Outcome;
use super::{FIELDS_MAX, GeneralTopic, KeyMember, MemberNode, NoGeneralMapping, Node, NodeId};
use crate::model::{KeyPath, Types};

/// The key members of a struct: its own, and those of its bases.
pub(super) fn of(types: &Types, topic: &GeneralTopic) -> Outcome<Vec<KeyMember>> {
    let mut keys = Keys {
        types,
        topic,
        within: Vec::new(),
        left: FIELDS_MAX,
    };
    match topic.node(topic.root) {
        Node::Struct(it) => keys.select(topic.root, it, &keys.paths(it)),
        Node::Primitive(_) | Node::Text | Node::WideText | Node::Bytes { .. } => Ok(Vec::new()),
        Node::Array { .. } | Node::Sequence { .. } | Node::Map { .. } => Ok(Vec::new()),
        Node::Union(_) | Node::Enum(_) | Node::Bitmask(_) => Ok(Vec::new()),
    }
}

struct Keys<'a> {
    types: &'a Types,
    topic: &'a GeneralTopic,
    /// Structs around.
    within: Vec<NodeId>,
    /// Members that may still be looked at: types that hold others twice would double them.
    left: usize,
}

impl<'a> Keys<'a> {
    fn paths(&self, it: &StructNode) -> Vec<&'a [String]> {
        let lineage = self.types.structure(it.dds_type.as_str());
        let lineage = lineage.map(|it| self.types.lineage(it)).unwrap_or_default();
        let paths = lineage.iter().flat_map(|part| &part.keys);
        paths.map(KeyPath::as_slice).collect()
    }

    /// What `paths` lead to.
    fn select(
        &mut self,
        id: NodeId,
        it: &'a StructNode,
        paths: &[&[String]],
    ) -> Outcome<Vec<KeyMember>> {
        let mut keys = Vec::new();
        self.within.push(id);
        for (position, member) in it.members.iter().enumerate() {
            let of_member = paths.iter().filter_map(|path| {
                let (first, rest) = path.split_first()?;
                (**first == *member.name).then_some(rest)
            });
            let of_member: Vec<&[String]> = of_member.collect();
            if of_member.is_empty() {
                continue;
            }
            self.count(it, member)?;
            if member.optional {
                return Err(refused(it, &member.name, "it is optional"));
            }
            let is_whole = of_member.iter().any(|rest| rest.is_empty());
            let inside = if is_whole {
                self.holder(it, member)?
            } else if let Node::Struct(inner) = self.topic.node(member.node) {
                Some(self.select(member.node, inner, &of_member)?)
            } else {
                let why = "the path does not lead to a member of a struct";
                return Err(refused(it, &member.name, why));
            };
            keys.push(KeyMember {
                member: position,
                inside,
            });
        }
        self.within.pop();
        for path in paths {
            let is_known = path.first().is_none_or(|first| {
                let mut members = it.members.iter();
                members.any(|member| *member.name == **first)
            });
            if !is_known {
                return Err(refused(it, &path.join("."), "there is no such member"));
            }
        }
        Ok(keys)
    }

    /// Of a key member, or of one in a struct that is key as a whole: what is key of the struct that
    /// it is, or that its elements are. `None` for all of it.
    fn holder(
        &mut self,
        owner: &StructNode,
        member: &MemberNode,
    ) -> Outcome<Option<Vec<KeyMember>>> {
        let mut id = member.node;
        while let Node::Array { element, .. } | Node::Sequence { element } = self.topic.node(id) {
            id = *element;
        }
        let Node::Struct(it) = self.topic.node(id) else {
            return Ok(None);
        };
        if self.within.contains(&id) {
            return Err(refused(owner, &member.name, "it is a struct within itself"));
        }
        let paths = self.paths(it);
        if !paths.is_empty() {
            return self.select(id, it, &paths).map(Some);
        }
        self.within.push(id);
        let mut keys = Vec::new();
        for (position, member) in it.members.iter().enumerate() {
            self.count(it, member)?;
            let inside = if member.optional {
                None
            } else {
                self.holder(it, member)?
            };
            keys.push(KeyMember {
                member: position,
                inside,
            });
        }
        self.within.pop();
        let is_all = keys.iter().all(|key| key.inside.is_none());
        Ok((!is_all).then_some(keys))
    }

    fn count(&mut self, owner: &StructNode, member: &MemberNode) -> Outcome<()> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(NoGeneralMapping::TooMany {
                owner: owner.dds_type.clone(),
                member: member.name.to_string(),
                what: "key members",
                count: FIELDS_MAX as u64 + 1,
                limit: FIELDS_MAX as u64,
            }),
        }
    }
}

fn refused(owner: &StructNode, member: &str, why: &'static str) -> NoGeneralMapping {
    NoGeneralMapping::Key {
        owner: owner.dds_type.clone(),
        member: member.to_owned(),
        why,
    }
}
