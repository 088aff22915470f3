//! What SAL makes of a struct: a topic of a component, with private fields and a revision.
//!
//! Both generations are the same here: the older has `<Component>ID` for `salIndex`, `private_host`
//! for `private_identity`, and no metadata.

use std::fmt;
use std::sync::Arc;

use crate::model::{Definition, Member, Metadata, Primitive, Resolved, Struct, Type, TypeName};
use crate::model::{Types, Versions};

/// The letters of a revision code, lower-case hexadecimal.
const REVISION_CHARS: usize = 8;

/// Structs that old generators wrote for their own use, without a revision code.
const PLACEHOLDERS: [&str; 3] = ["command", "ackcmd", "logevent"];

/// Elements of a topic, over all its members: a schema has a default for each, and as doubles they are
/// half a megabyte, half of what a Kafka broker takes as one message unless told otherwise.
pub const ELEMENTS_MAX: u64 = 65_536;

/// How a struct becomes records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapping {
    Sal(Box<SalTopic>),
    /// A struct of an old generator that nobody publishes; the genuine producer skips it too.
    Placeholder,
}

/// A struct that cannot become records, and the member that is in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMapping {
    #[error("no mapping for {kind} yet: member `{member}` of `{name}`")]
    Member {
        name: TypeName,
        member: String,
        kind: &'static str,
    },
    #[error("no mapping for types that are not SAL yet: `{name}` {why}")]
    NotSal { name: TypeName, why: NotSal },
    #[error("`{name}` has no member `{member}` of type {expected}, which a SAL topic has")]
    Private {
        name: TypeName,
        member: &'static str,
        expected: &'static str,
    },
    #[error(
        "`{name}` has {elements} elements up to its member `{member}`, a topic may have {ELEMENTS_MAX}"
    )]
    TooLong {
        name: TypeName,
        member: String,
        elements: u64,
    },
    #[error("no struct `{0}`")]
    NoStruct(TypeName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSal {
    #[error("is not in exactly one module")]
    Scope,
    #[error("does not end in a revision code of 8 hexadecimal digits")]
    Revision,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SalKind {
    Telemetry,
    Event,
    Command,
    AckCmd,
}

impl fmt::Display for SalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Telemetry => "telemetry",
            Self::Event => "event",
            Self::Command => "command",
            Self::AckCmd => "ackcmd",
        })
    }
}

/// A struct as SAL means it: its names, and its members made flat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalTopic {
    /// `MTMount`
    pub component: String,
    /// `elevation`, `logevent_summaryState`, `command_start`, `ackcmd`.
    pub sal_topic: String,
    pub kind: SalKind,
    /// `1a2b3c4d`
    pub revision: String,
    /// `MTMount::elevation_1a2b3c4d`
    pub dds_type: TypeName,
    /// `MTMount_elevation_1a2b3c4d`
    pub dds_topic: String,
    /// In the order of the wire; never empty.
    pub fields: Vec<SalField>,
    /// Positions in `fields`, ascending; empty for a keyless topic.
    pub keys: Vec<usize>,
    pub private: PrivateFields,
    pub description: Option<String>,
    pub versions: Versions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalField {
    pub name: Arc<str>,
    /// In headers of mutable types.
    pub id: u32,
    pub scalar: Scalar,
    /// Elements of an array, 1 or more; `None` where there is no array.
    pub count: Option<u32>,
    pub metadata: Metadata,
}

/// Positions in [`SalTopic::fields`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrivateFields {
    /// Double, TAI seconds: when the publisher wrote the sample.
    pub snd_stamp: usize,
    /// Double, TAI seconds: filled by whoever receives.
    pub rcv_stamp: usize,
    /// Any integer: counts the samples of a publisher.
    pub seq_num: usize,
    pub rev_code: Option<usize>,
    pub identity: Option<usize>,
    pub origin: Option<usize>,
    /// Of the older generation.
    pub host: Option<usize>,
    /// `salIndex`, or `<Component>ID` of the older generation.
    pub index: Option<usize>,
}

/// What a field, or an element of its array, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scalar {
    Boolean,
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
    Text,
}

impl Scalar {
    /// Bytes in CDR, which is also the alignment; `None` for text.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Boolean | Self::I8 | Self::U8 => Some(1),
            Self::I16 | Self::U16 => Some(2),
            Self::I32 | Self::U32 | Self::F32 => Some(4),
            Self::I64 | Self::U64 | Self::F64 => Some(8),
            Self::Text => None,
        }
    }

    pub fn is_integer(self) -> bool {
        match self {
            Self::I8 | Self::U8 | Self::I16 | Self::U16 => true,
            Self::I32 | Self::U32 | Self::I64 | Self::U64 => true,
            Self::Boolean | Self::F32 | Self::F64 | Self::Text => false,
        }
    }

    fn of(ty: &Type) -> Option<Self> {
        match ty {
            Type::String { .. } => Some(Self::Text),
            Type::Primitive(primitive) => match primitive {
                Primitive::Boolean => Some(Self::Boolean),
                Primitive::I8 => Some(Self::I8),
                Primitive::Octet | Primitive::U8 => Some(Self::U8),
                Primitive::I16 => Some(Self::I16),
                Primitive::U16 => Some(Self::U16),
                Primitive::I32 => Some(Self::I32),
                Primitive::U32 => Some(Self::U32),
                Primitive::I64 => Some(Self::I64),
                Primitive::U64 => Some(Self::U64),
                Primitive::F32 => Some(Self::F32),
                Primitive::F64 => Some(Self::F64),
                Primitive::F128 | Primitive::Char8 | Primitive::Char16 => None,
            },
            Type::WString { .. }
            | Type::Array { .. }
            | Type::Sequence { .. }
            | Type::Map { .. }
            | Type::Named(_) => None,
        }
    }
}

impl Mapping {
    /// `name` as DDS has it: `MTMount::elevation_1a2b3c4d`.
    pub fn of(types: &Types, versions: &Versions, name: &TypeName) -> Result<Self, NoMapping> {
        let structure = types
            .structure(name.as_str())
            .ok_or_else(|| NoMapping::NoStruct(name.clone()))?;
        let component = name.scope();
        if component.is_empty() || component.contains("::") {
            return Err(NoMapping::NotSal {
                name: name.clone(),
                why: NotSal::Scope,
            });
        }
        match split_revision(name.local()) {
            Some((sal_topic, revision)) => {
                let names = Names {
                    component,
                    sal_topic,
                    revision,
                };
                SalTopic::new(types, versions, structure, &names)
                    .map(|topic| Self::Sal(Box::new(topic)))
            }
            None if PLACEHOLDERS.contains(&name.local()) => Ok(Self::Placeholder),
            None => Err(NoMapping::NotSal {
                name: name.clone(),
                why: NotSal::Revision,
            }),
        }
    }
}

/// `elevation_1a2b3c4d` → `elevation`, `1a2b3c4d`.
fn split_revision(local: &str) -> Option<(&str, &str)> {
    let (sal_topic, revision) = local.rsplit_once('_')?;
    let is_code = revision.len() == REVISION_CHARS
        && revision
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_code && !sal_topic.is_empty()).then_some((sal_topic, revision))
}

struct Names<'a> {
    component: &'a str,
    sal_topic: &'a str,
    revision: &'a str,
}

impl SalTopic {
    fn new(
        types: &Types,
        versions: &Versions,
        structure: &Struct,
        names: &Names<'_>,
    ) -> Result<Self, NoMapping> {
        let &Names {
            component,
            sal_topic,
            revision,
        } = names;
        let (mut fields, mut keys) = (Vec::new(), Vec::new());
        let mut elements = 0;
        for part in types.lineage(structure) {
            for member in &part.members {
                if part.is_key(&member.name) {
                    keys.push(fields.len());
                }
                let field = SalField::of(types, structure, member)?;
                elements += u64::from(field.count.unwrap_or(1));
                if ELEMENTS_MAX < elements {
                    return Err(NoMapping::TooLong {
                        name: structure.name.clone(),
                        member: member.name.clone(),
                        elements,
                    });
                }
                fields.push(field);
            }
        }
        Ok(Self {
            component: component.to_owned(),
            sal_topic: sal_topic.to_owned(),
            kind: kind(sal_topic),
            revision: revision.to_owned(),
            dds_type: structure.name.clone(),
            dds_topic: structure.name.as_str().replace("::", "_"),
            private: PrivateFields::of(structure, component, &fields)?,
            fields,
            keys,
            description: structure.metadata.description.clone(),
            versions: versions.clone(),
        })
    }

    /// Record name, subject root and base topic: `lsst.sal.MTMount.elevation`.
    pub fn avro_name(&self) -> String {
        format!("lsst.sal.{}.{}", self.component, self.sal_topic)
    }

    /// Units, descriptions and versions of what has the same name in `documented`: a TypeObject has none of them. Where all else
    /// is the same, so are the schemas.
    pub fn documented_by(mut self, documented: &Self) -> Self {
        for field in &mut self.fields {
            let found = documented.fields.iter().find(|it| it.name == field.name);
            if let Some(found) = found {
                field.metadata = found.metadata.clone();
            }
        }
        self.description.clone_from(&documented.description);
        self.versions.clone_from(&documented.versions);
        self
    }

    /// Whether the component runs in several instances, told apart by an index.
    pub fn is_indexed(&self) -> bool {
        self.private.index.is_some()
    }
}

fn kind(sal_topic: &str) -> SalKind {
    if sal_topic == "ackcmd" {
        SalKind::AckCmd
    } else if sal_topic.starts_with("command_") {
        SalKind::Command
    } else if sal_topic.starts_with("logevent_") {
        SalKind::Event
    } else {
        SalKind::Telemetry
    }
}

impl SalField {
    fn of(types: &Types, structure: &Struct, member: &Member) -> Result<Self, NoMapping> {
        let refuse = |kind| NoMapping::Member {
            name: structure.name.clone(),
            member: member.name.clone(),
            kind,
        };
        if member.optional {
            return Err(refuse("optional members"));
        }
        let ty = plain(types, &member.ty).map_err(refuse)?;
        let (element, count) = if let Type::Array {
            element,
            dimensions,
        } = ty
        {
            let [count] = dimensions[..] else {
                return Err(refuse(ty.kind()));
            };
            (plain(types, element).map_err(refuse)?, Some(count))
        } else {
            (ty, None)
        };
        Ok(Self {
            name: Arc::from(&*member.name),
            id: member.id,
            scalar: Scalar::of(element).ok_or_else(|| refuse(element.kind()))?,
            count,
            metadata: member.metadata.clone(),
        })
    }

    fn is(&self, accept: impl Fn(Scalar) -> bool) -> bool {
        self.count.is_none() && accept(self.scalar)
    }
}

fn plain<'a>(types: &'a Types, ty: &'a Type) -> Result<&'a Type, &'static str> {
    match types.resolve(ty) {
        Resolved::Plain(ty) => Ok(ty),
        Resolved::Defined(Definition::Struct(_)) => Err("nested structs"),
        Resolved::Defined(other) => Err(other.kind()),
        Resolved::Unknown(_) => Err("unknown types"),
    }
}

impl PrivateFields {
    fn of(structure: &Struct, component: &str, fields: &[SalField]) -> Result<Self, NoMapping> {
        let find = |name: &str, accept: fn(Scalar) -> bool| {
            fields
                .iter()
                .position(|field| &*field.name == name && field.is(accept))
        };
        let need = |member, expected, accept| {
            let name = || structure.name.clone();
            find(member, accept).ok_or_else(|| NoMapping::Private {
                name: name(),
                member,
                expected,
            })
        };
        let is_double: fn(Scalar) -> bool = |scalar| scalar == Scalar::F64;
        let is_text: fn(Scalar) -> bool = |scalar| scalar == Scalar::Text;
        Ok(Self {
            snd_stamp: need("private_sndStamp", "double", is_double)?,
            rcv_stamp: need("private_rcvStamp", "double", is_double)?,
            seq_num: need("private_seqNum", "long", Scalar::is_integer)?,
            rev_code: find("private_revCode", is_text),
            identity: find("private_identity", is_text),
            origin: find("private_origin", Scalar::is_integer),
            host: find("private_host", Scalar::is_integer),
            index: find("salIndex", Scalar::is_integer)
                .or_else(|| find(&format!("{component}ID"), Scalar::is_integer)),
        })
    }
}
