//! What Cyclone DDS 11.0.1 does not make, and what it takes otherwise than we do.

use std::rc::Rc;

use cyclonedds_sys as dds;
use efd_shared_types::idl;
use efd_shared_types::model::{Extensibility, Primitive};

use crate::choices::Choices;
use crate::cyclone::{Content, Domain, Native};
use crate::dynamic::{Maker, Refused};
use crate::topic;
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

/// What is tolerated by one side only. What both take is the same value (`damaged.rs`).
#[test]
fn payloads_that_one_side_takes() {
    let domain = Domain::open(3);
    let check = |why: &str, (idl, ty): (&str, Ty), body: &[u8], by_us: bool, by_cyclone: bool| {
        let parsed = idl::parse(&format!("{idl} m0; }};"));
        assert_eq!(parsed.errors, [], "{idl}");
        let topic = topic::topic(&parsed.types(), "S");
        let native = make(&domain, &of("S", vec![member(0, ty)], vec![])).unwrap();
        let payload = [&[0, 1], body].concat();
        let ours = topic.transcode(&payload, &mut Vec::new()).is_ok();
        let theirs = native.receive(Content::Sample, &payload).is_some();
        assert_eq!((ours, theirs), (by_us, by_cyclone), "{why}");
    };
    let boolean = || ("struct S { boolean", Ty::Prim(Primitive::Boolean));
    let number = || ("struct S { uint64", Ty::Prim(Primitive::U64));
    let text = || ("struct S { string", Ty::Str);
    let bits = || {
        let (name, bit_bound) = ("B".to_owned(), 8);
        let idl = "@bit_bound(8) bitmask B { F0, @position(3) F3, @position(7) F7 }; struct S { B";
        (idl, Ty::Bits(Rc::new(BitsTy { name, bit_bound })))
    };
    let literals = || {
        let ty = EnumTy {
            name: "E".to_owned(),
            bit_bound: 8,
            values: vec![0, 5],
            default: None,
        };
        let idl = "@bit_bound(8) enum E { L0, @value(5) L1 }; struct S { E";
        (idl, Ty::Enum(Rc::new(ty)))
    };

    check("text", text(), &[0, 0, 1, 0, 0, 0, 0], true, true);
    check("length 0", text(), &[0, 0, 0, 0, 0, 0], true, false);
    check(
        "no terminator",
        text(),
        &[0, 0, 1, 0, 0, 0, b'a'],
        true,
        false,
    );
    check("bits", bits(), &[0, 0, 0x88], true, true);
    check("a bit without a flag", bits(), &[0, 0, 0x10], true, false);
    check(
        "padding that is not there",
        boolean(),
        &[0, 3, 1],
        true,
        false,
    );

    check("boolean", boolean(), &[0, 0, 1], true, true);
    check("neither 0 nor 1", boolean(), &[0, 0, 2], false, true);
    check("literal", literals(), &[0, 0, 5], true, true);
    check(
        "none, but a greater one",
        literals(),
        &[0, 0, 4],
        false,
        true,
    );
    check(
        "none, nor a greater one",
        literals(),
        &[0, 0, 6],
        false,
        false,
    );
    check(
        "2^63",
        number(),
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80],
        false,
        true,
    );
    check(
        "4 bytes more",
        boolean(),
        &[0, 0, 1, 0, 0, 0, 0],
        false,
        true,
    );
}
