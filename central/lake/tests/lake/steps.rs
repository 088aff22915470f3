//! The core step by step, and the loop.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use efd_central_lake::{Course, Lake, LakeError, Mailbox, Options, Request, Requests, run};
use efd_central_log::Follower;
use efd_shared_model::UtcNanos;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding};
use tempfile::TempDir;

use crate::read::{assert_same, commits, live_files, parquet_files, read};
use crate::world::{MIDNIGHT, World};

fn open(root: &TempDir) -> Lake {
    Lake::open(root.path().to_owned(), Options::default())
        .unwrap()
        .0
}

fn filled(seed: u64, blocks: usize) -> (World, TempDir) {
    let mut world = World::new(seed);
    (0..blocks).for_each(|_| world.append());
    (world, TempDir::new().unwrap())
}

/// Places without records are committed too, and that some were passed: the log must not wait for the lake, nor the lake
/// forget what it is to look for.
#[test]
fn places_without_records_are_committed() {
    let (world, root) = filled(2, 20);
    let mut lake = open(&root);
    let mut follower = Follower::new(Arc::clone(&world.log), lake.committed().clone());
    world.feed(&mut lake, &mut follower, usize::MAX);
    lake.pass(follower.progress(), world.clock);
    assert_eq!(lake.commit(world.clock).unwrap(), Some(1));
    lake.pass(follower.progress(), world.clock);
    assert_eq!(lake.due_in(world.clock), None, "nothing is new");

    let mut progress = follower.progress().clone();
    for place in progress.places.values_mut() {
        *place = place.next();
    }
    progress.has_passed = true;
    lake.pass(&progress, world.clock);
    assert!(lake.due_in(world.clock).is_some());
    assert_eq!(lake.commit(world.clock).unwrap(), Some(2));
    assert_eq!(lake.commit(world.clock).unwrap(), None);
    drop(lake);
    assert_eq!(open(&root).committed(), &progress);
    assert_same(&read(parquet_files(root.path())).rows, &world.oracle);
}

#[test]
fn rows_are_what_was_recorded() {
    let (mut world, root) = filled(1, 400);
    let mut lake = open(&root);
    let mut follower = Follower::new(Arc::clone(&world.log), lake.committed().clone());
    world.feed(&mut lake, &mut follower, 200);
    assert_eq!(lake.commit(world.clock).unwrap(), Some(1));
    world.pass_seconds(60);
    world.feed(&mut lake, &mut follower, usize::MAX);
    assert_eq!(lake.commit(world.clock).unwrap(), Some(2));
    assert_eq!(lake.commit(world.clock).unwrap(), None);

    let found = read(parquet_files(root.path()));
    assert_same(&found.rows, &world.oracle);
    let classes = ["fill", "live"].map(str::to_owned);
    assert_eq!(found.classes, BTreeSet::from(classes));
    let counters = lake.counters();
    let rejected = world
        .oracle
        .values()
        .filter(|row| row.topic == "efd.rejected")
        .count();
    assert!(rejected > 100, "{rejected}");
    assert_eq!(counters.rejected_records, rejected as u64);
    assert_eq!(counters.records, world.oracle.len() as u64);
    assert_eq!(counters.rows_written, world.oracle.len() as u64);
    assert_eq!(counters.files_added, live_files(root.path()).len() as u64);
    assert_eq!((counters.commits, counters.buffered_records), (2, 0));
    assert_eq!(counters.last_commit, Some(world.clock.utc));
    let topics: BTreeSet<_> = world.oracle.values().map(|row| &row.topic).collect();
    assert!(topics.iter().any(|topic| *topic == "efd.losses"));
}

#[test]
fn due_by_age_and_by_memory() {
    let (mut world, root) = filled(2, 40);
    let options = Options {
        memory_bytes: 20_000,
        ..Options::default()
    };
    let (mut lake, progress) = Lake::open(root.path().to_owned(), options).unwrap();
    let mut follower = Follower::new(Arc::clone(&world.log), progress);
    assert_eq!(lake.due_in(world.clock), None);
    world.feed(&mut lake, &mut follower, 1);
    assert_eq!(lake.counters().oldest_uncommitted, Some(world.clock.utc));
    world.pass_seconds(59);
    world.feed(&mut lake, &mut follower, 1);
    assert_eq!(lake.due_in(world.clock), Some(Duration::from_secs(1)));
    world.pass_seconds(2);
    assert_eq!(lake.due_in(world.clock), Some(Duration::ZERO));
    lake.commit(world.clock).unwrap();
    assert_eq!(lake.due_in(world.clock), None);
    world.feed(&mut lake, &mut follower, usize::MAX);
    assert!(lake.is_full());
    assert_eq!(lake.due_in(world.clock), Some(Duration::ZERO));
    lake.commit(world.clock).unwrap();
    assert!(!lake.is_full());
}

#[test]
fn a_second_writer_is_refused() {
    let (_, root) = filled(3, 0);
    let first = open(&root);
    let error = Lake::open(root.path().to_owned(), Options::default()).unwrap_err();
    assert!(matches!(error, LakeError::Locked { .. }), "{error}");
    drop(first);
    open(&root);
}

/// The hint is only a hint; a damaged commit, or one of a later version, is an error that names it.
#[test]
fn the_end_of_the_chain_is_found() {
    let (mut world, root) = filled(4, 0);
    let options = Options {
        checkpoint_every: 4,
        ..Options::default()
    };
    let again = || Lake::open(root.path().to_owned(), options.clone());
    {
        let (mut lake, progress) = again().unwrap();
        let mut follower = Follower::new(Arc::clone(&world.log), progress);
        for _ in 0..10 {
            world.append();
            world.feed(&mut lake, &mut follower, usize::MAX);
            lake.commit(world.clock).unwrap();
        }
    }
    let newest = commits(root.path()).len() as u64;
    let hint = root.path().join("_commits/_checkpoint");
    assert_eq!(
        fs::read_to_string(&hint).unwrap(),
        (newest / 4 * 4).to_string()
    );
    let check = || {
        let (lake, progress) = again().unwrap();
        assert_eq!(lake.last_commit(), newest);
        assert_eq!(
            progress,
            commits(root.path()).last().unwrap().progress().unwrap()
        );
    };
    check();
    for wrong in ["", "1", "999", "garbage"] {
        fs::write(&hint, wrong).unwrap();
        check();
    }
    fs::remove_file(&hint).unwrap();
    check();

    let path = root.path().join(format!("_commits/{newest:020}.json"));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"version\":1", "\"version\":2")).unwrap();
    let error = again().unwrap_err().to_string();
    assert!(
        error.ends_with("has version 2, this build reads up to 1"),
        "{error}"
    );
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    let error = again().unwrap_err();
    assert!(matches!(&error, LakeError::BadCommit { .. }), "{error}");
    assert!(!error.is_transient());
}

#[test]
fn a_file_that_is_gone_is_counted_and_the_rest_goes_on() {
    let (world, root) = filled(5, 20);
    {
        let mut lake = open(&root);
        let mut follower = Follower::new(Arc::clone(&world.log), lake.committed().clone());
        world.feed(&mut lake, &mut follower, usize::MAX);
        lake.commit(world.clock).unwrap();
    }
    fs::remove_file(&parquet_files(root.path())[0]).unwrap();
    assert_eq!(open(&root).counters().files_missing, 1);
}

#[test]
fn units_descriptions_and_encodings_are_in_the_files() {
    let (world, root) = filled(6, 60);
    let mut lake = open(&root);
    let mut follower = Follower::new(Arc::clone(&world.log), lake.committed().clone());
    world.feed(&mut lake, &mut follower, usize::MAX);
    lake.commit(world.clock).unwrap();
    let path = parquet_files(root.path())
        .into_iter()
        .find(|path| {
            path.to_str()
                .unwrap()
                .contains("efd_topic=lsst.sal.Test.all/efd_date=2026-11-24")
        })
        .unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let schema = builder.schema();
    assert_eq!(schema.metadata().get("description").unwrap(), "All kinds");
    let metadata = |name: &str, key: &str| {
        schema
            .field_with_name(name)
            .unwrap()
            .metadata()
            .get(key)
            .unwrap()
            .clone()
    };
    assert_eq!(metadata("force", "units"), "N");
    assert_eq!(metadata("doubles", "units"), "m/s²");
    assert_eq!(metadata("private_identity", "description"), "Identity");
    assert_eq!(metadata("time", "description"), "Event time, UTC");
    // SAL's own field of that name steps aside.
    assert_eq!(metadata("time_", "description"), "Named as our own column");
    let group = builder.metadata().row_group(0);
    let column = |path: &str| {
        let found = group
            .columns()
            .iter()
            .find(|column| column.column_path().string() == path);
        found.unwrap_or_else(|| panic!("no column {path}"))
    };
    let has = |path: &str, encoding: Encoding| {
        assert!(
            column(path).encodings().any(|used| used == encoding),
            "{path}"
        );
    };
    has("force", Encoding::BYTE_STREAM_SPLIT);
    has("doubles.list.element", Encoding::BYTE_STREAM_SPLIT);
    has("time", Encoding::DELTA_BINARY_PACKED);
    has("longs.list.element", Encoding::DELTA_BINARY_PACKED);
    has("efd_edge", Encoding::RLE_DICTIONARY);
    assert!(matches!(
        column("force").compression(),
        Compression::ZSTD(_)
    ));
    assert!(column("time").statistics().is_some());
    assert!(column("doubles.list.element").statistics().is_none());
}

#[test]
fn a_day_of_small_files_becomes_few() {
    let (mut world, root) = filled(8, 0);
    let mut lake = open(&root);
    let mut follower = Follower::new(Arc::clone(&world.log), lake.committed().clone());
    for _ in 0..30 {
        (0..4).for_each(|_| world.append());
        world.feed(&mut lake, &mut follower, usize::MAX);
        lake.commit(world.clock).unwrap();
        world.pass_seconds(60);
    }
    let before = parquet_files(root.path());
    let date = UtcNanos(MIDNIGHT).date();
    let files_of_day = |files: BTreeSet<PathBuf>| {
        let mut folders = std::collections::BTreeMap::<PathBuf, usize>::new();
        let day = files
            .into_iter()
            .filter(|path| path.parent().unwrap().ends_with(format!("efd_date={date}")));
        day.for_each(|path| {
            *folders
                .entry(path.parent().unwrap().to_owned())
                .or_default() += 1
        });
        folders
    };
    assert!(
        files_of_day(live_files(root.path()))
            .values()
            .any(|&files| files > 20)
    );

    let compacted = lake.compact(&date, world.clock).unwrap();
    assert!(
        compacted.is_done && compacted.files_before > 100 && compacted.files_after <= 16,
        "{compacted:?}"
    );
    let live = live_files(root.path());
    assert!(files_of_day(live.clone()).values().all(|&files| files <= 4));
    assert_same(&read(live.clone()).rows, &world.oracle);
    // Nothing more to do, not even while the old files are still there for queries that run.
    assert_eq!(lake.compact(&date, world.clock).unwrap().files_before, 0);
    assert!(before.iter().all(|path| path.exists()));

    world.pass_seconds(3599);
    lake.sweep(world.clock).unwrap();
    assert!(before.iter().all(|path| path.exists()));
    // A restart remembers what is to be deleted.
    drop(lake);
    let mut lake = open(&root);
    world.pass_seconds(1);
    lake.sweep(world.clock).unwrap();
    assert_eq!(
        parquet_files(root.path())
            .into_iter()
            .collect::<BTreeSet<_>>(),
        live
    );
}

#[test]
fn a_day_is_compacted_when_it_is_over_and_quiet() {
    let (mut world, root) = filled(10, 0);
    let mut lake = open(&root);
    let mut follower = Follower::new(Arc::clone(&world.log), lake.committed().clone());
    for _ in 0..10 {
        (0..4).for_each(|_| world.append());
        world.feed(&mut lake, &mut follower, usize::MAX);
        lake.commit(world.clock).unwrap();
    }
    let before = live_files(root.path()).len();
    assert!(!lake.compact_due(world.clock).unwrap());
    world.pass_seconds(3599);
    assert!(!lake.compact_due(world.clock).unwrap());
    // The days before are over and quiet, this one is not over.
    world.pass_seconds(1);
    while lake.compact_due(world.clock).unwrap() {}
    let crowded = |date: &str| {
        let files = live_files(root.path()).into_iter();
        let day = files.filter(|path| path.parent().unwrap().ends_with(format!("efd_date={date}")));
        let mut folders = std::collections::BTreeMap::<PathBuf, usize>::new();
        day.for_each(|path| {
            *folders
                .entry(path.parent().unwrap().to_owned())
                .or_default() += 1
        });
        folders.values().any(|&files| files > 4)
    };
    assert!(!crowded("2026-11-23") && crowded("2026-11-24"));
    world.pass_seconds(86_400);
    while lake.compact_due(world.clock).unwrap() {}
    assert!(!crowded("2026-11-24"));
    assert!(live_files(root.path()).len() < before);
    assert_same(&read(live_files(root.path())).rows, &world.oracle);
}

#[test]
fn the_loop_follows_and_drains() {
    let (mut world, root) = filled(9, 100);
    let (lake, _) = Lake::open(root.path().to_owned(), Options::default()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let taken = Arc::new(AtomicBool::new(false));
    let thread = {
        let (log, stop, taken) = (
            Arc::clone(&world.log),
            Arc::clone(&stop),
            Arc::clone(&taken),
        );
        std::thread::spawn(move || {
            let course = || {
                if stop.load(Ordering::Relaxed) {
                    Course::Drain
                } else {
                    Course::On
                }
            };
            run(lake, log, &course, &Requests::none(), |lake| {
                taken.store(lake.counters().buffered_records > 0, Ordering::Relaxed);
            })
        })
    };
    while !taken.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
    (0..50).for_each(|_| world.append());
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap().unwrap();
    // Nothing was 60 s old: all of it is there because the loop drained.
    assert_same(&read(parquet_files(root.path())).rows, &world.oracle);
}

/// Another process may take over: what is not committed is its to take.
#[test]
fn the_loop_leaves_without_a_commit() {
    let (world, root) = filled(9, 100);
    let (lake, _) = Lake::open(root.path().to_owned(), Options::default()).unwrap();
    let taken = AtomicBool::new(false);
    let course = || {
        if taken.load(Ordering::Relaxed) {
            Course::Leave
        } else {
            Course::On
        }
    };
    let report = |lake: &Lake| {
        taken.store(lake.counters().buffered_records > 0, Ordering::Relaxed);
    };
    let requests = Requests::none();
    run(lake, Arc::clone(&world.log), &course, &requests, report).unwrap();
    assert!(taken.load(Ordering::Relaxed));
    let (lake, progress) = Lake::open(root.path().to_owned(), Options::default()).unwrap();
    assert_eq!(lake.last_commit(), 0);
    assert_eq!(progress.seen.len(), 0);
}

/// A part is made whole by the running loop.
#[test]
fn the_loop_does_what_it_is_asked() {
    let root = TempDir::new().unwrap();
    let (world, lake) = crate::audit::filled(6, root.path());
    let file = parquet_files(root.path()).pop().unwrap();
    let rows = crate::sabotage::names_in(&file).len() as u64;
    let part = crate::sabotage::rows_of(&world.oracle)
        .into_keys()
        .find(|part| file.parent().unwrap().ends_with(part.folder()))
        .unwrap();
    fs::remove_file(&file).unwrap();
    let (mailbox, requests) = Mailbox::new(1);
    let (sender, answered) = std::sync::mpsc::channel();
    let request = || {
        let sender = sender.clone();
        Request {
            part: part.clone(),
            expected: None,
            offered: Box::new(crate::restore::candidates(&world).into_iter()),
            answer: Box::new(move |restored| sender.send(restored).unwrap()),
        }
    };
    mailbox.ask(request()).unwrap();
    let refused = mailbox.ask(request()).unwrap_err();
    assert!(
        refused.to_string().contains("as many requests"),
        "{refused}"
    );
    let done = AtomicBool::new(false);
    let found = std::cell::RefCell::new(None);
    let course = || {
        if let Ok(restored) = answered.try_recv() {
            *found.borrow_mut() = Some(restored.unwrap());
            done.store(true, Ordering::Relaxed);
        }
        match done.load(Ordering::Relaxed) {
            true => Course::Drain,
            false => Course::On,
        }
    };
    run(lake, Arc::clone(&world.log), &course, &requests, |_| {}).unwrap();
    assert_eq!(found.take().unwrap().rows_from_blocks, rows);
    assert_same(&read(live_files(root.path())).rows, &world.oracle);
    drop(requests);
    let refused = mailbox.ask(request()).unwrap_err();
    assert!(refused.to_string().contains("has ended"), "{refused}");
}
