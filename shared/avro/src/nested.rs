//! Types that are made of others, and values of them as the datum has them.
//!
//! In:  the bytes of a value and its type ([`Nested`]). Out: calls on a [`Visit`] in the order of the bytes; or JSON.
//!
//! Invariants: a walk ends after [`RECORDS_MAX`] records within records or [`LEVELS_MAX`] levels in all, and takes no
//! more items than there are bytes, or 65,536 of those that have none.

use std::fmt;
use std::sync::Arc;

use crate::cursor::{Cursor, EMPTY_ITEMS_MAX};
use crate::decode::Fault;
use crate::json::JsonText;
use crate::schema::{EnumType, Scalar};

/// Records within records of one value: as deep as samples of a recursive type are read.
pub const RECORDS_MAX: usize = 64;
/// Of records, arrays, maps and values that may be null within each other: what a thread's stack can take.
pub const LEVELS_MAX: usize = 512;
/// Of a `fixed`, which is a quadruple float.
pub const FIXED_BYTES: usize = 16;

/// A place in the table of a schema's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// A schema's text is too short for 2³² types.
    pub(crate) fn new(index: usize) -> Self {
        Self(index as u32)
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Scalar(Scalar),
    /// A long of nanoseconds since 1970, UTC.
    Timestamp,
    Enum(Arc<EnumType>),
    /// [`FIXED_BYTES`] of them.
    Fixed,
    /// Null, or one of these.
    Nullable(NodeId),
    Array(NodeId),
    /// Of these by text.
    Map(NodeId),
    Record(RecordNode),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordNode {
    /// With its namespace.
    pub name: String,
    pub fields: Vec<RecordField>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordField {
    pub name: String,
    pub node: NodeId,
    pub units: Option<String>,
    pub description: Option<String>,
    /// As in [`Field`](crate::Field).
    pub length: Option<usize>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) nodes: Vec<Node>,
    /// Of a value, by node. 0 of a record without fields, and of one of such records: their values have no bytes ever.
    pub(crate) bytes_min: Vec<usize>,
}

/// A type within the table of all types of its schema: types may hold themselves. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct NestedType {
    table: Arc<Table>,
    root: NodeId,
}

impl NestedType {
    pub(crate) fn new(table: &Arc<Table>, root: NodeId) -> Self {
        Self {
            table: Arc::clone(table),
            root,
        }
    }

    pub fn root(&self) -> NodeId {
        self.root
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.table.nodes[id.index()]
    }

    /// The type at another place of the table.
    pub fn at(&self, root: NodeId) -> Self {
        Self::new(&self.table, root)
    }

    /// Whether values have no bytes: a record without fields.
    pub fn is_empty(&self, id: NodeId) -> bool {
        self.bytes_min(id) == 0
    }

    fn bytes_min(&self, id: NodeId) -> usize {
        self.table.bytes_min[id.index()]
    }

    /// Reads one value. On a fault the visitor has had a part of it.
    pub fn walk(&self, cursor: &mut Cursor<'_>, visit: &mut impl Visit) -> Result<(), Fault> {
        let mut walk = Walk {
            of: self,
            empty_left: EMPTY_ITEMS_MAX,
            records: 0,
            levels: 0,
        };
        walk.value(self.root, cursor, visit)
    }

    /// Reads one value and appends it by the rule of [`json`](crate::json()): a record or a map as an object, an enum as
    /// text. All entries of a map are written, those of one name too.
    pub fn put_json(&self, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.walk(cursor, &mut JsonText::new(out))
    }
}

/// `geometry.Point[]`, `long[][]`, `map of Color`, `double or null`
impl fmt::Display for NestedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node(self.root) {
            Node::Scalar(scalar) => f.write_str(scalar.name()),
            Node::Timestamp => f.write_str("timestamp"),
            Node::Enum(it) => f.write_str(&it.name),
            Node::Fixed => write!(f, "fixed[{FIXED_BYTES}]"),
            Node::Nullable(inner) => write!(f, "{} or null", self.at(*inner)),
            Node::Array(item) => match self.node(*item) {
                Node::Nullable(_) | Node::Map(_) => write!(f, "({})[]", self.at(*item)),
                Node::Scalar(_) | Node::Timestamp | Node::Enum(_) => {
                    write!(f, "{}[]", self.at(*item))
                }
                Node::Fixed | Node::Array(_) | Node::Record(_) => {
                    write!(f, "{}[]", self.at(*item))
                }
            },
            Node::Map(value) => write!(f, "map of {}", self.at(*value)),
            Node::Record(it) => f.write_str(&it.name),
        }
    }
}

impl fmt::Debug for NestedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NestedType({self})")
    }
}

/// What has values in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Record,
    Array,
    Map,
}

/// Takes a value that is made of others, in the order of its bytes.
pub trait Visit {
    fn null(&mut self);
    fn boolean(&mut self, value: bool);
    fn long(&mut self, value: i64);
    fn double(&mut self, value: f64);
    fn string(&mut self, value: &str);
    fn bytes(&mut self, value: &[u8]);
    fn fixed(&mut self, value: &[u8]);
    fn symbol(&mut self, position: usize, text: &str);
    fn begin(&mut self, group: Group);
    /// Of the value that comes next, in a record or a map.
    fn name(&mut self, name: &str);
    fn end(&mut self, group: Group);

    /// It may be null, and its value comes next.
    fn present(&mut self) {}
}

/// A value and its type.
#[derive(Clone, Copy, Debug)]
pub struct Nested<'a> {
    of: &'a NestedType,
    bytes: &'a [u8],
}

impl<'a> Nested<'a> {
    /// `bytes` are of a value of that type, as a decoder gave them to a [`Sink`](crate::Sink).
    pub fn new(of: &'a NestedType, bytes: &'a [u8]) -> Self {
        Self { of, bytes }
    }

    pub fn nested_type(&self) -> &'a NestedType {
        self.of
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn visit(&self, visit: &mut impl Visit) -> Result<(), Fault> {
        self.of.walk(&mut Cursor::new(self.bytes), visit)
    }

    /// As [`NestedType::put_json`].
    pub fn put_json(&self, out: &mut Vec<u8>) {
        let put = self.of.put_json(&mut Cursor::new(self.bytes), out);
        debug_assert!(put.is_ok(), "a decoder has checked it");
    }
}

struct Walk<'t> {
    of: &'t NestedType,
    empty_left: usize,
    records: usize,
    levels: usize,
}

impl Walk<'_> {
    fn value<V: Visit>(
        &mut self,
        id: NodeId,
        cursor: &mut Cursor<'_>,
        visit: &mut V,
    ) -> Result<(), Fault> {
        let of = self.of;
        match of.node(id) {
            Node::Scalar(scalar) => match scalar {
                Scalar::Boolean => visit.boolean(cursor.boolean()?),
                Scalar::Long => visit.long(cursor.long()?),
                Scalar::Double => visit.double(cursor.double()?),
                Scalar::String => visit.string(cursor.text()?),
                Scalar::Bytes => visit.bytes(cursor.blob()?),
            },
            Node::Timestamp => visit.long(cursor.long()?),
            Node::Enum(symbols) => {
                let (position, text) = cursor.symbol(symbols)?;
                visit.symbol(position, text);
            }
            Node::Fixed => visit.fixed(cursor.take(FIXED_BYTES)?),
            Node::Nullable(inner) => {
                if cursor.is_present()? {
                    visit.present();
                    self.deeper()?;
                    self.value(*inner, cursor, visit)?;
                    self.levels -= 1;
                } else {
                    visit.null();
                }
            }
            Node::Array(item) => {
                self.deeper()?;
                visit.begin(Group::Array);
                self.items(of.bytes_min(*item), cursor, |walk, cursor| {
                    walk.value(*item, cursor, visit)
                })?;
                visit.end(Group::Array);
                self.levels -= 1;
            }
            Node::Map(value) => {
                self.deeper()?;
                visit.begin(Group::Map);
                // The key has a byte at least.
                let bytes_min = of.bytes_min(*value).saturating_add(1);
                self.items(bytes_min, cursor, |walk, cursor| {
                    visit.name(cursor.text()?);
                    walk.value(*value, cursor, visit)
                })?;
                visit.end(Group::Map);
                self.levels -= 1;
            }
            Node::Record(record) => {
                visit.begin(Group::Record);
                // However many records without fields are within one: there is nothing to see.
                if !of.is_empty(id) {
                    self.deeper()?;
                    if self.records == RECORDS_MAX {
                        return Err(Fault::Depth { max: RECORDS_MAX });
                    }
                    self.records += 1;
                    for field in &record.fields {
                        visit.name(&field.name);
                        self.value(field.node, cursor, visit)?;
                    }
                    self.records -= 1;
                    self.levels -= 1;
                }
                visit.end(Group::Record);
            }
        }
        Ok(())
    }

    fn deeper(&mut self) -> Result<(), Fault> {
        if self.levels == LEVELS_MAX {
            return Err(Fault::Depth { max: LEVELS_MAX });
        }
        self.levels += 1;
        Ok(())
    }

    /// The items of all blocks.
    fn items<'a>(
        &mut self,
        bytes_min: usize,
        cursor: &mut Cursor<'a>,
        mut item: impl FnMut(&mut Self, &mut Cursor<'a>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        loop {
            let empty_left = self.empty_left;
            let count_max = |left: usize| left.checked_div(bytes_min).unwrap_or(empty_left);
            let Some(block) = cursor.begin_block(count_max)? else {
                return Ok(());
            };
            if bytes_min == 0 {
                self.empty_left -= block.count;
            }
            for _ in 0..block.count {
                item(self, cursor)?;
            }
            cursor.end_block(&block)?;
        }
    }
}
