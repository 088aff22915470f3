//! Every kind of damage against every command: what is intact is given by all of them, what is not is named, the exit
//! code is right, and nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use efd_tests_testkit::volume::Volume;
use serde_json::Value;

use crate::world::{Numbers, Ran, closed, contents, copy, crashed, run, segment};

const LOSSES: &str = "efd.losses";

fn all_lines() -> BTreeSet<String> {
    let (_folder, root) = closed();
    run("cat", &root, &[])
        .out
        .lines()
        .map(str::to_owned)
        .collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Runs everything on a damaged buffer. Gives the exit code and the records of `cat`, which the others have to agree
/// with; `what` says what is wrong with it.
fn check(what: &str, root: &Path, all: &BTreeSet<String>) -> (i32, usize) {
    let before = contents(root);
    let out = in_memory();
    let cat = run("cat", root, &[]);
    let mut shown = BTreeSet::new();
    for line in cat.out.lines() {
        assert!(all.contains(line), "{what}: nobody wrote {line}");
        assert!(shown.insert(line), "{what}: twice: {line}");
    }
    let records = shown.len();
    if cat.code == 3 {
        for verb in ["ls", "show", "account", "verify", "retention"] {
            assert_eq!(run(verb, root, &[]).code, 3, "{what}: {verb}");
        }
        return (3, 0);
    }
    is_named(what, "cat", &cat);
    assert!(
        records == all.len() || cat.code == 2,
        "{what}: {} records are missing, and cat does not say so",
        all.len() - records
    );

    for verb in ["ls", "show", "retention"] {
        is_named(what, verb, &run(verb, root, &["--json"]));
        is_named(what, verb, &run(verb, root, &[]));
    }
    let account = run("account", root, &["--json"]);
    is_named(what, "account", &account);
    let losses = shown
        .iter()
        .filter(|line| json(line)["topic"] == LOSSES)
        .count();
    assert_eq!(json(&account.out)["records"], records - losses, "{what}");
    assert!(
        cat.code == 0 || account.code == 2,
        "{what}: account is content"
    );

    for format in ["parquet", "csv", "avro"] {
        let to = out.path().join(format);
        let arguments = ["--json", "--format", format, "--to", to.to_str().unwrap()];
        let exported = run("export", root, &arguments);
        is_named(what, "export", &exported);
        assert_eq!(exported.code, cat.code, "{what}: {}", exported.err);
        let told = json(&exported.out);
        assert_eq!(told["records"], records, "{what}");
        for file in told["files"].as_array().unwrap() {
            let file = to.join(file["file"].as_str().unwrap());
            assert!(file.metadata().unwrap().len() > 0);
        }
    }

    let verified = run("verify", root, &[]);
    assert!(
        cat.code == 0 || verified.code == 2,
        "{what}: verify is content"
    );
    assert_eq!(
        verified.code == 2,
        verified.out.contains("damage: "),
        "{what}"
    );

    let to = out.path().join("repaired");
    let repaired = run("repair", root, &["--to", to.to_str().unwrap()]);
    is_named(what, "repair", &repaired);
    assert!(
        cat.code == 0 || repaired.code == 2,
        "{what}: repair is content"
    );
    let again = run("cat", &to, &[]);
    assert_eq!((again.code, again.err.as_str()), (0, ""), "{what}");
    assert!(
        again.out == cat.out,
        "{what}: repair has not what is intact"
    );
    assert_eq!(run("verify", &to, &[]).code, 0, "{what}");

    assert!(contents(root) == before, "{what}: it wrote");
    (cat.code.max(verified.code), records)
}

/// Where there is such a place: a disk's fsync would be most of the time.
fn in_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// Done, and what is wrong was said.
fn is_named(what: &str, verb: &str, ran: &Ran) {
    let Ran { code, out, err } = ran;
    assert!([0, 2].contains(code), "{what}: {verb}: {code}\n{out}{err}");
    assert_eq!(
        *code == 2,
        err.contains("damaged: "),
        "{what}: {verb}: {err}"
    );
}

/// The catalogue, a closed segment, an open one, and one that is all that its lane has.
fn chosen(root: &Path) -> [PathBuf; 4] {
    let segment = |lane: &str, index| segment(root, lane, index);
    [
        root.join("meta.db"),
        segment("telemetry", 0),
        segment("telemetry", 3),
        segment("events", 0),
    ]
}

fn wals(root: &Path) -> Vec<PathBuf> {
    let is_wal = |path: &PathBuf| path.to_string_lossy().ends_with("-wal");
    contents(root).into_keys().filter(is_wal).collect()
}

/// In each page: the head, the pointers, the middle, the end, of which one is taken; and the fields of the file's head.
fn regions(bytes: usize, numbers: &mut Numbers) -> Vec<usize> {
    const PAGE: usize = 8192;
    let mut all = vec![0, 17, 21, 31, 47, 59, 63, 70];
    for page in 0..bytes.div_ceil(PAGE) {
        let head = if page == 0 { 100 } else { 0 };
        let places = [
            head,
            head + 3,
            head + 5,
            head + 9 + numbers.below(60) as usize,
            PAGE / 2 + numbers.below(2000) as usize,
            PAGE - 1 - numbers.below(900) as usize,
        ];
        all.push(page * PAGE + places[numbers.below(6) as usize]);
    }
    all.retain(|&at| at < bytes);
    all
}

#[test]
fn a_flipped_bit_in_every_region_of_every_kind_of_file() {
    let all = all_lines();
    let mut numbers = Numbers(2026);
    let (_folder, root) = closed();
    let mut codes: BTreeMap<i32, u32> = BTreeMap::new();
    for file in chosen(&root) {
        let good = fs::read(&file).unwrap();
        for at in regions(good.len(), &mut numbers) {
            let mut bad = good.clone();
            let bit = numbers.below(8);
            bad[at] ^= 1 << bit;
            fs::write(&file, &bad).unwrap();
            let name = file.strip_prefix(&root).unwrap().display();
            let (code, _) = check(&format!("bit {bit} of byte {at} of {name}"), &root, &all);
            // A newer version would say so in its table as well.
            assert!(code != 3, "{name} {at}");
            *codes.entry(code).or_default() += 1;
        }
        fs::write(&file, &good).unwrap();
    }
    assert!(codes.get(&2).is_some_and(|&named| named > 12), "{codes:?}");
    assert_eq!(check("nothing", &root, &all), (0, all.len()));
}

#[test]
fn a_flipped_bit_in_every_wal() {
    let all = all_lines();
    let mut numbers = Numbers(7);
    let (_folder, root) = crashed();
    for wal in wals(&root) {
        let good = fs::read(&wal).unwrap();
        let frames = good.len().saturating_sub(32) / (8192 + 24);
        let mut places = vec![5, 20];
        for _ in 0..4 {
            let frame = numbers.below(frames as u64) as usize;
            places.push(32 + frame * (8192 + 24) + numbers.below(8192 + 24) as usize);
        }
        for at in places {
            let mut bad = good.clone();
            bad[at] ^= 1 << numbers.below(8);
            fs::write(&wal, &bad).unwrap();
            let what = format!("byte {at} of {}", wal.display());
            // A flipped bit in the last commit of all looks like a power cut: what was in it is missing, without a word.
            let cat = run("cat", &root, &[]);
            let seen: BTreeSet<String> = cat.out.lines().map(str::to_owned).collect();
            assert!(seen.is_subset(&all), "{what}");
            let is_silent = cat.code == 0 && seen.len() < all.len();
            let whole = if is_silent { &seen } else { &all };
            check(&what, &root, whole);
        }
        fs::write(&wal, &good).unwrap();
    }
}

#[test]
fn a_missing_wal() {
    let all = all_lines();
    let (_folder, root) = crashed();
    for wal in wals(&root) {
        let good = fs::read(&wal).unwrap();
        fs::remove_file(&wal).unwrap();
        // What was only in it is gone, and nothing says that it ever was.
        let cat = run("cat", &root, &[]);
        let seen: BTreeSet<String> = cat.out.lines().map(str::to_owned).collect();
        assert!(seen.is_subset(&all));
        assert!(!wal.ends_with("meta.db-wal") || seen == all);
        check(&format!("no {}", wal.display()), &root, &seen);
        fs::write(&wal, &good).unwrap();
    }
    assert_eq!(check("nothing", &root, &all), (0, all.len()));
}

#[test]
fn truncated_missing_and_random_files() {
    let all = all_lines();
    let (_folder, root) = closed();
    let mut numbers = Numbers(11);
    for file in &chosen(&root) {
        let good = fs::read(file).unwrap();
        let is_meta = file.ends_with("meta.db");
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        for keep in [0, 100, 8192, good.len() / 2, good.len() - 1] {
            fs::write(file, &good[..keep]).unwrap();
            let (code, records) = check(&format!("{keep} bytes of {name}"), &root, &all);
            assert_eq!(code, 2, "{keep} bytes of {name}");
            assert!(!is_meta || records == all.len(), "{keep} bytes of {name}");
        }
        let noise: Vec<u8> = good.iter().map(|_| numbers.next() as u8).collect();
        fs::write(file, noise).unwrap();
        let (code, records) = check(&format!("noise for {name}"), &root, &all);
        assert_eq!(
            (code, records == all.len()),
            (2, is_meta),
            "noise for {name}"
        );
        fs::remove_file(file).unwrap();
        // A segment that was not closed is in no catalogue: nothing says that it ever was.
        let is_known = is_meta || name.ends_with("telemetry/0000000001.db");
        let seen: BTreeSet<String> = run("cat", &root, &[])
            .out
            .lines()
            .map(str::to_owned)
            .collect();
        assert!(seen.is_subset(&all));
        let (code, _) = check(
            &format!("no {name}"),
            &root,
            if is_known { &all } else { &seen },
        );
        assert!(code == 2 || !is_known, "no {name}");
        fs::write(file, &good).unwrap();
    }
    let noise: Vec<u8> = (0..20_000).map(|_| numbers.next() as u8).collect();
    let lone = root.join("noise");
    fs::write(&lone, noise).unwrap();
    for verb in ["ls", "show", "cat", "account", "verify", "retention"] {
        let Ran { code, err, .. } = run(verb, &lone, &[]);
        assert_eq!(code, 2, "{verb}: {err}");
        assert!(err.contains("not an SQLite database"), "{verb}: {err}");
    }
}

/// SQLite takes an empty file for a database that was never written, and deletes the WAL beside it.
#[test]
fn an_empty_file_beside_its_wal() {
    let all = all_lines();
    let (_folder, root) = crashed();
    for wal in wals(&root) {
        let file = PathBuf::from(wal.to_str().unwrap().strip_suffix("-wal").unwrap());
        let good = fs::read(&file).unwrap();
        for keep in [0, 1, 50] {
            fs::write(&file, &good[..keep]).unwrap();
            let (code, _) = check(&format!("{keep} bytes of {}", file.display()), &root, &all);
            assert_eq!(code, 2);
        }
        fs::write(&file, &good).unwrap();
    }
    assert_eq!(check("nothing", &root, &all), (0, all.len()));
}

#[test]
fn a_disk_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    let volume = match Volume::mount(&disk, 16 << 20) {
        Ok(volume) => volume,
        Err(error) => return efd_tests_testkit::skip("a read-only mount", &error),
    };
    let all = all_lines();
    for (name, (_living, root)) in [("closed", closed()), ("crashed", crashed())] {
        copy(&root, &disk.join(name));
    }
    // An index that a dead writer has left, and that nobody can bring up to date.
    copy(&disk.join("crashed"), &disk.join("indexed"));
    for wal in wals(&disk.join("indexed")) {
        let index = wal.to_str().unwrap().replace("-wal", "-shm");
        fs::write(index, vec![0; 32 << 10]).unwrap();
    }
    // Full: nothing can be made beside a WAL.
    let filled = fs::File::create(disk.join("fill"))
        .and_then(|mut file| std::io::copy(&mut std::io::repeat(7), &mut file));
    assert!(filled.is_err());
    for name in ["closed", "crashed"] {
        let root = disk.join(name);
        assert_eq!(check("full", &root, &all), (0, all.len()), "{name}");
    }
    mount_again(&disk, "ro");
    let image = || fs::read(disk.with_extension("img")).unwrap();
    let before = image();
    // Rows that are still in a WAL are read there as well.
    for name in ["closed", "crashed", "indexed"] {
        let root = disk.join(name);
        assert_eq!(check("read-only", &root, &all), (0, all.len()), "{name}");
    }
    assert!(image() == before, "the disk has changed");
    mount_again(&disk, "rw");
    drop(volume);
}

fn mount_again(disk: &Path, how: &str) {
    let options = format!("remount,{how}");
    let status = Command::new("mount")
        .args(["-o", &options])
        .arg(disk)
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn an_export_to_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    let _volume = match Volume::mount(&disk, 4 << 20) {
        Ok(volume) => volume,
        Err(error) => return efd_tests_testkit::skip("export to a full disk", &error),
    };
    let (_folder, root) = closed();
    fs::create_dir(disk.join("out")).unwrap();
    let mut filler = fs::File::create(disk.join("filler")).unwrap();
    for size in [1 << 16, 1 << 10, 1] {
        while std::io::Write::write_all(&mut filler, &vec![7; size]).is_ok() {}
    }
    for format in ["parquet", "csv", "avro"] {
        let to = disk.join("out").join(format);
        let Ran { code, err, .. } = run(
            "export",
            &root,
            &["--format", format, "--to", to.to_str().unwrap()],
        );
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("No space left"), "{format}: {err}");
        // Nothing has the name of a file that is whole.
        let whole = |path: &PathBuf| path.extension().is_some_and(|it| it == format);
        let entries = fs::read_dir(&to).into_iter().flatten().flatten();
        assert_eq!(entries.map(|it| it.path()).filter(whole).count(), 0);
    }
}
