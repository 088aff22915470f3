//! A disk that is full, and one that fails.

use std::fs;

use efd_shared_model::{LaneKind, UtcNanos};
use efd_shared_store::{Options, SegmentInfo, SegmentState, Store, StoreError};

use crate::crash::{Oracle, compare, options, work};
use crate::crash_vfs::{Disk, Fault};
use crate::world::{self, SECOND, block, declare, lane, log, read_all};

const ACTS: usize = 30;

/// How many steps the work takes on a disk without faults.
fn steps(seed: u64) -> u64 {
    let root = tempfile::tempdir().unwrap();
    let disk = Disk::new();
    let (mut store, _) = Store::open(root.path(), options(&disk, false)).unwrap();
    work(&mut store, &mut Oracle::default(), 1, seed, ACTS).unwrap();
    disk.step()
}

/// Work, with a fault on the way; when it is over the same store goes on, and loses nothing.
fn survive(seed: u64, fault: Fault, is_expected: impl Fn(&StoreError) -> bool) -> bool {
    let root = tempfile::tempdir().unwrap();
    let disk = Disk::new();
    let mut oracle = Oracle::default();
    let context = format!("seed {seed}, {fault:?}");
    disk.inject(Some(fault));
    let mut failed = false;
    match Store::open(root.path(), options(&disk, false)) {
        Ok((mut store, _)) => {
            let mut done = work(&mut store, &mut oracle, 1, seed, ACTS);
            while let Err(error) = done {
                assert!(is_expected(&error), "{context}: {error:?}");
                failed = true;
                disk.inject(None);
                // What failed was not stored, as far as this store tells.
                compare(&store, &mut oracle)
                    .unwrap_or_else(|wrong| panic!("{context}: after the fault: {wrong}"));
                done = work(&mut store, &mut oracle, 1, seed ^ 2, ACTS);
            }
            disk.inject(None);
            store.maintain(UtcNanos(0));
            compare(&store, &mut oracle)
                .unwrap_or_else(|wrong| panic!("{context}: at the end: {wrong}"));
        }
        Err(error) => {
            assert!(is_expected(&error), "{context}: {error:?}");
            failed = true;
        }
    }
    disk.inject(None);
    let (store, recovery) = Store::open(root.path(), options(&disk, false)).unwrap();
    assert!(recovery.is_clean(), "{context}: {recovery:?}");
    compare(&store, &mut oracle).unwrap_or_else(|wrong| panic!("{context}: reopened: {wrong}"));
    failed
}

#[test]
fn a_full_disk_at_every_write_loses_nothing() {
    let mut failed = 0;
    for at in 1..=steps(3) {
        let steps = [1, 5, 1000][at as usize % 3];
        let fault = Fault::Full { at, steps };
        failed += u64::from(survive(3, fault, StoreError::is_no_space));
    }
    assert!(failed > 20, "only {failed} faults were noticed");
}

#[test]
fn a_failing_disk_at_every_step_loses_nothing() {
    let mut failed = 0;
    for at in 1..=steps(4) {
        let steps = [1, 3, 40][at as usize % 3];
        let fault = Fault::Io { at, steps };
        failed += u64::from(survive(4, fault, StoreError::is_device));
    }
    assert!(failed > 20, "only {failed} faults were noticed");
}

#[test]
fn one_failure_is_not_even_noticed_by_the_caller() {
    let root = tempfile::tempdir().unwrap();
    let disk = Disk::new();
    let (mut store, _) = Store::open(root.path(), options(&disk, false)).unwrap();
    declare(&mut store, 1, 1);
    let (log, events) = (log(1, LaneKind::Events), lane("events"));
    store
        .append(&events, &[block(log, 1, 100)], None, UtcNanos(0))
        .unwrap();
    let at = disk.step() + 1;
    disk.inject(Some(Fault::Io { at, steps: 1 }));
    let second = store
        .append(&events, &[block(log, 2, 100)], None, UtcNanos(0))
        .unwrap();
    assert_eq!(second.start.0, 2);
    let segments = store.segments();
    assert_eq!(
        segments.len(),
        2,
        "what failed is written again in a new segment"
    );
    store.maintain(UtcNanos(0));
    assert_eq!(store.segments()[0].state, SegmentState::Closed);
    let (blocks, other) = read_all(&mut store.reader(), &events);
    assert_eq!((blocks.len(), other), (2, vec![]));
}

/// What was reported as failed may be in a file all the same. Where its successor begins it ends, and the successor may
/// leave.
#[test]
fn a_failed_commit_does_not_come_back() {
    let mut failures = 0;
    for (begun, offset) in [false, true]
        .into_iter()
        .flat_map(|b| (0..40).map(move |o| (b, o)))
    {
        let context = format!("begun {begun}, step {offset}");
        let root = tempfile::tempdir().unwrap();
        let disk = Disk::new();
        let (mut store, _) = Store::open(root.path(), options(&disk, false)).unwrap();
        declare(&mut store, 1, 1);
        let (log, events) = (log(1, LaneKind::Events), lane("events"));
        let append = |store: &mut Store, number, bytes, now| {
            let block = block(log, number, bytes);
            let at = store.append(&events, std::slice::from_ref(&block), None, now)?;
            Ok::<_, StoreError>((at.start, block.bytes().clone()))
        };
        let mut kept = Vec::new();
        if begun {
            kept.push(append(&mut store, 1, 100, UtcNanos(0)).unwrap());
        }
        let at = disk.step() + 1 + offset;
        disk.inject(Some(Fault::Io { at, steps: 100 }));
        let failed = append(&mut store, 2, 100, UtcNanos(0));
        disk.inject(None);
        if failed.is_ok() {
            continue;
        }
        failures += 1;
        let (leaving, _) = append(&mut store, 2, 200, UtcNanos(0)).unwrap();
        kept.push(append(&mut store, 3, 100, UtcNanos(3600 * SECOND)).unwrap());
        let segments = store.segments();
        let holds = |info: &&SegmentInfo| (info.first..=info.last).contains(&leaving);
        let segment = segments.iter().find(holds).unwrap();
        store.remove(&segment.key).unwrap();
        drop(store);
        let (store, recovery) = Store::open(root.path(), options(&disk, false)).unwrap();
        assert!(recovery.is_clean(), "{context}: {recovery:?}");
        let (blocks, _) = read_all(&mut store.reader(), &events);
        assert_eq!(blocks, kept, "{context}");
    }
    assert!(failures > 20, "only {failures} commits failed");
}

#[test]
fn the_reserve_makes_room_for_the_last_commit_and_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let disk = Disk::new();
    let (mut store, _) = Store::open(
        root.path(),
        Options {
            reserve_bytes: 1 << 20,
            ..options(&disk, false)
        },
    )
    .unwrap();
    declare(&mut store, 1, 1);
    let (log, events) = (log(1, LaneKind::Losses), lane("losses"));
    let reserve = root.path().join("reserve");
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 1 << 20);
    store
        .append(&events, &[block(log, 1, 100)], None, UtcNanos(0))
        .unwrap();

    // Full until somebody gives something back: here, for one write.
    let at = disk.step() + 1;
    disk.inject(Some(Fault::Full { at, steps: 1 }));
    store
        .append(&events, &[block(log, 2, 100)], None, UtcNanos(0))
        .unwrap();
    assert!(!reserve.exists() && !store.has_reserve());

    let at = disk.step() + 1;
    disk.inject(Some(Fault::Full {
        at,
        steps: u64::MAX,
    }));
    let error = store
        .append(&events, &[block(log, 3, 100)], None, UtcNanos(0))
        .unwrap_err();
    assert!(error.is_no_space(), "{error:?}");
    assert_eq!(
        store.segments().len(),
        1,
        "a full disk is no reason for a new segment"
    );

    disk.inject(None);
    store.maintain(UtcNanos(0));
    assert!(reserve.exists() && store.has_reserve());
    let third = store
        .append(&events, &[block(log, 3, 100)], None, UtcNanos(0))
        .unwrap();
    assert_eq!(third.start.0, 3);
}

#[test]
fn removal_works_on_a_full_disk() {
    let root = tempfile::tempdir().unwrap();
    let disk = Disk::new();
    let (mut store, _) = Store::open(root.path(), options(&disk, false)).unwrap();
    declare(&mut store, 1, 1);
    let (log, events) = (log(1, LaneKind::Events), lane("events"));
    for number in 1..=20 {
        store
            .append(&events, &[block(log, number, 5000)], None, UtcNanos(0))
            .unwrap();
    }
    let at = disk.step();
    disk.inject(Some(Fault::Full {
        at,
        steps: u64::MAX,
    }));
    let closed: Vec<_> = store.segments();
    let closed: Vec<_> = closed
        .into_iter()
        .filter(|info| info.state == SegmentState::Closed)
        .collect();
    assert!(closed.len() >= 3);
    for info in &closed {
        store.remove(&info.key).unwrap();
        assert!(
            !root
                .path()
                .join("segments/events")
                .join(format!("{:010}.db", info.key.id))
                .exists()
        );
    }
    drop(store);
    disk.inject(None);
    // The catalogue could not be written: files that are gone on purpose are told as missing, no more.
    let (store, recovery) = Store::open(root.path(), world::small()).unwrap();
    assert!(recovery.set_aside.is_empty() && recovery.damaged.is_empty());
    let (blocks, other) = read_all(&mut store.reader(), &events);
    assert_eq!(
        (blocks.len() as u64, other),
        (20 - closed.last().unwrap().last.0, vec![])
    );
}
