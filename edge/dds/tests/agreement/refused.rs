//! What Cyclone DDS 11.0.1 does not make or does not take, and we do.

use std::rc::Rc;

use cyclonedds_sys as dds;
use efd_shared_types::model::{Extensibility, Primitive};

use crate::choices::Choices;
use crate::cyclone::{Content, Domain, Native};
use crate::dynamic::{Maker, Refused};
use crate::types::{BitsTy, EnumTy, MemberTy, StructTy, Ty, UnionTy};

fn member(id: u32, ty: Ty) -> MemberTy {
    MemberTy {
        name: format!("m{id}"),
        id,
        optional: false,
        ty,
    }
}

fn of(name: &str, members: Vec<MemberTy>, keys: Vec<usize>) -> StructTy {
    StructTy {
        name: name.to_owned(),
        ext: Extensibility::Final,
        members,
        inherited: 0,
        keys,
    }
}

fn union(ext: Extensibility) -> Ty {
    Ty::Union(Rc::new(UnionTy {
        name: "U".to_owned(),
        ext,
        disc: Ty::Prim(Primitive::I32),
        cases: vec![(vec![1], member(1, Ty::Str))],
        has_default: false,
    }))
}

fn make<'d>(domain: &'d Domain, ty: &StructTy) -> Result<Native<'d>, Refused> {
    let made = Maker::new(domain, &mut Choices::new(&[])).structure(ty)?;
    Native::new(domain, made, ty)
}

#[test]
fn types_that_cyclone_does_not_make() {
    let domain = Domain::open(2);
    let refused = |ty: Ty, keys: Vec<usize>| {
        let ty = of("S", vec![member(0, ty)], keys);
        let Refused { what, code } = make(&domain, &ty).unwrap_err();
        (what, code)
    };
    let is_plain = |ty: Ty| make(&domain, &of("S", vec![member(0, ty)], Vec::new())).is_ok();
    let unsupported = dds::DDS_RETCODE_UNSUPPORTED;
    let bad = dds::DDS_RETCODE_BAD_PARAMETER;
    let long = || Rc::new(Ty::Prim(Primitive::I32));

    let map = Ty::Map(long(), long());
    assert_eq!(refused(map, vec![]), ("map", unsupported));
    let mutable = union(Extensibility::Mutable);
    assert_eq!(refused(mutable, vec![]), ("topic descriptor", unsupported));
    let below_zero = Ty::Enum(Rc::new(EnumTy {
        name: "E".to_owned(),
        bit_bound: 32,
        values: vec![0, -1],
        default: None,
    }));
    assert_eq!(refused(below_zero, vec![]), ("literal", bad));

    // A union is taken as a key, and is none then.
    let by_union = of("S", vec![member(0, union(Extensibility::Final))], vec![0]);
    assert!(!make(&domain, &by_union).unwrap().is_keyed());

    let optional = |ty| MemberTy {
        optional: true,
        ..member(0, ty)
    };
    let inside = of("I", vec![optional(Ty::Str)], vec![]);
    for (ty, expected) in [
        (Ty::Wide, ("topic descriptor", unsupported)),
        (
            Ty::Prim(Primitive::Char16),
            ("topic descriptor", unsupported),
        ),
        (Ty::Prim(Primitive::F128), ("topic descriptor", unsupported)),
        (
            Ty::Seq(Rc::new(Ty::Wide)),
            ("topic descriptor", unsupported),
        ),
        (Ty::Struct(Rc::new(inside)), ("type", bad)),
    ] {
        assert!(is_plain(ty.clone()), "{ty:?}");
        assert_eq!(refused(ty.clone(), vec![0]), expected, "{ty:?}");
    }
}

#[test]
fn payloads_that_cyclone_does_not_take() {
    let domain = Domain::open(3);
    let takes = |ty: Ty, payload: &[u8]| {
        let ty = of("S", vec![member(0, ty)], vec![]);
        let native = make(&domain, &ty).unwrap();
        native.receive(Content::Sample, payload).is_some()
    };
    assert!(takes(Ty::Str, &[0, 1, 0, 0, 1, 0, 0, 0, 0]));
    assert!(!takes(Ty::Str, &[0, 1, 0, 0, 0, 0, 0, 0]));
    assert!(!takes(Ty::Str, &[0, 1, 0, 0, 1, 0, 0, 0, b'a']));
    let bits = Ty::Bits(Rc::new(BitsTy {
        name: "B".to_owned(),
        bit_bound: 8,
    }));
    assert!(takes(bits.clone(), &[0, 1, 0, 0, 0x88]));
    assert!(!takes(bits, &[0, 1, 0, 0, 0x10]));
}
