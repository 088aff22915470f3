//! What people write: IDL, and the text forms of names and quantities.

use std::sync::Arc;

use efd_shared_model::{EdgeId, Fingerprint, Lane, RecordId, Site};
use efd_shared_store::LaneName;
use efd_shared_types::idl::{ERRORS_MAX, parse_bytes};
use efd_shared_types::registry::Registered;
use efd_shared_types::{Mapping, Registry};
use efd_tests_fuzz::{Rng, Target, told};

fn idl(rng: &mut Rng) -> Vec<u8> {
    const TYPES: [&str; 12] = [
        "long",
        "unsigned long long",
        "double",
        "float",
        "boolean",
        "octet",
        "short",
        "string",
        "string<8>",
        "sequence<long, 4>",
        "E",
        "sequence<Inner>",
    ];
    let mut text = String::from("// SAL_VERSION=7.1.0 XML_VERSION=20.0.0\nmodule Test {\n");
    text.push_str(
        "  const long N = (3 + 0x10) << 1;\n  enum E { A, B };\n  struct Inner { long x; };\n",
    );
    for index in 0..1 + rng.below(3) {
        text.push_str(&format!("  @topic\n  struct logevent_a{index}_1a2b3c4{index} {{ // @Metadata=(Description=\"x\")\n"));
        text.push_str(
            "    double private_sndStamp; // @Metadata=(Units=\"second\",Description=\"TAI\")\n",
        );
        text.push_str(
            "    double private_rcvStamp;\n    long private_seqNum;\n    @key long salIndex;\n",
        );
        for field in 0..rng.below(6) {
            let kind = rng.pick(&TYPES).unwrap();
            let dimensions = if rng.one_in(3) { "[N]" } else { "" };
            text.push_str(&format!("    {kind} f{field}{dimensions};\n"));
        }
        text.push_str("  };\n");
        text.push_str(&format!(
            "  #pragma keylist logevent_a{index}_1a2b3c4{index} salIndex\n"
        ));
    }
    text.push_str("};\n");
    text.into_bytes()
}

fn check(input: &[u8]) -> u64 {
    let parsed = parse_bytes(input);
    assert!(parsed.errors.len() <= ERRORS_MAX + 1);
    let lines = input.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let mut way = parsed.definitions.len().min(8) as u64;
    for error in parsed.errors.iter().chain(&parsed.warnings) {
        assert!(
            0 < error.line && error.line as usize <= lines && 0 < error.column,
            "{error}"
        );
        way ^= told(error);
    }
    let types = parsed.types();
    for definition in &parsed.definitions {
        let mapped = Mapping::of(&types, &parsed.versions, definition.name());
        way ^= mapped.map_or_else(|error| told(&error), |_| 99);
    }
    way
}

#[test]
fn idl_text() {
    crate::run(&Target {
        name: "idl",
        seed: idl,
        run: check,
        accepts: |input| parse_bytes(input).errors.is_empty(),
        repair: None,
        words: &[
            "module ",
            "struct ",
            "union ",
            "switch(",
            "case ",
            "default:",
            "enum ",
            "bitmask ",
            "bitset ",
            "typedef ",
            "const ",
            "sequence<",
            ">",
            "map<",
            "string<",
            "@key ",
            "@id(",
            "@optional ",
            "#pragma keylist ",
            "//",
            "/*",
            "*/",
            "{",
            "}",
            "[",
            "]",
            "(",
            ")",
            ";",
            "::",
            "<<",
            "-",
            "~",
            "0x",
            "0777",
            "1e9",
            "'a'",
            "\"",
            "\\",
            "long ",
            "// @Metadata=(Units=\"",
            "@Metadata=(",
            "\u{e9}",
            "\r\n",
            "interface ",
            "valuetype ",
            "[4294967295]",
        ],
        // An array's length is a number in the text, never memory.
        memory_max: |bytes| (1 << 20) + 2048 * bytes as u64,
    });
}

/// A file that replaces another in a registry that already has types.
#[test]
fn idl_registry() {
    crate::run(&Target {
        name: "idl-registry",
        seed: idl,
        run: |input| {
            let mut registry = Registry::default();
            registry.load("a.idl", &idl(&mut Rng::new(1)));
            registry.load("b.idl", input);
            let taken = |it: &Arc<Registered>| it.mapping.as_ref().map_or_else(told, |_| 1);
            let mut way = registry.iter().fold(0, |way, it| way ^ taken(it));
            way ^= registry.conflicts().count() as u64;
            registry.load("a.idl", input);
            registry.remove("b.idl");
            registry.remove("a.idl");
            assert_eq!(registry.topics().count(), 0);
            way ^= registry.errors().count() as u64;
            way
        },
        accepts: |_| true,
        repair: None,
        words: &[
            "Test::",
            "logevent_a0_1a2b3c40",
            "@default_nested ",
            "#pragma keylist ",
            "[65000]",
            "[16777216]",
        ],
        // A schema has a default for each element of its arrays, up to a limit for each topic.
        memory_max: |bytes| (64 << 20) + 4096 * bytes as u64,
    });
}

/// What is read says the same when it is written: an identity has one spelling.
#[test]
fn names() {
    fn one<T: std::str::FromStr + ToString + PartialEq>(text: &str) -> u64 {
        let Ok(value) = text.parse::<T>() else {
            return 0;
        };
        let again = value.to_string().parse::<T>();
        assert!(again.is_ok_and(|again| again == value), "{text}");
        1
    }
    fn all(input: &[u8]) -> u64 {
        let Ok(text) = std::str::from_utf8(input) else {
            return 0;
        };
        [
            one::<RecordId>,
            one::<Lane>,
            one::<LaneName>,
            one::<Site>,
            one::<EdgeId>,
            one::<Fingerprint>,
        ]
        .iter()
        .fold(1, |ways, read| ways << 1 | read(text))
    }
    crate::run(&Target {
        name: "names",
        seed: |rng| {
            let uuid = EdgeId(rng.bytes()).to_string();
            let text = match rng.below(5) {
                0 => format!(
                    "{uuid}/{uuid}/telemetry.{}/{}/{}",
                    rng.below(60_000),
                    1 + rng.skewed(),
                    rng.below(9)
                ),
                1 => format!("events.{}", rng.below(9)),
                2 => format!("summit-{}", rng.below(9)),
                3 => Fingerprint::of(&uuid).to_string(),
                _ => uuid,
            };
            text.into_bytes()
        },
        run: all,
        accepts: |input| all(input) > 64,
        repair: None,
        words: &[
            "/",
            ".",
            "-",
            "_",
            "telemetry",
            "losses",
            "+",
            "0",
            "\u{e9}",
            "{",
            "urn:uuid:",
        ],
        memory_max: crate::few,
    });
}
