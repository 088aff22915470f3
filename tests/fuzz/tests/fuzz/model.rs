//! The small byte formats: range sets, clock states, epochs, streams, losses.

use efd_shared_model::bytes::{ByteError, Reader, Writer};
use efd_shared_model::clock::{ClockSource, TaiOrigin};
use efd_shared_model::epoch::Parent;
use efd_shared_model::{
    BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, Lane, LaneKind, Loss, LossReason,
    RangeSet, Schema, StreamDeclaration, StreamNumber, TopicKind, UtcNanos,
};
use efd_tests_fuzz::{Rng, Target, told};

pub(crate) fn ranges(rng: &mut Rng) -> RangeSet {
    let range = |rng: &mut Rng| {
        let first = rng.skewed();
        first..=first.saturating_add(rng.below(100) as u64)
    };
    (0..rng.below(8)).map(|_| range(rng)).collect()
}

pub(crate) fn clock(rng: &mut Rng) -> ClockState {
    ClockState {
        utc: UtcNanos(rng.draw() as i64),
        monotonic: rng.draw() as i64,
        boot_id: rng.bytes(),
        source: ClockSource::Disciplined,
        tai_offset: 37,
        tai_origin: TaiOrigin::Kernel,
        error: rng.one_in(2).then(|| rng.below(1 << 40) as i64),
    }
}

pub(crate) fn epoch(rng: &mut Rng) -> EpochDeclaration {
    let head = |rng: &mut Rng| {
        let kind = *rng.pick(&LaneKind::ALL).unwrap();
        (
            Lane {
                kind,
                shard: rng.draw() as u16,
            },
            BlockNumber(rng.skewed()),
        )
    };
    EpochDeclaration {
        edge: EdgeId(rng.bytes()),
        site: format!("s{}", rng.word(10)).parse().unwrap(),
        epoch: EpochId(rng.bytes()),
        parent: rng.one_in(2).then(|| Parent {
            epoch: EpochId(rng.bytes()),
            heads: (0..rng.below(5)).map(|_| head(rng)).collect(),
        }),
        began: clock(rng),
        software: rng.word(30),
    }
}

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::new();
    write(&mut out);
    out.into_bytes()
}

/// Reads the whole input, writes it again, reads that: the same.
fn round_trip<T: PartialEq + std::fmt::Debug>(
    input: &[u8],
    read: impl Fn(&mut Reader<'_>) -> Result<T, ByteError>,
    write: impl Fn(&T, &mut Writer),
) -> Result<T, ByteError> {
    let whole = |bytes: &[u8]| {
        let mut reader = Reader::new(bytes);
        let value = read(&mut reader)?;
        reader.finish().map(|()| value)
    };
    let value = whole(input)?;
    let again = written(|out| write(&value, out));
    assert_eq!(whole(&again).as_ref(), Ok(&value));
    Ok(value)
}

#[test]
fn range_sets() {
    fn check(input: &[u8]) -> Result<u64, ByteError> {
        let set = round_trip(
            input,
            |reader| RangeSet::read(reader, 1024),
            RangeSet::write,
        )?;
        let pairs = set.iter().zip(set.iter().skip(1));
        assert!(
            pairs
                .into_iter()
                .all(|(before, after)| before.end() + 1 < *after.start()),
            "{set}"
        );
        let holes: RangeSet = set.missing(0..=u64::MAX).into_iter().collect();
        let mut all = set.clone();
        all.union(&holes);
        assert!(
            all.contains_range(0..=u64::MAX) && all.range_count() == 1,
            "{set} and {holes}"
        );
        let mut none = set.clone();
        for range in set.iter() {
            none.remove_range(range);
        }
        assert!(none.is_empty(), "{none}");
        Ok(set.range_count().min(4) as u64)
    }
    crate::run(&Target {
        name: "range-set",
        seed: |rng| written(|out| ranges(rng).write(out)),
        run: |input| check(input).unwrap_or_else(|error| told(&error)),
        accepts: |input| check(input).is_ok(),
        repair: None,
        words: &[],
        memory_max: crate::few,
    });
}

#[test]
fn clock_states() {
    fn check(input: &[u8]) -> Result<u64, ByteError> {
        round_trip(input, ClockState::read, ClockState::write).map(|clock| clock.source as u64 ^ 4)
    }
    crate::run(&Target {
        name: "clock-state",
        seed: |rng| written(|out| clock(rng).write(out)),
        run: |input| check(input).unwrap_or_else(|error| told(&error)),
        accepts: |input| check(input).is_ok(),
        repair: None,
        words: &[],
        memory_max: crate::few,
    });
}

#[test]
fn epochs() {
    fn check(input: &[u8]) -> Result<u64, ByteError> {
        let epoch = round_trip(input, EpochDeclaration::read, EpochDeclaration::write)?;
        Ok(epoch
            .parent
            .map_or(0, |parent| 1 + parent.heads.len().min(8) as u64))
    }
    crate::run(&Target {
        name: "epoch",
        seed: |rng| written(|out| epoch(rng).write(out)),
        run: |input| check(input).unwrap_or_else(|error| told(&error)),
        accepts: |input| check(input).is_ok(),
        repair: None,
        words: &[],
        memory_max: crate::few,
    });
}

#[test]
fn stream_declarations() {
    fn check(input: &[u8]) -> Result<u64, ByteError> {
        let stream = round_trip(input, StreamDeclaration::read, StreamDeclaration::write)?;
        Ok(stream.kind as u64 ^ 16)
    }
    crate::run(&Target {
        name: "stream-declaration",
        seed: |rng| {
            let stream = StreamDeclaration {
                number: StreamNumber(1 + rng.below(5000) as u32),
                topic: rng.word(60),
                dds_topic: rng.word(60),
                dds_type: rng.word(60),
                kind: TopicKind::from_u8(rng.below(7) as u8).unwrap(),
                schema: Schema::new(rng.word(9)).fingerprint(),
            };
            written(|out| stream.write(out))
        },
        run: |input| check(input).unwrap_or_else(|error| told(&error)),
        accepts: |input| check(input).is_ok(),
        repair: None,
        words: &[],
        memory_max: crate::few,
    });
}

#[test]
fn losses() {
    fn check(input: &[u8]) -> Result<u64, ByteError> {
        let loss = Loss::decode(input)?;
        let mut again = Vec::new();
        loss.encode(&mut again);
        assert_eq!(Loss::decode(&again).as_ref(), Ok(&loss));
        Ok(told(&loss.reason))
    }
    crate::run(&Target {
        name: "loss",
        seed: |rng| {
            let loss = Loss {
                topic: rng.word(40),
                identity: rng.word(20),
                first_seq: rng.skewed() as i64,
                count: rng.skewed() as i64,
                detail: rng.word(50),
                ..Loss::new(
                    *rng.pick(&LossReason::ALL).unwrap(),
                    UtcNanos(rng.draw() as i64),
                    UtcNanos(1),
                )
            };
            let mut out = Vec::new();
            loss.encode(&mut out);
            out
        },
        run: |input| check(input).unwrap_or_else(|error| told(&error)),
        accepts: |input| check(input).is_ok(),
        repair: None,
        words: &["dds_gap", "crash", "evicted"],
        memory_max: crate::few,
    });
}
