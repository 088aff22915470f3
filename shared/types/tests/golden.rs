//! The schemas of every topic of the observatory against those that its own tools made.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use efd_shared_types::Registry;
use serde_json::Value;

fn corpus() -> Option<PathBuf> {
    efd_tests_testkit::corpus("golden schemas", "")
}

fn files(folder: PathBuf) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn schemas_equal_the_golden_ones() {
    let Some(corpus) = corpus() else { return };
    let mut registry = Registry::default();
    for path in files(corpus.join("sal-idl")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let change = registry.load(&name, &std::fs::read(&path).unwrap());
        assert!(!change.added.is_empty(), "{name}");
    }
    assert_eq!(registry.files().count(), 51);
    assert_eq!(registry.errors().collect::<Vec<_>>(), []);
    assert_eq!(registry.warnings().collect::<Vec<_>>(), []);
    assert_eq!(registry.conflicts().count(), 0);
    for registered in registry.iter() {
        assert!(registered.mapping.is_ok(), "{:?}", registered.mapping);
    }
    let mut ours: BTreeMap<String, Value> = registry
        .topics()
        .map(|(topic, schema)| {
            (
                topic.dds_topic.clone(),
                serde_json::from_str(&schema.json).unwrap(),
            )
        })
        .collect();
    let mut compared = 0;
    for path in files(corpus.join("avro-golden")) {
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let golden: Value = serde_json::from_str(line).unwrap();
            let topic = golden["dds_topic"].as_str().unwrap();
            assert_eq!(
                ours.remove(topic).as_ref(),
                Some(&golden["schema"]),
                "{topic}"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 2_011);
    assert_eq!(ours.keys().collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn every_file_prints_and_parses_to_the_same_model() {
    use efd_shared_types::idl::{parse, print};
    let Some(corpus) = corpus() else { return };
    for path in files(corpus.join("sal-idl")) {
        let parsed = parse(&std::fs::read_to_string(&path).unwrap());
        let again = parse(&print(&parsed.versions, &parsed.definitions));
        assert_eq!(again.errors, [], "{}", path.display());
        assert_eq!(again.versions, parsed.versions);
        assert_eq!(again.definitions, parsed.definitions, "{}", path.display());
    }
}

#[test]
fn every_damaged_file_keeps_its_other_structs() {
    use efd_shared_types::idl::parse;
    let Some(corpus) = corpus() else { return };
    let text = std::fs::read_to_string(corpus.join("sal-idl/sal_revCoded_Test.idl")).unwrap();
    let whole = parse(&text);
    let members: Vec<usize> = text
        .match_indices("double\tprivate_sndStamp")
        .map(|it| it.0)
        .collect();
    assert_eq!(members.len(), whole.definitions.len());
    for (index, at) in members.into_iter().enumerate() {
        for wrong in [
            "duoble",
            "}",
            "{",
            "double double double",
            "long ;",
            "\u{0}",
            "<<<",
        ] {
            let mut damaged = text.clone();
            damaged.replace_range(at..at + "double".len(), wrong);
            let parsed = parse(&damaged);
            let expected: Vec<_> = whole
                .definitions
                .iter()
                .enumerate()
                .filter(|it| it.0 != index)
                .collect();
            let found = expected
                .iter()
                .filter(|it| parsed.definitions.contains(it.1))
                .count();
            // A brace too many moves the end of the struct, or of the module; nothing else may.
            let lost = expected.len() - found;
            assert!(!parsed.errors.is_empty(), "{wrong} in struct {index}");
            if wrong != "}" {
                assert_eq!(lost, 0, "{wrong} in struct {index}: {:?}", parsed.errors);
            }
        }
    }
}
