//! Types as writers announce them against the same types in IDL.
//!
//! `xtypes/<name>.<source>.hex` are real bytes of two implementations, and some put together; `make.py`
//! beside them made them from `<name>.idl`, or from what says the same.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use efd_shared_types::idl;
use efd_shared_types::model::{Definition, Types};
use efd_shared_types::xtypes;
use proptest::prelude::*;

struct Golden {
    name: String,
    source: String,
    information: Vec<u8>,
    mapping: Vec<u8>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/xtypes")
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn goldens() -> Vec<Golden> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "hex"))
        .collect();
    paths.sort();
    let golden = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let line = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            hex(line.unwrap().trim())
        };
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (name, source) = file.split_once('.').unwrap();
        Golden {
            name: name.to_owned(),
            source: source.to_owned(),
            information: line("information"),
            mapping: line("mapping"),
        }
    };
    paths.iter().map(golden).collect()
}

/// What the two implementations do not say as the IDL does.
fn as_written_by(source: &str, idl: &str) -> String {
    match source {
        // This version has no types of 8 bits with and without a sign, and no default literals.
        "idlc" => idl
            .replace("uint8 u8", "octet u8")
            .replace("int8 i8", "char i8")
            .replace("@default_literal ", ""),
        _ => idl.to_owned(),
    }
}

fn as_announced_by(source: &str, definition: &Definition) -> Definition {
    let mut definition = definition.clone();
    match &mut definition {
        // Without `@default_literal` it is the first, whether that is said or not.
        Definition::Enum(it) if source == "python" => it.default = it.default.or(Some(0)),
        // Both count cases from 0, where ids are not given.
        Definition::Union(it) if matches!(source, "python" | "idlc") => {
            it.cases.iter_mut().for_each(|case| case.member.id -= 1);
        }
        Definition::Struct(_)
        | Definition::Union(_)
        | Definition::Enum(_)
        | Definition::Bitmask(_)
        | Definition::Alias(_) => {}
    }
    definition
}

/// Definitions that differ, one line each.
fn differences(golden: &Golden) -> Vec<String> {
    let Golden {
        name,
        source,
        information,
        mapping,
    } = golden;
    let text = std::fs::read_to_string(folder().join(format!("{name}.idl"))).unwrap();
    let parsed = idl::parse(&as_written_by(source, &text));
    assert_eq!(parsed.errors, [], "{name}");
    let announced = match xtypes::parse(information, mapping) {
        Ok(announced) => announced,
        Err(error) => return vec![format!("{name}.{source}: {error}")],
    };
    assert_eq!(announced.root.as_str(), "m::Root");
    assert_eq!(xtypes::type_id(information), Ok(announced.id));
    let expected: Types = parsed
        .definitions
        .iter()
        .map(|it| as_announced_by(source, it))
        .collect();
    let names: BTreeSet<&str> = expected
        .iter()
        .chain(announced.types.iter())
        .map(|definition| definition.name().as_str())
        .collect();
    names
        .into_iter()
        .filter(|it| announced.types.definition(it) != expected.definition(it))
        .map(|it| {
            let (ours, theirs) = (announced.types.definition(it), expected.definition(it));
            format!("{name}.{source}: {it}:\n  announced {ours:?}\n  in IDL    {theirs:?}")
        })
        .collect()
}

#[test]
fn announced_types_equal_those_of_idl() {
    let goldens = goldens();
    let differences: Vec<String> = goldens.iter().flat_map(differences).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(goldens.len(), 31);
}

/// Ends in an error or in a type that is whole, at once.
fn survives(information: &[u8], mapping: &[u8]) {
    if let Ok(announced) = xtypes::parse(information, mapping) {
        let text = idl::print(&Default::default(), announced.types.iter());
        assert!(!text.is_empty());
        assert!(
            announced
                .types
                .definition(announced.root.as_str())
                .is_some()
        );
    }
}

#[test]
fn cut_short_is_an_error() {
    for golden in goldens() {
        let Golden {
            information,
            mapping,
            ..
        } = &golden;
        for end in 0..information.len() {
            assert!(xtypes::type_id(&information[..end]).is_err());
            survives(&information[..end], mapping);
        }
        for end in 0..mapping.len() {
            survives(information, &mapping[..end]);
        }
        let complete = 4 + u32::from_le_bytes(mapping[..4].try_into().unwrap()) as usize;
        for end in 0..complete + 8 {
            assert!(xtypes::parse(information, &mapping[..end]).is_err());
        }
    }
}

#[test]
fn every_number_replaced_by_a_huge_one_ends() {
    for golden in goldens() {
        let Golden {
            information,
            mapping,
            ..
        } = &golden;
        for value in [0, 1, 0x7f, 0xff, 0xffff, 0x10_0000, 0x7fff_ffff, u32::MAX] {
            let replaced = |bytes: &[u8], at: usize| {
                let mut bytes = bytes.to_vec();
                bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
                bytes
            };
            for at in (0..information.len() - 4).step_by(2) {
                survives(&replaced(information, at), mapping);
            }
            for at in (0..mapping.len() - 4).step_by(2) {
                survives(information, &replaced(mapping, at));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn flipped_bytes_end(
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let goldens = goldens();
        let golden = which.get(&goldens);
        let mut mapping = golden.mapping.clone();
        for (at, byte) in flips {
            let at = at.index(mapping.len());
            mapping[at] = byte;
        }
        survives(&golden.information, &mapping);
    }

    #[test]
    fn any_bytes_end(
        information in prop::collection::vec(any::<u8>(), 0..200),
        mapping in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        survives(&information, &mapping);
    }
}
