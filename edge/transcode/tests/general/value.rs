//! Random values.

use efd_shared_types::model::Primitive;

use super::choices::Choices;
use super::types::{StructTy, Ty, UnionTy};

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

pub fn decoded(text: &[u8]) -> String {
    // One terminator is taken away, here the one that was added.
    String::from_utf8(text.to_vec())
        .unwrap_or_else(|_| text.iter().map(|it| char::from(*it)).collect())
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
