//! Random flat types, and a sample of each.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Field, Scalar};

const TYPES: [&str; 12] = [
    "boolean",
    "octet",
    "int8",
    "short",
    "unsigned short",
    "long",
    "unsigned long",
    "long long",
    "unsigned long long",
    "float",
    "double",
    "string",
];

#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) idl: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) names: Vec<String>,
    pub(crate) order: Vec<usize>,
    pub(crate) wide: bool,
    pub(crate) garbage: u8,
}

fn scalar(ty: &'static str) -> BoxedStrategy<Scalar> {
    let int = |size: usize, min: i128, max: i128| {
        let edges = prop_oneof![Just(min), Just(max), Just(0), (-70_i128..70), min..=max];
        edges
            .prop_map(move |value| Scalar::Int(size, value.clamp(min, max)))
            .boxed()
    };
    match ty {
        "boolean" => any::<bool>().prop_map(Scalar::Bool).boxed(),
        "octet" => int(1, 0, 255),
        "int8" => int(1, -128, 127),
        "short" => int(2, i16::MIN.into(), i16::MAX.into()),
        "unsigned short" => int(2, 0, u16::MAX.into()),
        "long" => int(4, i32::MIN.into(), i32::MAX.into()),
        "unsigned long" => int(4, 0, u32::MAX.into()),
        "long long" => int(8, i64::MIN.into(), i64::MAX.into()),
        "unsigned long long" => int(8, 0, i64::MAX.into()),
        "float" => prop_oneof![
            any::<u32>(),
            any::<u32>().prop_map(|bits| bits | 0x7f80_0000),
            any::<f32>().prop_map(f32::to_bits),
            Just(0x7f80_0001),
        ]
        .prop_map(Scalar::F32)
        .boxed(),
        "double" => prop_oneof![
            any::<u64>(),
            any::<f64>().prop_map(f64::to_bits),
            Just(0x7ff0_0000_0000_0001)
        ]
        .prop_map(Scalar::F64)
        .boxed(),
        _ => prop_oneof![
            any::<String>().prop_map(String::into_bytes),
            vec(any::<u8>(), 0..40),
            "[ -~]{0,30}".prop_map(String::into_bytes),
        ]
        .prop_map(Scalar::Text)
        .boxed(),
    }
}

/// Declaration without the name, and a value.
fn field() -> impl Strategy<Value = (String, Option<usize>, Field)> {
    let count = prop_oneof![3 => Just(None), 2 => (1_usize..40).prop_map(Some)];
    (prop::sample::select(&TYPES[..]), count).prop_flat_map(|(ty, count)| {
        let value = match count {
            None => scalar(ty).prop_map(Field::One).boxed(),
            Some(count) => vec(scalar(ty), count).prop_map(Field::Array).boxed(),
        };
        value.prop_map(move |value| (ty.to_owned(), count, value))
    })
}

fn private(old: bool, indexed: bool) -> Vec<(&'static str, &'static str)> {
    let index = match (indexed, old) {
        (false, _) => None,
        (true, false) => Some(("long", "salIndex")),
        (true, true) => Some(("long", "RandID")),
    };
    let mut fields: Vec<_> = index.into_iter().collect();
    fields.extend([
        ("string", "private_revCode"),
        ("double", "private_sndStamp"),
        ("double", "private_rcvStamp"),
        ("long", "private_seqNum"),
        if old {
            ("long", "private_host")
        } else {
            ("string", "private_identity")
        },
        ("long", "private_origin"),
    ]);
    fields
}

pub(crate) fn sample() -> impl Strategy<Value = Sample> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<u8>());
    (flags, vec(field(), 0..14)).prop_flat_map(|((old, indexed, wide, garbage), extra)| {
        let private = private(old, indexed);
        let values: Vec<_> = private.iter().map(|(ty, _)| scalar(ty).prop_map(Field::One)).collect();
        let order: Vec<usize> = (0..private.len() + extra.len()).collect();
        let order = prop_oneof![Just(order.clone()), Just(order).prop_shuffle()];
        (values, order).prop_map(move |(values, order)| {
            let mut text = String::new();
            let mut names = Vec::new();
            for (ty, name) in &private {
                text += &format!("{ty} {name};\n");
                names.push((*name).to_owned());
            }
            let mut fields = values;
            for (index, (ty, count, value)) in extra.iter().enumerate() {
                let size = count.map(|count| format!("[{count}]")).unwrap_or_default();
                text += &format!("{ty} f{index}{size};\n");
                names.push(format!("f{index}"));
                fields.push(value.clone());
            }
            let key = if indexed { &names[0] } else { "" };
            let idl = format!(
                "module Rand {{ struct logevent_x_0123abcd {{\n{text}}};\n#pragma keylist logevent_x_0123abcd {key}\n}};"
            );
            Sample { idl, fields, names, order, wide, garbage }
        })
    })
}
