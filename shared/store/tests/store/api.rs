//! Behaviour that users rely on, one by one.

use std::fs;
use std::time::Duration;

use efd_shared_model::{BlockNumber, LaneKind, RangeSet, StreamNumber, UtcNanos};
use efd_shared_store::{
    Item, Notice, Options, Position, ReadOnlyStore, SegmentState, Store, StoreError, Undeclared,
};
use tempfile::tempdir;

use crate::world::{
    SECOND, block, block_of, declare, epoch, lane, log, open, read_all, schema, small, stream,
};

const NOW: UtcNanos = UtcNanos(1_795_000_000 * SECOND);

#[test]
fn positions_go_on_across_epochs_segments_and_restarts() {
    let root = tempdir().unwrap();
    let events = lane("events");
    let mut appended = Vec::new();
    for number in 1..=4u8 {
        let (mut store, recovery) = open(root.path());
        assert!(recovery.is_clean(), "{recovery:?}");
        declare(&mut store, number, 1);
        let log = log(number, LaneKind::Events);
        for index in 1..=10 {
            let block = block(log, index, 3000);
            let at = store
                .append(&events, std::slice::from_ref(&block), None, NOW)
                .unwrap();
            assert_eq!(at.start.0 as usize, appended.len() + 1);
            assert_eq!(at.end, at.start.next());
            appended.push((at.start, block.bytes().clone()));
        }
        // Dropped and closed stores go on alike.
        if number % 2 == 0 {
            store.close().unwrap();
        }
    }
    let (store, _) = open(root.path());
    let mut reader = store.reader();
    assert!(store.segments().len() > 4, "{:?}", store.segments());
    assert_eq!(read_all(&mut reader, &events), (appended, vec![]));
    assert_eq!(reader.head(&events), Position(40));
    assert_eq!(reader.floor(&events), Position::FIRST);
    assert_eq!(
        reader.numbers(&log(3, LaneKind::Events)).to_string(),
        "{1-10}"
    );
    assert_eq!(reader.head(&lane("nothing")), Position::NONE);
    assert_eq!(reader.logs().len(), 4);
}

#[test]
fn a_closed_segment_is_one_file() {
    let root = tempdir().unwrap();
    let (mut store, _) = open(root.path());
    declare(&mut store, 1, 1);
    let log = log(1, LaneKind::Events);
    let mut reader = store.reader();
    for number in 1..=20 {
        store
            .append(&lane("events"), &[block(log, number, 4000)], None, NOW)
            .unwrap();
        // A live reader with its connections must not keep a segment from being closed.
        assert_eq!(
            reader
                .read(&lane("events"), Position(number), 1)
                .unwrap()
                .len(),
            1
        );
    }
    let closed: Vec<_> = store.segments();
    let closed: Vec<_> = closed
        .iter()
        .filter(|info| info.state == SegmentState::Closed)
        .collect();
    assert!(closed.len() >= 3);
    for info in closed {
        let path = root
            .path()
            .join("segments/events")
            .join(format!("{:010}.db", info.key.id));
        assert_eq!(fs::metadata(&path).unwrap().len(), info.file_bytes);
        for suffix in ["-wal", "-shm"] {
            assert!(!fs::exists(format!("{}{suffix}", path.display())).unwrap());
        }
    }
}

#[test]
fn blocks_are_found_by_name() {
    let root = tempdir().unwrap();
    let (mut store, _) = open(root.path());
    declare(&mut store, 1, 1);
    declare(&mut store, 2, 1);
    let (a, b) = (log(1, LaneKind::Events), log(2, LaneKind::Events));
    let place = lane("summit-0-live");
    // As at the centre: several epochs in one lane, out of order, some of them twice.
    let sent: Vec<_> = [(a, 3), (b, 1), (a, 1), (a, 3), (b, 2), (a, 9)]
        .map(|(log, number)| block(log, number, 9000))
        .into();
    for block in &sent {
        store
            .append(&place, std::slice::from_ref(block), None, NOW)
            .unwrap();
    }
    let mut reader = store.reader();
    assert_eq!(reader.numbers(&a).to_string(), "{1 3 9}");
    let found = reader.positions(&a, 2..=5, 100).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|(_, position, number)| (position.0, number.0))
        .collect();
    assert_eq!(found, [(1, 3), (4, 3)]);
    assert_eq!(
        reader.read_block(&b, BlockNumber(2)).unwrap(),
        Some(Item::Block(Position(5), sent[4].clone()))
    );
    assert_eq!(reader.read_block(&b, BlockNumber(3)).unwrap(), None);
    let key = &store.segments()[0].key;
    let mut some = RangeSet::new();
    some.insert_range(2..=3);
    let tally = store.tally(key, &a, &some).unwrap();
    assert_eq!((tally.blocks, tally.records), (1, 1));
    assert_eq!(
        tally.event_span,
        Some((UtcNanos(3 * SECOND), UtcNanos(3 * SECOND)))
    );
}

#[test]
fn nothing_is_stored_ahead_of_its_declaration() {
    let root = tempdir().unwrap();
    let (mut store, _) = open(root.path());
    let log = log(1, LaneKind::Events);
    let events = lane("events");
    let append = |store: &mut Store, number| {
        let block = block_of(log, 1, StreamNumber(number), 10, 1);
        store
            .append(&events, &[block], None, NOW)
            .map(|at| at.start.0)
    };
    let undeclared = |error| match error {
        Err(StoreError::Undeclared { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(undeclared(append(&mut store, 1)), Undeclared::Epoch);
    declare(&mut store, 1, 2);
    assert_eq!(
        undeclared(append(&mut store, 3)),
        Undeclared::Stream(StreamNumber(3))
    );
    // 4 is known, 3 is not: 1 to 4 are not all known.
    store
        .declare(&epoch(1), &[stream(4)], &[schema(4)])
        .unwrap();
    assert_eq!(
        undeclared(append(&mut store, 4)),
        Undeclared::Stream(StreamNumber(3))
    );
    store
        .declare(&epoch(1), &[stream(3)], &[schema(3)])
        .unwrap();
    assert_eq!(append(&mut store, 4).unwrap(), 1);

    let error = store
        .declare(&epoch(1), &[stream(5)], &[schema(1)])
        .unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NoSchema {
                stream: StreamNumber(5),
                ..
            }
        ),
        "{error}"
    );
    let other = efd_shared_model::StreamDeclaration {
        topic: "other".into(),
        ..stream(2)
    };
    let error = store.declare(&epoch(1), &[other], &[]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("stream 2 is declared otherwise already"),
        "{error}"
    );
    let mut twin = epoch(1);
    twin.software = "another".into();
    assert!(matches!(
        store.declare(&twin, &[], &[]),
        Err(StoreError::Conflict { .. })
    ));
    store
        .declare(&epoch(1), &[stream(2)], &[schema(2)])
        .unwrap();

    // It is the same after a restart.
    drop(store);
    let (mut store, _) = open(root.path());
    assert!(matches!(
        store.declare(&twin, &[], &[]),
        Err(StoreError::Conflict { .. })
    ));
    assert_eq!(append(&mut store, 4).unwrap(), 2);
}

#[test]
fn declarations_are_in_meta_and_in_each_segment() {
    let root = tempdir().unwrap();
    let (mut store, _) = open(root.path());
    declare(&mut store, 1, 3);
    let log = log(1, LaneKind::Events);
    for number in 1..=9 {
        let block = block_of(log, number, StreamNumber(3), 4000, 2);
        store.append(&lane("events"), &[block], None, NOW).unwrap();
        store.maintain(NOW);
    }
    store.close().unwrap();
    let check = |store: &ReadOnlyStore| {
        let mut reader = store.reader();
        assert_eq!(reader.epochs().unwrap(), [epoch(1)]);
        assert_eq!(
            reader.streams(log.epoch).unwrap(),
            [stream(1), stream(2), stream(3)]
        );
        let fingerprint = schema(2).fingerprint();
        assert_eq!(reader.schema(&fingerprint).unwrap(), Some(schema(2)));
        assert_eq!(reader.schema(&schema(9).fingerprint()).unwrap(), None);
        let unknown = epoch(9).epoch;
        assert!(matches!(
            reader.streams(unknown),
            Err(StoreError::NoEpoch(_))
        ));
    };
    check(&ReadOnlyStore::open(root.path()).unwrap());
    let segments = fs::read_dir(root.path().join("segments/events")).unwrap();
    let mut alone = 0;
    for segment in segments {
        let elsewhere = tempdir().unwrap();
        let copy = elsewhere.path().join("pulled 100%.db");
        fs::copy(segment.unwrap().path(), &copy).unwrap();
        let store = ReadOnlyStore::open(&copy).unwrap();
        check(&store);
        let (blocks, other) = read_all(&mut store.reader(), &lane("events"));
        assert!(!blocks.is_empty() && other.is_empty(), "{other:?}");
        alone += 1;
    }
    assert!(alone >= 2);

    // Without meta.db the segments tell.
    fs::remove_file(root.path().join("meta.db")).unwrap();
    check(&ReadOnlyStore::open(root.path()).unwrap());
    let (mut store, recovery) = open(root.path());
    assert!(recovery.meta_rebuilt);
    declare(&mut store, 1, 3);
    drop(store);
    check(&ReadOnlyStore::open(root.path()).unwrap());
}

#[test]
fn another_process_sees_what_is_live() {
    let root = tempdir().unwrap();
    let (mut store, _) = open(root.path());
    declare(&mut store, 1, 1);
    let log = log(1, LaneKind::Events);
    let events = lane("events");
    store
        .append(&events, &[block(log, 1, 100)], Some(("key", b"a")), NOW)
        .unwrap();
    let mut other = ReadOnlyStore::open(root.path()).unwrap();
    assert_eq!(other.notices(), []);
    assert_eq!(read_all(&mut other.reader(), &events).0.len(), 1);
    for number in 2..=20 {
        store
            .append(
                &events,
                &[block(log, number, 2500)],
                Some(("key", b"b")),
                NOW,
            )
            .unwrap();
    }
    other.refresh().unwrap();
    assert_eq!(other.notices(), []);
    let (blocks, rest) = read_all(&mut other.reader(), &events);
    assert_eq!((blocks.len(), rest), (20, vec![]));
    assert_eq!(
        other.reader().state(&events, "key"),
        Some((Position(20), b"b".to_vec()))
    );
    let error = ReadOnlyStore::open(root.path().join("segments")).unwrap_err();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
}

#[test]
fn a_reader_sees_what_was_declared_since_it_asked() {
    let root = tempdir().unwrap();
    let declare_next = |number: u8| {
        let (mut store, _) = open(root.path());
        declare(&mut store, number, 1);
        store
    };
    declare_next(1).close().unwrap();
    let other = ReadOnlyStore::open(root.path()).unwrap();
    let mut reader = other.reader();
    let mut number_of_epochs = || reader.epochs().unwrap().len();
    assert_eq!(number_of_epochs(), 1);
    // A writer that came and went, one that is there, one that went on, one that died, one that was followed.
    declare_next(2).close().unwrap();
    assert_eq!(number_of_epochs(), 2);
    let mut store = declare_next(3);
    assert_eq!(number_of_epochs(), 3);
    declare(&mut store, 4, 1);
    assert_eq!(number_of_epochs(), 4);
    drop(store);
    assert_eq!(number_of_epochs(), 4);
    let store = declare_next(5);
    assert_eq!(number_of_epochs(), 5);
    store.close().unwrap();
    assert_eq!(number_of_epochs(), 5);
    declare_next(6).close().unwrap();
    assert_eq!(number_of_epochs(), 6);
}

#[test]
fn values_outlive_their_segments() {
    let root = tempdir().unwrap();
    let (mut store, _) = open(root.path());
    declare(&mut store, 1, 1);
    let log = log(1, LaneKind::Events);
    let events = lane("events");
    store
        .append(&events, &[block(log, 1, 100)], Some(("old", b"kept")), NOW)
        .unwrap();
    let at = store
        .append(&events, &[], Some(("empty", b"")), NOW)
        .unwrap();
    assert!(at.is_empty());
    for number in 2..=30 {
        store
            .append(
                &events,
                &[block(log, number, 3000)],
                Some(("new", &[number as u8])),
                NOW,
            )
            .unwrap();
    }
    let later = UtcNanos(NOW.0 + 3600 * SECOND);
    store.maintain(later);
    for info in store.segments() {
        assert_eq!(info.state, SegmentState::Closed);
        store.remove(&info.key).unwrap();
    }
    for _ in 0..2 {
        let mut reader = store.reader();
        assert_eq!(
            reader.state(&events, "old"),
            Some((Position(1), b"kept".to_vec()))
        );
        assert_eq!(reader.state(&events, "empty"), Some((Position(1), vec![])));
        assert_eq!(reader.state(&events, "new"), Some((Position(30), vec![30])));
        assert_eq!(
            (reader.floor(&events), reader.head(&events)),
            (Position(31), Position(30))
        );
        let absent = Item::Absent {
            first: Position(7),
            last: Position(30),
        };
        assert_eq!(reader.read(&events, Position(7), 1).unwrap(), [absent]);
        assert_eq!(reader.read(&events, Position(31), 1).unwrap(), []);
        drop(store);
        store = open(root.path()).0;
    }
    let at = store
        .append(&events, &[block(log, 31, 10)], None, NOW)
        .unwrap();
    assert_eq!(at.start, Position(31));
}

/// Whichever segments are opened at the start: an older one still has what a newer one has replaced.
#[test]
fn values_come_from_the_newest_segment() {
    let root = tempdir().unwrap();
    let (mut store, _) = open(root.path());
    declare(&mut store, 1, 1);
    let log = log(1, LaneKind::Events);
    let events = lane("events");
    for number in 1..=20 {
        let blocks = [block(log, number, 3000)];
        store
            .append(&events, &blocks, Some(("key", &[number as u8])), NOW)
            .unwrap();
    }
    store.maintain(UtcNanos(NOW.0 + 3600 * SECOND));
    let segments = store.segments();
    assert!(
        segments
            .iter()
            .all(|info| info.state == SegmentState::Closed)
    );
    store.close().unwrap();
    // The catalogue trusts the newest; the oldest it does not know.
    let meta = rusqlite::Connection::open(root.path().join("meta.db")).unwrap();
    let forgotten = meta.execute("DELETE FROM segments WHERE id = 1", []);
    assert_eq!(forgotten.unwrap(), 1);
    drop(meta);
    let newest = Some((Position(20), vec![20]));
    let looked = ReadOnlyStore::open(root.path()).unwrap();
    assert_eq!(looked.reader().state(&events, "key"), newest);
    assert_eq!(looked.notices(), []);
    let (store, recovery) = open(root.path());
    assert!(recovery.is_clean(), "{recovery:?}");
    assert_eq!(store.reader().state(&events, "key"), newest);
    drop(store);

    // Of a newest one that cannot be read, that is told.
    let newest = segments.last().unwrap();
    let path = root.path().join("segments/events");
    let path = path.join(format!("{:010}.db", newest.key.id));
    let segment = rusqlite::Connection::open(&path).unwrap();
    let mode: String = segment
        .pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "delete");
    segment
        .execute("UPDATE state SET value = x'00'", [])
        .unwrap();
    drop(segment);
    let (_, recovery) = open(root.path());
    let damaged: Vec<_> = recovery
        .damaged
        .iter()
        .map(|damaged| &damaged.key)
        .collect();
    assert_eq!(damaged, [&newest.key], "{recovery:?}");
    let looked = ReadOnlyStore::open(root.path()).unwrap();
    assert!(
        matches!(looked.notices(), [Notice::Damaged { path: at, .. }] if *at == path),
        "{:?}",
        looked.notices()
    );
}

#[test]
fn only_closed_segments_are_removed() {
    let root = tempdir().unwrap();
    let (mut store, _) = open(root.path());
    declare(&mut store, 1, 1);
    let log = log(1, LaneKind::Events);
    store
        .append(&lane("events"), &[block(log, 1, 100)], None, NOW)
        .unwrap();
    let key = store.segments()[0].key.clone();
    assert!(matches!(store.remove(&key), Err(StoreError::StillOpen(_))));
    store.maintain(UtcNanos(NOW.0 + 3600 * SECOND));
    store.remove(&key).unwrap();
    assert!(matches!(store.remove(&key), Err(StoreError::NoSegment(_))));
}

#[test]
fn acknowledgements_are_kept_by_destination() {
    let root = tempdir().unwrap();
    let (mut store, _) = open(root.path());
    let log = log(1, LaneKind::Events);
    let set = |ranges: &[std::ops::RangeInclusive<u64>]| {
        let mut set = RangeSet::new();
        ranges
            .iter()
            .for_each(|range| set.insert_range(range.clone()));
        set
    };
    store.add_acked("ldf", &log, &set(&[1..=5, 9..=9]));
    store.add_acked("ldf", &log, &set(&[6..=7]));
    store.add_acked("base", &log, &set(&[1..=2]));
    store.remove_acked("ldf", &log, &set(&[2..=3]));
    store.maintain(NOW);
    store.put_value("name", b"value").unwrap();
    drop(store);
    let (mut store, _) = open(root.path());
    assert_eq!(store.acked("ldf")[&log].to_string(), "{1 4-7 9}");
    assert_eq!(store.acked("base")[&log].to_string(), "{1-2}");
    assert!(store.acked("elsewhere").is_empty());
    assert_eq!(store.value("name").unwrap().as_deref(), Some(&b"value"[..]));
    store.forget_acked("base", &log);
    store.close().unwrap();
    let store = ReadOnlyStore::open(root.path()).unwrap();
    assert!(
        store
            .acked()
            .get("base")
            .is_none_or(|acked| acked.is_empty())
    );
    assert_eq!(store.acked()["ldf"].len(), 1);
}

#[test]
fn a_second_writer_is_refused() {
    let root = tempdir().unwrap();
    let (store, _) = open(root.path());
    let error = Store::open(root.path(), small()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    drop(store);
    open(root.path());
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let root = tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(file.join("store"), small()).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(error.to_string().contains("file/store"), "{error}");
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let root = tempdir().unwrap();
    let (mut store, _) = open(root.path());
    declare(&mut store, 1, 1);
    store
        .append(
            &lane("events"),
            &[block(log(1, LaneKind::Events), 1, 10)],
            None,
            NOW,
        )
        .unwrap();
    store.close().unwrap();
    let segment = root.path().join("segments/events/0000000001.db");
    let set = |path: &std::path::Path, table: &str, version: u32| {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection
            .pragma_update(None, "user_version", version)
            .unwrap();
        connection
            .execute(&format!("UPDATE {table} SET format = {version}"), [])
            .unwrap();
    };
    set(&segment, "segment", 2);
    for _ in 0..2 {
        let error = Store::open(root.path(), small()).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::TooNew {
                    found: 2,
                    newest: 1,
                    ..
                }
            ),
            "{error}"
        );
    }
    assert!(segment.exists());
    set(&segment, "segment", 1);
    set(&root.path().join("meta.db"), "meta", 3);
    let error = Store::open(root.path(), small()).unwrap_err();
    assert!(
        matches!(error, StoreError::TooNew { found: 3, .. }),
        "{error}"
    );
    set(&root.path().join("meta.db"), "meta", 1);
    let (_, recovery) = Store::open(root.path(), small()).unwrap();
    assert!(recovery.is_clean(), "{recovery:?}");
}

#[test]
fn a_block_whose_digest_is_wrong_is_refused() {
    let root = tempdir().unwrap();
    let (mut store, _) = open(root.path());
    declare(&mut store, 1, 1);
    let good = block(log(1, LaneKind::Events), 1, 100);
    let mut bytes = good.bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let bad = efd_shared_model::SealedBlock::parse(bytes.into()).unwrap();
    let error = store
        .append(&lane("events"), &[good, bad], None, NOW)
        .unwrap_err();
    assert!(matches!(error, StoreError::Block(_)), "{error}");
    assert_eq!(store.reader().head(&lane("events")), Position::NONE);
}

#[test]
fn segments_close_by_age_and_are_made_ahead() {
    let root = tempdir().unwrap();
    let options = Options {
        segment_age_max: Duration::from_secs(100),
        segment_bytes_max: 1 << 30,
        ..small()
    };
    let (mut store, _) = Store::open(root.path(), options).unwrap();
    declare(&mut store, 1, 1);
    let log = log(1, LaneKind::Events);
    let at = |second: i64| UtcNanos(NOW.0 + second * SECOND);
    store
        .append(&lane("events"), &[block(log, 1, 10)], None, at(0))
        .unwrap();
    let files = || fs::read_dir(root.path().join("segments/events")).unwrap();
    let databases = || {
        let names = files().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".db")).count()
    };
    store.maintain(at(40));
    assert_eq!(databases(), 1);
    store.maintain(at(60));
    assert_eq!(databases(), 2, "the next file is made ahead");
    store
        .append(&lane("events"), &[block(log, 2, 10)], None, at(99))
        .unwrap();
    assert_eq!(store.segments().len(), 1);
    store
        .append(&lane("events"), &[block(log, 3, 10)], None, at(100))
        .unwrap();
    let states: Vec<_> = store
        .segments()
        .iter()
        .map(|info| (info.last.0, info.state))
        .collect();
    assert_eq!(states, [(2, SegmentState::Closed), (3, SegmentState::Open)]);
    store.close().unwrap();
    assert_eq!(files().count(), 2, "an orderly close leaves one file each");
}

/// Runs where the process may mount, and says so where it may not.
#[test]
fn a_read_only_disk_is_read() {
    let root = tempdir().unwrap();
    let (mut store, _) = open(root.path());
    declare(&mut store, 1, 1);
    let log = log(1, LaneKind::Events);
    for number in 1..=10 {
        store
            .append(&lane("events"), &[block(log, number, 4000)], None, NOW)
            .unwrap();
    }
    let live = store.segments().last().unwrap().key.clone();
    // The power goes: what is in WAL files stays there.
    drop(store);
    for shm in [
        "meta.db-shm",
        &format!("segments/events/{:010}.db-shm", live.id),
    ] {
        fs::remove_file(root.path().join(shm)).unwrap();
    }
    let mount = tempdir().unwrap();
    let run = |arguments: &[&std::ffi::OsStr]| {
        let done = std::process::Command::new(arguments[0])
            .args(&arguments[1..])
            .output();
        done.is_ok_and(|output| output.status.success())
    };
    let (from, to) = (root.path().as_os_str(), mount.path().as_os_str());
    let bound = run(&["mount".as_ref(), "--bind".as_ref(), from, to])
        && run(&[
            "mount".as_ref(),
            "-o".as_ref(),
            "remount,ro,bind".as_ref(),
            to,
        ]);
    if !bound {
        run(&["umount".as_ref(), to]);
        return efd_tests_testkit::skip("a_read_only_disk_is_read", &"this process may not mount");
    }
    let looked = std::panic::catch_unwind(|| {
        let store = ReadOnlyStore::open(mount.path()).unwrap();
        let (blocks, other) = read_all(&mut store.reader(), &lane("events"));
        let error = Store::open(mount.path(), small()).unwrap_err();
        (blocks.len(), other, store.notices().to_vec(), error)
    });
    assert!(run(&["umount".as_ref(), to]));
    let (blocks, other, notices, error) = looked.unwrap();
    // What is still in a WAL, too: its index is held in memory.
    assert_eq!((blocks, notices), (10, vec![]));
    assert_eq!(other, Vec::<String>::new());
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
}
