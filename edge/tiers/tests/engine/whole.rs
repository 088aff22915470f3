//! Against windows that are made of all samples at once: late ones, a clock that is wrong, two instances, arrays, crashes at
//! any moment.

use efd_edge_tiers::settings::check;
use efd_edge_tiers::{Counters, Engine, TierSettings};
use efd_shared_store::database::Disk;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::world::{
    World, add, assert_same, assert_tiers, found, merged, open, settings, settle, tier,
};

fn run(
    tiers: &[TierSettings],
    lanes: u16,
    seed: u64,
    blocks: u64,
    crash_every: Option<u32>,
) -> Counters {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut world = World::of_lanes(root, seed, lanes);
    let mut chance = StdRng::seed_from_u64(seed ^ 0xabcd);
    let mut engine = open(root, tiers);
    let mut reader = world.store.reader();
    let mut all = Counters::default();
    for _ in 0..blocks {
        world.block();
        // It reads now and then, and lags.
        if chance.random_ratio(1, 7) {
            while engine.step(&mut reader, &world.clock()).unwrap() {
                if chance.random_ratio(1, 3) {
                    break;
                }
            }
        }
        if crash_every.is_some_and(|every| chance.random_ratio(1, every)) {
            add(&mut all, engine.counters());
            if chance.random_ratio(1, 4) {
                engine.stop(&mut reader, &world.clock()).unwrap();
            } else {
                drop(engine);
            }
            if chance.random_ratio(1, 8) {
                std::fs::remove_file(root.join("tiers/state")).ok();
            }
            reader = world.store.reader();
            engine = open(root, tiers);
        }
    }
    while engine.step(&mut reader, &world.clock()).unwrap() {}
    engine.flush(&mut reader, &world.clock()).unwrap();
    add(&mut all, engine.counters());
    assert_tiers(root, &world, tiers);
    engine.stop(&mut reader, &world.clock()).unwrap();
    assert_tiers(root, &world, tiers);
    all
}

#[test]
fn tiers_are_the_windows_of_all_samples() {
    let counters = run(&settings(&[10, 300]), 1, 1, 2500, None);
    assert!(
        counters.late > 100 && counters.corrected > 100,
        "{counters:?}"
    );
    assert_eq!(counters.merged, 0);
    assert_eq!(counters.early + counters.unfit + counters.given_up, 0);
}

#[test]
fn and_so_they_are_after_crashes() {
    for seed in 2..6 {
        run(&settings(&[10, 300]), 1, seed, 1200, Some(50));
    }
}

/// The first has a finer tier, the second not the coarsest, the fourth only that, the third none.
fn by_pattern() -> Vec<TierSettings> {
    let tiers = vec![
        tier(1, &["lsst.sal.Test.t1"]),
        tier(10, &["Test.t1", "T*st.?2"]),
        tier(300, &["*1", "Test.t4"]),
    ];
    check(&tiers).unwrap();
    tiers
}

#[test]
fn topics_have_the_tiers_that_match_them() {
    let tiers = by_pattern();
    let counters = run(&tiers, 1, 21, 1500, None);
    assert!(counters.late > 100 && counters.merged == 0, "{counters:?}");
    for seed in 22..25 {
        run(&tiers, 1, seed, 900, Some(50));
    }
}

#[test]
fn lanes_have_their_own_clocks() {
    for seed in 31..33 {
        run(&by_pattern(), 2, seed, 800, Some(60));
    }
    // More than one reading gives, of each: the one must not close what the other has open.
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut world = World::of_lanes(root, 33, 2);
    world.late = None;
    for block in 0..4500 {
        world.write();
        if block % 100 == 99 {
            world.commit();
        }
    }
    let tiers = settings(&[10, 300]);
    let mut engine = open(root, &tiers);
    let mut reader = world.store.reader();
    assert!(engine.step(&mut reader, &world.clock()).unwrap());
    settle(&mut engine, &mut reader, &world);
    assert_eq!(engine.counters().late, 0);
    engine.flush(&mut reader, &world.clock()).unwrap();
    assert_tiers(root, &world, &tiers);
}

#[test]
fn tiers_that_come_later_are_made_of_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut world = World::new(root, 9);
    for _ in 0..1500 {
        world.block();
    }
    let mut reader = world.store.reader();
    let mut engine = Engine::open(root, &settings(&[10, 60]), &Disk::default()).unwrap();
    while engine.step(&mut reader, &world.clock()).unwrap() {}
    engine.flush(&mut reader, &world.clock()).unwrap();
    let fine = world.expected(10);
    assert_same(&found(root, "10s"), &fine);
    assert_same(&found(root, "1min"), &merged(&fine, 60));
}

/// A file that is cut or filled with rubbish is put aside; the tier comes on, and the other files are as they were.
#[test]
fn a_damaged_file_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut world = World::new(root, 11);
    let tiers = settings(&[10]);
    let mut engine = Engine::open(root, &tiers, &Disk::default()).unwrap();
    let mut reader = world.store.reader();
    for _ in 0..300 {
        world.block();
    }
    while engine.step(&mut reader, &world.clock()).unwrap() {}
    engine.stop(&mut reader, &world.clock()).unwrap();
    let file = || {
        let entries = std::fs::read_dir(root.join("tiers/10s")).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        paths.find(|path| path.extension().is_some_and(|it| it == "db"))
    };
    let bytes = std::fs::read(file().unwrap()).unwrap();
    std::fs::write(file().unwrap(), &bytes[..bytes.len() / 2]).unwrap();
    for _ in 0..200 {
        world.block();
    }
    let mut aside = 0;
    for _ in 0..5 {
        let worked = Engine::open(root, &tiers, &Disk::default()).and_then(|mut engine| {
            while engine.step(&mut reader, &world.clock())? {}
            engine.flush(&mut reader, &world.clock())
        });
        match worked {
            Ok(()) => break,
            Err(error) => {
                assert!(error.set_aside(root).unwrap().is_some(), "{error}");
                aside += 1;
            }
        }
    }
    assert_eq!(aside, 1);
    let left = std::fs::read_dir(root.join("set-aside")).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    let is_file = |name: &&std::ffi::OsString| name.to_str().unwrap().ends_with(".db");
    assert_eq!(names.iter().filter(is_file).count(), 1, "{names:?}");
    assert!(names[0].to_str().unwrap().starts_with("tiers-10s-2026"));
    // What came after is there, as it should be.
    let (found, expected) = (found(root, "10s"), world.expected(10));
    for (name, windows) in &found {
        let (start, window) = windows.last_key_value().unwrap();
        assert_eq!(
            format!("{:?}", expected[name][start]),
            format!("{window:?}")
        );
    }
    assert!(!found.is_empty());
}
