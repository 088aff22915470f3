//! What the structure promises (README, code map), checked by reading the tree: no crate is built for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::project::{cargo, root};

/// Crates that hold no IO: what they may not depend on.
const PURE: [&str; 7] = [
    "shared/model",
    "shared/types",
    "shared/avro",
    "shared/stats",
    "shared/influxql",
    "shared/wire",
    "edge/transcode",
];
const SHELLS: [&str; 12] = [
    "tokio",
    "rusqlite",
    "quinn",
    "rdkafka",
    "arrow",
    "parquet",
    "axum",
    "object_store",
    "ureq",
    "rustls",
    "tracing-subscriber",
    "eclipse-cyclonedds-sys",
];
/// Dependencies that one crate on each side may name, and which.
const OWNED: [(&str, &[&str]); 6] = [
    ("eclipse-cyclonedds-sys", &["edge/dds"]),
    ("quinn", &["edge/ship", "central/daemon"]),
    (
        "parquet",
        &["shared/arrow", "edge/inspect", "central/lake", "tests/sim"],
    ),
    ("rdkafka", &["central/kafka", "central/log", "central/feed"]),
    ("kafka-protocol", &["central/producer"]),
    ("rustdds", &["tests/rustdds"]),
];
/// In the order of the data: a crate depends on those before it only.
const LAYERS: [&[&str]; 12] = [
    &[
        "shared/model",
        "shared/types",
        "shared/stats",
        "shared/avro",
        "shared/influxql",
    ],
    &["shared/arrow", "shared/wire", "shared/store"],
    &["shared/tiers"],
    &["shared/daemon"],
    &[
        "edge/dds",
        "edge/transcode",
        "edge/tiers",
        "edge/ship",
        "edge/page",
    ],
    &["edge/query"],
    &["edge/agent", "edge/inspect"],
    &["central/kafka"],
    &["central/producer", "central/log"],
    &["central/feed", "central/lake", "central/ledger"],
    &["central/daemon"],
    &[
        "tests/sim",
        "tests/rustdds",
        "tests/testkit",
        "tests/worlds",
        "tests/e2e",
        "tests/bench",
        "tests/fuzz",
        "tests/xtask",
    ],
];

struct Manifest {
    folder: String,
    dependencies: BTreeSet<String>,
}

fn manifests() -> Vec<Manifest> {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let workspace: toml::Table = text.parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    members
        .iter()
        .map(|member| {
            let folder = member.as_str().unwrap().to_owned();
            let text = fs::read_to_string(root().join(&folder).join("Cargo.toml")).unwrap();
            let manifest: toml::Table = text.parse().unwrap();
            let name = manifest["package"]["name"].as_str().unwrap();
            let expected = match folder.as_str() {
                "tests/xtask" => "xtask".to_owned(),
                folder => format!("efd-{}", folder.replace('/', "-")),
            };
            assert_eq!(name, expected, "{folder}");
            let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
            let dependencies = dependencies.into_iter().flat_map(toml::Table::keys);
            Manifest {
                folder,
                dependencies: dependencies.cloned().collect(),
            }
        })
        .collect()
}

/// Files of the tree with one of these endings, relative to its root.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !name.starts_with('.') && !["target", "demo"].contains(&name) {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

#[test]
fn dependencies_point_against_the_way_of_the_data() {
    let layer_of: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(layer, folders)| folders.iter().map(move |folder| (*folder, layer)))
        .collect();
    for Manifest {
        folder,
        dependencies,
    } in manifests()
    {
        let own = layer_of
            .get(folder.as_str())
            .unwrap_or_else(|| panic!("{folder} has no layer"));
        for dependency in dependencies
            .iter()
            .filter_map(|name| name.strip_prefix("efd-"))
        {
            let other = dependency.replacen('-', "/", 1);
            let layer = layer_of[other.as_str()];
            assert!(
                layer < *own
                    || folder.starts_with("tests/") && other.starts_with("tests/")
                    || folder.starts_with("shared/") && layer == *own,
                "{folder} depends on {other}"
            );
            let sides =
                [folder.as_str(), &other].map(|name| name.split('/').next().unwrap().to_owned());
            assert!(
                !(sides.contains(&"edge".to_owned()) && sides.contains(&"central".to_owned())),
                "{folder} depends on {other}"
            );
        }
    }
}

#[test]
fn pure_crates_have_no_io_and_heavy_dependencies_have_an_owner() {
    for Manifest {
        folder,
        dependencies,
    } in manifests()
    {
        if PURE.contains(&folder.as_str()) {
            for shell in SHELLS {
                assert!(
                    !dependencies.contains(shell),
                    "{folder} is pure and has {shell}"
                );
            }
        }
        for (dependency, owners) in OWNED {
            assert!(
                !dependencies.contains(dependency) || owners.contains(&folder.as_str()),
                "{folder} names {dependency}, which belongs to {owners:?}"
            );
        }
    }
}

/// On a machine with a dead edge's disk there is neither a bus nor a link; `send` and `play` are features.
#[test]
fn the_inspection_tool_needs_neither_bus_nor_link() {
    let tree = |features: &[&str]| {
        let output = cargo()
            .args([
                "tree",
                "--locked",
                "--package",
                "efd-edge-inspect",
                "--no-default-features",
            ])
            .args([
                "--edges",
                "normal,build",
                "--prefix",
                "none",
                "--format",
                "{p}",
            ])
            .args(features)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        text.lines().map(name).collect::<BTreeSet<_>>()
    };
    let has = |tree: &BTreeSet<String>, part: &str| tree.iter().any(|name| name.contains(part));
    let plain = tree(&[]);
    assert!(
        has(&plain, "rusqlite") && !has(&plain, "quinn") && !has(&plain, "cyclone"),
        "{plain:?}"
    );
    let rescue = tree(&["--features", "rescue"]);
    assert!(
        has(&rescue, "quinn") && !has(&rescue, "cyclone"),
        "{rescue:?}"
    );
    assert!(has(&tree(&["--features", "play"]), "cyclone"));
}

#[test]
fn every_crate_and_program_begins_with_what_it_is() {
    for path in files(&["src/lib.rs", "src/main.rs", "lib.rs", "main.rs"]) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} has no //!", shown(&path));
    }
}

#[test]
fn core_files_are_of_a_size_to_be_read() {
    for path in files(&[".rs"]) {
        let name = shown(&path);
        let is_test =
            name.contains("/tests") || name.contains("/examples/") || name.contains("/benches/");
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        let max = if is_test { 800 } else { 740 };
        assert!(
            lines <= max,
            "{name} has {lines} lines: split it by concern"
        );
    }
}

/// The project speaks of itself alone.
#[test]
fn no_paths_of_a_machine_and_no_hosts_of_registries() {
    let forbidden = [
        ["/ro", "ot/"],
        ["/wo", "rk/"],
        ["crates", ".io"],
        ["pypi", ".org"],
        ["repo1.", "maven"],
        ["registry.", "npmjs"],
        ["deb.", "debian.org"],
    ]
    .map(|parts| parts.concat());
    for path in files(&[".rs", ".toml", ".md", ".py", ".txt", ".xml", ".sh", ".idl"]) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for word in &forbidden {
            assert!(!text.contains(word), "{} contains {word}", shown(&path));
        }
    }
}

#[test]
fn nothing_is_left_to_be_done() {
    let words =
        [["to", "do!("], ["unimple", "mented!("], ["#[ig", "nore]"]].map(|parts| parts.concat());
    for path in files(&[".rs"]) {
        let text = fs::read_to_string(&path).unwrap();
        for word in &words {
            assert!(!text.contains(word), "{} contains {word}", shown(&path));
        }
    }
}
