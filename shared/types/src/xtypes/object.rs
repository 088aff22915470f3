//! CompleteTypeObjects: what a type is, with its names (§ 7.3.4.5, Annex B).
//!
//! Which structures have a length before them is as the specification annotates them: those of
//! members, headers and elements do, as do arrays, bitmasks and TypeObjects; structs, unions,
//! enums, aliases, sequences and maps do not.

use super::cursor::Cursor;
use super::error::XtypesError;
use super::identifier::{Identified, Ref, TypeId, bound, dimensions, identified, reference};
use super::{LITERALS_MAX, MEMBERS_MAX, MEMBERS_TOTAL_MAX};
use crate::model::{Bitmask, Enum, Extensibility, Flag, Literal, Metadata, TypeName};

/// Member ids have 28 bits, as they must fit the header of a member.
const MEMBER_ID_MAX: u32 = 0x0fff_ffff;

/// Bits of the flags of members and literals.
const IS_OPTIONAL: u16 = 1 << 3;
const IS_KEY: u16 = 1 << 5;
const IS_DEFAULT: u16 = 1 << 6;

/// Numbers of kinds (Annex B).
mod kind {
    pub(super) const ALIAS: u8 = 0x30;
    pub(super) const ENUM: u8 = 0x40;
    pub(super) const BITMASK: u8 = 0x41;
    pub(super) const ANNOTATION: u8 = 0x50;
    pub(super) const STRUCTURE: u8 = 0x51;
    pub(super) const UNION: u8 = 0x52;
    pub(super) const BITSET: u8 = 0x53;
    pub(super) const SEQUENCE: u8 = 0x60;
    pub(super) const ARRAY: u8 = 0x61;
    pub(super) const MAP: u8 = 0x62;
}

/// One TypeObject, whose types are still identifiers.
#[derive(Debug)]
pub(super) enum Object {
    Struct(StructObject),
    Union(UnionObject),
    Enum(Enum),
    Bitmask(Bitmask),
    Alias {
        name: TypeName,
        ty: Ref,
    },
    /// A sequence, an array or a map with a TypeObject of its own. It has no name in IDL.
    Collection(Ref),
    /// In words, for messages.
    Unsupported(&'static str),
}

impl Object {
    pub(super) fn name(&self) -> Option<&TypeName> {
        match self {
            Self::Struct(it) => Some(&it.name),
            Self::Union(it) => Some(&it.name),
            Self::Enum(it) => Some(&it.name),
            Self::Bitmask(it) => Some(&it.name),
            Self::Alias { name, .. } => Some(name),
            Self::Collection(_) | Self::Unsupported(_) => None,
        }
    }

    /// In words, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Struct(_) => "a struct",
            Self::Union(_) => "a union",
            Self::Enum(_) => "an enum",
            Self::Bitmask(_) => "a bitmask",
            Self::Alias { .. } => "an alias",
            Self::Collection(_) => "a collection",
            Self::Unsupported(kind) => kind,
        }
    }
}

#[derive(Debug)]
pub(super) struct StructObject {
    pub name: TypeName,
    pub extensibility: Extensibility,
    pub base: Option<TypeId>,
    pub members: Vec<MemberObject>,
    pub metadata: Metadata,
}

#[derive(Debug)]
pub(super) struct UnionObject {
    pub name: TypeName,
    pub extensibility: Extensibility,
    pub discriminator: Ref,
    pub cases: Vec<CaseObject>,
    pub metadata: Metadata,
}

#[derive(Debug)]
pub(super) struct MemberObject {
    pub id: u32,
    pub name: String,
    pub ty: Ref,
    pub is_key: bool,
    pub is_optional: bool,
    pub units: Option<String>,
}

#[derive(Debug)]
pub(super) struct CaseObject {
    pub labels: Vec<i32>,
    pub is_default: bool,
    pub member: MemberObject,
}

/// Reads the objects of one TypeMapping, and counts what they hold.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// Members, cases, literals and flags so far.
    members: usize,
}

impl Objects {
    pub(super) fn read(&mut self, id: TypeId, cursor: Cursor<'_>) -> Result<Object, XtypesError> {
        let mut cursor = cursor;
        let (part, offset) = (cursor.part(), cursor.offset());
        let owner = Some(id);
        match cursor.u8()? {
            kind::STRUCTURE => self.structure(&mut cursor, owner).map(Object::Struct),
            kind::UNION => self.union(&mut cursor, owner).map(Object::Union),
            kind::ENUM => self.enumeration(&mut cursor).map(Object::Enum),
            kind::BITMASK => self.bitmask(&mut cursor.delimited()?).map(Object::Bitmask),
            kind::ALIAS => alias(&mut cursor, owner),
            kind::SEQUENCE => {
                cursor.u16()?;
                let bound = bound(cursor.delimited()?.u32()?);
                let element = Box::new(element(&mut cursor, owner)?);
                Ok(Object::Collection(Ref::Sequence { element, bound }))
            }
            kind::ARRAY => {
                let mut cursor = cursor.delimited()?;
                cursor.u16()?;
                let dimensions = dimensions(&mut cursor.delimited()?, false)?;
                let element = Box::new(element(&mut cursor, owner)?);
                Ok(Object::Collection(Ref::Array {
                    element,
                    dimensions,
                }))
            }
            kind::MAP => {
                cursor.u16()?;
                let bound = bound(cursor.delimited()?.u32()?);
                let key = Box::new(element(&mut cursor, owner)?);
                let value = Box::new(element(&mut cursor, owner)?);
                Ok(Object::Collection(Ref::Map { key, value, bound }))
            }
            kind::BITSET => Ok(Object::Unsupported("a bitset")),
            kind::ANNOTATION => Ok(Object::Unsupported("an annotation")),
            kind => Err(XtypesError::UnknownKind {
                part,
                offset,
                what: "type object",
                kind,
            }),
        }
    }

    fn structure(
        &mut self,
        cursor: &mut Cursor<'_>,
        owner: Option<TypeId>,
    ) -> Result<StructObject, XtypesError> {
        let extensibility = extensibility(cursor)?;
        let mut header = cursor.delimited()?;
        let (part, offset) = (header.part(), header.offset());
        let base = match identified(&mut header, owner)? {
            Identified::None => None,
            Identified::Complete(Ref::Object(id)) => Some(id),
            Identified::Minimal => return Err(XtypesError::OnlyMinimal { part, offset }),
            Identified::Complete(_) => {
                return Err(XtypesError::BadText {
                    part,
                    offset,
                    what: "the base of a struct",
                    problem: "is not a struct",
                });
            }
        };
        let (name, metadata) = type_detail(&mut header)?;
        let mut sequence = cursor.delimited()?;
        let count = self.count(&mut sequence, "members of one struct", MEMBERS_MAX)?;
        let mut members = Vec::new();
        for _ in 0..count {
            let mut cursor = sequence.delimited()?;
            let (id, flags) = member_id(&mut cursor)?;
            let ty = reference(&mut cursor, owner)?;
            let (name, units) = member_detail(&mut cursor)?;
            members.push(MemberObject {
                id,
                name,
                ty,
                is_key: flags & IS_KEY != 0,
                is_optional: flags & IS_OPTIONAL != 0,
                units,
            });
        }
        Ok(StructObject {
            name,
            extensibility,
            base,
            members,
            metadata,
        })
    }

    fn union(
        &mut self,
        cursor: &mut Cursor<'_>,
        owner: Option<TypeId>,
    ) -> Result<UnionObject, XtypesError> {
        let extensibility = extensibility(cursor)?;
        let (name, metadata) = type_detail(&mut cursor.delimited()?)?;
        let mut header = cursor.delimited()?;
        header.u16()?;
        let discriminator = reference(&mut header, owner)?;
        let mut sequence = cursor.delimited()?;
        let count = self.count(&mut sequence, "cases of one union", MEMBERS_MAX)?;
        let mut cases = Vec::new();
        for _ in 0..count {
            let mut cursor = sequence.delimited()?;
            let (id, flags) = member_id(&mut cursor)?;
            let ty = reference(&mut cursor, owner)?;
            let mut labels = Vec::new();
            for _ in 0..cursor.count("labels of one case", MEMBERS_MAX)? {
                labels.push(cursor.i32()?);
            }
            let (name, units) = member_detail(&mut cursor)?;
            let member = MemberObject {
                id,
                name,
                ty,
                is_key: false,
                is_optional: flags & IS_OPTIONAL != 0,
                units,
            };
            cases.push(CaseObject {
                labels,
                is_default: flags & IS_DEFAULT != 0,
                member,
            });
        }
        Ok(UnionObject {
            name,
            extensibility,
            discriminator,
            cases,
            metadata,
        })
    }

    fn enumeration(&mut self, cursor: &mut Cursor<'_>) -> Result<Enum, XtypesError> {
        cursor.u16()?;
        let mut header = cursor.delimited()?;
        let bit_bound = bit_bound(&mut header, 32, "1 to 32")?;
        let (name, _) = type_detail(&mut header)?;
        let mut sequence = cursor.delimited()?;
        let count = self.count(&mut sequence, "literals of one enum", LITERALS_MAX)?;
        let (mut literals, mut default) = (Vec::new(), None);
        for index in 0..count {
            let mut cursor = sequence.delimited()?;
            let mut common = cursor.delimited()?;
            let value = common.i32()?;
            if common.u16()? & IS_DEFAULT != 0 {
                default = Some(index);
            }
            let (name, _) = member_detail(&mut cursor)?;
            literals.push(Literal { name, value });
        }
        Ok(Enum {
            name,
            bit_bound,
            literals,
            default,
        })
    }

    fn bitmask(&mut self, cursor: &mut Cursor<'_>) -> Result<Bitmask, XtypesError> {
        cursor.u16()?;
        let mut header = cursor.delimited()?;
        let bit_bound = bit_bound(&mut header, 64, "1 to 64")?;
        let (name, _) = type_detail(&mut header)?;
        let mut sequence = cursor.delimited()?;
        let count = self.count(
            &mut sequence,
            "flags of one bitmask",
            usize::from(bit_bound),
        )?;
        let mut flags = Vec::with_capacity(count);
        for _ in 0..count {
            let mut cursor = sequence.delimited()?;
            let (part, offset) = (cursor.part(), cursor.offset());
            let value = cursor.u16()?;
            cursor.u16()?;
            let Some(position) = u8::try_from(value).ok().filter(|it| *it < bit_bound) else {
                return Err(XtypesError::BadValue {
                    part,
                    offset,
                    what: "the position of a flag",
                    value: value.into(),
                    expected: "less than the bit bound",
                });
            };
            let (name, _) = member_detail(&mut cursor)?;
            flags.push(Flag { name, position });
        }
        Ok(Bitmask {
            name,
            bit_bound,
            flags,
        })
    }

    fn count(
        &mut self,
        cursor: &mut Cursor<'_>,
        what: &'static str,
        limit: usize,
    ) -> Result<usize, XtypesError> {
        let count = cursor.count(what, limit)?;
        self.members += count;
        if self.members > MEMBERS_TOTAL_MAX {
            let (what, total) = ("members of all types", self.members as u64);
            return Err(cursor.too_many(4, what, total, MEMBERS_TOTAL_MAX as u64));
        }
        Ok(count)
    }
}

fn alias(cursor: &mut Cursor<'_>, owner: Option<TypeId>) -> Result<Object, XtypesError> {
    cursor.u16()?;
    let (name, _) = type_detail(&mut cursor.delimited()?)?;
    let ty = element(cursor, owner)?;
    Ok(Object::Alias { name, ty })
}

/// CompleteCollectionElement, or the like of it, CompleteAliasBody: flags, a type, annotations.
fn element(cursor: &mut Cursor<'_>, owner: Option<TypeId>) -> Result<Ref, XtypesError> {
    let mut cursor = cursor.delimited()?;
    cursor.u16()?;
    reference(&mut cursor, owner)
}

/// The flags of a struct or a union.
fn extensibility(cursor: &mut Cursor<'_>) -> Result<Extensibility, XtypesError> {
    let (part, offset) = (cursor.part(), cursor.offset());
    let flags = cursor.u16()?;
    match flags & 0b111 {
        0b001 => Ok(Extensibility::Final),
        0b010 => Ok(Extensibility::Appendable),
        0b100 => Ok(Extensibility::Mutable),
        bits => Err(XtypesError::BadValue {
            part,
            offset,
            what: "the extensibility of a type",
            value: bits.into(),
            expected: "1 (final), 2 (appendable) or 4 (mutable)",
        }),
    }
}

fn bit_bound(cursor: &mut Cursor<'_>, max: u8, expected: &'static str) -> Result<u8, XtypesError> {
    let (part, offset) = (cursor.part(), cursor.offset());
    let value = cursor.u16()?;
    u8::try_from(value)
        .ok()
        .filter(|bits| (1..=max).contains(bits))
        .ok_or_else(|| XtypesError::BadValue {
            part,
            offset,
            what: "the bit bound of an enum or a bitmask",
            value: value.into(),
            expected,
        })
}

/// The id and the flags with which a member begins.
fn member_id(cursor: &mut Cursor<'_>) -> Result<(u32, u16), XtypesError> {
    let (part, offset) = (cursor.part(), cursor.offset());
    let id = cursor.u32()?;
    if id > MEMBER_ID_MAX {
        return Err(XtypesError::BadValue {
            part,
            offset,
            what: "the id of a member",
            value: id.into(),
            expected: "at most 268435455",
        });
    }
    Ok((id, cursor.u16()?))
}

/// CompleteMemberDetail: the name, and the unit where it has one.
fn member_detail(cursor: &mut Cursor<'_>) -> Result<(String, Option<String>), XtypesError> {
    let name = cursor.member_name()?.to_owned();
    let mut units = None;
    if cursor.is_present()? {
        let mut builtin = cursor.delimited()?;
        if builtin.is_present()? {
            units = Some(builtin.text()?);
        }
    }
    Ok((name, units))
}

/// CompleteTypeDetail: the name, and a comment where it has one.
fn type_detail(cursor: &mut Cursor<'_>) -> Result<(TypeName, Metadata), XtypesError> {
    let mut metadata = Metadata::default();
    if cursor.is_present()? {
        let mut builtin = cursor.delimited()?;
        if builtin.is_present()? {
            let (_placement, language) = (builtin.text()?, builtin.text()?);
            let text = builtin.text()?;
            // `@verbatim` in a programming language is code (IDL 4.2, § 8.3.5.1).
            if language == "*" || language.eq_ignore_ascii_case("doc") {
                metadata.description = Some(text.trim().to_owned());
            }
        }
    }
    if cursor.is_present()? {
        cursor.delimited()?;
    }
    Ok((TypeName::new(cursor.type_name()?), metadata))
}
