use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::clock::{ClockSource, TaiOrigin};
use crate::ids::{Lane, LaneKind};
use crate::record::{EventTimeOrigin, RecordStamps};

fn id() -> BlockId {
    EpochLane {
        edge: EdgeId([1; 16]),
        epoch: EpochId([2; 16]),
        lane: Lane {
            kind: LaneKind::Telemetry,
            shard: 3,
        },
    }
    .block(BlockNumber(41))
}

fn clock() -> ClockState {
    ClockState {
        utc: UtcNanos(1_795_399_261_000_000_000),
        monotonic: 77,
        boot_id: [5; 16],
        source: ClockSource::Disciplined,
        tai_offset: 37,
        tai_origin: TaiOrigin::Kernel,
        error: Some(12_000),
    }
}

const PLAIN: RecordStamps = RecordStamps {
    event_time: UtcNanos(1),
    origin: EventTimeOrigin::SndStamp,
    implausible: false,
    latin1: false,
    instance: None,
};

type Input = Vec<(u32, RecordStamps, Vec<u8>)>;

fn build(records: &Input, codec: Codec) -> Option<SealedBlock> {
    let mut builder = BlockBuilder::new();
    for (stream, stamps, datum) in records {
        // What is abandoned must leave no trace.
        builder
            .datum(StreamNumber(*stream))
            .extend_from_slice(b"abandoned");
        builder.abandon(StreamNumber(*stream));
        builder
            .datum(StreamNumber(*stream))
            .extend_from_slice(datum);
        builder.finish(StreamNumber(*stream), *stamps);
    }
    let sealed = builder.seal(id(), clock(), codec, 1);
    assert!(builder.is_empty() && builder.seal(id(), clock(), codec, 1).is_none());
    sealed
}

fn stamps() -> impl Strategy<Value = RecordStamps> {
    let origin = prop_oneof![
        Just(EventTimeOrigin::SndStamp),
        Just(EventTimeOrigin::Source),
        Just(EventTimeOrigin::Reception)
    ];
    (
        any::<i64>(),
        origin,
        any::<bool>(),
        any::<bool>(),
        any::<Option<i32>>(),
    )
        .prop_map(
            |(time, origin, implausible, latin1, instance)| RecordStamps {
                event_time: UtcNanos(time),
                origin,
                implausible,
                latin1,
                instance,
            },
        )
}

fn input() -> impl Strategy<Value = Input> {
    prop::collection::vec(
        (1u32..9, stamps(), prop::collection::vec(any::<u8>(), 0..40)),
        1..30,
    )
}

proptest! {
    #[test]
    fn reads_back(records in input(), zstd: bool) {
        let sealed = build(&records, if zstd { Codec::Zstd } else { Codec::None }).unwrap();
        let parsed = SealedBlock::parse(sealed.bytes().clone()).unwrap();
        prop_assert_eq!(&parsed, &sealed);
        let block = parsed.open().unwrap();
        let mut expected: Input = records.clone();
        expected.sort_by_key(|(stream, ..)| *stream);
        let found: Vec<_> = block.records().map(|(stream, r)| (stream.0, r.stamps, r.datum.to_vec())).collect();
        prop_assert_eq!(found, expected);
        prop_assert!(block.records().enumerate().all(|(index, (_, record))| record.index as usize == index));
        prop_assert_eq!(sealed.header().records as usize, records.len());
    }

    #[test]
    fn compression_does_not_touch_identity(records in input()) {
        let (plain, packed) = (build(&records, Codec::None).unwrap(), build(&records, Codec::Zstd).unwrap());
        prop_assert_eq!(plain.digest(), packed.digest());
    }

    #[test]
    fn one_wrong_byte_is_noticed(records in input(), zstd: bool, at: prop::sample::Index, with in 1u8..) {
        let sealed = build(&records, if zstd { Codec::Zstd } else { Codec::None }).unwrap();
        let mut bytes = sealed.bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        let opened = SealedBlock::parse(Bytes::from(bytes)).and_then(|block| block.open());
        prop_assert!(opened.is_err(), "byte {at} changed and nobody noticed");
    }

    #[test]
    fn opened_only_if_wanted(records in input(), zstd: bool, wanted in prop::collection::btree_set(1u32..9, 0..4)) {
        let sealed = build(&records, if zstd { Codec::Zstd } else { Codec::None }).unwrap();
        let opened = sealed.open_if(|stream| wanted.contains(&stream.0)).unwrap();
        let is_there = records.iter().any(|(stream, ..)| wanted.contains(stream));
        prop_assert_eq!(opened.is_some(), is_there);
        let all = |block: Block| block.records().map(|(stream, record)| (stream, record.datum.to_vec())).collect::<Vec<_>>();
        if let Some(opened) = opened {
            prop_assert_eq!(all(opened), all(sealed.open().unwrap()));
        }
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let block = SealedBlock::parse(Bytes::from(bytes));
        let _unused = block.and_then(|block| block.open().and_then(|_| block.open_if(|_| false)));
    }

    /// A right digest over a wrong payload: what a hostile edge can make.
    #[test]
    fn a_hostile_sealer_never_causes_a_panic(payload in prop::collection::vec(any::<u8>(), 0..200), records in 1u32..9, sections in 1u32..9) {
        let header = BlockHeader {
            id: id(),
            records,
            sections,
            streams_through: StreamNumber(sections),
            event_time_min: UtcNanos(i64::MIN),
            event_time_max: UtcNanos(i64::MAX),
            clock: clock(),
        };
        let block = assemble(&header, &payload, Codec::Zstd, 1);
        let (looked, opened) = (block.open_if(|_| true), block.open());
        prop_assert_eq!(looked.is_ok(), opened.is_ok());
    }
}

/// Its table is longer than what is looked at first.
#[test]
fn a_block_of_many_streams_is_opened_if_wanted() {
    let records = (1..=SECTIONS_MAX as u32).map(|stream| (stream, PLAIN, vec![7]));
    for codec in [Codec::None, Codec::Zstd] {
        let sealed = build(&records.clone().collect(), codec).unwrap();
        let last = StreamNumber(SECTIONS_MAX as u32);
        let opened = sealed.open_if(|stream| stream == last).unwrap().unwrap();
        assert_eq!(opened.sections().len(), SECTIONS_MAX);
    }
}

/// What was looked at and not wanted is damaged, or ends too soon: no reason to panic.
#[test]
fn the_beginning_of_a_damaged_payload_is_an_error_or_not_wanted() {
    let records = (1..40).map(|stream| (stream, PLAIN, vec![7; 50])).collect();
    let sealed = build(&records, Codec::Zstd).unwrap();
    for at in PRELUDE_BYTES + HEADER_BYTES..sealed.bytes().len() {
        let mut bytes = sealed.bytes().to_vec();
        bytes[at] ^= 0x55;
        let damaged = SealedBlock::parse(bytes.into()).unwrap();
        assert!(damaged.open_if(|_| true).is_err(), "{at}");
        let _unused = damaged.open_if(|_| false);
    }
}

#[test]
fn truncation_is_named() {
    let sealed = build(&vec![(1, PLAIN, vec![1, 2, 3])], Codec::None).unwrap();
    for end in 0..sealed.bytes().len() {
        assert!(
            SealedBlock::parse(sealed.bytes().slice(..end)).is_err(),
            "{end}"
        );
    }
    assert_eq!(
        SealedBlock::parse(Bytes::from_static(b"SQLite format 3\0"))
            .unwrap_err()
            .to_string(),
        "not a block: begins with [53, 51, 4c, 69], expected [45, 46, 44, 42]"
    );
}

/// The bytes of version 1 never change: an edge that was rolled back, and a disk from a rack, are read by every later build.
#[test]
fn fixture_v1() {
    let stamps = |time: i64, instance| RecordStamps {
        event_time: UtcNanos(1_795_399_261_000_000_000 + time),
        origin: EventTimeOrigin::SndStamp,
        implausible: false,
        latin1: time == 2,
        instance,
    };
    let records = vec![
        (1, stamps(5, None), b"first".to_vec()),
        (300, stamps(2, Some(-7)), b"\x00\x01".to_vec()),
        (1, stamps(3, None), Vec::new()),
    ];
    let sealed = build(&records, Codec::None).unwrap();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/block-v1.bin");
    if std::env::var_os("EFD_WRITE_FIXTURES").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, sealed.bytes()).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    assert_eq!(
        sealed.bytes().as_ref(),
        kept,
        "the bytes of a block have changed"
    );
    assert_eq!(
        SealedBlock::parse(kept.into())
            .unwrap()
            .open()
            .unwrap()
            .records()
            .count(),
        3
    );
}
