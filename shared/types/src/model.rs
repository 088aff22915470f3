//! The type model: what an IDL file or an XTypes TypeObject says about the shape of a sample.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Aliases of aliases are followed this far; a longer chain counts as unresolved.
const ALIAS_DEPTH_MAX: usize = 32;

/// Bases of bases are followed this far.
const BASE_DEPTH_MAX: usize = 32;

/// A scoped name as DDS writes it: `MTMount::elevation_1a2b3c4d`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeName(Arc<str>);

impl TypeName {
    /// `scoped` has its parts joined by `::`, without a leading one.
    pub fn new(scoped: &str) -> Self {
        Self(Arc::from(scoped))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part: `elevation_1a2b3c4d`.
    pub fn local(&self) -> &str {
        self.0.rsplit_once("::").map_or(&self.0, |(_, local)| local)
    }

    /// The modules around it, joined by `::`; empty at the top level.
    pub fn scope(&self) -> &str {
        self.0.rsplit_once("::").map_or("", |(scope, _)| scope)
    }
}

impl Borrow<str> for TypeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TypeName {
    fn from(scoped: &str) -> Self {
        Self::new(scoped)
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The type of a member, an element, a key or a discriminator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Primitive(Primitive),
    /// Text of 8-bit units; `bound` counts them without the terminator.
    String {
        bound: Option<u32>,
    },
    /// Text of 16-bit units.
    WString {
        bound: Option<u32>,
    },
    /// `dimensions` outermost first, none of them zero, never empty.
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
    /// A definition, by its full name; this is how a type may contain itself.
    Named(TypeName),
}

impl Type {
    /// In words, for messages: "sequences", "64-bit floats".
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Primitive(primitive) => primitive.idl(),
            Self::String { .. } => "string",
            Self::WString { .. } => "wstring",
            Self::Array { dimensions, .. } if dimensions.len() > 1 => "array of several dimensions",
            Self::Array { .. } => "array",
            Self::Sequence { .. } => "sequence",
            Self::Map { .. } => "map",
            Self::Named(_) => "named type",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Primitive {
    Boolean,
    /// `octet`: eight bits that are not said to be a number. Read as 0–255.
    Octet,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
    /// `long double`, 16 bytes.
    F128,
    /// `char`, one byte.
    Char8,
    /// `wchar`, two bytes.
    Char16,
}

impl Primitive {
    pub const ALL: [Self; 15] = [
        Self::Boolean,
        Self::Octet,
        Self::I8,
        Self::U8,
        Self::I16,
        Self::U16,
        Self::I32,
        Self::U32,
        Self::I64,
        Self::U64,
        Self::F32,
        Self::F64,
        Self::F128,
        Self::Char8,
        Self::Char16,
    ];

    /// Its name in IDL 4.2.
    pub fn idl(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Octet => "octet",
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::I16 => "short",
            Self::U16 => "unsigned short",
            Self::I32 => "long",
            Self::U32 => "unsigned long",
            Self::I64 => "long long",
            Self::U64 => "unsigned long long",
            Self::F32 => "float",
            Self::F64 => "double",
            Self::F128 => "long double",
            Self::Char8 => "char",
            Self::Char16 => "wchar",
        }
    }

    /// The values an integer type holds; `None` for all others.
    pub fn integer_range(self) -> Option<(i128, i128)> {
        match self {
            Self::I8 => Some((i8::MIN.into(), i8::MAX.into())),
            Self::Octet | Self::U8 => Some((0, u8::MAX.into())),
            Self::I16 => Some((i16::MIN.into(), i16::MAX.into())),
            Self::U16 => Some((0, u16::MAX.into())),
            Self::I32 => Some((i32::MIN.into(), i32::MAX.into())),
            Self::U32 => Some((0, u32::MAX.into())),
            Self::I64 => Some((i64::MIN.into(), i64::MAX.into())),
            Self::U64 => Some((0, u64::MAX.into())),
            Self::Boolean | Self::F32 | Self::F64 | Self::F128 | Self::Char8 | Self::Char16 => None,
        }
    }
}

/// What people wrote about a member or a type. Not part of the wire format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub units: Option<String>,
    pub description: Option<String>,
}

/// Which SAL and which interface definition made a file, from its first line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    pub sal: Option<String>,
    pub xml: Option<String>,
}

/// How a type may change between a writer and a reader, hence how it is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extensibility {
    /// Members are laid out back to back. What SAL and OpenSplice use, so the default here.
    #[default]
    Final,
    /// In XCDR2 the members follow a length.
    Appendable,
    /// Each member follows a header with its id.
    Mutable,
}

/// Names from a struct down to a key member: `["position", "id"]` for `position.id`.
pub type KeyPath = Vec<String>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struct {
    pub name: TypeName,
    pub base: Option<TypeName>,
    pub extensibility: Extensibility,
    /// Own members, without those of `base`.
    pub members: Vec<Member>,
    /// Own key members in the order of `members`; empty where `base` has the key, or none.
    pub keys: Vec<KeyPath>,
    pub metadata: Metadata,
}

impl Struct {
    /// Whether the member itself, or something inside it, is part of the key.
    pub fn is_key(&self, member: &str) -> bool {
        self.keys
            .iter()
            .any(|path| path.first().is_some_and(|first| first == member))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Unique in its struct and the bases of it.
    pub id: u32,
    pub name: String,
    pub ty: Type,
    pub optional: bool,
    pub metadata: Metadata,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Union {
    pub name: TypeName,
    pub extensibility: Extensibility,
    pub discriminator: Type,
    pub cases: Vec<Case>,
    pub metadata: Metadata,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Discriminator values, enum literals and characters by their number.
    pub labels: Vec<i64>,
    pub is_default: bool,
    pub member: Member,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enum {
    pub name: TypeName,
    /// 1–32; the value takes the smallest of 1, 2 or 4 bytes that holds it.
    pub bit_bound: u8,
    pub literals: Vec<Literal>,
    /// Index into `literals` of `@default_literal`.
    pub default: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    pub name: String,
    pub value: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmask {
    pub name: TypeName,
    /// 1–64.
    pub bit_bound: u8,
    pub flags: Vec<Flag>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    pub name: String,
    pub position: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    pub name: TypeName,
    pub ty: Type,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Definition {
    Struct(Struct),
    Union(Union),
    Enum(Enum),
    Bitmask(Bitmask),
    Alias(Alias),
}

impl Definition {
    pub fn name(&self) -> &TypeName {
        match self {
            Self::Struct(it) => &it.name,
            Self::Union(it) => &it.name,
            Self::Enum(it) => &it.name,
            Self::Bitmask(it) => &it.name,
            Self::Alias(it) => &it.name,
        }
    }

    /// In words, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Struct(_) => "struct",
            Self::Union(_) => "union",
            Self::Enum(_) => "enum",
            Self::Bitmask(_) => "bitmask",
            Self::Alias(_) => "alias",
        }
    }
}

/// Definitions by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Types {
    definitions: BTreeMap<TypeName, Definition>,
}

/// A type with its aliases followed.
#[derive(Clone, Copy, Debug)]
pub enum Resolved<'a> {
    /// Anything but [`Type::Named`].
    Plain(&'a Type),
    /// Anything but [`Definition::Alias`].
    Defined(&'a Definition),
    /// No such definition, or an endless chain of aliases.
    Unknown(&'a TypeName),
}

impl Types {
    /// Returns what had the same name before.
    pub fn insert(&mut self, definition: Definition) -> Option<Definition> {
        self.definitions
            .insert(definition.name().clone(), definition)
    }

    pub fn definition(&self, name: &str) -> Option<&Definition> {
        self.definitions.get(name)
    }

    pub fn structure(&self, name: &str) -> Option<&Struct> {
        match self.definitions.get(name)? {
            Definition::Struct(it) => Some(it),
            Definition::Union(_)
            | Definition::Enum(_)
            | Definition::Bitmask(_)
            | Definition::Alias(_) => None,
        }
    }

    /// All definitions, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.values()
    }

    pub fn resolve<'a>(&'a self, ty: &'a Type) -> Resolved<'a> {
        let mut ty = ty;
        for _ in 0..ALIAS_DEPTH_MAX {
            let Type::Named(name) = ty else {
                return Resolved::Plain(ty);
            };
            match self.definitions.get(name) {
                Some(Definition::Alias(alias)) => ty = &alias.ty,
                Some(definition) => return Resolved::Defined(definition),
                None => return Resolved::Unknown(name),
            }
        }
        if let Type::Named(name) = ty {
            Resolved::Unknown(name)
        } else {
            Resolved::Plain(ty)
        }
    }

    /// `structure` and its bases, the outermost base first: the order on the wire. A base that is
    /// unknown ends the chain.
    pub fn lineage<'a>(&'a self, structure: &'a Struct) -> Vec<&'a Struct> {
        let mut lineage = vec![structure];
        let mut next = structure.base.as_ref();
        while let Some(base) = next.and_then(|name| self.structure(name.as_str())) {
            if lineage.len() > BASE_DEPTH_MAX {
                break;
            }
            lineage.push(base);
            next = base.base.as_ref();
        }
        lineage.reverse();
        lineage
    }
}

impl FromIterator<Definition> for Types {
    fn from_iter<I: IntoIterator<Item = Definition>>(definitions: I) -> Self {
        let mut types = Self::default();
        for definition in definitions {
            types.insert(definition);
        }
        types
    }
}
