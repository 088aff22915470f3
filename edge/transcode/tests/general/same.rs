//! Whether a datum is a value.

use apache_avro::types::Value;
use efd_shared_types::model::Primitive;

use super::types::{StructTy, Ty};
use super::value::{Slot, Val, decoded, flat};

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
