use std::time::Duration;

use efd_central_log::{Lease, SeatNumber, Seats};
use efd_tests_testkit::wait_until;

use crate::kit::{options, world};

const SOON: Duration = Duration::from_secs(30);
const SEAT: SeatNumber = SeatNumber(0);

/// One has the seat; what it saves the next one finds; who gave it up can save no more.
#[test]
fn a_seat_changes_hands() {
    let Some(world) = world("lease", &[]) else {
        return;
    };
    let kafka = &world.kafka;
    let (first, second) = (
        Lease::join(&options(kafka, "a"), "feed", Seats::Workers(1)).unwrap(),
        Lease::join(&options(kafka, "b"), "feed", Seats::Workers(1)).unwrap(),
    );
    let mut have = Vec::new();
    let came = wait_until(SOON, || {
        have = [&first, &second]
            .into_iter()
            .enumerate()
            .filter_map(|(who, lease)| Some((who, lease.take(SEAT, Duration::from_millis(200))?)))
            .collect();
        !have.is_empty()
    });
    assert!(came, "{:?} {:?}", first.trouble(), second.trouble());
    assert_eq!(have.len(), 1, "one at a time");
    let (who, seat) = have.remove(0);
    let (mut leases, other) = if who == 0 {
        (vec![first, second], 1)
    } else {
        (vec![first, second], 0)
    };
    assert_eq!(seat.load().unwrap(), None);
    for value in ["one", "two"] {
        seat.save(value.as_bytes()).unwrap();
        assert_eq!(seat.load().unwrap().as_deref(), Some(value.as_bytes()));
    }
    assert!(leases[other].take(SEAT, Duration::from_secs(2)).is_none());
    assert!(!seat.tenure().is_over());

    // It leaves: its seat ends first, and the other waits until its consumer has.
    let waiting = leases.remove(other);
    let leaving = leases.remove(0);
    let thread = std::thread::spawn(move || drop(leaving));
    assert!(wait_until(SOON, || seat.tenure().is_over()));
    assert!(seat.save(b"three").is_err());
    drop(seat);
    thread.join().unwrap();
    let seat = waiting.take(SEAT, SOON).expect("the other takes over");
    assert_eq!(seat.load().unwrap().as_deref(), Some(&b"two"[..]));
    seat.save(b"four").unwrap();
}

/// A cluster that is silent for too long ends the tenure; when it is back the seat is had anew.
#[test]
fn a_silent_cluster_ends_a_tenure() {
    let Some(mut world) = world("lease-silent", &[]) else {
        return;
    };
    let kafka = &mut world.kafka;
    let lease = Lease::join(&options(kafka, "a"), "lake", Seats::One).unwrap();
    let seat = lease.take(SEAT, SOON).expect("a seat");
    seat.save(b"one").unwrap();
    kafka.kill9().unwrap();
    assert!(wait_until(SOON, || seat.tenure().is_over()));
    assert!(lease.take(SEAT, Duration::from_secs(1)).is_none());
    drop(seat);
    assert!(lease.take(SEAT, Duration::from_secs(1)).is_none());
    kafka.restart().unwrap();
    let seat = lease.take(SEAT, Duration::from_secs(60)).expect("again");
    assert_eq!(seat.load().unwrap().as_deref(), Some(&b"one"[..]));
}
