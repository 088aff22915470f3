//! Several centres to choose from.

use super::*;

fn several(centres: usize) -> EdgeSession {
    let config = EdgeConfig {
        centres,
        ..config()
    };
    let mut edge = EdgeSession::new(config, 1, at(0));
    edge.handle_start(vec![held(EPOCH, 1, &[(LaneKind::Events, 0, 4)])], at(0));
    edge
}

/// The centre that is asked for, if one is.
fn asked(edge: &mut EdgeSession, now: Moment) -> Option<usize> {
    let asked = commands(edge, now)
        .into_iter()
        .filter_map(|command| match command {
            Command::Connect { centre, attempt } => {
                assert_eq!(
                    (edge.centre(), edge.attempt()),
                    (Some(centre), Some(attempt))
                );
                Some(centre.0)
            }
            Command::SendFrame(_)
            | Command::SendHeartbeat(_)
            | Command::ReadStreams { .. }
            | Command::SendBlock { .. }
            | Command::PersistAcks { .. }
            | Command::PersistUnacks { .. }
            | Command::Disconnect { .. } => None,
        });
    asked.last()
}

fn welcomed(edge: &mut EdgeSession, now: Moment) {
    edge.handle_connected(attempt(edge), now);
    edge.handle_frame(attempt(edge), welcome(&[], &[(EPOCH, 1)]), now);
    assert!(edge.is_streaming());
}

/// As a shell does: timers when they are due, a heartbeat of the centre each half second until it dies.
fn run(edge: &mut EdgeSession, from: Moment, dies_at: Moment, until: Moment) -> Option<Moment> {
    let mut beat_at = from + Duration::from_millis(500);
    loop {
        let (due, _) = edge.poll_timeout()?;
        let beat = Some(beat_at).filter(|at| *at < dies_at);
        let now = beat.map_or(due, |at| at.min(due));
        if until < now {
            return None;
        }
        if beat == Some(now) {
            edge.handle_frame(attempt(edge), CentreFrame::Heartbeat, now);
            beat_at = beat_at + Duration::from_millis(500);
        } else {
            edge.handle_timeout(now);
        }
        if !edge.is_streaming() {
            return Some(now);
        }
    }
}

#[test]
fn a_dead_centre_is_left_within_three_seconds() {
    let mut edge = several(2);
    welcomed(&mut edge, at(0));
    assert_eq!(asked(&mut edge, at(0)), Some(0));
    let dies_at = at(10_100);
    let left_at = run(&mut edge, at(0), dies_at, at(60_000)).unwrap();
    assert!(left_at <= dies_at + Duration::from_secs(3), "{left_at:?}");
    assert_eq!(
        asked(&mut edge, left_at),
        Some(1),
        "the other one, without a wait"
    );
    welcomed(&mut edge, left_at);
    let numbers = sent(&mut edge, left_at, 100, 9);
    assert_eq!(numbers.len(), 4, "what it lacks");
}

#[test]
fn the_only_centre_has_more_patience() {
    let mut edge = several(1);
    welcomed(&mut edge, at(0));
    assert_eq!(run(&mut edge, at(0), at(5_100), at(14_900)), None);
    let left_at = run(&mut edge, at(14_900), at(0), at(60_000)).unwrap();
    assert_eq!(left_at, at(15_000));
    commands(&mut edge, left_at);
    assert_eq!(edge.poll_timeout().unwrap().1, "retry");
}

#[test]
fn the_round_goes_on_without_a_wait_and_waits_at_its_end() {
    let mut edge = several(3);
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..4 {
        let mut tried = Vec::new();
        while let Some(centre) = asked(&mut edge, now) {
            tried.push(centre);
            edge.handle_closed(attempt(&edge), now);
        }
        assert_eq!(tried, [0, 1, 2]);
        let (retry_at, reason) = edge.poll_timeout().unwrap();
        assert_eq!(reason, "retry");
        waits.push(retry_at.since(now));
        now = retry_at;
        edge.handle_timeout(now);
    }
    assert!(waits[0] < waits[2] && waits[1] < waits[3], "{waits:?}");
}

#[test]
fn a_goodbye_moves_the_edge_at_once_and_it_stays_where_it_went() {
    let mut edge = several(2);
    welcomed(&mut edge, at(0));
    run(&mut edge, at(0), at(9000), at(4000));
    commands(&mut edge, at(4000));
    let refuse = Refuse {
        code: RefuseCode::Unavailable,
        text: "the centre goes down".into(),
    };
    edge.handle_frame(attempt(&edge), CentreFrame::Refuse(refuse), at(4000));
    assert_eq!(asked(&mut edge, at(4000)), Some(1));
    welcomed(&mut edge, at(4100));
    assert_eq!(run(&mut edge, at(4100), at(99_999), at(90_000)), None);
    assert_eq!(edge.centre(), Some(Centre(1)));
    assert_eq!(edge.counters().connections, 2);
}

#[test]
fn two_that_take_us_and_drop_us_at_once_do_not_turn_in_a_circle() {
    let mut edge = several(2);
    for expected in [0, 1] {
        assert_eq!(asked(&mut edge, at(1)), Some(expected));
        welcomed(&mut edge, at(1));
        edge.handle_closed(attempt(&edge), at(1));
    }
    assert_eq!(edge.poll_timeout().unwrap().1, "retry");
}

#[test]
fn slow_links_get_longer_with_each_round() {
    let mut edge = several(2);
    let mut limits = Vec::new();
    let mut now = at(0);
    while limits.len() < 8 {
        let (due, reason) = edge.poll_timeout().unwrap();
        if reason == "connect timeout" {
            limits.push(due.since(now).as_millis());
        }
        now = due;
        edge.handle_timeout(now);
    }
    assert_eq!(
        limits,
        [2500, 2500, 5000, 5000, 10_000, 10_000, 10_000, 10_000]
    );
}

/// Nothing was heard because nobody listened.
#[test]
fn a_pause_of_the_edge_is_no_silence_of_the_centre() {
    let mut edge = several(2);
    welcomed(&mut edge, at(0));
    assert_eq!(run(&mut edge, at(0), at(9000), at(1000)), None);
    edge.handle_timeout(at(7000));
    assert!(edge.is_streaming());
    assert_eq!(
        run(&mut edge, at(7000), at(0), at(60_000)),
        Some(at(10_000))
    );
}

#[test]
fn all_refuse_for_good() {
    let mut edge = several(2);
    for _ in 0..2 {
        edge.handle_connected(attempt(&edge), at(0));
        let refuse = Refuse {
            code: RefuseCode::Identity,
            text: "no".into(),
        };
        edge.handle_frame(attempt(&edge), CentreFrame::Refuse(refuse), at(0));
    }
    assert!(edge.poll_timeout().unwrap().0 >= at(15_000));
}
