//! The lake recounts itself: what was done to it by other hands is named, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use efd_central_lake::{
    Audit, FaultKind, Lake, Options, Part, PartAudit, audit, newest, progress_at,
};
use efd_central_log::Follower;
use efd_shared_model::UtcNanos;
use rand::Rng;
use tempfile::TempDir;

use crate::read::{live_files, parquet_files};
use crate::sabotage::{Deed, Rows, names_in, rows_of, sabotage, tallies};
use crate::world::{DAY, MIDNIGHT, World};

pub fn audit_all(root: &Path) -> (Audit, BTreeMap<Part, PartAudit>) {
    let mut parts = BTreeMap::new();
    let sum = audit(root, &|_| true, true, &mut |part| {
        assert!(parts.insert(part.part.clone(), part).is_none());
        ControlFlow::Continue(())
    });
    (sum.unwrap(), parts)
}

/// A lake of some commits, compacted in part.
pub fn filled(seed: u64, root: &Path) -> (World, Lake) {
    let mut world = World::new(seed);
    let options = Options {
        grace: Duration::ZERO,
        ..Options::default()
    };
    let (mut lake, progress) = Lake::open(root.to_owned(), options).unwrap();
    let mut follower = Follower::new(Arc::clone(&world.log), progress);
    for turn in 0..12 {
        (0..5).for_each(|_| world.append());
        world.feed(&mut lake, &mut follower, usize::MAX);
        lake.commit(world.clock).unwrap();
        if turn == 7 && world.rng.random_bool(0.5) {
            let date = UtcNanos(MIDNIGHT - DAY).date();
            lake.compact(&date, world.clock).unwrap();
            lake.sweep(world.clock).unwrap();
        }
        world.pass_seconds(60);
    }
    (world, lake)
}

fn assert_clean(root: &Path, rows: &Rows) {
    let (sum, parts) = audit_all(root);
    let expected: BTreeSet<_> = rows.keys().collect();
    assert_eq!(parts.keys().collect::<BTreeSet<_>>(), expected);
    for (part, audit) in &parts {
        assert_eq!(audit.faults, []);
        assert_eq!(audit.hours, tallies(&rows[part]), "{part}");
        assert_eq!(audit.duplicates, Some(BTreeMap::new()));
    }
    assert_eq!((sum.faults, sum.duplicates), (0, 0));
    assert_eq!((sum.rows, sum.rows_stated), (sum.rows_stated, sum.rows));
}

fn seeds() -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..20).collect(),
    }
}

#[test]
fn what_other_hands_did_is_named_and_nothing_else() {
    for seed in seeds() {
        println!("SEED={seed}");
        let root = TempDir::new().unwrap();
        let (mut world, lake) = filled(seed, root.path());
        let mut rows = rows_of(&world.oracle);
        assert_clean(root.path(), &rows);

        let live: Vec<PathBuf> = live_files(root.path()).into_iter().collect();
        let (mut done, mut flipped) = (BTreeMap::new(), BTreeSet::new());
        let deeds = [
            Deed::RowsDeleted,
            Deed::Replaced,
            Deed::Deleted,
            Deed::Flipped,
        ];
        for _ in 0..6 {
            let file = live[world.rng.random_range(0..live.len())].clone();
            let path = file.strip_prefix(root.path()).unwrap();
            let path = path.to_str().unwrap().to_owned();
            // What is done twice to one folder may hide the first.
            let folder = path.rsplit_once('/').unwrap().0.to_owned();
            if done.keys().any(|other: &String| other.starts_with(&folder)) {
                continue;
            }
            let deed = deeds[world.rng.random_range(0..deeds.len())];
            let mut parts = rows.iter_mut();
            let (part, of_part) = parts.find(|(part, _)| part.folder() == folder).unwrap();
            if sabotage(&mut world.rng, deed, &file, &live, of_part) {
                if deed == Deed::Flipped {
                    flipped.insert(part.clone());
                }
                done.insert(path, deed);
            }
        }
        println!("{done:?}");
        let (sum, parts) = audit_all(root.path());
        let faults: BTreeMap<_, _> = parts
            .values()
            .flat_map(|part| &part.faults)
            .map(|fault| (fault.file.path.clone(), fault))
            .collect();
        assert_eq!(
            faults.keys().collect::<Vec<_>>(),
            done.keys().collect::<Vec<_>>()
        );
        assert_eq!(sum.faults, done.len() as u64);
        for (path, fault) in &faults {
            println!("{fault}");
            match done[path] {
                Deed::Deleted => {
                    assert_eq!((&fault.kind, fault.rows_found), (&FaultKind::Missing, 0))
                }
                Deed::RowsDeleted => assert!(fault.rows_found < fault.file.rows),
                Deed::Replaced => {
                    let found = names_in(&root.path().join(path)).len() as u64;
                    assert_eq!((fault.rows_found, &fault.unread), (found, &None));
                }
                Deed::Flipped => assert!(matches!(fault.kind, FaultKind::Digest(_)), "{fault}"),
            }
        }
        for (part, rows) in &rows {
            let audit = &parts[part];
            let known = tallies(rows);
            if !flipped.contains(part) {
                assert_eq!(audit.hours, known, "{part}");
                let names: BTreeSet<_> = rows.iter().collect();
                let twice: u64 = audit.duplicates.iter().flat_map(BTreeMap::values).sum();
                assert_eq!(twice, (rows.len() - names.len()) as u64, "{part}");
            }
        }
        drop(lake);
    }
}

#[test]
fn files_on_their_way_and_files_replaced_are_no_fault() {
    let root = TempDir::new().unwrap();
    let (mut world, mut lake) = filled(3, root.path());
    let rows = rows_of(&world.oracle);
    // As a crash between commit and rename leaves it.
    let file = parquet_files(root.path()).pop().unwrap();
    let staged = root.path().join("_tmp").join(file.file_name().unwrap());
    fs::rename(&file, &staged).unwrap();
    assert_clean(root.path(), &rows);
    fs::rename(&staged, &file).unwrap();

    // Everything is compacted and swept when the first part has been read.
    let mut parts = BTreeMap::new();
    let sum = audit(root.path(), &|_| true, true, &mut |part| {
        if parts.is_empty() {
            for day in -4..4 {
                let date = UtcNanos(MIDNIGHT + day * DAY).date();
                while !lake.compact(&date, world.clock).unwrap().is_done {}
            }
            world.pass_seconds(1);
            lake.sweep(world.clock).unwrap();
        }
        parts.insert(part.part.clone(), part);
        ControlFlow::Continue(())
    });
    let sum = sum.unwrap();
    assert_eq!((sum.faults, sum.duplicates), (0, 0));
    assert!(parts.values().any(|part| sum.commit < part.commit));
    for (part, audit) in &parts {
        assert_eq!(audit.hours, tallies(&rows[part]), "{part}");
    }
    assert_eq!(parts.len(), rows.len());
    assert_clean(root.path(), &rows);
    let newest = newest(root.path()).unwrap();
    assert_eq!(newest, lake.last_commit());
    assert_eq!(&progress_at(root.path(), newest).unwrap(), lake.committed());
}

#[test]
fn only_what_is_wanted_is_read() {
    let root = TempDir::new().unwrap();
    let (world, _lake) = filled(4, root.path());
    let rows = rows_of(&world.oracle);
    let wanted = |part: &Part| part.site.as_str() == "summit" && part.day == MIDNIGHT / DAY;
    let mut found = Vec::new();
    let mut visit = |part: PartAudit| {
        found.push(part.part);
        ControlFlow::Continue(())
    };
    audit(root.path(), &wanted, false, &mut visit).unwrap();
    found.sort();
    let expected: Vec<_> = rows.into_keys().filter(wanted).collect();
    assert_eq!(found, expected);
    // A commit in the middle that is gone is not the chain's end.
    fs::remove_file(root.path().join("_commits/00000000000000000004.json")).unwrap();
    let error = audit(root.path(), &wanted, false, &mut |_| ControlFlow::Break(())).unwrap_err();
    assert!(
        error.to_string().contains("later ones are there"),
        "{error}"
    );
    let nowhere = root.path().join("nowhere");
    let none = audit(&nowhere, &wanted, false, &mut |_| ControlFlow::Break(()));
    assert_eq!(none.unwrap(), Audit::default());
}
