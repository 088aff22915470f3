//! The Avro schema of a topic of any type.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{BitmaskNode, EnumNode, GeneralTopic, MemberNode, Node, NodeId, RECEIVED_TIME};
use super::{SOURCE_TIME, StructNode, UnionNode};
use crate::avro::AvroSchema;
use crate::model::{Metadata, Primitive};

/// Of `long double`.
pub(super) const FLOAT128: &str = "efd.Float128";
pub(super) const FLOAT128_BYTES: usize = 16;

impl AvroSchema {
    /// By the rules of [`crate::general`]. Compact JSON; the same topic gives the same bytes.
    pub fn of_general(topic: &GeneralTopic) -> Self {
        let mut writer = Writer {
            topic,
            defined: BTreeSet::new(),
            open: Vec::new(),
        };
        Self {
            name: topic.name.clone(),
            json: writer.ty(topic.root).to_string(),
        }
    }
}

struct Writer<'a> {
    topic: &'a GeneralTopic,
    /// Names that have been written in full; they are named from then on.
    defined: BTreeSet<String>,
    /// Structs whose records are being written.
    open: Vec<NodeId>,
}

impl Writer<'_> {
    fn ty(&mut self, id: NodeId) -> Value {
        let topic = self.topic;
        match topic.node(id) {
            Node::Primitive(Primitive::F128) => self.named(FLOAT128, |_, map| {
                map.insert("type".to_owned(), "fixed".into());
                map.insert("size".to_owned(), FLOAT128_BYTES.into());
            }),
            Node::Primitive(primitive) => plain(*primitive).into(),
            Node::Text | Node::WideText => "string".into(),
            Node::Bytes { .. } => "bytes".into(),
            Node::Array {
                element,
                dimensions,
            } => {
                let innermost = self.ty(*element);
                let nest = |items, _: &u32| json!({"type": "array", "items": items});
                dimensions.iter().fold(innermost, nest)
            }
            Node::Sequence { element } => json!({"type": "array", "items": self.ty(*element)}),
            Node::Map {
                value, entry: None, ..
            } => json!({"type": "map", "values": self.ty(*value)}),
            Node::Map {
                key,
                value,
                entry: Some(entry),
            } => {
                let record = self.named(entry, |writer, map| {
                    let fields = [("key", *key), ("value", *value)].map(|(name, id)| {
                        let mut map = Map::new();
                        map.insert("name".to_owned(), name.into());
                        map.insert("type".to_owned(), writer.ty(id));
                        writer.insert_default(&mut map, id);
                        Value::Object(map)
                    });
                    map.insert("type".to_owned(), "record".into());
                    map.insert("fields".to_owned(), Value::Array(fields.into()));
                });
                json!({"type": "array", "items": record})
            }
            Node::Struct(it) => self.structure(id, it),
            Node::Union(it) => self.union(it),
            Node::Enum(EnumNode { name, literals, .. }) => self.named(name, |_, map| {
                let symbols = literals.iter().map(|(symbol, _)| symbol.as_str());
                map.insert("type".to_owned(), "enum".into());
                map.insert("symbols".to_owned(), symbols.collect());
            }),
            Node::Bitmask(BitmaskNode { flags, .. }) => {
                let flags = flags.iter();
                let flags =
                    flags.map(|(name, position)| json!({"name": name, "position": position}));
                json!({"type": "long", "flags": flags.collect::<Value>()})
            }
        }
    }

    fn structure(&mut self, id: NodeId, it: &StructNode) -> Value {
        let StructNode {
            record,
            dds_type: _,
            extensibility: _,
            members,
            description,
        } = it;
        let is_root = id == self.topic.root;
        self.named(record, |writer, map| {
            writer.open.push(id);
            let mut fields = if is_root { stamps() } else { Vec::new() };
            fields.extend(members.iter().map(|member| {
                let nullable = member.optional;
                writer.field(member, nullable)
            }));
            writer.open.pop();
            map.insert("type".to_owned(), "record".into());
            map.insert("fields".to_owned(), Value::Array(fields));
            insert_some(map, "description", description.as_deref());
        })
    }

    fn union(&mut self, it: &UnionNode) -> Value {
        let UnionNode {
            record,
            dds_type: _,
            extensibility: _,
            discriminator,
            cases,
            description,
        } = it;
        self.named(record, |writer, map| {
            let mut fields = vec![json!({
                "name": "discriminator",
                "type": writer.ty(*discriminator),
                "default": default(writer.topic, *discriminator),
            })];
            fields.extend(cases.iter().map(|case| writer.field(&case.member, true)));
            map.insert("type".to_owned(), "record".into());
            map.insert("fields".to_owned(), Value::Array(fields));
            insert_some(map, "description", description.as_deref());
        })
    }

    fn field(&mut self, member: &MemberNode, nullable: bool) -> Value {
        let Metadata { units, description } = &member.metadata;
        let ty = self.ty(member.node);
        let mut map = Map::new();
        map.insert("name".to_owned(), member.field.as_str().into());
        if nullable {
            map.insert("type".to_owned(), json!(["null", ty]));
            map.insert("default".to_owned(), Value::Null);
        } else {
            map.insert("type".to_owned(), ty);
            self.insert_default(&mut map, member.node);
        }
        insert_some(&mut map, "description", description.as_deref());
        insert_some(&mut map, "units", units.as_deref());
        Value::Object(map)
    }

    /// A reader of the schema cannot check the value of a record that it has not read to its end.
    fn insert_default(&self, map: &mut Map<String, Value>, id: NodeId) {
        if !self.has_open(id) {
            map.insert("default".to_owned(), default(self.topic, id));
        }
    }

    fn has_open(&self, id: NodeId) -> bool {
        let Node::Struct(it) = self.topic.node(id) else {
            return false;
        };
        let mut members = it.members.iter().filter(|member| !member.optional);
        self.open.contains(&id) || members.any(|member| self.has_open(member.node))
    }

    /// In full the first time, by its name afterwards.
    fn named(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut Self, &mut Map<String, Value>),
    ) -> Value {
        if !self.defined.insert(name.to_owned()) {
            return name.into();
        }
        let mut map = Map::new();
        map.insert("name".to_owned(), name.into());
        fill(self, &mut map);
        Value::Object(map)
    }
}

fn stamps() -> Vec<Value> {
    let nanos = json!({"type": "long", "logicalType": "timestamp-nanos"});
    vec![
        json!({
            "name": SOURCE_TIME,
            "type": ["null", nanos],
            "default": null,
            "description": "UTC time at which the writer says that it wrote.",
        }),
        json!({
            "name": RECEIVED_TIME,
            "type": nanos,
            "default": 0,
            "description": "UTC time of reception.",
        }),
    ]
}

/// All but `long double`, which has a name.
fn plain(primitive: Primitive) -> &'static str {
    match primitive {
        Primitive::Boolean => "boolean",
        Primitive::F32 | Primitive::F64 => "double",
        Primitive::Char8 | Primitive::Char16 => "string",
        Primitive::Octet | Primitive::I8 | Primitive::U8 | Primitive::I16 | Primitive::U16 => {
            "long"
        }
        Primitive::I32 | Primitive::U32 | Primitive::I64 | Primitive::U64 => "long",
        Primitive::F128 => FLOAT128,
    }
}

fn default(topic: &GeneralTopic, id: NodeId) -> Value {
    match topic.node(id) {
        Node::Primitive(primitive) => match primitive {
            Primitive::Boolean => json!(false),
            Primitive::F32 | Primitive::F64 => json!(0.0),
            Primitive::Char8 | Primitive::Char16 => json!("\0"),
            Primitive::F128 => json!("\0".repeat(FLOAT128_BYTES)),
            Primitive::Octet | Primitive::I8 | Primitive::U8 | Primitive::I16 => json!(0),
            Primitive::U16 | Primitive::I32 | Primitive::U32 => json!(0),
            Primitive::I64 | Primitive::U64 => json!(0),
        },
        Node::Text | Node::WideText | Node::Bytes { .. } => json!(""),
        Node::Array { .. } | Node::Sequence { .. } => json!([]),
        Node::Map { entry: Some(_), .. } => json!([]),
        Node::Map { entry: None, .. } => json!({}),
        Node::Struct(it) => {
            let fields = it.members.iter().map(|member| {
                let value = if member.optional {
                    Value::Null
                } else {
                    default(topic, member.node)
                };
                (member.field.clone(), value)
            });
            // Within itself the record of the topic has the two times as well.
            let times = [(SOURCE_TIME, Value::Null), (RECEIVED_TIME, json!(0))];
            let times = times.into_iter().filter(|_| id == topic.root);
            let times = times.map(|(name, value)| (name.to_owned(), value));
            Value::Object(times.chain(fields).collect())
        }
        Node::Union(it) => {
            let discriminator = default(topic, it.discriminator);
            let cases = it.cases.iter();
            let cases = cases.map(|case| (case.member.field.clone(), Value::Null));
            let first = ("discriminator".to_owned(), discriminator);
            Value::Object(std::iter::once(first).chain(cases).collect())
        }
        Node::Enum(it) => it.literals[it.default].0.as_str().into(),
        Node::Bitmask(_) => json!(0),
    }
}

fn insert_some(map: &mut Map<String, Value>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value.into());
    }
}
