//! `repair`: what is intact, where it was; nothing else; and the source as it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use efd_shared_model::{LaneKind, UtcNanos};
use efd_shared_store::{LaneName, Options, Position, ReadOnlyStore, Store};
use efd_tests_testkit::volume::Volume;
use serde_json::Value;

use crate::world::{
    BEGIN, Numbers, Ran, closed, contents, crashed, declare, event, log, run, segment, telemetry,
    write,
};

fn repair(root: &Path, to: &Path, arguments: &[&str]) -> Ran {
    let to = to.to_str().unwrap();
    run("repair", root, &[&["--to", to], arguments].concat())
}

fn lane(kind: LaneKind) -> LaneName {
    kind.as_str().parse().unwrap()
}

fn report(to: &Path) -> Vec<Value> {
    let text = fs::read_to_string(to.join("repair.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Every block of every lane with its position and the time of its commit.
fn blocks(root: &Path) -> BTreeSet<(String, u64, String, u128, Option<i64>)> {
    let store = ReadOnlyStore::open(root).unwrap();
    let mut reader = store.reader();
    let mut all = BTreeSet::new();
    for lane in reader.lanes() {
        let mut next = reader.floor(&lane);
        loop {
            let items = reader.read(&lane, next, 1 << 20).unwrap();
            let Some(last) = items.last() else {
                break;
            };
            next = last.next();
            for item in items {
                if let efd_shared_store::Item::Block(position, block) = item {
                    let committed = reader.committed(&lane, position).map(|time| time.0);
                    all.insert((
                        lane.to_string(),
                        position.0,
                        block.id().to_string(),
                        block.digest(),
                        committed,
                    ));
                }
            }
        }
    }
    all
}

/// What every repair must give: all that `cat` shows of the source, intact, and a store that goes on.
fn check(root: &Path, to: &Path, expected: i32) -> Ran {
    let before = contents(root);
    let ran = repair(root, to, &[]);
    assert!(contents(root) == before, "it wrote");
    assert_eq!(ran.code, expected, "{}{}", ran.out, ran.err);
    assert!(expected == 0 || !ran.err.is_empty());
    let (old, new) = (run("cat", root, &[]), run("cat", to, &[]));
    assert_eq!((new.code, new.err.as_str()), (0, ""));
    assert!(new.out == old.out, "not the intact part of the original");
    let verified = run("verify", to, &[]);
    assert_eq!(verified.code, 0, "{}", verified.out);
    assert_eq!(run("ls", to, &[]).code, 0);
    let report = report(to);
    assert_eq!(
        report.len() as u64,
        report.last().unwrap()["lost"].as_u64().unwrap() + 1
    );
    assert_eq!(report.len() > 1, expected == 2);
    let names: BTreeSet<String> = fs::read_dir(to)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        names,
        ["meta.db", "repair.jsonl", "segments"]
            .map(String::from)
            .into()
    );
    goes_on(to);
    ran
}

/// A copy of it is taken over by a writer.
fn goes_on(to: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("copy");
    crate::world::copy(to, &root);
    let (mut store, recovery) = Store::open(
        &root,
        Options {
            reserve_bytes: 0,
            ..Options::default()
        },
    )
    .unwrap();
    assert!(recovery.is_clean(), "{recovery:?}");
    declare(&mut store, 9);
    let telemetry_lane = lane(LaneKind::Telemetry);
    let head = store.reader().head(&telemetry_lane);
    let at = store.append(&telemetry_lane, &[telemetry(9, 1)], None, UtcNanos(BEGIN));
    assert_eq!(at.unwrap().start, head.next());
    store.close().unwrap();
    assert_eq!(run("verify", &root, &[]).code, 0);
}

/// The world, with values of lanes and one of `meta.db`, and its oldest segment of telemetry removed.
fn with_values() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("buffer");
    let mut store = write(&root);
    let (telemetry_lane, parked) = (lane(LaneKind::Telemetry), lane(LaneKind::Parked));
    let now = UtcNanos(BEGIN + 7_000_000_000_000);
    let set = |store: &mut Store, lane: &LaneName, key: &str, value: &[u8]| {
        store.append(lane, &[], Some((key, value)), now).unwrap();
    };
    set(&mut store, &telemetry_lane, "publishers", b"snapshot at 12");
    let blocks = [telemetry(2, 7), telemetry(2, 8)];
    store
        .append(
            &telemetry_lane,
            &blocks,
            Some(("parked/New::thing", b"14")),
            now,
        )
        .unwrap();
    store
        .append(&telemetry_lane, &[telemetry(2, 9)], None, now)
        .unwrap();
    // Before the first block of a lane, and in one that never has any.
    for name in ["events.1", "telemetry.7"] {
        set(&mut store, &name.parse().unwrap(), "first", b"0");
    }
    let blocks = [event(1, 3), event(1, 4)];
    store
        .append(&"events.1".parse().unwrap(), &blocks, None, now)
        .unwrap();
    set(&mut store, &parked, "a", b"1");
    set(&mut store, &parked, "b", b"2");
    store.put_value("name", b"of the edge").unwrap();
    let oldest = store.segments();
    let oldest = oldest.iter().find(|info| info.key.lane == telemetry_lane);
    let key = oldest.unwrap().key.clone();
    store.remove(&key).unwrap();
    store.close().unwrap();
    (folder, root)
}

#[test]
fn an_intact_buffer_is_copied_in_every_respect() {
    for (folder, root) in [closed(), crashed(), with_values()] {
        let to = folder.path().join("new");
        check(&root, &to, 0);
        // A batch of neighbours has the time of its newest block.
        let strip = |all: BTreeSet<(String, u64, String, u128, Option<i64>)>| {
            all.into_iter()
                .map(|(lane, position, id, digest, _)| (lane, position, id, digest))
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(strip(blocks(&to)), strip(blocks(&root)));
        assert!(blocks(&to).iter().all(|block| block.4.is_some()));
        let (old, new) = (
            ReadOnlyStore::open(&root).unwrap(),
            ReadOnlyStore::open(&to).unwrap(),
        );
        assert_eq!(old.acked(), new.acked());
        assert_eq!(old.values(), new.values());
        let (mut a, mut b) = (old.reader(), new.reader());
        assert_eq!(a.lanes(), b.lanes());
        for lane in a.lanes() {
            assert_eq!(a.states(&lane), b.states(&lane), "{lane}");
            assert_eq!(a.head(&lane), b.head(&lane), "{lane}");
            assert_eq!(a.floor(&lane), b.floor(&lane), "{lane}");
        }
        let epochs = a.epochs().unwrap();
        assert_eq!(epochs, b.epochs().unwrap());
        for epoch in epochs {
            let streams = a.streams(epoch.epoch).unwrap();
            assert_eq!(streams, b.streams(epoch.epoch).unwrap());
            for stream in streams {
                assert!(b.schema(&stream.schema).unwrap().is_some());
            }
        }
    }
}

#[test]
fn values_stay_where_they_were() {
    let (folder, root) = with_values();
    let to = folder.path().join("new");
    check(&root, &to, 0);
    let store = ReadOnlyStore::open(&to).unwrap();
    let reader = store.reader();
    let telemetry = lane(LaneKind::Telemetry);
    let state = |key: &str| reader.state(&telemetry, key).unwrap();
    assert_eq!(
        state("publishers"),
        (Position(12), b"snapshot at 12".to_vec())
    );
    assert_eq!(state("parked/New::thing"), (Position(14), b"14".to_vec()));
    assert_eq!(reader.head(&telemetry), Position(15));
    let parked = lane(LaneKind::Parked);
    assert_eq!(
        reader.state(&parked, "a").unwrap(),
        (Position(1), b"1".to_vec())
    );
    assert_eq!(
        reader.state(&parked, "b").unwrap(),
        (Position(1), b"2".to_vec())
    );
    for name in ["events.1", "telemetry.7"] {
        let state = reader.state(&name.parse().unwrap(), "first").unwrap();
        assert_eq!(state, (Position::NONE, b"0".to_vec()), "{name}");
    }
    assert_eq!(store.values()["name"], b"of the edge");
}

#[test]
fn damaged_blocks_leave_holes() {
    let (folder, root) = with_values();
    // One block inside of a segment, and a whole segment of random bytes.
    let file = segment(&root, "telemetry", 0);
    let mut bad = fs::read(&file).unwrap();
    let at = bad
        .windows(4)
        .rposition(|window| window == b"EFDB")
        .unwrap()
        + 200;
    bad[at] ^= 0x10;
    fs::write(&file, bad).unwrap();
    let file = segment(&root, "telemetry", 1);
    let mut numbers = Numbers(3);
    let noise: Vec<u8> = (0..fs::metadata(&file).unwrap().len())
        .map(|_| numbers.next() as u8)
        .collect();
    fs::write(&file, noise).unwrap();
    let to = folder.path().join("new");
    let Ran { out, err, .. } = check(&root, &to, 2);
    assert!(out.contains("could not be carried over is in"), "{out}");
    let (old, new) = (blocks(&root), blocks(&to));
    let names = |all: &BTreeSet<(String, u64, String, u128, Option<i64>)>| {
        all.iter()
            .map(|(lane, position, id, ..)| (lane.clone(), *position, id.clone()))
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&new), names(&old));
    assert!(new.len() < 20);
    let telemetry = lane(LaneKind::Telemetry);
    let reader = ReadOnlyStore::open(&to).unwrap().reader();
    assert_eq!(reader.head(&telemetry), Position(15));
    assert_eq!(
        reader.state(&telemetry, "publishers").unwrap().0,
        Position(12)
    );
    let lost = report(&to);
    let block = lost.iter().find(|line| line["lost"] == "blocks").unwrap();
    assert_eq!(block["lane"], "telemetry");
    assert!(
        block["reason"].as_str().unwrap().contains("checksum"),
        "{block}"
    );
    assert!(lost.iter().any(|line| line["lost"] == "file"), "{lost:?}");
    assert!(err.contains("checksum"), "{err}");
    // The same for programs.
    let again = folder.path().join("again");
    let json = repair(&root, &again, &["--json"]).out;
    assert_eq!(
        json,
        fs::read_to_string(again.join("repair.jsonl")).unwrap()
    );
}

#[test]
fn an_end_that_nobody_knows_is_skipped() {
    let (folder, root) = closed();
    // The open segment of telemetry: what it had, and where the lane ended, is gone.
    let files = || segment_files(&root);
    let newest = files().pop().unwrap();
    fs::write(&newest, [0x5a; 9000]).unwrap();
    let to = folder.path().join("new");
    check(&root, &to, 2);
    let reader = ReadOnlyStore::open(&to).unwrap().reader();
    assert_eq!(
        reader.head(&lane(LaneKind::Telemetry)),
        Position(u32::MAX.into())
    );
    assert_eq!(reader.head(&lane(LaneKind::Events)), Position(4));
}

fn segment_files(root: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(root.join("segments/telemetry"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "db"))
        .collect();
    files.sort();
    files
}

#[test]
fn without_meta_db_the_segments_tell() {
    let (folder, root) = with_values();
    fs::remove_file(root.join("meta.db")).unwrap();
    let to = folder.path().join("new");
    check(&root, &to, 2);
    let (old, new) = (
        ReadOnlyStore::open(&root).unwrap(),
        ReadOnlyStore::open(&to).unwrap(),
    );
    assert!(new.acked().is_empty() && new.values().is_empty());
    let telemetry = lane(LaneKind::Telemetry);
    assert_eq!(
        old.reader().states(&telemetry),
        new.reader().states(&telemetry)
    );
    assert_eq!(
        new.reader().numbers(&log(2, LaneKind::Telemetry)),
        old.reader().numbers(&log(2, LaneKind::Telemetry))
    );

    // One that is older than its segments, as its WAL is gone.
    let (folder, root) = crashed();
    fs::remove_file(root.join("meta.db-wal")).unwrap();
    let to = folder.path().join("new");
    check(&root, &to, 0);
}

#[test]
fn a_segment_alone_becomes_a_buffer() {
    let (folder, root) = closed();
    let to = folder.path().join("new");
    let file = segment(&root, "telemetry", 1);
    let Ran { code, out, err } = repair(&file, &to, &[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(run("cat", &to, &[]).out == run("cat", &file, &[]).out);
    assert_eq!(run("verify", &to, &[]).code, 0);
}

#[test]
fn folders_that_cannot_be_taken() {
    let (folder, root) = closed();
    let before = contents(&root);
    for inside in [root.join("new"), root.clone(), root.join("a/b")] {
        let Ran { code, err, .. } = repair(&root, &inside, &[]);
        assert_eq!(code, 1);
        assert!(err.contains("never written to"), "{err}");
    }
    assert_eq!(contents(&root), before);
    let full = folder.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "").unwrap();
    let Ran { code, err, .. } = repair(&root, &full, &[]);
    assert_eq!(code, 1);
    assert!(err.contains("is not empty"), "{err}");
}

#[test]
fn a_full_disk_is_named_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("buffer");
    write(&root).close().unwrap();
    let disk = folder.path().join("disk");
    let volume = match Volume::mount(&disk, 4 << 20) {
        Ok(volume) => volume,
        Err(error) => return efd_tests_testkit::skip("repair to a full disk", &error),
    };
    for left in [0, 60_000] {
        let _filler = volume.fill(left).unwrap();
        let to = disk.join("new");
        let Ran { code, err, .. } = repair(&root, &to, &[]);
        assert_eq!(code, 1, "{err}");
        assert!(err.to_lowercase().contains("no space left"), "{err}");
        assert!(!to.join("segments").exists() && !to.join("repair.partial").exists());
    }
}
