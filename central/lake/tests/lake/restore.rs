//! A part made whole again: the rows are those of all records, and none is there twice.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use efd_central_lake::{Blocks, Lake, LakeError, Options, Part, Restored, Wanted};
use efd_central_log::{BlockLog, Follower, LogError, Partition, Place};
use efd_shared_model::SealedBlock;
use rand::Rng;
use tempfile::TempDir;

use crate::audit::{audit_all, filled};
use crate::disk::{Failure, FaultyDisk};
use crate::read::{assert_same, live_files, parquet_files, read};
use crate::sabotage::{Deed, id_of, names_in, part_of, rows_of, sabotage, tallies};
use crate::world::World;

pub type Offered = Result<(Partition, SealedBlock), LogError>;

/// All that the log has, some of it more than once.
pub fn candidates(world: &World) -> Vec<Offered> {
    let mut all = Vec::new();
    for partition in world.log.partitions().unwrap() {
        let reading = world.log.read(&partition, Place::FIRST, usize::MAX);
        for entry in reading.unwrap().into_entries() {
            if let efd_central_log::Entry::Block { block, .. } = entry {
                all.push(Ok((partition.clone(), block)));
            }
        }
    }
    all
}

fn restore(
    lake: &mut Lake,
    world: &World,
    part: &Part,
    offered: Vec<Offered>,
) -> Result<Restored, LakeError> {
    let expected = expected(world, part);
    let wanted = Wanted {
        part,
        expected: Some(&expected),
    };
    lake.restore_part(wanted, &*world.log, &mut offered.into_iter(), world.clock)
}

fn expected(world: &World, part: &Part) -> Blocks {
    let mut blocks = Blocks::new();
    for (name, row) in &world.oracle {
        if part_of(row) == *part {
            let id = id_of(name).block;
            blocks.entry(id.lane).or_default().insert(id.number.0);
        }
    }
    blocks
}

fn assert_whole(root: &Path, world: &World) {
    let live = live_files(root);
    let all: BTreeSet<_> = parquet_files(root).into_iter().collect();
    assert_eq!(all, live);
    assert_same(&read(live).rows, &world.oracle);
    let (sum, parts) = audit_all(root);
    assert_eq!((sum.faults, sum.duplicates), (0, 0));
    let rows = rows_of(&world.oracle);
    for (part, rows) in &rows {
        assert_eq!(parts[part].hours, tallies(rows), "{part}");
    }
}

/// Something is done to some files; the parts that they are in.
fn damage(world: &mut World, root: &Path, deeds: &[Deed], times: usize) -> BTreeSet<Part> {
    let live: Vec<PathBuf> = live_files(root).into_iter().collect();
    let mut rows = rows_of(&world.oracle);
    let mut damaged = BTreeSet::new();
    for _ in 0..times {
        let file = &live[world.rng.random_range(0..live.len())];
        let folder = file.parent().unwrap().strip_prefix(root).unwrap();
        let mut parts = rows.iter_mut();
        let found = parts.find(|(part, _)| Path::new(&part.folder()) == folder);
        let (part, rows) = found.unwrap();
        if damaged.contains(part) {
            continue;
        }
        let deed = deeds[world.rng.random_range(0..deeds.len())];
        if sabotage(&mut world.rng, deed, file, &live, rows) {
            damaged.insert(part.clone());
        }
    }
    damaged
}

const ALL: [Deed; 4] = [
    Deed::RowsDeleted,
    Deed::Replaced,
    Deed::Deleted,
    Deed::Flipped,
];

fn seeds() -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..20).collect(),
    }
}

#[test]
fn what_was_damaged_is_put_back_from_the_blocks() {
    for seed in seeds() {
        println!("SEED={seed}");
        let root = TempDir::new().unwrap();
        let (mut world, mut lake) = filled(seed, root.path());
        let rows = rows_of(&world.oracle);
        let damaged = damage(&mut world, root.path(), &ALL, 8);
        let progress = lake.committed().clone();
        let (mut last, mut aside) = (lake.last_commit(), 0);
        for part in &damaged {
            let mut offered = candidates(&world);
            offered.extend(candidates(&world));
            let restored = restore(&mut lake, &world, part, offered).unwrap();
            last += 1;
            assert_eq!(restored.commit, Some(last));
            assert_eq!(restored.damaged.len(), 1, "{:?}", restored.damaged);
            assert_eq!(restored.hours, tallies(&rows[part]), "{part}");
            assert_eq!((restored.rows_kept, restored.missing.len()), (0, 0));
            let kept = root.path().join("_damaged");
            let name = restored.damaged[0].file.path.rsplit_once('/').unwrap().1;
            let was_there = restored.damaged[0].kind != efd_central_lake::FaultKind::Missing;
            assert_eq!(kept.join(name).exists(), was_there);
            aside += usize::from(was_there);
        }
        assert_eq!(lake.committed(), &progress);
        assert_whole(root.path(), &world);
        if aside > 0 {
            let kept = fs::read_dir(root.path().join("_damaged")).unwrap();
            assert_eq!(kept.count(), aside);
        }
        // Asked again there is nothing to do, and a new start and a sweep change nothing.
        for part in &damaged {
            let again = restore(&mut lake, &world, part, candidates(&world)).unwrap();
            assert_eq!((again.commit, again.rows_from_blocks), (None, 0));
        }
        drop(lake);
        let (mut lake, found) = Lake::open(root.path().to_owned(), Options::default()).unwrap();
        assert_eq!(found, progress);
        world.pass_seconds(100_000);
        lake.sweep(world.clock).unwrap();
        assert_whole(root.path(), &world);
    }
}

/// What no block has any more is kept as far as it can be read, and what is missing is named.
#[test]
fn rows_that_no_block_has_are_kept() {
    for seed in 0..10 {
        println!("SEED={seed}");
        let root = TempDir::new().unwrap();
        let (mut world, mut lake) = filled(seed, root.path());
        let damaged = damage(&mut world, root.path(), &[Deed::RowsDeleted], 4);
        for part in damaged {
            let readable: Vec<_> = parquet_files(root.path())
                .into_iter()
                .filter(|path| path.parent().unwrap() == root.path().join(part.folder()))
                .flat_map(|path| names_in(&path))
                .collect();
            // Every other block is gone.
            let offered: Vec<_> = candidates(&world).into_iter().step_by(2).collect();
            let had: BTreeSet<_> = offered
                .iter()
                .flatten()
                .map(|(_, block)| block.id())
                .collect();
            let restored = restore(&mut lake, &world, &part, offered).unwrap();
            let rows = rows_of(&world.oracle).remove(&part).unwrap();
            let there =
                |row: &&(_, _)| readable.contains(row) || had.contains(&id_of(&row.0).block);
            let left: Vec<_> = rows.iter().filter(there).cloned().collect();
            assert_eq!(restored.hours, tallies(&left), "{part}");
            let blocks: BTreeSet<_> = left.iter().map(|(name, _)| id_of(name).block).collect();
            let missing = rows.iter().map(|(name, _)| id_of(name).block);
            let missing: BTreeSet<_> = missing.filter(|id| !blocks.contains(id)).collect();
            let named: u64 = restored
                .missing
                .values()
                .map(|set| set.member_count())
                .sum();
            assert_eq!(named, missing.len() as u64);
            // The rest comes later: nothing is twice.
            let restored = restore(&mut lake, &world, &part, candidates(&world)).unwrap();
            assert_eq!(restored.hours, tallies(&rows));
        }
        assert_whole(root.path(), &world);
    }
}

/// A block that the lake is still to take comes by itself, and only then.
#[test]
fn what_was_not_taken_is_not_restored() {
    let root = TempDir::new().unwrap();
    let (mut world, mut lake) = filled(1, root.path());
    let mut follower = Follower::new(Arc::clone(&world.log), lake.committed().clone());
    (0..10).for_each(|_| world.append());
    // Half of them wait for a commit, half are in the log alone.
    world.feed(&mut lake, &mut follower, 5);
    let parts: Vec<_> = rows_of(&world.oracle).into_keys().collect();
    let mut unseen = 0;
    for part in parts {
        let restored = restore(&mut lake, &world, &part, candidates(&world)).unwrap();
        assert_eq!(restored.commit, None);
        unseen += restored.unseen.len();
    }
    assert!(unseen > 0);
    world.feed(&mut lake, &mut follower, usize::MAX);
    lake.commit(world.clock).unwrap();
    assert_whole(root.path(), &world);
}

/// The failure at every act of a restore in turn.
#[test]
fn a_failure_at_every_act_of_a_restore() {
    let course = |at: usize, failure: Failure| {
        let root = TempDir::new().unwrap();
        let (mut world, lake) = filled(5, root.path());
        drop(lake);
        let damaged = damage(&mut world, root.path(), &ALL, 3);
        assert!(!damaged.is_empty());
        let options = Options {
            grace: Duration::ZERO,
            ..Options::default()
        };
        let disk = FaultyDisk::new(root.path());
        let (mut lake, _) = Lake::open_on(Arc::new(disk.clone()), options.clone()).unwrap();
        let begin = disk.acts();
        disk.fail_in(at, failure);
        for part in &damaged {
            if restore(&mut lake, &world, part, candidates(&world)).is_err() && disk.is_cut() {
                break;
            }
        }
        let (cut, acts) = (disk.is_cut(), disk.acts() - begin);
        drop(lake);
        disk.settle(&mut world.rng);
        let (mut lake, _) = Lake::open(root.path().to_owned(), options).unwrap();
        for part in &damaged {
            restore(&mut lake, &world, part, candidates(&world)).unwrap();
        }
        lake.sweep(world.clock).unwrap();
        assert_whole(root.path(), &world);
        (cut, acts)
    };
    let (_, acts) = course(usize::MAX / 2, Failure::PowerCut);
    let mut cuts = 0;
    for at in 1..=acts {
        cuts += usize::from(course(at, Failure::PowerCut).0);
        if at % 7 == 0 {
            course(at, Failure::NoSpace);
        }
    }
    assert!(cuts > 10, "{cuts}");
}
