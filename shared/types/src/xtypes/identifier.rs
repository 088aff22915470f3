//! TypeIdentifiers: what a member's type is, or which TypeObject says so (§ 7.3.4.2).

use std::fmt;

use super::cursor::Cursor;
use super::error::XtypesError;
use super::{ARRAY_ELEMENTS_MAX, TYPE_DEPTH_MAX};
use crate::model::Primitive;

/// Dimensions of one array, as in IDL.
const DIMENSIONS_MAX: usize = 32;

/// Numbers of kinds (Annex B).
mod kind {
    pub(super) const STRING8_SMALL: u8 = 0x70;
    pub(super) const STRING8_LARGE: u8 = 0x71;
    pub(super) const STRING16_SMALL: u8 = 0x72;
    pub(super) const STRING16_LARGE: u8 = 0x73;
    pub(super) const SEQUENCE_SMALL: u8 = 0x80;
    pub(super) const SEQUENCE_LARGE: u8 = 0x81;
    pub(super) const ARRAY_SMALL: u8 = 0x90;
    pub(super) const ARRAY_LARGE: u8 = 0x91;
    pub(super) const MAP_SMALL: u8 = 0xa0;
    pub(super) const MAP_LARGE: u8 = 0xa1;
    pub(super) const COMPONENT: u8 = 0xb0;
    pub(super) const MINIMAL: u8 = 0xf1;
    pub(super) const COMPLETE: u8 = 0xf2;
}

/// The complete identifier of a type: the first 14 bytes of the MD5 of its TypeObject; for types
/// that need each other, of all their TypeObjects, and which of them it is (§ 7.3.4.9).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId {
    pub hash: [u8; 14],
    pub component: Option<Component>,
}

/// One of the types that need each other, a strongly connected component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Component {
    /// How many they are.
    pub length: i32,
    /// From 1; 0 stands for all of them, which is clear where there is one.
    pub index: i32,
}

impl TypeId {
    /// While the hash of a component is computed it is zero in the TypeObjects themselves, and a
    /// writer may leave it so: it then means the component of `owner`.
    fn inside(self, owner: Option<Self>) -> Self {
        match (self.component, owner) {
            (Some(_), Some(owner)) if self.hash == [0; 14] && owner.component.is_some() => Self {
                hash: owner.hash,
                component: self.component,
            },
            (Some(_) | None, Some(_) | None) => self,
        }
    }
}

impl fmt::Display for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.hash {
            write!(f, "{byte:02x}")?;
        }
        match self.component {
            Some(Component { length, index }) => write!(f, "-{index}-of-{length}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TypeId({self})")
    }
}

/// A type as a TypeIdentifier writes it.
#[derive(Debug)]
pub(super) enum Ref {
    Primitive(Primitive),
    String {
        bound: Option<u32>,
    },
    WString {
        bound: Option<u32>,
    },
    Array {
        element: Box<Self>,
        dimensions: Vec<u32>,
    },
    Sequence {
        element: Box<Self>,
        bound: Option<u32>,
    },
    Map {
        key: Box<Self>,
        value: Box<Self>,
        bound: Option<u32>,
    },
    Object(TypeId),
}

impl Ref {
    /// All TypeObjects that are named in it.
    pub(super) fn objects(&self, found: &mut Vec<TypeId>) {
        match self {
            Self::Object(id) => found.push(*id),
            Self::Array { element, .. } | Self::Sequence { element, .. } => element.objects(found),
            Self::Map { key, value, .. } => {
                key.objects(found);
                value.objects(found);
            }
            Self::Primitive(_) | Self::String { .. } | Self::WString { .. } => {}
        }
    }
}

/// What a TypeIdentifier can be where none is wanted too.
#[derive(Debug)]
pub(super) enum Identified {
    None,
    Complete(Ref),
    Minimal,
}

/// A TypeIdentifier inside the TypeObject `owner`.
pub(super) fn identified(
    cursor: &mut Cursor<'_>,
    owner: Option<TypeId>,
) -> Result<Identified, XtypesError> {
    Reader { owner }.identified(cursor, 0)
}

/// As [`identified`], where there must be one.
pub(super) fn reference(
    cursor: &mut Cursor<'_>,
    owner: Option<TypeId>,
) -> Result<Ref, XtypesError> {
    Reader { owner }.reference(cursor, 0)
}

/// `dimensions` of an array, at least one, none of them zero.
pub(super) fn dimensions(cursor: &mut Cursor<'_>, small: bool) -> Result<Vec<u32>, XtypesError> {
    let count = cursor.count("dimensions of an array", DIMENSIONS_MAX)?;
    let (mut dimensions, mut elements) = (Vec::with_capacity(count), 1_u64);
    for _ in 0..count {
        let size = if small {
            u32::from(cursor.u8()?)
        } else {
            cursor.u32()?
        };
        elements = elements.saturating_mul(size.into());
        if elements > ARRAY_ELEMENTS_MAX {
            let back = if small { 1 } else { 4 };
            let what = "elements in one array";
            return Err(cursor.too_many(back, what, elements, ARRAY_ELEMENTS_MAX));
        }
        dimensions.push(size);
    }
    if elements == 0 || dimensions.is_empty() {
        return Err(XtypesError::BadValue {
            part: cursor.part(),
            offset: cursor.offset(),
            what: "a dimension of the array before",
            value: 0,
            expected: "at least 1",
        });
    }
    Ok(dimensions)
}

/// No bound is written as 0 (Annex B, `INVALID_LBOUND`); the largest number, which some writers
/// give for a map, is none either.
pub(super) fn bound(value: u32) -> Option<u32> {
    Some(value).filter(|&value| value != 0 && value != u32::MAX)
}

struct Reader {
    owner: Option<TypeId>,
}

impl Reader {
    fn reference(&self, cursor: &mut Cursor<'_>, depth: usize) -> Result<Ref, XtypesError> {
        let (part, offset) = (cursor.part(), cursor.offset());
        match self.identified(cursor, depth)? {
            Identified::Complete(found) => Ok(found),
            Identified::Minimal => Err(XtypesError::OnlyMinimal { part, offset }),
            Identified::None => Err(XtypesError::UnknownKind {
                part,
                offset,
                what: "type identifier",
                kind: 0,
            }),
        }
    }

    fn identified(&self, cursor: &mut Cursor<'_>, depth: usize) -> Result<Identified, XtypesError> {
        let (part, offset) = (cursor.part(), cursor.offset());
        if depth == TYPE_DEPTH_MAX {
            let limit = TYPE_DEPTH_MAX;
            return Err(XtypesError::TooDeep {
                part,
                offset,
                limit,
            });
        }
        let kind = cursor.u8()?;
        let found = match kind {
            0 => return Ok(Identified::None),
            kind::STRING8_SMALL | kind::STRING8_LARGE => Ref::String {
                bound: bound_of(cursor, kind == kind::STRING8_SMALL)?,
            },
            kind::STRING16_SMALL | kind::STRING16_LARGE => Ref::WString {
                bound: bound_of(cursor, kind == kind::STRING16_SMALL)?,
            },
            kind::SEQUENCE_SMALL | kind::SEQUENCE_LARGE => {
                collection_header(cursor)?;
                let bound = bound_of(cursor, kind == kind::SEQUENCE_SMALL)?;
                let element = Box::new(self.reference(cursor, depth + 1)?);
                Ref::Sequence { element, bound }
            }
            kind::ARRAY_SMALL | kind::ARRAY_LARGE => {
                collection_header(cursor)?;
                let dimensions = dimensions(cursor, kind == kind::ARRAY_SMALL)?;
                let element = Box::new(self.reference(cursor, depth + 1)?);
                Ref::Array {
                    element,
                    dimensions,
                }
            }
            kind::MAP_SMALL | kind::MAP_LARGE => {
                collection_header(cursor)?;
                let bound = bound_of(cursor, kind == kind::MAP_SMALL)?;
                let value = Box::new(self.reference(cursor, depth + 1)?);
                cursor.u16()?;
                let key = Box::new(self.reference(cursor, depth + 1)?);
                Ref::Map { key, value, bound }
            }
            kind::COMPONENT => return self.component(cursor),
            kind::COMPLETE => Ref::Object(TypeId {
                hash: cursor.array()?,
                component: None,
            }),
            kind::MINIMAL => {
                cursor.take(14)?;
                return Ok(Identified::Minimal);
            }
            _ => Ref::Primitive(primitive(kind).ok_or(XtypesError::UnknownKind {
                part,
                offset,
                what: "type identifier",
                kind,
            })?),
        };
        Ok(Identified::Complete(found))
    }

    /// A StronglyConnectedComponentId.
    fn component(&self, cursor: &mut Cursor<'_>) -> Result<Identified, XtypesError> {
        let mut cursor = cursor.delimited()?;
        let (part, offset) = (cursor.part(), cursor.offset());
        let kind = cursor.u8()?;
        let hash = cursor.array()?;
        let component = Some(Component {
            length: cursor.i32()?,
            index: cursor.i32()?,
        });
        match kind {
            kind::COMPLETE => {
                let id = TypeId { hash, component };
                Ok(Identified::Complete(Ref::Object(id.inside(self.owner))))
            }
            kind::MINIMAL => Ok(Identified::Minimal),
            _ => Err(XtypesError::UnknownKind {
                part,
                offset,
                what: "hash of a component",
                kind,
            }),
        }
    }
}

/// How elements are equivalent and how they are constructed: nothing that changes the data.
fn collection_header(cursor: &mut Cursor<'_>) -> Result<(), XtypesError> {
    cursor.u8()?;
    cursor.u16()?;
    Ok(())
}

fn bound_of(cursor: &mut Cursor<'_>, small: bool) -> Result<Option<u32>, XtypesError> {
    let value = if small {
        u32::from(cursor.u8()?)
    } else {
        cursor.u32()?
    };
    Ok(bound(value))
}

fn primitive(kind: u8) -> Option<Primitive> {
    Some(match kind {
        0x01 => Primitive::Boolean,
        0x02 => Primitive::Octet,
        0x03 => Primitive::I16,
        0x04 => Primitive::I32,
        0x05 => Primitive::I64,
        0x06 => Primitive::U16,
        0x07 => Primitive::U32,
        0x08 => Primitive::U64,
        0x09 => Primitive::F32,
        0x0a => Primitive::F64,
        0x0b => Primitive::F128,
        0x0c => Primitive::I8,
        0x0d => Primitive::U8,
        0x10 => Primitive::Char8,
        0x11 => Primitive::Char16,
        _ => return None,
    })
}
