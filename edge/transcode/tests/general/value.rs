//! Random values, and whether a datum is one.

use apache_avro::types::Value;
use efd_shared_types::model::Primitive;

use crate::choices::Choices;
use crate::types::{StructTy, Ty, UnionTy};

#[derive(Clone, Debug)]
pub enum Val {
    Bool(bool),
    Int(i128),
    F32(u32),
    F64(u64),
    F128(u128),
    Char(u8),
    Wide(u16),
    Str(Vec<u8>),
    WStr(Vec<u16>),
    /// Arrays of several dimensions too, the last running fastest.
    Many(Vec<Self>),
    Pairs(Vec<(Self, Self)>),
    Members(Vec<Slot>),
    Chosen(i64, Option<(usize, Box<Slot>)>),
    Enum(i32),
    Bits(u64),
}

#[derive(Clone, Debug)]
pub enum Slot {
    Here(Val),
    /// An optional member without a value.
    None,
    /// The writer has no such member.
    Absent,
}

pub fn integer_bits(primitive: Primitive) -> Option<(usize, bool)> {
    match primitive {
        Primitive::I8 => Some((8, true)),
        Primitive::Octet | Primitive::U8 => Some((8, false)),
        Primitive::I16 => Some((16, true)),
        Primitive::U16 => Some((16, false)),
        Primitive::I32 => Some((32, true)),
        Primitive::U32 => Some((32, false)),
        Primitive::I64 => Some((64, true)),
        // Above 2^63-1 there is no datum.
        Primitive::U64 => Some((63, false)),
        _ => None,
    }
}

pub fn random(ty: &Ty, choices: &mut Choices<'_>) -> Val {
    match ty {
        Ty::Prim(primitive) => match primitive {
            Primitive::Boolean => Val::Bool(choices.chance(128)),
            Primitive::F32 => Val::F32(u32::from_le_bytes(choices.word())),
            Primitive::F64 => Val::F64(u64::from_le_bytes(choices.word())),
            Primitive::F128 => Val::F128(u128::from_le_bytes(choices.word())),
            Primitive::Char8 => Val::Char(choices.byte()),
            Primitive::Char16 => {
                let unit = u16::from_le_bytes(choices.word());
                Val::Wide(if (0xd800..0xe000).contains(&unit) {
                    0x20ac
                } else {
                    unit
                })
            }
            _ => {
                let (bits, signed) = integer_bits(*primitive).unwrap();
                let value = i128::from(i64::from_le_bytes(choices.word()));
                let value = value.rem_euclid(1 << bits);
                let sign = signed && value >> (bits - 1) == 1;
                Val::Int(if sign { value - (1 << bits) } else { value })
            }
        },
        Ty::Str => Val::Str(text(choices)),
        Ty::Wide => {
            let letters = ['a', 'ß', '€', '𝄞', '\0', 'z'];
            let text: String = (0..choices.below(5))
                .map(|_| letters[choices.below(6)])
                .collect();
            Val::WStr(text.encode_utf16().collect())
        }
        Ty::Seq(element) => {
            let count = choices.below(5);
            Val::Many((0..count).map(|_| random(element, choices)).collect())
        }
        Ty::Arr(element, dimensions, _) => {
            let count = dimensions.iter().product::<u32>();
            Val::Many((0..count).map(|_| random(element, choices)).collect())
        }
        Ty::Map(key, value) => {
            let mut pairs: Vec<(Val, Val)> = Vec::new();
            for _ in 0..choices.below(4) {
                let key = random(key, choices);
                // A reader of maps keeps one of two alike.
                if pairs.iter().all(|(it, _)| as_text(it) != as_text(&key)) {
                    pairs.push((key, random(value, choices)));
                }
            }
            Val::Pairs(pairs)
        }
        Ty::Struct(it) => Val::Members(members(it, choices)),
        Ty::Union(it) => chosen(it, choices),
        Ty::Enum(it) => Val::Enum(it.values[choices.below(it.values.len())]),
        Ty::Bits(it) => {
            let bits = u64::from_le_bytes(choices.word());
            Val::Bits(bits & u64::MAX >> (64 - it.bit_bound))
        }
    }
}

fn text(choices: &mut Choices<'_>) -> Vec<u8> {
    let parts: [&[u8]; 6] = [b"a", b"word", "é€".as_bytes(), &[0xe9], &[0], b"x y"];
    (0..choices.below(4))
        .flat_map(|_| parts[choices.below(6)].to_vec())
        .collect()
}

pub fn members(it: &StructTy, choices: &mut Choices<'_>) -> Vec<Slot> {
    let slots = it.members.iter().map(|member| {
        if member.optional && choices.chance(100) {
            Slot::None
        } else {
            Slot::Here(random(&member.ty, choices))
        }
    });
    slots.collect()
}

fn chosen(it: &UnionTy, choices: &mut Choices<'_>) -> Val {
    let others: &[i64] = match &it.disc {
        Ty::Prim(Primitive::Boolean) => &[0, 1],
        Ty::Enum(it) => &it
            .values
            .iter()
            .map(|it| i64::from(*it))
            .collect::<Vec<_>>(),
        _ => &[17, 1, 0],
    };
    let labels = it.cases.iter().flat_map(|(labels, _)| labels).copied();
    let all: Vec<i64> = labels.chain(others.iter().copied()).collect();
    let label = all[choices.below(all.len())];
    let case = it
        .cases
        .iter()
        .position(|(labels, _)| labels.contains(&label));
    let default = (it.has_default && !it.cases.is_empty()).then(|| it.cases.len() - 1);
    let case = case.or(default).map(|case| {
        let value = random(&it.cases[case].1.ty, choices);
        (case, Box::new(Slot::Here(value)))
    });
    Val::Chosen(label, case)
}

fn as_text(val: &Val) -> String {
    match val {
        Val::Str(text) => decoded(text),
        other => format!("{other:?}"),
    }
}

fn decoded(text: &[u8]) -> String {
    // One terminator is taken away, here the one that was added.
    String::from_utf8(text.to_vec())
        .unwrap_or_else(|_| text.iter().map(|it| char::from(*it)).collect())
}

fn widened(bits: u32) -> u64 {
    if f32::from_bits(bits).is_nan() {
        let (sign, rest) = (u64::from(bits >> 31), u64::from(bits & 0x7f_ffff));
        sign << 63 | 0x7ff << 52 | rest << 29
    } else {
        f64::from(f32::from_bits(bits)).to_bits()
    }
}

pub fn same(ty: &Ty, val: &Val, found: &Value) -> bool {
    match (ty, val, found) {
        (_, Val::Bool(a), Value::Boolean(b)) => a == b,
        (_, Val::Int(a), Value::Long(b)) => *a == i128::from(*b),
        (_, Val::F32(a), Value::Double(b)) => widened(*a) == b.to_bits(),
        (_, Val::F64(a), Value::Double(b)) => *a == b.to_bits(),
        (_, Val::F128(a), Value::Fixed(16, b)) => a.to_le_bytes()[..] == b[..],
        (_, Val::Char(a), Value::String(b)) => char::from(*a).to_string() == *b,
        (_, Val::Wide(a), Value::String(b)) => String::from_utf16(&[*a]).unwrap() == *b,
        (_, Val::Str(a), Value::String(b)) => decoded(a) == *b,
        (_, Val::WStr(a), Value::String(b)) => String::from_utf16(a).unwrap() == *b,
        (_, Val::Bits(a), Value::Long(b)) => a.cast_signed() == *b,
        (Ty::Enum(it), Val::Enum(a), Value::Enum(at, symbol)) => {
            it.values[*at as usize] == *a && *symbol == format!("L{at}")
        }
        (Ty::Seq(element), Val::Many(a), Value::Bytes(b)) if element.is_octet() => octets(a) == *b,
        (Ty::Arr(element, dimensions, _), Val::Many(a), Value::Bytes(b)) => {
            element.is_octet() && dimensions.len() == 1 && octets(a) == *b
        }
        (Ty::Seq(element), Val::Many(a), found) => nested(element, &[a.len() as u32], a, found),
        (Ty::Arr(..), val @ Val::Many(_), found) => {
            let (innermost, dimensions, values) = flat(ty, val);
            nested(&innermost, &dimensions, &values, found)
        }
        (Ty::Map(key, value), Val::Pairs(a), Value::Array(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|((k, v), found)| match found {
                    Value::Record(entry) => {
                        entry[0].0 == "key"
                            && same(key, k, &entry[0].1)
                            && entry[1].0 == "value"
                            && same(value, v, &entry[1].1)
                    }
                    _ => false,
                })
        }
        (Ty::Map(_, value), Val::Pairs(a), Value::Map(b)) => {
            let text = |key: &Val| match key {
                Val::Str(text) => decoded(text),
                Val::WStr(text) => String::from_utf16(text).unwrap(),
                other => panic!("{other:?} is no key of a map"),
            };
            a.len() == b.len()
                && a.iter()
                    .all(|(k, v)| b.get(&text(k)).is_some_and(|it| same(value, v, it)))
        }
        (Ty::Struct(it), Val::Members(a), Value::Record(b)) => same_members(it, a, b),
        (Ty::Union(it), Val::Chosen(disc, case), Value::Record(b)) => {
            let rest = it.cases.iter().zip(&b[1..]).enumerate();
            b[0].0 == "discriminator"
                && same_label(&it.disc, *disc, &b[0].1)
                && b.len() == it.cases.len() + 1
                && rest.into_iter().all(|(at, ((_, member), (name, found)))| {
                    let slot = match case {
                        Some((chosen, slot)) if *chosen == at => &**slot,
                        _ => &Slot::None,
                    };
                    member.name == *name && same_slot(&member.ty, true, slot, found)
                })
        }
        _ => false,
    }
}

fn octets(values: &[Val]) -> Vec<u8> {
    let octet = |val: &Val| match val {
        Val::Int(octet) => u8::try_from(*octet).unwrap(),
        other => panic!("{other:?} is no octet"),
    };
    values.iter().map(octet).collect()
}

/// An array of arrays is one of more dimensions.
pub fn flat(ty: &Ty, val: &Val) -> (Ty, Vec<u32>, Vec<Val>) {
    let (Ty::Arr(element, dimensions, _), Val::Many(values)) = (ty, val) else {
        panic!("{ty:?} is no array");
    };
    if !matches!(**element, Ty::Arr(..)) {
        return ((**element).clone(), dimensions.clone(), values.clone());
    }
    let (mut innermost, mut all, mut flattened) = (Ty::Str, dimensions.clone(), Vec::new());
    for (at, value) in values.iter().enumerate() {
        let (of_inner, more, values) = flat(element, value);
        if at == 0 {
            innermost = of_inner;
            all.extend(more);
        }
        flattened.extend(values);
    }
    (innermost, all, flattened)
}

fn nested(element: &Ty, dimensions: &[u32], values: &[Val], found: &Value) -> bool {
    let Some((count, inner)) = dimensions.split_first() else {
        return values.len() == 1 && same(element, &values[0], found);
    };
    let Value::Array(items) = found else {
        return false;
    };
    let each = values.len() / (*count as usize).max(1);
    items.len() == *count as usize
        && items.iter().enumerate().all(|(at, item)| {
            let values = &values[at * each..(at + 1) * each];
            nested(element, inner, values, item)
        })
}

fn same_label(ty: &Ty, label: i64, found: &Value) -> bool {
    let val = match ty {
        Ty::Prim(Primitive::Boolean) => Val::Bool(label == 1),
        Ty::Prim(Primitive::Char8) => Val::Char(label as u8),
        Ty::Enum(_) => Val::Enum(label as i32),
        _ => Val::Int(label.into()),
    };
    same(ty, &val, found)
}

pub fn same_members(it: &StructTy, slots: &[Slot], found: &[(String, Value)]) -> bool {
    it.members.len() == found.len()
        && it
            .members
            .iter()
            .zip(slots)
            .zip(found)
            .all(|((member, slot), (name, found))| {
                member.name == *name && same_slot(&member.ty, member.optional, slot, found)
            })
}

fn same_slot(ty: &Ty, nullable: bool, slot: &Slot, found: &Value) -> bool {
    match (nullable, slot, found) {
        (true, Slot::None, Value::Union(0, found)) => **found == Value::Null,
        (true, Slot::Here(val), Value::Union(1, found)) => same(ty, val, found),
        (true, Slot::Absent, Value::Union(1, found)) => is_default(ty, found),
        (false, Slot::Here(val), found) => same(ty, val, found),
        (false, Slot::Absent, found) => is_default(ty, found),
        _ => false,
    }
}

fn is_default(ty: &Ty, found: &Value) -> bool {
    match (ty, found) {
        (Ty::Prim(_), Value::Boolean(it)) => !it,
        (Ty::Prim(_) | Ty::Bits(_), Value::Long(it)) => *it == 0,
        (Ty::Prim(_), Value::Double(it)) => it.to_bits() == 0,
        (Ty::Prim(_), Value::Fixed(16, it)) => it.iter().all(|it| *it == 0),
        (Ty::Prim(_), Value::String(it)) => it == "\0",
        (Ty::Str | Ty::Wide, Value::String(it)) => it.is_empty(),
        (Ty::Enum(it), Value::Enum(at, _)) => it.default.unwrap_or(0) == *at as usize,
        (Ty::Seq(_) | Ty::Arr(..), Value::Bytes(it)) => it.is_empty(),
        (Ty::Seq(_) | Ty::Arr(..) | Ty::Map(..), Value::Array(it)) => it.is_empty(),
        (Ty::Map(..), Value::Map(it)) => it.is_empty(),
        (Ty::Struct(it), Value::Record(fields)) => {
            let members = it.members.iter().zip(fields);
            members.into_iter().all(|(member, (_, found))| match found {
                Value::Union(0, _) => member.optional,
                found => is_default(&member.ty, found),
            })
        }
        (Ty::Union(it), Value::Record(fields)) => {
            let mut cases = fields[1..].iter();
            is_default(&it.disc, &fields[0].1)
                && cases.all(|(_, it)| matches!(it, Value::Union(0, _)))
        }
        _ => false,
    }
}
