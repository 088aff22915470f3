//! The sealed file: its bytes are kept, and no damage to it goes unnoticed.
//!
//! `EFD_WRITE_FIXTURE=1 cargo test --test inspect parcel` writes the kept file, where there is none.

use std::convert::Infallible;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use efd_edge_inspect::send::parcel::{OpenError, Parcel};

use crate::world::{Ran, closed, contents, run};

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1.efdparcel")
}

/// A buffer whose bytes do not depend on today's compressor.
fn kept_buffer() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/store/fixtures/store-v1")
}

const BLOCKS: u64 = 9;

/// Whole blocks, and what is said to be wrong.
fn look(bytes: &[u8]) -> Result<(u64, usize), OpenError> {
    let mut parcel = Parcel::open(Cursor::new(bytes.to_vec()))?;
    let mut faults = parcel.faults().len();
    let fault = |_, _| {
        faults += 1;
        Ok::<_, Infallible>(())
    };
    let (blocks, _) = parcel
        .check(fault, |_, _| Ok(()))
        .unwrap_or_else(|never| match never {});
    Ok((blocks, faults))
}

#[test]
fn what_is_sealed_today_is_what_was_sealed_ever() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.efdparcel");
    let before = contents(&kept_buffer());
    let Ran { code, out, err } = run("send", &kept_buffer(), &["--seal", file.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("9 blocks of edge"), "{out}");
    assert_eq!(contents(&kept_buffer()), before);
    let sealed = fs::read(&file).unwrap();
    if std::env::var_os("EFD_WRITE_FIXTURE").is_some() && !kept().exists() {
        fs::create_dir_all(kept().parent().unwrap()).unwrap();
        fs::write(kept(), &sealed).unwrap();
    }
    assert!(sealed == fs::read(kept()).unwrap(), "the format changed");
    let Ran { code, out, err } = run("verify", &kept(), &[]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("intact: 9 whole blocks of edge"), "{out}");
}

#[test]
fn a_span_and_a_lane_are_blocks_with_anything_in_them() {
    let (folder, root) = closed();
    let sealed = |words: &[&str]| {
        let file = folder.path().join("some.efdparcel");
        let words = [words, &["--seal", file.to_str().unwrap(), "--json"]].concat();
        let Ran { code, out, err } = run("send", &root, &words);
        assert_eq!((code, err.as_str()), (0, ""), "{words:?}");
        fs::remove_file(&file).unwrap();
        let told: serde_json::Value = serde_json::from_str(&out).unwrap();
        told["blocks"].as_u64().unwrap()
    };
    let all = sealed(&[]);
    let telemetry = sealed(&["--lane", "telemetry"]);
    assert!(0 < telemetry && telemetry < all);
    // Block 2 of the first epoch is of 00:00:20 to 00:00:29.
    let second = [
        "--lane",
        "telemetry",
        "--from",
        "2026-11-24T00:00:29Z",
        "--until",
        "2026-11-24T00:00:30Z",
    ];
    assert_eq!(sealed(&second), 1);
    let two = [
        "--lane",
        "telemetry",
        "--from",
        "2026-11-24T00:00:29Z",
        "--until",
        "2026-11-24T00:00:30.000000001Z",
    ];
    assert_eq!(sealed(&two), 2);
    let Ran { code, err, .. } = run(
        "send",
        &root,
        &[
            "--seal",
            "x",
            "--edge",
            "00000000-0000-0000-0000-000000000000",
        ],
    );
    assert_eq!(code, 1);
    assert!(err.contains("edededed-eded"), "{err}");
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let bytes = fs::read(kept()).unwrap();
    assert_eq!(look(&bytes).unwrap(), (BLOCKS, 0));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        if let Ok((_, faults)) = look(&damaged) {
            assert!(faults > 0, "byte {at}");
        }
    }
}

#[test]
fn a_cut_loses_what_is_behind_it_and_nothing_else() {
    let bytes = fs::read(kept()).unwrap();
    let mut most = 0;
    for length in 0..bytes.len() {
        match look(&bytes[..length]) {
            Ok((blocks, faults)) => {
                assert!(faults > 0, "{length}");
                assert!(most <= blocks, "{length}");
                most = blocks;
            }
            Err(OpenError::NotAParcel) => assert!(length < 14, "{length}"),
            Err(error) => panic!("{length}: {error}"),
        }
    }
    // The end alone is missing.
    assert_eq!(most, BLOCKS);
    let mut longer = bytes;
    longer.push(0);
    assert!(look(&longer).unwrap().1 > 0);
}

#[test]
fn a_newer_version_is_refused_as_such() {
    let mut bytes = fs::read(kept()).unwrap();
    bytes[4] = 2;
    let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..6]).to_le_bytes();
    bytes[6..14].copy_from_slice(&checksum);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("newer.efdparcel");
    fs::write(&path, &bytes).unwrap();
    let Ran { code, err, .. } = run("verify", &path, &[]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("version 2, this build reads up to 1"), "{err}");
}

/// Database files of a buffer.
fn databases(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(databases(&path));
        } else if path.extension().is_some_and(|it| it == "db") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Blocks sealed of a buffer, and the exit code; what was sealed is whole.
fn seal_of(root: &Path) -> (u64, i32) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("some.efdparcel");
    let before = contents(root);
    let Ran { code, out, err } = run("send", root, &["--seal", file.to_str().unwrap(), "--json"]);
    assert!(contents(root) == before, "it wrote");
    assert!([0, 2].contains(&code), "{code}: {err}");
    assert_eq!(code == 2, err.contains("damaged"), "{err}");
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    let blocks = told["blocks"].as_u64().unwrap();
    assert_eq!(look(&fs::read(&file).unwrap()).unwrap(), (blocks, 0));
    (blocks, code)
}

#[test]
fn of_a_damaged_buffer_everything_intact_is_sealed_and_the_rest_is_named() {
    let (_folder, whole) = closed();
    let (all, code) = seal_of(&whole);
    assert_eq!(code, 0);
    let (mut damaged, mut fewest) = (0, all);
    for file in databases(&whole) {
        let bytes = fs::read(&file).unwrap();
        for part in 0..24 {
            let mut altered = bytes.clone();
            let at = bytes.len() * part / 24 + 37;
            altered[at] ^= 0x10;
            fs::write(&file, &altered).unwrap();
            let (blocks, code) = seal_of(&whole);
            // Without a word nothing is left out.
            assert!(
                blocks == all || code == 2,
                "{} byte {at}: {blocks} of {all}",
                file.display()
            );
            damaged += u32::from(code == 2);
            fewest = fewest.min(blocks);
        }
        fs::write(&file, &bytes).unwrap();
    }
    assert!(damaged > 10 && fewest < all, "{damaged} {fewest}");
    // Nothing but the segments.
    fs::remove_file(whole.join("meta.db")).unwrap();
    let (blocks, code) = seal_of(&whole);
    assert_eq!((blocks, code), (all, 2));
}
