//! TypeObjects to definitions: identifiers become names.

use std::collections::BTreeMap;
use std::fmt;

use super::error::XtypesError;
use super::identifier::{Ref, TypeId};
use super::mapping::Index;
use super::object::{CaseObject, MemberObject, Object, Objects, StructObject, UnionObject};
use super::{ALIASES_MAX, ARRAY_ELEMENTS_MAX, TYPE_DEPTH_MAX, WRITTEN_OUT_MAX};
use crate::model::{
    Alias, Case, Definition, Member, Metadata, Primitive, Struct, Type, TypeName, Types, Union,
};

/// The name of `root`, and the definitions of all that it needs.
pub(super) fn build(index: &Index<'_>, root: TypeId) -> Result<(TypeName, Types), XtypesError> {
    let objects = load(index, root)?;
    let name = objects.get(&root).and_then(Object::name).cloned();
    let name = name.ok_or_else(|| XtypesError::RootKind {
        root: root.to_string(),
        found: "a collection, a bitset or an annotation",
    })?;
    let mut builder = Builder {
        objects: &objects,
        written_out: 0,
    };
    let mut types = Types::default();
    for object in objects.values() {
        let Some(definition) = builder.definition(object)? else {
            continue;
        };
        match types.definition(definition.name().as_str()) {
            // One type under two identifiers, of a component and its own.
            Some(before) if *before == definition => {}
            Some(_) => {
                return Err(XtypesError::NameTwice(
                    definition.name().as_str().to_owned(),
                ));
            }
            None => {
                types.insert(definition);
            }
        }
    }
    Ok((name, types))
}

/// The TypeObjects that `root` needs, itself included.
fn load(index: &Index<'_>, root: TypeId) -> Result<BTreeMap<TypeId, Object>, XtypesError> {
    let mut reader = Objects::default();
    let cursor = index.object(root).ok_or(XtypesError::NoRoot(root))?;
    let mut objects = BTreeMap::from([(root, reader.read(root, cursor)?)]);
    let mut pending = vec![root];
    while let Some(user) = pending.pop() {
        let mut new = BTreeMap::new();
        let links = objects.get(&user).map(links).unwrap_or_default();
        for (place, id) in links {
            if objects.contains_key(&id) || new.contains_key(&id) {
                continue;
            }
            let name = || {
                let name = objects.get(&user).and_then(Object::name);
                name.map_or_else(|| user.to_string(), |name| name.as_str().to_owned())
            };
            let cursor = index.object(id).ok_or_else(|| XtypesError::Missing {
                user: name(),
                member: place.to_string(),
                id,
            })?;
            let object = reader.read(id, cursor)?;
            if let Object::Unsupported(found) = object {
                return Err(XtypesError::Unsupported {
                    user: name(),
                    member: place.to_string(),
                    found,
                });
            }
            new.insert(id, object);
        }
        pending.extend(new.keys());
        objects.extend(new);
    }
    Ok(objects)
}

/// Where a definition names another one.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Base,
    Discriminator,
    Member(&'a str),
    Aliased,
    Element,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => f.write_str("the base"),
            Self::Discriminator => f.write_str("the discriminator"),
            Self::Member(name) => write!(f, "member `{name}`"),
            Self::Aliased => f.write_str("the alias"),
            Self::Element => f.write_str("an element"),
        }
    }
}

fn links(object: &Object) -> Vec<(Place<'_>, TypeId)> {
    let mut links = Vec::new();
    let mut add = |place, ty: &Ref| {
        let mut ids = Vec::new();
        ty.objects(&mut ids);
        links.extend(ids.into_iter().map(|id| (place, id)));
    };
    match object {
        Object::Struct(it) => {
            for member in &it.members {
                add(Place::Member(&member.name), &member.ty);
            }
            links.extend(it.base.map(|base| (Place::Base, base)));
        }
        Object::Union(it) => {
            add(Place::Discriminator, &it.discriminator);
            for case in &it.cases {
                add(Place::Member(&case.member.name), &case.member.ty);
            }
        }
        Object::Alias { ty, .. } => add(Place::Aliased, ty),
        Object::Collection(ty) => add(Place::Element, ty),
        Object::Enum(_) | Object::Bitmask(_) | Object::Unsupported(_) => {}
    }
    links
}

struct Builder<'o> {
    objects: &'o BTreeMap<TypeId, Object>,
    /// Types that were made for collections with a TypeObject of their own.
    written_out: usize,
}

/// Whose type is made, for messages.
#[derive(Clone, Copy)]
struct User<'a> {
    name: &'a TypeName,
    place: Place<'a>,
}

impl User<'_> {
    fn name(&self) -> String {
        self.name.as_str().to_owned()
    }

    fn wrong_kind(&self, found: &str, expected: &'static str) -> XtypesError {
        XtypesError::WrongKind {
            user: self.name(),
            member: self.place.to_string(),
            found: found.to_owned(),
            expected,
        }
    }
}

impl Builder<'_> {
    fn definition(&mut self, object: &Object) -> Result<Option<Definition>, XtypesError> {
        Ok(Some(match object {
            Object::Struct(it) => Definition::Struct(self.structure(it)?),
            Object::Union(it) => Definition::Union(self.union(it)?),
            Object::Enum(it) => Definition::Enum(it.clone()),
            Object::Bitmask(it) => Definition::Bitmask(it.clone()),
            Object::Alias { name, ty } => {
                let user = User {
                    name,
                    place: Place::Aliased,
                };
                let ty = self.ty(ty, user)?;
                let name = name.clone();
                Definition::Alias(Alias { name, ty })
            }
            Object::Collection(_) | Object::Unsupported(_) => return Ok(None),
        }))
    }

    fn structure(&mut self, it: &StructObject) -> Result<Struct, XtypesError> {
        let StructObject {
            name,
            extensibility,
            base,
            members,
            metadata,
        } = it;
        let base = base.map(|id| self.base(name, id)).transpose()?;
        let keys = members
            .iter()
            .filter(|member| member.is_key)
            .map(|member| vec![member.name.clone()])
            .collect();
        let members = members
            .iter()
            .map(|member| self.member(name, member))
            .collect::<Result<_, _>>()?;
        Ok(Struct {
            name: name.clone(),
            base,
            extensibility: *extensibility,
            members,
            keys,
            metadata: metadata.clone(),
        })
    }

    fn base(&self, name: &TypeName, id: TypeId) -> Result<TypeName, XtypesError> {
        let place = Place::Base;
        let user = User { name, place };
        match self.objects.get(&id) {
            Some(Object::Struct(base)) => Ok(base.name.clone()),
            Some(other) => Err(user.wrong_kind(other.kind(), "a struct")),
            None => Err(missing(user, id)),
        }
    }

    fn union(&mut self, it: &UnionObject) -> Result<Union, XtypesError> {
        let UnionObject {
            name,
            extensibility,
            discriminator,
            cases,
            metadata,
        } = it;
        let place = Place::Discriminator;
        let user = User { name, place };
        let labels = self.labels(discriminator, user)?;
        let cases = cases
            .iter()
            .map(|case| self.case(name, case, labels))
            .collect::<Result<_, _>>()?;
        Ok(Union {
            name: name.clone(),
            extensibility: *extensibility,
            discriminator: self.ty(discriminator, user)?,
            cases,
            metadata: metadata.clone(),
        })
    }

    fn case(
        &mut self,
        name: &TypeName,
        case: &CaseObject,
        range: LabelRange,
    ) -> Result<Case, XtypesError> {
        let label = |&label: &i32| {
            range.label(label).ok_or_else(|| XtypesError::OutOfRange {
                user: name.as_str().to_owned(),
                what: "label",
                member: case.member.name.clone(),
                value: label.into(),
                min: range.min,
                max: range.max,
            })
        };
        Ok(Case {
            labels: case.labels.iter().map(label).collect::<Result<_, _>>()?,
            is_default: case.is_default,
            member: self.member(name, &case.member)?,
        })
    }

    fn member(&mut self, name: &TypeName, it: &MemberObject) -> Result<Member, XtypesError> {
        let user = User {
            name,
            place: Place::Member(&it.name),
        };
        Ok(Member {
            id: it.id,
            name: it.name.clone(),
            ty: self.ty(&it.ty, user)?,
            optional: it.is_optional,
            metadata: Metadata {
                units: it.units.clone(),
                description: None,
            },
        })
    }

    fn ty(&mut self, ty: &Ref, user: User<'_>) -> Result<Type, XtypesError> {
        let ty = self.ty_at(ty, user, 0, false)?;
        let elements = elements_max(&ty);
        if elements > ARRAY_ELEMENTS_MAX {
            return Err(XtypesError::ArrayTooLarge {
                user: user.name(),
                member: user.place.to_string(),
                elements,
                limit: ARRAY_ELEMENTS_MAX,
            });
        }
        Ok(ty)
    }

    fn ty_at(
        &mut self,
        ty: &Ref,
        user: User<'_>,
        depth: usize,
        is_written_out: bool,
    ) -> Result<Type, XtypesError> {
        if depth == TYPE_DEPTH_MAX {
            return Err(XtypesError::TooDeepInside {
                user: user.name(),
                member: user.place.to_string(),
                limit: TYPE_DEPTH_MAX,
            });
        }
        if is_written_out {
            self.written_out += 1;
            if self.written_out > WRITTEN_OUT_MAX {
                return Err(XtypesError::TooManyInside {
                    user: user.name(),
                    member: user.place.to_string(),
                    limit: WRITTEN_OUT_MAX,
                });
            }
        }
        let mut inner = |ty: &Ref| {
            let ty = self.ty_at(ty, user, depth + 1, is_written_out)?;
            Ok::<_, XtypesError>(Box::new(ty))
        };
        Ok(match ty {
            Ref::Primitive(primitive) => Type::Primitive(*primitive),
            Ref::String { bound } => Type::String { bound: *bound },
            Ref::WString { bound } => Type::WString { bound: *bound },
            Ref::Array {
                element,
                dimensions,
            } => Type::Array {
                element: inner(element)?,
                dimensions: dimensions.clone(),
            },
            Ref::Sequence { element, bound } => Type::Sequence {
                element: inner(element)?,
                bound: *bound,
            },
            Ref::Map { key, value, bound } => Type::Map {
                key: inner(key)?,
                value: inner(value)?,
                bound: *bound,
            },
            Ref::Object(id) => match self.objects.get(id) {
                Some(Object::Collection(ty)) => return self.ty_at(ty, user, depth, true),
                Some(object) => match object.name() {
                    Some(name) => Type::Named(name.clone()),
                    None => return Err(user.wrong_kind(object.kind(), "a type with a name")),
                },
                None => return Err(missing(user, *id)),
            },
        })
    }

    /// What the labels of a union may be, by what it switches on.
    fn labels(&self, discriminator: &Ref, user: User<'_>) -> Result<LabelRange, XtypesError> {
        let expected = "an integer, boolean, character or enum";
        let mut ty = discriminator;
        for _ in 0..=ALIASES_MAX {
            ty = match ty {
                Ref::Primitive(primitive) => {
                    return LabelRange::of(*primitive)
                        .ok_or_else(|| user.wrong_kind(primitive.idl(), expected));
                }
                Ref::Object(id) => match self.objects.get(id) {
                    Some(Object::Alias { ty, .. }) => ty,
                    Some(Object::Enum(_)) => return Ok(LabelRange::ENUM),
                    Some(other) => return Err(user.wrong_kind(other.kind(), expected)),
                    None => return Err(missing(user, *id)),
                },
                Ref::String { .. } | Ref::WString { .. } => {
                    return Err(user.wrong_kind("a string", expected));
                }
                Ref::Array { .. } | Ref::Sequence { .. } | Ref::Map { .. } => {
                    return Err(user.wrong_kind("a collection", expected));
                }
            };
        }
        Err(XtypesError::ChainTooLong {
            name: user.name(),
            what: "aliases",
            limit: ALIASES_MAX,
        })
    }
}

/// The values of a discriminator.
#[derive(Clone, Copy)]
struct LabelRange {
    min: i128,
    max: i128,
}

impl LabelRange {
    const ENUM: Self = Self {
        min: i32::MIN as i128,
        max: i32::MAX as i128,
    };

    fn of(primitive: Primitive) -> Option<Self> {
        let (min, max) = match primitive {
            Primitive::Boolean => (0, 1),
            Primitive::Char8 => (0, 0xff),
            Primitive::Char16 => (0, 0xffff),
            Primitive::Octet
            | Primitive::I8
            | Primitive::U8
            | Primitive::I16
            | Primitive::U16
            | Primitive::I32
            | Primitive::U32
            | Primitive::I64
            | Primitive::U64
            | Primitive::F32
            | Primitive::F64
            | Primitive::F128 => primitive.integer_range()?,
        };
        Some(Self { min, max })
    }

    /// A label is written with 32 bits and a sign, whatever it stands for: one that is negative for
    /// an unsigned discriminator is the large number of the same bits.
    fn label(self, label: i32) -> Option<i64> {
        let mut value = i128::from(label);
        if value < 0 && self.min == 0 && self.max > 1 {
            let values = self.max.min(u32::MAX.into()) + 1;
            value += values;
            if value < values / 2 {
                return None;
            }
        }
        let is_in_range = (self.min..=self.max).contains(&value);
        i64::try_from(value).ok().filter(|_| is_in_range)
    }
}

/// Elements of the largest array in `ty`, with those of the arrays that are its elements.
fn elements_max(ty: &Type) -> u64 {
    /// (of `ty` itself as an element, of the largest array in it)
    fn count(ty: &Type) -> (u64, u64) {
        match ty {
            Type::Array {
                element,
                dimensions,
            } => {
                let (inner, max) = count(element);
                let times = |total: u64, size: &u32| total.saturating_mul((*size).into());
                let elements = dimensions.iter().fold(inner, times);
                (elements, max.max(elements))
            }
            Type::Sequence { element, .. } => (1, count(element).1),
            Type::Map { key, value, .. } => (1, count(key).1.max(count(value).1)),
            Type::Primitive(_) | Type::String { .. } | Type::WString { .. } | Type::Named(_) => {
                (1, 1)
            }
        }
    }
    count(ty).1
}

/// All that is needed was loaded, so this is only for completeness.
fn missing(user: User<'_>, id: TypeId) -> XtypesError {
    XtypesError::Missing {
        user: user.name(),
        member: user.place.to_string(),
        id,
    }
}
