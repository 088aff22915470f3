//! How a type that is not SAL becomes a record: names, the resolved tree of the type, an Avro schema.
//!
//! In:  definitions by name, the name of a struct, the DDS topic that carries it.
//! Out: a [`GeneralTopic`], which the schema ([`AvroSchema::of_general`](crate::avro::AvroSchema::of_general))
//!      and the transcoder walk; or the member that is in the way ([`NoGeneralMapping`]).
//!
//! Absent: CDR, and everything of a single sample.
//!
//! Invariants:
//! - Aliases are followed and bases are laid before the members: a walker sees neither.
//! - A type may hold itself, through an optional member, a sequence, a map or a union only. Everything
//!   else ends, within [`DEPTH_MAX`] levels.
//! - Full names are unique in a schema, and all of them have a dot, so none is taken relative to another.
//!
//! # Names
//!
//! | of | in DDS | in Avro |
//! |---|---|---|
//! | ROS 2 topic | `rt/a/b` | `ros.a.b` |
//! | ROS 2 request | `rq/a/bRequest` | `ros.a.b.request` |
//! | ROS 2 reply | `rr/a/bReply` | `ros.a.b.reply` |
//! | other topic | `A/b` | `dds.A.b` |
//! | other topic | `A/b-c::D` | `dds.A.b_c.D_a118a80a` |
//! | ROS 2 type | `std_msgs::msg::dds_::String_` (also `srv`, `action`) | `std_msgs.msg.String` |
//! | other type | `A::B` | `A.B` |
//! | type outside all modules | `B` | `idl.B` |
//! | entry of a map | | `<owner's name>_<member>_entry`, inside another map's value `…_entry_entry` |
//! | quadruple float | | `efd.Float128` |
//!
//! `/`, `::` and `.` separate parts; empty parts are dropped. In a part, a member's name or a literal
//! every character but letters, digits and `_` of ASCII becomes `_`, and `_` comes before a leading
//! digit. A topic whose name says more than that, is longer than 200 bytes, or ends as if it did, has 32
//! bits of its XXH3 at the end, as another topic may have the name without. The record of the topic has the topic's name, everything below it the name of its type. Two
//! types, two members of one type or two literals of one enum that would have one name are refused.
//!
//! # Values
//!
//! Before the type's own fields stand [`SOURCE_TIME`] (`null` or nanoseconds since 1970, what the
//! writer stamped) and [`RECEIVED_TIME`] (nanoseconds since 1970). A type that holds itself has them in
//! each record of the topic's name; inside they are `null` and 0.
//!
//! | IDL | Avro | default |
//! |---|---|---|
//! | `boolean` | `boolean` | `false` |
//! | integers, `octet` | `long`; an unsigned one above 2⁶³−1 has no datum | 0 |
//! | `float`, `double` | `double` | 0 |
//! | `long double` | `fixed` of 16 bytes: IEEE binary128, little-endian | zeros |
//! | `char` | `string` of one character (ISO-8859-1) | U+0000 |
//! | `wchar` | `string` of one character (a UTF-16 unit that is no surrogate) | U+0000 |
//! | `string` | `string`: UTF-8 as it is, else ISO-8859-1 | empty |
//! | `wstring` | `string`, from UTF-16 | empty |
//! | sequence or one-dimensional array of `octet` or `uint8` | `bytes` | empty |
//! | other sequence, other array | `array`; several dimensions, or an array of arrays: nested | empty |
//! | map with keys of `string` or `wstring` | `map` | empty |
//! | map with other keys (integers, `char`, `wchar`, `boolean`, enums) | `array` of records `key`, `value` | empty |
//! | struct | `record`, members of the base first | its fields' |
//! | optional member | `["null", T]` | `null` |
//! | enum | `enum` | the default literal, else the first |
//! | bitmask | `long` of its bits (64 bits in two's complement), with an attribute `flags` | 0 |
//! | union | `record` of `discriminator` and for each case `["null", T]`, all null where no case is chosen | its fields' |
//!
//! The only field without a default is that of a record that is still open around it, or has such a one:
//! what a struct holds that a map in it holds. Fields carry `units` and `description`, records `description`, where the type has them. Bounds are
//! not looked at. A map whose keys are alike as text keeps its entries all; a reader of Avro decides.
//!
//! # Keys
//!
//! A key member that is a struct, or an array or a sequence of one, has of it the key members, else all
//! members, and so on downwards. What is in maps, unions and optional members is key as a whole.

mod ends;
mod keys;
mod names;
mod resolve;
mod schema;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::model::{Extensibility, Metadata, Primitive, TypeName, Types};

pub use names::without_ros;

/// When the writer says that it wrote.
pub const SOURCE_TIME: &str = "efd_sourceTime";
/// When we received it.
pub const RECEIVED_TIME: &str = "efd_receivedTime";

/// Of a resolved type; each use of a sequence, an array or a primitive counts.
pub const NODES_MAX: usize = 16_384;
/// Of all records of a schema together.
pub const FIELDS_MAX: usize = 8_192;
/// Types within types. Also the depth to which samples of a recursive type are read.
pub const DEPTH_MAX: usize = 64;
/// Values in all defaults of a schema together: a nested record repeats those of its fields.
pub const DEFAULT_VALUES_MAX: u64 = 65_536;

/// A topic of any type, ready to be walked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneralTopic {
    /// Full name of the record: `ros.a.b`.
    pub name: String,
    pub dds_topic: String,
    pub dds_type: TypeName,
    pub nodes: Vec<Node>,
    /// Always a [`Node::Struct`].
    pub root: NodeId,
    /// By the order of members; empty for a keyless type.
    pub keys: Vec<KeyMember>,
}

/// A place in [`GeneralTopic::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Primitive(Primitive),
    Text,
    WideText,
    /// Octets; `count` for an array.
    Bytes {
        count: Option<u32>,
    },
    /// `dimensions` outermost first. Arrays of arrays are one array, whose element is none: so
    /// Cyclone DDS has them on the wire.
    Array {
        element: NodeId,
        dimensions: Vec<u32>,
    },
    Sequence {
        element: NodeId,
    },
    /// `entry` is the name of the record of key and value, where keys are not text.
    Map {
        key: NodeId,
        value: NodeId,
        entry: Option<String>,
    },
    Struct(StructNode),
    Union(UnionNode),
    Enum(EnumNode),
    Bitmask(BitmaskNode),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructNode {
    /// Full name in Avro.
    pub record: String,
    pub dds_type: TypeName,
    pub extensibility: Extensibility,
    /// Those of the base first.
    pub members: Vec<MemberNode>,
    pub description: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberNode {
    /// As the type has it.
    pub name: Arc<str>,
    /// As the schema has it.
    pub field: String,
    /// In headers of mutable types.
    pub id: u32,
    pub node: NodeId,
    pub optional: bool,
    pub metadata: Metadata,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnionNode {
    pub record: String,
    pub dds_type: TypeName,
    pub extensibility: Extensibility,
    pub discriminator: NodeId,
    pub cases: Vec<CaseNode>,
    pub description: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseNode {
    pub labels: Vec<i64>,
    pub is_default: bool,
    pub member: MemberNode,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumNode {
    /// Full name in Avro.
    pub name: String,
    pub dds_type: TypeName,
    /// On the wire: 1, 2 or 4.
    pub bytes: usize,
    /// Symbols and values, each once; never empty.
    pub literals: Vec<(String, i32)>,
    /// Position in `literals`.
    pub default: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BitmaskNode {
    pub dds_type: TypeName,
    /// On the wire: 1, 2, 4 or 8.
    pub bytes: usize,
    /// Names and positions.
    pub flags: Vec<(String, u8)>,
}

/// A member that is part of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMember {
    /// Position in [`StructNode::members`].
    pub member: usize,
    /// What is part of the key of the struct that the member is, or that the elements are of the
    /// array or sequence that it is; `None` for all of the member.
    pub inside: Option<Vec<Self>>,
}

/// A type that cannot become records, and what is in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGeneralMapping {
    #[error("no struct `{0}`")]
    NoStruct(TypeName),
    #[error("topic `{0}` has no part that could be a name")]
    NoName(String),
    #[error("member `{member}` of `{owner}` has the unknown type `{ty}`")]
    UnknownType {
        owner: TypeName,
        member: String,
        ty: TypeName,
    },
    #[error("base `{base}` of `{owner}` is no struct, or the last of an endless chain")]
    Base { owner: TypeName, base: TypeName },
    #[error("`{owner}` has a member `{member}`, a field that is added to every topic")]
    Reserved { owner: TypeName, member: String },
    #[error("`{first}` and `{second}` of `{owner}` would both be `{field}`")]
    SameField {
        owner: TypeName,
        first: String,
        second: String,
        field: String,
    },
    #[error("`{first}` and `{second}` of `{owner}` both have the id {id}")]
    SameId {
        owner: TypeName,
        first: String,
        second: String,
        id: u32,
    },
    #[error("types `{first}` and `{second}` would both be `{name}`")]
    SameName {
        first: TypeName,
        second: TypeName,
        name: String,
    },
    #[error("member `{member}` of `{owner}` holds `{owner}` again without an end")]
    Endless { owner: TypeName, member: String },
    #[error("union `{owner}` has a discriminator of {kind}")]
    Discriminator { owner: TypeName, kind: &'static str },
    #[error("case `{member}` of union `{owner}` is optional")]
    OptionalCase { owner: TypeName, member: String },
    #[error("member `{member}` of `{owner}` is a map with keys of {kind}")]
    MapKey {
        owner: TypeName,
        member: String,
        kind: &'static str,
    },
    #[error("enum `{0}` has no literal, or two of one value")]
    Literals(TypeName),
    #[error("member `{member}` of `{owner}` cannot be a key: {why}")]
    Key {
        owner: TypeName,
        member: String,
        why: &'static str,
    },
    #[error("`{owner}` has {count} {what} up to its member `{member}`, a topic may have {limit}")]
    TooMany {
        owner: TypeName,
        member: String,
        what: &'static str,
        count: u64,
        limit: u64,
    },
    #[error("defaults have {count} values up to `{owner}`, a schema may have {limit}")]
    TooManyDefaults {
        owner: TypeName,
        count: u64,
        limit: u64,
    },
}

impl GeneralTopic {
    /// `root` is a struct, or an alias of one.
    pub fn of(types: &Types, root: &TypeName, dds_topic: &str) -> Result<Self, NoGeneralMapping> {
        resolve::topic(types, root, dds_topic)
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }
}
