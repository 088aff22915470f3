//! Appearing, disappearing, pausing, ending.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use efd_edge_dds::{
    Discovery, DiscoveryEvent, DomainConfig, Durability, EntityError, OpenError, Ownership,
    Participant, PauseWatch, WriteError, WriterSpec,
};

use crate::exchange::find_writer;
use crate::world::{
    Other, RELIABLE, SOON, World, by_first_number, collect, now, pair, read, ring, until_told,
    wait_for, wait_matched, write,
};

/// Where nobody takes them, what built-in readers know of writers that are gone would stay for ever.
pub(crate) fn type_lookup_lets_go_of_writers(world: &World) {
    const WRITERS: usize = 100;
    let ours = world.participant();
    let lookup = ours.type_lookup().unwrap();
    let mut discovery = ours.discovery().unwrap();
    let theirs = world.participant();
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            theirs
                .create_writer(&write(&format!("let-go-{n}")))
                .unwrap()
        })
        .collect();
    let count_is = |discovery: &mut Discovery, count: usize| {
        wait_for("as many writers", || {
            discovery.poll(Duration::from_millis(10)).unwrap();
            discovery.writers().count() == count
        });
    };
    count_is(&mut discovery, WRITERS);
    assert_eq!(lookup.forget_gone().unwrap(), 0, "all are there");
    drop(writers);
    count_is(&mut discovery, 0);
    assert_eq!(lookup.forget_gone().unwrap(), WRITERS);
    assert_eq!(lookup.forget_gone().unwrap(), 0);
}

pub(crate) fn writers_and_participants_come_and_go(world: &World) {
    let ours = world.participant();
    let mut discovery = ours.discovery().unwrap();
    let _own_writer = ours.create_writer(&write("own")).unwrap();
    let theirs = world.participant();
    let spec = WriterSpec {
        keying: by_first_number(),
        partitions: vec!["a".into(), "b.*".into()],
        durability: Durability::Transient,
        ownership: Ownership::Exclusive,
        ..WriterSpec::new("seen", "Type::Of_it")
    };
    let internal = |partition: &str| WriterSpec {
        partitions: vec![partition.to_owned()],
        ..write("hidden")
    };
    let _hidden = ["__BUILT-IN PARTITION__", "durabilityPartition"]
        .map(|p| theirs.create_writer(&internal(p)).unwrap());
    let plain = theirs.create_writer(&write("plain")).unwrap();
    let writer = theirs.create_writer(&spec).unwrap();

    let info = find_writer(&mut discovery, "seen");
    assert_eq!(
        (info.type_name.as_str(), info.partitions.as_slice()),
        ("Type::Of_it", &["a".to_owned(), "b.*".to_owned()][..])
    );
    assert_eq!(
        (info.durability, info.ownership, info.keyed),
        (Durability::Transient, Ownership::Exclusive, true)
    );
    assert_eq!(
        info.reliability,
        efd_edge_dds::Reliability::Reliable {
            max_blocking: Duration::from_millis(100)
        }
    );
    assert_eq!(info.representations, [efd_edge_dds::Representation::Xcdr1]);
    assert_eq!(
        (info.participant, info.has_type_info),
        (theirs.guid(), false)
    );
    assert_eq!(
        info.vendor,
        Some(efd_edge_dds::VendorId(16)),
        "{}",
        info.guid
    );
    assert!(
        info.hostname.is_some() && info.process.is_some(),
        "{info:?}"
    );
    wait_for("the other writer", || {
        discovery.poll(Duration::from_millis(10)).unwrap();
        discovery.writers().count() >= 2
    });
    let topics: Vec<(&str, bool)> = discovery
        .writers()
        .map(|info| (info.topic.as_str(), info.keyed))
        .collect();
    assert!(
        topics.contains(&("plain", false)) && topics.len() == 2,
        "own and internal ones are left out: {topics:?}"
    );
    assert_eq!(
        discovery
            .participants()
            .map(|info| info.guid)
            .collect::<Vec<_>>(),
        [theirs.guid()]
    );

    // The number in the samples is that of the announcement.
    let (ring, mut consumer) = ring();
    let spec = efd_edge_dds::ReaderSpec {
        keying: by_first_number(),
        type_name: info.type_name.clone(),
        partitions: info.partitions.clone(),
        reliability: info.reliability,
        durability: info.durability,
        ownership: info.ownership,
        ..read("seen")
    };
    let _reader = ours.create_reader(&spec, &ring).unwrap();
    wait_matched(&writer, 1);
    writer.write_cdr(&pair(1, 1), None).unwrap();
    assert_eq!(
        collect(&mut consumer, 1)[0].publication_handle(),
        info.handle
    );

    drop(writer);
    let gone = next_gone(&mut discovery);
    assert_eq!(
        gone,
        [DiscoveryEvent::WriterGone {
            guid: info.guid,
            handle: info.handle
        }]
    );
    let guid = theirs.guid();
    drop(plain);
    theirs.close(SOON).unwrap();
    let mut gone = next_gone(&mut discovery);
    wait_for("end of the participant", || {
        gone.extend(discovery.poll(Duration::from_millis(10)).unwrap());
        gone.contains(&DiscoveryEvent::ParticipantGone(guid))
    });
    assert_eq!(
        (
            discovery.writers().count(),
            discovery.participants().count()
        ),
        (0, 0)
    );

    // A view that begins later sees what is there, not what was.
    let later = world.participant();
    let _writer = later.create_writer(&write("later")).unwrap();
    find_writer(&mut discovery, "later");
    let mut second = ours.discovery().unwrap();
    find_writer(&mut second, "later");
    assert_eq!(second.writers().count(), 1);
}

fn next_gone(discovery: &mut Discovery) -> Vec<DiscoveryEvent> {
    let mut events = Vec::new();
    wait_for("disappearance", || {
        events.extend(discovery.poll(Duration::from_millis(10)).unwrap());
        !events.is_empty()
    });
    events
}

pub(crate) fn be_idle(world: &World) {
    let participant = world.participant();
    let _writer = participant.create_writer(&write("killed")).unwrap();
    println!("ready");
    until_told();
}

pub(crate) fn killed_publisher_is_noticed(world: &World) {
    let ours = world.participant();
    let mut discovery = ours.discovery().unwrap();
    let mut other = Other::start(&["idle"]);
    assert_eq!(other.line(), "ready");
    let info = find_writer(&mut discovery, "killed");
    let began = now();
    other.signal("-KILL");
    wait_for("disappearance", || {
        discovery.poll(Duration::from_millis(10)).unwrap().iter().any(
            |event| matches!(event, DiscoveryEvent::WriterGone { guid, .. } if *guid == info.guid),
        )
    });
    println!(
        "  noticed {:?} after kill -9 (lease {:?})",
        began.elapsed(),
        world.config().lease
    );
}

pub(crate) fn be_watching() {
    let watch = PauseWatch::start(Duration::from_secs(2), None).unwrap();
    println!("ready");
    until_told();
    println!(
        "{}",
        watch.take().map_or(0, |pause| pause.length.as_millis())
    );
    println!(
        "{}",
        watch.take().map_or(0, |pause| pause.length.as_millis())
    );
}

pub(crate) fn stopped_process_notices_its_pause(_: &World) {
    let mut other = Other::start(&["watch"]);
    assert_eq!(other.line(), "ready");
    std::thread::sleep(Duration::from_millis(500));
    other.signal("-STOP");
    std::thread::sleep(Duration::from_millis(2500));
    other.signal("-CONT");
    std::thread::sleep(Duration::from_millis(500));
    let said = other.end();
    let lengths: Vec<u64> = said.lines().map(|line| line.parse().unwrap()).collect();
    assert!(lengths[0] >= 2500 && lengths[1] == 0, "{lengths:?}");
    println!("  stopped for 2.5 s, noticed {} ms", lengths[0]);
}

pub(crate) fn deletion_under_traffic(world: &World) {
    let theirs = world.participant();
    let writer = theirs
        .create_writer(&WriterSpec {
            history: efd_edge_dds::History::KeepLast(64),
            ..write("busy")
        })
        .unwrap();
    let stop = AtomicBool::new(false);
    let mut received = 0;
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut payload = pair(1, 1);
            payload.resize(400, 0);
            while !stop.load(Ordering::Relaxed) {
                // A reader that is being deleted may hold up a write; that is its right.
                writer.write_cdr(&payload, None).ok();
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        for round in 0..30 {
            let ours = world.participant();
            let (ring, mut consumer) = ring();
            let readers: Vec<_> = (0..4)
                .map(|_| ours.create_reader(&read("busy"), &ring).unwrap())
                .collect();
            let mut batch = Vec::new();
            wait_for("traffic", || {
                consumer.pop(&mut batch, 1000, Duration::from_millis(10));
                batch.len() >= 50
            });
            received += batch.len();
            match round % 3 {
                0 => drop(readers),
                1 => ours.close(SOON).unwrap(),
                _ => drop(ours),
            }
            // Samples outlive the domain they came from.
            assert!(batch.iter().all(|sample| sample.payload().len() == 400));
            drop(consumer);
        }
        stop.store(true, Ordering::Relaxed);
        writing.join().unwrap();
    });
    println!(
        "  30 participants with 4 readers each came and went while samples flowed; {received} samples were in hand"
    );
}

pub(crate) fn everything_outlives_a_closed_participant(world: &World) {
    let ours = world.participant();
    let (ring, _consumer) = ring();
    let reader = ours.create_reader(&read("closed"), &ring).unwrap();
    let writer = ours.create_writer(&write("closed")).unwrap();
    let mut discovery = ours.discovery().unwrap();
    let second = ours.create_writer(&write("closed")).unwrap();
    drop(second);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            while discovery.poll(Duration::from_secs(600)).is_ok() {}
            discovery.poll(Duration::ZERO).unwrap_err()
        });
        std::thread::sleep(Duration::from_millis(100));
        ours.close(SOON).unwrap();
        assert!(
            matches!(waiting.join().unwrap(), EntityError::Closed),
            "closing ends the wait"
        );
    });
    assert!(matches!(reader.status(), Err(EntityError::Closed)));
    assert!(matches!(
        writer.write_cdr(&pair(1, 1), None),
        Err(WriteError::Closed)
    ));
    assert!(matches!(writer.matched_readers(), Err(WriteError::Closed)));
    drop((reader, writer, discovery));
}

pub(crate) fn wrong_configuration_says_why(world: &World) {
    let config = DomainConfig {
        interface: Some("nosuch0".into()),
        ..world.config()
    };
    let error = Participant::open(&config).unwrap_err();
    let OpenError::Domain { log, .. } = &error else {
        panic!("{error}")
    };
    assert!(log.iter().any(|line| line.contains("nosuch0")), "{log:?}");
    println!("  {error}");
    // And the library is none the worse for it.
    let participant = world.participant();
    let names = ["a\0b", ""].map(|topic| {
        participant
            .create_writer(&WriterSpec {
                reliability: RELIABLE,
                ..write(topic)
            })
            .unwrap_err()
    });
    assert!(matches!(&names[0], EntityError::Name(name) if name == "a\0b"));
    assert!(
        matches!(&names[1], EntityError::Create { what: "topic", .. }),
        "{:?}",
        names[1]
    );
}
