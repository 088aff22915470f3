//! What goes out when, against the shares, rates and windows that were promised.

use std::collections::BTreeMap;

use super::*;

/// Percent of the blocks by (class, kind), where every block has the same size.
fn shares(blocks: &[(BlockId, Class)]) -> BTreeMap<(Class, LaneKind), usize> {
    let mut counts = BTreeMap::new();
    for (id, class) in blocks {
        *counts.entry((*class, id.lane.lane.kind)).or_default() += 1;
    }
    for count in counts.values_mut() {
        *count = (*count * 100 + blocks.len() / 2) / blocks.len();
    }
    counts
}

/// 100 blocks a second come live in both lanes, a backlog waits, the link takes as many blocks as it is given: what goes
/// out in a minute, in percent of the blocks.
fn check_shares(config: EdgeConfig, live: &[LaneKind], expected: &[(Class, LaneKind, usize)]) {
    const BLOCK: u64 = 10_000;
    let all = [
        LaneKind::Losses,
        LaneKind::Events,
        LaneKind::Telemetry,
        LaneKind::Reduced,
    ];
    let backlog: Vec<_> = all[1..].iter().map(|&kind| (kind, 0, 1_000_000)).collect();
    let mut edge = streaming(config, vec![held(ELDER, 1, &backlog)]);
    edge.handle_epoch_begun(declaration(EPOCH));
    edge.ship.epochs.values_mut().for_each(|e| {
        e.known = StreamNumber(1);
        e.sent = StreamNumber(1);
        e.streams_through = StreamNumber(1);
    });
    let mut blocks = Vec::new();
    for number in 1..=6000 {
        let now = at(number * 10);
        edge.handle_frame(attempt(&edge), CentreFrame::Heartbeat, now);
        for &kind in live {
            durable(&mut edge, lane(kind), number, 1, BLOCK, now);
        }
        for (id, class) in sent_unchecked(&mut edge, now, BLOCK) {
            ack(&mut edge, id, now);
            if number > 1000 {
                blocks.push((id, class));
            }
        }
        while edge.outbox.pop_front().is_some() {}
    }
    assert_eq!(edge.self_check(), None);
    let found = shares(&blocks);
    for &(class, kind, percent) in expected {
        let found = found.get(&(class, kind)).copied().unwrap_or(0);
        assert!(
            found.abs_diff(percent) <= 1,
            "{class:?} {kind:?}: {found} %, {percent} expected"
        );
    }
}

#[test]
fn link_shares() {
    use Class::{Fill, Live};
    use LaneKind::{Events, Reduced, Telemetry};
    let cap = |link_rate: u64, fill_rate| EdgeConfig {
        link_rate: Some(link_rate),
        fill_rate,
        ..config()
    };
    // Live is half of what the link takes: it goes whole, fill gets the rest, by the shares of its kinds.
    check_shares(
        cap(4_000_000, None),
        &[Events, Telemetry],
        &[
            (Live, Events, 25),
            (Live, Telemetry, 25),
            (Fill, Events, 33),
            (Fill, Telemetry, 15),
            (Fill, Reduced, 3),
        ],
    );
    // Live is twice what the link takes: fill keeps its tenth; telemetry its share of the rest. What live telemetry
    // leaves undone for 5 s becomes fill.
    check_shares(
        cap(1_000_000, None),
        &[Events, Telemetry],
        &[(Live, Events, 63), (Live, Telemetry, 27)],
    );
    // Fill has a rate of its own, below what is left.
    check_shares(
        cap(4_000_000, Some(500_000)),
        &[Events, Telemetry],
        &[
            (Live, Events, 40),
            (Live, Telemetry, 40),
            (Fill, Events, 13),
            (Fill, Telemetry, 6),
        ],
    );
}

#[test]
fn a_link_rate_holds_over_live_and_fill() {
    let config = EdgeConfig {
        link_rate: Some(1_000_000),
        ..config()
    };
    let mut edge = streaming(
        config,
        vec![held(ELDER, 1, &[(LaneKind::Telemetry, 0, 1_000_000)])],
    );
    let (mut now, mut blocks) = (at(0), 0u64);
    while now < at(10_000) {
        for (id, _) in sent(&mut edge, now, 30_000, 1000) {
            ack(&mut edge, id, now);
            blocks += 1;
        }
        while edge.outbox.pop_front().is_some() {}
        edge.handle_frame(attempt(&edge), CentreFrame::Heartbeat, now);
        edge.handle_timeout(now);
        while edge.outbox.pop_front().is_some() {}
        let (next, _) = edge.poll_timeout().unwrap();
        assert!(now < next, "a timer that does not advance");
        now = next;
    }
    let bytes = blocks * 30_000;
    assert!(
        (10_000_000..10_200_000).contains(&bytes),
        "{bytes} bytes in 10 s at 1 MB/s"
    );
}

#[test]
fn fill_goes_in_the_order_that_the_site_chose() {
    let numbers = |order| {
        let config = EdgeConfig {
            fill_order: order,
            ..config()
        };
        let epochs = vec![
            held(ELDER, 1, &[(LaneKind::Telemetry, 0, 2)]),
            held(EPOCH, 1, &[(LaneKind::Telemetry, 0, 2)]),
        ];
        let mut edge = streaming(config, epochs);
        let blocks = sent(&mut edge, at(0), 10, 99);
        let name = |(id, _): &(BlockId, Class)| (id.lane.epoch.0[0], id.number.0);
        blocks.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(
        numbers(FillOrder::OldestFirst),
        [(6, 1), (6, 2), (7, 1), (7, 2)]
    );
    assert_eq!(
        numbers(FillOrder::NewestFirst),
        [(7, 2), (7, 1), (6, 2), (6, 1)]
    );
}

#[test]
fn shards_of_one_kind_take_turns_by_bytes() {
    let lanes = [
        (LaneKind::Telemetry, 0, 100_000),
        (LaneKind::Telemetry, 1, 100_000),
    ];
    let mut edge = streaming(config(), vec![held(EPOCH, 1, &lanes)]);
    let blocks = sent(&mut edge, at(0), 1000, 400);
    let flood = blocks
        .iter()
        .filter(|(id, _)| id.lane.lane.shard == 1)
        .count();
    assert!(flood.abs_diff(200) <= 2, "{flood} of 400");
}

#[test]
fn a_window_and_a_credit_hold_back() {
    let narrow = EdgeConfig {
        window_bytes: 100_000,
        ..config()
    };
    let backlog = || vec![held(EPOCH, 1, &[(LaneKind::Telemetry, 0, 1000)])];
    let mut edge = streaming(narrow, backlog());
    let blocks = sent(&mut edge, at(0), 10_000, 1000);
    assert_eq!(blocks.len(), 8, "three quarters of the window and a block");
    assert_eq!(edge.in_flight_bytes(), 80_000);
    // The rest is for what is yet to come live.
    durable(&mut edge, lane(LaneKind::Telemetry), 1001, 1, 10_000, at(1));
    durable(&mut edge, lane(LaneKind::Events), 1, 1, 10_000, at(1));
    let live = sent(&mut edge, at(1), 10_000, 1000);
    assert!(
        live.len() == 2 && live.iter().all(|(_, class)| *class == Class::Live),
        "{live:?}"
    );
    ack(&mut edge, blocks[0].0, at(2));
    assert_eq!(edge.in_flight_bytes(), 90_000);

    let mut edge = streaming(config(), backlog());
    edge.ship.on_closed(at(0));
    edge.state = State::Greeting {
        attempt: Attempt(1),
        give_up_at: at(9),
    };
    edge.ship.hello();
    let CentreFrame::Welcome(mut first) = welcome(&[], &[(EPOCH, 1)]) else {
        unreachable!("made above");
    };
    (first.window_bytes, first.credit_bytes) = (100_000, 0);
    edge.handle_frame(Attempt(1), CentreFrame::Welcome(first), at(0));
    assert!(
        sent(&mut edge, at(0), 10_000, 99).is_empty(),
        "a log that is down takes nothing"
    );
    let credit = |bytes_total| CentreFrame::Credit { bytes_total };
    edge.handle_frame(Attempt(1), credit(50_000), at(1));
    let sent_bytes = 10_000 * sent(&mut edge, at(1), 10_000, 99).len();
    assert!(
        (20_000..=60_000).contains(&sent_bytes),
        "{sent_bytes} of 50,000"
    );
    edge.handle_frame(Attempt(1), credit(10), at(2));
    edge.handle_frame(Attempt(1), credit(10_000_000), at(2));
    assert!(
        !sent(&mut edge, at(2), 10_000, 99).is_empty(),
        "a late smaller credit takes nothing back"
    );
}

/// On a slow link 32 MiB are a quarter of a minute, and streams are counted.
#[test]
fn back_fill_does_not_wait_in_the_transport() {
    const BLOCK: u64 = 100_000;
    let backlog = || vec![held(EPOCH, 1, &[(LaneKind::Telemetry, 0, 100_000)])];
    let mut edge = streaming(config(), backlog());
    edge.handle_path(500_000);
    let limit = 500_000 + (2 << 20);
    let blocks = sent(&mut edge, at(0), BLOCK, 1000);
    let bytes = blocks.len() as u64 * BLOCK;
    assert!(
        (limit..limit + 5 * BLOCK).contains(&bytes),
        "{bytes} bytes, {limit} expected"
    );
    // What comes live goes at once.
    durable(&mut edge, lane(LaneKind::Events), 1, 1, BLOCK, at(1));
    let live = sent(&mut edge, at(1), BLOCK, 1000);
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].1, Class::Live);
    // The centre's acknowledgement is not what makes room: the log may take its time.
    let now = attempt(&edge);
    edge.handle_block_arrived(Attempt(now.0 - 1), bytes);
    assert!(
        sent(&mut edge, at(2), BLOCK, 1000).is_empty(),
        "of an older connection"
    );
    for _ in 0..10 {
        edge.handle_block_arrived(now, BLOCK);
    }
    let more = sent(&mut edge, at(2), BLOCK, 1000).len();
    assert!((9..=10).contains(&more), "{more} more");
    // A path that holds more takes more.
    edge.handle_path(10_000_000);
    let more = sent(&mut edge, at(3), BLOCK, 1000).len() as u64 * BLOCK;
    assert!(more > 10_000_000, "{more} bytes");
    assert_eq!(edge.self_check(), None);

    let mut edge = streaming(config(), backlog());
    edge.handle_path(500_000);
    let blocks = sent(&mut edge, at(0), 10, 10_000);
    assert_eq!(blocks.len(), crate::limits::STREAMS_AT_ONCE_MAX / 4 * 3);
    edge.handle_block_unreadable(blocks[0].0);
    assert!(
        sent(&mut edge, at(0), 10, 10_000).is_empty(),
        "its size was told"
    );
    edge.handle_block_arrived(attempt(&edge), 10);
    assert_eq!(sent(&mut edge, at(0), 10, 10_000).len(), 1);
    assert_eq!(edge.self_check(), None);
}

#[test]
fn no_more_than_four_blocks_of_unknown_size_are_begun() {
    let mut edge = streaming(
        config(),
        vec![held(EPOCH, 1, &[(LaneKind::Telemetry, 0, 1000)])],
    );
    let begun: Vec<_> = commands(&mut edge, at(0));
    assert_eq!(begun.len(), crate::limits::UNSIZED_BLOCKS_MAX);
    let Command::SendBlock { id, .. } = begun[0] else {
        panic!("{begun:?}");
    };
    edge.handle_block_sent(id, 77);
    edge.handle_block_sent(id, 77); // told twice
    assert_eq!(commands(&mut edge, at(0)).len(), 1);
    assert_eq!(edge.self_check(), None);
}

#[test]
fn live_is_live_for_five_seconds_and_over_a_reconnect() {
    let mut edge = streaming(config(), vec![held(EPOCH, 1, &[])]);
    let events = lane(LaneKind::Events);
    for number in 1..=3 {
        durable(&mut edge, events, number, 1, 100, at(number * 1000));
    }
    assert_eq!(
        sent(&mut edge, at(3000), 100, 1),
        [(events.block(BlockNumber(1)), Class::Live)]
    );
    assert_eq!(
        sent(&mut edge, at(3000), 100, 1),
        [(events.block(BlockNumber(2)), Class::Live)]
    );
    edge.handle_closed(attempt(&edge), at(3100));
    let (retry_at, reason) = edge.poll_timeout().unwrap();
    assert_eq!(reason, "retry");
    edge.handle_timeout(retry_at);
    edge.handle_connected(attempt(&edge), at(6500));
    edge.handle_frame(attempt(&edge), welcome(&[], &[(EPOCH, 1)]), at(6500));
    let again = sent(&mut edge, at(6500), 100, 9);
    let expected = [(2, Class::Live), (3, Class::Live), (1, Class::Fill)];
    assert_eq!(
        again,
        expected.map(|(n, class)| (events.block(BlockNumber(n)), class))
    );
}

/// Not a limit, a guard: what is done per block must not grow with the backlog.
#[test]
fn a_backlog_of_millions_costs_what_its_gaps_cost() {
    const BLOCKS: u64 = 50_000_000;
    let mut edge = streaming(
        config(),
        vec![held(EPOCH, 1, &[(LaneKind::Telemetry, 0, BLOCKS)])],
    );
    for step in 0..500 {
        for (id, _) in sent_unchecked(&mut edge, at(step), 64 << 10) {
            ack(&mut edge, id, at(step));
        }
        while edge.outbox.pop_front().is_some() {}
    }
    assert_eq!(
        edge.vitals().unacked_blocks,
        BLOCKS - edge.counters().blocks_acked
    );
    assert!(edge.counters().blocks_acked > 50_000);
    assert_eq!(edge.self_check(), None);
}

/// [`sent`] without the check, which takes time by the gaps.
fn sent_unchecked(edge: &mut EdgeSession, now: Moment, bytes: u64) -> Vec<(BlockId, Class)> {
    let mut blocks = Vec::new();
    while blocks.len() < 1000
        && let Some(command) = edge.poll_command(now)
    {
        if let Command::SendBlock { id, class, .. } = command {
            edge.handle_block_sent(id, bytes);
            blocks.push((id, class));
        }
    }
    blocks
}
