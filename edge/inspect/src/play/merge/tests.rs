use std::collections::VecDeque;

use super::*;

const BEGIN: i64 = 1_795_478_400 * NANOS_PER_SECOND;
const MILLISECOND: i64 = 1_000_000;

fn sample(millis: i64, source: usize) -> Sample {
    Sample {
        time: UtcNanos(BEGIN + millis * MILLISECOND),
        source,
        payload: vec![0; 100].into(),
        snd_stamp_at: 0,
    }
}

/// Plays lanes of batches to the end; gives the samples as (ms, source), and how many were out of order.
fn play(lanes: Vec<Vec<Batch>>) -> (Vec<(i64, usize)>, u64) {
    let mut lanes: Vec<VecDeque<Batch>> = lanes.into_iter().map(Into::into).collect();
    let mut merge = Merge::new(lanes.len());
    let mut played = Vec::new();
    loop {
        while let Some(lane) = merge.wants() {
            match lanes[lane].pop_front() {
                Some(batch) => merge.offer(lane, batch),
                None => merge.end(lane),
            }
        }
        let Some(sample) = merge.next() else {
            assert!(lanes.iter().all(VecDeque::is_empty));
            assert_eq!(merge.held_bytes, 0);
            return (played, merge.out_of_order());
        };
        played.push(((sample.time.0 - BEGIN) / MILLISECOND, sample.source));
    }
}

fn batch(samples: &[(i64, usize)]) -> Batch {
    Batch(
        samples
            .iter()
            .map(|&(millis, source)| sample(millis, source))
            .collect(),
    )
}

#[test]
fn streams_of_a_commit_and_lanes_become_one_series() {
    // As commits have them: stream by stream.
    let telemetry = vec![
        batch(&[(0, 1), (20, 1), (40, 1), (5, 2), (25, 2)]),
        batch(&[(60, 1), (45, 2), (65, 2)]),
    ];
    let events = vec![batch(&[(21, 7)]), batch(&[(61, 7), (61, 8)])];
    let expected = vec![
        (0, 1),
        (5, 2),
        (20, 1),
        (21, 7),
        (25, 2),
        (40, 1),
        (45, 2),
        (60, 1),
        (61, 7),
        (61, 8),
        (65, 2),
    ];
    assert_eq!(play(vec![telemetry, events, vec![]]), (expected, 0));
    assert_eq!(play(vec![]), (vec![], 0));
}

#[test]
fn equal_times_stay_as_they_were_recorded() {
    let samples: Vec<_> = (0..50).map(|source| (7, source)).collect();
    assert_eq!(play(vec![vec![batch(&samples)]]), (samples, 0));
}

/// An hour of two lanes whose commits lag differently, and one publisher whose clock is ten minutes ahead.
#[test]
fn a_wrong_clock_does_not_disturb_the_others() {
    let lane = |step: i64, lag: i64, source: usize, wrong: Option<usize>| {
        let batches = (0..3_600_000 / step).map(|n| {
            let at = n * step;
            let mut samples = vec![
                (at, source),
                (at + step / 2, source + 1),
                (at - lag, source + 2),
            ];
            samples.extend(wrong.map(|wrong| (at + 600_000, wrong)));
            batch(&samples)
        });
        batches.collect::<Vec<_>>()
    };
    let (played, out_of_order) = play(vec![
        lane(1_000, 900, 1, Some(99)),
        lane(7_000, 50, 11, None),
    ]);
    assert_eq!(out_of_order, 0);
    assert_eq!(played.len(), 3_600 * 4 + 514 * 3);
    assert!(played.is_sorted_by_key(|&(millis, _)| millis));
}

#[test]
fn what_comes_too_late_is_played_and_counted() {
    let late = vec![
        batch(&[(10_000, 1)]),
        batch(&[(20_000, 1)]),
        batch(&[(30_000, 1)]),
        batch(&[(9_000, 2), (30_001, 1), (30_002, 1)]),
    ];
    let (played, out_of_order) = play(vec![late]);
    assert_eq!(out_of_order, 1);
    assert_eq!(played.iter().filter(|(_, source)| *source == 2).count(), 1);
}

/// A quiet lane would have the other read to its end.
#[test]
fn memory_is_bounded() {
    let mut merge = Merge::new(2);
    let (mut sent, mut most) = (0, 0);
    while sent < 3 * HELD_BYTES_MAX as i64 {
        match merge.wants() {
            // Comes to no end, and brings nothing.
            Some(0) => merge.offer(0, Batch::default()),
            Some(_) => unreachable!("the first lane is behind until it has a sample"),
            None => drop(merge.next()),
        }
        // As if the second lane were asked for.
        if merge.held_bytes < HELD_BYTES_MAX {
            merge.offer(
                1,
                Batch(vec![Sample {
                    payload: vec![0; 1 << 20].into(),
                    ..sample(sent, 0)
                }]),
            );
            sent += 1 << 20;
        }
        most = most.max(merge.held_bytes);
    }
    assert!(most <= HELD_BYTES_MAX + (1 << 21), "{most}");
}
