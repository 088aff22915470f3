//! Sealed blocks, and the streams that carry them.

use bytes::Bytes;
use efd_shared_model::block::{Codec, PAYLOAD_BYTES_MAX};
use efd_shared_model::{
    BlockBuilder, BlockError, BlockNumber, ClockState, EdgeId, EpochId, EpochLane, EventTimeOrigin,
    Lane, LaneKind, RecordStamps, SealedBlock, StreamNumber, UtcNanos,
};
use efd_shared_wire::{Class, ReceivedBlock};
use efd_tests_fuzz::{Rng, Target, told};
use xxhash_rust::xxh3::Xxh3Default;

/// Before the frozen header: magic, version, codec, three lengths, digest. As BLOCK.md has it.
const PRELUDE_BYTES: usize = 32;
const DIGEST_AT: usize = 16;

fn sealed(rng: &mut Rng) -> SealedBlock {
    let mut builder = BlockBuilder::new();
    let codec = if rng.one_in(4) {
        Codec::Zstd
    } else {
        Codec::None
    };
    let begin = rng.draw() as i64 >> rng.below(60);
    for _ in 0..=rng.below(12) {
        let stream = StreamNumber(1 + rng.below(5) as u32);
        let datum = rng.word(40);
        builder.datum(stream).extend_from_slice(datum.as_bytes());
        let origins = [
            EventTimeOrigin::SndStamp,
            EventTimeOrigin::Source,
            EventTimeOrigin::Reception,
        ];
        let stamps = RecordStamps {
            event_time: UtcNanos(begin.saturating_add(rng.skewed() as i64 >> 1)),
            origin: *rng.pick(&origins).unwrap(),
            implausible: rng.one_in(5),
            latin1: rng.one_in(5),
            instance: rng.one_in(2).then(|| rng.draw() as i32),
        };
        builder.finish(stream, stamps);
    }
    let lane = EpochLane {
        edge: EdgeId(rng.bytes()),
        epoch: EpochId(rng.bytes()),
        lane: Lane {
            kind: *rng.pick(&LaneKind::ALL).unwrap(),
            shard: rng.draw() as u16,
        },
    };
    let clock = ClockState {
        utc: UtcNanos(rng.draw() as i64),
        ..ClockState::default()
    };
    builder
        .seal(
            lane.block(BlockNumber(1 + rng.skewed() / 2)),
            clock,
            codec,
            1,
        )
        .unwrap()
}

/// Makes lengths and digest those of what is there: a block that a mad but healthy sender could have sealed.
fn reseal(bytes: &mut [u8]) {
    if bytes.len() < PRELUDE_BYTES {
        return;
    }
    let header =
        usize::from(u16::from_le_bytes([bytes[6], bytes[7]])).min(bytes.len() - PRELUDE_BYTES);
    let stored = bytes.len() - PRELUDE_BYTES - header;
    bytes[6..8].copy_from_slice(&(header as u16).to_le_bytes());
    bytes[12..16].copy_from_slice(&(stored as u32).to_le_bytes());
    let (frozen, stored) = bytes[PRELUDE_BYTES..].split_at(header);
    let payload = match bytes[5] {
        0 => stored.to_vec(),
        _ => zstd::bulk::decompress(stored, 1 << 20).unwrap_or_default(),
    };
    let mut hasher = Xxh3Default::new();
    hasher.update(frozen);
    hasher.update(&payload);
    let digest = hasher.digest128();
    bytes[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[DIGEST_AT..PRELUDE_BYTES].copy_from_slice(&digest.to_le_bytes());
}

fn open(bytes: &[u8]) -> Result<(), BlockError> {
    let sealed = SealedBlock::parse(Bytes::copy_from_slice(bytes))?;
    let block = sealed.open()?;
    // What every consumer relies on.
    let (header, mut index, mut stream) = (*block.header(), 0, StreamNumber(0));
    assert_eq!(block.sections().len(), header.sections as usize);
    for section in block.sections() {
        assert!(
            stream < section.stream()
                && section.stream() <= header.streams_through
                && !section.is_empty()
        );
        stream = section.stream();
        let (min, max) = (section.event_time_min(), section.event_time_max());
        assert!(header.event_time_min <= min && max <= header.event_time_max);
        for record in section.records() {
            assert_eq!(record.index, index);
            assert!((min..=max).contains(&record.stamps.event_time));
            index += 1;
        }
    }
    assert_eq!((index, stream), (header.records, header.streams_through));
    assert_eq!(block.records().count(), header.records as usize);
    Ok(())
}

#[test]
fn block() {
    crate::run(&Target {
        name: "block",
        seed: |rng| sealed(rng).bytes().to_vec(),
        run: |input| open(input).map_or_else(|error| told(&error), |()| 1),
        accepts: |input| open(input).is_ok(),
        repair: Some(|input| reseal(input)),
        words: &[],
        // A payload is decompressed whole: its stated length may be asked for, and no more.
        memory_max: |bytes| PAYLOAD_BYTES_MAX as u64 + crate::few(bytes),
    });
}

#[test]
fn block_stream() {
    fn check(input: &[u8]) -> Result<u64, efd_shared_wire::BlockStreamError> {
        let received = ReceivedBlock::check(Bytes::copy_from_slice(input))?;
        let number = received.block().id().number.0;
        assert!(
            0 < number && number < u64::MAX,
            "range sets count one past the end"
        );
        assert_eq!(&input[..2], received.class().header());
        assert_eq!(&input[2..], received.block().bytes());
        Ok(2)
    }
    crate::run(&Target {
        name: "block-stream",
        seed: |rng| {
            let class = if rng.one_in(2) {
                Class::Live
            } else {
                Class::Fill
            };
            [&class.header()[..], sealed(rng).bytes()].concat()
        },
        run: |input| check(input).unwrap_or_else(|error| told(&error)),
        accepts: |input| check(input).is_ok(),
        repair: Some(|input| reseal(input.get_mut(2..).unwrap_or_default())),
        words: &[],
        memory_max: |bytes| PAYLOAD_BYTES_MAX as u64 + crate::few(bytes),
    });
}
