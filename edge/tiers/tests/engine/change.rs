//! Tiers that come later, go, or have other topics, while samples flow and the machine dies.

use std::path::Path;

use efd_edge_tiers::{Building, Counters, Engine, Hours, TierSettings, WorkHours};
use efd_shared_stats::Resolution;
use efd_shared_store::Reader;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::world::{World, add, assert_alike, open, resolution, settings, settle, tier};

/// Some hundred blocks, read now and then; stopped and killed if `is_rough`.
fn live(
    world: &mut World,
    chance: &mut StdRng,
    root: &Path,
    tiers: &[TierSettings],
    blocks: u32,
    is_rough: bool,
) -> Counters {
    let mut reader = world.store.reader();
    let mut engine = open(root, tiers);
    let mut all = Counters::default();
    for _ in 0..blocks {
        world.block();
        if chance.random_ratio(1, 7) {
            for _ in 0..chance.random_range(1..4) {
                engine.step(&mut reader, &world.clock()).unwrap();
            }
        }
        if is_rough && chance.random_ratio(1, 40) {
            add(&mut all, engine.counters());
            match chance.random_ratio(1, 3) {
                true => engine.stop(&mut reader, &world.clock()).unwrap(),
                false => drop(engine),
            }
            engine = open(root, tiers);
        }
    }
    add(&mut all, engine.counters());
    if chance.random_ratio(1, 2) {
        engine.stop(&mut reader, &world.clock()).unwrap();
    }
    all
}

/// All that is to be done, and what there is then. Gives the windows whose first and last values are not told.
fn check(world: &World, root: &Path, tiers: &[TierSettings]) -> usize {
    let mut reader = world.store.reader();
    let mut engine = open(root, tiers);
    settle(&mut engine, &mut reader, world);
    assert!(engine.building(&reader).is_empty());
    engine.flush(&mut reader, &world.clock()).unwrap();
    let other_ends = assert_alike(root, world, tiers);
    engine.stop(&mut reader, &world.clock()).unwrap();
    assert_eq!(assert_alike(root, world, tiers), other_ends);
    other_ends.len()
}

fn change(seed: u64, is_rough: bool, lanes: u16, configurations: &[Vec<TierSettings>]) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut world = World::of_lanes(root, seed, lanes);
    let mut chance = StdRng::seed_from_u64(seed ^ 0x5a5a);
    for tiers in configurations {
        live(&mut world, &mut chance, root, tiers, 350, is_rough);
    }
    let last = configurations.last().unwrap();
    // Merged, and under way when the tier that it was merged from went: by its topic's own clock.
    let first_changes = configurations
        .windows(2)
        .filter(|pair| pair[0].len() > pair[1].len());
    let other_ends = check(&world, root, last);
    assert!(
        other_ends <= 3 * first_changes.count() * last.len(),
        "{other_ends}"
    );
}

fn finer() -> Vec<TierSettings> {
    vec![
        tier(1, &["lsst.sal.Test.t1", "*t3"]),
        tier(10, &[]),
        tier(300, &[]),
    ]
}

#[test]
fn a_finer_tier_for_some_topics() {
    for seed in 100..104 {
        change(seed, seed % 2 == 1, 1, &[settings(&[10, 300]), finer()]);
    }
}

#[test]
fn a_coarser_tier() {
    for seed in 110..112 {
        let tiers = [
            settings(&[10]),
            settings(&[10, 60]),
            settings(&[10, 60, 300]),
        ];
        change(seed, seed % 2 == 1, 1, &tiers);
    }
}

#[test]
fn a_tier_in_between_and_other_topics() {
    for seed in 120..122 {
        let between = vec![tier(1, &["*t1"]), tier(10, &["*t1", "*t2"]), tier(60, &[])];
        let wider = vec![
            tier(1, &["*t[1]", "*t2", "*t1"]),
            tier(10, &["*t?"]),
            tier(60, &[]),
        ];
        change(seed, seed % 2 == 1, 1, &[settings(&[60]), between, wider]);
    }
}

#[test]
fn the_finest_tier_goes_and_comes_back() {
    for seed in 130..134 {
        let tiers = [finer(), settings(&[10, 300]), settings(&[300]), finer()];
        change(seed, seed % 2 == 1, 1, &tiers[..3]);
        change(seed, seed % 2 == 1, 1, &tiers);
    }
}

#[test]
fn of_two_lanes() {
    for seed in 140..143 {
        change(
            seed,
            seed % 2 == 1,
            2,
            &[settings(&[10, 300]), finer(), settings(&[10])],
        );
    }
}

fn steps(engine: &mut Engine, reader: &mut Reader, world: &World, max: usize) -> usize {
    let clock = world.clock();
    (0..max)
        .take_while(|_| engine.step(reader, &clock).unwrap())
        .count()
}

/// Nothing is built while there is something new, nor outside of its hours; it goes on where it was.
#[test]
fn heavy_work_waits_for_its_hours_and_for_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut world = World::new(root, 150);
    let mut chance = StdRng::seed_from_u64(150);
    live(
        &mut world,
        &mut chance,
        root,
        &settings(&[10, 300]),
        1200,
        false,
    );
    let mut reader = world.store.reader();
    // The world begins at 23:55.
    let within = |hours: &str| WorkHours::Within {
        hours: hours.parse::<Hours>().unwrap(),
        zone: "UTC".parse().unwrap(),
    };
    let mut engine = open(root, &finer()).within(within("01:00-23:00"));
    steps(&mut engine, &mut reader, &world, usize::MAX);
    assert_eq!(engine.building(&reader), [Building::Blocks { done: 0.0 }]);
    engine.stop(&mut reader, &world.clock()).unwrap();
    let mut engine = open(root, &finer()).within(within("23:00-01:00"));
    world.block();
    assert!(engine.step(&mut reader, &world.clock()).unwrap());
    assert_eq!(engine.building(&reader), [Building::Blocks { done: 0.0 }]);
    // A batch of blocks.
    assert!(engine.step(&mut reader, &world.clock()).unwrap());
    let half = engine.building(&reader);
    assert!(
        matches!(half[..], [Building::Blocks { done }] if 0.0 < done),
        "{half:?}"
    );
    drop(engine);
    check(&world, root, &finer());
    // Of a merge.
    let mut tiers = finer();
    tiers.push(tier(3600, &["*t2"]));
    let mut engine = open(root, &tiers).within(within("01:00-23:00"));
    steps(&mut engine, &mut reader, &world, usize::MAX);
    let merge = |building: &[Building]| -> Vec<(Resolution, Resolution)> {
        let all = building.iter().map(|it| match it {
            Building::Blocks { .. } => panic!("{it:?}"),
            Building::Merge { tier, from, .. } => (*tier, *from),
        });
        all.collect()
    };
    let hour = resolution(3600);
    assert_eq!(merge(&engine.building(&reader)), [(hour, resolution(300))]);
    drop(engine);
    check(&world, root, &tiers);
}

/// A configuration with a tier less: its files stay, and nobody writes to them.
#[test]
fn files_of_a_tier_that_went_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut world = World::new(root, 160);
    let mut chance = StdRng::seed_from_u64(160);
    live(&mut world, &mut chance, root, &finer(), 300, false);
    check(&world, root, &finer());
    let before = crate::world::found(root, "1s");
    live(
        &mut world,
        &mut chance,
        root,
        &settings(&[10, 300]),
        300,
        true,
    );
    check(&world, root, &settings(&[10, 300]));
    assert_eq!(
        format!("{before:?}"),
        format!("{:?}", crate::world::found(root, "1s"))
    );
}
