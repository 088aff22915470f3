use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::model::{
    Alias, Bitmask, Case, Enum, Extensibility, Flag, Literal, Member, Metadata, Primitive, Struct,
    Type, Union,
};

/// Everything that was found, one line each, as IDL; then warnings and errors.
fn render(source: &str) -> String {
    let parsed = parse(source);
    let mut lines: Vec<String> = Vec::new();
    for definition in &parsed.definitions {
        let text = print(&Versions::default(), [definition]);
        lines.push(
            text.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .replace(" _", " ")
                .replace("::_", "::"),
        );
    }
    for constant in &parsed.constants {
        lines.push(format!("{} = {}", constant.name, constant.value.describe()));
    }
    lines.extend(
        parsed
            .warnings
            .iter()
            .map(|warning| format!("warning {warning}")),
    );
    lines.extend(parsed.errors.iter().map(|error| format!("error {error}")));
    lines.join("\n")
}

#[track_caller]
fn check(source: &str, expected: &[&str]) {
    assert_eq!(render(source), expected.join("\n"));
}

#[test]
fn members_and_types() {
    check(
        "struct S { long a, b[3][04]; string<0x10> s; sequence<sequence<octet, 2+2>> q; map<long, string> m; };",
        &[
            "struct S { @id(0) long a; @id(1) long b[3][4]; @id(2) string<16> s; \
           @id(3) sequence<sequence<octet, 4>> q; @id(4) map<long, string> m; };",
        ],
    );
    check(
        "struct S { unsigned long long a; unsigned short b; long long c; long double d; int8 e; uint32 f; wchar g; wstring<3> h; };",
        &[
            "struct S { @id(0) unsigned long long a; @id(1) unsigned short b; @id(2) long long c; \
           @id(3) long double d; @id(4) int8 e; @id(5) unsigned long f; @id(6) wchar g; @id(7) wstring<3> h; };",
        ],
    );
    check(
        "struct S { int a; unsigned int b; };",
        &[
            "struct S { @id(0) long a; @id(1) unsigned long b; };",
            "warning 1:12: `int` is not IDL: read as `long`",
            "warning 1:28: `int` is not IDL: read as `long`",
        ],
    );
    // Names that are words of IDL elsewhere.
    check(
        "struct S { long default; long key; long _struct; };",
        &["struct S { @id(0) long default; @id(1) long key; @id(2) long struct; };"],
    );
}

#[test]
fn annotations() {
    check(
        "@mutable struct S { @key long a; @id(9) @optional S b; @unit(\"m\") @range(min=1, max=(2)) long c; @key(FALSE) long d; };",
        &[
            "@mutable struct S { @key @id(0) long a; @id(9) @optional ::S b; \
           @id(10) long c; // @Metadata=(Units=\"m\") @id(11) long d; };",
        ],
    );
    check(
        "@extensibility(APPENDABLE) @nested struct S { long a; };",
        &["@appendable struct S { @id(0) long a; };"],
    );
    check(
        "@mutable @autoid(HASH) struct S { @hashid long a; };",
        &["error 1:36: hashed member ids are not supported"],
    );
    check(
        "struct A { long a; }; struct B : A { long b; }; struct C : B { long a; };",
        &[
            "struct A { @id(0) long a; };",
            "struct B : ::A { @id(1) long b; };",
            "error 1:69: member `a` appears twice",
        ],
    );
}

#[test]
fn other_definitions() {
    check(
        "module M { @bit_bound(8) enum E { A, @default_literal B, @value(7) C, D }; \
         @bit_bound(16) bitmask F { @position(3) x, y }; typedef E P[2]; \
         union U switch (E) { case A: case C: long a; default: string b; }; };",
        &[
            "module M { @bit_bound(8) enum E { @value(0) A, @default_literal @value(1) B, @value(7) C, @value(8) D, }; };",
            "module M { @bit_bound(16) bitmask F { @position(3) x, @position(4) y, }; };",
            "module M { typedef ::M::E P[2]; };",
            "module M { union U switch (::M::E) { case 0: case 7: @id(1) long a; default: @id(2) string b; }; };",
        ],
    );
    check(
        "struct T; struct L { sequence<T> children; }; struct T { L l; };",
        &[
            "struct L { @id(0) sequence<::T> children; };",
            "struct T { @id(0) ::L l; };",
        ],
    );
    check(
        "struct T; struct L { sequence<T> children; };",
        &["error 1:1: `T` has errors of its own, so what uses it is left out"],
    );
    check(
        "struct T { T inside; };",
        &[
            "error 1:12: `T` is not complete here; only a sequence, a map or an optional may hold it",
        ],
    );
}

#[test]
fn constants() {
    check(
        "module A { const long x = 04; const short y = 0x05 * (x + 1) << 2; const double z = 2 / 4.; \
         const boolean t = TRUE; const string s = \"a\" \"b\"; const octet o = ~0 & 0xff; const long n = -A::x; };",
        &[
            "A::x = 4",
            "A::y = 100",
            "A::z = 0.5",
            "A::t = true",
            "A::s = \"ab\"",
            "A::o = 255",
            "A::n = -4",
        ],
    );
    check(
        "const long a = 08; const long b = 1 / 0; const octet c = 256; const long d = e; const long abc = 1; const long f = abd;",
        &[
            "abc = 1",
            "error 1:16: `08` is not a number",
            "error 1:37: division by zero",
            "error 1:58: 256 is out of range: octet takes 0 to 255",
            "error 1:78: unknown constant `e`",
            "error 1:116: unknown constant `abd`; did you mean `abc`?",
        ],
    );
    check(
        "const long a = 1; const long a = 1; const long a = 2;",
        &[
            "a = 1",
            "warning 1:48: constant `a` has another value above: the first one holds",
        ],
    );
}

#[test]
fn keylists() {
    let source = "#pragma keylist Late a\n#pragma keylist stray_1234abcd salIndex\nmodule M {\nstruct Late { long x; long a; };\n\
        struct Deep { Late p; long i; };\n#pragma keylist Deep i p.a\nstruct None { long a; };\n  #pragma keylist None\n\
        struct Both { @key long a; long b; };\n#pragma keylist Both b\n#pragma keylist None aa\n};\n#pragma keylist M::Late a\n";
    check(
        source,
        &[
            "module M { struct Late { @id(0) long x; @key @id(1) long a; }; };",
            "module M { struct Deep { @id(0) ::M::Late p; @id(1) long i; }; #pragma keylist Deep p.a i };",
            "module M { struct None { @id(0) long a; }; };",
            "module M { struct Both { @key @id(0) long a; @id(1) long b; }; };",
            "warning 1:1: keylist for unknown struct `Late`: ignored",
            "warning 2:1: keylist for unknown struct `stray_1234abcd`: ignored",
            "warning 10:1: `M::Both` has a keylist and @key: the keylist is ignored",
            "warning 11:1: keylist of `M::None` names unknown member `aa`; did you mean `a`?",
        ],
    );
    check(
        "#pragma keylist S a\nstruct S { long a; };",
        &["struct S { @key @id(0) long a; };"],
    );
}

#[test]
fn errors_have_a_place_and_a_reason() {
    check(
        "struct S { unit32 v; };",
        &["error 1:12: unknown type `unit32`; did you mean `uint32`?"],
    );
    check(
        "struct Bad { byte a;\n long b };\nstruct Good { long a; };",
        &[
            "struct Good { @id(0) long a; };",
            "error 1:14: unknown type `byte`; did you mean `octet`?",
            "error 2:9: expected `;`, found `}`",
        ],
    );
    check(
        "struct Open { long a;\nstruct Good { long a; };\nstruct Uses { Open o; };",
        &[
            "struct Good { @id(0) long a; };",
            "error 2:1: `struct Open` is not closed: `}` is missing",
            "error 3:15: `Open` has errors of its own, so what uses it is left out",
        ],
    );
    check(
        "enum E { A, B\nstruct Good { long a; };\ninterface I { struct Inner { long a; }; };\nstruct More { long a; };",
        &[
            "struct Good { @id(0) long a; };",
            "struct More { @id(0) long a; };",
            "error 2:1: expected `,` or `}`, found `struct`",
            "error 3:1: interfaces are not supported",
        ],
    );
    check(
        "struct A { long a; }\nstruct B { long a; }; struct A { long b; };",
        &[
            "struct A { @id(0) long a; };",
            "struct B { @id(0) long a; };",
            "error 2:1: expected `;` after `}`, found `struct`",
            "error 2:30: `A` was defined before, in line 1",
        ],
    );
    check(
        "struct S { long a[0]; string<-1> b; long c[99999][99999]; };",
        &[
            "error 1:19: 0 is out of range: an array dimension takes 1 to 4294967295",
            "error 1:30: -1 is out of range: a string bound takes 1 to 4294967295",
            "error 1:50: more than 16777216 elements in one array",
        ],
    );
    check(
        "};\nmodule M { struct A { long a; }; /* never",
        &[
            "module M { struct A { @id(0) long a; }; };",
            "error 1:1: expected a definition, found `}`",
            "error 2:8: `module M` is not closed: `}` is missing",
            "error 2:34: a comment that begins with `/*` is not closed",
        ],
    );
    let nested = format!(
        "struct S {{ {}octet{} v; }};",
        "sequence<".repeat(40),
        ">".repeat(40)
    );
    check(&nested, &["error 1:300: type nested deeper than 32"]);
}

fn metadata(units: Option<&str>, description: Option<&str>) -> Metadata {
    Metadata {
        units: units.map(str::to_owned),
        description: description.map(str::to_owned),
    }
}

#[test]
fn metadata_comments() {
    let source = "\
// SAL_VERSION=5.1.1 XML_VERSION=9.2.0
module Simple {
struct a_01234567 {  // @Metadata=(Description=\"Of a\")
  long salIndex; //private // @Metadata=(Units=\"unitless\",Description=\"The \"index\" (0, 1), of (all)\")
  double x; // @Metadata=(Units=\"m/s\")
  // @Metadata=(Units=\"lost\",Description=\"Belongs to nothing\")
  double y;
  double z; // @Metadata=(nonsense)
};
struct b_01234567 // @Metadata=(Description=\"Before the brace\")
{ long a, /* @Metadata=(Units=\"no\") */
  b; // @Metadata=(Units=\"both\")
};
};";
    let parsed = parse(source);
    assert_eq!(parsed.errors, []);
    assert_eq!(parsed.versions.sal.as_deref(), Some("5.1.1"));
    assert_eq!(parsed.versions.xml.as_deref(), Some("9.2.0"));
    let types = parsed.types();
    let a = types.structure("Simple::a_01234567").unwrap();
    assert_eq!(a.metadata, metadata(None, Some("Of a")));
    let found: Vec<&Metadata> = a.members.iter().map(|member| &member.metadata).collect();
    assert_eq!(
        found,
        [
            &metadata(Some("unitless"), Some("The \"index\" (0, 1), of (all)")),
            &metadata(Some("m/s"), None),
            &metadata(None, None),
            &metadata(None, None),
        ]
    );
    let b = types.structure("Simple::b_01234567").unwrap();
    assert_eq!(b.metadata, metadata(None, Some("Before the brace")));
    assert!(
        b.members
            .iter()
            .all(|it| it.metadata == metadata(Some("both"), None))
    );
    let warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("9:1: metadata comment"),
        "{warnings:?}"
    );
}

#[test]
fn latin1_files_and_preprocessor_lines() {
    let source = b"#ifndef X\n#define X \\\n struct Not { long a; };\nstruct S { double t; // @Metadata=(Units=\"\xb0C\")\n};\n#endif\n";
    let parsed = parse_bytes(source);
    assert_eq!(parsed.errors, []);
    let types = parsed.types();
    assert_eq!(types.iter().count(), 1);
    assert_eq!(
        types.structure("S").unwrap().members[0].metadata,
        metadata(Some("°C"), None)
    );
    let large = vec![b' '; FILE_BYTES_MAX + 1];
    assert!(matches!(
        parse_bytes(&large).errors[0].reason,
        Reason::FileTooLarge { .. }
    ));
}

#[test]
fn errors_are_counted_not_hoarded() {
    let many =
        "struct S { nope a; };\n".to_owned() + &"const nope a = 1;\n".repeat(ERRORS_MAX + 500);
    let parsed = parse(&(many + "struct Good { long a; };"));
    assert_eq!(parsed.errors.len(), ERRORS_MAX + 1);
    assert!(matches!(
        parsed.errors[ERRORS_MAX].reason,
        Reason::TooManyErrors { .. }
    ));
    assert_eq!(parsed.definitions.len(), 1);
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z][a-zA-Z0-9_]{0,8}"
}

fn primitive() -> impl Strategy<Value = Primitive> {
    prop::sample::select(&Primitive::ALL[..])
}

fn plain_type(named: Vec<TypeName>) -> impl Strategy<Value = Type> {
    let bound = || prop::option::of(1..=u32::MAX);
    let mut leaves = vec![
        primitive().prop_map(Type::Primitive).boxed(),
        bound().prop_map(|bound| Type::String { bound }).boxed(),
        bound().prop_map(|bound| Type::WString { bound }).boxed(),
    ];
    if !named.is_empty() {
        leaves.push(prop::sample::select(named).prop_map(Type::Named).boxed());
    }
    prop::strategy::Union::new(leaves).prop_recursive(4, 8, 2, move |inner| {
        prop_oneof![
            (inner.clone(), bound()).prop_map(|(element, bound)| Type::Sequence {
                element: Box::new(element),
                bound
            }),
            (inner.clone(), inner, bound()).prop_map(|(key, value, bound)| Type::Map {
                key: Box::new(key),
                value: Box::new(value),
                bound
            }),
        ]
    })
}

fn member_type(named: Vec<TypeName>) -> impl Strategy<Value = Type> {
    (plain_type(named), vec(1_u32..9, 0..4)).prop_map(|(element, dimensions)| {
        if dimensions.is_empty() {
            element
        } else {
            Type::Array {
                element: Box::new(element),
                dimensions,
            }
        }
    })
}

fn any_metadata() -> impl Strategy<Value = Metadata> {
    let units = prop::option::of("[^\"\\p{C}\r\n\u{85}\u{2028}]{0,6}");
    let description = prop::option::of("[ -~]{0,20}|[^\\p{C}\u{85}\u{2028}]{0,8}");
    (units, description).prop_map(|(units, description)| Metadata { units, description })
}

fn extensibility() -> impl Strategy<Value = Extensibility> {
    let all = [
        Extensibility::Final,
        Extensibility::Appendable,
        Extensibility::Mutable,
    ];
    prop::sample::select(all.to_vec())
}

fn members(named: Vec<TypeName>, prefix: &'static str) -> impl Strategy<Value = Vec<Member>> {
    let one = (
        name(),
        member_type(named),
        any::<bool>(),
        any_metadata(),
        0_u32..5,
    );
    vec(one, 1..8).prop_map(move |members| {
        let mut id = 0;
        let number = |(index, (name, ty, optional, metadata, gap))| {
            id += gap + 1;
            Member {
                id,
                name: format!("{prefix}{name}{index}"),
                ty,
                optional,
                metadata,
            }
        };
        members.into_iter().enumerate().map(number).collect()
    })
}

/// One definition that may use those before it.
fn definition(full: TypeName, named: Vec<TypeName>) -> BoxedStrategy<Definition> {
    let (of_struct, of_union, of_enum, of_mask) =
        (full.clone(), full.clone(), full.clone(), full.clone());
    let structure = (
        members(named.clone(), "m"),
        vec(any::<bool>(), 8),
        extensibility(),
        any_metadata(),
    )
        .prop_map(move |(members, keys, extensibility, metadata)| {
            let keyed = members.iter().zip(keys).filter(|(_, key)| *key);
            let keys = keyed.map(|(member, _)| vec![member.name.clone()]).collect();
            let name = of_struct.clone();
            Definition::Struct(Struct {
                name,
                base: None,
                extensibility,
                members,
                keys,
                metadata,
            })
        });
    let union = (
        members(named.clone(), "u"),
        any::<bool>(),
        extensibility(),
        any_metadata(),
    )
        .prop_map(move |(members, default, extensibility, metadata)| {
            let last = members.len() - 1;
            let case = |(index, member): (usize, Member)| {
                let base = index as i64 * 10;
                let labels = if default && index == last {
                    vec![]
                } else {
                    vec![base, base + 1]
                };
                Case {
                    is_default: labels.is_empty(),
                    labels,
                    member,
                }
            };
            Definition::Union(Union {
                name: of_union.clone(),
                extensibility,
                discriminator: Type::Primitive(Primitive::I32),
                cases: members.into_iter().enumerate().map(case).collect(),
                metadata,
            })
        });
    let enumeration = (
        1_u8..=32,
        vec((name(), any::<i32>()), 1..6),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(move |(bit_bound, literals, default, has_default)| {
            let literal = |(index, (name, value))| Literal {
                name: format!("{name}{index}"),
                value,
            };
            let literals: Vec<_> = literals.into_iter().enumerate().map(literal).collect();
            let default = has_default.then(|| default.index(literals.len()));
            Definition::Enum(Enum {
                name: of_enum.clone(),
                bit_bound,
                literals,
                default,
            })
        });
    let mask = prop::collection::btree_set(0_u8..64, 1..6).prop_map(move |positions| {
        let flag = |position| Flag {
            name: format!("f{position}"),
            position,
        };
        let flags = positions.into_iter().map(flag).collect();
        Definition::Bitmask(Bitmask {
            name: of_mask.clone(),
            bit_bound: 64,
            flags,
        })
    });
    let alias = member_type(named).prop_map(move |ty| {
        Definition::Alias(Alias {
            name: full.clone(),
            ty,
        })
    });
    prop_oneof![3 => structure, 1 => union, 1 => enumeration, 1 => mask, 1 => alias].boxed()
}

fn model() -> impl Strategy<Value = Vec<Definition>> {
    vec((name(), any::<bool>(), any::<bool>()), 1..6).prop_flat_map(|names| {
        let mut full: Vec<TypeName> = Vec::new();
        let mut definitions = Vec::new();
        for (index, (name, module, deeper)) in names.into_iter().enumerate() {
            let scope = match (module, deeper) {
                (false, _) => "",
                (true, false) => "Mod::",
                (true, true) => "Mod::Inner::",
            };
            let name = TypeName::new(&format!("{scope}{name}{index}"));
            definitions.push(definition(name.clone(), full.clone()));
            full.push(name);
        }
        definitions
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_printed_model_parses_to_itself(definitions in model()) {
        let text = print(&Versions::default(), &definitions);
        let parsed = parse(&text);
        prop_assert_eq!(&parsed.errors, &[], "{}", text);
        prop_assert_eq!(&parsed.warnings, &[], "{}", text);
        prop_assert_eq!(parsed.definitions, definitions, "{}", text);
    }

    #[test]
    fn bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        parse_bytes(&bytes);
    }

    #[test]
    fn words_never_panic(words in vec(prop::sample::select(WORDS), 0..60)) {
        check_consistent(&words.join(" "));
        check_consistent(&words.concat());
    }

    #[test]
    fn damaged_models_never_panic(
        definitions in model(),
        hits in vec((any::<prop::sample::Index>(), prop::sample::select(WORDS)), 1..6),
    ) {
        let mut text = print(&Versions::default(), &definitions);
        for (index, word) in hits {
            let mut at = index.index(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            text.insert_str(at, word);
        }
        check_consistent(&text);
    }
}

const WORDS: &[&str] = &[
    "struct",
    "module",
    "union",
    "enum",
    "bitmask",
    "typedef",
    "const",
    "switch",
    "case",
    "default",
    "long",
    "string",
    "sequence",
    "map",
    "unsigned",
    "int",
    "A",
    "B",
    "a",
    "b",
    "::",
    "{",
    "}",
    ";",
    "<",
    ">",
    "(",
    ")",
    "[",
    "]",
    ":",
    ",",
    "=",
    "@",
    "@key",
    "@id(1)",
    "@optional",
    "1",
    "0x",
    "1e",
    "\"",
    "'",
    "'x'",
    "\"t\"",
    "\\",
    "\n",
    "//",
    "/*",
    "*/",
    "#pragma keylist A a\n",
    "#x\\\n",
    "// @Metadata=(Units=\"",
    "-",
    "+",
    "<<",
    ">>",
    "/",
    "%",
    "é",
    "struct A { long a; };",
    "module M {",
    "};",
    "interface I {",
    "@bit_bound(",
];

/// What every result promises: names are known, and the model prints to something that parses.
fn check_consistent(source: &str) {
    let parsed = parse(source);
    let types = parsed.types();
    assert_eq!(types.iter().count(), parsed.definitions.len(), "{source}");
    let again = parse(&print(&parsed.versions, &parsed.definitions));
    assert_eq!(
        again.definitions.len(),
        parsed.definitions.len(),
        "{source}: {:?}",
        again.errors
    );
}
