//! A topic that is over its budget, in a lane of its own, beside all others.

use std::collections::BTreeMap;

use efd_shared_model::Shard;

use super::*;

fn flood() -> EpochLane {
    let shard = Shard::diverted("MTM1M3", 0).number();
    lane_of(EPOCH, LaneKind::Events, shard)
}

/// Of one run: blocks sent by lane and class, and the longest that a live block of another lane waited, ms.
#[derive(Default)]
struct Run {
    sent: BTreeMap<(EpochLane, Class), u64>,
    waited: u64,
    backlog_done: Option<u64>,
}

impl Run {
    fn of(&self, lane: EpochLane) -> u64 {
        [Class::Live, Class::Fill]
            .iter()
            .filter_map(|class| self.sent.get(&(lane, *class)))
            .sum()
    }
}

/// A link of 1 MB/s for a minute; 25 % of it are live events, three times as much as it takes are the flood's, and
/// a backlog of telemetry waits.
fn run(backlog: u64) -> Run {
    const BLOCK: u64 = 10_000;
    let config = EdgeConfig {
        link_rate: Some(1_000_000),
        ..config()
    };
    let mut edge = streaming(
        config,
        vec![held(EPOCH, 1, &[(LaneKind::Telemetry, 0, backlog)])],
    );
    let (events, telemetry) = (lane(LaneKind::Events), lane(LaneKind::Telemetry));
    let (mut run, mut past) = (Run::default(), 0);
    for turn in 1..=6000u64 {
        let now = at(turn * 10);
        edge.handle_frame(attempt(&edge), CentreFrame::Heartbeat, now);
        if turn % 4 == 0 {
            durable(&mut edge, events, turn / 4, 1, BLOCK, now);
        }
        for part in 0..3 {
            durable(&mut edge, flood(), turn * 3 - 2 + part, 1, BLOCK, now);
        }
        for (id, class) in sent(&mut edge, now, BLOCK, 1000) {
            ack(&mut edge, id, now);
            *run.sent.entry((id.lane, class)).or_default() += 1;
            if id.lane == events {
                run.waited = run.waited.max((turn - id.number.0 * 4) * 10);
            }
            past += u64::from(id.lane == telemetry);
            if past == backlog {
                run.backlog_done.get_or_insert(turn * 10);
            }
        }
        while edge.outbox.pop_front().is_some() {}
    }
    run
}

#[test]
fn a_flood_takes_what_all_others_leave() {
    let run = run(0);
    let (others, flood) = (run.of(lane(LaneKind::Events)), run.of(flood()));
    assert!(others >= 1499, "{others} of 1500 events");
    assert!(run.waited <= 100, "{} ms", run.waited);
    // The link is full all the same.
    assert!((4400..=4650).contains(&flood), "{flood}");
}

#[test]
fn the_past_of_others_goes_before_the_present_of_a_flood() {
    let run = run(2000);
    assert!(run.waited <= 100, "{} ms", run.waited);
    let done = run.backlog_done.unwrap();
    // 75 blocks a second are left, of which the flood is guaranteed a twentieth.
    assert!((26_000..=31_000).contains(&done), "{done} ms");
    assert!(run.of(flood()) > 2000);
}

/// The window is not filled with the flood: a quarter is left to what is yet to come live.
#[test]
fn a_flood_leaves_room_in_the_window() {
    let narrow = EdgeConfig {
        window_bytes: 100_000,
        ..config()
    };
    let mut edge = streaming(narrow, vec![held(EPOCH, 1, &[])]);
    for number in 1..=100 {
        durable(&mut edge, flood(), number, 1, 10_000, at(1));
    }
    let blocks = sent(&mut edge, at(1), 10_000, 1000);
    assert_eq!(blocks.len(), 8, "three quarters of the window and a block");
    durable(&mut edge, lane(LaneKind::Telemetry), 1, 1, 10_000, at(2));
    let live = sent(&mut edge, at(2), 10_000, 1000);
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].0.lane, lane(LaneKind::Telemetry));
}
