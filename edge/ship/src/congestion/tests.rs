//! The core against a link in virtual time. All figures are of the model: the same in every run.

mod link;

use std::time::Duration;

use link::{Governor, MTU, Shape, World};

fn alone(shape: Shape, cap_megabits: Option<u64>) -> World {
    World::new(shape, vec![(Governor::ours(cap_megabits), Duration::ZERO)])
}

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn fills_a_long_lossy_link_and_leaves_its_queue_short() {
    for loss in [0, 1, 5] {
        for cap in [Some(20), Some(100), None] {
            let mut world = alone(Shape::new(20, 200, loss), cap);
            world.run(5);
            let percent = world.percent(60);
            // What is lost has used the link.
            let wanted = 96 * (100 - loss) / 100;
            assert!(percent >= wanted, "{loss} % lost, cap {cap:?}: {percent} %");
            let wait = world.wait(99);
            assert!(
                wait <= MS(60),
                "{loss} % lost, cap {cap:?}: {wait:?} in the queue"
            );
            let (sent, lost) = (world.flows[0].sent_bytes, world.flows[0].lost);
            assert!(
                lost * 100 <= sent * (loss + 2),
                "{loss} % lost, cap {cap:?}: {lost} of {sent}"
            );
        }
    }
}

#[test]
fn fills_links_of_all_kinds() {
    for (megabits, rtt_ms, queue_ms, seconds) in [
        (100, 20, 50, 20),
        (1000, 1, 5, 3),
        (2, 600, 500, 60),
        (10, 80, 30, 30),
    ] {
        for loss in [0, 1] {
            let mut shape = Shape::new(megabits, rtt_ms, loss);
            shape.queue = MS(queue_ms);
            let mut world = alone(shape, None);
            world.run(10);
            let percent = world.percent(seconds);
            assert!(
                percent >= 90,
                "{megabits} Mbit/s, {rtt_ms} ms, {loss} % lost: {percent} %"
            );
            let wait = world.wait(50);
            assert!(
                wait <= MS(60),
                "{megabits} Mbit/s, {rtt_ms} ms: {wait:?} in the queue"
            );
        }
    }
}

#[test]
fn a_cap_below_the_link_is_what_is_sent() {
    for loss in [0, 1, 5] {
        let mut world = alone(Shape::new(20, 200, loss), Some(15));
        world.run(5);
        let before = world.flows[0].sent_bytes;
        world.measure(60);
        let sent = (world.flows[0].sent_bytes - before) * 8 / 60 / 1000;
        assert!(
            (14_400..=15_100).contains(&sent),
            "{loss} % lost: {sent} kbit/s"
        );
        assert!(world.wait(99) <= MS(5), "{:?} in the queue", world.wait(99));
    }
}

/// It passes 20 and drops the rest, at once.
#[test]
fn a_policer_that_drops_without_a_queue_is_not_overrun() {
    let mut shape = Shape::new(20, 100, 0);
    shape.queue = MS(8);
    let mut world = alone(shape, Some(100));
    world.run(10);
    let (sent, lost) = (world.flows[0].sent_bytes, world.flows[0].lost);
    let percent = world.percent(60);
    assert!(percent >= 80, "{percent} %");
    let (sent, lost) = (world.flows[0].sent_bytes - sent, world.flows[0].lost - lost);
    assert!(lost * 100 <= sent * 20, "{lost} of {sent} bytes lost");
}

#[test]
fn finds_its_rate_again_after_a_change_of_route() {
    for (from, to) in [(200, 300), (200, 100), (20, 200)] {
        let mut world = alone(Shape::new(20, from, 1), None);
        world.run(10);
        world.shape.one_way = MS(to) / 2;
        world.measure(20);
        let wait = world.wait(50);
        assert!(
            wait <= MS(100),
            "{from} to {to} ms: {wait:?} in the queue at first"
        );
        world.run(20);
        let percent = world.percent(30);
        assert!(percent >= 93, "{from} to {to} ms: {percent} %");
        assert!(
            world.wait(50) <= MS(80),
            "{from} to {to} ms: {:?}",
            world.wait(50)
        );
    }
}

#[test]
fn a_link_that_gets_less_and_more() {
    let mut world = alone(Shape::new(20, 100, 1), None);
    world.run(10);
    world.shape.rate /= 10;
    world.run(10);
    assert!(world.percent(20) >= 93);
    assert!(
        world.wait(50) <= MS(80),
        "{:?} in the queue",
        world.wait(50)
    );
    world.shape.rate *= 10;
    world.run(10);
    assert!(world.percent(20) >= 93);
}

#[test]
fn goes_on_after_a_black_out() {
    for seconds in [1, 3, 10, 60] {
        let mut world = alone(Shape::new(20, 200, 1), None);
        world.run(10);
        world.shape.cut = true;
        world.run(seconds);
        world.shape.cut = false;
        // A probe goes out at least every so often; then it grows again.
        world.run(seconds * 2 + 6);
        let percent = world.percent(20);
        assert!(percent >= 93, "{seconds} s: {percent} %");
        assert!(
            world.wait(99) <= MS(100),
            "{seconds} s: {:?}",
            world.wait(99)
        );
    }
}

#[test]
fn neither_starves_beside_another_kind() {
    for queue in [100, 300] {
        for cap in [None, Some(20)] {
            let mut shape = Shape::new(20, 100, 0);
            shape.queue = MS(queue);
            let flows = vec![
                (Governor::ours(cap), Duration::ZERO),
                (Governor::aimd(), Duration::from_secs(10)),
            ];
            let mut world = World::new(shape, flows);
            world.run(60);
            let shares = world.measure(200);
            let all: u64 = shares.iter().sum();
            for share in &shares {
                assert!(
                    share * 100 >= all * 15,
                    "queue of {queue} ms, cap {cap:?}: {shares:?}"
                );
            }
            assert!(all * 100 >= world.shape.rate * 200 * 95, "{shares:?}");
        }
    }
}

#[test]
fn several_of_ours_share_a_link() {
    let ours = |at| (Governor::ours(None), Duration::from_secs(at));
    let mut world = World::new(Shape::new(20, 200, 1), vec![ours(0), ours(20), ours(40)]);
    world.run(60);
    let shares = world.measure(100);
    let all: u64 = shares.iter().sum();
    assert!(all * 100 >= world.shape.rate * 100 * 93, "{shares:?}");
    assert!(
        shares.iter().all(|share| share * 100 >= all * 5),
        "{shares:?}"
    );
    assert!(
        world.wait(50) <= MS(100),
        "{:?} in the queue",
        world.wait(50)
    );
}

/// Live data alone, for minutes; then a backlog too.
#[test]
fn who_has_little_to_send_is_not_held_up() {
    for has in [20_000, 200_000, 1_000_000] {
        for cap in [None, Some(20)] {
            let mut world = alone(Shape::new(20, 200, 1), cap);
            world.flows[0].has = Some(has);
            world.run(60);
            let carried = world.measure(120)[0];
            assert!(
                carried * 100 >= has * 120 * 97,
                "{has}, {cap:?}: {carried} bytes"
            );
            world.flows[0].has = None;
            world.run(10);
            let percent = world.percent(20);
            assert!(percent >= 93, "{has}, {cap:?}: {percent} %");
            assert!(
                world.wait(99) <= MS(60),
                "{has}, {cap:?}: {:?}",
                world.wait(99)
            );
        }
    }
}

/// Loss as it never is: the floor is kept, and nothing overflows.
#[test]
fn never_below_the_floor() {
    for loss in [30, 60, 90] {
        let mut world = alone(Shape::new(20, 200, loss), Some(1));
        for _ in 0..60 {
            world.run(1);
            assert!(world.flows[0].window() >= 4 * u64::from(MTU));
        }
        assert!(world.flows[0].delivered > 0, "{loss} % lost: nothing came");
    }
}
