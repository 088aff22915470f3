use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn sample(
    publishers: &mut Publishers,
    sequence: i64,
    snd_stamp: f64,
    keeps_history: bool,
) -> Verdict {
    let topic = publishers.topic("lsst.sal.Test.logevent_x");
    publishers.observe(Observed {
        topic,
        sal_index: Some(1),
        identity: b"Test:1",
        origin: 7,
        sequence,
        snd_stamp,
        received: UtcNanos((snd_stamp * 1e9) as i64),
        keeps_history,
    })
}

fn gap(reason: LossReason, first: i64, last: i64, count: i64, since: Option<f64>) -> Verdict {
    let since = since.map(|seconds| UtcNanos((seconds * 1e9) as i64));
    Verdict::AfterGap(Gap {
        reason,
        first,
        last,
        count,
        since,
    })
}

#[test]
fn gaps_restarts_and_wrap_around_are_told_apart() {
    let mut publishers = Publishers::new();
    let mut check = |sequence, stamp, expected| {
        assert_eq!(sample(&mut publishers, sequence, stamp, false), expected)
    };
    check(4, 10.0, gap(LossReason::BeforeContact, 1, 3, 3, None));
    check(5, 11.0, Verdict::New);
    check(9, 12.0, gap(LossReason::DdsGap, 6, 8, 3, Some(11.0)));
    check(7, 11.5, Verdict::New); // late
    check(10, 13.0, Verdict::New);
    check(1, 14.0, Verdict::New); // restarted with the same process id
    check(2, 15.0, Verdict::New);
    check(2, 16.0, gap(LossReason::DdsGap, 1, 1, 1, Some(15.0))); // restarted, its first sample missed
    check(0, 17.0, Verdict::New); // does not number
    check(
        SEQUENCE_MAX - 2,
        18.0,
        gap(
            LossReason::DdsGap,
            3,
            SEQUENCE_MAX - 3,
            SEQUENCE_MAX - 5,
            Some(16.0),
        ),
    );
    check(
        2,
        19.0,
        gap(LossReason::DdsGap, SEQUENCE_MAX - 1, 1, 3, Some(18.0)),
    );
    check(3, 20.0, Verdict::New);
}

#[test]
fn an_exact_wrap_misses_nothing() {
    let mut publishers = Publishers::new();
    sample(&mut publishers, SEQUENCE_MAX, 1.0, false);
    assert_eq!(sample(&mut publishers, 1, 2.0, false), Verdict::New);
}

#[test]
fn history_is_taken_once_and_a_restart_of_ours_names_what_it_missed() {
    let mut before = Publishers::new();
    for sequence in 1..=50 {
        assert_eq!(
            sample(&mut before, sequence, sequence as f64, true),
            Verdict::New
        );
    }
    let mut after = Publishers::restore(&before.snapshot(UtcNanos(0))).unwrap();
    for sequence in 40..=50 {
        assert_eq!(
            sample(&mut after, sequence, sequence as f64, true),
            Verdict::Duplicate
        );
    }
    assert_eq!(
        sample(&mut after, 53, 53.0, true),
        gap(LossReason::Crash, 51, 52, 2, Some(50.0))
    );
    assert_eq!(
        sample(&mut after, 55, 55.0, true),
        gap(LossReason::DdsGap, 54, 54, 1, Some(53.0))
    );
}

#[test]
fn a_stamp_that_never_moves_drops_nothing() {
    let mut publishers = Publishers::new();
    for _ in 0..5 {
        assert_ne!(sample(&mut publishers, 3, 0.0, true), Verdict::Duplicate);
        assert_ne!(
            sample(&mut publishers, 3, f64::NAN, true),
            Verdict::Duplicate
        );
    }
}

/// The writer of a latched topic may have stamped it long ago: what counts is when it was heard.
#[test]
fn histories_of_topics_that_number_nothing_are_in_the_snapshot() {
    let mut before = Publishers::new();
    let _gone = before.topic("ros.gone");
    let topics = ["ros.a", "ros.b"].map(|name| before.topic(name));
    for at in [7, 3, 5] {
        let histories = &mut before.histories;
        histories.has_recorded(topics[0], UtcNanos(at), b"x", UtcNanos(90));
    }
    let histories = &mut before.histories;
    histories.has_recorded(topics[1], UtcNanos(80), b"x", UtcNanos(50));
    let mut after = Publishers::restore(&before.snapshot(UtcNanos(60))).unwrap();
    let topics = ["ros.a", "ros.b"].map(|name| after.topic(name));
    assert_eq!(
        topics.map(|topic| topic.0),
        [0, 1],
        "only what is alive is carried on"
    );
    let mut take = |topic, at| {
        let histories = &mut after.histories;
        histories.has_recorded(topic, UtcNanos(at), b"x", UtcNanos(90))
    };
    assert!(take(topics[0], 3) && take(topics[0], 5) && take(topics[0], 7));
    assert!(!take(topics[0], 4));
    assert!(!take(topics[1], 80), "not heard since before");
    let good = before.snapshot(UtcNanos(0));
    assert_eq!(good[0], 2);
    for end in 1..good.len() {
        assert!(Publishers::restore(&good[..end]).is_err(), "{end}");
    }
}

/// As long as there are no histories, the build before this one can go on with what is written.
#[test]
fn snapshots_are_as_old_as_they_can_be() {
    let mut publishers = Publishers::new();
    sample(&mut publishers, 1, 1.0, true);
    let first = publishers.snapshot(UtcNanos(i64::MIN));
    assert_eq!(first[0], 1);
    assert_eq!(Publishers::restore(&first).unwrap().len(), 1);
    let mut second = first.clone();
    second[0] = 2;
    assert!(
        Publishers::restore(&second).is_err(),
        "version 2 has histories"
    );
}

#[test]
fn snapshots_leave_out_the_long_silent_and_refuse_rubbish() {
    let mut publishers = Publishers::new();
    sample(&mut publishers, 1, 5.0, false);
    assert_eq!(
        Publishers::restore(&publishers.snapshot(UtcNanos(6_000_000_000)))
            .unwrap()
            .len(),
        0
    );
    let good = publishers.snapshot(UtcNanos(0));
    for end in 0..good.len() {
        assert!(Publishers::restore(&good[..end]).is_err(), "{end}");
    }
    assert!(matches!(
        Publishers::restore(&[9]),
        Err(SnapshotError::TooNew(9))
    ));
}

proptest! {
    /// One publisher, some of whose samples are lost on the bus, and our own restarts, with history repeated after each:
    /// what is recorded and what is named missing are together everything, and nothing is recorded twice.
    #[test]
    fn recorded_and_named_are_everything(
        steps in prop::collection::vec((any::<bool>(), 0u8..20), 1..200),
        history: bool,
    ) {
        let mut publishers = Publishers::new();
        let (mut recorded, mut named) = (BTreeSet::new(), BTreeSet::new());
        let mut kept: Vec<i64> = Vec::new();
        let mut last_heard = 0;
        for (index, (lost, event)) in steps.iter().enumerate() {
            let sequence = index as i64 + 1;
            kept.push(sequence);
            let restart = *event == 0;
            if restart {
                publishers = Publishers::restore(&publishers.snapshot(UtcNanos(0))).unwrap();
            }
            let delivered: Vec<i64> = match (restart && history, lost) {
                (true, _) => kept.iter().rev().take(10).rev().copied().collect(),
                (false, true) => Vec::new(),
                (false, false) => vec![sequence],
            };
            for sequence in delivered {
                let verdict = sample(&mut publishers, sequence, sequence as f64, history);
                if let Verdict::AfterGap(gap) = verdict {
                    prop_assert_eq!(gap.count, gap.last - gap.first + 1);
                    for missing in gap.first..=gap.last {
                        prop_assert!(named.insert(missing), "{missing} named twice");
                    }
                }
                if verdict != Verdict::Duplicate {
                    prop_assert!(recorded.insert(sequence), "{sequence} recorded twice");
                }
                last_heard = last_heard.max(sequence);
            }
        }
        // Late history may bring what had been named: data win.
        let named: BTreeSet<i64> = named.difference(&recorded).copied().collect();
        let everything: BTreeSet<i64> = recorded.union(&named).copied().collect();
        prop_assert_eq!(everything, (1..=last_heard).collect::<BTreeSet<_>>());
    }
}
