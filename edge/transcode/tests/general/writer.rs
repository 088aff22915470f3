//! CDR as plain as the standard has it: a tree of values in, bytes out. Where the standard leaves a
//! choice, one is made at random; what a writer of another version would add or leave out too.

use efd_shared_types::model::{Extensibility, Primitive};

use super::choices::Choices;
use super::types::{Makeup, MemberTy, StructTy, Ty, UnionTy};
use super::value::{Slot, Val, flat};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    pub big_endian: bool,
    pub xcdr2: bool,
    /// Of the whole.
    pub layout: Extensibility,
}

impl Encoding {
    pub fn all() -> Vec<Self> {
        let of = |xcdr2, layout| {
            [false, true].map(|big_endian| Self {
                big_endian,
                xcdr2,
                layout,
            })
        };
        [
            of(false, Extensibility::Final),
            of(false, Extensibility::Mutable),
            of(true, Extensibility::Final),
            of(true, Extensibility::Appendable),
            of(true, Extensibility::Mutable),
        ]
        .concat()
    }

    fn id(self) -> u16 {
        let id = match (self.xcdr2, self.layout) {
            (false, Extensibility::Mutable) => 2,
            (false, _) => 0,
            (true, Extensibility::Final) => 6,
            (true, Extensibility::Appendable) => 8,
            (true, Extensibility::Mutable) => 10,
        };
        id + u16::from(!self.big_endian)
    }
}

pub struct Writer<'c, 'b> {
    /// Cyclone DDS refuses some of what the standard leaves open.
    makeup: Makeup,
    encoding: Encoding,
    out: Vec<u8>,
    /// From where alignment counts.
    origin: usize,
    choices: &'c mut Choices<'b>,
    /// Whether it is a writer of another version of the types.
    pub evolves: bool,
    /// Whether the members of the key are all that is written.
    pub key_only: bool,
}

/// A payload, and the values that a reader finds in it.
pub fn write(
    encoding: Encoding,
    ty: &StructTy,
    slots: &[Slot],
    choices: &mut Choices<'_>,
    key_only: bool,
) -> (Vec<u8>, Vec<Slot>) {
    write_of(Makeup::Anything, encoding, ty, slots, choices, key_only)
}

pub fn write_of(
    makeup: Makeup,
    encoding: Encoding,
    ty: &StructTy,
    slots: &[Slot],
    choices: &mut Choices<'_>,
    key_only: bool,
) -> (Vec<u8>, Vec<Slot>) {
    let evolves = !key_only && choices.chance(80);
    let mut writer = Writer {
        makeup,
        encoding,
        out: Vec::new(),
        origin: 0,
        choices,
        evolves,
        key_only,
    };
    let found = writer.members(encoding.layout, ty, slots, true);
    let padding = writer.choices.below(4);
    writer.out.resize(writer.out.len() + padding, 0xee);
    let payload = [&encoding.id().to_be_bytes()[..], &[0x12, 0x34], &writer.out].concat();
    (payload, found)
}

impl Writer<'_, '_> {
    fn align(&mut self, to: usize) {
        let to = to.min(if self.encoding.xcdr2 { 4 } else { 8 });
        while !(self.out.len() - self.origin).is_multiple_of(to) {
            self.out.push(0xa5);
        }
    }

    fn number<const N: usize>(&mut self, little: [u8; N]) {
        self.align(N);
        let mut bytes = little;
        if self.encoding.big_endian {
            bytes.reverse();
        }
        self.out.extend_from_slice(&bytes);
    }

    fn u32(&mut self, value: u32) {
        self.number(value.to_le_bytes());
    }

    fn sized(&mut self, value: u64, bytes: usize) {
        match bytes {
            1 => self.number((value as u8).to_le_bytes()),
            2 => self.number((value as u16).to_le_bytes()),
            4 => self.number((value as u32).to_le_bytes()),
            _ => self.number(value.to_le_bytes()),
        }
    }

    /// Room for a length; [`Writer::end`] fills it.
    fn begin(&mut self) -> usize {
        self.u32(0);
        self.out.len()
    }

    fn end(&mut self, begin: usize) {
        let length = (self.out.len() - begin) as u32;
        let bytes = if self.encoding.big_endian {
            length.to_be_bytes()
        } else {
            length.to_le_bytes()
        };
        self.out[begin - 4..begin].copy_from_slice(&bytes);
    }

    /// Within a length, in XCDR2, unless `bare`.
    fn enclosed<T>(&mut self, bare: bool, write: impl FnOnce(&mut Self) -> T) -> T {
        if bare || !self.encoding.xcdr2 {
            return write(self);
        }
        let begin = self.begin();
        let result = write(self);
        self.end(begin);
        result
    }

    fn whole<T>(&mut self, write: impl FnOnce(&mut Self) -> T) -> T {
        let key_only = std::mem::replace(&mut self.key_only, false);
        let result = write(self);
        self.key_only = key_only;
        result
    }

    fn value(&mut self, ty: &Ty, val: &Val) -> Val {
        match (ty, val) {
            (Ty::Prim(primitive), val) => self.primitive(*primitive, val),
            (Ty::Str, Val::Str(text)) => {
                if text.is_empty() && self.choices.chance(60) && self.makeup == Makeup::Anything {
                    self.u32(0);
                } else {
                    self.u32(text.len() as u32 + 1);
                    self.out.extend_from_slice(text);
                    self.out.push(0);
                }
            }
            (Ty::Wide, Val::WStr(units)) => {
                self.u32(2 * units.len() as u32);
                for unit in units {
                    let bytes = if self.encoding.big_endian {
                        unit.to_be_bytes()
                    } else {
                        unit.to_le_bytes()
                    };
                    self.out.extend_from_slice(&bytes);
                }
            }
            (Ty::Enum(it), Val::Enum(value)) => self.sized(*value as u64, it.bytes()),
            (Ty::Bits(it), Val::Bits(bits)) => self.sized(*bits, it.bytes()),
            (Ty::Seq(element), Val::Many(values)) => {
                return self.enclosed(element.is_primitive(), |it| {
                    it.u32(values.len() as u32);
                    let values = values.iter().map(|val| it.value(element, val));
                    Val::Many(values.collect())
                });
            }
            (Ty::Arr(..), val) => {
                let (element, _, values) = flat(ty, val);
                let found = self.enclosed(element.is_primitive(), |it| {
                    let values = values.iter().map(|val| it.value(&element, val));
                    values.collect::<Vec<_>>()
                });
                return folded(ty, &mut found.into_iter());
            }
            (Ty::Map(key, value), Val::Pairs(pairs)) => {
                let bare = key.is_primitive() && value.is_primitive();
                return self.whole(|it| {
                    it.enclosed(bare, |it| {
                        it.u32(pairs.len() as u32);
                        let pairs = pairs
                            .iter()
                            .map(|(k, v)| (it.value(key, k), it.value(value, v)));
                        Val::Pairs(pairs.collect())
                    })
                });
            }
            (Ty::Struct(it), Val::Members(slots)) => {
                return Val::Members(self.members(it.ext, it, slots, false));
            }
            (Ty::Union(it), Val::Chosen(disc, case)) => {
                return self.whole(|writer| writer.union(it, *disc, case));
            }
            (ty, val) => panic!("{val:?} is no {ty:?}"),
        }
        val.clone()
    }

    fn primitive(&mut self, primitive: Primitive, val: &Val) {
        match (primitive, val) {
            (_, Val::Bool(value)) => self.out.push((*value).into()),
            (_, Val::Char(value)) => self.out.push(*value),
            (_, Val::Wide(value)) => self.number(value.to_le_bytes()),
            (_, Val::F32(value)) => self.number(value.to_le_bytes()),
            (_, Val::F64(value)) => self.number(value.to_le_bytes()),
            (_, Val::F128(value)) => self.number(value.to_le_bytes()),
            (Primitive::Octet | Primitive::I8 | Primitive::U8, Val::Int(it)) => {
                self.sized(*it as u64, 1)
            }
            (Primitive::I16 | Primitive::U16, Val::Int(it)) => self.sized(*it as u64, 2),
            (Primitive::I32 | Primitive::U32, Val::Int(it)) => self.sized(*it as u64, 4),
            (_, Val::Int(it)) => self.sized(*it as u64, 8),
            (_, val) => panic!("{val:?} is not primitive"),
        }
    }

    fn members(
        &mut self,
        ext: Extensibility,
        ty: &StructTy,
        slots: &[Slot],
        root: bool,
    ) -> Vec<Slot> {
        let is_written =
            |at: &usize| !self.key_only || ty.keys.contains(at) || (!root && ty.keys.is_empty());
        let mut order: Vec<usize> = (0..slots.len()).filter(is_written).collect();
        let mut found = vec![Slot::Absent; slots.len()];
        match ext {
            Extensibility::Mutable => {
                if self.evolves {
                    order.retain(|_| !self.choices.chance(60));
                }
                self.shuffle(&mut order);
                for (member, found) in ty.members.iter().zip(&mut found) {
                    if member.optional {
                        *found = Slot::None;
                    }
                }
                let id = ty.members.iter().map(|it| it.id).max().unwrap_or(0) + 3;
                self.list(id, |it| {
                    for at in order {
                        let member = &ty.members[at];
                        if let Slot::Here(val) = &slots[at] {
                            let optional = member.optional;
                            found[at] = Slot::Here(if optional {
                                it.whole(|it| it.with_header(member, val))
                            } else {
                                it.with_header(member, val)
                            });
                        }
                    }
                });
            }
            Extensibility::Appendable => self.enclosed(false, |it| {
                let may_evolve = it.evolves && it.encoding.xcdr2 && it.choices.chance(100);
                let longer = it.choices.below(9);
                if may_evolve && longer == 0 {
                    // Cyclone DDS reads the members of a base all or none.
                    let least = match it.makeup {
                        Makeup::Anything => 0,
                        Makeup::Cyclone => ty.inherited,
                    };
                    order.truncate(it.choices.below(order.len() + 1).max(least));
                }
                for (at, slot) in found.iter_mut().enumerate() {
                    let is_there = order.contains(&at);
                    if is_there {
                        *slot = it.back_to_back(&ty.members[at], &slots[at]);
                    } else if ty.members[at].optional {
                        *slot = Slot::None;
                    }
                }
                if may_evolve && order.len() == slots.len() {
                    it.out.resize(it.out.len() + longer, 0x77);
                }
            }),
            Extensibility::Final => {
                for at in order {
                    found[at] = self.back_to_back(&ty.members[at], &slots[at]);
                }
            }
        }
        found
    }

    fn shuffle(&mut self, order: &mut [usize]) {
        if self.choices.chance(100) {
            for at in (1..order.len()).rev() {
                order.swap(at, self.choices.below(at + 1));
            }
        }
    }

    fn back_to_back(&mut self, member: &MemberTy, slot: &Slot) -> Slot {
        let val = match slot {
            Slot::Here(val) => Some(val),
            Slot::None | Slot::Absent => None,
        };
        let found = match (member.optional, val, self.encoding.xcdr2) {
            (false, Some(val), _) => Some(self.value(&member.ty, val)),
            (false, None, _) => panic!("{} is not optional", member.name),
            (true, val, true) => {
                self.out.push(val.is_some().into());
                val.map(|val| self.whole(|it| it.value(&member.ty, val)))
            }
            (true, Some(val), false) => Some(self.whole(|it| it.parameter(member, val, false))),
            (true, None, false) => {
                self.parameter_header(member.id, 0, false);
                None
            }
        };
        found.map_or(Slot::None, Slot::Here)
    }

    /// Members with headers, and now and then one that no reader knows.
    fn list<T>(&mut self, unknown: u32, write: impl FnOnce(&mut Self) -> T) -> T {
        let result = self.enclosed(false, |it| {
            if it.evolves && it.choices.chance(100) {
                it.unknown(unknown);
            }
            let result = write(it);
            if it.evolves && it.choices.chance(100) {
                it.unknown(unknown + 1);
            }
            result
        });
        if !self.encoding.xcdr2 {
            self.align(4);
            self.number(0x7f02_u16.to_le_bytes());
            self.number(0_u16.to_le_bytes());
        }
        result
    }

    fn unknown(&mut self, id: u32) {
        let bytes = self.choices.below(9) + 1;
        if self.encoding.xcdr2 {
            self.u32(4 << 28 | id);
            self.u32(bytes as u32);
        } else {
            self.parameter_header(id, bytes, false);
        }
        self.out.resize(self.out.len() + bytes, 0xbb);
    }

    fn with_header(&mut self, member: &MemberTy, val: &Val) -> Val {
        if !self.encoding.xcdr2 {
            let found = self.parameter(member, val, true);
            return found;
        }
        let must_understand = u32::from(self.choices.chance(80)) << 31;
        self.u32(must_understand | 4 << 28 | member.id);
        let header = self.out.len() - 4;
        // A value may begin with its own length: the header can then do without one.
        let found = self.value(&member.ty, val);
        let value = self.out.split_off(header + 4);
        let first = value.first_chunk::<4>().map(|bytes| {
            if self.encoding.big_endian {
                u32::from_be_bytes(*bytes) as usize
            } else {
                u32::from_le_bytes(*bytes) as usize
            }
        });
        let shares = |unit: usize| first.is_some_and(|first| first * unit + 4 == value.len());
        let codes = [
            (value.len() == 1, 0),
            (value.len() == 2, 1),
            (value.len() == 4, 2),
            (value.len() == 8, 3),
            (shares(1), 5),
            (shares(4), 6),
            (shares(8), 7),
        ];
        let mut fit = codes
            .iter()
            .filter(|(fits, _)| *fits)
            .map(|(_, code)| *code);
        let code = if self.choices.chance(50) {
            None
        } else {
            fit.next()
        };
        let code = code.unwrap_or(4);
        self.out.truncate(header);
        self.u32(must_understand | code << 28 | member.id);
        if code == 4 {
            self.u32(value.len() as u32);
        }
        self.out.extend_from_slice(&value);
        found
    }

    fn parameter(&mut self, member: &MemberTy, val: &Val, may_pad: bool) -> Val {
        self.align(4);
        let origin = self.origin;
        let start = self.out.len();
        // The value is written where it would be after either header: it counts from its own begin.
        self.origin = start;
        let found = self.value(&member.ty, val);
        if may_pad && self.choices.chance(128) {
            self.align(4);
        }
        let newer = match &member.ty {
            Ty::Struct(it) => it.ext == Extensibility::Appendable,
            Ty::Union(it) => it.ext == Extensibility::Appendable,
            _ => false,
        };
        if newer && self.evolves && self.out.len() > start {
            let longer = self.choices.below(9);
            self.out.resize(self.out.len() + longer, 0x77);
        }
        self.origin = origin;
        let value = self.out.split_off(start);
        let must_understand = self.choices.chance(60);
        self.parameter_header(member.id, value.len(), must_understand);
        self.out.extend_from_slice(&value);
        found
    }

    fn parameter_header(&mut self, id: u32, bytes: usize, must_understand: bool) {
        self.align(4);
        let fits = id < 0x3f00 && bytes <= 0xffff && (id != 1 || bytes > 0);
        if fits && self.choices.chance(100) {
            let flags = if must_understand { 0x4000 } else { 0 };
            self.number((flags | id as u16).to_le_bytes());
            self.number((bytes as u16).to_le_bytes());
        } else {
            self.number(0x7f01_u16.to_le_bytes());
            self.number(8_u16.to_le_bytes());
            self.u32(u32::from(must_understand) << 30 | id);
            self.u32(bytes as u32);
        }
    }

    fn union(&mut self, it: &UnionTy, disc: i64, case: &Option<(usize, Box<Slot>)>) -> Val {
        let label = |writer: &mut Self| {
            let bytes = match &it.disc {
                Ty::Prim(Primitive::Boolean | Primitive::Char8 | Primitive::Octet) => 1,
                Ty::Prim(Primitive::I16 | Primitive::U16) => 2,
                Ty::Prim(Primitive::I32) => 4,
                Ty::Enum(it) => it.bytes(),
                _ => 8,
            };
            writer.sized(disc as u64, bytes);
        };
        let chosen = case.as_ref().map(|(at, slot)| match &**slot {
            Slot::Here(val) => (*at, &it.cases[*at].1, val),
            other => panic!("a case is {other:?}"),
        });
        let body = |writer: &mut Self| {
            label(writer);
            chosen.map(|(at, member, val)| (at, writer.value(&member.ty, val)))
        };
        let found = match it.ext {
            Extensibility::Final => body(self),
            Extensibility::Appendable => self.enclosed(false, |writer| {
                let found = body(writer);
                if writer.evolves && writer.encoding.xcdr2 && chosen.is_some() {
                    writer
                        .out
                        .extend_from_slice(&[0x77; 5][..writer.choices.below(6)]);
                }
                found
            }),
            Extensibility::Mutable => self.list(1000, |writer| {
                let header = MemberTy {
                    name: String::new(),
                    id: 0,
                    optional: false,
                    ty: it.disc.clone(),
                };
                let val = match &it.disc {
                    Ty::Prim(Primitive::Boolean) => Val::Bool(disc == 1),
                    Ty::Prim(Primitive::Char8) => Val::Char(disc as u8),
                    Ty::Enum(_) => Val::Enum(disc as i32),
                    _ => Val::Int(disc.into()),
                };
                let value_first = writer.choices.chance(60);
                if !value_first {
                    writer.with_header(&header, &val);
                }
                let found = chosen.map(|(at, member, val)| (at, writer.with_header(member, val)));
                if value_first {
                    writer.with_header(&header, &val);
                }
                found
            }),
        };
        Val::Chosen(disc, found.map(|(at, val)| (at, Box::new(Slot::Here(val)))))
    }
}

/// The values of an array of arrays where they belong.
fn folded(ty: &Ty, values: &mut impl Iterator<Item = Val>) -> Val {
    let Ty::Arr(element, dimensions, _) = ty else {
        return values.next().unwrap();
    };
    let count = dimensions.iter().product::<u32>();
    Val::Many((0..count).map(|_| folded(element, values)).collect())
}
