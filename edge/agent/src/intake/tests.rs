use std::sync::Arc;

use efd_shared_model::block::Codec;
use efd_shared_model::{
    Block, BlockNumber, ClockState, EdgeId, EpochId, EpochLane, EventTimeOrigin, Lane, LaneKind,
    LeapTable, Loss, LossReason, TaiNanos, UtcNanos,
};
use efd_shared_types::Registry;

use super::*;
use crate::binding::{Binding, KnownType, Offered};

mod general;

const IDL: &str = "module Test {\nstruct logevent_x_0a1b2c3d {\n long salIndex; string<8> private_revCode; double private_sndStamp; double private_rcvStamp; long private_seqNum; string<128> private_identity; long private_origin; boolean flag; string note;\n};\n#pragma keylist logevent_x_0a1b2c3d salIndex\n};\n";
/// 2026-11-24, TAI.
const NOW_TAI: f64 = 1_795_500_037.0;

fn now() -> UtcNanos {
    LeapTable::built_in().to_utc(TaiNanos::from_seconds(NOW_TAI).unwrap())
}

fn binding(known: bool) -> Binding {
    let mut registry = Registry::default();
    registry.load("test.idl", IDL.as_bytes());
    let offered = Offered {
        dds_topic: "Test_logevent_x_0a1b2c3d",
        dds_type: "Test::logevent_x_0a1b2c3d",
        keeps_history: true,
    };
    let registered = registry.get(offered.dds_type).unwrap();
    let plan = KnownType::Registered(Arc::clone(registered))
        .plan(offered)
        .unwrap();
    Binding {
        dds_topic: "Test_logevent_x_0a1b2c3d".into(),
        dds_type: "Test::logevent_x_0a1b2c3d".into(),
        keeps_history: true,
        history_until: UtcNanos(i64::MAX),
        plan: known.then(|| Arc::new(plan)),
    }
}

/// XCDR1, little-endian, by hand.
fn sample(sequence: i32, snd_stamp: f64, flag: u8) -> Vec<u8> {
    let mut out = vec![0, 1, 0, 0];
    let align = |size: usize, out: &mut Vec<u8>| {
        while !(out.len() - 4).is_multiple_of(size) {
            out.push(0xaa);
        }
    };
    let text = |text: &[u8], out: &mut Vec<u8>| {
        align(4, out);
        out.extend((text.len() as u32 + 1).to_le_bytes());
        out.extend(text);
        out.push(0);
    };
    out.extend(3i32.to_le_bytes());
    text(b"0a1b2c3d", &mut out);
    align(8, &mut out);
    out.extend(snd_stamp.to_le_bytes());
    out.extend(0f64.to_le_bytes());
    out.extend(sequence.to_le_bytes());
    text(b"Test:3", &mut out);
    align(4, &mut out);
    out.extend(77i32.to_le_bytes());
    out.push(flag);
    text(b"caf\xe9", &mut out);
    out
}

struct Bench {
    intake: Intake,
    known: Binding,
}

impl Bench {
    fn new() -> Self {
        Self {
            intake: Intake::new(LeapTable::built_in(), BTreeMap::new()),
            known: binding(true),
        }
    }

    fn take(&mut self, payload: &[u8]) {
        let known = self.known.clone();
        self.take_as(&known, payload);
    }

    fn take_as(&mut self, binding: &Binding, payload: &[u8]) {
        self.intake.sample(
            binding,
            Received {
                payload,
                received: now(),
                source: None,
            },
            now(),
        );
    }

    /// Seals a lane of the batch.
    fn block(&mut self, kind: LaneKind) -> Option<Block> {
        let lane = EpochLane {
            edge: EdgeId([1; 16]),
            epoch: EpochId([2; 16]),
            lane: Lane::new(kind),
        };
        let builder = self.intake.batch.builder(Lane::new(kind));
        let sealed = builder.seal(
            lane.block(BlockNumber(1)),
            ClockState::default(),
            Codec::None,
            1,
        )?;
        Some(sealed.open().unwrap())
    }

    fn losses(&mut self) -> Vec<Loss> {
        let block = self.block(LaneKind::Losses);
        block
            .iter()
            .flat_map(Block::records)
            .map(|(_, record)| Loss::decode(record.datum).unwrap())
            .collect()
    }
}

#[test]
fn a_sample_becomes_a_record_with_its_stamps() {
    let mut bench = Bench::new();
    bench.take(&sample(1, NOW_TAI, 1));
    let batch = bench.intake.batch();
    assert_eq!(
        (batch.records(), batch.streams.len(), batch.schemas.len()),
        (1, 1, 1)
    );
    assert_eq!(batch.streams[0].number.0, 5, "1 to 4 are the project's own");
    assert_eq!(batch.streams[0].topic, "lsst.sal.Test.logevent_x");
    let block = bench.block(LaneKind::Events).unwrap();
    let (_, record) = block.records().next().unwrap();
    assert_eq!(record.stamps.event_time, now());
    assert_eq!(record.stamps.origin, EventTimeOrigin::SndStamp);
    assert_eq!(record.stamps.instance, Some(3));
    assert!(record.stamps.latin1 && !record.stamps.implausible);
    let efd_stamp = f64::from_le_bytes(record.datum[..8].try_into().unwrap());
    assert_eq!(efd_stamp, NOW_TAI - 37.0);
    assert_eq!(bench.intake.counters().latin1_texts, 1);
}

#[test]
fn stamps_that_are_not_plausible_are_filed_by_another_clock() {
    for stamp in [
        0.0,
        f64::NAN,
        f64::INFINITY,
        NOW_TAI + 2.0 * 86_400.0,
        1e300,
        -5.0,
    ] {
        let mut bench = Bench::new();
        let written = now().saturating_sub(5_000_000);
        let sources = [
            (Some(written), (written, EventTimeOrigin::Source)),
            (None, (now(), EventTimeOrigin::Reception)),
            // As a writer without a clock stamps.
            (Some(UtcNanos(0)), (now(), EventTimeOrigin::Reception)),
        ];
        for (sequence, (source, _)) in (1..).zip(sources) {
            let payload = sample(sequence, stamp, 0);
            let received = Received {
                payload: &payload,
                received: now(),
                source,
            };
            let known = bench.known.clone();
            bench.intake.sample(&known, received, now());
        }
        let block = bench.block(LaneKind::Events).unwrap();
        let stamps = block.records().map(|(_, record)| record.stamps);
        for (stamps, (_, expected)) in stamps.zip(sources) {
            assert!(stamps.implausible, "{stamp}");
            assert_eq!((stamps.event_time, stamps.origin), expected);
        }
        let (_, record) = block.records().next().unwrap();
        assert!(
            record
                .datum
                .windows(8)
                .any(|bytes| bytes == stamp.to_le_bytes()),
            "the publisher's stamp stays as it was"
        );
    }
}

#[test]
fn repetitions_are_left_out_and_gaps_are_named() {
    let mut bench = Bench::new();
    for (sequence, at) in [(1, 0.0), (2, 1.0), (2, 1.0), (5, 4.0)] {
        bench.take(&sample(sequence, NOW_TAI + at, 0));
    }
    assert_eq!(
        (
            bench.intake.counters().recorded,
            bench.intake.counters().duplicates
        ),
        (3, 1)
    );
    let losses = bench.losses();
    assert_eq!(losses.len(), 1);
    let loss = &losses[0];
    assert_eq!(
        (loss.reason, loss.first_seq, loss.last_seq, loss.count),
        (LossReason::DdsGap, 3, 4, 2)
    );
    assert_eq!(
        (
            loss.topic.as_str(),
            loss.sal_index,
            loss.identity.as_str(),
            loss.origin
        ),
        ("lsst.sal.Test.logevent_x", 3, "Test:3", 77)
    );
}

#[test]
fn what_does_not_fit_is_kept_and_named() {
    let mut bench = Bench::new();
    let whole = sample(1, NOW_TAI, 1);
    bench.take(&whole[..40]);
    bench.take(&sample(1, NOW_TAI, 7));
    assert_eq!(
        (
            bench.intake.counters().undecodable,
            bench.intake.counters().recorded
        ),
        (2, 0)
    );
    assert!(
        bench
            .losses()
            .iter()
            .all(|loss| loss.reason == LossReason::Undecodable && loss.count == 1)
    );
    let block = bench.block(LaneKind::Parked).unwrap();
    let (_, first) = block.records().next().unwrap();
    assert_eq!(Parked::decode(first.datum).unwrap().payload, &whole[..40]);
    assert!(bench.block(LaneKind::Events).is_none());
}

#[test]
fn a_sample_that_no_block_takes_is_named() {
    let large = vec![0; SAMPLE_BYTES_MAX + 1];
    for (known, reason, topic) in [
        (true, LossReason::Undecodable, "lsst.sal.Test.logevent_x"),
        (false, LossReason::Untyped, "Test_logevent_x_0a1b2c3d"),
    ] {
        let mut bench = Bench::new();
        bench.take_as(&binding(known), &large);
        assert_eq!(bench.intake.counters().oversize, 1);
        assert!(bench.block(LaneKind::Parked).is_none());
        let losses = bench.losses();
        assert_eq!(losses.len(), 1);
        assert_eq!(
            (losses[0].reason, &*losses[0].topic, losses[0].count),
            (reason, topic, 1)
        );
        assert_eq!(
            losses[0].detail,
            "sample of 8388609 bytes, at most 8388608 are taken"
        );
    }
}

#[test]
fn the_largest_sample_without_a_type_is_kept_and_read_back() {
    let mut bench = Bench::new();
    let large = vec![7; SAMPLE_BYTES_MAX];
    bench.take_as(&binding(false), &large);
    let block = bench.block(LaneKind::Parked).unwrap();
    let (_, record) = block.records().next().unwrap();
    assert_eq!(Parked::decode(record.datum).unwrap().payload, &large[..]);
}

#[test]
fn a_sample_without_a_type_waits() {
    let mut bench = Bench::new();
    bench.take_as(&binding(false), &sample(1, NOW_TAI, 1));
    assert_eq!(
        (
            bench.intake.counters().parked,
            bench.intake.counters().recorded
        ),
        (1, 0)
    );
    let block = bench.block(LaneKind::Parked).unwrap();
    let (_, record) = block.records().next().unwrap();
    let parked = Parked::decode(record.datum).unwrap();
    assert_eq!(
        (parked.reason, parked.dds_type),
        (ParkedReason::Untyped, "Test::logevent_x_0a1b2c3d")
    );
    assert!(bench.losses().is_empty());
}

#[test]
fn a_type_that_changed_is_a_stream_of_its_own() {
    let mut bench = Bench::new();
    bench.take(&sample(1, NOW_TAI, 0));
    let again = binding(true);
    bench.take_as(&again, &sample(2, NOW_TAI + 1.0, 0));
    assert_eq!(
        bench.intake.batch().streams.len(),
        1,
        "the same schema is the same stream"
    );
}

/// By what a plan says of a sample, and not by history that a late joiner gets: its stamps are old.
#[test]
fn a_publishers_clock_is_looked_at() {
    for (keeps_history, wanted) in [(false, vec!["Test:3"]), (true, vec![])] {
        let mut bench = Bench::new();
        let binding = Binding {
            keeps_history,
            ..binding(true)
        };
        for second in 0..30 {
            let at = now().saturating_add(i64::from(second) * 1_000_000_000);
            let stamp = NOW_TAI + f64::from(second) - 37.0;
            let payload = sample(second + 1, stamp, 0);
            let received = Received {
                payload: &payload,
                received: at,
                source: None,
            };
            bench.intake.sample(&binding, received, at);
            bench.intake.look_at_publishers(at, &|_| true);
        }
        let findings = bench.intake.lint.findings();
        let off: Vec<&str> = findings.map(|finding| &*finding.identity).collect();
        assert_eq!(off, wanted, "history: {keeps_history}");
    }
}
