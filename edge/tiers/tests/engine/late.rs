//! Samples that come very late, after their blocks or their windows have gone, or in great numbers.

use std::fs;
use std::path::Path;

use efd_edge_tiers::{Engine, TierSettings};
use efd_shared_model::UtcNanos;

use crate::world::{
    BEGIN, SECOND, STREAMS, World, assert_alike, assert_tiers, found, open, settings, settle,
};

/// Samples of a window.
fn rows(root: &Path, tier: &str, start: i64) -> Option<u64> {
    let all = found(root, tier);
    let window = all.get(&(1, 1))?.get(&UtcNanos(start))?;
    Some(window.0)
}

fn finish(root: &Path, tiers: &[TierSettings], world: &World) -> Engine {
    let mut reader = world.store.reader();
    let mut engine = open(root, tiers);
    settle(&mut engine, &mut reader, world);
    engine.flush(&mut reader, &world.clock()).unwrap();
    engine
}

/// One sample of the first window.
fn one_late(world: &mut World) {
    world.put(&[(1, 1, UtcNanos(BEGIN + SECOND))]);
    world.commit();
}

/// It dies between the correction and the note of how far it came: what was merged is not merged again.
#[test]
fn what_was_merged_is_not_merged_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let tiers = settings(&[10, 300]);
    let mut world = World::new(root, 200);
    world.late = None;
    for _ in 0..700 {
        world.block();
    }
    drop(finish(root, &tiers, &world));
    let before = rows(root, "10s", BEGIN).unwrap();
    let coarse = rows(root, "5min", BEGIN).unwrap();
    world.remove_segments();
    let state = root.join("tiers/state");
    for round in 1..4 {
        one_late(&mut world);
        let saved = fs::read(&state).unwrap();
        let engine = finish(root, &tiers, &world);
        assert_eq!(engine.counters().merged, 1);
        drop(engine);
        for _ in 0..2 {
            fs::write(&state, &saved).unwrap();
            let engine = finish(root, &tiers, &world);
            assert_eq!(engine.counters().merged, 0, "round {round}");
            assert!(engine.counters().late > 0);
        }
        assert_eq!(rows(root, "10s", BEGIN), Some(before + round));
        assert_eq!(rows(root, "5min", BEGIN), Some(coarse + round));
    }
    // Nor are the finer windows of a coarser one that was not noted forgotten.
    let saved = fs::read(&state).unwrap();
    one_late(&mut world);
    drop(finish(root, &tiers[..1], &world));
    fs::write(&state, &saved).unwrap();
    drop(finish(root, &tiers, &world));
    assert_eq!(rows(root, "5min", BEGIN), Some(coarse + 4));
}

/// Some hours of a topic, a sample in ten seconds.
fn hours(world: &mut World, hours: i64) {
    for _ in 0..hours * 360 {
        world.now += 10 * SECOND;
        world.put(&[(1, 1, UtcNanos(world.now))]);
        world.commit();
    }
}

/// The finer tier has lost its oldest hours to others' bytes: a late sample of theirs makes no piece of them, and the
/// coarser window stays whole.
#[test]
fn what_has_left_does_not_come_back_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut world = World::new(root, 210);
    hours(&mut world, 3);
    let mut tiers = settings(&[10, 300]);
    drop(finish(root, &tiers, &world));
    let coarse = found(root, "5min");
    tiers[0].bytes_max = 1;
    let mut reader = world.store.reader();
    let mut engine = open(root, &tiers);
    for _ in 0..3 {
        settle(&mut engine, &mut reader, &world);
        world.now += 100 * SECOND;
    }
    engine.stop(&mut reader, &world.clock()).unwrap();
    let files = || {
        fs::read_dir(root.join("tiers/10s"))
            .unwrap()
            .filter(|entry| {
                let path = entry.as_ref().unwrap().path();
                path.extension().is_some_and(|it| it == "db")
            })
    };
    let left = files().count();
    assert_eq!(left, 1);
    for _ in 0..2 {
        one_late(&mut world);
        let engine = finish(root, &tiers, &world);
        assert_eq!(engine.counters().too_old, 1);
        assert_eq!(files().count(), left);
        for (start, window) in &coarse[&(1, 1)] {
            let after = &found(root, "5min")[&(1, 1)][start];
            assert_eq!(format!("{after:?}"), format!("{window:?}"), "{start}");
        }
        engine.stop(&mut reader, &world.clock()).unwrap();
    }
}

/// The segments are those of another buffer, that has not come as far: it is not waited for.
#[test]
fn a_buffer_that_was_replaced_is_begun_anew() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tiers = settings(&[10, 300]);
    let mut world = World::new(old.path(), 220);
    for _ in 0..400 {
        world.block();
    }
    let mut reader = world.store.reader();
    let engine = finish(old.path(), &tiers, &world);
    engine.stop(&mut reader, &world.clock()).unwrap();
    let mut world = World::new(new.path(), 221);
    world.now += 7200 * SECOND;
    fs::rename(old.path().join("tiers"), new.path().join("tiers")).unwrap();
    let before = found(new.path(), "10s");
    for _ in 0..200 {
        world.block();
    }
    let engine = finish(new.path(), &tiers, &world);
    assert!(engine.counters().samples > 1000);
    let (after, expected) = (found(new.path(), "10s"), world.expected(10));
    for (name, windows) in &expected {
        for (start, window) in windows {
            assert_eq!(format!("{:?}", after[name][start]), format!("{window:?}"));
        }
        for (start, window) in &before[name] {
            assert_eq!(format!("{:?}", after[name][start]), format!("{window:?}"));
        }
    }
}

const OUTAGE_BLOCKS: i64 = 720;

/// A publisher whose samples come twice over, hours late.
#[test]
fn a_long_outage_is_worked_off() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let tiers = settings(&[10, 300]);
    let mut world = World::new(root, 230);
    let all: Vec<_> = (1..=STREAMS).flat_map(|it| [(it, 1), (it, 2)]).collect();
    let mut times = Vec::new();
    for _ in 0..OUTAGE_BLOCKS {
        world.now += 10 * SECOND;
        times.push(UtcNanos(world.now));
        for part in 0..4 {
            let time = UtcNanos(world.now + part * SECOND);
            let coming = all
                .iter()
                .map(|&(stream, instance)| (stream, instance, time));
            world.put(&coming.collect::<Vec<_>>());
        }
    }
    world.commit();
    let engine = finish(root, &tiers, &world);
    assert_eq!(engine.counters().late, 0);
    let mut reader = world.store.reader();
    engine.stop(&mut reader, &world.clock()).unwrap();
    for chunk in times.chunks(20) {
        world.now += SECOND / 10;
        let each = |time: &UtcNanos| {
            let time = UtcNanos(time.0 + 5 * SECOND);
            all.iter()
                .map(move |&(stream, instance)| (stream, instance, time))
        };
        world.put(&chunk.iter().flat_map(each).collect::<Vec<_>>());
    }
    world.commit();
    let mut engine = open(root, &tiers);
    // What is new first, then a slice at a time.
    assert!(engine.step(&mut reader, &world.clock()).unwrap());
    let waiting = engine.late();
    assert!(waiting + 2000 > times.len() * all.len(), "{waiting}");
    let mut slices = 0;
    while engine.step(&mut reader, &world.clock()).unwrap() {
        slices += 1;
    }
    assert!(
        slices < waiting / 500,
        "{slices} slices for {waiting} windows"
    );
    engine.flush(&mut reader, &world.clock()).unwrap();
    assert_eq!(engine.late(), 0);
    assert_eq!(engine.counters().merged + engine.counters().given_up, 0);
    assert_tiers(root, &world, &tiers);
}

/// Blocks leave before the second pass comes to them: the tier begins there, and what was merged before stays.
#[test]
fn blocks_that_leave_before_a_tier_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut world = World::new(root, 240);
    world.late = None;
    for _ in 0..900 {
        world.block();
    }
    let old = settings(&[10, 300]);
    drop(finish(root, &old, &world));
    let mut finer = settings(&[1, 10, 300]);
    finer[0].topics = efd_edge_tiers::Topics::of(&["*t1".to_owned()]);
    let mut reader = world.store.reader();
    let mut engine = open(root, &finer);
    world.block();
    assert!(engine.step(&mut reader, &world.clock()).unwrap());
    world.remove_segments();
    for _ in 0..100 {
        world.block();
    }
    settle(&mut engine, &mut reader, &world);
    assert!(engine.building(&reader).is_empty());
    drop(engine);
    let mut engine = finish(root, &finer, &world);
    // The coarser tiers are as if nothing had left.
    assert_alike(root, &world, &old);
    let (fine, expected) = (found(root, "1s"), world.expected(1));
    for instance in [1, 2] {
        let (found, expected) = (&fine[&(1, instance)], &expected[&(1, instance)]);
        let (first, last) = (
            found.keys().next().unwrap(),
            found.keys().next_back().unwrap(),
        );
        assert!(BEGIN < first.0 && last == expected.keys().next_back().unwrap());
        let whole = expected.range(UtcNanos(first.0 + 1)..);
        assert_eq!(found.len(), whole.clone().count() + 1);
        for (start, window) in whole {
            assert_eq!(
                format!("{:?}", found[start]),
                format!("{window:?}"),
                "{start}"
            );
        }
    }
    engine.flush(&mut reader, &world.clock()).unwrap();
}
