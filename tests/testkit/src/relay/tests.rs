use std::collections::BTreeMap;
use std::net::UdpSocket;

use super::*;
use crate::{clock, wait_until};

const SOON: Duration = Duration::from_secs(20);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

// The pure part, in virtual time.

/// Fates of `count` datagrams of `bytes`, one every `every`.
fn fates(
    shape: &Shape,
    seed: u64,
    count: u32,
    bytes: usize,
    every: Duration,
) -> Vec<(Duration, Fate)> {
    let mut link = Link::new(seed);
    (0..count)
        .map(|n| (every * n, link.admit(shape, bytes, every * n)))
        .collect()
}

fn share(fates: &[(Duration, Fate)], is: impl Fn(&Fate) -> bool) -> f64 {
    fates.iter().filter(|(_, fate)| is(fate)).count() as f64 / fates.len() as f64
}

#[test]
fn a_perfect_link_delivers_at_once() {
    for (now, fate) in fates(&Shape::default(), 7, 1000, 1200, ms(1)) {
        assert_eq!(
            fate,
            Fate::Deliver {
                at: now,
                again_at: None,
                held_back: false
            }
        );
    }
}

#[test]
fn probabilities_are_met_and_seeds_repeat() {
    let shape = Shape {
        loss: 0.1,
        duplicate: 0.05,
        reorder: 0.02,
        reorder_by: ms(30),
        ..Shape::delayed(ms(100))
    };
    let first = fates(&shape, 42, 100_000, 1200, ms(1));
    // Five standard deviations of the loss of 100,000 throws are 0.0047.
    assert!((share(&first, |fate| *fate == Fate::Lost) - 0.1).abs() < 0.005);
    let twice = share(&first, |fate| {
        matches!(
            fate,
            Fate::Deliver {
                again_at: Some(_),
                ..
            }
        )
    });
    assert!((twice - 0.9 * 0.98 * 0.05).abs() < 0.005, "{twice}");
    let held = share(&first, |fate| {
        matches!(
            fate,
            Fate::Deliver {
                held_back: true,
                ..
            }
        )
    });
    assert!((held - 0.9 * 0.02).abs() < 0.003, "{held}");
    assert_eq!(first, fates(&shape, 42, 100_000, 1200, ms(1)));
    assert_ne!(first, fates(&shape, 43, 100_000, 1200, ms(1)));
}

#[test]
fn jitter_stays_in_bounds_and_never_reorders() {
    let shape = Shape {
        jitter: ms(50),
        ..Shape::delayed(ms(100))
    };
    let mut last = Duration::ZERO;
    let (mut least, mut most) = (Duration::MAX, Duration::ZERO);
    for (now, fate) in fates(&shape, 3, 10_000, 1200, ms(1)) {
        let Fate::Deliver {
            at,
            again_at: None,
            held_back: false,
        } = fate
        else {
            panic!("{fate:?}")
        };
        assert!(at >= last, "overtook");
        last = at;
        (least, most) = (least.min(at - now), most.max(at - now));
    }
    assert!(
        least >= ms(100) && most <= ms(150) && most - least > ms(40),
        "{least:?} {most:?}"
    );
}

#[test]
fn reordering_holds_some_back_by_the_stated_time() {
    let shape = Shape {
        reorder: 0.5,
        reorder_by: ms(30),
        ..Shape::delayed(ms(10))
    };
    for (now, fate) in fates(&shape, 3, 1000, 1200, ms(1)) {
        match fate {
            Fate::Deliver { at, held_back, .. } => {
                assert_eq!(at - now, if held_back { ms(40) } else { ms(10) })
            }
            Fate::Lost | Fate::QueueFull => panic!("{fate:?}"),
        }
    }
}

/// 1,250 bytes at 10 Mbit/s take 1 ms. Offered twice as fast, half must go, after a queue of 20 ms has filled.
#[test]
fn a_rate_cap_paces_and_drops_at_the_tail() {
    let shape = Shape {
        rate: Some(10_000_000),
        queue: ms(20),
        ..Shape::delayed(ms(5))
    };
    let fates = fates(&shape, 1, 10_000, 1250, Duration::from_micros(500));
    let dropped = share(&fates, |fate| *fate == Fate::QueueFull);
    assert!((dropped - 0.5).abs() < 0.01, "{dropped}");
    let first_drop = fates
        .iter()
        .position(|(_, fate)| *fate == Fate::QueueFull)
        .unwrap();
    assert!(
        (40..=43).contains(&first_drop),
        "20 ms of backlog build up in 40 ms: {first_drop}"
    );
    let delivered: Vec<(Duration, Duration)> = fates
        .iter()
        .filter_map(|(now, fate)| match fate {
            Fate::Deliver { at, .. } => Some((*now, *at)),
            Fate::Lost | Fate::QueueFull => None,
        })
        .collect();
    assert!(
        delivered.windows(2).all(|two| two[1].1 - two[0].1 == ms(1)),
        "one each millisecond"
    );
    assert!(
        delivered
            .iter()
            .all(|(now, at)| *at - *now <= ms(5 + 20 + 1))
    );
}

// The sockets.

struct Rig {
    client: UdpSocket,
    target: UdpSocket,
    relay: Relay,
}

impl Rig {
    fn new(options: RelayOptions) -> Self {
        let target = socket();
        let relay = Relay::start(target.local_addr().unwrap(), options).unwrap();
        let client = socket();
        client.connect(relay.address()).unwrap();
        Self {
            client,
            target,
            relay,
        }
    }

    /// Waits until the relay has dealt with `offered` datagrams upwards and nothing is in flight.
    fn settled(&self, offered: u64) -> Counts {
        assert!(
            wait_until(SOON, || {
                let up = self.relay.counts().up;
                up.offered == offered
                    && up.delivered + up.lost + up.queue_dropped + up.cut_dropped
                        == offered + up.duplicated
            }),
            "{:?}",
            self.relay.counts()
        );
        self.relay.counts().up
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (bytes, from) = socket.recv_from(&mut buffer).unwrap();
    (buffer[..bytes].to_vec(), from)
}

fn silent(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(ms(150))).unwrap();
    let silent = socket.recv(&mut [0; 2048]).is_err();
    socket.set_read_timeout(Some(SOON)).unwrap();
    silent
}

#[test]
fn many_clients_each_get_their_own_answers() {
    let rig = Rig::new(RelayOptions::default());
    let clients: Vec<UdpSocket> = (0..40).map(|_| socket()).collect();
    for (n, client) in clients.iter().enumerate() {
        client
            .send_to(format!("from {n}").as_bytes(), rig.relay.address())
            .unwrap();
    }
    let mut seen = BTreeMap::new();
    for _ in &clients {
        let (text, from) = receive(&rig.target);
        rig.target
            .send_to(&[b"re: ", text.as_slice()].concat(), from)
            .unwrap();
        assert_eq!(
            seen.insert(from, text),
            None,
            "a port of its own for each client"
        );
    }
    for (n, client) in clients.iter().enumerate() {
        let (text, from) = receive(client);
        assert_eq!(String::from_utf8(text).unwrap(), format!("re: from {n}"));
        assert_eq!(from, rig.relay.address());
    }
    assert!(wait_until(SOON, || rig.relay.counts().down.delivered == 40));
    let RelayCounts { up, down, clients } = rig.relay.counts();
    assert_eq!(
        (up.offered, up.delivered, down.offered, clients),
        (40, 40, 40, 40)
    );
    // "from 0".."from 9" are 6 bytes, "from 10".."from 39" are 7; answers are 4 longer.
    assert_eq!(
        (up.delivered_bytes, down.delivered_bytes),
        (10 * 6 + 30 * 7, 10 * 10 + 30 * 11)
    );
}

#[test]
fn delay_is_at_least_what_was_asked_each_way() {
    let rig = Rig::new(RelayOptions::alike(Shape::delayed(ms(60))));
    let sent = clock::now();
    rig.client.send(b"ping").unwrap();
    let (_, from) = receive(&rig.target);
    assert!(clock::now() - sent >= ms(60));
    rig.target.send_to(b"pong", from).unwrap();
    receive(&rig.client);
    assert!(clock::now() - sent >= ms(120));
}

#[test]
fn a_cut_drops_everything_in_flight_and_later_until_healed() {
    let rig = Rig::new(RelayOptions::alike(Shape::delayed(ms(200))));
    rig.client.send(b"in flight").unwrap();
    assert!(wait_until(SOON, || rig.relay.counts().up.offered == 1));
    rig.relay.cut();
    rig.client.send(b"into the void").unwrap();
    assert_eq!(rig.settled(2).cut_dropped, 2);
    rig.relay.shape_both(Shape::default());
    rig.relay.heal();
    rig.client.send(b"after").unwrap();
    assert_eq!(receive(&rig.target).0, b"after");
    assert!(silent(&rig.target));
}

#[test]
fn every_datagram_is_accounted_for() {
    let shape = Shape {
        loss: 0.2,
        duplicate: 0.1,
        reorder: 0.1,
        reorder_by: ms(5),
        jitter: ms(2),
        ..Shape::delayed(ms(1))
    };
    let rig = Rig::new(RelayOptions {
        seed: 9,
        up: shape,
        ..RelayOptions::default()
    });
    let (up, order) = thread::scope(|scope| {
        // Read all along: the target's own socket buffer must not become part of the link.
        let reader = scope.spawn(|| {
            std::iter::from_fn(|| Some(receive(&rig.target).0).filter(|text| text != b"end"))
                .collect::<Vec<_>>()
        });
        for n in 0..2000_u32 {
            rig.client.send(&n.to_be_bytes()).unwrap();
            if n % 50 == 0 {
                assert!(wait_until(SOON, || rig.relay.counts().up.offered == u64::from(n) + 1));
            }
        }
        let up = rig.settled(2000);
        socket()
            .send_to(b"end", rig.target.local_addr().unwrap())
            .unwrap();
        (up, reader.join().unwrap())
    });
    let mut copies: BTreeMap<&[u8], u64> = BTreeMap::new();
    for payload in &order {
        *copies.entry(payload).or_default() += 1;
    }
    assert_eq!(order.len() as u64, up.delivered);
    assert!(silent(&rig.target));
    assert_eq!(
        (up.offered, up.offered_bytes, up.delivered_bytes),
        (2000, 8000, 4 * up.delivered)
    );
    assert_eq!(copies.len() as u64, 2000 - up.lost);
    assert_eq!(
        copies.values().filter(|count| **count == 2).count() as u64,
        up.duplicated
    );
    assert!(copies.values().all(|count| *count <= 2));
    assert!(!order.is_sorted(), "{} were held back", up.reordered);
    // Six standard deviations.
    assert!((293..=507).contains(&up.lost), "{}", up.lost);
    assert!(
        up.duplicated > 50 && up.reordered > 50 && up.kernel_dropped == 0,
        "{up:?}"
    );
}

#[test]
fn a_change_of_shape_counts_from_the_next_datagram() {
    let rig = Rig::new(RelayOptions::default());
    rig.client.send(b"through").unwrap();
    receive(&rig.target);
    rig.relay.shape(
        Direction::Up,
        Shape {
            loss: 1.0,
            ..Shape::default()
        },
    );
    rig.client.send(b"lost").unwrap();
    assert_eq!(rig.settled(2).lost, 1);
    rig.relay.shape(Direction::Up, Shape::default());
    rig.client.send(b"again").unwrap();
    assert_eq!(receive(&rig.target).0, b"again");
}

#[test]
fn a_rebind_changes_the_port_the_target_sees() {
    let rig = Rig::new(RelayOptions::default());
    rig.client.send(b"one").unwrap();
    let (_, before) = receive(&rig.target);
    rig.relay.rebind();
    rig.client.send(b"two").unwrap();
    let (_, after) = receive(&rig.target);
    assert_ne!(before, after);
    rig.target.send_to(b"to nobody", before).unwrap();
    rig.target.send_to(b"hello", after).unwrap();
    assert_eq!(receive(&rig.client).0, b"hello");
    assert!(silent(&rig.client));
}

#[test]
fn a_target_that_comes_back_is_reached_again() {
    let rig = Rig::new(RelayOptions::default());
    let address = rig.target.local_addr().unwrap();
    drop(rig.target);
    for _ in 0..3 {
        rig.client.send(b"anybody?").unwrap();
        thread::sleep(ms(20));
    }
    let target = UdpSocket::bind(address).unwrap();
    target.set_read_timeout(Some(SOON)).unwrap();
    rig.client.send(b"now").unwrap();
    assert_eq!(receive(&target).0, b"now");

    let elsewhere = socket();
    rig.relay.retarget(elsewhere.local_addr().unwrap());
    rig.client.send(b"there").unwrap();
    assert_eq!(receive(&elsewhere).0, b"there");
}

/// Prints how much one relay carries; asserts only that nothing is unaccounted for.
#[test]
fn throughput() {
    const COUNT: u64 = 200_000;
    let rig = Rig::new(RelayOptions::alike(Shape::delayed(ms(50))));
    let started = clock::now();
    let payload = [7; 1372];
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..COUNT {
                rig.client.send(&payload).unwrap();
                if n % 256 == 0 {
                    // No further ahead of the relay than its socket buffer holds.
                    let behind = || n + 1 - rig.relay.counts().up.offered;
                    assert!(wait_until(SOON, || behind() < 2000));
                }
            }
        });
        scope.spawn(|| {
            rig.target.set_read_timeout(Some(ms(500))).unwrap();
            let mut buffer = [0; 2048];
            while rig.target.recv(&mut buffer).is_ok() {}
        });
    });
    let took = clock::now() - started - ms(500);
    let up = rig.relay.counts().up;
    assert_eq!(up.offered + up.kernel_dropped, COUNT);
    assert_eq!(up.delivered, up.offered);
    let mbit = up.delivered_bytes as f64 * 8.0 / took.as_secs_f64() / 1e6;
    println!(
        "relay: {:.0} datagrams/s of 1372 bytes, {mbit:.0} Mbit/s, {} dropped by the kernel",
        up.delivered as f64 / took.as_secs_f64(),
        up.kernel_dropped
    );
}
