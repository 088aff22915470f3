//! TypeObjects that no compiler makes, put together by hand: each is refused by name, or understood.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

use efd_shared_types::model::{Definition, Type};
use efd_shared_types::xtypes::{self, Announced, XtypesError};

const FINAL: u16 = 1;
const KEY: u16 = 1 << 5;
const OPTIONAL: u16 = 1 << 3;
const DEFAULT: u16 = 1 << 6;

#[track_caller]
fn check(objects: &[Object], expected: &str) {
    let error = parse(objects).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_is_not_there_is_named() {
    let root = structure("m::Root", &[("x", object(2))]);
    check(
        &[(1, root)],
        "`m::Root`: the TypeMapping has no complete TypeObject for 0202020202020202020202020202, \
         the type of member `x`",
    );
    check(
        &[(2, structure("m::Other", &[]))],
        "the TypeMapping has no complete TypeObject for the root 0101010101010101010101010101",
    );
    let derived = structure_with("m::Root", FINAL, Some(object(2)), &[]);
    check(
        &[(1, derived)],
        "`m::Root`: the TypeMapping has no complete TypeObject for 0202020202020202020202020202, \
         the type of the base",
    );
    let root = structure("m::Root", &[("x", minimal())]);
    check(
        &[(1, root)],
        "TypeMapping, byte 78: only a minimal type is given, which has no names; a complete one is needed",
    );
}

#[test]
fn a_writer_without_a_complete_type_is_told_so() {
    let mut bytes = Bytes::default();
    bytes.delimited(|bytes| {
        bytes.u32(0x4000_1001);
        bytes.delimited(|bytes| {
            bytes.delimited(|bytes| {
                bytes.delimited(|bytes| {
                    bytes.0.push(0xf1);
                    bytes.0.extend([9; 14]);
                    bytes.u32(100);
                });
                bytes.u32(0);
                bytes.delimited(|bytes| bytes.u32(0));
            });
        });
    });
    let expected = "TypeInformation, byte 0: only a minimal type is given, which has no names; \
                    a complete one is needed";
    assert_eq!(xtypes::type_id(&bytes.0).unwrap_err().to_string(), expected);
}

#[test]
fn bitsets_and_annotations_are_refused_where_they_are_used() {
    for (kind, name) in [(0x53, "a bitset"), (0x50, "an annotation")] {
        let unsupported = || -> Body { Box::new(move |bytes| bytes.0.push(kind)) };
        let root = structure("m::Root", &[("x", object(2))]);
        check(
            &[(1, root), (2, unsupported())],
            &format!("`m::Root`: the type of member `x` is {name}, which is not supported"),
        );
        let root = structure("m::Root", &[("x", long())]);
        assert!(parse(&[(1, root), (2, unsupported())]).is_ok());
    }
    // What cannot be read and is not needed does no harm either.
    let broken: Body = Box::new(|bytes| bytes.0.push(0x77));
    assert!(parse(&[(1, structure("m::Root", &[])), (2, broken)]).is_ok());
}

#[test]
fn one_name_has_one_type() {
    let root = || structure("m::Root", &[("a", object(2)), ("b", object(3))]);
    let long_alias = || alias("m::Number", long());
    check(
        &[
            (1, root()),
            (2, long_alias()),
            (3, alias("m::Number", sequence(long()))),
        ],
        "two types have the name `m::Number` and are not equal",
    );
    let announced = parse(&[(1, root()), (2, long_alias()), (3, long_alias())]).unwrap();
    assert_eq!(announced.types.iter().count(), 2);
    check(
        &[
            (1, structure("m::Root", &[])),
            (1, structure("m::Toor", &[])),
        ],
        "TypeMapping, byte 68: type 0101010101010101010101010101 appears twice, with different TypeObjects",
    );
}

#[test]
fn what_does_not_end_is_refused() {
    let root = || structure("m::Root", &[("x", object(2))]);
    check(
        &[
            (1, root()),
            (2, alias("m::A", object(3))),
            (3, alias("m::B", object(2))),
        ],
        "`m::B` is an alias of itself without end",
    );
    check(
        &[(1, root()), (2, alias("m::A", sequence(object(2))))],
        "`m::A` is an alias of itself without end",
    );
    check(
        &[
            (1, root()),
            (2, structure_with("m::A", FINAL, Some(object(3)), &[])),
            (3, structure_with("m::B", FINAL, Some(object(2)), &[])),
        ],
        "`m::B` inherits from itself without end",
    );
    check(
        &[
            (1, root()),
            (2, structure("m::A", &[("a", array(object(2), &[2]))])),
        ],
        "`m::A` contains itself without end",
    );
    check(
        &[
            (1, root()),
            (2, structure("m::A", &[("a", object(3))])),
            (3, alias("m::B", object(2))),
        ],
        "`m::B` contains itself without end",
    );
    // Through a sequence, a map, an optional or a union there is an end.
    let tree = structure("m::A", &[("a", sequence(object(2)))]);
    assert!(parse(&[(1, root()), (2, tree)]).is_ok());
    let tree = structure_flags("m::A", &[("a", object(2), OPTIONAL)]);
    assert!(parse(&[(1, root()), (2, tree)]).is_ok());
    let tree = union("m::A", primitive(4), &[("a", object(2), &[1], 0)]);
    assert!(parse(&[(1, root()), (2, tree)]).is_ok());
}

#[test]
fn long_chains_are_refused() {
    let chain = |length: u8, link: fn(&str, Ty) -> Body, end: Body| {
        let mut objects = vec![(1, structure("m::Root", &[("x", object(2))]))];
        for number in 0..length {
            objects.push((
                number + 2,
                link(&format!("m::L{number:02}"), object(number + 3)),
            ));
        }
        objects.push((length + 2, end));
        parse(&objects)
    };
    let long_alias = || alias("m::End", long());
    assert!(chain(30, alias, long_alias()).is_ok());
    assert_eq!(
        chain(32, alias, long_alias()).unwrap_err().to_string(),
        "`m::L00` has a chain of more than 31 aliases"
    );
    let derived: fn(&str, Ty) -> Body = |name, base| structure_with(name, FINAL, Some(base), &[]);
    assert!(chain(32, derived, structure("m::End", &[])).is_ok());
    assert_eq!(
        chain(33, derived, structure("m::End", &[]))
            .unwrap_err()
            .to_string(),
        "`m::L00` has a chain of more than 32 bases"
    );
}

#[test]
fn what_grows_is_refused() {
    // Thirty maps of the map before: 2^30 types if they were written out.
    let mut objects = vec![(1, structure("m::Root", &[("x", object(2))]))];
    for number in 2..32 {
        objects.push((number, map(object(number + 1), object(number + 1))));
    }
    objects.push((32, map(long(), long())));
    check(
        &objects,
        "`m::Root`: member `x` makes more than 65536 types when its collections are written out",
    );
    let endless = list(object(2));
    check(
        &[(1, structure("m::Root", &[("x", object(2))])), (2, endless)],
        "`m::Root`: member `x` has types nested deeper than 32",
    );
    let mut deep = long();
    for _ in 0..32 {
        deep = sequence(deep);
    }
    let error = parse(&[(1, structure("m::Root", &[("x", deep)]))]).unwrap_err();
    assert!(
        matches!(error, XtypesError::TooDeep { limit: 32, .. }),
        "{error}"
    );
    check(
        &[(
            1,
            structure("m::Root", &[("x", array(long(), &[1 << 14, 1 << 14]))]),
        )],
        "TypeMapping, byte 92: 268435456 elements in one array, the limit is 134217728",
    );
    let nested = array(array(long(), &[1 << 14]), &[1 << 14]);
    check(
        &[(1, structure("m::Root", &[("x", nested)]))],
        "`m::Root`: member `x` has 268435456 elements in one array, the limit is 134217728",
    );
    check(
        &[(1, structure("m::Root", &[("x", array(long(), &[3, 0]))]))],
        "TypeMapping, byte 96: a dimension of the array before is 0, expected at least 1",
    );
}

#[test]
fn names_are_identifiers_and_unique() {
    for name in ["", "a b", "a:b", "::a", "a::", "3a", "a\u{e9}", "a\nb"] {
        let error = parse(&[(1, structure(name, &[]))]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "TypeMapping, byte 52: the name of a type is not made of IDL identifiers",
            "{name}"
        );
    }
    let long_name = "a".repeat(257);
    check(
        &[(1, structure(&long_name, &[]))],
        "TypeMapping, byte 48: 258 bytes of the name of a type, the limit is 256",
    );
    check(
        &[(1, structure("m::Root", &[("x", long()), ("x", long())]))],
        "`m::Root`: member `x` appears twice",
    );
    let base = structure("m::Base", &[("x", long())]);
    let derived =
        |member| structure_with("m::Root", FINAL, Some(object(2)), &[(member, long(), 0)]);
    check(
        &[(1, derived("x")), (2, base)],
        "`m::Root`: member `x` appears twice",
    );
    let base = structure("m::Base", &[("x", long())]);
    check(
        &[(1, derived("y")), (2, base)],
        "`m::Root`: member id 0 of `y` is taken",
    );
}

#[test]
fn unions_switch_on_what_can_be_counted() {
    let root = || structure("m::Root", &[("u", object(2))]);
    let cases: &[CaseText<'_>] = &[("a", long(), &[-1], 0)];
    check(
        &[(1, root()), (2, union("m::U", primitive(0x0a), cases))],
        "`m::U`: the type of the discriminator is double, expected an integer, boolean, character or enum",
    );
    check(
        &[(1, root()), (2, union("m::U", primitive(0x01), cases))],
        "`m::U`: label -1 of `a` is not 0 to 1",
    );
    for (kind, label) in [
        (0x0c, -1),
        (0x0d, 0xff),
        (0x02, 0xff),
        (0x10, 0xff),
        (0x06, 0xffff),
    ] {
        let announced = parse(&[(1, root()), (2, union("m::U", primitive(kind), cases))]).unwrap();
        let Some(Definition::Union(it)) = announced.types.definition("m::U") else {
            panic!("a union");
        };
        assert_eq!(it.cases[0].labels, [label]);
    }
    let twice: &[CaseText<'_>] = &[("a", long(), &[1, 2], 0), ("b", long(), &[2], 0)];
    check(
        &[(1, root()), (2, union("m::U", primitive(4), twice))],
        "`m::U`: label 2 of `b` is taken",
    );
    let twice: &[CaseText<'_>] = &[("a", long(), &[], DEFAULT), ("b", long(), &[], DEFAULT)];
    check(
        &[(1, root()), (2, union("m::U", primitive(4), twice))],
        "union `m::U` has two default cases",
    );
}

#[test]
fn the_root_is_a_struct_or_a_union() {
    check(
        &[(1, list(long()))],
        "the root `0101010101010101010101010101` is a collection, a bitset or an annotation, \
         expected a struct or a union",
    );
    check(
        &[(1, alias("m::A", long()))],
        "the root `m::A` is an alias of neither, expected a struct or a union",
    );
    let announced = parse(&[(1, alias("m::A", object(2))), (2, structure("m::B", &[]))]).unwrap();
    assert_eq!(announced.root.as_str(), "m::A");
    check(
        &[
            (1, structure_with("m::Root", FINAL, Some(object(2)), &[])),
            (2, alias("m::A", long())),
        ],
        "`m::Root`: the type of the base is an alias, expected a struct",
    );
    check(
        &[(1, structure_with("m::Root", 3, None, &[]))],
        "TypeMapping, byte 38: the extensibility of a type is 3, expected 1 (final), 2 (appendable) or 4 (mutable)",
    );
}

/// While its hash is computed a component has none, and its types may be left so.
#[test]
fn a_component_may_refer_to_itself_by_zeros() {
    let zero = component([0; 14], 1);
    let tree = structure("m::Tree", &[("children", sequence(zero))]);
    let root = structure("m::Root", &[("tree", component([7; 14], 1))]);
    let mapping = mapping(&[(object(1), root), (component([7; 14], 1), tree)]);
    let announced = xtypes::parse(&information(&object(1)), &mapping).unwrap();
    let tree = announced.types.structure("m::Tree").unwrap();
    let Type::Sequence { element, .. } = &tree.members[0].ty else {
        panic!("a sequence");
    };
    assert_eq!(**element, Type::Named("m::Tree".into()));
    // A component as a whole is its only type.
    let tree = structure("m::Tree", &[("children", sequence(component([7; 14], 1)))]);
    let whole = information(&component([7; 14], 0));
    let announced =
        xtypes::parse(&whole, &self::mapping(&[(component([7; 14], 1), tree)])).unwrap();
    assert_eq!(announced.root.as_str(), "m::Tree");
    assert_eq!(announced.types.iter().count(), 1);
    let id = xtypes::type_id(&information(&component([7; 14], 1))).unwrap();
    assert_eq!(id.to_string(), "0707070707070707070707070707-1-of-1");
}

#[test]
fn keys_are_as_in_idl_and_comments_are_taken() {
    let inner = structure_flags("m::Inner", &[("a", long(), KEY), ("b", long(), 0)]);
    let root = commented("m::Root", " Where it is. ", &[("inner", object(2), KEY)]);
    let announced = parse(&[(1, root), (2, inner)]).unwrap();
    let root = announced.types.structure("m::Root").unwrap();
    assert_eq!(root.keys, [["inner"]]);
    assert_eq!(root.metadata.description.as_deref(), Some("Where it is."));
    let inner = announced.types.structure("m::Inner").unwrap();
    assert_eq!(inner.keys, [["a"]]);
}

/// A large base that many structs share is not gone through for each of them.
#[test]
fn many_structs_of_one_large_base_end_soon() {
    let names: Vec<String> = (0..16_384).map(|number| format!("m{number}")).collect();
    let members: Vec<(&str, Ty)> = names.iter().map(|name| (name.as_str(), long())).collect();
    let mut objects = vec![(numbered(1), structure("m::Base", &members))];
    let mut users = Vec::new();
    for number in 2..4_000_u16 {
        let name = format!("m::S{number}");
        objects.push((
            numbered(number),
            structure_with(&name, FINAL, Some(numbered(1)), &[]),
        ));
        users.push((format!("s{number}"), numbered(number)));
    }
    let users: Vec<(&str, Ty)> = users
        .iter()
        .map(|(name, ty)| (name.as_str(), ty.clone()))
        .collect();
    objects.push((numbered(0), structure("m::Root", &users)));
    let announced = xtypes::parse(&information(&numbered(0)), &mapping(&objects)).unwrap();
    assert_eq!(announced.types.iter().count(), 4_000);
}

// XCDR2, little-endian.

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn number(&mut self, bytes: &[u8]) {
        while !self.0.len().is_multiple_of(bytes.len()) {
            self.0.push(0);
        }
        self.0.extend(bytes);
    }

    fn u16(&mut self, value: u16) {
        self.number(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.number(&value.to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.u32(text.len() as u32 + 1);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn delimited(&mut self, body: impl FnOnce(&mut Self)) {
        self.u32(0);
        let begin = self.0.len();
        body(self);
        let length = (self.0.len() - begin) as u32;
        self.0[begin - 4..begin].copy_from_slice(&length.to_le_bytes());
    }

    fn ty(&mut self, ty: &Ty) {
        match ty {
            Ty::Bytes(bytes) => self.0.extend(bytes),
            Ty::Component { hash, index } => {
                self.0.push(0xb0);
                self.delimited(|bytes| {
                    bytes.0.push(0xf2);
                    bytes.0.extend(hash);
                    bytes.u32(1);
                    bytes.u32(*index);
                });
            }
            Ty::Sequence(element) => {
                self.0.extend([0x80, 0xf2]);
                self.u16(1);
                self.0.push(0);
                self.ty(element);
            }
            Ty::Array(element, dimensions) => {
                self.0.extend([0x91, 0xf2]);
                self.u16(1);
                self.u32(dimensions.len() as u32);
                dimensions.iter().for_each(|&size| self.u32(size));
                self.ty(element);
            }
        }
    }

    fn detail(&mut self, name: &str, comment: Option<&str>) {
        self.0.push(comment.is_some().into());
        if let Some(comment) = comment {
            self.delimited(|bytes| {
                bytes.0.push(1);
                ["BEFORE_DECLARATION", "*", comment]
                    .iter()
                    .for_each(|text| bytes.string(text));
            });
        }
        self.0.push(0);
        self.string(name);
    }
}

#[derive(Clone)]
enum Ty {
    Bytes(Vec<u8>),
    Component { hash: [u8; 14], index: u32 },
    Sequence(Box<Self>),
    Array(Box<Self>, Vec<u32>),
}

fn primitive(kind: u8) -> Ty {
    Ty::Bytes(vec![kind])
}

fn long() -> Ty {
    primitive(4)
}

fn object(number: u8) -> Ty {
    Ty::Bytes([&[0xf2], &[number; 14][..]].concat())
}

fn numbered(number: u16) -> Ty {
    Ty::Bytes([&[0xf2], &[0; 12][..], &number.to_le_bytes()].concat())
}

fn minimal() -> Ty {
    Ty::Bytes([&[0xf1], &[5; 14][..]].concat())
}

fn component(hash: [u8; 14], index: u32) -> Ty {
    Ty::Component { hash, index }
}

fn sequence(element: Ty) -> Ty {
    Ty::Sequence(Box::new(element))
}

fn array(element: Ty, dimensions: &[u32]) -> Ty {
    Ty::Array(Box::new(element), dimensions.to_vec())
}

type Body = Box<dyn Fn(&mut Bytes)>;
type Object = (u8, Body);
type CaseText<'a> = (&'a str, Ty, &'a [i32], u16);

fn structure(name: &str, members: &[(&str, Ty)]) -> Body {
    let members: Vec<_> = members
        .iter()
        .map(|(name, ty)| (*name, ty.clone(), 0))
        .collect();
    structure_with(name, FINAL, None, &members)
}

fn structure_flags(name: &str, members: &[(&str, Ty, u16)]) -> Body {
    structure_with(name, FINAL, None, members)
}

fn structure_with(name: &str, flags: u16, base: Option<Ty>, members: &[(&str, Ty, u16)]) -> Body {
    any_structure(name, None, flags, base, members)
}

fn commented(name: &str, comment: &str, members: &[(&str, Ty, u16)]) -> Body {
    any_structure(name, Some(comment), FINAL, None, members)
}

fn any_structure(
    name: &str,
    comment: Option<&str>,
    flags: u16,
    base: Option<Ty>,
    members: &[(&str, Ty, u16)],
) -> Body {
    let base = base.unwrap_or_else(|| primitive(0));
    let (name, comment) = (name.to_owned(), comment.map(str::to_owned));
    let members: Vec<(String, Ty, u16)> = members
        .iter()
        .map(|(name, ty, flags)| ((*name).to_owned(), ty.clone(), *flags))
        .collect();
    Box::new(move |bytes| {
        bytes.0.push(0x51);
        bytes.u16(flags);
        bytes.delimited(|bytes| {
            bytes.ty(&base);
            bytes.detail(&name, comment.as_deref());
        });
        bytes.delimited(|bytes| {
            bytes.u32(members.len() as u32);
            for (index, (name, ty, flags)) in members.iter().enumerate() {
                bytes.delimited(|bytes| {
                    bytes.u32(index as u32);
                    bytes.u16(*flags);
                    bytes.ty(ty);
                    bytes.string(name);
                    bytes.0.extend([0, 0]);
                });
            }
        });
    })
}

fn union(name: &str, discriminator: Ty, cases: &[CaseText<'_>]) -> Body {
    let name = name.to_owned();
    let cases: Vec<(String, Ty, Vec<i32>, u16)> = cases
        .iter()
        .map(|(name, ty, labels, flags)| ((*name).to_owned(), ty.clone(), labels.to_vec(), *flags))
        .collect();
    Box::new(move |bytes| {
        bytes.0.push(0x52);
        bytes.u16(FINAL);
        bytes.delimited(|bytes| bytes.detail(&name, None));
        bytes.delimited(|bytes| {
            bytes.u16(1);
            bytes.ty(&discriminator);
            bytes.0.extend([0, 0]);
        });
        bytes.delimited(|bytes| {
            bytes.u32(cases.len() as u32);
            for (index, (name, ty, labels, flags)) in cases.iter().enumerate() {
                bytes.delimited(|bytes| {
                    bytes.u32(index as u32);
                    bytes.u16(*flags);
                    bytes.ty(ty);
                    bytes.u32(labels.len() as u32);
                    labels.iter().for_each(|&label| bytes.u32(label as u32));
                    bytes.string(name);
                    bytes.0.extend([0, 0]);
                });
            }
        });
    })
}

fn alias(name: &str, ty: Ty) -> Body {
    let name = name.to_owned();
    Box::new(move |bytes| {
        bytes.0.push(0x30);
        bytes.u16(0);
        bytes.delimited(|bytes| bytes.detail(&name, None));
        element(bytes, &ty);
    })
}

fn list(of: Ty) -> Body {
    Box::new(move |bytes| {
        bytes.0.push(0x60);
        bytes.u16(0);
        bytes.delimited(|bytes| {
            bytes.u32(0);
            bytes.0.push(0);
        });
        element(bytes, &of);
    })
}

fn map(key: Ty, value: Ty) -> Body {
    Box::new(move |bytes| {
        bytes.0.push(0x62);
        bytes.u16(0);
        bytes.delimited(|bytes| {
            bytes.u32(0);
            bytes.0.push(0);
        });
        element(bytes, &key);
        element(bytes, &value);
    })
}

fn element(bytes: &mut Bytes, ty: &Ty) {
    bytes.delimited(|bytes| {
        bytes.u16(1);
        bytes.ty(ty);
        bytes.0.extend([0, 0]);
    });
}

fn mapping(objects: &[(Ty, Body)]) -> Vec<u8> {
    let mut bytes = Bytes::default();
    bytes.delimited(|bytes| bytes.u32(0));
    bytes.delimited(|bytes| {
        bytes.u32(objects.len() as u32);
        for (id, body) in objects {
            bytes.ty(id);
            bytes.delimited(|bytes| {
                bytes.0.push(0xf2);
                body(bytes);
            });
        }
    });
    bytes.delimited(|bytes| bytes.u32(0));
    bytes.0
}

fn information(root: &Ty) -> Vec<u8> {
    let mut bytes = Bytes::default();
    bytes.delimited(|bytes| {
        // The length of the member is its own DHEADER.
        bytes.u32(0x5000_1002);
        bytes.delimited(|bytes| {
            bytes.delimited(|bytes| {
                bytes.ty(root);
                bytes.u32(100);
            });
            bytes.u32(0);
            bytes.delimited(|bytes| bytes.u32(0));
        });
    });
    bytes.0
}

fn parse(objects: &[Object]) -> Result<Announced, XtypesError> {
    let mut bytes = Bytes::default();
    bytes.delimited(|bytes| bytes.u32(0));
    bytes.delimited(|bytes| {
        bytes.u32(objects.len() as u32);
        for (number, body) in objects {
            bytes.ty(&object(*number));
            bytes.delimited(|bytes| {
                bytes.0.push(0xf2);
                body(bytes);
            });
        }
    });
    xtypes::parse(&information(&object(1)), &bytes.0)
}
