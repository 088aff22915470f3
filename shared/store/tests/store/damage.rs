//! Flipped bits: damage is named, the rest is read, nothing is given altered.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use efd_shared_model::{LaneKind, RangeSet, SealedBlock, UtcNanos};
use efd_shared_store::{
    Depth, Item, Notice, Options, Position, ReadOnlyStore, Recovery, Severity, Store, verify,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::{TempDir, tempdir};

use crate::world::{block, declare, epoch, lane, log, schema, small, stream};

const BLOCKS: u64 = 30;

/// An empty segment has eleven pages, most of them nearly empty: blocks are to be most of what a flip can hit.
fn options() -> Options {
    Options {
        segment_bytes_max: 300_000,
        wal_bytes_max: 400_000,
        ..small()
    }
}

/// Thirty blocks in several segments, acknowledgements, the last commits still in a WAL.
fn made() -> (TempDir, BTreeMap<Position, Bytes>) {
    let root = tempdir().unwrap();
    let (mut store, _) = Store::open(root.path(), options()).unwrap();
    declare(&mut store, 1, 3);
    let log = log(1, LaneKind::Events);
    let mut all = BTreeMap::new();
    for number in 1..=BLOCKS {
        let block = block(log, number, 1000 + 2000 * number as usize);
        let state = Some(("key", &b"value"[..]));
        let at = store.append(
            &lane("events"),
            std::slice::from_ref(&block),
            state,
            UtcNanos(0),
        );
        all.insert(at.unwrap().start, block.bytes().clone());
    }
    let mut acked = RangeSet::new();
    acked.insert_range(1..=20);
    store.add_acked("centre", &log, &acked);
    store.save_acked().unwrap();
    (root, all)
}

fn copy(from: &Path) -> TempDir {
    fn into(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                into(&entry.path(), &to);
            } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    let root = tempdir().unwrap();
    into(from, root.path());
    root
}

fn flip(path: &Path, byte: usize, bit: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[byte] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
}

#[derive(Debug, Default)]
struct Seen {
    whole: usize,
    damaged: usize,
    absent: usize,
}

/// Opens and reads a store with something wrong in it: every position is given as it was, or named.
fn check(root: &Path, all: &BTreeMap<Position, Bytes>, context: &str) -> (Seen, Recovery) {
    let (mut store, recovery) =
        Store::open(root, options()).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let events = lane("events");
    let mut reader = store.reader();
    let mut seen = Seen::default();
    let mut next = Position::FIRST;
    loop {
        let items = reader.read(&events, next, 50_000).unwrap();
        let Some(end) = items.last().map(Item::next) else {
            break;
        };
        for item in items {
            assert!(next <= item.next(), "{context}: {item:?}");
            next = item.next();
            match item {
                Item::Block(at, block) => {
                    assert_eq!(
                        all.get(&at),
                        Some(block.bytes()),
                        "{context}: altered at {at}"
                    );
                    seen.whole += 1;
                }
                Item::Damaged(_) => seen.damaged += 1,
                Item::Absent { first, last } => {
                    assert!(
                        !recovery.is_clean(),
                        "{context}: {first} to {last} went silently"
                    );
                    seen.absent += all.range(first..=last).count();
                }
            }
        }
        assert_eq!(end, next);
    }
    let sum = seen.whole + seen.damaged + seen.absent;
    assert_eq!(sum, all.len(), "{context}: {seen:?} {recovery:?}");

    // It goes on, behind every position that was ever given.
    let _new_or_the_same = store.declare(&epoch(2), &[stream(1)], &[schema(1)]);
    let block = block(log(2, LaneKind::Events), 1, 10);
    let at = store.append(&events, &[block], None, UtcNanos(0));
    let at = at.unwrap_or_else(|error| panic!("{context}: {error:?}"));
    assert!(
        all.keys().all(|&position| position < at.start),
        "{context}: {} again",
        at.start
    );
    (seen, recovery)
}

fn segment(id: u64) -> PathBuf {
    format!("segments/events/{id:010}.db").into()
}

/// Flips one bit at a time, over the whole of a file.
fn sweep(file: &Path, flips: usize) -> [usize; 3] {
    let (root, all) = made();
    let bytes = fs::metadata(root.path().join(file)).unwrap().len() as usize;
    let mut rng = StdRng::seed_from_u64(bytes as u64);
    let mut noticed = [0; 3];
    for index in 0..flips {
        let copy = copy(root.path());
        let byte = bytes * index / flips + rng.random_range(0..bytes / flips);
        let bit = rng.random_range(0..8);
        flip(&copy.path().join(file), byte, bit);
        let context = format!("{} byte {byte} bit {bit}", file.display());
        let (seen, recovery) = check(copy.path(), &all, &context);
        noticed[0] += usize::from(seen.damaged > 0);
        noticed[1] += usize::from(seen.absent > 0);
        noticed[2] += usize::from(!recovery.is_clean());
    }
    println!(
        "{}: {flips} flips, [damaged, absent, recovery] {noticed:?}",
        file.display()
    );
    noticed
}

#[test]
fn flips_in_a_closed_segment_are_named() {
    let [damaged, ..] = sweep(&segment(1), 150);
    assert!(damaged > 50);
}

#[test]
fn flips_in_an_open_segment_are_named() {
    let newest = newest();
    let [damaged, ..] = sweep(&newest, 100);
    assert!(damaged < 100);
    let wal = PathBuf::from(format!("{}-wal", newest.display()));
    let (root, all) = made();
    let bytes = fs::metadata(root.path().join(&wal)).unwrap().len() as usize;
    let (mut named, mut last_commit) = (0, 0);
    for index in 0..100 {
        let copy = copy(root.path());
        flip(&copy.path().join(&wal), bytes * index / 100, 3);
        // Of the last commit alone nobody can tell a flipped bit from a power cut.
        let (store, recovery) = Store::open(copy.path(), options()).unwrap();
        let head = store.reader().head(&lane("events"));
        drop(store);
        if recovery.is_clean() && head == Position(BLOCKS - 1) {
            last_commit += 1;
            continue;
        }
        let reopened = copy.path();
        named += usize::from(!recovery.is_clean());
        assert!(
            Position(BLOCKS) <= head,
            "WAL byte {}: head {head}",
            bytes * index / 100
        );
        check_quietly(reopened, &all);
    }
    println!("{named} flips in the WAL were named, {last_commit} hit the last commit");
    assert!(named > 30 && last_commit < 30, "{named} {last_commit}");
}

/// What is read after the recovery that named the damage is whole.
fn check_quietly(root: &Path, all: &BTreeMap<Position, Bytes>) {
    let store = ReadOnlyStore::open(root).unwrap();
    let mut reader = store.reader();
    let mut next = Position::FIRST;
    while let Some(item) = reader
        .read(&lane("events"), next, 1)
        .unwrap()
        .into_iter()
        .next()
    {
        next = item.next();
        if let Item::Block(at, block) = item {
            assert_eq!(all.get(&at), Some(block.bytes()));
        }
    }
}

fn newest() -> PathBuf {
    let (root, _) = made();
    let store = ReadOnlyStore::open(root.path()).unwrap();
    segment(store.segments().last().unwrap().key.id)
}

#[test]
fn flips_in_meta_lose_no_block() {
    let [damaged, absent, recovered] = sweep(Path::new("meta.db"), 60);
    assert_eq!((damaged, absent), (0, 0));
    println!("{recovered} of 60 flips in meta.db made it be derived anew");
}

#[test]
fn a_damaged_meta_is_set_aside_and_derived_anew() {
    let (root, all) = made();
    let (store, _) = Store::open(root.path(), options()).unwrap();
    store.close().unwrap();
    fs::write(root.path().join("meta.db"), "garbage").unwrap();
    let (seen, recovery) = check(root.path(), &all, "garbage for meta.db");
    assert_eq!(seen.whole, all.len());
    assert!(recovery.meta_rebuilt);
    assert_eq!(
        fs::read(&recovery.set_aside[0].moved_to).unwrap(),
        b"garbage"
    );
    let (store, recovery) = Store::open(root.path(), options()).unwrap();
    assert!(recovery.is_clean(), "{recovery:?}");
    assert!(
        store.acked("centre").is_empty(),
        "acknowledgements cannot be derived"
    );
}

/// SQLite takes an empty file for a database that was never written, and would delete what is beside it.
#[test]
fn a_wal_beside_a_database_without_length_stays() {
    let (made, _) = made();
    for length in [0, 1, 50] {
        let root = copy(made.path());
        let (meta, wal) = (root.path().join("meta.db"), root.path().join("meta.db-wal"));
        let kept = fs::read(&wal).unwrap();
        assert!(!kept.is_empty());
        fs::write(&meta, vec![7; length]).unwrap();
        let seen = ReadOnlyStore::open(root.path()).unwrap();
        assert!(
            matches!(seen.notices(), [Notice::Unreadable { path, .. }] if *path == meta),
            "{:?}",
            seen.notices()
        );
        assert!(seen.reader().epochs().unwrap().len() == 1);
        assert!(fs::read(&wal).unwrap() == kept, "{length}");
        let (_store, recovery) = Store::open(root.path(), options()).unwrap();
        assert_eq!(recovery.set_aside.len(), 1);
        let aside = root.path().join("set-aside/meta.db-wal");
        assert!(fs::read(aside).unwrap() == kept, "{length}");
    }
}

#[test]
fn a_closed_segment_that_cannot_be_read_is_set_aside_with_what_was_known() {
    let (root, all) = made();
    let path = root.path().join(segment(2));
    fs::write(&path, "garbage").unwrap();
    let (seen, recovery) = check(root.path(), &all, "garbage for a segment");
    let aside = &recovery.set_aside[0];
    let known = aside.known.as_ref().unwrap();
    assert_eq!(seen.absent as u64, known.last.0 - known.first.0 + 1);
    assert_eq!(known.contents.records(), seen.absent as u64);
    let numbers = &known.contents.lanes[&log(1, LaneKind::Events)].numbers;
    assert_eq!(
        numbers.to_string(),
        format!("{{{}-{}}}", known.first, known.last)
    );
    assert!(!path.exists() && aside.moved_to.starts_with(root.path().join("set-aside")));
    assert_eq!(fs::read(&aside.moved_to).unwrap(), b"garbage");
}

#[test]
fn an_open_segment_that_cannot_be_read_leaves_an_explicit_hole() {
    let (root, all) = made();
    fs::write(root.path().join(newest()), "garbage").unwrap();
    let (_, recovery) = check(root.path(), &all, "garbage for the open segment");
    let (_, first, last) = &recovery.skipped[0];
    assert!(
        first.0 <= BLOCKS && last.0 == u64::from(u32::MAX),
        "{first} {last}"
    );
    // The hole is there for good.
    let (store, recovery) = Store::open(root.path(), options()).unwrap();
    assert!(recovery.is_clean(), "{recovery:?}");
    assert_eq!(store.reader().head(&lane("events")), last.next());
}

#[test]
fn a_missing_segment_is_told() {
    let (root, all) = made();
    fs::remove_file(root.path().join(segment(1))).unwrap();
    let (seen, recovery) = check(root.path(), &all, "a missing file");
    assert_eq!(recovery.missing.len(), 1);
    assert_eq!(recovery.missing[0].contents.blocks(), seen.absent as u64);
}

#[test]
fn verify_finds_what_is_wrong() {
    let (root, _) = made();
    let findings = |root: &Path| {
        let mut found = Vec::new();
        let mut blocks = 0;
        let note = |finding: efd_shared_store::Finding| {
            found.push(finding);
            true
        };
        let done = verify(root, Depth::Stored, note, |progress| {
            assert_eq!(progress.blocks, blocks + 1);
            blocks = progress.blocks;
            true
        });
        let damage = found
            .into_iter()
            .filter(|found| found.severity == Severity::Damage);
        (done.unwrap().blocks, damage.collect::<Vec<_>>())
    };
    assert_eq!(findings(root.path()), (BLOCKS, vec![]));
    assert_eq!(findings(&root.path().join(segment(1))).1, vec![]);
    let mut found = 0;
    let bytes = fs::metadata(root.path().join(segment(1))).unwrap().len() as usize;
    for index in 0..40 {
        let copy = copy(root.path());
        let path = copy.path().join(segment(1));
        flip(&path, bytes * index / 40 + 17, 2);
        let damage = findings(copy.path()).1;
        found += usize::from(!damage.is_empty());
        // What a reader cannot be given is always found.
        let store = ReadOnlyStore::open(copy.path()).unwrap();
        let read = store
            .reader()
            .read(&lane("events"), Position::FIRST, 1 << 20)
            .unwrap();
        let all_whole = read.iter().all(|item| matches!(item, Item::Block(..)));
        assert!(all_whole || !damage.is_empty(), "flip {index}");
    }
    assert!(found > 20, "{found} of 40 flips were found");
    let mut told = 0;
    let stopped = verify(
        root.path(),
        Depth::Stored,
        |_| true,
        |_| {
            told += 1;
            told < 3
        },
    );
    assert_eq!(stopped.unwrap().blocks, 3);
}

/// What the digest alone can tell: the bytes were wrong when they came, and are stored as they came.
#[test]
fn what_was_wrong_before_it_was_stored_is_found_deeper() {
    let root = tempdir().unwrap();
    let options = Options {
        verify_on_append: false,
        ..small()
    };
    let (mut store, _) = Store::open(root.path(), options).unwrap();
    declare(&mut store, 1, 1);
    let mut bytes = block(log(1, LaneKind::Events), 1, 1000).bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let wrong = SealedBlock::parse(bytes.into()).unwrap();
    store
        .append(&lane("events"), &[wrong], None, UtcNanos(0))
        .unwrap();
    store.close().unwrap();
    let found = |depth| {
        let mut found = Vec::new();
        let note = |finding: efd_shared_store::Finding| {
            found.push(finding.what);
            true
        };
        verify(root.path(), depth, note, |_| true).unwrap();
        found
    };
    assert_eq!(found(Depth::Stored), [""; 0]);
    let deeper = found(Depth::Content);
    assert!(
        deeper.len() == 1 && deeper[0].contains("its content has"),
        "{deeper:?}"
    );
}
