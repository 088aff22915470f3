//! From definitions to the table of nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::schema::FLOAT128;
use super::{BitmaskNode, CaseNode, DEPTH_MAX, EnumNode, FIELDS_MAX, GeneralTopic, MemberNode};
use super::{NODES_MAX, NoGeneralMapping, Node, NodeId, RECEIVED_TIME, SOURCE_TIME, StructNode};
use super::{UnionNode, ends, keys, names};
use crate::model::{Bitmask, Definition, Enum, Extensibility, Member, Primitive, Resolved, Struct};
use crate::model::{Type, TypeName, Types, Union};

pub(super) type Outcome<T> = Result<T, NoGeneralMapping>;

pub(super) fn topic(types: &Types, root: &TypeName, dds_topic: &str) -> Outcome<GeneralTopic> {
    let named = Type::Named(root.clone());
    let Resolved::Defined(Definition::Struct(structure)) = types.resolve(&named) else {
        return Err(NoGeneralMapping::NoStruct(root.clone()));
    };
    let name =
        names::of_topic(dds_topic).ok_or_else(|| NoGeneralMapping::NoName(dds_topic.to_owned()))?;
    let mut resolver = Resolver {
        types,
        nodes: Vec::new(),
        by_type: BTreeMap::new(),
        names: BTreeMap::from([(FLOAT128.to_owned(), TypeName::new("long double"))]),
        fields: 2,
    };
    resolver.claim(&name, &structure.name)?;
    let place = Place::outside(&structure.name);
    let id = resolver.structure(structure, Some(&name), &place)?;
    let Resolver { nodes, .. } = resolver;
    let mut topic = GeneralTopic {
        name,
        dds_topic: dds_topic.to_owned(),
        dds_type: root.clone(),
        nodes,
        root: id,
        keys: Vec::new(),
    };
    ends::check(&topic)?;
    topic.keys = keys::of(types, &topic)?;
    Ok(topic)
}

struct Resolver<'a> {
    types: &'a Types,
    nodes: Vec<Node>,
    /// Structs, unions, enums and bitmasks that have a node, perhaps one that is being made.
    by_type: BTreeMap<TypeName, NodeId>,
    /// Full names in Avro, and whose they are.
    names: BTreeMap<String, TypeName>,
    fields: usize,
}

/// Where a type stands, for messages and names.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    pub owner: &'p TypeName,
    pub record: &'p str,
    pub member: &'p str,
    pub depth: usize,
    /// Maps around, within the member.
    pub maps: usize,
}

impl<'p> Place<'p> {
    pub(super) fn outside(owner: &'p TypeName) -> Self {
        Self {
            owner,
            record: "",
            member: "",
            depth: 0,
            maps: 0,
        }
    }

    pub(super) fn within(self, what: &'static str, count: usize, limit: usize) -> Outcome<()> {
        if count <= limit {
            return Ok(());
        }
        Err(NoGeneralMapping::TooMany {
            owner: self.owner.clone(),
            member: self.member.to_owned(),
            what,
            count: count as u64,
            limit: limit as u64,
        })
    }

    pub(super) fn deeper(self) -> Outcome<Self> {
        let depth = self.depth + 1;
        self.within("levels of types within types", depth, DEPTH_MAX)?;
        Ok(Self { depth, ..self })
    }
}

impl Resolver<'_> {
    fn push(&mut self, node: Node, place: &Place<'_>) -> Outcome<NodeId> {
        place.within("types within types", self.nodes.len() + 1, NODES_MAX)?;
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node);
        Ok(id)
    }

    fn claim(&mut self, name: &str, owner: &TypeName) -> Outcome<()> {
        match self.names.insert(name.to_owned(), owner.clone()) {
            None => Ok(()),
            Some(first) => Err(NoGeneralMapping::SameName {
                first,
                second: owner.clone(),
                name: name.to_owned(),
            }),
        }
    }

    fn node(&mut self, ty: &Type, place: &Place<'_>) -> Outcome<NodeId> {
        let place = &place.deeper()?;
        let ty = match self.types.resolve(ty) {
            Resolved::Plain(ty) => ty,
            Resolved::Defined(definition) => return self.defined(definition, place),
            Resolved::Unknown(name) => {
                return Err(NoGeneralMapping::UnknownType {
                    owner: place.owner.clone(),
                    member: place.member.to_owned(),
                    ty: name.clone(),
                });
            }
        };
        let node = match ty {
            Type::Primitive(primitive) => Node::Primitive(*primitive),
            Type::String { .. } => Node::Text,
            Type::WString { .. } => Node::WideText,
            Type::Array { .. } => self.array(ty, place)?,
            Type::Sequence { element, .. } if self.is_octet(element) => Node::Bytes { count: None },
            Type::Sequence { element, .. } => Node::Sequence {
                element: self.node(element, place)?,
            },
            Type::Map { key, value, .. } => self.map(key, value, place)?,
            // An alias is followed until it is none; what is left is an endless chain of them.
            Type::Named(name) => {
                return Err(NoGeneralMapping::UnknownType {
                    owner: place.owner.clone(),
                    member: place.member.to_owned(),
                    ty: name.clone(),
                });
            }
        };
        self.push(node, place)
    }

    fn is_octet(&self, ty: &Type) -> bool {
        let ty = self.types.resolve(ty);
        matches!(
            ty,
            Resolved::Plain(Type::Primitive(Primitive::Octet | Primitive::U8))
        )
    }

    fn array(&mut self, ty: &Type, place: &Place<'_>) -> Outcome<Node> {
        let (mut all, mut innermost) = (Vec::new(), ty);
        while let Resolved::Plain(Type::Array {
            element,
            dimensions,
        }) = self.types.resolve(innermost)
        {
            all.extend_from_slice(dimensions);
            place.within("dimensions", all.len(), DEPTH_MAX)?;
            innermost = element;
        }
        if let [count] = all[..]
            && self.is_octet(innermost)
        {
            return Ok(Node::Bytes { count: Some(count) });
        }
        Ok(Node::Array {
            element: self.node(innermost, place)?,
            dimensions: all,
        })
    }

    fn map(&mut self, key: &Type, value: &Type, place: &Place<'_>) -> Outcome<Node> {
        let inside = &Place {
            maps: place.maps + 1,
            ..*place
        };
        let key = self.node(key, inside)?;
        let kind = match &self.nodes[key.index()] {
            Node::Text | Node::WideText | Node::Enum(_) => None,
            Node::Primitive(primitive @ (Primitive::F32 | Primitive::F64 | Primitive::F128)) => {
                Some(primitive.idl())
            }
            Node::Primitive(_) => None,
            Node::Bytes { .. } | Node::Array { .. } | Node::Sequence { .. } => Some("sequences"),
            Node::Map { .. } => Some("maps"),
            Node::Struct(_) => Some("structs"),
            Node::Union(_) => Some("unions"),
            Node::Bitmask(_) => Some("bitmasks"),
        };
        if let Some(kind) = kind {
            return Err(NoGeneralMapping::MapKey {
                owner: place.owner.clone(),
                member: place.member.to_owned(),
                kind,
            });
        }
        let entry = match &self.nodes[key.index()] {
            Node::Text | Node::WideText => None,
            Node::Primitive(_)
            | Node::Bytes { .. }
            | Node::Array { .. }
            | Node::Sequence { .. } => Some(self.entry(place)?),
            Node::Map { .. } | Node::Struct(_) | Node::Union(_) => Some(self.entry(place)?),
            Node::Enum(_) | Node::Bitmask(_) => Some(self.entry(place)?),
        };
        Ok(Node::Map {
            key,
            value: self.node(value, inside)?,
            entry,
        })
    }

    fn entry(&mut self, place: &Place<'_>) -> Outcome<String> {
        let member = names::word(place.member);
        let name = format!(
            "{}_{member}{}",
            place.record,
            "_entry".repeat(place.maps + 1)
        );
        self.claim(&name, place.owner)?;
        self.count_fields(2, place)?;
        Ok(name)
    }

    fn count_fields(&mut self, more: usize, place: &Place<'_>) -> Outcome<()> {
        self.fields += more;
        place.within("fields", self.fields, FIELDS_MAX)
    }

    fn defined(&mut self, definition: &Definition, place: &Place<'_>) -> Outcome<NodeId> {
        if let Some(&id) = self.by_type.get(definition.name()) {
            return Ok(id);
        }
        match definition {
            Definition::Struct(it) => self.structure(it, None, place),
            Definition::Union(it) => self.union(it, place),
            Definition::Enum(it) => {
                let node = self.enumeration(it)?;
                self.leaf(&it.name, node, place)
            }
            Definition::Bitmask(it) => self.leaf(&it.name, bitmask(it), place),
            Definition::Alias(it) => Err(NoGeneralMapping::UnknownType {
                owner: place.owner.clone(),
                member: place.member.to_owned(),
                ty: it.name.clone(),
            }),
        }
    }

    fn leaf(&mut self, name: &TypeName, node: Node, place: &Place<'_>) -> Outcome<NodeId> {
        let id = self.push(node, place)?;
        self.by_type.insert(name.clone(), id);
        Ok(id)
    }

    /// A place for a type that may hold itself.
    fn reserve(&mut self, name: &TypeName, place: &Place<'_>) -> Outcome<NodeId> {
        let node = Node::Struct(StructNode {
            record: String::new(),
            dds_type: name.clone(),
            extensibility: Extensibility::Final,
            members: Vec::new(),
            description: None,
        });
        self.leaf(name, node, place)
    }

    /// `record` is the name of the topic's own record.
    fn structure(
        &mut self,
        it: &Struct,
        record: Option<&str>,
        place: &Place<'_>,
    ) -> Outcome<NodeId> {
        let id = self.reserve(&it.name, place)?;
        let record = match record {
            Some(record) => record.to_owned(),
            None => {
                let record = names::of_type(&it.name);
                self.claim(&record, &it.name)?;
                record
            }
        };
        let lineage = self.types.lineage(it);
        if let Some(base) = lineage.first().and_then(|first| first.base.as_ref()) {
            return Err(NoGeneralMapping::Base {
                owner: it.name.clone(),
                base: base.clone(),
            });
        }
        let mut fields = Fields::new(&it.name);
        if id.index() == 0 {
            for name in [SOURCE_TIME, RECEIVED_TIME] {
                fields.taken.insert(name.to_owned(), name.to_owned());
            }
        }
        let mut members = Vec::new();
        for member in lineage.into_iter().flat_map(|part| &part.members) {
            let place = Place {
                owner: &it.name,
                record: &record,
                member: &member.name,
                depth: place.depth,
                maps: 0,
            };
            members.push(self.member(member, &mut fields, &place)?);
        }
        unique_ids(&it.name, members.iter())?;
        self.nodes[id.index()] = Node::Struct(StructNode {
            record,
            dds_type: it.name.clone(),
            extensibility: it.extensibility,
            members,
            description: it.metadata.description.clone(),
        });
        Ok(id)
    }

    fn member(
        &mut self,
        member: &Member,
        fields: &mut Fields<'_>,
        place: &Place<'_>,
    ) -> Outcome<MemberNode> {
        self.count_fields(1, place)?;
        Ok(MemberNode {
            name: Arc::from(&*member.name),
            field: fields.take(&member.name)?,
            id: member.id,
            node: self.node(&member.ty, place)?,
            optional: member.optional,
            metadata: member.metadata.clone(),
        })
    }

    fn union(&mut self, it: &Union, place: &Place<'_>) -> Outcome<NodeId> {
        let id = self.reserve(&it.name, place)?;
        let record = names::of_type(&it.name);
        self.claim(&record, &it.name)?;
        let inside = |member| Place {
            owner: &it.name,
            record: &record,
            member,
            depth: place.depth,
            maps: 0,
        };
        let discriminator = self.node(&it.discriminator, &inside("discriminator"))?;
        self.count_fields(1, &inside("discriminator"))?;
        if let Some(kind) = not_a_discriminator(&self.nodes[discriminator.index()]) {
            return Err(NoGeneralMapping::Discriminator {
                owner: it.name.clone(),
                kind,
            });
        }
        let mut fields = Fields::new(&it.name);
        fields.take("discriminator")?;
        let mut cases = Vec::new();
        for case in &it.cases {
            if case.member.optional {
                return Err(NoGeneralMapping::OptionalCase {
                    owner: it.name.clone(),
                    member: case.member.name.clone(),
                });
            }
            cases.push(CaseNode {
                labels: case.labels.clone(),
                is_default: case.is_default,
                member: self.member(&case.member, &mut fields, &inside(&case.member.name))?,
            });
        }
        unique_ids(&it.name, cases.iter().map(|case| &case.member))?;
        self.nodes[id.index()] = Node::Union(UnionNode {
            record,
            dds_type: it.name.clone(),
            extensibility: it.extensibility,
            discriminator,
            cases,
            description: it.metadata.description.clone(),
        });
        Ok(id)
    }

    fn enumeration(&mut self, it: &Enum) -> Outcome<Node> {
        let name = names::of_type(&it.name);
        self.claim(&name, &it.name)?;
        let (mut symbols, mut literals) = (Fields::new(&it.name), Vec::new());
        for literal in &it.literals {
            literals.push((symbols.take(&literal.name)?, literal.value));
        }
        let mut values: Vec<i32> = literals.iter().map(|(_, value)| *value).collect();
        values.sort_unstable();
        values.dedup();
        if values.is_empty() || values.len() < literals.len() {
            return Err(NoGeneralMapping::Literals(it.name.clone()));
        }
        Ok(Node::Enum(EnumNode {
            name,
            dds_type: it.name.clone(),
            bytes: bytes_of(it.bit_bound).min(4),
            default: it.default.unwrap_or(0).min(literals.len() - 1),
            literals,
        }))
    }
}

/// Members are told apart by their ids where they have headers.
fn unique_ids<'m>(owner: &TypeName, members: impl Iterator<Item = &'m MemberNode>) -> Outcome<()> {
    let mut taken = BTreeMap::new();
    for member in members {
        if let Some(first) = taken.insert(member.id, &member.name) {
            return Err(NoGeneralMapping::SameId {
                owner: owner.clone(),
                first: first.to_string(),
                second: member.name.to_string(),
                id: member.id,
            });
        }
    }
    Ok(())
}

fn bitmask(it: &Bitmask) -> Node {
    Node::Bitmask(BitmaskNode {
        dds_type: it.name.clone(),
        bytes: bytes_of(it.bit_bound),
        flags: it
            .flags
            .iter()
            .map(|flag| (flag.name.clone(), flag.position))
            .collect(),
    })
}

fn bytes_of(bit_bound: u8) -> usize {
    usize::from(bit_bound.clamp(1, 64))
        .div_ceil(8)
        .next_power_of_two()
}

fn not_a_discriminator(node: &Node) -> Option<&'static str> {
    match node {
        Node::Primitive(primitive @ (Primitive::F32 | Primitive::F64 | Primitive::F128)) => {
            Some(primitive.idl())
        }
        Node::Primitive(_) | Node::Enum(_) => None,
        Node::Text => Some("string"),
        Node::WideText => Some("wstring"),
        Node::Bytes { .. } | Node::Array { .. } | Node::Sequence { .. } => Some("sequence"),
        Node::Map { .. } => Some("map"),
        Node::Struct(_) => Some("struct"),
        Node::Union(_) => Some("union"),
        Node::Bitmask(_) => Some("bitmask"),
    }
}

/// Names in one record or enum.
struct Fields<'a> {
    owner: &'a TypeName,
    taken: BTreeMap<String, String>,
}

impl<'a> Fields<'a> {
    fn new(owner: &'a TypeName) -> Self {
        Self {
            owner,
            taken: BTreeMap::new(),
        }
    }

    fn take(&mut self, name: &str) -> Outcome<String> {
        let field = names::word(name);
        let owner = || self.owner.clone();
        match self.taken.insert(field.clone(), name.to_owned()) {
            None => Ok(field),
            Some(first) if [SOURCE_TIME, RECEIVED_TIME].contains(&&*first) => {
                Err(NoGeneralMapping::Reserved {
                    owner: owner(),
                    member: name.to_owned(),
                })
            }
            Some(first) => Err(NoGeneralMapping::SameField {
                owner: owner(),
                first,
                second: name.to_owned(),
                field,
            }),
        }
    }
}
