//! Whatever is wrong with a disk: what is intact is shown, what is not is named, the exit code is right.

use std::fs;
use std::path::{Path, PathBuf};

use efd_shared_store::{Depth, ReadOnlyStore, verify};

use crate::world::{Numbers, Ran, closed, contents, crashed, run, segment};

/// Every line that an intact buffer gives.
fn all_lines() -> (std::collections::BTreeSet<String>, usize) {
    let (_folder, root) = closed();
    let out = run("cat", &root, &[]).out;
    (
        out.lines().map(str::to_owned).collect(),
        out.lines().count(),
    )
}

/// Runs everything; gives how many records `cat` had. Nothing is shown that was not written.
fn check(root: &Path, expected: &[i32], all: &std::collections::BTreeSet<String>) -> usize {
    let before = contents(root);
    let mut lines = 0;
    for verb in ["ls", "cat", "verify"] {
        let Ran { code, out, err } = run(verb, root, &[]);
        assert!(expected.contains(&code), "{verb}: {code}\n{out}{err}");
        assert!(
            code != 2 || !err.is_empty() || verb == "verify" && out.contains("damage"),
            "{verb} names nothing: {out}"
        );
        if verb == "cat" {
            let mut shown = std::collections::BTreeSet::new();
            for line in out.lines() {
                assert!(all.contains(line), "{line}");
                assert!(shown.insert(line), "twice: {line}");
            }
            lines = shown.len();
        }
    }
    assert!(contents(root) == before, "it wrote");
    lines
}

#[test]
fn flipped_bits_everywhere() {
    let (all, whole) = all_lines();
    let mut numbers = Numbers(1);
    let (_folder, root) = closed();
    let files: Vec<PathBuf> = contents(&root)
        .into_keys()
        .filter(|path| path.extension().is_some_and(|e| e == "db"))
        .collect();
    let mut named = 0;
    for file in &files {
        let good = fs::read(file).unwrap();
        for _ in 0..4 {
            let mut bad = good.clone();
            let at = numbers.next() as usize % bad.len();
            bad[at] ^= 1 << (numbers.next() % 8);
            fs::write(file, &bad).unwrap();
            let Ran { code, out, .. } = run("cat", &root, &[]);
            for line in out.lines() {
                assert!(
                    all.contains(line),
                    "byte {at} of {}: {line}",
                    file.display()
                );
            }
            let lost = whole - out.lines().count();
            assert!(
                lost == 0 || code != 0,
                "byte {at} of {}: {lost} records are missing, and nobody says so",
                file.display()
            );
            let checked = run("verify", &root, &[]);
            assert!(
                code != 2 || checked.code != 0,
                "byte {at} of {}: verify is content",
                file.display()
            );
            named += usize::from(checked.code == 2);
        }
        fs::write(file, &good).unwrap();
    }
    assert!(named > 0);
    assert_eq!(check(&root, &[0], &all), whole);
}

#[test]
fn a_flipped_bit_in_a_block_costs_that_block() {
    let (all, whole) = all_lines();
    let (_folder, root) = closed();
    let file = segment(&root, "telemetry", 0);
    let good = fs::read(&file).unwrap();
    // SQLite fills a page from its end: the first block is the last one there. Behind its header.
    let at = good
        .windows(4)
        .rposition(|window| window == b"EFDB")
        .unwrap()
        + 200;
    let mut bad = good;
    bad[at] ^= 0x10;
    fs::write(&file, bad).unwrap();
    assert_eq!(check(&root, &[0, 2], &all), whole - 10);
    let Ran { code, out, .. } = run("verify", &root, &[]);
    assert_eq!(code, 2);
    assert!(
        out.contains("position 1") && out.contains("checksum"),
        "{out}"
    );
    assert!(out.contains("DAMAGED, 1 finding"), "{out}");
    let json = run("verify", &root, &["--json"]).out;
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[0]["finding"], &lines[1]["intact"]),
        (&"damage".into(), &false.into())
    );
}

#[test]
fn a_truncated_file() {
    let (all, whole) = all_lines();
    for keep in [0, 50, 100, 8192, 16384, 20000] {
        let (_folder, root) = closed();
        let file = segment(&root, "telemetry", 0);
        let good = fs::read(&file).unwrap();
        assert!(keep < good.len());
        fs::write(&file, &good[..keep]).unwrap();
        let lines = check(&root, &[2], &all);
        assert!(lines < whole && whole - 60 <= lines, "{keep}: {lines}");
    }
}

/// SQLite takes a file that lacks whole pages for malformed, whatever is in the others.
#[test]
fn what_is_before_the_cut_is_there() {
    let (all, whole) = all_lines();
    let (_folder, root) = closed();
    let file = segment(&root, "telemetry", 0);
    let good = fs::read(&file).unwrap();
    let pages = good.len() / 8192;
    let mut kept = Vec::new();
    for page in 1..pages {
        fs::write(&file, &good[..page * 8192]).unwrap();
        let lines = check(&root, &[2], &all);
        kept.push(lines - (whole - 60));
    }
    assert!(kept.is_sorted(), "{kept:?}");
    let last = kept.last().copied().unwrap_or_default();
    // Its blocks are in the pages before: the last ones have none.
    assert_eq!(last, 60, "{kept:?}");
}

#[test]
fn a_damaged_meta_db_is_named_whatever_is_needed_of_it() {
    let (all, whole) = all_lines();
    let (_folder, root) = closed();
    let path = root.join("meta.db");
    let good = fs::read(&path).unwrap();
    let mut numbers = Numbers(5);
    for _ in 0..20 {
        let mut bad = good.clone();
        // In many pages, so that some of it is always in use.
        for _ in 0..good.len() / 100 {
            let at = 4096 + numbers.next() as usize % (good.len() - 4096);
            bad[at] ^= 1 << (numbers.next() % 8);
        }
        fs::write(&path, bad).unwrap();
        assert_eq!(check(&root, &[2], &all), whole);
    }
}

#[test]
fn without_meta_db() {
    let (all, whole) = all_lines();
    let (_folder, root) = closed();
    fs::remove_file(root.join("meta.db")).unwrap();
    assert_eq!(check(&root, &[2], &all), whole);
    let Ran { err, .. } = run("ls", &root, &[]);
    assert_eq!(
        err,
        "damaged: there is no meta.db: acknowledgements are not known\n"
    );
}

#[test]
fn a_meta_db_of_random_bytes() {
    let (all, whole) = all_lines();
    let (_folder, root) = closed();
    let mut numbers = Numbers(7);
    let noise: Vec<u8> = (0..20_000).map(|_| numbers.next() as u8).collect();
    fs::write(root.join("meta.db"), noise).unwrap();
    assert_eq!(check(&root, &[2], &all), whole);
}

#[test]
fn a_segment_of_random_bytes() {
    let (all, whole) = all_lines();
    let (_folder, root) = closed();
    let mut numbers = Numbers(9);
    let noise: Vec<u8> = (0..20_000).map(|_| numbers.next() as u8).collect();
    let file = segment(&root, "events", 0);
    fs::write(&file, &noise).unwrap();
    assert_eq!(check(&root, &[2], &all), whole - 8);
    // The file on its own.
    let Ran { code, out, err } = run("cat", &file, &[]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("not an SQLite database"), "{err}");
}

#[test]
fn without_wal_files() {
    let (all, whole) = all_lines();
    // All of them: what was only in them is gone, the rest is shown. The catalogue knows no streams any more.
    let (_folder, root) = crashed();
    let wals: Vec<PathBuf> = contents(&root)
        .into_keys()
        .filter(|path| path.to_string_lossy().ends_with("-wal"))
        .collect();
    assert!(!wals.is_empty());
    for wal in &wals {
        fs::remove_file(wal).unwrap();
    }
    let lines = check(&root, &[0, 2], &all);
    assert!(lines < whole, "{lines}");

    // That of meta.db only: the segments have their own declarations.
    let (_folder, root) = crashed();
    fs::remove_file(root.join("meta.db-wal")).unwrap();
    assert_eq!(check(&root, &[0, 2], &all), whole);
}

#[test]
fn a_segment_file_that_is_gone() {
    let (all, whole) = all_lines();
    let (_folder, root) = closed();
    fs::remove_file(segment(&root, "telemetry", 0)).unwrap();
    let lines = check(&root, &[2], &all);
    assert!(whole - 60 <= lines && lines < whole);
    let Ran { err, .. } = run("ls", &root, &[]);
    assert_eq!(
        err,
        "damaged: segment telemetry/0000000001 is in the catalogue, but its file is missing\n"
    );
}

/// One flipped bit does not make a buffer one of the future: a newer version says so in two places.
#[test]
fn a_flipped_bit_in_the_version() {
    let (all, whole) = all_lines();
    let (_folder, root) = closed();
    for file in [root.join("meta.db"), segment(&root, "telemetry", 1)] {
        let good = fs::read(&file).unwrap();
        let mut bad = good.clone();
        bad[63] ^= 8;
        fs::write(&file, &bad).unwrap();
        assert_eq!(check(&root, &[2], &all), whole, "{}", file.display());
        let Ran { code, out, .. } = run("verify", &root, &[]);
        assert!(code == 2 && out.contains("format"), "{code} {out}");
        fs::write(&file, &good).unwrap();
    }
}

#[test]
fn what_a_newer_version_wrote() {
    let newer = |path: &Path, table: &str| {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.pragma_update(None, "user_version", 9).unwrap();
        let updated = connection.execute(&format!("UPDATE {table} SET format = 9"), []);
        assert_eq!(updated.unwrap(), 1);
    };
    let check = |root: &Path, file: &Path| {
        for verb in ["ls", "cat", "verify"] {
            let Ran { code, err, .. } = run(verb, root, &[]);
            assert_eq!(code, 3, "{err}");
            let name = file.display().to_string();
            assert!(
                err.contains(&format!(
                    "{name} has format 9, this build reads up to 1: use the release that wrote it"
                )),
                "{err}"
            );
        }
    };
    let (_folder, root) = closed();
    newer(&root.join("meta.db"), "meta");
    check(&root, &root.join("meta.db"));
    let (_folder, root) = closed();
    let file = segment(&root, "telemetry", 1);
    newer(&file, "segment");
    check(&root, &file);
    check(&file, &file);
}

#[test]
fn the_world_is_what_the_store_says() {
    let (_folder, root) = closed();
    assert_eq!(ReadOnlyStore::open(&root).unwrap().notices(), []);
    let mut findings = Vec::new();
    verify(
        &root,
        Depth::Content,
        |finding| {
            findings.push(finding);
            true
        },
        |_| true,
    )
    .unwrap();
    assert_eq!(findings, []);
}
