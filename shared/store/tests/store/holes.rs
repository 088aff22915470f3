//! A lane that goes on at a later position: what was there before stays where it was, and nothing takes the place of
//! what is missing.

use efd_shared_model::{LaneKind, UtcNanos};
use efd_shared_store::{Depth, Item, Position, ReadOnlyStore, Severity, verify};
use tempfile::tempdir;

use crate::world::{SECOND, block, declare, lane, log, open, read_all};

const NOW: UtcNanos = UtcNanos(1_795_000_000 * SECOND);

fn later(seconds: i64) -> UtcNanos {
    NOW.saturating_add(seconds * SECOND)
}

#[test]
fn blocks_behind_a_hole_have_their_places_through_a_restart() {
    let root = tempdir().unwrap();
    let events = lane("events");
    let log = log(1, LaneKind::Events);
    let (mut store, _) = open(root.path());
    declare(&mut store, 1, 1);
    let mut expected = Vec::new();
    // At the beginning, after blocks, and two in a row with a value between them.
    for (through, value, numbers) in [
        (6, None, 7..=8),
        (20, None, 21..=21),
        (30, Some(b"between"), 0..=0),
        (40, None, 41..=43),
    ] {
        store.skip_through(&events, Position(through), NOW).unwrap();
        if let Some(value) = value {
            let at = store
                .append(&events, &[], Some(("key", value)), NOW)
                .unwrap();
            assert_eq!(at.start, Position(through + 1));
            continue;
        }
        for number in numbers {
            let block = block(log, number, 300);
            let at = store.append(
                &events,
                std::slice::from_ref(&block),
                None,
                later(number as i64),
            );
            assert_eq!(at.unwrap().start, Position(number));
            expected.push((Position(number), block.bytes().clone()));
        }
    }
    // What lies behind already is not skipped.
    store.skip_through(&events, Position(5), NOW).unwrap();
    assert_eq!(store.reader().head(&events), Position(43));
    let absent = |first, last| {
        format!(
            "{:?}",
            Item::Absent {
                first: Position(first),
                last: Position(last)
            }
        )
    };
    let holes = vec![absent(9, 20), absent(22, 40)];
    assert_eq!(
        read_all(&mut store.reader(), &events),
        (expected.clone(), holes.clone())
    );
    store.close().unwrap();

    let seen = ReadOnlyStore::open(root.path()).unwrap();
    assert_eq!(seen.notices(), []);
    let mut reader = seen.reader();
    assert_eq!(read_all(&mut reader, &events), (expected.clone(), holes));
    let value = (Position(30), b"between".to_vec());
    assert_eq!(reader.state(&events, "key"), Some(value.clone()));
    assert_eq!(
        reader.states(&events).into_iter().collect::<Vec<_>>(),
        [("key".to_owned(), value)]
    );
    assert_eq!(reader.committed(&events, Position(21)), Some(later(21)));
    for nowhere in [6, 9, 30, 44] {
        assert_eq!(reader.committed(&events, Position(nowhere)), None);
    }
    let mut damage = Vec::new();
    let blocks = verify(
        root.path(),
        Depth::Content,
        |finding| {
            if finding.severity == Severity::Damage {
                damage.push(finding);
            }
            true
        },
        |_| true,
    );
    assert_eq!((blocks.unwrap().blocks, damage), (6, vec![]));

    let (mut store, recovery) = open(root.path());
    assert!(recovery.is_clean(), "{recovery:?}");
    let at = store.append(&events, &[block(log, 44, 300)], None, NOW);
    assert_eq!(at.unwrap().start, Position(44));
}

#[test]
fn values_of_meta_are_seen_by_another_process() {
    let root = tempdir().unwrap();
    let (mut store, _) = open(root.path());
    store.put_value("name", b"value").unwrap();
    let seen = ReadOnlyStore::open(root.path()).unwrap();
    let values: Vec<_> = seen.values().iter().collect();
    assert_eq!(values, [(&"name".to_owned(), &b"value".to_vec())]);
}
