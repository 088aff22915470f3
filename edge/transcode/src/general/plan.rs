//! The plan of a type.

use std::sync::Arc;

use efd_shared_types::general::{CaseNode, EnumNode, GeneralTopic, KeyMember, MemberNode};
use efd_shared_types::general::{Node as TypeNode, NodeId, StructNode, UnionNode};
use efd_shared_types::model::{Extensibility, Primitive};
use efd_shared_types::sal::Scalar;

use crate::convert::put_long;

/// `null` and 0: the two times in a record of the topic that is within itself.
pub(super) const NO_TIMES: [u8; 2] = [0, 0];

/// What is done with the samples of one type. Immutable; share it between threads.
#[derive(Debug)]
pub struct GeneralPlan {
    /// As those of the topic.
    pub(super) nodes: Vec<Node>,
    pub(super) root: usize,
    pub(super) keys: Vec<KeyMember>,
    /// Bytes of a datum of nothing but defaults.
    pub(super) default_bytes: usize,
}

#[derive(Debug)]
pub(super) enum Node {
    Fixed(Fixed),
    Text,
    Wide,
    Bytes {
        count: Option<u32>,
    },
    Array {
        element: Elements,
        dimensions: Box<[u32]>,
    },
    Sequence {
        element: Elements,
    },
    Map {
        key: usize,
        value: usize,
        of: Elements,
    },
    Struct(StructPlan),
    Union(UnionPlan),
}

/// What a collection holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements {
    /// Of a map: the value's.
    pub node: usize,
    /// Whether there is a length before the collection in XCDR2.
    pub is_primitive: bool,
    /// Bytes that one takes at least, in any encoding.
    pub bytes_min: usize,
}

/// A value of fixed size.
#[derive(Debug)]
pub(super) struct Fixed {
    pub kind: Kind,
    pub bytes: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    Number(Scalar),
    Char,
    WideChar,
    Quad,
    /// Values on the wire, ascending, and positions in the schema.
    Enum(Box<[(u32, u32)]>),
    Bitmask(Scalar),
}

#[derive(Debug)]
pub(super) struct StructPlan {
    pub extensibility: Extensibility,
    pub members: Vec<MemberPlan>,
    /// For members back to back: neighbours of one kind are one step.
    pub steps: Vec<Step>,
    /// A struct of numbers of one kind, wherever it stands: many of them are one run.
    pub uniform: Option<Run>,
    /// Ascending, with positions in `members`.
    pub ids: Vec<(u32, usize)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// So many members from the first on, which are one run of values.
    Run {
        first: usize,
        members: usize,
        run: Run,
    },
    Member(usize),
}

/// So many values of one node of fixed size, and nothing else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub node: usize,
    pub count: usize,
}

#[derive(Debug)]
pub(super) struct MemberPlan {
    pub name: Arc<str>,
    pub id: u32,
    pub node: usize,
    pub optional: bool,
    /// In Avro; of the value, whether optional or not.
    pub default: Box<[u8]>,
}

#[derive(Debug)]
pub(super) struct UnionPlan {
    pub extensibility: Extensibility,
    /// Node of a [`Fixed`].
    pub discriminator: usize,
    pub cases: Vec<MemberPlan>,
    /// Discriminators as they are on the wire, ascending, with positions in `cases`.
    pub labels: Vec<(u64, usize)>,
    pub default: Option<usize>,
    /// Ascending, with positions in `cases` after the discriminator's, which is 0.
    pub ids: Vec<(u32, usize)>,
}

impl GeneralPlan {
    pub fn compile(topic: &GeneralTopic) -> Self {
        let nodes = topic.nodes.iter().map(|node| compile(topic, node));
        let mut nodes: Vec<Node> = nodes.collect();
        for index in 0..nodes.len() {
            let Node::Struct(it) = &nodes[index] else {
                continue;
            };
            let steps = steps(topic, &nodes, &it.members);
            if let Node::Struct(it) = &mut nodes[index] {
                it.steps = steps;
            }
        }
        let mut default = Vec::new();
        put_default(topic, topic.root, &mut default);
        Self {
            nodes,
            root: topic.root.index(),
            keys: topic.keys.clone(),
            default_bytes: default.len(),
        }
    }

    /// Whether the type has several instances.
    pub fn is_keyed(&self) -> bool {
        !self.keys.is_empty()
    }
}

impl UnionPlan {
    pub(super) fn choose(&self, discriminator: u64) -> Option<usize> {
        let found = self
            .labels
            .binary_search_by_key(&discriminator, |(label, _)| *label);
        found.map_or(self.default, |at| Some(self.labels[at].1))
    }
}

fn compile(topic: &GeneralTopic, node: &TypeNode) -> Node {
    match node {
        TypeNode::Primitive(primitive) => Node::Fixed(fixed(*primitive)),
        TypeNode::Text => Node::Text,
        TypeNode::WideText => Node::Wide,
        TypeNode::Bytes { count } => Node::Bytes { count: *count },
        TypeNode::Array {
            element,
            dimensions,
        } => Node::Array {
            element: elements(topic, *element),
            dimensions: dimensions.as_slice().into(),
        },
        TypeNode::Sequence { element } => Node::Sequence {
            element: elements(topic, *element),
        },
        TypeNode::Map { key, value, .. } => {
            let (of_key, of_value) = (elements(topic, *key), elements(topic, *value));
            Node::Map {
                key: key.index(),
                value: value.index(),
                of: Elements {
                    node: value.index(),
                    is_primitive: of_key.is_primitive && of_value.is_primitive,
                    bytes_min: of_key.bytes_min.saturating_add(of_value.bytes_min),
                },
            }
        }
        TypeNode::Struct(it) => Node::Struct(structure(topic, it)),
        TypeNode::Union(it) => Node::Union(union(topic, it)),
        TypeNode::Enum(it) => Node::Fixed(enumeration(it)),
        TypeNode::Bitmask(it) => Node::Fixed(Fixed {
            kind: Kind::Bitmask(match it.bytes {
                1 => Scalar::U8,
                2 => Scalar::U16,
                4 => Scalar::U32,
                // Bits, not a number: the uppermost may be set.
                _ => Scalar::I64,
            }),
            bytes: it.bytes,
        }),
    }
}

fn fixed(primitive: Primitive) -> Fixed {
    let number = |scalar: Scalar| Fixed {
        kind: Kind::Number(scalar),
        bytes: scalar.size().unwrap_or(1),
    };
    match primitive {
        Primitive::Boolean => number(Scalar::Boolean),
        Primitive::Octet | Primitive::U8 => number(Scalar::U8),
        Primitive::I8 => number(Scalar::I8),
        Primitive::I16 => number(Scalar::I16),
        Primitive::U16 => number(Scalar::U16),
        Primitive::I32 => number(Scalar::I32),
        Primitive::U32 => number(Scalar::U32),
        Primitive::I64 => number(Scalar::I64),
        Primitive::U64 => number(Scalar::U64),
        Primitive::F32 => number(Scalar::F32),
        Primitive::F64 => number(Scalar::F64),
        Primitive::F128 => Fixed {
            kind: Kind::Quad,
            bytes: 16,
        },
        Primitive::Char8 => Fixed {
            kind: Kind::Char,
            bytes: 1,
        },
        Primitive::Char16 => Fixed {
            kind: Kind::WideChar,
            bytes: 2,
        },
    }
}

fn enumeration(it: &EnumNode) -> Fixed {
    let literals = it.literals.iter().enumerate();
    let mut values: Vec<(u32, u32)> = literals
        .map(|(position, (_, value))| {
            let value = on_wire(i64::from(*value), it.bytes) as u32;
            (value, position as u32)
        })
        .collect();
    values.sort_unstable();
    Fixed {
        kind: Kind::Enum(values.into()),
        bytes: it.bytes,
    }
}

/// The lower bytes of a value.
fn on_wire(value: i64, bytes: usize) -> u64 {
    value.cast_unsigned() & (u64::MAX >> (64 - 8 * bytes.clamp(1, 8)))
}

fn elements(topic: &GeneralTopic, id: NodeId) -> Elements {
    Elements {
        node: id.index(),
        is_primitive: matches!(topic.node(id), TypeNode::Primitive(_)),
        bytes_min: bytes_min(topic, id),
    }
}

/// Ends, as a value through members that are not optional does.
fn bytes_min(topic: &GeneralTopic, id: NodeId) -> usize {
    match topic.node(id) {
        TypeNode::Primitive(primitive) => fixed(*primitive).bytes,
        TypeNode::Text | TypeNode::WideText => 4,
        TypeNode::Bytes { count: Some(count) } => *count as usize,
        TypeNode::Bytes { count: None } | TypeNode::Sequence { .. } | TypeNode::Map { .. } => 4,
        TypeNode::Array {
            element,
            dimensions,
        } => dimensions
            .iter()
            .fold(bytes_min(topic, *element), |bytes, dimension| {
                bytes.saturating_mul(*dimension as usize)
            }),
        TypeNode::Struct(it) => {
            let member = |member: &MemberNode| {
                if member.optional {
                    1
                } else {
                    bytes_min(topic, member.node)
                }
            };
            let members = it.members.iter().map(member);
            let all = members.fold(0, usize::saturating_add);
            match it.extensibility {
                Extensibility::Final => all,
                // A length, and nothing of what a newer writer has left out.
                Extensibility::Appendable => all.min(4),
                Extensibility::Mutable => 4,
            }
        }
        TypeNode::Union(it) => bytes_min(topic, it.discriminator),
        TypeNode::Enum(it) => it.bytes,
        TypeNode::Bitmask(it) => it.bytes,
    }
}

fn structure(topic: &GeneralTopic, it: &StructNode) -> StructPlan {
    let members: Vec<MemberPlan> = it.members.iter().map(|it| member(topic, it)).collect();
    let ids = members.iter().enumerate();
    let mut ids: Vec<(u32, usize)> = ids.map(|(at, member)| (member.id, at)).collect();
    ids.sort_unstable();
    StructPlan {
        extensibility: it.extensibility,
        uniform: uniform_struct(topic, it),
        members,
        steps: Vec::new(),
        ids,
    }
}

fn member(topic: &GeneralTopic, it: &MemberNode) -> MemberPlan {
    let mut default = Vec::new();
    put_default(topic, it.node, &mut default);
    MemberPlan {
        name: Arc::clone(&it.name),
        id: it.id,
        node: it.node.index(),
        optional: it.optional,
        default: default.into(),
    }
}

fn steps(topic: &GeneralTopic, nodes: &[Node], members: &[MemberPlan]) -> Vec<Step> {
    let run = |member: &MemberPlan| match &nodes[member.node] {
        Node::Fixed(Fixed {
            kind: Kind::Number(_),
            ..
        }) if !member.optional => Some(Run {
            node: member.node,
            count: 1,
        }),
        Node::Struct(it) if !member.optional => it.uniform,
        Node::Fixed(_) | Node::Text | Node::Wide | Node::Bytes { .. } => None,
        Node::Array { .. } | Node::Sequence { .. } | Node::Map { .. } => None,
        Node::Struct(_) | Node::Union(_) => None,
    };
    let mut steps: Vec<Step> = Vec::new();
    for (position, member) in members.iter().enumerate() {
        match (steps.last_mut(), run(member)) {
            (Some(Step::Run { members, run, .. }), Some(more)) if may_join(topic, *run, more) => {
                *members += 1;
                run.count += more.count;
            }
            (_, Some(run)) => steps.push(Step::Run {
                first: position,
                members: 1,
                run,
            }),
            (_, None) => steps.push(Step::Member(position)),
        }
    }
    steps
}

fn may_join(topic: &GeneralTopic, one: Run, other: Run) -> bool {
    topic.nodes[one.node] == topic.nodes[other.node]
}

/// Its numbers, if they are of one kind and none of them is without a datum: the member that is to blame
/// would not be told from its place in the run.
fn uniform_struct(topic: &GeneralTopic, it: &StructNode) -> Option<Run> {
    let mut all: Option<Run> = None;
    for member in &it.members {
        let run = match topic.node(member.node) {
            TypeNode::Primitive(Primitive::Boolean | Primitive::U64) => None,
            TypeNode::Primitive(Primitive::Char8 | Primitive::Char16 | Primitive::F128) => None,
            TypeNode::Primitive(_) => Some(Run {
                node: member.node.index(),
                count: 1,
            }),
            TypeNode::Struct(it) => uniform_struct(topic, it),
            TypeNode::Text | TypeNode::WideText | TypeNode::Bytes { .. } => None,
            TypeNode::Array { .. } | TypeNode::Sequence { .. } | TypeNode::Map { .. } => None,
            TypeNode::Union(_) | TypeNode::Enum(_) | TypeNode::Bitmask(_) => None,
        };
        let run = run.filter(|_| !member.optional && it.extensibility == Extensibility::Final)?;
        all = match all {
            None => Some(run),
            Some(all) if may_join(topic, all, run) => Some(Run {
                count: all.count + run.count,
                ..all
            }),
            Some(_) => return None,
        };
    }
    all
}

fn union(topic: &GeneralTopic, it: &UnionNode) -> UnionPlan {
    let bytes = bytes_min(topic, it.discriminator);
    let of_case = |(at, case): (usize, &CaseNode)| {
        let labels = case.labels.iter();
        let labels = labels.map(move |label| (on_wire(*label, bytes), at));
        labels.collect::<Vec<_>>()
    };
    let mut labels: Vec<(u64, usize)> = it.cases.iter().enumerate().flat_map(of_case).collect();
    labels.sort_unstable();
    labels.dedup_by_key(|(label, _)| *label);
    let ids = it.cases.iter().enumerate();
    let ids = ids.map(|(at, case)| (case.member.id, at + 1));
    let mut ids: Vec<(u32, usize)> = ids.filter(|(id, _)| *id != 0).collect();
    ids.push((0, 0));
    ids.sort_unstable();
    UnionPlan {
        extensibility: it.extensibility,
        discriminator: it.discriminator.index(),
        cases: it
            .cases
            .iter()
            .map(|case| member(topic, &case.member))
            .collect(),
        labels,
        default: it.cases.iter().position(|case| case.is_default),
        ids,
    }
}

/// The schema's default, as it is in a datum.
fn put_default(topic: &GeneralTopic, id: NodeId, out: &mut Vec<u8>) {
    match topic.node(id) {
        TypeNode::Primitive(primitive) => match primitive {
            Primitive::F32 | Primitive::F64 => out.extend_from_slice(&[0; 8]),
            Primitive::F128 => out.extend_from_slice(&[0; 16]),
            // A text of one NUL.
            Primitive::Char8 | Primitive::Char16 => out.extend_from_slice(&[2, 0]),
            Primitive::Boolean | Primitive::Octet | Primitive::I8 | Primitive::U8 => out.push(0),
            Primitive::I16 | Primitive::U16 | Primitive::I32 | Primitive::U32 => out.push(0),
            Primitive::I64 | Primitive::U64 => out.push(0),
        },
        TypeNode::Text | TypeNode::WideText | TypeNode::Bytes { .. } => out.push(0),
        TypeNode::Array { .. } | TypeNode::Sequence { .. } | TypeNode::Map { .. } => out.push(0),
        TypeNode::Struct(it) => {
            if id == topic.root {
                out.extend_from_slice(&NO_TIMES);
            }
            it.members.iter().for_each(|member| {
                if member.optional {
                    out.push(0);
                } else {
                    put_default(topic, member.node, out);
                }
            });
        }
        TypeNode::Union(it) => {
            put_default(topic, it.discriminator, out);
            out.resize(out.len() + it.cases.len(), 0);
        }
        TypeNode::Enum(it) => put_long(out, it.default as i64),
        TypeNode::Bitmask(_) => out.push(0),
    }
}
