//! The log's own disk loses what was acknowledged: it comes again, and every consumer takes it once.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use efd_shared_store::{Options, Store};

use super::*;

const EDGE: EdgeId = EdgeId([1; 16]);

/// A log whose every segment has one block.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// Blocks 1 to `count` of epoch 1, live; closed.
    fn with_blocks(count: u64) -> Self {
        let disk = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let log = disk.open();
        declare(&log);
        for number in 1..=count {
            append(&log, Class::Live, number);
        }
        disk.end(log);
        disk
    }

    fn open(&self) -> Arc<EmbeddedLog> {
        let options = Options {
            segment_bytes_max: 1,
            ..Options::default()
        };
        let folder = self.folder.path().to_owned();
        let (log, _) =
            EmbeddedLog::open(folder, options, || UtcNanos(1_800_000_000_000_000_000)).unwrap();
        Arc::new(log)
    }

    fn end(&self, log: Arc<EmbeddedLog>) {
        Arc::into_inner(log).unwrap().close().unwrap();
    }

    /// Segment files of the live partition, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let lane = self.folder.path().join("segments/summit.0.live");
        let files = fs::read_dir(lane).unwrap().map(|file| file.unwrap().path());
        let files: BTreeSet<_> = files.filter(|path| is_database(path)).collect();
        files.into_iter().collect()
    }

    /// Its size stays, so that no start looks into the file.
    fn flip_a_byte_of_block(&self, number: u64) {
        let path = &self.segments()[number as usize - 1];
        let mut bytes = fs::read(path).unwrap();
        let block = block(1, number);
        let data = block.bytes();
        let at = bytes
            .windows(data.len())
            .position(|window| window == data.as_ref())
            .unwrap();
        bytes[at + data.len() - 1] ^= 1;
        fs::write(path, bytes).unwrap();
    }
}

fn declare(log: &EmbeddedLog) {
    let memory = declared(&[1]);
    let epoch = memory.epochs().unwrap().remove(0);
    let stream = memory.stream(epoch.epoch, StreamNumber(1)).unwrap();
    let Stream {
        declaration,
        schema,
        ..
    } = (*stream.unwrap()).clone();
    log.declare(&epoch, &[declaration], &[schema]).unwrap();
}

fn is_database(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "db")
}

fn append(log: &EmbeddedLog, class: Class, number: u64) {
    log.append(&[(partition(class), block(1, number))]).unwrap();
}

fn received(log: &EmbeddedLog) -> String {
    log.received(block(1, 1).id().lane).unwrap().to_string()
}

fn lost(log: &EmbeddedLog) -> String {
    let lost = log.lost(EDGE).unwrap();
    lost.get(&block(1, 1).id().lane)
        .map_or_else(|| "{}".into(), ToString::to_string)
}

/// What a consumer takes from here on.
fn take(log: &Arc<EmbeddedLog>, progress: &mut Progress) -> Vec<u64> {
    let mut follower = Follower::new(Arc::clone(log), progress.clone());
    let mut taken = Vec::new();
    while let Some(delivery) = follower.poll().unwrap() {
        assert_eq!(delivery.block, block(1, delivery.block.id().number.0));
        taken.push(delivery.block.id().number.0);
    }
    *progress = follower.progress().clone();
    taken
}

#[test]
fn a_segment_that_is_gone_comes_again() {
    let disk = Disk::with_blocks(6);
    let (mut ahead, mut behind) = (Progress::default(), Progress::default());
    let log = disk.open();
    assert_eq!(take(&log, &mut ahead), [1, 2, 3, 4, 5, 6]);
    disk.end(log);
    for gone in &disk.segments()[1..3] {
        fs::remove_file(gone).unwrap();
    }
    let log = disk.open();
    assert_eq!(
        (received(&log), lost(&log)),
        ("{1 4-6}".into(), "{2-3}".into())
    );
    assert_eq!(log.health().lost_blocks, 2);
    assert_eq!(take(&log, &mut behind), [1, 4, 5, 6]);
    assert_eq!(log.health().passed.absent, 2);

    append(&log, Class::Fill, 3);
    assert_eq!(
        (received(&log), lost(&log)),
        ("{1 3-6}".into(), "{2}".into())
    );
    // Known as lost until it comes, over a restart.
    disk.end(log);
    let log = disk.open();
    assert_eq!(
        (received(&log), lost(&log)),
        ("{1 3-6}".into(), "{2}".into())
    );
    append(&log, Class::Fill, 2);
    assert_eq!((received(&log), lost(&log)), ("{1-6}".into(), "{}".into()));
    assert_eq!(take(&log, &mut behind), [3, 2]);
    assert_eq!(take(&log, &mut ahead), [0; 0]);
}

#[test]
fn damage_that_a_consumer_meets_is_noted_before_it_goes_on() {
    let disk = Disk::with_blocks(6);
    disk.flip_a_byte_of_block(3);
    let log = disk.open();
    assert_eq!(received(&log), "{1-6}", "nobody has looked");
    let (mut first, mut second) = (Progress::default(), Progress::default());
    assert_eq!(take(&log, &mut first), [1, 2, 4, 5, 6]);
    assert_eq!(
        (received(&log), lost(&log)),
        ("{1-2 4-6}".into(), "{3}".into())
    );
    assert_eq!(log.losses(), 1);
    assert_eq!(log.health().passed.damaged, 1);
    // Not closed: as after a crash.
    drop(log);
    let log = disk.open();
    assert_eq!(
        (received(&log), lost(&log)),
        ("{1-2 4-6}".into(), "{3}".into())
    );

    append(&log, Class::Fill, 3);
    assert_eq!((received(&log), lost(&log)), ("{1-6}".into(), "{}".into()));
    assert_eq!(take(&log, &mut first), [3]);
    // One that comes to the damage when there is another copy gets that, and nothing is asked for.
    assert_eq!(take(&log, &mut second).len(), 6);
    assert_eq!((lost(&log), log.losses()), ("{}".into(), 0));
}

#[test]
fn a_segment_that_cannot_be_opened_comes_again_whole() {
    let disk = Disk::with_blocks(4);
    let log = disk.open();
    let path = &disk.segments()[1];
    let size = fs::metadata(path).unwrap().len();
    fs::write(path, vec![0x5a; size as usize]).unwrap();
    let mut progress = Progress::default();
    assert_eq!(take(&log, &mut progress), [1, 3, 4]);
    assert_eq!(lost(&log), "{2}");
    append(&log, Class::Fill, 2);
    assert_eq!(lost(&log), "{}");
    assert_eq!(take(&log, &mut progress), [2]);
    // Another consumer meets the same file: nothing is asked for twice.
    assert_eq!(take(&log, &mut Progress::default()).len(), 4);
    assert_eq!(lost(&log), "{}");
}

/// The newest file has no note in the catalogue, and its places were given.
#[test]
fn a_lost_end_gives_no_place_anew() {
    let disk = Disk::with_blocks(5);
    let log = disk.open();
    let mut progress = Progress::default();
    assert_eq!(take(&log, &mut progress).len(), 5);
    disk.end(log);
    let newest = disk.segments().pop().unwrap();
    fs::remove_file(newest).unwrap();
    let log = disk.open();
    assert_eq!((received(&log), lost(&log)), ("{1-4}".into(), "{5}".into()));
    append(&log, Class::Live, 6);
    append(&log, Class::Live, 5);
    assert_eq!(take(&log, &mut progress), [6]);
    assert_eq!(take(&log, &mut Progress::default()), [1, 2, 3, 4, 6, 5]);
    let (_, end) = log.bounds(&partition(Class::Live)).unwrap();
    assert_eq!(progress.next_place(&partition(Class::Live)), end);
}

/// With the notes of where it ended.
#[test]
fn a_log_begun_anew_is_read_from_its_first_place() {
    let disk = Disk::with_blocks(5);
    let log = disk.open();
    let mut progress = Progress::default();
    assert_eq!(take(&log, &mut progress).len(), 5);
    let disk = Disk::with_blocks(0);
    let log = disk.open();
    append(&log, Class::Live, 5);
    append(&log, Class::Live, 6);
    assert_eq!(take(&log, &mut progress), [6]);
    assert_eq!(log.health().passed.rewound, 1);
    append(&log, Class::Live, 7);
    assert_eq!(take(&log, &mut progress), [7]);
    assert_eq!(log.health().passed.rewound, 1);
}

#[test]
fn what_the_edge_has_not_either_is_counted_and_not_asked_for_again() {
    let disk = Disk::with_blocks(4);
    fs::remove_file(&disk.segments()[1]).unwrap();
    let log = disk.open();
    let lane = block(1, 1).id().lane;
    // It may answer for more than was lost.
    let all = RangeSet::from_iter([1..=u64::MAX]);
    assert_eq!(log.set_absent(lane, &all).unwrap().to_string(), "{2}");
    assert!(log.set_absent(lane, &all).unwrap().is_empty(), "no news");
    assert_eq!(
        (received(&log), lost(&log)),
        ("{1 3-4}".into(), "{}".into())
    );
    drop(log);
    let log = disk.open();
    assert_eq!(lost(&log), "{}");
    let health = log.health();
    assert_eq!((health.lost_blocks, health.absent_blocks()), (0, 1));
    // And it comes after all, from a restored disk.
    append(&log, Class::Fill, 2);
    assert_eq!(log.health().absent_blocks(), 0);
    assert_eq!(received(&log), "{1-4}");
}

/// A log of a build that did not note what retention removed: what it has no more had been taken.
#[test]
fn what_an_older_build_removed_is_not_asked_for() {
    let disk = Disk::with_blocks(4);
    let log = disk.open();
    let taken = Progress {
        places: BTreeMap::from([(partition(Class::Live), Place(3))]),
        ..Progress::default()
    };
    log.retain(&Keep::by_age(Duration::ZERO), &[reached(taken)])
        .unwrap();
    disk.end(log);
    let (mut store, _) = Store::open(disk.folder.path(), Options::default()).unwrap();
    store.forget_acked("retired", &block(1, 1).id().lane);
    store.put_value("log.retired", b"0").unwrap();
    store.close().unwrap();
    fs::remove_file(&disk.segments()[0]).unwrap();
    let log = disk.open();
    assert_eq!(
        (received(&log), lost(&log)),
        ("{1-2 4}".into(), "{3}".into())
    );
}
