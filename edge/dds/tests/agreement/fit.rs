//! Values that Cyclone's samples can hold, and values that are alike in parts.

use efd_shared_types::model::Primitive;

use crate::choices::Choices;
use crate::types::{FLAGS, StructTy, Ty, UnionTy};
use crate::value::{self, Slot, Val};

/// Random values, without NULs in texts (those end at the first one in C) and without bits that no
/// flag has (Cyclone refuses them).
pub fn members(ty: &StructTy, choices: &mut Choices<'_>) -> Vec<Slot> {
    let mut slots = value::members(ty, choices);
    slots.iter_mut().for_each(fit_slot);
    slots
}

fn fit_slot(slot: &mut Slot) {
    if let Slot::Here(val) = slot {
        fit(val);
    }
}

fn fit(val: &mut Val) {
    match val {
        Val::Str(text) => text.retain(|it| *it != 0),
        Val::WStr(units) => units.retain(|it| *it != 0),
        Val::Bits(bits) => *bits &= FLAGS.iter().map(|at| 1 << at).sum::<u64>(),
        Val::Many(values) => values.iter_mut().for_each(fit),
        Val::Members(slots) => slots.iter_mut().for_each(fit_slot),
        Val::Chosen(_, Some((_, slot))) => fit_slot(slot),
        _ => {}
    }
}

/// Of two values of a struct, one that has of each member, on all levels, either's value; `mostly`
/// of 256 times the first one's.
pub fn mixed(
    ty: &StructTy,
    [one, other]: [&[Slot]; 2],
    mostly: u8,
    choices: &mut Choices<'_>,
) -> Vec<Slot> {
    let slots = ty.members.iter().zip(one).zip(other);
    slots
        .map(|((member, one), other)| match (&member.ty, one, other) {
            (Ty::Struct(inner), Slot::Here(Val::Members(one)), Slot::Here(Val::Members(other))) => {
                Slot::Here(Val::Members(mixed(inner, [one, other], mostly, choices)))
            }
            _ if choices.chance(mostly) => one.clone(),
            _ => other.clone(),
        })
        .collect()
}

/// With the values that Cyclone has for what is absent: nothing but zeros. `None` where that is no
/// value, of an enum without a literal for it.
pub fn filled(ty: &StructTy, slots: &[Slot]) -> Option<Vec<Slot>> {
    let slots = ty.members.iter().zip(slots);
    slots
        .map(|(member, slot)| match slot {
            Slot::Here(val) => Some(Slot::Here(filled_value(&member.ty, val)?)),
            Slot::None => Some(Slot::None),
            Slot::Absent if member.optional => Some(Slot::None),
            Slot::Absent => Some(Slot::Here(zero(&member.ty)?)),
        })
        .collect()
}

fn filled_value(ty: &Ty, val: &Val) -> Option<Val> {
    Some(match (ty, val) {
        (Ty::Struct(it), Val::Members(slots)) => Val::Members(filled(it, slots)?),
        (Ty::Union(it), Val::Chosen(label, Some((at, slot)))) => {
            let ty = &it.cases[*at].1.ty;
            let val = match &**slot {
                Slot::Here(val) => filled_value(ty, val)?,
                Slot::None | Slot::Absent => zero(ty)?,
            };
            Val::Chosen(*label, Some((*at, Box::new(Slot::Here(val)))))
        }
        (Ty::Seq(element) | Ty::Arr(element, ..), Val::Many(values)) => {
            let values = values.iter().map(|val| filled_value(element, val));
            Val::Many(values.collect::<Option<_>>()?)
        }
        (_, val) => val.clone(),
    })
}

fn zero(ty: &Ty) -> Option<Val> {
    Some(match ty {
        Ty::Prim(primitive) => match primitive {
            Primitive::Boolean => Val::Bool(false),
            Primitive::F32 => Val::F32(0),
            Primitive::F64 => Val::F64(0),
            Primitive::F128 => Val::F128(0),
            Primitive::Char8 => Val::Char(0),
            Primitive::Char16 => Val::Wide(0),
            _ => Val::Int(0),
        },
        Ty::Str => Val::Str(Vec::new()),
        Ty::Wide => Val::WStr(Vec::new()),
        Ty::Bits(_) => Val::Bits(0),
        Ty::Enum(it) => it.values.contains(&0).then_some(Val::Enum(0))?,
        Ty::Seq(_) => Val::Many(Vec::new()),
        Ty::Map(..) => Val::Pairs(Vec::new()),
        // Of the four bytes of each in memory the library sets as many as there are on the wire.
        Ty::Arr(element, ..) if matches!(&**element, Ty::Enum(it) if it.bytes() < 4) => {
            return None;
        }
        Ty::Arr(element, dimensions, _) => {
            let count = dimensions.iter().product::<u32>();
            Val::Many(vec![zero(element)?; count as usize])
        }
        Ty::Struct(it) => Val::Members(filled(it, &vec![Slot::Absent; it.members.len()])?),
        Ty::Union(it) => zero_union(it)?,
    })
}

fn zero_union(it: &UnionTy) -> Option<Val> {
    if let Ty::Enum(it) = &it.disc
        && !it.values.contains(&0)
    {
        return None;
    }
    let mut cases = it.cases.iter();
    let labelled = cases.position(|(labels, _)| labels.contains(&0));
    let default = it.has_default.then(|| it.cases.len() - 1);
    let Some(at) = labelled.or(default) else {
        return Some(Val::Chosen(0, None));
    };
    let val = zero(&it.cases[at].1.ty)?;
    Some(Val::Chosen(0, Some((at, Box::new(Slot::Here(val))))))
}
