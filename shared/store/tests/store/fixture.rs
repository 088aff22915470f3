//! A store that version 1 wrote. Every later build reads it.
//!
//! `EFD_WRITE_FIXTURE=1 cargo test -p efd-shared-store fixture` writes it, where there is none.

use std::fs;
use std::path::Path;

use efd_shared_model::{LaneKind, RangeSet, UtcNanos};
use efd_shared_store::{
    Depth, Options, Position, ReadOnlyStore, SegmentState, Severity, Store, verify,
};

use crate::world::{SECOND, block, declare, epoch, lane, log, read_all, schema, small, stream};

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/store-v1")
}

/// Lane `events`: blocks 1 to 6 of epoch 1 in a closed segment, 1 to 2 of epoch 2 in an open one; `losses`: one block.
fn write(root: &Path) {
    let options = Options {
        segment_bytes_max: 1500,
        ..small()
    };
    let (mut store, _) = Store::open(root, options).unwrap();
    let now = UtcNanos(1_795_000_000 * SECOND);
    declare(&mut store, 1, 2);
    for number in 1..=6 {
        let blocks = [block(log(1, LaneKind::Events), number, 120)];
        store
            .append(&lane("events"), &blocks, Some(("key", b"old")), now)
            .unwrap();
    }
    store
        .append(
            &lane("losses"),
            &[block(log(1, LaneKind::Losses), 1, 50)],
            None,
            now,
        )
        .unwrap();
    declare(&mut store, 2, 1);
    for number in 1..=2 {
        let blocks = [block(log(2, LaneKind::Events), number, 120)];
        store
            .append(&lane("events"), &blocks, Some(("key", b"new")), now)
            .unwrap();
    }
    let mut acked = RangeSet::new();
    acked.insert_range(1..=4);
    store.add_acked("centre", &log(1, LaneKind::Events), &acked);
    store.put_value("name", b"value").unwrap();
    store.close().unwrap();
    fs::remove_file(root.join("lock")).unwrap();
}

#[test]
fn version_1_is_read() {
    if std::env::var_os("EFD_WRITE_FIXTURE").is_some() && !fixture().exists() {
        fs::create_dir_all(fixture()).unwrap();
        write(&fixture());
    }
    let folder = fixture();
    let files = || {
        let lane = fs::read_dir(folder.join("segments/events")).unwrap();
        fs::read_dir(&folder).unwrap().chain(lane).count()
    };
    let before = files();
    let store = ReadOnlyStore::open(&folder).unwrap();
    assert_eq!(store.notices(), []);
    let mut reader = store.reader();
    let mut expected: Vec<_> = (1..=6)
        .map(|number| block(log(1, LaneKind::Events), number, 120))
        .chain((1..=2).map(|number| block(log(2, LaneKind::Events), number, 120)))
        .collect();
    let (blocks, other) = read_all(&mut reader, &lane("events"));
    assert_eq!(other, Vec::<String>::new());
    for ((position, bytes), expected) in blocks.iter().zip(&expected) {
        assert_eq!(bytes, expected.bytes(), "position {position}");
    }
    assert_eq!(blocks.len(), expected.len());
    expected.clear();
    assert_eq!(read_all(&mut reader, &lane("losses")).0.len(), 1);
    let states: Vec<_> = store.segments().iter().map(|info| info.state).collect();
    assert_eq!(
        states,
        [SegmentState::Closed, SegmentState::Open, SegmentState::Open]
    );
    assert_eq!(reader.epochs().unwrap(), [epoch(1), epoch(2)]);
    assert_eq!(
        reader.streams(epoch(1).epoch).unwrap(),
        [stream(1), stream(2)]
    );
    assert_eq!(
        reader.schema(&schema(2).fingerprint()).unwrap(),
        Some(schema(2))
    );
    assert_eq!(
        reader.state(&lane("events"), "key"),
        Some((Position(8), b"new".to_vec()))
    );
    assert_eq!(
        store.acked()["centre"][&log(1, LaneKind::Events)].to_string(),
        "{1-4}"
    );
    let mut findings = Vec::new();
    for depth in [Depth::Stored, Depth::Content] {
        let note = |finding| {
            findings.push(finding);
            true
        };
        let done = verify(&folder, depth, note, |_| true).unwrap();
        assert_eq!(done.blocks, 9);
    }
    findings.retain(|finding| finding.severity == Severity::Damage);
    assert_eq!(findings, vec![]);
    assert_eq!(files(), before, "reading leaves no trace");
}

#[test]
fn version_1_is_written_on() {
    let root = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(fixture())
        .arg(root.path().join("store"))
        .status();
    assert!(copied.unwrap().success());
    let (mut store, recovery) = Store::open(root.path().join("store"), small()).unwrap();
    assert!(recovery.is_clean(), "{recovery:?}");
    assert_eq!(store.value("name").unwrap().as_deref(), Some(&b"value"[..]));
    let block = block(log(2, LaneKind::Events), 3, 100);
    let at = store
        .append(&lane("events"), &[block], None, UtcNanos(0))
        .unwrap();
    assert_eq!(at.start, Position(9));
}
