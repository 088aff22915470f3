//! Samples from writers to readers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::time::Duration;

use efd_edge_dds::{
    DiscoveryEvent, Durability, History, InstanceState, InvalidSamples, Keying, ReaderSpec,
    Reliability, Ring, RingLimits, WriteError, WriterInfo, WriterSpec,
};

use crate::world::{
    RELIABLE, World, by_first_number, collect, now, number_at, pair, read, ring, wait_for,
    wait_matched, write,
};

pub(crate) fn payloads_arrive_byte_for_byte(world: &World) {
    let (ours, theirs) = (world.participant(), world.participant());
    let (ring, mut consumer) = ring();
    let _reader = ours.create_reader(&read("round"), &ring).unwrap();
    let writer = theirs.create_writer(&write("round")).unwrap();
    wait_matched(&writer, 1);
    // Around a datagram's fragment (1,344 bytes), a packet (14,720), the largest UDP datagram, the observatory's largest sample.
    let sizes = [
        4, 8, 100, 1340, 1344, 1348, 1352, 14_720, 65_532, 115_872, 1_000_000, 10_000_000,
    ];
    for (i, size) in sizes.into_iter().enumerate() {
        let mut state = 0x9e37_79b9u32 + i as u32;
        let mut payload: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(size)
        .collect();
        payload[..4].copy_from_slice(&[0, 1, 0, 0]);
        let stamp = 1_700_000_000_123_456_789 + i as i64;
        writer.write_cdr(&payload, Some(stamp)).unwrap();
        let samples = collect(&mut consumer, 1);
        let sample = &samples[0];
        assert!(
            sample.payload() == payload,
            "{size} bytes: {} came, first difference at {:?}",
            sample.payload().len(),
            sample
                .payload()
                .iter()
                .zip(&payload)
                .position(|(a, b)| a != b)
        );
        assert!(sample.valid() && sample.instance_state() == InstanceState::Alive);
        // RTPS counts fractions of a second in 2⁻³² s.
        let difference = sample.source_timestamp_ns().unwrap() - stamp;
        assert!(difference.abs() <= 1, "source time off by {difference} ns");
        assert!(sample.received().realtime_ns > stamp && sample.received().monotonic_ns > 0);
    }
    // The protocol sends whole words; what it adds is zero, and the last two bits of the header's options may count it.
    writer.write_cdr(&[0, 1, 0, 0, 7], None).unwrap();
    let samples = collect(&mut consumer, 1);
    let payload = samples[0].payload();
    assert!(
        payload[4] == 7 && payload.len() <= 8 && payload[5..].iter().all(|byte| *byte == 0),
        "{payload:?}"
    );

    assert!(matches!(
        writer.write_cdr(&[0, 1, 0], None),
        Err(WriteError::TooShort(3))
    ));
    assert!(matches!(
        writer.write_cdr(&pair(1, 2), Some(-5)),
        Err(WriteError::Timestamp(-5))
    ));
}

pub(crate) fn instances_are_kept_apart(world: &World) {
    let (ours, theirs) = (world.participant(), world.participant());
    let (ring, mut consumer) = ring();
    let spec = ReaderSpec {
        keying: by_first_number(),
        invalid: InvalidSamples::Deliver,
        ..read("keyed")
    };
    let reader = ours.create_reader(&spec, &ring).unwrap();
    let writer = theirs
        .create_writer(&WriterSpec {
            keying: by_first_number(),
            autodispose: false,
            ..write("keyed")
        })
        .unwrap();
    wait_matched(&writer, 1);
    for key in 1..=3 {
        writer.write_cdr(&pair(key, key * 10), None).unwrap();
    }
    let samples = collect(&mut consumer, 3);
    let handles: BTreeMap<u32, u64> = samples
        .iter()
        .map(|s| (number_at(s.payload(), 4), s.instance_handle()))
        .collect();
    assert_eq!(
        handles.values().collect::<BTreeSet<_>>().len(),
        3,
        "three instances"
    );
    let keys: BTreeMap<u32, _> = samples
        .iter()
        .map(|s| (number_at(s.payload(), 4), s.key()))
        .collect();
    drop(samples);

    writer.dispose(&pair(2, 0)[..8], None).unwrap();
    writer.write_cdr(&pair(1, 11), None).unwrap();
    writer.unregister(&pair(3, 0)[..8], None).unwrap();
    let samples = collect(&mut consumer, 3);
    let seen: Vec<_> = samples
        .iter()
        .map(|s| (s.key(), s.instance_handle(), s.valid(), s.instance_state()))
        .collect();
    assert_eq!(
        seen[0],
        (keys[&2], handles[&2], false, InstanceState::Disposed)
    );
    assert_eq!(seen[1], (keys[&1], handles[&1], true, InstanceState::Alive));
    assert_eq!(
        seen[2],
        (keys[&3], handles[&3], false, InstanceState::NoWriters)
    );
    assert_eq!(samples[0].payload(), b"");
    let counters = reader.counters();
    assert_eq!(
        (counters.invalid, counters.unkeyed, counters.malformed),
        (2, 0, 0)
    );

    // A writer that cannot tell the key does not write.
    assert!(matches!(
        writer.write_cdr(&[0, 1, 0, 0], None),
        Err(WriteError::Unkeyable(4))
    ));
}

/// The type is not known: the reader asks writers for key hashes, and this library's writers send them.
pub(crate) fn keyed_without_a_key_function(world: &World) {
    let (ours, theirs) = (world.participant(), world.participant());
    let (ring, mut consumer) = ring();
    let reader = ours
        .create_reader(
            &ReaderSpec {
                keying: Keying::Keyed(None),
                ..read("hash")
            },
            &ring,
        )
        .unwrap();
    let writer = theirs
        .create_writer(&WriterSpec {
            keying: by_first_number(),
            ..write("hash")
        })
        .unwrap();
    wait_matched(&writer, 1);
    for key in [1, 2, 1] {
        writer.write_cdr(&pair(key, 0), None).unwrap();
    }
    let samples = collect(&mut consumer, 3);
    let handles: Vec<u64> = samples
        .iter()
        .map(efd_edge_dds::Sample::instance_handle)
        .collect();
    assert!(
        handles[0] != handles[1] && handles[0] == handles[2],
        "{handles:?}"
    );
    assert_eq!(reader.counters().unkeyed, 0);
    assert!(
        theirs
            .create_writer(&WriterSpec {
                keying: Keying::Keyed(None),
                ..write("hash")
            })
            .is_err()
    );
}

pub(crate) fn late_joiner_gets_history_per_instance(world: &World) {
    let (ours, theirs) = (world.participant(), world.participant());
    let spec = WriterSpec {
        keying: by_first_number(),
        durability: Durability::TransientLocal,
        history: History::KeepLast(2),
        durability_service: History::KeepLast(2),
        ..write("history")
    };
    let writer = theirs.create_writer(&spec).unwrap();
    for value in 0..5 {
        for key in 1..=3 {
            writer.write_cdr(&pair(key, value), None).unwrap();
        }
    }
    let (ring, mut consumer) = ring();
    // More than any writer gives: asked for as transient-local.
    let spec = ReaderSpec {
        keying: by_first_number(),
        durability: Durability::Persistent,
        ..read("history")
    };
    let reader = ours.create_reader(&spec, &ring).unwrap();
    let samples = collect(&mut consumer, 6);
    let mut seen: Vec<_> = samples
        .iter()
        .map(|s| (number_at(s.payload(), 4), number_at(s.payload(), 8)))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [(1, 3), (1, 4), (2, 3), (2, 4), (3, 3), (3, 4)]);
    drop(samples);
    writer.write_cdr(&pair(1, 5), None).unwrap();
    assert_eq!(
        number_at(collect(&mut consumer, 1)[0].payload(), 8),
        5,
        "and goes on"
    );
    assert_eq!(reader.status().unwrap().matched_writers, 1);
}

pub(crate) fn partitions_match_by_wildcard(world: &World) {
    let (ours, theirs) = (world.participant(), world.participant());
    let (ring, mut consumer) = ring();
    let spec = ReaderSpec {
        partitions: vec!["summit.*".into()],
        ..read("part")
    };
    let _reader = ours.create_reader(&spec, &ring).unwrap();
    let in_partition = |name: &str| WriterSpec {
        partitions: vec![name.to_owned()],
        ..write("part")
    };
    let writers = ["summit.cmd", "summit.data", "tucson.data"]
        .map(|name| theirs.create_writer(&in_partition(name)).unwrap());
    let elsewhere = theirs.create_writer(&write("part")).unwrap();
    wait_matched(&writers[0], 1);
    wait_matched(&writers[1], 1);
    for (i, writer) in writers.iter().chain([&elsewhere]).enumerate() {
        writer.write_cdr(&pair(i as u32, 0), None).unwrap();
    }
    let samples = collect(&mut consumer, 2);
    let seen: BTreeSet<u32> = samples.iter().map(|s| number_at(s.payload(), 4)).collect();
    assert_eq!(seen, BTreeSet::from([0, 1]));
    assert_eq!(
        (
            writers[2].matched_readers().unwrap(),
            elsewhere.matched_readers().unwrap()
        ),
        (0, 0)
    );
}

pub(crate) fn full_ring_is_counted_and_harms_nobody(world: &World) {
    const COUNT: u32 = 20_000;
    let (ours, healthy, theirs) = (
        world.participant(),
        world.participant(),
        world.participant(),
    );
    let (full_ring, mut never_read) = Ring::new(RingLimits {
        bytes_max: 1 << 20,
        ..RingLimits::default()
    });
    let (ring, mut consumer) = ring();
    let stalled = ours.create_reader(&read("flood"), &full_ring).unwrap();
    let _healthy = healthy.create_reader(&read("flood"), &ring).unwrap();
    let writer = theirs.create_writer(&write("flood")).unwrap();
    wait_matched(&writer, 2);

    let began = now();
    let mut slowest = Duration::ZERO;
    let reading = std::thread::spawn(move || {
        let mut next = 0;
        let mut batch = Vec::new();
        wait_for("all samples at the healthy reader", || {
            consumer.pop(&mut batch, 10_000, Duration::from_millis(10));
            for sample in batch.drain(..) {
                assert_eq!(
                    number_at(sample.payload(), 4),
                    next,
                    "in order, none missing"
                );
                next += 1;
            }
            next == COUNT
        });
    });
    let mut payload = pair(0, 0);
    payload.resize(1000, 0);
    for i in 0..COUNT {
        payload[4..8].copy_from_slice(&i.to_le_bytes());
        let before = now();
        writer.write_cdr(&payload, None).unwrap();
        slowest = slowest.max(before.elapsed());
    }
    let took = began.elapsed();
    reading.join().unwrap();
    wait_for("all samples at the stalled reader", || {
        let counters = stalled.counters();
        counters.received + counters.dropped_full == u64::from(COUNT)
    });
    println!(
        "  {COUNT} writes of 1 kB to a full ring and a healthy reader: {took:?}, the slowest write {slowest:?}"
    );

    let counters = never_read.counters();
    assert!(
        counters.held_bytes <= 1 << 20 && counters.held_samples > 800,
        "{counters:?}"
    );
    let dropped = never_read.take_dropped();
    assert_eq!(dropped.len(), 1);
    assert_eq!(
        (dropped[0].reader, dropped[0].count),
        (stalled.id(), u64::from(COUNT) - counters.received)
    );
    assert!(dropped[0].first_ns > 0 && dropped[0].first_ns <= dropped[0].last_ns);
    // What is in the ring is the beginning, not the end: the new sample is the one that is dropped.
    let mut kept = Vec::new();
    never_read.pop(&mut kept, usize::MAX, Duration::ZERO);
    assert!(
        kept.iter()
            .enumerate()
            .all(|(i, sample)| number_at(sample.payload(), 4) == i as u32)
    );
    let status = stalled.status().unwrap();
    assert_eq!(
        (status.lost, status.rejected),
        (0, 0),
        "the library sees nothing of it"
    );
}

/// Packets made by hand in the name of a writer that exists: with less than an encapsulation header in them, cut short, and noise.
pub(crate) fn malformed_packets_do_no_harm(world: &World) {
    let config = world.config();
    if config.peers.is_empty() {
        let (ours, theirs) = (world.participant(), world.participant());
        let (ring, mut consumer) = ring();
        let best_effort = Reliability::BestEffort;
        let reader = ours
            .create_reader(
                &ReaderSpec {
                    reliability: best_effort,
                    ..read("short")
                },
                &ring,
            )
            .unwrap();
        let mut discovery = ours.discovery().unwrap();
        let writer = theirs
            .create_writer(&WriterSpec {
                reliability: best_effort,
                ..write("short")
            })
            .unwrap();
        wait_matched(&writer, 1);
        let writer_info = find_writer(&mut discovery, "short");
        writer.write_cdr(&pair(1, 1), None).unwrap();
        collect(&mut consumer, 1);

        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (i, payload) in [
            &b""[..],
            b"\x00",
            b"\x00\x01",
            b"\x00\x01\x00",
            b"\x00\x01\x00\x00good",
        ]
        .iter()
        .enumerate()
        {
            let packet = data_packet(&writer_info, 100 + i as u8, payload);
            // The port for data by multicast: 7400 + 250 × domain + 1.
            socket.send_to(&packet, ("239.255.0.1", 7401)).unwrap();
        }
        let samples = collect(&mut consumer, 1);
        assert_eq!(
            &samples[0].payload()[4..8],
            b"good",
            "the forged writer is believed, so the short ones were seen too"
        );
        let malformed = reader.counters().malformed;
        println!(
            "  {malformed} of 4 short payloads reached the reader, the rest the library refused"
        );
        assert!(malformed <= 4);
        // Random datagrams at all ports of the domain.
        let mut state = 1u32;
        for round in 0..2000u16 {
            let noise: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .take(usize::from(round % 200))
            .collect();
            let mut packet = data_packet(&writer_info, 0, b"");
            let at = usize::from(round) % packet.len();
            packet.truncate(at + 4);
            packet.extend(noise);
            socket
                .send_to(&packet, ("239.255.0.1", 7400 + round % 2))
                .unwrap();
        }
        writer.write_cdr(&pair(1, 2), None).unwrap();
        assert!(reader.status().is_ok(), "still there");
    } else {
        efd_tests_testkit::skip("random datagrams", &"they need multicast");
    }
}

pub(crate) fn find_writer(discovery: &mut efd_edge_dds::Discovery, topic: &str) -> WriterInfo {
    let mut found = None;
    wait_for("writer", || {
        for event in discovery.poll(Duration::from_millis(10)).unwrap() {
            if let DiscoveryEvent::WriterAppeared(info) = event
                && info.topic == topic
            {
                found = Some(*info);
            }
        }
        found.is_some()
    });
    found.unwrap()
}

/// RTPS 2.1: header, then one DATA submessage.
fn data_packet(writer: &WriterInfo, sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = b"RTPS\x02\x01\x01\x10".to_vec();
    packet.extend(&writer.guid.0[..12]);
    // DATA, little-endian with data; 20 bytes and the payload.
    packet.extend([0x15, 0x05]);
    packet.extend((20 + payload.len() as u16).to_le_bytes());
    packet.extend([0, 0, 16, 0, 0, 0, 0, 0]);
    packet.extend(&writer.guid.0[12..]);
    packet.extend([0, 0, 0, 0, sequence, 0, 0, 0]);
    packet.extend(payload);
    packet
}

pub(crate) fn incompatible_qos_is_named(world: &World) {
    let (ours, theirs) = (world.participant(), world.participant());
    let (ring, _consumer) = ring();
    let reader = ours
        .create_reader(
            &ReaderSpec {
                reliability: RELIABLE,
                ..read("picky")
            },
            &ring,
        )
        .unwrap();
    assert_eq!(
        reader.status().unwrap(),
        efd_edge_dds::ReaderStatus::default()
    );
    let _writer = theirs
        .create_writer(&WriterSpec {
            reliability: Reliability::BestEffort,
            ..write("picky")
        })
        .unwrap();
    wait_for("incompatible QoS", || {
        reader.status().unwrap().incompatible.is_some()
    });
    let status = reader.status().unwrap();
    assert_eq!(
        (status.matched_writers, status.incompatible.unwrap().policy),
        (0, "reliability")
    );
}
