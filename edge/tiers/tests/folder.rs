//! A tier as a moving window: what is too old leaves, and what is too much, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::path::Path;
use std::time::Duration;

use efd_edge_tiers::folder::TierFolder;
use efd_edge_tiers::{TierSettings, Topics};
use efd_shared_model::{Schema, UtcNanos};
use efd_shared_stats::{Kernel, Resolution};
use efd_shared_store::database::Disk;
use efd_shared_tiers::{Note, Run, SeriesKey, Shape, Statistics};

const HOUR: i64 = 3_600_000_000_000;
/// 2026-11-24T00:00:00Z
const BEGIN: i64 = 1_795_478_400_000_000_000;

fn open(root: &Path, age: Duration, bytes_max: u64) -> TierFolder {
    let settings = TierSettings {
        resolution: Resolution::from_seconds(10).unwrap(),
        topics: Topics::All,
        age_max: age,
        bytes_max,
    };
    TierFolder::open(root, settings, &Disk::default()).unwrap()
}

/// One window in the middle of that hour.
fn commit(folder: &mut TierFolder, hour: i64) {
    let schema = Schema::new(r#"{"type":"record","name":"t","fields":[]}"#);
    let series = SeriesKey {
        topic: "lsst.sal.Test.t".into(),
        instance: None,
        schema: schema.fingerprint(),
        shape: Shape(vec![3]),
    };
    let mut summaries = Vec::new();
    Kernel::new().rows(&[hour as f64, 2.0, 3.0], 3, &mut summaries);
    let run = Run {
        series: &series,
        schema: &schema,
        starts: &[UtcNanos(BEGIN + hour * HOUR + HOUR / 2)],
        rows: &[1],
        summaries: &summaries,
        kept: Statistics::ALL,
    };
    folder.commit(&[run], &Note::new()).unwrap();
}

fn remove_old(folder: &mut TierFolder, now: Option<UtcNanos>) -> usize {
    if let Some(floor) = folder.floor_due(now) {
        folder.raise_floor(floor);
        assert!(!folder.takes(UtcNanos(floor.0 - 1)) && folder.takes(floor));
    }
    folder.remove_old().unwrap()
}

fn files(root: &Path) -> usize {
    let entries = std::fs::read_dir(root.join("10s")).unwrap();
    let is_file = |name: &str| name.ends_with(".db");
    entries
        .filter(|entry| is_file(entry.as_ref().unwrap().file_name().to_str().unwrap()))
        .count()
}

/// 400 days, an hour out of four.
#[test]
fn what_is_too_old_leaves_and_nothing_else() {
    const HOURS_KEPT: i64 = 48;
    let root = tempfile::tempdir().unwrap();
    let age = Duration::from_secs(HOURS_KEPT as u64 * 3600);
    let mut folder = open(root.path(), age, u64::MAX);
    for hour in (0..400 * 24).step_by(4) {
        commit(&mut folder, hour);
        let now = UtcNanos(BEGIN + (hour + 1) * HOUR);
        let removed = remove_old(&mut folder, Some(now));
        assert_eq!(removed, usize::from(HOURS_KEPT <= hour), "hour {hour}");
        let held = folder.holding();
        let oldest = (hour - HOURS_KEPT + 4).max(0);
        assert_eq!(held.files as i64, (hour - oldest) / 4 + 1, "hour {hour}");
        assert_eq!(held.begin, Some(UtcNanos(BEGIN + oldest * HOUR)));
        if hour % 1000 == 0 {
            assert_eq!(files(root.path()), held.files);
            folder.close().unwrap();
            folder = open(root.path(), age, u64::MAX);
            assert_eq!(folder.holding().files, held.files);
        }
    }
    // Who does not know the time removes nothing for its age.
    assert_eq!(remove_old(&mut folder, None), 0);
}

#[test]
fn what_is_too_much_leaves_oldest_first_and_the_newest_stays() {
    let root = tempfile::tempdir().unwrap();
    let year = Duration::from_secs(366 * 86_400);
    let mut folder = open(root.path(), year, u64::MAX);
    commit(&mut folder, 0);
    let one = folder.holding().bytes;
    folder.close().unwrap();
    let mut folder = open(root.path(), year, one * 10);
    for hour in 0..60 {
        commit(&mut folder, hour);
        remove_old(&mut folder, None);
        let held = folder.holding();
        assert!(held.bytes <= one * 10 && held.files >= 1, "{held:?}");
        assert!(hour < 20 || held.files >= 5, "{held:?}");
        assert!(held.begin.unwrap().0 <= BEGIN + hour * HOUR);
    }
    folder.close().unwrap();
    let mut folder = open(root.path(), year, 1);
    remove_old(&mut folder, None);
    assert_eq!(folder.holding().files, 1);
    assert_eq!(files(root.path()), 1);
}
