//! Types as DDS writers announce them: a TypeInformation and a TypeMapping.

use efd_shared_types::model::{Definition, Resolved, Type, Types};
use efd_shared_types::xtypes::{self, WRITTEN_OUT_MAX, XtypesError};
use efd_shared_types::{Mapping, Versions};
use efd_tests_fuzz::{Rng, Target, told};

/// Real bytes; which types they are of is told beside them.
const GOLDENS: [&str; 10] = [
    include_str!("../../../../shared/types/tests/xtypes/arrays.idlc.hex"),
    include_str!("../../../../shared/types/tests/xtypes/bitmasks.python.hex"),
    include_str!("../../../../shared/types/tests/xtypes/enums.python.hex"),
    include_str!("../../../../shared/types/tests/xtypes/inheritance.idlc.hex"),
    include_str!("../../../../shared/types/tests/xtypes/keys.python.hex"),
    include_str!("../../../../shared/types/tests/xtypes/lists.objects.hex"),
    include_str!("../../../../shared/types/tests/xtypes/maps.objects.hex"),
    include_str!("../../../../shared/types/tests/xtypes/mutual.python.hex"),
    include_str!("../../../../shared/types/tests/xtypes/unions.idlc.hex"),
    include_str!("../../../../shared/types/tests/xtypes/units.idlc.hex"),
];

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// The length of the TypeInformation, itself, the TypeMapping. That has no minimal TypeObjects, which
/// are skipped whatever they are.
fn seed(rng: &mut Rng) -> Vec<u8> {
    let text = rng.pick(&GOLDENS).unwrap();
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        hex(line.unwrap().trim())
    };
    let (information, mapping) = (line("information"), line("mapping"));
    let minimal = u32::from_le_bytes(*mapping.first_chunk().unwrap()) as usize;
    let complete = &mapping[(4 + minimal).next_multiple_of(4)..];
    let length = u32::try_from(information.len()).unwrap().to_le_bytes();
    let none = [4, 0, 0, 0, 0, 0, 0, 0];
    [&length[..], &information, &none, complete].concat()
}

/// A message without the names and hashes in it, of which there is no end.
fn way(error: &XtypesError) -> u64 {
    let text = error.to_string();
    let words = text.split('`').step_by(2).flat_map(str::split_whitespace);
    let words: Vec<&str> = words.filter(|word| word.len() < 28).collect();
    told(&words.join(" "))
}

fn parts(input: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = input.split_first_chunk::<4>() else {
        return (&[], input);
    };
    let length = u32::from_le_bytes(*length) as usize;
    rest.split_at(length.min(rest.len()))
}

fn is_whole(ty: &Type, types: &Types) -> bool {
    match ty {
        Type::Named(_) => !matches!(types.resolve(ty), Resolved::Unknown(_)),
        Type::Array {
            element,
            dimensions,
        } => !dimensions.is_empty() && !dimensions.contains(&0) && is_whole(element, types),
        Type::Sequence { element, .. } => is_whole(element, types),
        Type::Map { key, value, .. } => is_whole(key, types) && is_whole(value, types),
        Type::Primitive(_) | Type::String { .. } | Type::WString { .. } => true,
    }
}

fn check(input: &[u8]) -> u64 {
    let (information, mapping) = parts(input);
    let id = xtypes::type_id(information);
    let announced = match xtypes::parse(information, mapping) {
        Ok(announced) => announced,
        Err(error) => return way(&error),
    };
    let types = &announced.types;
    assert_eq!(id, Ok(announced.id));
    assert!(types.definition(announced.root.as_str()).is_some());
    for definition in types.iter() {
        match definition {
            Definition::Struct(it) => {
                assert!(it.members.iter().all(|it| is_whole(&it.ty, types)));
                let first = types.lineage(it)[0];
                assert!(first.base.is_none(), "bases end");
            }
            Definition::Union(it) => {
                assert!(is_whole(&it.discriminator, types));
                assert!(it.cases.iter().all(|it| is_whole(&it.member.ty, types)));
            }
            Definition::Alias(it) => assert!(is_whole(&it.ty, types)),
            Definition::Enum(it) => {
                assert!(it.default.is_none_or(|index| index < it.literals.len()));
            }
            Definition::Bitmask(it) => {
                assert!(it.flags.iter().all(|flag| flag.position < it.bit_bound));
            }
        }
    }
    let mapped = Mapping::of(types, &Versions::default(), &announced.root);
    let way = mapped.map_or_else(|error| told(&error), |_| 99);
    way ^ (types.iter().count().min(16) as u64)
}

#[test]
fn announced_types() {
    crate::run(&Target {
        name: "xtypes",
        seed,
        run: check,
        accepts: |input| {
            let (information, mapping) = parts(input);
            xtypes::parse(information, mapping).is_ok()
        },
        repair: None,
        // Kinds of identifiers and of TypeObjects.
        words: &[
            "\0", "\u{1}", "\u{7}", "0", "@", "A", "P", "Q", "R", "S", "`", "a", "b", "p", "q",
        ],
        memory_max: |bytes| crate::few(bytes) + 64 * WRITTEN_OUT_MAX as u64,
    });
}
