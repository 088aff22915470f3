//! Random types: a plain tree, and the same as a model.

use std::rc::Rc;

use efd_shared_types::model::{
    Alias, Bitmask, Case, Definition, Enum, Extensibility, Flag, Literal, Member, Metadata,
    Primitive, Struct, Union,
};
use efd_shared_types::{Type, TypeName, Types};

use super::choices::Choices;

pub const DEPTH: usize = 4;
/// Above this only leaves.
const NODES: usize = 60;

#[derive(Clone, Debug)]
pub enum Ty {
    Prim(Primitive),
    Str,
    Wide,
    Seq(Rc<Self>),
    /// By a typedef where the flag is set: the element is an array then, or not.
    Arr(Rc<Self>, Vec<u32>, bool),
    Map(Rc<Self>, Rc<Self>),
    Struct(Rc<StructTy>),
    Union(Rc<UnionTy>),
    Enum(Rc<EnumTy>),
    Bits(Rc<BitsTy>),
}

#[derive(Debug)]
pub struct StructTy {
    pub name: String,
    pub ext: Extensibility,
    pub members: Vec<MemberTy>,
    /// So many of the first members are a base's.
    pub inherited: usize,
    /// Positions of key members.
    pub keys: Vec<usize>,
}

#[derive(Debug)]
pub struct MemberTy {
    pub name: String,
    pub id: u32,
    pub optional: bool,
    pub ty: Ty,
}

#[derive(Debug)]
pub struct UnionTy {
    pub name: String,
    pub ext: Extensibility,
    pub disc: Ty,
    /// Labels of each case; the last may be the default one.
    pub cases: Vec<(Vec<i64>, MemberTy)>,
    pub has_default: bool,
}

#[derive(Debug)]
pub struct EnumTy {
    pub name: String,
    pub bit_bound: u8,
    pub values: Vec<i32>,
    pub default: Option<usize>,
}

#[derive(Debug)]
pub struct BitsTy {
    pub name: String,
    pub bit_bound: u8,
}

impl EnumTy {
    pub fn bytes(&self) -> usize {
        holder(self.bit_bound)
    }
}

impl BitsTy {
    pub fn bytes(&self) -> usize {
        holder(self.bit_bound)
    }
}

fn holder(bits: u8) -> usize {
    match bits {
        0..=8 => 1,
        9..=16 => 2,
        17..=32 => 4,
        _ => 8,
    }
}

impl Ty {
    pub fn is_primitive(&self) -> bool {
        matches!(self, Self::Prim(_))
    }

    pub fn is_octet(&self) -> bool {
        matches!(self, Self::Prim(Primitive::Octet | Primitive::U8))
    }

    /// Whether Cyclone DDS takes it as a key.
    pub fn is_plain_key(&self) -> bool {
        match self {
            Self::Prim(primitive) => !matches!(primitive, Primitive::F128 | Primitive::Char16),
            Self::Str | Self::Enum(_) | Self::Bits(_) => true,
            Self::Seq(element) | Self::Arr(element, ..) => element.is_plain_key(),
            Self::Struct(it) if !it.keys.is_empty() => it.inherited == 0,
            Self::Struct(it) => {
                let mut members = it.members.iter();
                it.inherited == 0 && members.all(|it| !it.optional && it.ty.is_plain_key())
            }
            Self::Wide | Self::Map(..) | Self::Union(_) => false,
        }
    }

    fn holds_struct(&self) -> bool {
        match self {
            Self::Struct(_) => true,
            Self::Seq(element) | Self::Arr(element, ..) => element.holds_struct(),
            _ => false,
        }
    }

    /// Whether it is a struct without members, in all.
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Struct(it) => it
                .members
                .iter()
                .all(|it| !it.optional && it.ty.is_nothing()),
            _ => false,
        }
    }

    /// Whether a value may have no byte on the wire.
    pub fn may_be_empty(&self) -> bool {
        match self {
            Self::Struct(it) => it
                .members
                .iter()
                .all(|it| !it.optional && it.ty.may_be_empty()),
            Self::Arr(element, ..) => element.may_be_empty(),
            _ => false,
        }
    }
}

/// What types are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makeup {
    Anything,
    /// What the dynamic types of Cyclone DDS 11.0.1 can be. It refuses maps, mutable unions, literals
    /// below zero, and keys with wide text, `long double` or optional members in them; a union it takes
    /// as a key, and ignores it. Of what it does not refuse are left out:
    /// - `wchar`: two bytes in a sample, of which its serializer uses four;
    /// - discriminators of eight bytes: freeing such a union ends the process;
    /// - structs without members: what stands behind one has the place of the first member;
    /// - in a derived struct that has keys of its own: structs as keys, whose members it forgets, and
    ///   keys beside those of the base; and derived structs within keys.
    Cyclone,
}

pub struct Gen<'c, 'b> {
    pub choices: &'c mut Choices<'b>,
    makeup: Makeup,
    names: usize,
    nodes: usize,
    /// With a name, and of how many nodes.
    made: Vec<(Ty, usize)>,
    definitions: Vec<Definition>,
}

/// A struct of anything, and the definitions it needs.
pub fn random(choices: &mut Choices<'_>) -> (Rc<StructTy>, Types) {
    random_of(Makeup::Anything, choices)
}

pub fn random_of(makeup: Makeup, choices: &mut Choices<'_>) -> (Rc<StructTy>, Types) {
    let mut it = Gen {
        choices,
        makeup,
        names: 0,
        nodes: 0,
        made: Vec::new(),
        definitions: Vec::new(),
    };
    let root = it.structure(0);
    (root, it.definitions.into_iter().collect())
}

/// Positions, in every bitmask.
pub const FLAGS: [u8; 3] = [0, 3, 7];

const EXTENSIBILITIES: [Extensibility; 3] = [
    Extensibility::Final,
    Extensibility::Appendable,
    Extensibility::Mutable,
];

impl Gen<'_, '_> {
    fn name(&mut self) -> String {
        self.names += 1;
        match self.choices.below(4) {
            0 => format!("T{}", self.names),
            1 => format!("a::b::T{}", self.names),
            2 => format!("pkg::msg::dds_::T{}_", self.names),
            _ => format!("m::T{}", self.names),
        }
    }

    fn ty(&mut self, depth: usize) -> Ty {
        if let Some(again) = self.again() {
            return again;
        }
        let before = self.nodes;
        let ty = self.fresh(depth);
        if let Ty::Struct(_) | Ty::Union(_) | Ty::Enum(_) | Ty::Bits(_) = &ty {
            self.made.push((ty.clone(), self.nodes - before));
        }
        ty
    }

    /// A type that is there already.
    fn again(&mut self) -> Option<Ty> {
        let may_be = self.makeup == Makeup::Cyclone && !self.made.is_empty();
        if !may_be || !self.choices.chance(20) {
            return None;
        }
        let (ty, nodes) = self.made[self.choices.below(self.made.len())].clone();
        let fits = self.nodes + nodes <= NODES;
        self.nodes += if fits { nodes } else { 0 };
        fits.then_some(ty)
    }

    fn fresh(&mut self, depth: usize) -> Ty {
        self.nodes += 1;
        let kinds = if depth >= DEPTH || self.nodes > NODES {
            5
        } else {
            11
        };
        match self.choices.below(kinds) {
            0 | 1 => Ty::Prim(self.primitive()),
            2 => Ty::Str,
            3 => self.enumeration(),
            4 => match self.choices.below(2) {
                0 => Ty::Wide,
                _ => Ty::Bits(self.bits()),
            },
            5 => Ty::Seq(Rc::new(self.ty(depth + 1))),
            6 => self.array(depth),
            7 if self.makeup == Makeup::Anything => {
                let key = self.key();
                Ty::Map(Rc::new(key), Rc::new(self.ty(depth + 1)))
            }
            8 => Ty::Union(self.union(depth + 1)),
            _ => Ty::Struct(self.structure(depth + 1)),
        }
    }

    fn primitive(&mut self) -> Primitive {
        match Primitive::ALL[self.choices.below(15)] {
            Primitive::Char16 if self.makeup == Makeup::Cyclone => Primitive::U16,
            primitive => primitive,
        }
    }

    fn key(&mut self) -> Ty {
        match self.choices.below(6) {
            0 | 1 => Ty::Str,
            2 => Ty::Prim(Primitive::I16),
            3 => Ty::Prim(Primitive::I64),
            4 => Ty::Wide,
            _ => self.enumeration(),
        }
    }

    fn array(&mut self, depth: usize) -> Ty {
        let element = Rc::new(self.ty(depth + 1));
        let dimensions = (0..1 + self.choices.below(3)).map(|_| 1 + self.choices.below(3) as u32);
        let dimensions = dimensions.collect();
        Ty::Arr(element, dimensions, self.choices.chance(60))
    }

    fn ids(&mut self, count: usize) -> Vec<u32> {
        let shift = [0, 0, 1, 0x3eff, 0x10_0000][self.choices.below(5)];
        let mut ids: Vec<u32> = (0..count as u32).map(|at| at + shift).collect();
        if self.choices.chance(60) {
            ids.reverse();
        }
        ids
    }

    fn structure(&mut self, depth: usize) -> Rc<StructTy> {
        let name = self.name();
        let ext = EXTENSIBILITIES[self.choices.below(3)];
        let is_empty = self.choices.chance(6) && self.makeup == Makeup::Anything;
        let least = usize::from(!is_empty);
        let count = least + self.choices.below(if depth == 0 { 8 } else { 4 });
        let ids = self.ids(count);
        // Numbers of one kind are taken together.
        let uniform = self.choices.chance(40).then(|| self.primitive());
        let members = ids.into_iter().enumerate().map(|(at, id)| {
            let ty = uniform.map_or_else(|| self.ty(depth), Ty::Prim);
            MemberTy {
                name: format!("m{at}"),
                id,
                optional: self.choices.chance(50) && !ty.may_be_empty(),
                ty,
            }
        });
        let members: Vec<MemberTy> = members.collect();
        let inherited = if self.choices.chance(40) {
            count / 2
        } else {
            0
        };
        let keys_of_base = self.makeup == Makeup::Cyclone && self.choices.chance(128);
        let may_be_key = |at: usize| match self.makeup {
            Makeup::Anything => true,
            Makeup::Cyclone if inherited == 0 => members[at].ty.is_plain_key(),
            Makeup::Cyclone if keys_of_base => at < inherited && members[at].ty.is_plain_key(),
            Makeup::Cyclone => {
                let ty = &members[at].ty;
                at >= inherited && ty.is_plain_key() && !ty.holds_struct()
            }
        };
        let keys = (0..count)
            .filter(|at| !members[*at].optional && self.choices.chance(40) && may_be_key(*at));
        let it = StructTy {
            keys: keys.collect(),
            name,
            ext,
            members,
            inherited,
        };
        self.define_struct(&it);
        Rc::new(it)
    }

    fn union(&mut self, depth: usize) -> Rc<UnionTy> {
        let name = self.name();
        let kinds = match self.makeup {
            Makeup::Anything => 3,
            Makeup::Cyclone => 2,
        };
        let ext = EXTENSIBILITIES[self.choices.below(kinds)];
        let disc = match self.choices.below(7) {
            0 => Ty::Prim(Primitive::I32),
            1 => Ty::Prim(Primitive::Boolean),
            2 => Ty::Prim(Primitive::Char8),
            3 => Ty::Prim(Primitive::I16),
            4 if self.makeup == Makeup::Cyclone => Ty::Prim(Primitive::U16),
            4 => Ty::Prim(Primitive::U64),
            5 => Ty::Prim(Primitive::Octet),
            _ => self.enumeration(),
        };
        let mut labels: Vec<i64> = match &disc {
            Ty::Prim(Primitive::Boolean) => vec![0, 1],
            Ty::Prim(Primitive::Char8) => vec![65, 66, 200, 0],
            Ty::Prim(Primitive::I16 | Primitive::I32) => vec![1, -1, 300, 0, -300],
            Ty::Enum(it) => it.values.iter().map(|it| i64::from(*it)).collect(),
            _ => vec![0, 3, 7, 100],
        };
        let mut cases = Vec::new();
        let has_default = self.choices.chance(100);
        let count = 1 + self.choices.below(3);
        for at in 0..count {
            let more = 1 + usize::from(self.choices.chance(60));
            let of_case = labels.drain(..more.min(labels.len())).collect::<Vec<_>>();
            if of_case.is_empty() && !(has_default && at + 1 == count) {
                continue;
            }
            let member = MemberTy {
                name: format!("c{at}"),
                id: at as u32 + 1,
                optional: false,
                ty: self.ty(depth),
            };
            cases.push((of_case, member));
        }
        let it = UnionTy {
            name,
            ext,
            disc,
            cases,
            has_default,
        };
        self.define_union(&it);
        Rc::new(it)
    }

    fn enumeration(&mut self) -> Ty {
        let name = self.name();
        let bit_bound = [32, 8, 16, 20][self.choices.below(4)];
        let values: Vec<i32> = match self.choices.below(3) {
            0 => vec![0, 1, 2],
            1 => vec![5, 0, 100],
            _ if self.makeup == Makeup::Cyclone => vec![7, 1],
            _ => vec![-1, 7],
        };
        let default = self.choices.chance(80).then_some(values.len() - 1);
        let literals = values.iter().enumerate();
        self.definitions.push(Definition::Enum(Enum {
            name: TypeName::new(&name),
            bit_bound,
            literals: literals
                .map(|(at, value)| Literal {
                    name: format!("L{at}"),
                    value: *value,
                })
                .collect(),
            default,
        }));
        Ty::Enum(Rc::new(EnumTy {
            name,
            bit_bound,
            values,
            default,
        }))
    }

    fn bits(&mut self) -> Rc<BitsTy> {
        let name = self.name();
        let bit_bound = [32, 8, 12, 64][self.choices.below(4)];
        self.definitions.push(Definition::Bitmask(Bitmask {
            name: TypeName::new(&name),
            bit_bound,
            flags: FLAGS
                .map(|position| Flag {
                    name: format!("F{position}"),
                    position,
                })
                .into(),
        }));
        Rc::new(BitsTy { name, bit_bound })
    }

    fn define_struct(&mut self, it: &StructTy) {
        let (inherited, own) = it.members.split_at(it.inherited);
        let part = |name: &str, base, members: &[MemberTy], shift: usize| {
            let mine = |key: &&usize| (shift..shift + members.len()).contains(key);
            let keys = it.keys.iter().filter(mine);
            (
                Struct {
                    name: TypeName::new(name),
                    base,
                    extensibility: it.ext,
                    members: Vec::new(),
                    keys: keys
                        .map(|key| vec![it.members[*key].name.clone()])
                        .collect(),
                    metadata: Metadata::default(),
                },
                shift..shift + members.len(),
            )
        };
        let mut parts = Vec::new();
        let mut base = None;
        if it.inherited > 0 {
            let name = format!("{}Base", it.name.trim_end_matches('_'));
            parts.push(part(&name, None, inherited, 0));
            base = Some(TypeName::new(&name));
        }
        parts.push(part(&it.name, base, own, it.inherited));
        for (mut part, members) in parts {
            for member in &it.members[members] {
                let member = self.member(member);
                part.members.push(member);
            }
            self.definitions.push(Definition::Struct(part));
        }
    }

    fn define_union(&mut self, it: &UnionTy) {
        let last = it.cases.len().wrapping_sub(1);
        let mut cases = Vec::new();
        for (at, (labels, member)) in it.cases.iter().enumerate() {
            cases.push(Case {
                labels: labels.clone(),
                is_default: it.has_default && at == last,
                member: self.member(member),
            });
        }
        let discriminator = self.model(&it.disc);
        self.definitions.push(Definition::Union(Union {
            name: TypeName::new(&it.name),
            extensibility: it.ext,
            discriminator,
            cases,
            metadata: Metadata::default(),
        }));
    }

    fn member(&mut self, it: &MemberTy) -> Member {
        Member {
            id: it.id,
            name: it.name.clone(),
            ty: self.model(&it.ty),
            optional: it.optional,
            metadata: Metadata::default(),
        }
    }

    fn model(&mut self, ty: &Ty) -> Type {
        let named = |name: &str| Type::Named(TypeName::new(name));
        match ty {
            Ty::Prim(primitive) => Type::Primitive(*primitive),
            Ty::Str => Type::String { bound: None },
            Ty::Wide => Type::WString { bound: Some(9) },
            Ty::Seq(element) => Type::Sequence {
                element: Box::new(self.model(element)),
                bound: None,
            },
            Ty::Arr(element, dimensions, by_typedef) => {
                let ty = Type::Array {
                    element: Box::new(self.model(element)),
                    dimensions: dimensions.clone(),
                };
                if !by_typedef {
                    return ty;
                }
                let name = TypeName::new(&self.name());
                self.definitions.push(Definition::Alias(Alias {
                    name: name.clone(),
                    ty,
                }));
                Type::Named(name)
            }
            Ty::Map(key, value) => Type::Map {
                key: Box::new(self.model(key)),
                value: Box::new(self.model(value)),
                bound: None,
            },
            Ty::Struct(it) => named(&it.name),
            Ty::Union(it) => named(&it.name),
            Ty::Enum(it) => named(&it.name),
            Ty::Bits(it) => named(&it.name),
        }
    }
}
