//! Topics that are not SAL's.

use efd_shared_model::block::DATUM_BYTES_MAX;

use super::*;
use crate::publishers::Publishers;

const IDL: &str = "struct Note { long number; string text; }; \
    union Wide switch (long) { case 1: long a1; case 2: long a2; case 3: long a3; case 4: long a4; case 5: long a5; \
    case 6: long a6; case 7: long a7; case 8: long a8; case 9: long a9; case 10: long a10; case 11: long a11; \
    case 12: long a12; case 13: long a13; case 14: long a14; case 15: long a15; case 16: long a16; }; \
    struct Large { sequence<Wide> many; };";
const TOPIC: &str = "rt/notes";

fn binding(dds_topic: &str, dds_type: &str, keeps_history: bool) -> Binding {
    let mut registry = Registry::default();
    registry.load("notes.idl", IDL.as_bytes());
    let offered = Offered {
        dds_topic,
        dds_type,
        keeps_history,
    };
    let registered = Arc::clone(registry.get(dds_type).unwrap());
    let plan = KnownType::Registered(registered).plan(offered).unwrap();
    Binding {
        dds_topic: dds_topic.into(),
        dds_type: dds_type.into(),
        keeps_history,
        history_until: now().saturating_add(1),
        plan: Some(Arc::new(plan)),
    }
}

/// XCDR1, little-endian.
fn note(number: i32, text: &str) -> Vec<u8> {
    let mut out = vec![0, 1, 0, 0];
    out.extend(number.to_le_bytes());
    out.extend((text.len() as u32 + 1).to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
    out
}

fn take(bench: &mut Bench, binding: &Binding, payload: &[u8], source: Option<UtcNanos>) {
    let received = Received {
        payload,
        received: now(),
        source,
    };
    bench.intake.sample(binding, received, now());
}

#[test]
fn a_sample_becomes_a_record_named_by_its_topic() {
    let mut bench = Bench::new();
    let live = binding(TOPIC, "Note", false);
    let ahead = now().saturating_add(2 * 86_400_000_000_000);
    for source in [Some(now().saturating_sub(7)), None, Some(ahead)] {
        take(&mut bench, &live, &note(3, "x"), source);
    }
    let declared = &bench.intake.batch().streams;
    assert_eq!(declared.len(), 1);
    assert_eq!(
        (
            &*declared[0].topic,
            &*declared[0].dds_topic,
            &*declared[0].dds_type,
            declared[0].kind
        ),
        ("ros.notes", TOPIC, "Note", TopicKind::Telemetry)
    );
    let block = bench.block(LaneKind::Telemetry).unwrap();
    let stamps = block.records().map(|(_, record)| {
        let RecordStamps {
            event_time,
            origin,
            implausible,
            ..
        } = record.stamps;
        (event_time, origin, implausible)
    });
    let expected = [
        (now().saturating_sub(7), EventTimeOrigin::Source, false),
        (now(), EventTimeOrigin::Reception, false),
        (now(), EventTimeOrigin::Reception, true),
    ];
    assert_eq!(stamps.collect::<Vec<_>>(), expected);
    let (_, record) = block.records().last().unwrap();
    // What the writer stamped stays as it was.
    let mut datum = efd_shared_model::bytes::Writer::new();
    datum.zigzag(1);
    for value in [ahead.0, now().0, 3, 1] {
        datum.zigzag(value);
    }
    datum.raw(b"x");
    assert_eq!(record.datum, datum.as_bytes());
}

/// After a restart a writer repeats its history: by the time it stamped and by what it wrote it is known.
#[test]
fn history_is_taken_once() {
    let latched = binding(TOPIC, "Note", true);
    let at = |n: i64| now().saturating_sub(1_000_000 - n);
    let mut bench = Bench::new();
    for number in 0..3 {
        take(
            &mut bench,
            &latched,
            &note(number, ""),
            Some(at(number.into())),
        );
    }
    take(&mut bench, &latched, &note(9, ""), None);
    let snapshot = bench.intake.publishers[&LaneKind::Events].snapshot(UtcNanos(0));
    let restored = Publishers::restore(&snapshot).unwrap();
    let publishers = BTreeMap::from([(LaneKind::Events, restored)]);
    let mut bench = Bench {
        intake: Intake::new(LeapTable::built_in(), publishers),
        ..bench
    };
    for number in 1..5 {
        take(
            &mut bench,
            &latched,
            &note(number, ""),
            Some(at(number.into())),
        );
    }
    // The same time and other words, other words and the same time, and nothing to know it by.
    take(&mut bench, &latched, &note(2, ""), Some(at(1)));
    take(&mut bench, &latched, &note(9, ""), None);
    // Of a writer without history nothing is a repetition.
    let live = binding(TOPIC, "Note", false);
    take(&mut bench, &live, &note(1, ""), Some(at(1)));
    let counters = bench.intake.counters();
    assert_eq!((counters.recorded, counters.duplicates), (5, 2));
}

/// A topic with writers of both kinds has a stream in each lane.
#[test]
fn each_kind_of_writer_has_its_lane() {
    let mut bench = Bench::new();
    for keeps_history in [true, false] {
        let binding = binding(TOPIC, "Note", keeps_history);
        take(&mut bench, &binding, &note(1, ""), Some(now()));
    }
    let kinds: Vec<TopicKind> = bench
        .intake
        .batch()
        .streams
        .iter()
        .map(|it| it.kind)
        .collect();
    assert_eq!(kinds, [TopicKind::Event, TopicKind::Telemetry]);
    for lane in [LaneKind::Events, LaneKind::Telemetry] {
        assert_eq!(bench.block(lane).unwrap().records().count(), 1);
    }
}

#[test]
fn what_does_not_fit_is_kept_and_named() {
    let mut bench = Bench::new();
    let live = binding(TOPIC, "Note", false);
    take(&mut bench, &live, &note(1, "x")[..9], Some(now()));
    // Each of so many elements has a null for each case that it is not.
    let count = DATUM_BYTES_MAX as u32 / 16;
    let mut large = vec![0, 1, 0, 0];
    large.extend(count.to_le_bytes());
    large.resize(large.len() + 4 * count as usize, 0);
    take(&mut bench, &binding("large", "Large", false), &large, None);
    assert_eq!(bench.intake.counters().undecodable, 2);
    assert!(bench.block(LaneKind::Telemetry).is_none());
    let losses = bench.losses();
    let named = losses.iter().map(|loss| (loss.reason, &*loss.topic));
    assert!(named.eq([
        (LossReason::Undecodable, "ros.notes"),
        (LossReason::Undecodable, "dds.large"),
    ]));
    assert!(
        losses[1].detail.contains("at most 16777216 are taken"),
        "{}",
        losses[1].detail
    );
    let parked = bench.block(LaneKind::Parked).unwrap();
    let payloads = parked
        .records()
        .map(|(_, record)| Parked::decode(record.datum).unwrap().payload.len());
    assert!(payloads.eq([9, large.len()]));
}
