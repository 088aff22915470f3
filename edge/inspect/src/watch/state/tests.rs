use super::*;

const MINUTE: i64 = 60_000_000_000;
/// A whole minute.
const BEGIN: i64 = 29_924_640 * MINUTE;

fn at(seconds: u64) -> Observation {
    Observation {
        utc: UtcNanos(BEGIN + seconds as i64 * 1_000_000_000),
        elapsed: Duration::from_secs(5 + seconds),
        ..Observation::default()
    }
}

fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, Count> {
    let count = |&(name, records): &(&str, u64)| {
        let bytes = records * 10;
        (name.to_owned(), Count { records, bytes })
    };
    counts.iter().map(count).collect()
}

fn lost(count: u64) -> Lost {
    Lost {
        losses: 1,
        count,
        uncounted: 0,
    }
}

#[test]
fn components_are_sorted_by_rate_and_the_silent_stay() {
    let mut state = State::default();
    let first = state.take(at(0));
    assert_eq!((first.interval, first.components.len()), (None, 0));
    let check = |view: &View, expected: &[(&str, u64)]| {
        let found = view.components.iter();
        let found: Vec<_> = found
            .map(|(name, count)| (name.as_str(), count.records))
            .collect();
        assert_eq!(found, expected);
        let sum: u64 = expected.iter().map(|(_, records)| records).sum();
        assert_eq!((view.total.records, view.total.bytes), (sum, 10 * sum));
    };
    let mut second = at(2);
    second.components = counts(&[("ATDome", 3), ("MTM1M3", 500), ("MTMount", 20)]);
    let view = state.take(second);
    assert_eq!(view.interval, Some(Duration::from_secs(2)));
    check(&view, &[("MTM1M3", 500), ("MTMount", 20), ("ATDome", 3)]);
    let mut third = at(3);
    third.components = counts(&[("MTMount", 21), ("Watcher", 21)]);
    let view = state.take(third);
    check(
        &view,
        &[
            ("MTMount", 21),
            ("Watcher", 21),
            ("ATDome", 0),
            ("MTM1M3", 0),
        ],
    );
    assert_eq!(view.began, UtcNanos(BEGIN));
}

#[test]
fn more_components_than_can_be_kept_share_a_row() {
    let mut state = State::default();
    let names: Vec<_> = (0..COMPONENTS_MAX + 50)
        .map(|n| format!("C{n:05}"))
        .collect();
    for round in 0..3 {
        let mut look = at(round);
        let one = Count {
            records: 1,
            bytes: 1,
        };
        look.components = names.iter().map(|name| (name.clone(), one)).collect();
        let view = state.take(look);
        assert_eq!(view.components.len(), COMPONENTS_MAX + 1);
        let others = Count {
            records: 50,
            bytes: 50,
        };
        assert_eq!(view.components[0], (OTHERS.to_owned(), others));
        assert_eq!(view.total.records, names.len() as u64);
    }
}

#[test]
fn losses_of_the_hour_and_of_the_watch() {
    let mut state = State::default();
    let minute = minute_of(UtcNanos(BEGIN));
    let (gap, full) = (LossReason::DdsGap, LossReason::QueueFull);
    let mut first = at(0);
    // What was named before the watch began.
    first.losses = [
        (minute - 59, Losses::from([(gap, lost(5))])),
        (minute - 60, Losses::from([(gap, lost(1000))])),
    ]
    .into();
    let view = state.take(first);
    assert_eq!(view.since_begin, Losses::new());
    assert_eq!(view.last_hour, Losses::from([(gap, lost(5))]));

    let mut second = at(30);
    let unknown = Lost {
        losses: 1,
        count: 0,
        uncounted: 1,
    };
    let named = Losses::from([(gap, lost(2)), (full, unknown)]);
    second.losses = [(minute, named.clone())].into();
    let view = state.take(second);
    assert_eq!(view.since_begin, named);
    let both = Lost {
        losses: 2,
        count: 7,
        uncounted: 0,
    };
    assert_eq!(view.last_hour, Losses::from([(gap, both), (full, unknown)]));

    // An hour later those of the watch remain, those of the hour have gone one after the other.
    let view = state.take(at(60));
    assert_eq!(view.last_hour[&gap], lost(2));
    let view = state.take(at(59 * 60 + 59));
    assert_eq!(view.last_hour[&gap], lost(2));
    let view = state.take(at(60 * 60));
    assert_eq!((view.last_hour, view.since_begin), (Losses::new(), named));
    assert!(state.by_minute.is_empty());
}

#[test]
fn the_time_until_the_disk_is_full() {
    let mut state = State::default();
    let mut look = |seconds: u64, free: Option<u64>| {
        let view = state.take(Observation {
            free_bytes: free,
            ..at(seconds)
        });
        (view.filling, view.full_in.map(|span| span.as_secs()))
    };
    assert_eq!(look(0, Some(10_000)), (None, None));
    assert_eq!(look(10, Some(9_000)), (Some(100.0), Some(90)));
    assert_eq!(look(20, Some(9_000)), (Some(50.0), Some(180)));
    // Something was removed.
    assert_eq!(look(30, Some(16_000)), (Some(-200.0), None));
    // What is older than a minute does not count.
    assert_eq!(look(90, Some(10_000)), (Some(100.0), Some(100)));
    assert_eq!(look(91, None), (None, None));
    // Less than a byte a second is no trend.
    let mut calm = State::default();
    for (seconds, free) in [(0, 1_000_000), (50, 999_980)] {
        let view = calm.take(Observation {
            free_bytes: Some(free),
            ..at(seconds)
        });
        assert_eq!(view.full_in, None);
    }
}

#[test]
fn looks_at_the_disk_are_bounded_whatever_the_interval() {
    let mut state = State::default();
    for n in 0..5_000 {
        state.take(Observation {
            elapsed: Duration::from_millis(n),
            free_bytes: Some(1),
            notices: vec![format!("notice {n}")],
            ..at(0)
        });
    }
    assert_eq!(state.disk.len(), DISK_LOOKS_MAX);
    assert_eq!(state.notices.len(), NOTICES_MAX);
    assert_eq!(state.notices.back().unwrap(), "notice 4999");
}

#[test]
fn the_age_of_the_newest_block() {
    let check = |newest: Option<i64>, expected: Option<Duration>| {
        let newest = newest.map(UtcNanos);
        let view = State::default().take(Observation { newest, ..at(3) });
        assert_eq!(view.age, expected);
    };
    check(None, None);
    check(Some(BEGIN), Some(Duration::from_secs(3)));
    // The edge's clock is ahead of ours.
    check(Some(BEGIN + MINUTE), Some(Duration::ZERO));
}
