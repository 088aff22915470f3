//! The ring with samples made by hand; no domain, no network.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::*;
use crate::clock::Reception;
use crate::raw::{Keying, PayloadKind, RawType, TypeCounters, TypeRef, build};

const NONE: Duration = Duration::ZERO;

/// A type with the one reference that the library's entities hold in life.
struct Types {
    sertype: *mut cyclonedds_sys::ddsi_sertype,
    type_ref: TypeRef,
}

impl Types {
    fn new() -> Self {
        let sertype = RawType::create(
            c"T",
            Keying::Keyless,
            1 << 20,
            Arc::new(TypeCounters::default()),
        );
        Self {
            sertype,
            // SAFETY: made by the call before.
            type_ref: unsafe { TypeRef::new(sertype) },
        }
    }
}

// SAFETY: the tests' threads only read it.
unsafe impl Sync for Types {}

impl Drop for Types {
    fn drop(&mut self) {
        // SAFETY: the one reference; samples do not look at their type.
        unsafe { cyclonedds_sys::ddsi_sertype_unref(self.sertype) };
    }
}

fn link(reader: ReaderId, received_ns: i64) -> Link {
    Link {
        next: ptr::null_mut(),
        reader: reader.0,
        valid: true,
        instance_state: 16,
        instance_handle: 1,
        publication_handle: 2,
        source_timestamp_ns: 3,
        received: Reception {
            realtime_ns: received_ns,
            monotonic_ns: received_ns,
        },
    }
}

struct Producer {
    ring: Ring,
    types: Types,
    id: ReaderId,
    tally: Arc<ReaderTally>,
}

impl Producer {
    fn new(ring: &Ring, id: u32) -> Self {
        let id = ReaderId(id);
        Self {
            ring: ring.clone(),
            types: Types::new(),
            id,
            tally: ring.register(id),
        }
    }

    /// Puts in one sample per payload, as one visit of a listener does.
    fn send(&self, payloads: &[&[u8]], received_ns: i64) {
        let mut chain = Chain::default();
        for payload in payloads {
            let data = build(&self.types.type_ref, PayloadKind::Sample, payload).unwrap();
            // SAFETY: the one reference to a new sample goes over.
            unsafe {
                self.ring
                    .shared
                    .accept(data, link(self.id, received_ns), &self.tally, &mut chain)
            };
        }
        self.ring.shared.put(chain);
    }
}

fn drain(consumer: &mut Consumer) -> Vec<Sample> {
    let mut batch = Vec::new();
    while consumer.pop(&mut batch, 1000, NONE) > 0 {}
    batch
}

#[test]
fn order_is_kept_within_and_across_visits() {
    let (ring, mut consumer) = Ring::new(RingLimits::default());
    let producer = Producer::new(&ring, 7);
    producer.send(&[b"aaaa", b"bbbb"], 1);
    producer.send(&[b"cccc"], 2);
    let mut batch = Vec::new();
    assert_eq!(consumer.pop(&mut batch, 2, NONE), 2);
    producer.send(&[b"dddd"], 3);
    assert_eq!(
        consumer.pop(&mut batch, 10, NONE),
        1,
        "what was taken before comes first"
    );
    assert_eq!(consumer.pop(&mut batch, 10, NONE), 1);
    assert_eq!(consumer.pop(&mut batch, 10, NONE), 0);
    let payloads: Vec<&[u8]> = batch.iter().map(Sample::payload).collect();
    assert_eq!(payloads, [b"aaaa", b"bbbb", b"cccc", b"dddd"]);
    let first = &batch[0];
    assert_eq!(
        (
            first.reader(),
            first.publication_handle(),
            first.source_timestamp_ns()
        ),
        (ReaderId(7), 2, Some(3))
    );
    assert_eq!(first.received().realtime_ns, 1);
}

#[test]
fn samples_count_until_they_are_dropped() {
    let (ring, mut consumer) = Ring::new(RingLimits {
        samples_max: 2,
        ..RingLimits::default()
    });
    let producer = Producer::new(&ring, 1);
    producer.send(&[b"1111", b"2222", b"3333"], 5);
    assert_eq!(consumer.counters().held_samples, 2);
    let held = drain(&mut consumer);
    assert_eq!(held.len(), 2);
    producer.send(&[b"4444"], 6);
    assert!(
        drain(&mut consumer).is_empty(),
        "the consumer still holds two"
    );
    drop(held);
    assert_eq!(
        (
            consumer.counters().held_samples,
            consumer.counters().held_bytes
        ),
        (0, 0)
    );
    producer.send(&[b"5555"], 7);
    assert_eq!(drain(&mut consumer).len(), 1);
    let counters = ring.counters();
    assert_eq!(
        (
            counters.received,
            counters.received_bytes,
            counters.dropped_full
        ),
        (3, 12, 2)
    );
}

#[test]
fn bytes_are_bounded() {
    let (ring, mut consumer) = Ring::new(RingLimits {
        bytes_max: 10_000,
        ..RingLimits::default()
    });
    let producer = Producer::new(&ring, 1);
    for _ in 0..100 {
        producer.send(&[&[0; 1000]], 1);
        assert!(ring.counters().held_bytes <= 10_000);
    }
    assert_eq!(
        drain(&mut consumer).len(),
        8,
        "1,000 bytes and at most 192 that go with them"
    );
    assert_eq!(ring.counters().dropped_full, 92);
}

#[test]
fn drops_are_reported_once_per_reader_with_their_span() {
    let (ring, mut consumer) = Ring::new(RingLimits {
        samples_max: 0,
        ..RingLimits::default()
    });
    let (a, b) = (Producer::new(&ring, 1), Producer::new(&ring, 2));
    a.send(&[b"xxxx"], 30);
    a.send(&[b"xxxx"], 10);
    b.send(&[b"xxxx"], 20);
    let expected = [
        Dropped {
            reader: ReaderId(1),
            count: 2,
            first_ns: 10,
            last_ns: 30,
        },
        Dropped {
            reader: ReaderId(2),
            count: 1,
            first_ns: 20,
            last_ns: 20,
        },
    ];
    assert_eq!(consumer.take_dropped(), expected);
    assert_eq!(consumer.take_dropped(), []);
    b.send(&[b"xxxx"], 40);
    ring.shared.retire(ReaderId(1));
    ring.shared.retire(ReaderId(2));
    assert_eq!(
        consumer.take_dropped(),
        [Dropped {
            reader: ReaderId(2),
            count: 1,
            first_ns: 40,
            last_ns: 40
        }],
        "a reader that is gone"
    );
    assert!(
        ring.shared.lock_readers().is_empty(),
        "and then it is forgotten"
    );
}

#[test]
fn one_sample_for_two_readers_becomes_two() {
    let (ring, mut consumer) = Ring::new(RingLimits::default());
    let producer = Producer::new(&ring, 1);
    let data = build(&producer.types.type_ref, PayloadKind::Sample, b"shared").unwrap();
    let mut chain = Chain::default();
    // SAFETY: a second reference, as the library gives one to each reader.
    unsafe {
        cyclonedds_sys::ddsi_serdata_ref(data.as_ptr().cast());
        ring.shared
            .accept(data, link(ReaderId(1), 1), &producer.tally, &mut chain);
        ring.shared
            .accept(data, link(ReaderId(2), 2), &producer.tally, &mut chain);
    }
    ring.shared.put(chain);
    let batch = drain(&mut consumer);
    let seen: Vec<_> = batch
        .iter()
        .map(|sample| (sample.reader().0, sample.payload()))
        .collect();
    assert_eq!(seen, [(1, &b"shared"[..]), (2, b"shared")]);
    drop(batch);
    assert_eq!(ring.counters().held_bytes, 0);
}

#[test]
fn without_a_consumer_all_is_dropped_and_nothing_leaks() {
    let (ring, mut consumer) = Ring::new(RingLimits::default());
    let producer = Producer::new(&ring, 1);
    producer.send(&[b"1111", b"2222"], 1);
    let mut batch = Vec::new();
    consumer.pop(&mut batch, 1, NONE);
    drop(consumer);
    assert_eq!(ring.counters().held_samples, 1, "the one in our hands");
    producer.send(&[b"3333"], 1);
    assert_eq!(ring.counters().dropped_full, 1);
    drop(batch);
    assert_eq!(
        (ring.counters().held_samples, ring.counters().held_bytes),
        (0, 0)
    );
}

#[test]
fn a_waiting_consumer_is_woken_by_samples_by_a_waker_and_by_time() {
    let (ring, mut consumer) = Ring::new(RingLimits::default());
    let long = Duration::from_secs(600);
    let waker = consumer.waker();
    thread::scope(|scope| {
        let consumer = &mut consumer;
        let waiting = scope.spawn(move || {
            let mut batch = Vec::new();
            let first = consumer.pop(&mut batch, 10, long);
            let second = consumer.pop(&mut batch, 10, long);
            let third = consumer.pop(&mut batch, 10, Duration::from_millis(20));
            (first, second, third)
        });
        thread::sleep(Duration::from_millis(20));
        Producer::new(&ring, 1).send(&[b"good"], 1);
        thread::sleep(Duration::from_millis(20));
        waker.wake();
        assert_eq!(waiting.join().unwrap(), (1, 0, 0));
    });
    waker.wake();
    assert_eq!(
        consumer.pop(&mut Vec::new(), 10, long),
        0,
        "a wake-up is not lost where nobody waits"
    );
}

/// Four threads, one consumer that sleeps and wakes: each thread's samples come once and in order, or are counted.
#[test]
fn many_producers() {
    const EACH: u32 = 50_000;
    let (ring, mut consumer) = Ring::new(RingLimits {
        samples_max: 1000,
        linger: NONE,
        ..RingLimits::default()
    });
    let producers: Vec<Producer> = (0..4).map(|id| Producer::new(&ring, id)).collect();
    let mut seen = [0u64; 4];
    thread::scope(|scope| {
        for producer in &producers {
            scope.spawn(move || {
                for i in 0..EACH {
                    producer.send(&[&i.to_le_bytes()], i64::from(i));
                }
            });
        }
        let mut next = [0u32; 4];
        let mut batch = Vec::new();
        let mut dropped = 0;
        while seen.iter().sum::<u64>() + dropped < 4 * u64::from(EACH) {
            consumer.pop(&mut batch, 100, Duration::from_millis(50));
            for sample in batch.drain(..) {
                let reader = sample.reader().0 as usize;
                let number = u32::from_le_bytes(sample.payload().try_into().unwrap());
                assert!(
                    number >= next[reader],
                    "reader {reader}: {number} after {}",
                    next[reader]
                );
                next[reader] = number + 1;
                seen[reader] += 1;
            }
            dropped += consumer
                .take_dropped()
                .iter()
                .map(|dropped| dropped.count)
                .sum::<u64>();
        }
        assert_eq!(consumer.counters().dropped_full, dropped);
    });
    for (producer, seen) in producers.iter().zip(seen) {
        assert_eq!(producer.tally.received.load(Ordering::Relaxed), seen);
        assert_eq!(
            seen + producer.tally.dropped_full.load(Ordering::Relaxed),
            u64::from(EACH)
        );
    }
    assert_eq!(
        (ring.counters().held_samples, ring.counters().held_bytes),
        (0, 0)
    );
}
