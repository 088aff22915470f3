//! The key of a value, from the tree.

use efd_shared_types::model::Primitive;

use super::types::{StructTy, Ty};
use super::value::{Slot, Val};

/// `None` where the sample lacks a part of it.
pub fn expected(ty: &StructTy, slots: &[Slot]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    key_members(ty, slots, &mut out)?;
    Some(out)
}

fn key_members(ty: &StructTy, slots: &[Slot], out: &mut Vec<u8>) -> Option<()> {
    for key in &ty.keys {
        let ty = &ty.members[*key].ty;
        match &slots[*key] {
            Slot::Here(val) => holder(ty, val, out)?,
            Slot::Absent if ty.is_nothing() => {}
            _ => return None,
        }
    }
    Some(())
}

/// Structs have their keys, where they have any; those in maps, unions and optional members are whole.
fn holder(ty: &Ty, val: &Val, out: &mut Vec<u8>) -> Option<()> {
    match (ty, val) {
        (Ty::Struct(inner), Val::Members(slots)) if !inner.keys.is_empty() => {
            key_members(inner, slots, out)
        }
        (Ty::Struct(inner), Val::Members(slots)) => {
            let members = inner.members.iter().zip(slots);
            members
                .into_iter()
                .try_for_each(|(member, slot)| match slot {
                    Slot::Here(val) if member.optional => {
                        out.push(1);
                        whole(&member.ty, val, out)
                    }
                    Slot::Here(val) => holder(&member.ty, val, out),
                    Slot::None => {
                        out.push(0);
                        Some(())
                    }
                    Slot::Absent => member.ty.is_nothing().then_some(()),
                })
        }
        (Ty::Seq(element), Val::Many(values)) => {
            length(values.len(), out);
            values.iter().try_for_each(|val| holder(element, val, out))
        }
        (Ty::Arr(element, ..), Val::Many(values)) => {
            values.iter().try_for_each(|val| holder(element, val, out))
        }
        (ty, val) => whole(ty, val, out),
    }
}

fn length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(length as u32).to_be_bytes());
}

fn low(value: u64, bytes: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes()[8 - bytes..]);
}

fn whole(ty: &Ty, val: &Val, out: &mut Vec<u8>) -> Option<()> {
    match (ty, val) {
        (Ty::Prim(primitive), Val::Int(value)) => low(*value as u64, bytes_of(*primitive), out),
        (_, Val::Bool(value)) => out.push((*value).into()),
        (_, Val::F32(value)) => out.extend_from_slice(&value.to_be_bytes()),
        (_, Val::F64(value)) => out.extend_from_slice(&value.to_be_bytes()),
        (_, Val::F128(value)) => out.extend_from_slice(&value.to_be_bytes()),
        (_, Val::Char(value)) => out.push(*value),
        (_, Val::Wide(value)) => out.extend_from_slice(&value.to_be_bytes()),
        (Ty::Enum(it), Val::Enum(value)) => low(*value as u64, it.bytes(), out),
        (Ty::Bits(it), Val::Bits(value)) => low(*value, it.bytes(), out),
        (_, Val::Str(text)) => {
            length(text.len() + 1, out);
            out.extend_from_slice(text);
            out.push(0);
        }
        (_, Val::WStr(units)) => {
            length(2 * units.len(), out);
            units
                .iter()
                .for_each(|unit| out.extend_from_slice(&unit.to_be_bytes()));
        }
        (Ty::Seq(element), Val::Many(values)) => {
            length(values.len(), out);
            return values.iter().try_for_each(|val| whole(element, val, out));
        }
        (Ty::Arr(element, ..), Val::Many(values)) => {
            return values.iter().try_for_each(|val| whole(element, val, out));
        }
        (Ty::Map(key, value), Val::Pairs(pairs)) => {
            length(pairs.len(), out);
            for (k, v) in pairs {
                whole(key, k, out)?;
                whole(value, v, out)?;
            }
        }
        (Ty::Struct(it), Val::Members(slots)) => {
            for (member, slot) in it.members.iter().zip(slots) {
                match slot {
                    Slot::Here(val) => {
                        if member.optional {
                            out.push(1);
                        }
                        whole(&member.ty, val, out)?;
                    }
                    Slot::None => out.push(0),
                    Slot::Absent if member.ty.is_nothing() => {}
                    Slot::Absent => return None,
                }
            }
        }
        (Ty::Union(it), Val::Chosen(disc, case)) => {
            let bytes = match &it.disc {
                Ty::Prim(primitive) => bytes_of(*primitive),
                Ty::Enum(it) => it.bytes(),
                other => panic!("{other:?} is no discriminator"),
            };
            low(*disc as u64, bytes, out);
            if let Some((at, slot)) = case {
                let Slot::Here(val) = &**slot else {
                    return None;
                };
                whole(&it.cases[*at].1.ty, val, out)?;
            }
        }
        (ty, val) => panic!("{val:?} is no {ty:?}"),
    }
    Some(())
}

fn bytes_of(primitive: Primitive) -> usize {
    match primitive {
        Primitive::Boolean | Primitive::Octet | Primitive::I8 | Primitive::U8 => 1,
        Primitive::Char8 => 1,
        Primitive::I16 | Primitive::U16 | Primitive::Char16 => 2,
        Primitive::I32 | Primitive::U32 | Primitive::F32 => 4,
        Primitive::I64 | Primitive::U64 | Primitive::F64 => 8,
        Primitive::F128 => 16,
    }
}
