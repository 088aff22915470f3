//! Exactly once, whatever fails: `SEED=… cargo test` replays one.

use std::sync::Arc;
use std::time::Duration;

use efd_central_lake::{Lake, LakeError, Options};
use efd_central_log::{Follower, MemoryLog};
use efd_shared_model::UtcNanos;
use rand::Rng;
use tempfile::TempDir;

use crate::disk::{Failure, FaultyDisk};
use crate::read::{assert_same, live_files, parquet_files, read};
use crate::world::{DAY, MIDNIGHT, World};

fn options() -> Options {
    Options {
        checkpoint_every: 3,
        grace: Duration::ZERO,
        ..Options::default()
    }
}

/// A lake on a disk that may fail, and what follows the log for it.
struct Session {
    disk: FaultyDisk,
    lake: Lake,
    follower: Follower<MemoryLog>,
}

impl Session {
    fn open(
        world: &World,
        root: &TempDir,
        fail_in: Option<(usize, Failure)>,
    ) -> Result<Self, FaultyDisk> {
        let disk = FaultyDisk::new(root.path());
        if let Some((acts, failure)) = fail_in {
            disk.fail_in(acts, failure);
        }
        match Lake::open_on(Arc::new(disk.clone()), options()) {
            Err(_) => Err(disk),
            Ok((lake, progress)) => {
                assert_eq!(lake.counters().files_missing, 0);
                let follower = Follower::new(Arc::clone(&world.log), progress);
                Ok(Self {
                    disk,
                    lake,
                    follower,
                })
            }
        }
    }

    /// Anything that a consumer does.
    fn step(&mut self, world: &mut World) {
        let outcome = match world.rng.random_range(0..10) {
            0..4 => {
                let blocks = world.rng.random_range(1..5);
                world.feed(&mut self.lake, &mut self.follower, blocks);
                return;
            }
            4..8 => self.lake.commit(world.clock).map(drop),
            8 => {
                let day = MIDNIGHT + world.rng.random_range(-1..1) * DAY;
                self.lake
                    .compact(&UtcNanos(day).date(), world.clock)
                    .map(drop)
            }
            _ => self.lake.sweep(world.clock),
        };
        if let Err(error) = outcome {
            assert!(error.is_transient(), "{error}");
        }
        world.pass_seconds(1);
    }
}

fn seeds() -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..60).collect(),
    }
}

fn finish(world: &World, root: &TempDir) {
    let mut session = Session::open(world, root, None).unwrap();
    world.feed(&mut session.lake, &mut session.follower, usize::MAX);
    session.lake.commit(world.clock).unwrap();
    session.lake.sweep(world.clock).unwrap();
    let files = parquet_files(root.path());
    let live = live_files(root.path());
    assert_eq!(
        files
            .iter()
            .cloned()
            .collect::<std::collections::BTreeSet<_>>(),
        live
    );
    assert_same(&read(files).rows, &world.oracle);
    let staged: Vec<_> = std::fs::read_dir(root.path().join("_tmp"))
        .unwrap()
        .collect();
    assert!(staged.is_empty(), "{staged:?}");
}

/// Random blocks and duplicates, restarts, power cuts and full disks at random acts.
#[test]
fn each_record_is_there_once_whatever_fails() {
    for seed in seeds() {
        println!("SEED={seed}");
        let mut world = World::new(seed);
        let root = TempDir::new().unwrap();
        let (mut cuts, mut sessions) = (0, 0);
        while sessions < 8 {
            sessions += 1;
            let failure = match world.rng.random_range(0..4) {
                0 => None,
                1 => Some(Failure::NoSpace),
                _ => Some(Failure::PowerCut),
            };
            let at = world.rng.random_range(1..120);
            let mut session = match Session::open(&world, &root, failure.map(|what| (at, what))) {
                Ok(session) => session,
                Err(disk) => {
                    disk.settle(&mut world.rng);
                    continue;
                }
            };
            for _ in 0..world.rng.random_range(1..30) {
                if world.rng.random_bool(0.5) {
                    world.append();
                }
                session.step(&mut world);
                if session.disk.is_cut() {
                    cuts += 1;
                    break;
                }
            }
            let Session { disk, lake, .. } = session;
            drop(lake);
            disk.settle(&mut world.rng);
        }
        println!("{} records, {cuts} power cuts", world.oracle.len());
        finish(&world, &root);
    }
}

/// One fixed course, with the failure at every act of it in turn.
#[test]
fn a_failure_at_every_single_act() {
    let course = |at: usize, failure: Failure| {
        let mut world = World::new(7);
        let root = TempDir::new().unwrap();
        let disk = {
            let session = Session::open(&world, &root, None);
            let Session {
                disk,
                mut lake,
                mut follower,
            } = session.ok().unwrap();
            disk.fail_in(at, failure);
            for _ in 0..3 {
                for _ in 0..3 {
                    world.append();
                }
                world.feed(&mut lake, &mut follower, usize::MAX);
                match lake.commit(world.clock) {
                    Ok(_) => {}
                    Err(LakeError::NoSpace { .. }) => {
                        assert_eq!(
                            (lake.counters().commit_failures, lake.counters().no_space),
                            (1, 1)
                        );
                        lake.commit(world.clock).unwrap();
                    }
                    Err(error) => {
                        assert!(disk.is_cut(), "{error}");
                        break;
                    }
                }
            }
            disk
        };
        let (cut, acts) = (disk.is_cut(), disk.acts());
        disk.settle(&mut world.rng);
        finish(&world, &root);
        (cut, acts)
    };
    let (_, acts) = course(usize::MAX / 2, Failure::PowerCut);
    assert!(acts > 100, "{acts}");
    // Acts of opening are not counted by `fail_in`; beyond the last one nothing is cut.
    let mut cuts = 0;
    for at in 1..=acts {
        cuts += usize::from(course(at, Failure::PowerCut).0);
        if at % 7 == 0 {
            course(at, Failure::NoSpace);
        }
    }
    assert!(cuts > 100, "{cuts}");
}
